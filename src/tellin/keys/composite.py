# SPDX-License-Identifier: MIT
"""ML-DSA-44 beside Ed25519, by way of PyCA: a signature holds while one of the two is unbroken.

The combination is that of draft-ietf-lamps-pq-composite-sigs, in the encoding of
draft-miller-sshm-mldsa44-ed25519-composite-sigs.
"""

from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from tellin.algorithms.hashing import digest
from tellin.errors import KeyFileError, SignatureFailed
from tellin.keys.kinds import MLDSA44_PUBLIC_BYTES, Kind
from tellin.wire import Cursor, string

_LABEL: Final = b"COMPSIG-MLDSA44-Ed25519-SHA512"
_MLDSA_SIGNATURE: Final = 2420
_SIGNATURE: Final = _MLDSA_SIGNATURE + 64
_SEED: Final = 32


def _message(data: bytes) -> bytes:
    """What both halves sign: the zero is the length of a context, of which there is none."""
    return b"CompositeAlgorithmSignatures2025" + _LABEL + b"\0" + digest("sha512", data)


class CompositeVerifier:
    """Checks both signatures."""

    native: Any = None

    def __init__(self, both: bytes) -> None:
        self._mldsa: MLDSA44PublicKey | None = None
        with suppress(UnsupportedAlgorithm):
            self._mldsa = MLDSA44PublicKey.from_public_bytes(both[:MLDSA44_PUBLIC_BYTES])
        self._ed25519 = Ed25519PublicKey.from_public_bytes(both[MLDSA44_PUBLIC_BYTES:])

    def verify(self, signature: bytes, data: bytes, hash_name: str) -> bool:
        """ML-DSA's signature and Ed25519's, one behind the other."""
        if len(signature) != _SIGNATURE or self._mldsa is None:
            return False
        message = _message(data)
        try:
            self._mldsa.verify(signature[:_MLDSA_SIGNATURE], message, _LABEL)
            self._ed25519.verify(signature[_MLDSA_SIGNATURE:], message)
        except InvalidSignature:
            return False
        return True


class CompositeSecret:
    """Two seeds of 32 bytes."""

    key_type = "ssh-mldsa44-ed25519@openssh.com"
    native: Any = None

    def __init__(self, seeds: bytes) -> None:
        try:
            self._mldsa = MLDSA44PrivateKey.from_seed_bytes(seeds[:_SEED])
        except UnsupportedAlgorithm:
            raise _missing() from None
        self._ed25519 = Ed25519PrivateKey.from_private_bytes(seeds[_SEED:])
        self._seeds = seeds
        self._public = (
            self._mldsa.public_key().public_bytes_raw()
            + self._ed25519.public_key().public_bytes_raw()
        )
        self.public_blob = string(self.key_type.encode("ascii")) + string(self._public)

    def sign(self, data: bytes, hash_name: str) -> bytes:
        """Both signatures."""
        message = _message(data)
        return self._mldsa.sign(message, _LABEL) + self._ed25519.sign(message)

    def fields(self) -> bytes:
        """The public half, then the seeds."""
        return string(self._public) + string(self._seeds)


def _missing() -> SignatureFailed:
    return SignatureFailed(
        "this build of the cryptography package has no ML-DSA",
        hint="install its wheel from PyPI",
    )


def verifier(kind: Kind, blob: bytes) -> CompositeVerifier:
    """The public key of a blob."""
    cursor = Cursor(blob)
    cursor.string()
    return CompositeVerifier(cursor.string())


def read_secret(kind: Kind, cursor: Cursor) -> CompositeSecret:
    """The public half, which must follow from the seeds, and they."""
    public, seeds = cursor.string(), cursor.string()
    if len(seeds) != 2 * _SEED:
        raise KeyFileError("an ML-DSA-44 and Ed25519 private key of the wrong length")
    secret = CompositeSecret(seeds)
    if secret.fields() != string(public) + string(seeds):
        raise KeyFileError("the halves of an ML-DSA-44 and Ed25519 key do not belong together")
    return secret


def generate(kind: Kind, bits: int) -> CompositeSecret:
    """A new key; there is one size."""
    from secrets import token_bytes  # noqa: PLC0415  (start-up time)

    return CompositeSecret(token_bytes(2 * _SEED))


def public_blob(kind: Kind, native: Any) -> bytes:
    """No other format has such keys."""
    raise KeyFileError("a composite key stands in no other format")


def adopt(kind: Kind, native: Any) -> CompositeSecret:
    """The same."""
    raise KeyFileError("a composite key stands in no other format")
