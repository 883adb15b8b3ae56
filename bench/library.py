# SPDX-License-Identifier: MIT
"""Library to library: the source is memory, the sink throws away; no pipes between."""

from __future__ import annotations

from collections.abc import Callable

from bench.agent import pattern_digest
from bench.clients import Library
from bench.login import open_library
from bench.pairs import ASYNCSSH, PARAMIKO, TELLIN_LIBRARY, UVLOOP, Bench, Pair
from bench.processes import BenchError
from bench.results import Column, Table
from bench.settings import MIB

_PAIRS = (UVLOOP, ASYNCSSH, PARAMIKO, TELLIN_LIBRARY)
_DIRECTIONS = ("download", "upload")


def run(bench: Bench) -> None:
    """Fill the tables of both directions."""
    size = bench.settings.library_bytes
    tables = {
        direction: bench.results.table(
            f"library {direction}",
            f"Library to library {direction}, aes256-gcm, {size // MIB} MiB of memory",
            (
                Column(metric="MB/s", ratio=True),
                Column(metric="client CPU s/GB", places=2),
                Column(metric="server CPU s/GB", places=2),
            ),
            baseline=UVLOOP.name,
            note="login left out: the clock starts with the channel's opening",
        )
        for direction in _DIRECTIONS
    }
    clients: dict[Pair, Library] = {}
    try:
        runs: dict[str, Callable[[], None]] = {}
        for pair in bench.present(_PAIRS):

            def begin(pair: Pair = pair) -> None:
                clients[pair] = open_library(bench, pair, handler=True)
                _check(clients[pair], bench.settings.check_bytes)

            if bench.attempt("library", f"{pair.name} check", begin):
                for direction, table in tables.items():
                    runs[f"{pair.name} {direction}"] = _sampler(
                        bench, clients[pair], pair, direction, table
                    )
        bench.interleave("library", runs)
    finally:
        for library in clients.values():
            library.close()


def _check(library: Library, size: int) -> None:
    """Move the pattern both ways and compare digests."""
    for direction in _DIRECTIONS:
        found = _bulk(library, direction, size, check=True)
        if found["bytes"] != size or found["digest"] != pattern_digest(size):
            raise BenchError(f"WRONG: {direction} of {size} bytes brought {found}")


def _bulk(library: Library, direction: str, size: int, *, check: bool) -> dict[str, float | str]:
    found = library.ask("bulk", direction=direction, size=size, check=check)["result"]
    assert isinstance(found, dict)
    return found


def _sampler(
    bench: Bench, library: Library, pair: Pair, direction: str, table: Table
) -> Callable[[], None]:
    size = bench.settings.library_bytes

    def sample() -> None:
        server = bench.server(pair, handler=True)
        before = server.own_seconds
        found = _bulk(library, direction, size, check=False)
        if found["bytes"] != size:
            raise BenchError(f"WRONG: {found['bytes']} bytes arrived of {size}")
        table.add(pair.name, "MB/s", size / 1e6 / float(found["seconds"]))
        table.add(pair.name, "client CPU s/GB", float(found["cpu"]) * 1e9 / size)
        used = server.own_seconds - before
        table.add(pair.name, "server CPU s/GB", used * 1e9 / size)

    return sample
