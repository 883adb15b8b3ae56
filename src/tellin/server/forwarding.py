# SPDX-License-Identifier: MIT
"""What one client may have forwarded, and the connections that are made for it.

All of this happens in the process of the user who is logged in, with that user's rights (R148).
"""

import os
from collections.abc import Callable, Sequence
from typing import Final

from tellin.config.key_options import KeyOptions
from tellin.config.sshd_config import SshdConfig
from tellin.connection.channel import Channel, Standing
from tellin.connection.forwarding import (
    DIRECT_PORT,
    DIRECT_SOCKET,
    LARGEST_PORT,
    PortTarget,
    SocketTarget,
)
from tellin.connection.requests import Request
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.events import ChannelAsked
from tellin.runtime.journal import ERROR, INFO
from tellin.runtime.listeners import AF_UNIX, AF_UNSPEC, FAMILIES, Address, Attempt
from tellin.runtime.loop import Loop
from tellin.runtime.resolving import Resolver
from tellin.runtime.sockets import Socket
from tellin.runtime.tunnels import Tunnel
from tellin.server.connection import ServerConnection
from tellin.userauth.text import escape_text
from tellin.wire import Record

_ANY: Final = ("any",)
_LOCAL: Final = ("yes", "local")
_REFUSED: Final = "open failed"
LONGEST_HOST: Final = 1024
# sockaddr_un holds so much of a path, its closing NUL included (unix(7)).
LONGEST_PATH: Final = 107


class ForwardingRules(Record):
    """What configuration and keys let one user have forwarded; each of them has to allow it.

    R149: with a command that is forced on the user, forwarding has to be allowed in so many words,
    by whoever forced it: what was meant to run one command must not reach the whole network.
    """

    ports: str = "no"  # in which directions: yes, no, local or remote
    sockets: str = "no"
    permit_open: tuple[str, ...] = _ANY
    options: tuple[KeyOptions, ...] = ()
    family: int = AF_UNSPEC

    def opens_ports(self) -> bool:
        """Whether clients may be led to ports at all."""
        return self.ports in _LOCAL and all(one.permit_port_forwarding for one in self.options)

    def opens_sockets(self) -> bool:
        """Whether clients may be led to sockets of the file system: as OpenSSH, where no port is, none is."""
        return (
            self.sockets in _LOCAL
            and self.opens_ports()
            and all(one.permit_streamlocal_forwarding for one in self.options)
        )

    def allows_port(self, host: str, port: int) -> bool:
        """Whether to this one."""
        places = self.permit_open
        listed = places == _ANY or any(_covers(place, host, port) for place in places)
        return listed and all(one.allows_open(host, port) for one in self.options)

    def allows_socket(self) -> bool:
        """Whether to a socket: a list of ports names none."""
        return self.permit_open == _ANY and not any(one.permit_open for one in self.options)


def _covers(place: str, host: str, port: int) -> bool:
    """Whether an entry of PermitOpen names this target; names are compared as they are written."""
    name, _, number = place.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    return (name == "*" or name.lower() == host.lower()) and number in {"*", str(port)}


def rules(config: SshdConfig, options: Sequence[KeyOptions], forced_by: str) -> ForwardingRules:
    """From the configuration and the keys of a login; ``forced_by`` says who forces a command, if anybody."""
    if config.disable_forwarding:
        return ForwardingRules()
    ports, sockets = config.allow_tcp_forwarding, config.allow_stream_local_forwarding
    if forced_by == "config":
        ports = ports if config.is_set("allow_tcp_forwarding") else "no"
        sockets = sockets if config.is_set("allow_stream_local_forwarding") else "no"
    elif forced_by and not all(one.names_forwarding for one in options if one.command is not None):
        ports = sockets = "no"
    return ForwardingRules(
        ports,
        sockets,
        permit_open=config.permit_open,
        options=tuple(options),
        family=FAMILIES[config.address_family],
    )


class Forwarding:
    """What is forwarded on one connection."""

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        made: ForwardingRules,
        *,
        note: Callable[[int, str], object],
    ) -> None:
        self.loop = loop
        self.connection = connection
        self.rules = made
        self.note = note
        self._resolver = Resolver(loop)

    def asked(self, event: ChannelAsked) -> None:
        """A client wants a channel that leads somewhere."""
        if event.channel_type == DIRECT_PORT:
            self._port(event.channel, PortTarget.decode(event.data))
        elif event.channel_type == DIRECT_SOCKET:
            self._socket(event.channel, SocketTarget.decode(event.data))
        else:
            self.refuse(event.channel, Reason.UNKNOWN_CHANNEL_TYPE, _REFUSED)

    def close(self) -> None:
        """The connection is over."""
        self._resolver.close()

    def refuse(self, channel: Channel, reason: int, why: str) -> None:
        """Do not open it."""
        self.connection.core.refuse_channel(channel, reason, why)
        self.connection.flush()

    def _port(self, channel: Channel, target: PortTarget) -> None:
        host, port = target.host, target.port
        shown = escape_text(host[:100])
        if not self.rules.opens_ports():
            self.note(
                INFO,
                f"refused local port forward: originator {escape_text(target.originator[:100])}"
                f" port {target.originator_port}, target {shown} port {port}",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, _REFUSED)
        elif not self.rules.allows_port(host, port):
            self.note(
                INFO,
                f"Received request to connect to host {shown} port {port},"
                " but the request was denied.",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, _REFUSED)
        elif not 0 < port <= LARGEST_PORT or len(host) > LONGEST_HOST:
            self.refuse(channel, Reason.CONNECT_FAILED, "no such port")
        else:
            leading = Direct(self, channel, f"{shown} port {port}")

            def found(addresses: list[Address] | None, why: str) -> None:
                if addresses is None:
                    self.note(ERROR, f"connect_to {shown}: unknown host ({why})")
                    leading.refuse(why)
                else:
                    leading.connect(addresses)

            self._resolver.find(host, port, found, family=self.rules.family)

    def _socket(self, channel: Channel, target: SocketTarget) -> None:
        shown = escape_text(target.path[:100].decode("utf-8", "replace"))
        if not self.rules.opens_sockets():
            self.note(
                INFO,
                f"refused streamlocal port forward: originator"
                f" {escape_text(target.reserved[:100].decode('utf-8', 'replace'))}"
                f" port {target.reserved_port}, target {shown}",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, _REFUSED)
        elif not self.rules.allows_socket():
            self.note(
                INFO,
                f"Received request to connect to path {shown}, but the request was denied.",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, _REFUSED)
        elif len(target.path) > LONGEST_PATH or b"\0" in target.path or target.path[:1] != b"/":
            self.refuse(channel, Reason.CONNECT_FAILED, "no such path")
        else:
            Direct(self, channel, shown).connect([(AF_UNIX, target.path)])


class Direct:
    """One channel of a client's that leads somewhere: first the connection is made, then the two joined."""

    __slots__ = ("_attempt", "_channel", "_forwarding", "_over", "_shown", "_tunnel")

    def __init__(self, forwarding: Forwarding, channel: Channel, shown: str) -> None:
        self._forwarding = forwarding
        self._channel = channel
        self._shown = shown
        self._attempt: Attempt | None = None
        self._tunnel: Tunnel | None = None
        self._over = False
        channel.owner = self

    def connect(self, addresses: list[Address]) -> None:
        """Connect to the first address that answers."""
        if not self._over:
            self._attempt = Attempt(self._forwarding.loop, addresses, self._connected)

    def refuse(self, why: str) -> None:
        """It cannot be had."""
        if not self._over:
            self._channel.owner = None
            self._forwarding.refuse(self._channel, Reason.CONNECT_FAILED, why)

    def _connected(self, stream: Socket | None) -> None:
        attempt, self._attempt = self._attempt, None
        if stream is None:
            error = attempt.error if attempt is not None else None
            why = os.strerror(error.errno) if error is not None and error.errno else _REFUSED
            self._forwarding.note(ERROR, f"connect_to {self._shown}: failed.")
            self.refuse(why)
            return
        forwarding, channel = self._forwarding, self._channel
        connection = forwarding.connection
        connection.core.accept_channel(channel)
        self._tunnel = Tunnel(forwarding.loop, channel, connection.link, stream)
        channel.owner = self
        self._tunnel.start()
        connection.flush()

    # The channel's events

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Nothing may be asked of such a channel."""
        answer(False)

    def ended(self) -> None:
        """The client sends no more."""
        if self._tunnel is not None:
            self._tunnel.ended()

    def writable(self) -> None:
        """There is room again."""
        if self._tunnel is not None:
            self._tunnel.writable()

    def closed(self) -> None:
        """The channel is gone, or the connection."""
        self._over = True
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._tunnel is not None:
            if self._channel.standing is Standing.GONE:
                self._tunnel.closed()
            else:
                self._tunnel.lost()
