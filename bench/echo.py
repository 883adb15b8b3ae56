# SPDX-License-Identifier: MIT
"""Keystroke echo: one byte typed into a terminal, through a remote terminal and `cat`, and back.

Both terminals are raw, so that the byte makes the whole way to the command. A second table does
it in one client process against a handler that sends back what comes, without any terminal.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import time
import tty
from collections.abc import Callable, Iterator, Sequence

from bench.clients import Call, Library
from bench.login import open_library
from bench.pairs import (
    ASYNCSSH,
    OPENSSH,
    OPENSSH_TO_TELLIN,
    PARAMIKO,
    TELLIN,
    TELLIN_LIBRARY,
    TELLIN_TO_OPENSSH,
    UVLOOP,
    Bench,
    Pair,
)
from bench.processes import BenchError, start, stop
from bench.results import Column, Results, Table
from bench.settings import CURVE25519, GCM256

_READY = b"bench-ready"
_COMMAND = "stty raw -echo; printf bench-%s ready; exec cat"
_PAUSE = 0.001
_COLUMNS = (Column(metric="p50 us", ratio=True), Column(metric="p99 us", ratio=True))


def run(bench: Bench) -> None:
    """Fill both tables."""
    _measure_terminals(bench)
    _measure_libraries(bench)


def _open_table(results: Results, name: str, title: str, baseline: Pair) -> Table:
    return results.table(
        name,
        title,
        _COLUMNS,
        baseline=baseline.name,
        note="percentiles of each round, then their median; a pause of 1 ms between bytes",
    )


def add_percentiles(table: Table, pair: Pair, seconds: Sequence[float]) -> None:
    """Write p50 and p99 of one round down."""
    ordered = sorted(seconds)
    for metric, share in (("p50 us", 0.50), ("p99 us", 0.99)):
        table.add(pair.name, metric, ordered[int((len(ordered) - 1) * share)] * 1e6)


# ---- programs with terminals -------------------------------------------------------------------


def _measure_terminals(bench: Bench) -> None:
    name, count = "echo terminal", bench.settings.keystrokes
    title = f"Keystroke echo through terminals and cat, {count} bytes a round"
    table = _open_table(bench.results, name, title, OPENSSH)

    def sampler(pair: Pair) -> Callable[[], None]:
        def sample() -> None:
            with _terminal(bench, pair) as master:
                _type(master, 20)
                add_percentiles(table, pair, _type(master, count))

        return sample

    pairs = bench.present((OPENSSH, TELLIN, TELLIN_TO_OPENSSH, OPENSSH_TO_TELLIN))
    bench.interleave(name, {pair.name: sampler(pair) for pair in pairs})


@contextlib.contextmanager
def _terminal(bench: Bench, pair: Pair) -> Iterator[int]:
    """A client in a terminal of its own, the far end echoing; its master side."""
    call = Call(
        port=bench.server(pair).port,
        command=_COMMAND,
        protection=GCM256,
        kex=CURVE25519,
        terminal=True,
    )
    master, slave = pty.openpty()
    tty.setraw(slave)
    with os.fdopen(slave, "r+b", buffering=0) as end, os.fdopen(master, "r+b", buffering=0):
        process = start(
            bench.client(pair).argv(bench.workspace, call),
            environment=bench.workspace.environment,
            stdin=end,
            stdout=end,
            stderr=end,
        )
        try:
            _await_ready(master, process)
            yield master
        finally:
            stop(process)


def _await_ready(master: int, process: subprocess.Popen[bytes]) -> None:
    arrived, deadline = b"", time.monotonic() + 20
    while not arrived.endswith(_READY):
        if time.monotonic() > deadline or process.poll() is not None:
            raise BenchError(f"no echo to be had, but {arrived[-200:]!r}")
        if select.select([master], [], [], 0.1)[0]:
            arrived += os.read(master, 4096)


def _type(master: int, count: int) -> list[float]:
    """Type bytes one by one, each after the one before has come back."""
    taken = []
    for number in range(count):
        byte = bytes([97 + number % 26])
        started = time.perf_counter()
        os.write(master, byte)
        ready, _, _ = select.select([master], [], [], 10)
        back = os.read(master, 64) if ready else b""
        taken.append(time.perf_counter() - started)
        if back != byte:
            raise BenchError(f"WRONG: typed {byte!r}, came back {back!r}")
        time.sleep(_PAUSE)
    return taken


# ---- libraries ---------------------------------------------------------------------------------


def _measure_libraries(bench: Bench) -> None:
    name, count = "echo library", bench.settings.keystrokes
    title = f"One byte to a handler and back, in one client process, {count} bytes a round"
    table = _open_table(bench.results, name, title, ASYNCSSH)
    clients: dict[Pair, Library] = {}

    def sampler(pair: Pair) -> Callable[[], None]:
        def sample() -> None:
            taken = clients[pair].ask("echo", count=count, command="echo")["result"]
            assert isinstance(taken, list)
            add_percentiles(table, pair, taken)

        return sample

    try:
        runs = {}
        for pair in bench.present((ASYNCSSH, UVLOOP, PARAMIKO, TELLIN_LIBRARY)):

            def begin(pair: Pair = pair) -> None:
                clients[pair] = open_library(bench, pair, handler=True)
                clients[pair].ask("echo", count=20, command="echo")

            if bench.attempt(name, f"{pair.name} warm-up", begin):
                runs[pair.name] = sampler(pair)
        bench.interleave(name, runs)
    finally:
        for library in clients.values():
            library.close()
