# SPDX-License-Identifier: MIT
"""Processes of a run: started here, ended here by pid, whatever happens in between."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from bench import cpu

REPOSITORY = Path(__file__).resolve().parent.parent
_PR_SET_CHILD_SUBREAPER = 36


class BenchError(Exception):
    """A pair did not do what it was asked; the text says what happened instead."""


def adopt_orphans() -> None:
    """Make this process the parent of orphans below it, so that `end_everything` finds them.

    A server's session process outlives a server that is killed; without this it would move to
    init and be lost.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_everything(*, patience: float = 3.0) -> list[int]:
    """End every process below this one, gently first; the pids that had to be killed."""
    me = os.getpid()
    for pid in cpu.descendants(me):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while _reap_and_list(me) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed = _reap_and_list(me)
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while _reap_and_list(me) and time.monotonic() < deadline:
        time.sleep(0.02)
    return killed


def _reap_and_list(me: int) -> list[int]:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return cpu.descendants(me)


def start(
    argv: Sequence[str],
    *,
    environment: dict[str, str],
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a process from the repository's folder with nothing of ours but what is given."""
    return subprocess.Popen(
        list(argv),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        cwd=REPOSITORY,
        bufsize=0,
    )


def stop(process: subprocess.Popen[bytes], *, patience: float = 3.0) -> None:
    """End one process and what it started, by pid."""
    below = cpu.descendants(process.pid)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pid in below:
        found = cpu.status(pid)
        if found is not None and found.state != "Z":
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


@contextlib.contextmanager
def limited(process: subprocess.Popen[bytes], patience: float) -> Iterator[None]:
    """Kill the process when it takes longer; its pipes end then, and with them their readers."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(patience, expire)
    timer.start()
    try:
        yield
    except BaseException:
        if process.returncode is None:
            process.kill()
            process.wait()
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise BenchError(f"took longer than {patience:.0f} s")


def wait_and_account(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; the CPU seconds it used, with those of children it waited for."""
    _, wait_status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(wait_status)
    return usage.ru_utime + usage.ru_stime


def wait_for_no_children(pid: int, *, patience: float = 5.0) -> None:
    """Wait until the server has reaped its session processes: only then is their CPU counted."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not cpu.descendants(pid):
            return
        time.sleep(0.01)
    raise BenchError(f"process {pid} still has children {cpu.descendants(pid)}")
