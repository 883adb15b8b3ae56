# SPDX-License-Identifier: MIT
"""One connection for many runs of ``ssh``: tellin as the master, as the passenger, and as both, with OpenSSH as the other."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from tests.interop.peers import TERMINALS_OF_SSHD, OpenSSHServer
from tests.interop.target import Completed, Target, free_port
from tests.programs.ssh_runs import LONGEST, SSH, Ssh, Typist, asked, askpass, having, said

from tellin.connection.forwarding import (
    DEVICE,
    DIRECT_PORT,
    DIRECT_SOCKET,
    PortTarget,
    SocketTarget,
)
from tellin.connection.messages import (
    ChannelClose,
    ChannelData,
    ChannelOpen,
    ChannelRequest,
    ChannelSuccess,
    ChannelWindowAdjust,
)
from tellin.connection.requests import EnvironmentRequest, ExecRequest, SubsystemRequest
from tellin.mux.messages import (
    NO_ESCAPE,
    Alive,
    AliveCheck,
    Hello,
    NewSession,
    NewStdioForward,
    Proxy,
    framed,
)
from tellin.mux.packets import packet

pytestmark = pytest.mark.peer("sshd")

_OPENSSH = pytest.mark.peer("ssh")
# Which program is the master, and which one uses its connection.
BOTH_WAYS = [
    pytest.param("tellin", "tellin"),
    pytest.param("tellin", "ssh", marks=_OPENSSH),
    pytest.param("ssh", "tellin", marks=_OPENSSH),
]
MASTERS = ["tellin", pytest.param("ssh", marks=_OPENSSH)]
# What OpenSSH's does at the same is for `make test-all` to hold beside ours.
MASTERS_OFTEN_OURS = ["tellin", pytest.param("ssh", marks=[_OPENSSH, pytest.mark.slow])]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OpenSSHServer]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    # What would note cookies in somebody's home notes nothing.
    display = {"X11Forwarding": "yes", "X11DisplayOffset": "600", "XAuthLocation": "/bin/true"}
    options = {"MaxSessions": "60", "AcceptEnv": "GIVEN", **display}
    with OpenSSHServer(
        tmp_path_factory.mktemp("server"), account=account, options=options
    ) as running:
        yield running


class Shared:
    """A control socket, and runs of either program that know its place."""

    def __init__(self, directory: Path, target: Target) -> None:
        self.directory = directory
        self.socket = directory / "s"
        self._target = target
        self._made: list[Ssh] = []
        self._masters: list[int] = []

    def by(self, program: str) -> Ssh:
        made = Ssh(self.directory, self._target)
        if program != "tellin":
            made.program = (program,)
        self._made.append(made)
        return made

    def flags(self, *more: str) -> list[str]:
        return ["-S", str(self.socket), *more]

    def begin(
        self, program: str, *options: str, master: str = "-M", env: dict[str, str] | None = None
    ) -> int:
        """Start a master in the background; its process id."""
        flags = self.flags(master, *having("ControlPersist=yes", *options))
        done = self.by(program).run("true", flags=flags, env=env)
        assert (done.status, done.stdout) == (0, b""), done
        return self.pid()

    def pid(self) -> int:
        """The master's process id, as it tells it."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.socket))
            stream.sendall(framed(Hello(4)) + framed(AliveCheck(0)))
            wanted = len(framed(Hello(4))) + len(framed(Alive(0, 0)))
            data = b""
            while len(data) < wanted:
                piece = stream.recv(wanted - len(data))
                assert piece, data
                data += piece
        self._masters.append(int.from_bytes(data[-4:], "big"))
        return self._masters[-1]

    def run(
        self,
        program: str,
        *words: str,
        input: bytes = b"",  # noqa: A002  (as subprocess calls it)
        flags: Sequence[str] = (),
    ) -> Completed:
        return self.by(program).run(*words, flags=self.flags(*flags), input=input)

    def control(self, program: str, command: str, *more: str) -> Completed:
        return self.run(program, flags=["-O", command, *more])

    def stop(self) -> None:
        for made in self._made:
            made.stop()
        for pid in self._masters:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def shared(server: OpenSSHServer) -> Iterator[Shared]:
    # A short name: a socket's path has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        one = Shared(Path(made), server.target)
        yield one
        one.stop()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


# Sessions


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_a_passenger_has_streams_a_status_and_variables_of_its_own(
    shared: Shared, master: str, passenger: str
) -> None:
    shared.begin(master, "SendEnv=GIVEN")
    connection = shared.run(passenger, "echo $SSH_CONNECTION").stdout
    done = shared.run(
        passenger, "cat; echo error >&2; echo $SSH_CONNECTION; exit 3", input=b"in\n"
    )
    assert done == Completed(3, b"in\n" + connection, b"error\n")
    assert shared.run(passenger, "kill -9 $$").status == 255
    ssh = shared.by(passenger)
    flags = shared.flags(*having("SendEnv=GIVEN"))
    assert ssh.run("echo $GIVEN", flags=flags, env={"GIVEN": "a b"}).stdout == b"a b\n"
    # What the command leaves in a pipe comes whole, whoever is slow.
    assert len(shared.run(passenger, "head -c 3000000 /dev/zero").stdout) == 3_000_000


@pytest.mark.parametrize("passenger", MASTERS)
def test_fifty_sessions_over_one_master(shared: Shared, passenger: str) -> None:
    shared.begin("tellin")
    count = 50 if passenger == "ssh" else 4
    runs = [
        shared.by(passenger).start("cat; echo $SSH_CONNECTION", flags=shared.flags())
        for _ in range(count)
    ]
    for number, run in enumerate(runs):
        assert run.stdin is not None
        run.stdin.write(b"%d\n" % number)
        run.stdin.flush()
    # All of them are there at once before any ends.
    for number, run in enumerate(runs):
        assert run.stdout is not None
        assert run.stdout.readline() == b"%d\n" % number
    ends = {run.communicate()[0] for run in runs}
    assert len(ends) == 1
    assert all(run.returncode == 0 for run in runs)


@_OPENSSH
@pytest.mark.parametrize("master", MASTERS)
@pytest.mark.parametrize("ending", ["exit", "stop"])
def test_a_master_whose_own_session_is_over_waits_without_its_output(
    shared: Shared, master: str, ending: str
) -> None:
    flags = shared.flags("-M", *having("ControlPersist=no"))
    run = shared.by(master).start("cat; echo over; exit 3", flags=flags)
    until(shared.socket.exists)
    passenger = shared.by("ssh").start("echo here; cat", flags=shared.flags())
    assert passenger.stdout is not None
    assert passenger.stdout.readline() == b"here\n"
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.close()
    # Whoever reads it has its end, as if nobody else used the connection.
    assert run.stdout.read() == b"over\n"
    assert run.poll() is None
    if ending == "exit":
        shared.control("ssh", "exit")
        # The connection was ended under it: as OpenSSH says it.
        assert passenger.wait(LONGEST) == 255
    else:
        passenger.communicate()
    assert run.wait(LONGEST) == 3


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_the_masters_death_is_255_for_its_passengers(
    shared: Shared, master: str, passenger: str
) -> None:
    pid = shared.begin(master)
    run = shared.by(passenger).start("echo here; cat", flags=shared.flags())
    assert run.stdout is not None
    assert run.stdout.readline() == b"here\n"
    os.kill(pid, signal.SIGKILL)
    assert run.wait(LONGEST) == 255


@pytest.mark.parametrize("passenger", MASTERS)
def test_case_335_a_passengers_death_ends_its_command_and_nothing_is_left(
    shared: Shared, passenger: str
) -> None:
    pid = shared.begin("tellin")
    before = open_files(pid)
    for _ in range(3):
        run = shared.by(passenger).start("echo $$; exec cat", flags=shared.flags())
        assert run.stdout is not None
        command = int(run.stdout.readline())
        assert alive(command)
        # Its input stays open: only the passenger is gone.
        run.kill()
        until(lambda: not alive(command))  # noqa: B023  (it is asked before the next round)
    until(lambda: open_files(pid) <= before)
    assert shared.run(passenger, "true").status == 0


def test_case_339_who_does_not_read_holds_up_itself_alone(shared: Shared) -> None:
    pid = shared.begin("tellin")

    def memory() -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("ascii"))
        assert found is not None
        return int(found[1])

    before = memory()
    flood = "head -c 300000000 /dev/zero; echo done >&2"
    run = shared.by("tellin").start(flood, flags=shared.flags())
    assert run.stdout is not None
    assert run.stdout.read(1) == b"\0"
    for _ in range(3):
        assert shared.run("tellin", "echo here").stdout == b"here\n"
    # A window, not three hundred megabytes.
    assert memory() - before < 60_000
    run.kill()


@TERMINALS_OF_SSHD
@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_a_terminal_is_the_passengers_own(shared: Shared, master: str, passenger: str) -> None:
    shared.begin(master)
    ssh = shared.by(passenger)
    # A signal ends a shell's read, and may have no say in the loop.
    command = "trap 'stty size' WINCH; stty size; while :; do read line && echo got $line; done"
    argv = ssh.argv(command, flags=shared.flags("-t"))
    program = argv[0] if "/" in argv[0] else f"/usr/bin/{argv[0]}"
    typist = Typist([program, *argv[1:]], env=ssh.environment, size=(30, 90))
    typist.expect("30 90")
    typist.type("word\n")
    typist.expect("got word")
    typist.resize(40, 100)
    os.kill(typist.pid, signal.SIGWINCH)
    typist.type("more\n")
    typist.expect("40 100")
    # The escape ends this session, and nobody else's.
    typist.type("\n~.")
    typist.expect("Shared connection to .* closed")
    typist.end()
    assert shared.run(passenger, "echo here").stdout == b"here\n"


@TERMINALS_OF_SSHD
def test_the_masters_own_terminal_and_a_passengers_are_resized_each(shared: Shared) -> None:
    # A signal ends a shell's read, and may have no say in the loop.
    command = "trap 'stty size' WINCH; stty size; while :; do read line && echo got $line; done"

    def on_terminal(*flags: str) -> Typist:
        ssh = shared.by("tellin")
        typist = Typist(
            ssh.argv(command, flags=shared.flags("-t", *flags)), env=ssh.environment, size=(30, 90)
        )
        typist.expect("30 90")
        return typist

    master = on_terminal("-M")
    passenger = on_terminal()
    for typist, rows in ((master, 31), (passenger, 32), (master, 33)):
        typist.resize(rows, 90)
        os.kill(typist.pid, signal.SIGWINCH)
        typist.type("word\n")
        typist.expect(f"{rows} 90")
    for typist in (passenger, master):
        typist.type("\n~.")
        typist.end()


def test_a_session_is_lent_the_agent_where_its_passenger_wants_that(shared: Shared) -> None:
    agent = shared.directory / "agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(agent))
        listening.listen()
        flags = shared.flags("-M", "-N", "-f", *having(f"ForwardAgent={agent}"))
        assert shared.by("tellin").run(flags=flags).status == 0
        shared.pid()
        lent = "echo [$SSH_AUTH_SOCK]"
        for program in ("tellin", "ssh"):
            # The server lends it to all later sessions of a connection: first those who do not ask.
            assert shared.run(program, lent, flags=["-a"]).stdout == b"[]\n"
        assert b"agent" in shared.run("tellin", lent, flags=["-A"]).stdout


@pytest.mark.parametrize("master", MASTERS_OFTEN_OURS)
def test_a_display_is_lent_to_those_passengers_that_ask_for_it(
    shared: Shared, master: str
) -> None:
    """Both sides have to want it: the master, whose display it is, and each of the others by itself."""
    shown = {"DISPLAY": ":7"}
    lends = ("ForwardX11Trusted=yes", "XAuthLocation=/bin/true")
    name = "echo [$DISPLAY]"

    def seen(passenger: str, *options: str) -> bytes:
        flags = shared.flags(*having(*options, *lends))
        return shared.by(passenger).run(name, flags=flags, env=shown).stdout

    shared.begin(master, "ForwardX11=yes", *lends, env=shown)
    for passenger in ("tellin", "ssh"):
        assert seen(passenger, "ForwardX11=no") == b"[]\n"
        assert b"localhost:60" in seen(passenger, "ForwardX11=yes")
        assert seen(passenger, "ForwardX11=no") == b"[]\n"
    shared.control("tellin", "exit")
    until(lambda: not shared.socket.exists())
    shared.begin(master, "ForwardX11=no", *lends, env=shown)
    for passenger in ("tellin", "ssh"):
        assert seen(passenger, "ForwardX11=yes") == b"[]\n"


@pytest.mark.slow
def test_rsync_and_git_go_over_one_connection(shared: Shared) -> None:
    for tool in ("rsync", "git"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    flags = shared.flags(*having("ControlMaster=auto", "ControlPersist=60"))
    ssh = shared.by("tellin")
    shell = shlex.join([*SSH, *flags, *ssh.options(), "-p", str(ssh.target.port)])
    where = f"{ssh.target.user}@{ssh.target.host}"
    shared.directory.chmod(0o777)
    tree, there, back, clone = (shared.directory / name for name in ("t", "there", "b", "c"))
    tree.mkdir()
    for number in range(50):
        (tree / str(number)).write_bytes(os.urandom(3000))

    def do(*words: object) -> None:
        subprocess.run(
            [str(word) for word in words],
            check=True,
            capture_output=True,
            timeout=LONGEST,
            env={**ssh.environment, "GIT_SSH_COMMAND": shell, "GIT_CONFIG_GLOBAL": "/dev/null"},
        )

    do("rsync", "-r", "-e", shell, f"{tree}/", f"{where}:{there}/")
    do("rsync", "-r", "-e", shell, f"{where}:{there}/", f"{back}/")
    pid = shared.pid()
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C")
    do("git", "init", "-q", tree)
    do(*git, tree, "add", ".")
    do(*git, tree, "commit", "-qm", "all")
    bare = f"{there}.git"
    assert shared.run("tellin", f"git init -q --bare {bare}").status == 0
    do(*git, tree, "push", "-q", f"{where}:{bare}", "HEAD:refs/heads/main")
    do("git", "clone", "-q", "-b", "main", f"{where}:{bare}", clone)
    for copy in (back, clone):
        files = [path for path in tree.iterdir() if path.is_file()]
        assert all((copy / path.name).read_bytes() == path.read_bytes() for path in files)
    assert shared.pid() == pid


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_two_descriptors_lead_to_a_place_behind_the_server(
    shared: Shared, master: str, passenger: str
) -> None:
    shared.begin(master)
    where = f"127.0.0.1:{shared.by('ssh').target.port}"
    run = shared.by(passenger).start(flags=shared.flags("-W", where))
    assert run.stdout is not None
    assert run.stdout.readline().startswith(b"SSH-2.0-")
    run.kill()
    done = shared.run(passenger, flags=["-W", f"127.0.0.1:{free_port()}"])
    assert done.status == 255
    assert said(done) == ["Stdio forwarding request failed: Session open refused by peer"]


# What -O asks for


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_case_338_o_says_what_openssh_s_says(shared: Shared, master: str, passenger: str) -> None:
    pid = shared.begin(master)
    assert said(shared.control(passenger, "check")) == [f"Master running (pid={pid})"]
    port, far = free_port(), shared.by("ssh").target.port
    spec = f"{port}:127.0.0.1:{far}"
    assert shared.control(passenger, "forward", "-L", spec) == Completed(0, b"", b"")
    # Once more is no mistake.
    assert shared.control(passenger, "forward", "-L", spec) == Completed(0, b"", b"")
    with socket.create_connection(("127.0.0.1", port)) as stream:
        assert stream.recv(4) == b"SSH-"
    assert shared.control(passenger, "cancel", "-L", spec) == Completed(0, b"", b"")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    done = shared.control(passenger, "cancel", "-L", spec)
    assert said(done) == [
        "mux_client_forward: forwarding request failed: port not forwarded",
        "muxclient: master cancel forward request failed",
    ]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = f"127.0.0.1:{taken.getsockname()[1]}:localhost:1"
        done = shared.control(passenger, "forward", "-L", spec)
    assert done.status == 255
    assert said(done) == [
        "mux_client_forward: forwarding request failed: Port forwarding failed",
        "muxclient: master forward request failed",
    ]
    assert said(shared.control(passenger, "exit")) == ["Exit request sent."]
    until(lambda: not alive(pid))
    assert not shared.socket.exists()
    done = shared.control(passenger, "check")
    why = f"Control socket connect({shared.socket}): No such file or directory"
    assert (done.status, said(done)) == (255, [why])


@pytest.mark.parametrize("passenger", MASTERS)
@pytest.mark.parametrize("master", MASTERS_OFTEN_OURS)
def test_a_socket_that_is_not_led_on_any_more_is_gone(
    shared: Shared, master: str, passenger: str
) -> None:
    """OpenSSH leaves its file, which then is in the way of the next."""
    shared.begin(master)
    place = shared.directory / "place"
    spec = f"{place}:127.0.0.1:{shared.by('ssh').target.port}"
    for _ in range(2):
        assert shared.control(passenger, "forward", "-L", spec) == Completed(0, b"", b"")
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(place))
            assert stream.recv(4) == b"SSH-"
        assert shared.control(passenger, "cancel", "-L", spec) == Completed(0, b"", b"")
        assert place.exists() is (master == "ssh")
        place.unlink(missing_ok=True)
    # What somebody else has put there stays.
    assert shared.control(passenger, "forward", "-L", spec) == Completed(0, b"", b"")
    place.unlink()
    place.write_text("mine", "ascii")
    assert shared.control(passenger, "cancel", "-L", spec) == Completed(0, b"", b"")
    assert place.read_text("ascii") == "mine"


@pytest.mark.parametrize(("master", "passenger"), [*BOTH_WAYS, ("ssh", "ssh")])
def test_a_subsystem_that_there_is_not_ends_a_passenger_without_a_word(
    shared: Shared, master: str, passenger: str
) -> None:
    shared.begin(master)
    assert shared.run(passenger, "nosuch", flags=["-s"]) == Completed(255, b"", b"")
    # Only who has the connection itself is told.
    done = shared.by(passenger).run("nosuch", flags=["-s"])
    assert (done.status, said(done)) == (255, ["subsystem request failed on channel 0"])


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_a_port_of_the_server_is_asked_for_and_given_back(
    shared: Shared, master: str, passenger: str
) -> None:
    shared.begin(master)
    far = shared.by("ssh").target.port
    done = shared.control(passenger, "forward", "-R", f"0:127.0.0.1:{far}")
    assert (done.status, done.stderr) == (0, b"")
    with socket.create_connection(("127.0.0.1", int(done.stdout))) as stream:
        assert stream.recv(4) == b"SSH-"
    # The same once more is the one that is there.
    assert shared.control(passenger, "forward", "-R", f"0:127.0.0.1:{far}") == done
    assert shared.control(passenger, "cancel", "-R", f"0:127.0.0.1:{far}").status == 0

    def is_free() -> bool:
        with socket.socket() as stream:
            return stream.connect_ex(("127.0.0.1", int(done.stdout))) != 0

    until(is_free)


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_case_338_a_master_that_was_stopped_ends_with_its_last_session(
    shared: Shared, master: str, passenger: str
) -> None:
    pid = shared.begin(master)
    run = shared.by(passenger).start("echo here; cat; echo there", flags=shared.flags())
    assert run.stdout is not None
    assert run.stdout.readline() == b"here\n"
    assert said(shared.control(passenger, "stop")) == ["Stop listening request sent."]
    assert not shared.socket.exists()
    assert alive(pid)
    assert run.communicate(b"")[0] == b"there\n"
    assert run.returncode == 0
    until(lambda: not alive(pid))


@pytest.mark.parametrize(("master", "passenger"), BOTH_WAYS)
def test_who_speaks_for_itself_is_led_through(shared: Shared, master: str, passenger: str) -> None:
    pid = shared.begin(master)
    before = open_files(pid)
    data = os.urandom(5_000_000)
    command = "cat; echo error >&2; exit 3"
    done = shared.by(passenger).run(command, flags=shared.flags("-O", "proxy"), input=data)
    assert done == Completed(3, data, b"error\n")
    # Its windows are its own: who does not read holds up nobody.
    flood = "echo $$; exec head -c 300000000 /dev/zero"
    run = shared.by(passenger).start(flood, flags=shared.flags("-O", "proxy"))
    assert run.stdout is not None
    command_pid = int(run.stdout.readline())
    assert shared.run(passenger, "echo here").stdout == b"here\n"
    run.kill()
    until(lambda: not alive(command_pid))
    until(lambda: open_files(pid) <= before)


@_OPENSSH
def test_who_speaks_for_itself_is_told_no_in_packets_that_it_reads(shared: Shared) -> None:
    """OpenSSH's client ends over a packet as short as a plain no."""
    shared.begin("tellin")
    port = free_port()
    flags = shared.flags("-O", "proxy", "-R", f"{port}:127.0.0.1:1")
    done = shared.by("ssh").run("cat; exit 3", flags=flags, input=b"here")
    assert (done.status, done.stdout) == (3, b"here")
    assert said(done) == [f"Warning: remote port forwarding failed for listen port {port}"]


_OPENING = packet(ChannelOpen("session", 0, 0, 1000, b""))
# What a visitor that speaks for itself may not say.
BREACHES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\3\1\x50\0",
    b"\0\0\0\2\0\1",
    packet(ChannelData(0, b"to nobody")),
    packet(ChannelClose(77)),
    packet(ChannelSuccess(0)),
    packet(ChannelOpen("session", 0, 0, 1, b"")),
    packet(ChannelOpen("session", 0, 0xFFFFFFFF, 1000, b"")) + packet(ChannelWindowAdjust(0, 1)),
    _OPENING + packet(ChannelData(0, bytes(200_000))) * 6,
    _OPENING + packet(ChannelClose(0)) * 2,
    # What would have the server end the connection for all.
    packet(ChannelOpen("session", 0, 0, 1000, b"more")),
    packet(ChannelOpen("session\0", 0, 0, 1000, b"")),
    packet(ChannelOpen(DIRECT_PORT, 0, 0, 1000, PortTarget("a\0b", 1, "", 0).encode())),
    packet(ChannelOpen(DIRECT_SOCKET, 0, 0, 1000, SocketTarget(b"/a\0b", b"", 0).encode())),
    packet(ChannelOpen(DEVICE, 0, 0, 1000, b"\0")),
    _OPENING + packet(ChannelRequest(0, "exec", True, ExecRequest(b"a\0b").encode())),
    _OPENING + packet(ChannelRequest(0, "subsystem", True, SubsystemRequest("a\0b").encode())),
    _OPENING + packet(ChannelRequest(0, "env", True, EnvironmentRequest(b"A", b"a\0b").encode())),
    _OPENING + packet(ChannelRequest(0, "exec\0", True, b"")),
)
# The same of a visitor whose session the master speaks for, and of two descriptors.
NULS = (
    NewSession(1, b"", 0, 0, 0, 0, NO_ESCAPE, b"vt\0", b"true"),
    NewSession(1, b"", 0, 0, 0, 0, NO_ESCAPE, b"vt", b"tr\0ue"),
    NewSession(1, b"", 0, 0, 0, 0, NO_ESCAPE, b"vt", b"true", (b"A=a\0b",)),
    NewStdioForward(1, b"", b"a\0b", 1),
)


def test_packets_of_a_visitor_that_break_the_rules_end_it_alone(shared: Shared) -> None:
    pid = shared.begin("tellin")
    for packets in BREACHES:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(LONGEST)
            stream.connect(str(shared.socket))
            stream.sendall(framed(Hello(4)) + framed(Proxy(1)) + packets)
            while stream.recv(4096):
                pass
    assert shared.pid() == pid


def test_a_text_that_no_server_takes_goes_no_further(shared: Shared) -> None:
    pid = shared.begin("tellin")
    for message in NULS:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(LONGEST)
            stream.connect(str(shared.socket))
            stream.sendall(framed(Hello(4)) + framed(message))
            with suppress(OSError):
                for _ in range(3):
                    socket.send_fds(stream, [b"\0"], [stream.fileno()])
            with suppress(ConnectionResetError):
                while stream.recv(4096):
                    pass
    assert shared.pid() == pid
    assert shared.run("tellin", "echo here").stdout == b"here\n"


def test_conninfo_and_channels_tell_of_the_connection(shared: Shared) -> None:
    shared.begin("tellin")
    about = shared.control("tellin", "conninfo")
    assert about.status == 0
    assert b"  cipher " in about.stdout
    run = shared.by("tellin").start("echo here; cat", flags=shared.flags())
    assert run.stdout is not None
    run.stdout.readline()
    assert b"client-session" in shared.control("tellin", "channels").stdout
    run.communicate(b"")


# The master's life


@pytest.mark.parametrize("program", MASTERS)
def test_the_first_of_auto_is_the_master_and_stays_for_control_persist(
    shared: Shared, program: str
) -> None:
    flags = having("ControlMaster=auto", "ControlPersist=1")
    first = shared.run(program, "echo $SSH_CONNECTION", flags=flags)
    pid = shared.pid()
    second = shared.run(program, "echo $SSH_CONNECTION", flags=flags)
    assert (first.stdout, first.stderr) == (second.stdout, b"")
    until(lambda: not alive(pid))
    assert not shared.socket.exists()


def test_the_place_may_be_made_of_tokens(shared: Shared) -> None:
    ssh = shared.by("tellin")
    target = ssh.target
    flags = having(f"ControlPath={shared.directory}/%p-%r-%C", "ControlMaster=auto")
    run = ssh.start("echo here; cat", flags=flags)
    assert run.stdout is not None
    assert run.stdout.readline() == b"here\n"
    (found,) = (path.name for path in shared.directory.iterdir() if path.is_socket())
    assert re.fullmatch(rf"{target.port}-{target.user}-[0-9a-f]{{40}}", found)
    done = ssh.run(flags=[*flags, "-O", "check"])
    assert said(done) == [f"Master running (pid={run.pid})"]
    run.communicate(b"")


@pytest.mark.parametrize("program", MASTERS)
def test_a_master_in_the_foreground_waits_for_who_shares_it(shared: Shared, program: str) -> None:
    master = shared.by(program).start("echo here; cat", flags=shared.flags("-M"))
    assert master.stdout is not None
    assert master.stdin is not None
    assert master.stdout.readline() == b"here\n"
    run = shared.by("tellin").start("echo here; cat; echo there", flags=shared.flags())
    assert run.stdout is not None
    run.stdout.readline()
    master.stdin.close()
    assert shared.run("tellin", "echo here").stdout == b"here\n"
    assert run.communicate(b"")[0] == b"there\n"
    assert master.wait(LONGEST) == 0
    assert not shared.socket.exists()


@pytest.mark.parametrize("program", MASTERS)
def test_a_second_master_at_the_same_place_shares_nothing(shared: Shared, program: str) -> None:
    pid = shared.begin("tellin")
    done = shared.run(program, "echo here", flags=["-M"])
    line = f"ControlSocket {shared.socket} already exists, disabling multiplexing"
    assert (done.stdout, said(done)) == (b"here\n", [line])
    assert shared.pid() == pid


def test_the_socket_is_its_owners_alone(shared: Shared) -> None:
    shared.begin("tellin")
    assert shared.socket.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in shared.directory.iterdir() if path.is_socket()] == ["s"]


@pytest.mark.root
def test_r159_another_user_is_not_heard_even_where_the_file_lets_him_in(shared: Shared) -> None:
    pid = shared.begin("tellin")
    shared.directory.chmod(0o755)
    shared.socket.chmod(0o666)
    code = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "sys.stdout.buffer.write(s.recv(100))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(shared.socket)],
        capture_output=True,
        check=False,
        timeout=LONGEST,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert shared.pid() == pid


@pytest.mark.root
def test_r159_case_337_a_socket_of_somebody_else_is_handed_nothing(shared: Shared) -> None:
    shared.directory.chmod(0o777)
    code = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "print('ready', flush=True); c, _ = s.accept(); print(c.recv(100), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(shared.socket)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        done = shared.run("tellin", "echo here")
        assert done.stdout == b"here\n"
        why = f"Control socket connect({shared.socket}): it belongs to somebody else"
        assert said(done) == [why]
        assert other.stdout.readline() == b"b''\n"


def test_case_337_what_is_no_masters_socket_is_not_connected_to(shared: Shared) -> None:
    auto = having("ControlMaster=auto")
    # Nobody listens any more: it is replaced.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(shared.socket))
    done = shared.run("tellin", "echo here", flags=auto)
    assert done == Completed(0, b"here\n", b"")
    assert not shared.socket.exists()
    # No socket at all: it stays, and so does what is in it.
    shared.socket.write_text("precious", "ascii")
    done = shared.run("tellin", "echo here", flags=auto)
    assert done.stdout == b"here\n"
    assert said(done) == [f"ControlSocket {shared.socket} already exists, disabling multiplexing"]
    assert shared.socket.read_text("ascii") == "precious"
    shared.socket.unlink()
    # A link leads to whoever made it.
    pid = shared.begin("tellin")
    link = shared.directory / "link"
    link.symlink_to(shared.socket)
    done = shared.by("tellin").run(flags=["-S", str(link), "-O", "check"])
    assert (done.status, said(done)) == (
        255,
        [f"Control socket connect({link}): Too many levels of symbolic links"],
    )
    assert alive(pid)
    # And a name that no socket can have.
    long = shared.directory / ("x" * 108)
    done = shared.by("tellin").run(flags=["-S", str(long), "-O", "check"])
    assert said(done) == [f"Control socket connect({long}): File name too long"]


# Asking


@pytest.mark.parametrize("passenger", MASTERS)
def test_r158_whoever_runs_the_master_is_asked_about_every_request(
    shared: Shared, passenger: str
) -> None:
    answers = ["yes", *["no"] * 6, "yes"]
    env = askpass(shared.directory, *answers)
    pid = shared.begin("tellin", master="-MM", env=env)
    port = free_port()
    refused = "Master refused {}: Permission denied"
    assert shared.run(passenger, "echo here", flags=["-W", "127.0.0.1:1"]).status == 255
    done = shared.control(passenger, "forward", "-L", f"{port}:localhost:1")
    assert said(done)[0] == refused.format("forwarding request")
    assert shared.control(passenger, "cancel", "-D", f"{port}").status == 0
    done = shared.control(passenger, "stop")
    assert said(done) == [refused.format("stop listening request")]
    done = shared.control(passenger, "exit")
    assert said(done) == [refused.format("termination request")]
    assert shared.control(passenger, "proxy").status == 255
    assert alive(pid)
    assert shared.run(passenger, "echo here").stdout == b"here\n"
    host = "127.0.0.1"
    assert asked(shared.directory) == [
        f"Allow shared connection to {host}? ",
        "Allow forward to [127.0.0.1]:1? ",
        f"Open local forward LOCALHOST:{port} -> localhost:1 on {host}? ",
        f"Cancel dynamic forward LOCALHOST:{port} -> * on {host}? ",
        f"Disable further multiplexing on shared connection to {host}? ",
        f"Terminate shared connection to {host}? ",
        f"Allow multiplexed proxy connection to {host}? ",
        f"Allow shared connection to {host}? ",
    ]


def test_r158_without_anybody_to_ask_the_answer_is_no(shared: Shared) -> None:
    flags = shared.flags("-MM", "-N", "-f", *having("ControlPersist=yes"))
    assert shared.by("tellin").run(flags=flags).status == 0
    pid = shared.pid()
    done = shared.control("tellin", "exit")
    assert said(done) == ["Master refused termination request: Permission denied"]
    assert alive(pid)
