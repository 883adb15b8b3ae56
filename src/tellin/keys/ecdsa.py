# SPDX-License-Identifier: MIT
"""ECDSA on the NIST curves (RFC 5656) by way of PyCA, which also makes every nonce (R045)."""

from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from tellin.errors import KeyFileError, MalformedPacket
from tellin.keys.kinds import KINDS, Curve, Ecdsa, Kind
from tellin.wire import Cursor, mpint, string

_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "nistp256": ec.SECP256R1(),
    "nistp384": ec.SECP384R1(),
    "nistp521": ec.SECP521R1(),
}
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def _curve_of(kind: Kind) -> Curve:
    if not isinstance(kind, Ecdsa):
        raise TypeError(f"{kind.key_type} is no kind of ECDSA")
    return kind.curve


class EcdsaVerifier:
    """Checks signatures of one curve."""

    def __init__(self, curve: Curve, point: bytes) -> None:
        self._order = curve.order
        self.native = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve.name], point)

    def verify(self, signature: bytes, data: bytes, hash_name: str) -> bool:
        """Two integers, r and s, each in the group's order (RFC 5656 section 3.1.2)."""
        cursor = Cursor(signature)
        try:
            # The cursor lets each number through in its one shortest form only, so a signature
            # cannot be respelled.
            r = cursor.mpint()
            s = cursor.mpint()
            cursor.end("an ECDSA signature")
        except MalformedPacket:
            return False
        if not (0 < r < self._order and 0 < s < self._order):
            return False
        try:
            self.native.verify(encode_dss_signature(r, s), data, ec.ECDSA(_HASHES[hash_name]))
        except InvalidSignature:
            return False
        return True


def _public_fields(curve: Curve, native: ec.EllipticCurvePublicKey) -> bytes:
    numbers = native.public_numbers()
    x, y = (number.to_bytes(curve.size, "big") for number in (numbers.x, numbers.y))
    return string(curve.name.encode("ascii")) + string(b"\4" + x + y)


class EcdsaSecret:
    """A scalar and the point it leads to."""

    def __init__(self, curve: Curve, native: ec.EllipticCurvePrivateKey) -> None:
        self.native = native
        self.key_type = f"ecdsa-sha2-{curve.name}"
        self._public_fields = _public_fields(curve, native.public_key())
        self.public_blob = string(self.key_type.encode("ascii")) + self._public_fields

    def sign(self, data: bytes, hash_name: str) -> bytes:
        """Again r and s."""
        r, s = decode_dss_signature(self.native.sign(data, ec.ECDSA(_HASHES[hash_name])))
        return mpint(r) + mpint(s)

    def fields(self) -> bytes:
        """Curve, point, scalar."""
        return self._public_fields + mpint(self.native.private_numbers().private_value)


def verifier(kind: Kind, blob: bytes) -> EcdsaVerifier:
    """The public key of a blob."""
    cursor = Cursor(blob)
    cursor.string()
    cursor.string()
    return EcdsaVerifier(_curve_of(kind), cursor.string())


def read_secret(kind: Kind, cursor: Cursor) -> EcdsaSecret:
    """Curve, point and scalar; the scalar must lead to the point."""
    curve = _curve_of(kind)
    if cursor.string() != curve.name.encode("ascii"):
        raise KeyFileError(f"a key of type {kind.key_type} on another curve")
    point = cursor.string()
    scalar = cursor.mpint()
    if not 0 < scalar < curve.order:
        raise KeyFileError("an ECDSA private key outside the curve's order")
    secret = EcdsaSecret(curve, ec.derive_private_key(scalar, _CURVES[curve.name]))
    if not secret.public_blob.endswith(string(point)):
        raise KeyFileError("the halves of an ECDSA key do not belong together")
    return secret


def generate(kind: Kind, bits: int) -> EcdsaSecret:
    """A new key; the kind is the size."""
    curve = _curve_of(kind)
    return EcdsaSecret(curve, ec.generate_private_key(_CURVES[curve.name]))


def public_blob(kind: Kind, native: Any) -> bytes:
    """The blob of a public key that the library has read."""
    return string(kind.key_type.encode("ascii")) + _public_fields(_curve_of(kind), native)


def adopt(kind: Kind, native: Any) -> EcdsaSecret:
    """A key that the library has read, and has held against its curve."""
    return EcdsaSecret(_curve_of(kind), native)


def kind_of_native(native: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> Kind:
    """Which of our kinds a key of the library is; KeyFileError for other curves."""
    for kind in KINDS.values():
        if isinstance(kind, Ecdsa) and _CURVES[kind.curve.name].name == native.curve.name:
            return kind
    raise KeyFileError(f"a key on the curve {native.curve.name}, which is not supported")
