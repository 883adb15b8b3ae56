# SPDX-License-Identifier: MIT
"""A channel and a socket joined: what comes out of the one goes into the other, both ways."""

import _socket
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any, Final

from tellin.connection.channel import Channel
from tellin.runtime.descriptors import Descriptor
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import FdSink, FdSource, Gathering
from tellin.runtime.sockets import Socket, without_delay

# struct linger: on, and no seconds.
_AT_ONCE: Final = Struct("ii").pack(1, 0)


def reset(stream: Socket) -> None:
    """Let the close of ``stream`` be no end but an error to its other side; a local socket has no such."""
    if stream.family != _socket.AF_UNIX:
        with suppress(OSError):
            stream.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _AT_ONCE)


class Tunnel:
    """Joins ``stream`` to a channel and becomes the channel's owner.

    Each direction ends by itself: the end of one side's data is told to the other, which may still
    speak. When both have ended the channel is closed. ``on_over`` is called once, when nothing of
    the tunnel is left; ``on_opened`` and ``on_refused`` (which gets the event) are for channels that
    this side asks for. A side that does not read holds up the other side, and nobody else.

    Whoever hands out the core's events calls the methods that are named after them.
    """

    __slots__ = (
        "_drained",
        "_link",
        "_on_over",
        "_over",
        "_read",
        "_sink",
        "_source",
        "_written",
        "channel",
        "on_opened",
        "on_refused",
        "stream",
        "titled",
    )

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Gathering,
        stream: Socket,
        *,
        on_opened: Callable[[], object] | None = None,
        on_refused: Callable[[Any], object] | None = None,
        on_over: Callable[[], object] | None = None,
    ) -> None:
        self.channel = channel
        self.stream = stream
        self.titled: Callable[[], str] | None = None
        """Makes the title, for whoever wants a list."""
        self._link = link
        self.on_opened = on_opened
        self.on_refused = on_refused
        self._on_over = on_over
        self._read = self._written = self._over = False
        self._drained = False
        without_delay(stream)
        if stream.gettimeout() != 0.0:
            stream.setblocking(False)
        fd = stream.fileno()
        descriptor = Descriptor.of_socket(fd)
        self._sink = FdSink(
            loop,
            fd,
            channel,
            link,
            descriptor=descriptor,
            end=self._shut,
            on_broken=self._broken,
            on_finished=self._all_written,
        )
        self._source = FdSource(
            loop,
            fd,
            channel,
            link,
            descriptor=descriptor,
            flush=link.flush_last,
            on_end=self._all_read,
        )
        channel.owner = self
        channel.sink = self._sink

    @property
    def title(self) -> str:
        """What a list of connections calls it."""
        return "" if self.titled is None else self.titled()

    def start(self) -> None:
        """The channel is open: read from the socket."""
        self._source.start()

    # The channel's events

    def opened(self) -> None:
        """The peer has opened the channel that we asked for."""
        if self._over:
            # Its socket went away before there was an answer.
            self.channel.close()
            self._link.flush_soon()
            return
        self.start()
        if self.on_opened is not None:
            self.on_opened()

    def refused(self, event: Any) -> None:
        """The peer does not open it."""
        self._source.close()
        if self.on_refused is not None:
            self.on_refused(event)
        self._end()

    def requested(self, event: Any) -> None:
        """Nothing may be asked of such a channel."""
        if event.debt is not None:
            self.channel.answer(success=False, debt=event.debt)
            self._link.flush_soon()

    def replied(self, event: Any) -> None:
        """We ask nothing of it."""

    def writable(self) -> None:
        """There is room for what the socket has to say."""
        self._source.resume()

    def ended(self) -> None:
        """The peer sends no more: what has come is still written."""
        self._sink.finish()

    def closed(self) -> None:
        """The channel is gone: what has come is still written."""
        if self._over:
            return
        self._source.close()
        self._read = True
        self._sink.finish()
        self._settle()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone: whoever waits for more at the socket hears that this was no end."""
        if not self._over:
            if not self._written:
                # A reset instead of an end: what has come may be the half of it.
                reset(self.stream)
            self._end()

    def close(self) -> None:
        """Give it up on both sides."""
        if not self._over:
            self._end()
            self.channel.close()
            self._link.flush_soon()

    # The socket's ends

    def _all_read(self, error: OSError | None) -> None:
        self._read = True
        if error is not None:
            # A reset: the socket takes nothing either.
            self.close()
            return
        self._drained = True
        self.channel.eof()
        if self._written:
            self._settle()
        else:
            self._link.flush_last()

    def _broken(self, error: OSError) -> None:
        # Nobody takes what comes; what is still said the other way is not lost by it.
        self._sink.finish()

    def _shut(self, _fd: int) -> None:
        # Where all of the other direction has been read the socket is closed next, which says the same.
        if not (self._over or self._drained):
            # The peer may have gone already: then there is nobody to tell.
            self.stream.shutdown(_socket.SHUT_WR)

    def _all_written(self) -> None:
        self._written = True
        self._settle()

    def _settle(self) -> None:
        if self._read and self._written and not self._over:
            self._end()
            self.channel.close()
            self._link.flush_last()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if not self._drained:
            self._source.close()
        if not self._written:
            self._sink.close()
        self.stream.close()
        if self._on_over is not None:
            self._on_over()
