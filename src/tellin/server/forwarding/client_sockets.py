# SPDX-License-Identifier: MIT
"""What is on a client's side, agent and display, for a function that serves one of its sessions."""

import asyncio
import socket
from typing import Any

from tellin.errors import ChannelRefused, ConnectionLost, TellinError
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.to_client import ToClient


async def reach_client(
    connection: ServerConnection, channel_type: str, data: bytes = b""
) -> socket.socket:
    """A socket whose other end is what such channels lead to there; it waits, and belongs to the caller.

    Raises ChannelRefused where the client does not want to, and ConnectionLost where it has gone.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[None] = loop.create_future()

    def settle(failure: TellinError | None) -> None:
        if answer.done():
            return
        if failure is None:
            answer.set_result(None)
        else:
            answer.set_exception(failure)

    def refused(event: Any) -> None:
        settle(ChannelRefused(event.reason, event.description, host=str(connection.peer)))

    ours, theirs = socket.socketpair()
    try:
        theirs.setblocking(False)
        ToClient(
            loop,
            connection,
            theirs,
            channel_type,
            data,
            on_opened=lambda: settle(None),
            on_refused=refused,
            on_over=lambda: settle(ConnectionLost("the client has gone", stage="session")),
        )
    except BaseException:
        ours.close()
        theirs.close()
        raise
    try:
        await answer
    except BaseException:
        # Its tunnel ends with it.
        ours.close()
        raise
    return ours
