# SPDX-License-Identifier: MIT
"""A line that somebody has typed to sftp, as words: quotes, backslashes and comments.

A word comes as a pattern (``tellin.sftp.globs``): what stood in quotes, or behind a backslash, means
itself there.
"""

from typing import Final

from tellin.errors import UsageError
from tellin.sftp.globs import escaped
from tellin.wire.states import State

_SPACE: Final = b" \t\r\n"
_MAGIC: Final = b"?[*\\"
_MOST_WORDS: Final = 128


class _Where(State):
    """In what the next letter stands."""

    BETWEEN = "between words"
    WORD = "in a word"
    SINGLE = "in single quotes"
    DOUBLE = "in double quotes"


_QUOTES: Final = {ord("'"): _Where.SINGLE, ord('"'): _Where.DOUBLE}
_ENDS: Final = {where: quote for quote, where in _QUOTES.items()}


class Words:
    """The words of a line; with ``open`` the line ends within quotes, or behind a backslash.

    ``last`` is where the last word begins, the end of the line if none has begun.
    """

    def __init__(self, line: bytes) -> None:
        self.found: list[bytes] = []
        self.last = len(line)
        self._line = line
        self._at = 0
        self._where = _Where.BETWEEN
        self._word = bytearray()
        while self._at < len(line) and self._step():
            self._at += 1
        self.open = _ENDS.get(self._where, 0)
        if self._where is not _Where.BETWEEN:
            self.found.append(bytes(self._word))

    def _step(self) -> bool:
        """Take one letter; false at a comment."""
        letter = self._line[self._at]
        if self._where in _ENDS:
            self._quoted(letter, _ENDS[self._where])
        elif letter in _SPACE:
            if self._where is _Where.WORD:
                self.found.append(bytes(self._word))
                self._word.clear()
            self._where = _Where.BETWEEN
            self.last = len(self._line)
        elif letter == ord("#"):
            return False
        else:
            if self._where is _Where.BETWEEN:
                self.last = self._at
            self._where = _QUOTES.get(letter, _Where.WORD)
            if letter == ord("\\"):
                self._unquoted_escape()
            elif letter not in _QUOTES:
                self._word.append(letter)
        return True

    def _quoted(self, letter: int, quote: int) -> None:
        following = self._line[self._at + 1 : self._at + 2]
        if letter == quote:
            self._where = _Where.WORD
        elif letter == ord("\\") and following == bytes([quote]):
            self._at += 1
            self._word.append(quote)
        elif letter == ord("\\") and following == b"\\":
            self._at += 1
            self._word += escaped(b"\\")
        else:
            self._word += escaped(bytes([letter]))

    def _unquoted_escape(self) -> None:
        self._at += 1
        following = self._line[self._at : self._at + 1]
        self._word += b"\\" + following if following and following in _MAGIC else following


def words_of(line: bytes) -> list[bytes]:
    """The words of a line; UsageError where it cannot be read."""
    words = Words(line)
    if words.open:
        raise UsageError("Unterminated quoted argument")
    if len(words.found) > _MOST_WORDS:
        raise UsageError("Too many arguments.")
    return words.found
