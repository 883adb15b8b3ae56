# SPDX-License-Identifier: MIT
"""MaxStartups: which new connections to drop while many are logging in, and what the log hears of it."""

import os
from collections.abc import Callable
from time import monotonic
from typing import Final

from tellin.runtime.journal import INFO, VERBOSE, Journal
from tellin.server.connection import Peer

REFUSAL: Final = b"Exceeded MaxStartups\r\n"
# How often a flood is mentioned while it lasts; the single drops would be a flood of the log.
REPORT_SECONDS: Final = 300.0
_DRAWS: Final = 1 << 16
_DAY: Final = 86400


def _draw() -> int:
    return int.from_bytes(os.urandom(2), "big")


class Startups:
    """Admits or drops; between ``start`` and ``full`` logins under way chance decides."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], float] = monotonic,
        draw: Callable[[], int] = _draw,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._draw = draw
        self._since: float | None = None
        self._reported = 0.0
        self._dropped = 0

    def admits(self, limits: tuple[int, int, int], count: int, peer: Peer) -> bool:
        """Whether to serve ``peer`` while ``count`` others are logging in."""
        if not self._too_many(limits, count):
            if self._since is not None and count < limits[0] - 1:
                self._calm()
            return True
        self._drop(count, peer)
        return False

    def _too_many(self, limits: tuple[int, int, int], count: int) -> bool:
        start, rate, full = limits
        if count < start:
            return False
        if count >= full:
            return True
        chance = rate + (100 - rate) * (count - start) // (full - start)
        return self._draw() * 100 < chance * _DRAWS

    def _drop(self, count: int, peer: Peer) -> None:
        now = self._clock()
        level = VERBOSE
        self._dropped += 1
        if self._since is None:
            self._since = self._reported = now
            self._journal.error("beginning MaxStartups throttling")
            level = INFO
        elif now - self._reported > REPORT_SECONDS:
            self._reported = now
            self._journal.error(
                f"in MaxStartups throttling for {_shown(now - self._since)},"
                f" {self._dropped} connections dropped"
            )
            level = INFO
        self._journal.say(
            level,
            f"drop connection #{count} from [{peer.host}]:{peer.port}"
            f" on [{peer.local_host}]:{peer.local_port} past MaxStartups",
        )

    def _calm(self) -> None:
        assert self._since is not None
        self._journal.info(
            f"exited MaxStartups throttling after {_shown(self._clock() - self._since)},"
            f" {self._dropped} connections dropped"
        )
        self._since, self._dropped = None, 0


def _shown(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if seconds < _DAY:
        return f"{hours:02d}:{minute:02d}:{second:02d}"
    day, hour = divmod(hours, 24)
    return f"{day}d{hour:02d}h{minute:02d}m"
