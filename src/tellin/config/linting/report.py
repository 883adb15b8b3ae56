# SPDX-License-Identifier: MIT
"""What a configuration means and what is wrong with it: the two questions that `tellin.config.linting` answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from tellin.config import kinds
from tellin.config.keywords import KeywordFile
from tellin.config.linting.coverage import for_everybody
from tellin.config.linting.files import CLIENT_DEMANDS, SERVER_DEMANDS, named_files, own_files
from tellin.config.linting.findings import Finding, Kind, Severity
from tellin.config.linting.idle import CLIENT_IDLE, SERVER_IDLE, idle_values
from tellin.config.linting.shadows import RIVALS, lost, never_held, shadowed
from tellin.config.linting.survey import (
    ClientSurvey,
    ServerSurvey,
    Statement,
    Survey,
)
from tellin.config.linting.weak import (
    CLIENT_WEAKNESSES,
    SERVER_WEAKNESSES,
    weak_algorithms,
    weak_values,
)
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import COMMAND_LINE, FORWARDINGS, read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import SERVER_FILE, Peer, holds, read_sshd_config
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError
from tellin.wire import Record
from tellin.wire.states import State

C = TypeVar("C", bound=KeywordFile)


class Verdict(State):
    """What became of a line, for one destination or one connection."""

    COUNTS = "counts"
    SHADOWED = "shadowed"
    """Its block holds, and another line has come first: ``Source.by``."""
    ELSEWHERE = "elsewhere"
    """Its block does not hold."""


class Source(Record):
    """One line with a keyword: where it stands, what it says, and what became of it."""

    keyword: str
    value: str
    file: str
    line: int
    verdict: Verdict
    by: tuple[str, int] = ("", 0)


class Report(Generic[C]):
    """What there is to say of a configuration.

    ``config`` is what holds (for a server asked about nobody: outside of Match), None where the
    program would not start; its ``origin`` says where each value came from. ``sources`` are the
    lines in the order in which they are read, and only there where a destination or a connection was
    asked about. ``findings`` are in the order of the files.
    """

    __slots__ = ("config", "findings", "sources")

    def __init__(
        self, findings: tuple[Finding, ...], config: C | None, sources: tuple[Source, ...]
    ) -> None:
        self.findings = findings
        self.config = config
        self.sources = sources

    def worst(self) -> Severity | None:
        """The severity of the worst finding."""
        found = {finding.severity for finding in self.findings}
        return next((one for one in Severity if one in found), None)


class Case(Record):
    """What a check is shown: lines that may count, and what holds where."""

    survey: Survey
    statements: tuple[Statement, ...]
    beaten: tuple[tuple[Statement, Finding], ...]
    """The lines that count for nobody."""
    beside: Callable[[Statement], KeywordFile]
    """What holds where a line does."""
    effective: KeywordFile | None
    server: bool


Check = Callable[[Case], Iterable[Finding]]


def _mistakes(case: Case) -> Iterator[Finding]:
    return map(Finding.of_error, case.survey.faults)


def _remarks(case: Case) -> Iterator[Finding]:
    for one in case.survey.remarks:
        yield Finding(Kind.REMARK, Severity.NOTE, one.file, one.line, one.keyword, one.text)


def _unsupported(case: Case) -> Iterator[Finding]:
    for said in case.statements:
        later = said.row.later
        if later is None or said.value == said.row.default:
            continue
        refused = said.row.lacks(said.value) is not None
        if not refused and later.harmless is not None:
            continue
        ends = refused and (case.server or later.essential or said.file == COMMAND_LINE)
        yield Finding(
            Kind.UNSUPPORTED,
            Severity.ERROR if ends else Severity.NOTE,
            said.file,
            said.line,
            said.row.spelling,
            f"{said.row.spelling} {said.words[:60]} {later.told}",
            "" if ends else "the line is read, and nothing is done about it",
        )


def _never(case: Case) -> Iterator[Finding]:
    return (finding for _, finding in never_held(case.survey))


def _shadowed(case: Case) -> Iterator[Finding]:
    return (finding for _, finding in case.beaten)


def _lost(case: Case) -> Iterator[Finding]:
    return lost(case.statements)


def _weak(case: Case) -> Iterator[Finding]:
    rows = SERVER_WEAKNESSES if case.server else CLIENT_WEAKNESSES
    return weak_values(_counting(case), rows, case.beside)


def _algorithms(case: Case) -> Iterator[Finding]:
    lists = [said for said in _counting(case) if said.row.kind is kinds.OPTIONAL_ALGORITHMS]
    return weak_algorithms(lists, lenient=not case.server)


def _idle(case: Case) -> Iterator[Finding]:
    rows = SERVER_IDLE if case.server else CLIENT_IDLE
    table = case.survey.table
    return idle_values(case.statements, rows, table=table, effective=case.effective)


def _files(case: Case) -> Iterator[Finding]:
    demands = SERVER_DEMANDS if case.server else CLIENT_DEMANDS
    yield from named_files(case.survey, _counting(case), demands)
    if case.server:
        yield from own_files(case.survey)


def _counting(case: Case) -> list[Statement]:
    """The lines that count for the one connection that is meant, or may for any."""
    if case.effective is None:
        beaten = {id(said) for said, _ in case.beaten}
        return [said for said in case.statements if id(said) not in beaten]
    config = case.effective
    return [
        said
        for said in case.statements
        if said.row.merge is not None or config.origin(said.row.attribute) == said.place
    ]


CHECKS: Final[tuple[Check, ...]] = (
    _mistakes,
    _remarks,
    _unsupported,
    _never,
    _shadowed,
    _lost,
    _weak,
    _algorithms,
    _idle,
    _files,
)
"""A function a question; what they find is put in order behind them."""


def lint_ssh_config(
    surroundings: Surroundings,
    *,
    host: str | None = None,
    user: str | None = None,
    port: int | None = None,
    options: Sequence[str] = (),
    file: str | None = None,
    command: str = "",
    session: str = "shell",
) -> Report[SshConfig]:
    """Judge a client's configuration: for everybody, or for one destination.

    The arguments are those of `tellin.config.ssh_reading.read_ssh_config`. Nothing is raised for
    what stands in the files: it is a finding. Without a ``host`` no command of Match exec runs.
    """
    config: SshConfig | None = None
    fault: ConfigError | None = None
    if host is not None:
        try:
            config = read_ssh_config(
                surroundings, host, user=user, port=port, options=options, file=file,
                command=command, session=session,
            )  # fmt: skip
        except ConfigError as found:
            fault = found
    survey = ClientSurvey(surroundings, config=config)
    for option in options:
        survey.read_option(option)
    survey.read_files(file)
    sources: tuple[Source, ...] = ()
    statements: Sequence[Statement] = survey.statements
    if config is not None:
        held = set(config.blocks)
        judged = [(said, _client_verdict(said, config, held)) for said in statements]
        sources = tuple(_source(said, verdict, by) for said, (verdict, by) in judged)
        statements = [said for said, (verdict, _) in judged if verdict is not Verdict.ELSEWHERE]
    findings = _findings(survey, statements, config, fault, server=False)
    return Report(findings, config, sources)


def lint_sshd_config(
    surroundings: Surroundings,
    *,
    file: str = SERVER_FILE,
    options: Sequence[str] = (),
    peer: Peer | None = None,
) -> Report[SshdConfig]:
    """Judge a server's configuration: for everybody, or for one connection.

    The arguments are those of `tellin.config.sshd_reading.read_sshd_config`. Nothing is raised for
    what stands in the files: it is a finding.
    """
    config: SshdConfig | None = None
    fault: ConfigError | None = None
    try:
        settings = read_sshd_config(surroundings, file=file, options=options)
        config = settings.always if peer is None else settings.for_peer(peer)
    except ConfigError as found:
        fault = found
    survey = ServerSurvey(surroundings)
    for option in options:
        survey.read_option(option)
    survey.read_file(file)
    sources: tuple[Source, ...] = ()
    statements: Sequence[Statement] = survey.statements
    if config is not None and peer is not None:
        holding = [said for said in statements if _holds(said, peer)]
        by_blocks = {said.row.attribute for said in holding if said.blocks}
        judged = [(said, _server_verdict(said, config, holding, by_blocks)) for said in statements]
        sources = tuple(_source(said, verdict, by) for said, (verdict, by) in judged)
        statements = holding
    effective = config if peer is not None else None
    return Report(_findings(survey, statements, effective, fault, server=True), config, sources)


def _client_verdict(
    said: Statement, config: SshConfig, held: set[tuple[str, int]]
) -> tuple[Verdict, tuple[str, int]]:
    if any((block.file, block.line) not in held for block in said.blocks):
        return Verdict.ELSEWHERE, ("", 0)
    origin = config.origin(said.row.attribute)
    cleared = config.clear_all_forwardings and said.row.attribute in FORWARDINGS
    if cleared:
        return Verdict.SHADOWED, config.origin("clear_all_forwardings")
    if said.row.merge is not None or origin == said.place:
        return Verdict.COUNTS, ("", 0)
    if not config.is_set(said.row.attribute):
        # Of the two ways to a proxy the other has come first.
        rival = RIVALS.get(said.row.attribute)
        return Verdict.SHADOWED, config.origin(rival) if rival else origin
    return Verdict.SHADOWED, origin


def _holds(said: Statement, peer: Peer) -> bool:
    return all(
        block.asked is not None and all(holds(one, peer) for one in block.criteria)
        for block in said.blocks
    )


def _server_verdict(
    said: Statement, config: SshdConfig, holding: Sequence[Statement], by_blocks: set[str]
) -> tuple[Verdict, tuple[str, int]]:
    if not any(said is one for one in holding):
        return Verdict.ELSEWHERE, ("", 0)
    name = said.row.attribute
    origin = config.origin(name)
    if origin == said.place:
        return Verdict.COUNTS, ("", 0)
    # What accumulates does so among the blocks, or outside them.
    if said.row.merge is not None and (bool(said.blocks) or name not in by_blocks):
        return Verdict.COUNTS, ("", 0)
    return Verdict.SHADOWED, origin


def _source(said: Statement, verdict: Verdict, by: tuple[str, int]) -> Source:
    return Source(said.row.spelling, said.words, said.file, said.line, verdict, by)


def _findings(
    survey: Survey,
    statements: Sequence[Statement],
    effective: KeywordFile | None,
    fault: ConfigError | None,
    *,
    server: bool,
) -> tuple[Finding, ...]:
    hollow = {id(block) for block, _ in never_held(survey)}
    alive = tuple(
        said
        for said in statements
        if not any(block.asked is None or id(block) in hollow for block in said.blocks)
    )
    beaten = tuple(shadowed(survey, alive))
    case = Case(survey, alive, beaten, _beside(survey, effective), effective, server)
    found = [finding for check in CHECKS for finding in check(case)]
    if fault is not None:
        ended = Finding.of_error(fault)
        if not any(
            one.severity is Severity.ERROR
            and (
                (one.file, one.line) == (ended.file, ended.line) or one.sentence == ended.sentence
            )
            for one in found
        ):
            found.append(ended)
    order = {name: place for place, name in enumerate([COMMAND_LINE, *survey.files])}
    found.sort(key=lambda one: (order.get(one.file, len(order)), one.line))
    once: dict[str, Finding] = {f"{one} {one.hint}": one for one in found}
    return tuple(once.values())


def _beside(survey: Survey, effective: KeywordFile | None) -> Callable[[Statement], KeywordFile]:
    """What holds where a line does: its own blocks' values, and those that are for everybody."""
    if effective is not None:
        return lambda said: effective
    everywhere: dict[str, Any] = {}
    within: dict[tuple[int, ...], dict[str, Any]] = {}
    for said in survey.statements:
        if for_everybody(said.blocks):
            everywhere.setdefault(said.row.attribute, said.value)
        else:
            blocks = tuple(map(id, said.blocks))
            within.setdefault(blocks, {}).setdefault(said.row.attribute, said.value)

    def beside(said: Statement) -> KeywordFile:
        own = within.get(tuple(map(id, said.blocks)), {})
        return survey.table(**{**everywhere, **own})

    return beside
