# SPDX-License-Identifier: MIT
"""Names in scp -O: as the remote shell is to have them, and whether what comes is what was asked for."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from tellin.errors import UsageError
from tellin.programs.files.places import last_name
from tellin.sftp.globs import Pattern

# What a shell takes as it stands; what makes patterns is left to it, since that is what -O is for.
_UNQUOTED: Final = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+:,@%^*?[]{}~="
)
# What a brace may stand for at most; each more of them multiplies.
_MOST_ALTERNATIVES: Final = 1024


def anything(name: bytes) -> bool:
    """-T: whatever comes."""
    return True


def asked_for(path: bytes) -> Callable[[bytes], bool]:
    """Whether a name is one that was asked for (R172): the last part of the path is a pattern for it."""
    # A backslash is one to the shell too (``quoted``), and no way to write another letter.
    plain = path.replace(b"\\", b"\\\\")
    patterns = [Pattern(one.rstrip(b"/").rpartition(b"/")[2]) for one in alternatives(plain)]
    # A path that ends in a dot names what the far side knows alone.
    last = last_name(path)
    if last in {b".", b"/"} or path in {b"", b"~"} or path.rstrip(b"/").endswith(b".."):
        return anything
    return lambda name: any(pattern.fits(name) for pattern in patterns)


def quoted(path: bytes) -> bytes:
    """A path as a shell takes it for one word, in which patterns keep their meaning (R185)."""
    made = bytearray()
    for at, byte in enumerate(path):
        if byte in _UNQUOTED or byte >= 0x80 or (byte == ord("!") and path[at - 1 : at] == b"["):
            made.append(byte)
        elif byte == ord("\n"):
            # Behind a backslash it would be nothing at all.
            made += b"'\n'"
        else:
            made += b"\\" + bytes([byte])
    return bytes(made)


def alternatives(pattern: bytes) -> list[bytes]:
    """What ``a{b,c}`` means, as shells have it; a brace without its end or a comma is one."""
    found = [pattern]
    made: list[bytes] = []
    while found:
        one = found.pop(0)
        places = _brace(one)
        if places is None:
            made.append(one)
            continue
        start, edges, end = places
        found[:0] = [
            one[:start] + one[low + 1 : high] + one[end + 1 :] for low, high in pairwise(edges)
        ]
        if len(found) + len(made) > _MOST_ALTERNATIVES:
            raise UsageError(f"a pattern with more than {_MOST_ALTERNATIVES} alternatives")
    return made


def _brace(text: bytes) -> tuple[int, list[int], int] | None:
    """The first brace that has a comma and an end: where it begins, its parts' edges, where it ends."""
    start = text.find(b"{")
    while start >= 0:
        depth, edges = 0, [start]
        for at in range(start, len(text)):
            letter = text[at : at + 1]
            depth += (letter == b"{") - (letter == b"}")
            if letter == b"," and depth == 1:
                edges.append(at)
            elif not depth:
                if len(edges) > 1:
                    return start, [*edges, at], at
                break
        start = text.find(b"{", start + 1)
    return None
