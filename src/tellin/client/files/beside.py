# SPDX-License-Identifier: MIT
"""How coroutines of asyncio wait for files: futures and tasks for the server, one thread for this side's disk."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from tellin.errors import ConnectionLost, TellinError
from tellin.runtime.channel_streams import again

# So long a thread waits for more before it ends: nobody has to close it.
_IDLE_SECONDS: Final = 5.0

_Settle = Callable[[Any, OSError | None], object]
_Work = tuple[_Settle, Callable[..., Any], tuple[Any, ...]]


def raised(error: TellinError) -> TellinError:
    """An error as one waiter of many gets it: raised twice it would collect both tracebacks."""
    if isinstance(error, ConnectionLost):
        fresh = again(error)
        assert isinstance(fresh, ConnectionLost)
        return fresh
    return error


class BesideLoop:
    """Calls that may block for a disk run in a thread, one after the other and in the order of asking.

    What came of them is brought back to the loop many at a time, since to wake a loop costs more
    than to write a small file.
    """

    at_once = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: SimpleQueue[_Work] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ready: deque[tuple[_Settle, Any, OSError | None]] = deque()
        self._told = False

    def answer(self) -> "asyncio.Future[Any]":
        """A value that is to come."""
        return self._loop.create_future()

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run a coroutine beside the others."""
        return self._loop.create_task(work)

    def raised(self, error: TellinError) -> TellinError:
        """An error as one of many waiters gets it."""
        return raised(error)

    def aside(self, settle: _Settle, function: Callable[..., Any], *args: Any) -> None:
        """Call it in the thread; ``settle`` is called on the loop."""
        with self._lock:
            self._work.put((settle, function, args))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tellin files", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                settle, function, args = self._work.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._work.empty():
                        self._thread = None
                        return
                continue
            value, failure = None, None
            try:
                value = function(*args)
            except OSError as error:
                failure = error
            except Exception as error:  # noqa: BLE001  (else whoever asked would wait for ever)
                failure = OSError(f"{type(error).__name__}: {error}")
            with self._lock:
                self._ready.append((settle, value, failure))
                told, self._told = self._told, True
            if not told:
                # A loop that is closed has nobody any more who waits.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, deque()
            self._told = False
        for settle, value, failure in ready:
            settle(value, failure)
