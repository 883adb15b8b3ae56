# SPDX-License-Identifier: MIT
"""Something that takes a while to open: awaited for itself, or entered to be closed in the end."""

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from tellin.errors import UsageError


class Closable(Protocol):
    """What an ``async with`` closes."""

    async def aclose(self) -> None:
        """Close, and wait until that is done."""


T = TypeVar("T", bound=Closable)


class Opening(Generic[T]):
    """``thing = await opening``, or ``async with opening as thing``; one of them, once."""

    __slots__ = ("_open", "_opened")

    def __init__(self, open_it: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._open: Callable[[], Coroutine[Any, Any, T]] | None = open_it
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        open_it, self._open = self._open, None
        if open_it is None:
            raise UsageError("this was opened already")
        return open_it().__await__()

    async def __aenter__(self) -> T:
        self._opened = await self
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.aclose()
