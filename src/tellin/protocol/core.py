# SPDX-License-Identifier: MIT
"""What joins the floors: bytes in, bytes out, events that may want an answer."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from tellin.connection.channel import Channel
from tellin.connection.events import ChannelIdle, ConnectionUnused, GlobalDebt
from tellin.connection.machine import HIGH_WATER, LANE, Connection, ConnectionSettings
from tellin.connection.requests import KEEPALIVE
from tellin.errors import (
    ConnectionLost,
    Disconnected,
    DisconnectReason,
    ProtocolError,
    TellinError,
    TimedOut,
    UsageError,
)
from tellin.protocol.events import Event, PongReceived
from tellin.transport.machine import STAGES, Phase, Transport
from tellin.transport.messages import Debug, Ignore, Ping
from tellin.transport.negotiation import Negotiated
from tellin.transport.settings import Settings
from tellin.transport.version import Role
from tellin.wire import Record, string

PING_EXTENSION = "ping@openssh.com"
# Looked up once: a member of an enum costs as much as a call.
_CLOSED: Final = Phase.CLOSED


class KeepAlive(Record):
    """Ask a silent peer for a sign of life every ``interval`` seconds; give up after ``count``."""

    interval: float = 0.0  # 0: never
    count: int = 3


class Watch(Protocol):
    """What looks after channels that nobody uses: `tellin.connection.idleness.Idleness`."""

    at: float | None

    def look(self, now: float, /) -> None:
        """Time has passed."""


class Core:
    """One end of a connection, without a socket and without a clock.

    A driver moves bytes (``writable``, ``received``, ``to_send``, ``sent``), tells the time
    (``now`` in ``received`` and ``tick``, in seconds of any clock that never goes back) and
    answers events. After every call it looks at ``to_send``, ``events`` and ``deadline`` again.
    """

    __slots__ = (
        "_alive_at",
        "_alive_unanswered",
        "_connection",
        "_events",
        "_idleness",
        "_keepalive",
        "_transport",
    )

    role: Role

    def __init__(
        self,
        settings: Settings,
        connection: ConnectionSettings,
        keepalive: KeepAlive,
        *,
        now: float,
    ) -> None:
        self._events: list[Event] = []
        self._transport = Transport(
            self.role, settings, now=now, emit=self._events.append, upper=self
        )
        self._connection = Connection(self._transport, connection, self._events.append)
        self._keepalive = keepalive
        self._alive_at: float | None = None
        self._alive_unanswered = 0
        self._idleness: Watch | None = None

    # Bytes

    def writable(self, hint: int = 0) -> memoryview:
        """Room for what arrives; at least ``hint`` bytes of it. Good until the next call."""
        transport = self._transport
        wanted = transport.reader.wanted()
        return transport.incoming.writable(max(hint, wanted))

    def received(self, count: int, now: float) -> None:
        """``count`` bytes were put into the room that ``writable`` gave."""
        transport = self._transport
        transport.now = now
        transport.incoming.filled(count)
        self._alive_unanswered = 0
        if self._keepalive.interval:
            self._alive_at = now + self._keepalive.interval
        self._proceed()

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """The same for a driver that has the bytes already; they are copied."""
        room = self.writable(len(data))
        room[: len(data)] = data
        self.received(len(data), now)

    def _proceed(self) -> None:
        """Take what has arrived, as far as that can be done without an answer from outside."""
        transport = self._transport
        transport.process()
        try:
            self._connection.settle()
        finally:
            if transport.renewal.due(transport.now):
                transport.rekey_when_idle()
            transport.incoming.rest()

    def received_eof(self, now: float) -> None:
        """The peer will send nothing more."""
        self._transport.now = now
        if not self.closed:
            lost = ConnectionLost("the peer closed the connection", stage=self.stage)
            self._lost(self._transport.not_a_server() or lost)

    def connection_lost(self, error: OSError, now: float) -> None:
        """The system reports that the connection broke."""
        self._transport.now = now
        if not self.closed:
            text = error.strerror or str(error)
            lost = ConnectionLost(f"the connection broke: {text}", stage=self.stage)
            # A peer that hangs up while our first line is on its way resets the connection.
            self._lost(self._transport.not_a_server() or lost)

    def _lost(self, error: TellinError) -> None:
        self._transport.lost(error)

    def to_send(self) -> list[memoryview]:
        """What is to be sent, in order. Nothing in it moves before ``sent``."""
        transport = self._transport
        if transport.renewal.due(transport.now):
            transport.rekey_when_idle()
        return transport.outgoing.views() if transport.outgoing.size else []

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of that have left."""
        self._transport.outgoing.sent(count)
        self._connection.wake()

    @property
    def unsent(self) -> int:
        """How many bytes ``to_send`` holds."""
        return len(self._transport.outgoing)

    @property
    def congested(self) -> bool:
        """Whether so much waits to be sent that sources should stop reading."""
        return len(self._transport.outgoing) >= HIGH_WATER

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        if not self._events:
            return []
        events = self._events[:]
        self._events.clear()
        return events

    # Time

    def deadline(self) -> float | None:
        """When ``tick`` has something to do, or None."""
        transport = self._transport
        if transport.phase is _CLOSED:
            return None
        nearest = transport.renewal.deadline()
        at = self._alive_at
        if at is not None and (nearest is None or at < nearest):
            nearest = at
        at = self._own_deadline()
        if at is not None and (nearest is None or at < nearest):
            nearest = at
        if self._idleness is not None:
            at = self._idleness.at
            if at is not None and (nearest is None or at < nearest):
                nearest = at
        return nearest

    def _own_deadline(self) -> float | None:
        return None

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._transport.now = now
        if self.closed:
            return
        self._transport.tick()
        self._tick_own(now)
        if self._alive_at is not None and now >= self._alive_at and not self.closed:
            self._check_alive(now)
        watch = self._idleness
        if watch is not None and watch.at is not None and now >= watch.at and not self.closed:
            watch.look(now)

    def _tick_own(self, now: float) -> None:
        """A role's own clocks."""

    def _check_alive(self, now: float) -> None:
        if self._transport.phase not in {Phase.OPEN, Phase.REKEY, Phase.NEWKEYS_DUE}:
            self._alive_at = now + self._keepalive.interval
            return
        if self._alive_unanswered >= self._keepalive.count:
            self._lost(TimedOut("the peer does not respond"))
            return
        self._alive_unanswered += 1
        self._alive_at = now + self._keepalive.interval
        self._connection.request(KEEPALIVE, token=_ALIVE)

    # Facts

    @property
    def stage(self) -> str:
        """What is under way, for errors."""
        return STAGES[self._transport.phase]

    @property
    def closed(self) -> bool:
        """Whether the connection is over; what ``to_send`` holds should still go out."""
        return self._transport.phase is _CLOSED

    @property
    def error(self) -> TellinError | None:
        """The first cause of the end, if it was not a plain one."""
        return self._transport.error

    @property
    def session_id(self) -> bytes:
        """The first exchange hash (RFC 4253 section 7.2), or nothing before it."""
        return self._transport.keying.session_id

    @property
    def host_key(self) -> bytes:
        """The server's host key blob, once the first exchange is done."""
        return self._transport.keying.host_key

    @property
    def host_key_signature(self) -> bytes:
        """A client's proof of that: the host key's signature over the session id."""
        return self._transport.keying.host_key_signature

    @property
    def guess_misread(self) -> bool:
        """Whether the peer seems to have taken a wrong guess for the exchange, and stumbled over it.

        RFC 4253 section 7 has it skipped, which not all servers do. A new connection with
        ``guess=False`` in its settings may succeed.
        """
        # What we broke off ourselves says nothing about the peer, nor does its silence.
        stumbled = isinstance(self.error, ProtocolError | ConnectionLost | Disconnected)
        return stumbled and self._transport.keying.guess_wrong

    @property
    def traffic(self) -> tuple[int, int]:
        """How many bytes of packets have been sent and received, thawing apart."""
        return self._transport.writer.total, self._transport.reader.total

    @property
    def strict(self) -> bool:
        """Whether both sides do strict key exchange."""
        return self._transport.keying.strict

    @property
    def peer_identification(self) -> str:
        """The peer's identification string."""
        return self._transport.peer_identification

    @property
    def algorithms(self) -> Negotiated | None:
        """What the last negotiation chose."""
        return self._transport.keying.negotiated

    @property
    def peer_extensions(self) -> dict[str, bytes]:
        """What the peer announced by EXT_INFO."""
        return self._transport.extensions

    @property
    def authenticated(self) -> bool:
        """Whether a user is logged in."""
        return self._transport.resting is Phase.OPEN

    @property
    def channels(self) -> dict[int, Channel]:
        """The channels there are, by our number."""
        return self._connection.channels

    # Verbs of both roles

    def rekey(self) -> None:
        """Ask for new keys now."""
        self._transport.rekey()

    def disconnect(
        self, reason: int = DisconnectReason.BY_APPLICATION, description: str = ""
    ) -> None:
        """Say goodbye and be done."""
        self._transport.disconnect(reason, description)

    def fail(self, error: TellinError) -> None:
        """End the connection because of ``error``."""
        self._transport.fail(error)

    def set_rekey_limit(self, count: int, seconds: float) -> None:
        """From now on ask for new keys after ``count`` bytes and ``seconds``; 0 is the default."""
        self._transport.set_rekey_limit(count, seconds)

    def set_keepalive(self, keepalive: KeepAlive) -> None:
        """From now on ask a silent peer for a sign of life like this."""
        self._keepalive = keepalive
        self._alive_unanswered = 0
        self._alive_at = self._transport.now + keepalive.interval if keepalive.interval else None

    def watch_idleness(self, rules: Any, *, fits: Callable[[str, str], bool]) -> None:
        """From now on close what nobody uses: ``rules`` is an IdleRules; ``fits`` compares a type with a pattern.

        ChannelIdle tells of each channel that goes, ConnectionUnused of a connection without any.
        """
        # Few connections have such rules; the others do not wait for what it takes.
        from tellin.connection.idleness import Idleness  # noqa: PLC0415  (start-up time)

        def idle(channel: Channel, seconds: float) -> None:
            channel.close()
            self._events.append(ChannelIdle(channel, seconds))

        self._idleness = Idleness(
            self.channels,
            rules,
            now=self._transport.now,
            fits=fits,
            on_idle=idle,
            on_unused=lambda seconds: self._events.append(ConnectionUnused(seconds)),
        )

    def ping(self, data: bytes) -> None:
        """Send PING; a PongReceived follows. The peer must have announced ping@openssh.com."""
        if PING_EXTENSION not in self._transport.extensions:
            raise UsageError("the peer does not know ping@openssh.com")
        self._transport.send(Ping(data))

    def ignore(self, data: bytes) -> None:
        """Send bytes that mean nothing (RFC 4253 section 11.2)."""
        self._transport.send(Ignore(string(data)))

    def debug(self, text: str) -> None:
        """Send a line for whoever looks for a fault on the other side (RFC 4253 section 11.3)."""
        self._transport.send(Debug(always_display=False, text=text.encode(), language=b""))

    def open_channel(self, channel_type: str, data: bytes = b"") -> Channel:
        """Ask for a channel; ChannelOpened or ChannelOpenRefused follows."""
        if not self.authenticated:
            raise UsageError("no channels before login")
        return self._connection.open(channel_type, data)

    def accept_channel(self, channel: Channel, data: bytes = b"") -> None:
        """Answer ChannelAsked with yes."""
        self._connection.accept(channel, data)

    def refuse_channel(self, channel: Channel, reason: int, description: str) -> None:
        """Answer ChannelAsked with no."""
        self._connection.refuse(channel, reason, description)

    def request(self, name: str, data: bytes = b"", *, token: object = None) -> None:
        """Send a global request; with a ``token`` a GlobalReplied that carries it follows."""
        self._connection.request(name, data, token=token)

    def answer_global(
        self, success: bool, data: bytes = b"", debt: GlobalDebt | None = None
    ) -> None:
        """Answer a GlobalRequested that wants a reply: by its ``debt``, or else the oldest."""
        self._connection.answer_global(success, data, debt)

    # What the transport calls

    def service_requested(self, name: str) -> None:
        """The client asks for a service; the server's half says how."""

    def service_accepted(self, name: str) -> None:
        """The server granted a service; the client's half says how."""

    def authentication_message(self, number: int, payload: memoryview) -> None:
        """A message of user authentication; both halves have their own way."""

    def pong(self, data: bytes) -> None:
        """The peer answered a PING."""
        self._events.append(PongReceived(data))

    def new_keys(self, *, first: bool) -> None:
        """An exchange is complete."""
        if not first:
            self._connection.new_keys()

    def _freeze(self, own: bytes) -> bytes:
        if self._events:
            raise UsageError(
                "a connection cannot be frozen while events wait",
                hint="take them by events() first",
            )
        # Few connections ever change their process; the others do not wait for what it takes.
        from tellin.protocol.freezing import freeze  # noqa: PLC0415  (start-up time)

        return freeze(self._transport, self._connection, own)

    def _thaw(self, data: bytes) -> bytes:
        from tellin.protocol.freezing import thaw  # noqa: PLC0415  (start-up time)

        own = thaw(data, self._transport, self._connection)
        if self.authenticated:
            self._login_done()
        return own

    def _login_done(self) -> None:
        transport = self._transport
        transport.rider, transport.lane = self._connection, LANE
        transport.authenticated()
        if self._keepalive.interval:
            self._alive_at = transport.now + self._keepalive.interval


_ALIVE: Any = object()
