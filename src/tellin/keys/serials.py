# SPDX-License-Identifier: MIT
"""Sets of serial numbers, and the shortest way to write them down in a revocation list."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from typing import Final

from tellin.errors import KeyFileError

Range = tuple[int, int]

# 64 MiB of them: a file could name more in a few bytes each.
MOST_RANGES: Final = 1 << 22
# The longest number that OpenSSH reads, and we.
BITMAP_BITS: Final = 16384


class Serials:
    """Numbers of 64 bits, kept as ranges that neither overlap nor touch."""

    def __init__(self) -> None:
        self._lows = array("Q")
        self._highs = array("Q")
        # What was not added in order, and is sorted in when somebody asks.
        self._loose: list[Range] = []

    def add(self, low: int, high: int) -> None:
        """Put in all numbers from ``low`` to ``high``."""
        if len(self._lows) + len(self._loose) >= MOST_RANGES:
            raise KeyFileError(f"more than {MOST_RANGES} ranges of serial numbers")
        if not self._loose and (not self._highs or low > self._highs[-1]):
            self._append(low, high)
        else:
            self._loose.append((low, high))

    def _append(self, low: int, high: int) -> None:
        if self._highs and low <= self._highs[-1] + 1:
            self._highs[-1] = max(self._highs[-1], high)
        else:
            self._lows.append(low)
            self._highs.append(high)

    def __contains__(self, number: int) -> bool:
        self._settle()
        at = bisect_right(self._lows, number) - 1
        return at >= 0 and number <= self._highs[at]

    def __bool__(self) -> bool:
        return bool(self._lows) or bool(self._loose)

    def ranges(self) -> list[Range]:
        """All of them, in order."""
        self._settle()
        return list(zip(self._lows, self._highs, strict=True))

    def _settle(self) -> None:
        if self._loose:
            every = sorted([*zip(self._lows, self._highs, strict=True), *self._loose])
            self._lows, self._highs, self._loose = array("Q"), array("Q"), []
            for low, high in every:
                self._append(low, high)


class Form(Enum):
    """How a section writes numbers; the values are those of OpenSSH's PROTOCOL.krl."""

    LIST = 0x20
    RANGE = 0x21
    BITMAP = 0x22


# What writing costs, in bits: a section's head, a number, and the two that a new bitmap needs.
_HEAD: Final = 8
_NUMBER: Final = 64
_START: Final = _HEAD + _NUMBER


def written(serials: Serials) -> Iterator[tuple[Form, list[Range]]]:
    """The sections to write, each with its ranges; the choices are ssh-keygen's, so the bytes can be equal.

    One range after the other goes where it costs least, given what has been begun and what comes next.
    """
    ranges = serials.ranges()
    begun: Form | None = None
    section: list[Range] = []
    for at, (low, high) in enumerate(ranges):
        before = low - ranges[at - 1][1] if at else 0
        after = ranges[at + 1][0] - high if at + 1 < len(ranges) else None
        form, afresh = _cheapest(begun, before, high - low + 1, after)
        if form is Form.BITMAP and section and high - section[0][0] >= BITMAP_BITS:
            # ssh-keygen goes on, and then cannot read what it has written.
            afresh = True
        if section and (afresh or form is not begun or form is Form.RANGE):
            assert begun is not None
            yield begun, section
            section = []
        begun = form
        section.append((low, high))
    if section:
        assert begun is not None
        yield begun, section


def _cheapest(begun: Form | None, before: int, count: int, after: int | None) -> tuple[Form, bool]:
    """The form for ``count`` numbers, and whether a new section of it begins.

    ``before`` and ``after`` are the gaps beside them; no ``after`` is the end.
    """
    before, count = min(before, 1 << 31), min(count, 1 << 31)
    next_head = 0 if after is None else _START
    next_bits = 0 if after is None else min(after, _START)
    costs = (
        (
            (0 if begun is Form.BITMAP else _START) + before + count + next_bits,
            (Form.BITMAP, False),
        ),
        (_HEAD + 2 * _NUMBER + next_head, (Form.RANGE, False)),
        ((0 if begun is Form.LIST else _HEAD) + _NUMBER * count + next_head, (Form.LIST, False)),
        (_START + count + next_bits, (Form.BITMAP, True)),
    )
    # In whole bytes; of equal ones the first.
    return min(costs, key=lambda cost: (cost[0] + 7) // 8)[1]
