# SPDX-License-Identifier: MIT
"""Commands a second, one after the other on one connection: spawned, and answered in-process."""

from __future__ import annotations

from collections.abc import Callable

from bench.clients import Library
from bench.login import open_library
from bench.pairs import ASYNCSSH, PARAMIKO, TELLIN_LIBRARY, UVLOOP, Bench, Pair
from bench.results import Column

_SPAWNED = (
    ASYNCSSH,
    UVLOOP,
    PARAMIKO,
    TELLIN_LIBRARY,
    Pair("asyncssh", "openssh"),
    Pair("tellin-library", "openssh"),
    Pair("tellin-library", "tellin"),
)
_HANDLED = (ASYNCSSH, UVLOOP, PARAMIKO, TELLIN_LIBRARY)


def run(bench: Bench) -> None:
    """Fill both tables."""
    _measure(bench, "spawned", _SPAWNED, bench.settings.spawned_commands)
    _measure(bench, "handled", _HANDLED, bench.settings.handled_commands)


def _measure(bench: Bench, how: str, pairs: tuple[Pair, ...], most: int) -> None:
    name, handler = f"commands {how}", how == "handled"
    table = bench.results.table(
        name,
        f"Commands on one connection, {most} in a row ({most // 5} to an sshd), "
        + ("a handler in the server's process" if handler else "`true` by /bin/sh"),
        (
            Column(metric="commands/s", ratio=True),
            Column(metric="client CPU ms", places=2),
            Column(metric="server CPU ms", places=2),
        ),
        baseline=ASYNCSSH.name,
        note="login left out of the rate; CPU a command, what the server starts left out",
    )
    clients: dict[Pair, Library] = {}

    def sampler(pair: Pair) -> Callable[[], None]:
        count = most if pair.client == pair.server else most // 5

        def sample() -> None:
            server = bench.server(pair, handler=handler)
            before = server.own_seconds
            answer = clients[pair].ask("commands", count=count, command="true")
            seconds = answer["result"]
            assert isinstance(seconds, float)
            table.add(pair.name, "commands/s", count / seconds)
            # The login is in these, but only once in `count`.
            table.add(pair.name, "client CPU ms", answer["cpu"] * 1e3 / count)
            if pair.client == pair.server:
                used = server.own_seconds - before
                table.add(pair.name, "server CPU ms", used * 1e3 / count)

        return sample

    try:
        runs = {}
        for pair in bench.present(pairs):

            def begin(pair: Pair = pair) -> None:
                clients[pair] = open_library(bench, pair, handler=handler)
                clients[pair].ask("commands", count=3, command="true")

            if bench.attempt(name, f"{pair.name} warm-up", begin):
                runs[pair.name] = sampler(pair)
        bench.interleave(name, runs)
    finally:
        for library in clients.values():
            library.close()
