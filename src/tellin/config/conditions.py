# SPDX-License-Identifier: MIT
"""The criteria of a Match line, before anybody asks whether they hold."""

from collections.abc import Mapping

from tellin.config.grammar import Line
from tellin.errors import ConfigError


class Criterion:
    """One criterion: its name in lower case, its argument (empty if it takes none), and ``!``."""

    __slots__ = ("argument", "name", "negated")

    def __init__(self, name: str, argument: str, *, negated: bool) -> None:
        self.name = name
        self.argument = argument
        self.negated = negated

    def __repr__(self) -> str:
        return f"<{'!' if self.negated else ''}{self.name} {self.argument}>"


def read_criteria(
    line: Line, table: Mapping[str, bool], *, before_all: frozenset[str]
) -> list[Criterion]:
    """The criteria of a Match line: ``name argument`` or ``name=argument``, each perhaps with ``!``.

    ``table`` says which names take an argument; ``all`` stands alone or after one of
    ``before_all``. Raises ConfigError with the line's place.
    """
    words = line.words()
    made: list[Criterion] = []
    while words:
        word = words.pop(0)
        bare, equals, argument = word.removeprefix("!").partition("=")
        name = bare.lower()
        if name not in table:
            raise line.error(
                f"Match: unknown criterion {bare[:40]!a}",
                hint=f"known: {', '.join(sorted(table))}",
            )
        if table[name] and not equals:
            if not words:
                raise line.error(f"Match: {name} needs an argument")
            argument = words.pop(0)
        elif equals and not table[name]:
            raise line.error(f"Match: {name} takes no argument")
        made.append(Criterion(name, argument, negated=word.startswith("!")))
    _check_combination(line, made, before_all)
    return made


def _check_combination(line: Line, criteria: list[Criterion], before_all: frozenset[str]) -> None:
    if not criteria:
        raise line.error("Match: a criterion is missing")
    names = [criterion.name for criterion in criteria]
    if "all" in names and (names[-1] != "all" or not before_all.issuperset(names[:-1])):
        raise line.error("Match: 'all' cannot be combined with other criteria")


def checked(line: Line, fault: ConfigError) -> ConfigError:
    """A fault in a criterion's argument, with the line's place."""
    return line.located(ConfigError(f"Match: {fault}", hint=fault.hint))
