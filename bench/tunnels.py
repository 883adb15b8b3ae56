# SPDX-License-Identifier: MIT
"""Forwarded ports: one large flow, connections opened and closed, two hundred flows with one that stalls."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench import cpu, endpoints, loads
from bench.clients import CLIENTS, Call, library_orders, tunnel_argv
from bench.loads import Load
from bench.pairs import OPENSSH, OPENSSH_TO_TELLIN, TELLIN, TELLIN_TO_OPENSSH, UVLOOP, Bench, Pair
from bench.processes import BenchError, start, stop
from bench.results import Column, Table
from bench.servers import free_port, read_announcement
from bench.settings import CURVE25519, GCM256, MIB
from bench.workspace import HOST

_PAIRS = (OPENSSH, TELLIN, TELLIN_TO_OPENSSH, OPENSSH_TO_TELLIN, UVLOOP)
_WAYS = ("-L", "-D")
# Whatever answers has to be there before it is asked for: sixteen at a time, and some to spare.
_ANSWERING = 24
_BESIDE = 16


@dataclass(frozen=True, kw_only=True)
class Mouth:
    """Where a tunnel begins here: ``behind`` is what to ask the proxy for, None for a plain port.

    ``client`` and ``server`` are the processes of its two ends.
    """

    port: int
    behind: int | None
    client: int
    server: int

    def seconds(self) -> tuple[float, float]:
        """CPU of the tunnel's client, and of the server with all that it has started."""
        below = (self.server, *cpu.descendants(self.server))
        return cpu.own_seconds(self.client), sum(map(cpu.own_seconds, below))


def run(bench: Bench) -> None:
    """Measure every pair by -L and -D."""
    load = loads.make(bench.workspace, patience=bench.settings.patience)
    with (
        _server(bench, load, _ANSWERING, 1) as target,
        _server(bench, load, _BESIDE, 16) as wide,
        contextlib.ExitStack() as stack,
    ):
        mouths: dict[tuple[Pair, str], Mouth] = {}
        broad: dict[Pair, Mouth] = {}
        for pair in bench.present(_PAIRS):

            def begin(pair: Pair = pair) -> None:
                for way in _WAYS:
                    mouths[pair, way] = stack.enter_context(_tunnel(bench, pair, way, target))
                broad[pair] = stack.enter_context(_tunnel(bench, pair, "-L", wide))

            if not bench.attempt("tunnels", f"{pair.name} check", begin):
                for way in _WAYS:
                    mouths.pop((pair, way), None)
        for way in _WAYS:
            _measure_bulk(bench, way, {p: m for (p, w), m in mouths.items() if w == way})
            _measure_connections(
                bench, load, way, {p: m for (p, w), m in mouths.items() if w == way}
            )
        _measure_flows(bench, load, broad)


@contextlib.contextmanager
def _server(bench: Bench, load: Load, processes: int, threads: int) -> Iterator[int]:
    """The port of a plain server behind the tunnels."""
    process = start(
        load.server_argv(processes, threads),
        environment=bench.workspace.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield read_announcement(process)
    finally:
        stop(process)


@contextlib.contextmanager
def _tunnel(bench: Bench, pair: Pair, way: str, target: int) -> Iterator[Mouth]:
    """A client that forwards, and nothing else."""
    client, server = bench.client(pair), bench.server(pair, handler=CLIENTS[pair.client].holds)
    call = Call(port=server.port, command="", protection=GCM256, kex=CURVE25519)
    port = free_port()
    if client.program is not None:
        argv = tunnel_argv(client, bench.workspace, call, way=way, port=port, target=target)
    else:
        assert client.module is not None
        orders = library_orders(
            bench.workspace, call, loop=client.loop, tunnel=f"{way} {port} {target}"
        )
        argv = [sys.executable, "-m", client.module, "tunnel", orders]
    log = bench.workspace.folder / "tunnel.err"
    with log.open("wb") as errors:
        process = start(argv, environment=bench.workspace.environment, stderr=errors)
    try:
        _await_listener(process, port)
        mouth = Mouth(
            port=port,
            behind=target if way == "-D" else None,
            client=process.pid,
            server=server.process.pid,
        )
        endpoints.move("down", bench.settings.check_bytes, mouth.port, mouth.behind)
        yield mouth
    except (OSError, BenchError) as error:
        said = log.read_text(errors="replace").strip().splitlines()[-2:]
        raise BenchError(f"{error}: {' | '.join(said)}") from error
    finally:
        stop(process)


def _await_listener(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.02)
    raise BenchError("the tunnel did not listen")


# ---- one large flow -----------------------------------------------------------------------------


def _measure_bulk(bench: Bench, way: str, mouths: dict[Pair, Mouth]) -> None:
    size = bench.settings.tunnel_bytes
    table = bench.results.table(
        f"tunnel {way}",
        f"One flow of {size // MIB} MiB by {way}, aes256-gcm",
        (Column(metric="down MB/s", ratio=True), Column(metric="up MB/s", ratio=True)),
        baseline=OPENSSH.name,
        note="from a socket of this process to one of another: both are on this machine too",
    )

    def sample(pair: Pair, direction: str) -> None:
        mouth = mouths[pair]
        seconds = endpoints.move(direction, size, mouth.port, mouth.behind)
        table.add(pair.name, f"{direction} MB/s", size / 1e6 / seconds)

    runs: dict[str, Callable[[], None]] = {
        f"{pair.name} {direction}": partial(sample, pair, direction)
        for pair in mouths
        for direction in ("down", "up")
    }
    bench.interleave(f"tunnel {way}", runs)


# ---- many short ones ----------------------------------------------------------------------------


def _measure_connections(bench: Bench, load: Load, way: str, mouths: dict[Pair, Mouth]) -> None:
    count = bench.settings.tunnel_connections
    table = bench.results.table(
        f"tunnel connections {way}",
        f"Connections opened, used and closed by {way}",
        (
            Column(metric="alone/s", ratio=True),
            Column(metric="16 at a time/s", ratio=True),
            Column(metric="client CPU us"),
            Column(metric="server CPU us"),
        ),
        baseline=OPENSSH.name,
        note=f"each says a few words and hears them; CPU of one of 16; {load.note}",
    )

    def sample(pair: Pair) -> None:
        mouth = mouths[pair]
        alone = count // 8
        seconds = load.churn(alone, mouth.port, mouth.behind, beside=1)
        table.add(pair.name, "alone/s", alone / seconds)
        before = mouth.seconds()
        seconds = load.churn(count, mouth.port, mouth.behind, beside=_BESIDE)
        table.add(pair.name, "16 at a time/s", count / seconds)
        for end, first, last in zip(("client", "server"), before, mouth.seconds(), strict=True):
            table.add(pair.name, f"{end} CPU us", (last - first) * 1e6 / count)

    runs: dict[str, Callable[[], None]] = {pair.name: partial(sample, pair) for pair in mouths}
    bench.interleave(f"tunnel connections {way}", runs)


# ---- two hundred, one of which stalls -----------------------------------------------------------


def _measure_flows(bench: Bench, load: Load, mouths: dict[Pair, Mouth]) -> None:
    count, each = 200, bench.settings.tunnel_flow_bytes
    table: Table = bench.results.table(
        "tunnel flows",
        f"{count} flows of {each // 1024} KiB at once by -L, and one that reads nothing",
        (
            Column(metric="MB/s", ratio=True),
            Column(metric="with one stalled MB/s", ratio=True),
            Column(metric="stalled/free", places=2),
            Column(metric="CPU s/GB", places=2),
            Column(metric="with one stalled CPU s/GB", places=2),
        ),
        baseline=OPENSSH.name,
        note=f"the one that stalls has asked for a terabyte, and is not counted; {load.note}",
    )

    def sample(pair: Pair) -> None:
        mouth, size = mouths[pair], count * each
        before = sum(mouth.seconds())
        free = load.flows(count, each, mouth.port)
        between = sum(mouth.seconds())
        table.add(pair.name, "MB/s", size / 1e6 / free)
        table.add(pair.name, "CPU s/GB", (between - before) / (size / 1e9))
        with endpoints.stalled(mouth.port):
            before = sum(mouth.seconds())
            held = load.flows(count, each, mouth.port)
            used = sum(mouth.seconds()) - before
        table.add(pair.name, "with one stalled MB/s", size / 1e6 / held)
        table.add(pair.name, "with one stalled CPU s/GB", used / (size / 1e9))
        table.add(pair.name, "stalled/free", free / held)

    runs: dict[str, Callable[[], None]] = {pair.name: partial(sample, pair) for pair in mouths}
    bench.interleave("tunnel flows", runs)
