# SPDX-License-Identifier: MIT
"""What both sides can do, and what follows from it (RFC 4253 section 7.1)."""

from typing import Final

from tellin.algorithms.ciphers import CIPHERS
from tellin.errors import NegotiationFailed
from tellin.transport.messages import KexInit
from tellin.transport.version import Role
from tellin.wire import Record

# Markers in the list of key exchanges; they are no exchanges and are never chosen (R032).
EXT_INFO_CLIENT: Final = "ext-info-c"
EXT_INFO_SERVER: Final = "ext-info-s"
STRICT_CLIENT: Final = "kex-strict-c-v00@openssh.com"
STRICT_SERVER: Final = "kex-strict-s-v00@openssh.com"
# Where both sides list it, a guess is right if the client's first choices were taken, whatever stands
# first in the server's lists. Dropbear compares with the first of all that it knows, not of what it
# offers: without this it skips a guess that is right for the reader of its KEXINIT, and both wait.
GUESS_BY_CHOICE: Final = "kexguess2@matt.ucc.asn.au"
MARKERS: Final = frozenset(
    {EXT_INFO_CLIENT, EXT_INFO_SERVER, STRICT_CLIENT, STRICT_SERVER, GUESS_BY_CHOICE}
)


class Preferences(Record):
    """The names one side offers, best first."""

    key_exchanges: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    compressions: tuple[str, ...] = ("none",)


class Direction(Record):
    """What protects the packets of one direction; ``mac`` is empty for a cipher that authenticates."""

    cipher: str
    mac: str
    compression: str


class Negotiated(Record):
    """The outcome of one negotiation."""

    key_exchange: str
    host_key: str
    client_to_server: Direction
    server_to_client: Direction
    guess_right: bool


def proposal(
    preferences: Preferences, role: Role, cookie: bytes, *, first: bool, follows: bool
) -> KexInit:
    """Our KEXINIT; the markers stand only in the first (R004)."""
    markers: tuple[str, ...] = ()
    if first:
        markers = (
            (EXT_INFO_CLIENT, STRICT_CLIENT)
            if role is Role.CLIENT
            else (EXT_INFO_SERVER, STRICT_SERVER)
        )
    if follows:
        # Not by a server, though a flight would be saved now and then: an auditor takes the name
        # for an exchange that it does not know, and warns.
        markers += (GUESS_BY_CHOICE,)
    return KexInit(
        cookie,
        preferences.key_exchanges + markers,
        preferences.host_keys,
        preferences.ciphers,
        preferences.ciphers,
        preferences.macs,
        preferences.macs,
        preferences.compressions,
        preferences.compressions,
        b"",
        b"",
        follows,
        0,
    )


def _first_common(kind: str, client: tuple[str, ...], server: tuple[str, ...], role: Role) -> str:
    """The client's first choice that the server has too."""
    offered = frozenset(server)
    for name in client:
        if name in offered and name not in MARKERS:
            return name
    ours, theirs = (client, server) if role is Role.CLIENT else (server, client)
    raise NegotiationFailed(
        kind,
        [name for name in ours if name not in MARKERS],
        [name for name in theirs if name not in MARKERS],
    )


def negotiate(client: KexInit, server: KexInit, role: Role) -> Negotiated:
    """Choose from both KEXINITs; raises NegotiationFailed with both lists.

    ``role`` says only which of the two lists is ours in that error.
    """
    key_exchange = _first_common(
        "key exchange method", client.kex_algorithms, server.kex_algorithms, role
    )
    host_key = _first_common(
        "host key type",
        client.server_host_key_algorithms,
        server.server_host_key_algorithms,
        role,
    )

    def direction(way: str) -> Direction:
        def common(kind: str, field: str) -> str:
            return _first_common(
                kind, getattr(client, f"{field}_{way}"), getattr(server, f"{field}_{way}"), role
            )

        cipher = common("cipher", "encryption")
        # RFC 5647 as OpenSSH amended it: a cipher that authenticates makes the MAC lists moot.
        mac = "" if CIPHERS[cipher].tag_size else common("MAC", "mac")
        return Direction(cipher, mac, common("compression method", "compression"))

    return Negotiated(
        key_exchange,
        host_key,
        direction("client_to_server"),
        direction("server_to_client"),
        _guess_right(client, server, (key_exchange, host_key)),
    )


def _guess_right(client: KexInit, server: KexInit, chosen: tuple[str, str]) -> bool:
    first = (client.kex_algorithms[0], client.server_host_key_algorithms[0])
    if GUESS_BY_CHOICE in client.kex_algorithms and GUESS_BY_CHOICE in server.kex_algorithms:
        return first == chosen
    # RFC 4253 section 7: right only if both first choices of both sides agree (R010).
    return first == (server.kex_algorithms[0], server.server_host_key_algorithms[0])
