# SPDX-License-Identifier: MIT
"""One session of a program: its requests, its three streams, and how it ended.

The requests leave in one flight behind the channel's confirmation, and input follows at once: the
server takes them in order, so waiting for its answers would only cost round trips.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

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
    WindowChange,
    X11Request,
)
from tellin.protocol.client import ClientProtocol
from tellin.protocol.core import PING_EXTENSION
from tellin.protocol.events import ChannelOpenRefused, ChannelReplied, ChannelRequested
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import FdSink, FdSource
from tellin.runtime.stream import Link
from tellin.wire import Record
from tellin.wire.states import State

FAILED: Final = 255
_BREAK_MILLISECONDS: Final = 1000
# What log lines call requests.
_CALLED: Final[dict[type[Request], str]] = {
    ExecRequest: "exec",
    ShellRequest: "shell",
    SubsystemRequest: "subsystem",
    PtyRequest: "PTY allocation",
    X11Request: "X11 forwarding",
}


class SessionPlan(Record):
    """What a session is to be."""

    start: Request  # shell, exec or subsystem
    environment: tuple[tuple[bytes, bytes], ...] = ()
    lent: tuple[
        tuple[Request, bool], ...
    ] = ()  # of `tellin.client.forwarding.lending`; true wants an answer
    terminal: PtyRequest | None = None
    stdin: int = 0
    stdout: int = 1
    stderr: int = 2
    edit: Callable[[bytes], bytes] | None = None  # what a terminal's input passes through
    obscure: int = 0  # milliseconds between the packets of somebody who types; 0: as it is typed


class Typing(Protocol):
    """What holds typed input back: `tellin.client.sessions.keystrokes.Keystrokes`, which is loaded late."""

    def finish(self, done: Callable[[], object]) -> None:
        """Nothing more will be typed: call ``done`` once all of it is sent."""

    def close(self) -> None:
        """Drop what is not sent, and stop."""


class Stage(State):
    """How far a session is."""

    OPENING = "the channel was asked for"
    RUNNING = "requests are out, data goes both ways"
    DRAINING = "the channel is gone, what came last is still being written"
    OVER = "over"


class Session:
    """One session channel and what is at its ends here.

    ``on_over`` is called once, when the channel is gone and everything that came has been written.
    ``status`` is then the exit status, 255 where the server gave none.
    """

    def __init__(
        self,
        loop: Loop,
        link: Link,
        core: ClientProtocol,
        plan: SessionPlan,
        *,
        journal: Journal,
        on_over: Callable[[], object],
        on_started: Callable[[], object] | None = None,
    ) -> None:
        self.plan = plan
        self.stage = Stage.OPENING
        self.status = FAILED
        self.exit_signal = ""
        self.finished = False
        """Whether the server closed the channel, so that all of the output is there."""
        self.refusal = ""
        """Why there was no session, if there was none."""
        self._loop = loop
        self._link = link
        self._core = core
        self._journal = journal
        self._on_over = on_over
        self._on_started = on_started
        self._sinks: list[FdSink] = []
        self._writing = 0
        self._source: FdSource | None = None
        self._keystrokes: Typing | None = None
        self.channel = core.open_channel("session")
        self.channel.owner = self

    @property
    def is_over(self) -> bool:
        """Whether the channel is gone and everything that came has been written."""
        return self.stage is Stage.OVER

    # The beginning

    def opened(self) -> None:
        """The server has opened the channel: all requests leave, and input may follow."""
        self.stage = Stage.RUNNING
        plan, channel = self.plan, self.channel
        for request, want_reply in plan.lent:
            channel.request(request, want_reply=want_reply)
        channel.purpose = _purpose(plan.start)
        if plan.terminal is not None:
            channel.request(plan.terminal, want_reply=True)
        for variable, value in plan.environment:
            channel.request(EnvironmentRequest(variable, value))
        channel.request(plan.start, want_reply=True)
        output = self._sink(plan.stdout, self._output_broken)
        errors = self._sink(plan.stderr, None)
        channel.sink, channel.extended_sink = output, errors
        self._sinks = [output, errors]
        self._source = FdSource(
            self._loop,
            plan.stdin,
            channel,
            self._link,
            inherited=True,
            edit=self._edit(),
            on_end=self._input_ended,
        )
        if self._on_started is not None:
            self._on_started()
        self._source.start()

    def _edit(self) -> Callable[[bytes], bytes] | None:
        """What the input passes through."""
        plan, core = self.plan, self._core
        if plan.terminal is None or not plan.obscure:
            return plan.edit
        # Who has no terminal does not wait for it.
        from tellin.client.sessions.keystrokes import CHAFF, Keystrokes  # noqa: PLC0415  (start-up time)

        self._keystrokes = Keystrokes(
            self._loop,
            self.channel,
            self._link,
            milliseconds=plan.obscure,
            fake=(lambda: core.ping(CHAFF)) if PING_EXTENSION in core.peer_extensions else None,
            edit=plan.edit,
            journal=self._journal,
        )
        return self._keystrokes.edit

    def _sink(self, fd: int, on_broken: Callable[[OSError], object] | None) -> FdSink:
        self._writing += 1
        return FdSink(
            self._loop,
            fd,
            self.channel,
            self._link,
            inherited=True,
            end=None,
            on_broken=on_broken,
            on_finished=self._written,
        )

    def refused(self, event: ChannelOpenRefused) -> None:
        """There is no session to be had."""
        self.refusal = f"channel 0: open failed: {event.description} (code {event.reason})"
        self._journal.error(self.refusal)
        self.finished = True
        self._end()

    def replied(self, event: ChannelReplied) -> None:
        """The server does what was asked of it, or does not."""
        number = self.channel.number
        if event.success:
            if self._journal.debugs:
                name = _CALLED.get(type(event.request), event.request.name)
                self._journal.debug2(f"{name} request accepted on channel {number}")
            return
        if isinstance(event.request, PtyRequest):
            # As OpenSSH: the command runs all the same, without a terminal.
            self._journal.error(f"PTY allocation request failed on channel {number}")
            return
        name = _CALLED.get(type(event.request), event.request.name)
        if isinstance(event.request, X11Request):
            # And without windows.
            self._journal.error(f"{name} request failed on channel {number}")
            return
        self.refusal = f"{name} request failed on channel {number}"
        self.complain(self.refusal)
        self.close()

    def complain(self, refusal: str) -> None:
        """Tell the user that there will be no program."""
        self._journal.error(refusal)

    # Data

    def _input_ended(self, error: OSError | None) -> None:
        if error is not None:
            self._journal.debug(f"read of standard input: {error.strerror}")
        self._input_out()

    def _input_out(self, last: bytes = b"") -> None:
        """Say that no more comes, behind what has been typed and not sent yet."""
        if self._keystrokes is None:
            self._say_eof(last)
        else:
            self._keystrokes.finish(lambda: self._say_eof(last))

    def _say_eof(self, last: bytes) -> None:
        if last:
            self.channel.send(last)
        self.channel.eof()
        self._link.flush_soon()

    def _output_broken(self, error: OSError) -> None:
        """Whoever read our output has gone: the command may stop writing (`| head -1`)."""
        self._journal.debug2(f"write to standard output: {error.strerror}")
        peer = self._core.peer_identification
        if "OpenSSH" in peer or "tellin" in peer:
            self.channel.request(EndOfWrite())
        else:
            # Others do not know the request, and would send to the end of the command's life. Nor
            # do they all answer a close before that (Dropbear): there is nothing to wait for.
            self.channel.close()
            self._end()
        self._link.flush_soon()

    def writable(self) -> None:
        """There is room for input again."""
        if self._source is not None:
            self._source.resume()

    # Requests of the server

    def requested(self, event: ChannelRequested) -> None:
        """How the command ended, or that it reads no more."""
        request = event.request
        known = isinstance(request, ExitStatus | ExitSignal | EndOfWrite)
        if self._journal.debugs:
            name = request.name or getattr(request, "asked", "")
            self._journal.debug(
                f"client_input_channel_req: channel {self.channel.number}"
                f" rtype {name} reply {int(event.want_reply)}"
            )
        if isinstance(request, ExitStatus):
            self.status = request.status & 0xFF
        elif isinstance(request, ExitSignal):
            # Case 218: the name is the server's and may be anything.
            self.exit_signal = request.signal[:64]
            self._journal.verbose(f"the command was ended by signal {self.exit_signal}")
        elif isinstance(request, EndOfWrite):
            self._stop_input()
        if event.want_reply:
            self.channel.answer(known)

    def _stop_input(self) -> None:
        if self._source is not None:
            self._source.close()
        if self._keystrokes is not None:
            self._keystrokes.close()

    # The end

    def ended(self) -> None:
        """No more output comes; what has come is still written."""
        for sink in self._sinks:
            sink.finish()

    def closed(self) -> None:
        """The server has closed the channel."""
        self.finished = True
        self._end()

    def _written(self) -> None:
        self._writing -= 1
        if not self._writing and self.stage is Stage.DRAINING:
            self._finish()

    def _end(self) -> None:
        """The channel is gone."""
        if self.stage in {Stage.DRAINING, Stage.OVER}:
            return
        self.stage = Stage.DRAINING
        self._stop_input()
        for sink in self._sinks:
            sink.finish()
        # The last of them may have found nothing left to write, and said so.
        if not self._writing and not self.is_over:
            self._finish()

    def _finish(self) -> None:
        self.stage = Stage.OVER
        self._on_over()

    # Verbs

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone: what has come is still written."""
        self._end()

    def abandon(self) -> None:
        """Give up at once: what nobody has read yet is dropped."""
        if self.stage is Stage.OVER:
            return
        self.stage = Stage.DRAINING
        self._stop_input()
        for sink in self._sinks:
            sink.close()
        if not self._writing and not self.is_over:
            self._finish()

    def close(self) -> None:
        """End the session from this side."""
        if self.stage is Stage.RUNNING:
            self._stop_input()
            self.channel.close()
            self._link.flush_soon()

    def resize(self, size: WindowChange) -> None:
        """The terminal has another size now."""
        if self.stage is Stage.RUNNING and self.plan.terminal is not None:
            self.channel.request(size)
            self._link.flush_soon()

    def send_break(self) -> None:
        """Send a BREAK (RFC 4335)."""
        if self.stage is Stage.RUNNING:
            self.channel.request(BreakRequest(_BREAK_MILLISECONDS))
            self._link.flush_soon()

    def end_input(self, last: bytes = b"") -> None:
        """Read no more, send ``last``, and tell the other side that no more will come."""
        if self.stage is Stage.RUNNING:
            if self._source is not None:
                self._source.close()
            self._input_out(last)


def _purpose(request: Request) -> str:
    """What ChannelTimeout calls a session."""
    if isinstance(request, SubsystemRequest):
        return f"subsystem:{request.subsystem}"
    return "command" if isinstance(request, ExecRequest) else "shell"
