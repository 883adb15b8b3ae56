# SPDX-License-Identifier: MIT
"""Every line of a program's configuration, with the blocks it stands in, before anybody asks whether they hold.

What a program reads ends at the first mistake, and keeps nothing of what lost. A survey goes on, and
keeps it all: it is what `tellin.config.linting` judges.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from tellin.config.conditions import Criterion, checked, read_criteria
from tellin.config.grammar import Line, read_line
from tellin.config.keywords import KeywordFile, Known, Row
from tellin.config.linting.findings import where
from tellin.config.patterns import check_address_list, match_pattern_list
from tellin.config.reading import Reader
from tellin.config.ssh_config import SshConfig, client_tokens
from tellin.config.ssh_reading import COMMAND_LINE, IGNORE_UNKNOWN
from tellin.config.ssh_reading import CRITERIA as CLIENT_CRITERIA
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import CRITERIA as SERVER_CRITERIA
from tellin.config.sshd_reading import condition
from tellin.config.surroundings import Surroundings
from tellin.config.tokens import expand, expand_tilde
from tellin.errors import ConfigError
from tellin.wire import Record

# A file that is no configuration at all has a mistake a line: the first of them say so.
_MOST_FAULTS: Final = 200

# What the destination decides, in the path of an Include of ssh_config.
_OF_DESTINATION: Final = ("%C", "%h", "%j", "%k", "%n", "%p", "%r")
_KNOWN_BEFORE: Final = "%diLlu"

HOST_LINE: Final = "host line"
"""The name of what a Host line asks."""


class Asked(Record):
    """One thing that a block asks: a criterion and its patterns, or the patterns of a Host line."""

    name: str
    patterns: tuple[str, ...]
    negated: bool = False

    @property
    def key(self) -> tuple[str, tuple[str, ...], bool]:
        """By which two that ask the same are found."""
        return self.name, self.patterns, self.negated


class Block(Record):
    """A Host or Match line; ``asked`` is None where it cannot be read."""

    words: str
    asked: tuple[Asked, ...] | None
    file: str
    line: int
    criteria: tuple[Criterion, ...] = ()


class Statement(Record):
    """A line with a keyword of the table: its value, and the blocks around it, outermost first."""

    row: Row[Any]
    value: Any
    words: str
    file: str
    line: int
    blocks: tuple[Block, ...]

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands."""
        return self.file, self.line

    @property
    def where(self) -> str:
        """The same, as sentences say it."""
        return where(self.file, self.line)


class Remark(Record):
    """What is to be said of a line that is no mistake."""

    file: str
    line: int
    keyword: str
    text: str


class Survey(Reader[tuple[Block, ...]]):
    """Reads like the program, and goes on behind mistakes: these are in ``faults``."""

    table: ClassVar[type[KeywordFile]]

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings, scope=())
        self.statements: list[Statement] = []
        self.met: list[Block] = []
        self.faults: list[ConfigError] = []
        self.remarks: list[Remark] = []
        self.files: list[str] = []
        self._around: list[str] = []

    @abstractmethod
    def asked_by(self, line: Line) -> tuple[tuple[Asked, ...], tuple[Criterion, ...]]:
        """What a Host or Match line asks; raises ConfigError."""

    def read_option(self, text: str) -> None:
        """Take one ``-o`` of the command line."""
        try:
            line = read_line(text.strip(" \t\r\f"), file=COMMAND_LINE)
            if line.keyword.lower() in {*self.blocks, "include"}:
                raise line.error(f"{line.keyword} cannot be given as an option")
            self.read_line(line)
        except ConfigError as fault:
            self.fault(fault)

    def read_text(self, text: str, *, file: str, depth: int = 0, guarded: bool = False) -> None:
        if file not in self.files:
            self.files.append(file)
        scope, outer = self.scope, self._outer
        self._outer = scope
        self._around.append(file)
        try:
            self._count_file(file)
            # Line by line: behind one that cannot be read the next one is read.
            for number, raw in enumerate(text.split("\n"), 1):
                stripped = raw.strip(" \t\r\f")
                if stripped and stripped[0] != "#":
                    self._read_raw(stripped, file, number, depth, guarded=guarded)
        finally:
            self._around.pop()
            self.scope, self._outer = scope, outer

    def _read_included(self, path: str, line: Line, depth: int, *, guarded: bool) -> None:
        # Who goes on behind a mistake must not go round in circles.
        if path in self._around:
            raise line.error(f"{path[:200]} includes itself")
        super()._read_included(path, line, depth, guarded=guarded)

    def _read_raw(self, text: str, file: str, number: int, depth: int, *, guarded: bool) -> None:
        try:
            line = read_line(text, file=file, number=number)
        except ConfigError as fault:
            self.fault(fault)
            return
        try:
            self.read_line(line, depth=depth, guarded=guarded)
        except ConfigError as fault:
            self.fault(line.located(fault))

    def fault(self, fault: ConfigError) -> None:
        """Note a mistake."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)

    def warn(self, line: Line, message: str) -> None:
        self.remarks.append(Remark(line.file, line.number, line.keyword, message))

    def open_block(self, line: Line, outer: tuple[Block, ...]) -> tuple[Block, ...]:
        words = f"{line.keyword} {line.rest}"[:80]
        asked: tuple[Asked, ...] | None
        try:
            asked, criteria = self.asked_by(line)
        except ConfigError as fault:
            # Whoever the lines below are for, they are for nobody else.
            self.fault(line.located(fault))
            asked, criteria = None, ()
        block = Block(words, asked, line.file, line.number, criteria)
        self.met.append(block)
        return (*outer, block)

    def store(self, row: Row[Any], line: Line) -> None:
        value = row.read(line)
        words = line.rest if row.kind.raw else " ".join(line.words())
        self.statements.append(
            Statement(row, value, words[:200], line.file, line.number, self.scope)
        )

    def said(self, attribute: str) -> Iterator[Statement]:
        """Every line that gives one keyword."""
        return (found for found in self.statements if found.row.attribute == attribute)


def _asked(criteria: Sequence[Criterion], takes: dict[str, bool]) -> tuple[Asked, ...]:
    """Criteria with their pattern lists taken apart; the command of ``exec`` is no list."""
    return tuple(
        Asked(
            one.name,
            ()
            if not takes[one.name]
            else (one.argument,)
            if one.name == "exec"
            else tuple(one.argument.split(",")),
            one.negated,
        )
        for one in criteria
    )


def _bare(fault: ConfigError) -> str:
    """What an error says, without the file that stands before it."""
    return str(fault).removeprefix(f"{fault.file}: ")


class ClientSurvey(Survey):
    """Of ssh_config; ``config`` is what holds for the destination, where there is one."""

    table = SshConfig
    blocks = frozenset({"host", "match"})

    def __init__(self, surroundings: Surroundings, *, config: SshConfig | None = None) -> None:
        super().__init__(surroundings)
        self.config = config
        self._for_user = True

    def read_files(self, file: str | None) -> None:
        """Read the user's file and the system's, or the one of ``-F``."""
        if file is None:
            places = self.surroundings.locations
            self._read_file(places.user_config, for_user=True, guarded=True, required=False)
            self._read_file(places.system_config, for_user=False, guarded=False, required=False)
        elif file.lower() != "none":
            self._read_file(file, for_user=True, guarded=False, required=True)

    def _read_file(self, path: str, *, for_user: bool, guarded: bool, required: bool) -> None:
        try:
            full = expand_tilde(path, self.surroundings.home, self.surroundings.home_of)
        except ConfigError as fault:
            self.fault(ConfigError(str(fault), file=path, hint=fault.hint))
            return
        self._for_user = for_user
        met = len(self.faults)
        text = self._read(full, guarded=guarded)
        if text is not None:
            self.read_text(text, file=full, guarded=guarded)
        elif required and len(self.faults) == met:
            self.fault(ConfigError("no such file", file=full))

    def _read(self, path: str, *, guarded: bool) -> str | None:
        """A file's text, also where ssh would not read it: then that is a fault."""
        try:
            return self.surroundings.read(path, guarded=guarded)
        except ConfigError as fault:
            self.fault(ConfigError(_bare(fault), file=path, hint=fault.hint))
        try:
            return self.surroundings.read(path) if guarded else None
        except ConfigError:
            return None

    def lookup(self, line: Line) -> Known | None:
        name = line.keyword.lower()
        if name not in SshConfig.known:
            for statement in self.said("ignore_unknown"):
                if match_pattern_list(name, statement.value, fold=True):
                    return None
        try:
            return SshConfig.lookup(line)
        except ConfigError as fault:
            fault.hint = fault.hint or IGNORE_UNKNOWN
            raise

    def asked_by(self, line: Line) -> tuple[tuple[Asked, ...], tuple[Criterion, ...]]:
        if line.keyword.lower() == "host":
            words = line.words()
            if not words:
                raise line.error("Host: a pattern is missing")
            return (Asked(HOST_LINE, tuple(words)),), ()
        criteria = read_criteria(
            line, CLIENT_CRITERIA, before_all=frozenset({"canonical", "final"})
        )
        for criterion in criteria:
            if criterion.name == "localnetwork":
                try:
                    check_address_list(criterion.argument)
                except ConfigError as fault:
                    raise checked(line, fault) from None
        return _asked(criteria, CLIENT_CRITERIA), tuple(criteria)

    def included(self, word: str, line: Line) -> Sequence[str]:
        surroundings = self.surroundings
        if self.config is None and any(token in word for token in _OF_DESTINATION):
            self.warn(line, "which files these are depends on the destination: they are left out")
            return ()
        try:
            path = expand(
                word,
                client_tokens(self.config or SshConfig(), surroundings),
                allowed=_KNOWN_BEFORE
                if self.config is None
                else SshConfig.rows["local_command"].tokens,
                environment=surroundings.environment,
            )
            path = expand_tilde(path, surroundings.home, surroundings.home_of)
        except ConfigError as fault:
            raise line.located(fault) from None
        places = surroundings.locations
        return ((places.in_user if self._for_user else places.in_system)(path),)


class ServerSurvey(Survey):
    """Of sshd_config."""

    table = SshdConfig

    def read_file(self, file: str) -> None:
        """Read the file of ``-f``."""
        if file.lower() == "none":
            return
        try:
            text = self.surroundings.read(file)
        except ConfigError as fault:
            self.fault(ConfigError(_bare(fault), file=file, hint=fault.hint))
            return
        if text is None:
            self.fault(ConfigError("no such file", file=file))
        else:
            self.read_text(text, file=file)

    def lookup(self, line: Line) -> Known | None:
        return SshdConfig.lookup(line)

    def store(self, row: Row[Any], line: Line) -> None:
        if self.scope and not row.in_match:
            raise line.error(
                f"{row.spelling} is not allowed within a Match block",
                hint="put it above the first Match line",
            )
        super().store(row, line)

    def skip_long(self, line: Line) -> None:
        raise line.error("an over-long line")

    def asked_by(self, line: Line) -> tuple[tuple[Asked, ...], tuple[Criterion, ...]]:
        criteria = read_criteria(line, SERVER_CRITERIA, before_all=frozenset())
        for criterion in criteria:
            try:
                condition(criterion)
            except ConfigError as fault:
                raise checked(line, fault) from None
        return _asked(criteria, SERVER_CRITERIA), tuple(criteria)

    def included(self, word: str, line: Line) -> Sequence[str]:
        if word.startswith("~"):
            raise line.error(f"Include: bad path {word[:80]!a}")
        return (word if word.startswith("/") else f"/etc/ssh/{word}",)
