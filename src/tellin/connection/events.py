# SPDX-License-Identifier: MIT
"""What the connection protocol tells its driver."""

from collections.abc import Callable

from tellin.connection.channel import Channel, Debt
from tellin.connection.requests import Request
from tellin.transport.events import Event
from tellin.wire import Message


class ChannelAsked(Event):
    """The peer wants a channel; answer with ``accept_channel`` or ``refuse_channel``."""

    channel: Channel
    channel_type: str
    data: bytes


class ChannelOpened(Event):
    """The channel we asked for is open."""

    channel: Channel
    data: bytes


class ChannelOpenRefused(Event):
    """The channel we asked for is not to be had."""

    channel: Channel
    reason: int
    description: str


class ChannelRequested(Event):
    """The peer asks something of a channel.

    If it wants a reply there is a ``debt``: answer with ``channel.answer(success, debt)``.
    """

    channel: Channel
    request: Request
    debt: Debt | None

    @property
    def want_reply(self) -> bool:
        """Whether the peer waits for an answer."""
        return self.debt is not None


class ChannelReplied(Event):
    """The peer answered a request of ours; ``request`` is the one, as it was given."""

    channel: Channel
    request: Request
    success: bool


class ChannelEnded(Event):
    """The peer sends no more data on this channel; all that it sent has been given to the sinks."""

    channel: Channel


class ChannelClosing(Event):
    """The peer has closed a channel that ``lingers``: it takes no more data, but requests.

    Call its ``close`` when all is said.
    """

    channel: Channel


class ChannelClosed(Event):
    """The channel is gone, on both sides."""

    channel: Channel


class ChannelIdle(Event):
    """Nothing has moved on a channel for too long: we close it, and wait for nobody's answer.

    The driver lets go of what is behind it; nothing that comes afterwards is for anybody.
    """

    channel: Channel
    seconds: float


class ConnectionUnused(Event):
    """There has been no channel for too long: it is the driver's to end the connection."""

    seconds: float


class ChannelWritable(Event):
    """A channel that had no room for data has some again."""

    channel: Channel


class GlobalDebt:
    """A reply that we owe to a global request, undecided while ``reply`` is None.

    ``on_paid`` is called when it is on its way: what only makes sense to a peer that has the reply
    is not sent before that.
    """

    __slots__ = ("on_paid", "reply")

    def __init__(self, reply: Message | None) -> None:
        self.reply = reply
        self.on_paid: Callable[[], object] | None = None


class GlobalRequested(Event):
    """The peer asks something of the connection.

    If it wants a reply there is a ``debt``: answer with ``answer_global(success, data, debt)``.
    """

    name: str
    debt: GlobalDebt | None
    data: bytes

    @property
    def want_reply(self) -> bool:
        """Whether the peer waits for an answer."""
        return self.debt is not None


class GlobalReplied(Event):
    """The peer answered a global request of ours."""

    name: str
    success: bool
    data: bytes
    token: object
