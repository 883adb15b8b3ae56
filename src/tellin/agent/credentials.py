# SPDX-License-Identifier: MIT
"""What an agent holds and shows: private keys, with or without a certificate (draft-miller-ssh-cert)."""

from typing import Final

from tellin.errors import KeyFileError, MalformedPacket
from tellin.keys.certificates import Certificate, is_certificate_type
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.wire import Cursor, Record, string

Public = PublicKey | Certificate
"""What an agent shows of a key."""


class TokenKey(Record):
    """A key that stays on its PKCS#11 token; ``provider`` is the module that leads there."""

    public: PublicKey
    provider: str


class Credential(Record, secret=("key",)):
    """A private key, and the certificate it was given with."""

    key: PrivateKey | TokenKey
    certificate: Certificate | None = None

    @property
    def public(self) -> Public:
        """What it is known by."""
        return self.key.public if self.certificate is None else self.certificate

    def encode(self) -> bytes:
        """As a request to add it has it, without the comment."""
        assert isinstance(self.key, PrivateKey)
        if self.certificate is None:
            return self.key.encode()
        cursor = Cursor(self.key.encode())
        cursor.string()
        for _ in range(_REPEATED[self.key.public.kind]):
            cursor.string()
        name = string(self.certificate.key_type.encode("ascii"))
        return name + string(self.certificate.blob) + cursor.rest()

    @classmethod
    def read(cls, cursor: Cursor) -> "Credential":
        """Read one from a request; KeyFileError for what is damaged or does not belong together."""
        start = cursor.at
        key_type = cursor.string().decode("ascii", "replace")
        if not is_certificate_type(key_type):
            cursor.at = start
            return cls(PrivateKey.read(cursor))
        certificate = Certificate.from_blob(cursor.string())
        if certificate.key_type != key_type:
            raise KeyFileError(f"a certificate of another type than {key_type[:64]!r}")
        # Behind a certificate the numbers that are in it are not said again.
        inner = certificate.key
        missing = _public_part(inner)
        plain = Cursor(string(inner.key_type.encode("ascii")) + missing + cursor.rest())
        key = PrivateKey.read(plain)
        if key.public != inner:
            raise KeyFileError("a certificate for another key")
        cursor.data, cursor.at = plain.data, plain.at
        return cls(key, certificate)


# How many fields of a private key, behind its type, a certificate makes superfluous.
# Of a security key's key the application stands in both.
_REPEATED: Final = {"ED25519": 0, "ECDSA": 2, "RSA": 2, "ED25519-SK": 1, "ECDSA-SK": 2}


def _public_part(key: PublicKey) -> bytes:
    """Those fields, in the order of the private key."""
    count = _REPEATED.get(key.kind)
    if count is None:
        raise KeyFileError(f"a certificate for a {key.kind} key, which no agent here can use")
    cursor = Cursor(key.blob)
    cursor.string()
    fields = [string(cursor.string()) for _ in range(count)]
    # An RSA blob has the exponent first, the private form the modulus.
    return b"".join(reversed(fields) if key.kind == "RSA" else fields)


def read_public(blob: bytes, comment: str = "") -> Public:
    """The key or certificate of a blob; KeyFileError for anything else."""
    try:
        key_type = Cursor(blob).string().decode("ascii", "replace")
    except MalformedPacket as error:
        raise KeyFileError(f"a key without a type: {error}") from None
    if is_certificate_type(key_type):
        return Certificate.from_blob(blob, comment)
    return PublicKey.from_blob(blob, comment)
