# SPDX-License-Identifier: MIT
"""One connection for many runs of ``ssh``: how long a command takes that goes by way of a master."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.clients import Call
from bench.pairs import OPENSSH, OPENSSH_TO_TELLIN, TELLIN, TELLIN_TO_OPENSSH, Bench, Pair
from bench.processes import BenchError, limited, start, stop, wait_and_account
from bench.results import Column
from bench.settings import CURVE25519

_PAIRS = (OPENSSH, TELLIN, TELLIN_TO_OPENSSH, OPENSSH_TO_TELLIN)


def run(bench: Bench) -> None:
    """Measure each client with a master of its own kind."""
    table = bench.results.table(
        "sharing",
        "Whole process `ssh -S host true`, by a master that is there",
        (Column(metric="ms", places=1, ratio=True), Column(metric="client CPU ms", places=1)),
        baseline=OPENSSH.name,
        note="client and master are of one kind, the server is what the pair says",
    )
    with contextlib.ExitStack() as stack:
        runs: dict[str, Callable[[], None]] = {}
        for pair in bench.present(_PAIRS):

            def begin(pair: Pair = pair) -> None:
                argv = stack.enter_context(_master(bench, pair))
                _log_in(bench, argv)  # once unmeasured

                def sample() -> None:
                    for _ in range(bench.settings.logins_a_round):
                        started = time.perf_counter()
                        used = _log_in(bench, argv)
                        table.add(pair.name, "ms", (time.perf_counter() - started) * 1e3)
                        table.add(pair.name, "client CPU ms", used * 1e3)

                runs[pair.name] = sample

            bench.attempt("sharing", f"{pair.name} check", begin)
        bench.interleave("sharing", runs)


@contextlib.contextmanager
def _master(bench: Bench, pair: Pair) -> Iterator[list[str]]:
    """A master in the foreground; the command line that runs ``true`` by it."""
    socket = bench.workspace.folder / f"master-{pair.name.replace('>', '')}"
    call = Call(port=bench.server(pair).port, command="true", kex=CURVE25519)
    argv = bench.client(pair).argv(bench.workspace, call)
    program, words = argv[:-2], argv[-2:]
    master = start(
        [*program, "-M", "-S", str(socket), "-N", words[0]],
        environment=bench.workspace.environment,
    )
    try:
        _await(socket, master)
        yield [*program, "-S", str(socket), *words]
    finally:
        stop(master)


def _await(socket: Path, master: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and master.poll() is None:
        if socket.exists():
            return
        time.sleep(0.02)
    raise BenchError("the master made no control socket")


def _log_in(bench: Bench, argv: list[str]) -> float:
    process = start(argv, environment=bench.workspace.environment)
    with limited(process, bench.settings.patience):
        used = wait_and_account(process)
    if process.returncode:
        raise BenchError(f"exit status {process.returncode}")
    return used
