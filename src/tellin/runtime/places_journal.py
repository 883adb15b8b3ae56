# SPDX-License-Identifier: MIT
"""LogVerbose: everything is said at the places in the program that somebody names, whatever the level.

A place is ``file:function():line``, as in ``narration.py:_negotiated():84``. Loaded only by who asks.
"""

import os
import sys
from collections.abc import Sequence

from tellin.config.patterns import match_pattern_list
from tellin.runtime import journal as journals
from tellin.runtime.journal import DEBUG3, Journal


class PlacesJournal(Journal):
    """Hands lines on to another journal; those of places that fit a pattern at every level.

    These say what place it was, so that the next pattern can be a narrower one.
    """

    __slots__ = ("_inner", "_patterns", "_program")

    def __init__(self, inner: Journal, patterns: Sequence[str], *, program: str) -> None:
        super().__init__(inner.level, inner.write)
        self._inner = inner
        self._patterns = tuple(patterns)
        self._program = program

    @property
    def debugs(self) -> bool:
        """What costs something to make is made: it may be one of the places."""
        return True

    @property
    def to_system(self) -> bool:  # type: ignore[override]
        """Whether its lines go to the system's log."""
        return self._inner.to_system

    def say(self, level: int, line: str) -> None:
        """Write ``line`` if lines of this level are wanted, or all lines of this place."""
        place = _place()
        whole = f"{place} (bin={self._program}, pid={os.getpid()})"
        fits = any(
            match_pattern_list(place, one) or match_pattern_list(whole, one)
            for one in self._patterns
        )
        self._inner.level = DEBUG3 if fits else self.level
        self._inner.say(level, f"{whole}: {line}" if fits else line)


def _place() -> str:
    """Where the line comes from: the nearest caller that is no journal."""
    # The one way to a caller that costs little.
    frame = sys._getframe(1)
    ours = (__file__, journals.__file__)
    while frame.f_code.co_filename in ours and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{code.co_name}():{frame.f_lineno}"


def with_places(journal: Journal, patterns: Sequence[str], *, program: str) -> Journal:
    """A journal that says everything at these places: another one, or the same where there are none."""
    inner = journal._inner if isinstance(journal, PlacesJournal) else journal
    if not patterns:
        if isinstance(journal, PlacesJournal):
            inner.level = journal.level
        return inner
    made = PlacesJournal(inner, patterns, program=program)
    made.level = journal.level
    return made
