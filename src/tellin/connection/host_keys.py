# SPDX-License-Identifier: MIT
"""A server's other host keys, and the proof that it has them (OpenSSH's PROTOCOL, section 2.5).

After a login the server tells which host keys it has; a client that does not know them all asks it
to sign with the new ones, and then knows them before the present one is gone.
"""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from typing import Annotated, Final

from tellin.errors import MalformedPacket
from tellin.wire import Cursor, Message, String, Text, WireType, string

HOST_KEYS: Final = "hostkeys-00@openssh.com"
HOST_KEYS_PROVE: Final = "hostkeys-prove-00@openssh.com"

MOST_KEYS: Final = 64
"""No server has more; each costs a look at every record here, or a signature there."""

# The most bytes of a key or signature, as of everything else of a key's (RSA of 16384 bits: 2 KiB).
_MOST_BYTES: Final = 16384


def _read_items(cursor: Cursor) -> tuple[bytes, ...]:
    items: list[bytes] = []
    while cursor.remaining():
        if len(items) == MOST_KEYS:
            raise MalformedPacket(f"more than {MOST_KEYS} host keys")
        item = cursor.string()
        if len(item) > _MOST_BYTES:
            raise MalformedPacket(f"a host key or signature of {len(item)} bytes")
        items.append(item)
    return tuple(items)


def _write_items(items: tuple[bytes, ...]) -> bytes:
    return b"".join(map(string, items))


Items = Annotated[tuple[bytes, ...], WireType(_read_items, _write_items)]
"""Strings to the end of the message."""


class HostKeys(Message):
    """The data of hostkeys-00, all keys of a server, and of hostkeys-prove-00, those it is to prove."""

    blobs: Items


class HostKeyProofs(Message):
    """The answer to hostkeys-prove-00: a signature for each key, in their order."""

    signatures: Items


class HostKeyClaim(Message):
    """What such a signature is over; ``purpose`` keeps it from standing for any other one."""

    purpose: Text
    session_id: String
    key_blob: String


def claim(session_id: bytes, key_blob: bytes) -> bytes:
    """The bytes that a server signs to prove that it has the private half of ``key_blob``."""
    return HostKeyClaim(HOST_KEYS_PROVE, session_id, key_blob).encode()
