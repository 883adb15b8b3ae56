# SPDX-License-Identifier: MIT
"""What there is to say of a configuration: one value a finding, with its place."""

from tellin.errors import ConfigError
from tellin.wire import Record
from tellin.wire.states import State


class Severity(State):
    """How much a finding matters."""

    ERROR = "error"
    """The program refuses the line, the file, or what it names."""
    WARNING = "warning"
    """It is weak, or it does not do what it seems to."""
    NOTE = "note"
    """Worth knowing, and perhaps meant so."""


class Kind(State):
    """What a finding is about."""

    MISTAKE = "mistake"
    """A line that cannot be read, a keyword or a name that is unknown."""
    REMARK = "remark"
    """A line that is read and ignored."""
    UNSUPPORTED = "unsupported"
    """A keyword whose feature tellin does not have."""
    SHADOWED = "shadowed"
    """A value that never counts, since another one does first."""
    REPEATED = "repeated"
    """The same where both say the same."""
    NEVER = "never"
    """A block in which nobody ever is."""
    IDLE = "idle"
    """A value on which nothing depends, as the rest is."""
    WEAK = "weak"
    """A value that lets more in, or more out, than it should."""
    FILE = "file"
    """A file that is missing, or that others may read or write."""


def where(file: str, line: int) -> str:
    """A place as sentences say it; ``line`` is 0 for a whole file, or for an option."""
    return f"{file} line {line}" if line else file


class Finding(Record):
    """One thing to say: a whole sentence about one line, and what to do.

    ``line`` is 0 where it is about the whole file; ``file`` is ``command-line`` for an option.
    """

    kind: Kind
    severity: Severity
    file: str
    line: int
    keyword: str
    sentence: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{where(self.file, self.line)}: {self.severity.value}: {self.sentence}"

    @classmethod
    def of_error(cls, fault: ConfigError) -> "Finding":
        """A mistake that the program itself would end with."""
        sentence = str(fault).removeprefix(f"{where(fault.file, fault.line)}: ")
        return cls(
            Kind.MISTAKE,
            Severity.ERROR,
            fault.file,
            fault.line,
            fault.keyword,
            sentence,
            fault.hint,
        )
