# SPDX-License-Identifier: MIT
"""A core against raw bytes: packets made by hand, hostile peers, and cores that bypass their own rules."""

import os
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from tellin.errors import ProtocolError, TellinError
from tellin.protocol import ClientProtocol, Core, ServerProtocol
from tellin.protocol.events import Event, HostKeyOffered, HostKeySignatureWanted
from tellin.testing import Loopback, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY
from tellin.transport import keying
from tellin.transport.messages import Disconnect, KexInit
from tellin.transport.negotiation import STRICT_CLIENT, STRICT_SERVER, proposal
from tellin.transport.version import Role
from tellin.wire import Message

BANNER = b"SSH-2.0-test\r\n"


def packet(payload: bytes, padding: int | None = None) -> bytes:
    """An unprotected packet."""
    if padding is None:
        padding = 8 - (len(payload) + 5) % 8
        padding += 8 if padding < 4 else 0
    return pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def _offer(role: Role, strict: bool, marker: str, changes: dict[str, Any]) -> KexInit:
    settings = client_settings() if role is Role.CLIENT else server_settings(HOST_KEY)
    message = proposal(settings.preferences, role, bytes(16), first=True, follows=False)
    if not strict:
        message.kex_algorithms = tuple(name for name in message.kex_algorithms if name != marker)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def kexinit(*, strict: bool = True, **changes: Any) -> bytes:
    """A client's KEXINIT as a payload."""
    return _offer(Role.CLIENT, strict, STRICT_CLIENT, changes).encode()


def server_kexinit(*, strict: bool = True, **changes: Any) -> bytes:
    """A server's KEXINIT as a payload."""
    return _offer(Role.SERVER, strict, STRICT_SERVER, changes).encode()


def clear_payloads(wire: bytes) -> list[bytes]:
    """The payloads of the unprotected packets behind an identification."""
    at = wire.index(b"\n") + 1
    found = []
    while at + 5 < len(wire):
        size = int.from_bytes(wire[at : at + 4], "big")
        found.append(wire[at + 5 : at + 4 + size - wire[at + 4]])
        at += 4 + size
    return found


class Raw:
    """A core that is fed raw bytes by a peer that is none."""

    core: Core

    def __init__(self, *parts: bytes) -> None:
        self.events: list[Event] = []
        self.feed(*parts)

    def feed(self, *parts: bytes) -> None:
        """Give it ``parts``, one after the other, until it closes."""
        for part in parts:
            if not self.core.closed:
                self.core.receive_data(part, 0.0)
            self.events += self.core.events()

    @property
    def wire(self) -> bytes:
        """All that it has said."""
        return b"".join(self.core.to_send())

    @property
    def error(self) -> TellinError | None:
        """Why it ended."""
        return self.core.error

    @property
    def said(self) -> list[bytes]:
        """The payloads it has sent without protection."""
        return clear_payloads(self.wire)

    @property
    def reason(self) -> int:
        """The code of the DISCONNECT that it ends with, or 0."""
        return next(
            (Disconnect.decode(payload).reason for payload in self.said if payload[0] == 1), 0
        )

    def seen(self, kind: type[Event]) -> list[Any]:
        """Its events of one class."""
        return [event for event in self.events if isinstance(event, kind)]


class Bare(Raw):
    """A server core before a client that is none."""

    core: ServerProtocol

    def __init__(self, *parts: bytes, **settings: Any) -> None:
        self.core = ServerProtocol(server_settings(HOST_KEY, **settings), now=0.0)
        super().__init__(*parts)

    def sign(self) -> None:
        """Answer what it wants signed."""
        wanted = self.seen(HostKeySignatureWanted)[-1]
        self.core.give_host_key_signature(HOST_KEY.sign(wanted.data, wanted.algorithm))


class BareClient(Raw):
    """A client core before a server that is none; it trusts whoever can sign."""

    core: ClientProtocol

    def __init__(self, *parts: bytes, **settings: Any) -> None:
        self.core = ClientProtocol(client_settings(**settings), now=0.0)
        super().__init__(*parts)

    def trust(self) -> None:
        """Take the key that was offered."""
        assert self.seen(HostKeyOffered)
        self.core.trust_host_key()


# After the first keys: injected by an end whose own core is bypassed.


def write(core: Core, message: bytes | Message) -> None:
    """Let ``core`` send what it never would."""
    core._transport.writer.write(message if isinstance(message, bytes) else message.encode())


def take(core: Core) -> bytes:
    """What ``core`` has to send, as sent."""
    wire = b"".join(core.to_send())
    core.sent(len(wire))
    return wire


def inject(made: Loopback, *messages: bytes | Message) -> None:
    """Let the client send what its own core never would, and go on."""
    for message in messages:
        write(made.client, message)
    made.pump()


def inject_to_client(made: Loopback, *messages: bytes | Message) -> None:
    """The same for the server."""
    for message in messages:
        write(made.server, message)
    made.pump()


def inject_only(made: Loopback, *messages: bytes | Message) -> None:
    """The client's message arrives, and what the server answers stays with it."""
    for message in messages:
        write(made.client, message)
    made.server.receive_data(take(made.client), made.now)
    made._dispatch()


def refused(core: Core, reason: int = 2) -> bool:
    """Whether ``core`` ended the connection as the peer's fault, with this code."""
    error = core.error
    return isinstance(error, ProtocolError) and error.reason == reason


def resident() -> int:
    """Resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def without_strictness(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on neither side says that it does strict key exchange."""
    proposal = keying.proposal

    def loose(*arguments: Any, **named: Any) -> KexInit:
        offer = proposal(*arguments, **named)
        offer.kex_algorithms = tuple(
            name for name in offer.kex_algorithms if name not in {STRICT_CLIENT, STRICT_SERVER}
        )
        return offer

    monkeypatch.setattr(keying, "proposal", loose)
