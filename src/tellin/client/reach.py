# SPDX-License-Identifier: MIT
"""What a connection begins with: a name to log in by, and a socket that was handed in or is connected here."""

import _socket
import asyncio
import os
import pwd
from collections.abc import Callable, Sequence
from typing import Any

from tellin.client.endings import NOWHERE, Place
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConnectionLost, UsageError
from tellin.runtime.listeners import Address, Attempt, connection_failure
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


async def dialled(
    config: SshConfig,
    addresses: Sequence[Address],
    *,
    host: str,
    bind: Callable[[Socket], object] | None,
    timeout: float | None,  # noqa: ASYNC109 - ConnectTimeout
) -> tuple[Duplex, Place]:
    """A socket connected to the first address that answers; raises ConnectFailed."""

    def prepare(made: Socket) -> None:
        if bind is not None:
            bind(made)
        if config.tcp_keep_alive:
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)

    loop = asyncio.get_running_loop()
    found: asyncio.Future[Socket | None] = loop.create_future()
    attempt = Attempt(loop, addresses, found.set_result, timeout=timeout, prepare=prepare)
    try:
        stream = await found
    except asyncio.CancelledError:
        attempt.cancel()
        if not found.cancelled() and (made := found.result()) is not None:
            made.close()
        raise
    if stream is None:
        raise connection_failure(config.host, config.port, attempt.error)
    address, port = attempt.address[:2]
    return stream, Place(host, address, port)
