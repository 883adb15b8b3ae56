# SPDX-License-Identifier: MIT
"""Download and upload by exec, through pipes at each end, per cipher, with CPU of both sides.

"net" and the CPU figures leave start and login out: a transfer of a few bytes by the same pair,
measured in the same rounds, is subtracted. Pairs that are expected to be slow move less.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.pairs import (
    ASYNCSSH,
    OPENSSH,
    OPENSSH_TO_TELLIN,
    PARAMIKO,
    TELLIN,
    TELLIN_TO_OPENSSH,
    UVLOOP,
    Bench,
    Pair,
)
from bench.results import Table
from bench.settings import GCM128, GCM256, MIB, PROTECTIONS, Protection
from bench.transfer import COLUMNS, Line, derive, record

DIRECTIONS = ("download", "upload")
_PAIRS = (
    OPENSSH,
    TELLIN,
    TELLIN_TO_OPENSSH,
    OPENSSH_TO_TELLIN,
    UVLOOP,
    ASYNCSSH,
    PARAMIKO,
)
_CIPHER_PAIRS = (OPENSSH, TELLIN, UVLOOP)
_SLOW = frozenset({UVLOOP, ASYNCSSH, PARAMIKO})


def run(bench: Bench) -> None:
    """Fill the tables of every cipher; a quick run has one kind of GCM only."""
    for protection in PROTECTIONS:
        if not (bench.settings.quick and protection is GCM128):
            _measure(bench, protection)


def _sizes(bench: Bench, protection: Protection) -> tuple[int, int]:
    """How much the fast and the slow pairs move."""
    settings = bench.settings
    if protection is GCM256:
        return settings.bulk_bytes, settings.slow_bulk_bytes
    return settings.cipher_bulk_bytes, settings.cipher_bulk_bytes // 2


def _measure(bench: Bench, protection: Protection) -> None:
    fast, slow = _sizes(bench, protection)
    tables = {
        direction: bench.results.table(
            f"exec {direction} {protection.label}",
            f"Exec {direction}, {protection.label}, {fast // MIB} MiB "
            f"(AsyncSSH, Paramiko: {slow // MIB} MiB), pipes at each end",
            COLUMNS,
            baseline=OPENSSH.name,
            note="net and CPU: start and login subtracted; the commands' CPU is left out",
        )
        for direction in DIRECTIONS
    }
    part = f"exec {protection.label}"
    measured: list[tuple[Pair, int]] = []
    runs: dict[str, Callable[[], None]] = {}
    for pair in bench.present(_PAIRS if protection is GCM256 else _CIPHER_PAIRS):
        line = Line(bench, pair, protection)
        if not bench.attempt(part, f"{pair.name} check", line.check):
            continue
        size = slow if pair in _SLOW else fast
        measured.append((pair, size))
        for direction, table in tables.items():
            tiny = bench.settings.tiny_bytes
            runs[f"{pair.name} {direction}"] = _sampler(line, direction, table, tiny, size)
    bench.interleave(part, runs)
    for table in tables.values():
        for pair, size in measured:
            derive(table, pair, size)


def _sampler(line: Line, direction: str, table: Table, tiny: int, size: int) -> Callable[[], None]:
    def sample() -> None:
        record(table, line.pair, "tiny ", line.move(direction, tiny))
        record(table, line.pair, "", line.move(direction, size))

    return sample
