# SPDX-License-Identifier: MIT
"""A hostile client of a file server that has gone into a root by chroot(2): WORLD ROUNDS."""

import os
import sys
from pathlib import Path

from tests.server.test_rooted_files import ANSWERED, Hostile
from tests.sftp.paper_files import Talk

from tellin.server.files.sftp_files import LocalFiles
from tellin.sftp import messages


def main(world: Path, rounds: int) -> None:
    """Try it; an AssertionError is a way out."""
    outside = os.fsencode(world)
    os.chroot(world / "root")
    os.chdir("/")
    client = Hostile(Talk(LocalFiles()), outside, hides_people=False)
    client.run(rounds, ANSWERED - {messages.HomeDirectory})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
