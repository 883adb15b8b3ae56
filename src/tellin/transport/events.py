# SPDX-License-Identifier: MIT
"""What the transport tells its driver: facts, and the two questions that somebody else answers."""

from tellin.errors import TellinError
from tellin.transport.messages import KexInit
from tellin.transport.negotiation import Negotiated
from tellin.wire import Record


class Event(Record):
    """The base of everything that ``events()`` gives."""


class Identified(Event):
    """The peer's identification, and the lines a server sent before it."""

    identification: str
    lines: tuple[bytes, ...]


class KexInitSent(Event):
    """Our KEXINIT went out."""


class KexInitReceived(Event):
    """The peer's KEXINIT came in; both lists are known and something was chosen."""

    negotiated: Negotiated
    ours: KexInit
    theirs: KexInit


class PublicValueKnown(Event):
    """A public value of a finite field is in the exchange, ours or the peer's; how large, for who reads logs."""

    bits_set: int
    bits: int


class HostKeyOffered(Event):
    """The server's key, its signature over this exchange already verified.

    Answer with ``trust_host_key()`` or ``reject_host_key(error)``. Nothing secret goes out before.
    """

    key_blob: bytes
    algorithm: str


class HostKeySignatureWanted(Event):
    """The host's private key must sign ``data``; answer with ``give_host_key_signature(blob)``."""

    key_blob: bytes
    algorithm: str
    data: bytes


class NewKeysSent(Event):
    """What we send from here on is under new keys."""


class NewKeysReceived(Event):
    """What the peer sends from here on is under new keys."""


class ExchangeDone(Event):
    """A key exchange is complete in both directions; ``first`` for the one that opens a connection."""

    first: bool


class ExtensionsReceived(Event):
    """The extensions that the peer announced (RFC 8308)."""

    extensions: dict[str, bytes]


class DebugReceived(Event):
    """A text that the peer wants shown to whoever debugs."""

    text: bytes
    always_display: bool


class Closed(Event):
    """The connection is over. ``error`` is the first cause, None for a plain end."""

    error: TellinError | None
