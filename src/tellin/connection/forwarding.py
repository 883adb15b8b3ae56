# SPDX-License-Identifier: MIT
"""What channels and requests of forwarding carry (RFC 4254 section 7; OpenSSH's PROTOCOL, sections 2.3 and 2.4)."""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from typing import Final

from tellin.wire import Message, String, Text, UInt32

DIRECT_PORT: Final = "direct-tcpip"
DIRECT_SOCKET: Final = "direct-streamlocal@openssh.com"
FORWARDED_PORT: Final = "forwarded-tcpip"
FORWARDED_SOCKET: Final = "forwarded-streamlocal@openssh.com"
DEVICE: Final = "tun@openssh.com"
X11: Final = "x11"
AGENT: Final = "auth-agent@openssh.com"

# The channels that servers open (RFC 4254 sections 6.3.2 and 7.2; OpenSSH's PROTOCOL.agent).
SERVERS_TYPES: Final = frozenset({FORWARDED_PORT, FORWARDED_SOCKET, X11, AGENT})

LISTEN_PORT: Final = "tcpip-forward"
CANCEL_PORT: Final = "cancel-tcpip-forward"
LISTEN_SOCKET: Final = "streamlocal-forward@openssh.com"
CANCEL_SOCKET: Final = "cancel-streamlocal-forward@openssh.com"
LISTENING: Final = frozenset({LISTEN_PORT, CANCEL_PORT, LISTEN_SOCKET, CANCEL_SOCKET})
"""The global requests by which a client has the server listen, and end that."""

LARGEST_PORT: Final = 65535

# What network devices carry: packets, or the frames of an Ethernet. The words are those of PermitTunnel.
POINT_TO_POINT: Final = 1
ETHERNET: Final = 2
DEVICE_MODES: Final = {"no": 0, "point-to-point": 1, "ethernet": 2, "yes": 3}
ANY_UNIT: Final = 0x7FFFFFFF
LARGEST_UNIT: Final = ANY_UNIT - 2
COUNTED: Final = 4
"""What the length of a datagram takes of a window: OpenSSH's receivers count it beside the datagram itself."""
# Of a connection that comes from no network: servers are known that look whether this is an address.
NOWHERE: Final = ("127.0.0.1", LARGEST_PORT)


class PortTarget(Message):
    """Where a ``direct-tcpip`` channel is to lead, and who is at its beginning (RFC 4254 section 7.2)."""

    host: Text
    port: UInt32
    originator: Text
    originator_port: UInt32


class SocketTarget(Message):
    """Which socket of the file system a ``direct-streamlocal@openssh.com`` channel is to lead to."""

    path: String
    reserved: String
    reserved_port: UInt32


class DeviceTarget(Message):
    """Which network device of the server's a ``tun@openssh.com`` channel is to lead to, and what it carries."""

    mode: UInt32
    unit: UInt32


class PortPlace(Message):
    """Where ``tcpip-forward`` wants the server to listen, or no more (RFC 4254 section 7.1)."""

    host: Text
    port: UInt32


class PortChosen(Message):
    """The answer to a ``tcpip-forward`` for port 0: the port that is listened on."""

    port: UInt32


class SocketPlace(Message):
    """Where ``streamlocal-forward@openssh.com`` wants the server to listen, or no more."""

    path: String


class ForwardedPort(Message):
    """Where somebody has connected to, named as it was asked for, and from where (RFC 4254 section 7.2)."""

    host: Text
    port: UInt32
    originator: Text
    originator_port: UInt32


class ForwardedSocket(Message):
    """Which socket of the server's file system somebody has connected to."""

    path: String
    reserved: String


def direct_target(
    host: str, port: int, path: str, originator: tuple[str, int] = NOWHERE
) -> tuple[str, bytes]:
    """The type and the data of a channel to ``host`` and ``port``, or else to the socket ``path``."""
    if path:
        return DIRECT_SOCKET, SocketTarget(
            path.encode("utf-8", "surrogateescape"), b"", 0
        ).encode()
    return DIRECT_PORT, PortTarget(host, port, *originator).encode()
