# SPDX-License-Identifier: MIT
"""Runs of ``tellin ssh`` against a private server, in a home of their own."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from tests.interop.target import Completed, Target

SSH = (sys.executable, "-m", "tellin", "ssh")
LONGEST = 60.0
# Parameters: tellin's ssh and OpenSSH's.
EITHER = ["tellin", pytest.param("ssh", marks=pytest.mark.peer("ssh"))]


def having(*options: str) -> list[str]:
    """The flags that give keywords."""
    return [word for option in options for word in ("-o", option)]


def said(done: Completed) -> list[str]:
    """The lines on standard error."""
    return done.stderr.decode("utf-8", "replace").splitlines()


class Ssh:
    """How one target is reached; every run is given what keeps it away from the user's own files."""

    def __init__(self, directory: Path, target: Target, *, policy: str = "yes") -> None:
        self.target = target
        self.directory = directory
        self.known_hosts = directory / "known_hosts"
        if policy == "yes":
            self.known_hosts.write_text(target.known_hosts(), "ascii")
        self.policy = policy
        self.program: Sequence[str] = SSH
        self._started: list[subprocess.Popen[bytes]] = []
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SSH_", "DISPLAY", "WAYLAND", "TELLIN_"))
        }

    def options(self) -> list[str]:
        options = [
            "-F",
            "none",
            "-o",
            f"StrictHostKeyChecking={self.policy}",
            "-o",
            f"UserKnownHostsFile={self.known_hosts}",
            "-o",
            "GlobalKnownHostsFile=none",
        ]
        if self.target.identity is not None:
            options += ["-i", str(self.target.identity.path)]
        return options

    def argv(self, *words: str, flags: Sequence[str] = (), plain: bool = False) -> list[str]:
        # What is given first stands: flags come before what every run is given.
        where = [] if plain else ["-p", str(self.target.port)]
        destination = [] if plain else [f"{self.target.user}@{self.target.host}"]
        return [*self.program, *flags, *self.options(), *where, *destination, *words]

    def run(
        self,
        *words: str,
        flags: Sequence[str] = (),
        input: bytes | None = b"",  # noqa: A002  (as subprocess calls it)
        plain: bool = False,
        env: dict[str, str] | None = None,
    ) -> Completed:
        done = subprocess.run(
            self.argv(*words, flags=flags, plain=plain),
            input=input,
            capture_output=True,
            check=False,
            timeout=LONGEST,
            env={**self.environment, **(env or {})},
            # Without a terminal of its own, /dev/tty is nobody's: no question can be asked there.
            start_new_session=True,
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def start(
        self, *words: str, flags: Sequence[str] = (), **options: object
    ) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            self.argv(*words, flags=flags),
            env=self.environment,
            start_new_session=True,
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )
        self._started.append(process)
        return process

    def stop(self) -> None:
        """End what was started and still runs."""
        for process in self._started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def askpass(directory: Path, *answers: str) -> dict[str, str]:
    """A program that gives the answers one by one, and notes what it was asked."""
    program = directory / "askpass"
    (directory / "answers").write_text("".join(f"{answer}\n" for answer in answers), "utf-8")
    program.write_text(
        "#!/bin/sh\n"
        f"cd '{directory}'\n"
        'printf "%s\\n" "$1" >> asked\n'
        "[ -s answers ] || exit 1\n"
        "head -n 1 answers; tail -n +2 answers > rest; mv rest answers\n",
        "ascii",
    )
    program.chmod(0o700)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def asked(directory: Path) -> list[str]:
    path = directory / "asked"
    return path.read_text("utf-8").splitlines() if path.exists() else []


class Typist:
    """A program on a terminal of its own, and somebody who types and reads."""

    def __init__(
        self, argv: Sequence[str], *, env: dict[str, str], size: tuple[int, int] = (24, 80)
    ) -> None:
        self.read = b""
        self.status: int | None = None
        ready, go = os.pipe()
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            # The size is set before anybody asks for it.
            os.read(ready, 1)
            os.execve(argv[0], list(argv), {**env, "TERM": "vt100"})  # noqa: S606  (our own words)
        os.close(ready)
        self.resize(*size)
        self.modes = termios.tcgetattr(self.terminal)
        os.write(go, b"!")
        os.close(go)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def expect(self, pattern: str, *, seconds: float = LONGEST) -> str:
        """Wait until the pattern has been read, and take what came up to its end."""
        until = time.monotonic() + seconds
        while True:
            found = re.search(pattern.encode(), self.read)
            if found:
                self.read = self.read[found.end() :]
                return found.group().decode("utf-8", "replace")
            assert time.monotonic() < until, f"no {pattern!r} in {self.read!r}"
            assert self._more(until), f"no {pattern!r} in {self.read!r} before the end"

    def end(self, *, seconds: float = LONGEST) -> int:
        """Read to the end; the exit status."""
        until = time.monotonic() + seconds
        while self._more(until):
            pass
        if self.status is None:
            while True:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    break
                assert time.monotonic() < until, f"still running; read {self.read!r}"
                time.sleep(0.01)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def _more(self, until: float) -> bool:
        ready, _, _ = select.select([self.terminal], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.read += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            try:
                os.kill(self.pid, 9)
            except ProcessLookupError:
                pass
            else:
                os.waitpid(self.pid, 0)
        os.close(self.terminal)
