# SPDX-License-Identifier: MIT
"""From a file and options to the rules of a server: Include, Match, and who gets what."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from tellin.config.conditions import Criterion, checked, read_criteria
from tellin.config.grammar import Line, read_line
from tellin.config.keywords import Known, Row
from tellin.config.patterns import (
    check_address_list,
    match_address_list,
    match_any,
    match_host_list,
    match_pattern_list,
)
from tellin.config.reading import NamedAlgorithms, Reader
from tellin.config.sshd_config import SshdConfig
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError
from tellin.wire import Record

SERVER_FILE: Final = "/etc/ssh/sshd_config"

_COMMAND_LINE: Final = "command-line"


class Peer(Record):
    """Who is at the other end, as far as it is known; what is not known matches nothing."""

    user: str = ""
    groups: tuple[str, ...] = ()
    invalid_user: bool = False
    host: str = ""
    address: str = ""
    local_address: str = ""
    local_port: int = 0
    routing_domain: str = ""
    version: str = ""


# Criterion by criterion: whether it can be judged, and whether it holds.
_Test = Callable[[Peer, str], bool]

_TESTS: Final[dict[str, tuple[Callable[[Peer], object], _Test]]] = {
    "all": (lambda peer: True, lambda peer, argument: True),
    "invalid-user": (lambda peer: peer.user, lambda peer, argument: peer.invalid_user),
    "user": (
        lambda peer: peer.user,
        lambda peer, argument: match_pattern_list(peer.user, argument),
    ),
    "group": (lambda peer: peer.user, lambda peer, argument: match_any(peer.groups, argument)),
    "host": (
        lambda peer: peer.host or peer.address,
        lambda peer, argument: match_host_list(peer.host or peer.address, "", argument),
    ),
    "address": (
        lambda peer: peer.address,
        lambda peer, argument: match_address_list(peer.address, argument),
    ),
    "localaddress": (
        lambda peer: peer.local_address,
        lambda peer, argument: match_address_list(peer.local_address, argument),
    ),
    "localport": (
        lambda peer: peer.local_port,
        lambda peer, argument: match_pattern_list(str(peer.local_port), argument),
    ),
    "rdomain": (
        lambda peer: peer.routing_domain,
        lambda peer, argument: match_pattern_list(peer.routing_domain, argument),
    ),
    "version": (
        lambda peer: peer.version,
        lambda peer, argument: match_pattern_list(peer.version, argument),
    ),
}

CRITERIA: Final = {name: name not in {"all", "invalid-user"} for name in _TESTS}
"""The criteria of Match, and whether they take an argument."""
_ADDRESSES: Final = frozenset({"address", "localaddress"})

_Scope = tuple[Criterion, ...]


def holds(criterion: Criterion, peer: Peer) -> bool:
    """Whether a criterion of Match holds for a connection."""
    known, test = _TESTS[criterion.name]
    # A negated criterion about what is not known does not hold either.
    return bool(known(peer)) and test(peer, criterion.argument) is not criterion.negated


class _Setting(Record):
    """One value of the file and the criteria under which it counts."""

    row: Row[Any]
    value: Any
    file: str
    line: int
    scope: _Scope


class SshdSettings:
    """A whole configuration: what holds always, and what holds for whom."""

    def __init__(
        self,
        settings: Sequence[_Setting],
        warnings: Sequence[str],
        algorithms: Sequence[NamedAlgorithms] = (),
    ) -> None:
        self._settings = tuple(settings)
        self.warnings = tuple(warnings)
        self.algorithms_named = tuple(algorithms)
        """Every algorithm list, also of Match blocks."""
        self.always = self._made(None)

    @property
    def depends_on_host(self) -> bool:
        """Whether a Match asks for the client's name, which then must be looked up."""
        return any(
            criterion.name == "host" for setting in self._settings for criterion in setting.scope
        )

    def for_peer(self, peer: Peer) -> SshdConfig:
        """What holds for one connection; ask again when more is known of its user."""
        return self._made(peer)

    def _made(self, peer: Peer | None) -> SshdConfig:
        """First the blocks that hold, in order, then what stands outside: the first value wins.

        What accumulates does so among the blocks, or outside them: a block replaces it whole.
        """
        values: dict[str, Any] = {}
        origins: dict[str, tuple[str, int]] = {}
        for chosen in (
            [] if peer is None else self._that_hold(peer),
            [setting for setting in self._settings if not setting.scope],
        ):
            before = frozenset(values)
            for setting in chosen:
                name, merge = setting.row.attribute, setting.row.merge
                if name not in values:
                    values[name] = setting.value
                    origins[name] = (setting.file, setting.line)
                elif merge is not None and name not in before:
                    values[name] = merge(values[name], setting.value)
        return SshdConfig.made_of(values, origins)

    def _that_hold(self, peer: Peer) -> list[_Setting]:
        """The settings in blocks for this peer; every criterion is judged once."""
        verdicts: dict[int, bool] = {}
        made: list[_Setting] = []
        for setting in self._settings:
            for criterion in setting.scope:
                if id(criterion) not in verdicts:
                    verdicts[id(criterion)] = holds(criterion, peer)
            if setting.scope and all(verdicts[id(criterion)] for criterion in setting.scope):
                made.append(setting)
        return made


class _ServerReader(Reader[_Scope]):
    """Collects: the scope is the criteria of the blocks around the present line."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings, scope=())
        self.settings: list[_Setting] = []

    def lookup(self, line: Line) -> Known | None:
        return SshdConfig.lookup(line)

    def included(self, word: str, line: Line) -> Sequence[str]:
        if word.startswith("~"):
            raise line.error(f"Include: bad path {word[:80]!a}")
        return (word if word.startswith("/") else f"/etc/ssh/{word}",)

    def skip_long(self, line: Line) -> None:
        # A client may do without a line; a server that skips a DenyUsers lets somebody in.
        raise line.error("an over-long line")

    def store(self, row: Row[Any], line: Line) -> None:
        if self.scope and not row.in_match:
            raise line.error(f"{row.spelling} is not allowed within a Match block")
        value = row.read(line)
        missing = row.lacks(value)
        if missing is not None:
            allowed = dict.fromkeys((row.default, *(missing.harmless or ())))
            shown = [" ".join(row.shown(value)) for value in allowed]
            raise line.error(
                f"{row.spelling} is not supported",
                hint=f"only {row.spelling} {' or '.join(shown)} is" if shown else "",
            )
        self.note_algorithms(row, value, line)
        if row is SshdConfig.rows["subsystem"]:
            self._note_repeated(value[0][0], line)
        self.settings.append(_Setting(row, value, line.file, line.number, self.scope))

    def _note_repeated(self, name: str, line: Line) -> None:
        for setting in self.settings:
            if setting.row.attribute == "subsystem" and setting.scope == self.scope:
                if setting.value[0][0] == name:
                    self.warn(line, f"Subsystem {name[:40]!a} is defined already: this is ignored")

    def open_block(self, line: Line, outer: _Scope) -> _Scope:
        criteria = read_criteria(line, CRITERIA, before_all=frozenset())
        for criterion in criteria:
            try:
                check_criterion(criterion)
            except ConfigError as fault:
                raise checked(line, fault) from None
        return (*outer, *criteria)


def check_criterion(criterion: Criterion) -> None:
    """Raise ConfigError for an argument that a criterion cannot have."""
    if criterion.name in _ADDRESSES:
        check_address_list(criterion.argument)
    if CRITERIA[criterion.name] and not criterion.argument:
        raise ConfigError(f"{criterion.name} needs an argument")
    # A Match line stands before the values that it guards, so a port that cannot be is a slip.
    if criterion.name == "localport":
        if not re.fullmatch(r"!?[0-9*?]+(,!?[0-9*?]+)*", criterion.argument):
            raise ConfigError(f"localport: bad ports {criterion.argument[:40]!a}")


def read_sshd_config(
    surroundings: Surroundings, *, file: str = SERVER_FILE, options: Sequence[str] = ()
) -> SshdSettings:
    """Read a server's options (texts as after ``-o``) and then its file; ``none`` reads no file.

    Raises ConfigError, with file and line, for anything that is not understood, not supported, or
    not allowed where it stands.
    """
    reader = _ServerReader(surroundings)
    for option in options:
        line = read_line(option.strip(" \t\r\f"), file=_COMMAND_LINE)
        if line.keyword.lower() in {"match", "include"}:
            raise line.error(f"{line.keyword} cannot be given as an option")
        reader.read_line(line)
    if file.lower() != "none":
        text = surroundings.read(file)
        if text is None:
            raise ConfigError("no such file", file=file)
        reader.read_text(text, file=file)
    return SshdSettings(reader.settings, reader.warnings, reader.algorithms)
