# SPDX-License-Identifier: MIT
"""Configurations and command lines that are wrong (cases 319 to 327): what ssh says, and how it ends."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.interop.peers import Account
from tests.interop.tellin_peer import within_reach
from tests.programs.ssh_runs import EITHER, SSH

PATIENCE = 60
BY_EITHER = pytest.mark.parametrize("program", EITHER)


def by_either(name: str, *both: str, ours: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Each value with tellin's ssh, and ``both`` with OpenSSH's too, which has no say in ``ours``."""
    theirs = pytest.mark.peer("ssh")
    return pytest.mark.parametrize(
        ("program", name),
        [
            *(
                pytest.param("tellin", value, id=f"tellin-{value[:40]!r}")
                for value in (*both, *ours)
            ),
            *(
                pytest.param("ssh", value, id=f"ssh-{value[:40]!r}", marks=theirs)
                for value in both
            ),
        ],
    )


# Nobody listens there.
NOWHERE = ("-p", "1", "127.0.0.1")


def ssh(
    program: str, *words: str | Path, account: Account | None = None, **variables: str
) -> tuple[int, str]:
    """A run without a terminal: the status, and what stands on standard error."""
    argv: Sequence[object] = SSH if program == "tellin" else ("ssh",)
    environment = {**os.environ, **variables}
    rights: dict[str, object] = {}
    if account is not None:
        if program == "tellin":
            ours, surroundings = within_reach(account)
            argv, environment = [*ours, "ssh"], {**environment, **surroundings}
        rights = {"user": account.uid, "group": account.gid, "extra_groups": [], "cwd": "/"}
    done = subprocess.run(  # type: ignore[call-overload]
        [*map(str, argv), "-T", *map(str, words)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        start_new_session=True,
        **rights,
    )
    return done.returncode, done.stderr.decode("utf-8", "replace").replace("\r\n", "\n")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


def reads(program: str, config: Path, text: str) -> tuple[int, str]:
    config.write_text(text, "utf-8")
    return ssh(program, "-F", config, "-G", "host")


@BY_EITHER
def test_case_319_an_unknown_keyword_is_told_with_file_and_line(
    program: str, config: Path
) -> None:
    status, said = reads(program, config, "Port 1\nHost other\nBogus yes\n")
    assert status == 255
    assert said.startswith(str(config))
    assert "line 3: Bad configuration option: " in said
    assert reads(program, config, "IgnoreUnknown B?gus\nBogus yes\n") == (0, "")
    status, said = ssh(program, "-F", "none", "-o", "Bogus=yes", "-G", "host")
    assert status == 255
    assert said.startswith("command-line")


@BY_EITHER
def test_case_321_an_include_may_not_be_endless_and_may_be_of_nothing(
    program: str, config: Path, tmp_path: Path
) -> None:
    assert reads(program, config, f"Include {config}\n")[0] == 255
    for number in range(17):
        (tmp_path / f"{number}").write_text(f"Include {tmp_path}/{number + 1}\n", "utf-8")
    (tmp_path / "17").write_text("Port 7\n", "utf-8")
    # Sixteen levels below the file itself, and one more.
    assert reads(program, config, f"Include {tmp_path}/2\n") == (0, "")
    assert reads(program, config, f"Include {tmp_path}/1\n")[0] == 255
    assert reads(program, config, f"Include {tmp_path}/nothing-*.conf\n") == (0, "")
    assert reads(program, config, f"Include {tmp_path}/nothing\n") == (0, "")
    assert reads(program, config, "Include\n")[0] == 255


@pytest.mark.root
@BY_EITHER
def test_case_321_an_include_that_cannot_be_read_is_an_error(
    program: str, account: Account
) -> None:
    folder = account.home / f"configs-{program}"
    folder.mkdir()
    config, closed = folder / "config", folder / "closed"
    config.write_text(f"Include {closed}\n", "utf-8")
    closed.write_text("Port 7\n", "utf-8")
    account.own(folder, config)
    closed.chmod(0o600)
    status, said = ssh(program, "-F", config, "-G", "host", account=account)
    assert status == 255
    assert str(closed) in said
    assert "Permission denied" in said


def test_case_321_a_directory_is_no_file_to_include(config: Path, tmp_path: Path) -> None:
    """OpenSSH reads one as an empty file; here it is told."""
    status, said = reads("tellin", config, f"Include {tmp_path}\n")
    assert status == 255
    assert str(tmp_path) in said


@BY_EITHER
def test_case_322_a_flood_of_a_command_is_nobodys(program: str, config: Path) -> None:
    text = 'Match exec "head -c 50000000 /dev/zero"\nPort 7\n'
    assert reads(program, config, text) == (0, "")


@BY_EITHER
@pytest.mark.parametrize("user", ["a;b", "$(id)", "`id`", "a|b"])
def test_r170_case_322_a_command_gets_no_user_with_metacharacters(
    program: str, config: Path, tmp_path: Path, user: str
) -> None:
    mark = tmp_path / "mark"
    config.write_text(f'Match exec "touch {mark}; echo %r"\nPort 1\n', "utf-8")
    assert ssh(program, "-F", config, "-l", user, "127.0.0.1", "true")[0] == 255
    if program == "tellin":
        # OpenSSH 9.2 looks at it only after the files; here nothing has run.
        assert not mark.exists()


@by_either(
    "criteria",
    *("", "bogus x", "host", "exec", "all host x", "all all", "all canonical"),
    "localnetwork nonsense",
    ours=("host x all", "localnetwork 192.0.2.1/33"),
)
def test_case_323_a_match_that_is_none_is_refused(
    program: str, config: Path, criteria: str
) -> None:
    status, said = reads(program, config, f"\nMatch {criteria}\n")
    assert status == 255
    assert "line 2" in said


@BY_EITHER
@pytest.mark.parametrize(
    "criteria", ["all", "canonical all", "final all", "!host x", "final host x"]
)
def test_case_323_a_match_that_is_one_is_taken(program: str, config: Path, criteria: str) -> None:
    assert reads(program, config, f"Match {criteria}\n") == (0, "")


@by_either(
    "option",
    *("RemoteCommand=echo %z", "IdentityAgent=/x/%z", "UserKnownHostsFile=/x/%z"),
    # Known, and not to these.
    *("ProxyCommand=echo %C", "RemoteCommand=echo %T", "Hostname=%p"),
    # A sign alone.
    "RemoteCommand=echo %",
    # OpenSSH 9.2 looks at keys once it is connected, and puts nothing into User.
    ours=("IdentityFile=/x/%z", "User=%r"),
)
def test_case_325_a_token_that_is_none_here_is_an_error(program: str, option: str) -> None:
    status, said = ssh(program, "-F", "none", "-o", option, *NOWHERE)
    assert status == 255
    # No word of a connection: it was not begun.
    assert "refused" not in said
    assert option[option.index("%") :] in said or "invalid format" in said


def test_case_325_the_place_of_a_bad_token_is_told(config: Path) -> None:
    config.write_text("Port 1\nRemoteCommand echo %z\n", "utf-8")
    status, said = ssh("tellin", "-F", config, "127.0.0.1")
    assert (status, said.splitlines()[0]) == (
        255,
        f"{config} line 2: RemoteCommand: unknown token '%z' in 'echo %z'",
    )


@by_either(
    "destination",
    *("-oProxyCommand=x", "-x@host", "ssh://", "ssh://u@", "ssh://h:99999", "ssh://h:0"),
    # OpenSSH 9.2 takes what stands before a NUL, asks for the host "", and takes any length.
    ours=("ssh://a%00b@h", "", "u@", "h" * 100_000, "u" * 100_000 + "@h"),
)
def test_r170_case_326_a_destination_that_is_none_connects_to_nobody(
    program: str, destination: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    proxy = f"ProxyCommand=touch {mark}"
    status, said = ssh(program, "-F", "none", "-o", proxy, "--", destination, "true")
    assert status == 255
    assert len(said) < 4000
    assert not mark.exists()


@pytest.mark.parametrize("name", "`'\"$\\<>;&|(){}[]*?!~# \t\n\x1b")
def test_r170_no_name_with_a_metacharacter_gets_anywhere(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    proxy = f"ProxyCommand=touch {mark}"
    for words in (
        ("-l", f"a{name}b", "host"),
        ("--", f"a{name}b@host"),
        ("--", f"a{name}b"),
        ("-o", f'Hostname="a{name}b"', "host"),
    ):
        status, said = ssh("tellin", "-F", "none", "-o", proxy, *words)
        assert (status, mark.exists()) == (255, False), (words, said)


@pytest.mark.parametrize("keyword", ["ProxyCommand", "LocalCommand"])
def test_r170_a_user_of_a_file_gets_to_no_command(
    keyword: str, config: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    config.write_text(
        f'User "$(touch${{IFS}}{mark})"\nPermitLocalCommand yes\n{keyword} echo %r\n', "utf-8"
    )
    status, said = ssh("tellin", "-F", config, *NOWHERE, IFS=" ")
    assert status == 255
    assert f"{config} line 3: {keyword}: %r must not get to a shell" in said
    assert not mark.exists()


@pytest.mark.parametrize("user", ["../other", "/etc/x", "..", "a/b"])
def test_r117_a_user_that_leads_elsewhere_becomes_part_of_no_path(
    user: str, tmp_path: Path
) -> None:
    (tmp_path / "other").write_text("x", "utf-8")
    for keyword in ("IdentityFile", "UserKnownHostsFile", "CertificateFile", "IdentityAgent"):
        option = f"{keyword}={tmp_path}/%r"
        status, said = ssh("tellin", "-F", "none", "-o", option, "-l", user, *NOWHERE)
        assert status == 255
        assert f"{keyword}: %r is no part of a path" in said


@by_either(
    "keyword", "UserKnownHostsFile", "IdentityAgent", ours=("IdentityFile", "CertificateFile")
)
def test_case_327_a_variable_that_is_not_set_is_an_error(program: str, keyword: str) -> None:
    option = f"{keyword}=/x/${{TELLIN_NOT_SET}}"
    status, said = ssh(program, "-F", "none", "-o", option, *NOWHERE)
    assert status == 255
    assert "TELLIN_NOT_SET" in said
    assert "refused" not in said
    set_now = ssh(program, "-F", "none", "-o", option, *NOWHERE, TELLIN_NOT_SET="y")
    assert set_now == (255, "ssh: connect to host 127.0.0.1 port 1: Connection refused\n")
