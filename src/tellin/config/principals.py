# SPDX-License-Identifier: MIT
"""Files of principals: which names in a certificate let a user in, and with which options (sshd_config(5))."""

from collections.abc import Collection
from typing import Final

from tellin.config.key_options import KeyOptions, read_options
from tellin.errors import ConfigError

# R109: a longer line is skipped whole, never read in pieces.
_LONGEST_LINE: Final = 65536


class Principal:
    """One good line: a name, and what whoever comes by it may do."""

    __slots__ = ("file", "line", "name", "options")

    def __init__(self, name: str, options: KeyOptions, *, file: str, line: int) -> None:
        self.name = name
        self.options = options
        self.file = file
        self.line = line

    @property
    def where(self) -> str:
        """``file:line``, as log lines print it."""
        return f"{self.file}:{self.line}"


class Principals:
    """The good lines of a file, in order; ``warnings`` says why the others are none."""

    def __init__(self, lines: list[Principal], warnings: list[str]) -> None:
        self.lines = tuple(lines)
        self.warnings = warnings

    @classmethod
    def parse(cls, text: str, *, file: str = "principals") -> "Principals":
        """Read a whole file; a line that is not understood in full lets nobody in."""
        lines: list[Principal] = []
        warnings: list[str] = []
        for number, raw in enumerate(text.split("\n"), 1):
            # A principal holds no "#": there it would not be told from a comment.
            line = raw.partition("#")[0].strip(" \t\r")
            if not line:
                continue
            try:
                name, options = _read(line)
            except ConfigError as fault:
                warnings.append(f"{file}:{number}: {fault}")
            else:
                lines.append(Principal(name, options, file=file, line=number))
        return cls(lines, warnings)

    def find(self, names: Collection[str]) -> Principal | None:
        """The first line for one of a certificate's names."""
        return next((line for line in self.lines if line.name in names), None)


def _read(line: str) -> tuple[str, KeyOptions]:
    if len(line) > _LONGEST_LINE:
        raise ConfigError(f"a line of {len(line)} characters is skipped")
    if "\0" in line:
        raise ConfigError("a NUL character in the line")
    # The name is the last word: options may hold blanks between quotes, a principal holds none.
    parts = line.replace("\t", " ").rpartition(" ")
    name = parts[2]
    options = line[: len(line) - len(name)].rstrip(" \t")
    return name, read_options(options) if options else KeyOptions()
