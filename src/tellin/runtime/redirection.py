# SPDX-License-Identifier: MIT
"""Where a process's streams go to and come from, instead of to the program that started it.

Files, descriptors and sockets are driven by the pumps, other processes by a relay, functions are
called with views, and what can only be read or written as an object gets a coroutine of its own.
"""

import asyncio
import inspect
import io
import os
from codecs import IncrementalDecoder
from collections.abc import AsyncIterable, Callable, Iterable
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from tellin.connection.channel import Channel, Sink
from tellin.errors import UsageError
from tellin.runtime.channel_streams import Reader, Relay, Writer, joined
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import FdSink, FdSource, Outlet

_BLOCK = 65536


class Redirect(Enum):
    """The ends of a stream that are no objects."""

    PIPE = "a stream to read or to write"
    DEVNULL = "nothing"
    STDOUT = "the same as standard output"


# What subprocess calls them means the same here.
_NUMBERS = {-1: Redirect.PIPE, -2: Redirect.STDOUT, -3: Redirect.DEVNULL}


class HasDescriptor(Protocol):
    """An open file, a socket."""

    def fileno(self) -> int:
        """The descriptor."""


class Writable(Protocol):
    """An object to write bytes to."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""


class Readable(Protocol):
    """An object to read bytes or text from, at once or by awaiting."""

    def read(self, size: int, /) -> Any:
        """Some of it; empty at the end."""


Target: TypeAlias = (
    Redirect
    | int
    | str
    | os.PathLike[str]
    | HasDescriptor
    | Sink
    | Writable
    | Writer[Any]
    | Callable[[memoryview], object]
    | None
)
"""Where output goes: a path (made anew), a descriptor or what has one, another process's input, a
function that takes views, an object with ``write``, or a sink of one's own."""

Source: TypeAlias = (
    Redirect
    | int
    | str
    | os.PathLike[str]
    | HasDescriptor
    | Reader[Any]
    | Readable
    | AsyncIterable[bytes | str]
    | Iterable[bytes | str]
    | None
)
"""Where input comes from: a path, a descriptor or what has one, another process's output, an object
with ``read``, or an iterable of pieces, asynchronous or not."""


def plain(end: object) -> object:
    """The same with the numbers of ``subprocess`` turned into names."""
    if isinstance(end, int) and end < 0:
        if end not in _NUMBERS:
            raise UsageError(f"{end} is no descriptor")
        return _NUMBERS[end]
    return end


class Drain(Protocol):
    """A sink whose end is known."""

    def take(self, views: list[memoryview]) -> int:
        """Take a batch."""

    def finish(self) -> None:
        """No more comes; ``on_finished`` follows when all is where it should be."""

    def close(self) -> None:
        """Give up."""


class Collected:
    """Keeps everything, and credits it at once."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def take(self, views: list[memoryview]) -> int:
        """Copy it."""
        data = joined(views)
        self.chunks.append(data)
        return len(data)

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is left to do."""

    def data(self) -> bytes:
        """All of it."""
        chunks = self.chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class Discarded:
    """Throws everything away, with credit."""

    __slots__ = ()

    def take(self, views: list[memoryview]) -> int:
        """Use it up."""
        return sum(map(len, views))

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is left to do."""


DISCARD = Discarded()


class Called:
    """Hands every batch to a function. What that raises ends it: the rest is dropped, with credit."""

    def __init__(
        self,
        loop: Loop,
        take: Callable[[list[memoryview]], int],
        *,
        on_finished: Callable[[], object],
        on_broken: Callable[[Exception], object],
    ) -> None:
        self._loop = loop
        self._take: Callable[[list[memoryview]], int] | None = take
        self._on_finished = on_finished
        self._on_broken = on_broken
        self._error: Exception | None = None
        self._finished = False

    def take(self, views: list[memoryview]) -> int:
        """Hand it over."""
        if self._take is not None:
            try:
                return self._take(views)
            except Exception as error:  # noqa: BLE001 - a user's function, called from within the core
                self._take = None
                self._error = error
                # Later: within the core nobody may call its verbs.
                self._loop.call_soon(self._tell)
        return sum(map(len, views))

    def _tell(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self._on_broken(error)

    def finish(self) -> None:
        """All is where it should be."""
        if not self._finished:
            self._finished = True
            # Whoever ends must have heard that not all was taken.
            self._tell()
            self._on_finished()

    def close(self) -> None:
        """Call it no more."""
        self._take = None
        self.finish()


class Ends:
    """What the ends of one channel need, and whom they tell."""

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Outlet,
        *,
        on_finished: Callable[[], object],
        on_broken: Callable[[Exception], object],
    ) -> None:
        self.loop = loop
        self.channel = channel
        self.link = link
        self.on_finished = on_finished
        self.on_broken = on_broken
        self._carrying: list[asyncio.Task[None]] = []
        self._feeding: asyncio.Task[None] | None = None
        self._source_fd = -1  # that of a path, which is closed here

    # Output

    def output(self, target: Any, text: IncrementalDecoder | None = None) -> Drain:
        """What takes a stream to ``target``; ``on_finished`` is called once for each.

        ``text`` is what an object that takes text gets it by.
        """
        if isinstance(target, Writer):
            return Relay(self.channel, self.link, target, on_finished=self.on_finished)
        if isinstance(target, str | os.PathLike):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            return self._sink(os.open(target, flags, 0o666), inherited=False)
        if isinstance(target, int):
            return self._sink(target, inherited=True)
        refuse_tls(target)
        number = descriptor_of(target)
        if number is not None:
            if hasattr(target, "flush"):
                target.flush()
            return self._sink(number, inherited=True)
        if hasattr(target, "take"):
            return self._called(target.take)
        if hasattr(target, "drain"):
            return self._written(target)
        if hasattr(target, "write"):
            return self._called(_by_copies(writing(target, text)))
        if callable(target):
            return self._called(_by_views(target))
        raise UsageError(f"output cannot go to {type(target).__name__}")

    def _sink(self, fd: int, *, inherited: bool) -> FdSink:
        return FdSink(
            self.loop,
            fd,
            self.channel,
            self.link,
            inherited=inherited,
            end=None if inherited else os.close,
            on_broken=self.on_broken,
            on_finished=self.on_finished,
        )

    def _called(self, take: Callable[[list[memoryview]], int]) -> Called:
        return Called(self.loop, take, on_finished=self.on_finished, on_broken=self.on_broken)

    def _written(self, target: Any) -> Drain:
        """For asyncio's StreamWriter and what is like it: wait until it has taken what it was given."""
        reader: Reader[bytes] = Reader(self.channel, self.link)

        async def carry() -> None:
            try:
                async for chunk in reader.chunks():
                    target.write(chunk)
                    await target.drain()
            except Exception as error:  # noqa: BLE001 - a user's object may raise anything
                # From here on what comes is dropped: the process must not wait for a reader.
                reader.close()
                self.on_broken(error)

        task = asyncio.ensure_future(carry())
        task.add_done_callback(lambda _: self.on_finished())
        self._carrying.append(task)
        return reader

    # Input

    def input(self, source: Any, writer: Writer[Any]) -> Callable[[], FdSource | None]:
        """What lets ``writer`` send what ``source`` has, once the channel is open; opens files now.

        That gives the pump, if it is one that does it.
        """
        if isinstance(source, Reader):
            source.check_free()
            return lambda: source.divert(Relay(source._channel, source._link, writer))
        if isinstance(source, str | os.PathLike):
            self._source_fd = fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            return lambda: self._source(fd, writer, inherited=False)
        if isinstance(source, int):
            return lambda: self._source(source, writer, inherited=True)
        refuse_tls(source)
        number = descriptor_of(source)
        if number is not None:
            return lambda: self._source(number, writer, inherited=True)
        if not any(hasattr(source, name) for name in ("read", "__aiter__", "__iter__")):
            raise UsageError(f"input cannot come from {type(source).__name__}")
        return lambda: self._fed(source, writer)

    def _fed(self, source: Any, writer: Writer[Any]) -> None:
        self._feeding = asyncio.ensure_future(self._feed(source, writer))

    def _source(self, fd: int, writer: Writer[Any], *, inherited: bool) -> FdSource:
        def ended(error: OSError | None) -> None:
            if error is not None:
                self.on_broken(error)
            writer.end()
            self.link.flush_soon()
            self.close_input()

        return FdSource(self.loop, fd, self.channel, self.link, inherited=inherited, on_end=ended)

    async def _feed(self, source: Any, writer: Writer[Any]) -> None:
        try:
            async for piece in _pieces(source):
                if writer.closing:
                    return
                await writer.write(piece)
        except Exception as error:  # noqa: BLE001 - a user's iterator may raise anything
            if not writer.closing:
                self.on_broken(error)
        finally:
            writer.end()
            self.link.flush_soon()

    def give_up(self) -> None:
        """What an object has not taken yet is dropped."""
        for task in self._carrying:
            task.cancel()

    def close_input(self) -> None:
        """Nothing more is sent: stop what would feed the channel."""
        if self._feeding is not None and self._feeding is not asyncio.current_task():
            self._feeding.cancel()
        if self._source_fd >= 0:
            fd, self._source_fd = self._source_fd, -1
            os.close(fd)


def refuse_tls(end: object) -> None:
    """Raise UsageError for a TLS socket: what went to its descriptor would leave it in clear."""
    if hasattr(end, "do_handshake"):
        raise UsageError(
            "a TLS socket cannot be driven without blocking",
            hint="give one end of a socket pair, and copy between the other end and the TLS socket",
        )


# What an object of these writes or reads is what its descriptor does.
_PLAIN_FILES: Final = (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


def descriptor_of(end: object) -> int | None:
    """The descriptor behind an object, if it has one that stands for it.

    A BytesIO has none, and that of a GzipFile leads past the compression.
    """
    fileno = getattr(end, "fileno", None)
    if fileno is None:
        return None
    inside = end.buffer if isinstance(end, io.TextIOWrapper) else end
    if isinstance(inside, io.BufferedIOBase) and not isinstance(inside, _PLAIN_FILES):
        return None
    try:
        number: int = fileno()
    except OSError:
        return None
    return number


def writing(target: Any, text: IncrementalDecoder | None) -> Callable[[bytes], object]:
    """How an object takes bytes: as they are, or those that write text by a decoder."""
    write: Callable[[Any], object] = target.write
    if text is None or not isinstance(target, io.TextIOBase):
        return write
    return lambda data: write(text.decode(data))


def _by_views(function: Callable[[memoryview], object]) -> Callable[[list[memoryview]], int]:
    def take(views: list[memoryview]) -> int:
        size = 0
        for view in views:
            size += len(view)
            function(view)
        return size

    return take


def _by_copies(function: Callable[[bytes], object]) -> Callable[[list[memoryview]], int]:
    def take(views: list[memoryview]) -> int:
        data = joined(views)
        function(data)
        return len(data)

    return take


async def _pieces(source: Any) -> Any:
    """What an object gives, whichever way it gives it."""
    if hasattr(source, "read"):
        while True:
            piece = source.read(_BLOCK)
            if inspect.isawaitable(piece):
                piece = await piece
            if not piece:
                return
            yield piece
    elif hasattr(source, "__aiter__"):
        async for piece in source:
            yield piece
    else:
        for piece in source:
            yield piece
