# SPDX-License-Identifier: MIT
"""``python -m tellin``, ``tellin PROGRAM``, and links named after a program."""

import atexit
import gc
import os
import sys


def main() -> None:
    """Run the program that the command line names, and end the process with its status."""
    # What is loaded stays: looking through it for garbage again and again is a part of a start.
    gc.disable()
    if "-N" in sys.argv:
        # ssh-keygen's passphrase, before all else: who has none does not pay for it.
        from tellin.programs.keygen.ahead import begin

        begin(sys.argv)
    import tellin
    from tellin.programs.finding import find_by_name

    find_by_name(tellin)
    from tellin.programs.command import start  # found by its name, too

    status = start(sys.argv)
    # Taking the interpreter apart module by module costs more than many of the programs do
    # themselves: what is registered for the end is run, and the rest is left to the kernel.
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
