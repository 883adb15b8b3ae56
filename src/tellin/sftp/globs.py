# SPDX-License-Identifier: MIT
"""Patterns of file names as shells have them: ``*``, ``?``, ``[a-z]``, ``[!a]`` and a backslash, in linear time."""

from collections.abc import Sequence
from typing import Final

from tellin.errors import UsageError

_MAGIC: Final = frozenset(b"*?[")
_BACKSLASH: Final = ord("\\")
_SLASH: Final = b"/"
# R184: a name is at most so long on any system, and a pattern for it needs no more.
LONGEST: Final = 4096
_ALL: Final = (1 << 256) - 1

# A set of byte values, as bits.
_Set = int


def has_magic(pattern: bytes) -> bool:
    """Whether a pattern can fit more than one name."""
    escaped = False
    for byte in pattern:
        if escaped:
            escaped = False
        elif byte == _BACKSLASH:
            escaped = True
        elif byte in _MAGIC:
            return True
    return False


def unescaped(pattern: bytes) -> bytes:
    """The one name that a pattern without magic fits."""
    return bytes(byte for byte, literal in _letters(pattern) if literal or byte != _BACKSLASH)


def escaped(name: bytes) -> bytes:
    """The pattern that fits this name alone."""
    return b"".join(
        b"\\" + bytes([byte]) if byte in _MAGIC or byte == _BACKSLASH else bytes([byte])
        for byte in name
    )


def _letters(pattern: bytes) -> list[tuple[int, bool]]:
    """Its bytes, and of each whether a backslash before it has made it literal."""
    found: list[tuple[int, bool]] = []
    at = 0
    while at < len(pattern):
        literal = pattern[at] == _BACKSLASH and at + 1 < len(pattern)
        at += literal
        found.append((pattern[at], literal))
        at += 1
    return found


def split(pattern: bytes) -> tuple[bytes, list[bytes]]:
    """Where a search begins, and the pattern of each directory and of the name on the way from there.

    What comes before the first part with magic is a path, and no pattern any more.
    """
    parts = [part for part in pattern.split(_SLASH) if part]
    root = _SLASH if pattern.startswith(_SLASH) else b""
    plain = 0
    while plain < len(parts) and not has_magic(parts[plain]):
        plain += 1
    return root + _SLASH.join(unescaped(part) for part in parts[:plain]), parts[plain:]


class Pattern:
    """The pattern of one name.

    Between two stars stands a piece of fixed length, of which the leftmost place where it fits is
    always right: nothing is tried twice, and no name makes it slow (R184). A name that begins with
    a dot is fitted by a dot alone.
    """

    __slots__ = ("_hidden", "_pieces")

    def __init__(self, pattern: bytes) -> None:
        if len(pattern) > LONGEST:
            raise UsageError(f"a pattern of {len(pattern)} bytes")
        pieces: list[list[_Set]] = [[]]
        letters = _letters(pattern)
        at = 0
        while at < len(letters):
            byte, literal = letters[at]
            at += 1
            if literal or byte not in _MAGIC:
                pieces[-1].append(1 << byte)
            elif byte == ord("*"):
                pieces.append([])
            elif byte == ord("?"):
                pieces[-1].append(_ALL)
            else:
                wanted, at = _class(letters, at)
                pieces[-1].append(wanted)
        self._pieces: Sequence[Sequence[_Set]] = pieces
        self._hidden = bool(letters) and letters[0][0] == ord(".")

    def fits(self, name: bytes) -> bool:
        """Whether all of a name fits."""
        if len(name) > LONGEST or (name.startswith(b".") and not self._hidden):
            return False
        first, *middle = self._pieces
        if not middle:
            return len(name) == len(first) and _fits(name, first, 0)
        last = middle.pop()
        at, end = len(first), len(name) - len(last)
        if at > end or not _fits(name, first, 0) or not _fits(name, last, end):
            return False
        for piece in middle:
            if piece:
                at = _find(name, piece, at, end)
                if at < 0:
                    return False
        return True


def _class(letters: list[tuple[int, bool]], at: int) -> tuple[_Set, int]:
    """What stands in brackets from ``at`` on, and where it ends; one that is not closed is a ``[``."""
    start = at
    negated = at < len(letters) and letters[at] in {(ord("!"), False), (ord("^"), False)}
    at += negated
    first, wanted = at, 0
    while at < len(letters):
        byte, literal = letters[at]
        if byte == ord("]") and not literal and at > first:
            return (_ALL & ~wanted if negated else wanted), at + 1
        if at + 2 < len(letters) and letters[at + 1] == (ord("-"), False):
            end, literal = letters[at + 2]
            if literal or end != ord("]"):
                for value in range(byte, end + 1):
                    wanted |= 1 << value
                at += 3
                continue
        wanted |= 1 << byte
        at += 1
    return 1 << ord("["), start


def _fits(name: bytes, piece: Sequence[_Set], at: int) -> bool:
    return all(wanted >> name[at + place] & 1 for place, wanted in enumerate(piece))


def _find(name: bytes, piece: Sequence[_Set], at: int, end: int) -> int:
    """Where the leftmost fit of ``piece`` in ``name[at:end]`` ends, or -1."""
    # Shift-and: bit i of ``state`` says that the last i + 1 bytes fit the start of the piece, so
    # each byte of the name is looked at once.
    masks: dict[int, int] = {}
    state, done = 0, 1 << len(piece) - 1
    for place in range(at, end):
        byte = name[place]
        mask = masks.get(byte)
        if mask is None:
            mask = sum(1 << index for index, wanted in enumerate(piece) if wanted >> byte & 1)
            masks[byte] = mask
        state = (state << 1 | 1) & mask
        if state & done:
            return place + 1
    return -1
