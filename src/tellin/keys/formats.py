# SPDX-License-Identifier: MIT
"""Key files of every format: recognised by their first line and handed to the right reader."""

from typing import Final

from tellin.errors import KeyFileError, MalformedPacket, WrongPassphrase
from tellin.keys import openssh
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey

# The longest honest file is an RSA key of 16384 bits, some 13 KiB.
MOST_BYTES: Final = 1 << 20


def load_private_key(
    data: bytes,
    passphrase: bytes | None = None,
    *,
    name: str = "",
    most_rounds: int = openssh.DEFAULT_MOST_ROUNDS,
) -> PrivateKey:
    """The private key in ``data``: openssh-key-v1.

    WrongPassphrase when it is encrypted and ``passphrase`` is missing or wrong, KeyFileError for
    everything else; ``name``, the file's, stands before the cause.
    """
    try:
        return _private_key(data, passphrase, most_rounds)
    except KeyFileError as error:
        raise _named(error, name) from None


def _private_key(data: bytes, passphrase: bytes | None, most_rounds: int) -> PrivateKey:
    if len(data) > MOST_BYTES:
        raise KeyFileError(f"{len(data)} bytes are too many for a key file")
    if data.startswith(openssh.BEGIN):
        return _openssh_key(data, passphrase, most_rounds)
    raise KeyFileError("not a private key")


def _openssh_key(data: bytes, passphrase: bytes | None, most_rounds: int) -> PrivateKey:
    container = openssh.Container(data)
    try:
        cursor = container.open(passphrase, most_rounds=most_rounds)
        key = PrivateKey.read(cursor)
        comment = cursor.string().decode("utf-8", "surrogateescape")
        openssh.check_padding(cursor)
    except MalformedPacket as error:
        raise KeyFileError(f"a damaged private part: {error}") from None
    if key.public.blob != container.public_blob:
        raise KeyFileError("the public half does not belong to the private one")
    return key.with_comment(comment)


def load_public_key(data: bytes, *, name: str = "") -> PublicKey:
    """The public key in ``data``: a .pub file's line."""
    try:
        return PublicKey.from_line(data.decode("utf-8", "surrogateescape"))
    except KeyFileError as error:
        raise _named(error, name) from None


def _named(error: KeyFileError, name: str) -> KeyFileError:
    if not name:
        return error
    kind = WrongPassphrase if isinstance(error, WrongPassphrase) else KeyFileError
    return kind(f"{name}: {error}", hint=error.hint)
