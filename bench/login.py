# SPDX-License-Identifier: MIT
"""Logins: the whole process `ssh host true`, the library's own, and eight clients at once.

The CPU of a program server (sshd) is that of all its processes, the command included: a session's
process cannot be told from its login. The CPU of a server in one process is that process alone,
so what it starts is left out.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial

from bench.clients import CLIENTS, Call, Library
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
from bench.processes import BenchError, limited, start, wait_and_account
from bench.results import Column
from bench.servers import KINDS, Server
from bench.settings import CURVE25519, GCM256

_COLUMNS = (
    Column(metric="ms", places=1, ratio=True),
    Column(metric="client CPU ms", places=1),
    Column(metric="server CPU ms", places=1),
)
_PROGRAM_PAIRS = (OPENSSH, TELLIN, TELLIN_TO_OPENSSH, OPENSSH_TO_TELLIN)
_LIBRARY_PAIRS = (ASYNCSSH, UVLOOP, PARAMIKO, TELLIN_LIBRARY)


def run(bench: Bench) -> None:
    """Fill the tables of logins."""
    _measure_processes(bench, "curve25519", CURVE25519, (*_PROGRAM_PAIRS, *_LIBRARY_PAIRS))
    _measure_processes(bench, "default-kex", None, _PROGRAM_PAIRS)
    for handler in (False, True):
        _measure_libraries(bench, handler=handler)
    _measure_parallel(bench)


# ---- one process a login -----------------------------------------------------------------------


def log_in(bench: Bench, pair: Pair, kex: str | None, *, port: int | None = None) -> float:
    """Run `ssh host true` once; the CPU seconds of the client."""
    call = Call(port=port or bench.server(pair).port, command="true", protection=GCM256, kex=kex)
    errors = bench.workspace.folder / "login.err"
    with errors.open("wb") as stderr:
        process = start(
            bench.client(pair).argv(bench.workspace, call),
            environment=bench.workspace.environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        with limited(process, bench.settings.patience):
            used = wait_and_account(process)
    if process.returncode:
        said = errors.read_text(errors="replace").strip().splitlines()[-1:]
        raise BenchError(f"exit status {process.returncode}: {' '.join(said)}")
    return used


def server_seconds(server: Server) -> float:
    """The CPU that is held against a server's logins."""
    return server.own_seconds if KINDS[server.name].in_one_process else server.tree_seconds


def _measure_processes(bench: Bench, label: str, kex: str | None, pairs: Sequence[Pair]) -> None:
    name = f"login process {label}"
    table = bench.results.table(
        name,
        f"Whole process `ssh host true`, {label} (libraries: a Python script, import and all)",
        _COLUMNS,
        baseline=OPENSSH.name,
        note="nothing subtracted; sshd's CPU is that of its session processes and `true` too",
    )

    def sampler(pair: Pair) -> Callable[[], None]:
        def sample() -> None:
            server, count = bench.server(pair), bench.settings.logins_a_round
            before = server_seconds(server)
            for _ in range(count):
                started = time.perf_counter()
                used = log_in(bench, pair, kex)
                table.add(pair.name, "ms", (time.perf_counter() - started) * 1e3)
                table.add(pair.name, "client CPU ms", used * 1e3)
            table.add(pair.name, "server CPU ms", (server_seconds(server) - before) * 1e3 / count)

        return sample

    runs = {}
    for pair in bench.present(pairs):
        # Once unmeasured: compiled modules and the page cache are not what is compared.
        if bench.attempt(name, f"{pair.name} warm-up", partial(log_in, bench, pair, kex)):
            runs[pair.name] = sampler(pair)
    bench.interleave(name, runs)


# ---- in one client process ---------------------------------------------------------------------


def _measure_libraries(bench: Bench, *, handler: bool) -> None:
    how = "handled" if handler else "spawned"
    name = f"login in-process {how}"
    table = bench.results.table(
        name,
        "Login + exec + close in one client process, curve25519, command "
        + ("answered in the server's process" if handler else "`true` by /bin/sh"),
        _COLUMNS,
        baseline=ASYNCSSH.name,
        note="no start-up; the server's CPU without what it starts",
    )
    clients: dict[Pair, Library] = {}

    def sampler(pair: Pair) -> Callable[[], None]:
        def sample() -> None:
            server, count = bench.server(pair, handler=handler), _count(bench)
            before = server.own_seconds
            answer = clients[pair].ask("login", count=count, command="true")
            taken = answer["result"]
            assert isinstance(taken, list)
            for seconds in taken:
                table.add(pair.name, "ms", seconds * 1e3)
            table.add(pair.name, "client CPU ms", answer["cpu"] * 1e3 / count)
            table.add(pair.name, "server CPU ms", (server.own_seconds - before) * 1e3 / count)

        return sample

    try:
        runs = {}
        for pair in bench.present(_LIBRARY_PAIRS):

            def begin(pair: Pair = pair) -> None:
                clients[pair] = open_library(bench, pair, handler=handler)
                clients[pair].ask("login", count=3, command="true")

            if bench.attempt(name, f"{pair.name} warm-up", begin):
                runs[pair.name] = sampler(pair)
        bench.interleave(name, runs)
    finally:
        for library in clients.values():
            library.close()


def _count(bench: Bench) -> int:
    return bench.settings.library_logins_a_round


def open_library(bench: Bench, pair: Pair, *, handler: bool) -> Library:
    """A client process of the pair's library, aimed at the pair's server."""
    port = bench.server(pair, handler=handler).port
    call = Call(port=port, command="", protection=GCM256, kex=CURVE25519)
    return bench.client(pair).library(bench.workspace, call)


# ---- eight at once -----------------------------------------------------------------------------


def _measure_parallel(bench: Bench) -> None:
    settings = bench.settings
    name = "login parallel"
    table = bench.results.table(
        name,
        f"{settings.parallel_clients} clients at once, {settings.parallel_logins} times "
        "OpenSSH's `ssh host true`, curve25519",
        (
            Column(metric="logins/s", places=1, ratio=True),
            Column(metric="server CPU ms a login", places=1, ratio=True),
        ),
        baseline=OPENSSH.name,
        note="the clients share the cores, so compare the server's CPU",
    )
    servers = ("openssh", "tellin", "asyncssh", "uvloop", "paramiko", "tellin-library")

    def sampler(pair: Pair) -> Callable[[], None]:
        def sample() -> None:
            server = bench.server(pair)
            before, started = server_seconds(server), time.perf_counter()
            _storm(bench, pair)
            seconds = time.perf_counter() - started
            used = server_seconds(server) - before
            table.add(pair.server, "logins/s", settings.parallel_logins / seconds)
            table.add(pair.server, "server CPU ms a login", used * 1e3 / settings.parallel_logins)

        return sample

    pairs = bench.present(Pair("openssh", server) for server in servers)
    bench.interleave(name, {pair.server: sampler(pair) for pair in pairs})


def _storm(bench: Bench, pair: Pair) -> None:
    """Keep so many `ssh host true` running until all are through; each must end with 0."""
    settings, port = bench.settings, bench.server(pair).port
    call = Call(port=port, command="true", protection=GCM256, kex=CURVE25519)
    argv, environment = CLIENTS["openssh"].argv(bench.workspace, call), bench.workspace.environment
    running: set[subprocess.Popen[bytes]] = set()
    deadline = time.monotonic() + settings.patience
    begun = 0
    errors = bench.workspace.folder / "storm.err"
    with errors.open("wb") as stderr:
        try:
            while begun < settings.parallel_logins or running:
                room = settings.parallel_clients - len(running)
                for _ in range(min(room, settings.parallel_logins - begun)):
                    running.add(start(argv, environment=environment, stderr=stderr))
                    begun += 1
                for process in [each for each in running if each.poll() is not None]:
                    running.remove(process)
                    if process.returncode:
                        said = errors.read_text(errors="replace").strip().splitlines()[-1:]
                        raise BenchError(f"a client ended with {process.returncode}: {said}")
                if time.monotonic() > deadline:
                    raise BenchError(f"{len(running)} clients hang")
                time.sleep(0.001)
        finally:
            for process in running:
                process.kill()
                process.wait()
