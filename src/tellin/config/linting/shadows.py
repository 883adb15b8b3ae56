# SPDX-License-Identifier: MIT
"""Lines that never count because others do first: for everybody, told from the blocks alone."""

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from typing import Final

from tellin.config.keywords import append, append_new
from tellin.config.linting.coverage import covers, for_everybody, is_universal, why_never
from tellin.config.linting.findings import Finding, Kind, Severity
from tellin.config.linting.survey import Asked, Block, ClientSurvey, Statement, Survey
from tellin.config.sshd_kinds import add_subsystem

# Blocks with patterns are compared one by one, and only with so many before them: a file of ten
# thousand would be compared fifty million times.
_MOST_COMPARED: Final = 24
# Of what a line's blocks ask, every part is looked up as long as these are few.
_MOST_ASKED: Final = 4

# What decides over which criteria of ssh_config.
_CHANGED_BY: Final = {
    "host": ("hostname", "canonicalize_hostname"),
    "user": ("user",),
    "tagged": ("tag",),
}
_LATER_PASS: Final = frozenset({"canonical", "final"})
# What a second line of the same words adds nothing by. Not so SendEnv, where a name may come back.
_ADDING: Final = (append, append_new, add_subsystem)
# Two ways to one end: the first that is given rules the other out.
RIVALS: Final = {"proxy_command": "proxy_jump", "proxy_jump": "proxy_command"}


def changing(survey: Survey) -> Collection[str]:
    """The criteria whose answer the files themselves change on the way."""
    if not isinstance(survey, ClientSurvey):
        return ()
    said = {statement.row.attribute for statement in survey.statements}
    return {name for name, causes in _CHANGED_BY.items() if not said.isdisjoint(causes)}


def in_later_pass(blocks: Sequence[Block]) -> bool:
    """Whether what stands here is read but when the files are read once more."""
    return any(
        one.name in _LATER_PASS and not one.negated
        for block in blocks
        for one in block.asked or ()
    )


def never_held(survey: Survey) -> Iterator[tuple[Block, Finding]]:
    """Blocks in which nobody ever is."""
    mutable = changing(survey)
    around = {id(one.blocks[-1]): one.blocks for one in survey.statements if one.blocks}
    passes_again = _passes_again(survey)
    for block in survey.met:
        blocks = around.get(id(block), (block,))
        reason = why_never(blocks, changing=mutable)
        hint = ""
        if "negation alone" in reason:
            hint = "put * before it, or in a Match line the ! before the criterion"
        elif not reason and not passes_again and in_later_pass((block,)):
            reason = "waits for a second pass, and there is none"
            hint = "CanonicalizeHostname yes asks for one, and so does Match final"
        if reason:
            yield (
                block,
                Finding(
                    Kind.NEVER,
                    Severity.WARNING,
                    block.file,
                    block.line,
                    block.words.split()[0],
                    f"nobody is ever in this block: {block.words} {reason}",
                    hint,
                ),
            )


def _passes_again(survey: Survey) -> bool:
    if not isinstance(survey, ClientSurvey):
        return True
    return any(one.value != "no" for one in survey.said("canonicalize_hostname")) or any(
        one.name == "final" for block in survey.met for one in block.asked or ()
    )


def shadows(
    survey: Survey, statements: Sequence[Statement]
) -> Iterator[tuple[Statement, Statement]]:
    """Lines that count for nobody, each with the line that counts instead."""
    mutable = changing(survey)
    by_attribute: dict[str, list[Statement]] = {}
    for said in statements:
        if said.row.merge is None:
            by_attribute.setdefault(said.row.attribute, []).append(said)
    client = isinstance(survey, ClientSurvey)
    for lines in by_attribute.values():
        yield from _client(lines, mutable) if client else _server(lines)
    if client:
        yield from _outdone_by_rivals(statements, mutable)


def _outdone_by_rivals(
    statements: Sequence[Statement], mutable: Collection[str]
) -> Iterator[tuple[Statement, Statement]]:
    winners: dict[str, list[Statement]] = {name: [] for name in RIVALS}
    for said in statements:
        rival = RIVALS.get(said.row.attribute)
        if rival is None:
            continue
        for winner in winners[rival]:
            if covers(winner.blocks, said.blocks, changing=mutable):
                yield said, winner
                break
        own = winners[said.row.attribute]
        if _rules_out(said) and len(own) < _MOST_COMPARED:
            own.append(said)


def _rules_out(winner: Statement) -> bool:
    # A jump that is none leaves the way open for a command; a command that is none does not.
    return winner.row.attribute == "proxy_command" or winner.value is not None


def _client(
    lines: Sequence[Statement], mutable: Collection[str]
) -> Iterator[tuple[Statement, Statement]]:
    """The first value counts; what is for a later pass comes behind all that is not."""
    order = [
        *(said for said in lines if not in_later_pass(said.blocks)),
        *(said for said in lines if in_later_pass(said.blocks)),
    ]
    yield from _beaten(order, mutable)


def _server(lines: Sequence[Statement]) -> Iterator[tuple[Statement, Statement]]:
    """Of the blocks the first that holds counts, and any of them before what stands outside."""
    yield from _beaten(
        [*(said for said in lines if said.blocks), *(said for said in lines if not said.blocks)],
        (),
    )


def _beaten(
    order: Sequence[Statement], mutable: Collection[str]
) -> Iterator[tuple[Statement, Statement]]:
    winners = _Winners()
    for said in order:
        winner = next(
            (
                one
                for one in winners.near(said)
                if covers(one.blocks, said.blocks, changing=mutable)
            ),
            None,
        )
        if winner is not None:
            yield said, winner
        else:
            winners.add(said)


def _asked(said: Statement) -> list[Asked]:
    return [one for block in said.blocks for one in block.asked or () if not is_universal(one)]


class _Winners:
    """Lines of one keyword that count, found by what their blocks ask."""

    def __init__(self) -> None:
        self._by_all: dict[frozenset[object], Statement] = {}
        self._by_word: dict[tuple[str, str], list[Statement]] = {}
        self._patterned: list[Statement] = []

    def add(self, said: Statement) -> None:
        """Take another line."""
        asked = _asked(said)
        self._by_all.setdefault(frozenset(one.key for one in asked), said)
        lists = [one for one in asked if len(one.patterns) > 1]
        if any(map(_has_patterns, asked)):
            places = [self._patterned]
        elif lists:
            # Who is in a list is asked for by some word of it.
            name = lists[0].name
            places = [self._by_word.setdefault((name, word), []) for word in lists[0].patterns]
        else:
            places = []
        for place in places:
            if len(place) < _MOST_COMPARED:
                place.append(said)

    def near(self, said: Statement) -> Iterator[Statement]:
        """The lines whose blocks may hold wherever those of ``said`` do."""
        asked = _asked(said)
        keys = [one.key for one in asked]
        # Those that ask nothing but what is asked here, too.
        sizes = range(len(keys) + 1) if len(keys) <= _MOST_ASKED else (0, 1, len(keys))
        for size in sizes:
            for part in combinations(keys, size):
                found = self._by_all.get(frozenset(part))
                if found is not None:
                    yield found
        for one in asked:
            if one.patterns:
                yield from self._by_word.get((one.name, one.patterns[0]), ())
        yield from self._patterned


def _has_patterns(asked: Asked) -> bool:
    return asked.negated or any(
        sign in pattern for pattern in asked.patterns for sign in ("*", "?", "/", "!")
    )


def shadowed(
    survey: Survey, statements: Sequence[Statement]
) -> Iterator[tuple[Statement, Finding]]:
    """The findings about ``shadows``."""
    for said, winner in shadows(survey, statements):
        same = said.value == winner.value and said.row is winner.row
        around = f" ({winner.blocks[-1].words})" if winner.blocks else ""
        spelling = said.row.spelling
        if same:
            kind, severity = Kind.REPEATED, Severity.NOTE
            sentence = f"{spelling} {said.words[:60]} says again what {winner.where}{around} says"
            hint = "one of the two can go"
        else:
            kind, severity = Kind.SHADOWED, Severity.WARNING
            sentence = (
                f"{spelling} {said.words[:60]} never counts: {winner.where}{around}"
                f" says {winner.row.spelling} {winner.words[:60]} before it"
            )
            hint = _advice(said, winner)
        yield said, Finding(kind, severity, said.file, said.line, spelling, sentence, hint)


def _advice(said: Statement, winner: Statement) -> str:
    if winner.blocks and not said.blocks:
        return "what a block says comes before what stands outside: one of the two has to go"
    if for_everybody(winner.blocks) and said.blocks:
        return "the first value counts: what is for everybody belongs at the end"
    return "the first value counts: one of the two has to go"


def lost(statements: Sequence[Statement]) -> Iterator[Finding]:
    """Lines of keywords that may be given several times, and that add nothing."""
    met: dict[tuple[object, ...], Statement] = {}
    for said in statements:
        if said.row.merge not in _ADDING:
            continue
        spelling = said.row.spelling
        if said.value == () and any(
            other.row is said.row and other.value != () for other in statements
        ):
            sentence = f"{spelling} none takes nothing away from what other lines give"
            yield Finding(
                Kind.IDLE,
                Severity.NOTE,
                said.file,
                said.line,
                spelling,
                sentence,
                "put it where no other holds",
            )
            continue
        name = said.value[0][0] if said.row.attribute == "subsystem" else repr(said.value)
        key = (spelling, name, *(id(block) for block in said.blocks))
        first = met.setdefault(key, said)
        if first is not said:
            yield Finding(
                Kind.REPEATED if first.value == said.value else Kind.SHADOWED,
                Severity.NOTE if first.value == said.value else Severity.WARNING,
                said.file,
                said.line,
                spelling,
                f"{spelling} {said.words[:60]} adds nothing to what {first.where} says",
                "one of the two can go",
            )
