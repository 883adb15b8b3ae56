# SPDX-License-Identifier: MIT
"""How a server's connection speaks to what leads a channel somewhere."""

from collections.abc import Callable

from tellin.connection.channel import Standing
from tellin.connection.requests import Request
from tellin.runtime.leading import Leading
from tellin.runtime.tunnels import Tunnel


class Led:
    """The owner of a channel that leads to a socket, or will: a SessionHandler without a session."""

    __slots__ = ("_way",)

    def __init__(self, way: Leading | Tunnel) -> None:
        self._way = way

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Nothing may be asked of such a channel."""
        answer(False)

    def ended(self) -> None:
        """The client sends no more."""
        self._way.ended()

    def writable(self) -> None:
        """There is room again."""
        self._way.writable()

    def closed(self) -> None:
        """The channel is gone, or the connection."""
        if self._way.channel.standing is Standing.GONE:
            self._way.closed()
        else:
            self._way.lost()


def led(tunnel: Tunnel) -> None:
    """Have the events of a tunnel's channel go to it."""
    tunnel.channel.owner = Led(tunnel)
