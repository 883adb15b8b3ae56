# SPDX-License-Identifier: MIT
"""From options and files to one `SshConfig`: Host, Match, Include, and the second pass."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from tellin.config.conditions import Criterion, checked, read_criteria
from tellin.config.destination import host_fault, user_fault
from tellin.config.grammar import Line, read_line
from tellin.config.keywords import Known, Later, Retired, Row
from tellin.config.patterns import (
    check_address_list,
    in_block,
    match_address_list,
    match_pattern,
    match_pattern_list,
)
from tellin.config.reading import Reader
from tellin.config.ssh_config import (
    STANDARD,
    NotYet,
    SshConfig,
    client_tokens,
    guarded,
)
from tellin.config.ssh_kinds import merge_rekey_limit, settled_rekey_limit
from tellin.config.surroundings import Surroundings
from tellin.config.tokens import expand, expand_tilde
from tellin.errors import ConfigError
from tellin.wire import Record

COMMAND_LINE: Final = "command-line"

IGNORE_UNKNOWN: Final = "IgnoreUnknown lets a file hold keywords of other programs"


_CANONICALIZATION: Final = (
    "canonicalize_hostname", "canonicalize_fallback_local", "canonicalize_max_dots"
)  # fmt: skip
FORWARDINGS: Final = ("dynamic_forward", "local_forward", "remote_forward", "tunnel")
"""What ClearAllForwardings forgets."""


class Invocation(Record):
    """What the command line said besides options: what Match can ask about."""

    host: str
    command: str = ""
    session: str = "shell"
    version: str = ""


class _ClientReader(Reader[bool]):
    """Evaluates as it reads: the scope is whether the present block is for this host."""

    blocks = frozenset({"host", "match"})

    def __init__(self, surroundings: Surroundings, invocation: Invocation) -> None:
        super().__init__(surroundings, scope=True)
        self.invocation = invocation
        self.values: dict[str, Any] = {}
        self.origins: dict[str, tuple[str, int]] = {}
        self.postponed: dict[str, NotYet] = {}
        self.seen: set[str] = set()
        self.held: list[tuple[str, int]] = []
        self.host = invocation.host
        self.final = False
        self.wants_final = False
        self._for_user = True

    # --- files and options

    def read_command_line(
        self, user: str | None, port: int | None, options: Sequence[str]
    ) -> None:
        """Take what the command line says of the connection."""
        if user is not None:
            _check_name("user", user, user_fault(user))
            self.values["user"] = user
        if port is not None:
            self.values["port"] = port
        for option in options:
            self.read_option(option)
        given = self.values.get("user")
        if user is None and given is not None:
            # What an option may put in is not there yet.
            _check_name("user", given, user_fault(re.sub(r"\$\{\w*\}", "x", given)))

    def read_option(self, text: str) -> None:
        """Take one ``-o`` of the command line."""
        line = read_line(text.strip(" \t\r\f"), file=COMMAND_LINE)
        keyword = line.keyword.lower()
        if keyword in {"host", "match", "include"}:
            raise line.error(f"{line.keyword} cannot be given as an option")
        if not keyword:
            raise line.error("an option is too long")
        self.read_line(line)

    def read_file(self, path: str, *, for_user: bool, guarded: bool, required: bool) -> None:
        """Read one of the main files, if it is there."""
        full = expand_tilde(path, self.surroundings.home, self.surroundings.home_of)
        text = self.surroundings.read(full, guarded=guarded)
        if text is None and required:
            raise ConfigError(f"Can't open user config file {full}: No such file or directory")
        self._for_user = for_user
        if text is not None:
            self.read_text(text, file=full, guarded=guarded)

    def included(self, word: str, line: Line) -> Sequence[str]:
        surroundings = self.surroundings
        try:
            path = expand(
                word,
                client_tokens(self.so_far(), surroundings),
                allowed=STANDARD,
                environment=surroundings.environment,
            )
            if path.startswith("~") and not self._for_user:
                raise line.error(f"Include: bad path {path[:80]!a} in a system file")
            path = expand_tilde(path, surroundings.home, surroundings.home_of)
        except ConfigError as fault:
            raise line.located(fault) from None
        places = surroundings.locations
        return ((places.in_user if self._for_user else places.in_system)(path),)

    # --- values

    def so_far(self) -> SshConfig:
        """The values as they stand, with the host names that Match and tokens need."""
        made = SshConfig.made_of(self.values, self.origins)
        made.host_argument = self.invocation.host
        hostname = self.values.get("hostname")
        if self.final:
            made.hostname = self.host
        elif hostname is not None:
            try:
                made.hostname = expand(hostname, {"h": lambda: self.invocation.host}, allowed="h")
            except ConfigError as fault:
                file, number = self.origins["hostname"]
                raise ConfigError(f"Hostname: {fault}", file=file, line=number) from None
        return made

    def lookup(self, line: Line) -> Known | None:
        name = line.keyword.lower()
        ignored = self.values.get("ignore_unknown", ())
        if name not in SshConfig.known and match_pattern_list(name, ignored, fold=True):
            return None
        try:
            return SshConfig.lookup(line)
        except ConfigError as fault:
            if not fault.hint:
                fault.hint = IGNORE_UNKNOWN
            raise

    def store(self, row: Row[Any], line: Line) -> None:
        value = row.read(line)
        self.note_algorithms(row, value, line)
        if not self.scope or self._outdone(row.spelling):
            return
        missing = row.lacks(value)
        if missing is not None:
            self._leave_out(row, missing, line)
        name = row.attribute
        self.seen.add(row.spelling.lower())
        if name not in self.values:
            self.values[name] = value if row.merge is None else row.merge((), value)
            self.origins[name] = (line.file, line.number)
        elif row.merge is not None and not self.final:
            self.values[name] = row.merge(self.values[name], value)
        elif row.merge is not None:
            self._merge_again(row, value)

    def _merge_again(self, row: Row[Any], value: Any) -> None:
        """In the second pass, what accumulates is met again: only what is new is added."""
        if row.merge is merge_rekey_limit:
            self.values[row.attribute] = row.merge(self.values[row.attribute], value)
            return
        new = tuple(item for item in value if item not in self.values[row.attribute])
        if new and row.merge is not None:
            self.values[row.attribute] = row.merge(self.values[row.attribute], new)

    def _leave_out(self, row: Row[Any], later: Later, line: Line) -> None:
        """Note that nothing will act on a value, or refuse it where that would be dangerous."""
        if row.attribute in self.values and row.merge is None:
            return
        self._refuse_missing(row.spelling, line, essential=later.essential)
        self.postponed.setdefault(
            row.attribute, NotYet(row.spelling, " ".join(line.words()), line.file, line.number)
        )

    def _refuse_missing(self, spelling: str, line: Line, *, essential: bool) -> None:
        if line.file == COMMAND_LINE:
            raise line.error(f"{spelling} is not supported")
        if essential:
            raise line.error(
                f"{spelling} is not supported",
                hint="it counts for this host, and to leave it out would change where"
                " the connection goes or which key is trusted",
            )

    def _outdone(self, spelling: str) -> bool:
        """Whether a keyword that rules this one out has come first."""
        name = spelling.lower()
        if name == "proxycommand":
            # A jump that is none leaves the way open; a command that is none does not.
            return self.values.get("proxy_jump") is not None
        return name == "proxyjump" and "proxycommand" in self.seen

    def meet_retired(self, line: Line, known: Retired) -> None:
        if known.unsupported:
            super().meet_retired(line, known)
        else:
            # As with OpenSSH, who looks for a fault hears of it: such lines stand in many old files.
            said = line.error(f"Deprecated option {known.spelling} is ignored")
            self.story.append(str(said))

    # --- blocks

    def open_block(self, line: Line, outer: bool) -> bool:
        opened = self._match if line.keyword.lower() == "match" else self._host
        holds = opened(line, outer)
        if holds:
            self.held.append((line.file, line.number))
        return holds

    def _host(self, line: Line, outer: bool) -> bool:
        words = line.words()
        if not words:
            raise line.error("Host: a pattern is missing")
        # A negated pattern that fits excludes the block whatever else fits.
        fits = False
        for word in words:
            pattern = word.removeprefix("!")
            if match_pattern(self.host, pattern):
                if word != pattern:
                    return False
                if outer and not fits:
                    self._tell(line, word)
                fits = True
        return outer and fits

    def _tell(self, line: Line, what: str) -> None:
        """A block holds."""
        self.story.append(f"{line.file} line {line.number}: Applying options for {what}")

    def _match(self, line: Line, outer: bool) -> bool:
        criteria = read_criteria(line, CRITERIA, before_all=frozenset({"canonical", "final"}))
        holds = outer
        for criterion in criteria:
            # A command runs only if everything before it holds.
            if not holds and criterion.name == "exec":
                continue
            try:
                answer = _TESTS[criterion.name](self, criterion)
            except ConfigError as fault:
                raise checked(line, fault) from None
            holds = holds and answer is not criterion.negated
        return holds

    def _is_final(self, criterion: Criterion) -> bool:
        self.wants_final = self.wants_final or criterion.name == "final"
        return self.final

    def _exec(self, criterion: Criterion) -> bool:
        now = self.so_far()
        tokens = guarded(client_tokens(now, self.surroundings))
        return self.surroundings.run(expand(criterion.argument, tokens, allowed=STANDARD))

    def _local_network(self, criterion: Criterion) -> bool:
        check_address_list(criterion.argument)
        for item in criterion.argument.split(","):
            if in_block("", item.removeprefix("!")) is None:
                raise ConfigError(f"localnetwork: {item[:40]!a} is not an address block")
        return any(
            match_address_list(address, criterion.argument)
            for address in self.surroundings.addresses()
        )


def _fits_text(text: str, criterion: Criterion) -> bool:
    """A pattern list, where the empty list stands for the empty text."""
    if not criterion.argument:
        return not text
    return match_pattern_list(text, criterion.argument)


_Test = Callable[[_ClientReader, Criterion], bool]

_TESTS: Final[dict[str, _Test]] = {
    "all": lambda reader, criterion: True,
    "canonical": _ClientReader._is_final,
    "final": _ClientReader._is_final,
    "exec": _ClientReader._exec,
    "localnetwork": _ClientReader._local_network,
    "host": lambda reader, c: match_pattern_list(reader.so_far().host, c.argument),
    "originalhost": lambda reader, c: match_pattern_list(reader.invocation.host, c.argument),
    "tagged": lambda reader, c: _fits_text(reader.values.get("tag") or "", c),
    "command": lambda reader, c: _fits_text(reader.invocation.command, c),
    "user": lambda reader, c: match_pattern_list(
        reader.values.get("user") or reader.surroundings.user, c.argument
    ),
    "localuser": lambda reader, c: match_pattern_list(reader.surroundings.user, c.argument),
    "version": lambda reader, c: match_pattern_list(reader.invocation.version, c.argument),
    "sessiontype": lambda reader, c: match_pattern_list(reader.invocation.session, c.argument),
}

CRITERIA: Final = {name: name not in {"all", "canonical", "final"} for name in _TESTS}
"""The criteria of Match, and whether they take an argument."""


def read_ssh_config(
    surroundings: Surroundings,
    host: str,
    *,
    user: str | None = None,
    port: int | None = None,
    options: Sequence[str] = (),
    file: str | None = None,
    command: str = "",
    session: str = "shell",
    version: str = "",
) -> SshConfig:
    """Read what holds for ``host``: options first, then the user's file, then the system's.

    ``user`` and ``port`` are those of the command line; ``options`` are texts as after ``-o``;
    ``file`` is that of ``-F``: read alone, and ``none`` reads nothing. ``session`` is shell,
    exec, subsystem or none. Values are as written, apart from Hostname: `SshConfig.expanded`
    puts the tokens in. Raises ConfigError.
    """
    # R170: before any file is read, any token put in, any command run.
    _check_name("host", host, host_fault(host))
    reader = _ClientReader(
        surroundings, Invocation(host, command=command, session=session, version=version)
    )
    reader.read_command_line(user, port, options)
    _read_files(reader, file)
    reader.host = _real_host(reader)
    first_pass = reader.so_far()
    canonicalizes = first_pass.canonicalize_hostname != "no"
    if canonicalizes:
        from tellin.config.canonicalization import canonical_host  # noqa: PLC0415  (start-up time)

        reader.host = canonical_host(reader.host, first_pass, surroundings)
    # Blocks for the full name may hold now, and so may those that wait for the second pass.
    if canonicalizes or reader.wants_final:
        reader.final = True
        # How the name is found is settled: the second pass comes too late to change it.
        for name in _CANONICALIZATION:
            reader.values.setdefault(name, SshConfig.rows[name].default)
        _read_files(reader, file)
    made = SshConfig.made_of(reader.values, reader.origins)
    if made.clear_all_forwardings:
        made = made.replaced(**{name: SshConfig.rows[name].default for name in FORWARDINGS})
    made.host_argument = host
    made.hostname = _real_host(reader)
    if made.host_key_alias is not None:
        # Names in known_hosts are.
        made.host_key_alias = made.host_key_alias.lower()
    made.user_is_literal = made.user is None or user is not None
    made.user = made.user or surroundings.user or None
    if not made.is_set("update_host_keys") and (
        made.is_set("user_known_hosts_file") or made.verify_host_key_dns != "no"
    ):
        # Nobody is taken to mean a file of his own to be changed, or one beside the DNS.
        made.update_host_keys = "no"
    if made.is_set("rekey_limit"):
        made.rekey_limit = settled_rekey_limit(made.rekey_limit)
    if made.proxy_jump is not None:
        # It is for a command, and there is none.
        made.proxy_use_fdpass = False
    made.warnings = tuple(reader.warnings)
    made.story = tuple(reader.story)
    made.blocks = tuple(reader.held)
    made.algorithms_named = tuple(reader.algorithms)
    made.not_yet = tuple(
        found
        for name, found in reader.postponed.items()
        if not (made.clear_all_forwardings and name in FORWARDINGS)
    )
    return made


def _check_name(what: str, name: str, fault: str) -> None:
    if fault:
        raise ConfigError(f"invalid {what} name {ascii(name)[:80]}: it {fault}")


def _read_files(reader: _ClientReader, file: str | None) -> None:
    if file is None:
        places = reader.surroundings.locations
        reader.read_file(places.user_config, for_user=True, guarded=True, required=False)
        reader.read_file(places.system_config, for_user=False, guarded=False, required=False)
    elif file.lower() != "none":
        reader.read_file(file, for_user=True, guarded=False, required=True)


def _real_host(reader: _ClientReader) -> str:
    """The host to connect to, checked: whatever a file said, it is a name and nothing more."""
    host = reader.so_far().host.lower()
    fault = host_fault(host)
    if fault:
        file, number = reader.origins.get("hostname", ("", 0))
        raise ConfigError(f"Hostname: {host[:80]!a} {fault}", file=file, line=number)
    return host
