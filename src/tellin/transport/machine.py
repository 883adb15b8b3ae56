# SPDX-License-Identifier: MIT
"""The transport protocol's machine: bytes in, messages up; messages down, bytes out (RFC 4253).

Everything that decides whether a message may come now stands in ``ADMISSION``.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from tellin.algorithms.compression import COMPRESSIONS
from tellin.errors import (
    Disconnected,
    DisconnectReason,
    HostKeyRejected,
    IdentificationError,
    MalformedPacket,
    ProtocolError,
    TellinError,
    TimedOut,
)
from tellin.transport.events import (
    Closed,
    DebugReceived,
    Event,
    ExtensionsReceived,
    Identified,
)
from tellin.transport.keying import Keying, Stage
from tellin.transport.messages import (
    Debug,
    Disconnect,
    ExtInfo,
    Ping,
    Pong,
    ServiceAccept,
    ServiceRequest,
    Unimplemented,
)
from tellin.transport.packets import PacketReader, PacketWriter, check_sequence
from tellin.transport.renewal import Held, Renewal
from tellin.transport.settings import Settings
from tellin.transport.version import IdentificationReader, Role, farewell
from tellin.wire import Message, ReceiveBuffer, SendBuffer
from tellin.wire.states import State

# Replies that a peer provokes and does not fetch (R013, CVE-2025-26466).
UNSENT_REPLIES: Final = 1 << 20
NOISE_BEFORE_KEXINIT: Final = 32
DESCRIPTION_BYTES: Final = 1024


class Phase(State):
    """Where in its life the transport is; each has its row in ``ADMISSION``."""

    VERSION = "waiting for the peer's identification"
    FIRST_KEXINIT = "waiting for the first KEXINIT"
    FIRST_EXCHANGE = "the first exchange, with a peer that does not do strict key exchange"
    STRICT_EXCHANGE = "the first exchange, strict"
    AUTHENTICATION = "encrypted, nobody logged in"
    OPEN = "logged in"
    REKEY = "the peer has begun another exchange"
    NEWKEYS_DUE = "our new keys are in force, the peer's are not"
    CLOSED = "over"


# What a phase is called in errors.
STAGES: Final[dict[Phase, str]] = {
    Phase.VERSION: "banner exchange",
    Phase.FIRST_KEXINIT: "key exchange",
    Phase.FIRST_EXCHANGE: "key exchange",
    Phase.STRICT_EXCHANGE: "key exchange",
    Phase.NEWKEYS_DUE: "key exchange",
    Phase.AUTHENTICATION: "authentication",
    Phase.OPEN: "session",
    Phase.REKEY: "session",
    Phase.CLOSED: "end",
}


def _row(*parts: tuple[Any, str]) -> dict[int, str]:
    return {number: handler for numbers, handler in parts for number in numbers}


_GOODBYE: Final = ((1,), "_disconnected")
_NOISE: Final = ((2, 3), "_ignore")
_DEBUG: Final = ((4,), "_debug")
_METHOD: Final = (range(30, 50), "_method")
_KEXINIT: Final = ((20,), "_kexinit")
_NEWKEYS: Final = ((21,), "_newkeys")

# phase -> message number -> the method that takes it. A number that is not in the row of the
# present phase is refused by ``_refused``: UNIMPLEMENTED where RFC 4253 section 11.4 wants it,
# the end of the connection where a message out of place can only be an attack.
ADMISSION: Final[dict[Phase, dict[int, str]]] = {
    Phase.VERSION: {},
    Phase.FIRST_KEXINIT: _row(_GOODBYE, _NOISE, _DEBUG, _KEXINIT),
    Phase.FIRST_EXCHANGE: _row(_GOODBYE, _NOISE, _DEBUG, _METHOD, _NEWKEYS, _KEXINIT),
    # R001: in strict key exchange nothing but the exchange itself may come.
    Phase.STRICT_EXCHANGE: _row(_GOODBYE, _METHOD, _NEWKEYS, _KEXINIT),
    Phase.AUTHENTICATION: _row(
        _GOODBYE,
        _NOISE,
        _DEBUG,
        _KEXINIT,
        ((5,), "_service_request"),
        ((6,), "_service_accept"),
        ((7,), "_ext_info"),
        (range(50, 80), "_authentication"),
        # R013: before login a PING is not answered.
        ((192,), "_ignore"),
    ),
    Phase.OPEN: _row(
        _GOODBYE,
        _NOISE,
        _DEBUG,
        _KEXINIT,
        ((50,), "_late_authentication"),
        (range(80, 128), "_connection"),
        ((192,), "_ping"),
        ((193,), "_pong"),
    ),
    # R011: nothing of the layers above between the peer's KEXINIT and its NEWKEYS.
    Phase.REKEY: _row(_GOODBYE, _NOISE, _DEBUG, _METHOD, _NEWKEYS),
    # R006: once our new keys are in force, the peer's next packet must be its NEWKEYS.
    Phase.NEWKEYS_DUE: _row(_GOODBYE, _NEWKEYS),
    Phase.CLOSED: {},
}


# What every packet is asked about: a member looked up in its class costs as much as a call.
_CLOSED: Final = Phase.CLOSED
_DECIDING: Final = Stage.DECIDING
# While an exchange is in one of these stages, messages of the layers above wait for new keys.
_HOLDING: Final = (Stage.OFFERED, Stage.EXCHANGING, Stage.DECIDING)


class Upper(Protocol):
    """What sits on the transport."""

    def service_requested(self, name: str) -> None:
        """The client asks for a service."""

    def service_accepted(self, name: str) -> None:
        """The server granted the service we asked for."""

    def authentication_message(self, number: int, payload: memoryview) -> None:
        """A message numbered 50 to 79, before login."""

    def pong(self, data: bytes) -> None:
        """The peer answered our PING."""

    def new_keys(self, *, first: bool) -> None:
        """An exchange is complete; what was held back has gone out."""


Lane = dict[int, Callable[[Any, memoryview], None]]
_NO_LANE: Final[Lane] = {}


class Transport:
    """One end of a connection below user authentication."""

    __slots__ = (
        "_admission",
        "_emit",
        "_ext_info_count",
        "_ext_info_place",
        "_held",
        "_identification",
        "_lane",
        "_noise",
        "_round_trip_from",
        "error",
        "extensions",
        "incoming",
        "keying",
        "lane",
        "now",
        "outgoing",
        "peer_identification",
        "phase",
        "reader",
        "renewal",
        "resting",
        "rider",
        "role",
        "round_trip",
        "settings",
        "upper",
        "writer",
    )

    def __init__(
        self,
        role: Role,
        settings: Settings,
        *,
        now: float,
        emit: Callable[[Event], None],
        upper: Upper,
    ) -> None:
        self.role = role
        self.settings = settings
        self.now = now
        self.upper = upper
        self._emit = emit
        self.incoming = ReceiveBuffer()
        self.outgoing = SendBuffer()
        self.reader = PacketReader(self.incoming)
        self.writer = PacketWriter(self.outgoing, settings.random)
        self.keying = Keying(
            role, settings, self.reader, self.writer, emit=emit, raw=self.writer.write
        )
        self.renewal = Renewal(settings, self.reader, self.writer, now=now)
        self.peer_identification = ""
        self.extensions: dict[str, bytes] = {}
        self.error: TellinError | None = None
        # Installed by the joiner after login: who takes the connection protocol's messages, and how.
        self.rider: object = None
        self.lane: Lane = _NO_LANE
        self._lane: Lane = _NO_LANE  # what is in force: nothing while an exchange runs
        self._identification: IdentificationReader | None = IdentificationReader(role)
        self._held = Held()
        self._noise = 0
        self._ext_info_count = 0
        self._ext_info_place = False
        self._round_trip_from: float | None = None
        self.round_trip: float | None = None  # seconds, the shortest seen
        self.phase = self.resting = Phase.VERSION
        self._admission = ADMISSION[Phase.VERSION]

    def start(self) -> None:
        """Say who we are; a client offers its algorithms along with it, without waiting."""
        if not self.settings.greeted:
            self.outgoing.append(self.settings.identification.encode("ascii") + b"\r\n")
        if self.role is Role.CLIENT:
            self.keying.begin()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._admission = ADMISSION[phase]
        self._lane = self.lane if phase is Phase.OPEN else _NO_LANE

    def authenticated(self) -> None:
        """Somebody is logged in: the connection protocol begins, and compression if it was agreed."""
        self.resting = Phase.OPEN
        if self.phase in {Phase.AUTHENTICATION, Phase.OPEN}:
            self._enter(Phase.OPEN)
        self._start_compression(sending=True, receiving=True)

    def _start_compression(self, *, sending: bool = False, receiving: bool = False) -> None:
        # zlib@openssh.com begins after login only: zlib has had too many bugs to face strangers.
        if self.resting is not Phase.OPEN:
            return
        keying = self.keying
        if sending and keying.sending is not None:
            row = COMPRESSIONS[keying.sending.direction.compression]
            self.writer.compressor = row.compressor()
        if receiving and keying.receiving is not None:
            row = COMPRESSIONS[keying.receiving.direction.compression]
            self.reader.decompressor = row.decompressor()

    # Bytes in

    @property
    def waiting(self) -> bool:
        """Whether an answer from outside must come before another packet is looked at."""
        return self.keying.stage is _DECIDING

    def process(self) -> None:
        """Take all complete packets that have arrived; faults of the peer end the connection."""
        phase = self.phase
        if phase is _CLOSED:
            # R084: also when it was the identification that was wrong, and another one follows.
            self.incoming.at = self.incoming.end
            return
        try:
            # Case 51: asked for new keys 2^31 packets ago, the peer goes on under the old ones.
            check_sequence(self.reader.packets)
            if self._identification is not None and not self._read_identification():
                return
            next_packet, keying = self.reader.next, self.keying
            while self.phase is not _CLOSED and keying.stage is not _DECIDING:
                payload = next_packet()
                if payload is None:
                    break
                handler = self._lane.get(payload[0])
                if handler is not None:
                    handler(self.rider, payload)
                else:
                    self._dispatch(payload)
        except ProtocolError as error:
            self.fail(error)

    def _read_identification(self) -> bool:
        reader = self._identification
        assert reader is not None
        try:
            found = reader.read(self.incoming)
        except IdentificationError as error:
            if self.role is Role.SERVER:
                self.outgoing.append(farewell(error))
            self._close(error)
            return False
        if found is None:
            return False
        self._identification = None
        self.peer_identification = found
        ours, theirs = self.settings.identification.encode(), found.encode()
        client = self.role is Role.CLIENT
        self.keying.identifications = (ours, theirs) if client else (theirs, ours)
        self._enter(Phase.FIRST_KEXINIT)
        self._emit(Identified(found, tuple(reader.lines)))
        if not client:
            self.keying.begin()
        return True

    def not_a_server(self) -> IdentificationError | None:
        """What a peer said instead of its identification, if that was anything: a web server's page."""
        reader = self._identification
        if reader is None or self.role is Role.SERVER:
            return None
        rest = bytes(self.incoming.data[self.incoming.at : self.incoming.end])
        said = next((line for line in (*reader.lines, rest) if line), b"SSH-")
        # Also a server that was cut off within these four bytes is one.
        if b"SSH-".startswith(said[:4]):
            return None
        return IdentificationError(f"the peer is not an SSH server: it says {said[:64]!r}")

    def _dispatch(self, payload: memoryview) -> None:
        number = payload[0]
        place = self._ext_info_place
        self._ext_info_place = False
        handler = self._admission.get(number)
        if handler is None:
            self._refused(number)
        elif handler == "_ext_info":
            self._ext_info(payload, place=place)
        else:
            getattr(self, handler)(payload)
        if self.reader.sequence == 0 and not self.keying.session_id:
            # R003: a peer that makes the counter wrap before there are keys is playing Terrapin.
            raise ProtocolError("the sequence numbers wrapped before the first keys")

    def _refused(self, number: int) -> None:
        if number == 0:
            raise ProtocolError("Invalid ssh2 packet type: 0")
        reason = self._why_fatal(number)
        if reason:
            raise ProtocolError(f"message {number} {reason}")
        if self.phase is Phase.FIRST_KEXINIT:
            self._noise_before_kexinit()
        # RFC 4253 section 11.4, with the number of the packet that was not understood. It may go
        # out while an exchange runs, so it is never held back.
        self.check_unsent()
        self.writer.write(Unimplemented((self.reader.sequence - 1) & 0xFFFFFFFF).encode())

    def _why_fatal(self, number: int) -> str:
        """Why a message that the present phase does not admit ends the connection, or nothing."""
        if self.phase in {Phase.STRICT_EXCHANGE, Phase.REKEY, Phase.NEWKEYS_DUE}:
            return f"while {self.phase.value}"
        if self._admission is not ADMISSION[self.phase]:
            return "between EXT_INFO and the end of authentication"
        if 20 <= number < 50:
            return "outside a key exchange"
        if self.phase in {Phase.FIRST_KEXINIT, Phase.FIRST_EXCHANGE}:
            # R020, R022: services, extensions and logins only ever come under keys.
            early = 5 <= number <= 7 or 50 <= number < 128
            return "before there are keys" if early else ""
        if self.phase is Phase.AUTHENTICATION:
            # R019: nothing of the connection protocol is even looked at before login.
            return "before login" if 80 <= number < 128 else ""
        if number == 7 or (50 <= number < 80 and self.role is Role.CLIENT):
            return "after login"
        return ""

    def _noise_before_kexinit(self) -> None:
        self._noise += 1
        if self._noise > NOISE_BEFORE_KEXINIT:
            raise ProtocolError("too many messages before KEXINIT")

    def check_unsent(self) -> None:
        if len(self.outgoing) > UNSENT_REPLIES:
            raise ProtocolError("the peer provokes replies that it does not read")

    def _reply(self, message: Message) -> None:
        self.check_unsent()
        self.send(message)

    # The small messages

    def _disconnected(self, payload: memoryview) -> None:
        try:
            message = Disconnect.decode(payload)
        except MalformedPacket:
            self._close(Disconnected(int(DisconnectReason.PROTOCOL_ERROR), "(malformed)"))
            return
        text = message.description[:DESCRIPTION_BYTES].decode("utf-8", "replace")
        self._close(Disconnected(message.reason, text))

    def _ignore(self, payload: memoryview) -> None:
        if self.phase is Phase.FIRST_KEXINIT:
            self._noise_before_kexinit()

    def _debug(self, payload: memoryview) -> None:
        self._ignore(payload)
        message = Debug.decode(payload)
        self._emit(DebugReceived(message.text[:DESCRIPTION_BYTES], message.always_display))

    def _ping(self, payload: memoryview) -> None:
        self._reply(Pong(Ping.decode(payload).data))

    def _pong(self, payload: memoryview) -> None:
        self.upper.pong(Pong.decode(payload).data)

    def _ext_info(self, payload: memoryview, *, place: bool) -> None:
        self._ext_info_count += 1
        # R020, R021: first after NEWKEYS, or from a server right before it grants the login
        # (RFC 8308 section 2.4); anywhere else somebody may have put it there (CVE-2023-46445).
        if self._ext_info_count > 2 or not (place or self.role is Role.CLIENT):
            raise ProtocolError("EXT_INFO out of place")
        if not place:
            self._admission = {1: "_disconnected", 52: "_authentication"}
        found = ExtInfo.decode(payload).extensions()
        self.extensions = {**self.extensions, **found}
        self._emit(ExtensionsReceived(found))

    def _service_request(self, payload: memoryview) -> None:
        if self.role is Role.CLIENT:
            raise ProtocolError("a server that asks for a service")
        self.upper.service_requested(ServiceRequest.decode(payload).service)

    def _service_accept(self, payload: memoryview) -> None:
        if self.role is Role.SERVER:
            raise ProtocolError("a client that grants a service")
        self.mark_round_trip_end()
        self.upper.service_accepted(ServiceAccept.decode(payload).service)

    def _authentication(self, payload: memoryview) -> None:
        self.upper.authentication_message(payload[0], payload)
        if self._admission is not ADMISSION[self.phase]:
            self._admission = ADMISSION[self.phase]

    def _late_authentication(self, payload: memoryview) -> None:
        """RFC 4252 section 5.1: requests after the login was granted are silently ignored."""
        if self.role is Role.CLIENT:
            raise ProtocolError("a server that asks to log in")

    def _connection(self, payload: memoryview) -> None:
        """The lane takes all messages of the connection protocol that there are."""
        raise ProtocolError(f"message {payload[0]} is not one of the connection protocol")

    # Keys

    def _kexinit(self, payload: memoryview) -> None:
        keying = self.keying
        keying.receive_kexinit(bytes(payload))
        self.renewal.begun(self.now)
        if self.phase is Phase.FIRST_KEXINIT:
            self._enter(Phase.STRICT_EXCHANGE if keying.strict else Phase.FIRST_EXCHANGE)
        else:
            self._enter(Phase.REKEY)

    def _method(self, payload: memoryview) -> None:
        self.keying.receive_method(payload[0], payload)
        self._after_keying()

    def _newkeys(self, payload: memoryview) -> None:
        first = self.keying.receiving is None
        self.keying.receive_newkeys(payload)
        if first:
            self.resting = Phase.AUTHENTICATION
            if self.role is Role.SERVER:
                self.mark_round_trip_end()
        self._enter(self.resting)
        self._ext_info_place = first
        self.renewal.over(self.now)
        self._start_compression(receiving=True)
        self.upper.new_keys(first=first)

    def _after_keying(self) -> None:
        """Our NEWKEYS may just have gone out: what was held back follows."""
        if self.keying.stage is not Stage.FINISHING or self.phase is Phase.NEWKEYS_DUE:
            return
        self._enter(Phase.NEWKEYS_DUE)
        self._judge_keys()
        self._start_compression(sending=True)
        if self.role is Role.SERVER:
            self.mark_round_trip_start()
        first = self.keying.receiving is None
        if first and self.settings.extensions and self.keying.peer_takes_extensions:
            # RFC 8308 section 2.4: the first packet after our NEWKEYS.
            self.writer.write(ExtInfo.of(self.settings.extensions).encode())
        for payload in self._held.take():
            self.writer.write(payload)

    def _judge_keys(self) -> None:
        """How much may be sealed under the keys that we send under follows from their cipher (R051)."""
        assert self.keying.sending is not None
        self.renewal.cipher(self.keying.sending.direction.cipher)

    def trust_host_key(self) -> None:
        """The driver's answer to HostKeyOffered."""
        self._answered(self.keying.trust_host_key)

    def reject_host_key(self, error: HostKeyRejected) -> None:
        """The driver's other answer to HostKeyOffered."""
        self.fail(error)

    def give_host_key_signature(self, signature: bytes) -> None:
        """The driver's answer to HostKeySignatureWanted."""
        self._answered(lambda: self.keying.give_signature(signature))

    def _answered(self, answer: Callable[[], None]) -> None:
        if self.phase is Phase.CLOSED:
            return
        answer()
        self.renewal.answered()
        self._after_keying()

    def rekey(self) -> None:
        """Ask for new keys now, if there are keys already and no exchange runs."""
        if self.phase in {Phase.AUTHENTICATION, Phase.OPEN}:
            self.keying.begin()
            self.renewal.begun(self.now)

    def rekey_when_idle(self) -> None:
        """The present keys have served enough: ask for new ones, unless that is under way."""
        if self.keying.stage is Stage.IDLE and self.keying.sending is not None:
            self.rekey()

    def left_to_seal(self) -> int:
        """How many bytes the present keys may still seal before new ones are due."""
        return self.renewal.byte_limit - self.writer.bytes

    def set_rekey_limit(self, count: int, seconds: float) -> None:
        """Other limits than the settings', for this connection alone."""
        self.renewal.limit(count, seconds, now=self.now)

    # Messages out

    @property
    def holding(self) -> bool:
        """Whether messages of the layers above must wait for new keys."""
        return self.keying.stage in _HOLDING

    def send(self, message: Message) -> None:
        """Send a message of the layers above; while an exchange runs it is held back."""
        if self.phase is _CLOSED:
            return
        if self.keying.stage in _HOLDING:
            try:
                self._held.add(message.encode())
            except ProtocolError as error:
                self.fail(error)
            return
        check_sequence(self.writer.packets)
        self.writer.write(message.encode())

    def pending(self) -> int:
        """How many bytes wait to be sent or to be let out after the exchange."""
        return len(self.outgoing) + self._held.size

    # Freezing

    def ext_info_state(self) -> tuple[int, bool]:
        """How many EXT_INFO came, and whether one may come now."""
        return self._ext_info_count, self._ext_info_place

    def thawed(
        self,
        phase: Phase,
        ext_info_state: tuple[int, bool],
        round_trip: float | None,
        rekey_in: float,
    ) -> None:
        """Go on in ``phase`` with the keys that are in place."""
        self.renewal.resume(rekey_in, now=self.now)
        self._identification = None
        self._ext_info_count, self._ext_info_place = ext_info_state
        self.round_trip = round_trip
        self.resting = phase
        self._enter(phase)
        self._judge_keys()

    # Time and the end

    def mark_round_trip_start(self) -> None:
        """Something went out that the peer answers at once."""
        self._round_trip_from = self.now

    def mark_round_trip_end(self) -> None:
        """That answer came."""
        if self._round_trip_from is not None:
            taken = max(0.0, self.now - self._round_trip_from)
            self._round_trip_from = None
            if self.round_trip is None or taken < self.round_trip:
                self.round_trip = taken

    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        return None if self.phase is Phase.CLOSED else self.renewal.deadline()

    def tick(self) -> None:
        """Time has passed; ``now`` says how much."""
        if self.phase is Phase.CLOSED:
            return
        if self.renewal.late(self.now, waiting=self.waiting):
            # R012, case 110: a peer that never finishes an exchange holds us and our queue.
            late = TimedOut("the key exchange was not finished in time")
            self.fail(self.not_a_server() or late)
        elif self.renewal.strikes(self.now):
            self.rekey()

    def fail(self, error: TellinError) -> None:
        """End the connection because of ``error``; the peer is told as far as it can understand us."""
        if self.phase is Phase.CLOSED:
            return
        reason = getattr(error, "reason", DisconnectReason.BY_APPLICATION)
        if not self._identification:
            # Whoever made the connection fail may be a stranger: our own words are not for him.
            self._say_goodbye(int(reason), error.parting or str(error))
        self._close(error)

    def disconnect(self, reason: int, description: str, error: TellinError | None = None) -> None:
        """Say goodbye and close."""
        if self.phase is Phase.CLOSED:
            return
        if not self._identification:
            self._say_goodbye(reason, description)
        self._close(error)

    def lost(self, error: TellinError) -> None:
        """The connection is gone: there is nobody to say goodbye to."""
        if self.phase is not Phase.CLOSED:
            self._close(error)

    def _say_goodbye(self, reason: int, description: str) -> None:
        text = description.encode("utf-8", "replace")[:DESCRIPTION_BYTES]
        self.writer.write(Disconnect(reason, text, b"").encode())

    def _close(self, error: TellinError | None) -> None:
        """R084: after this nothing that arrives is looked at."""
        if self.error is None:
            self.error = error
            if error is not None and not error.stage:
                error.stage = STAGES[self.phase]
        self._enter(Phase.CLOSED)
        self._held.take()
        self._emit(Closed(self.error))
