# SPDX-License-Identifier: MIT
"""Keys inside security keys: what such a key really signs, and how its file holds it (OpenSSH PROTOCOL.u2f).

Signatures are checked here. To make one, the security key itself is needed, which a helper process
can reach.
"""

import binascii
from typing import Any, Final

from tellin.algorithms.hashing import digest
from tellin.errors import KeyFileError, SignatureFailed
from tellin.keys.kinds import Ed25519, Kind, SecurityKey
from tellin.wire import Cursor, Record, string

WEBAUTHN: Final = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"

# Bits of an authenticator's flags (Web Authentication section 6.1).
_USER_PRESENT: Final = 0x01
_USER_VERIFIED: Final = 0x04
_ATTESTED_DATA: Final = 0x40
_EXTENSION_DATA: Final = 0x80


class Assertion(Record):
    """What a security key says beside its signature; the last three only by way of a browser."""

    flags: int
    counter: int
    origin: bytes | None = None
    client_data: bytes = b""
    extensions: bytes = b""

    @classmethod
    def read(cls, cursor: Cursor, algorithm: str) -> "Assertion":
        """The fields behind the signature; raises MalformedPacket."""
        flags = cursor.byte()
        counter = cursor.uint32()
        if algorithm != WEBAUTHN:
            return cls(flags, counter)
        return cls(flags, counter, cursor.string(), cursor.string(), cursor.string())

    @property
    def touched(self) -> bool:
        """Whether somebody was there."""
        return bool(self.flags & _USER_PRESENT)

    @property
    def verified(self) -> bool:
        """Whether the security key knew who, by a PIN or a finger."""
        return bool(self.flags & _USER_VERIFIED)

    def message(self, blob: bytes, data: bytes) -> bytes | None:
        """What the security key of ``blob`` has signed if it signed ``data``; None if it cannot have."""
        signed = data
        if self.origin is not None:
            # PROTOCOL.u2f: a signature says of itself what it has; and an origin with a quote in
            # it could end the string that it stands in.
            extended = bool(self.flags & _EXTENSION_DATA)
            if (
                b'"' in self.origin
                or self.flags & _ATTESTED_DATA
                or extended is not bool(self.extensions)
                or not self.client_data.startswith(_client_data(data, self.origin))
            ):
                return None
            signed = self.client_data
        head = digest("sha256", application_of(blob)) + bytes((self.flags,))
        return head + self.counter.to_bytes(4, "big") + self.extensions + digest("sha256", signed)


def _client_data(data: bytes, origin: bytes) -> bytes:
    """How the JSON that a browser has signed must begin; what follows is the browser's affair."""
    challenge = binascii.b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")
    return b'{"type":"webauthn.get","challenge":"' + challenge + b'","origin":"' + origin + b'"'


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def application_of(blob: bytes) -> bytes:
    """The name that the key of a sound ``blob`` is bound to, which stands last."""
    cursor = Cursor(blob)
    application = b""
    while cursor.remaining():
        application = cursor.string()
    return application


class SecurityKeySecret:
    """What a file holds of such a key: a handle that its security key alone can use."""

    native: Any = None

    def __init__(
        self, public_blob: bytes, *, flags: int, handle: bytes, reserved: bytes = b""
    ) -> None:
        self.public_blob = public_blob
        self.key_type = Cursor(public_blob).string().decode("ascii")
        self.flags = flags
        self.handle = handle
        self._reserved = reserved

    def sign(self, data: bytes, hash_name: str) -> bytes:
        """Not here: a helper process asks the security key (``tellin.client.authentication.tokens``)."""
        raise SignatureFailed(
            "the security key that holds this key cannot be reached from here",
            hint="load the key into an agent, which can",
        )

    def fields(self) -> bytes:
        """The public fields; then flags, handle and a reserved string."""
        cursor = Cursor(self.public_blob)
        cursor.string()
        rest = bytes((self.flags,)) + string(self.handle) + string(self._reserved)
        return cursor.rest() + rest


def verifier(kind: Kind, blob: bytes) -> Any:
    """The inner key of a blob; ``Assertion.message`` is what it has signed."""
    inner = _inner(kind)
    if isinstance(inner, Ed25519):
        from tellin.keys import ed25519  # noqa: PLC0415  (start-up: only the kind in use)

        return ed25519.verifier(inner, blob)
    from tellin.keys import ecdsa  # noqa: PLC0415  (the same)

    return ecdsa.verifier(inner, blob)


def read_secret(kind: Kind, cursor: Cursor) -> SecurityKeySecret:
    """Public fields, flags, handle and a reserved string."""
    start = cursor.at
    kind.examine(cursor)
    public = bytes(cursor.data[start : cursor.at])
    flags = cursor.byte()
    handle, reserved = cursor.string(), cursor.string()
    return SecurityKeySecret(
        string(kind.key_type.encode("ascii")) + public,
        flags=flags,
        handle=handle,
        reserved=reserved,
    )


def generate(kind: Kind, bits: int) -> SecurityKeySecret:
    """Only inside a security key."""
    raise _elsewhere()


def public_blob(kind: Kind, native: Any) -> bytes:
    """No other format has such keys."""
    raise _elsewhere()


def adopt(kind: Kind, native: Any) -> SecurityKeySecret:
    """The same."""
    raise _elsewhere()


def _inner(kind: Kind) -> Kind:
    if not isinstance(kind, SecurityKey):
        raise TypeError(f"{kind.key_type} is no kind of security key")
    return kind.inner


def _elsewhere() -> KeyFileError:
    return KeyFileError("a key for a security key is made by one, and stands in no other format")
