# SPDX-License-Identifier: MIT
"""``python -m tests.fuzz.explore NAME --seconds N``: let atheris look for inputs that break a harness.

What it finds on its way is in ``build/fuzz/NAME``; with ``--keep`` the least of it that reaches as much
goes to ``tests/fuzz/corpus/NAME``. An input that breaks the harness is put there at once, so that
the next run of the tests fails until the fault is mended, and never forgets it.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tellin"]):
    from tests.fuzz.harness import CORPUS
    from tests.fuzz.registry import HARNESSES

ROOT = Path(__file__).parents[2]
LONGEST = 8192


def main() -> None:
    """Fuzz until the time is over; libFuzzer ends the process."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.explore")
    options.add_argument("name", choices=[harness.name for harness in HARNESSES])
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--keep", action="store_true")
    chosen = options.parse_args()
    harness = next(row for row in HARNESSES if row.name == chosen.name)
    found = ROOT / "build" / "fuzz" / harness.name
    found.mkdir(parents=True, exist_ok=True)
    for seed in harness.seeds():
        (found / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)
    kept = CORPUS / harness.name
    if chosen.keep:
        kept.mkdir(parents=True, exist_ok=True)
        mode = ["-merge=1", str(kept), str(found)]
    else:
        mode = [f"-max_total_time={chosen.seconds}", str(found)]
        if kept.exists():
            mode.append(str(kept))
    kept.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={kept}/", *mode], harness.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
