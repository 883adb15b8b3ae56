# SPDX-License-Identifier: MIT
"""ChrootDirectory, as root: files and shells inside, who may own what, and the same with OpenSSH's sshd."""

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.agents import RunningAgent
from tests.interop.peers import OpenSSHServer
from tests.interop.servers import Account, find
from tests.interop.target import Target
from tests.interop.tellin_peer import TellinClient, TellinServer
from tests.server.caller import Caller

from tellin.connection.requests import ExecRequest, PtyRequest
from tellin.keys.formats import load_private_key

pytestmark = pytest.mark.root

SERVERS: dict[str, Any] = {"tellin": TellinServer, "OpenSSH": OpenSSHServer}
both = pytest.mark.parametrize(
    "name", ["tellin", pytest.param("OpenSSH", marks=pytest.mark.peer("sshd"))]
)


@pytest.fixture
def jail() -> Iterator[Path]:
    """A directory that only root can change, and all above it too."""
    made = Path(tempfile.mkdtemp(prefix="tellin-jail", dir="/var/lib"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def start(name: str, tmp_path: Path, account: Account, **options: object) -> Any:
    options = {"PasswordAuthentication": "no", **options}
    return SERVERS[name](tmp_path, account=account, options=options)


def logged(server: Any, words: str) -> str:
    """The log, once words are in it."""
    until = time.monotonic() + 60
    while words not in (said := server.log()):
        assert time.monotonic() < until, said
        time.sleep(0.02)
    return str(said)


def sftp(target: Target, lines: list[str], cwd: Path, known: Path) -> Any:
    (known / "known_hosts").write_text(target.known_hosts())
    words = [
        *(find("sftp"), "-q", "-b", "-", "-F", "none", "-i", str(target.identity.path)),
        *("-o", f"UserKnownHostsFile={known / 'known_hosts'}", "-o", "IdentitiesOnly=yes"),
        *("-P", str(target.port), f"{target.user}@{target.host}"),
    ]
    text = "".join(f"{line}\n" for line in lines)
    return subprocess.run(
        words, input=text, capture_output=True, text=True, cwd=cwd, timeout=100, check=False
    )


def furnish(jail: Path) -> None:
    """A shell and what it needs."""
    for program in ("/bin/sh", "/bin/ls", "/usr/bin/id", "/usr/bin/tty"):
        needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for path in {program, *re.findall(r"(/\S+)", needed.stdout)}:
            if Path(path).is_file():
                (jail / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(path).resolve(), jail / path[1:])


@both
@pytest.mark.peer("sftp")
def test_files_are_served_from_a_root_with_nothing_in_it(
    name: str, jail: Path, account: Account, tmp_path: Path
) -> None:
    place = jail / "own"
    place.mkdir()
    os.chown(place, account.uid, -1)
    (tmp_path / "here").write_bytes(b"data")
    (jail / "out").symlink_to("/etc")
    options = {"ChrootDirectory": jail, "ForceCommand": "internal-sftp"}
    with start(name, tmp_path, account, **options) as server:
        done = sftp(
            server.target,
            [
                "pwd",
                "ls /",
                "put here own/there",
                "-get /etc/passwd",
                "-ls out",
                "df",
                "ls -l /own",
            ],
            tmp_path,
            tmp_path,
        )
        assert done.returncode == 0, done.stderr
    assert "Remote working directory: /\n" in done.stdout
    assert (place / "there").read_bytes() == b"data"
    assert (place / "there").stat().st_uid == account.uid
    assert 'File "/etc/passwd" not found' in done.stderr
    # Nobody in there has a name.
    assert re.search(rf"-rw-\S+ +\S+ +{account.uid} ", done.stdout), done.stdout


@both
@pytest.mark.parametrize("pty", [False, True])
def test_a_shell_runs_inside(
    name: str, pty: bool, jail: Path, account: Account, tmp_path: Path
) -> None:
    furnish(jail)
    (jail / "here").write_bytes(b"")
    with start(name, tmp_path, account, ChrootDirectory=jail) as server:
        done = TellinClient(tmp_path).run(server.target, "pwd; ls /; id -u; id -G", pty=pty)
    said = done.stdout.replace(b"\r", b"").split()
    assert done.status == 0, done
    assert said[0] == b"/"
    assert b"here" in said
    assert b"root" not in said
    assert str(account.uid).encode() in said
    assert set(map(int, done.stdout.splitlines()[-1].split())) == {
        *os.getgrouplist(account.name, account.gid)
    }


@both
def test_tokens_of_the_path_are_the_accounts(
    name: str, jail: Path, account: Account, tmp_path: Path
) -> None:
    inner = jail / "100%" / account.name / str(account.uid)
    inner.mkdir(parents=True)
    furnish(inner)
    (inner / "found").write_bytes(b"")
    with start(name, tmp_path, account, ChrootDirectory=f"{jail}/100%%/%u/%U") as server:
        done = TellinClient(tmp_path).run(server.target, "ls /")
        logged(server, f'Changed root directory to "{inner}"')
    assert b"found" in done.stdout.split()


def spoil(jail: Path, how: str, account: Account) -> str:
    """Make a root that is not to be entered; its path."""
    (jail / "a" / "b").mkdir(parents=True)
    match how:
        case "another owner":
            os.chown(jail / "a" / "b", account.uid, -1)
        case "another owner above":
            os.chown(jail / "a", account.uid, -1)
        case "a group may write":
            (jail / "a" / "b").chmod(0o775)
        case "others may write above":
            (jail / "a").chmod(0o757)
        case "nothing there":
            return f"{jail}/a/none"
        case "a file":
            (jail / "a" / "f").write_bytes(b"")
            return f"{jail}/a/f"
    return f"{jail}/a/b"


WRONG = (
    *("another owner", "another owner above", "a group may write", "others may write above"),
    *("nothing there", "a file"),
)


@pytest.mark.peer("sshd")
@pytest.mark.parametrize("how", WRONG)
def test_a_root_that_others_may_change_is_refused_with_openssh_s_words(
    how: str, jail: Path, account: Account, tmp_path: Path
) -> None:
    path = spoil(jail, how, account)
    said = []
    for name in SERVERS:
        with start(name, tmp_path, account, ChrootDirectory=path) as server:
            done = TellinClient(tmp_path).run(server.target, "echo inside")
            assert done.status == 255
            assert done.stdout == b""
            log = logged(server, str(jail / "a"))
        found = re.findall(r'(?:bad ownership|stat\("|chroot path).*', log)
        said.append(found[0].replace("\r", ""))
    assert said[0] == said[1]


def test_r113_a_match_block_has_a_root_of_its_own(
    jail: Path, account: Account, tmp_path: Path
) -> None:
    furnish(jail)
    (jail / "inside").write_bytes(b"")
    match = f"User {account.name}\nChrootDirectory {jail}\nMatch User somebody-else\nPermitTTY no"
    with start("tellin", tmp_path, account, Match=match) as server:
        done = TellinClient(tmp_path).run(server.target, "ls /")
    assert b"inside" in done.stdout.split()
    assert b"etc" not in done.stdout.split()


def test_what_a_session_has_open_leads_nowhere_else(
    jail: Path, account: Account, tmp_path: Path
) -> None:
    """A directory that is open from outside would be a way out for whoever takes the process over."""
    furnish(jail)
    with start("tellin", tmp_path, account, ChrootDirectory=jail) as server:
        key = load_private_key(server.identity.path.read_bytes())
        caller = Caller(server.port).log_in(account.name, key)
        session = caller.session()
        assert session.ask(PtyRequest("xterm", 80, 24, 0, 0, b""))
        assert session.ask(ExecRequest(b"echo ready; read line"))
        caller.wait_for(lambda: b"ready" in session.out.data)
        inside = [
            pid
            for pid in server.sessions()
            if os.readlink(f"/proc/{pid}/root") == str(jail)  # noqa: PTH115
        ]
        assert inside
        for pid in inside:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                assert not stat.S_ISDIR(entry.stat().st_mode), entry.readlink()
        caller.socket.close()


def test_without_root_nobody_is_let_into_another_one(
    jail: Path, account: Account, tmp_path: Path
) -> None:
    options = {"ChrootDirectory": jail, "PasswordAuthentication": "no"}
    with TellinServer(tmp_path, account=account, unprivileged=True, options=options) as server:
        done = TellinClient(tmp_path).run(server.target, "echo inside")
        assert (done.status, done.stdout) == (255, b"")
        logged(server, "server lacks privileges to chroot to ChrootDirectory")


# What a session has besides its files


@pytest.fixture
def agent() -> Iterator[RunningAgent]:
    # sun_path in unix(7): a name that is short.
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        running = RunningAgent("tellin", Path(made))
        yield running
        running.stop()


@both
def test_a_shell_s_start_file_agent_and_record_of_its_login_are_those_inside(
    name: str, jail: Path, account: Account, tmp_path: Path, agent: RunningAgent
) -> None:
    furnish(jail)
    for folder in ("own", "tmp"):
        (jail / folder).mkdir()
        (jail / folder).chmod(0o1777)
    outside = account.home / ".ssh"
    inside = jail / str(outside)[1:]
    for folder, where in ((outside, "outside"), (inside, "inside")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rc").write_text(f"echo {where} > /own/ran\n")
    command = (
        "read ran < /own/ran; echo $ran; ls $SSH_AUTH_SOCK;"
        " read method key < $SSH_USER_AUTH; echo $method; ls -d /tmp/*"
    )
    options = {
        "ChrootDirectory": jail,
        "ExposeAuthInfo": "yes",
        "AllowAgentForwarding": "yes",
        "PermitUserRC": "yes",
    }
    client = TellinClient(tmp_path)
    words = {"ForwardAgent": "yes", "IdentityAgent": str(agent.path)}
    try:
        with start(name, tmp_path, account, **options) as server:
            done = client.run(server.target, command, options=words)
    finally:
        shutil.rmtree(outside)
    ran, socket, method, *_ = done.stdout.decode().splitlines()
    assert (ran, method) == ("inside", "publickey"), done
    assert socket.startswith("/tmp/ssh-")
    # Nothing is left of them.
    until = time.monotonic() + 60
    while list((jail / "tmp").iterdir()):
        assert time.monotonic() < until, list((jail / "tmp").iterdir())
        time.sleep(0.05)


@both
@pytest.mark.peer("sftp")
def test_an_account_with_files_alone_has_them_whatever_else_is_asked_for(
    name: str, jail: Path, account: Account, tmp_path: Path, agent: RunningAgent
) -> None:
    """ExposeAuthInfo, a start file and a forwarded agent do not get in its way, and leave nothing behind."""
    own = jail / "own"
    own.mkdir()
    os.chown(own, account.uid, -1)
    start_file = jail / str(account.home)[1:] / ".ssh" / "rc"
    start_file.parent.mkdir(parents=True)
    start_file.write_text("echo inside > /own/ran\n")
    (tmp_path / "here").write_bytes(b"data")
    options = {
        "ChrootDirectory": jail,
        "ForceCommand": "internal-sftp",
        "ExposeAuthInfo": "yes",
        "AllowAgentForwarding": "yes",
        "PermitUserRC": "yes",
    }
    with start(name, tmp_path, account, **options) as server:
        done = sftp(server.target, ["put here /own/there", "ls /own"], tmp_path, tmp_path)
        client = TellinClient(tmp_path)
        words = {"ForwardAgent": "yes", "IdentityAgent": str(agent.path)}
        shell = client.run(server.target, "echo in", options=words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["/own/there"]
    assert (shell.status, shell.stdout) == (1, b"This service allows sftp connections only.\n")
    assert [one.name for one in own.iterdir()] == ["there"]
