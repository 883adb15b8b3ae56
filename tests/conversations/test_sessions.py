# SPDX-License-Identifier: MIT
"""Sessions with real children behind a connection in memory: what clients ask in any order (RFC 4254 section 6)."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from tests.conversations.bare import inject_only, refused, take, write
from tests.work import work

from tellin.client.channel_owners import tell_owner
from tellin.client.sessions.session import Session as ClientSession
from tellin.client.sessions.session import SessionPlan
from tellin.connection.channel import Channel
from tellin.connection.requests import (
    AgentForwarding,
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
    X11Request,
    XonXoff,
)
from tellin.protocol.events import (
    ChannelAsked,
    ChannelClosed,
    ChannelClosing,
    ChannelEnded,
    ChannelReplied,
    ChannelRequested,
    ChannelWritable,
)
from tellin.runtime.journal import DEBUG3, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.privileges import Account
from tellin.runtime.terminal import window_size
from tellin.server.sessions.session_rules import SessionRules
from tellin.server.sessions.sessions import CommandSession
from tellin.testing import Collector
from tellin.testing.pairs import make_pair
from tellin.wire import string


class Outlet:
    """What pumps say when there is something to send: here everything is moved anyway."""

    def flush_soon(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Nothing to do."""


class Scene:
    """A logged-in pair whose server starts programs, and the loop that watches them."""

    def __init__(self, **rules: Any) -> None:
        self.loop = SmallLoop()
        self.made = make_pair(ciphers=("aes128-gcm@openssh.com",))
        self.made.log_in()
        account = Account.numbered(os.geteuid())
        account.shell = "/bin/sh"
        account.home = "/"
        self.rules = SessionRules(
            account, {}, lambda name: name == "ALLOWED", {"echo": "cat"}, **rules
        )
        self.handlers: list[CommandSession] = []
        answers = self.made.answers
        answers[ChannelAsked] = self._asked
        answers[ChannelRequested] = self._requested
        for kind, verb in (
            (ChannelEnded, "ended"),
            (ChannelClosing, "closing"),
            (ChannelClosed, "closed"),
            (ChannelWritable, "writable"),
        ):
            answers[kind] = self._telling(verb)

    def _asked(self, core: Any, event: ChannelAsked) -> None:
        handler = CommandSession(self.loop, event.channel, Outlet(), self.rules)
        event.channel.owner = handler
        self.handlers.append(handler)
        core.accept_channel(event.channel)

    def _requested(self, core: Any, event: ChannelRequested) -> None:
        if core is self.made.server:
            channel, debt = event.channel, event.debt
            channel.owner.requested(
                event.request,
                lambda success: channel.answer(success, debt) if debt is not None else None,
            )

    def _telling(self, verb: str) -> Callable[[Any, Any], object]:
        def tell(core: Any, event: Any) -> None:
            if core is self.made.server and event.channel.owner is not None:
                getattr(event.channel.owner, verb)()

        return tell

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Move bytes and run the loop until ``condition`` holds."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it never came true"
            self.made.pump()
            self.loop.run_until(condition, timeout=0.005)
            self.made.pump()

    def settle(self) -> None:
        """Move what there is, and give the children a moment."""
        for _ in range(4):
            self.made.pump()
            self.loop.run_until(lambda: False, timeout=0.01)

    def open(self) -> Channel:
        """A session channel, with its output kept."""
        ours, _ = self.made.session()
        ours.sink, ours.extended_sink = Collector(ours), Collector(ours)
        return ours

    def ask(self, channel: Channel, request: Request) -> bool:
        """Make a request; the answer."""
        before = len(self.made.seen(ChannelReplied, self.made.client))
        channel.request(request, want_reply=True)
        self.made.pump()
        replies = self.made.seen(ChannelReplied, self.made.client)
        assert len(replies) == before + 1
        return replies[-1].success

    def over(self, channel: Channel) -> bool:
        """Whether the client sees the channel as gone."""
        return channel.number not in self.made.client.channels

    def said(self, channel: Channel, kind: type[Request]) -> list[Any]:
        """The server's requests of one kind that the client got."""
        return [
            event.request
            for event in self.made.seen(ChannelRequested, self.made.client)
            if event.channel is channel and isinstance(event.request, kind)
        ]

    def close(self) -> None:
        """Take everything down."""
        for handler in self.handlers:
            if handler._child is not None:
                handler._child.send_signal(9)
            handler.closed()
        self.loop.run_until(
            lambda: all(h._child is None or h._child.ended for h in self.handlers), timeout=10
        )
        self.loop.close()


@pytest.fixture
def make_scene() -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def make(**rules: Any) -> Scene:
        made.append(Scene(**rules))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()


MakeScene = Callable[..., Scene]


def output(channel: Channel) -> bytes:
    assert isinstance(channel.sink, Collector)
    return bytes(channel.sink.data)


def test_a_command_runs_and_its_end_is_told(scene: Scene) -> None:
    channel = scene.open()
    assert scene.ask(channel, ExecRequest(b"echo out; echo err >&2; exit 3"))
    scene.until(lambda: scene.over(channel))
    assert output(channel) == b"out\n"
    assert isinstance(channel.extended_sink, Collector)
    assert channel.extended_sink.data == b"err\n"
    assert [one.status for one in scene.said(channel, ExitStatus)] == [3]


@pytest.mark.parametrize(
    "second", [ExecRequest(b"echo second"), ShellRequest(), SubsystemRequest("echo")]
)
def test_case_209_a_second_command_is_refused_and_the_first_goes_on(
    scene: Scene, second: Request
) -> None:
    channel = scene.open()
    assert scene.ask(channel, ExecRequest(b"cat"))
    assert not scene.ask(channel, second)
    channel.send(b"to the first")
    channel.eof()
    scene.until(lambda: scene.over(channel))
    assert output(channel) == b"to the first"


def test_case_210_a_command_after_the_end_of_its_input(scene: Scene) -> None:
    channel = scene.open()
    channel.send(b"all of it")
    channel.eof()
    assert scene.ask(channel, ExecRequest(b"cat"))
    scene.until(lambda: scene.over(channel))
    assert output(channel) == b"all of it"


def test_case_210_no_command_after_the_close(scene: Scene) -> None:
    channel = scene.open()
    channel.close()
    write(
        scene.made.client,
        b"\x62" + pack(">I", channel.peer) + string(b"exec") + b"\1" + string(b"touch /x"),
    )
    scene.made.pump()
    assert refused(scene.made.server)
    assert all(handler._child is None for handler in scene.handlers)


def test_r138_case_210_no_command_on_a_channel_that_the_client_has_closed(scene: Scene) -> None:
    """A command is still running there, so the channel lingers; another is not started."""
    channel = scene.open()
    assert scene.ask(channel, ExecRequest(b"sleep 100"))
    inject_only(scene.made, b"\x61" + pack(">I", channel.peer))
    (handler,) = scene.handlers
    answers: list[bool] = []
    handler.requested(SignalRequest("KILL"), answers.append)
    assert answers == [False]


# Terminals


def pty(**changes: Any) -> PtyRequest:
    fields = {
        "terminal": "xterm",
        "columns": 80,
        "rows": 24,
        "width_pixels": 0,
        "height_pixels": 0,
        "modes": b"\0",
    }
    return PtyRequest(**{**fields, **changes})


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [(0, 0, (0, 0)), (1 << 31, 0xFFFFFFFF, (65535, 65535)), (132, 43, (132, 43))],
)
def test_case_211_a_terminal_of_any_size(
    scene: Scene, columns: int, rows: int, expected: tuple[int, int]
) -> None:
    channel = scene.open()
    assert scene.ask(channel, pty(columns=columns, rows=rows))
    assert scene.ask(channel, ExecRequest(b"stty size"))
    scene.until(lambda: scene.over(channel))
    assert output(channel).split() == [b"%d" % expected[1], b"%d" % expected[0]]


@pytest.mark.parametrize("terminal", ["x" * 65536, "x" * 256, "x\x1b[2J", "a b", "a\nb", "a\0b"])
def test_case_211_a_name_of_a_terminal_that_is_none(scene: Scene, terminal: str) -> None:
    channel = scene.open()
    assert not scene.ask(channel, pty(terminal=terminal))
    # The session goes on, without one.
    assert scene.ask(channel, ExecRequest(b"test -t 0 || echo none"))
    channel.eof()
    scene.until(lambda: scene.over(channel))
    assert output(channel) == b"none\n"


@pytest.mark.parametrize(
    "modes", [b"", b"\xff" * 1000, b"\x01", b"\x01\0\0\0", bytes(range(256)) * 20]
)
def test_case_211_modes_that_are_rubbish_are_passed_over(scene: Scene, modes: bytes) -> None:
    channel = scene.open()
    assert scene.ask(channel, pty(modes=modes))
    assert not scene.ask(channel, pty())  # there is one already


def test_case_211_no_terminal_where_none_is_permitted(make_scene: MakeScene) -> None:
    scene = make_scene(permit_terminal=False)
    assert not scene.ask(scene.open(), pty())


def test_case_213_a_flood_of_window_changes_ends_with_the_last(scene: Scene) -> None:
    channel = scene.open()
    assert scene.ask(channel, pty())

    def flood() -> None:
        for columns in range(5000):
            channel.request(WindowChange(columns, 1 << 31, 0, 0))
        scene.made.pump()

    assert work(flood) < 5000 * 500
    (handler,) = scene.handlers
    assert handler._pty is not None
    size = window_size(handler._pty.master)
    assert size is not None
    assert (size.columns, size.rows) == (4999, 65535)
    assert not scene.made.server.closed


def test_case_213_without_a_terminal_there_is_nothing_to_resize(scene: Scene) -> None:
    assert not scene.ask(scene.open(), WindowChange(80, 24, 0, 0))


# Signals and the small requests


def test_case_214_a_signal_reaches_the_command_and_its_end_is_told(scene: Scene) -> None:
    channel = scene.open()
    assert not scene.ask(channel, SignalRequest("TERM"))  # nobody to signal
    assert scene.ask(channel, ExecRequest(b"exec sleep 100"))
    for unknown in ("", "SIGTERM", "term", "STOP", "9", "x" * 60_000, "TERM\0"):
        assert not scene.ask(channel, SignalRequest(unknown))
    assert scene.ask(channel, SignalRequest("TERM"))
    scene.until(lambda: scene.over(channel))
    assert [one.signal for one in scene.said(channel, ExitSignal)] == ["TERM"]


def test_case_214_a_forced_command_is_not_the_clients_to_kill(make_scene: MakeScene) -> None:
    scene = make_scene(forced_command="sleep 100")
    channel = scene.open()
    assert scene.ask(channel, ExecRequest(b"echo mine"))
    for name in ("KILL", "TERM", "INT"):
        assert not scene.ask(channel, SignalRequest(name))
    (handler,) = scene.handlers
    assert handler._child is not None
    assert handler._child.ended is None


@pytest.mark.parametrize(
    ("request_", "success"),
    [
        pytest.param(BreakRequest(1000), False, id="case 215: BREAK without a terminal"),
        pytest.param(XonXoff(True), False, id="case 215: xon-xoff"),
        pytest.param(AgentForwarding(), False, id="case 215: agent"),
        pytest.param(X11Request(False, "MIT-MAGIC-COOKIE-1", "00", 0), False, id="case 215: x11"),
        pytest.param(EndOfWrite(), True, id="case 215: eow"),
        pytest.param(SubsystemRequest("none-such"), False, id="an unknown subsystem"),
        pytest.param(ExecRequest(b"a\0b"), False, id="a command with NUL"),
        pytest.param(EnvironmentRequest(b"ALLOWED", b"x"), True, id="a variable"),
        pytest.param(EnvironmentRequest(b"ALLOWED", b"a\0b"), False, id="a variable with NUL"),
        pytest.param(EnvironmentRequest(b"LD_PRELOAD", b"x"), False, id="another variable"),
        pytest.param(EnvironmentRequest(b"A=B", b"x"), False, id="a variable's name that is none"),
        pytest.param(ExitStatus(0), False, id="a client that tells of an end"),
    ],
)
def test_the_small_requests_are_answered_and_harm_nothing(
    scene: Scene, request_: Request, success: bool
) -> None:
    channel = scene.open()
    assert scene.ask(channel, request_) is success
    assert scene.ask(channel, ExecRequest(b"echo still here"))
    scene.until(lambda: scene.over(channel))
    assert output(channel) == b"still here\n"


def test_case_207_an_unknown_request_fails_and_the_session_goes_on(scene: Scene) -> None:
    channel = scene.open()
    inject_only(
        scene.made, b"\x62" + pack(">I", channel.peer) + string(b"nonsense@example.com") + b"\1"
    )
    write(scene.made.client, b"\x02\0\0\0\0")
    wire = take(scene.made.server)
    reader = scene.made.client._transport.reader
    reader.buffer.append(wire)
    answers = [bytes(payload) for payload in iter(reader.next, None)]
    assert answers == [b"\x64" + pack(">I", channel.number)]


# Ends


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What servers say by themselves on their channels."""
    said: list[Request] = []
    request = Channel.request

    def spy(channel: Channel, what: Request, **named: Any) -> None:
        if isinstance(what, ExitStatus | ExitSignal):
            said.append(what)
        request(channel, what, **named)

    monkeypatch.setattr(Channel, "request", spy)
    return said


@pytest.mark.parametrize("order", list(itertools.permutations(["exit", "eof", "close"])))
def test_case_222_the_status_is_told_once_in_whatever_order_things_end(
    scene: Scene, counted: list[Request], tmp_path: Path, order: tuple[str, ...]
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    channel = scene.open()
    assert scene.ask(channel, ExecRequest(f"read x < {gate}; exit 7".encode()))

    def leave() -> None:
        with gate.open("w") as end:
            end.write("go\n")
        (handler,) = scene.handlers
        scene.until(lambda: handler._child is not None and handler._child.ended)

    acts: dict[str, Callable[[], object]] = {
        "exit": leave,
        "eof": channel.eof,
        "close": channel.close,
    }
    for act in order:
        acts[act]()
        scene.settle()
    scene.until(lambda: not scene.made.server.channels)
    assert [one.status for one in counted if isinstance(one, ExitStatus)] == [7]
    assert len(counted) == 1
    assert scene.made.server.error is None


def test_case_223_a_command_that_never_reads_stops_its_own_channel_and_no_other(
    scene: Scene,
) -> None:
    stuck = scene.open()
    assert scene.ask(stuck, ExecRequest(b"sleep 100"))
    sent = 0
    for _ in range(200):
        sent += stuck.send(bytes(65536))
        scene.made.pump()
        scene.loop.run_until(lambda: False, timeout=0)
    assert stuck.send_window == 0
    assert stuck.room() == 0
    # What the pipe holds, and a window.
    assert sent <= (2 << 20) + (1 << 20) + 65536
    assert scene.handlers[0]._sink is not None
    assert scene.handlers[0]._sink.backlog <= 2 << 20
    other = scene.open()
    assert scene.ask(other, ExecRequest(b"echo here"))
    scene.until(lambda: scene.over(other))
    assert output(other) == b"here\n"


def test_case_223_a_client_that_takes_nothing_stops_the_command(scene: Scene) -> None:
    channel = scene.open()
    channel.sink = sink = Collector(channel, hold=True)
    assert scene.ask(channel, ExecRequest(b"cat /dev/zero"))
    scene.until(lambda: sink.held == 2 << 20)
    scene.settle()
    assert sink.held == 2 << 20
    assert scene.made.server.unsent < 1 << 20
    other = scene.open()
    assert scene.ask(other, ExecRequest(b"echo here"))
    scene.until(lambda: scene.over(other))
    assert output(other) == b"here\n"


# A client's side of them


class Run:
    """A client's session before a server that only this test moves."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.loop = SmallLoop()
        self.made = make_pair()
        self.made.log_in()
        null = os.open("/dev/null", os.O_RDWR)
        self.null = null
        link: Any = Outlet()
        self.session = ClientSession(
            self.loop,
            link,
            self.made.client,
            SessionPlan(ExecRequest(b"true"), stdin=null, stdout=null, stderr=null),
            journal=Journal(DEBUG3, self.lines.append),
            on_over=lambda: None,
        )
        self.move()
        (asked,) = self.made.seen(ChannelAsked)
        self.theirs = asked.channel

    def move(self) -> None:
        """Go on until nothing moves."""
        for _ in range(6):
            self.made.pump()
            for event in self.made.client_events:
                tell_owner(event)
            self.made.client_events.clear()
            self.loop.run_until(lambda: False, timeout=0)

    def end(self) -> int:
        """The server closes the channel; the client's status."""
        self.theirs.close()
        self.move()
        self.loop.run_until(lambda: self.session.is_over, timeout=5)
        assert self.session.is_over
        os.close(self.null)
        self.loop.close()
        return self.session.status


def test_case_217_without_a_status_a_client_ends_with_255() -> None:
    run = Run()
    assert run.end() == 255
    run = Run()
    run.theirs.request(ExitStatus(3))
    run.move()
    assert run.end() == 3


def test_case_217_a_truncated_status_ends_the_connection() -> None:
    run = Run()
    write(
        run.made.server,
        b"\x62" + pack(">I", run.session.channel.number) + string(b"exit-status") + b"\0\0\0\0",
    )
    run.move()
    assert refused(run.made.client)
    assert run.session.status == 255


def test_r036_case_218_a_signal_with_endless_words_is_cut_and_escaped() -> None:
    run = Run()
    run.theirs.request(ExitSignal("TERM\x1b[2J" + "x" * 100_000, True, bytes(100_000), b""))
    run.move()
    told = [line for line in run.lines if "signal" in line]
    assert told
    assert all(len(line) < 300 and line.isprintable() for line in told)
    assert len(run.session.exit_signal) <= 64
    assert run.end() == 255


def test_case_218_a_megabyte_is_more_than_a_packet() -> None:
    run = Run()
    run.theirs.request(ExitSignal("TERM", False, bytes(1 << 20), b""))
    run.move()
    assert refused(run.made.client)
