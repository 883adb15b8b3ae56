# SPDX-License-Identifier: MIT
"""The connection protocol's machine: the table of channels and who may do what with it (RFC 4254)."""

from collections.abc import Callable
from struct import Struct
from typing import Final

from tellin.connection.channel import UNANSWERED_REQUESTS, Channel, Half, Standing
from tellin.connection.events import (
    ChannelAsked,
    ChannelClosed,
    ChannelClosing,
    ChannelEnded,
    ChannelOpened,
    ChannelOpenRefused,
    ChannelReplied,
    ChannelRequested,
    ChannelWritable,
    GlobalDebt,
    GlobalReplied,
    GlobalRequested,
)
from tellin.connection.messages import (
    ChannelClose,
    ChannelEof,
    ChannelFailure,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    ChannelSuccess,
    ChannelWindowAdjust,
    GlobalRequest,
    RequestFailure,
    RequestSuccess,
)
from tellin.connection.requests import (
    NO_MORE_SESSIONS,
    Request,
    UnknownRequest,
)
from tellin.connection.windows import WindowPolicy
from tellin.errors import ChannelOpenFailureReason, MalformedPacket, ProtocolError, UsageError
from tellin.transport.events import Event
from tellin.transport.machine import Lane, Transport
from tellin.transport.packets import PacketWriter
from tellin.transport.version import Role
from tellin.wire import Message, Record
from tellin.wire.buffers import LARGE_BLOCK

_TWO: Final = Struct(">II")
_THREE: Final = Struct(">III")

WINDOW_LIMIT: Final = 0xFFFFFFFF
LARGEST_NUMBER: Final = 0xFFFFFFFF  # of a channel
# A maximum packet below this is a way to make us spin (R131).
LEAST_PACKET: Final = 16
# Our own data packets: large ones spare both sides work, but what is being sealed must stay in
# the processor's cache.
LARGEST_DATA: Final = 128 << 10
# Unsent output beyond which sources have to wait. Whole blocks, so that what is left of each has no
# tiny packet to carry; ms of CPU a MiB, sender and receiver: 512 KiB 1.48 / 1.20, this 1.23 / 1.00.
HIGH_WATER: Final = 4 * LARGE_BLOCK
LOW_WATER: Final = 2 * LARGE_BLOCK
DESCRIPTION_BYTES: Final = 1024

# Looked up once: a member of an enum costs as much as a call.
_OPEN: Final = Standing.OPEN
_HALF_OPEN: Final = Half.OPEN


class ConnectionSettings(Record):
    """What the connection protocol is told before it begins."""

    receive_budget: int = 64 << 20
    maximum_packet: int = LARGEST_DATA
    maximum_channels: int = 1024
    channel_types: frozenset[str] = frozenset()  # which the peer may ask for
    global_requests: frozenset[str] = frozenset()  # which the driver answers; others are refused


class Connection:
    """All channels of one connection."""

    __slots__ = (
        "_blocked",
        "_dirty",
        "_emit",
        "_global_waiting",
        "_next",
        "_no_more_sessions",
        "_owed",
        "_settings",
        "_starved",
        "_transport",
        "_windows",
        "channels",
        "send",
        "writer",
    )

    def __init__(
        self, transport: Transport, settings: ConnectionSettings, emit: Callable[[Event], None]
    ) -> None:
        self._transport = transport
        # Sends a message that is not data; and where the lane builds its packets. What every packet
        # goes through is taken from the transport once.
        self.send: Callable[[Message], None] = transport.send
        self.writer: PacketWriter = transport.writer
        self._settings = settings
        self._emit = emit
        self._windows = WindowPolicy(settings.receive_budget)
        self.channels: dict[int, Channel] = {}
        self._next = 0
        self._dirty: list[Channel] = []
        # Who waits for room: in our buffer, all together; or in a window of the peer's, each alone.
        # A channel that nobody reads at its other end is not looked at again before its peer says more.
        self._blocked: dict[Channel, None] = {}
        self._starved: set[Channel] = set()
        self._no_more_sessions = False
        # Replies to global requests go out in the order of the requests (RFC 4254 section 4): one
        # that the driver has not decided yet holds the later ones back.
        self._owed: list[GlobalDebt] = []
        self._global_waiting: list[tuple[str, object]] = []

    # The lane

    def _data(self, payload: memoryview) -> None:
        if len(payload) < 9:
            raise MalformedPacket("channel data without its fields")
        number, size = _TWO.unpack_from(payload, 1)
        if size != len(payload) - 9:
            raise MalformedPacket(f"channel data of {size} bytes in a packet of {len(payload)}")
        channel = self.channels.get(number)
        if channel is None or channel.standing is not _OPEN:
            raise ProtocolError(f"data for nonexistent channel {number}")
        channel.receive(payload[9:], 0)

    def _extended_data(self, payload: memoryview) -> None:
        if len(payload) < 13:
            raise MalformedPacket("channel data without its fields")
        number, kind, size = _THREE.unpack_from(payload, 1)
        if size != len(payload) - 13:
            raise MalformedPacket(f"channel data of {size} bytes in a packet of {len(payload)}")
        channel = self.channels.get(number)
        if channel is None or channel.standing is not _OPEN:
            raise ProtocolError(f"data for nonexistent channel {number}")
        # Type 0 is none either: it goes the way of the unknown ones.
        channel.receive(payload[13:], kind or WINDOW_LIMIT)

    def _window_adjust(self, payload: memoryview) -> None:
        if len(payload) != 9:
            raise MalformedPacket("a window adjustment of a wrong size")
        number, count = _TWO.unpack_from(payload, 1)
        channel = self.channels.get(number)
        if channel is None or channel.standing is not _OPEN:
            return  # one that crossed our CLOSE
        channel.send_window += count
        if channel.send_window > WINDOW_LIMIT:
            raise ProtocolError(f"channel {number}: window beyond 2^32-1")  # R130
        if count and channel in self._starved:
            self._starved.discard(channel)
            self._blocked[channel] = None

    def settle(self) -> None:
        """The batch is over: sinks take their data, waiting channels hear of room."""
        if self._dirty:
            dirty, self._dirty = self._dirty, []
            failure: Exception | None = None
            for channel in dirty:
                try:
                    channel.settle()
                except Exception as error:  # noqa: BLE001 - whatever a sink of the driver's raises
                    # The others' data lies in a buffer that is used again: now or never.
                    failure = failure or error
            if failure is not None:
                raise failure
        if self._blocked:
            self.wake()

    def wake(self) -> None:
        """Tell channels that had no room, if they have some now."""
        if not self._blocked:
            return
        if len(self._transport.outgoing) > LOW_WATER or self.allowance() <= 0:
            return
        waiting, self._blocked = self._blocked, {}
        for channel in waiting:
            if channel.standing is not _OPEN or channel.sending is not _HALF_OPEN:
                continue
            if channel.send_window > 0:
                self._emit(ChannelWritable(channel))
            else:
                self._starved.add(channel)

    # For channels

    def allowance(self) -> int:
        """How many bytes of data may be queued for sending now."""
        transport = self._transport
        if transport.holding:
            return 0
        # R051: what keys may seal is a most, not what is looked at when a full buffer has left.
        return min(HIGH_WATER - transport.outgoing.size, transport.left_to_seal())

    def blocked(self, channel: Channel) -> None:
        """The channel wants a ChannelWritable when there is room."""
        if channel.send_window > 0:
            self._blocked[channel] = None
        else:
            self._starved.add(channel)

    def arrived(self, channel: Channel) -> None:
        """The channel has data for its sinks at the end of this batch."""
        self._dirty.append(channel)

    def top_up(self, channel: Channel) -> None:
        """Tell the peer of what was consumed; while an exchange runs that waits."""
        # RFC 4254 section 5.3: after our CLOSE nothing more is said about the channel.
        if (
            self._transport.holding
            or channel.standing is not _OPEN
            or channel.sending is Half.CLOSED
        ):
            return
        count = self._windows.credit(channel, self._transport.now, self._transport.round_trip)
        self.send(ChannelWindowAdjust(channel.peer, count))

    def new_keys(self) -> None:
        """An exchange is over: tell what it held back."""
        for channel in self.channels.values():
            channel.tell()
        self.wake()

    def forget(self, channel: Channel) -> None:
        """The channel is closed by both sides."""
        if self.channels.pop(channel.number, None) is None:
            return
        channel.standing = Standing.GONE
        self._windows.close(channel)
        self._blocked.pop(channel, None)
        self._starved.discard(channel)
        self._emit(ChannelClosed(channel))

    # Opening

    def _new(self, channel_type: str, standing: Standing) -> Channel:
        number = self._next
        while number in self.channels:
            number = (number + 1) & LARGEST_NUMBER
        self._next = (number + 1) & LARGEST_NUMBER if self.channels else 1
        if not self.channels:
            number = 0
        channel = Channel(self, number, channel_type, standing)
        self._windows.open(channel, self._settings.maximum_packet, self._transport.now)
        self.channels[number] = channel
        return channel

    def open(self, channel_type: str, data: bytes) -> Channel:
        """Ask the peer for a channel; ChannelOpened or ChannelOpenRefused follows."""
        if len(self.channels) >= self._settings.maximum_channels:
            raise UsageError(f"{len(self.channels)} channels are open already")
        channel = self._new(channel_type, Standing.WANTED)
        self._transport.mark_round_trip_start()
        self.send(
            ChannelOpen(
                channel_type,
                channel.number,
                channel.receive_window,
                channel.receive_packet,
                data,
            )
        )
        return channel

    def accept(self, channel: Channel, data: bytes = b"") -> None:
        """Open a channel that the peer asked for."""
        if channel.standing is not Standing.ASKED:
            raise UsageError("that channel waits for no answer")
        channel.standing = Standing.OPEN
        self._transport.mark_round_trip_start()
        self.send(
            ChannelOpenConfirmation(
                channel.peer, channel.number, channel.receive_window, channel.receive_packet, data
            )
        )

    def refuse(self, channel: Channel, reason: int, description: str) -> None:
        """Do not open a channel that the peer asked for."""
        if channel.standing is not Standing.ASKED:
            raise UsageError("that channel waits for no answer")
        self._drop(channel)
        self.send(ChannelOpenFailure(channel.peer, reason, description.encode(), b""))

    def _drop(self, channel: Channel) -> None:
        channel.standing = Standing.GONE
        del self.channels[channel.number]
        self._windows.close(channel)

    # Freezing

    def settled(self) -> bool:
        """Whether no answer is owed and no data waits for a sink."""
        waiting = any(channel.waiting for channel in self.channels.values())
        return not (self._owed or self._global_waiting or self._dirty or waiting)

    def opening_state(self) -> tuple[bool, int]:
        """Whether sessions may still be opened, and where the search for a free number begins."""
        return self._no_more_sessions, self._next

    def resume_opening(self, no_more_sessions: bool, following: int) -> None:
        """The counterpart of ``opening_state`` when thawing."""
        self._no_more_sessions = no_more_sessions
        self._next = following

    def adopt(self, channel: Channel) -> None:
        """Take a thawed channel into the table."""
        if channel.number in self.channels:
            raise MalformedPacket(f"two frozen channels with the number {channel.number}")
        self._windows.granted += channel.target
        self.channels[channel.number] = channel
        self._next = (channel.number + 1) & LARGEST_NUMBER

    # Messages off the lane

    def _existing(self, number: int) -> Channel:
        channel = self.channels.get(number)
        if channel is None or channel.standing is not _OPEN:
            raise ProtocolError(f"a message for nonexistent channel {number}")
        return channel

    def _wanted(self, number: int) -> Channel:
        channel = self.channels.get(number)
        if channel is None or channel.standing is not Standing.WANTED:
            raise ProtocolError(f"an answer for channel {number}, which was not asked for")
        return channel

    def _open_asked(self, payload: memoryview) -> None:
        message = ChannelOpen.decode(payload)
        refusal = self._objection(message)
        if refusal is not None:
            reason, text = refusal
            self.send(ChannelOpenFailure(message.sender_channel, reason, text.encode(), b""))
            return
        channel = self._new(message.channel_type, Standing.ASKED)
        channel.peer = message.sender_channel
        channel.send_window = message.initial_window
        channel.send_packet = min(message.maximum_packet, LARGEST_DATA)
        self._emit(ChannelAsked(channel, message.channel_type, message.type_data))

    def _objection(self, message: ChannelOpen) -> tuple[int, str] | None:
        """Why the driver is not even asked about a channel."""
        if message.channel_type not in self._settings.channel_types:
            return ChannelOpenFailureReason.UNKNOWN_CHANNEL_TYPE, "unknown channel type"
        if self._no_more_sessions and message.channel_type == "session":
            return ChannelOpenFailureReason.ADMINISTRATIVELY_PROHIBITED, "no more sessions"
        if message.maximum_packet < LEAST_PACKET:
            return ChannelOpenFailureReason.RESOURCE_SHORTAGE, "maximum packet too small"
        if len(self.channels) >= self._settings.maximum_channels:
            return ChannelOpenFailureReason.RESOURCE_SHORTAGE, "too many channels"
        return None

    def _open_confirmed(self, payload: memoryview) -> None:
        message = ChannelOpenConfirmation.decode(payload)
        channel = self._wanted(message.recipient_channel)
        self._transport.mark_round_trip_end()
        if message.maximum_packet < LEAST_PACKET:
            raise ProtocolError(f"a maximum packet of {message.maximum_packet}")
        channel.peer = message.sender_channel
        channel.send_window = message.initial_window
        channel.send_packet = min(message.maximum_packet, LARGEST_DATA)
        channel.standing = Standing.OPEN
        self._emit(ChannelOpened(channel, message.type_data))

    def _open_refused(self, payload: memoryview) -> None:
        message = ChannelOpenFailure.decode(payload)
        channel = self._wanted(message.recipient_channel)
        self._drop(channel)
        text = message.description[:DESCRIPTION_BYTES].decode("utf-8", "replace")
        self._emit(ChannelOpenRefused(channel, message.reason, text))

    def _ended(self, payload: memoryview) -> None:
        message = ChannelEof.decode(payload)
        channel = self._existing(message.recipient_channel)
        if channel.receiving is not _HALF_OPEN:
            raise ProtocolError(f"a second end of data on channel {channel.number}")
        channel.receiving = Half.EOF
        self._emit(ChannelEnded(channel))

    def _closed(self, payload: memoryview) -> None:
        message = ChannelClose.decode(payload)
        channel = self._existing(message.recipient_channel)
        if channel.receiving is Half.CLOSED:
            raise ProtocolError(f"a second close of channel {channel.number}")
        if channel.receiving is _HALF_OPEN:
            # The application sees the end exactly once, also when the peer left EOF out.
            self._emit(ChannelEnded(channel))
        channel.receiving = Half.CLOSED
        if channel.sending is Half.CLOSED:
            self.forget(channel)
        elif channel.lingers:
            self._emit(ChannelClosing(channel))
        else:
            channel.close()

    def _requested(self, payload: memoryview) -> None:
        message = ChannelRequest.decode(payload)
        channel = self._existing(message.recipient_channel)
        self._transport.mark_round_trip_end()
        kind = Request.named.get(message.name)
        request = (
            UnknownRequest(message.name, message.data)
            if kind is None
            else kind.decode(message.data)
        )
        if channel.sending is Half.CLOSED:
            return  # crossed our CLOSE: there is nothing left to ask
        debt = channel.asked() if message.want_reply else None
        self._emit(ChannelRequested(channel, request, debt))

    def _succeeded(self, payload: memoryview) -> None:
        self._replied(ChannelSuccess.decode(payload).recipient_channel, success=True)

    def _failed(self, payload: memoryview) -> None:
        self._replied(ChannelFailure.decode(payload).recipient_channel, success=False)

    def _replied(self, number: int, *, success: bool) -> None:
        channel = self._existing(number)
        self._emit(ChannelReplied(channel, channel.replied(), success))

    # Global requests

    def request(self, name: str, data: bytes = b"", *, token: object = None) -> None:
        """Ask something of the peer; with a ``token`` a GlobalReplied that carries it follows."""
        if token is not None:
            self._global_waiting.append((name, token))
        self.send(GlobalRequest(name, token is not None, data))

    def _global_asked(self, payload: memoryview) -> None:
        message = GlobalRequest.decode(payload)
        known = message.name in self._settings.global_requests
        if message.name == NO_MORE_SESSIONS and self._transport.role is Role.SERVER:
            self._no_more_sessions = True
        debt: GlobalDebt | None = None
        if message.want_reply:
            self._transport.check_unsent()
            if len(self._owed) >= UNANSWERED_REQUESTS:
                raise ProtocolError("too many global requests at once")
            # R142: what we do not know is refused, and nothing else happens. OpenSSH answers its
            # own keepalive in the same way.
            debt = GlobalDebt(None if known else RequestFailure())
            self._owed.append(debt)
        if known:
            self._emit(GlobalRequested(message.name, debt, message.data))
        self._settle_debts()

    def answer_global(
        self, success: bool, data: bytes = b"", debt: GlobalDebt | None = None
    ) -> None:
        """Answer a global request that waits for the driver: ``debt``, or else the oldest."""
        if debt is None:
            debt = next((owed for owed in self._owed if owed.reply is None), None)
        if debt is None or debt.reply is not None or debt not in self._owed:
            raise UsageError("no such global request waits for an answer")
        debt.reply = RequestSuccess(data) if success else RequestFailure()
        self._settle_debts()

    def _settle_debts(self) -> None:
        while self._owed and (reply := self._owed[0].reply) is not None:
            paid = self._owed.pop(0)
            self.send(reply)
            if paid.on_paid is not None:
                paid.on_paid()

    def _global_succeeded(self, payload: memoryview) -> None:
        self._global_replied(success=True, data=RequestSuccess.decode(payload).data)

    def _global_failed(self, payload: memoryview) -> None:
        RequestFailure.decode(payload)
        self._global_replied(success=False, data=b"")

    def _global_replied(self, *, success: bool, data: bytes) -> None:
        if not self._global_waiting:
            raise ProtocolError("an answer to no global request")  # R134
        name, token = self._global_waiting.pop(0)
        self._emit(GlobalReplied(name, success, data, token))


# Message number -> who takes it while the connection is open. One table for all connections: three
# handlers that read fixed places, and the others, which read a message.
LANE: Final[Lane] = {
    94: Connection._data,
    95: Connection._extended_data,
    93: Connection._window_adjust,
    80: Connection._global_asked,
    81: Connection._global_succeeded,
    82: Connection._global_failed,
    90: Connection._open_asked,
    91: Connection._open_confirmed,
    92: Connection._open_refused,
    96: Connection._ended,
    97: Connection._closed,
    98: Connection._requested,
    99: Connection._succeeded,
    100: Connection._failed,
}
