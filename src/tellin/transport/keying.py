# SPDX-License-Identifier: MIT
"""The life of keys: offer, exchange, NEWKEYS, and the same again when they have served enough."""

from collections.abc import Callable
from typing import Final

from tellin.algorithms.ciphers import CIPHERS, Cipher
from tellin.algorithms.hashing import derive
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS, Mac
from tellin.algorithms.protection import make_opener, make_sealer
from tellin.algorithms.sealing import Opener, Sealer
from tellin.algorithms.signatures import plain
from tellin.errors import (
    HostKeyRejected,
    KeyExchangeFailed,
    KeyFileError,
    MalformedPacket,
    ProtocolError,
    UsageError,
)
from tellin.keys.public import PublicKey
from tellin.transport.events import (
    Event,
    ExchangeDone,
    HostKeyOffered,
    HostKeySignatureWanted,
    KexInitReceived,
    KexInitSent,
    NewKeysReceived,
    NewKeysSent,
    PublicValueKnown,
)
from tellin.transport.exchange import Agreed, Context, Exchange, make_exchange
from tellin.transport.messages import KexInit, NewKeys
from tellin.transport.negotiation import (
    EXT_INFO_CLIENT,
    EXT_INFO_SERVER,
    STRICT_CLIENT,
    STRICT_SERVER,
    Direction,
    Negotiated,
    negotiate,
    proposal,
)
from tellin.transport.packets import PacketReader, PacketWriter
from tellin.transport.settings import Settings
from tellin.transport.version import Role
from tellin.wire import Message, Record
from tellin.wire.states import State


class Stage(State):
    """How far the present exchange is."""

    IDLE = "no exchange"
    OFFERED = "our KEXINIT is out, the peer's has not come"
    EXCHANGING = "both KEXINITs known, the method's messages go to and fro"
    DECIDING = "somebody outside decides: is the host key right, or what is its signature"
    FINISHING = "our NEWKEYS is out, the peer's has not come"


# Servers that take a guess for right when its method is the one that was chosen, whatever the host
# key's algorithms are: they answer the packet that RFC 4253 section 7 has them skip.
_JUDGE_BY_METHOD: Final = (b"AsyncSSH", b"paramiko")


class DirectionKeys(Record, secret=("key", "iv", "mac_key")):
    """All that protects one direction; with the sealer's present IV it can be rebuilt anywhere."""

    direction: Direction
    key: bytes
    iv: bytes
    mac_key: bytes

    def sealer(self) -> Sealer:
        """The sending end."""
        cipher, mac = self._rows()
        return make_sealer(cipher, mac, key=self.key, iv=self.iv, mac_key=self.mac_key)

    def opener(self) -> Opener:
        """The receiving end."""
        cipher, mac = self._rows()
        return make_opener(cipher, mac, key=self.key, iv=self.iv, mac_key=self.mac_key)

    def _rows(self) -> tuple[Cipher, Mac | None]:
        name = self.direction.mac
        return CIPHERS[self.direction.cipher], MACS[name] if name else None


class Keying:
    """Runs the exchanges of one connection; the transport feeds it and asks it ``idle``."""

    __slots__ = (
        "_agreed",
        "_context",
        "_emit",
        "_exchange",
        "_guess",
        "_incoming",
        "_offer",
        "_ours",
        "_raw",
        "_reader",
        "_role",
        "_settings",
        "_skip",
        "_writer",
        "guess_wrong",
        "host_key",
        "host_key_signature",
        "identifications",
        "negotiated",
        "peer_takes_extensions",
        "receiving",
        "sending",
        "session_id",
        "stage",
        "strict",
    )

    def __init__(
        self,
        role: Role,
        settings: Settings,
        reader: PacketReader,
        writer: PacketWriter,
        *,
        emit: Callable[[Event], None],
        raw: Callable[[bytes], None],
    ) -> None:
        self._role = role
        self._settings = settings
        self._reader = reader
        self._writer = writer
        self._emit = emit
        self._raw = raw
        self.stage = Stage.IDLE
        self.strict = False
        self.peer_takes_extensions = False
        self.session_id = b""
        self.host_key = b""
        self.host_key_signature = b""  # over the session id; agents want to see it
        self.identifications: tuple[bytes, bytes] = (b"", b"")  # client's, server's
        self.negotiated: Negotiated | None = None
        self.sending: DirectionKeys | None = None
        self.receiving: DirectionKeys | None = None
        self._incoming: DirectionKeys | None = None
        self._offer: KexInit | None = None
        self._ours: bytes = b""
        self._guess: Exchange | None = None
        self._exchange: Exchange | None = None
        self._context: Context | None = None
        self._agreed: Agreed | None = None
        self._skip = False
        self.guess_wrong = False

    # Offering

    def begin(self) -> None:
        """Send our KEXINIT, unless an exchange runs already."""
        if self.stage is not Stage.IDLE:
            return
        settings = self._settings
        first = not self.session_id
        guess = None
        if first and settings.guess and self._role is Role.CLIENT:
            guess = make_exchange(settings.preferences.key_exchanges[0], self._role)
        offer = proposal(
            settings.preferences,
            self._role,
            settings.random(16),
            first=first,
            follows=guess is not None,
        )
        self._offer, self._ours = offer, offer.encode()
        self.stage = Stage.OFFERED
        self._raw(self._ours)
        self._emit(KexInitSent())
        if guess is not None:
            self._guess = guess
            self._send(guess.start())

    def _send(self, message: Message | None) -> None:
        if message is not None:
            self._raw(message.encode())

    def receive_kexinit(self, payload: bytes) -> None:
        """The peer's KEXINIT: choose, and let the method begin."""
        if self.stage not in {Stage.IDLE, Stage.OFFERED}:
            raise ProtocolError("a second KEXINIT within one exchange")
        theirs = KexInit.decode(payload)
        if self.stage is Stage.IDLE:
            self.begin()
        ours, ours_encoded = self._offer, self._ours
        assert ours is not None
        # Nobody needs them again, and a server's idle connections would each keep a kilobyte.
        self._offer, self._ours = None, b""
        client = self._role is Role.CLIENT
        if not self.session_id:
            self._settle_strictness(theirs)
        chosen = negotiate(*((ours, theirs) if client else (theirs, ours)), self._role)
        self.negotiated = chosen
        self.stage = Stage.EXCHANGING
        self._context = Context(
            *self.identifications,
            *((ours_encoded, payload) if client else (payload, ours_encoded)),
        )
        self._skip = theirs.first_kex_packet_follows and not chosen.guess_right
        self._emit(KexInitReceived(chosen, ours, theirs))
        self._start_method(chosen)

    def _settle_strictness(self, theirs: KexInit) -> None:
        strict, extensions = (
            (STRICT_SERVER, EXT_INFO_SERVER)
            if self._role is Role.CLIENT
            else (STRICT_CLIENT, EXT_INFO_CLIENT)
        )
        self.strict = strict in theirs.kex_algorithms
        self.peer_takes_extensions = extensions in theirs.kex_algorithms
        if self.strict:
            # What came before KEXINIT is covered by nothing; an attacker could have put it there
            # to shift the sequence numbers (Terrapin, CVE-2023-48795; R001).
            if self._reader.sequence != 1:
                raise ProtocolError("strict KEX violation: KEXINIT was not the first packet")
        elif self._settings.require_strict:
            raise KeyExchangeFailed("the peer does not do strict key exchange")

    def _start_method(self, chosen: Negotiated) -> None:
        guess, self._guess = self._guess, None
        if guess is not None:
            by_method = any(name in self.identifications[1] for name in _JUDGE_BY_METHOD)
            if chosen.guess_right or (by_method and guess.method.name == chosen.key_exchange):
                self._exchange = guess
                self._tell_values(guess)
                return
            self.guess_wrong = True
            if guess.method.name == chosen.key_exchange:
                # Wrong by the host key's algorithm, or since the server likes another method best:
                # its secret has been used for nothing yet, and serves.
                self._exchange = guess
                self._send(guess.start())
                return
        host_key = b""
        if self._role is Role.SERVER:
            host_key = dict(self._settings.host_keys)[chosen.host_key]
        self._exchange = make_exchange(
            chosen.key_exchange, self._role, host_key, self._settings.moduli
        )
        self._send(self._exchange.start())
        self._tell_values(self._exchange)

    def _tell_values(self, exchange: Exchange) -> None:
        for value, bits in exchange.values:
            self._emit(PublicValueKnown(value.bit_count(), bits))
        exchange.values = ()

    # The method's messages

    def receive_method(self, number: int, payload: memoryview) -> None:
        """A message of the running method (numbers 30 to 49)."""
        if self._skip:
            # RFC 4253 section 7: a wrong guess is ignored, and it is exactly one packet (R009).
            self._skip = False
            return
        exchange = self._exchange
        kind = None if exchange is None else exchange.expected.get(number)
        if self.stage is not Stage.EXCHANGING or exchange is None or kind is None:
            raise ProtocolError(f"message {number} has no place in the key exchange")
        assert self._context is not None
        outcome = exchange.receive(kind.decode(payload), self._context)
        self._tell_values(exchange)
        if isinstance(outcome, Message):
            self._send(outcome)
        else:
            self._agreed = outcome
            self.stage = Stage.DECIDING
            if self._role is Role.CLIENT:
                self._check_server(outcome)
            else:
                assert self.negotiated is not None
                self._emit(
                    HostKeySignatureWanted(
                        outcome.host_key, self.negotiated.host_key, outcome.exchange_hash
                    )
                )

    def _check_server(self, agreed: Agreed) -> None:
        assert self.negotiated is not None
        algorithm = self.negotiated.host_key
        try:
            key = _host_key(agreed.host_key, algorithm)
        except KeyFileError as error:
            raise MalformedPacket(f"the server's host key: {error}") from None
        if not key.verify(
            agreed.exchange_hash,
            agreed.signature,
            algorithm=plain(algorithm),
            sha1=plain(algorithm) == "ssh-rsa",
        ):
            raise HostKeyRejected("the server's signature over the key exchange is wrong")
        # Whoever signs what we both said has read our packets in the right way.
        self.guess_wrong = False
        if not self.session_id:
            self._emit(HostKeyOffered(agreed.host_key, algorithm))
        elif agreed.host_key != self.host_key:
            # R015: whoever holds another key is not the peer we have been talking to.
            raise HostKeyRejected("the server changed its host key in mid-connection")
        else:
            self._finish()

    # The two answers from outside

    def trust_host_key(self) -> None:
        """The offered host key is right."""
        if self.stage is not Stage.DECIDING or self._role is not Role.CLIENT:
            raise UsageError("no host key is waiting for an answer")
        self._finish()

    def give_signature(self, signature: bytes) -> None:
        """The host key's signature that was wanted."""
        if self.stage is not Stage.DECIDING or self._role is not Role.SERVER:
            raise UsageError("no host key signature is wanted")
        assert self._exchange is not None
        self._send(self._exchange.reply(signature))
        self._finish()

    # New keys

    def _finish(self) -> None:
        agreed, chosen = self._agreed, self.negotiated
        assert agreed is not None
        assert chosen is not None
        if not self.session_id:
            self.session_id = agreed.exchange_hash
            self.host_key = agreed.host_key
            self.host_key_signature = agreed.signature
        ours, theirs = (
            (chosen.client_to_server, chosen.server_to_client)
            if self._role is Role.CLIENT
            else (chosen.server_to_client, chosen.client_to_server)
        )
        out_letters, in_letters = (
            (b"ACE", b"BDF") if self._role is Role.CLIENT else (b"BDF", b"ACE")
        )
        self.sending = self._derive(agreed, ours, out_letters)
        self._incoming = self._derive(agreed, theirs, in_letters)
        self._agreed = self._exchange = self._context = None
        self._raw(NewKeys().encode())
        self._writer.switch(self.sending.sealer(), reset=self.strict)
        self.stage = Stage.FINISHING
        self._emit(NewKeysSent())

    def _derive(self, agreed: Agreed, direction: Direction, letters: bytes) -> DirectionKeys:
        assert self.negotiated is not None
        cipher = CIPHERS[direction.cipher]
        mac_size = MACS[direction.mac].key_size if direction.mac else 0
        hash_name = KEY_EXCHANGES[self.negotiated.key_exchange].hash_name
        # RFC 4253 section 7.2: the letters A to F tell the six values apart.
        iv, key, mac_key = (
            derive(
                hash_name,
                agreed.secret,
                agreed.exchange_hash,
                letters[at : at + 1],
                self.session_id,
                size,
            )
            for at, size in enumerate((cipher.iv_size, cipher.key_size, mac_size))
        )
        return DirectionKeys(direction, key, iv, mac_key)

    def receive_newkeys(self, payload: memoryview) -> None:
        """The peer's NEWKEYS: from here on it speaks under the new keys."""
        NewKeys.decode(payload)
        incoming = self._incoming
        if self.stage is not Stage.FINISHING or incoming is None:
            # R008: there are no keys to change to.
            raise ProtocolError("NEWKEYS out of turn")
        self._reader.switch(incoming.opener(), reset=self.strict)
        first = self.receiving is None
        self.receiving, self._incoming = incoming, None
        self.stage = Stage.IDLE
        self._emit(NewKeysReceived())
        self._emit(ExchangeDone(first))


def _host_key(blob: bytes, algorithm: str) -> PublicKey:
    """The key that signs for the host; one of another type, or without its certificate, is refused.

    Whether a certificate is to be believed is decided outside, with the host's name and the time.
    """
    if plain(algorithm) == algorithm:
        key = PublicKey.from_blob(blob)
        names, key_type = key.signature_algorithms, key.key_type
    else:
        # Few servers have certificates.
        from tellin.keys.certificates import Certificate  # noqa: PLC0415  (start-up time)

        certificate = Certificate.from_blob(blob)
        key = certificate.key
        names, key_type = certificate.signature_algorithms, certificate.key_type
    # R077: "ssh-rsa" names a key type and, where we offered it by name, RSA with SHA-1.
    if algorithm not in names and algorithm != key_type:
        raise HostKeyRejected(f"the server sent a {key_type} key where {algorithm} was agreed")
    return key
