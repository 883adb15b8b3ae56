# SPDX-License-Identifier: MIT
"""``python -m tests.fuzz.keep [NAME ...]``: put into the corpus what fuzzing found worth keeping.

That is the shortest inputs of ``build/fuzz`` that take a harness from one line of tellin's to another
between which no good input and no kept one goes: few, where libFuzzer keeps hundreds.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.harness import CORPUS, FOUND, Harness, write
from tests.fuzz.registry import HARNESSES

import tellin

PACKAGE = str(Path(tellin.__file__).parent)
# A kept input is copied with every clone, and read by people too.
LONGEST = 1024

Step = tuple[CodeType, int, int]


def steps(harness: Harness, data: bytes) -> set[Step]:
    """From which lines of tellin's to which an input goes."""
    taken: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        before = 0

        def walk(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            taken.add((code, before, frame.f_lineno))
            before = frame.f_lineno
            return walk

        return walk

    sys.settrace(enter)
    try:
        harness.run(data)
    finally:
        sys.settrace(None)
    return taken


def worth_keeping(harness: Harness, found: Iterable[bytes]) -> list[bytes]:
    """Those of the found ones that go where none before goes."""
    known: set[Step] = set()
    for data in harness.seeds():
        # Twice: what is done once only, such as filling a cache, is no input's merit.
        steps(harness, data)
        known |= steps(harness, data)
    kept = []
    # The order of names within a length: the same inputs are kept whenever this is run.
    for data in sorted(found, key=lambda data: (len(data), data)):
        # Whoever looks for secrets in a repository should find none, not even keys of nobody.
        if len(data) > LONGEST or b"PRIVATE KEY" in data:
            continue
        taken = steps(harness, data)
        if not taken <= known:
            kept.append(data)
            known |= taken
    return kept


def main() -> None:
    """Do it for the harnesses named, or all."""
    every = {harness.name: harness for harness in HARNESSES}
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.keep")
    options.add_argument("names", nargs="*", choices=[[], *every])
    for name in options.parse_args().names or every:
        found = [path.read_bytes() for path in (FOUND / name).glob("*")]
        kept = worth_keeping(every[name], found)
        if kept:
            write(kept, CORPUS / name)
        print(f"{name}: {len(kept)} of {len(found)} kept")


if __name__ == "__main__":
    main()
