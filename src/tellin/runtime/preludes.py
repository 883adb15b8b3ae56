# SPDX-License-Identifier: MIT
"""A program that runs to its end before another one does, in the same child process."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_FAILED: Final = 127


def run_first(
    first: list[str],
    executable: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    inside: Callable[[], int] | None = None,
) -> int:
    """In the child: run ``first`` to its end and become the program, or call ``inside``.

    What it writes goes where the program's output goes. It reads nothing: what the client sends is
    for the program.
    """
    # A pipe that nobody writes to: where the root is another one there may be no /dev/null.
    nothing, writing = os.pipe()
    os.close(writing)
    try:
        child = os.posix_spawn(
            first[0],
            first,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 0)],
            setsigdef=[signal.SIGPIPE],
        )
        os.waitpid(child, 0)
    except OSError as error:
        # The session is none the worse for it, as with OpenSSH.
        os.write(2, f"Could not run {first[-1]}: {error.strerror}\n".encode())
    finally:
        os.close(nothing)
    if inside is not None:
        return inside()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execve(executable, list(argv), environment)
    except OSError as error:
        os.write(2, f"{executable}: {error.strerror}\n".encode())
    return _FAILED
