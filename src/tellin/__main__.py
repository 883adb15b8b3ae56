# SPDX-License-Identifier: MIT
"""``python -m tellin``, ``tellin PROGRAM``, and links named after a program."""

import sys

from tellin.programs.command import start


def main() -> int:
    """Run the program that the command line names; the answer is the exit status."""
    return start(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
