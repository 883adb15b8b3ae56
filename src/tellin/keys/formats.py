# SPDX-License-Identifier: MIT
"""Key files of every format: recognised by their first line and handed to the right reader."""

from typing import Final

from tellin.errors import KeyFileError, MalformedPacket, WrongPassphrase
from tellin.keys import openssh, rfc4716
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey, good_lines

# The longest honest file is an RSA key of 16384 bits, some 13 KiB.
MOST_BYTES: Final = 1 << 20


def load_private_key(
    data: bytes,
    passphrase: bytes | None = None,
    *,
    name: str = "",
    most_rounds: int = openssh.DEFAULT_MOST_ROUNDS,
) -> PrivateKey:
    """The private key in ``data``: openssh-key-v1, PKCS #1, SEC 1 or PKCS #8.

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
    if b"-----BEGIN " not in data:
        raise KeyFileError("not a private key")
    from tellin.keys import pem  # noqa: PLC0415  (start-up: 50 ms that few need)

    return PrivateKey(pem.read_private(data, passphrase))


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


def load_public_key(data: bytes | str, *, name: str = "") -> PublicKey:
    """The public key in ``data``: a .pub file's line, RFC 4716, PEM, or the head of openssh-key-v1.

    KeyFileError for everything else; ``name``, the file's, stands before the cause.
    """
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    try:
        return _public_key(raw)
    except KeyFileError as error:
        raise _named(error, name) from None


def _public_key(data: bytes) -> PublicKey:
    if len(data) > MOST_BYTES:
        raise KeyFileError(f"{len(data)} bytes are too many for a key file")
    if data.startswith(openssh.BEGIN):
        return PublicKey.from_blob(openssh.Container(data).public_blob)
    text = data.decode("utf-8", "surrogateescape")
    if text.lstrip().startswith(rfc4716.BEGIN):
        return PublicKey.from_blob(*rfc4716.read(text))
    if b"-----BEGIN " in data:
        from tellin.keys import pem  # noqa: PLC0415  (start-up: 50 ms that few need)

        return PublicKey.from_blob(pem.read_public(data))
    fault = KeyFileError("a line that is not a public key")
    for number, line in enumerate(good_lines(text)):
        try:
            return PublicKey.from_line(line)
        except KeyFileError as error:
            fault = fault if number else error
    raise fault


def _named(error: KeyFileError, name: str) -> KeyFileError:
    if not name:
        return error
    kind = WrongPassphrase if isinstance(error, WrongPassphrase) else KeyFileError
    return kind(f"{name}: {error}", hint=error.hint)
