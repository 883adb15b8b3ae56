# SPDX-License-Identifier: MIT
"""Pairs of a client and a server, and the interleaved rounds over them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bench.clients import CLIENTS, Client
from bench.processes import BenchError
from bench.results import Results
from bench.servers import Server, Servers
from bench.settings import Settings
from bench.workspace import Workspace


@dataclass(frozen=True)
class Pair:
    """Who connects to whom, by the names in CLIENTS and servers.KINDS."""

    client: str
    server: str

    @property
    def name(self) -> str:
        """One word for a client with its own server, else `client->server`."""
        return self.client if self.client == self.server else f"{self.client}->{self.server}"


OPENSSH = Pair("openssh", "openssh")
TELLIN = Pair("tellin", "tellin")
TELLIN_TO_OPENSSH = Pair("tellin", "openssh")
OPENSSH_TO_TELLIN = Pair("openssh", "tellin")
UVLOOP = Pair("uvloop", "uvloop")
ASYNCSSH = Pair("asyncssh", "asyncssh")
PARAMIKO = Pair("paramiko", "paramiko")
TELLIN_LIBRARY = Pair("tellin-library", "tellin-library")

Run = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every part needs: where, who serves, how much, and where to write it down."""

    workspace: Workspace
    servers: Servers
    settings: Settings
    results: Results

    def client(self, pair: Pair) -> Client:
        """The client of a pair."""
        return CLIENTS[pair.client]

    def server(self, pair: Pair, *, handler: bool = False) -> Server:
        """The running server of a pair, or its twin that answers commands in its own process."""
        return self.servers.get(f"{pair.server}-handler" if handler else pair.server)

    def present(self, pairs: Iterable[Pair]) -> list[Pair]:
        """The pairs that can be measured here; why the others cannot is written down."""
        found = []
        for pair in pairs:
            reasons = (
                (f"client {pair.client}", self.client(pair).absent()),
                (f"server {pair.server}", self.servers.absent(pair.server)),
            )
            missing = {name: reason for name, reason in reasons if reason}
            self.results.absent.update(missing)
            if not missing:
                found.append(pair)
        return found

    def interleave(self, part: str, runs: Mapping[str, Run], *, rounds: int | None = None) -> None:
        """Carry out A B C A B C ...; a run that fails is written down and left out from then on.

        The order turns by one each round, so that nobody always follows the same neighbour.
        """
        failed: set[str] = set()
        names = list(runs)
        for turn in range(rounds or self.settings.rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)] if names else ():
                if name not in failed and not self.attempt(part, name, runs[name]):
                    failed.add(name)

    def attempt(self, part: str, name: str, run: Run) -> bool:
        """Carry out one run; False, with the reason written down, when it failed."""
        started = time.monotonic()
        try:
            run()
        except (BenchError, OSError, ValueError, AssertionError) as error:
            self.results.failures.append((part, name, f"{type(error).__name__}: {error}"))
            self.say(f"{part}: {name} FAILED: {error}")
            return False
        self.say(f"{part}: {name} {time.monotonic() - started:.1f} s")
        return True

    def say(self, text: str) -> None:
        """Progress, on standard error: the table is for standard output."""
        sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()
