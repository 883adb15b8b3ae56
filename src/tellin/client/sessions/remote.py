# SPDX-License-Identifier: MIT
"""One session channel of a client: what is asked of the server, and what it says. Driven by events."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tellin.connection.channel import Channel, Half, Standing
from tellin.connection.requests import (
    AgentForwarding,
    EndOfWrite,
    EnvironmentRequest,
    ExitSignal,
    ExitStatus,
    PtyRequest,
    Request,
    SignalRequest,
    X11Request,
)
from tellin.errors import ChannelRefused, ConnectionLost, RequestRefused, TellinError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelOpenRefused, ChannelReplied, ChannelRequested
from tellin.runtime.channel_streams import Reader, Writer, again
from tellin.runtime.loop import Loop
from tellin.runtime.redirection import Drain, Ends
from tellin.runtime.stream import Link


class Carrier(Protocol):
    """The connection, as far as its processes need it."""

    @property
    def loop(self) -> Loop:
        """What it runs on."""

    @property
    def core(self) -> ClientProtocol:
        """Its protocol."""

    @property
    def link(self) -> Link:
        """Its socket."""

    @property
    def host(self) -> str:
        """The server as it was named."""


class Feed(Protocol):
    """What sends a channel's input by itself: a pump, or a talk in a protocol of its own."""

    def resume(self) -> None:
        """There is room again."""

    def close(self) -> None:
        """Nobody takes any more."""


class Remote:
    """One session channel: what is asked of the server, and what it says. Driven by events.

    ``on_opened`` is called when the requests are out. ``started`` becomes true or raises when the
    server has answered; ``done`` ends when the channel is gone and all that came is where it
    should be, and ``failure`` is then set if it did not end by itself.
    """

    __slots__ = (
        "_abandoned",
        "_drains",
        "_ending",
        "_environment",
        "_gone",
        "_lends_agent",
        "_request",
        "_shown",
        "_terminal",
        "began",
        "carrier",
        "channel",
        "done",
        "ends",
        "exit_signal",
        "exit_status",
        "failure",
        "on_opened",
        "source",
        "started",
        "unfinished",
        "writer",
    )

    def __init__(
        self,
        carrier: Carrier,
        request: Request,
        *,
        environment: Mapping[str, str] | None,
        terminal: PtyRequest | None,
        lends_agent: bool = False,
        shown: X11Request | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.carrier = carrier
        self.began = loop.time()
        self.done: asyncio.Future[None] = loop.create_future()
        self.started: asyncio.Future[None] | None = None
        self.exit_status: int | None = None
        self.exit_signal: str | None = None
        self.failure: BaseException | None = None
        self.on_opened: Callable[[], object] = self.send_eof
        self.writer: Writer[Any] | None = None
        self.source: Feed | None = None
        self.ends: Ends | None = None
        self.unfinished = 0
        """How many outputs are still being written."""
        self._drains: list[Drain | Reader[Any]] = []
        self._request = request
        self._environment = environment
        self._terminal = terminal
        self._lends_agent = lends_agent
        self._shown = shown
        self._abandoned = False
        self._gone = False
        self._ending: ConnectionLost | None = None
        self.channel: Channel = carrier.core.open_channel("session")
        self.channel.owner = self

    def launch(self) -> None:
        """Everything is in its place: ask for the channel."""
        if len(self.carrier.core.channels) == 1:
            # Nothing else is going on that could share a flight: a turn of the loop is saved.
            self.carrier.link.flush()
        else:
            self.carrier.link.flush_soon()

    def collect(self, output: Drain | Reader[Any], *, extended: bool = False) -> None:
        """Send standard output, or standard error, there."""
        self._drains.append(output)
        if extended:
            self.channel.extended_sink = output
        else:
            self.channel.sink = output

    def make_ends(self) -> Ends:
        """What redirected streams need."""
        if self.ends is None:
            self.ends = Ends(
                self.carrier.loop,
                self.channel,
                self.carrier.link,
                on_finished=self._finished,
                on_broken=self._broken,
            )
        return self.ends

    # Events

    def opened(self) -> None:
        """The channel is there: all requests leave in one flight."""
        channel = self.channel
        if self._abandoned:
            channel.close()
            return
        try:
            if self._lends_agent:
                channel.request(AgentForwarding())
            if self._shown is not None:
                channel.request(self._shown, want_reply=True)
            if self._terminal is not None:
                channel.request(self._terminal, want_reply=True)
            for name, value in (self._environment or {}).items():
                channel.request(EnvironmentRequest(name.encode(), value.encode()))
            channel.request(self._request, want_reply=True)
            self.on_opened()
        except Exception as error:  # noqa: BLE001 - an argument of a wrong type may do anything
            # An event is what calls: whoever started the command is to hear of it.
            self.fail(error)

    def refused(self, event: ChannelOpenRefused) -> None:
        """The server gives us no channel."""
        self._over(ChannelRefused(event.reason, event.description, host=self.carrier.host))

    def replied(self, event: ChannelReplied) -> None:
        """The server's answer to a request."""
        if event.request is self._request:
            if event.success:
                if self.started is not None and not self.started.done():
                    self.started.set_result(None)
                return
            what = event.request.name
        elif event.success:
            return
        elif event.request is self._terminal:
            what = "terminal"
        elif event.request is self._shown:
            what = "X11 forwarding"
        else:
            return
        if self.failure is None:
            self.failure = RequestRefused(
                f"{self.carrier.host}: the server refused the {what} request"
            )
        self.channel.close()

    def requested(self, event: ChannelRequested) -> None:
        """How it ended, or that it reads no more."""
        request = event.request
        if isinstance(request, ExitStatus):
            self.exit_status = request.status
        elif isinstance(request, ExitSignal):
            # Case 218: the name is the server's and may be anything.
            self.exit_signal = request.signal[:64]
        elif isinstance(request, EndOfWrite):
            self.stop_input()
        if event.want_reply:
            self.channel.answer(isinstance(request, ExitStatus | ExitSignal | EndOfWrite))

    def ended(self) -> None:
        """No more output."""
        for drain in self._drains:
            drain.finish()

    def writable(self) -> None:
        """There is room for input."""
        if self.source is not None:
            self.source.resume()
        elif self.writer is not None:
            self.writer.resume()

    def closed(self) -> None:
        """The channel is gone."""
        self._over(None)
        # Nobody waits for our CLOSE. What the program does next leaves in the same flight: it asks
        # for another command, or says goodbye.
        self.carrier.link.hold_flight()

    def lost(self, failure: ConnectionLost) -> None:
        """The connection is gone."""
        self._ending = failure
        self._over(failure)

    # The end

    def stop_input(self) -> None:
        """Nobody reads what we would still send."""
        if self.source is not None:
            self.source.close()
        if self.ends is not None:
            self.ends.close_input()
        if self.writer is not None:
            self.writer.fail(ConnectionLost("the command reads no more", stage="session"))

    def _over(self, failure: TellinError | None) -> None:
        if self._gone:
            return
        self._gone = True
        if self.failure is None and not self._abandoned:
            self.failure = failure
        self.stop_input()
        for drain in self._drains:
            if self._ending is not None and isinstance(drain, Reader):
                drain.finish(self._ending)
            else:
                drain.finish()
        started = self.started
        if started is not None and not started.done():
            started.set_result(None)
        self._settle()

    def _finished(self) -> None:
        self.unfinished -= 1
        self._settle()

    def _settle(self) -> None:
        if self._gone and not self.unfinished and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """It cannot go on: ``error`` is why, if nothing else was before it."""
        if self.failure is None:
            self.failure = error
        self.abandon()
        if self.started is not None and not self.started.done():
            self.started.set_result(None)

    def _broken(self, error: Exception) -> None:
        """A redirected stream's end does not work: the first cause is kept, and output may stop."""
        if self.failure is None:
            self.failure = error
        peer = self.carrier.core.peer_identification
        if "OpenSSH" in peer or "tellin" in peer:
            self.ask(EndOfWrite())

    def abandon(self) -> None:
        """Give the command up: a signal for it, an end to the channel, and no more output.

        What waits for somebody to read it is dropped: he may never come.
        """
        if self._abandoned:
            return
        self._abandoned = True
        self.stop_input()
        if not self._gone:
            self.signal("TERM")
            self.channel.close()
            self.carrier.link.flush_soon()
        if self.ends is not None:
            self.ends.give_up()
        for drain in self._drains:
            drain.close()

    def signal(self, name: str) -> None:
        """Send a signal, if there is anybody to get it."""
        self.ask(SignalRequest(name))

    def ask(self, request: Request) -> None:
        """Send a request that wants no reply, while that is possible."""
        channel = self.channel
        if channel.standing is Standing.OPEN and channel.sending is not Half.CLOSED:
            channel.request(request)
            self.carrier.link.flush_soon()

    def send_eof(self) -> None:
        """No more input."""
        self.channel.eof()
        self.carrier.link.flush_soon()

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if isinstance(self.failure, ConnectionLost):
            raise again(self.failure)
        if self.failure is not None:
            raise self.failure
