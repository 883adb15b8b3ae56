# SPDX-License-Identifier: MIT
"""Displays and what keeps strangers off them: how X11 connections begin, and what `xauth list` says."""

# The annotations are the layout: no ``from __future__ import annotations`` here.

import re
from hmac import compare_digest
from struct import Struct
from typing import Final

from tellin.errors import ProtocolError
from tellin.wire import Message, Record, Text, UInt32

COOKIE: Final = "MIT-MAGIC-COOKIE-1"
FIRST_PORT: Final = 6000
MOST_DISPLAYS: Final = 65536 - FIRST_PORT
# OpenSSH's clients name none above this.
LARGEST_SCREEN: Final = 400
LONGEST_COOKIE: Final = 256
LONGEST_PROTOCOL: Final = 64

_HEAD_BYTES: Final = 12
_LENGTHS: Final = {
    0x42: Struct(">HH"),
    0x6C: Struct("<HH"),
}  # 'B' and 'l': the client's byte order
_DISPLAY: Final = re.compile(
    r"([A-Za-z0-9._-]*|[A-Za-z0-9._-]*/unix):([0-9]{1,5})(?:\.([0-9]{1,3}))?"
)
_PROTOCOL: Final = re.compile(r"[A-Za-z0-9-]+")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")


class X11Origin(Message):
    """Who has connected to a forwarded display (RFC 4254 section 6.3.2)."""

    originator: Text
    originator_port: UInt32


class Cookie(Record, secret=("data",)):
    """What a program shows to be let onto a display."""

    protocol: str
    data: bytes

    def encode(self) -> str:
        """As X11 requests and xauth have it."""
        return self.data.hex()


class Display(Record):
    """A display as DISPLAY names it; without a ``host`` it is a socket of this machine."""

    host: str
    number: int
    screen: int

    @property
    def port(self) -> int:
        """Where it is on a host."""
        return FIRST_PORT + self.number


def read_display(text: str) -> Display:
    """Read what DISPLAY says; ProtocolError where that is no display."""
    found = _DISPLAY.fullmatch(text)
    number = int(found[2]) if found else MOST_DISPLAYS
    screen = int(found[3] or 0) if found else 0
    if found is None or number >= MOST_DISPLAYS or screen > LARGEST_SCREEN:
        raise ProtocolError(f"no display: {text[:80]!a}")
    host = found[1]
    return Display("" if host == "unix" or host.endswith("/unix") else host, number, screen)


def read_cookie(protocol: str, text: str) -> Cookie:
    """A cookie that somebody else gives; ProtocolError for what cannot be one.

    R143, CVE-2016-3115: both are written into the input of xauth, where a line's end begins another
    command. So they hold nothing but the letters that such names have, and hexadecimal digits.
    """
    if len(protocol) > LONGEST_PROTOCOL or not _PROTOCOL.fullmatch(protocol):
        raise ProtocolError("X11: a protocol that is none")
    if len(text) > 2 * LONGEST_COOKIE or not _HEX.fullmatch(text):
        raise ProtocolError("X11: a cookie that is none")
    return Cookie(protocol, bytes.fromhex(text))


def read_listing(listing: bytes) -> Cookie:
    """The first cookie that ``xauth list`` tells of; ProtocolError where there is none."""
    words = listing.partition(b"\n")[0].decode("ascii", "replace").split()
    if len(words) != 3:
        raise ProtocolError("xauth lists no cookie")
    return read_cookie(words[1], words[2])


class X11Setup:
    """The first packet of a connection to a display: let pass with the right cookie alone.

    What programs on the server know is a cookie made for them, ``shown``; in what goes on to the
    display the ``real`` one, of the same length, stands in its place. So they cannot keep anything
    that would open the display without us.
    """

    def __init__(self, shown: Cookie, real: Cookie) -> None:
        self._shown = shown
        self._real = real
        self._data = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> bytes | None:
        """Take what has arrived; all of it once the packet is whole, before that None.

        Raises ProtocolError for another cookie, and for what is no X11. Feed it no more after either.
        """
        self._data += data
        held = self._data
        if len(held) < _HEAD_BYTES:
            if held and held[0] not in _LENGTHS:
                raise ProtocolError("not the beginning of an X11 connection")
            return None
        lengths = _LENGTHS.get(held[0])
        if lengths is None:
            raise ProtocolError("not the beginning of an X11 connection")
        name, size = lengths.unpack_from(held, 6)
        shown = self._shown
        protocol = shown.protocol.encode("ascii")
        # Both lengths are known to everybody: nothing is waited for, or kept, for another.
        if name != len(protocol) or size != len(shown.data):
            raise ProtocolError("X11: another kind of cookie than the one that was given out")
        at = _HEAD_BYTES + _padded(name)
        if len(held) < at + _padded(size):
            return None
        same = compare_digest(bytes(held[at : at + size]), shown.data)
        if held[_HEAD_BYTES : _HEAD_BYTES + name] != protocol or not same:
            raise ProtocolError("X11: another cookie than the one that was given out")
        held[at : at + size] = self._real.data
        return bytes(held)


def _padded(size: int) -> int:
    return size + -size % 4
