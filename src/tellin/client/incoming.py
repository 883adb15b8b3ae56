# SPDX-License-Identifier: MIT
"""Channels that a server opens on us, which it may only where we have asked for what they are about."""

from collections.abc import Callable

from tellin.connection.forwarding import SERVERS_TYPES
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelAsked


class Incoming:
    """Who takes the channels that the server of one connection opens; nobody does to begin with.

    R146: a channel for X11, the agent or a forwarded port that was not asked for is refused.
    """

    def __init__(self, core: ClientProtocol) -> None:
        self._core = core
        self._takers: dict[str, Callable[[ChannelAsked], object]] = {}

    def take(self, channel_type: str, taker: Callable[[ChannelAsked], object]) -> None:
        """From here on ``taker`` gets channels of that type: it accepts each, or refuses it.

        The type is one of ``SERVERS_TYPES``: the core refuses all others by itself.
        """
        assert channel_type in SERVERS_TYPES
        self._takers[channel_type] = taker

    def leave(self, channel_type: str) -> None:
        """Take no more channels of that type."""
        self._takers.pop(channel_type, None)

    def asked(self, event: ChannelAsked) -> None:
        """The server wants a channel; whoever hands out the core's events flushes after this."""
        taker = self._takers.get(event.channel_type)
        if taker is None:
            self._core.refuse_channel(
                event.channel, Reason.ADMINISTRATIVELY_PROHIBITED, "nobody has asked for it"
            )
        else:
            taker(event)
