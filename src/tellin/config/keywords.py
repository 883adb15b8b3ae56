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
from tellin.wire import Record
from tellin.wire.states import State

T = TypeVar("T")
V = TypeVar("V", bound=tuple[Any, ...])


class Tier(State):
    """How many people need a keyword."""

    EVERYDAY = "A"
    REGULAR = "B"
    RARE = "C"


class Later(Record):
    """A feature that is not there yet, and what a keyword may say of it all the same.

    ``harmless`` are the values that ask for nothing that is missing; None stands for any value.
    With ``essential``, leaving another value out would connect to the wrong place or trust the
    wrong key, so it is refused wherever it counts.
    """

    feature: str
    harmless: tuple[object, ...] | None
    essential: bool = False

    @property
    def told(self) -> str:
        """As the end of a sentence about a keyword."""
        return f"{'is' if self.feature.endswith('leaves out') else 'waits for'} {self.feature}"


class Row(Generic[T]):
    """All that is known about one keyword; ``attribute`` is the name of its value in Python.

    ``tokens`` are the letters that may follow a ``%``, with ``$`` for ``${NAME}`` and ``~`` for a
    leading tilde; ``by_shell`` says that the expanded value is run by a shell. Without ``merge`` the
    first value wins; with it, a later value is merged into the earlier ones. ``later`` is set as
    long as nothing acts on the value.
    """

    __slots__ = (
        "attribute", "by_shell", "default", "doc", "in_match", "kind", "later", "merge", "spelling",
        "tier", "tokens",
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
        self.later: Later | None = None
        self.merge: Callable[[T, T], T] | None = None

    def lacks(self, value: T) -> Later | None:
        """The feature that this value asks for and that is not there; the default asks for nothing."""
        later = self.later
        if later is None or later.harmless is None or value == self.default:
            return None
        return None if value in later.harmless else later

    def shown(self, value: T) -> Sequence[str]:
        """What a dump says of a value, one text a line; a value without words needs no line."""
        return [text for text in self.kind.show(value) if text]

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
    later: Later | None = None,
) -> T:
    """Declare one keyword; the type checker sees the value, the table sees the row."""
    row = Row(spelling, kind, default, doc)
    row.tier = tier
    row.tokens = tokens
    row.by_shell = by_shell
    row.in_match = in_match
    row.merge = merge
    row.later = later
    return row  # type: ignore[return-value]


def append(earlier: V, later: V) -> V:
    """The merge of keywords that may be given again and again."""
    return earlier + later  # type: ignore[return-value]


def append_new(earlier: V, later: V) -> V:
    """The same where saying a thing twice says no more."""
    return earlier + tuple(item for item in later if item not in earlier)  # type: ignore[return-value]


class Retired:
    """A keyword that no longer means anything; ``warn`` unless it has been gone for very long.

    ``unsupported`` ones stood for something that their users may miss.
    """

    __slots__ = ("spelling", "unsupported", "warn")

    def __init__(self, spelling: str, *, warn: bool, unsupported: bool = False) -> None:
        self.spelling = spelling
        self.warn = warn
        self.unsupported = unsupported


Known = Row[Any] | Retired


@dataclass_transform(kw_only_default=True, field_specifiers=(keyword,))
class KeywordFile:
    """Base of a table and of its values: ``SshConfig.port`` is 22, ``SshConfig(port=23).port`` 23."""

    rows: ClassVar[Mapping[str, Row[Any]]] = {}
    """By attribute, in the order of the table."""
    known: ClassVar[Mapping[str, Known]] = {}
    """By every spelling that a file may use, in lower case."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Other spellings, each with the keyword that it stands for."""
    newer: ClassVar[frozenset[str]] = frozenset()
    """Keywords that are of OpenSSH 10.5 and that 9.2 does not know: a file with one is refused there."""
    foreign: ClassVar[frozenset[str]] = frozenset()
    """Keywords that no OpenSSH knows."""

    def __init_subclass__(
        cls,
        *,
        aliases: Mapping[str, str] | None = None,
        retired: str = "",
        silent: str = "",
        unsupported: str = "",
        newer: str = "",
        foreign: str = "",
    ) -> None:
        own = {name: row for name, row in vars(cls).items() if isinstance(row, Row)}
        known: dict[str, Known] = {
            **{name.lower(): Retired(name, warn=True) for name in retired.split()},
            **{name.lower(): Retired(name, warn=False) for name in silent.split()},
            **{
                name.lower(): Retired(name, warn=True, unsupported=True)
                for name in unsupported.split()
            },
        }
        for name, row in own.items():
            row.attribute = name
            known[row.spelling.lower()] = row
            setattr(cls, name, row.default)
        for alias, spelling in (aliases or {}).items():
            known[alias.lower()] = known[spelling.lower()]
        cls.rows = own
        cls.known = known
        cls.aliases = dict(aliases or {})
        cls.newer = frozenset(newer.split())
        cls.foreign = frozenset(foreign.split())

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
            yield f"{row.spelling} ({'; '.join(cls.notes(row))}): {row.doc}"

    @classmethod
    def notes(cls, row: Row[Any]) -> list[str]:
        """What a manual says of a keyword besides what it does."""
        made = [row.kind.grammar, f"default {' '.join(row.shown(row.default)) or 'none'}"]
        if row.merge is not None:
            made.append("may be given several times")
        if row.tokens:
            made.append(f"tokens {_shown_tokens(row.tokens)}")
        if row.by_shell:
            made.append("run by the user's shell")
        if row.in_match:
            made.append("allowed in Match")
        others = [alias for alias, spelling in cls.aliases.items() if spelling == row.spelling]
        if others:
            made.append(f"also spelt {' or '.join(others)}")
        if row.spelling in cls.newer:
            made.append("unknown to OpenSSH 9.2")
        if row.spelling in cls.foreign:
            made.append("tellin's own")
        if row.later is not None:
            made.append(row.later.told)
        return made

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
