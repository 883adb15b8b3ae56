# SPDX-License-Identifier: MIT
"""A visitor that speaks the connection protocol itself (``ssh -O proxy``): its channels, led through ours.

Each channel of the visitor's is one of our connection, with windows of its own on either side: what
the visitor sends is checked before anything of it reaches the server, which knows but us.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from tellin.client.connection import ClientConnection
from tellin.connection.channel import Channel
from tellin.connection.forwarding import (
    DEVICE,
    DIRECT_PORT,
    DIRECT_SOCKET,
    DeviceTarget,
    PortTarget,
    SocketTarget,
)
from tellin.connection.messages import (
    ChannelClose,
    ChannelData,
    ChannelEof,
    ChannelExtendedData,
    ChannelFailure,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    ChannelWindowAdjust,
    GlobalRequest,
    RequestFailure,
)
from tellin.connection.requests import Request, UnknownRequest
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import ProtocolError, UsageError
from tellin.mux.packets import Packets, packet
from tellin.protocol.events import ChannelOpenRefused, ChannelReplied, ChannelRequested
from tellin.wire import Message

_STDERR: Final = 1
_WINDOW: Final = 1 << 20
_PACKET: Final = 32 * 1024
_LARGEST_WINDOW: Final = 0xFFFFFFFF
_LEAST_PACKET: Final = 16
# Ours are sent as they are read: a server that answers none of them is not asked for more.
_MOST_UNANSWERED: Final = 1024


class Host(Protocol):
    """Whose packets these are: `tellin.programs.ssh.visitor.Visitor`."""

    @property
    def connection(self) -> ClientConnection:
        """What the channels are led through."""

    def put(self, data: bytes) -> None:
        """Send bytes to the visitor."""


class _Ear:
    """Where one kind of a channel's data goes."""

    def __init__(self, leg: "Leg", kind: int) -> None:
        self._leg = leg
        self._kind = kind

    def take(self, views: list[memoryview]) -> int:
        """Keep what came until the visitor's window lets it through; it is credited then."""
        for view in views:
            self._leg.waiting.append((self._kind, memoryview(bytes(view))))
        self._leg.proxied.soon(self._leg.drain)
        return 0


class Leg:
    """One channel: ``peer`` is the visitor's number for it, ``number`` ours towards the visitor."""

    def __init__(self, proxied: "Proxied", number: int, opening: ChannelOpen) -> None:
        self.proxied = proxied
        self.number = number
        self.peer = opening.sender_channel
        self.channel: Channel = proxied.connection.core.open_channel(
            opening.channel_type, opening.type_data
        )
        self.channel.owner = self
        # From the server to the visitor.
        self.waiting: deque[tuple[int, memoryview]] = deque()
        self._window = opening.initial_window
        self._packet = min(opening.maximum_packet, _PACKET)
        self._server_ended = self._server_closed = self._closed_told = False
        # From the visitor to the server.
        self._unsent: deque[tuple[int, memoryview]] = deque()
        self._granted = _WINDOW
        self._credit = 0
        self._unanswered = 0
        self._ended = self._closed = self._over = False

    # Events of the server's side

    def opened(self) -> None:
        """The server has opened it."""
        if self._over:
            self.channel.close()
            self.proxied.flush()
            return
        self.channel.sink, self.channel.extended_sink = _Ear(self, 0), _Ear(self, _STDERR)
        self._say(ChannelOpenConfirmation(self.peer, self.number, _WINDOW, _PACKET, b""))
        # The number was no secret: something may be here already.
        self._pour()

    def refused(self, event: ChannelOpenRefused) -> None:
        """The server does not open it."""
        self._say(ChannelOpenFailure(self.peer, event.reason, event.description.encode(), b""))
        self._forget()

    def replied(self, event: ChannelReplied) -> None:
        """The server has answered a request."""
        self._unanswered -= 1
        self._say((ChannelSuccess if event.success else ChannelFailure)(self.peer))

    def requested(self, event: ChannelRequested) -> None:
        """The server asks for something."""
        request = event.request
        if isinstance(request, UnknownRequest):
            name, data = request.asked, request.data
        else:
            name, data = request.name, request.encode()
        self._say(ChannelRequest(self.peer, name, event.want_reply, data))

    def ended(self) -> None:
        """The server sends no more: the visitor hears of it behind what has come."""
        self._server_ended = True
        self.proxied.soon(self.drain)

    def writable(self) -> None:
        """There is room for what the visitor has sent."""
        self._pour()

    def closed(self) -> None:
        """The server's side is gone."""
        self._server_closed = True
        self.proxied.soon(self.drain)

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone, and the visitor's with it."""
        self._over = True

    # Towards the visitor

    def _say(self, message: Message) -> None:
        if not self._over and not self._closed_told:
            self.proxied.say(message)

    def drain(self) -> None:
        """Send what the visitor's window has room for, and the end behind the last of it."""
        waiting, sent = self.waiting, 0
        while waiting and self._window and not self._over:
            kind, view = waiting[0]
            count = min(len(view), self._window, self._packet)
            part = bytes(view[:count])
            self._say(
                ChannelExtendedData(self.peer, kind, part)
                if kind
                else ChannelData(self.peer, part)
            )
            self._window -= count
            sent += count
            if count == len(view):
                waiting.popleft()
            else:
                waiting[0] = kind, view[count:]
        if sent:
            self.channel.consumed(sent)
            self.proxied.flush()
        if waiting or self._over:
            return
        if self._server_ended:
            self._server_ended = False
            self._say(ChannelEof(self.peer))
        if self._server_closed and not self._closed_told:
            self._say(ChannelClose(self.peer))
            self._closed_told = True
            if self._closed:
                self._forget()

    # From the visitor

    def adjust(self, message: ChannelWindowAdjust) -> None:
        """The visitor takes more."""
        self._window += message.bytes_to_add
        if self._window > _LARGEST_WINDOW:
            raise ProtocolError(f"channel {self.number}: window beyond 2^32-1")
        self.drain()

    def data(self, message: ChannelData) -> None:
        """The visitor sends."""
        self._take(0, message.data)

    def extended_data(self, message: ChannelExtendedData) -> None:
        """The visitor sends on another stream."""
        self._take(message.data_type, message.data)

    def _take(self, kind: int, data: bytes) -> None:
        self._granted -= len(data)
        if self._granted < 0:
            raise ProtocolError(f"channel {self.number}: the visitor ignored its window")
        if self._ended or self._closed:
            raise ProtocolError(f"data on channel {self.number} after its end")
        self._unsent.append((kind, memoryview(data)))
        self._pour()

    def _pour(self) -> None:
        """Send the server what it takes; the visitor may send as much again."""
        unsent = self._unsent
        while unsent:
            kind, view = unsent[0]
            count = self.channel.send(view, kind or None)
            # What the server has closed takes nothing more, and says so to nobody.
            if self._server_closed:
                count = len(view)
            self._credit += count
            if count < len(view):
                unsent[0] = kind, view[count:]
                break
            unsent.popleft()
        if self._credit >= _WINDOW // 2:
            self._say(ChannelWindowAdjust(self.peer, self._credit))
            self._granted += self._credit
            self._credit = 0
        if not unsent and not self._server_closed:
            if self._closed:
                self.channel.close()
            elif self._ended:
                self.channel.eof()
        self.proxied.flush()

    def request(self, message: ChannelRequest) -> None:
        """The visitor asks for something."""
        known = Request.named.get(message.name)
        _check_text(message.name)
        if known is not None:
            # Malformed, it would end the connection for all who share it.
            _check_texts(known.decode(message.data))
        self._unanswered += message.want_reply
        if self._unanswered > _MOST_UNANSWERED:
            raise ProtocolError(f"too many requests on channel {self.number}")
        try:
            self.channel.request(
                UnknownRequest(message.name, message.data), want_reply=message.want_reply
            )
        except UsageError:
            # It crossed the server's close.
            return
        self.proxied.flush()

    def answer(self, *, success: bool) -> None:
        """The visitor answers the oldest request of the server's."""
        try:
            self.channel.answer(success)
        except UsageError as fault:
            raise ProtocolError(str(fault)) from None
        self.proxied.flush()

    def eof(self) -> None:
        """The visitor sends no more."""
        self._ended = True
        self._pour()

    def close(self) -> None:
        """The visitor is done with it."""
        if self._closed:
            raise ProtocolError(f"a second close of channel {self.number}")
        self._closed = True
        # Nobody takes what the server still sends: it is thrown away with credit.
        left = sum(len(view) for _, view in self.waiting)
        self.waiting.clear()
        if left:
            self.channel.consumed(left)
        self.channel.sink = self.channel.extended_sink = None
        self._pour()
        if self._closed_told:
            self._forget()
        elif self._server_closed:
            self.drain()

    def drop(self) -> None:
        """The visitor has gone."""
        self._over = True
        self.waiting.clear()
        self._unsent.clear()
        self.channel.sink = self.channel.extended_sink = None
        self.channel.close()

    def _forget(self) -> None:
        self.proxied.legs.pop(self.number, None)


class Proxied:
    """What a visitor that speaks for itself has here: its packets, and the channels they are about."""

    def __init__(self, visitor: Host, soon: Callable[[Callable[[], object]], object]) -> None:
        self.connection = visitor.connection
        self.legs: dict[int, Leg] = {}
        self.soon = soon
        self._visitor = visitor
        self._packets = Packets()
        self._next = 0

    def say(self, message: Message) -> None:
        """Send the visitor a message."""
        self._visitor.put(packet(message))

    def flush(self) -> None:
        """Something was said to the server."""
        self.connection.link.flush_soon()

    def look_at_size(self) -> None:
        """Its windows are its own to watch."""

    def drop(self) -> None:
        """The visitor has gone."""
        for leg in self.legs.values():
            leg.drop()
        self.legs.clear()
        self.flush()

    def received(self, data: bytes) -> None:
        """Take what the visitor has sent; raises MalformedPacket and ProtocolError."""
        for payload in self._packets.feed(data):
            row = _MESSAGES.get(payload[0])
            if row is None:
                raise ProtocolError(f"message {payload[0]} on a control socket")
            kind, handler = row
            handler(self, kind.decode(payload))

    def leg(self, number: int) -> Leg:
        """The channel of a message."""
        leg = self.legs.get(number)
        if leg is None:
            raise ProtocolError(f"a message for nonexistent channel {number}")
        return leg

    def _open(self, message: ChannelOpen) -> None:
        if message.maximum_packet < _LEAST_PACKET:
            raise ProtocolError(f"a maximum packet of {message.maximum_packet}")
        target = _TARGETS.get(message.channel_type)
        _check_text(message.channel_type)
        if target is not None:
            # As with requests: what is malformed goes no further.
            _check_texts(target.decode(message.type_data))
        number = self._next
        try:
            self.legs[number] = Leg(self, number, message)
        except UsageError as error:
            reason = Reason.RESOURCE_SHORTAGE
            why = str(error).encode()
            self.say(ChannelOpenFailure(message.sender_channel, reason, why, b""))
            return
        self._next += 1
        self.flush()

    def _asked(self, message: GlobalRequest) -> None:
        # What is asked of the whole connection is its owner's to ask; most wants no answer.
        if message.want_reply:
            self.say(RequestFailure())


class _Nothing(Message):
    """What is said of a session before it is open."""


_TARGETS: Final[dict[str, type[Message]]] = {
    "session": _Nothing,
    DIRECT_PORT: PortTarget,
    DIRECT_SOCKET: SocketTarget,
    DEVICE: DeviceTarget,
}


def _check_text(value: str | bytes) -> None:
    # Servers take no text with a NUL, and end the connection over one.
    if ("\0" if isinstance(value, str) else b"\0") in value:  # type: ignore[operator]
        raise ProtocolError("a NUL in a text on a control socket")


def _check_texts(message: Message) -> None:
    for name, value in vars(message).items():
        # The modes of a terminal are numbers.
        if isinstance(value, (str, bytes)) and name != "modes":
            _check_text(value)


def _to_leg(handler: Callable[[Leg, Any], object]) -> Callable[[Proxied, Any], object]:
    return lambda proxied, message: handler(proxied.leg(message.recipient_channel), message)


# What a visitor may say, and who takes it. It opens channels and is offered none.
_MESSAGES: Final[dict[int, tuple[type[Message], Callable[[Proxied, Any], object]]]] = {
    80: (GlobalRequest, Proxied._asked),
    90: (ChannelOpen, Proxied._open),
    93: (ChannelWindowAdjust, _to_leg(Leg.adjust)),
    94: (ChannelData, _to_leg(Leg.data)),
    95: (ChannelExtendedData, _to_leg(Leg.extended_data)),
    96: (ChannelEof, _to_leg(lambda leg, _: leg.eof())),
    97: (ChannelClose, _to_leg(lambda leg, _: leg.close())),
    98: (ChannelRequest, _to_leg(Leg.request)),
    99: (ChannelSuccess, _to_leg(lambda leg, _: leg.answer(success=True))),
    100: (ChannelFailure, _to_leg(lambda leg, _: leg.answer(success=False))),
}
