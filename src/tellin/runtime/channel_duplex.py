# SPDX-License-Identifier: MIT
"""A channel as the stream below another connection: what comes by the one is what the other reads."""

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tellin.connection.channel import Channel, Half, Standing
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.pumps import Outlet
from tellin.runtime.sockets import Watched


class ChannelDuplex(Watched):
    """A `Duplex` made of a channel, without a socket between: also the channel's owner.

    Whoever hands out the core's events calls the methods that are named after them. ``on_settled`` is
    called once, with None when the channel is there, else with why it is not. What has arrived is
    copied, and credited to the peer when it is read, so the channel's window bounds it. An outer
    connection that breaks is the end of this stream, as if its peer had hung up.
    """

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Outlet,
        *,
        on_settled: Callable[[Any], object],
    ) -> None:
        self.channel = channel
        self._loop = loop
        self._link = link
        self._on_settled: Callable[[Any], object] | None = on_settled
        self._pieces: deque[memoryview] = deque()
        self._at_end = False
        self._closed = False
        self._reader: Callable[[], object] | None = None
        self._writer: Callable[[], object] | None = None
        self._reading: Cancellable | None = None
        self._writing: Cancellable | None = None
        channel.owner = self
        channel.sink = self

    # The stream

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into ``buffer``; 0 is the end, BlockingIOError means not now."""
        pieces = self._pieces
        count, room = 0, len(buffer)
        while pieces and count < room:
            piece = pieces[0]
            part = piece[: room - count]
            buffer[count : count + len(part)] = part
            count += len(part)
            if len(part) == len(piece):
                pieces.popleft()
            else:
                pieces[0] = piece[len(part) :]
        if count:
            self.channel.consumed(count)
            self._link.flush_soon()
        elif not self._at_end:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return count

    def sendmsg(self, buffers: Sequence[memoryview], /) -> int:
        """Write what is taken now; BlockingIOError means nothing."""
        channel = self.channel
        if channel.standing is not Standing.OPEN or channel.sending is not Half.OPEN:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        total = 0
        for view in buffers:
            taken = channel.send(view)
            total += taken
            if taken < len(view):
                break
        if not total and any(map(len, buffers)):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._link.flush_soon()
        return total

    def shutdown(self, how: int, /) -> None:
        """Say that nothing more is written."""
        self.channel.eof()
        self._link.flush_soon()

    def close(self) -> None:
        """Close the channel; what was not read is dropped."""
        if not self._closed:
            self._closed = True
            self._forget()
            self._pieces.clear()
            self.channel.close()
            self._link.flush_soon()

    # Its readiness

    def watch_input(self, callback: Callable[[], object] | None) -> None:
        """Call whenever there is something to read, or the end; None stops that."""
        self._reader = callback
        self._wake_reader()

    def watch_output(self, callback: Callable[[], object] | None) -> None:
        """Call whenever bytes are taken, or never will be any more; None stops that."""
        self._writer = callback
        if callback is not None and (self._at_end or self.channel.room()):
            self._wake_writer()

    def _wake_reader(self) -> None:
        # In a turn of its own: an error of the connection above is no error of the one below.
        if self._reader is not None and self._reading is None and (self._pieces or self._at_end):
            self._reading = self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        self._reading = None
        if self._reader is not None:
            self._reader()
            self._wake_reader()

    def _wake_writer(self) -> None:
        if self._writer is not None and self._writing is None:
            self._writing = self._loop.call_soon(self._writable)

    def _writable(self) -> None:
        self._writing = None
        if self._writer is not None:
            self._writer()

    def _forget(self) -> None:
        self._reader = self._writer = None
        for call in (self._reading, self._writing):
            if call is not None:
                call.cancel()
        self._reading = self._writing = None

    # The channel's data and events

    def take(self, views: list[memoryview]) -> int:
        """Keep a copy until it is read."""
        if self._closed:
            return sum(map(len, views))
        self._pieces.extend(memoryview(bytes(view)) for view in views)
        self._wake_reader()
        return 0

    def opened(self) -> None:
        """The peer has opened the channel."""
        if self._closed:
            self.channel.close()
            self._link.flush_soon()
        else:
            self._settle(None)

    def refused(self, event: Any) -> None:
        """The peer does not open it."""
        self._end()
        self._settle(event)

    def replied(self, event: Any) -> None:
        """Nothing is asked on such a channel."""

    def requested(self, event: Any) -> None:
        """Nothing can be asked of us on such a channel."""
        if event.want_reply:
            self.channel.answer(False, event.debt)
            self._link.flush_soon()

    def writable(self) -> None:
        """There is room again."""
        self._wake_writer()

    def ended(self) -> None:
        """The peer sends no more."""
        self._at_end = True
        self._wake_reader()

    def closed(self) -> None:
        """The channel is gone."""
        self._end()

    def lost(self, failure: Any = None) -> None:
        """The connection that it goes by is gone."""
        self._end()
        self._settle(failure)

    def _end(self) -> None:
        self._at_end = True
        self._wake_reader()
        self._wake_writer()

    def _settle(self, why: Any) -> None:
        told, self._on_settled = self._on_settled, None
        if told is not None:
            told(why)
