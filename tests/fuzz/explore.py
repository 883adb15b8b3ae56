# SPDX-License-Identifier: MIT
"""``python -m tests.fuzz.explore NAME --seconds N``: let atheris look for inputs that break a harness.

What it finds on its way is in ``build/fuzz/NAME``; with ``--keep`` the least of it that reaches what no
good input and no kept one does goes to ``tests/fuzz/corpus/NAME``. An input that breaks the harness
is put there at once, so that the next run of the tests fails until the fault is mended, and never
forgets it.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["tellin"]):
    from tests.fuzz.harness import CORPUS, Harness
    from tests.fuzz.registry import HARNESSES

ROOT = Path(__file__).parents[2]
LONGEST = 8192
# A kept input is read by people too, and copied with every clone.
LONGEST_KEPT = 1024
# On a busy machine a harmless input may take its time.
HANGING = 60


def main() -> None:
    """Fuzz until the time is over, or keep what was found."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.explore")
    options.add_argument("name", choices=[harness.name for harness in HARNESSES])
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--keep", action="store_true")
    chosen = options.parse_args()
    harness = next(row for row in HARNESSES if row.name == chosen.name)
    found = ROOT / "build" / "fuzz" / harness.name
    found.mkdir(parents=True, exist_ok=True)
    if chosen.keep:
        keep(harness, found)
        return
    write(harness.seeds(), found)
    kept = CORPUS / harness.name
    kept.mkdir(parents=True, exist_ok=True)
    fuzz(harness, [f"-max_total_time={chosen.seconds}", f"-artifact_prefix={kept}/", str(found)])


def write(inputs: Iterable[bytes], folder: Path) -> set[str]:
    """Put inputs into files named after them; returns the names."""
    names = set()
    for data in inputs:
        name = hashlib.sha256(data).hexdigest()[:20]
        (folder / name).write_bytes(data)
        names.add(name)
    return names


def fuzz(harness: Harness, mode: Iterable[str]) -> None:
    """Hand the process over to libFuzzer, which ends it."""
    limits = [
        *(f"-max_len={LONGEST}", f"-timeout={HANGING}", f"-report_slow_units={HANGING}"),
        *("-rss_limit_mb=2048", "-print_final_stats=1"),
    ]
    atheris.Setup([sys.argv[0], *limits, *mode], harness.run)
    atheris.Fuzz()


def keep(harness: Harness, found: Path) -> None:
    """Put what reaches more than the good inputs and the kept ones into the corpus."""
    with TemporaryDirectory() as name:
        reached = Path(name)
        known = write(harness.seeds(), reached)
        child = os.fork()
        if not child:
            fuzz(harness, ["-merge=1", str(reached), str(found)])
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"merging failed: {status}")
        more = [path.read_bytes() for path in reached.iterdir() if path.name not in known]
    # Whoever looks for secrets in a repository should find none, not even keys of nobody.
    more = [data for data in more if len(data) <= LONGEST_KEPT and b"PRIVATE KEY" not in data]
    kept = CORPUS / harness.name
    if more:
        kept.mkdir(parents=True, exist_ok=True)
    print(f"{harness.name}: {len(write(more, kept))} more inputs kept")


if __name__ == "__main__":
    main()
