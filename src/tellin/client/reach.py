# SPDX-License-Identifier: MIT
"""What a connection begins with where nothing is configured: a name to log in by, a socket that was handed in."""

import os
import pwd
from typing import Any

from tellin.client.endings import NOWHERE, Place
from tellin.errors import ConnectionLost, UsageError
from tellin.runtime.redirection import refuse_tls
from tellin.runtime.sockets import Duplex, Socket


def own_name() -> str:
    """Whoever runs us."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise UsageError(
            f"no user has the number {os.getuid()}, so there is no name to log in by",
            hint="give user=",
        ) from None


def adopted(sock: Any, host: str) -> tuple[Duplex, Place]:
    """A socket that somebody connected."""
    refuse_tls(sock)
    if isinstance(sock, Socket):
        sock.setblocking(False)
        try:
            peer = sock.getpeername()
        except OSError as error:
            raise ConnectionLost(f"{host}: the socket is not connected") from error
        if isinstance(peer, tuple):
            return sock, Place(host, peer[0], peer[1])
    return sock, Place(host, *NOWHERE)
