# SPDX-License-Identifier: MIT
"""One channel: two half-machines, two windows, and the ends where its data comes from and goes to."""

from typing import Any, Final, Protocol

from tellin.connection.forwarding import COUNTED
from tellin.connection.messages import (
    ChannelClose,
    ChannelEof,
    ChannelFailure,
    ChannelRequest,
    ChannelSuccess,
)
from tellin.connection.requests import Request, UnknownRequest
from tellin.errors import ProtocolError, UsageError
from tellin.transport.packets import PacketWriter
from tellin.wire import Message
from tellin.wire.states import State

EXTENDED_STDERR: Final = 1  # RFC 4254 section 5.2, the only type there is
# OpenSSH forgives a peer whose arithmetic is a little off; so do we, by three packets (R139).
SLACK_PACKETS: Final = 3
UNANSWERED_REQUESTS: Final = 1024


class Standing(State):
    """Whether the channel exists."""

    WANTED = "we asked, the peer has not answered"
    ASKED = "the peer asked, we have not answered"
    OPEN = "open"
    GONE = "refused, or closed by both sides"


class Half(State):
    """One direction of a channel."""

    OPEN = "data may come"
    EOF = "no more data"
    CLOSED = "closed"


# What every packet is asked about: a member looked up in its class costs as much as a call.
_OPEN: Final = Standing.OPEN
_HALF_OPEN: Final = Half.OPEN


class Sink(Protocol):
    """Where a channel's data goes."""

    def take(self, views: list[memoryview]) -> int:
        """Take what arrived in one batch; the views are dead afterwards.

        Returns how many bytes are used up for good; they are credited to the peer's window at
        once. What it keeps it has copied, and credits later by ``channel.consumed``.
        """


class Multiplexer(Protocol):
    """What a channel needs of the connection it belongs to."""

    @property
    def writer(self) -> PacketWriter:
        """Where the lane builds its packets."""

    def allowance(self) -> int:
        """How many bytes of data the connection may queue for sending now."""

    def blocked(self, channel: "Channel") -> None:
        """The channel found no room; it wants a ChannelWritable when there is some."""

    def arrived(self, channel: "Channel") -> None:
        """The channel has data for its sinks at the end of this batch."""

    def top_up(self, channel: "Channel") -> None:
        """Enough was consumed to tell the peer."""

    def send(self, message: Message) -> None:
        """Send a message that is not data."""

    def forget(self, channel: "Channel") -> None:
        """The channel is closed by both sides."""


class Debt:
    """A reply that we owe, undecided while ``success`` is None."""

    __slots__ = ("success",)

    def __init__(self) -> None:
        self.success: bool | None = None


class Channel:
    """One channel of a connection; drivers get it from events and call its verbs.

    ``sink`` takes data and ``extended_sink`` stderr. Data that comes before there is a ``sink``
    waits for one, within the window: a client sends its command and the command's input in one
    flight. Stderr that nobody takes is dropped and credited. ``owner`` is the driver's own, and so
    is ``purpose``: what a session is for, where that matters (ChannelTimeout).

    With ``lingers``, a driver that has still something to say when the peer closes (an exit
    status) gets a ChannelClosing and calls ``close`` itself; else the answer goes out at once.
    """

    __slots__ = (
        "_arrived",
        "_arrived_extended",
        "_awaiting",
        "_connection",
        "_early",
        "_owed",
        "_sink",
        "channel_type",
        "credit",
        "epoch_bytes",
        "epoch_start",
        "extended_sink",
        "lingers",
        "moved",
        "number",
        "owner",
        "peer",
        "purpose",
        "receive_packet",
        "receive_window",
        "receiving",
        "send_packet",
        "send_window",
        "sending",
        "standing",
        "target",
        "threshold",
    )

    def __init__(
        self, connection: Multiplexer, number: int, channel_type: str, standing: Standing
    ) -> None:
        self._connection = connection
        self.number = number
        self.channel_type = channel_type
        self.standing = standing
        self.sending = Half.OPEN
        self.receiving = Half.OPEN
        self.peer = 0
        self.send_window = 0
        self.send_packet = 0
        self.receive_window = 0
        self.receive_packet = 0
        self.target = 0  # the window we want the peer to have when all is consumed
        self.threshold = 0
        self.credit = 0  # consumed, not yet told
        self.epoch_bytes = 0
        self.epoch_start = 0.0
        self._sink: Sink | None = None
        self._early: bytearray | None = None
        self.extended_sink: Sink | None = None
        self.owner: Any = None
        self.purpose = ""
        self.moved = False  # data has come or gone since somebody took this back
        self.lingers = False
        self._arrived: list[memoryview] | None = None
        self._arrived_extended: list[memoryview] | None = None
        self._awaiting: list[Request] | None = None
        # Lists: they hold one or two, and an empty deque is 700 bytes.
        self._owed: list[Debt] | None = None

    def __repr__(self) -> str:
        return f"<Channel {self.number} {self.channel_type} {self.standing.name}>"

    # Receiving

    def receive(self, view: memoryview, extended: int) -> None:
        """Data from the peer (the lane's end); ``extended`` is 0 for plain data."""
        size = len(view)
        if self.receiving is not _HALF_OPEN:
            raise ProtocolError(f"data on channel {self.number} after its end")
        left = self.receive_window - size
        if left < -SLACK_PACKETS * self.receive_packet:
            raise ProtocolError(f"channel {self.number}: peer ignored channel window")
        self.receive_window = left
        self.epoch_bytes += size
        if extended:
            # R136: a type nobody knows, or stderr where there is none, is dropped and credited.
            if extended != EXTENDED_STDERR or self.extended_sink is None:
                self.consumed(size)
                return
            if self._arrived_extended is None:
                self._arrived_extended = []
                if self._arrived is None:
                    self._connection.arrived(self)
            self._arrived_extended.append(view)
            return
        if self._arrived is None:
            self._arrived = [view]
            if self._arrived_extended is None:
                self._connection.arrived(self)
        else:
            self._arrived.append(view)

    @property
    def sink(self) -> Sink | None:
        """Where data goes; one that is put here takes what has been waiting for it at once."""
        return self._sink

    @sink.setter
    def sink(self, sink: Sink | None) -> None:
        self._sink = sink
        early, self._early = self._early, None
        if early:
            self.consumed(len(early) if sink is None else sink.take([memoryview(early)]))

    @property
    def waiting(self) -> bool:
        """Whether data waits for a sink."""
        return self._early is not None

    def settle(self) -> None:
        """The batch is over: the sinks take what came for them."""
        self.moved = True
        views, self._arrived = self._arrived, None
        if views:
            sink = self._sink
            if sink is not None:
                self.consumed(sink.take(views))
            elif self.sending is Half.CLOSED:
                self.consumed(sum(map(len, views)))
            else:
                # The copy that a view needs to outlive its batch; in one piece, since a window
                # full of single bytes would be millions of objects.
                if self._early is None:
                    self._early = bytearray()
                for view in views:
                    self._early += view
        views, self._arrived_extended = self._arrived_extended, None
        if views:
            sink = self.extended_sink
            self.consumed(sum(map(len, views)) if sink is None else sink.take(views))

    def consumed(self, count: int) -> None:
        """``count`` bytes that a sink kept are used up: the peer may send as many again."""
        self.credit = credit = self.credit + count
        if credit >= self.threshold or credit > self.receive_window:
            self.tell()

    def tell(self) -> None:
        """Tell the peer of what was used up, if that is worth a message now.

        A part of the window's size is; and whatever there is when the peer has less than that left:
        where one sink keeps most of the window, the other's share is all that still moves.
        """
        credit = self.credit
        due = credit >= self.threshold or credit > self.receive_window
        if due and self.receiving is _HALF_OPEN:
            self._connection.top_up(self)

    # Sending

    def room(self) -> int:
        """How many bytes may be sent now; 0 also asks for a ChannelWritable when there is room."""
        if self.standing is not _OPEN or self.sending is not _HALF_OPEN:
            return 0
        room = min(self.send_window, self._connection.allowance())
        if room > 0:
            return room
        self._connection.blocked(self)
        return 0

    def fits(self, size: int) -> bool:
        """Whether to wait makes no more room for ``size`` bytes; false asks for a ChannelWritable.

        There is enough, or what is missing is not ours: the peer's window, or new keys that are due.
        """
        connection = self._connection
        if self.send_window < size or connection.allowance() >= size:
            return True
        if not connection.writer.buffer.size:
            return True
        connection.blocked(self)
        return False

    def reserve_whole(self, size: int) -> list[memoryview]:
        """``reserve`` for all of ``size`` bytes in one go, or none."""
        if size > self.room():
            return []
        places = self._connection.writer.reserve_data(
            self.peer, size, self.send_packet, whole=True
        )
        return places if sum(map(len, places)) == size else []

    def reserve(self, limit: int = 1 << 20, extended: int | None = None) -> list[memoryview]:
        """Places to read data into, for ``commit``; empty when there is no room.

        They lie in the packets that will carry the data, so nothing is copied. Nothing else may be
        sent on the connection before ``commit``; leaving it out is the same as ``commit(0)``.
        """
        room = self.room()
        if not room:
            return []
        return self._connection.writer.reserve_data(
            self.peer, min(room, limit), self.send_packet, extended
        )

    def commit(self, count: int) -> None:
        """Send the first ``count`` bytes of the reserved places."""
        self._connection.writer.commit_data(count)
        self.send_window -= count
        self.moved = True

    def send(self, data: bytes | bytearray | memoryview, extended: int | None = None) -> int:
        """Send as much of ``data`` as there is room for; returns how much that was."""
        view = memoryview(data)
        total = 0
        while total < len(view):
            places = self.reserve(len(view) - total, extended)
            if not places:
                break
            taken = 0
            for place in places:
                part = view[total + taken : total + taken + len(place)]
                place[: len(part)] = part
                taken += len(part)
            self.commit(taken)
            total += taken
        return total

    def send_datagram(self, data: bytes) -> bool:
        """Send ``data`` as one message, in which it stays whole; false where it does not fit now.

        Its length is counted with it (see `tellin.connection.forwarding.COUNTED`).
        """
        size = len(data)
        counted = size + COUNTED
        if not size or counted > self.send_packet or counted > self.room():
            return False
        # Of places that are as large as the whole there is one.
        (place,) = self._connection.writer.reserve_data(self.peer, size, size)
        place[:] = data
        self.commit(size)
        self.send_window -= COUNTED
        return True

    def send_extended(self, data: bytes | bytearray | memoryview) -> int:
        """The same for standard error."""
        return self.send(data, EXTENDED_STDERR)

    def eof(self) -> None:
        """No more data from us."""
        if self.standing is _OPEN and self.sending is _HALF_OPEN:
            self.sending = Half.EOF
            self._connection.send(ChannelEof(self.peer))

    def close(self) -> None:
        """We are done with the channel; it is gone when the peer says the same."""
        if self.standing is _OPEN and self.sending is not Half.CLOSED:
            self.sending = Half.CLOSED
            self._connection.send(ChannelClose(self.peer))
            if self.receiving is Half.CLOSED:
                self._connection.forget(self)

    # Requests

    def request(self, request: Request, *, want_reply: bool = False) -> None:
        """Ask something of the peer; with ``want_reply`` a ChannelReplied follows."""
        if self.standing is not _OPEN or self.sending is Half.CLOSED:
            raise UsageError(f"channel {self.number} is not open")
        if want_reply:
            if self._awaiting is None:
                self._awaiting = []
            self._awaiting.append(request)
        if isinstance(request, UnknownRequest):
            # Handed on for somebody who knows it.
            name, data = request.asked, request.data
        else:
            name, data = request.name, request.encode()
        self._connection.send(ChannelRequest(self.peer, name, want_reply, data))

    def replied(self) -> Request:
        """The request of ours that the peer has just answered."""
        if not self._awaiting:
            # R134: an answer to nothing.
            raise ProtocolError(f"an answer on channel {self.number} to no request")
        return self._awaiting.pop(0)

    def asked(self) -> "Debt":
        """The peer made a request that wants a reply."""
        if self._owed is None:
            self._owed = []
        elif len(self._owed) >= UNANSWERED_REQUESTS:
            raise ProtocolError(f"too many requests on channel {self.number}")
        debt = Debt()
        self._owed.append(debt)
        return debt

    def answer(self, success: bool, debt: "Debt | None" = None) -> None:
        """Answer a request of the peer's that wants a reply: ``debt``, or else the oldest.

        Replies carry no name; they go out in the order of the requests (RFC 4254 section 5.4), so
        one that is not decided yet holds the later ones back.
        """
        owed = self._owed
        if debt is None and owed:
            debt = next((one for one in owed if one.success is None), None)
        if debt is None or debt.success is not None or owed is None:
            raise UsageError(f"channel {self.number} owes no such answer")
        debt.success = success
        while owed and owed[0].success is not None:
            paid = owed.pop(0)
            if self.standing is _OPEN and self.sending is not Half.CLOSED:
                kind = ChannelSuccess if paid.success else ChannelFailure
                self._connection.send(kind(self.peer))
