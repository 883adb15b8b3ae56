# SPDX-License-Identifier: MIT
"""How long to wait before the next try: longer each time, and never the same for all who wait."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

# What the first wait comes to at most.
FIRST_SECONDS: Final = 0.5


def jitter() -> float:
    """A number from 0 to 1: a thousand clients of one server that went down must not come back at once."""
    return int.from_bytes(os.urandom(4), "big") / 0xFFFFFFFF


class BackOff:
    """Gives the waits between tries: up to 0.5 s, 1 s, 2 s and on, to ``longest``; at least half of each."""

    __slots__ = ("_longest", "_next", "_random")

    def __init__(self, longest: float, random: Callable[[], float] = jitter) -> None:
        self._longest = longest
        self._random = random
        self._next = FIRST_SECONDS

    def next(self) -> float:
        """The seconds to wait now."""
        most = min(self._next, self._longest)
        self._next = most * 2
        return most * (0.5 + 0.5 * self._random())

    def reset(self) -> None:
        """It went well: begin anew."""
        self._next = FIRST_SECONDS


class Waits(Protocol):
    """A clock, and waits on it: tests have one that runs as they please."""

    def time(self) -> float:
        """Seconds on a clock that never goes back."""

    async def wait(self, seconds: float, until: asyncio.Event) -> bool:
        """Wait so long, or until the event; whether it was the event."""


class LoopWaits:
    """The running loop's clock."""

    def time(self) -> float:
        """The loop's seconds."""
        return asyncio.get_running_loop().time()

    async def wait(self, seconds: float, until: asyncio.Event) -> bool:
        """Wait as long as that really is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()
        return until.is_set()
