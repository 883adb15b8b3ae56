# SPDX-License-Identifier: MIT
"""Memory of idle sessions: PSS of the server's processes with many, less that with none.

Each session is a connection of its own with one channel. The load comes from one library process,
the same for every server. "None" is measured after one session has come and gone, so that what is
loaded at the first login counts as the server's, not the session's. Kernel memory is not counted,
nor are the commands that an sshd has started.
"""

from __future__ import annotations

import time
from functools import partial

from bench.clients import CLIENTS, Call
from bench.pairs import Bench, Pair
from bench.processes import BenchError
from bench.results import Column, Table
from bench.settings import CURVE25519, GCM256

_KINDS = (
    "openssh",
    "tellin",
    "asyncssh-handler",
    "uvloop-handler",
    "paramiko-handler",
    "tellin-library-handler",
)
_PROGRAMS = frozenset({"openssh", "tellin"})
# An idle command for a program's shell; an embedded server knows the word.
_COMMANDS = {True: "cat >/dev/null", False: "hold"}


def run(bench: Bench) -> None:
    """Fill the table, one run a server: a second one gives the same within a few per cent."""
    settings = bench.settings
    table = bench.results.table(
        "memory",
        f"Idle sessions: {settings.idle_sessions} in an embedded server, "
        f"{settings.idle_program_sessions} in an sshd",
        (
            Column(metric="KiB a session", places=1, ratio=True),
            Column(metric="sessions"),
            Column(metric="MiB with none", places=1),
            Column(metric="MiB with all", places=1),
        ),
        baseline="asyncssh-handler",
        note="PSS, one run; one connection and channel each",
    )
    holder = next((name for name in _holders() if not CLIENTS[name].absent()), None)
    if holder is None:
        bench.results.absent["memory"] = "no library here can hold sessions open"
        return
    for kind in _KINDS:
        if bench.present([Pair(holder, kind)]):
            bench.attempt("memory", kind, partial(_measure, bench, table, holder, kind))


def _holders() -> tuple[str, ...]:
    """Who holds the sessions open: the same for all, so by preference the quickest to log in."""
    return ("uvloop", "asyncssh", "tellin-library")


def _measure(bench: Bench, table: Table, holder: str, kind: str) -> None:
    settings, program = bench.settings, kind in _PROGRAMS
    count = settings.idle_program_sessions if program else settings.idle_sessions
    command = _COMMANDS[program]
    server = bench.servers.fresh(kind)
    try:
        call = Call(port=server.port, command="", protection=GCM256, kex=CURVE25519)
        with CLIENTS[holder].library(bench.workspace, call) as library:
            library.ask("hold", count=1, command=command)
            library.ask("release")
            time.sleep(1)
            none = server.session_kib()
            held = library.ask("hold", count=count, command=command)["result"]
            if held != count:
                raise BenchError(f"only {held} sessions of {count} are open")
            time.sleep(1)
            full = server.session_kib()
            library.ask("release")
    finally:
        server.stop()
    table.add(kind, "KiB a session", (full - none) / count)
    table.add(kind, "sessions", count)
    table.add(kind, "MiB with none", none / 1024)
    table.add(kind, "MiB with all", full / 1024)
