# SPDX-License-Identifier: MIT
"""Sessions at a running server: the ends of commands in every order, terminals, signals, and what is too much."""

import os
import pwd
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller, CallerSession

from tellin.connection.channel import Half
from tellin.connection.messages import ChannelRequest
from tellin.connection.requests import (
    BreakRequest,
    EndOfWrite,
    EnvironmentRequest,
    ExecRequest,
    ExitSignal,
    ExitStatus,
    PtyRequest,
    Request,
    ShellRequest,
    SignalRequest,
    SubsystemRequest,
    WindowChange,
    XonXoff,
)
from tellin.keys.formats import load_private_key
from tellin.runtime.terminal_modes import encode_pairs

TERMINAL = PtyRequest("xterm", 80, 24, 0, 0, b"")
ONLCR, ECHO = 72, 53
Call = Callable[[], Caller]


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TellinServer]:
    """As root for the throw-away account, whose shell reads no files; else for who runs the tests."""
    made = TellinServer(
        tmp_path_factory.mktemp("sessions"),
        account=request.getfixturevalue("account") if os.geteuid() == 0 else None,
        options={"AcceptEnv": "TELLIN_* TERM HOME", "PrintMotd": "no"},
    )
    with made as running:
        yield running


@pytest.fixture
def place(server: TellinServer, tmp_path: Path) -> Path:
    """A folder that the user of the sessions can use."""
    if server.account is None:
        return tmp_path
    made = server.account.home / tmp_path.name
    made.mkdir(mode=0o755)
    server.account.own(made)
    return made


@pytest.fixture
def call(server: TellinServer) -> Iterator[Call]:
    """``call()``: one more connection that is logged in."""
    key = load_private_key(server.identity.path.read_bytes())
    open_ones: list[Caller] = []

    def connect() -> Caller:
        open_ones.append(Caller(server.port))
        return open_ones[-1].log_in(server.user, key)

    yield connect
    for one in open_ones:
        one.socket.close()


@pytest.fixture
def session(call: Call) -> CallerSession:
    """A session channel on which nothing has been asked yet."""
    return call().session()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[ChannelRequest]:
    """Every request that reaches a caller, also where it has closed the channel before."""
    arrived: list[ChannelRequest] = []
    real = ChannelRequest.decode

    def decode(payload: memoryview) -> ChannelRequest:
        arrived.append(real(payload))
        return arrived[-1]

    # Nothing else reads a request in this process, which is the caller's.
    monkeypatch.setattr(ChannelRequest, "decode", decode)
    return arrived


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def wait_for_output(session: CallerSession, text: bytes) -> bytes:
    session.caller.wait_for(lambda: text in session.out.data)
    return bytes(session.out.data)


# The end of a command


@pytest.mark.parametrize(
    "order",
    [
        ("exit", "eof", "close"),
        ("exit", "close", "eof"),
        ("eof", "exit", "close"),
        ("eof", "close", "exit"),
        ("close", "exit", "eof"),
        ("close", "eof", "exit"),
    ],
    ids="-".join,
)
def test_case_222_the_exit_status_comes_exactly_once(
    call: Call, place: Path, said: list[ChannelRequest], order: tuple[str, ...]
) -> None:
    gate = place / "gate"
    os.mkfifo(gate, 0o644)
    caller = call()
    session = caller.session()
    channel = session.channel
    # It ends when the gate opens, whatever becomes of its streams.
    assert session.ask(ExecRequest(f"trap '' PIPE HUP; echo here; cat {gate}; exit 7".encode()))
    wait_for_output(session, b"here")
    for event in order:
        if event == "exit":
            # Opening waits for the other side, so the command is certainly there.
            gate.write_text("")
            if "close" not in order[: order.index("exit")]:
                caller.wait_for(lambda: session.requests())
        elif event == "eof" and "close" not in order[: order.index("eof")]:
            channel.eof()
        elif event == "close":
            channel.close()
        # After CLOSE there is no EOF to send: that order is the one where it never comes.
        caller.flush()
    session.finish()
    assert [(one.name, one.data) for one in said] == [("exit-status", ExitStatus(7).encode())]
    # The connection is as good as before.
    again = caller.session()
    assert again.ask(ExecRequest(b"exit 3"))
    assert again.finish() == [ExitStatus(3)]


@pytest.mark.parametrize("status", [0, 1, 44, 255])
def test_a_status_is_the_commands_own(session: CallerSession, status: int) -> None:
    assert session.ask(ExecRequest(b"exit %d" % status))
    assert session.finish() == [ExitStatus(status)]


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "TERM"), (signal.SIGKILL, "KILL"), (signal.SIGBUS, "BUS@openssh.com")],
)
def test_a_signal_that_ends_a_command_is_named(
    session: CallerSession, number: signal.Signals, name: str
) -> None:
    assert session.ask(ExecRequest(b"kill -%d $$; sleep 10" % number))
    (said,) = session.finish()
    assert isinstance(said, ExitSignal)
    assert said.signal == name


def test_a_background_process_that_holds_the_pipes_holds_the_channel(
    call: Call, place: Path
) -> None:
    gate = place / "gate"
    os.mkfifo(gate, 0o644)
    caller = call()
    session = caller.session()
    assert session.ask(ExecRequest(f"(cat {gate}; echo late) & exit 5".encode()))
    # The status is known, but output may still come: as with OpenSSH's server.
    caller.wait_for(lambda: session.requests())
    assert session.requests() == [ExitStatus(5)]
    time.sleep(0.2)
    caller.turn(0.05)
    assert session.channel.number in caller.core.channels
    gate.write_text("")
    assert session.finish() == [ExitStatus(5)]
    assert session.out.data == b"late\n"


def test_the_end_of_the_output_is_told_while_its_command_goes_on(call: Call, place: Path) -> None:
    gates = [place / "first", place / "second", place / "last"]
    for gate in gates:
        os.mkfifo(gate, 0o644)
    caller = call()
    session = caller.session()
    # One stream ends, the other later, and the command last of all: none waits for the next.
    first, second, last = gates
    script = f"exec 1>&-; cat {first} >&2; exec 2>&-; : <{second}; : <{last}; exit 6"
    assert session.ask(ExecRequest(script.encode()))
    first.write_text("between")
    second.write_text("")
    caller.wait_for(lambda: session.channel.receiving is Half.EOF)
    assert (session.err.data, session.requests()) == (b"between", [])
    last.write_text("")
    assert session.finish() == [ExitStatus(6)]


def test_a_background_process_without_the_pipes_holds_nothing(
    session: CallerSession,
) -> None:
    assert session.ask(ExecRequest(b"sleep 30 </dev/null >/dev/null 2>&1 & echo $!; exit 5"))
    assert session.finish(5) == [ExitStatus(5)]
    background = int(session.out.data)
    assert not gone(background, 0.1)
    os.kill(background, signal.SIGKILL)


def test_all_output_comes_before_the_end(session: CallerSession) -> None:
    assert session.ask(ExecRequest(b"head -c 5000000 /dev/zero; head -c 700000 /dev/zero >&2"))
    assert session.finish() == [ExitStatus(0)]
    assert (len(session.out.data), len(session.err.data)) == (5_000_000, 700_000)


# Input


def test_input_that_comes_with_its_command_is_not_lost(session: CallerSession) -> None:
    session.channel.request(ExecRequest(b"cat"))
    session.channel.send(b"together")
    session.channel.eof()
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data == b"together"


def test_case_210_the_end_of_input_may_come_before_the_command(session: CallerSession) -> None:
    session.channel.eof()
    session.caller.flush()
    assert session.ask(ExecRequest(b"cat; echo over"))
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data == b"over\n"


def test_a_command_that_reads_no_more_lets_its_client_know(session: CallerSession) -> None:
    command = b"exec <&-; trap 'exit 4' USR1; echo closed; while :; do sleep 0.05; done"
    assert session.ask(ExecRequest(command))
    wait_for_output(session, b"closed")
    session.send(b"x" * 300_000)
    session.caller.wait_for(lambda: EndOfWrite() in session.requests())
    # What is sent after that is thrown away, with credit: nobody hangs.
    session.send(b"x" * 8_000_000)
    session.channel.request(SignalRequest("USR1"))
    assert session.finish() == [EndOfWrite(), ExitStatus(4)]


def test_input_for_a_command_that_is_over_ends_nothing(call: Call) -> None:
    caller = call()
    other = caller.session()
    assert other.ask(ExecRequest(b"cat"))
    session = caller.session()
    session.channel.request(ExecRequest(b"exec true"))
    # The server closes the channel while this is under way.
    for _ in range(50):
        session.channel.send(b"x" * 20_000)
        caller.flush()
    session.finish()
    other.send(b"still here")
    other.channel.eof()
    assert other.finish() == [ExitStatus(0)]
    assert other.out.data == b"still here"


def test_case_223_a_command_that_never_reads_keeps_a_bounded_amount(
    call: Call, server: TellinServer
) -> None:
    caller = call()
    session = caller.session()
    assert session.ask(ExecRequest(b"echo $PPID; exec sleep 60"))
    pid = int(wait_for_output(session, b"\n"))
    before = resident(pid)
    sent = 0
    for _ in range(200):
        sent += session.channel.send(bytes(100_000))
        caller.turn(0.01)
    # The window closes long before the 20 MB that we have.
    assert 1_000_000 < sent < 12_000_000
    assert resident(pid) - before < sent + 6_000_000
    # Another session on the same connection is not held up.
    other = caller.session()
    assert other.ask(ExecRequest(b"echo alive"))
    assert other.finish(5) == [ExitStatus(0)]


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


def test_a_client_that_reads_no_more_stops_the_output_alone(session: CallerSession) -> None:
    # eow: standard output loses its reader, standard error does not.
    assert session.ask(
        ExecRequest(b"trap 'echo stopped >&2; exit 9' PIPE; while echo y; do :; done")
    )
    session.caller.wait_for(lambda: len(session.out.data) > 100_000)
    session.channel.request(EndOfWrite())
    (said,) = session.finish()
    assert said == ExitStatus(9)
    assert session.err.data.endswith(b"stopped\n")


def test_the_end_of_reading_said_twice_is_no_harm(session: CallerSession) -> None:
    assert session.ask(ExecRequest(b"exec >&-; echo here >&2; read x; exit 6"))
    session.caller.wait_for(lambda: b"here" in session.err.data)
    for _ in range(3):
        session.channel.request(EndOfWrite())
    session.send(b"\n")
    assert session.finish() == [ExitStatus(6)]


# What may be asked, and when


def test_case_209_a_session_runs_one_command(session: CallerSession) -> None:
    assert session.ask(ExecRequest(b"echo one; sleep 0.3"))
    assert not session.ask(ExecRequest(b"echo two"))
    assert not session.ask(ShellRequest())
    assert not session.ask(SubsystemRequest("echo"))
    assert not session.ask(TERMINAL)
    assert not session.ask(EnvironmentRequest(b"TELLIN_X", b"late"))
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data == b"one\n"


REFUSED: dict[str, Request] = {
    "xon-xoff": XonXoff(True),
    "an unknown signal": SignalRequest("NOSUCH"),
    "a signal with a domain": SignalRequest("TERM@openssh.com"),
    "a break without a terminal": BreakRequest(500),
    "a size without a terminal": WindowChange(80, 24, 0, 0),
    "an unknown subsystem": SubsystemRequest("nonesuch"),
    "a long subsystem": SubsystemRequest("x" * 100_000),
    "a NUL in a command": ExecRequest(b"echo a\0b"),
    "a dangerous variable": EnvironmentRequest(b"LD_PRELOAD", b"x"),
    "a variable with a sign in it": EnvironmentRequest(b"TELLIN_A=B", b"x"),
    "a NUL in a value": EnvironmentRequest(b"TELLIN_A", b"x\0y"),
    "a variable that is no text": EnvironmentRequest(b"TELLIN_\xff", b"x"),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    session: CallerSession, request_: Request
) -> None:
    assert not session.ask(request_)
    assert session.ask(ExecRequest(b"exit 2"))
    assert session.finish() == [ExitStatus(2)]


def test_a_request_after_the_close_is_not_looked_at(
    session: CallerSession, said: list[ChannelRequest]
) -> None:
    assert session.ask(TERMINAL)
    assert session.ask(ExecRequest(b"trap '' HUP; echo up; sleep 0.4; exit 8"))
    wait_for_output(session, b"up")
    session.channel.close()
    # The core's own verbs would not let us; a client that does so must meet no surprise.
    for request in (WindowChange(9, 9, 9, 9), BreakRequest(1), SignalRequest("KILL")):
        session.caller.core._transport.send(
            ChannelRequest(session.channel.peer, request.name, False, request.encode())
        )
    session.finish()
    assert [one.data for one in said] == [ExitStatus(8).encode()]
    other = session.caller.session()
    assert other.ask(ExecRequest(b"exit 1"))
    assert other.finish() == [ExitStatus(1)]


def test_a_subsystem_is_its_command(session: CallerSession) -> None:
    assert session.ask(SubsystemRequest("echo"))
    session.send(b"back")
    session.channel.eof()
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data == b"back"


def test_variables_are_taken_and_the_systems_own_stand(
    session: CallerSession, server: TellinServer
) -> None:
    assert session.ask(EnvironmentRequest(b"TELLIN_WORD", b"a b\nc"))
    assert session.ask(EnvironmentRequest(b"TELLIN_BYTES", b"\xff\xfe"))
    assert session.ask(EnvironmentRequest(b"HOME", b"/nonexistent"))
    assert session.ask(ExecRequest(b"env -0"))
    assert session.finish() == [ExitStatus(0)]
    found = dict(pair.split(b"=", 1) for pair in bytes(session.out.data).split(b"\0") if pair)
    assert found[b"TELLIN_WORD"] == b"a b\nc"
    assert found[b"TELLIN_BYTES"] == b"\xff\xfe"
    assert found[b"HOME"] == pwd.getpwnam(server.user).pw_dir.encode()
    caller = session.caller
    host, port = caller.socket.getpeername()
    assert found[b"SSH_CONNECTION"] == f"{host} {caller.local_port} {host} {port}".encode()
    assert found[b"SSH_CLIENT"] == f"{host} {caller.local_port} {port}".encode()
    assert not {b"SSH_TTY", b"TERM", b"SSH_ORIGINAL_COMMAND"} & found.keys()


def test_r150_variables_are_bounded_in_number_and_in_bytes(session: CallerSession) -> None:
    for number in range(1100):
        session.channel.request(EnvironmentRequest(b"TELLIN_%d" % number, b""), want_reply=False)
    assert not session.ask(EnvironmentRequest(b"TELLIN_ONE_MORE", b""))
    assert session.ask(ExecRequest(b"env | grep -c ^TELLIN_"))
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data == b"1024\n"
    other = session.caller.session()
    answers = [
        other.ask(EnvironmentRequest(b"TELLIN_%d" % n, bytes([97]) * 100_000)) for n in range(5)
    ]
    assert answers == [True, True, False, False, False]
    assert other.ask(ExecRequest(b"exit 0"))
    assert other.finish() == [ExitStatus(0)]


def test_a_command_too_long_for_the_system_is_said_to_be(session: CallerSession) -> None:
    assert session.ask(ExecRequest(b": " + b"x" * 200_000))
    assert session.finish() == [ExitStatus(1)]
    assert session.err.data.endswith(b"Argument list too long\n")


# Terminals


def test_a_terminal_has_the_clients_size_and_modes(session: CallerSession) -> None:
    modes = encode_pairs({ECHO: 0, ONLCR: 0})
    assert session.ask(PtyRequest("vt220", 132, 43, 0, 0, modes))
    assert session.ask(
        ExecRequest(b"stty size; stty -a; echo $TERM; tty; echo $SSH_TTY; test -t 2")
    )
    assert session.finish() == [ExitStatus(0)]
    lines = session.out.data.decode().split("\n")
    assert lines[0] == "43 132"
    assert "-echo " in session.out.data.decode()
    assert lines[-4] == "vt220"
    assert lines[-3] == lines[-2]
    assert lines[-3].startswith("/dev/pts/")
    assert session.err.data == b""


def test_nobody_else_may_write_to_a_terminal(session: CallerSession, server: TellinServer) -> None:
    assert session.ask(TERMINAL)
    assert session.ask(ExecRequest(b"stat -c '%a %u %G' $SSH_TTY"))
    session.finish()
    mode, uid, group = session.out.data.decode().split()
    assert int(uid) == pwd.getpwnam(server.user).pw_uid
    assert (mode, group) in {("620", "tty"), ("600", group)}


@pytest.mark.parametrize(
    "modes", [b"\xff" * 1000, b"\x01", b"\x35\x00", encode_pairs({128: 0, 129: 123456789})]
)
def test_case_211_modes_that_are_rubbish_cost_no_terminal(
    session: CallerSession, modes: bytes
) -> None:
    assert session.ask(PtyRequest("xterm", 2**31, 2**32 - 1, 2**32 - 1, 0, modes))
    assert session.ask(ExecRequest(b"stty size"))
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data.strip() == b"65535 65535"


@pytest.mark.parametrize("name", ["x" * 65536, "a\x1bb", "a b", "a\nb"])
def test_case_211_a_terminal_has_a_name_of_letters(session: CallerSession, name: str) -> None:
    assert not session.ask(PtyRequest(name, 80, 24, 0, 0, b""))
    assert session.ask(TERMINAL)
    assert not session.ask(TERMINAL)


def test_a_shell_on_a_terminal_is_a_login_shell(session: CallerSession) -> None:
    assert session.ask(TERMINAL)
    assert session.ask(ShellRequest())
    session.send(b"echo i-am:$0:$$; exit 3\n")
    said = wait_for_output(session, b"i-am:-")
    assert session.finish() == [ExitStatus(3)]
    assert said


def test_a_closed_terminal_hangs_up_its_programs(session: CallerSession, place: Path) -> None:
    note = place / "note"
    assert session.ask(TERMINAL)
    command = f"trap 'echo hung up > {note}; exit' HUP; echo $$; while :; do sleep 0.05; done"
    assert session.ask(ExecRequest(command.encode()))
    pid = int(wait_for_output(session, b"\n"))
    session.caller.socket.close()
    assert gone(pid)
    assert note.read_text() == "hung up\n"


def test_a_command_without_a_terminal_outlives_its_connection(
    session: CallerSession,
) -> None:
    assert session.ask(ExecRequest(b"echo $$; exec sleep 30"))
    pid = int(wait_for_output(session, b"\n"))
    session.caller.socket.close()
    assert not gone(pid, 0.5)
    os.kill(pid, signal.SIGKILL)


def test_the_output_of_a_terminal_is_whole_although_its_program_is_over(call: Call) -> None:
    # A client that takes little at a time: most of it waits in the terminal when the program ends.
    caller = call()
    session = caller.session()
    session.out.hold = True
    assert session.ask(TERMINAL)
    assert session.ask(ExecRequest(b"seq 1 2000000"))
    caller.wait_for(lambda: len(session.out.data) >= 2 << 20)
    time.sleep(0.5)
    session.out.hold = False
    session.out.release()
    assert session.finish() == [ExitStatus(0)]
    lines = session.out.data.split(b"\r\n")
    assert (len(lines), lines[-2]) == (2_000_001, b"2000000")


def test_a_background_job_on_a_terminal_holds_nothing(session: CallerSession) -> None:
    assert session.ask(TERMINAL)
    assert session.ask(ExecRequest(b"setsid sh -c 'trap \"\" HUP; sleep 30' & echo $!; exit 5"))
    assert session.finish(5) == [ExitStatus(5)]
    end_family(int(session.out.data))


def end_family(pid: int) -> None:
    for child in (pid, *children(pid)):
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def test_case_213_a_flood_of_sizes_ends_in_the_last_one(session: CallerSession) -> None:
    assert session.ask(TERMINAL)
    command = b"trap 'changes=$((changes+1))' WINCH; echo up; until read x; do :; done; stty size; echo $changes"
    assert session.ask(ExecRequest(command))
    wait_for_output(session, b"up")
    began = time.monotonic()
    for number in range(20_000):
        session.channel.request(WindowChange(100 + number % 50, 30, 0, 0))
        if not number % 500:
            session.caller.flush()
    assert session.ask(WindowChange(77, 33, 0, 0))
    assert time.monotonic() - began < 50
    session.send(b"\n")
    assert session.finish() == [ExitStatus(0)]
    assert b"33 77" in session.out.data
    assert int(session.out.data.split()[-1]) < 20_000


def test_a_break_reaches_a_terminal(session: CallerSession) -> None:
    assert session.ask(TERMINAL)
    assert session.ask(ExecRequest(b"exec sleep 20"))
    # What a pseudo-terminal makes of it is the system's business; that it is tried is ours.
    session.ask(BreakRequest(100))
    session.channel.close()
    session.finish()


# Signals


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "KILL"])
def test_a_signal_reaches_the_command_and_what_it_started(
    session: CallerSession, name: str
) -> None:
    assert session.ask(ExecRequest(b"sh -c 'echo up $$; exec sleep 30'; exit 0"))
    child = int(wait_for_output(session, b"\n").split()[1])
    assert session.ask(SignalRequest(name))
    # The shell that waits and what it waits for are of one group.
    (said,) = session.finish()
    assert isinstance(said, ExitSignal)
    assert said.signal == name
    assert gone(child)


def test_no_signal_before_there_is_a_command_or_after_it(call: Call) -> None:
    caller = call()
    session = caller.session()
    assert not session.ask(SignalRequest("TERM"))
    assert session.ask(ExecRequest(b"(sleep 1) & exit 3"))
    caller.wait_for(lambda: session.requests())
    assert not session.ask(SignalRequest("TERM"))
    assert session.finish() == [ExitStatus(3)]


# Many of them


def test_sessions_beside_each_other_do_not_mix(call: Call) -> None:
    caller = call()
    sessions = [caller.session() for _ in range(10)]
    for number, session in enumerate(sessions):
        assert session.ask(ExecRequest(b"cat; exit %d" % number))
    for number, session in enumerate(sessions):
        session.send(bytes([65 + number]) * 100_000)
        session.channel.eof()
    for number, session in enumerate(sessions):
        assert session.finish() == [ExitStatus(number)]
        assert session.out.data == bytes([65 + number]) * 100_000


def test_max_sessions_counts_what_is_open(call: Call) -> None:
    caller = call()
    sessions = [caller.session() for _ in range(10)]
    assert caller.refused_session().description == "open failed"
    assert sessions[0].ask(ExecRequest(b"true"))
    sessions[0].finish()
    assert caller.session().ask(ExecRequest(b"true"))


def test_nothing_is_left_of_a_session(call: Call, server: TellinServer) -> None:
    caller = call()
    session = caller.session()
    assert session.ask(ExecRequest(b"echo $PPID"))
    session.finish()
    pid = int(session.out.data)

    def held() -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    # The first command's may still be among them; sixty sessions' would be far more.
    before = held()
    for number in range(60):
        session = caller.session()
        if number % 3 == 0:
            assert session.ask(TERMINAL)
        if number % 2:
            assert session.ask(ExecRequest(b"true"))
            session.finish()
        else:
            session.channel.close()
            session.finish()
    deadline = time.monotonic() + 60
    while held() > before:
        assert time.monotonic() < deadline, "descriptors stay behind"
        time.sleep(0.05)
