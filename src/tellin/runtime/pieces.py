# SPDX-License-Identifier: MIT
"""What has arrived and nobody has read yet: pieces of bytes or text, and what each owes to the peer's window."""

from collections import deque
from itertools import islice
from typing import Any, AnyStr, Final, Generic, TypeAlias

_SMALL: Final = 4096
_NONE: Final[deque[Any]] = deque()

Searched: TypeAlias = tuple[int, int, AnyStr | None]
"""How far a search has come: pieces gone through, their length, and the end of the last one."""


class Pieces(Generic[AnyStr]):
    """A queue of pieces, as they came.

    ``length`` is what is here, in bytes or characters. ``held`` is what is owed for that, in bytes;
    taking pieces out, or ``release``, moves it to ``due``, which is for the owner to pay.
    """

    __slots__ = ("_at", "_empty", "_owed", "_pieces", "due", "held", "length")

    def __init__(self, empty: AnyStr) -> None:
        self.length = 0
        self.held = 0
        self.due = 0
        self._empty: AnyStr = empty
        # A queue is made with the first piece: an empty one is 700 bytes, and who is idle has none.
        self._pieces: deque[AnyStr] = _NONE
        self._owed: deque[int] = _NONE
        self._at = 0  # how much of the first piece has been read

    def put(self, piece: AnyStr, owed: int) -> None:
        """Add a piece, for which ``owed`` bytes are not credited yet."""
        size = len(piece)
        self.length += size
        self.held += owed
        pieces = self._pieces
        if pieces and len(pieces[-1]) + size <= _SMALL:
            # A window of single bytes would be two million objects.
            pieces[-1] += piece
            self._owed[-1] += owed
        elif pieces is _NONE:
            self._pieces, self._owed = deque((piece,)), deque((owed,))
        else:
            pieces.append(piece)
            self._owed.append(owed)

    def unread(self, piece: AnyStr) -> None:
        """Put back what was taken last; nothing is owed for it."""
        if not piece:
            return
        pieces = self._pieces
        if self._at:
            pieces[0] = pieces[0][self._at :]
            self._at = 0
        pieces.appendleft(piece)
        self._owed.appendleft(0)
        self.length += len(piece)

    def release(self) -> None:
        """Owe nothing more for what is here."""
        held, self.held = self.held, 0
        if held:
            self.due += held
            self._owed = deque([0] * len(self._owed))

    def part(self, size: int) -> AnyStr:
        """The first piece, or the beginning of it; empty if nothing is here."""
        pieces = self._pieces
        if not pieces:
            return self._empty
        first = pieces[0]
        at = self._at
        left = len(first) - at
        if left > size:
            self._at = at + size
            self.length -= size
            return first[at : at + size]
        pieces.popleft()
        self._at = 0
        self.length -= left
        owed = self._owed.popleft()
        self.held -= owed
        self.due += owed
        return first[at:] if at else first

    def gather(self, size: int) -> AnyStr:
        """So much, which is here."""
        if not size:
            return self._empty
        first = self.part(size)
        size -= len(first)
        if not size:
            return first
        parts = [first]
        while size:
            parts.append(self.part(size))
            size -= len(parts[-1])
        return self._empty.join(parts)

    def all(self) -> AnyStr:
        """Everything that is here."""
        pieces = self._pieces
        if self._at:
            pieces[0] = pieces[0][self._at :]
        whole = pieces[0] if len(pieces) == 1 else self._empty.join(pieces)
        self.release()
        pieces.clear()
        self._owed.clear()
        self._at = self.length = 0
        return whole

    def find(
        self, separator: AnyStr, seen: "Searched[AnyStr]" = (0, 0, None)
    ) -> "tuple[int, Searched[AnyStr]]":
        """How far it is to the end of the first separator, or -1; and from where to go on looking.

        Nothing is looked at twice but the last piece, which may grow, so that whoever sends single
        bytes makes nobody search through all of them each time. Nothing may be taken out between.
        """
        number, passed, known = seen
        size = len(separator)
        reach = size - 1
        tail = self._empty if known is None else known
        start = 0 if number else self._at
        for piece in islice(self._pieces, number, None):
            if tail:
                # What lies across two pieces, or several small ones.
                across = (tail + piece[start : start + reach]).find(separator)
                if across >= 0:
                    return passed - len(tail) + across + size, seen
            found = piece.find(separator, start)
            if found >= 0:
                return passed + found - start + size, seen
            if number + 1 == len(self._pieces):
                break
            number += 1
            passed += len(piece) - start
            if reach:
                ending = piece[start:] if len(piece) - start < reach else piece[-reach:]
                tail = (tail + ending)[-reach:]
            start = 0
        return -1, (number, passed, tail)
