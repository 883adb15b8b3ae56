# SPDX-License-Identifier: MIT
"""Swaps what is inside a root for links to the outside and back, as fast as it can, until its input ends: WORLD STAYS.

A process of its own: beside a client in the same interpreter each would wait for the other.
"""

import ctypes
import os
import select
import shutil
import sys
from contextlib import suppress
from pathlib import Path

RENAME_EXCHANGE = 2


def lay_out(world: Path, *, stays: bool) -> None:
    """Begin anew: the client may have taken something away."""
    root = world / "root"
    for name in ("swap", "leads", "file", "leads-file"):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (root / "swap").mkdir()
    (root / "swap" / "secret").write_bytes(b"inside")
    (root / "leads").symlink_to(world)
    (root / "file").write_bytes(b"inside")
    (root / "leads-file").symlink_to("../secret")
    if not stays and not (world / "away" / "pit").exists():
        (root / "pit" / "deep").mkdir(parents=True, exist_ok=True)


def main(world: Path, *, stays: bool) -> None:
    """Swap until nobody listens; say how often."""
    exchange = ctypes.CDLL(None).renameat2
    here = os.open(world / "root", os.O_RDONLY)
    turns = moves = 0
    pit, away = world / "root" / "pit", world / "away" / "pit"
    print("ready", flush=True)
    while turns % 64 or not select.select([0], [], [], 0)[0]:
        # There is no moment without either.
        if exchange(here, b"swap", here, b"leads", RENAME_EXCHANGE) or exchange(
            here, b"file", here, b"leads-file", RENAME_EXCHANGE
        ):
            with suppress(OSError):
                lay_out(world, stays=stays)
            if select.select([0], [], [], 0)[0]:
                break
        else:
            turns += 1
        if not stays:
            for old, new in ((pit, away), (away, pit)):
                # A client may have made something of that name.
                with suppress(OSError):
                    old.rename(new)
                    moves += 1
    print(turns, moves, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), stays=sys.argv[2] == "stays")
