# SPDX-License-Identifier: MIT
"""Lines of a configuration file: a keyword and the words after it, with their place."""

import re
from collections.abc import Iterator
from typing import Final

from tellin.errors import ConfigError

# R109: a longer line is skipped whole, never read in pieces.
LONGEST_LINE: Final = 8192

# Only these part words; what else Unicode calls a space belongs to a word.
_BLANKS: Final = " \t"
_KEYWORD: Final = re.compile(r"([^ \t=\"']+)(?:[ \t]*=[ \t]*|[ \t]+|$)(.*)", re.DOTALL)
_PLAIN_WORD: Final = re.compile(r"[^ \t]+")
_NOT_PLAIN: Final = re.compile(r"[\"'\\#]")


class Line:
    """One line that says something: its keyword as it was written, and the text after it."""

    __slots__ = ("file", "keyword", "number", "rest")

    def __init__(self, keyword: str, rest: str, *, file: str, number: int) -> None:
        self.keyword = keyword
        self.rest = rest
        self.file = file
        self.number = number

    def words(self) -> list[str]:
        """The words after the keyword, without quotes and without a trailing comment."""
        try:
            return split_words(self.rest)
        except ConfigError as fault:
            raise self.error(str(fault)) from None

    def error(self, message: str, *, hint: str = "") -> ConfigError:
        """A ConfigError that says where this line stands."""
        return ConfigError(
            message, file=self.file, line=self.number, keyword=self.keyword, hint=hint
        )

    def located(self, fault: ConfigError) -> ConfigError:
        """``fault``, with this line as its place unless it has one."""
        return fault if fault.file else self.error(str(fault), hint=fault.hint)


def read_lines(text: str, *, file: str) -> Iterator[Line]:
    """The lines of a whole file that are neither empty nor comments.

    An over-long line comes with an empty keyword: the caller decides whether it may be skipped.
    """
    for number, raw in enumerate(text.split("\n"), 1):
        stripped = raw.strip(" \t\r\f")
        if stripped and stripped[0] != "#":
            yield read_line(stripped, file=file, number=number)


def read_line(text: str, *, file: str, number: int = 0) -> Line:
    """One line without its end: ``K V``, ``K=V`` or ``K = V``."""
    if len(text) > LONGEST_LINE:
        return Line("", "", file=file, number=number)
    found = _KEYWORD.fullmatch(text)
    line = Line(*(found.groups() if found else (text[:40], "")), file=file, number=number)
    if found is None:
        raise line.error(f"no keyword in {text[:40]!a}")
    if "\0" in text:
        raise line.error("a NUL character in the line")
    return line


def split_words(text: str) -> list[str]:
    """Split at blanks; ``"..."`` and ``'...'`` keep them, ``#`` at the start of a word ends the line.

    A backslash quotes a quote, a backslash or, outside quotes, a space, and is itself otherwise.
    """
    if not _NOT_PLAIN.search(text):
        return _PLAIN_WORD.findall(text)
    words: list[str] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] in _BLANKS:
            at += 1
        elif text[at] == "#":
            break
        else:
            word, at = _one_word(text, at)
            words.append(word)
    return words


def _one_word(text: str, at: int) -> tuple[str, int]:
    """The word that begins at ``at`` and where it ends."""
    made: list[str] = []
    quote = ""
    while at < len(text):
        sign = text[at]
        following = text[at + 1 : at + 2]
        if (
            sign == "\\"
            and following
            and (following in "\"'\\" or (following == " " and not quote))
        ):
            made.append(following)
            at += 1
        elif sign == quote:
            quote = ""
        elif not quote and sign in "\"'":
            quote = sign
        elif not quote and sign in _BLANKS:
            break
        else:
            made.append(sign)
        at += 1
    if quote:
        raise ConfigError("a quote is not closed")
    return "".join(made), at


def quoted(word: str) -> str:
    r"""``word`` so that a line gives it back as one word: bare wherever that is enough.

    Who reads a dump for ``DOMAIN\user`` looks for just that.
    """
    if _reads_back(word):
        return word
    return '"' + re.sub(r"([\"'\\])", r"\\\1", word) + '"'


def _reads_back(word: str) -> bool:
    """Whether ``word`` is the same without quotes, first behind its keyword and before others."""
    # One "=" belongs to the keyword; a backslash would join the next word on.
    if not word or word[0] == "=" or word[-1] == "\\":
        return False
    try:
        return split_words(word) == [word]
    except ConfigError:
        return False
