# SPDX-License-Identifier: MIT
"""A program's own word on whoever connects to what it forwards, before he is led anywhere."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

_log = logging.getLogger("tellin.client")

# How many may wait for the program's word.
MOST_WAITING: Final = 1024

Accept: TypeAlias = Callable[[str, int], bool | Awaitable[bool]]
"""Gets the address and the port of whoever connects ("" and 0 at a socket's path); only True lets him through."""


class Accepting:
    """Asks ``accept``, a function or a coroutine function, about each who comes."""

    __slots__ = ("_accept", "_waiting")

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._waiting: set[asyncio.Future[bool]] = set()

    def ask(self, origin: tuple[str, int], done: Callable[[bool], object]) -> None:
        """``done`` hears once whether he may go on: at once, or when the coroutine has ended."""
        try:
            said = self._accept(*origin)
        except Exception as error:  # noqa: BLE001 - the program's function may raise anything
            _log.error("a function that accepts connections failed", exc_info=error)
            done(False)
            return
        if not inspect.isawaitable(said):
            done(said is True)
            return
        task = asyncio.ensure_future(said)

        def ended(task: "asyncio.Future[bool]") -> None:
            self._waiting.discard(task)
            fault = None if task.cancelled() else task.exception()
            if fault is not None:
                _log.error("a function that accepts connections failed", exc_info=fault)
            done(not task.cancelled() and fault is None and task.result() is True)

        if len(self._waiting) >= MOST_WAITING:
            task.cancel()
        self._waiting.add(task)
        task.add_done_callback(ended)

    def close(self) -> None:
        """Nobody is let through any more: those who wait are sent away."""
        for task in self._waiting:
            task.cancel()
