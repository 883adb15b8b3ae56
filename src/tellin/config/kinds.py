# SPDX-License-Identifier: MIT
"""Kinds of values: how a keyword's words become a value, and how the value is written back."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from tellin.config.grammar import quoted
from tellin.config.patterns import check_address_list
from tellin.errors import ConfigError

T = TypeVar("T")

_MOST_SECONDS: Final = 2**31 - 1


class Kind(Generic[T]):
    """A reader, a shower, and the grammar in words.

    ``read`` takes the words after the keyword (of a ``raw`` kind: the rest of the line as one
    word) and raises ConfigError without a place. ``show`` gives the lines to dump, without the
    keyword; read again, they give the same value. ``words`` are those that ``read`` takes whatever
    else it takes, for shells that complete them.
    """

    __slots__ = ("grammar", "raw", "read", "show", "words")

    def __init__(
        self,
        read: Callable[[list[str]], T],
        show: Callable[[T], Sequence[str]],
        grammar: str,
        *,
        raw: bool = False,
        words: Sequence[str] = (),
    ) -> None:
        self.read = read
        self.show = show
        self.grammar = grammar
        self.raw = raw
        self.words = tuple(words)


def one(
    read: Callable[[str], T],
    show: Callable[[T], str],
    grammar: str,
    *,
    words: Sequence[str] = (),
) -> Kind[T]:
    """A kind of exactly one word."""

    def read_one(words: list[str]) -> T:
        if len(words) != 1:
            raise ConfigError("extra words at the end of the line")
        return read(words[0])

    return Kind(read_one, lambda value: (show(value),), grammar, words=words)


def or_none(kind: Kind[T]) -> Kind[T | None]:
    """The same kind, where ``none`` says that there is no value."""

    def read(words: list[str]) -> T | None:
        return None if is_none(words) else kind.read(words)

    def show(value: T | None) -> Sequence[str]:
        return ("none",) if value is None else kind.show(value)

    grammar = kind.grammar if kind.grammar.endswith("none") else f"{kind.grammar} or none"
    words = dict.fromkeys((*kind.words, "none"))
    return Kind(read, show, grammar, raw=kind.raw, words=tuple(words))


def is_none(words: Sequence[str]) -> bool:
    """Whether the words are the single word ``none``."""
    return len(words) == 1 and words[0].lower() == "none"


# --- single words --------------------------------------------------------------------------------


def choice(
    *names: str, also: Mapping[str, str] | None = None, shown: Mapping[str, str] | None = None
) -> Kind[str]:
    """One of a few names; ``also`` maps other spellings to them, ``shown`` is how a dump spells them."""
    spellings = {name.lower(): name for name in names} | dict(also or {})
    dumped = dict(shown or {})

    def read(word: str) -> str:
        found = spellings.get(word.lower())
        if found is None:
            raise ConfigError(f"{word[:40]!a} is none of {', '.join(names)}")
        return found

    return one(read, lambda value: dumped.get(value, value), "|".join(names), words=names)


# What ``-G`` has always shown for yes and no of a keyword that has further values.
TRUE_FALSE: Final = {"yes": "true", "no": "false"}
AS_YES_NO: Final = {"true": "yes", "false": "no"}


FINGERPRINT_HASH: Final = choice("sha256", "md5", shown={"sha256": "SHA256", "md5": "MD5"})


def _yes_no(word: str) -> bool:
    found = {"yes": True, "true": True, "no": False, "false": False}.get(word.lower())
    if found is None:
        raise ConfigError(f"{word[:40]!a} is neither yes nor no")
    return found


def read_integer(word: str, low: int, high: int) -> int:
    """A decimal number within bounds; its length is bounded before it is read (R209)."""
    if re.fullmatch(r"-?[0-9]{1,18}", word) and low <= int(word) <= high:
        return int(word)
    raise ConfigError(f"{word[:40]!a} is not a number from {low} to {high}")


def integer(low: int, high: int) -> Kind[int]:
    """A number within bounds."""
    return one(lambda word: read_integer(word, low, high), str, f"{low}-{high}")


def octal(high: int) -> Kind[int]:
    """An octal number."""

    def read(word: str) -> int:
        if re.fullmatch(r"[0-7]{1,12}", word) and int(word, 8) <= high:
            return int(word, 8)
        raise ConfigError(f"{word[:40]!a} is not an octal number up to {high:o}")

    return one(read, lambda value: f"0{value:o}", "octal number")


_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def read_seconds(word: str) -> int:
    """A sum of times such as ``1h30m``; a bare number is seconds."""
    parts = re.findall(r"([0-9]{1,10})([smhdwSMHDW]?)", word)
    if not parts or "".join(number + unit for number, unit in parts) != word:
        raise ConfigError(f"{word[:40]!a} is not a time such as 90 or 1h30m")
    total = sum(int(number) * _UNITS[unit.lower()] for number, unit in parts)
    if total > _MOST_SECONDS:
        raise ConfigError(f"the time {word[:40]!a} is too long")
    return total


def read_bytes(word: str) -> int:
    """A number of bytes with an optional K, M, G, T, P or E."""
    found = re.fullmatch(r"([0-9]{1,18})([KMGTPE]?)", word.upper())
    if not found:
        raise ConfigError(f"{word[:40]!a} is not a size such as 512M or 1G")
    size = int(found[1]) << 10 * " KMGTPE".index(found[2] or " ")
    if size >= 2**63:
        raise ConfigError(f"the size {word[:40]!a} is too large")
    return size


def _rekey_limit(words: list[str]) -> tuple[int, int]:
    if len(words) > 2:
        raise ConfigError("extra words at the end of the line")
    size = 0 if words[0].lower() == "default" else read_bytes(words[0])
    # Less than one block between exchanges would never let any data through.
    if 0 < size < 16:
        raise ConfigError("the limit is too small")
    return size, 0 if len(words) == 1 or is_none(words[1:]) else read_seconds(words[1])


def _escape_character(word: str) -> str:
    if word.lower() == "none":
        return ""
    if len(word) == 1 and word.isascii():
        return word
    if len(word) == 2 and word[0] == "^" and 64 <= ord(word[1].upper()) < 96:
        return chr(ord(word[1].upper()) & 31)
    raise ConfigError(f"bad escape character {word[:40]!a}", hint="one character, ^x or none")


def _show_escape(value: str) -> str:
    if not value:
        return "none"
    return quoted(value) if value.isprintable() else f"^{chr(ord(value) | 64)}"


def _word(word: str) -> str:
    if not word:
        raise ConfigError("an empty value")
    return word


YES_NO: Final[Kind[bool]] = one(
    _yes_no, lambda value: "yes" if value else "no", "yes|no", words=("yes", "no")
)
WORD: Final[Kind[str]] = one(_word, quoted, "word")
PATH: Final[Kind[str]] = one(_word, quoted, "path")
OPTIONAL_WORD: Final[Kind[str | None]] = Kind(
    WORD.read, lambda value: () if value is None else (quoted(value),), "word"
)
OPTIONAL_PATH: Final[Kind[str | None]] = Kind(OPTIONAL_WORD.read, OPTIONAL_WORD.show, "path")
PORT: Final = integer(1, 65535)
SECONDS: Final[Kind[int]] = one(read_seconds, str, "time")
REKEY_LIMIT: Final[Kind[tuple[int, int]]] = Kind(
    _rekey_limit, lambda value: (f"{value[0]} {value[1]}",), "default|bytes[KMG] [time]"
)
ESCAPE_CHARACTER: Final[Kind[str]] = one(_escape_character, _show_escape, "character|^x|none")
OPTIONAL_ALGORITHMS: Final[Kind[str]] = Kind(
    WORD.read, lambda value: (quoted(value),) if value else (), "[+-^]name,..."
)
"""A list as `tellin.algorithms.registry.Registry.select` reads it; empty leaves the defaults."""

_LEVELS: Final = ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG1", "DEBUG2", "DEBUG3")
LOG_LEVEL: Final = choice(
    *_LEVELS,
    also={"debug": "DEBUG1", "silent": "QUIET"},
    shown={"QUIET": "SILENT", "DEBUG1": "DEBUG"},
)

# --- the rest of the line as it stands -----------------------------------------------------------


def _raw_kind(grammar: str) -> Kind[str | None]:
    return Kind(
        lambda words: None if is_none(words) else words[0],
        lambda value: () if value is None else (value,),
        f"{grammar} or none",
        raw=True,
    )


COMMAND: Final = _raw_kind("command")
TEXT: Final = _raw_kind("text")
# As sshd's dump shows them: that there is none, too.
COMMAND_OR_NONE: Final = or_none(COMMAND)
TEXT_OR_NONE: Final = or_none(TEXT)

# --- several words -------------------------------------------------------------------------------


def _words(words: list[str]) -> tuple[str, ...]:
    if "" in words:
        raise ConfigError("an empty value")
    return tuple(words)


def _one_line(value: Iterable[str]) -> Sequence[str]:
    return (" ".join(map(quoted, value)),)


def _a_line_each(value: Iterable[str]) -> Sequence[str]:
    return tuple(map(quoted, value))


def _or_empty(words: list[str]) -> tuple[str, ...]:
    return () if is_none(words) else _words(words)


WORDS: Final[Kind[tuple[str, ...]]] = Kind(_words, _one_line, "word ...")
PATHS: Final[Kind[tuple[str, ...]]] = Kind(
    _or_empty, lambda value: _one_line(value or ("none",)), "path ... or none"
)
"""Several paths on one line."""


def _one_path(words: list[str]) -> tuple[str, ...]:
    if len(words) != 1:
        raise ConfigError("extra words at the end of the line", hint="quote a path with spaces")
    return _or_empty(words)


PATH_EACH: Final[Kind[tuple[str, ...]]] = Kind(
    _one_path, lambda value: _a_line_each(value or ("none",)), "path or none"
)
"""One path a line, for keywords that accumulate."""

OPTIONAL_PATH_EACH: Final[Kind[tuple[str, ...]]] = Kind(_one_path, _a_line_each, PATH_EACH.grammar)
"""The same where there is none by default, so that a dump need not say it."""
OPTIONAL_PATHS: Final[Kind[tuple[str, ...]]] = Kind(
    PATHS.read, lambda value: _one_line(value) if value else (), PATHS.grammar
)

PATTERNS: Final[Kind[tuple[str, ...]]] = Kind(_words, _a_line_each, "pattern ...")


def _variables(words: list[str]) -> tuple[str, ...]:
    for word in words:
        if "=" in word:
            raise ConfigError(f"{word[:40]!a} is no name of a variable")
    return _words(words)


VARIABLES: Final[Kind[tuple[str, ...]]] = Kind(_variables, _a_line_each, "pattern ...")


def _user_patterns(words: list[str]) -> tuple[str, ...]:
    for word in words:
        _, at, place = word.rpartition("@")
        if at:
            check_address_list(place)
    return _words(words)


USER_PATTERNS: Final[Kind[tuple[str, ...]]] = Kind(_user_patterns, _a_line_each, "user[@host] ...")


def _comma_list(word: str) -> tuple[str, ...]:
    names = tuple(word.split(","))
    if "" in names:
        raise ConfigError(f"an empty name in the list {word[:80]!a}")
    return names


COMMA_LIST: Final[Kind[tuple[str, ...]]] = one(_comma_list, ",".join, "name,...")

_SETTING: Final = r"(?s)[A-Za-z_][A-Za-z0-9_]*=.*"


def _settings(words: list[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for word in words:
        if not re.fullmatch(_SETTING, word):
            raise ConfigError(f"{word[:40]!a} is not NAME=VALUE")
        # One name twice on a line: the first stands, as everywhere.
        first.setdefault(word.partition("=")[0], word)
    return tuple(first.values())


SETTINGS: Final[Kind[tuple[str, ...]]] = Kind(_settings, _one_line, "NAME=VALUE ...")

# RFC 2474, 2597, 3246, 8622: names of the code points that IPQoS takes.
TRAFFIC_CLASSES: Final[dict[str, int]] = {
    **{f"af{a}{b}": a << 5 | b << 3 for a in range(1, 5) for b in range(1, 4)},
    **{f"cs{n}": n << 5 for n in range(8)},
    "ef": 0xB8,
    "le": 0x04,
    "lowdelay": 0x10,
    "throughput": 0x08,
    "reliability": 0x04,
}


def _traffic_class(word: str) -> str:
    lowered = word.lower()
    if lowered == "none" or lowered in TRAFFIC_CLASSES:
        return lowered
    if re.fullmatch(r"0x[0-9a-f]{1,2}|0|[1-9][0-9]{0,2}", lowered) and int(lowered, 0) < 256:
        return f"0x{int(lowered, 0):02x}"
    raise ConfigError(f"bad traffic class {word[:40]!a}")


def traffic_class(name: str) -> int | None:
    """The byte for the IP header that a value of IPQoS means; None leaves the system's."""
    if name == "none":
        return None
    return TRAFFIC_CLASSES[name] if name in TRAFFIC_CLASSES else int(name, 16)


def _traffic_classes(words: list[str]) -> tuple[str, str]:
    if len(words) > 2:
        raise ConfigError("extra words at the end of the line")
    return _traffic_class(words[0]), _traffic_class(words[-1])


IP_QOS: Final[Kind[tuple[str, str]]] = Kind(
    _traffic_classes, lambda value: (" ".join(value),), "class [class]"
)

# --- what both files say of sessions, logs and forwarding ---------------------------------------


def _channel_timeouts(words: list[str]) -> tuple[tuple[str, int], ...]:
    if is_none(words):
        return ()
    made: dict[str, int] = {}
    for word in words:
        kind, equals, time = word.partition("=")
        if not equals or not kind:
            raise ConfigError(f"{word[:40]!a} is not type=time")
        made.setdefault(kind, read_seconds(time))
    return tuple(made.items())


def _show_timeouts(value: tuple[tuple[str, int], ...]) -> Sequence[str]:
    return (" ".join(f"{kind}={time}" for kind, time in value) or "none",)


CHANNEL_TIMEOUT: Final[Kind[tuple[tuple[str, int], ...]]] = Kind(
    _channel_timeouts, _show_timeouts, "type=time ... or none"
)
"""After how many seconds of silence channels of which types are closed; the first one that fits."""


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _open_places(words: list[str]) -> tuple[str, ...]:
    """any, none, or places as ``host:port``, whose port may be ``*``.

    R111: a port that is none must not come to mean every port.
    """
    if len(words) == 1 and words[0].lower() in {"any", "none"}:
        return (words[0].lower(),)
    for word in words:
        _, colon, port = word.rpartition(":")
        if not colon or (port != "*" and not _is_port(port)):
            raise ConfigError(f"{word[:80]!a} is not host:port")
    return tuple(words)


def _listen_places(words: list[str]) -> tuple[str, ...]:
    """The same where the host may be missing."""
    return _open_places(
        [word if ":" in word or not word.isdigit() else f"*:{word}" for word in words]
    )


OPEN_PLACES: Final[Kind[tuple[str, ...]]] = Kind(_open_places, _one_line, "any|none|host:port ...")
LISTEN_PLACES: Final[Kind[tuple[str, ...]]] = Kind(
    _listen_places, _one_line, "any|none|[host:]port ..."
)

_FACILITIES: Final = ("DAEMON", "USER", "AUTH", "AUTHPRIV", *(f"LOCAL{n}" for n in range(8)))
SYSLOG_FACILITY: Final = choice(*_FACILITIES)

LOG_VERBOSE: Final[Kind[tuple[str, ...]]] = Kind(
    lambda words: () if is_none(words) else _comma_list(",".join(words)),
    lambda value: (",".join(value) or "none",),
    "file:function:line,... or none",
)
"""Patterns of the places in the program that say everything, whatever LogLevel is."""

PERMIT_TUNNEL: Final = choice("no", "yes", "point-to-point", "ethernet", also=AS_YES_NO)
TUNNEL: Final = choice(
    "no", "yes", "point-to-point", "ethernet",
    also={"true": "yes", "false": "no"}, shown={"yes": "point-to-point", "no": "false"},
)  # fmt: skip
