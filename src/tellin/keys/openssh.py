# SPDX-License-Identifier: MIT
"""The openssh-key-v1 file: its armour, its header, and its private part (OpenSSH PROTOCOL.key)."""

import binascii
from collections.abc import Callable
from typing import Final, Protocol

from tellin.errors import KeyFileError, MalformedPacket, UsageError, WrongPassphrase
from tellin.wire import Cursor, string

BEGIN: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END: Final = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC: Final = b"openssh-key-v1\0"
_LINE: Final = 70
_SALT_BYTES: Final = 16
_PLAIN_BLOCK: Final = 8
# Each round costs some milliseconds, and the number stands in the file: it is a stranger's (R074).
DEFAULT_MOST_ROUNDS: Final = 2048


class CostlyPassphrase(KeyFileError):
    """A passphrase that takes longer than anybody has agreed to; the file may be a stranger's."""

    def __init__(self, rounds: int, most: int) -> None:
        super().__init__(
            f"a passphrase of {rounds} rounds, where {most} are allowed",
            hint=f"if you trust the file: ssh-add asks whether to go on, ssh-keygen takes -a {rounds}",
        )
        self.rounds = rounds


class Container:
    """A parsed file; the public half is readable at once, the private half after ``open``."""

    __slots__ = ("_cipher", "_rounds", "_salt", "_sealed", "public_blob")

    def __init__(self, data: bytes) -> None:
        """Take the file apart; KeyFileError names the first thing that is wrong."""
        try:
            self._read(Cursor(_unwrap(data)))
        except MalformedPacket as error:
            raise KeyFileError(f"a damaged openssh-key-v1 file: {error}") from None

    def _read(self, cursor: Cursor) -> None:
        if cursor.take(min(len(_MAGIC), cursor.remaining())) != _MAGIC:
            raise KeyFileError("not an openssh-key-v1 file inside its armour")
        self._cipher = cursor.text()
        derivation = cursor.text()
        options = cursor.string()
        count = cursor.uint32()
        if count != 1:
            raise KeyFileError(f"{count} keys in one file, where there must be 1")
        self.public_blob = cursor.string()
        size = cursor.uint32()
        self._salt, self._rounds = b"", 0
        if derivation == "none":
            if self._cipher != "none" or options:
                raise KeyFileError("an encrypted key that says no passphrase is needed")
            self._sealed = cursor.take(size)
        elif derivation == "bcrypt":
            if self._cipher == "none":
                raise KeyFileError("a key in clear that says a passphrase is needed")
            inner = Cursor(options)
            self._salt = inner.string()
            self._rounds = inner.uint32()
            inner.end("the options of bcrypt")
            self._sealed = cursor.take(size) + cursor.rest()
        else:
            raise KeyFileError(f"a passphrase by the unknown method {derivation[:64]!r}")
        cursor.end("the private part")
        self._check_size(size)

    def _check_size(self, size: int) -> None:
        block, tag = _PLAIN_BLOCK, 0
        if self.encrypted:
            from tellin.keys.encryption import file_cipher  # noqa: PLC0415  (start-up)

            cipher = file_cipher(self._cipher)
            block, tag = cipher.block_size, cipher.tag_size
            if not self._salt or self._rounds < 1:
                raise KeyFileError("a passphrase of no salt or no rounds")
        if size < block or size % block:
            raise KeyFileError(f"a private part of {size} bytes, no multiple of {block}")
        if len(self._sealed) != size + tag:
            raise KeyFileError("a private part with bytes missing or left over")

    @property
    def encrypted(self) -> bool:
        """Whether ``open`` needs a passphrase."""
        return self._cipher != "none"

    def open(
        self, passphrase: bytes | None = None, *, most_rounds: int = DEFAULT_MOST_ROUNDS
    ) -> Cursor:
        """The private part in clear, the cursor on the key's type; WrongPassphrase if it does not open."""
        clear = self._decrypt(passphrase, most_rounds) if self.encrypted else self._sealed
        cursor = Cursor(clear)
        # Two copies of one random number are how the format knows a passphrase from a wrong one.
        if cursor.uint32() != cursor.uint32():
            if self.encrypted:
                raise WrongPassphrase("incorrect passphrase supplied to decrypt private key")
            raise KeyFileError("two check numbers that differ")
        return cursor

    def _decrypt(self, passphrase: bytes | None, most_rounds: int) -> bytes:
        from tellin.keys.encryption import file_cipher, stretch  # noqa: PLC0415  (start-up)

        if not passphrase:
            raise WrongPassphrase("a passphrase is needed to decrypt private key")
        if self._rounds > most_rounds:
            raise CostlyPassphrase(self._rounds, most_rounds)
        cipher = file_cipher(self._cipher)
        material = stretch(passphrase, self._salt, self._rounds, cipher.key_size + cipher.iv_size)
        try:
            return cipher.unseal(
                material[: cipher.key_size], material[cipher.key_size :], self._sealed
            )
        except WrongPassphrase:
            raise WrongPassphrase("incorrect passphrase supplied to decrypt private key") from None


def check_padding(cursor: Cursor) -> None:
    """What is left must count 1, 2, 3 and so on (PROTOCOL.key section 3)."""
    padding = cursor.rest()
    if len(padding) > 255 or padding != bytes(range(1, len(padding) + 1)):
        raise KeyFileError("a private part whose padding is damaged")


def _unwrap(data: bytes) -> bytes:
    if not data.startswith(BEGIN):
        raise KeyFileError("no openssh-key-v1 armour")
    rest = data[len(BEGIN) :]
    body, end, _ = rest.partition(b"\n" + _END)
    if not end or not rest.startswith((b"\n", b"\r\n")):
        raise KeyFileError("an openssh-key-v1 armour without its end")
    try:
        return binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
    except binascii.Error:
        raise KeyFileError("an openssh-key-v1 file whose base64 is damaged") from None


def comment_field(comment: str) -> bytes:
    """A comment as the private part holds it; bytes that were no UTF-8 come back as they were."""
    raw = comment.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise UsageError("a comment with a NUL in it")
    return string(raw)


class Stretched(Protocol):
    """A key that is being made from a passphrase, such as ``tellin.keys.stretching.Stretching``."""

    salt: bytes

    def fits(self, passphrase: bytes, *, rounds: int, size: int) -> bool:
        """Whether it is of this passphrase, and for a cipher of this size."""

    def result(self) -> bytes:
        """Key and IV; it waits for them."""


def write(
    public_blob: bytes,
    private: bytes,
    passphrase: bytes | None,
    *,
    cipher: str,
    rounds: int,
    random: Callable[[int], bytes] | None = None,
    stretched: Stretched | None = None,
) -> bytes:
    """The whole file; ``private`` is type, numbers and comment, ``random`` makes so many bytes.

    ``stretched`` is a key that is being made from the passphrase already.
    """
    if random is None:
        import secrets  # noqa: PLC0415  (start-up: logins only read)

        random = secrets.token_bytes
    check = random(4)
    clear = check + check + private
    if not passphrase:
        clear += bytes(range(1, 1 + -len(clear) % _PLAIN_BLOCK))
        head = string(b"none") + string(b"none") + string(b"")
        body = string(clear)
    else:
        from tellin.keys.encryption import FILE_CIPHERS, stretch  # noqa: PLC0415  (start-up)

        if cipher not in FILE_CIPHERS:
            raise UsageError(f"unknown cipher {cipher!r} for a key file")
        row = FILE_CIPHERS[cipher]
        clear += bytes(range(1, 1 + -len(clear) % row.block_size))
        size = row.key_size + row.iv_size
        if stretched is None:
            salt = random(_SALT_BYTES)
            material = stretch(passphrase, salt, rounds, size)
        elif stretched.fits(passphrase, rounds=rounds, size=size):
            salt, material = stretched.salt, stretched.result()
        else:
            raise UsageError("what was stretched is another passphrase, or for another cipher")
        head = (
            string(cipher.encode("ascii"))
            + string(b"bcrypt")
            + string(string(salt) + rounds.to_bytes(4, "big"))
        )
        sealed = row.seal(material[: row.key_size], material[row.key_size :], clear)
        # The length counts what was encrypted; the tag stands behind it, outside.
        body = len(clear).to_bytes(4, "big") + sealed
    encoded = binascii.b2a_base64(
        _MAGIC + head + b"\0\0\0\1" + string(public_blob) + body, newline=False
    )
    lines = [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
    return b"\n".join([BEGIN, *lines, _END, b""])
