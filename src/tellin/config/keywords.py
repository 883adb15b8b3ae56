# SPDX-License-Identifier: MIT
"""One row per keyword: its spelling, kind, default, reach and manual text; everything else follows.

A table is a class whose attributes are rows. From it come the parser, the typed attributes, the
defaults, the dump of ``-G`` and ``-T``, the errors with near spellings, and the manual.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, dataclass_transform

from tellin.config.grammar import Line
from tellin.config.kinds import Kind
from tellin.errors import ConfigError
from tellin.wire.states import State

T = TypeVar("T")
V = TypeVar("V", bound=tuple[Any, ...])


class Tier(State):
    """How many people need a keyword."""

    EVERYDAY = "A"
    REGULAR = "B"
    RARE = "C"


class Row(Generic[T]):
    """All that is known about one keyword; ``attribute`` is the name of its value in Python.

    ``tokens`` are the letters that may follow a ``%``, with ``$`` for ``${NAME}`` and ``~`` for a
    leading tilde; ``by_shell`` says that the expanded value is run by a shell. Without ``merge`` the
    first value wins; with it, a later value is merged into the earlier ones.
    """

    __slots__ = (
        "attribute", "by_shell", "default", "doc", "in_match", "kind", "merge", "spelling", "tier",
        "tokens",
    )  # fmt: skip

    def __init__(self, spelling: str, kind: Kind[T], default: T, doc: str) -> None:
        self.spelling = spelling
        self.kind = kind
        self.default = default
        self.doc = doc
        self.attribute = ""
        self.tier = Tier.REGULAR
        self.tokens = ""
        self.by_shell = False
        self.in_match = False
        self.merge: Callable[[T, T], T] | None = None

    def shown(self, value: T) -> Sequence[str]:
        """What a dump says of a value, one text a line; an empty default needs no line."""
        return () if value == () == self.default else self.kind.show(value)

    def read(self, line: Line) -> T:
        """The value that a line gives; raises ConfigError with its place."""
        words = [line.rest] if self.kind.raw else line.words()
        if not words or (self.kind.raw and not line.rest):
            raise line.error(f"{self.spelling}: a value is missing")
        try:
            return self.kind.read(words)
        except ConfigError as fault:
            hint = fault.hint or f"{self.spelling} takes {self.kind.grammar}"
            raise line.error(f"{self.spelling}: {fault}", hint=hint) from None


def keyword(
    spelling: str,
    kind: Kind[T],
    *,
    default: T,
    doc: str,
    tier: Tier = Tier.REGULAR,
    tokens: str = "",
    by_shell: bool = False,
    in_match: bool = False,
    merge: Callable[[T, T], T] | None = None,
) -> T:
    """Declare one keyword; the type checker sees the value, the table sees the row."""
    row = Row(spelling, kind, default, doc)
    row.tier = tier
    row.tokens = tokens
    row.by_shell = by_shell
    row.in_match = in_match
    row.merge = merge
    return row  # type: ignore[return-value]


def append(earlier: V, later: V) -> V:
    """The merge of keywords that may be given again and again."""
    return earlier + later  # type: ignore[return-value]


class Pending:
    """A keyword of OpenSSH whose feature is not there yet.

    ``harmless`` are the values that say what happens anyway (``*``: any value). With
    ``essential``, leaving another value out would connect to the wrong place or trust the wrong
    key, so it is refused wherever it counts.
    """

    __slots__ = ("essential", "harmless", "spelling")

    def __init__(self, spelling: str, harmless: tuple[str, ...], *, essential: bool) -> None:
        self.spelling = spelling
        self.harmless = harmless
        self.essential = essential

    def value(self, line: Line) -> str:
        """What a line says, without quotes and comments where it can be split into words."""
        try:
            return " ".join(line.words())
        except ConfigError:
            return line.rest

    def is_harmless(self, value: str) -> bool:
        """Whether this value asks for nothing that is missing."""
        return "*" in self.harmless or value.lower() in self.harmless


class Retired:
    """A keyword that no longer means anything; ``warn`` unless it has been gone for very long."""

    __slots__ = ("spelling", "warn")

    def __init__(self, spelling: str, *, warn: bool) -> None:
        self.spelling = spelling
        self.warn = warn


Known = Row[Any] | Pending | Retired


def pending(table: str) -> dict[str, Pending]:
    """Read a table of lines ``[!]Keyword harmless-value ...``; ``!`` marks the essential ones."""
    rows = [line.split() for line in table.splitlines() if line.strip()]
    return {
        name.lstrip("!").lower(): Pending(
            name.lstrip("!"), tuple(values), essential=name.startswith("!")
        )
        for name, *values in rows
    }


@dataclass_transform(kw_only_default=True, field_specifiers=(keyword,))
class KeywordFile:
    """Base of a table and of its values: ``SshConfig.port`` is 22, ``SshConfig(port=23).port`` 23."""

    rows: ClassVar[Mapping[str, Row[Any]]] = {}
    """By attribute, in the order of the table."""
    known: ClassVar[Mapping[str, Known]] = {}
    """By every spelling that a file may use, in lower case."""

    def __init_subclass__(
        cls,
        *,
        aliases: Mapping[str, str] | None = None,
        later: Mapping[str, Pending] | None = None,
        retired: str = "",
        silent: str = "",
    ) -> None:
        own = {name: row for name, row in vars(cls).items() if isinstance(row, Row)}
        known: dict[str, Known] = {
            **{name.lower(): Retired(name, warn=True) for name in retired.split()},
            **{name.lower(): Retired(name, warn=False) for name in silent.split()},
            **(later or {}),
        }
        for name, row in own.items():
            row.attribute = name
            known[row.spelling.lower()] = row
            setattr(cls, name, row.default)
        for alias, spelling in (aliases or {}).items():
            known[alias.lower()] = known[spelling.lower()]
        cls.rows = own
        cls.known = known

    def __init__(self, **values: Any) -> None:
        strangers = values.keys() - self.rows.keys()
        if strangers:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(strangers))}")
        self.__dict__.update(values)
        self._origins: dict[str, tuple[str, int]] = {}

    @classmethod
    def made_of(cls, values: Mapping[str, Any], origins: Mapping[str, tuple[str, int]]) -> Self:
        """Values by attribute, and the file and line that each came from."""
        made = cls.__new__(cls)
        made.__dict__.update(values)
        made._origins = dict(origins)
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other.values() == self.values()

    __hash__ = None  # type: ignore[assignment]

    def is_set(self, attribute: str) -> bool:
        """Whether a file or option gave this value, rather than the default."""
        return attribute in self.__dict__

    def origin(self, attribute: str) -> tuple[str, int]:
        """The file and line that a value came from; ``("", 0)`` for a default."""
        return self._origins.get(attribute, ("", 0))

    def values(self) -> dict[str, Any]:
        """Every value by attribute, defaults included."""
        return {name: getattr(self, name) for name in self.rows}

    def replaced(self, **values: Any) -> Self:
        """The same with some values replaced."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__ | values)
        return made

    def dump(self) -> Iterator[str]:
        """Lower-case ``keyword value`` lines that read back as these values."""
        for name, row in self.rows.items():
            for text in row.shown(getattr(self, name)):
                yield f"{row.spelling.lower()} {text}"

    @classmethod
    def manual(cls) -> Iterator[str]:
        """One paragraph a keyword, in the order of the table."""
        for row in cls.rows.values():
            notes = [row.kind.grammar, f"default {' '.join(row.shown(row.default)) or 'none'}"]
            if row.merge is not None:
                notes.append("may be given several times")
            if row.tokens:
                notes.append(f"tokens {_shown_tokens(row.tokens)}")
            if row.in_match:
                notes.append("allowed in Match")
            yield f"{row.spelling} ({'; '.join(notes)}): {row.doc}"

    @classmethod
    def lookup(cls, line: Line) -> Known:
        """What a line's keyword is; raises ConfigError with near spellings for an unknown one."""
        found = cls.known.get(line.keyword.lower())
        if found is None:
            raise line.error(
                f"Bad configuration option: {ascii(line.keyword[:80])[1:-1]}",
                hint=cls.near(line.keyword),
            )
        return found

    @classmethod
    def near(cls, word: str) -> str:
        """A question that names the keywords nearest to a misspelt one, or an empty text."""
        # Here because only a misspelling needs what takes 10 ms to load.
        from difflib import get_close_matches  # noqa: PLC0415  (start-up time)

        near = get_close_matches(word[:64].lower(), cls.known, n=3)
        names = [cls.known[name].spelling for name in near]
        return f"did you mean {' or '.join(dict.fromkeys(names))}?" if names else ""


def _shown_tokens(tokens: str) -> str:
    special = {"$": "${NAME}", "~": "~"}
    return " ".join(special.get(letter, "%" + letter) for letter in tokens)
