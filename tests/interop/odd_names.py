# SPDX-License-Identifier: MIT
"""Names of files that trip programs up: spaces, a line's end, quotes, no UTF-8, a leading dash, a pattern."""

ODD = (
    b"a b",
    b"line\nend",
    b"'\"quo\\te",
    b"\xff\xfe",
    b"-rf",
    b"[x]*?",
    "Grüße".encode(),
    b".dot",
)
