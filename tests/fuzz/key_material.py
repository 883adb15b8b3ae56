# SPDX-License-Identifier: MIT
"""Any bytes as what keys are exchanged, certified, revoked and signed with."""

from tests.fuzz.harness import Harness

from tellin.algorithms.sntrup761 import FIELD, ROUNDED


def unpack(data: bytes) -> None:
    """Nothing but the length is checked before, so every string of that length is unpacked."""
    for packing, size, most in ((FIELD, 1158, 4591), (ROUNDED, 1007, 1531)):
        numbers = packing.decode(data[:size].ljust(size, b"\xff"))
        assert len(numbers) == 761
        assert max(numbers) < most


HARNESSES = [
    Harness(
        "sntrup761",
        unpack,
        covers=["tellin.algorithms.sntrup761.Packing.decode"],
        seeds=lambda: [FIELD.encode(range(761)), ROUNDED.encode([1530] * 761)],
    ),
]
