# SPDX-License-Identifier: MIT
"""Peers' texts made safe for terminals and logs."""

from functools import cache
from typing import Final

# C0, DEL and C1 move cursors, set titles and forge lines of a log (CVE-2019-6109). The bidirectional
# controls make a line read as another than it is. Line separators end a line in some viewers.
_DANGEROUS: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)


# The tables are made at their first use: most runs of a program have nothing to say.


@cache
def _escapes() -> dict[int, str]:
    return {code: "".join(f"\\{byte:03o}" for byte in chr(code).encode()) for code in _DANGEROUS}


@cache
def _escapes_of_lines() -> dict[int, str]:
    return {code: shown for code, shown in _escapes().items() if chr(code) not in "\n\t"}


@cache
def _undecoded() -> dict[int, str]:
    return {0xDC00 + byte: f"\\{byte:03o}" for byte in range(0x80, 0x100)}


def show_undecoded(text: str) -> str:
    """``text`` with bytes of a file name or comment that were no UTF-8 as OpenSSH shows them, in octal."""
    return text if text.isascii() else text.translate(_undecoded())


def escape_text(text: str, *, keep_newlines: bool = False) -> str:
    """``text`` with every control character in octal behind a backslash, as OpenSSH shows it.

    With ``keep_newlines``, for banners and instructions, line ends and tabs stay as they are.
    """
    if keep_newlines:
        # RFC 4252 section 5.4: the lines of a banner end in CR LF.
        text = text.replace("\r\n", "\n").translate(_escapes_of_lines())
    else:
        text = text.translate(_escapes())
    # Half of a surrogate pair, as file names may hold them, cannot be written to any terminal.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
