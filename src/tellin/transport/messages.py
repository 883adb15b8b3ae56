# SPDX-License-Identifier: MIT
"""Messages of the transport protocol (RFC 4253, RFC 4419, RFC 5656, RFC 8308)."""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from typing import Annotated, Final, Self

from tellin.errors import MalformedPacket
from tellin.wire import (
    Boolean,
    Cursor,
    Message,
    MPInt,
    NameList,
    Rest,
    String,
    Text,
    UInt32,
    WireType,
    string,
)

Cookie = Annotated[bytes, WireType(lambda cursor: cursor.take(16), bytes)]

# R021: an EXT_INFO is a handful of names; more is an attempt on our memory.
EXTENSIONS: Final = 64
EXTENSION_BYTES: Final = 65536


class Disconnect(Message, number=1):
    """The end of the connection and its reason (RFC 4253 section 11.1)."""

    reason: UInt32
    description: String
    language: String


class Ignore(Message, number=2):
    """Noise that the receiver drops (RFC 4253 section 11.2)."""

    data: Rest


class Unimplemented(Message, number=3):
    """The packet with this sequence number was not understood (RFC 4253 section 11.4)."""

    sequence_number: UInt32


class Debug(Message, number=4):
    """A text for whoever debugs the peer (RFC 4253 section 11.3)."""

    always_display: Boolean
    text: String
    language: String


class ServiceRequest(Message, number=5):
    """Ask for a service by name (RFC 4253 section 10)."""

    service: Text


class ServiceAccept(Message, number=6):
    """The service asked for begins (RFC 4253 section 10)."""

    service: Text


class ExtInfo(Message, number=7):
    """Names and values of the extensions the sender knows (RFC 8308 section 2.3)."""

    count: UInt32
    pairs: Rest

    @classmethod
    def of(cls, extensions: dict[str, bytes]) -> Self:
        """The message that carries ``extensions``."""
        return cls(
            len(extensions),
            b"".join(string(name.encode()) + string(value) for name, value in extensions.items()),
        )

    def extensions(self) -> dict[str, bytes]:
        """The names and values; raises MalformedPacket beyond the bounds or for a name given twice."""
        if self.count > EXTENSIONS or len(self.pairs) > EXTENSION_BYTES:
            raise MalformedPacket(f"EXT_INFO with {self.count} extensions")
        cursor = Cursor(self.pairs)
        found: dict[str, bytes] = {}
        for _ in range(self.count):
            name = cursor.text()
            if name in found:
                raise MalformedPacket("EXT_INFO names an extension twice")
            found[name] = cursor.string()
        cursor.end("EXT_INFO")
        return found


class KexInit(Message, number=20):
    """What one side can do, in its order of preference (RFC 4253 section 7.1)."""

    cookie: Cookie
    kex_algorithms: NameList
    server_host_key_algorithms: NameList
    encryption_client_to_server: NameList
    encryption_server_to_client: NameList
    mac_client_to_server: NameList
    mac_server_to_client: NameList
    compression_client_to_server: NameList
    compression_server_to_client: NameList
    languages_client_to_server: String
    languages_server_to_client: String
    first_kex_packet_follows: Boolean
    reserved: UInt32


class NewKeys(Message, number=21):
    """From the next packet on the new keys hold (RFC 4253 section 7.3)."""


# The numbers 30 to 49 belong to the running key exchange: each family has its own reading.


class KexEcdhInit(Message, number=30):
    """The client's ephemeral value (RFC 5656 section 4, RFC 8731)."""

    client_public: String


class KexEcdhReply(Message, number=31):
    """The server's host key, ephemeral value and signature (RFC 5656 section 4)."""

    host_key: String
    server_public: String
    signature: String


class KexDhInit(Message, number=30):
    """The client's value e (RFC 4253 section 8)."""

    client_public: MPInt


class KexDhReply(Message, number=31):
    """The server's host key, value f and signature (RFC 4253 section 8)."""

    host_key: String
    server_public: MPInt
    signature: String


class KexGexRequestOld(Message, number=30):
    """The size of group wanted, as drafts of RFC 4419 asked for it."""

    preferred: UInt32


class KexGexGroup(Message, number=31):
    """The group to use (RFC 4419 section 3)."""

    prime: MPInt
    generator: MPInt


class KexGexInit(Message, number=32):
    """The client's value e in that group (RFC 4419 section 3)."""

    client_public: MPInt


class KexGexReply(Message, number=33):
    """The server's host key, value f and signature (RFC 4419 section 3)."""

    host_key: String
    server_public: MPInt
    signature: String


class KexGexRequest(Message, number=34):
    """The sizes of group wanted (RFC 4419 section 3)."""

    minimum: UInt32
    preferred: UInt32
    maximum: UInt32


class Ping(Message, number=192):
    """Ask for the same bytes back (ping@openssh.com)."""

    data: String


class Pong(Message, number=193):
    """The bytes of a Ping, back (ping@openssh.com)."""

    data: String
