# SPDX-License-Identifier: MIT
"""``python -m tests.fuzz.explore NAME --seconds N``: let atheris look for inputs that break a harness.

What it finds on its way is in ``build/fuzz/NAME``, from where ``python -m tests.fuzz.keep`` takes what
is worth it. An input that breaks the harness goes to ``tests/fuzz/corpus/NAME`` at once, so that
the next run of the tests fails until the fault is mended, and never forgets it.
"""

import argparse
import sys

import atheris

with atheris.instrument_imports(include=["tellin"]):
    from tests.fuzz.harness import CORPUS, FOUND, write
    from tests.fuzz.registry import HARNESSES

LONGEST = 8192
# On a busy machine a harmless input may take its time.
HANGING = 60


def main() -> None:
    """Fuzz until the time is over; libFuzzer ends the process."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.explore")
    options.add_argument("name", choices=[harness.name for harness in HARNESSES])
    options.add_argument("--seconds", type=int, default=600)
    chosen = options.parse_args()
    harness = next(row for row in HARNESSES if row.name == chosen.name)
    found, kept = FOUND / harness.name, CORPUS / harness.name
    write(harness.seeds(), found)
    kept.mkdir(parents=True, exist_ok=True)
    limits = [
        *(f"-max_len={LONGEST}", f"-timeout={HANGING}", f"-report_slow_units={HANGING}"),
        *("-rss_limit_mb=2048", "-print_final_stats=1", f"-max_total_time={chosen.seconds}"),
    ]
    words = [sys.argv[0], *limits, f"-artifact_prefix={kept}/", str(found)]
    atheris.Setup(words, harness.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
