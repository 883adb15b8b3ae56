# SPDX-License-Identifier: MIT
"""How much of a talk's data may be on its way at once: what the link holds, and no more than caches do.

Too little leaves a long link empty; too much only fills queues and falls out of the processor's
caches. So it is measured: bytes a second over one window, times the shortest time in which a
request was answered, and twice that, so that a link that could carry more is found out.
"""

from collections.abc import Callable
from typing import Final

# What a talk begins with, and stays at where answers are quick.
LEAST: Final = 1 << 20
# 300 MB/s at 200 ms; what is sent and not yet taken by the other side's windows is kept so long.
MOST: Final = 64 << 20
# Without a clock: enough for 16 MB/s at a quarter of a second.
UNMEASURED: Final = 4 << 20
# A good round is forgotten slowly: one slow answer says little of the link.
_FADING: Final = 0.9
# So much more than the best round before is a link that could carry more still; and a link on which
# a request takes so many seconds is a long one.
_RISING: Final = 1.5
_LONG: Final = 0.02


class Pace:
    """The window of one talk, in bytes, which all its transfers share."""

    __slots__ = (
        "_began",
        "_clock",
        "_delivered",
        "_left",
        "_limited",
        "_rate",
        "_shortest",
        "flying",
        "window",
    )

    def __init__(self, clock: Callable[[], float] | None) -> None:
        self._clock = clock
        self.window = UNMEASURED if clock is None else LEAST
        self.flying = 0
        self._shortest = 0.0
        self._rate = 0.0
        # One round: until as much is answered as was on its way at its beginning.
        self._began = 0.0
        self._left = 0
        self._delivered = 0
        self._limited = False

    def allows(self, size: int) -> bool:
        """Whether so much more may be on its way."""
        if self.flying + size <= self.window:
            return True
        self._limited = True
        return False

    def sent(self, size: int) -> float:
        """So much is on its way from now on; gives what ``answered`` is told."""
        self.flying += size
        if self._clock is None:
            return 0.0
        now = self._clock()
        if self._left <= 0:
            self._began, self._left, self._delivered = now, self.flying, 0
        return now

    def answered(self, size: int, began: float, *, moved: int) -> None:
        """What went at ``began`` is there, ``moved`` bytes of it."""
        self.flying -= size
        if self._clock is None:
            return
        now = self._clock()
        took = now - began
        if took > 0 and (took < self._shortest or not self._shortest):
            self._shortest = took
        self._delivered += moved
        self._left -= size
        if self._left > 0:
            return
        elapsed = now - self._began
        if elapsed > 0:
            # Answers that come in one piece do not make a link faster than its round trip.
            rate = self._delivered / max(elapsed, self._shortest)
            # A long link whose end is not in sight yet is filled in half as many rounds.
            rises = rate > _RISING * self._rate and self._shortest > _LONG
            self._rate = max(self._rate * _FADING, rate)
            if self._limited:
                self._limited = False
                gain = 4.0 if rises else 2.0
                wanted = min(gain * self._rate * self._shortest, gain * self.window, MOST)
                self.window = max(int(wanted), LEAST)
        self._began, self._left, self._delivered = now, self.flying, 0
