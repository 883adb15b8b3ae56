# SPDX-License-Identifier: MIT
"""Private keys: made, written, and signing."""

from collections.abc import Callable
from typing import Protocol, Self

from tellin.errors import KeyFileError, MalformedPacket, SignatureFailed, UsageError
from tellin.keys import openssh
from tellin.keys.engines import Secret, engine_of
from tellin.keys.kinds import KINDS, RSA_MOST_BITS, kind_of
from tellin.keys.public import PublicKey
from tellin.wire import Cursor, string


class Signer(Protocol):
    """Whatever can sign: a key in memory, in an agent, on a token."""

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """The signature blob, with the algorithm's name; SignatureFailed if there is none."""
        ...


# What ``ssh-keygen -t`` calls a kind, by the sizes it comes in; the first is the default.
_SIZES = {
    "ed25519": {256: "ssh-ed25519"},
    "ecdsa": {bits: f"ecdsa-sha2-nistp{bits}" for bits in (256, 384, 521)},
    "mldsa44-ed25519": {256: "ssh-mldsa44-ed25519@openssh.com"},
}
_RSA_DEFAULT_BITS = 3072
RSA_NEW_LEAST_BITS = 2048


def _chosen(kind: str, bits: int | None) -> tuple[str, int]:
    if kind == "rsa":
        bits = _RSA_DEFAULT_BITS if bits is None else bits
        if not RSA_NEW_LEAST_BITS <= bits <= RSA_MOST_BITS:
            raise UsageError(
                f"an RSA key has {RSA_NEW_LEAST_BITS} to {RSA_MOST_BITS} bits, not {bits}"
            )
        return "ssh-rsa", bits
    sizes = _SIZES.get(kind)
    if sizes is None:
        raise UsageError(f"unknown kind of key {kind!r}: {', '.join(_SIZES)} or rsa")
    bits = next(iter(sizes)) if bits is None else bits
    if bits not in sizes:
        raise UsageError(f"an {kind} key has {' or '.join(map(str, sizes))} bits, not {bits}")
    return sizes[bits], bits


class PrivateKey:
    """A private key in memory, and a Signer; nothing secret shows in its repr (R210)."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: Secret, comment: str = "") -> None:
        self._secret = secret
        self.public = PublicKey.from_blob(secret.public_blob, comment)

    @classmethod
    def generate(cls, kind: str, *, bits: int | None = None, comment: str = "") -> Self:
        """A new key of kind ``ed25519``, ``ecdsa``, ``rsa`` or ``mldsa44-ed25519``."""
        key_type, size = _chosen(kind, bits)
        row = KINDS[key_type]
        return cls(engine_of(row).generate(row, size), comment)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """Read type and numbers as ``encode`` writes them; the cursor is left behind them."""
        row = kind_of(cursor)
        try:
            return cls(engine_of(row).read_secret(row, cursor))
        except MalformedPacket as error:
            raise KeyFileError(f"a damaged {row.key_type} private key: {error}") from None

    def encode(self) -> bytes:
        """Type and numbers in clear, as openssh-key-v1 and the agent protocol hold them."""
        return string(self._secret.key_type.encode("ascii")) + self._secret.fields()

    @property
    def comment(self) -> str:
        """What the owner wrote beside the key."""
        return self.public.comment

    def with_comment(self, comment: str) -> "PrivateKey":
        """The same key with another comment."""
        return PrivateKey(self._secret, comment)

    def sign(self, data: bytes, algorithm: str | None = None, *, sha1: bool = False) -> bytes:
        """The signature blob over ``data``; without ``algorithm`` by the best this key has.

        RSA with SHA-1 must be named and allowed with ``sha1``: its name is also that of the key
        type, and a slip must not lead there (R077).
        """
        signatures = KINDS[self._secret.key_type].signatures
        if algorithm is None:
            algorithm = next(iter(signatures))
        if sha1 and algorithm == self._secret.key_type == "ssh-rsa":
            hash_name = "sha1"
        elif algorithm in signatures:
            hash_name = signatures[algorithm]
        else:
            raise SignatureFailed(f"a {self.public.kind} key does not sign by {algorithm}")
        return string(algorithm.encode("ascii")) + string(self._secret.sign(data, hash_name))

    def to_openssh(
        self,
        passphrase: bytes | None = None,
        *,
        cipher: str = "aes256-ctr",
        rounds: int = 16,
        random: Callable[[int], bytes] | None = None,
        stretched: openssh.Stretched | None = None,
    ) -> bytes:
        """The key as an openssh-key-v1 file, encrypted if there is a passphrase.

        ``random`` is where the salt comes from; the system's source if nothing is said.
        ``stretched`` is a key that is being made from the passphrase already.
        """
        return openssh.write(
            self.public.blob,
            self.encode() + openssh.comment_field(self.comment),
            passphrase,
            cipher=cipher,
            rounds=rounds,
            random=random,
            stretched=stretched,
        )

    def to_pkcs8(self, passphrase: bytes | None = None) -> bytes:
        """The key as PKCS #8 in PEM armour (RFC 5958), encrypted if there is a passphrase; no comment."""
        return self._to_pem(passphrase, traditional=False)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """The key in the older PEM form of its kind (PKCS #1, SEC 1); UsageError for Ed25519.

        With a passphrase the form has a weak key derivation (one round of MD5); OpenSSH writes it too.
        """
        return self._to_pem(passphrase, traditional=True)

    def _to_pem(self, passphrase: bytes | None, *, traditional: bool) -> bytes:
        if self._secret.native is None:
            raise UsageError(f"there is no PEM form of {self.public.kind} keys")
        from tellin.keys import pem  # noqa: PLC0415  (start-up: 50 ms that few need)

        return pem.write_private(self._secret.native, passphrase, traditional=traditional)

    def __repr__(self) -> str:
        return f"<PrivateKey {self.public.kind} {self.public.fingerprint()}>"
