# SPDX-License-Identifier: MIT
"""Runs a program for what it writes, within bounds of size and time."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence

from tellin.errors import ConfigError


def output_of(argv: Sequence[str], *, limit: int, seconds: float, quiet: bool = False) -> bytes:
    """What a program writes on its standard output, once it has ended well; no shell is asked.

    ``quiet`` throws away what it writes on its standard error.

    ConfigError: it cannot be run, ends otherwise, writes more than ``limit`` bytes, or takes longer
    than ``seconds``; then it is killed, with what it has started.
    """
    name = argv[0]
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            start_new_session=True,
        )
    except (OSError, ValueError) as problem:
        cause = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigError(f"{name} cannot be run: {cause}") from None
    assert child.stdout is not None
    until = time.monotonic() + seconds
    try:
        data = _read(child.stdout.fileno(), limit, until)
        if data is None or len(data) > limit:
            what = "takes too long" if data is None else f"writes more than {limit} bytes"
            raise ConfigError(f"{name} {what}")
        status = child.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{name} takes too long") from None
    finally:
        child.stdout.close()
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if status:
        raise ConfigError(f"{name} failed with status {status}")
    return data


def _read(descriptor: int, limit: int, until: float) -> bytes | None:
    """Everything up to one byte more than the limit; None if that takes too long."""
    data = b""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    while len(data) <= limit:
        left = until - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            return None
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            break
        data += piece
    return data
