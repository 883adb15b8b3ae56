# SPDX-License-Identifier: MIT
"""A channel's streams for coroutines: read with flow control, write with back-pressure.

What arrives is copied once, out of the core's receive buffer, and credited to the peer when
somebody has taken it; what is written is copied once, into the packets that carry it. Nothing is
awaited per packet: a coroutine sleeps only while there is nothing to read or no room to write.
"""

import asyncio
from codecs import IncrementalDecoder, getincrementaldecoder
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from typing import Any, AnyStr, Final, Generic, cast

from tellin.connection.channel import Channel, Half, Standing
from tellin.errors import ConnectionLost, UsageError
from tellin.runtime.pumps import Outlet

LONGEST_LINE: Final = 1 << 20
_SMALL_CHUNK: Final = 4096
_WHOLE: Final = 1 << 62


def joined(views: list[memoryview]) -> bytes:
    """A copy of views that are about to die."""
    return views[0].tobytes() if len(views) == 1 else b"".join(views)


def decoder_for(encoding: str | None, errors: str) -> IncrementalDecoder | None:
    """What turns bytes into text; None where bytes stay bytes."""
    return None if encoding is None else getincrementaldecoder(encoding)(errors)


def again(failure: ConnectionLost) -> ConnectionLost:
    """The same error to raise once more: one that is raised twice collects both tracebacks."""
    made = ConnectionLost(str(failure), stage=failure.stage, hint=failure.hint)
    made.__cause__ = failure.__cause__
    return made


class Reader(Generic[AnyStr]):
    """One stream of what the other side sends; bytes, or text where an encoding was given.

    Unread data holds the peer back when its window is used up. Both streams of a process share
    that window: while one of them is being waited for, the other is kept in memory however much
    it is, for a process that writes to both would otherwise never come to an end.
    """

    __slots__ = (
        "_at",
        "_channel",
        "_chunks",
        "_decoder",
        "_empty",
        "_failure",
        "_finished",
        "_greedy",
        "_held",
        "_link",
        "_partner",
        "_relay",
        "_sizes",
        "_waiter",
    )

    def __init__(
        self, channel: Channel, link: Outlet, *, decoder: IncrementalDecoder | None = None
    ) -> None:
        self._channel = channel
        self._link = link
        self._decoder = decoder
        self._empty: AnyStr = cast("Any", b"" if decoder is None else "")
        self._chunks: deque[AnyStr] = deque()
        self._at = 0  # how much of the first chunk has been read
        self._sizes: deque[int] = deque()  # what each chunk owes to the peer's window
        self._held = 0
        self._finished = False
        self._failure: ConnectionLost | None = None
        self._greedy = False
        self._waiter: asyncio.Future[None] | None = None
        self._partner: Reader[AnyStr] | None = None
        self._relay: Relay | None = None

    # What the channel does

    def take(self, views: list[memoryview]) -> int:
        """Keep a copy; it is credited at once only if somebody waits for it."""
        if self._relay is not None:
            return self._relay.take(views)
        data = joined(views)
        size = len(data)
        decoder = self._decoder
        chunk: Any = data if decoder is None else decoder.decode(data)
        if not chunk:
            return size  # the beginning of a character
        waiter, partner = self._waiter, self._partner
        due = size
        if self._greedy or waiter is not None or (partner and partner._waiter is not None):
            due = 0
        self._held += due
        chunks = self._chunks
        if chunks and len(chunks[-1]) + len(chunk) <= _SMALL_CHUNK:
            # A window of single bytes would be two million objects.
            chunks[-1] += chunk
            self._sizes[-1] += due
        else:
            chunks.append(chunk)
            self._sizes.append(due)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return size - due

    def finish(self, failure: ConnectionLost | None = None) -> None:
        """No more will come; ``failure`` is raised once what is here has been read."""
        if self._finished:
            return
        self._finished = True
        self._failure = failure
        if self._relay is not None:
            self._relay.finish()
            return
        if self._decoder is not None and failure is None:
            rest: Any = self._decoder.decode(b"", True)
            if rest:
                self._chunks.append(rest)
                self._sizes.append(0)
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
        self._release()

    def check_bytes(self) -> None:
        """Raise UsageError where this is text: what was decoded may not come back as it was."""
        if self._decoder is not None:
            raise UsageError(
                "only a stream of bytes can be another's input",
                hint="start the process that writes it with encoding=None",
            )

    def divert(self, relay: "Relay") -> None:
        """Send all that comes, and what is here already, on; nothing is read here any more."""
        self.check_bytes()
        if self._relay is not None or self._waiter is not None:
            raise UsageError("the stream is being read already")
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
        return self._finished and not self._chunks

    def read_nowait(self) -> AnyStr:
        """All that is here now, perhaps nothing."""
        return self._all()

    async def read(self, size: int = -1) -> AnyStr:
        """At least one and at most ``size`` bytes (or characters); without ``size`` all to the end.

        Empty at the end.
        """
        if size < 0:
            return await self._read_to_end()
        while size and not self._chunks:
            if not await self._more():
                break
        return self._part(size) if size else self._empty

    async def readexactly(self, size: int) -> AnyStr:
        """Just so many; raises asyncio.IncompleteReadError if the stream ends before."""
        while self._length() < size:
            if not await self._more():
                part: Any = self._all()
                raise asyncio.IncompleteReadError(part, size)
        return self._gather(size)

    async def readline(self, *, limit: int = LONGEST_LINE) -> AnyStr:
        """One line with its end; without one at the end of the stream, and empty after it."""
        newline: Any = b"\n" if self._decoder is None else "\n"
        return await self.readuntil(newline, limit=limit)

    async def readuntil(self, separator: AnyStr, *, limit: int = LONGEST_LINE) -> AnyStr:
        """All up to and with ``separator``; what is left where the stream ends without it."""
        size = len(separator)
        if not size:
            raise UsageError("an empty separator")
        find = self._find if size == 1 else self._find_across
        seen = (0, 0)
        while True:
            found, seen = find(separator, seen)
            if found >= 0:
                return self._gather(found)
            if self._length() > limit:
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
        if self._failure is not None:
            raise again(self._failure)
        return self._all()

    def _find(self, separator: AnyStr, seen: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """How far it is to the end of the first one; -1, and which chunks were looked at."""
        number, passed = seen
        chunks = self._chunks
        for chunk in islice(chunks, number, None):
            start = self._at if not number else 0
            found = chunk.find(separator, start)
            if found >= 0:
                return passed + found - start + 1, seen
            # The last one may grow, and is looked at again.
            if number + 1 == len(chunks):
                break
            number += 1
            passed += len(chunk) - start
        return -1, (number, passed)

    def _find_across(
        self, separator: AnyStr, seen: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        """The same for a separator that may lie across chunks: they are made one."""
        if len(self._chunks) > 1 or self._at:
            held = self._held
            whole = self._all(release=False)
            self._chunks.append(whole)
            self._sizes.append(held)
        if not self._chunks:
            return -1, seen
        size = len(separator)
        found = self._chunks[0].find(separator, max(0, seen[1] - size))
        return (found + size if found >= 0 else -1), (0, len(self._chunks[0]))

    # Pieces

    def _length(self) -> int:
        return sum(map(len, self._chunks)) - self._at

    def _part(self, size: int) -> AnyStr:
        """The first chunk, or the beginning of it."""
        chunks = self._chunks
        if not chunks:
            return self._empty
        first = chunks[0]
        at = self._at
        if len(first) - at > size:
            self._at = at + size
            return first[at : at + size]
        chunks.popleft()
        self._at = 0
        owed = self._sizes.popleft()
        if owed:
            self._held -= owed
            self._consumed(owed)
        return first[at:] if at else first

    def _gather(self, size: int) -> AnyStr:
        """So much, which is there."""
        if not size:
            return self._empty
        parts = [self._part(size)]
        size -= len(parts[0])
        while size:
            parts.append(self._part(size))
            size -= len(parts[-1])
        return parts[0] if len(parts) == 1 else self._empty.join(parts)

    def _all(self, *, release: bool = True) -> AnyStr:
        chunks = self._chunks
        if self._at:
            chunks[0] = chunks[0][self._at :]
            self._at = 0
        whole = chunks[0] if len(chunks) == 1 else self._empty.join(chunks)
        chunks.clear()
        self._sizes.clear()
        if release:
            self._release()
        return whole

    # Waiting and credit

    async def _more(self) -> bool:
        """Wait until something has come; false at the end."""
        if self._finished:
            if self._failure is not None:
                raise again(self._failure)
            return False
        await self._sleep()
        return True

    async def _sleep(self) -> None:
        if self._waiter is not None:
            raise UsageError("two coroutines read the same stream")
        if self._relay is not None:
            raise UsageError("the stream goes elsewhere")
        # Whoever waits wants more than is here, and must not wait for a window that it keeps shut.
        self._release()
        if self._partner is not None:
            self._partner._release()
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _release(self) -> None:
        """Credit all that is here."""
        held, self._held = self._held, 0
        if held:
            self._sizes = deque([0] * len(self._sizes))
            self._consumed(held)

    def _consumed(self, size: int) -> None:
        channel = self._channel
        channel.consumed(size)
        if not channel.credit:
            # The peer is being told.
            self._link.flush_soon()


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
