# SPDX-License-Identifier: MIT
"""Kinds of values that sshd_config(5) alone has."""

import re
from typing import Final

from tellin.config import kinds
from tellin.config.grammar import quoted
from tellin.config.kinds import Kind
from tellin.config.patterns import check_address_list
from tellin.errors import ConfigError
from tellin.wire import Record

METHODS: Final = ("publickey", "password", "keyboard-interactive")


class ListenAddress(Record):
    """An address to listen on; without a port, on every Port."""

    host: str
    port: int | None = None


def _listen_address(words: list[str]) -> tuple[ListenAddress, ...]:
    if len(words) != 1:
        raise ConfigError("extra words at the end of the line", hint="rdomain is not supported")
    word = words[0]
    found = re.fullmatch(r"\[([^]]+)\](?::([0-9]{1,5}))?|([^:]+)(?::([0-9]{1,5}))?", word)
    if found is None:
        # An IPv6 address without brackets, which can have no port.
        if word.count(":") < 2 or not re.fullmatch(r"[0-9A-Fa-f:.]+(%[^][ ]+)?", word):
            raise ConfigError(f"{word[:80]!a} is not host, host:port or [host]:port")
        return (ListenAddress(word),)
    host, port = found[1] or found[3], found[2] or found[4]
    return (ListenAddress(host, kinds.read_integer(port, 0, 65535) if port else None),)


def _show_listen(value: tuple[ListenAddress, ...]) -> tuple[str, ...]:
    return tuple(
        quoted(
            (f"[{one.host}]" if ":" in one.host else one.host)
            + ("" if one.port is None else f":{one.port}")
        )
        for one in value
    )


STARTUP_RATE: Final = 30


def _max_startups(word: str) -> tuple[int, int, int]:
    parts = [kinds.read_integer(part, 1, 2**31 - 1) for part in word.split(":")]
    if len(parts) == 1:
        return parts[0], STARTUP_RATE, parts[0]
    if len(parts) != 3 or parts[1] > 100 or parts[0] > parts[2]:
        raise ConfigError(f"{word[:40]!a} is not start:rate:full")
    return parts[0], parts[1], parts[2]


def _subsystem(words: list[str]) -> tuple[tuple[str, str], ...]:
    text = words[0]
    # The command goes to a shell with its quotes; only a comment outside quotes is cut off.
    if '"' not in text and "'" not in text:
        text = re.split(r"[ \t]#", text, maxsplit=1)[0].rstrip(" \t")
    found = re.fullmatch(r"([^ \t\"'#]+)[ \t]+(.+)", text, re.DOTALL)
    if found is None:
        raise ConfigError("a name and a command are needed")
    return ((found[1], found[2]),)


def add_subsystem(
    earlier: tuple[tuple[str, str], ...], later: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Of two commands for one name the first stands, as of two values of one keyword."""
    names = {name for name, _ in earlier}
    return earlier + tuple(pair for pair in later if pair[0] not in names)


def _method_lists(words: list[str]) -> tuple[str, ...]:
    if words == ["any"]:
        return ("any",)
    for word in words:
        names = word.split(",")
        for name in names:
            method, colon, device = name.partition(":")
            if method not in METHODS:
                raise ConfigError(
                    f"{name[:40]!a} is not a method of authentication",
                    hint=f"known: any, {', '.join(METHODS)}",
                )
            if colon and (method != "keyboard-interactive" or not device):
                raise ConfigError(f"{name[:40]!a}: only keyboard-interactive has submethods")
        # One answer to the same question twice proves nothing more; two keys do.
        once = [name for name in names if name != "publickey"]
        if len(set(once)) != len(once):
            raise ConfigError(f"{word[:80]!a} names a method twice")
    return tuple(words)


def _program(words: list[str]) -> str | None:
    if not kinds.is_none(words) and not words[0].startswith("/"):
        raise ConfigError("must be an absolute path")
    return kinds.COMMAND.read(words)


PROGRAM: Final[Kind[str | None]] = Kind(
    _program, kinds.COMMAND_OR_NONE.show, kinds.COMMAND_OR_NONE.grammar, raw=True
)
LISTEN: Final[Kind[tuple[ListenAddress, ...]]] = Kind(
    _listen_address, _show_listen, "host|host:port|[host]:port"
)
STARTUPS: Final[Kind[tuple[int, int, int]]] = kinds.one(
    _max_startups, lambda value: ":".join(map(str, value)), "start[:rate:full]"
)
SUBSYSTEM: Final[Kind[tuple[tuple[str, str], ...]]] = Kind(
    _subsystem, lambda value: tuple(" ".join(pair) for pair in value), "name command", raw=True
)
METHOD_LISTS: Final[Kind[tuple[str, ...]]] = Kind(
    _method_lists, lambda value: (" ".join(value),), "any|method,... ..."
)
# A server may leave the choice of a port to the system, by 0; a client has to name one.
_PORT: Final = kinds.integer(0, 65535)
PORTS: Final[Kind[tuple[int, ...]]] = Kind(
    lambda words: (_PORT.read(words),), lambda value: tuple(map(str, value)), _PORT.grammar
)


DIRECTIONS: Final = kinds.choice(
    "yes", "no", "local", "remote", also={"all": "yes", **kinds.AS_YES_NO}
)


def _user_environment(word: str) -> str:
    return kinds.AS_YES_NO.get(word.lower(), word)


USER_ENVIRONMENT: Final[Kind[str]] = kinds.one(_user_environment, quoted, "yes|no|pattern,...")


def _block_size(word: str) -> tuple[int, int]:
    four, colon, six = word.partition(":")
    return kinds.read_integer(four, 0, 32), kinds.read_integer(six, 0, 128) if colon else 128


BLOCK_SIZE: Final[Kind[tuple[int, int]]] = kinds.one(
    _block_size, lambda value: f"{value[0]}:{value[1]}", "bits[:bits]"
)

# sshd_config(5): what a penalty is for and how long it lasts, and the bounds of the table of them.
_PENALTY_TIMES: Final = frozenset(
    [
        "crash",
        "authfail",
        "invaliduser",
        "refuseconnection",
        "noauth",
        "grace-exceeded",
        "max",
        "min",
    ]
)
_PENALTY_COUNTS: Final = frozenset({"max-sources4", "max-sources6"})
_OVERFLOWS: Final = frozenset({"overflow", "overflow6"})


def _penalties(words: list[str]) -> tuple[str, ...]:
    if len(words) == 1 and words[0].lower() in {"yes", "no"}:
        return (words[0].lower(),)
    for word in words:
        name, colon, value = word.partition(":")
        if name in _PENALTY_TIMES and colon:
            kinds.read_seconds(value)
        elif name in _PENALTY_COUNTS and colon:
            kinds.read_integer(value, 1, 2**31 - 1)
        elif name not in _OVERFLOWS or value not in {"permissive", "deny-all"}:
            raise ConfigError(f"{word[:40]!a} is no penalty")
    return tuple(words)


PENALTIES: Final[Kind[tuple[str, ...]]] = Kind(
    _penalties, lambda value: (" ".join(value),), "yes|no|cause:time ..."
)


def _blocks(words: list[str]) -> tuple[str, ...]:
    if kinds.is_none(words):
        return ()
    check_address_list(words)
    return tuple(words)


BLOCKS: Final[Kind[tuple[str, ...]]] = Kind(
    _blocks, lambda value: (" ".join(value) or "none",), "address[/bits] ... or none"
)


def _key_demands(words: list[str]) -> tuple[str, ...]:
    if kinds.is_none(words):
        return ()
    for word in words:
        if word not in {"touch-required", "verify-required"}:
            raise ConfigError(f"{word[:40]!a} is neither touch-required nor verify-required")
    return tuple(dict.fromkeys(words))


KEY_DEMANDS: Final[Kind[tuple[str, ...]]] = Kind(
    _key_demands, lambda value: (" ".join(value) or "none",), "none|touch-required verify-required"
)
