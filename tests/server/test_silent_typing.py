# SPDX-License-Identifier: MIT
"""Keys that a terminal does not echo are answered all the same (R157)."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from tellin.server.sessions.silent_typing import AnsweredSink


class Wire:
    """Stands for the sink and the link; notes what passes."""

    def __init__(self) -> None:
        self.typed = b""
        self.ignored: list[int] = []
        self.flushes = 0

    def take(self, views: list[memoryview]) -> int:
        self.typed += b"".join(views)
        return sum(map(len, views))

    def flush(self) -> None:
        self.flushes += 1

    flush_soon = flush


@pytest.fixture
def terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    yield master
    os.close(slave)
    os.close(master)


def set_modes(terminal: int, *, echo: bool, canonical: bool) -> None:
    modes = termios.tcgetattr(terminal)
    for flag, on in ((termios.ECHO, echo), (termios.ICANON, canonical)):
        modes[3] = modes[3] | flag if on else modes[3] & ~flag
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


@pytest.mark.parametrize(
    ("echo", "canonical", "typed", "ignored"),
    [
        (False, True, [b"s"], [5]),
        (False, True, [b"se", b"cret"], [10]),
        (False, True, [b"\r"], []),
        (True, True, [b"s"], []),
        # An editor: whatever it makes of a key is drawn.
        (False, False, [b"s"], []),
    ],
)
def test_r157_a_key_that_is_not_echoed_is_answered_in_its_size(
    terminal: int, echo: bool, canonical: bool, typed: list[bytes], ignored: list[int]
) -> None:
    wire = Wire()
    sink = AnsweredSink(wire, terminal, lambda data: wire.ignored.append(len(data)), wire)
    set_modes(terminal, echo=echo, canonical=canonical)
    assert sink.take([memoryview(part) for part in typed]) == len(b"".join(typed))
    assert wire.typed == b"".join(typed)
    assert wire.ignored == ignored
    assert wire.flushes == len(ignored)


def test_a_terminal_whose_command_is_over_is_no_fault(terminal: int) -> None:
    wire = Wire()
    sink = AnsweredSink(
        wire, os.open(os.devnull, os.O_RDWR), lambda data: wire.ignored.append(1), wire
    )
    assert sink.take([memoryview(b"s")]) == 1
    assert wire.ignored == []
