# SPDX-License-Identifier: MIT
"""``tellin completion``: what may follow, told from the tables; and the three shells that show it."""

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.config.paper_machine import PaperMachine
from tests.interop.tellin_peer import TELLIN

from tellin.config import kinds
from tellin.config.ssh_config import SshConfig
from tellin.config.sshd_config import SshdConfig
from tellin.errors import ConfigError
from tellin.keys.private import PrivateKey
from tellin.programs.command import PROGRAMS, Failure, load
from tellin.programs.completion import SCRIPTS, run
from tellin.programs.completion_words import ARGUMENTS, VALUES, Answer, complete
from tellin.programs.ssh.query import QUERIES

KEY = PrivateKey.generate("ed25519").public.to_line()
MACHINE = PaperMachine(
    {
        "/home/me/.ssh/config": (
            "Include more\nHost production *.example !not\nMatch originalhost by-match\n"
            "UserKnownHostsFile ~/.ssh/own\nHost $(evil)\nBogus keyword\n"
        ),
        "/home/me/.ssh/more": "Host included\n",
        "/etc/ssh/ssh_config": "Host systems\n",
        "/home/me/.ssh/known_hosts": f"recorded,192.0.2.1,*.wild {KEY}\n[ported]:2222 {KEY}\nbroken\n",
        "/home/me/.ssh/own": f"owned {KEY}\n|1|MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=|MTIzNDU2Nzg5MDEyMzQ1Njc4OTA= {KEY}\n",
    }
)
HOSTS = {
    "production", "by-match", "included", "systems", "recorded", "192.0.2.1", "ported", "owned",
}  # fmt: skip


def answer(line: str) -> Answer:
    """What fits at the end of a line; its last word is what stands behind the last blank."""
    return complete(line.split(" "), MACHINE)


def words(line: str) -> list[str]:
    return [word for word, _ in answer(line).words]


def test_programs_come_first_with_what_they_do() -> None:
    assert dict(answer("tellin ").words) == {name: load(name).summary for name in PROGRAMS}
    assert words("tellin ssh-k") == ["ssh-keygen", "ssh-keyscan"]
    assert words("/usr/bin/tellin ssh-copy") == ["ssh-copy-id"]
    assert not words("tellin nothing x")
    assert not words("tellin")


def test_a_program_by_its_own_name_is_completed_too() -> None:
    assert words("/home/me/bin/ssh -o StrictHost") == ["StrictHostKeyChecking="]
    assert words("ssh prod") == ["production"]


@pytest.mark.parametrize("name", [name for name in PROGRAMS if load(name).options])
def test_every_option_of_a_program_is_named(name: str) -> None:
    options = load(name).options
    assert words(f"tellin {name} -") == [f"-{letter}" for letter in options if letter != ":"]
    # Some of ssh's are still to come.
    for letter in VALUES.get(name, {}).keys() & set(options):
        assert f"{letter}:" in options


def test_what_is_completed_belongs_to_programs_that_there_are_or_will_be() -> None:
    assert (VALUES.keys() | ARGUMENTS.keys()) - PROGRAMS.keys() <= {"scp", "sftp"}


@pytest.mark.parametrize("program", ["ssh", "sshd"])
def test_every_keyword_is_named_with_its_line_of_the_manual(program: str) -> None:
    table = SshConfig if program == "ssh" else SshdConfig
    found = answer(f"tellin {program} -o ")
    assert dict(found.words) == {f"{row.spelling}=": row.doc for row in table.rows.values()}
    assert found.unfinished


@pytest.mark.parametrize("table", [SshConfig, SshdConfig], ids=lambda table: table.__name__)
def test_every_value_that_is_named_is_one_that_the_keyword_takes(
    table: type[SshConfig] | type[SshdConfig],
) -> None:
    program = "ssh" if table is SshConfig else "sshd"
    named = 0
    for row in table.rows.values():
        for word in words(f"{program} -o {row.spelling}="):
            value = word.removeprefix(f"{row.spelling}=")
            if row.attribute in {"hostname", "proxy_jump"}:
                assert value in HOSTS
                continue
            try:
                row.kind.read([value])
            except ConfigError as fault:
                pytest.fail(f"{word}: {fault}")
            named += 1
        if row.kind is kinds.YES_NO:
            assert words(f"{program} -o {row.spelling.lower()}=") == [
                f"{row.spelling.lower()}={value}" for value in ("yes", "no")
            ]
    assert named > 150


def test_values_are_those_of_the_keywords_kind() -> None:
    assert words("ssh -o StrictHostKeyChecking=") == [
        f"StrictHostKeyChecking={value}" for value in ("ask", "yes", "accept-new", "no")
    ]
    assert words("ssh -oLogLevel=deb") == [f"-oLogLevel=DEBUG{n}" for n in (1, 2, 3)]
    assert words("ssh -vo Compression=y") == ["Compression=yes"]
    assert words("sshd -o PermitRootLogin=f") == ["PermitRootLogin=forced-commands-only"]
    assert not words("ssh -o Bogus=")
    assert not words("ssh -o UseRsh=")


def test_lists_of_algorithms_go_on_behind_what_is_there() -> None:
    assert words("ssh -c ^aes256-c") == ["^aes256-ctr", "^aes256-cbc"]
    assert words("ssh -o Ciphers=aes128-ctr,aes128-") == [
        f"Ciphers=aes128-ctr,{name}" for name in ("aes128-gcm@openssh.com", "aes128-cbc")
    ]
    assert "hmac-sha2-256" in words("ssh -m ")
    assert words("sshd -o CASignatureAlgorithms=rsa-sha2-5") == [
        "CASignatureAlgorithms=rsa-sha2-512"
    ]


def test_queries_are_the_lists_and_the_keywords_that_take_them() -> None:
    found = words("tellin ssh -Q ")
    assert set(QUERIES) <= set(found)
    assert {"Ciphers", "HostbasedAcceptedAlgorithms"} <= set(found)
    assert words("tellin ssh -Q cipher-") == ["cipher-auth"]


def test_hosts_come_from_configuration_and_records() -> None:
    assert set(words("tellin ssh ")) == HOSTS
    assert words("tellin ssh me@prod") == ["me@production"]
    assert words("tellin ssh -o Hostname=own") == ["Hostname=owned"]
    assert set(words("tellin ssh -v -p 22 -i k ")) == HOSTS
    assert set(words("tellin ssh-keyscan a ")) == HOSTS
    # A command is anything; and behind it nothing is ssh's.
    assert not words("tellin ssh host ")
    assert "-v" in words("tellin ssh host -")
    assert not words("tellin ssh host ls -")
    assert set(words("tellin ssh -- ")) == HOSTS
    assert not words("tellin ssh -- -")


def test_r170_a_name_that_a_shell_would_take_for_more_is_not_offered() -> None:
    assert not [word for word in words("tellin ssh ") if "$" in word]


def test_files_are_left_to_the_shell() -> None:
    for line, kept in (
        ("tellin ssh -i ", ""), ("tellin ssh -F x", ""), ("tellin ssh -o IdentityFile=~/.", "IdentityFile="),
        ("tellin ssh -F", ""), ("tellin ssh-add ", ""), ("tellin ssh -F/etc/", "-F"),
        ("tellin sshd -o HostKey=/", "HostKey="),
    ):  # fmt: skip
        found = answer(line)
        assert (found.files, found.kept) == (not line.endswith("-F"), kept)


def test_what_is_asked_for_wrongly_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["tcsh"], ["bash", "x"]):
        with pytest.raises(Failure) as caught:
            run(arguments)
        assert caught.value.usage.startswith("usage: tellin completion bash|fish|zsh")
    assert run(["words"]) == 0
    assert capsys.readouterr().out == "words\t\n"


# --- the shells ----------------------------------------------------------------------------------

SECONDS = 60


def needed(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} here")
    return path


# Two keys that a terminal keeps for itself at no time: one writes the line into a file, one empties it.
WRITE, EMPTY = "\x18\x07", "\x18\x0b"
START = {
    "bash": (
        ["--norc", "--noprofile", "-i"],
        [
            """bind -x '"\\C-x\\C-g": printf "%s|" "$READLINE_LINE" >{file}'""",
            """bind '"\\C-x\\C-k": kill-whole-line'""",
        ],
    ),
    "zsh": (
        ["-f", "-i"],
        [
            "autoload -Uz compinit && compinit -u -D",
            'dump() {{ print -rn -- "$BUFFER|" >{file} }}',
            "zle -N dump; bindkey '^X^G' dump; bindkey '^X^K' kill-whole-line",
        ],
    ),
}


class Shell:
    """A shell on a terminal, which is typed into."""

    def __init__(self, name: str, folder: Path) -> None:
        arguments, start = START[name]
        self.file = folder / "line"
        script = folder / f"tellin.{name}"
        done = subprocess.run([*TELLIN, "completion", name], capture_output=True, check=True)
        script.write_bytes(done.stdout)
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.environ["TERM"] = "xterm"
            os.execv(needed(name), [name, *arguments])  # noqa: S606 - a shell is what it is
        self.pid = pid
        self.said = b""
        for line in (*start, f"source {script}"):
            self.type(line.format(file=self.file) + "\n")

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def completed(self, line: str) -> str:
        """What a line becomes at the press of the key."""
        self.file.unlink(missing_ok=True)
        self.type(f"{line}\t{WRITE}")
        deadline = time.monotonic() + SECONDS
        while not (self.file.exists() and self.file.read_text().endswith("|")):
            assert time.monotonic() < deadline, self.said.decode(errors="replace")
            if select.select([self.terminal], [], [], 0.05)[0]:
                self.said += os.read(self.terminal, 65536)
        self.type(EMPTY)
        return self.file.read_text().removesuffix("|")

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    needed(request.param)
    folder = tmp_path_factory.mktemp("shell")
    (folder / "identity_of_mine").touch()
    made = Shell(request.param, folder)
    yield made
    made.close()


COMPLETED = {
    "tellin ssh-copy": "tellin ssh-copy-id ",
    "tellin ssh -o StrictHostKey": "tellin ssh -o StrictHostKeyChecking=",
    "tellin ssh -o stricthostkey": "tellin ssh -o StrictHostKeyChecking=",
    "tellin ssh -o StrictHostKeyChecking=acc": "tellin ssh -o StrictHostKeyChecking=accept-new ",
    "tellin ssh -oCompression=y": "tellin ssh -oCompression=yes ",
    "tellin ssh -Q protocol": "tellin ssh -Q protocol-version ",
    "tellin ssh -c +aes128-ctr,chacha": "tellin ssh -c +aes128-ctr,chacha20-poly1305@openssh.com ",
    "tellin ssh -o Ciphers=aes128-ctr,aes192-c": "tellin ssh -o Ciphers=aes128-ctr,aes192-c",
    "tellin ssh-keygen -t ed25519-": "tellin ssh-keygen -t ed25519-sk ",
    "tellin sshd -o PermitRoot": "tellin sshd -o PermitRootLogin=",
    "tellin ssh -i identity_of": "tellin ssh -i identity_of_mine ",
    "tellin ssh -o IdentityFile=identity_of": "tellin ssh -o IdentityFile=identity_of_mine ",
    "tellin ssh host.example ls fi": "tellin ssh host.example ls fi",
}


@pytest.mark.parametrize("line", COMPLETED)
def test_a_shell_completes(shell: Shell, line: str) -> None:
    assert shell.completed(line) == COMPLETED[line]


@pytest.mark.parametrize("line", COMPLETED)
def test_fish_completes(tmp_path: Path, line: str) -> None:
    (tmp_path / "identity_of_mine").touch()
    script = tmp_path / "tellin.fish"
    done = subprocess.run([*TELLIN, "completion", "fish"], capture_output=True, check=True)
    script.write_bytes(done.stdout)
    asked = subprocess.run(
        [needed("fish"), "--no-config", "-c", f"source {script}; complete -C {line!r}"],
        capture_output=True, text=True, check=True, cwd=tmp_path, timeout=SECONDS,
    )  # fmt: skip
    found = [one.partition("\t")[0] for one in asked.stdout.splitlines()]
    wanted = COMPLETED[line].rstrip(" ").rpartition(" ")[2]
    if wanted == line.rpartition(" ")[2]:
        # Two of them fit, or none.
        assert sorted(found) in ([], [f"{wanted}bc", f"{wanted}tr"])
    else:
        assert found == [wanted]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_names_this_tellin_and_is_read_by_its_shell(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*TELLIN, "completion", name], capture_output=True, text=True, check=True
    )
    assert "@TELLIN@" not in done.stdout
    path = tmp_path / "script"
    path.write_text(done.stdout)
    subprocess.run([needed(name), "-n", path], check=True)
