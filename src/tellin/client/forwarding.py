# SPDX-License-Identifier: MIT
"""Ports and sockets of this machine that lead to places behind the server."""

from collections.abc import Callable
from typing import Any, Final

from tellin.client.socks import Granting, SocksEntry
from tellin.config.forwards import Forward
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import NOWHERE, direct_target
from tellin.connection.socks import SocksRequest
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import ConnectFailed, UsageError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelOpenRefused
from tellin.runtime.gateways import chosen_hosts, listen_at
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import FAMILIES, Acceptor, listen_unix
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.runtime.tunnels import Tunnel
from tellin.userauth.text import escape_text

# How many may be saying by SOCKS where they want to go.
MOST_ASKING: Final = 1024

_REASONS: Final[dict[int, str]] = {
    Reason.ADMINISTRATIVELY_PROHIBITED: "administratively prohibited",
    Reason.CONNECT_FAILED: "connect failed",
    Reason.UNKNOWN_CHANNEL_TYPE: "unknown channel type",
    Reason.RESOURCE_SHORTAGE: "resource shortage",
}


def refusal(event: ChannelOpenRefused) -> str:
    """The line for a channel that the server did not open."""
    reason = _REASONS.get(event.reason, "unknown reason")
    return (
        f"channel {event.channel.number}: open failed: {reason}: {escape_text(event.description)}"
    )


class LocalForwards:
    """Listens for ``ssh -L`` and ``-D`` and leads what comes there through the connection.

    ``open`` is how many connections there are; ``on_quiet`` is called when the last has gone.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        config: SshConfig,
        journal: Journal,
        *,
        on_quiet: Callable[[], object],
    ) -> None:
        self.open = 0
        self._loop = loop
        self._core = core
        self._link = link
        self._config = config
        self._journal = journal
        self._on_quiet = on_quiet
        self._acceptors: list[Acceptor] = []
        self._asking: set[SocksEntry] = set()

    def begin(self) -> bool:
        """Listen wherever the configuration says; false if something of it could not be had."""
        whole = True
        for forward in (*self._config.local_forward, *self._config.dynamic_forward):
            if not self._begin(forward):
                self._journal.error("Could not request local forwarding.")
                whole = False
        return whole

    def lost(self) -> None:
        """The connection is gone: there is nowhere to lead anybody."""
        self.close()
        for entry in list(self._asking):
            entry.close()

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    def _begin(self, forward: Forward) -> bool:
        self._journal.debug(
            f"Local connections to {forward.listening} forwarded to remote address {forward.leading or 'socks'}"
        )
        made = self._listen_unix(forward) if forward.listen_path else self._listen(forward)
        for listening in made:
            self._acceptors.append(
                Acceptor(
                    self._loop,
                    listening,
                    lambda stream, address: self._accepted(forward, stream, address),
                )
            )
        return bool(made)

    def _listen(self, forward: Forward) -> list[Socket]:
        config, journal, port = self._config, self._journal, forward.listen_port
        hosts = chosen_hosts(forward.listen_host, gateway=config.gateway_ports)
        failures: list[str] = []

        def failed(address: Any, error: OSError) -> None:
            failures.append(f"bind [{address[0]}]:{port}: {error.strerror}")

        what = "channel_setup_fwd_listener_tcpip"
        try:
            made = listen_at(hosts, port, family=FAMILIES[config.address_family], on_error=failed)
        except ConnectFailed as error:
            why = str(error).rpartition(": ")[2]
            journal.error(f"{what}: getaddrinfo({escape_text(hosts[0])}): {why}")
            return []
        for number, line in enumerate(failures, 1):
            # As OpenSSH: of several addresses that are taken the last one is worth a word.
            (journal.error if number == len(failures) else journal.verbose)(line)
        if not made:
            journal.error(f"{what}: cannot listen to port: {port}")
        for one in made:
            address = one.getsockname()
            journal.debug(f"Local forwarding listening on {address[0]} port {address[1]}.")
        return made

    def _listen_unix(self, forward: Forward) -> list[Socket]:
        config, path = self._config, forward.listen_path
        try:
            made = listen_unix(
                path,
                umask=config.stream_local_bind_mask,
                unlink=config.stream_local_bind_unlink,
            )
        except OSError as error:
            self._journal.error(
                f"unix_listener: cannot bind to path {escape_text(path)}: {error.strerror}"
            )
            return []
        self._journal.debug(f"Local forwarding listening on path {path}.")
        return [made]

    def _accepted(self, forward: Forward, stream: Socket, address: Any) -> None:
        if forward.is_socks:
            self._ask_where(stream)
            return
        origin = (address[0], address[1]) if isinstance(address, tuple) else NOWHERE
        if self._journal.debugs:
            self._journal.debug(
                f"Connection to port {forward.listen_port} forwarding to"
                f" {forward.host or forward.path} port {forward.port} requested."
            )
        self.lead(stream, direct_target(forward.host, forward.port, forward.path, origin))

    def _ask_where(self, stream: Socket) -> None:
        """Let a connection say by SOCKS where it wants to go."""
        if len(self._asking) >= MOST_ASKING:
            stream.close()
            return
        entry = SocksEntry(
            self._loop,
            stream,
            self._journal,
            lead=self._lead_by_socks,
            on_over=lambda: self._asking.discard(entry),
        )
        self._asking.add(entry)

    def _lead_by_socks(self, stream: Socket, request: SocksRequest) -> None:
        assert request.target is not None
        self.lead(stream, direct_target(*request.target, ""), request)

    def lead(
        self, stream: Socket, target: tuple[str, bytes], socks: SocksRequest | None = None
    ) -> None:
        """Lead a connection to ``target`` (of ``direct_target``); ``socks`` is who waits for a yes."""
        try:
            channel = self._core.open_channel(*target)
        except UsageError as error:
            # As many as there may be: whoever comes now is sent away, and may come again.
            self._journal.error(f"forwarded connection: {error}")
            stream.close()
            return
        self.open += 1
        granting: Granting | None = None

        def refused(event: ChannelOpenRefused) -> None:
            self._journal.info(refusal(event))
            if granting is not None:
                granting.refuse(event)

        def opened() -> None:
            if granting is not None:
                granting.grant()

        Tunnel(
            self._loop,
            channel,
            self._link,
            stream,
            on_opened=opened,
            on_refused=refused,
            on_over=self._one_less,
        )
        if socks is not None:
            granting = Granting(channel, stream, socks)
        self._link.flush_soon()

    def _one_less(self) -> None:
        self.open -= 1
        if not self.open:
            self._on_quiet()
