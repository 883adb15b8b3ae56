# SPDX-License-Identifier: MIT
"""Any bytes at the beginning of an X11 connection, and any text as display, as cookie and from xauth."""

from collections.abc import Iterable
from contextlib import suppress
from struct import pack

from tests.fuzz.harness import Harness

from tellin.connection.x11 import (
    COOKIE,
    LARGEST_SCREEN,
    LONGEST_COOKIE,
    LONGEST_PROTOCOL,
    Cookie,
    X11Setup,
    read_cookie,
    read_display,
    read_listing,
)
from tellin.errors import ProtocolError

SHOWN = Cookie(COOKIE, bytes(range(16)))
REAL = Cookie(COOKIE, bytes(range(16, 32)))
NAME = COOKIE.encode()


def setup(order: str, cookie: bytes, *, name: bytes = NAME, rest: bytes = b"") -> bytes:
    """The first packet of a connection, in the byte order ``<`` or ``>``."""
    first = b"l" if order == "<" else b"B"
    head = first + b"\0" + pack(f"{order}HHHHH", 11, 0, len(name), len(cookie), 0)
    return head + name + bytes(-len(name) % 4) + cookie + bytes(-len(cookie) % 4) + rest


def _passed(pieces: Iterable[bytes]) -> bytes | None:
    made = X11Setup(SHOWN, REAL)
    for piece in pieces:
        whole = made.feed(piece)
        if whole is not None:
            return whole
    return None


def to_display(data: bytes) -> None:
    """Nothing goes on without the cookie that was given out, however it comes; and never that one."""
    whole: bytes | None = None
    with suppress(ProtocolError):
        whole = _passed([data])
    in_pieces: bytes | None = None
    with suppress(ProtocolError):
        in_pieces = _passed(data[at : at + 1] for at in range(len(data)))
    assert (whole is None) == (in_pieces is None)
    if whole is not None and in_pieces is not None:
        assert whole.startswith(in_pieces)
        assert len(whole) == len(data)
        at = 12 + len(NAME) + -len(NAME) % 4
        assert data[at : at + 16] == SHOWN.data
        assert whole[at : at + 16] == REAL.data


def to_cookie(data: bytes) -> None:
    """R143: whatever passes is no more than a word that xauth takes for what it is."""
    text = data.decode("utf-8", "surrogateescape")
    protocol, _, cookie = text.partition(" ")
    with suppress(ProtocolError):
        made = read_cookie(protocol, cookie)
        assert made.protocol.replace("-", "").isalnum()
        assert made.protocol.isascii()
        assert len(made.protocol) <= LONGEST_PROTOCOL
        assert 0 < len(made.data) <= LONGEST_COOKIE
        assert made.encode() == cookie.lower()
    with suppress(ProtocolError):
        read_listing(data)
    with suppress(ProtocolError):
        display = read_display(text)
        assert 0 <= display.screen <= LARGEST_SCREEN
        assert 0 < display.port <= 65535
        assert not display.host.startswith("/")


HARNESSES = [
    Harness(
        "x11_setup",
        to_display,
        covers=["tellin.connection.x11.X11Setup.feed"],
        seeds=lambda: [
            setup("<", SHOWN.data),
            setup(">", SHOWN.data, rest=b"and what follows"),
            setup("<", REAL.data),
            setup(">", b"", name=b""),
        ],
    ),
    Harness(
        "x11_texts",
        to_cookie,
        covers=[
            "tellin.connection.x11.read_cookie",
            "tellin.connection.x11.read_display",
            "tellin.connection.x11.read_listing",
        ],
        seeds=lambda: [
            b"MIT-MAGIC-COOKIE-1 00112233445566778899aabbccddeeff",
            b"host/unix:10  MIT-MAGIC-COOKIE-1  00112233445566778899aabbccddeeff\n",
            *(b"localhost:10.0", b":0", b"unix:1.2", b"host.example:77.400"),
        ],
    ),
]
