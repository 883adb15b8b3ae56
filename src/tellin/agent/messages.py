# SPDX-License-Identifier: MIT
"""Messages between an agent and its users (RFC 9987 section 3), and their frames."""

# No ``from __future__ import annotations``: the annotations are the layout.

from collections.abc import Iterator
from typing import Annotated, Final

from tellin.errors import MalformedPacket
from tellin.wire import Boolean, Cursor, Message, Rest, String, Text, UInt32, WireType, string

# R155: a length is a peer's word; OpenSSH's agent and clients draw the line here too.
MOST_BYTES: Final = 256 * 1024
MOST_IDENTITIES: Final = 2048

RSA_SHA2_256: Final = 2
RSA_SHA2_512: Final = 4

QUERY: Final = "query"
SESSION_BIND: Final = "session-bind@openssh.com"


def _read_comment(cursor: Cursor) -> str:
    # A comment is whatever its owner typed, in any encoding: the bytes come back as they were.
    return cursor.string().decode("utf-8", "surrogateescape")


def _write_comment(value: str) -> bytes:
    return string(value.encode("utf-8", "surrogateescape"))


def _read_keys(cursor: Cursor) -> tuple[tuple[bytes, str], ...]:
    count = cursor.uint32()
    if count > MOST_IDENTITIES or count * 8 > cursor.remaining():
        raise MalformedPacket(f"{count} keys announced in {cursor.remaining()} bytes")
    return tuple((cursor.string(), _read_comment(cursor)) for _ in range(count))


def _write_keys(value: tuple[tuple[bytes, str], ...]) -> bytes:
    body = b"".join(string(blob) + _write_comment(comment) for blob, comment in value)
    return len(value).to_bytes(4, "big") + body


Comment = Annotated[str, WireType(_read_comment, _write_comment)]
Keys = Annotated[tuple[tuple[bytes, str], ...], WireType(_read_keys, _write_keys)]


# What is asked


class RequestIdentities(Message, number=11):
    """Which keys are there?"""


class SignRequest(Message, number=13):
    """Sign ``data`` with a key; ``flags`` choose the hash for RSA."""

    key_blob: String
    data: String
    flags: UInt32


class AddIdentity(Message, number=17, secret=("key",)):
    """Keep a key: its type, its numbers and a comment."""

    key: Rest


class AddIdentityConstrained(Message, number=25, secret=("key",)):
    """The same, with constraints behind the comment."""

    key: Rest


class RemoveIdentity(Message, number=18):
    """Forget a key."""

    key_blob: String


class RemoveAllIdentities(Message, number=19):
    """Forget all keys."""


class AddSmartcardKey(Message, number=20, secret=("pin",)):
    """Use the keys of a token."""

    provider: Text
    pin: String


class RemoveSmartcardKey(Message, number=21, secret=("pin",)):
    """Use the keys of a token no more."""

    provider: Text
    pin: String


class AddSmartcardKeyConstrained(AddSmartcardKey, number=26, secret=("pin",)):
    """Use the keys of a token, under constraints."""

    constraints: Rest


class Lock(Message, number=22, secret=("passphrase",)):
    """Answer nothing until the passphrase comes again."""

    passphrase: String


class Unlock(Message, number=23, secret=("passphrase",)):
    """The passphrase once more."""

    passphrase: String


class Extension(Message, number=27):
    """Something that only some agents know."""

    name: Text
    contents: Rest


class SessionBind(Message):
    """What ``session-bind@openssh.com`` holds: this connection to the agent is that session's."""

    host_key: String
    session_id: String
    signature: String
    forwarding: Boolean


# What is answered


class Failure(Message, number=5):
    """No."""


class Success(Message, number=6):
    """Done."""


class IdentitiesAnswer(Message, number=12):
    """The keys, as blobs, with their comments."""

    keys: Keys


class SignResponse(Message, number=14):
    """A signature blob, as it goes into a login."""

    signature: String


class ExtensionFailure(Message, number=28):
    """The extension is known and did not succeed."""


class ExtensionResponse(Message, number=29):
    """What an extension answers: its name once more, and its own fields."""

    name: Text
    contents: Rest


REPLIES: Final[dict[int | None, type[Message]]] = {
    kind.number: kind
    for kind in (
        Failure,
        Success,
        IdentitiesAnswer,
        SignResponse,
        ExtensionFailure,
        ExtensionResponse,
    )
}


def framed(message: Message) -> bytes:
    """A message behind its length, as it goes through the socket."""
    return string(message.encode())


class Frames:
    """Cuts a stream into frames; nothing is kept for a length that could not be right (R155)."""

    __slots__ = ("_data", "_most")

    def __init__(self, *, most: int = MOST_BYTES) -> None:
        self._data = bytearray()
        self._most = most

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes | memoryview) -> None:
        """Take what has arrived."""
        self._data += data

    def next(self) -> bytes | None:
        """The next whole frame without its length, or None; MalformedPacket for a length out of bounds."""
        data = self._data
        if len(data) < 4:
            return None
        size = int.from_bytes(data[:4], "big")
        if not 0 < size <= self._most:
            raise MalformedPacket(f"an agent's message of {size} bytes")
        if len(data) < 4 + size:
            return None
        frame = bytes(data[4 : 4 + size])
        del data[: 4 + size]
        return frame

    def __iter__(self) -> Iterator[bytes]:
        while (frame := self.next()) is not None:
            yield frame
