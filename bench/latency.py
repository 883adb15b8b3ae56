# SPDX-License-Identifier: MIT
"""100 ms of round trip: exec both ways, and how many round trips a login takes.

Every connection goes through `delay_proxy`, whose own throughput is measured first and shown: a
figure near it says more about the proxy than about the pair.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench.login import log_in
from bench.pairs import (
    OPENSSH,
    OPENSSH_TO_TELLIN,
    PARAMIKO,
    TELLIN,
    TELLIN_TO_OPENSSH,
    UVLOOP,
    Bench,
    Pair,
)
from bench.processes import BenchError, start, stop
from bench.results import Column, Table
from bench.servers import read_announcement
from bench.settings import CURVE25519, GCM256, MIB
from bench.transfer import Line, derive, record
from bench.workspace import HOST

_PAIRS = (OPENSSH, TELLIN, TELLIN_TO_OPENSSH, OPENSSH_TO_TELLIN, UVLOOP, PARAMIKO)
_FAST = frozenset({TELLIN})
_DIRECTIONS = ("download", "upload")
# No CPU here: the sizes are small beside what a library's import takes.
_COLUMNS = (Column(metric="MB/s"), Column(metric="net MB/s", ratio=True))
_LINK_BYTES = 1 << 30
_CHUNK = 1 << 20


def run(bench: Bench) -> None:
    """Measure the proxy, then what goes through it."""
    _measure_link(bench)
    with contextlib.ExitStack() as proxies:
        ports: dict[str, int] = {}
        for pair in bench.present(_PAIRS):
            with contextlib.suppress(BenchError):  # a server that fails shows in its pairs' runs
                if pair.server not in ports:
                    target = bench.server(pair).port
                    ports[pair.server] = proxies.enter_context(proxy(bench, target))
        pairs = [pair for pair in bench.present(_PAIRS) if pair.server in ports]
        _measure_logins(bench, pairs, ports)
        _measure_bulk(bench, pairs, ports)


@contextlib.contextmanager
def proxy(bench: Bench, target: int) -> Iterator[int]:
    """The port of a delaying proxy in front of `target`."""
    argv = [sys.executable, "-m", "bench.delay_proxy", str(target), str(bench.settings.delay)]
    process = start(
        argv,
        environment=bench.workspace.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield read_announcement(process)
    finally:
        stop(process)


# ---- the link itself ---------------------------------------------------------------------------


def _measure_link(bench: Bench) -> None:
    """Bare TCP through the proxy: what the link can carry, and its round trip."""
    table = bench.results.table(
        "latency link",
        f"The delaying proxy itself: {_LINK_BYTES // MIB} MiB of bare TCP",
        (Column(metric="MB/s"), Column(metric="round trip ms", places=1)),
        baseline="proxy",
        note="one TCP connection, Python at both ends",
    )
    rounds = bench.settings.delayed_rounds
    bench.interleave("latency link", {"proxy": partial(_probe_link, bench, table)}, rounds=rounds)


def _probe_link(bench: Bench, table: Table) -> None:
    with socket.create_server((HOST, 0)) as listener:
        far = threading.Thread(target=_answer, args=(listener, _LINK_BYTES), daemon=True)
        far.start()
        with (
            proxy(bench, listener.getsockname()[1]) as port,
            socket.create_connection((HOST, port)) as near,
        ):
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            near.sendall(b"?")
            if near.recv(1) != b"!":
                raise BenchError("WRONG: the link gave back something else")
            round_trip = time.perf_counter() - started
            block, left = bytes(_CHUNK), _LINK_BYTES
            started = time.perf_counter()
            while left:
                near.sendall(block)
                left -= len(block)
            if near.recv(1) != b".":
                raise BenchError("WRONG: the link lost bytes")
            # The last byte's way there and the answer's way back are no throughput.
            seconds = time.perf_counter() - started - round_trip
        far.join(10)
    table.add("proxy", "MB/s", _LINK_BYTES / 1e6 / seconds)
    table.add("proxy", "round trip ms", round_trip * 1e3)


def _answer(listener: socket.socket, size: int) -> None:
    """The far end: answer one byte, then say when `size` bytes have come."""
    connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(1)
        connection.sendall(b"!")
        buffer = bytearray(_CHUNK)
        while size and (count := connection.recv_into(buffer)):
            size -= count
        connection.sendall(b"." if size == 0 else b"-")


# ---- logins ------------------------------------------------------------------------------------


def _measure_logins(bench: Bench, pairs: list[Pair], ports: dict[str, int]) -> None:
    settings = bench.settings
    table = bench.results.table(
        "latency login",
        f"`ssh host true` over {settings.delay * 2e3:.0f} ms of round trip, curve25519",
        (
            Column(metric="ms", ratio=True),
            Column(metric="ms without delay"),
            Column(metric="round trips", places=1, ratio=True),
        ),
        baseline=OPENSSH.name,
        note="round trips: what the delay adds, by 100 ms; TCP's handshake is not delayed",
    )

    def sampler(pair: Pair) -> Callable[[], None]:
        def sample() -> None:
            for _ in range(settings.delayed_logins_a_round):
                for metric, port in (("ms without delay", None), ("ms", ports[pair.server])):
                    started = time.perf_counter()
                    log_in(bench, pair, CURVE25519, port=port)
                    table.add(pair.name, metric, (time.perf_counter() - started) * 1e3)

        return sample

    runs = {pair.name: sampler(pair) for pair in pairs}
    bench.interleave("latency login", runs, rounds=settings.delayed_rounds)
    for pair in pairs:
        direct = table.median(pair.name, "ms without delay")
        if direct is not None:
            slow = table.values(pair.name, "ms")
            trips = [(value - direct) / (settings.delay * 2e3) for value in slow]
            table.replace(pair.name, "round trips", trips)


# ---- bulk --------------------------------------------------------------------------------------


def _measure_bulk(bench: Bench, pairs: list[Pair], ports: dict[str, int]) -> None:
    settings = bench.settings
    slow, fast = settings.delayed_bytes // MIB, settings.delayed_fast_bytes // MIB
    tables = {
        direction: bench.results.table(
            f"latency {direction}",
            f"Exec {direction} over {settings.delay * 2e3:.0f} ms of round trip, aes256-gcm, "
            f"{slow} MiB (tellin with itself: {fast} MiB)",
            _COLUMNS,
            baseline=OPENSSH.name,
            note="net: start and login subtracted",
        )
        for direction in _DIRECTIONS
    }
    runs: dict[str, Callable[[], None]] = {}
    sizes: dict[Pair, int] = {}
    for pair in pairs:
        sizes[pair] = settings.delayed_fast_bytes if pair in _FAST else settings.delayed_bytes
        line = Line(bench, pair, GCM256, port=ports[pair.server])
        for direction, table in tables.items():
            runs[f"{pair.name} {direction}"] = partial(
                _sample, line, direction, table, settings.tiny_bytes, sizes[pair]
            )
    bench.interleave("latency", runs, rounds=settings.delayed_rounds)
    for table in tables.values():
        for pair, size in sizes.items():
            derive(table, pair, size)


def _sample(line: Line, direction: str, table: Table, tiny: int, size: int) -> None:
    record(table, line.pair, "tiny ", line.move(direction, tiny))
    record(table, line.pair, "", line.move(direction, size))
