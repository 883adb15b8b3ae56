# SPDX-License-Identifier: MIT
"""What coroutines wait for that run on asyncio's loop or on none: one value, one coroutine, one call here.

The rooms above are coroutines that ask for answers; who drives them says what an answer is. With
asyncio it is a future and a piece of work is a task. Programs have ``Answer`` and ``Job``, which
need no loop: a coroutine goes on from within the call that brings what it waited for.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from tellin.errors import TellinError

T = TypeVar("T")


class Cancelled(BaseException):
    """A job was called off; no Exception, so that nothing takes it for a failure."""


class Awaited(Protocol):
    """One value that somebody waits for; asyncio's futures and tasks are such."""

    def done(self) -> bool:
        """Whether it is there, or why it will not come."""

    def set_result(self, value: Any, /) -> None:
        """Here it is."""

    def set_exception(self, error: Any, /) -> None:
        """It will not come."""

    def exception(self) -> BaseException | None:
        """Why it has not come."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call once when it is done."""

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait for it."""


class Running(Protocol):
    """A coroutine on its way."""

    def done(self) -> bool:
        """Whether it is over."""

    def cancel(self) -> object:
        """Call it off: it gets an exception where it waits."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call once when it is over."""

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait for its end; gives or raises what came of it."""


class Waits(Protocol):
    """How a driver has its coroutines wait."""

    @property
    def at_once(self) -> bool:
        """Whether ``aside`` has settled when it returns."""

    def answer(self) -> Awaited:
        """A value that is to come."""

    def start(self, work: Coroutine[Any, Any, Any]) -> Running:
        """Have a coroutine run beside the others."""

    def aside(
        self,
        settle: Callable[[Any, OSError | None], object],
        function: Callable[..., Any],
        *args: Any,
    ) -> None:
        """Call what may block for this side's disk, and ``settle`` with what came of it, then or later."""

    def raised(self, error: TellinError) -> TellinError:
        """An error as one of many waiters gets it."""


class Answer:
    """One value that somebody waits for, without a loop."""

    __slots__ = ("_callbacks", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], object]] = []
        self._done = False
        self._error: BaseException | None = None
        self._value: Any = None

    def done(self) -> bool:
        """Whether it is there."""
        return self._done

    def set_result(self, value: Any) -> None:
        """Here it is."""
        self._value = value
        self._finish()

    def set_exception(self, error: BaseException) -> None:
        """It will not come."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self._done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call once when it is done; at once if it is."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def exception(self) -> BaseException | None:
        """Why it did not come."""
        return self._error

    def result(self) -> Any:
        """What came; raises why it did not."""
        if self._error is not None:
            raise self._error
        return self._value

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._done:
            yield self
        return self.result()


class Job(Answer):
    """A coroutine that runs until it waits, and on from there when that has come."""

    __slots__ = ("_cancelled", "_running", "_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self._work = work
        self._waits_for: Any = None
        self._cancelled = False
        self._running = False
        self._go(None)

    def cancel(self) -> None:
        """Call it off: it gets Cancelled where it waits."""
        if self._done:
            return
        self._cancelled = True
        if not self._running:
            self._waits_for = None
            self._go(None)

    def _go(self, come: Any) -> None:
        # What a cancelled one waited for comes too late.
        if self._done or come is not self._waits_for:
            return
        self._running = True
        try:
            while True:
                if self._cancelled:
                    self._cancelled = False
                    waits = self._work.throw(Cancelled())
                else:
                    waits = self._work.send(None)
                if not self._cancelled:
                    break
        except StopIteration as end:
            self.set_result(end.value)
        except (Exception, Cancelled) as error:  # noqa: BLE001  (who waits for it gets it)
            self.set_exception(error)
        else:
            self._waits_for = waits
            self._running = False
            waits.add_done_callback(self._go)


class Directly:
    """For a program that has one talk and nothing else to do: the disk is used on the spot."""

    at_once = True

    def answer(self) -> Answer:
        """A value that is to come."""
        return Answer()

    def start(self, work: Coroutine[Any, Any, Any]) -> Job:
        """Run a coroutine."""
        return Job(work)

    def aside(
        self,
        settle: Callable[[Any, OSError | None], object],
        function: Callable[..., Any],
        *args: Any,
    ) -> None:
        """Call it here and now."""
        try:
            value = function(*args)
        except OSError as error:
            settle(None, error)
        else:
            settle(value, None)

    def raised(self, error: TellinError) -> TellinError:
        """The error itself: a program has one who waits."""
        return error


def settler(waits: Waits, answer: Awaited) -> Callable[[Any, Exception | None], None]:
    """What brings an answer; who was called off in the meantime is left alone."""

    def settle(value: Any, error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(waits.raised(error) if isinstance(error, TellinError) else error)
            # Whoever asked may have been called off since: asyncio would complain of it at its end.
            answer.exception()

    return settle


async def aside(waits: Waits, function: Callable[..., T], *args: Any) -> T:
    """What came of a call that may block for this side's disk."""
    answer = waits.answer()
    waits.aside(settler(waits, answer), function, *args)
    result: T = await answer
    return result


async def obtained(
    waits: Waits, discard: Callable[[T], object], function: Callable[..., T], *args: Any
) -> T:
    """As ``aside`` for what has to be closed: ``discard`` gets it if nobody waits any more."""
    answer = waits.answer()
    settle = settler(waits, answer)
    come: list[T] = []
    gone = False

    def settled(value: Any, error: OSError | None) -> None:
        if error is None:
            if gone:
                discard(value)
                return
            come.append(value)
        settle(value, error)

    waits.aside(settled, function, *args)
    try:
        await answer
    except BaseException:
        gone = True
        for value in come:
            discard(value)
        raise
    return come[0]
