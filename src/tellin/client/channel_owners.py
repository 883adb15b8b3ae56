# SPDX-License-Identifier: MIT
"""Who takes the events of a channel: whatever is its ``owner``, by one table for programs and library."""

from collections.abc import Callable
from operator import methodcaller
from typing import Any, Final, Protocol

from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import (
    ChannelClosed,
    ChannelEnded,
    ChannelIdle,
    ChannelOpened,
    ChannelOpenRefused,
    ChannelReplied,
    ChannelRequested,
    ChannelWritable,
    GlobalReplied,
)


class ChannelOwner(Protocol):
    """What stands in ``Channel.owner``: a session, a tunnel, a stream, the way to another host."""

    def opened(self) -> None:
        """The server has opened the channel that we asked for."""

    def refused(self, event: ChannelOpenRefused) -> None:
        """The server does not open it."""

    def replied(self, event: ChannelReplied) -> None:
        """The server has answered a request of ours."""

    def requested(self, event: ChannelRequested) -> None:
        """The server asks for something; where it ``want_reply`` an answer is owed."""

    def ended(self) -> None:
        """The server sends no more."""

    def writable(self) -> None:
        """There is room for data again."""

    def closed(self) -> None:
        """The channel is gone."""

    def lost(self, failure: Any = None, /) -> None:
        """The connection is gone, and the channel with it; ``failure`` is what callers are to be told."""


# Those that say all by having come, and are many; then those in which there is something to read.
_PLAIN: Final[dict[type, Callable[[ChannelOwner], None]]] = {
    ChannelOpened: methodcaller("opened"),
    ChannelEnded: methodcaller("ended"),
    ChannelWritable: methodcaller("writable"),
    ChannelClosed: methodcaller("closed"),
    # Nobody waits for the server's answer to our close: it may be gone for good.
    ChannelIdle: methodcaller("lost"),
}
_TELLING: Final[dict[type, Callable[[ChannelOwner, Any], None]]] = {
    ChannelOpenRefused: lambda owner, event: owner.refused(event),
    ChannelReplied: lambda owner, event: owner.replied(event),
    ChannelRequested: lambda owner, event: owner.requested(event),
}


def tell_owner(event: Any) -> bool:
    """Give an event of the core's to whoever it is for; false if it is for none.

    An event of a channel is for the channel's owner, an answer to a global request for the function
    that was given as its ``token``.
    """
    plain = _PLAIN.get(type(event))
    if plain is not None:
        owner = event.channel.owner
        if owner is None:
            return False
        plain(owner)
        return True
    tell = _TELLING.get(type(event))
    if tell is not None:
        if event.channel.owner is None:
            return False
        tell(event.channel.owner, event)
        return True
    if type(event) is GlobalReplied and callable(event.token):
        event.token(event)
        return True
    return False


def lose_all(core: ClientProtocol, failure: Any = None) -> None:
    """The connection is gone: let the owners of all channels know."""
    for channel in list(core.channels.values()):
        if channel.owner is not None:
            channel.owner.lost(failure)
