# SPDX-License-Identifier: MIT
"""One transfer by one client process: timed, counted at the receiving end, both CPUs read.

Download is `head -c N /dev/zero` into a pipe that this process reads; upload is a pipe that this
process fills into `dd of=/dev/null`. The server's CPU is that of its whole process tree, less what
the shell says of itself and its commands (`times`); the client's is what wait4 reports.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from bench import cpu
from bench.clients import Call
from bench.pairs import Bench, Pair
from bench.processes import BenchError, limited, start, wait_and_account
from bench.results import Column, Table
from bench.settings import CURVE25519, Protection

COLUMNS = (
    Column(metric="MB/s"),
    Column(metric="net MB/s", ratio=True),
    Column(metric="client CPU s/GB", places=2),
    Column(metric="server CPU s/GB", places=2),
    Column(metric="CPU s/GB", places=2, ratio=True),
)
# What a pipe holds: neither end can pass more at once, as between two programs of a shell.
_PIPE = 64 * 1024
_ZEROS = bytes(_PIPE)
Feed = Callable[[IO[bytes]], None]


@dataclass(frozen=True)
class Transfer:
    """What one client process cost, in seconds."""

    seconds: float
    client: float
    server: float


class Line:
    """One pair with one cipher, ready to move any number of bytes either way."""

    def __init__(
        self, bench: Bench, pair: Pair, protection: Protection, *, port: int | None = None
    ) -> None:
        """Connect to `port` instead of the server's own, when given (a delaying proxy)."""
        self.pair = pair
        self._bench, self._protection, self._port = bench, protection, port
        self._times = bench.workspace.folder / "times"
        self._errors = bench.workspace.folder / "client.err"

    def move(self, direction: str, size: int) -> Transfer:
        """Move `size` zeros; a wrong count at the receiving end is an error."""
        if direction == "download":
            output, transfer = self._run(f"head -c {size} /dev/zero", count_only=True)
            arrived = int(output)
        else:
            output, transfer = self._run(
                "dd bs=64k of=/dev/null 2>&1", feed=lambda pipe: _fill(pipe, size)
            )
            arrived = _counted_by_dd(output)
        if arrived != size:
            raise BenchError(f"WRONG: {arrived} bytes arrived of {size}")
        return transfer

    def check(self) -> None:
        """Move a random file both ways and compare its SHA-256."""
        path = self._bench.workspace.check_file
        content = path.read_bytes()
        wanted = hashlib.sha256(content).hexdigest()
        output, _ = self._run(f"cat {path}")
        if hashlib.sha256(output).hexdigest() != wanted:
            raise BenchError(f"WRONG: {len(output)} bytes came down, not the file")
        output, _ = self._run("sha256sum", feed=lambda pipe: _write_all(pipe, content))
        if output.split()[:1] != [wanted.encode()]:
            raise BenchError(f"WRONG: the far end hashed what came up as {output!r}")

    def _run(
        self, command: str, *, feed: Feed | None = None, count_only: bool = False
    ) -> tuple[bytes, Transfer]:
        server = self._bench.server(self.pair)
        self._times.unlink(missing_ok=True)
        call = Call(
            port=self._port or server.port,
            command=f"{command}; times >{self._times}",
            protection=self._protection,
            kex=CURVE25519,
        )
        argv = self._bench.client(self.pair).argv(self._bench.workspace, call)
        before = server.tree_seconds
        with self._errors.open("wb") as errors:
            started = time.perf_counter()
            process = start(
                argv,
                environment=self._bench.workspace.environment,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            output, used = self._converse(process, feed, count_only=count_only)
            seconds = time.perf_counter() - started
        if process.returncode:
            said = self._errors.read_text(errors="replace").strip().splitlines()[-2:]
            raise BenchError(f"exit status {process.returncode}: {' | '.join(said)}")
        spent = server.tree_seconds - before
        commands = cpu.shell_times(self._times.read_text(encoding="ascii"))
        return output, Transfer(seconds, used, max(spent - commands, 0.0))

    def _converse(
        self, process: subprocess.Popen[bytes], feed: Feed | None, *, count_only: bool
    ) -> tuple[bytes, float]:
        assert process.stdout is not None
        with limited(process, self._bench.settings.patience), process.stdout:
            if feed and process.stdin:
                feed(process.stdin)
            output = _count(process.stdout) if count_only else _collect(process.stdout)
            return output, wait_and_account(process)


def _count(pipe: IO[bytes]) -> bytes:
    """Read and drop; the number of bytes, in digits."""
    number, buffer = pipe.fileno(), bytearray(_PIPE)
    total = 0
    while size := os.readv(number, [buffer]):
        total += size
    return b"%d" % total


def _collect(pipe: IO[bytes]) -> bytes:
    return b"".join(iter(lambda: pipe.read(_PIPE), b""))


def _fill(pipe: IO[bytes], size: int) -> None:
    """Write zeros and close; a reader that went away shows in its exit status."""
    number = pipe.fileno()
    try:
        while size > 0:
            size -= os.write(number, _ZEROS if size >= _PIPE else _ZEROS[:size])
        pipe.close()
    except BrokenPipeError:
        pipe.close()


def _write_all(pipe: IO[bytes], content: bytes) -> None:
    view = memoryview(content)
    try:
        while view:
            view = view[pipe.write(view) :]
    except BrokenPipeError:
        view.release()
    pipe.close()


def _counted_by_dd(output: bytes) -> int:
    """The number in dd's last line, "N bytes (...) copied, ..."."""
    lines = output.decode(errors="replace").strip().splitlines() or [""]
    word = lines[-1].split(" ")[0]
    if not word.isdigit():
        raise BenchError(f"WRONG: instead of dd's count came {lines[-1]!r}")
    return int(word)


def record(table: Table, pair: Pair, prefix: str, transfer: Transfer) -> None:
    """Write the raw figures of one transfer down."""
    table.add(pair.name, f"{prefix}seconds", transfer.seconds)
    table.add(pair.name, f"{prefix}client seconds", transfer.client)
    table.add(pair.name, f"{prefix}server seconds", transfer.server)


def derive(table: Table, pair: Pair, size: int) -> None:
    """Compute the rates from the raw figures, the tiny transfer's median taken off."""

    def net(metric: str) -> list[float]:
        base = table.median(pair.name, f"tiny {metric}") or 0.0
        # Below zero only by noise, when the size is far too small for the link.
        return [max(value - base, 1e-6) for value in table.values(pair.name, metric)]

    gross = table.values(pair.name, "seconds")
    client = [value * 1e9 / size for value in net("client seconds")]
    server = [value * 1e9 / size for value in net("server seconds")]
    both = [one + other for one, other in zip(client, server, strict=True)]
    table.replace(pair.name, "MB/s", [size / 1e6 / value for value in gross])
    table.replace(pair.name, "net MB/s", [size / 1e6 / value for value in net("seconds")])
    table.replace(pair.name, "client CPU s/GB", client)
    table.replace(pair.name, "server CPU s/GB", server)
    table.replace(pair.name, "CPU s/GB", both)
