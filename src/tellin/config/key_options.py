# SPDX-License-Identifier: MIT
"""The options before a key in authorized_keys: what whoever logs in with it may do."""

import re
from collections.abc import Callable
from typing import Final

from tellin.config.destination import parse_port
from tellin.config.patterns import check_address_list, match_host_list
from tellin.errors import ConfigError, UsageError
from tellin.wire import Record

_MOST_FORWARDS: Final = 4096
_MOST_VARIABLES: Final = 1024

# A moment in the calendar: year, month, day, hour, minute, second.
Moment = tuple[int, int, int, int, int, int]


class Expiry(Record):
    """When a key ends: a moment of the calendar, in UTC or in the server's own time."""

    moment: Moment
    utc: bool


class Forward(Record):
    """One target of permitopen or permitlisten; a port of None is any."""

    host: str
    port: int | None


class KeyOptions:
    """What one line allows; without options, everything.

    ``restrict`` takes everything away, and what stands behind it in the line gives single things
    back (R110): each kind of forwarding is asked for here and nowhere else.
    """

    def __init__(self) -> None:
        self.cert_authority = False
        self.restricted = False
        self.permit_pty = True
        self.permit_port_forwarding = True
        self.names_opening = self.names_listening = False
        """Whether forwarding in this direction is allowed in so many words (R149)."""
        self.permit_agent_forwarding = True
        self.permit_x11_forwarding = True
        self.permit_user_rc = True
        self.command: str | None = None
        self.environment: tuple[tuple[str, str], ...] = ()
        self.permit_open: tuple[Forward, ...] = ()
        self.permit_listen: tuple[Forward, ...] = ()
        self.from_patterns: str | None = None
        self.principals: tuple[str, ...] | None = None
        self.tunnel: int | None = None
        """A device number; -1 is any, None leaves it to the configuration."""
        self.expiry: tuple[Expiry, ...] = ()
        self.touch_required = True
        self.verify_required = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyOptions) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        plain = vars(KeyOptions())
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if value != plain[name])
        return f"<KeyOptions {' '.join(shown)}>"

    @property
    def permit_streamlocal_forwarding(self) -> bool:
        """Whether sockets of the file system may be forwarded: as ports."""
        return self.permit_port_forwarding

    @property
    def permit_tunnel(self) -> bool:
        """Whether the configuration may grant a tunnel; ``restrict`` covers it unless one is named."""
        return not self.restricted or self.tunnel is not None

    def allows_from(self, host: str, address: str) -> bool:
        """Whether the key may be used from there."""
        return self.from_patterns is None or match_host_list(host, address, self.from_patterns)

    def allows_open(self, host: str, port: int) -> bool:
        """Whether a forward to a target is allowed."""
        return self.permit_port_forwarding and _covers(self.permit_open, host, port)

    def allows_listen(self, host: str, port: int) -> bool:
        """Whether a port may be listened on for the client."""
        return self.permit_port_forwarding and _covers(self.permit_listen, host, port)

    def expired(self, *, utc: Moment, local: Moment) -> bool:
        """Whether the key has ended, given the time in both clocks."""
        return any((utc if one.utc else local) >= one.moment for one in self.expiry)


def _covers(forwards: tuple[Forward, ...], host: str, port: int) -> bool:
    if not forwards:
        return True
    wanted = host.lower()
    return any(
        one.host in {"*", wanted} and (one.port is None or one.port == port) for one in forwards
    )


# --- reading -------------------------------------------------------------------------------------


def split_options(text: str) -> tuple[str, str]:
    """Part the options at the start of a line from what follows them.

    Outside quotes the first blank ends the options; a quote behind a backslash is none.
    """
    quoted = False
    at = 0
    while at < len(text) and (quoted or text[at] not in " \t"):
        if text[at] == "\\" and text[at + 1 : at + 2] == '"':
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    if quoted:
        raise ConfigError("a quote in the options is not closed")
    return text[:at], text[at:].lstrip(" \t")


_OPTION: Final = re.compile(r'([A-Za-z0-9-]+)(?:=("(?:\\"|[^"])*"))?(?:,|$)', re.DOTALL)


def read_options(text: str) -> KeyOptions:
    """The options of one line; raises ConfigError for any that is unknown or wrong.

    A line whose options are not all understood is worth nothing: what it forgets to forbid would
    be allowed.
    """
    made = KeyOptions()
    if text.endswith(","):
        raise ConfigError("an empty option at the end")
    at = 0
    while at < len(text):
        found = _OPTION.match(text, at)
        if found is None:
            raise ConfigError(f"bad key options at {text[at : at + 40]!a}")
        name, value = found[1].lower(), found[2]
        if value is None:
            _read_flag(made, name)
        else:
            _read_value(made, name, value[1:-1].replace('\\"', '"'))
        at = found.end()
    return made


def _restrict(options: KeyOptions) -> None:
    options.restricted = True
    options.names_opening = options.names_listening = False
    for attribute in _PERMISSIONS.values():
        setattr(options, attribute, False)
    options.tunnel = None


_PERMISSIONS: Final = {
    "pty": "permit_pty",
    "port-forwarding": "permit_port_forwarding",
    "agent-forwarding": "permit_agent_forwarding",
    "x11-forwarding": "permit_x11_forwarding",
    "user-rc": "permit_user_rc",
}

_FLAGS: Final[dict[str, tuple[str, bool]]] = {
    **{name: (attribute, True) for name, attribute in _PERMISSIONS.items()},
    **{f"no-{name}": (attribute, False) for name, attribute in _PERMISSIONS.items()},
    "cert-authority": ("cert_authority", True),
    "no-touch-required": ("touch_required", False),
    "verify-required": ("verify_required", True),
}


def _read_flag(options: KeyOptions, name: str) -> None:
    if name == "restrict":
        _restrict(options)
    elif name in _FLAGS:
        attribute, value = _FLAGS[name]
        setattr(options, attribute, value)
        if attribute == "permit_port_forwarding":
            options.names_opening = options.names_listening = value
    elif name in _VALUES:
        raise ConfigError(f'{name} needs a value, as in {name}="..."')
    else:
        raise ConfigError(f"unknown key option {name[:40]!a}")


def _read_value(options: KeyOptions, name: str, value: str) -> None:
    read = _VALUES.get(name)
    if read is None:
        known = name == "restrict" or name in _FLAGS
        raise ConfigError(
            f"{name} takes no value" if known else f"unknown key option {name[:40]!a}"
        )
    if "\0" in value:
        raise ConfigError(f"a NUL character in {name}")
    read(options, value)


def _once(name: str, earlier: object) -> None:
    if earlier is not None:
        raise ConfigError(f"{name} is given twice")


def _command(options: KeyOptions, value: str) -> None:
    _once("command", options.command)
    options.command = value


def _environment(options: KeyOptions, value: str) -> None:
    name, equals, text = value.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigError(f"bad environment setting {value[:40]!a}")
    if len(options.environment) >= _MOST_VARIABLES:
        raise ConfigError("too many environment settings")
    # Of two settings of one name the first stands.
    if name not in dict(options.environment):
        options.environment += ((name, text),)


def _from(options: KeyOptions, value: str) -> None:
    _once("from", options.from_patterns)
    if not value.strip(","):
        raise ConfigError("from: a pattern is missing")
    check_address_list(value)
    options.from_patterns = value


def _principals(options: KeyOptions, value: str) -> None:
    _once("principals", options.principals)
    names = tuple(value.split(","))
    if "" in names:
        raise ConfigError("principals: an empty name")
    options.principals = names


def _read_forward(value: str, *, host_needed: bool) -> Forward:
    """``host:port``, ``[host]:port`` or, where it may stand alone, ``port``; R111: a port is one."""
    found = re.fullmatch(r"(?:\[([^][ ]+)\]|([^][:/ ]+)):([0-9*]+)|([0-9*]+)", value)
    if found is None or (host_needed and found[4] is not None):
        raise ConfigError(f"bad forward {value[:80]!a}")
    host, port = (found[1] or found[2] or "*").lower(), found[3] or found[4]
    try:
        return Forward(host, None if port == "*" else parse_port(port))
    except UsageError as fault:
        raise ConfigError(f"bad forward {value[:80]!a}: {fault}") from None


def _permit_open(options: KeyOptions, value: str) -> None:
    if len(options.permit_open) >= _MOST_FORWARDS:
        raise ConfigError("too many permitopen")
    options.names_opening = True
    options.permit_open += (_read_forward(value, host_needed=True),)


def _permit_listen(options: KeyOptions, value: str) -> None:
    if len(options.permit_listen) >= _MOST_FORWARDS:
        raise ConfigError("too many permitlisten")
    options.names_listening = True
    options.permit_listen += (_read_forward(value, host_needed=False),)


def _tunnel(options: KeyOptions, value: str) -> None:
    _once("tunnel", options.tunnel)
    if value.lower() == "any":
        options.tunnel = -1
    elif re.fullmatch(r"[0-9]{1,9}", value):
        options.tunnel = int(value)
    else:
        raise ConfigError(f"bad tunnel device {value[:40]!a}")


def _expiry(options: KeyOptions, value: str) -> None:
    # Of several, each holds: the earliest ends the key.
    options.expiry += (read_expiry(value),)


def read_expiry(value: str) -> Expiry:
    """``YYYYMMDD``, ``YYYYMMDDHHMM`` or ``YYYYMMDDHHMMSS``, each perhaps with ``Z`` for UTC."""
    found = re.fullmatch(
        r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?(Z?)", value
    )
    if found is None:
        raise ConfigError(
            f"bad expiry time {value[:40]!a}", hint="as in 20301231 or 203012312359Z"
        )
    year, month, day, hour, minute, second = (int(found[n] or 0) for n in range(1, 7))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= days[month - 1]):
        raise ConfigError(f"no such day: {value[:40]!a}")
    if hour > 23 or minute > 59 or second > 59:
        raise ConfigError(f"no such time: {value[:40]!a}")
    return Expiry((year, month, day, hour, minute, second), bool(found[7]))


_VALUES: Final[dict[str, Callable[[KeyOptions, str], None]]] = {
    "command": _command,
    "environment": _environment,
    "expiry-time": _expiry,
    "from": _from,
    "permitlisten": _permit_listen,
    "permitopen": _permit_open,
    "principals": _principals,
    "tunnel": _tunnel,
}
