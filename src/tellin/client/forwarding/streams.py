# SPDX-License-Identifier: MIT
"""One connection that the server has made for a program: bytes both ways, each with its own end."""

import asyncio
from types import TracebackType
from typing import Any

from tellin.client.sessions.remote import Carrier
from tellin.connection.channel import Channel
from tellin.errors import ChannelRefused, ConnectionLost
from tellin.protocol.events import ChannelOpenRefused, ChannelRequested
from tellin.runtime.channel_streams import Reader, Writer

_CLOSING_SECONDS = 10.0


class Stream:
    """A connection through a server; made by ``Connection.open_connection``, ``listen`` and their kin.

    ``reader`` and ``writer`` are its two directions; ``writer.end()`` says that nothing more comes,
    and the other side may still speak. What nobody reads holds the other side back.
    """

    __slots__ = (
        "_carrier",
        "_channel",
        "_closed",
        "_done",
        "opening",
        "origin",
        "reader",
        "writer",
    )

    def __init__(
        self,
        carrier: Carrier,
        channel: Channel,
        *,
        origin: tuple[str, int] = ("", 0),
    ) -> None:
        loop = asyncio.get_running_loop()
        self._carrier = carrier
        self._closed = False
        self._done: asyncio.Future[None] = loop.create_future()
        self.opening: asyncio.Future[None] = loop.create_future()
        self.origin: tuple[str, int] = origin
        """Who has connected, by the server's word; empty where we have asked for the connection."""
        self._channel = channel
        channel.owner = self
        self.reader: Reader[bytes] = Reader(self._channel, carrier.link)
        self.writer: Writer[bytes] = Writer(
            self._channel, carrier.link, on_ended=self._all_written
        )
        channel.sink = self.reader
        carrier.link.flush_soon()

    @classmethod
    def accepted(cls, carrier: Carrier, channel: Channel, origin: tuple[str, int]) -> "Stream":
        """Take a channel that the server asks for."""
        carrier.core.accept_channel(channel)
        made = cls(carrier, channel, origin=origin)
        made.opened()
        return made

    # What a program does

    async def read(self, size: int = -1) -> bytes:
        """As ``reader.read``: at most ``size`` bytes, or all to the end; empty at the end."""
        return await self.reader.read(size)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """As ``writer.write``: returns when the connection has taken all of it."""
        await self.writer.write(data)

    def close(self) -> None:
        """Give it up in both directions."""
        if not self._closed:
            self._closed = True
            self.reader.close()
            self._channel.close()
            self._carrier.link.flush_soon()

    async def aclose(self) -> None:
        """Say the end behind all that was written and close; waits for the channel, ten seconds at most."""
        if not self._done.done() and not self.writer.closing:
            await self.writer.aclose()
        self.close()
        await asyncio.wait([self._done], timeout=_CLOSING_SECONDS)

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # The channel's events

    def opened(self) -> None:
        """The server has made the connection."""
        if self._closed:
            self._channel.close()
        elif not self.opening.done():
            self.opening.set_result(None)

    def refused(self, event: ChannelOpenRefused) -> None:
        """The server has not."""
        self._over(
            ChannelRefused(event.reason, event.description, host=self._carrier.host),
            ConnectionLost("there is no such connection", stage="session"),
        )

    def requested(self, event: ChannelRequested) -> None:
        """Nothing may be asked of such a channel."""
        if event.debt is not None:
            self._channel.answer(success=False, debt=event.debt)
            self._carrier.link.flush_soon()

    def replied(self, event: Any) -> None:
        """We ask nothing of it."""

    def writable(self) -> None:
        """There is room again."""
        self.writer.resume()

    def ended(self) -> None:
        """The other side sends no more."""
        self.reader.finish()

    def closed(self) -> None:
        """The channel is gone."""
        self._over(None, ConnectionLost("the other side has closed", stage="session"))

    def lost(self, failure: ConnectionLost) -> None:
        """The connection to the server is gone."""
        self.reader.finish(failure)
        self._over(failure, failure)

    def _over(self, failure: Exception | None, unwritten: ConnectionLost) -> None:
        self._closed = True
        if not self.opening.done():
            if failure is None:
                self.opening.set_result(None)
            else:
                self.opening.set_exception(failure)
        self.reader.finish()
        self.writer.fail(unwritten)
        if not self._done.done():
            self._done.set_result(None)

    def _all_written(self) -> None:
        self._channel.eof()
        self._carrier.link.flush_soon()
