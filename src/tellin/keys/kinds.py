# SPDX-License-Identifier: MIT
"""The kinds of keys: what each is made of, and what is refused.

Nothing here imports a cryptography library: a line of known_hosts or authorized_keys is checked
in full without one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from tellin.algorithms.signatures import SIGNATURES
from tellin.errors import KeyFileError, MalformedPacket
from tellin.wire import Cursor

# RFC 8332 section 3 and R074: below, factoring is in reach; above, one check costs seconds.
RSA_LEAST_BITS: Final = 1024
RSA_MOST_BITS: Final = 16384
RSA_EXPONENT_BITS: Final = 24


class Kind(ABC):
    """One kind of key; ``signatures`` maps algorithm names, best first, to their hashes.

    ``on_token``: the private half is inside a security key, and signatures say what that saw.
    """

    on_token = False

    def __init__(self, key_type: str, name: str, *, source: str) -> None:
        self.key_type = key_type
        self.name = name
        self.source = source
        # SHA-1 is not among them: what is not listed cannot slip in (R077).
        self.signatures: Mapping[str, str] = {
            row.name: row.hash_name
            for row in SIGNATURES
            if row.key_type == key_type and row.hash_name != "sha1"
        }

    @abstractmethod
    def examine(self, cursor: Cursor) -> int:
        """Read the public fields behind the type and judge them; the answer is the size in bits."""


class Ed25519(Kind):
    """A point of edwards25519, 32 bytes (RFC 8709)."""

    def examine(self, cursor: Cursor) -> int:
        """One string."""
        # A short point made Go's verifier panic (CVE-2020-9283).
        size = len(cursor.string())
        if size != 32:
            raise KeyFileError(f"an Ed25519 public key of {size} bytes instead of 32")
        return 256


class Curve:
    """y^2 = x^3 - 3x + b over the integers modulo ``prime``, with a group of ``order`` points."""

    __slots__ = ("b", "bits", "name", "order", "prime", "size")

    def __init__(self, name: str, bits: int, *, prime: int, b: int, order: int) -> None:
        self.name = name
        self.bits = bits
        self.size = (bits + 7) // 8
        self.prime = prime
        self.b = b
        self.order = order

    def holds(self, point: bytes) -> bool:
        """Whether ``point`` is an uncompressed point of the curve (SEC 1 section 2.3.4)."""
        if len(point) != 1 + 2 * self.size or point[0] != 4:
            return False
        x = int.from_bytes(point[1 : 1 + self.size], "big")
        y = int.from_bytes(point[1 + self.size :], "big")
        if x >= self.prime or y >= self.prime:
            return False
        return (y * y - (x * x * x - 3 * x + self.b)) % self.prime == 0


# SEC 2 sections 2.4.2, 2.5.1 and 2.6.1. All three have cofactor 1: a point of the curve is a
# point of the group.
NISTP256: Final = Curve(
    "nistp256",
    256,
    prime=2**256 - 2**224 + 2**192 + 2**96 - 1,
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    order=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
NISTP384: Final = Curve(
    "nistp384",
    384,
    prime=2**384 - 2**128 - 2**96 + 2**32 - 1,
    b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    order=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
)
NISTP521: Final = Curve(
    "nistp521",
    521,
    prime=2**521 - 1,
    b=0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    order=0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
)


class Ecdsa(Kind):
    """A point of one of the NIST curves (RFC 5656 section 3.1)."""

    def __init__(self, curve: Curve) -> None:
        super().__init__(f"ecdsa-sha2-{curve.name}", "ECDSA", source="RFC 5656 section 3.1")
        self.curve = curve

    def examine(self, cursor: Cursor) -> int:
        """The curve's name once more, and a point that is checked to lie on it."""
        curve = cursor.string()
        if curve != self.curve.name.encode():
            raise KeyFileError(f"a key of type {self.key_type} on another curve")
        if not self.curve.holds(cursor.string()):
            raise KeyFileError(f"a public key that is no point of {self.curve.name}")
        return self.curve.bits


class Rsa(Kind):
    """An exponent and a modulus (RFC 4253 section 6.6); signatures of RFC 8332."""

    def examine(self, cursor: Cursor) -> int:
        """Exponent, then modulus."""
        exponent = cursor.mpint()
        return self.judge(modulus=cursor.mpint(), exponent=exponent)

    @staticmethod
    def judge(*, modulus: int, exponent: int) -> int:
        """Refuse what is too weak to trust or too large to compute with; the answer is the size."""
        bits = modulus.bit_length()
        if modulus < 0 or bits < RSA_LEAST_BITS:
            raise KeyFileError(f"an RSA key of {bits} bits is too short")
        if bits > RSA_MOST_BITS:
            raise KeyFileError(f"an RSA key of {bits} bits is too long")
        if modulus % 2 == 0:
            raise KeyFileError("an RSA modulus that is even")
        if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > RSA_EXPONENT_BITS:
            raise KeyFileError("an RSA exponent that is even, too small or too large")
        return bits


class Composite(Kind):
    """An ML-DSA-44 key and an Ed25519 key in one string; both must sign (OpenSSH 10.4)."""

    def examine(self, cursor: Cursor) -> int:
        """One string; OpenSSH too says 256 bits, which is what the curve's half has."""
        size = len(cursor.string())
        if size != MLDSA44_PUBLIC_BYTES + 32:
            raise KeyFileError(f"an ML-DSA-44 and Ed25519 public key of {size} bytes")
        return 256


MLDSA44_PUBLIC_BYTES: Final = 1312


class SecurityKey(Kind):
    """A key inside a security key: one of another kind, and what it is bound to (PROTOCOL.u2f)."""

    on_token = True

    def __init__(self, inner: Kind, key_type: str) -> None:
        super().__init__(key_type, f"{inner.name}-SK", source="OpenSSH PROTOCOL.u2f")
        self.inner = inner

    def examine(self, cursor: Cursor) -> int:
        """The inner key's fields, and the application's name."""
        bits = self.inner.examine(cursor)
        application = cursor.string()
        if b"\0" in application or len(application) > APPLICATION_BYTES:
            raise KeyFileError("a key of a security key for no sound application")
        return bits


# As long as a name of the Domain Name System can be, which it stands for; ``ssh:`` is the usual one.
APPLICATION_BYTES: Final = 255

_ED25519: Final = Ed25519("ssh-ed25519", "ED25519", source="RFC 8709 section 4")
_NISTP256: Final = Ecdsa(NISTP256)

KINDS: Final[Mapping[str, Kind]] = {
    kind.key_type: kind
    for kind in (
        _ED25519,
        _NISTP256,
        Ecdsa(NISTP384),
        Ecdsa(NISTP521),
        SecurityKey(_ED25519, "sk-ssh-ed25519@openssh.com"),
        SecurityKey(_NISTP256, "sk-ecdsa-sha2-nistp256@openssh.com"),
        Rsa("ssh-rsa", "RSA", source="RFC 8332 section 3"),
        Composite(
            "ssh-mldsa44-ed25519@openssh.com",
            "MLDSA44-ED25519",
            source="draft-miller-sshm-mldsa44-ed25519-composite-sigs",
        ),
    )
}


def kind_of(cursor: Cursor) -> Kind:
    """Read a key's type; KeyFileError if it is not one of ours."""
    try:
        key_type = cursor.string()
    except MalformedPacket as error:
        raise KeyFileError(f"a key without a type: {error}") from None
    try:
        return KINDS[key_type.decode("ascii")]
    except (KeyError, UnicodeDecodeError):
        raise KeyFileError(f"a key of the unknown type {key_type[:64]!r}") from None
