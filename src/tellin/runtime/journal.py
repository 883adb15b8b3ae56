# SPDX-License-Identifier: MIT
"""What a program says while it works: OpenSSH's levels, with its words at the places that scripts read."""

import contextlib
import os
from collections.abc import Callable
from typing import Final

from tellin.userauth.text import escape_text, show_undecoded

QUIET: Final = 0
FATAL: Final = 1
ERROR: Final = 2
INFO: Final = 3
VERBOSE: Final = 4
DEBUG1: Final = 5
DEBUG2: Final = 6
DEBUG3: Final = 7

LEVELS: Final[dict[str, int]] = {
    "QUIET": QUIET,
    "FATAL": FATAL,
    "ERROR": ERROR,
    "INFO": INFO,
    "VERBOSE": VERBOSE,
    "DEBUG1": DEBUG1,
    "DEBUG2": DEBUG2,
    "DEBUG3": DEBUG3,
}


def to_descriptor(fd: int) -> Callable[[str], None]:
    """A writer of lines to ``fd``; the end of a line is also right on a terminal in raw mode."""

    def write(line: str) -> None:
        # Nobody reads any more (``2>&1 | head -1``): no reason to end the session.
        with contextlib.suppress(OSError):
            os.write(fd, line.encode("utf-8") + b"\r\n")

    return write


def discard(line: str) -> None:
    """A writer for those who want no words."""


class Journal:
    """Takes lines at a level and writes those that are wanted.

    Every line is made safe for terminals here, so that no text of a peer's can be forgotten
    (R036). Before a debug line that costs something to make, ask ``debugs``.
    """

    __slots__ = ("level", "write")

    to_system = False
    """Whether its lines go to the system's log, where nobody sees them at once."""

    def __init__(self, level: int = QUIET, write: Callable[[str], None] = discard) -> None:
        self.level = level
        self.write = write

    @property
    def debugs(self) -> bool:
        """Whether anybody wants to know the details."""
        return self.level >= DEBUG1

    def say(self, level: int, line: str) -> None:
        """Write ``line`` if lines of this level are wanted."""
        if level <= self.level:
            mark = f"debug{level - VERBOSE}: " if level >= DEBUG1 else ""
            self.write(escape_text(show_undecoded(mark + line)))

    def fatal(self, line: str) -> None:
        """Say why there will be no connection."""
        self.say(FATAL, line)

    def error(self, line: str) -> None:
        """Say what went wrong."""
        self.say(ERROR, line)

    def info(self, line: str) -> None:
        """Say what the user should know."""
        self.say(INFO, line)

    def verbose(self, line: str) -> None:
        """Say what some users like to know."""
        self.say(VERBOSE, line)

    def debug(self, line: str) -> None:
        """Say what whoever looks for a fault wants to know (-v)."""
        self.say(DEBUG1, line)

    def debug2(self, line: str) -> None:
        """The same in more detail (-vv)."""
        self.say(DEBUG2, line)

    def debug3(self, line: str) -> None:
        """The same in all detail (-vvv)."""
        self.say(DEBUG3, line)
