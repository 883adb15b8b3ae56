# SPDX-License-Identifier: MIT
"""How a server's connection speaks to what leads a channel somewhere."""

from collections.abc import Callable
from typing import Protocol

from tellin.connection.channel import Channel, Standing
from tellin.connection.requests import Request
from tellin.runtime.tunnels import Tunnel


class Way(Protocol):
    """What leads somewhere, or will: a Leading, a Tunnel, a DeviceTunnel."""

    channel: Channel

    def ended(self) -> None:
        """The client sends no more."""

    def writable(self) -> None:
        """There is room again."""

    def closed(self) -> None:
        """The channel is gone."""

    def lost(self) -> None:
        """The connection is gone."""


class Led:
    """The owner of a channel that leads somewhere, or will: a SessionHandler without a session."""

    __slots__ = ("_way",)

    def __init__(self, way: Way) -> None:
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
