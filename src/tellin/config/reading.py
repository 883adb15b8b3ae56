# SPDX-License-Identifier: MIT
"""Reading configuration files: lines, blocks and Include, the same for both programs."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from tellin.config import kinds
from tellin.config.grammar import Line, read_lines
from tellin.config.keywords import Known, Retired, Row
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError
from tellin.wire import Record

# Case 321: an Include that includes itself ends here.
_DEEPEST_INCLUDE: Final = 16

# Includes in includes multiply: sixteen levels of a hundred files each would never end.
_MOST_FILES: Final = 4096

S = TypeVar("S")


class NamedAlgorithms(Record):
    """An algorithm list of a file, in whatever block: its names are looked at where the algorithms are."""

    attribute: str
    spec: str
    file: str
    line: int


class Reader(Generic[S]):
    """Walks the lines of files; ``scope`` says for whom the present line counts.

    A block lasts until the next one or the end of its file; a file included inside a block counts
    for that block at most.
    """

    def __init__(self, surroundings: Surroundings, *, scope: S) -> None:
        self.surroundings = surroundings
        self.scope = scope
        self.warnings: list[str] = []
        self.story: list[str] = []
        """What was read, for logs."""
        self.algorithms: list[NamedAlgorithms] = []
        self._outer = scope
        self._files = 0

    @abstractmethod
    def lookup(self, line: Line) -> Known | None:
        """What the line's keyword is, or None to ignore the line; raises ConfigError."""

    @abstractmethod
    def open_block(self, line: Line, outer: S) -> S:
        """The scope of the block that a Host or Match line opens inside ``outer``."""

    @abstractmethod
    def store(self, row: Row[Any], line: Line) -> None:
        """Keep the value of a line in the present scope."""

    @abstractmethod
    def included(self, word: str, line: Line) -> Sequence[str]:
        """The shell patterns that one word of an Include line stands for."""

    blocks: frozenset[str] = frozenset({"match"})

    def read_text(self, text: str, *, file: str, depth: int = 0, guarded: bool = False) -> None:
        """Read a whole file's text in the present scope and leave that scope behind it."""
        self._count_file(file)
        self.story.append(f"Reading configuration data {file}")
        scope, outer = self.scope, self._outer
        self._outer = scope
        try:
            for line in read_lines(text, file=file):
                self.read_line(line, depth=depth, guarded=guarded)
        finally:
            self.scope, self._outer = scope, outer

    def _count_file(self, file: str) -> None:
        self._files += 1
        if self._files > _MOST_FILES:
            raise ConfigError(f"more than {_MOST_FILES} files are included", file=file)

    def read_line(self, line: Line, *, depth: int = 0, guarded: bool = False) -> None:
        """Take one line."""
        keyword = line.keyword.lower()
        if keyword in self.blocks:
            self.scope = self.open_block(line, self._outer)
        elif keyword == "include":
            self._include(line, depth, guarded=guarded)
        elif not keyword:
            self.skip_long(line)
        else:
            known = self.lookup(line)
            if isinstance(known, Row):
                self.store(known, line)
            elif isinstance(known, Retired) and known.warn:
                self.meet_retired(line, known)

    def note_algorithms(self, row: Row[Any], value: str, line: Line) -> None:
        """Keep what a list of algorithms names, whether its block holds or not (R114)."""
        if row.kind is kinds.OPTIONAL_ALGORITHMS:
            self.algorithms.append(NamedAlgorithms(row.attribute, value, line.file, line.number))

    def meet_retired(self, line: Line, known: Retired) -> None:
        """Say that a keyword no longer means anything."""
        what = "Unsupported option" if known.unsupported else "Deprecated option"
        self.warn(line, f"{what} {known.spelling} is ignored")

    def skip_long(self, line: Line) -> None:
        """Skip an over-long line, or refuse it."""
        self.warn(line, "an over-long line is skipped")

    def warn(self, line: Line, message: str) -> None:
        """Note something that is no error, with its place."""
        self.warnings.append(str(line.error(message)))

    def _include(self, line: Line, depth: int, *, guarded: bool) -> None:
        words = line.words()
        if not words:
            raise line.error("Include: a path is missing")
        if depth >= _DEEPEST_INCLUDE:
            raise line.error(
                f"more than {_DEEPEST_INCLUDE} files include one another",
                hint="a file may include itself by way of another",
            )
        for word in words:
            for pattern in self.included(word, line):
                # Without a match there is nothing to read, and that is no error.
                for path in self.surroundings.glob(pattern):
                    self._read_included(path, line, depth, guarded=guarded)

    def _read_included(self, path: str, line: Line, depth: int, *, guarded: bool) -> None:
        try:
            text = self.surroundings.read(path, guarded=guarded)
        except ConfigError as fault:
            raise line.located(fault) from None
        if text is not None:
            self.read_text(text, file=path, depth=depth + 1, guarded=guarded)
