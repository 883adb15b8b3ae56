# SPDX-License-Identifier: MIT
"""Processes that a test starts: nothing of them, nor of what they started, outlives the test."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self


def descendants(pid: int) -> list[int]:
    """``pid``'s children and theirs, by Linux's /proc; sshd's sessions leave its process group."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def listening(port: int) -> bool:
    """Whether a socket listens on ``port``: read from the kernel, since a connection would be counted."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text("ascii").splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == "0A" and local.endswith(wanted):
                return True
    return False


class Child:
    """One process whose output goes to a log file."""

    def __init__(self, argv: Sequence[str | Path], *, log: Path, **options: object) -> None:
        self.argv = [str(word) for word in argv]
        self.log_path = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """End it and all it started; a second call does nothing."""
        family = descendants(self.process.pid) if self.running() else []
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
        for pid in family:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def wait_for_port(self, port: int, seconds: float = 60) -> None:
        """Return when something listens there; an early end of the process is an error."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running():
                raise RuntimeError(f"{self.argv[0]} ended at once:\n{self.log()}")
            if listening(port):
                return
            time.sleep(0.01)
        raise TimeoutError(f"{self.argv[0]} does not listen on {port}:\n{self.log()}")

    def wait_for_log(self, words: str, seconds: float = 60) -> None:
        """Return when the words have been said; an early end of the process is an error."""
        deadline = time.monotonic() + seconds
        while words not in self.log():
            if not self.running():
                raise RuntimeError(f"{self.argv[0]} ended at once:\n{self.log()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.argv[0]} does not say {words!r}:\n{self.log()}")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Terminal:
    """A program on a pseudo-terminal of its own, driven as a person would."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        environment: dict[str, str] | None = None,
        rows: int = 24,
        columns: int = 80,
        before: Callable[[int], object] | None = None,
    ) -> None:
        """``before`` gets the terminal, to set its modes before the program starts."""
        self.master, inner = os.openpty()
        self.resize(rows=rows, columns=columns)
        if before is not None:
            before(self.master)
        # setsid --ctty: the program gets the terminal as its controlling one, so /dev/tty is it.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *map(str, argv)],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=environment,
        )
        os.close(inner)
        self.seen = b""
        self._read = 0

    def resize(self, *, rows: int, columns: int) -> None:
        import termios

        termios.tcsetwinsize(self.master, (rows, columns))

    def write(self, data: bytes | str) -> None:
        os.write(self.master, data.encode() if isinstance(data, str) else data)

    def expect(self, wanted: bytes | str, seconds: float = 60) -> bytes:
        """Read until ``wanted`` is seen after what was expected last; what stood before it is returned."""
        wanted = wanted.encode() if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + seconds
        while (at := self.seen.find(wanted, self._read)) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not self._more(left):
                raise AssertionError(f"{wanted!r} not seen in {self.seen[self._read :]!r}")
        before, self._read = self.seen[self._read : at], at + len(wanted)
        return before

    def _more(self, seconds: float) -> bool:
        readable, _, _ = select.select([self.master], [], [], seconds)
        if not readable:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the last one on the other side is gone
            return False
        self.seen += data
        return bool(data)

    def wait(self, seconds: float = 60) -> int:
        """Read to the end and return the exit status."""
        deadline = time.monotonic() + seconds
        while self._more(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def python() -> str:
    return sys.executable
