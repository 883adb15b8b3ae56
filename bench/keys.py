# SPDX-License-Identifier: MIT
"""Making keys: the whole process of ssh-keygen, without a passphrase and with one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.pairs import Bench
from bench.processes import BenchError, limited, start, wait_and_account
from bench.results import Column

_COLUMNS = (Column(metric="ms", places=1, ratio=True), Column(metric="CPU ms", places=1))
_PROGRAMS: dict[str, Sequence[str]] = {
    "openssh": ("ssh-keygen",),
    "tellin": (str(Path(sys.executable).with_name("tellin")), "ssh-keygen"),
}


def run(bench: Bench) -> None:
    """Fill both tables."""
    for label, passphrase in (("plain", ""), ("encrypted", "a passphrase")):
        _measure(bench, label, passphrase)


def _measure(bench: Bench, label: str, passphrase: str) -> None:
    name = f"keygen {label}"
    table = bench.results.table(
        name,
        f"Whole process `ssh-keygen -t ed25519`, {label}",
        _COLUMNS,
        baseline="openssh",
        note="16 rounds of bcrypt; nothing subtracted",
    )

    def sample(pair: str) -> None:
        for _ in range(bench.settings.logins_a_round):
            started = time.perf_counter()
            used = _make(bench, _PROGRAMS[pair], passphrase)
            table.add(pair, "ms", (time.perf_counter() - started) * 1e3)
            table.add(pair, "CPU ms", used * 1e3)

    runs: dict[str, Callable[[], None]] = {}
    for pair, program in _PROGRAMS.items():
        if shutil.which(program[0]) is None:
            bench.results.absent[f"{pair} ssh-keygen"] = f"no {program[0]}"
        # Once unmeasured: compiled modules and the page cache are not what is compared.
        elif bench.attempt(name, f"{pair} warm-up", partial(_make, bench, program, passphrase)):
            runs[pair] = partial(sample, pair)
    bench.interleave(name, runs)


def _make(bench: Bench, program: Sequence[str], passphrase: str) -> float:
    """Make a key; the CPU seconds that it took."""
    path = bench.workspace.folder / "made"
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    process = start(
        [*program, "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)],
        environment=bench.workspace.environment,
        stdout=subprocess.DEVNULL,
    )
    with limited(process, bench.settings.patience):
        used = wait_and_account(process)
    if process.returncode or not path.exists():
        raise BenchError(f"{program[-1]}: exit status {process.returncode}")
    return used
