# SPDX-License-Identifier: MIT
"""``ssh`` by a ProxyCommand, beside OpenSSH's client: what it runs, what it says, and what is left of it."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.peers import OpenSSHServer
from tests.programs.ssh_runs import EITHER, SSH, Ssh, having, said

pytestmark = pytest.mark.peer("sshd")

PATIENCE = 60
CLOSED = [
    "kex_exchange_identification: Connection closed by remote host",
    "Connection closed by UNKNOWN port 65535",
]
DIALER = """\
import array, socket, sys
made = socket.create_connection((sys.argv[1], int(sys.argv[2])))
ours = socket.socket(fileno=1)
ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
"""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OpenSSHServer]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with OpenSSHServer(tmp_path_factory.mktemp("server"), account=account) as running:
        yield running


@pytest.fixture(params=EITHER)
def ssh(request: pytest.FixtureRequest, server: OpenSSHServer, tmp_path: Path) -> Iterator[Ssh]:
    """Both, so that what OpenSSH's does is seen and not remembered."""
    made = Ssh(tmp_path, server.target)
    made.program = SSH if request.param == "tellin" else ("ssh",)
    yield made
    made.stop()


def passing(folder: Path) -> str:
    """A command that hands over a connection to ``%h`` and ``%p``."""
    dialer = folder / "dialer.py"
    dialer.write_text(DIALER, "ascii")
    return f"{sys.executable} {dialer} %h %p"


def eventually(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.peer("nc")
def test_netcat_leads_to_the_server(ssh: Ssh) -> None:
    data = os.urandom(300_000)
    done = ssh.run("cat", flags=having("ProxyCommand=nc %h %p"), input=data)
    assert (done.status, done.stdout, done.stderr) == (0, data, b"")


@pytest.mark.peer("ssh")
def test_openssh_leads_to_the_server_by_w(ssh: Ssh, server: OpenSSHServer) -> None:
    hop = " ".join(["ssh", *ssh.options(), "-p", str(server.port), f"{server.user}@127.0.0.1"])
    done = ssh.run("echo inside", flags=having(f"ProxyCommand={hop} -W '[%h]:%p'"))
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")


def test_the_shell_makes_room_for_the_command(ssh: Ssh, tmp_path: Path) -> None:
    """``exec``, by the user's shell; tokens are put in, and a doubled sign is one."""
    mark = tmp_path / "mark"
    command = f"echo $0 $PPID %h %p %r %n %% > {mark}; exit 3"
    shell = tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec /bin/sh "$@"\n', "ascii")
    shell.chmod(0o755)
    done = ssh.run("true", flags=having(f"ProxyCommand={command}"), env={"SHELL": str(shell)})
    assert done.status == 255
    words = (tmp_path / "words").read_text("ascii")
    target = ssh.target
    told = f"> {mark}; exit 3"
    expected = f"echo $0 $PPID {target.host} {target.port} {target.user} {target.host} % {told}"
    assert words == f"-c exec {expected}\n"


def test_none_and_what_stands_first_count(ssh: Ssh) -> None:
    for options in (
        ("ProxyCommand=none", "ProxyCommand=false"),
        ("ProxyCommand=none", "ProxyUseFdpass=yes"),
        ("ProxyJump=none",),
    ):
        done = ssh.run("echo inside", flags=having(*options))
        assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")


def test_what_it_says_on_standard_error_is_shown(ssh: Ssh) -> None:
    done = ssh.run("true", flags=having("ProxyCommand=cat > /dev/null & echo oops >&2; sleep 0.5"))
    assert done.status == 255
    assert said(done)[0] == "oops"


def test_one_that_ends_without_a_word(ssh: Ssh) -> None:
    # It has read what we said: else the connection was reset.
    done = ssh.run("true", flags=having("ProxyCommand=head -n 1 > /dev/null; exit 7"))
    assert (done.status, said(done)) == (255, CLOSED)


def test_one_that_says_nothing_has_the_time_of_connect_timeout(ssh: Ssh) -> None:
    done = ssh.run("true", flags=having("ProxyCommand=sleep 60", "ConnectTimeout=1"))
    assert done.status == 255
    assert said(done) == [
        "Connection timed out during banner exchange",
        "Connection to UNKNOWN port 65535 timed out",
    ]


def test_it_ends_with_the_connection(ssh: Ssh, tmp_path: Path) -> None:
    """By a hang-up, also where it does not look at its input."""
    number = tmp_path / "number"
    relay = f"sh -c 'echo $$ > {number}; exec {sys.executable} -c \"$RELAY\" %h %p'"
    code = (
        "import os, socket, sys, threading, time\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
        "time.sleep(600)\n"
    )
    done = ssh.run("exit 9", flags=having(f"ProxyCommand={relay}"), env={"RELAY": code})
    assert (done.status, done.stderr) == (9, b"")
    pid = int(number.read_text("ascii"))

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(gone)


@pytest.mark.peer("nc")
def test_when_it_dies_the_session_dies(ssh: Ssh, tmp_path: Path) -> None:
    relay = tmp_path / "relay"
    relay.write_text(f'#!/bin/sh\necho $$ > {tmp_path}/number\nexec nc "$@"\n', "ascii")
    relay.chmod(0o755)
    process = ssh.start("echo in; cat", flags=having(f"ProxyCommand={relay} %h %p"))
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    os.kill(int((tmp_path / "number").read_text("ascii")), 9)
    assert process.wait(PATIENCE) == 255
    assert process.stderr is not None
    # OpenSSH's may find out by writing.
    told = process.stderr.read().decode()
    assert "closed by remote host" in told or "Broken pipe" in told


def test_the_host_is_known_by_name_alone(ssh: Ssh, tmp_path: Path) -> None:
    """CheckHostIP has nothing to look at: whose address it was, the command alone knows."""
    ssh.known_hosts.write_text(f"its-name {ssh.target.host_keys[0]}\n", "ascii")
    options = (
        f"ProxyCommand={passing(tmp_path)}",
        "ProxyUseFdpass=yes",
        "CheckHostIP=yes",
        "HostKeyAlias=its-name",
        "UpdateHostKeys=no",
    )
    before = ssh.known_hosts.read_bytes()
    done = ssh.run("echo inside", flags=having(*options))
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")
    assert ssh.known_hosts.read_bytes() == before


@pytest.mark.peer("nc")
def test_signs_of_life_go_by_it_too(ssh: Ssh, tmp_path: Path) -> None:
    """A command that stops: its connection is given up, and its stream is no network's."""
    relay = tmp_path / "relay"
    relay.write_text(f'#!/bin/sh\necho $$ > {tmp_path}/number\nexec nc "$@"\n', "ascii")
    relay.chmod(0o755)
    options = (
        f"ProxyCommand={relay} %h %p",
        "ServerAliveInterval=1",
        "ServerAliveCountMax=1",
    )
    process = ssh.start("echo in; cat", flags=having(*options))
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    pid = int((tmp_path / "number").read_text("ascii"))
    os.kill(pid, 19)
    try:
        assert process.wait(PATIENCE) == 255
    finally:
        os.kill(pid, 18)
    assert process.stderr is not None
    assert (
        process.stderr.read().decode().split()
        == f"Timeout, server {ssh.target.host} not responding.".split()
    )


# ------------------------------------------------------------------------- ProxyUseFdpass


def test_a_connected_socket_is_handed_over(ssh: Ssh, tmp_path: Path) -> None:
    """And is the connection from there on: the command is gone, the address known."""
    options = (f"ProxyCommand={passing(tmp_path)}", "ProxyUseFdpass=yes")
    data = os.urandom(300_000)
    done = ssh.run("cat", flags=having(*options), input=data)
    assert (done.status, done.stdout, done.stderr) == (0, data, b"")
    done = ssh.run("true", flags=["-v", *having(*options)])
    target = ssh.target
    assert (
        f"Authenticated to {target.host} ([{target.host}]:{target.port}) using"
        in done.stderr.decode()
    )


@pytest.mark.peer("nc")
def test_netcat_hands_one_over(ssh: Ssh) -> None:
    options = ("ProxyCommand=nc -F %h %p", "ProxyUseFdpass=yes")
    done = ssh.run("echo inside", flags=having(*options))
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")


@pytest.mark.parametrize("command", ["false", "echo words", "cat /dev/null"])
def test_without_a_socket_there_is_no_connection(ssh: Ssh, command: str) -> None:
    done = ssh.run("true", flags=having(f"ProxyCommand={command}", "ProxyUseFdpass=yes"))
    assert done.status == 255
    assert said(done)[-1].startswith("proxy dialer did not pass back a connection")


def test_a_file_is_no_connection(server: OpenSSHServer, tmp_path: Path) -> None:
    code = DIALER.replace(
        "socket.create_connection((sys.argv[1], int(sys.argv[2])))", "open('/dev/null')"
    )
    (tmp_path / "dialer.py").write_text(code, "ascii")
    ssh = Ssh(tmp_path, server.target)
    command = f"{sys.executable} {tmp_path}/dialer.py"
    done = ssh.run("true", flags=having(f"ProxyCommand={command}", "ProxyUseFdpass=yes"))
    assert done.status == 255
    (line,) = said(done)
    assert line.startswith("proxy dialer did not pass back a connection: ")


def test_a_dialer_has_the_time_of_connect_timeout(server: OpenSSHServer, tmp_path: Path) -> None:
    """OpenSSH's client waits for it without end."""
    ssh = Ssh(tmp_path, server.target)
    options = ("ProxyCommand=sleep 60", "ProxyUseFdpass=yes", "ConnectTimeout=1")
    done = ssh.run("true", flags=having(*options))
    assert done.status == 255
    assert said(done) == ["proxy dialer did not pass back a connection: Connection timed out"]


@pytest.mark.peer("nc")
def test_the_way_is_told_to_whoever_asks(ssh: Ssh) -> None:
    done = ssh.run("true", flags=["-v", *having("ProxyCommand=nc %h %p")])
    assert (
        f'Authenticated to {ssh.target.host} (via proxy) using "publickey"' in done.stderr.decode()
    )
    assert b"Executing proxy command: exec nc " in done.stderr


# ------------------------------------------------------------------------- ProxyCommand=-


def through(ssh: Ssh, *words: str, flags: list[str]) -> "subprocess.Popen[bytes]":
    """A client that finds a connection in its hands and makes none."""
    made = socket.create_connection((ssh.target.host, ssh.target.port))
    with made:
        return ssh.start(
            *words, flags=[*flags, *having("ProxyCommand=-")], stdin=made, stdout=made
        )


def test_a_dash_is_the_connection_that_somebody_has_made(ssh: Ssh) -> None:
    process = through(ssh, "echo inside >&2; exit 7", flags=["-n", "-v"])
    _, told = process.communicate(timeout=PATIENCE)
    target = ssh.target
    assert process.returncode == 7
    assert "inside" in told.decode().splitlines()
    # A socket has an address, whoever made it.
    assert f"Authenticated to {target.host} ([{target.host}]:{target.port}) using" in told.decode()
    assert b"Executing proxy" not in told


def test_a_dash_is_two_pipes(ssh: Ssh) -> None:
    with socket.create_connection((ssh.target.host, ssh.target.port)) as made:
        process = ssh.start("echo inside >&2; exit 7", flags=["-n", *having("ProxyCommand=-")])
        assert process.stdin is not None
        assert process.stdout is not None
        to, come = process.stdin.fileno(), process.stdout.fileno()

        def carry() -> None:
            while data := made.recv(65536):
                os.write(to, data)

        # A daemon: the server hangs up at the end, and a client that is gone takes no more.
        threading.Thread(target=carry, daemon=True).start()
        while data := os.read(come, 65536):
            made.sendall(data)
        assert process.wait(PATIENCE) == 7
        assert process.stderr is not None
        assert process.stderr.read() == b"inside\n"


def test_a_dash_carries_what_is_forwarded(ssh: Ssh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    forward = f"127.0.0.1:{port}:{ssh.target.host}:{ssh.target.port}"
    process = through(ssh, flags=["-N", "-L", forward])
    found: list[bytes] = []

    def greeted() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port)) as made:
                found.append(made.recv(8))
        except ConnectionRefusedError:
            return False
        return True

    eventually(greeted)
    assert found == [b"SSH-2.0-"]
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_by_a_dash_what_a_command_reads_and_says_is_no_part_of_the_connection(
    server: OpenSSHServer, tmp_path: Path
) -> None:
    """OpenSSH's session would read the server's packets, and write among its own."""
    ssh = Ssh(tmp_path, server.target)
    process = through(ssh, "cat >&2; head -c 300000 /dev/zero; exit 7", flags=[])
    _, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told) == (7, b"")
    ssh.stop()


def test_a_dash_cannot_hand_over_a_socket(ssh: Ssh) -> None:
    done = ssh.run("true", flags=having("ProxyCommand=-", "ProxyUseFdpass=yes"))
    assert (done.status, done.stdout) == (255, b"")
    assert said(done) == ["ProxyCommand=- and ProxyUseFDPass are incompatible"]
