# SPDX-License-Identifier: MIT
"""Elliptic-curve Diffie-Hellman (RFC 5656, RFC 8731): public values are strings of one exact length."""

from typing import Any, Protocol

from tellin.algorithms import fresh_keys
from tellin.errors import KeyExchangeFailed, ProtocolError
from tellin.wire import mpint


class CurveKey(Protocol):
    """One side's fresh key."""

    public: bytes

    def secret(self, peer_public: bytes) -> bytes:
        """The shared secret, of fixed length; ``peer_public`` has the right length already."""


class Curve(Protocol):
    """A curve: how long its public values are, and how a key on it is made."""

    size: int

    def generate(self) -> CurveKey:
        """A fresh key."""


class Curve25519Key:
    """One side's fresh key on Curve25519."""

    def __init__(self, private: Any) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()

    def secret(self, peer_public: bytes) -> bytes:
        """The shared secret; raises KeyExchangeFailed."""
        try:
            shared: bytes = self._private.exchange(fresh_keys.x25519_public(peer_public))
        except ValueError:
            # RFC 8731 section 3: the points of small order make a secret of zeros (R039).
            raise KeyExchangeFailed("the peer's Curve25519 value makes no secret") from None
        return shared


class Curve25519:
    """Curve25519 (RFC 7748)."""

    size = 32

    def generate(self) -> CurveKey:
        """A fresh key."""
        return Curve25519Key(fresh_keys.x25519())


class EllipticCurveInitiator:
    """The client's half."""

    def __init__(self, curve: Curve) -> None:
        self._size = curve.size
        self._key = curve.generate()
        self.public = self._key.public

    def finish(self, peer_public: bytes) -> bytes:
        """The shared secret as it is hashed; raises ProtocolError or KeyExchangeFailed."""
        check_size(peer_public, self._size)
        return mpint(int.from_bytes(self._key.secret(peer_public), "big"))


class EllipticCurve:
    """ECDH on one curve."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve

    def start(self, *group: int) -> EllipticCurveInitiator:
        """The client's half."""
        return EllipticCurveInitiator(self._curve)

    def respond(self, peer_public: bytes, *group: int) -> tuple[bytes, bytes]:
        """The server's half: its public value and the secret."""
        # Before any key is made for a stranger.
        check_size(peer_public, self._curve.size)
        ours = EllipticCurveInitiator(self._curve)
        return ours.public, ours.finish(peer_public)


def check_size(peer_public: bytes, size: int) -> None:
    """A public value of another length is no value of this method (R040); raises ProtocolError."""
    if len(peer_public) != size:
        raise ProtocolError(f"a public value of {len(peer_public)} bytes where {size} make one")
