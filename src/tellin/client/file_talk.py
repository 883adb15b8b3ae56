# SPDX-License-Identifier: MIT
"""A talk with a file server over a channel of a connection: what coroutines ask, and what carries it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from tellin.client.remote import Carrier, Remote
from tellin.connection.requests import SubsystemRequest
from tellin.errors import ConnectionLost, ProtocolError, TellinError
from tellin.runtime.channel_streams import again
from tellin.runtime.redirection import DISCARD
from tellin.sftp.client import SftpClient
from tellin.sftp.messages import AskLimits, ExtendedReply, Limits, Request
from tellin.sftp.transfers import Done, Transfer, block_of

_PLACES: Final = 1 << 20
_CLOSING_SECONDS: Final = 10.0
_NO_SERVER: Final = "the account's start-up files may print something, which they must not here"


def raised(error: TellinError) -> TellinError:
    """An error as one waiter of many gets it: raised twice it would collect both tracebacks."""
    if isinstance(error, ConnectionLost):
        fresh = again(error)
        assert isinstance(fresh, ConnectionLost)
        return fresh
    return error


class FileTalk:
    """The channel's sink, and the feed of its input.

    What arrives goes to the half-machine in the views in which it came; what is to be sent is put
    straight into the packets that carry it, as there is room.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = carrier.link
        self._parts: deque[memoryview] = deque()
        self._flushing = False
        self._failure: TellinError | None = None
        self._version: asyncio.Future[None] = self._loop.create_future()
        self.limits = Limits(0, 0, 0, 0)
        self.client = SftpClient(
            identification=carrier.core.peer_identification, on_version=self._greeted
        )
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
            if self.client.offers(AskLimits):
                reply = await self.ask(AskLimits())
                assert isinstance(reply, ExtendedReply)
                self.limits = Limits.decode(reply.contents)
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

    # What is asked

    async def ask(self, request: Request, *, path: bytes | None = None) -> Any:
        """The reply to a request."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.client.ask(request, _settler(answer), path=path)
        self._flush()
        return await answer

    async def symlink(self, target: bytes, link: bytes) -> None:
        """Make a link, in the server's order."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.client.symlink(target, link, _settler(answer))
        self._flush()
        await answer

    def tell(self, request: Request) -> None:
        """Ask without waiting; nobody hears of what comes of it."""
        if self._failure is None:
            self.client.ask(request, lambda _value, _error: None)
            self._flush_soon()

    @property
    def read_block(self) -> int:
        """How much is asked for at once."""
        return block_of(self.limits.largest_read)

    @property
    def write_block(self) -> int:
        """How much is written at once."""
        return block_of(self.limits.largest_write)

    async def carry(self, make: Callable[[Done], Transfer]) -> None:
        """Begin a transfer and wait for its end; raises what went wrong first."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        transfer = make(lambda error: _settle(answer, None, error))
        transfer.begin()
        self._flush()
        try:
            await answer
        except asyncio.CancelledError:
            # What still comes is not taken: its place may be gone.
            transfer.fail(TellinError("cancelled"))
            raise

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
            else:
                self._flush_soon()
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
        self._parts.extend(memoryview(part) for part in self.client.take())
        self._pump()

    def _pump(self) -> None:
        """Put what waits into packets, many messages into one or one into many."""
        parts, channel = self._parts, self._remote.channel
        sent = False
        while parts:
            wanted = 0
            for part in parts:
                wanted += len(part)
                if wanted >= _PLACES:
                    break
            places = channel.reserve(min(wanted, _PLACES))
            if not places:
                break
            channel.commit(_fill(places, parts))
            sent = True
        if sent:
            self._link.flush_soon()


def _fill(places: list[memoryview], parts: "deque[memoryview]") -> int:
    """Copy as much as there is room for; what is left of a part stays."""
    total = 0
    for place in places:
        at = 0
        while at < len(place) and parts:
            part = parts.popleft()
            count = min(len(part), len(place) - at)
            place[at : at + count] = part[:count]
            at += count
            if count < len(part):
                parts.appendleft(part[count:])
        total += at
    return total


def _settler(answer: "asyncio.Future[Any]") -> Any:
    return lambda value, error: _settle(answer, value, error)


def _settle(answer: "asyncio.Future[Any]", value: Any, error: TellinError | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(raised(error))
    else:
        answer.set_result(value)
