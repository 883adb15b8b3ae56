# SPDX-License-Identifier: MIT
"""The conversations by which two sides come to a shared secret, both roles of each side by side."""

from typing import Final

from tellin.algorithms.key_exchange import (
    KEY_EXCHANGES,
    Family,
    Initiator,
    KeyExchange,
    Moduli,
)
from tellin.errors import ProtocolError
from tellin.transport.messages import (
    KexDhInit,
    KexDhReply,
    KexEcdhInit,
    KexEcdhReply,
    KexGexGroup,
    KexGexInit,
    KexGexReply,
    KexGexRequest,
    KexGexRequestOld,
)
from tellin.transport.version import Role
from tellin.wire import Message, Record, mpint, string

# RFC 8270: no group below 2048 bits. The upper bound is what anybody's moduli file holds.
GEX_MINIMUM: Final = 2048
GEX_PREFERRED: Final = 3072
GEX_MAXIMUM: Final = 8192


class Agreed(Record, secret=("secret",)):
    """The outcome: K as it is hashed, H, and what a server said to prove who it is."""

    secret: bytes
    exchange_hash: bytes
    host_key: bytes
    signature: bytes


class Context(Record):
    """What the exchange hash covers besides the exchange: both identifications and both KEXINITs."""

    client_identification: bytes
    server_identification: bytes
    client_kexinit: bytes
    server_kexinit: bytes

    def prefix(self) -> bytes:
        """The first four strings of the exchange hash (RFC 4253 section 8)."""
        return b"".join(
            map(
                string,
                (
                    self.client_identification,
                    self.server_identification,
                    self.client_kexinit,
                    self.server_kexinit,
                ),
            )
        )


class Exchange:
    """One run of one method. ``expected`` are the messages that may come now, by number.

    ``values`` are the public values of a finite field that have come up and nobody has been told
    of, each with the bits of its group.
    """

    expected: dict[int, type[Message]]
    values: tuple[tuple[int, int], ...] = ()

    def __init__(self, method: KeyExchange, role: Role, host_key: bytes = b"") -> None:
        self.method = method
        self.role = role
        self.host_key = host_key
        self.expected = {}

    def start(self) -> Message | None:
        """What to send first, and once more if it was skipped; a server waits."""
        raise NotImplementedError

    def receive(self, message: Message, context: Context) -> Message | Agreed:
        """Take one of ``expected``: the next message to send, or the outcome."""
        raise NotImplementedError

    def reply(self, signature: bytes) -> Message:
        """The server's last message, once its host key has signed the exchange hash."""
        raise NotImplementedError

    def _agreed(
        self, context: Context, middle: bytes, secret: bytes, signature: bytes = b""
    ) -> Agreed:
        covered = context.prefix() + string(self.host_key) + middle + secret
        return Agreed(secret, self.method.digest(covered), self.host_key, signature)


class EcdhExchange(Exchange):
    """ECDH and its hybrids: public values are strings (RFC 5656, RFC 8731, ML-KEM hybrids)."""

    _initiator: Initiator | None = None
    _server_public: bytes = b""

    def start(self) -> Message | None:
        if self.role is Role.SERVER:
            self.expected = {30: KexEcdhInit}
            return None
        self.expected = {31: KexEcdhReply}
        self._initiator = self._initiator or self.method.start()
        return KexEcdhInit(self._initiator.public)

    def receive(self, message: Message, context: Context) -> Message | Agreed:
        self.expected = {}
        if isinstance(message, KexEcdhReply) and self._initiator is not None:
            secret = self._initiator.finish(message.server_public)
            self.host_key = message.host_key
            middle = string(self._initiator.public) + string(message.server_public)
            return self._agreed(context, middle, secret, message.signature)
        assert isinstance(message, KexEcdhInit)
        self._server_public, secret = self.method.respond(message.client_public)
        middle = string(message.client_public) + string(self._server_public)
        return self._agreed(context, middle, secret)

    def reply(self, signature: bytes) -> Message:
        return KexEcdhReply(self.host_key, self._server_public, signature)


class DhExchange(Exchange):
    """Diffie-Hellman in a fixed group: public values are integers (RFC 4253 section 8)."""

    _initiator: Initiator | None = None
    _server_public: int = 0

    def start(self) -> Message | None:
        if self.role is Role.SERVER:
            self.expected = {30: KexDhInit}
            return None
        self.expected = {31: KexDhReply}
        if self._initiator is None:
            self._initiator = self.method.start()
            self._note(self._initiator.public)
        return KexDhInit(self._initiator.public)

    def _note(self, value: int) -> None:
        # An initiator of these methods knows the size of its group.
        bits = getattr(self._initiator, "bits", 0)
        if bits:
            self.values += ((value, bits),)

    def receive(self, message: Message, context: Context) -> Message | Agreed:
        self.expected = {}
        if isinstance(message, KexDhReply) and self._initiator is not None:
            secret = self._initiator.finish(message.server_public)
            self._note(message.server_public)
            self.host_key = message.host_key
            middle = mpint(self._initiator.public) + mpint(message.server_public)
            return self._agreed(context, middle, secret, message.signature)
        assert isinstance(message, KexDhInit)
        self._server_public, secret = self.method.respond(message.client_public)
        middle = mpint(message.client_public) + mpint(self._server_public)
        return self._agreed(context, middle, secret)

    def reply(self, signature: bytes) -> Message:
        return KexDhReply(self.host_key, self._server_public, signature)


class GexExchange(Exchange):
    """Diffie-Hellman in a group that the server picks (RFC 4419)."""

    _initiator: Initiator | None = None
    _request: bytes = b""
    _prime: int = 0
    _generator: int = 0
    _server_public: int = 0

    def __init__(
        self,
        method: KeyExchange,
        role: Role,
        host_key: bytes = b"",
        moduli: Moduli | None = None,
    ) -> None:
        super().__init__(method, role, host_key)
        # Without a file there are still the fixed groups to choose from.
        self._moduli = moduli or Moduli({})

    def start(self) -> Message | None:
        if self.role is Role.SERVER:
            self.expected = {30: KexGexRequestOld, 34: KexGexRequest}
            return None
        self.expected = {31: KexGexGroup}
        wish = KexGexRequest(GEX_MINIMUM, GEX_PREFERRED, GEX_MAXIMUM)
        self._request = wish.encode()[1:]
        return wish

    def receive(self, message: Message, context: Context) -> Message | Agreed:
        if isinstance(message, KexGexGroup):
            return self._take_group(message)
        if isinstance(message, KexGexReply):
            return self._take_reply(message, context)
        if isinstance(message, KexGexInit):
            return self._take_init(message, context)
        return self._choose_group(message)

    def _take_group(self, message: KexGexGroup) -> Message:
        # The arithmetic of groups, for which no other method waits.
        from tellin.algorithms.finite_field import check_group  # noqa: PLC0415  (start-up time)

        check_group(message.prime, message.generator, GEX_MINIMUM, GEX_MAXIMUM)
        self._prime, self._generator = message.prime, message.generator
        self._initiator = self.method.start(message.prime, message.generator)
        self.expected = {33: KexGexReply}
        self._note(self._initiator.public)
        return KexGexInit(self._initiator.public)

    def _note(self, value: int) -> None:
        self.values += ((value, self._prime.bit_length()),)

    def _choose_group(self, message: Message) -> Message:
        if isinstance(message, KexGexRequestOld):
            minimum, preferred, maximum = GEX_MINIMUM, message.preferred, GEX_MAXIMUM
        else:
            assert isinstance(message, KexGexRequest)
            minimum, preferred, maximum = message.minimum, message.preferred, message.maximum
            # R041: sizes that contradict each other are no wish but a probe.
            if not minimum <= preferred <= maximum:
                raise ProtocolError(f"group sizes {minimum}, {preferred}, {maximum} out of order")
        self._request = message.encode()[1:]
        self._generator, self._prime = self._moduli.choose(
            max(minimum, GEX_MINIMUM), preferred, min(maximum, GEX_MAXIMUM)
        )
        self.expected = {32: KexGexInit}
        return KexGexGroup(self._prime, self._generator)

    def _middle(self, client_public: int, server_public: int) -> bytes:
        return self._request + b"".join(
            map(mpint, (self._prime, self._generator, client_public, server_public))
        )

    def _take_init(self, message: KexGexInit, context: Context) -> Agreed:
        self.expected = {}
        self._server_public, secret = self.method.respond(
            message.client_public, self._prime, self._generator
        )
        middle = self._middle(message.client_public, self._server_public)
        return self._agreed(context, middle, secret)

    def _take_reply(self, message: KexGexReply, context: Context) -> Agreed:
        assert self._initiator is not None
        self.expected = {}
        secret = self._initiator.finish(message.server_public)
        self._note(message.server_public)
        self.host_key = message.host_key
        middle = self._middle(self._initiator.public, message.server_public)
        return self._agreed(context, middle, secret, message.signature)

    def reply(self, signature: bytes) -> Message:
        return KexGexReply(self.host_key, self._server_public, signature)


def make_exchange(
    name: str, role: Role, host_key: bytes = b"", moduli: Moduli | None = None
) -> Exchange:
    """A fresh run of the method called ``name``."""
    method = KEY_EXCHANGES[name]
    if method.family is Family.ECDH:
        return EcdhExchange(method, role, host_key)
    if method.family is Family.DH:
        return DhExchange(method, role, host_key)
    return GexExchange(method, role, host_key, moduli)
