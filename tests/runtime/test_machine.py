# SPDX-License-Identifier: MIT
"""What the runtime finds out about the machine."""

import os

import pytest

from tellin.runtime import machine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"processor\t: 0\nflags\t\t: fpu sse aes avx\n\nflags\t: fpu\n", True),
        (b"processor\t: 0\nflags\t\t: fpu sse vaes avx\n", False),
        (b"processor\t: 0\nFeatures\t: fp asimd aes pmull\n", True),
        (b"processor\t: 0\nFeatures\t: half thumb neon\n", False),
        (b"nothing known\n", True),
    ],
)
def test_aes_is_read_from_the_first_cores_flags(text: bytes, expected: bool) -> None:
    assert machine._lists_aes(text) is expected


def test_a_machine_that_tells_nothing_is_taken_to_have_aes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_CPU_LIST", "/nonexistent/cpuinfo")
    machine.has_aes.cache_clear()
    assert machine.has_aes() is True
    machine.has_aes.cache_clear()


def test_the_answer_is_read_once() -> None:
    machine.has_aes.cache_clear()
    assert machine.has_aes() is machine.has_aes()
    assert machine.has_aes.cache_info().misses == 1


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
