# SPDX-License-Identifier: MIT
"""``tellin ssh`` and trust: host keys asked about and recorded, passphrases and passwords asked for."""

import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import AsyncSSHServer, OpenSSHServer
from tests.interop.target import KeyFile, Target, make_key
from tests.programs.ssh_runs import Ssh, Typist, asked, askpass

from tellin.keys import load_private_key, load_public_key

pytestmark = pytest.mark.peer("sshd")

BOX = "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OpenSSHServer]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    options = {"PasswordAuthentication": "no"}
    with OpenSSHServer(
        tmp_path_factory.mktemp("server"), account=account, options=options
    ) as running:
        yield running


@pytest.fixture
def target(server: OpenSSHServer) -> Target:
    return server.target


# Host keys


def test_strict_refuses_an_unknown_host_and_writes_nothing(target: Target, tmp_path: Path) -> None:
    ssh = Ssh(tmp_path, target, policy="accept-new")
    done = ssh.run("echo in", flags=["-o", "StrictHostKeyChecking=yes"])
    assert (done.status, done.stdout) == (255, b"")
    assert done.stderr.decode().splitlines() == [
        (
            f"No ED25519 host key is known for [127.0.0.1]:{target.port}"
            " and you have requested strict checking."
        ),
        "Host key verification failed.",
    ]
    assert not ssh.known_hosts.exists()


@pytest.mark.parametrize("flags", [[], ["-o", "BatchMode=yes"]])
def test_without_anybody_to_ask_an_unknown_host_is_refused(
    target: Target, tmp_path: Path, flags: list[str]
) -> None:
    ssh = Ssh(tmp_path, target, policy="ask")
    done = ssh.run("echo in", flags=flags)
    assert (done.status, done.stdout) == (255, b"")
    assert done.stderr.endswith(b"Host key verification failed.\r\n")
    assert not ssh.known_hosts.exists()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa256", "ed25519"])
def test_a_host_that_is_known_by_another_type_than_the_best_is_asked_for_that(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    kinds = ("ed25519", "ecdsa256", "rsa")
    with OpenSSHServer(tmp_path, account=account, host_keys=kinds) as running:
        ssh = Ssh(tmp_path, running.target)
        line = running.target.known_hosts().splitlines()[kinds.index(kind)]
        ssh.known_hosts.write_text(line + "\n", "ascii")
        done = ssh.run("echo in", flags=["-o", "BatchMode=yes"])
    assert (done.status, done.stdout, done.stderr) == (0, b"in\n", b"")
    assert ssh.known_hosts.read_text("ascii") == line + "\n"


@pytest.mark.parametrize("policy", ["accept-new", "no"])
def test_a_new_host_is_recorded_as_openssh_records_it(
    target: Target, tmp_path: Path, policy: str
) -> None:
    ssh = Ssh(tmp_path, target, policy=policy)
    done = ssh.run("echo in")
    name = f"[127.0.0.1]:{target.port}"
    assert done.stdout == b"in\n"
    assert done.stderr.decode() == (
        f"Warning: Permanently added '{name}' (ED25519) to the list of known hosts.\r\n"
    )
    assert ssh.known_hosts.read_text("ascii") == target.known_hosts()
    assert ssh.run("echo in").stderr == b""
    quiet = Ssh(tmp_path, target, policy=policy)
    quiet.known_hosts = Path("/dev/null")
    assert quiet.run("echo in", flags=["-o", "LogLevel=ERROR"]).stderr == b""


def test_names_are_hashed_where_that_is_wanted(target: Target, tmp_path: Path) -> None:
    ssh = Ssh(tmp_path, target, policy="accept-new")
    assert ssh.run("true", flags=["-o", "HashKnownHosts=yes"]).status == 0
    text = ssh.known_hosts.read_text("ascii")
    assert text.startswith("|1|")
    assert str(target.port) not in text
    assert ssh.run("true", flags=["-o", "StrictHostKeyChecking=yes"]).stderr == b""


def test_a_changed_host_key_is_refused_in_openssh_s_words(target: Target, tmp_path: Path) -> None:
    ssh = Ssh(tmp_path, target)
    other = make_key(tmp_path / "other")
    name = f"[127.0.0.1]:{target.port}"
    ssh.known_hosts.write_text(f"# first\n{name} {other.public}\n", "ascii")
    before = ssh.known_hosts.read_bytes()
    for policy in ("yes", "accept-new", "ask"):
        done = ssh.run("echo in", flags=["-o", f"StrictHostKeyChecking={policy}"])
        assert (done.status, done.stdout) == (255, b"")
        ours = done.stderr.decode()
        assert BOX in ours
        assert f"Offending ED25519 key in {ssh.known_hosts}:2\r\n" in ours
        assert f'  ssh-keygen -f "{ssh.known_hosts}" -R "{name}"\r\n' in ours
        theirs = subprocess.run(
            ["ssh", *ssh.argv("true", flags=["-o", f"StrictHostKeyChecking={policy}"])[4:]],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert ours.splitlines() == theirs.stderr.decode().splitlines()
    assert ssh.known_hosts.read_bytes() == before


def test_a_changed_key_that_is_let_in_is_given_no_password(target: Target, tmp_path: Path) -> None:
    ssh = Ssh(tmp_path, target)
    other = make_key(tmp_path / "other")
    ssh.known_hosts.write_text(f"[127.0.0.1]:{target.port} {other.public}\n", "ascii")
    done = ssh.run("echo in", flags=["-o", "StrictHostKeyChecking=no"])
    assert done.stdout == b"in\n"
    assert BOX.encode() in done.stderr
    assert b"Password authentication is disabled to avoid man-in-the-middle attacks" in done.stderr


def test_a_revoked_host_key_is_refused_whatever_the_policy(target: Target, tmp_path: Path) -> None:
    ssh = Ssh(tmp_path, target)
    with ssh.known_hosts.open("a", encoding="ascii") as file:
        file.write(f"@revoked * {target.host_keys[0]}\n")
    done = ssh.run("echo in", flags=["-o", "StrictHostKeyChecking=no"])
    assert (done.status, done.stdout) == (255, b"")
    assert b"WARNING: REVOKED HOST KEY DETECTED!" in done.stderr


@pytest.mark.parametrize("answer", ["yes", "fingerprint", "no", "", "perhaps"])
def test_the_question_about_an_unknown_host(target: Target, tmp_path: Path, answer: str) -> None:
    ssh = Ssh(tmp_path, target, policy="ask")
    fingerprint = load_fingerprint(target)
    with Typist(ssh.argv("echo in"), env=ssh.environment) as typist:
        text = typist.expect(r"\(yes/no/\[fingerprint\]\)\? ")
        name = f"[127.0.0.1]:{target.port}"
        assert not text.startswith("in")
        if answer == "perhaps":
            typist.type("perhaps\n")
            typist.expect(r"Please type 'yes', 'no' or the fingerprint: ")
            answer = "yes"
        typist.type((fingerprint if answer == "fingerprint" else answer) + "\n")
        status = typist.end()
        shown = typist.read.decode()
    if answer in {"no", ""}:
        assert status == 255
        assert shown.rstrip().endswith("Host key verification failed.")
        assert not ssh.known_hosts.exists()
        return
    assert status == 0
    assert f"Warning: Permanently added '{name}' (ED25519) to the list of known hosts." in shown
    assert shown.endswith("in\r\n")
    assert ssh.known_hosts.read_text("ascii") == target.known_hosts()


def test_ctrl_c_at_a_question_ends_us_by_that_signal(target: Target, tmp_path: Path) -> None:
    # A shell goes on with its loop otherwise, as if the host had only been out of reach.
    ssh = Ssh(tmp_path, target, policy="ask")
    with Typist(ssh.argv("echo in"), env=ssh.environment) as typist:
        before = termios.tcgetattr(typist.terminal)
        typist.expect(r"\(yes/no/\[fingerprint\]\)\? ")
        typist.type("\x03")
        assert typist.end() == -signal.SIGINT
        assert b"Traceback" not in typist.read
        assert termios.tcgetattr(typist.terminal) == before
    assert not ssh.known_hosts.exists()


def test_a_signal_before_the_login_does_what_it_does_to_every_program(
    target: Target, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ssh = Ssh(tmp_path, target)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = ssh.start("true", flags=["-v", "-p", str(silent.getsockname()[1])])
            assert process.stderr is not None
            for line in process.stderr:
                if b"SSH2_MSG_KEXINIT sent" in line:
                    break
            process.send_signal(number)
            assert process.wait(60) == -number
            rest = process.stderr.read()
            assert b"Traceback" not in rest
            assert b"signal" not in rest
        ssh.stop()


def load_fingerprint(target: Target) -> str:
    return KeyFile(Path(), target.host_keys[0]).fingerprint


def test_the_question_in_full(target: Target, tmp_path: Path) -> None:
    ssh = Ssh(tmp_path, target, policy="ask")
    name = f"[127.0.0.1]:{target.port}"
    ssh.known_hosts.write_text(f"elsewhere {target.host_keys[0]}\n", "ascii")
    with Typist(ssh.argv("echo in"), env=ssh.environment) as typist:
        typist.expect(
            rf"The authenticity of host '\[127.0.0.1\]:{target.port}"
            rf" \(\[127.0.0.1\]:{target.port}\)' can't be established.\r\n"
        )
        typist.expect(r"ED25519 key fingerprint is SHA256:")
        typist.expect(r"This host key is known by the following other names/addresses:\r\n")
        typist.expect(rf"    {ssh.known_hosts}:1: elsewhere\r\n")
        typist.expect(r"connecting \(yes/no/\[fingerprint\]\)\? ")
        typist.type("no\n")
        assert typist.end() == 255
    assert name not in ssh.known_hosts.read_text("ascii")


# Passphrases


@pytest.fixture
def locked(target: Target, tmp_path: Path) -> Ssh:
    """The user's key behind a passphrase."""
    assert target.identity is not None
    key = load_private_key(target.identity.path.read_bytes())
    path = tmp_path / "locked"
    path.write_bytes(key.to_openssh(b"open sesame", rounds=1))
    path.chmod(0o600)
    identity = KeyFile(path, target.identity.public)
    return Ssh(
        tmp_path,
        Target(port=target.port, user=target.user, host_keys=target.host_keys, identity=identity),
    )


def test_a_passphrase_is_asked_for_on_the_terminal_without_echo(locked: Ssh) -> None:
    with Typist(locked.argv("echo in"), env=locked.environment) as typist:
        typist.expect(rf"Enter passphrase for key '{locked.directory}/locked': ")
        typist.type("open sesame\n")
        assert typist.end() == 0
        assert b"sesame" not in typist.read
        assert typist.read.endswith(b"in\r\n")


def test_a_passphrase_by_askpass(locked: Ssh, tmp_path: Path) -> None:
    done = locked.run("echo in", env=askpass(tmp_path, "wrong", "open sesame"))
    assert (done.status, done.stdout, done.stderr) == (0, b"in\n", b"")
    assert asked(tmp_path) == [f"Enter passphrase for key '{tmp_path}/locked': "] * 2


def test_a_wrong_passphrase_is_named_with_its_file(locked: Ssh, tmp_path: Path) -> None:
    done = locked.run("echo in", env=askpass(tmp_path, "a", "b", "c", "d"))
    assert (done.status, done.stdout) == (255, b"")
    assert len(asked(tmp_path)) == 3
    path = f"{tmp_path}/locked"
    lines = done.stderr.decode().splitlines()
    assert lines[0] == f'Load key "{path}": incorrect passphrase supplied to decrypt private key'
    assert "Permission denied (publickey" in lines[1]
    assert len(lines) == 2


def test_batch_mode_asks_nothing(locked: Ssh, tmp_path: Path) -> None:
    done = locked.run("true", flags=["-o", "BatchMode=yes"], env=askpass(tmp_path, "open sesame"))
    assert done.status == 255
    assert asked(tmp_path) == []
    assert b"nobody may be asked" in done.stderr


def test_an_unprotected_key_is_ignored_with_the_box(target: Target, tmp_path: Path) -> None:
    assert target.identity is not None
    path = tmp_path / "open"
    path.write_bytes(target.identity.path.read_bytes())
    path.chmod(0o644)
    identity = KeyFile(path, target.identity.public)
    ssh = Ssh(
        tmp_path,
        Target(port=target.port, user=target.user, host_keys=target.host_keys, identity=identity),
    )
    done = ssh.run("true")
    assert done.status == 255
    theirs = subprocess.run(
        ["ssh", *ssh.argv("true", flags=["-o", "IdentitiesOnly=yes"])[4:]],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=ssh.environment,
        start_new_session=True,
    )
    assert done.stderr == theirs.stderr


# Passwords


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsyncSSHServer]:
    with AsyncSSHServer(tmp_path_factory.mktemp("door")) as running:
        yield running


@pytest.fixture
def by_password(door: AsyncSSHServer, tmp_path: Path) -> Ssh:
    target = door.target
    return Ssh(tmp_path, Target(port=target.port, user=target.user, host_keys=target.host_keys))


PASSWORD = ["-o", "PreferredAuthentications=password", "-o", "IdentityFile=none"]
QUESTIONS = ["-o", "PreferredAuthentications=keyboard-interactive", "-o", "IdentityFile=none"]


@pytest.mark.peer("asyncssh")
def test_a_password_by_askpass(by_password: Ssh, door: AsyncSSHServer, tmp_path: Path) -> None:
    assert door.password is not None
    done = by_password.run(
        "echo in", flags=PASSWORD, env=askpass(tmp_path, "wrong", door.password)
    )
    assert (done.status, done.stdout) == (0, b"in\n")
    assert done.stderr == b"Permission denied, please try again.\r\n"
    assert asked(tmp_path) == [f"{door.user}@127.0.0.1's password: "] * 2


@pytest.mark.peer("asyncssh")
def test_r210_no_secret_is_told_at_any_level(
    by_password: Ssh, door: AsyncSSHServer, tmp_path: Path
) -> None:
    assert door.password is not None
    for flags in (PASSWORD, QUESTIONS):
        done = by_password.run(
            "echo in", flags=["-vvv", *flags], env=askpass(tmp_path, door.password)
        )
        assert done.stdout == b"in\n"
        assert b"debug1: " in done.stderr
        assert door.password.encode() not in done.stderr


@pytest.mark.peer("asyncssh")
def test_a_password_at_the_terminal(by_password: Ssh, door: AsyncSSHServer) -> None:
    with Typist(
        by_password.argv("echo in", flags=PASSWORD), env=by_password.environment
    ) as typist:
        typist.expect(rf"{door.user}@127.0.0.1's password: ")
        typist.type(f"{door.password}\n")
        assert typist.end() == 0
        assert typist.read.replace(b"\r\n", b"\n") == b"\nin\n"


@pytest.mark.peer("asyncssh")
def test_the_server_s_questions_are_marked_as_such(
    by_password: Ssh, door: AsyncSSHServer, tmp_path: Path
) -> None:
    assert door.password is not None
    done = by_password.run("echo in", flags=QUESTIONS, env=askpass(tmp_path, door.password))
    assert (done.status, done.stdout, done.stderr) == (0, b"in\n", b"")
    assert asked(tmp_path) == [f"({door.user}@127.0.0.1) Password: "]


@pytest.mark.peer("asyncssh")
def test_three_wrong_passwords_are_the_end(by_password: Ssh, tmp_path: Path) -> None:
    done = by_password.run("echo in", flags=PASSWORD, env=askpass(tmp_path, *"abcde"))
    assert (done.status, done.stdout) == (255, b"")
    assert len(asked(tmp_path)) == 3
    lines = done.stderr.decode().splitlines()
    assert lines[:2] == ["Permission denied, please try again."] * 2
    assert "Permission denied (" in lines[2]


@pytest.mark.peer("asyncssh")
def test_nobody_to_ask_for_a_password(by_password: Ssh) -> None:
    done = by_password.run("echo in", flags=PASSWORD)
    assert done.status == 255
    assert len(done.stderr.splitlines()) == 1
    assert b"Permission denied (" in done.stderr


OPEN_DOOR = """
import asyncio, sys
import asyncssh

class Door(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

async def serve():
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[sys.argv[1]], server_factory=Door,
        process_factory=lambda process: (process.stdout.write("in\\n"), process.exit(0)),
    )
    print(server.get_port(), flush=True)
    await asyncio.sleep(100)

asyncio.run(serve())
"""


@pytest.mark.peer("asyncssh")
def test_r023_the_end_of_a_login_without_proof_can_be_seen(tmp_path: Path) -> None:
    key = make_key(tmp_path / "host")
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_DOOR, key.path], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        target = Target(port=int(server.stdout.readline()), user="any", host_keys=(key.public,))
        ssh = Ssh(tmp_path, target)
        try:
            argv = ssh.argv("x", flags=["-o", "IdentityFile=none"])
            with Typist(argv, env=ssh.environment) as typist:
                typist.expect(
                    rf"Authenticated to 127.0.0.1 \(\[127.0.0.1\]:{target.port}\)"
                    r" without any proof of who you are.\r+\n"
                )
                assert typist.end() == 0
            # Scripts get what they asked for, and nothing else.
            assert ssh.run("x", flags=["-o", "IdentityFile=none"]).stderr == b""
        finally:
            server.terminate()


# Elsewhere than in files


@pytest.mark.parametrize(
    "program", ["tellin", pytest.param("ssh", marks=pytest.mark.peer("openssh"))]
)
def test_a_program_knows_the_host(target: Target, tmp_path: Path, program: str) -> None:
    ssh = Ssh(tmp_path, target)
    if program == "ssh":
        ssh.program = ("ssh",)
    ssh.known_hosts.write_text("", "ascii")
    tells, note = tmp_path / "tells", tmp_path / "note"
    tells.write_text(f"#!/bin/sh\necho $* >> {note}\ncat {tmp_path}/lines\n", "ascii")
    tells.chmod(0o755)
    (tmp_path / "lines").write_text(target.known_hosts(), "ascii")
    flags = ["-o", f"KnownHostsCommand={tells} %I %H %t %f %k %p", "-o", "BatchMode=yes"]
    assert ssh.run("echo in", flags=flags).stdout == b"in\n"
    name, kind = f"[127.0.0.1]:{target.port}", "ssh-ed25519"
    shown = load_public_key(target.host_keys[0]).fingerprint()
    assert note.read_text("ascii").splitlines() == [
        f"ORDER 127.0.0.1 NONE NONE 127.0.0.1 {target.port}",
        f"HOSTNAME {name} {kind} {shown} 127.0.0.1 {target.port}",
    ]
    assert ssh.known_hosts.read_text("ascii") == ""
    (tmp_path / "lines").write_text("", "ascii")
    assert ssh.run("echo in", flags=flags).status == 255
    assert ssh.run("true", flags=["-o", f"KnownHostsCommand={tmp_path}/nosuch"]).status == 255


@pytest.mark.parametrize(
    "program", ["tellin", pytest.param("ssh", marks=pytest.mark.peer("openssh"))]
)
def test_one_s_own_machine_needs_no_record_where_that_is_said(
    target: Target, tmp_path: Path, program: str
) -> None:
    ssh = Ssh(tmp_path, target)
    if program == "ssh":
        ssh.program = ("ssh",)
    other = make_key(tmp_path / "other")
    ssh.known_hosts.write_text(f"[127.0.0.1]:{target.port} {other.public}\n", "ascii")
    flags = ["-v", "-o", "NoHostAuthenticationForLocalhost=yes", "-o", "UpdateHostKeys=yes"]
    before = ssh.known_hosts.read_text("ascii")
    done = ssh.run("echo in", flags=flags)
    assert done.stdout == b"in\n"
    assert b"Forcing accepting of host key for loopback/localhost." in done.stderr
    assert ssh.known_hosts.read_text("ascii") == before
    # Under a name of its own it is a host like others.
    assert ssh.run("echo in", flags=[*flags, "-o", "HostKeyAlias=me"]).status == 255
