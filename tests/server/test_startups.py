# SPDX-License-Identifier: MIT
"""MaxStartups: who is dropped, and what the log hears of it."""

import pytest

from tellin.runtime.journal import INFO, VERBOSE, Journal
from tellin.server.connection import Peer
from tellin.server.startups import Startups

PEER = Peer("192.0.2.7", 50000, "192.0.2.1", 22)
LIMITS = (2, 30, 10)


class Watched:
    """Startups with a clock, dice and a log of ours."""

    def __init__(self, *, level: int = VERBOSE) -> None:
        self.now = 1000.0
        self.dice = 0
        self.lines: list[str] = []
        journal = Journal(level, self.lines.append)
        self.startups = Startups(journal, clock=lambda: self.now, draw=lambda: self.dice)

    def admits(self, count: int, limits: tuple[int, int, int] = LIMITS) -> bool:
        return self.startups.admits(limits, count, PEER)


def test_below_the_start_everybody_is_served() -> None:
    watched = Watched()
    assert all(watched.admits(count) for count in (0, 1))
    assert watched.lines == []


def test_from_full_on_nobody_is_served() -> None:
    watched = Watched()
    watched.dice = 65535
    assert not watched.admits(10)
    assert not watched.admits(1000)


@pytest.mark.parametrize(("count", "chance"), [(2, 30), (6, 65), (9, 91)])
def test_between_start_and_full_the_chance_grows(count: int, chance: int) -> None:
    watched = Watched()
    dropped = 0
    for watched.dice in range(0, 65536, 64):
        dropped += not watched.admits(count)
    assert dropped / 1024 * 100 == pytest.approx(chance, abs=0.2)


def test_one_number_drops_all_from_there_on() -> None:
    watched = Watched()
    watched.dice = 65535
    assert watched.admits(4, (5, 30, 5))
    assert not watched.admits(5, (5, 30, 5))


def test_a_flood_is_said_once_and_again_every_five_minutes() -> None:
    watched = Watched(level=INFO)
    assert not watched.admits(10)
    assert watched.lines == [
        "beginning MaxStartups throttling",
        "drop connection #10 from [192.0.2.7]:50000 on [192.0.2.1]:22 past MaxStartups",
    ]
    watched.now += 299
    for _ in range(500):
        watched.admits(10)
    assert len(watched.lines) == 2
    watched.now += 2
    watched.admits(10)
    assert watched.lines[2] == ("in MaxStartups throttling for 00:05:01, 502 connections dropped")


def test_every_drop_is_said_to_those_who_want_to_know() -> None:
    watched = Watched()
    for _ in range(3):
        watched.admits(10)
    assert sum("past MaxStartups" in line for line in watched.lines) == 3


def test_the_end_of_a_flood_is_said_when_it_is_well_over() -> None:
    watched = Watched(level=INFO)
    watched.admits(10)
    watched.now += 90_061
    watched.dice = 65535
    assert watched.admits(1)
    assert watched.lines[-1].startswith("drop connection")
    assert watched.admits(0)
    assert watched.lines[-1] == (
        "exited MaxStartups throttling after 1d01h01m, 1 connections dropped"
    )
    assert watched.admits(0)
    assert sum("exited" in line for line in watched.lines) == 1


def test_chance_is_drawn_anew_for_each() -> None:
    startups = Startups(Journal())
    assert len({startups.admits((1, 50, 100), 10, PEER) for _ in range(200)}) == 2
