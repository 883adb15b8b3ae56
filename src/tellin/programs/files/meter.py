# SPDX-License-Identifier: MIT
"""The progress meter of sftp and scp: a line a file on the terminal, as OpenSSH draws it."""

import os
import sys
from typing import Final

from tellin.programs.files.places import last_name, shown
from tellin.runtime.loop import Cancellable, SmallLoop
from tellin.runtime.terminal import window_size

_DEFAULT_WIDTH: Final = 80
_MOST_WIDTH: Final = 512
# What stands behind the name: percents, amount, rate and time.
_FIGURES: Final = 35
_STALLED_AFTER: Final = 5.0
_INTERVAL: Final = 1.0
# How much of the rate before counts, of ten.
_AGE: Final = 0.9
_UNITS: Final = " KMGT"


def show_size(count: int) -> str:
    """An amount in four digits and its unit."""
    unit = 0
    while count >= 10_000 and unit < len(_UNITS) - 1:
        count = (count + 512) // 1024
        unit += 1
    return f"{count:4d}{_UNITS[unit]}{'B' if unit else ' '}"


def show_rate(count: float) -> str:
    """Bytes a second, with one place behind the point, and at least in thousands."""
    hundredths, unit = int(count) * 100, 0
    while hundredths >= 100_000 and unit < len(_UNITS) - 1:
        hundredths = (hundredths + 512) // 1024
        unit += 1
    if not unit:
        hundredths = (hundredths + 512) // 1024
        unit = 1
    return f"{(hundredths + 5) // 100:3d}.{(hundredths + 5) // 10 % 10:1d}{_UNITS[unit]}B"


def show_time(seconds: int) -> str:
    """A time in minutes, or in hours where it is as long."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"  {minutes:02d}:{seconds:02d}"


def _in_columns(name: str, room: int) -> str:
    """A name in so many columns of a terminal, in which some letters take two, and some none."""
    if name.isascii():
        return name[:room].ljust(room)
    from unicodedata import category, east_asian_width  # a megabyte, for few names

    kept = ""
    for letter in name:
        columns = 2 if east_asian_width(letter) in {"W", "F"} else 1
        room -= 0 if category(letter) in {"Mn", "Me", "Cf"} else columns
        if room < 0:
            room += columns
            break
        kept += letter
    return kept + " " * room


class Figures:
    """What is known of a transfer, and the line that says it; the clock is handed in."""

    def __init__(self, name: str, size: int, now: float, *, start: int = 0) -> None:
        self.position = start
        self._name = name
        self._size = size
        self._first = start
        self._begun = self._last = now
        self._last_position = start
        self._rate = 0.0
        self._stalled = 0.0

    def line(self, now: float, width: int) -> str:
        """As it stands now, in so many columns."""
        moved = self.position - self._last_position
        left = max(self._size - self.position, 0)
        elapsed = now - self._last
        if not left:
            # The whole of it, in the time that it took.
            elapsed, moved, self._rate = now - self._begun, self.position - self._first, 0.0
        speed = moved / elapsed if elapsed > 0 else float(moved)
        self._rate = self._rate * _AGE + speed * (1 - _AGE) if self._rate else speed
        self._stalled = 0.0 if moved else self._stalled + elapsed
        self._last, self._last_position = now, self.position
        percent = self.position * 100 // self._size if self._size and left else 100
        name = _in_columns(self._name, max(width - _FIGURES, 0))
        line = (
            f"{name} {percent:3d}% {show_size(self.position)} {show_rate(self._rate)}/s "
            f"{self._rest(left, elapsed)}"
        )
        # A line that is broken into two would not be drawn over.
        return f"\r{line if width >= _FIGURES else line[:width]}"

    def _rest(self, left: int, elapsed: float) -> str:
        if left and self._stalled >= _STALLED_AFTER:
            return "- stalled -"
        if left and not int(self._rate):
            return "  --:-- ETA"
        seconds = int(left / self._rate) if left else int(elapsed)
        return show_time(seconds) + (" ETA" if left else "    ")


class Meter:
    """Draws a line a file; without a terminal, or in the background, nothing.

    Of files that move beside each other one is drawn as it goes, and the others when they are done.
    """

    def __init__(self, loop: SmallLoop, *, shown: bool) -> None:
        self.shown = shown
        self._loop = loop
        self._moving: dict[bytes, Figures] = {}
        self._done: bytes | None = None
        self._timer: Cancellable | None = None

    def progress(self, source: bytes, target: bytes, moved: int, total: int) -> None:
        """So much of a file is there."""
        if not self.shown or (source == self._done and moved >= total):
            return
        figures = self._moving.get(source)
        if figures is None:
            figures = Figures(shown(last_name(source)), total, self._loop.time(), start=moved)
            self._moving[source] = figures
            if self._timer is None:
                self._draw()
        figures.position = moved
        if moved >= total:
            self._done = source
            del self._moving[source]
            self._write(figures, "\n")

    def end(self) -> None:
        """It is over; what has not come to its end stays as it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moving, self._moving = self._moving, {}
        for figures in moving.values():
            self._write(figures, "\n")
        self._done = None

    def _draw(self) -> None:
        for figures in self._moving.values():
            self._write(figures, "")
            break
        self._timer = self._loop.call_later(_INTERVAL, self._draw)

    def _write(self, figures: Figures, behind: str) -> None:
        if not behind and not _in_foreground():
            return
        size = window_size(1)
        width = min(size.columns if size and size.columns else _DEFAULT_WIDTH, _MOST_WIDTH)
        sys.stdout.write(figures.line(self._loop.time(), width) + behind)
        sys.stdout.flush()


def _in_foreground() -> bool:
    """Whether the terminal is ours to write to at this moment."""
    try:
        return os.getpgrp() == os.tcgetpgrp(1)
    except OSError:
        return False
