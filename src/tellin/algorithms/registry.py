# SPDX-License-Identifier: MIT
"""What a named method is: a row in a table, and how lists of names are chosen from one (RFC 4251 section 6)."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from tellin.errors import ConfigError, UsageError
from tellin.wire.states import State


class Standing(State):
    """When a method is offered."""

    DEFAULT = "default"
    """By both roles, unless the user says otherwise."""
    CLIENT = "client"
    """By a client, for the sake of older servers; by a server only if named."""
    OFF = "off"
    """It works, and is offered only if named."""


class Algorithm:
    """One row: what every kind of method has."""

    def __init__(self, name: str, *, standing: Standing, source: str, doc: str) -> None:
        self.name = name
        self.standing = standing
        self.source = source
        self.doc = doc

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


A = TypeVar("A", bound=Algorithm)


class Registry(Generic[A]):
    """All rows of one ``kind``, best first."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._rows: dict[str, A] = {}

    def add(self, row: A) -> A:
        """Put ``row`` behind the others and hand it back."""
        if row.name in self._rows:
            raise UsageError(f"the {self.kind} {row.name} is there already")
        self._rows[row.name] = row
        return row

    def __getitem__(self, name: str) -> A:
        row = self._rows.get(name)
        if row is None:
            raise UsageError(f"no {self.kind} is called {name!r}", hint=self._near(name))
        return row

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[A]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> tuple[str, ...]:
        """Every name, also of what is off."""
        return tuple(self._rows)

    def defaults(self, *, server: bool = False) -> tuple[str, ...]:
        """What a client offers, or a server, when nobody names anything; what both offer comes first."""
        both = tuple(row.name for row in self if row.standing is Standing.DEFAULT)
        if server:
            return both
        return both + tuple(row.name for row in self if row.standing is Standing.CLIENT)

    def select(self, spec: str, defaults: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The names that a configured list means.

        ``a,b`` is the whole list; ``+a,b`` comes behind the defaults, ``^a,b`` before them, and
        ``-a,b`` is taken out of them. Names may be patterns with ``*`` and ``?``. What is taken
        out need not exist: configuration outlives the methods it warns of.
        """
        given = self.defaults() if defaults is None else defaults
        sign, listed = (spec[0], spec[1:]) if spec[:1] in {"+", "-", "^"} else ("", spec)
        patterns = listed.split(",")
        if "" in patterns:
            raise ConfigError(f"an empty name in the {self.kind} list {spec!r}")
        if sign == "-":
            chosen = [name for name in given if not any(matches(name, p) for p in patterns)]
        else:
            named = [name for pattern in patterns for name in self._expand(pattern)]
            chosen = [*given, *named] if sign == "+" else [*named, *given] if sign else named
        if not chosen:
            raise ConfigError(f"the {self.kind} list {spec!r} leaves nothing")
        return tuple(dict.fromkeys(chosen))

    def _expand(self, pattern: str) -> list[str]:
        names = [name for name in self._rows if matches(name, pattern)]
        if not names:
            raise ConfigError(f"unknown {self.kind} {pattern!r}", hint=self._near(pattern))
        return names

    def _near(self, name: str) -> str:
        # It costs 10 ms that only a misspelling needs.
        from difflib import get_close_matches  # noqa: PLC0415  (start-up time)

        near = get_close_matches(name[:64], self._rows, n=3)
        return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self._rows)}"


def matches(name: str, pattern: str) -> bool:
    """Whether ``name`` fits ``pattern``, where ``*`` is any run of characters and ``?`` any one.

    Only the last ``*`` is ever tried again, so the time is bounded by the product of the lengths.
    """
    at = star_at = tried = 0
    star = False
    for_pattern = 0
    while at < len(name):
        sign = pattern[for_pattern : for_pattern + 1]
        if sign == "*":
            star, star_at, tried = True, for_pattern + 1, at
            for_pattern += 1
        elif sign in {"?", name[at]}:
            at += 1
            for_pattern += 1
        elif star:
            tried += 1
            at, for_pattern = tried, star_at
        else:
            return False
    return not pattern[for_pattern:].strip("*")
