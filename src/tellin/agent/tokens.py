# SPDX-License-Identifier: MIT
"""What tellin and its helper processes say to each other: keys inside tokens are listed, made and used.

A token is reached through code that is not ours, a PKCS#11 module for one. It runs in a process
that has no keys and no connections; all that is asked of it, and all that it answers, is here.
The frames are those of the agent protocol.
"""

# No ``from __future__ import annotations``: the annotations are the layout.

from enum import IntEnum
from typing import Annotated, Final

from tellin.agent.messages import MOST_BYTES, Keys
from tellin.errors import MalformedPacket, TellinError
from tellin.wire import Byte, Cursor, Message, Record, String, Text, WireType, string

# A request to sign holds a whole request to an agent, and some words beside it.
MOST_HELPER_BYTES: Final = MOST_BYTES + 64 * 1024
MOST_RESIDENT: Final = 1024

# Bits of the flags of a security key's key (OpenSSH PROTOCOL.u2f).
TOUCH_REQUIRED: Final = 0x01
VERIFY_REQUIRED: Final = 0x04
FORCE: Final = 0x10
RESIDENT: Final = 0x20

INTERNAL: Final = "internal"
"""The provider of whoever names none: security keys that are plugged in, reached by fido2."""


class Reason(IntEnum):
    """Why a helper has not done what was asked."""

    FAILED = 0
    PIN_NEEDED = 1
    PIN_WRONG = 2
    NOT_THERE = 3  # no token, or not the one that has the key
    NOT_INSTALLED = 4  # the package that reaches tokens
    EXISTS = 5


class TokenError(TellinError):
    """A token, or what leads to it, did not do what was asked."""

    def __init__(self, message: str, reason: Reason = Reason.FAILED, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


# What is asked


class ListKeys(Message, number=1, secret=("pin",)):
    """Which keys does the token of this PKCS#11 module have? With a PIN also those it hides."""

    provider: Text
    pin: String


class SignWith(Message, number=2, secret=("pin",)):
    """Sign; ``key`` is a blob for PKCS#11, and what the key's file holds for a security key."""

    provider: Text
    key: String
    data: String
    algorithm: Text
    pin: String


class Enroll(Message, number=3, secret=("pin",)):
    """Make a key inside a security key."""

    provider: Text
    key_type: Text
    application: Text
    user: Text
    challenge: String
    flags: Byte
    pin: String


class ListResident(Message, number=4, secret=("pin",)):
    """Which keys does the security key itself remember?"""

    provider: Text
    pin: String


# What is answered


class Refused(Message, number=100):
    """Why not: a number of ``Reason``, and words for people."""

    reason: Byte
    text: Text
    hint: Text


class KeysListed(Message, number=101):
    """Blobs and labels."""

    keys: Keys


class Signed(Message, number=102):
    """A signature blob."""

    signature: String


class Enrolled(Message, number=103):
    """A key as its file holds it, and what the security key says of itself (PROTOCOL.u2f)."""

    key: String
    certificate: String
    signature: String
    authenticator_data: String


class Resident(Record):
    """A key that a security key remembers: as a file holds it, and for whom it was made."""

    key: bytes
    user: bytes


def _read_resident(cursor: Cursor) -> tuple[Resident, ...]:
    count = cursor.uint32()
    if count > MOST_RESIDENT or count * 8 > cursor.remaining():
        raise MalformedPacket(f"{count} keys announced in {cursor.remaining()} bytes")
    return tuple(Resident(cursor.string(), cursor.string()) for _ in range(count))


def _write_resident(value: tuple[Resident, ...]) -> bytes:
    body = b"".join(string(one.key) + string(one.user) for one in value)
    return len(value).to_bytes(4, "big") + body


class ResidentListed(Message, number=104):
    """The keys that it remembers."""

    keys: Annotated[tuple[Resident, ...], WireType(_read_resident, _write_resident)]


REQUESTS: Final[dict[int | None, type[Message]]] = {
    kind.number: kind for kind in (ListKeys, SignWith, Enroll, ListResident)
}
ANSWERS: Final[dict[int | None, type[Message]]] = {
    kind.number: kind for kind in (Refused, KeysListed, Signed, Enrolled, ResidentListed)
}


def error_of(reply: Message | None) -> TokenError:
    """What to say where the answer is not the one that was hoped for."""
    if not isinstance(reply, Refused):
        return TokenError("the helper process of the token has ended or does not answer")
    try:
        reason = Reason(reply.reason)
    except ValueError:
        reason = Reason.FAILED
    return TokenError(reply.text, reason, hint=reply.hint)
