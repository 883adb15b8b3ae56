# SPDX-License-Identifier: MIT
"""Who meets whom: every client at tellin's server, and tellin's client at every server."""

import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.interop.children import python
from tests.interop.peers import CLIENTS, SERVERS, Client, Server
from tests.interop.tellin_peer import TellinClient, TellinServer

ALL_CLIENTS: dict[str, type[Client]] = {**CLIENTS, "tellin": TellinClient}
ALL_SERVERS: dict[str, type[Server]] = {**SERVERS, "tellin": TellinServer}

_MEETINGS = (
    *((client, "tellin") for client in CLIENTS),
    *(("tellin", server) for server in SERVERS),
    ("tellin", "tellin"),
)


def pairs(
    *, clients: Iterable[str] = ALL_CLIENTS, servers: Iterable[str] = ALL_SERVERS
) -> list[object]:
    """Parameters ``client, server``: the meetings of these; tellin is always one of the two."""
    clients, servers = set(clients), set(servers)
    return [
        pytest.param(
            client,
            server,
            id=f"{client}-to-{server}",
            marks=pytest.mark.peer(*(name for name in (client, server) if name != "tellin")),
        )
        for client, server in _MEETINGS
        if client in clients and server in servers
    ]


def mirror(block: int) -> str:
    """The remote command that sends back what it gets, on both streams, in blocks of this size."""
    return shlex.join(
        [python(), "-I", "-S", str(Path(__file__).with_name("mirror.py")), str(block)]
    )
