# SPDX-License-Identifier: MIT
"""LogVerbose: what is said at places that fit a pattern, and what elsewhere."""

import os

import pytest

from tellin.runtime.journal import DEBUG3, ERROR, INFO, QUIET, Journal
from tellin.runtime.places_journal import PlacesJournal


def somewhere(journal: Journal) -> None:
    journal.debug("from somewhere")
    journal.error("an error")


def elsewhere(journal: Journal) -> None:
    journal.debug("from elsewhere")


def said(level: int, *patterns: str) -> list[str]:
    lines: list[str] = []
    journal = PlacesJournal(Journal(level, lines.append), patterns, program="ssh")
    somewhere(journal)
    elsewhere(journal)
    assert journal.level == level
    return lines


HERE = "test_places_journal.py"


@pytest.mark.parametrize(
    "pattern",
    [
        "*:somewhere():*",
        f"{HERE}:somewhere():1?",
        f"{HERE}:somew*",
        "!*:elsewhere*,*",
        "*somewhere*(bin=ssh*",
    ],
)
def test_lines_of_a_place_come_at_every_level_and_say_where_that_is(pattern: str) -> None:
    first, second = said(QUIET, pattern)
    whole = rf"{HERE}:somewhere():%d (bin=ssh, pid={os.getpid()})"
    assert first == f"debug1: {whole % 13}: from somewhere"
    assert second == f"{whole % 14}: an error"


def test_other_places_say_what_the_level_lets_through() -> None:
    assert said(INFO, "nosuch.c:*") == ["an error"]
    assert said(ERROR, "*:elsewhere():*")[0] == "an error"
    assert said(QUIET, "nosuch.c:*") == []
    assert len(said(DEBUG3, "nosuch.c:*")) == 3


def test_what_costs_something_to_make_is_made() -> None:
    assert PlacesJournal(Journal(QUIET), ("x",), program="ssh").debugs
    assert not Journal(QUIET).debugs


def test_r036_a_line_is_made_safe_wherever_it_comes_from() -> None:
    lines: list[str] = []
    PlacesJournal(Journal(QUIET, lines.append), ("*",), program="ssh").info("a\x1b[2Jb")
    assert lines[0].endswith(": a\\033[2Jb")
