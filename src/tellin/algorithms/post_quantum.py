# SPDX-License-Identifier: MIT
"""ML-KEM-768 beside an elliptic curve (draft-ietf-sshm-mlkem-hybrid-kex): safe while one of them is."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm

from tellin.algorithms import fresh_keys
from tellin.algorithms.elliptic_curves import Curve
from tellin.algorithms.hashing import digest
from tellin.errors import KeyExchangeFailed
from tellin.wire import string

_ENCAPSULATION_KEY: Final = 1184
_CIPHERTEXT: Final = 1088


def _joined(kem_secret: bytes, curve_secret: bytes) -> bytes:
    """The secret as it is hashed: a string, since as a number it would lose leading zeros."""
    return string(digest("sha256", kem_secret + curve_secret))


def _split(peer_public: bytes, kem_size: int, curve_size: int) -> tuple[bytes, bytes]:
    # Each part has one length, so the whole has (R042).
    if len(peer_public) != kem_size + curve_size:
        raise KeyExchangeFailed(
            f"a public value of {len(peer_public)} bytes where {kem_size + curve_size} make one"
        )
    return peer_public[:kem_size], peer_public[kem_size:]


def _missing() -> KeyExchangeFailed:
    return KeyExchangeFailed(
        "this build of the cryptography package has no ML-KEM",
        hint="install its wheel from PyPI, or take mlkem768* out of KexAlgorithms",
    )


class HybridInitiator:
    """The client's half: it sends an encapsulation key, and its value on the curve behind it."""

    def __init__(self, curve: Curve) -> None:
        self._curve_size = curve.size
        try:
            self._kem = fresh_keys.mlkem768()
        except UnsupportedAlgorithm:
            raise _missing() from None
        self._key = curve.generate()
        self.public = self._kem.public_key().public_bytes_raw() + self._key.public

    def finish(self, peer_public: bytes) -> bytes:
        """The shared secret as it is hashed; raises KeyExchangeFailed."""
        ciphertext, curve_public = _split(peer_public, _CIPHERTEXT, self._curve_size)
        curve_secret = self._key.secret(curve_public)
        # A forged ciphertext gives a secret that nobody else has (FIPS 203 section 7.3): the
        # host key's signature then does not fit.
        return _joined(self._kem.decapsulate(ciphertext), curve_secret)


class Hybrid:
    """ML-KEM-768 and one curve."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve

    def start(self, *group: int) -> HybridInitiator:
        """The client's half."""
        return HybridInitiator(self._curve)

    def respond(self, peer_public: bytes, *group: int) -> tuple[bytes, bytes]:
        """The server's half: ciphertext and value on the curve, and the secret."""
        kem_public, curve_public = _split(peer_public, _ENCAPSULATION_KEY, self._curve.size)
        try:
            # FIPS 203 section 7.2: a key with a coefficient past the modulus is refused.
            kem = fresh_keys.mlkem768_public(kem_public)
        except ValueError:
            raise KeyExchangeFailed("the peer's value is no ML-KEM-768 key") from None
        except UnsupportedAlgorithm:
            raise _missing() from None
        ours = self._curve.generate()
        curve_secret = ours.secret(curve_public)
        kem_secret, ciphertext = kem.encapsulate()
        return ciphertext + ours.public, _joined(kem_secret, curve_secret)
