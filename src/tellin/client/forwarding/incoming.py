# SPDX-License-Identifier: MIT
"""Channels that a server opens on us, which it may only where we have asked for what they are about."""

from collections.abc import Callable
from typing import Final

from tellin.connection.forwarding import (
    AGENT,
    FORWARDED_PORT,
    FORWARDED_SOCKET,
    SERVERS_TYPES,
    X11,
)
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelAsked

_BROKEN_IN: Final = "Warning: this is probably a break-in attempt by a malicious server."
# The last two may also have crossed the end of such a forward.
_WARNINGS: Final = {
    X11: ("Warning: ssh server tried X11 forwarding.", _BROKEN_IN),
    AGENT: ("Warning: ssh server tried agent forwarding.", _BROKEN_IN),
    FORWARDED_PORT: ("Warning: ssh server forwards a port that it was not asked for.",),
    FORWARDED_SOCKET: ("Warning: ssh server forwards a socket that it was not asked for.",),
}


class Incoming:
    """Who takes the channels that the server of one connection opens; nobody does to begin with.

    R146: a channel for X11, the agent or a forwarded port that was not asked for is refused, and
    ``warn`` is told of the first of each type.
    """

    def __init__(
        self, core: ClientProtocol, *, warn: Callable[[str], object] | None = None
    ) -> None:
        self._core = core
        self._warn = warn
        self._warned: set[str] = set()
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
            self.refuse(event)
        else:
            taker(event)

    def refuse(self, event: ChannelAsked) -> None:
        """Nobody has asked for it."""
        kind = event.channel_type
        if self._warn is not None and kind not in self._warned:
            self._warned.add(kind)
            for line in _WARNINGS[kind]:
                self._warn(line)
        self._core.refuse_channel(
            event.channel, Reason.ADMINISTRATIVELY_PROHIBITED, "nobody has asked for it"
        )
