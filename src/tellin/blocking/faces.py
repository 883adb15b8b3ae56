# SPDX-License-Identifier: MIT
"""What every class of the blocking interface is made of: an object of the loop's, and the way to it."""

import functools
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from tellin.runtime.portal import Portal

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class Face(Generic[S]):
    """Something of the asynchronous library, and the portal to it."""

    __slots__ = ("_inner", "_portal")

    def __init__(self, inner: S, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal
        self._prepare()

    def _prepare(self) -> None:
        """Fill what slots there are besides these."""


class Entered(Face[S]):
    """What a ``with`` closes in the end."""

    __slots__ = ()

    def close(self) -> None:
        """Close it, and wait until that is done."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def forwarded(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """The method that waits for a coroutine method."""

    def call(self: Any, /, *words: P.args, **named: P.kwargs) -> T:
        result: T = self._portal.call(functools.partial(method, self._inner, *words, **named))
        return result

    functools.update_wrapper(call, method)
    return call


def told(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """The method that has a plain method called on the loop."""

    def call(self: Any, /, *words: P.args, **named: P.kwargs) -> T:
        result: T = self._portal.call(functools.partial(method, self._inner, *words, **named))
        return result

    functools.update_wrapper(call, method)
    return call


def closing(method: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """The method that closes, and waits for it; nothing is left to close once the loop is gone.

    In a forked child nothing happens: what is open is the parent's, and a ``with`` that the child
    leaves must not hide why it does.
    """

    def close(self: Any) -> None:
        if self._portal.is_running:
            self._portal.call(method, self._inner)

    functools.update_wrapper(close, method)
    return close


def in_thread(portal: Portal, function: Callable[..., Any] | None) -> Any:
    """A function of the user's as the loop calls it when no thread waits: in a thread of its own."""
    return None if function is None else functools.partial(portal.in_thread, function)
