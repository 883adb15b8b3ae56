# SPDX-License-Identifier: MIT
"""The public key file of RFC 4716, which other vendors' programs exchange."""

import binascii
from typing import Final

from tellin.errors import KeyFileError, UsageError

BEGIN: Final = "---- BEGIN SSH2 PUBLIC KEY ----"
_END: Final = "---- END SSH2 PUBLIC KEY ----"
_LINE: Final = 70
_HEADER_LINE: Final = 72
_COMMENT_BYTES: Final = 1024


def write(blob: bytes, comment: str = "") -> str:
    """The file, with a header for the comment if there is one."""
    lines = [BEGIN]
    if comment:
        if not comment.isprintable():
            raise UsageError("a comment with control characters in it")
        header = f'Comment: "{comment}"'
        # RFC 4716 section 3.3: a line holds at most 72 bytes and goes on behind a backslash.
        while len(header) > _HEADER_LINE:
            lines.append(header[: _HEADER_LINE - 1] + "\\")
            header = header[_HEADER_LINE - 1 :]
        lines.append(header)
    encoded = binascii.b2a_base64(blob, newline=False).decode("ascii")
    lines += [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
    return "\n".join([*lines, _END, ""])


def read(text: str) -> tuple[bytes, str]:
    """Blob and comment; headers that are not Comment are passed over (section 3.3)."""
    before, begin, after = text.partition(BEGIN)
    body, end, _ = after.partition(_END)
    if not begin or not end or before.strip():
        raise KeyFileError("an RFC 4716 file without its begin or end")
    comment = ""
    encoded: list[str] = []
    header = ""
    for line in body.splitlines():
        if header or ":" in line:
            header += line
            if header.endswith("\\"):
                header = header[:-1]
                continue
            tag, _, value = header.partition(":")
            if tag.strip().lower() == "comment":
                comment = _unquoted(value.strip())
            header = ""
        else:
            encoded += line.split()
    try:
        return binascii.a2b_base64("".join(encoded).encode("ascii"), strict_mode=True), comment
    except (binascii.Error, UnicodeEncodeError):
        raise KeyFileError("an RFC 4716 file whose base64 is damaged") from None


def _unquoted(value: str) -> str:
    if len(value.encode("utf-8", "surrogateescape")) > _COMMENT_BYTES:
        raise KeyFileError("an RFC 4716 file whose comment is too long")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value
