# SPDX-License-Identifier: MIT
"""A talk with a file server over a channel of a connection: what coroutines ask, and what carries it."""

import asyncio
from collections import deque
from functools import partial
from typing import Final

from tellin.client.files.beside import BesideLoop, raised
from tellin.client.sessions.remote import Carrier, Remote
from tellin.connection.requests import SubsystemRequest
from tellin.errors import ConnectionLost, ProtocolError, TellinError
from tellin.runtime.redirection import DISCARD
from tellin.sftp.client import InFile, SftpClient
from tellin.sftp.remote_files import RemoteFiles

_PLACES: Final = 1 << 20
_CLOSING_SECONDS: Final = 10.0
_NO_SERVER: Final = "the account's start-up files may print something, which they must not here"


class FileTalk:
    """The channel's sink, and the feed of its input.

    What arrives goes to the half-machine in the views in which it came; what is to be sent is put
    straight into the packets that carry it, as there is room.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = carrier.link
        self._parts: deque[memoryview | InFile] = deque()
        self._reading = False
        self._flushing = False
        self._failure: TellinError | None = None
        self._version: asyncio.Future[None] = self._loop.create_future()
        self.client = SftpClient(
            identification=carrier.core.peer_identification,
            on_version=self._greeted,
            on_output=self._flush_soon,
            clock=self._loop.time,
        )
        self.client.sends_files = True
        self.files = RemoteFiles(self.client, BesideLoop(self._loop))
        self._remote = remote = Remote(
            carrier, SubsystemRequest("sftp"), environment=None, terminal=None
        )
        remote.source = self
        remote.on_opened = self._begin
        remote.collect(self)
        remote.collect(DISCARD, extended=True)

    async def open(self) -> None:
        """Ask for the channel and wait until the server has said what it is."""
        remote = self._remote
        try:
            remote.launch()
            # What the server refuses comes in place of its version.
            await self._version
            await self.files.learn_limits()
        except BaseException:
            remote.abandon()
            raise

    def _begin(self) -> None:
        # In the same flight as the request for the subsystem.
        self.client.begin()
        self._flush()

    def _greeted(self) -> None:
        if not self._version.done():
            self._version.set_result(None)

    # The channel

    def take(self, views: list[memoryview]) -> int:
        """Hand on what has arrived; all of it is used up at once."""
        if self._failure is None:
            try:
                self.client.received(views)
            except ProtocolError as error:
                if not error.hint and not self.client.ready:
                    error.hint = _NO_SERVER
                self._lost(error)
                # Within the core nobody may call its verbs.
                self._loop.call_soon(self._remote.abandon)
        return sum(map(len, views))

    def finish(self) -> None:
        """The server has ended, or the connection has."""
        failure = self._remote.failure
        if not isinstance(failure, TellinError):
            failure = ConnectionLost("the file server has ended", stage="session")
        self._lost(failure)

    def _lost(self, error: TellinError) -> None:
        if self._failure is None:
            self._failure = error
            self._parts.clear()
            self.client.lost(error)
            if not self._version.done():
                self._version.set_exception(raised(error))
                # Who has opened it may have been cancelled.
                self._version.exception()

    def close(self) -> None:
        """Nobody takes any more; who waits for an answer hears of it from ``finish``."""
        self._parts.clear()

    async def aclose(self) -> None:
        """End the talk, and wait until the channel is gone."""
        if self._failure is None:
            self._lost(ConnectionLost("the files were closed", stage="session"))
        self._remote.send_eof()
        await asyncio.wait([self._remote.done], timeout=_CLOSING_SECONDS)
        self._remote.abandon()

    def resume(self) -> None:
        """There is room again."""
        self._pump()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._parts.extend(
            part if isinstance(part, InFile) else memoryview(part) for part in self.client.take()
        )
        self._pump()

    def _pump(self) -> None:
        """Put what waits into packets, many messages into one or one into many."""
        parts, channel = self._parts, self._remote.channel
        sent = False
        while parts and not self._reading:
            wanted = 0
            for part in parts:
                wanted += len(part)
                if wanted >= _PLACES:
                    break
            places = channel.reserve(min(wanted, _PLACES))
            if not places:
                break
            count = self._fill(places)
            channel.commit(count)
            sent = sent or count > 0
        if sent:
            self._link.flush_soon()

    def _fill(self, places: list[memoryview]) -> int:
        """Put there as much as there is room for; what is left of a part stays."""
        parts, total = self._parts, 0
        for place in places:
            at = 0
            while at < len(place) and parts:
                part = parts[0]
                count = min(len(part), len(place) - at)
                if isinstance(part, InFile):
                    count = part.file.fill(place[at : at + count], part.offset)
                    if not count:
                        self._read_aside(part)
                        return total + at
                    rest: memoryview | InFile = part.part(count, len(part))
                else:
                    place[at : at + count] = part[:count]
                    rest = part[count:]
                at += count
                if rest:
                    parts[0] = rest
                else:
                    parts.popleft()
            total += at
        return total

    def _read_aside(self, part: InFile) -> None:
        """It was in memory a moment ago and is not any more: nothing is sent until it is read."""
        self._reading = True
        self.files.waits.aside(
            partial(self._was_read, part), part.file.read, part.offset, len(part)
        )

    def _was_read(self, part: InFile, found: bytes | None, _error: OSError | None) -> None:
        self._reading = False
        if self._parts and self._parts[0] is part:
            self._parts[0] = part.whole(found or b"")
        self._pump()
