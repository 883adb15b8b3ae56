# SPDX-License-Identifier: MIT
"""A key encapsulation beside an elliptic curve: what is recorded today stays secret while one of them holds.

ML-KEM-768 with two curves (draft-ietf-sshm-mlkem-hybrid-kex), and Streamlined NTRU Prime 761 with
Curve25519 (RFC 9941). Both documents put the two values of a side in one string, the
encapsulation's first, and hash the two secrets in the same order.
"""

from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm

from tellin.algorithms import fresh_keys
from tellin.algorithms.elliptic_curves import Curve
from tellin.algorithms.hashing import digest
from tellin.errors import KeyExchangeFailed
from tellin.wire import string


class EncapsulationKey(Protocol):
    """One side's fresh key of a key encapsulation."""

    public: bytes

    def decapsulate(self, ciphertext: bytes, /) -> bytes:
        """The secret in ``ciphertext``, which has the right length already.

        A forged one gives a secret that nobody else has, and the host key's signature does not fit then.
        """


class Encapsulation(Protocol):
    """A key encapsulation mechanism: the sizes of what it sends, and both its halves."""

    public_size: int
    ciphertext_size: int
    hash_name: str  # of the method that it is part of

    def generate(self) -> EncapsulationKey:
        """A fresh key; raises KeyExchangeFailed where there is none to be had."""

    def encapsulate(self, public: bytes, /) -> tuple[bytes, bytes]:
        """Secret and ciphertext for a key of the right length; raises KeyExchangeFailed."""


class _MlKem768Key:
    def __init__(self, native: Any) -> None:
        self.public: bytes = native.public_key().public_bytes_raw()
        self._native = native

    def decapsulate(self, ciphertext: bytes) -> bytes:
        # FIPS 203 section 7.3 takes every string of the right length.
        secret: bytes = self._native.decapsulate(ciphertext)
        return secret


class MlKem768:
    """ML-KEM-768 (FIPS 203)."""

    public_size = 1184
    ciphertext_size = 1088
    hash_name = "sha256"

    def generate(self) -> EncapsulationKey:
        """A fresh key."""
        try:
            return _MlKem768Key(fresh_keys.mlkem768())
        except UnsupportedAlgorithm:
            raise _missing() from None

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        """Secret and ciphertext."""
        try:
            # FIPS 203 section 7.2: a key with a coefficient past the modulus is refused.
            secret, ciphertext = fresh_keys.mlkem768_public(public).encapsulate()
        except ValueError:
            raise KeyExchangeFailed("the peer's value is no ML-KEM-768 key") from None
        except UnsupportedAlgorithm:
            raise _missing() from None
        return secret, ciphertext


def _missing() -> KeyExchangeFailed:
    return KeyExchangeFailed(
        "this build of the cryptography package has no ML-KEM",
        hint="install its wheel from PyPI, or take mlkem768* out of KexAlgorithms",
    )


def _split(peer_public: bytes, kem_size: int, curve_size: int) -> tuple[bytes, bytes]:
    # Each part has one length, so the whole has (R042).
    if len(peer_public) != kem_size + curve_size:
        raise KeyExchangeFailed(
            f"a public value of {len(peer_public)} bytes where {kem_size + curve_size} make one"
        )
    return peer_public[:kem_size], peer_public[kem_size:]


class HybridInitiator:
    """The client's half: it sends an encapsulation key, and its value on the curve behind it."""

    def __init__(self, kem: Encapsulation, curve: Curve) -> None:
        self._sizes = kem.ciphertext_size, curve.size
        self._hash_name = kem.hash_name
        self._kem_key = kem.generate()
        self._curve_key = curve.generate()
        self.public = self._kem_key.public + self._curve_key.public

    def finish(self, peer_public: bytes) -> bytes:
        """The shared secret as it is hashed; raises KeyExchangeFailed."""
        ciphertext, curve_public = _split(peer_public, *self._sizes)
        curve_secret = self._curve_key.secret(curve_public)
        return _joined(self._hash_name, self._kem_key.decapsulate(ciphertext), curve_secret)


class Hybrid:
    """A key encapsulation and one curve."""

    def __init__(self, kem: Encapsulation, curve: Curve) -> None:
        self._kem = kem
        self._curve = curve

    def start(self, *group: int) -> HybridInitiator:
        """The client's half."""
        return HybridInitiator(self._kem, self._curve)

    def respond(self, peer_public: bytes, *group: int) -> tuple[bytes, bytes]:
        """The server's half: ciphertext and value on the curve, and the secret."""
        kem, curve = self._kem, self._curve
        kem_public, curve_public = _split(peer_public, kem.public_size, curve.size)
        # The curve first: what it refuses costs a stranger's handshake no encapsulation (R038).
        ours = curve.generate()
        curve_secret = ours.secret(curve_public)
        kem_secret, ciphertext = kem.encapsulate(kem_public)
        return ciphertext + ours.public, _joined(kem.hash_name, kem_secret, curve_secret)


def _joined(hash_name: str, kem_secret: bytes, curve_secret: bytes) -> bytes:
    """The secret as it is hashed: a string, since as a number it would lose leading zeros."""
    return string(digest(hash_name, kem_secret + curve_secret))
