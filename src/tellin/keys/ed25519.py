# SPDX-License-Identifier: MIT
"""Ed25519: the arithmetic of RFC 8032 by way of PyCA."""

from typing import Any

from cryptography.exceptions import InvalidSignature

from tellin.algorithms import fresh_keys
from tellin.errors import KeyFileError
from tellin.keys.kinds import Kind
from tellin.wire import Cursor, string


class Ed25519Verifier:
    """Checks signatures; S of the group's order or more is refused by the library (RFC 8032 5.1.7)."""

    def __init__(self, point: bytes) -> None:
        self.native = fresh_keys.ed25519_public(point)

    def verify(self, signature: bytes, data: bytes, hash_name: str) -> bool:
        """64 bytes, R and S; the hash is part of the method."""
        if len(signature) != 64:
            return False
        try:
            self.native.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def _blob(native: Any) -> bytes:
    return string(b"ssh-ed25519") + string(native.public_bytes_raw())


class Ed25519Secret:
    """A seed of 32 bytes and the point it leads to."""

    key_type = "ssh-ed25519"

    def __init__(self, native: Any) -> None:
        self.native = native
        public = native.public_key()
        self._point: bytes = public.public_bytes_raw()
        self.public_blob = _blob(public)

    def sign(self, data: bytes, hash_name: str) -> bytes:
        """R and S."""
        signature: bytes = self.native.sign(data)
        return signature

    def fields(self) -> bytes:
        """Point, then seed and point as one string."""
        seed: bytes = self.native.private_bytes_raw()
        return string(self._point) + string(seed + self._point)


def verifier(kind: Kind, blob: bytes) -> Ed25519Verifier:
    """The public key of a blob."""
    cursor = Cursor(blob)
    cursor.string()
    return Ed25519Verifier(cursor.string())


def read_secret(kind: Kind, cursor: Cursor) -> Ed25519Secret:
    """Point, then seed and point once more; all must agree."""
    point = cursor.string()
    pair = cursor.string()
    if len(point) != 32 or len(pair) != 64:
        raise KeyFileError("an Ed25519 private key of the wrong length")
    secret = Ed25519Secret(fresh_keys.ed25519_secret(pair[:32]))
    # Signing with a public half that the file supplies would give the seed away to whoever can
    # change it, so the point is computed and the file's copies are only compared.
    if secret.fields() != string(point) + string(pair):
        raise KeyFileError("the halves of an Ed25519 key do not belong together")
    return secret


def generate(kind: Kind, bits: int) -> Ed25519Secret:
    """A new key; there is one size."""
    return Ed25519Secret(fresh_keys.ed25519())


def public_blob(kind: Kind, native: Any) -> bytes:
    """The blob of a public key that the library has read."""
    return _blob(native)


def adopt(kind: Kind, native: Any) -> Ed25519Secret:
    """A key that the library has read."""
    return Ed25519Secret(native)
