# SPDX-License-Identifier: MIT
"""The curves P-256, P-384 and P-521 of FIPS 186 for key exchange (RFC 5656 section 4)."""

from cryptography.hazmat.primitives.asymmetric import ec

from tellin.algorithms.elliptic_curves import CurveKey
from tellin.errors import KeyExchangeFailed


class NistKey:
    """One side's fresh key: its public value is an uncompressed point, the secret an x coordinate."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        # Put together here: PyCA's module of encodings costs 40 ms of start-up.
        point = private.public_key().public_numbers()
        size = (private.curve.key_size + 7) // 8
        self.public = b"\4" + point.x.to_bytes(size, "big") + point.y.to_bytes(size, "big")

    def secret(self, peer_public: bytes) -> bytes:
        """The shared secret, of fixed length; raises KeyExchangeFailed."""
        try:
            # Off the curve, or at infinity: such a point gives bits of our key away (R039).
            point = ec.EllipticCurvePublicKey.from_encoded_point(self._private.curve, peer_public)
            return self._private.exchange(ec.ECDH(), point)
        except ValueError:
            raise KeyExchangeFailed("the peer's value is not a point of the curve") from None


class NistCurve:
    """One of the curves."""

    def __init__(self, bits: int) -> None:
        curves: dict[int, ec.EllipticCurve] = {
            256: ec.SECP256R1(),
            384: ec.SECP384R1(),
            521: ec.SECP521R1(),
        }
        self._curve = curves[bits]
        self.size = 1 + 2 * ((bits + 7) // 8)

    def generate(self) -> CurveKey:
        """A fresh key."""
        return NistKey(ec.generate_private_key(self._curve))
