# SPDX-License-Identifier: MIT
"""The streams of a process for threads: to read, to write, and to redirect."""

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, AnyStr, Final, Generic, TypeAlias

from tellin.blocking.faces import Face
from tellin.errors import UsageError
from tellin.runtime.channel_streams import LONGEST_LINE, check_encoding, decoder_for
from tellin.runtime.channel_streams import Reader as AsyncReader
from tellin.runtime.channel_streams import Writer as AsyncWriter
from tellin.runtime.portal import Asking
from tellin.runtime.redirection import Redirect, descriptor_of, plain, refuse_tls, writing

_STREAMS: Final = ("stdin", "stdout", "stderr")
_BLOCK: Final = 65536
_END: Final = object()

Turned: TypeAlias = Callable[[Callable[..., Asking]], Any]
"""What becomes of a function of the user's when it is known how it can be asked."""


class Reader(Face[AsyncReader[AnyStr]], Generic[AnyStr]):
    """A stream to read, and to iterate over by lines."""

    __slots__ = ("_lines",)

    def _prepare(self) -> None:
        # Lines are fetched as many as there are: each way to the loop and back takes as long as a
        # hundred of them.
        self._lines: deque[AnyStr] = deque()

    def read(self, size: int = -1) -> AnyStr:
        """At least one and at most ``size`` bytes (or characters); without ``size`` all to the end."""
        return self._call(AsyncReader.read, size)

    def readexactly(self, size: int) -> AnyStr:
        """Just so many."""
        return self._call(AsyncReader.readexactly, size)

    def readline(self, *, limit: int = LONGEST_LINE) -> AnyStr:
        """One line with its end; without one at the end of the stream, and empty after it."""
        if not self._lines:
            self._lines.extend(self._portal.call(self._inner.lines, limit=limit))
        return self._lines.popleft() if self._lines else self._inner.empty

    def readuntil(self, separator: AnyStr, *, limit: int = LONGEST_LINE) -> AnyStr:
        """All up to and with ``separator``; what is left where the stream ends without it."""
        return self._call(AsyncReader.readuntil, separator, limit=limit)

    @property
    def at_end(self) -> bool:
        """Whether everything has been read and nothing more comes."""
        return not self._lines and self._inner.at_end

    def read_nowait(self) -> AnyStr:
        """All that is here now, perhaps nothing."""
        return self._call(AsyncReader.read_nowait)

    def _call(self, method: Callable[..., Any], *words: Any, **named: Any) -> AnyStr:
        data: AnyStr = self._portal.call(method, self._whole(), *words, **named)
        return data

    def _whole(self) -> AsyncReader[AnyStr]:
        """The stream, with the lines put back that were fetched and not read."""
        if self._lines:
            lines = self._inner.empty.join(self._lines)
            self._lines.clear()
            self._portal.call(self._inner.unread, lines)
        return self._inner

    def __iter__(self) -> Iterator[AnyStr]:
        while line := self.readline():
            yield line

    def chunks(self) -> Iterator[AnyStr]:
        """The data in pieces as they arrived."""
        while chunk := self.read(1 << 30):
            yield chunk


class Writer(Face[AsyncWriter[AnyStr]], Generic[AnyStr]):
    """A stream to write."""

    __slots__ = ()

    def write(self, data: AnyStr | bytearray | memoryview) -> None:
        """Send all of it."""
        self._portal.call(self._inner.write, data)

    def writelines(self, lines: Iterable[AnyStr]) -> None:
        """Send several, one behind the other."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Send the end behind all that was written."""
        self._portal.call(self._inner.aclose)


# Redirection


def unwrapped(
    options: Mapping[str, Any], *, waits: bool, encoding: str | None = None
) -> tuple[dict[str, Any], dict[str, Turned]]:
    """The same options for the coroutine: ends that are ours opened up, user code set apart.

    User code may wait, and must not do so on the loop. It is called in the thread that waits, where
    there is one.
    """
    check_encoding(encoding)
    made, asked = dict(options), {}
    for name in _STREAMS:
        end = plain(made.get(name))
        if isinstance(end, Reader):
            made[name] = end._whole()
        elif isinstance(end, Writer):
            made[name] = end._inner
        elif not (
            end is None
            or isinstance(end, Redirect | int | str | os.PathLike)
            or descriptor_of(end) is not None
        ):
            refuse_tls(end)
            if not waits:
                raise UsageError(
                    f"{name} would be called on the loop's own thread",
                    hint="start() the command, and read and write its streams here",
                )
            del made[name]
            asked[name] = _source(end) if name == "stdin" else _target(end, encoding)
    return made, asked


class _Told:
    """Output for a function: it is called in the thread that waits, and the loop awaits that."""

    def __init__(self, ask: Asking) -> None:
        self._ask = ask
        self._piece = b""

    def write(self, piece: bytes) -> None:
        """Keep a piece for ``drain``."""
        self._piece = piece

    async def drain(self) -> None:
        """Have it taken."""
        await self._ask(self._piece)


def _target(end: Any, encoding: str | None) -> Turned:
    if hasattr(end, "write"):
        write = writing(end, decoder_for(encoding or "utf-8", "replace"))
        return lambda turn: _Told(turn(write))
    if callable(end):
        return lambda turn: _Told(turn(lambda piece: end(memoryview(piece))))
    raise UsageError(f"output cannot go to {type(end).__name__}")


class _Given:
    """Input that is asked for in the thread that waits."""

    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    async def __aiter__(self) -> AsyncIterator[bytes | str]:
        while (piece := await self._ask()) is not _END:
            yield piece


def _source(end: Any) -> Turned:
    if hasattr(end, "read"):
        return lambda turn: _Given(turn(lambda: end.read(_BLOCK) or _END))
    if isinstance(end, Iterable):
        pieces = iter(end)
        return lambda turn: _Given(turn(lambda: next(pieces, _END)))
    raise UsageError(f"input cannot come from {type(end).__name__}")


def turned(function: Callable[..., Any]) -> Turned:
    """A function as it is: one that the loop awaits and this thread calls."""
    return lambda turn: turn(function)
