# SPDX-License-Identifier: MIT
"""Peers' texts made safe for terminals and logs."""

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
_ESCAPES: Final = {
    code: "".join(f"\\{byte:03o}" for byte in chr(code).encode()) for code in _DANGEROUS
}
_ESCAPES_OF_LINES: Final = {
    code: shown for code, shown in _ESCAPES.items() if chr(code) not in "\n\t"
}


def escape_text(text: str, *, keep_newlines: bool = False) -> str:
    """``text`` with every control character in octal behind a backslash, as OpenSSH shows it.

    With ``keep_newlines``, for banners and instructions, line ends and tabs stay as they are.
    """
    if keep_newlines:
        # RFC 4252 section 5.4: the lines of a banner end in CR LF.
        text = text.replace("\r\n", "\n").translate(_ESCAPES_OF_LINES)
    else:
        text = text.translate(_ESCAPES)
    # Half of a surrogate pair, as file names may hold them, cannot be written to any terminal.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
