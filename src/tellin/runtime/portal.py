# SPDX-License-Identifier: MIT
"""One event loop in a thread of its own, and the way for other threads to have things done on it."""

import asyncio
import atexit
import contextlib
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakSet

from tellin.errors import UsageError
from tellin.runtime.opening import Closable

T = TypeVar("T")

# How long an interrupted call, and all that is open when the program ends, may take to clean up.
_PATIENCE: Final = 5.0


class Life(Enum):
    """Whether a portal leads anywhere; if not, why not and what to do."""

    RUNNING = "", ""
    FORKED = "this belongs to the process that was forked", "connect again in the child"
    ENDING = "the program is ending", "use connections before that, and close them"
    BROKEN = "the thread of the connections has ended", "do not raise SystemExit on the loop"


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
        except StopIteration as error:
            # A future takes all errors but this one: whoever waits for it would wait for ever.
            wrapped = RuntimeError("a function raised StopIteration")
            wrapped.__cause__ = error
            portal.tell(_settle, self._answer, None, wrapped)
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


Mail: TypeAlias = "SimpleQueue[_Asked | None]"
"""What a thread that waits for a call has to do; None when the call is over."""

Asking: TypeAlias = Callable[..., Awaitable[Any]]
"""A function as the loop has it: to be awaited, and called in the thread that waits."""


class Portal:
    """A loop and its thread."""

    def __init__(self) -> None:
        self.life = Life.RUNNING
        self._opened: WeakSet[Closable] = WeakSet()
        self._closing: set[asyncio.Task[None]] = set()
        self._mails: set[Mail] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tellin", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            # Nothing else comes through a loop; whoever waits hears of it below.
            with contextlib.suppress(SystemExit):
                self._loop.run_forever()
        finally:
            if self.life is Life.RUNNING:
                self.life = Life.BROKEN
            for mail in list(self._mails):
                mail.put(None)

    @property
    def is_running(self) -> bool:
        """Whether anything can be called, from another thread than the loop's own."""
        return self.life is Life.RUNNING

    def keep(self, thing: Closable) -> None:
        """Close this when the program ends, if it is still open then."""
        self._opened.add(thing)

    async def _close_all(self) -> None:
        closing = (thing.aclose() for thing in list(self._opened))
        await asyncio.gather(*closing, return_exceptions=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def stop(self) -> None:
        """The program ends: so does all that is open, and the loop."""
        if not self.is_running:
            return
        self.life = Life.ENDING
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
        if not self.is_running:
            why, hint = self.life.value
            raise UsageError(why, hint=hint)
        if threading.get_ident() == self._thread.ident:
            raise UsageError(
                "the blocking interface cannot be used on its own loop",
                hint="await the coroutines of tellin there",
            )

    def tell(self, function: Callable[..., object], *words: Any) -> None:
        """Call something on the loop, and do not wait for it."""
        if self.life is Life.FORKED:
            # The memory of a loop without its thread, but with the parent's descriptors.
            self.check()
        with contextlib.suppress(RuntimeError):  # closed, as the program ends
            self._loop.call_soon_threadsafe(function, *words)

    def call(
        self,
        function: Callable[..., Any],
        *words: Any,
        asked: Mapping[str, Callable[[Callable[..., Asking]], Any]] | None = None,
        **named: Any,
    ) -> Any:
        """Call ``function`` on the loop, await what it returns, and bring its result here.

        What a value of ``asked`` makes is passed by its name: it gets a function that turns one of
        the user's into one for the loop to await, and that is then called in this thread.
        """
        mail: Mail = SimpleQueue()
        for name, make in (asked or {}).items():
            named[name] = make(lambda theirs: self._asking(theirs, mail))

        async def work() -> Any:
            result = function(*words, **named)
            return await result if inspect.isawaitable(result) else result

        # First this, so that a thread which ends finds who waits for it, then the look at it.
        self._mails.add(mail)
        try:
            self.check()
            return self._wait_for(work, mail)
        finally:
            self._mails.discard(mail)

    def _wait_for(self, work: Callable[[], Coroutine[Any, Any, Any]], mail: Mail) -> Any:
        """Have it done, and call what it asks for meanwhile."""
        task: asyncio.Task[Any] | None = None

        def begin() -> None:
            nonlocal task
            task = self._loop.create_task(work())
            task.add_done_callback(lambda _: mail.put(None))

        def drop() -> None:
            if task is None:
                mail.put(None)
            else:
                task.cancel()
                task.add_done_callback(self._discard)

        try:
            self.tell(begin)
            while (letter := mail.get()) is not None:
                letter.run(self)
        except BaseException:
            if self.is_running:
                self.tell(drop)
                self._drain(mail)
            raise
        if task is None or not task.done() or task.cancelled():
            self.check()
            raise UsageError("what was waited for has been cancelled")
        return task.result()

    def _drain(self, mail: Mail) -> None:
        """Wait until a cancelled call has cleaned up after itself."""
        # A second Ctrl-C comes through here.
        with contextlib.suppress(Empty):
            while mail.get(timeout=_PATIENCE) is not None:
                continue

    def _discard(self, task: "asyncio.Task[Any]") -> None:
        """What came of a call that nobody waits for any more: what it opened is closed."""
        if task.cancelled() or task.exception() is not None:
            return
        thing = task.result()
        if hasattr(thing, "aclose"):
            closing = self._loop.create_task(thing.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _asking(self, function: Callable[..., Any], mail: Mail) -> Asking:
        async def ask(*words: Any) -> Any:
            answer: asyncio.Future[Any] = self._loop.create_future()
            mail.put(_Asked(function, words, answer))
            return await answer

        return ask

    def in_thread(self, function: Callable[..., T], *words: Any) -> "asyncio.Future[T]":
        """Call a function in a thread of its own; for the loop to await."""
        answer: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                _Asked(function, words, answer).run(self)
            except SystemExit as error:
                # It ends its thread, as it does anywhere; whoever waits for an answer hears of it.
                wrapped = RuntimeError("a function called sys.exit()")
                wrapped.__cause__ = error
                self.tell(_settle, answer, None, wrapped)

        threading.Thread(target=run, name="tellin session", daemon=True).start()
        return answer


_lock = threading.Lock()
_portals: list[Portal] = []


def shared_portal() -> Portal:
    """The one of this process; it is made when it is first needed."""
    with _lock:
        if not _portals or _portals[-1].life is Life.BROKEN:
            made = Portal()
            _portals.append(made)
            atexit.register(made.stop)
        return _portals[-1]


def _forked() -> None:
    # The child has the memory of the loop and not its thread.
    global _lock  # noqa: PLW0603 - it may be held by a thread that is not here
    _lock = threading.Lock()
    for portal in _portals:
        portal.life = Life.FORKED
    _portals.clear()


os.register_at_fork(after_in_child=_forked)
