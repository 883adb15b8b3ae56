# SPDX-License-Identifier: MIT
"""A channel's streams for coroutines: read with flow control, write with back-pressure.

What arrives is copied once, out of the core's receive buffer, and credited to the peer when
somebody has taken it; what is written is copied once, into the packets that carry it. Nothing is
awaited per packet: a coroutine sleeps only while there is nothing to read or no room to write.
"""

import asyncio
import logging
from codecs import IncrementalDecoder, getincrementaldecoder, lookup
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, AnyStr, Final, Generic, TypeAlias, cast

from tellin.connection.channel import Channel, Half, Standing
from tellin.errors import ConnectionLost, UsageError
from tellin.runtime.pieces import Pieces, Searched
from tellin.runtime.pumps import Outlet

_log = logging.getLogger("tellin.streams")

LONGEST_LINE: Final = 1 << 20
_WHOLE: Final = 1 << 62
# So long nothing moves before that is worth a word: whoever reads the other stream may be slow.
_STALL_SECONDS: Final = 5.0

Failure: TypeAlias = ConnectionLost | UnicodeError
"""Why a stream ended before its end."""


def joined(views: list[memoryview]) -> bytes:
    """A copy of views that are about to die."""
    return views[0].tobytes() if len(views) == 1 else b"".join(views)


def check_encoding(encoding: str | None) -> None:
    """Raise UsageError for one that does not exist, before anything is done."""
    if encoding is not None:
        try:
            lookup(encoding)
        except LookupError:
            raise UsageError(f"unknown encoding {encoding!r}") from None


def decoder_for(encoding: str | None, errors: str) -> IncrementalDecoder | None:
    """What turns bytes into text; None where bytes stay bytes."""
    return None if encoding is None else getincrementaldecoder(encoding)(errors)


def again(failure: Failure) -> Failure:
    """The same error to raise once more: one that is raised twice collects both tracebacks."""
    made: Failure
    if isinstance(failure, ConnectionLost):
        made = type(failure)(str(failure), stage=failure.stage, hint=failure.hint)
    else:
        made = type(failure)(*failure.args)
    made.__cause__ = failure.__cause__
    return made


class Reader(Generic[AnyStr]):
    """One stream of what the other side sends; bytes, or text where an encoding was given.

    Unread data holds the peer back when its window is used up. Both streams of a process share
    that window: while one of them is being waited for, nothing comes once the other is full. So
    read both at once, or have one kept (``communicate``, ``wait``, ``run``) or sent elsewhere.

    What cannot be decoded is an error where it is read, behind the text before it.
    """

    __slots__ = (
        "_channel",
        "_decoder",
        "_failure",
        "_finished",
        "_greedy",
        "_link",
        "_partner",
        "_pieces",
        "_relay",
        "_stall",
        "_waiter",
        "empty",
    )

    def __init__(
        self, channel: Channel, link: Outlet, *, decoder: IncrementalDecoder | None = None
    ) -> None:
        self._channel = channel
        self._link = link
        self._decoder = decoder
        self.empty: AnyStr = cast("Any", b"" if decoder is None else "")
        """What is read at the end: of bytes, or of text."""
        self._pieces: Pieces[AnyStr] = Pieces(self.empty)
        self._finished = False
        self._failure: Failure | None = None
        self._greedy = False
        self._stall: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._partner: Reader[AnyStr] | None = None
        self._relay: Relay | None = None

    # What the channel does

    def take(self, views: list[memoryview]) -> int:
        """Keep a copy; it is credited at once only if somebody waits for it. Raises nothing."""
        if self._relay is not None:
            return self._relay.take(views)
        data = joined(views)
        size = len(data)
        if self._finished:
            return size
        piece: Any = data if self._decoder is None else self._decoded(data, final=False)
        waiter = self._waiter
        owed = 0 if waiter is not None or self._greedy or not piece else size
        if piece:
            self._pieces.put(piece, owed)
        if waiter is not None and (piece or self._finished):
            if not waiter.done():
                waiter.set_result(None)
        elif owed:
            partner = self._partner
            if partner is not None and partner._waiter is not None:
                partner._note_stall()
        return size - owed

    def _decoded(self, data: bytes, *, final: bool) -> str:
        """As text; what is no text ends the stream with an error for whoever reads that far."""
        decoder = self._decoder
        assert decoder is not None
        state = decoder.getstate()
        try:
            return decoder.decode(data, final)
        except UnicodeError as error:
            self._finished = True
            self._failure = error
            decoder.setstate(state)
            good = error.start if isinstance(error, UnicodeDecodeError) else 0
            try:
                return decoder.decode(data[: max(0, good - len(state[0]))])
            except UnicodeError:
                return ""

    def finish(self, failure: ConnectionLost | None = None) -> None:
        """No more will come; ``failure`` is raised once what is here has been read."""
        if self._finished:
            return
        if self._relay is not None:
            self._finished = True
            self._relay.finish()
            return
        if self._decoder is not None and failure is None:
            rest: Any = self._decoded(b"", final=True)
            if rest:
                self._pieces.put(rest, 0)
        if self._failure is None:
            self._failure = failure
        self.close()

    def close(self) -> None:
        """Take no more: what is here may be read, what still comes is dropped, with credit."""
        self._finished = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def pair_with(self, partner: "Reader[AnyStr]") -> None:
        """Let the two streams of one channel know each other."""
        self._partner = partner
        partner._partner = self

    def drain(self) -> None:
        """From now on keep all that comes: whoever waits for the end must not wait for a reader."""
        self._greedy = True
        self._pieces.release()
        self._pay()

    def check_bytes(self) -> None:
        """Raise UsageError where this is text: what was decoded may not come back as it was."""
        if self._decoder is not None:
            raise UsageError(
                "only a stream of bytes can be another's input",
                hint="start the process that writes it with encoding=None",
            )

    def check_free(self) -> None:
        """Raise UsageError where somebody has it already, or it is no stream of bytes."""
        self.check_bytes()
        if self._relay is not None or self._waiter is not None:
            raise UsageError("the stream is being read already")

    def divert(self, relay: "Relay") -> None:
        """Send all that comes, and what is here already, on; nothing is read here any more."""
        self.check_free()
        data: Any = self._all()
        if data:
            relay.put(data)
        self._relay = relay
        if self._finished:
            relay.finish()

    # What readers do

    @property
    def at_end(self) -> bool:
        """Whether everything has been read and nothing more comes."""
        return self._finished and not self._pieces.length

    def read_nowait(self) -> AnyStr:
        """All that is here now, perhaps nothing."""
        if self.at_end:
            self._check()
        return self._all()

    def rest(self) -> AnyStr:
        """All that is here of a stream that is over; raises why it ended before its end."""
        self._check()
        return self._all()

    async def read(self, size: int = -1) -> AnyStr:
        """At least one and at most ``size`` bytes (or characters); without ``size`` all to the end.

        Empty at the end.
        """
        if size < 0:
            return await self._read_to_end()
        while size and not self._pieces.length:
            if not await self._more():
                break
        return self._gather(size, whole=False)

    async def readexactly(self, size: int) -> AnyStr:
        """Just so many; raises asyncio.IncompleteReadError if the stream ends before."""
        while self._pieces.length < size:
            if not await self._more():
                part: Any = self._all()
                raise asyncio.IncompleteReadError(part, size)
        return self._gather(size)

    async def readline(self, *, limit: int = LONGEST_LINE) -> AnyStr:
        """One line with its end; without one at the end of the stream, and empty after it."""
        newline: Any = b"\n" if self._decoder is None else "\n"
        return await self.readuntil(newline, limit=limit)

    async def lines(self, *, limit: int = LONGEST_LINE) -> list[AnyStr]:
        """The next line and all whole ones that are here behind it; empty at the end."""
        newline: Any = b"\n" if self._decoder is None else "\n"
        first = await self.readuntil(newline, limit=limit)
        if not first:
            return []
        here = self._all()
        end = here.rfind(newline) + 1
        self._pieces.unread(here[end:])
        if not end:
            return [first]
        # Behind the last one stands nothing.
        others: list[AnyStr] = here[:end].split(newline)[:-1]
        return [first, *(line + newline for line in others)]

    def unread(self, data: AnyStr) -> None:
        """Put back what was read last."""
        self._pieces.unread(data)

    async def readuntil(self, separator: AnyStr, *, limit: int = LONGEST_LINE) -> AnyStr:
        """All up to and with ``separator``; what is left where the stream ends without it."""
        if not separator:
            raise UsageError("an empty separator")
        pieces = self._pieces
        seen: Searched[AnyStr] = (0, 0, None)
        while True:
            found, seen = pieces.find(separator, seen)
            if found >= 0:
                return self._gather(found)
            if pieces.length > limit:
                raise UsageError(
                    f"no {separator!r} within {limit}",
                    hint="read in pieces by read(), or give a larger limit",
                )
            if not await self._more():
                return self._all()

    async def chunks(self) -> AsyncIterator[AnyStr]:
        """The data in pieces as they arrived: the fastest way to read them all."""
        while chunk := await self.read(_WHOLE):
            yield chunk

    def __aiter__(self) -> "Reader[AnyStr]":
        return self

    async def __anext__(self) -> AnyStr:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def _read_to_end(self) -> AnyStr:
        self.drain()
        while not self._finished:
            await self._sleep()
        return self.rest()

    def _gather(self, size: int, *, whole: bool = True) -> AnyStr:
        pieces = self._pieces
        data = pieces.gather(size) if whole else pieces.part(size)
        if pieces.due:
            self._pay()
        return data

    def _all(self) -> AnyStr:
        data = self._pieces.all()
        self._pay()
        return data

    def _check(self) -> None:
        if self._failure is not None:
            raise again(self._failure)

    # Waiting and credit

    async def _more(self) -> bool:
        """Wait until something has come; false at the end."""
        if self._finished:
            self._check()
            return False
        await self._sleep()
        return True

    async def _sleep(self) -> None:
        if self._waiter is not None:
            raise UsageError("somebody else is reading this stream")
        if self._relay is not None:
            raise UsageError("the stream goes elsewhere")
        # Whoever waits wants more than is here, and must not wait for a window that it keeps shut.
        self._pieces.release()
        self._pay()
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        self._note_stall()
        try:
            await waiter
        finally:
            self._waiter = None

    def _pay(self) -> None:
        """Credit what was read."""
        due, self._pieces.due = self._pieces.due, 0
        if due:
            channel = self._channel
            channel.consumed(due)
            if not channel.credit:
                # The peer is being told.
                self._link.flush_soon()

    def _is_stalled(self) -> bool:
        """Whether all of the window is in the other stream, and nothing can come."""
        partner = self._partner
        return partner is not None and partner._pieces.held >= self._channel.target > 0

    def _note_stall(self) -> None:
        """Say, after a while and once, that nothing will move until somebody reads the other stream."""
        if self._stall is None and self._is_stalled():
            loop = asyncio.get_running_loop()
            self._stall = loop.call_later(_STALL_SECONDS, self._tell_stall, self._waiter)

    def _tell_stall(self, waiter: "asyncio.Future[None] | None") -> None:
        if waiter is None or self._waiter is not waiter or not self._is_stalled():
            self._stall = None
            return
        _log.warning(
            "nothing comes on one stream of a process because nobody reads the other one, which"
            " is full: read both at once, use communicate(), or send one of them elsewhere"
        )


class _Waiting:
    """A write that has found no room for all of it."""

    __slots__ = ("done", "view")

    def __init__(self, view: memoryview, done: "asyncio.Future[None] | None") -> None:
        self.view = view
        self.done = done


class Writer(Generic[AnyStr]):
    """One stream of what this side sends.

    Writes that wait for room go out in the order in which they were made; their memory must not
    change until they are done. ``on_ended`` is called when the end was asked for and all is sent.
    """

    __slots__ = (
        "_channel",
        "_encoding",
        "_ending",
        "_errors",
        "_extended",
        "_failure",
        "_link",
        "_on_ended",
        "_relay",
        "_waiting",
        "ended",
    )

    def __init__(
        self,
        channel: Channel,
        link: Outlet,
        *,
        extended: int | None = None,
        encoding: str | None = None,
        errors: str = "strict",
        on_ended: Callable[[], object] | None = None,
    ) -> None:
        self._channel = channel
        self._link = link
        self._extended = extended
        self._encoding = encoding
        self._errors = errors
        self._on_ended = on_ended
        self._relay: Relay | None = None
        self._waiting: deque[_Waiting] | None = None
        self._failure: ConnectionLost | None = None
        self._ending = False
        self.ended = False
        """Whether nothing more can be written, and all that was has left."""

    @property
    def closing(self) -> bool:
        """Whether writing is over: the end was asked for, or nobody takes any more."""
        return self._ending or self._failure is not None or not self._is_open()

    def _is_open(self) -> bool:
        channel = self._channel
        return channel.standing is Standing.OPEN and channel.sending is Half.OPEN

    async def write(self, data: AnyStr | bytearray | memoryview) -> None:
        """Send all of it; returns when the connection has taken it."""
        view = self._view(data)
        self._check()
        if not self._waiting:
            count = self.offer(view)
            if count == len(view):
                return
            view = view[count:]
        done = asyncio.get_running_loop().create_future()
        entry = self._enqueue(view, done)
        try:
            await done
        except asyncio.CancelledError:
            if self._waiting and entry in self._waiting:
                self._waiting.remove(entry)
            raise

    async def writelines(self, lines: "Iterable[AnyStr]") -> None:
        """Send several, one behind the other."""
        for line in lines:
            await self.write(line)

    async def aclose(self) -> None:
        """Send the end behind all that was written; returns when the connection has taken it."""
        if self._waiting and not self._ending:
            self._ending = True
            done = asyncio.get_running_loop().create_future()
            self._enqueue(memoryview(b""), done)
            await done
        self.end()

    def is_closing(self) -> bool:
        """The same as ``closing``, by asyncio's name."""
        return self.closing

    def write_eof(self) -> None:
        """Send the end behind all that was written, without waiting for that."""
        self.end()

    def close(self) -> None:
        """The same: a channel's stream has nothing else to close."""
        self.end()

    # Without waiting, for callbacks

    def put(self, data: AnyStr | bytearray | memoryview) -> None:
        """Send all of it as room comes; whoever calls this bounds what waits."""
        view = self._view(data)
        self._check()
        if not self._waiting:
            view = view[self.offer(view) :]
        if view:
            self._enqueue(view, None)

    def offer(self, view: memoryview) -> int:
        """Send what there is room for now; ``resume`` follows where it was not all."""
        count = self._channel.send(view, self._extended)
        if count:
            self._link.flush_soon()
        return count

    @property
    def busy(self) -> bool:
        """Whether writes wait for room."""
        return bool(self._waiting)

    def end(self) -> None:
        """Nothing more is written; the end follows when all that waits has left."""
        self._ending = True
        if not self._waiting and not self.ended:
            self.ended = True
            if self._on_ended is not None:
                self._on_ended()

    def feed_from(self, relay: "Relay") -> None:
        """Let ``relay`` know of room too."""
        if self._relay is not None:
            raise UsageError("the stream is fed from elsewhere already")
        self._relay = relay

    def resume(self) -> None:
        """There is room again."""
        waiting = self._waiting
        while waiting:
            entry = waiting[0]
            if entry.view:
                entry.view = entry.view[self.offer(entry.view) :]
                if entry.view:
                    return
            waiting.popleft()
            if entry.done is not None and not entry.done.done():
                entry.done.set_result(None)
        if self._ending:
            self.end()
        elif self._relay is not None:
            self._relay.resume()

    def fail(self, failure: ConnectionLost) -> None:
        """Nobody takes any more: whoever waits hears why."""
        if self._failure is None:
            self._failure = failure
        waiting, self._waiting = self._waiting, None
        self.ended = True
        for entry in waiting or ():
            if entry.done is not None and not entry.done.done():
                entry.done.set_exception(again(failure))
        if self._relay is not None:
            self._relay.resume()

    def _enqueue(self, view: memoryview, done: "asyncio.Future[None] | None") -> _Waiting:
        if self._waiting is None:
            self._waiting = deque()
        entry = _Waiting(view, done)
        self._waiting.append(entry)
        return entry

    def _view(self, data: AnyStr | bytearray | memoryview) -> memoryview:
        if isinstance(data, str):
            if self._encoding is None:
                raise UsageError("bytes are written here: no encoding was given")
            return memoryview(data.encode(self._encoding, self._errors))
        view = memoryview(data)
        return view if view.format == "B" and view.contiguous else view.cast("B")

    def _check(self) -> None:
        if self._failure is not None:
            raise again(self._failure)
        if self._ending:
            raise UsageError("the stream was closed")
        if not self._is_open():
            raise ConnectionLost("the other side takes no more data", stage="session")


class Relay:
    """Carries one channel's data into another channel, of the same connection or another one.

    A sink: views go straight from the one's receive buffer into the other's packets. What finds
    no room is copied, and its window credited when it has left.
    """

    __slots__ = ("_channel", "_chunks", "_ending", "_link", "_on_finished", "_writer")

    def __init__(
        self,
        channel: Channel,
        link: Outlet,
        writer: Writer[Any],
        *,
        on_finished: Callable[[], object] | None = None,
    ) -> None:
        self._channel = channel
        self._link = link
        self._writer = writer
        self._on_finished = on_finished
        self._chunks: deque[memoryview] = deque()
        self._ending = False
        writer.feed_from(self)

    def put(self, data: bytes) -> None:
        """Send what came before, and is credited already."""
        if not self._writer.closing:
            self._writer.put(data)

    def take(self, views: list[memoryview]) -> int:
        """Send what there is room for, and keep a copy of the rest."""
        writer = self._writer
        if writer.closing:
            return sum(map(len, views))
        done = 0
        if not self._chunks and not writer.busy:
            for number, view in enumerate(views):
                count = writer.offer(view)
                done += count
                if count < len(view):
                    views = [view[count:], *views[number + 1 :]]
                    break
            else:
                return done
        self._chunks.append(memoryview(joined(views)))
        return done

    def resume(self) -> None:
        """There is room again, or there will never be any."""
        writer, chunks = self._writer, self._chunks
        used = 0
        while chunks:
            first = chunks[0]
            count = len(first) if writer.closing else writer.offer(first)
            used += count
            if count < len(first):
                chunks[0] = first[count:]
                break
            chunks.popleft()
        if used:
            self._channel.consumed(used)
            self._link.flush_soon()
        if self._ending:
            self.finish()

    def finish(self) -> None:
        """No more comes: the end follows what is still here."""
        self._ending = True
        if not self._chunks:
            self._writer.end()
            finished, self._on_finished = self._on_finished, None
            if finished is not None:
                finished()

    def close(self) -> None:
        """Give up what waits."""
        self._chunks.clear()
        self.finish()
