# SPDX-License-Identifier: MIT
"""Where to connect, as people write it: ``host``, ``user@host``, ``ssh://user@host:port``."""

from typing import Final

from tellin.errors import UsageError
from tellin.wire import Record

# Whatever a shell, a ProxyCommand or a Match exec could take for more than a name (R170,
# CVE-2023-51385): a name with one of these is refused before any file is read or token expanded.
_METACHARACTERS: Final = frozenset("`'\"$\\<>;&|(){}[]*?!~#")
# A name in known_hosts ends at a comma; no host name holds a slash or an at sign.
_NOT_IN_HOSTS: Final = _METACHARACTERS | frozenset(",/@")

_LONGEST_NAME: Final = 1024
_HEX_PAIR: Final = frozenset(b"0123456789abcdefABCDEF")


class Destination(Record):
    """A parsed destination; what was not written is None."""

    host: str
    user: str | None = None
    port: int | None = None


def _fault(name: str, forbidden: frozenset[str]) -> str:
    if not name:
        return "is empty"
    if len(name) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} characters"
    if name.startswith("-"):
        return "begins with '-'"
    for character in name:
        if character in forbidden:
            return f"holds {character!r}"
        # Control and format characters, lone surrogates and every kind of space.
        if character == " " or not character.isprintable():
            return f"holds {character!a}"
    return ""


def host_fault(host: str) -> str:
    """What is wrong with a host name, as the end of a sentence, or an empty text."""
    return _fault(host, _NOT_IN_HOSTS)


def user_fault(user: str) -> str:
    """What is wrong with a user name given to a client, as the end of a sentence."""
    return _fault(user, _METACHARACTERS)


def parse_port(text: str) -> int:
    """A port number from 1 to 65535, or UsageError."""
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise UsageError(f"Bad port {text[:20]!r}", hint="a port is a number from 1 to 65535")


def parse_destination(text: str) -> Destination:
    """Read ``[user@]host`` or ``ssh://[user@]host[:port]``; raises UsageError.

    The user is whatever stands before the last ``@``; an IPv6 address may stand in brackets,
    and then a port may follow it.
    """
    # An argument of megabytes must not be echoed or searched.
    if len(text) > 3 * _LONGEST_NAME:
        raise UsageError("the destination is too long")
    uri = text[:6].lower() == "ssh://"
    rest = text[6:].removesuffix("/") if uri else text
    user, at, place = rest.rpartition("@")
    host, port = _host_and_port(place, uri=uri)
    if uri:
        user = _percent_decoded(user)
    if at:
        _refuse("user name", user, user_fault(user))
    _refuse("host name", host, host_fault(host))
    return Destination(host, user if at else None, port)


def parse_jump(text: str) -> Destination:
    """Read one step of ProxyJump: ``[user@]host[:port]`` or an ``ssh://`` address."""
    if text[:6].lower() == "ssh://":
        return parse_destination(text)
    return parse_destination("ssh://" + text)


def _refuse(what: str, name: str, fault: str) -> None:
    if fault:
        # Shown through ascii(): what is refused for its control characters must not reach a terminal.
        raise UsageError(f"invalid {what} {name[:80]!a}: it {fault}")


def _host_and_port(place: str, *, uri: bool) -> tuple[str, int | None]:
    """Split the part after the user; only an address, brackets or a URI can carry a port."""
    if place.startswith("["):
        host, closed, tail = place[1:].partition("]")
        if not closed or not host or (tail and not tail.startswith(":")):
            raise UsageError(f"invalid host name {place[:80]!a}: unbalanced brackets")
        return host, parse_port(tail[1:]) if tail else None
    if uri and place.count(":") == 1:
        host, _, port = place.partition(":")
        return host, parse_port(port)
    if uri and ":" in place:
        raise UsageError(
            f"invalid host name {place[:80]!a}",
            hint="in an ssh:// address, an IPv6 address stands in brackets",
        )
    return place, None


def _percent_decoded(text: str) -> str:
    """The user part of a URI with its %XX read (RFC 3986 section 2.1)."""
    if "%" not in text:
        return text
    first, *rest = text.encode("utf-8", "surrogateescape").split(b"%")
    made = bytearray(first)
    for piece in rest:
        if not _HEX_PAIR.issuperset(piece[:2]) or len(piece) < 2:
            raise UsageError(f"bad percent escape in {text[:80]!a}")
        made.append(int(piece[:2], 16))
        made += piece[2:]
    try:
        return made.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"the user in {text[:80]!a} is not UTF-8") from None
