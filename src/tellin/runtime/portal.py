# SPDX-License-Identifier: MIT
"""One event loop in a thread of its own, and the way for other threads to have things done on it."""

import asyncio
import atexit
import contextlib
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar
from weakref import WeakSet

from tellin.errors import UsageError
from tellin.runtime.opening import Closable

T = TypeVar("T")

# How long an interrupted call may take to clean up.
_PATIENCE: Final = 5.0


class _Asked:
    """A function of the user's that a coroutine wants called, and where its answer goes."""

    def __init__(
        self,
        function: Callable[..., Any],
        words: tuple[Any, ...],
        answer: "asyncio.Future[Any]",
    ) -> None:
        self._function = function
        self._words = words
        self._answer = answer

    def run(self, portal: "Portal") -> None:
        """Call it here."""
        try:
            said = self._function(*self._words)
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            portal.tell(_settle, self._answer, None, error)
        else:
            portal.tell(_settle, self._answer, said, None)


def _settle(answer: "asyncio.Future[Any]", said: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(said)
    else:
        answer.set_exception(error)


class Portal:
    """A loop and its thread."""

    def __init__(self) -> None:
        self.dead = False
        self._opened: WeakSet[Closable] = WeakSet()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tellin", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def keep(self, thing: Closable) -> None:
        """Close this when the program ends, if it is still open then."""
        self._opened.add(thing)

    async def _close_all(self) -> None:
        await asyncio.gather(*(thing.aclose() for thing in list(self._opened)))

    def stop(self) -> None:
        """The program ends: so does all that is open, and the loop."""
        if not self.dead:
            self.dead = True
            closing = asyncio.run_coroutine_threadsafe(self._close_all(), self._loop)
            # A peer that does not answer must not keep a program from ending.
            with contextlib.suppress(TimeoutError):
                closing.result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE)
            if not self._thread.is_alive():
                self._loop.close()

    def check(self) -> None:
        """Raise UsageError where nothing can be called."""
        if self.dead:
            raise UsageError(
                "this belongs to the process that was forked",
                hint="connect again in the child",
            )
        if threading.current_thread() is self._thread:
            raise UsageError(
                "the blocking interface cannot be used on its own loop",
                hint="await the coroutines of tellin there",
            )

    def tell(self, function: Callable[..., object], *words: Any) -> None:
        """Call something on the loop, and do not wait for it."""
        self._loop.call_soon_threadsafe(function, *words)

    def call(
        self,
        function: Callable[..., Any],
        *words: Any,
        asked: Mapping[str, Callable[..., Any]] | None = None,
        **named: Any,
    ) -> Any:
        """Call ``function`` on the loop, await what it returns, and bring its result here.

        The functions of ``asked`` are called in this thread when the coroutine asks them.
        """
        self.check()
        mail: SimpleQueue[_Asked | None] = SimpleQueue()
        for name, theirs in (asked or {}).items():
            named[name] = self._asking(theirs, mail)
        task: asyncio.Task[Any] | None = None

        async def work() -> Any:
            result = function(*words, **named)
            return await result if inspect.isawaitable(result) else result

        def begin() -> None:
            nonlocal task
            task = self._loop.create_task(work())
            task.add_done_callback(lambda _: mail.put(None))

        self.tell(begin)
        try:
            while (letter := mail.get()) is not None:
                letter.run(self)
        except BaseException:
            self.tell(lambda: task.cancel() if task is not None else None)
            self._drain(mail)
            raise
        assert task is not None
        return task.result()

    def _drain(self, mail: "SimpleQueue[_Asked | None]") -> None:
        """Wait until a cancelled call has cleaned up after itself."""
        # A second Ctrl-C comes through here.
        with contextlib.suppress(Empty):
            while mail.get(timeout=_PATIENCE) is not None:
                continue

    def _asking(
        self, function: Callable[..., Any], mail: "SimpleQueue[_Asked | None]"
    ) -> Callable[..., Awaitable[Any]]:
        async def ask(*words: Any) -> Any:
            answer: asyncio.Future[Any] = self._loop.create_future()
            mail.put(_Asked(function, words, answer))
            return await answer

        return ask

    def in_thread(self, function: Callable[..., T], *words: Any) -> "asyncio.Future[T]":
        """Call a function in a thread of its own; for the loop to await."""
        answer: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            _Asked(function, words, answer).run(self)

        threading.Thread(target=run, name="tellin session", daemon=True).start()
        return answer


_lock = threading.Lock()
_portals: list[Portal] = []


def shared_portal() -> Portal:
    """The one of this process; it is made when it is first needed."""
    with _lock:
        if not _portals:
            made = Portal()
            _portals.append(made)
            atexit.register(made.stop)
        return _portals[0]


def _forked() -> None:
    # The child has the memory of the loop and not its thread.
    global _lock  # noqa: PLW0603 - it may be held by a thread that is not here
    _lock = threading.Lock()
    for portal in _portals:
        portal.dead = True
    _portals.clear()


os.register_at_fork(after_in_child=_forked)
