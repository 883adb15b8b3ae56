# SPDX-License-Identifier: MIT
"""What one client may have forwarded, and the connections that are made for it.

All of this happens in the process of the user who is logged in, with that user's rights (R148).
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tellin.config.forwards import names_place
from tellin.config.key_options import KeyOptions
from tellin.config.patterns import match_pattern
from tellin.config.sshd_config import SshdConfig
from tellin.connection.channel import Channel
from tellin.connection.forwarding import (
    ANY_UNIT,
    CANCEL_PORT,
    CANCEL_SOCKET,
    DEVICE,
    DEVICE_MODES,
    DIRECT_PORT,
    DIRECT_SOCKET,
    ETHERNET,
    LARGEST_PORT,
    LISTEN_PORT,
    LISTEN_SOCKET,
    POINT_TO_POINT,
    DeviceTarget,
    PortPlace,
    PortTarget,
    SocketPlace,
    SocketTarget,
)
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.events import ChannelAsked, GlobalRequested
from tellin.runtime.journal import ERROR, INFO
from tellin.runtime.leading import REFUSED, Leading
from tellin.runtime.listeners import AF_UNIX, AF_UNSPEC, FAMILIES, Address, literal_address
from tellin.runtime.loop import Loop
from tellin.runtime.resolving import Resolver
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.led import Led, led
from tellin.server.forwarding.listening import LONGEST_PATH, Listening, ListeningRules
from tellin.userauth.text import escape_text
from tellin.wire import Record

_ANY: Final = ("any",)
_LOCAL: Final = ("yes", "local")
_REMOTE: Final = ("yes", "remote")
# By whether clients may be led on, and whether they may have us listen.
DIRECTIONS: Final = {
    (True, True): "yes",
    (True, False): "local",
    (False, True): "remote",
    (False, False): "no",
}
LONGEST_HOST: Final = 1024
# The names in it are the client's: so many, of LONGEST_HOST each, and it begins anew.
_MOST_KNOWN: Final = 64


class ForwardingRules(Record):
    """What configuration and keys let one user have forwarded; each of them has to allow it.

    R149: with a command that is forced on the user, forwarding has to be allowed in so many words,
    by whoever forced it: what was meant to run one command must not reach the whole network.
    """

    ports: str = "no"  # in which directions: yes, no, local or remote
    sockets: str = "no"
    permit_open: tuple[str, ...] = _ANY
    permit_listen: tuple[str, ...] = _ANY
    options: tuple[KeyOptions, ...] = ()
    family: int = AF_UNSPEC
    listening: ListeningRules = ListeningRules()
    devices: int = 0  # in which modes network devices are joined, one bit each

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
        listed = places == _ANY or any(names_place(place, host, port) for place in places)
        return listed and all(one.allows_open(host, port) for one in self.options)

    def allows_socket(self) -> bool:
        """Whether to a socket: a list of ports names none."""
        return self.permit_open == _ANY and not any(one.permit_open for one in self.options)

    def listens_on_ports(self) -> bool:
        """Whether clients may have us listen on ports at all."""
        return self.ports in _REMOTE and all(one.permit_port_forwarding for one in self.options)

    def listens_on_sockets(self) -> bool:
        """Whether on sockets of the file system, which a list of ports does not name."""
        return (
            self.sockets in _REMOTE
            and self.listens_on_ports()
            and self.permit_listen == _ANY
            and all(
                one.permit_streamlocal_forwarding and not one.permit_listen for one in self.options
            )
        )

    def allows_listening(self, host: str, port: int) -> bool:
        """Whether on this one."""
        places = self.permit_listen
        listed = places == _ANY or any(_listens(place, host, port) for place in places)
        return listed and all(one.allows_listen(host, port) for one in self.options)

    def joins_devices(self, mode: int) -> bool:
        """Whether network devices may be joined that carry this."""
        return bool(self.devices & mode) and all(one.permit_tunnel for one in self.options)

    def unit(self, asked: int) -> int | None:
        """The number of the device for one that was asked for; None where a key names another."""
        for one in self.options:
            if one.tunnel is not None:
                named = ANY_UNIT if one.tunnel < 0 else one.tunnel
                # As OpenSSH: any is a number of its own, beside which the client names none.
                if asked not in {ANY_UNIT, named}:
                    return None
                asked = named
        return asked


def _listens(place: str, host: str, port: int) -> bool:
    """Whether an entry of PermitListen names this one: its host is a pattern."""
    name, _, number = place.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    return number in {"*", str(port)} and match_pattern(host.lower(), name)


def rules(config: SshdConfig, options: Sequence[KeyOptions], forced_by: str) -> ForwardingRules:
    """From the configuration and the keys of a login; ``forced_by`` says who forces a command, if anybody."""
    if config.disable_forwarding:
        return ForwardingRules()
    ports, sockets = config.allow_tcp_forwarding, config.allow_stream_local_forwarding
    # PermitTunnel is "no" by itself: what it allows was said.
    devices = DEVICE_MODES[config.permit_tunnel]
    if forced_by and forced_by != "config":
        named = all(one.tunnel is not None for one in options if one.command is not None)
        devices = devices if named else 0
    if forced_by == "config":
        ports = ports if config.is_set("allow_tcp_forwarding") else "no"
        sockets = sockets if config.is_set("allow_stream_local_forwarding") else "no"
    elif forced_by:
        forcing = [one for one in options if one.command is not None]
        # What may be listened on says nothing of where the client may be led, nor the other way.
        opens = all(one.names_opening for one in forcing)
        listens = all(one.names_listening for one in forcing)
        ports, sockets = _within(ports, opens, listens), _within(sockets, opens, listens)
    return ForwardingRules(
        ports,
        sockets,
        permit_open=config.permit_open,
        permit_listen=config.permit_listen,
        options=tuple(options),
        family=FAMILIES[config.address_family],
        listening=ListeningRules(
            config.gateway_ports,
            FAMILIES[config.address_family],
            config.stream_local_bind_mask,
            config.stream_local_bind_unlink,
        ),
        devices=devices,
    )


def _within(allowed: str, opens: bool, listens: bool) -> str:
    """Of the directions that are allowed those that were named."""
    return DIRECTIONS[opens and allowed in _LOCAL, listens and allowed in _REMOTE]


class Devices(Protocol):
    """Network devices, once they are loaded: `tellin.server.forwarding.network_devices.NetworkDevices`."""

    def join(self, channel: Channel, mode: int, unit: int) -> bool:
        """Open one for a channel; false where it cannot be had."""


class Forwarding:
    """What is forwarded on one connection.

    ``on_device`` is told of every network device that was opened for it.
    """

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        made: ForwardingRules,
        *,
        note: Callable[[int, str], object],
        on_device: Callable[[str], object] | None = None,
    ) -> None:
        self.loop = loop
        self.connection = connection
        self.rules = made
        self.note = note
        self._on_device = on_device
        self._devices: Devices | None = None
        self._resolver = Resolver(loop)
        # Targets that are addresses and may be led to: nothing of that changes while a user is in.
        self._known: dict[tuple[str, int], list[Address]] = {}
        self._listening = Listening(loop, connection, made.listening, self._resolver, note=note)

    def asked(self, event: ChannelAsked) -> None:
        """A client wants a channel that leads somewhere."""
        if event.channel_type == DIRECT_PORT:
            self._port(event.channel, PortTarget.decode(event.data))
        elif event.channel_type == DIRECT_SOCKET:
            self._socket(event.channel, SocketTarget.decode(event.data))
        elif event.channel_type == DEVICE:
            self._device(event.channel, DeviceTarget.decode(event.data))
        else:
            self.refuse(event.channel, Reason.UNKNOWN_CHANNEL_TYPE, REFUSED)

    def requested(self, event: GlobalRequested) -> None:
        """A client wants us to listen somewhere, or no more."""
        name = event.name
        if name == LISTEN_PORT:
            self._listen_port(event, PortPlace.decode(event.data))
        elif name == LISTEN_SOCKET:
            self._listen_socket(event, SocketPlace.decode(event.data).path)
        elif name == CANCEL_PORT:
            place = PortPlace.decode(event.data)
            self._listening.cancel((place.host, place.port), event.debt)
        elif name == CANCEL_SOCKET:
            self._listening.cancel(SocketPlace.decode(event.data).path, event.debt)
        else:
            self._deny(event)

    def close(self) -> None:
        """The connection is over."""
        self._resolver.close()
        self._listening.close()

    def _deny(self, event: GlobalRequested) -> None:
        if event.debt is not None:
            self.connection.core.answer_global(False, debt=event.debt)
        self.connection.flush()

    def _listen_port(self, event: GlobalRequested, place: PortPlace) -> None:
        host, port = place.host, place.port
        if not self.rules.listens_on_ports() or len(host) > LONGEST_HOST:
            self._tell("Server has disabled port forwarding.")
            self._deny(event)
        elif not self.rules.allows_listening(host, port):
            self._say_denied(f"host {escape_text(host[:100])} port {port}")
            self.connection.core.debug("port forwarding refused")
            self._deny(event)
        elif not port and event.debt is None:
            # Nobody would ever know which port it is.
            self.note(INFO, "refused to listen on a port that the client will not be told")
        else:
            self._listening.listen_port(host, port, event.debt)

    def _listen_socket(self, event: GlobalRequested, path: bytes) -> None:
        if self.rules.listens_on_sockets():
            self._listening.listen_socket(path, event.debt)
        else:
            self._say_denied(f'path "{escape_text(path[:100].decode("utf-8", "replace"))}"')
            self.connection.core.debug("Server has disabled streamlocal forwarding.")
            self._deny(event)

    def _tell(self, why: str) -> None:
        """Say why not, here and to the client: `ssh -v` shows it, in words that people look for."""
        self.note(INFO, why)
        self.connection.core.debug(why)

    def _say_denied(self, what: str) -> None:
        peer = self.connection.peer
        self.note(
            INFO,
            f"Received request from {peer.host} port {peer.port} to remote forward to {what},"
            " but the request was denied.",
        )

    def refuse(self, channel: Channel, reason: int, why: str) -> None:
        """Do not open it."""
        self.connection.core.refuse_channel(channel, reason, why)
        self.connection.flush()

    def _port(self, channel: Channel, target: PortTarget) -> None:
        host, port = target.host, target.port
        known = self._known.get((host, port))
        if known is not None:
            self._lead(channel, host, port).connect(known)
            return
        shown = escape_text(host[:100])
        if not self.rules.opens_ports():
            self.note(
                INFO,
                f"refused local port forward: originator {escape_text(target.originator[:100])}"
                f" port {target.originator_port}, target {shown} port {port}",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, REFUSED)
        elif not self.rules.allows_port(host, port):
            self.note(
                INFO,
                f"Received request to connect to host {shown} port {port},"
                " but the request was denied.",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, REFUSED)
        elif not 0 < port <= LARGEST_PORT or len(host) > LONGEST_HOST:
            self.refuse(channel, Reason.CONNECT_FAILED, "no such port")
        else:
            leading = self._lead(channel, host, port)

            def found(addresses: list[Address] | None, why: str) -> None:
                if addresses is None:
                    self.note(ERROR, f"connect_to {shown}: unknown host ({why})")
                    leading.refuse(why)
                else:
                    if literal_address(host, port) is not None:
                        self._remember(host, port, addresses)
                    leading.connect(addresses)

            self._resolver.find(host, port, found, family=self.rules.family)

    def _remember(self, host: str, port: int, addresses: list[Address]) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[host, port] = addresses

    def _socket(self, channel: Channel, target: SocketTarget) -> None:
        shown = escape_text(target.path[:100].decode("utf-8", "replace"))
        if not self.rules.opens_sockets():
            self.note(
                INFO,
                f"refused streamlocal port forward: originator"
                f" {escape_text(target.reserved[:100].decode('utf-8', 'replace'))}"
                f" port {target.reserved_port}, target {shown}",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, REFUSED)
        elif not self.rules.allows_socket():
            self.note(
                INFO,
                f"Received request to connect to path {shown}, but the request was denied.",
            )
            self.refuse(channel, Reason.ADMINISTRATIVELY_PROHIBITED, REFUSED)
        elif len(target.path) > LONGEST_PATH or b"\0" in target.path or target.path[:1] != b"/":
            self.refuse(channel, Reason.CONNECT_FAILED, "no such path")
        else:
            self._lead(channel, shown).connect([(AF_UNIX, target.path)])

    def _device(self, channel: Channel, target: DeviceTarget) -> None:
        mode, unit = target.mode, self.rules.unit(target.unit)
        if mode not in {POINT_TO_POINT, ETHERNET}:
            self._tell("Unsupported tunnel device mode.")
        elif not self.rules.joins_devices(mode):
            self._tell("Server has rejected tunnel device forwarding")
        elif unit is None or not self._network_devices().join(channel, mode, unit):
            self.note(ERROR, "Failed to open the tunnel device.")
        else:
            return
        # OpenSSH's reason, whichever it is.
        self.refuse(channel, Reason.CONNECT_FAILED, REFUSED)

    def _network_devices(self) -> Devices:
        if self._devices is None:
            # Few clients want one, and the others do not wait for what it takes.
            from tellin.server.forwarding.network_devices import NetworkDevices  # noqa: PLC0415

            self._devices = NetworkDevices(
                self.loop, self.connection, note=self.note, on_device=self._on_device
            )
        return self._devices

    def _lead(self, channel: Channel, place: str, port: int | None = None) -> Leading:
        connection = self.connection

        def failed(_why: str) -> None:
            shown = place if port is None else f"{escape_text(place[:100])} port {port}"
            self.note(ERROR, f"connect_to {shown}: failed.")

        leading = Leading(
            self.loop,
            connection.core,
            connection.link,
            channel,
            on_failed=failed,
            on_connected=led,
        )
        channel.owner = Led(leading)
        return leading
