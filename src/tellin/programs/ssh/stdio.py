# SPDX-License-Identifier: MIT
"""``ssh -W``: standard input and output lead to a port behind the server."""

from collections.abc import Callable
from typing import Any, Final

from tellin.client.connection import ClientConnection
from tellin.client.forwarding.leading import refusal
from tellin.config.forwards import Forward
from tellin.connection.forwarding import direct_target
from tellin.protocol.events import ChannelOpenRefused, ChannelReplied, ChannelRequested
from tellin.runtime.journal import Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.pumps import FdSink, FdSource

_FAILED: Final = 255


class StdioForward:
    """What a session is to other runs of ``ssh``: one channel between our descriptors and the place."""

    had_terminal = False

    def __init__(
        self,
        loop: SmallLoop,
        connection: ClientConnection,
        target: Forward,
        journal: Journal,
        *,
        on_over: Callable[[], object],
        descriptors: tuple[int, int] = (0, 1),
    ) -> None:
        self.connection = connection
        self.status = 0
        self.finished = False
        self._loop = loop
        self._target = target
        self._journal = journal
        self._on_over = on_over
        self._descriptors = descriptors
        self._channel: Any = None
        self._source: FdSource | None = None
        self._sink: FdSink | None = None
        self._read = False
        self._done = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do, or nothing has begun."""
        return self._done or self._sink is None

    def start(self) -> None:
        """The user is in: ask for the channel."""
        target, connection = self._target, self.connection
        place = direct_target(target.listen_host or "", target.listen_port, target.listen_path)
        self._channel = channel = connection.core.open_channel(*place)
        channel.owner = self
        link = connection.link
        self._sink = channel.sink = FdSink(
            self._loop,
            self._descriptors[1],
            channel,
            link,
            inherited=True,
            end=None,
            on_broken=lambda _: self._give_up(),
            on_finished=self._all_written,
        )
        self._source = FdSource(
            self._loop,
            self._descriptors[0],
            channel,
            link,
            inherited=True,
            on_end=lambda _: self._all_read(),
        )
        link.flush_soon()

    def abandon(self) -> None:
        """Give up at once."""
        for end in (self._source, self._sink):
            if end is not None:
                end.close()
        self._done = True

    def leave(self) -> None:
        """There is no terminal to put in order."""

    def beside(self, ask: Callable[[], bool]) -> bool:
        """The terminal is free for a question."""
        return ask()

    # The channel

    def opened(self) -> None:
        """The server has made the connection."""
        if self._source is not None:
            self._source.start()

    def refused(self, event: ChannelOpenRefused) -> None:
        """The server has not."""
        self._journal.info(refusal(event))
        self._journal.fatal("stdio forwarding failed")
        self.status = _FAILED
        self.finished = True
        self._channel_gone()

    def replied(self, event: ChannelReplied) -> None:
        """We ask nothing of it."""

    def requested(self, event: ChannelRequested) -> None:
        """Nothing may be asked of such a channel."""
        if event.debt is not None:
            event.channel.answer(success=False, debt=event.debt)
            self.connection.link.flush_soon()

    def writable(self) -> None:
        """There is room again."""
        if self._source is not None:
            self._source.resume()

    def ended(self) -> None:
        """The other side sends no more."""
        if self._sink is not None:
            self._sink.finish()

    def closed(self) -> None:
        """The channel is gone."""
        self.finished = True
        self._channel_gone()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone; what has come is still written."""
        self._channel_gone()

    def _channel_gone(self) -> None:
        self._channel = None
        if self._source is not None:
            self._source.close()
        if self._sink is None:
            self._over()
        else:
            self._sink.finish()
            if self._sink.backlog == 0:
                self._over()

    # Our ends

    def _all_read(self) -> None:
        self._read = True
        if self._channel is not None:
            self._channel.eof()
            self.connection.link.flush_soon()

    def _all_written(self) -> None:
        if self._channel is None:
            self._over()
        elif self._read:
            self._channel.close()
            self.connection.link.flush_soon()

    def _give_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self.connection.link.flush_soon()

    def _over(self) -> None:
        if not self._done:
            self._done = True
            self._on_over()
