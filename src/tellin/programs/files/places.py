# SPDX-License-Identifier: MIT
"""Where files are, as people tell scp and sftp: ``path``, ``[user@]host:path``, ``scp://user@host:port/path``."""

# Paths are bytes, as they are: pathlib takes none.
# ruff: noqa: PTH112, PTH118

import os
from typing import Final

from tellin.config.destination import host_fault, parse_destination, user_fault
from tellin.errors import UsageError
from tellin.userauth.text import escape_text, show_undecoded
from tellin.wire import Record

_HEX_PAIR: Final = frozenset(b"0123456789abcdefABCDEF")


class Place(Record):
    """A path, and the host that it is on if that is another one."""

    path: bytes
    host: str | None = None
    user: str | None = None
    port: int | None = None

    def destination(self) -> str:
        """The host and its user as scp shows them."""
        return f"{self.user}@{self.host}" if self.user is not None else str(self.host)


def place_of(text: str, *, scheme: str = "scp") -> Place:
    """Read one word of the command line; raises UsageError."""
    begin = f"{scheme}://"
    if text[: len(begin)].lower() == begin:
        return _of_uri(text[len(begin) :])
    at = colon(text)
    if at < 0:
        return Place(os.fsencode(text))
    user, sign, host = text[:at].rpartition("@")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    _refuse("host name", host, host_fault(host))
    if sign:
        _refuse("user name", user, user_fault(user))
    return Place(os.fsencode(text[at + 1 :]), host, user if sign else None)


def colon(text: str) -> int:
    """Where the colon is that ends a host's name; -1 if there is none, and it is a file of this host.

    A slash before it, or nothing, makes it a part of a file's name; an address in brackets has
    colons of its own.
    """
    if text.startswith(":"):
        return -1
    bracketed = text.startswith("[")
    for at, letter in enumerate(text):
        if letter == "@" and text[at + 1 : at + 2] == "[":
            bracketed = True
        elif letter == "]" and bracketed and text[at + 1 : at + 2] == ":":
            return at + 1
        elif letter == ":" and not bracketed:
            return at
        elif letter == "/":
            return -1
    return -1


def _of_uri(rest: str) -> Place:
    """What stands behind ``scp://``; its path is from the home directory on, unless a slash is doubled."""
    place, _, path = rest.partition("/")
    found = parse_destination(f"ssh://{place}")
    return Place(_percent_decoded(os.fsencode(path)), found.host, found.user, found.port)


def _percent_decoded(text: bytes) -> bytes:
    first, *rest = text.split(b"%")
    made = bytearray(first)
    for piece in rest:
        if len(piece) < 2 or not _HEX_PAIR.issuperset(piece[:2]):
            raise UsageError(f"bad percent escape in {text[:80]!a}")
        made.append(int(piece[:2], 16))
        made += piece[2:]
    if 0 in made:
        # R189: for the system it would be the end of the name.
        raise UsageError(f"a NUL in {text[:80]!a}")
    return bytes(made)


def _refuse(what: str, name: str, fault: str) -> None:
    if fault:
        raise UsageError(f"invalid {what} {name[:80]!a}: it {fault}")


def last_name(path: bytes) -> bytes:
    """The last name of a path, as basename(3) has it; never ``..``, which leads out of where it is put (R173)."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    if not name:
        return b"/" if path else b"."
    return b"." if name == b".." else name


def shown(path: bytes) -> str:
    """A path as a terminal may have it (R036)."""
    return escape_text(show_undecoded(path.decode("utf-8", "surrogateescape")))


def joined(directory: bytes, name: bytes) -> bytes:
    """A name in a directory."""
    return os.path.join(directory, name)


def is_directory(path: bytes) -> bool:
    """Whether a directory is there, on this host."""
    return os.path.isdir(path)


def is_there(path: bytes) -> bool:
    """Whether anything is there, on this host."""
    return os.path.lexists(path)
