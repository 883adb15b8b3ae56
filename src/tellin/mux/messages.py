# SPDX-License-Identifier: MIT
"""Messages between the master of a shared connection and those who use it (PROTOCOL.mux)."""

# No ``from __future__ import annotations``: the annotations are the layout.

from typing import Annotated, ClassVar, Final

from tellin.errors import MalformedPacket
from tellin.wire import Cursor, Message, Rest, String, UInt32, WireType, string

VERSION: Final = 4
# OpenSSH's master draws both lines there.
MOST_BYTES: Final = 256 * 1024
MOST_VARIABLES: Final = 4096

NO_ESCAPE: Final = 0xFFFFFFFF
UNIX_SOCKET: Final = 0xFFFFFFFE
"""In the place of a port: the host is a path."""

LOCAL: Final = 1
REMOTE: Final = 2
DYNAMIC: Final = 3

# What EXT_INFO can be asked for.
CONNECTION: Final = "connection"
CHANNELS: Final = "channels"


def _read_strings(cursor: Cursor) -> tuple[bytes, ...]:
    made: list[bytes] = []
    while cursor.remaining():
        made.append(cursor.string())
        if len(made) > MOST_VARIABLES:
            raise MalformedPacket(f"more than {MOST_VARIABLES} strings in one message")
    return tuple(made)


def _write_strings(value: tuple[bytes, ...]) -> bytes:
    return b"".join(map(string, value))


def _checked(value: bytes) -> bytes:
    # Passed on, it would end the connection for all who share it: servers take no text with a NUL.
    if b"\0" in value:
        raise MalformedPacket("a NUL in a text on a control socket")
    return value


def _read_word(cursor: Cursor) -> bytes:
    return _checked(cursor.string())


def _read_words(cursor: Cursor) -> tuple[bytes, ...]:
    return tuple(map(_checked, _read_strings(cursor)))


Strings = Annotated[tuple[bytes, ...], WireType(_read_strings, _write_strings)]
Word = Annotated[bytes, WireType(_read_word, string)]
Words = Annotated[tuple[bytes, ...], WireType(_read_words, _write_strings)]


class MuxMessage(Message):
    """A message of a control socket: its ``kind`` stands before its fields."""

    kind: ClassVar[int] = 0

    def __init_subclass__(cls, *, kind: int = 0) -> None:
        if kind:
            cls.kind = kind
            cls._head = kind.to_bytes(4, "big")
        super().__init_subclass__()


class Hello(MuxMessage, kind=0x00000001):
    """The first message of either side; names and values of extensions may follow."""

    version: UInt32
    extensions: Strings = ()


# What is asked


class NewSession(MuxMessage, kind=0x10000002):
    """A session; three descriptors follow, each with a byte of its own."""

    request_id: UInt32
    reserved: String
    terminal_wanted: UInt32
    x11: UInt32
    agent: UInt32
    subsystem: UInt32
    escape: UInt32
    terminal: Word
    command: Word
    environment: Words = ()


class AliveCheck(MuxMessage, kind=0x10000004):
    """Are you there, and who are you?"""

    request_id: UInt32


class Terminate(MuxMessage, kind=0x10000005):
    """End the connection and yourself."""

    request_id: UInt32


class OpenForward(MuxMessage, kind=0x10000006):
    """Forward a port or a socket."""

    request_id: UInt32
    way: UInt32
    listen_host: String
    listen_port: UInt32
    connect_host: String
    connect_port: UInt32


class CloseForward(MuxMessage, kind=0x10000007):
    """Forward it no more."""

    request_id: UInt32
    way: UInt32
    listen_host: String
    listen_port: UInt32
    connect_host: String
    connect_port: UInt32


class NewStdioForward(MuxMessage, kind=0x10000008):
    """Lead two descriptors, which follow as a session's do, to a port behind the server."""

    request_id: UInt32
    reserved: String
    host: Word
    port: UInt32


class StopListening(MuxMessage, kind=0x10000009):
    """Take nobody else, and remove the socket."""

    request_id: UInt32


class Proxy(MuxMessage, kind=0x1000000F):
    """From here on this socket carries the packets of the connection protocol."""

    request_id: UInt32


class AskInformation(MuxMessage, kind=0x20000001):
    """What is there: the connection's properties, or its channels."""

    request_id: UInt32
    what: String


# What is answered


class Done(MuxMessage, kind=0x80000001):
    """It is done."""

    request_id: UInt32


class PermissionDenied(MuxMessage, kind=0x80000002):
    """Whoever runs the master said no."""

    request_id: UInt32
    reason: String


class Failure(MuxMessage, kind=0x80000003):
    """It could not be done."""

    request_id: UInt32
    reason: String


class Exited(MuxMessage, kind=0x80000004):
    """The session's command has ended."""

    session_id: UInt32
    status: UInt32


class Alive(MuxMessage, kind=0x80000005):
    """The master is there."""

    request_id: UInt32
    pid: UInt32


class SessionOpened(MuxMessage, kind=0x80000006):
    """The session, or the forwarded pair of descriptors, is open."""

    request_id: UInt32
    session_id: UInt32


class RemotePort(MuxMessage, kind=0x80000007):
    """The port that the server chose for a remote forward."""

    request_id: UInt32
    port: UInt32


class TerminalRefused(MuxMessage, kind=0x80000008):
    """There is no terminal on the other side: the local one need not be raw."""

    session_id: UInt32


class Proxying(MuxMessage, kind=0x8000000F):
    """The answer to Proxy, and the last of these messages on the socket."""

    request_id: UInt32


class Information(MuxMessage, kind=0x90000001):
    """The answer to AskInformation: lines of text."""

    request_id: UInt32
    text: String


class Unknown(MuxMessage):
    """A request of a kind that nobody here knows."""

    kind_asked: UInt32
    request_id: UInt32
    rest: Rest


REQUESTS: Final[dict[int, type[MuxMessage]]] = {
    one.kind: one
    for one in (
        NewSession,
        AliveCheck,
        Terminate,
        OpenForward,
        CloseForward,
        NewStdioForward,
        StopListening,
        Proxy,
        AskInformation,
    )
}
ANSWERS: Final[dict[int, type[MuxMessage]]] = {
    one.kind: one
    for one in (
        Hello,
        Done,
        PermissionDenied,
        Failure,
        Exited,
        Alive,
        SessionOpened,
        RemotePort,
        TerminalRefused,
        Proxying,
        Information,
    )
}
DESCRIPTORS: Final[dict[type[MuxMessage], int]] = {NewSession: 3, NewStdioForward: 2}
"""How many descriptors follow a request."""


def framed(message: MuxMessage) -> bytes:
    """A message behind its length, as it goes through the socket."""
    return string(message.encode())


def kind_of(frame: bytes) -> int:
    """The number before a frame's fields; raises MalformedPacket."""
    return Cursor(frame).uint32()


def size_of(head: bytes | bytearray) -> int:
    """How long the frame is whose first four bytes these are; raises MalformedPacket."""
    size = int.from_bytes(head[:4], "big")
    # Nothing is kept for a length that could not be right (R025).
    if not 4 <= size <= MOST_BYTES:
        raise MalformedPacket(f"a message of {size} bytes on a control socket")
    return size
