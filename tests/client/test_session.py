# SPDX-License-Identifier: MIT
"""A connection and its session on real sockets, against a server whose every step is written here."""

import fcntl
import itertools
import os
import socket
import termios
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tellin.client.channel_owners import tell_owner
from tellin.client.connection import ClientConnection
from tellin.client.endings import Place, Stage
from tellin.client.sessions.session import Session, SessionPlan
from tellin.config.patterns import match_pattern
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
    SubsystemRequest,
    UnknownRequest,
    WindowChange,
)
from tellin.programs.ssh.wishes import selected_environment
from tellin.protocol import Channel, ServerProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationAsked,
    AuthenticationRefused,
    ChannelAsked,
    ChannelClosed,
    ChannelEnded,
    ChannelReplied,
    ChannelRequested,
    Event,
    ExchangeDone,
    HostKeySignatureWanted,
)
from tellin.runtime.journal import DEBUG2, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.stream import Link
from tellin.testing.loopback import Collector, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY
from tellin.transport import keying
from tellin.transport.messages import KexInit

PTY = PtyRequest("vt100", 80, 24, 0, 0, b"\0")


def _narrow() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    writing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return reading.detach(), writing.detach()


class Trusting:
    def __init__(self, scene: "Scene") -> None:
        self.scene = scene

    def handle(self, event: Any) -> None:
        self.scene.connection.core.trust_host_key()


class Plain:
    proved = True

    def __init__(self, scene: "Scene") -> None:
        self.scene = scene

    def forbid(self, *methods: str) -> None: ...

    def handle(self, event: Any) -> bool:
        if isinstance(event, ExchangeDone):
            self.scene.connection.core.try_none("user")
        return isinstance(event, ExchangeDone | AuthenticationRefused | Authenticated)


class Scene:
    """Our connection at one end; at the other a server that notes requests and does as it is told."""

    def __init__(
        self,
        plan: SessionPlan | None = None,
        *,
        answers: Callable[[Request], bool] = lambda request: True,
        accept: bool = True,
        identification: str = "SSH-2.0-OpenSSH_9.9",
    ) -> None:
        self.loop = SmallLoop()
        self.sockets = socket.socketpair()
        for end in self.sockets:
            end.setblocking(False)
        # Outputs are sockets with little room: pipes grow as they fill.
        self.pipes = [os.pipe(), _narrow(), _narrow()]
        self.plan = plan or SessionPlan(ExecRequest(b"cmd"))
        self.plan.stdin = self.pipes[0][0]
        self.plan.stdout = self.pipes[1][1]
        self.plan.stderr = self.pipes[2][1]
        self.answers = answers
        self.accept = accept
        self.requests: list[Request] = []
        self.flights: list[int] = []
        self.replies: list[bool] = []
        self.theirs: Channel | None = None
        self.input: Collector | None = None
        self.server_ended = False
        self.over = 0
        self.closed = False
        self.lines: list[str] = []
        journal = Journal(DEBUG2, self.lines.append)
        self.server = ServerProtocol(
            server_settings(HOST_KEY, identification=identification), now=self.loop.time()
        )
        self.right = Link(self.loop, self.sockets[1], self.server, self._server_event)
        self.session: Session | None = None
        self.connection = ClientConnection(
            self.loop,
            self.sockets[0],
            client_settings(),
            Place("host", "192.0.2.1", 22),
            journal=journal,
            on_ready=self._ready,
            on_event=self._event,
            on_over=self._closed,
        )
        self.connection.check = Trusting(self)
        self.connection.login = Plain(self)
        self.journal = journal

    def _ready(self, event: Authenticated) -> None:
        self.session = Session(
            self.loop,
            self.connection.link,
            self.connection.core,
            self.plan,
            journal=self.journal,
            on_over=self._over,
        )

    def _event(self, event: Any) -> None:
        tell_owner(event)

    def _over(self) -> None:
        self.over += 1

    def _closed(self) -> None:
        self.closed = True
        if self.session is not None:
            self.session.lost()

    def _server_event(self, event: Event) -> None:
        server = self.server
        if isinstance(event, HostKeySignatureWanted):
            server.give_host_key_signature(HOST_KEY.sign(event.data, event.algorithm))
        elif isinstance(event, AuthenticationAsked):
            server.grant_authentication("user", "none")
        elif isinstance(event, ChannelAsked):
            if self.accept:
                server.accept_channel(event.channel)
                self.theirs = event.channel
                self.input = event.channel.sink = Collector(event.channel)
            else:
                server.refuse_channel(event.channel, 4, "no\x1b[2J room")
        elif isinstance(event, ChannelRequested):
            self.requests.append(event.request)
            self.flights.append(len(self.replies))
            if event.want_reply:
                event.channel.answer(self.answers(event.request))
        elif isinstance(event, ChannelReplied):
            self.replies.append(event.success)
        elif isinstance(event, ChannelEnded):
            self.server_ended = True

    def until(self, condition: Callable[[], object], *, seconds: float = 10.0) -> None:
        assert self.loop.run_until(condition, timeout=seconds), (self.requests, self.lines)

    def begin(self) -> Channel:
        self.until(lambda: self.theirs is not None and self.requests)
        self.until(lambda: self._quiet())
        assert self.theirs is not None
        return self.theirs

    def _quiet(self) -> bool:
        assert self.session is not None
        return not self.connection.core.unsent and not self.server.unsent

    def say(self, *steps: Callable[[Channel], object]) -> None:
        """The server does something, and it is sent."""
        assert self.theirs is not None
        for step in steps:
            step(self.theirs)
        self.right.flush_soon()

    def read(self, which: int) -> bytes:
        """What has been written to our output (1) or standard error (2)."""
        fd = self.pipes[which][0]
        os.set_blocking(fd, False)
        found = b""
        while True:
            try:
                data = os.read(fd, 65536)
            except (BlockingIOError, ConnectionResetError):
                return found
            if not data:
                return found
            found += data

    def close(self) -> None:
        if self.session is not None:
            self.session._stop_input()
            for sink in self.session._sinks:
                sink.close()
        self.loop.close()
        for end in self.sockets:
            end.close()
        for pair in self.pipes:
            for fd in pair:
                try:
                    os.close(fd)
                except OSError:
                    # A test has closed it already.
                    continue


@pytest.fixture
def scenes() -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def make(*args: Any, **named: Any) -> Scene:
        made.append(Scene(*args, **named))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


Scenes = Callable[..., Scene]


def status(number: int) -> Callable[[Channel], object]:
    return lambda channel: channel.request(ExitStatus(number))


def send(data: bytes) -> Callable[[Channel], object]:
    return lambda channel: channel.send(data)


def send_error(data: bytes) -> Callable[[Channel], object]:
    return lambda channel: channel.send_extended(data)


# Requests


def test_all_requests_leave_in_one_flight(scenes: Scenes) -> None:
    plan = SessionPlan(
        ShellRequest(), environment=((b"LANG", b"C"), (b"X", b"\xff")), terminal=PTY
    )
    scene = scenes(plan)
    scene.begin()
    assert scene.requests == [
        PTY,
        EnvironmentRequest(b"LANG", b"C"),
        EnvironmentRequest(b"X", b"\xff"),
        ShellRequest(),
    ]


def test_input_follows_without_waiting_for_an_answer(scenes: Scenes) -> None:
    scene = scenes()
    os.write(scene.pipes[0][1], b"early")
    os.close(scene.pipes[0][1])
    scene.until(lambda: scene.server_ended)
    assert scene.input is not None
    assert bytes(scene.input.data) == b"early"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (ExecRequest(b"x"), "exec"),
        (ShellRequest(), "shell"),
        (SubsystemRequest("sftp"), "subsystem"),
    ],
)
def test_a_refused_start_ends_the_session(scenes: Scenes, start: Request, name: str) -> None:
    scene = scenes(SessionPlan(start), answers=lambda request: False)
    scene.until(lambda: scene.over)
    assert scene.session is not None
    assert scene.session.refusal == f"{name} request failed on channel 0"
    assert scene.session.refusal in scene.lines
    assert scene.session.status == 255


def test_a_refused_terminal_is_said_and_the_command_runs(scenes: Scenes) -> None:
    scene = scenes(
        SessionPlan(ExecRequest(b"x"), terminal=PTY),
        answers=lambda request: not isinstance(request, PtyRequest),
    )
    scene.begin()
    scene.say(status(3), Channel.eof, Channel.close)
    scene.until(lambda: scene.over)
    assert "PTY allocation request failed on channel 0" in scene.lines
    assert scene.session is not None
    assert scene.session.status == 3


def test_a_refused_channel_is_said_safely(scenes: Scenes) -> None:
    scene = scenes(accept=False)
    scene.until(lambda: scene.over)
    assert "channel 0: open failed: no\\033[2J room (code 4)" in scene.lines
    assert scene.session is not None
    assert scene.session.status == 255


def test_a_new_size_and_a_break(scenes: Scenes) -> None:
    scene = scenes(SessionPlan(ShellRequest(), terminal=PTY))
    scene.begin()
    assert scene.session is not None
    scene.session.resize(WindowChange(100, 50, 0, 0))
    scene.session.send_break()
    scene.until(lambda: len(scene.requests) == 4)
    assert scene.requests[2:] == [WindowChange(100, 50, 0, 0), BreakRequest(1000)]


def test_without_a_terminal_no_size_is_sent(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    assert scene.session is not None
    scene.session.resize(WindowChange(100, 50, 0, 0))
    scene.session.send_break()
    scene.until(lambda: len(scene.requests) == 2)
    assert isinstance(scene.requests[1], BreakRequest)


# Statuses and ends


@pytest.mark.parametrize("order", list(itertools.permutations(("status", "eof", "data"))))
def test_case_222_a_status_counts_once_in_whatever_order_the_end_comes(
    scenes: Scenes, order: Sequence[str]
) -> None:
    if order.index("eof") < order.index("data"):
        order = [name for name in order if name != "data"]
    scene = scenes()
    scene.begin()
    steps = {"status": status(44), "eof": Channel.eof, "data": send(b"out")}
    scene.say(*(steps[name] for name in order), Channel.close)
    scene.until(lambda: scene.over)
    assert scene.session is not None
    assert scene.session.status == 44
    assert scene.session.finished
    assert scene.read(1) == (b"out" if "data" in order else b"")
    assert scene.over == 1


def test_case_217_no_status_is_255(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    scene.say(send(b"out"), Channel.close)
    scene.until(lambda: scene.over)
    assert scene.session is not None
    assert scene.session.status == 255


def test_case_218_a_signal_is_told_safely_and_is_255(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    signal = ExitSignal("TE\x1bRM" + "x" * 1000, False, b"y" * 100_000, b"")
    scene.say(lambda channel: channel.request(signal), Channel.close)
    scene.until(lambda: scene.over)
    assert scene.session is not None
    assert scene.session.status == 255
    told = [line for line in scene.lines if "ended by signal" in line]
    assert len(told) == 1
    assert told[0].startswith("the command was ended by signal TE\\033RMx")
    assert len(told[0]) < 200


def test_both_streams_are_drained_before_the_end(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    # More than the pipes hold: what is left is written when somebody reads.
    out, errors = os.urandom(300_000), os.urandom(200_000)
    scene.say(send(out), send_error(errors), status(0), Channel.eof, Channel.close)
    scene.until(lambda: scene.session is not None and scene.session.finished)
    read = {1: b"", 2: b""}

    def more() -> bool:
        for which in read:
            read[which] += scene.read(which)
        return bool(scene.over)

    assert not scene.over
    scene.until(more)
    more()
    assert read[1] == out
    assert read[2] == errors


def test_what_came_before_the_connection_broke_is_written(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    scene.say(send(b"last words"))
    scene.until(lambda: not scene.server.unsent)
    scene.right.close()
    scene.until(lambda: scene.closed and scene.over)
    assert scene.read(1) == b"last words"
    assert scene.session is not None
    assert not scene.session.finished
    assert scene.connection.ended_in is Stage.SESSION
    assert scene.connection.reasons() == ("Connection to host closed by remote host.",)


@pytest.mark.parametrize("strict", [True, False])
def test_r005_a_server_without_strict_key_exchange_is_noted(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    if not strict:
        proposal = keying.proposal

        def loose(*arguments: Any, **named: Any) -> KexInit:
            offer = proposal(*arguments, **named)
            offer.kex_algorithms = tuple(
                name for name in offer.kex_algorithms if not name.startswith("kex-strict-")
            )
            return offer

        monkeypatch.setattr(keying, "proposal", loose)
    scene = scenes()
    scene.begin()
    noted = "the server does not do strict key exchange" in scene.lines
    assert noted is not strict


def test_a_plain_end_has_no_reason(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    scene.connection.quit()
    scene.until(lambda: scene.closed)
    assert scene.connection.reasons() == ()
    assert scene.connection.error is None


# Ends that are gone


def test_output_that_nobody_reads_stops_the_command(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    os.close(scene.pipes[1][0])
    scene.say(send(b"x"))
    scene.until(lambda: len(scene.requests) == 2)
    assert isinstance(scene.requests[1], EndOfWrite)
    # Standard error is another matter, and so is the status.
    scene.say(send_error(b"broken pipe"), status(1), Channel.close)
    scene.until(lambda: scene.over)
    assert scene.read(2) == b"broken pipe"
    assert scene.session is not None
    assert scene.session.status == 1


def test_a_server_that_knows_no_end_of_write_has_its_channel_closed(scenes: Scenes) -> None:
    scene = scenes(identification="SSH-2.0-other")
    scene.begin()
    os.close(scene.pipes[1][0])
    scene.say(send(b"x"))
    scene.until(lambda: scene.over)
    assert not [request for request in scene.requests if isinstance(request, EndOfWrite)]


def test_a_command_that_reads_no_more_ends_our_reading(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    scene.say(lambda channel: channel.request(EndOfWrite()))
    scene.until(lambda: any("eow@openssh.com" in line for line in scene.lines))
    os.write(scene.pipes[0][1], b"for nobody")
    scene.say(status(0), Channel.close)
    scene.until(lambda: scene.over)
    assert scene.input is not None
    assert not scene.input.data


def test_input_may_be_ended_from_here(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    assert scene.session is not None
    scene.session.end_input()
    scene.until(lambda: scene.server_ended)
    scene.session.close()
    scene.until(lambda: scene.over)


def test_who_gives_up_does_not_wait_for_readers(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    scene.say(send(bytes(400_000)))
    scene.until(lambda: scene.session is not None and scene.session._sinks[0].backlog)
    assert scene.session is not None
    scene.session.abandon()
    assert scene.session.is_over
    assert scene.over == 1
    scene.session.abandon()
    assert scene.over == 1
    assert scene.session.status == 255


def test_requests_that_nobody_knows_are_refused(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    unknown = UnknownRequest("a\x1bb", b"")
    unknown.__dict__["name"] = "strange@example.com"
    scene.say(lambda channel: channel.request(unknown, want_reply=True))
    scene.until(lambda: scene.replies)
    assert scene.replies == [False]


def test_typed_text_passes_through_the_editor(scenes: Scenes) -> None:
    plan = SessionPlan(ShellRequest(), terminal=PTY, edit=lambda data: data.upper())
    scene = scenes(plan)
    scene.begin()
    os.write(scene.pipes[0][1], b"abc")
    scene.until(lambda: scene.input is not None and scene.input.data)
    assert scene.input is not None
    assert bytes(scene.input.data) == b"ABC"


# Variables


def test_variables_are_chosen_by_pattern_and_set_ones_win() -> None:
    chosen = selected_environment(
        ("LC_*", "LANG"),
        ("LANG=C.UTF-8", "MORE=a=b"),
        fits=match_pattern,
        environment={b"LANG": b"de", b"LC_ALL": b"\xff", b"HOME": b"/"},
    )
    assert chosen == ((b"LANG", b"C.UTF-8"), (b"LC_ALL", b"\xff"), (b"MORE", b"a=b"))
    assert selected_environment((), (), fits=match_pattern) == ()


def test_channels_of_others_are_left_alone(scenes: Scenes) -> None:
    scene = scenes()
    scene.begin()
    assert scene.session is not None
    other = scene.connection.core.open_channel("session")
    assert not tell_owner(ChannelClosed(other))
    assert not scene.session.is_over


# Keystrokes


def type_two_keys(scene: Scene) -> None:
    """One key, which arrives at once, and another, which has at least been read."""
    typing, reading = scene.pipes[0][1], scene.pipes[0][0]
    os.write(typing, b"a")
    scene.until(lambda: scene.input and scene.input.data == b"a")
    os.write(typing, b"b")
    waiting = bytearray(4)
    scene.until(lambda: not fcntl.ioctl(reading, termios.FIONREAD, waiting) and not any(waiting))


AN_HOUR = 3_600_000


def test_what_is_typed_last_arrives_before_the_end_of_the_input(scenes: Scenes) -> None:
    scene = scenes(SessionPlan(ShellRequest(), terminal=PTY, obscure=AN_HOUR))
    scene.begin()
    type_two_keys(scene)
    os.close(scene.pipes[0][1])
    scene.until(lambda: scene.server_ended)
    assert scene.input is not None
    assert bytes(scene.input.data) == b"ab"


def test_input_that_is_ended_by_us_is_sent_up_to_there(scenes: Scenes) -> None:
    scene = scenes(SessionPlan(ShellRequest(), terminal=PTY, obscure=AN_HOUR))
    scene.begin()
    type_two_keys(scene)
    assert scene.session is not None
    scene.session.end_input()
    scene.until(lambda: scene.server_ended)
    assert scene.input is not None
    assert bytes(scene.input.data) == b"ab"


@pytest.mark.parametrize("terminal", [PTY, None])
@pytest.mark.parametrize("obscure", [0, AN_HOUR])
def test_only_what_is_typed_at_a_terminal_is_held_back(
    scenes: Scenes, terminal: PtyRequest | None, obscure: int
) -> None:
    scene = scenes(SessionPlan(ShellRequest(), terminal=terminal, obscure=obscure))
    scene.begin()
    type_two_keys(scene)
    if terminal is None or not obscure:
        scene.until(lambda: scene.input and scene.input.data == b"ab")
    else:
        scene.until(scene._quiet)
        assert scene.input is not None
        assert scene.input.data == b"a"
    assert scene.session is not None
    scene.session.abandon()
