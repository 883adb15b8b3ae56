# SPDX-License-Identifier: MIT
"""What is forwarded where, as ``-L``, ``-R``, ``-D`` and the keywords of forwarding write it."""

from typing import Final

from tellin.config.kinds import Kind, read_integer
from tellin.errors import ConfigError
from tellin.wire import Record

# sockaddr_un holds so much of a path, its closing NUL included (unix(7)).
_LONGEST_PATH: Final = 108
_LONGEST_HOST: Final = 1024

# How a dump writes that each connection to a server's port says where it wants to go.
_SOCKS: Final = "[socks]:0"


class Forward(Record):
    """One forwarding: where to listen, and where what is accepted there is led to.

    A path stands for a Unix socket and leaves host and port empty. With neither ``host`` nor
    ``path``, each connection says by SOCKS where it wants to go. ``listen_host`` is None where
    nothing was said, and GatewayPorts then decides; an empty one or ``*`` is every address.
    """

    listen_host: str | None = None
    listen_port: int = 0
    listen_path: str = ""
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_socks(self) -> bool:
        """Whether each connection names its own destination."""
        return not self.host and not self.path

    @property
    def listening(self) -> str:
        """Where it listens, as a dump writes it."""
        if self.listen_path:
            return _quoted(self.listen_path)
        if self.listen_host is None:
            return str(self.listen_port)
        return f"[{self.listen_host}]:{self.listen_port}"

    @property
    def leading(self) -> str:
        """Where it leads, as a dump writes it; empty for SOCKS."""
        if self.path:
            return _quoted(self.path)
        return f"[{self.host}]:{self.port}" if self.host else ""


def _quoted(path: str) -> str:
    return path.replace("\\", r"\\").replace(":", r"\:")


class _Field(Record):
    text: str
    is_path: bool


def _fields(text: str) -> list[_Field]:
    """The parts between colons: ``[...]`` may hold some, and a path where a backslash is before."""
    made: list[_Field] = []
    rest: str | None = text
    while rest is not None:
        if len(made) == 4:
            raise ConfigError(f"{text[:80]!a} has too many parts")
        if rest.startswith("/"):
            part, rest = _path_and_rest(rest)
            made.append(_Field(part, is_path=True))
        elif rest.startswith("["):
            part, closed, rest = rest[1:].partition("]")
            if not closed or (rest and rest[0] != ":"):
                raise ConfigError(f"unbalanced brackets in {text[:80]!a}")
            made.append(_Field(part, is_path=False))
            rest = rest[1:] if rest else None
        else:
            part, colon, after = rest.partition(":")
            made.append(_Field(part, is_path=False))
            rest = after if colon else None
    return made


def _path_and_rest(text: str) -> tuple[str, str | None]:
    """A path up to a colon that no backslash quotes."""
    made: list[str] = []
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "\\" and text[at + 1 : at + 2] in {"\\", ":"}:
            at += 1
            sign = text[at]
        elif sign == ":":
            return "".join(made), text[at + 1 :]
        made.append(sign)
        at += 1
    return "".join(made), None


class _Place(Record):
    host: str | None = None
    port: int = 0
    path: str = ""


def _place(fields: list[_Field], lowest: int) -> _Place:
    """One end: a path, a port, or a host and a port that is at least ``lowest``."""
    if not fields:
        raise ConfigError("the destination is missing")
    *hosts, last = fields
    if last.is_path and not hosts:
        if len(last.text) >= _LONGEST_PATH:
            raise ConfigError(f"the path {last.text[:40]!a} is too long for a socket")
        return _Place(path=last.text)
    if last.is_path or len(hosts) > 1 or any(host.is_path for host in hosts):
        raise ConfigError("a host, a port and a path are mixed up")
    if hosts and len(hosts[0].text) > _LONGEST_HOST:
        raise ConfigError("the name of a host is too long")
    try:
        port = read_integer(last.text, lowest, 65535)
    except ConfigError:
        raise ConfigError(f"bad port {last.text[:20]!a}", hint=f"{lowest}-65535") from None
    return _Place(hosts[0].text if hosts else None, port)


def parse_forward(text: str, *, remote: bool = False, socks: bool = False) -> Forward:
    """Read ``[host:]port:host:port`` and its kin: paths for hosts and ports, ``[...]`` round IPv6.

    ``socks`` is for ``-D``, which has no destination; with ``remote``, as for ``-R``, the
    destination may be left out, and port 0 lets the server choose. Raises ConfigError.
    """
    fields = _fields(text.strip(" \t"))
    if remote and len(fields) <= 2 and not (len(fields) == 2 and fields[1].is_path):
        socks = True
    # A port at the end has its host before it; a path has nothing.
    leading = 0 if socks else 1 if fields[-1].is_path else 2
    try:
        listen = _place(fields[: max(0, len(fields) - leading)], 0 if remote else 1)
        lead = _destination(fields[-leading:]) if leading else _Place()
    except ConfigError as fault:
        raise ConfigError(f"{fault} in {text[:80]!a}", hint=fault.hint) from None
    return Forward(listen.host, listen.port, listen.path, lead.host or "", lead.port, lead.path)


def _destination(fields: list[_Field]) -> _Place:
    place = _place(fields, 1)
    if not place.path and not place.host:
        raise ConfigError("it leads to no host")
    return place


def names_place(place: str, host: str, port: int) -> bool:
    """Whether an entry of PermitOpen or PermitRemoteOpen names this one; names are compared as they are written."""
    name, _, number = place.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    return (name == "*" or name.lower() == host.lower()) and number in {"*", str(port)}


def _forwards(*, remote: bool, socks: bool, grammar: str) -> Kind[tuple[Forward, ...]]:
    def read(words: list[str]) -> tuple[Forward, ...]:
        most = 1 if socks else 2
        if len(words) > most:
            raise ConfigError("extra words at the end of the line")
        if remote and words[1:] == [_SOCKS]:
            words = words[:1]
        return (parse_forward(":".join(words), remote=remote, socks=socks),)

    def show(value: tuple[Forward, ...]) -> tuple[str, ...]:
        empty = f" {_SOCKS}" if remote else ""
        return tuple(
            one.listening + (f" {one.leading}" if one.leading else empty) for one in value
        )

    return Kind(read, show, grammar)


LOCAL: Final = _forwards(remote=False, socks=False, grammar="[host:]port|path host:port|path")
REMOTE: Final = _forwards(remote=True, socks=False, grammar="[host:]port|path [host:port|path]")
DYNAMIC: Final = _forwards(remote=False, socks=True, grammar="[host:]port")
