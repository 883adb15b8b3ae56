# SPDX-License-Identifier: MIT
"""Servers that many tests share, and a client and an agent for each test."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.agents import RunningAgent
from tests.interop.pairs import ALL_CLIENTS, ALL_SERVERS
from tests.interop.peers import Client, Server

Running = Callable[[str], Server]
Make = Callable[[str], Client]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``running("sshd")``: a server of that kind, with the settings of its class, for all tests."""
    started: dict[str, Server] = {}

    def server(name: str) -> Server:
        if name not in started:
            made = ALL_SERVERS[name](tmp_path_factory.mktemp(name))
            started[name] = made.start()
        return started[name]

    yield server
    for one in started.values():
        one.stop()


@pytest.fixture
def make_client(tmp_path: Path) -> Make:
    """``make_client("plink")``: a client of that kind, in a folder of its own."""
    return lambda name: ALL_CLIENTS[name](tmp_path)


@pytest.fixture
def home() -> Iterator[Path]:
    """A place whose name is short enough for sockets (sun_path in unix(7))."""
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        yield Path(made)


@pytest.fixture
def agent(request: pytest.FixtureRequest, home: Path) -> Iterator[RunningAgent]:
    made = RunningAgent(getattr(request, "param", "tellin"), home)
    yield made
    made.stop()
