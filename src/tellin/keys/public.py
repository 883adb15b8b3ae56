# SPDX-License-Identifier: MIT
"""Public keys: their blob, their line, their fingerprint, and the check of a signature."""

import binascii
from collections.abc import Iterator
from typing import Self

from tellin.errors import KeyFileError, MalformedPacket, UsageError
from tellin.keys import fingerprints, rfc4716
from tellin.keys.engines import Verifier, engine_of
from tellin.keys.kinds import kind_of
from tellin.wire import Cursor


def words_of(line: str) -> list[str]:
    """Type, base64 and what stands behind them, of one line; there may be fewer.

    R108: space and tab part them, and nothing else that Unicode calls a space. A second line
    would be part of a comment, and a line of its own where that is written down.
    """
    rest = line.strip(" \t\r\n")
    if "\n" in rest:
        raise KeyFileError("several lines where one is wanted")
    words: list[str] = []
    while rest and len(words) < 2:
        ends = [at for at in (rest.find(" "), rest.find("\t")) if at >= 0]
        end = min(ends, default=len(rest))
        words.append(rest[:end])
        rest = rest[end:].lstrip(" \t")
    return [*words, rest] if rest else words


def good_lines(text: str) -> Iterator[str]:
    """The lines of a file that are neither empty nor a comment."""
    for line in text.split("\n"):
        body = line.strip(" \t\r")
        if body and not body.startswith("#"):
            yield body


class PublicKey:
    """A public key, equal to every other with the same blob; it does not change."""

    __slots__ = ("_kind", "_verifier", "bits", "blob", "comment")

    def __init__(self, blob: bytes, comment: str = "") -> None:
        """Check ``blob`` in full; KeyFileError says what is wrong with it."""
        cursor = Cursor(blob)
        self._kind = kind_of(cursor)
        try:
            self.bits = self._kind.examine(cursor)
            cursor.end("a public key")
        except MalformedPacket as error:
            raise KeyFileError(f"a damaged {self._kind.key_type} key: {error}") from None
        self.blob = blob
        self.comment = comment
        self._verifier: Verifier | None = None

    @classmethod
    def from_blob(cls, blob: bytes, comment: str = "") -> Self:
        """The key of a blob (RFC 4253 section 6.6)."""
        return cls(bytes(blob), comment)

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The key of a line ``type base64 comment``, as in a .pub file."""
        words = words_of(line)
        if len(words) < 2:
            raise KeyFileError("a line that is not a public key")
        key_type, encoded = words[:2]
        try:
            blob = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            raise KeyFileError("a public key whose base64 is damaged") from None
        key = cls(blob, words[2] if len(words) == 3 else "")
        if key.key_type != key_type:
            raise KeyFileError(f"a line that says {key_type[:64]!r} before a {key.key_type} key")
        return key

    @property
    def key_type(self) -> str:
        """The type's name on the wire, such as ``ssh-ed25519``."""
        return self._kind.key_type

    @property
    def kind(self) -> str:
        """The type's name in messages: ``ED25519``, ``ECDSA``, ``RSA``."""
        return self._kind.name

    @property
    def is_on_token(self) -> bool:
        """Whether the private half is inside a security key."""
        return self._kind.on_token

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        """The names a signature by this key may carry, best first; never one with SHA-1 (R077)."""
        return tuple(self._kind.signatures)

    def with_comment(self, comment: str) -> "PublicKey":
        """The same key with another comment."""
        return PublicKey(self.blob, comment)

    def to_line(self) -> str:
        """``type base64 comment``, without a newline."""
        line = f"{self.key_type} {binascii.b2a_base64(self.blob, newline=False).decode('ascii')}"
        return f"{line} {self.comment}" if self.comment else line

    def to_rfc4716(self, comment: str = "") -> str:
        """The file of RFC 4716."""
        return rfc4716.write(self.blob, comment)

    def to_pkcs8(self) -> bytes:
        """SubjectPublicKeyInfo in PEM armour (RFC 5280), what ``ssh-keygen -e -m PKCS8`` calls PKCS8."""
        return self._to_pem(traditional=False)

    def to_pem(self) -> bytes:
        """PKCS #1 for RSA; the other kinds have no form of their own and are as ``to_pkcs8``."""
        return self._to_pem(traditional=True)

    def _to_pem(self, *, traditional: bool) -> bytes:
        # Of a key in a security key, what it is bound to would be lost.
        native = None if self._kind.on_token else self._arithmetic().native
        if native is None:
            raise UsageError(f"there is no PEM form of {self.kind} keys")
        from tellin.keys import pem  # noqa: PLC0415  (start-up: 50 ms that few need)

        return pem.write_public(native, traditional=traditional)

    def fingerprint(self, hash_name: str = "sha256") -> str:
        """``SHA256:`` and base64 without padding, or ``MD5:`` and pairs of hex digits."""
        return fingerprints.fingerprint(self.blob, hash_name)

    def bubble_babble(self) -> str:
        """The SHA-1 of the key as words (``ssh-keygen -B``)."""
        return fingerprints.bubble_babble(fingerprints.digest(self.blob, "sha1"))

    def verify(
        self,
        data: bytes,
        signature_blob: bytes,
        *,
        algorithm: str,
        sha1: bool = False,
        touch_required: bool = True,
        verify_required: bool = False,
    ) -> bool:
        """Whether ``signature_blob`` is this key's signature over ``data`` by ``algorithm``.

        Whatever is wrong with it, the answer is False. ``algorithm`` is what the request or the
        negotiation named; the blob must carry the same name (R070). RSA with SHA-1 is False
        unless ``sha1`` says that somebody has asked for it (R047). A security key must say that
        somebody touched it, unless ``touch_required`` is taken back, and with ``verify_required``
        that it knew who (R073).
        """
        hash_name = self._hash_name(algorithm, sha1=sha1)
        if hash_name is None:
            return False
        try:
            cursor = Cursor(signature_blob)
            name = cursor.string()
            signature = cursor.string()
            if self._kind.on_token:
                from tellin.keys.security_keys import Assertion  # noqa: PLC0415  (start-up time)

                assertion = Assertion.read(cursor, algorithm)
                message = assertion.message(self.blob, data)
                if (
                    message is None
                    or (touch_required and not assertion.touched)
                    or (verify_required and not assertion.verified)
                ):
                    return False
                data = message
            # Bytes behind the signature would let two blobs stand for one.
            cursor.end("a signature")
        except MalformedPacket:
            return False
        if name != algorithm.encode("utf-8"):
            return False
        return self._arithmetic().verify(signature, data, hash_name) is True

    def _arithmetic(self) -> Verifier:
        if self._verifier is None:
            self._verifier = engine_of(self._kind).verifier(self._kind, self.blob)
        return self._verifier

    def _hash_name(self, algorithm: str, *, sha1: bool) -> str | None:
        if sha1 and algorithm == self.key_type == "ssh-rsa":
            return "sha1"
        return self._kind.signatures.get(algorithm)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.blob == self.blob

    def __hash__(self) -> int:
        return hash(self.blob)

    def __repr__(self) -> str:
        return f"<PublicKey {self.kind} {self.fingerprint()}>"
