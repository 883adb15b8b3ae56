# SPDX-License-Identifier: MIT
"""``python -m tellin``, ``tellin PROGRAM``, and links named after a program."""

import atexit
import os
import sys
from typing import NoReturn

from tellin.programs.command import start


def main() -> NoReturn:
    """Run the program that the command line names, and end with its status."""
    status = start(sys.argv)
    # Taking the interpreter apart module by module costs more than many of the programs do
    # themselves: what is registered for the end is run, and the rest is left to the kernel.
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
