# SPDX-License-Identifier: MIT
"""From a file and options to the rules of a server: Include, Match, and who gets what."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from tellin.config.conditions import Criterion, checked, read_criteria
from tellin.config.grammar import Line, read_line
from tellin.config.keywords import Known, Row
from tellin.config.patterns import (
    AddressList,
    match_any,
    match_host_list,
    match_pattern_list,
)
from tellin.config.reading import NamedAlgorithms, Reader
from tellin.config.sshd_config import SshdConfig
from tellin.config.surroundings import Surroundings
from tellin.config.tokens import expand
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
    routing_domain: str | None = None
    version: str = ""


# Criterion by criterion: what has to be known to judge it, and the test that its argument makes.
# The argument is read once, with the file: a login only asks.
_Test = Callable[[Peer], bool]

_TESTS: Final[dict[str, tuple[Callable[[Peer], object], Callable[[str], _Test]]]] = {
    "all": (lambda peer: True, lambda argument: lambda peer: True),
    "invalid-user": (
        lambda peer: peer.user or peer.invalid_user,
        lambda argument: lambda peer: peer.invalid_user,
    ),
    "user": (
        lambda peer: peer.user,
        lambda argument: lambda peer: match_pattern_list(peer.user, argument),
    ),
    "group": (
        lambda peer: peer.user,
        lambda argument: lambda peer: match_any(peer.groups, argument),
    ),
    "host": (
        lambda peer: peer.host,
        lambda argument: lambda peer: match_host_list(peer.host, "", argument),
    ),
    "address": (lambda peer: peer.address, lambda argument: _address(argument, "address")),
    "localaddress": (
        lambda peer: peer.local_address,
        lambda argument: _address(argument, "local_address"),
    ),
    "localport": (
        lambda peer: peer.local_port,
        lambda argument: lambda peer: match_pattern_list(str(peer.local_port), argument),
    ),
    "rdomain": (
        # Most connections have none, which is known too, and which "*" takes in.
        lambda peer: peer.routing_domain is not None,
        lambda argument: lambda peer: match_pattern_list(peer.routing_domain or "", argument),
    ),
    "version": (
        lambda peer: peer.version,
        lambda argument: lambda peer: match_pattern_list(peer.version, argument),
    ),
}

CRITERIA: Final = {name: name not in {"all", "invalid-user"} for name in _TESTS}
"""The criteria of Match, and whether they take an argument."""


def _address(argument: str, attribute: str) -> _Test:
    listed = AddressList(argument)
    return lambda peer: listed.fits(getattr(peer, attribute))


class Condition:
    """One criterion of a Match line, ready to be asked."""

    __slots__ = ("_known", "_negated", "_test", "name", "names")

    def __init__(self, criterion: Criterion) -> None:
        self.name = criterion.name
        self._known, made = _TESTS[criterion.name]
        self._test = made(criterion.argument)
        self._negated = criterion.negated
        self.names = _names(criterion)
        """The only users or groups for whom it can hold, if it says so by their full names."""

    def holds(self, peer: Peer) -> bool:
        # A negated criterion about what is not known does not hold either.
        return bool(self._known(peer)) and self._test(peer) is not self._negated


def _names(criterion: Criterion) -> tuple[tuple[str, str], ...]:
    kind, argument = criterion.name, criterion.argument
    if criterion.negated or kind not in {"user", "group"} or _PATTERN.search(argument):
        return ()
    if "," not in argument:
        return ((kind, argument),)
    return tuple((kind, name) for name in argument.split(",") if name)


_PATTERN: Final = re.compile(r"[*?!]")

_Scope = tuple[Condition, ...]


class _Setting:
    """One value of the file, and where it stands; ten thousand of them are made at once."""

    __slots__ = ("file", "line", "row", "scope", "value")

    def __init__(self, row: Row[Any], value: Any, line: Line, scope: _Scope) -> None:
        self.row = row
        self.value = value
        self.file = line.file
        self.line = line.number
        self.scope = scope


class _Block:
    """Values that stand together, and the criteria under which they count."""

    __slots__ = ("scope", "settings")

    def __init__(self, first: _Setting) -> None:
        self.scope = first.scope
        self.settings = [first]


class SshdSettings:
    """A whole configuration: what holds always, and what holds for whom.

    Made once, and asked for every connection; what is asked reads no text again, and looks only at
    the blocks that can be meant.
    """

    def __init__(
        self,
        settings: Sequence[_Setting],
        warnings: Sequence[str],
        algorithms: Sequence[NamedAlgorithms] = (),
    ) -> None:
        self.warnings = tuple(warnings)
        self.algorithms_named = tuple(algorithms)
        """Every algorithm list, also of Match blocks."""
        self._everywhere: list[_Setting] = []
        self._blocks: list[_Block] = []
        self._by_name: dict[tuple[str, str], list[int]] = {}
        self._for_anybody: list[int] = []
        for setting in settings:
            if not setting.scope:
                self._everywhere.append(setting)
            elif self._blocks and self._blocks[-1].scope is setting.scope:
                self._blocks[-1].settings.append(setting)
            else:
                self._place(_Block(setting))
        self.always = self._made(())

    def _place(self, block: _Block) -> None:
        """Put a block where it is found: under each of the names it is for, or among all others."""
        number = len(self._blocks)
        for one in block.scope:
            if one.names:
                for name in one.names:
                    self._by_name.setdefault(name, []).append(number)
                break
        else:
            self._for_anybody.append(number)
        self._blocks.append(block)

    def asks_for(self, criterion: str) -> bool:
        """Whether a Match line has a criterion of that name (in lower case)."""
        return any(one.name == criterion for block in self._blocks for one in block.scope)

    def for_peer(self, peer: Peer) -> SshdConfig:
        """What holds for one connection; ask again when more is known of its user."""
        return self._made(
            setting for block in self._blocks_for(peer) for setting in block.settings
        )

    def _blocks_for(self, peer: Peer) -> Iterator[_Block]:
        """The blocks that hold, in the order of the file."""
        meant = self._for_anybody
        by_name = [("user", peer.user), *(("group", name) for name in peer.groups)]
        for name in by_name if self._by_name else ():
            if name in self._by_name:
                meant = meant + self._by_name[name]
        if meant is not self._for_anybody:
            meant = sorted(set(meant))
        for number in meant:
            block = self._blocks[number]
            if all(one.holds(peer) for one in block.scope):
                yield block

    def _made(self, in_blocks: Iterable[_Setting]) -> SshdConfig:
        """First the blocks that hold, in order, then what stands outside: the first value wins.

        What accumulates does so among the blocks, or outside them: a block replaces it whole.
        """
        values: dict[str, Any] = {}
        origins: dict[str, tuple[str, int]] = {}
        for chosen in (in_blocks, self._everywhere):
            before = frozenset(values)
            for setting in chosen:
                name, merge = setting.row.attribute, setting.row.merge
                if name not in values:
                    values[name] = setting.value
                    origins[name] = (setting.file, setting.line)
                elif merge is not None and name not in before:
                    values[name] = merge(values[name], setting.value)
        return SshdConfig.made_of(values, origins)


class _ServerReader(Reader[_Scope]):
    """Collects: the scope is the criteria of the blocks around the present line."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings, scope=())
        self.settings: list[_Setting] = []
        self.ports_are_given = False
        """Whether the command line names the ports: then no other line does."""
        self._subsystems: set[tuple[int, str]] = set()

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
            raise line.error(f"Directive '{row.spelling}' is not allowed within a Match block")
        value = row.read(line)
        if self.ports_are_given and row is SshdConfig.rows["port"]:
            # sshd(8), -p: who tries a second server by the system's file does not want its port.
            return
        missing = row.lacks(value)
        if missing is not None:
            allowed = dict.fromkeys((row.default, *(missing.harmless or ())))
            shown = [" ".join(row.shown(value)) for value in allowed]
            raise line.error(
                f"{row.spelling} is not supported",
                hint=f"only {row.spelling} {' or '.join(shown)} is" if shown else "",
            )
        self.note_algorithms(row, value, line)
        if row.tokens:
            _check_tokens(row, value, line)
        if row is SshdConfig.rows["subsystem"]:
            self._note_repeated(value[0][0], line)
        self.settings.append(_Setting(row, value, line, self.scope))

    def _note_repeated(self, name: str, line: Line) -> None:
        # By its identity: two blocks of the same words are two blocks. Each scope lives as long as
        # the settings in it do.
        place = (id(self.scope), name)
        if place in self._subsystems:
            self.warn(line, f"Subsystem {name[:40]!a} is defined already: this is ignored")
        self._subsystems.add(place)

    def open_block(self, line: Line, outer: _Scope) -> _Scope:
        criteria = read_criteria(line, CRITERIA, before_all=frozenset())
        try:
            return (*outer, *map(condition, criteria))
        except ConfigError as fault:
            raise checked(line, fault) from None


def holds(criterion: Criterion, peer: Peer) -> bool:
    """Whether a criterion of Match holds for a connection."""
    return condition(criterion).holds(peer)


def condition(criterion: Criterion) -> Condition:
    """A criterion ready to be asked; raises ConfigError for an argument that it cannot have."""
    if CRITERIA[criterion.name] and not criterion.argument:
        raise ConfigError(f"{criterion.name} needs an argument")
    # A Match line stands before the values that it guards, so a port that cannot be is a slip.
    if criterion.name == "localport":
        if not re.fullmatch(r"!?[0-9*?]+(,!?[0-9*?]+)*", criterion.argument):
            raise ConfigError(f"localport: bad ports {criterion.argument[:40]!a}")
    return Condition(criterion)


def _check_tokens(row: Row[Any], value: Any, line: Line) -> None:
    """Refuse a token that nothing can be put in for: it would be missed at every login (R115)."""
    for text in value if isinstance(value, tuple) else (value,):
        if text and "%" in text:
            try:
                expand(text, dict.fromkeys(row.tokens, str), allowed=row.tokens)
            except ConfigError as fault:
                raise line.error(f"{row.spelling}: {fault}", hint=fault.hint) from None


def read_sshd_config(
    surroundings: Surroundings,
    *,
    file: str = SERVER_FILE,
    options: Sequence[str] = (),
    ports: Sequence[int] = (),
) -> SshdSettings:
    """Read a server's options (texts as after ``-o``) and then its file; ``none`` reads no file.

    Where ``ports`` are given, as by ``-p``, every Port is left aside.
    Raises ConfigError, with file and line, for anything that is not understood, not supported, or
    not allowed where it stands.
    """
    reader = _ServerReader(surroundings)
    for port in ports:
        reader.read_line(read_line(f"Port={port}", file=_COMMAND_LINE))
    reader.ports_are_given = bool(ports)
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
