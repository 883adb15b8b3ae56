# SPDX-License-Identifier: MIT
"""A connection that comes to the server's side and goes on to the client, through a channel that we ask for."""

from collections.abc import Callable
from typing import Any

from tellin.connection.channel import Standing
from tellin.connection.requests import Request
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.tunnels import Tunnel
from tellin.server.connection import ServerConnection


class ToClient:
    """Asks the client for a channel, and joins ``stream`` to it when that is open.

    ``on_over`` is called once, when nothing of it is left. Raises UsageError, and leaves the stream
    alone, where there are as many channels as there may be.
    """

    __slots__ = ("_channel", "_tunnel")

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        stream: Socket,
        channel_type: str,
        data: bytes = b"",
        *,
        on_opened: Callable[[], object] | None = None,
        on_refused: Callable[[Any], object] | None = None,
        on_over: Callable[[], object] | None = None,
    ) -> None:
        self._channel = connection.core.open_channel(channel_type, data)
        self._tunnel = Tunnel(
            loop,
            self._channel,
            connection.link,
            stream,
            on_opened=on_opened,
            on_refused=on_refused,
            on_over=on_over,
        )
        self._channel.owner = self
        connection.flush()

    # The channel's events

    def opened(self) -> None:
        """The client has opened it."""
        self._tunnel.opened()

    def refused(self, event: Any) -> None:
        """The client does not want it."""
        self._tunnel.refused(event)

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Nothing may be asked of such a channel."""
        answer(False)

    def ended(self) -> None:
        """The client sends no more."""
        self._tunnel.ended()

    def writable(self) -> None:
        """There is room again."""
        self._tunnel.writable()

    def closed(self) -> None:
        """The channel is gone, or the connection."""
        if self._channel.standing is Standing.GONE:
            self._tunnel.closed()
        else:
            self._tunnel.lost()
