# SPDX-License-Identifier: MIT
"""Kinds of values that ssh_config(5) alone has."""

import re
from typing import Final

from tellin.config import kinds
from tellin.config.destination import host_fault, parse_jump
from tellin.config.grammar import quoted
from tellin.config.kinds import Kind
from tellin.config.patterns import match_pattern
from tellin.errors import ConfigError, UsageError
from tellin.wire import Record


def merge_environment(earlier: tuple[str, ...], later: tuple[str, ...]) -> tuple[str, ...]:
    """SendEnv: a ``-pattern`` takes out what came before it."""
    kept = earlier
    for pattern in later:
        if pattern.startswith("-"):
            kept = tuple(name for name in kept if not match_pattern(name, pattern[1:]))
        else:
            kept = (*kept, pattern)
    return kept


def time_or_none(default: int) -> Kind[int]:
    """A time; ``none`` is the default."""
    return Kind(
        lambda words: default if kinds.is_none(words) else kinds.SECONDS.read(words),
        kinds.SECONDS.show,
        "time or none",
    )


# What a RekeyLimit without a time leaves to a later one.
_UNSAID: Final = -1


def _rekey_limit(words: list[str]) -> tuple[int, int]:
    size, seconds = kinds.REKEY_LIMIT.read(words)
    return size, _UNSAID if len(words) == 1 or kinds.is_none(words[1:]) else seconds


def merge_rekey_limit(earlier: tuple[int, int], later: tuple[int, int]) -> tuple[int, int]:
    """RekeyLimit: of the size and of the time, the first that is said stands."""
    size, seconds = earlier or later
    return size, later[1] if seconds == _UNSAID else seconds


def settled_rekey_limit(value: tuple[int, int]) -> tuple[int, int]:
    """The limits once nothing more can be said: what was not is 0."""
    size, seconds = value
    return size, max(0, seconds)


REKEY_LIMIT: Final[Kind[tuple[int, int]]] = Kind(
    _rekey_limit,
    lambda value: kinds.REKEY_LIMIT.show(settled_rekey_limit(value)),
    kinds.REKEY_LIMIT.grammar,
)


def _obscured(word: str) -> int:
    if word.lower() in {"yes", "no"}:
        return 20 if word.lower() == "yes" else 0
    label, _, milliseconds = word.partition(":")
    if label.lower() != "interval":
        raise ConfigError(f"{word[:40]!a} is neither yes, no nor interval:N")
    return kinds.read_integer(milliseconds, 1, 2000)


OBSCURED: Final = kinds.one(
    _obscured,
    lambda value: {0: "no", 20: "yes"}.get(value, f"interval:{value}"),
    "yes|no|interval:milliseconds",
)


YES_NO_ASK: Final = kinds.choice("yes", "no", "ask", also=kinds.AS_YES_NO, shown=kinds.TRUE_FALSE)


class KeysToAgent(Record):
    """AddKeysToAgent: ``no``, ``yes``, ``ask`` or ``confirm``, and a lifetime in seconds; 0 is none."""

    how: str
    lifetime: int = 0


def _read_keys_to_agent(words: list[str]) -> KeysToAgent:
    how = kinds.AS_YES_NO.get(words[0].lower(), words[0].lower())
    if len(words) == 1 and how in {"yes", "no", "ask", "confirm"}:
        return KeysToAgent(how)
    if len(words) == 2 and how == "confirm":
        return KeysToAgent(how, kinds.read_seconds(words[1]))
    if len(words) == 1:
        return KeysToAgent("yes", kinds.read_seconds(how))
    raise ConfigError("extra words at the end of the line")


def _show_keys_to_agent(value: KeysToAgent) -> tuple[str]:
    if not value.lifetime:
        return (kinds.TRUE_FALSE.get(value.how, value.how),)
    return (f"{'confirm ' if value.how == 'confirm' else ''}{value.lifetime}",)


KEYS_TO_AGENT: Final = kinds.Kind(
    _read_keys_to_agent, _show_keys_to_agent, "yes|no|ask|confirm [time]|time"
)


def _domains(words: list[str]) -> tuple[str, ...]:
    if kinds.is_none(words):
        return ()
    for word in words:
        fault = host_fault(word)
        if fault:
            raise ConfigError(f"{word[:80]!a} is not a domain: it {fault}")
    return tuple(word.rstrip(".").lower() for word in words)


DOMAINS: Final[Kind[tuple[str, ...]]] = Kind(
    _domains, lambda value: (" ".join(value) or "none",), "domain ... or none"
)


def _cnames(words: list[str]) -> tuple[tuple[str, str], ...]:
    if kinds.is_none(words):
        return ()
    pairs = [word.partition(":") for word in words]
    for word, (source, _, target) in zip(words, pairs, strict=True):
        if not source or not target:
            raise ConfigError(f"{word[:80]!a} is not pattern,...:pattern,...")
    return tuple((source.lower(), target.lower()) for source, _, target in pairs)


CNAMES: Final[Kind[tuple[tuple[str, str], ...]]] = Kind(
    _cnames,
    lambda value: (" ".join(map(":".join, value)) or "none",),
    "pattern,...:pattern,... ... or none",
)


def _persist(word: str) -> int | None:
    if word.lower() in {"no", "false"}:
        return None
    return 0 if word.lower() in {"yes", "true"} else kinds.read_seconds(word)


CONTROL_PERSIST: Final[Kind[int | None]] = kinds.one(
    _persist, lambda value: {None: "no", 0: "yes"}.get(value, str(value)), "yes|no|time"
)
CONTROL_PATH: Final[Kind[str | None]] = Kind(
    kinds.or_none(kinds.PATH).read, kinds.OPTIONAL_PATH.show, "path or none"
)
FORWARD_AGENT: Final[Kind[str]] = kinds.one(
    lambda word: kinds.AS_YES_NO.get(word.lower(), word if word[:1] in "/~$%" else word.lower()),
    quoted,
    "yes|no|path|$NAME",
)


def _jumps(word: str) -> str | None:
    if word.lower() == "none":
        return None
    for step in word.split(","):
        try:
            # What stands in for a name is looked at when it is put in.
            parse_jump(step if "%" not in step else re.sub(r"%[hnpr]", "1", step))
        except UsageError as fault:
            raise ConfigError(str(fault), hint=fault.hint) from None
    return word


def _shown_jumps(value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    way, comma, last = value.rpartition(",")
    # OpenSSH shows the steps as they were written, but for the last, which it has taken apart.
    if last[:6].lower() == "ssh://" and "%" not in last:
        last = last[6:].rstrip("/")
    return (quoted(f"{way}{comma}{last}"),)


JUMPS: Final[Kind[str | None]] = Kind(
    kinds.one(_jumps, str, "").read,
    _shown_jumps,
    "[user@]host[:port],... or none",
)


def _tunnel_number(word: str) -> int | None:
    return None if word.lower() == "any" else kinds.read_integer(word, 0, 2**31 - 3)


def _tunnel_device(word: str) -> tuple[int | None, int | None]:
    ours, colon, theirs = word.partition(":")
    return _tunnel_number(ours), _tunnel_number(theirs) if colon else None


TUNNEL_DEVICE: Final[Kind[tuple[int | None, int | None]]] = kinds.one(
    _tunnel_device,
    lambda value: ":".join("any" if number is None else str(number) for number in value),
    "any|number[:any|number]",
)
