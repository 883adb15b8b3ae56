# SPDX-License-Identifier: MIT
"""Our end of a connection that another process holds: the connection protocol in plain packets (PROTOCOL.mux section 9).

Who we are and whom we speak with was settled between that process and the server. Here are no keys,
no exchange and no login: channels alone.
"""

from typing import Any, Final

from tellin.connection.channel import Channel
from tellin.connection.events import ChannelAsked, GlobalDebt, GlobalRequested
from tellin.connection.machine import HIGH_WATER, LANE, Connection, ConnectionSettings
from tellin.errors import (
    ChannelOpenFailureReason,
    ConnectionLost,
    ProtocolError,
    TellinError,
    UsageError,
)
from tellin.mux.packets import Packets
from tellin.transport.packets import PacketWriter
from tellin.transport.version import Role
from tellin.wire import Message, SendBuffer

_ROOM: Final = 64 * 1024


class _PlainWriter(PacketWriter):
    """Packets as they are between two processes: without a cipher there is nothing to pad for."""

    def _padding_size(self, payload: int) -> int:
        return 0


class _PlainTransport:
    """What channels need of a transport, where there is none."""

    role = Role.CLIENT
    holding = False
    round_trip = 0.0

    def __init__(self, now: float) -> None:
        self.now = now
        self.outgoing = SendBuffer()
        self.writer = _PlainWriter(self.outgoing, bytes)

    def send(self, message: Message) -> None:
        """Send a message."""
        self.writer.write(message.encode())

    def left_to_seal(self) -> int:
        """No key wears out."""
        return HIGH_WATER

    def check_unsent(self) -> None:
        """Whoever holds the connection watches over what is asked there."""

    def mark_round_trip_start(self) -> None:
        """It is not measured here."""

    def mark_round_trip_end(self) -> None:
        """The same."""


class ProxiedCore:
    """Drives channels over a control socket; to a link and to sessions it is what a client's core is."""

    authenticated = True
    algorithms = None
    peer_identification = "(by proxy)"
    traffic = (0, 0)

    def __init__(self, *, now: float) -> None:
        self.closed = False
        self.error: TellinError | None = None
        self.peer_extensions: dict[str, bytes] = {}
        self._events: list[Any] = []
        self._packets = Packets()
        self._room = memoryview(bytearray(_ROOM))
        self._transport = _PlainTransport(now)
        # The little that channels need of a transport, and not what makes one.
        plain: Any = self._transport
        self._connection = Connection(plain, ConnectionSettings(), self._events.append)

    @property
    def channels(self) -> dict[int, Channel]:
        """The channels there are, by our number."""
        return self._connection.channels

    # What the link asks

    def writable(self, hint: int = 0) -> memoryview:
        """Room for what arrives."""
        return self._room

    def received(self, count: int, now: float) -> None:
        """So many bytes are in that room."""
        self._transport.now = now
        try:
            for payload in self._packets.feed(bytes(self._room[:count])):
                LANE.get(payload[0], _refuse)(self._connection, memoryview(payload))
                self._connection.settle()
        except ProtocolError as fault:
            self._end(fault)

    def received_eof(self, now: float) -> None:
        """The master has closed the socket."""
        if not self.closed:
            self._end(ConnectionLost("the master closed the connection"))

    def connection_lost(self, error: OSError, now: float) -> None:
        """The system reports that the socket broke."""
        if not self.closed:
            self._end(ConnectionLost(f"the connection broke: {error.strerror or error}"))

    def _end(self, error: TellinError) -> None:
        self.closed, self.error = True, error

    def to_send(self) -> list[memoryview]:
        """What is to be sent."""
        outgoing = self._transport.outgoing
        return outgoing.views() if outgoing.size else []

    def sent(self, count: int) -> None:
        """The first bytes of that have left."""
        self._transport.outgoing.sent(count)
        self._connection.wake()

    def events(self) -> list[Any]:
        """What has happened since the last call."""
        events, self._events[:] = self._events[:], []
        return events

    def deadline(self) -> float | None:
        """No clock runs here."""
        return None

    def tick(self, now: float) -> None:
        """The same."""

    # What sessions and forwards ask

    def open_channel(self, channel_type: str, data: bytes = b"") -> Channel:
        """Ask for a channel."""
        if self.closed:
            raise UsageError("the connection is over")
        return self._connection.open(channel_type, data)

    def request(self, name: str, data: bytes = b"", *, token: object = None) -> None:
        """Ask something of the connection as a whole: it is not ours, and nothing is asked of it."""

    def answer(self, event: GlobalRequested | ChannelAsked) -> None:
        """Refuse what the server asks: it has asked for nothing that is ours to give."""
        if isinstance(event, ChannelAsked):
            self._connection.refuse(
                event.channel, ChannelOpenFailureReason.ADMINISTRATIVELY_PROHIBITED, "not here"
            )
        elif isinstance(event.debt, GlobalDebt):
            self._connection.answer_global(success=False, debt=event.debt)

    def rekey(self) -> None:
        """Keys are the master's."""


def _refuse(_: Connection, payload: memoryview) -> None:
    raise ProtocolError(f"message {payload[0]} from the master")
