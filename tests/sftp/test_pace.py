# SPDX-License-Identifier: MIT

import heapq

import pytest

from tellin.sftp.pace import LEAST, MOST, UNMEASURED, Pace

BLOCK = 261120


class Link:
    """A link of so many seconds there and back that carries so many bytes a second, on a clock of its own."""

    def __init__(self, *, trip: float, rate: float) -> None:
        self.trip = trip
        self.rate = rate
        self.now = 0.0
        self.free = 0.0
        self.pace = Pace(lambda: self.now)

    def carry(self, total: int) -> float:
        """Move ``total`` bytes by blocks as a transfer does; returns bytes a second."""
        began, asked, flying = self.now, 0, []
        while asked < total or flying:
            while asked < total and (len(flying) < 2 or self.pace.allows(BLOCK)):
                self.free = max(self.free, self.now) + BLOCK / self.rate
                heapq.heappush(flying, (self.free + self.trip, self.pace.sent(BLOCK)))
                asked += BLOCK
            self.now, sent = heapq.heappop(flying)
            self.pace.answered(BLOCK, sent, moved=BLOCK)
        return total / (self.now - began)


@pytest.mark.parametrize(("trip", "rate"), [(0.1, 150e6), (0.03, 500e6), (0.2, 100e6), (0.1, 2e6)])
def test_a_long_link_is_filled(trip: float, rate: float) -> None:
    link = Link(trip=trip, rate=rate)
    link.carry(256 << 20)
    assert link.carry(256 << 20) > 0.8 * rate
    assert link.pace.window <= max(4 * trip * rate + 4 * BLOCK, LEAST)


def test_a_short_link_stays_within_caches() -> None:
    link = Link(trip=0.0005, rate=500e6)
    assert link.carry(512 << 20) > 400e6
    assert link.pace.window <= 2 * LEAST


def test_there_is_an_upper_end() -> None:
    link = Link(trip=2.0, rate=1e9)
    link.carry(1 << 30)
    assert link.pace.window == MOST


def test_without_a_clock_it_is_one_size_for_all() -> None:
    pace = Pace(None)
    while pace.allows(BLOCK):
        pace.sent(BLOCK)
    assert pace.window == UNMEASURED
    assert UNMEASURED - BLOCK < pace.flying <= UNMEASURED
