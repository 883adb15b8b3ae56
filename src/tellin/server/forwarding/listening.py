# SPDX-License-Identifier: MIT
"""Ports and sockets that a client has us listen on, and the connections that come there.

All of this happens in the process of the user who is logged in, with that user's rights (R148).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tellin.connection.events import GlobalDebt
from tellin.connection.forwarding import (
    FORWARDED_PORT,
    FORWARDED_SOCKET,
    LARGEST_PORT,
    NOWHERE,
    ForwardedPort,
    ForwardedSocket,
    PortChosen,
)
from tellin.errors import ConnectFailed, UsageError
from tellin.runtime.gateways import EVERYWHERE, LOOPBACK, granted_hosts, listen_at
from tellin.runtime.journal import DEBUG1, ERROR
from tellin.runtime.listeners import (
    AF_UNSPEC,
    Acceptor,
    Address,
    listen_to,
    listen_unix,
    literal_address,
)
from tellin.runtime.loop import Loop
from tellin.runtime.resolving import Resolver
from tellin.runtime.sockets import Socket
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.to_client import ToClient
from tellin.userauth.text import escape_text
from tellin.wire import Record

# Case 179: of one connection. Each is a descriptor or two, and nobody needs as many.
MOST_LISTENERS: Final = 100
# sockaddr_un holds so much of a path, its closing NUL included (unix(7)).
LONGEST_PATH: Final = 107
PRIVILEGED: Final = 1024
# Names for all addresses.
_EVERYWHERE: Final = ("", "*", "0.0.0.0")  # noqa: S104 - as a client writes them

Place = tuple[str, int] | bytes
"""A host, as the client has named it, and a port; or the path of a socket."""


class ListeningRules(Record):
    """How is listened for a client."""

    gateway: str = "no"
    family: int = AF_UNSPEC
    umask: int = 0o177
    unlink: bool = False


class _Listener:
    """One place that is listened on for the client, or will be when its name is found."""

    __slots__ = ("acceptors", "closed", "file", "sockets")

    def __init__(self) -> None:
        self.closed = False
        self.sockets: list[Socket] = []
        self.acceptors: list[Acceptor] = []
        self.file: tuple[bytes, int, int] | None = None
        """Path, device and inode of what was made in the file system."""

    def close(self) -> None:
        """Listen no more."""
        self.closed = True
        for one in self.acceptors:
            one.close()
        for made in self.sockets:
            made.close()
        if self.file is not None:
            path, *identity = self.file
            # Gone, or somebody else's by now: then it is not ours to remove.
            with suppress(OSError):
                found = os.lstat(path)
                if [found.st_dev, found.st_ino] == identity:
                    os.unlink(path)  # noqa: PTH108 - bytes, as the client gave them


class Listening:
    """What is listened on for one connection's client.

    ``listen_port`` and ``listen_socket`` are called for what is allowed; both answer ``debt``, the
    reply that is owed, if there is one.
    """

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        rules: ListeningRules,
        resolver: Resolver,
        *,
        note: Callable[[int, str], object],
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._connection = connection
        self._rules = rules
        self._note = note
        self._listeners: dict[Place, _Listener] = {}

    def listen_port(self, host: str, port: int, debt: GlobalDebt | None) -> None:
        """Listen on a port, at the addresses that GatewayPorts grants; 0 is any that is free."""
        place = (host, port)
        if not self._has_room_for(place) or not 0 <= port <= LARGEST_PORT or "\0" in host:
            self._answer(debt, success=False)
            return
        if 0 < port < PRIVILEGED and os.geteuid() != 0:
            # Case 178. The system may allow it (net.ipv4.ip_unprivileged_port_start); but who trusts
            # such a port of a machine does so because not everybody there may have it.
            self._note(ERROR, f"refused to listen on the privileged port {port} for a user")
            self._connection.core.debug("Server has disabled port forwarding.")
            self._answer(debt, success=False)
            return
        listener = self._listeners[place] = _Listener()
        hosts = granted_hosts(host, self._rules.gateway)
        if self._rules.gateway == "yes" and host not in _EVERYWHERE:
            # More than was asked for. With "no" it is less, which OpenSSH does not tell.
            shown = escape_text(host[:100])
            self._connection.core.debug(
                f'Forwarding listen address "{shown}" overridden by server GatewayPorts'
            )
        named = hosts[0]
        if hosts in {EVERYWHERE, LOOPBACK} or literal_address(named, port) is not None:
            try:
                made = listen_at(hosts, port, family=self._rules.family, on_error=self._failed)
            except ConnectFailed as error:
                # Such as ::1 where AddressFamily says inet.
                self._not_found(named, str(error).rpartition(": ")[2])
                made = []
            self._made(listener, place, made, debt)
            return

        def found(addresses: list[Address] | None, why: str) -> None:
            made = []
            if addresses is None:
                self._not_found(named, why)
            elif self._listeners.get(place) is listener:
                with suppress(OSError):
                    made = listen_to(addresses, port, on_error=self._failed)
            self._made(listener, place, made, debt)

        self._resolver.find(named, port, found, family=self._rules.family)

    def _not_found(self, name: str, why: str) -> None:
        shown = escape_text(name[:100])
        self._note(ERROR, f"channel_setup_fwd_listener_tcpip: getaddrinfo({shown}): {why}")

    def _failed(self, address: Any, error: OSError) -> None:
        self._note(ERROR, f"bind [{address[0]}]:{address[1]}: {error.strerror}")

    def _made(
        self,
        listener: _Listener,
        place: tuple[str, int],
        made: list[Socket],
        debt: GlobalDebt | None,
    ) -> None:
        host, port = place
        if self._listeners.get(place) is not listener:
            # Cancelled, or the connection has ended, while its name was looked for.
            self._answer(debt, success=False)
            return
        if not made:
            del self._listeners[place]
            self._note(ERROR, f"channel_setup_fwd_listener_tcpip: cannot listen to port: {port}")
            self._answer(debt, success=False)
            return
        listener.sockets = made
        if not port:
            del self._listeners[place]
            port = made[0].getsockname()[1]
            self._listeners[host, port] = listener
        for one in made:
            address = one.getsockname()
            self._note(DEBUG1, f"Remote forwarding listening on {address[0]} port {address[1]}.")
        # RFC 4254 section 7.1: only who did not know the port is told it.
        data = b"" if place[1] else PortChosen(port).encode()
        self._begin(listener, debt, data, lambda address: _forwarded_port(host, port, address))

    def listen_socket(self, path: bytes, debt: GlobalDebt | None) -> None:
        """Listen on a socket of the file system; case 182: at a path that is one, where nothing is."""
        listener = _Listener()
        bad = not 1 < len(path) <= LONGEST_PATH or path[:1] != b"/" or b"\0" in path
        if bad or not self._has_room_for(path):
            self._answer(debt, success=False)
            return
        rules = self._rules
        shown = escape_text(path.decode("utf-8", "replace"))
        try:
            made = listen_unix(os.fsdecode(path), umask=rules.umask, unlink=rules.unlink)
            listener.sockets = [made]
            found = os.lstat(path)
        except OSError as error:
            listener.close()
            self._note(ERROR, f"unix_listener: cannot bind to path {shown}: {error.strerror}")
            self._answer(debt, success=False)
            return
        listener.file = path, found.st_dev, found.st_ino
        self._listeners[path] = listener
        self._note(DEBUG1, f"Remote forwarding listening on path {shown}.")
        whole = ForwardedSocket(path, b"").encode()
        self._begin(listener, debt, b"", lambda _: (FORWARDED_SOCKET, whole))

    def cancel(self, place: Place, debt: GlobalDebt | None) -> None:
        """Listen there no more; connections that there are go on."""
        listener = self._listeners.pop(place, None)
        if listener is not None:
            listener.close()
        self._answer(debt, success=listener is not None)

    def close(self) -> None:
        """The connection is over."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def _has_room_for(self, place: Place) -> bool:
        return place not in self._listeners and len(self._listeners) < MOST_LISTENERS

    def _answer(self, debt: GlobalDebt | None, *, success: bool, data: bytes = b"") -> None:
        if debt is not None:
            self._connection.core.answer_global(success, data, debt)
            self._connection.flush()

    # Connections

    def _begin(
        self,
        listener: _Listener,
        debt: GlobalDebt | None,
        data: bytes,
        target: Callable[[Any], tuple[str, bytes]],
    ) -> None:
        def begin() -> None:
            # Not before the answer is on its way: until then the client does not know the port,
            # and refuses what comes from it. Connections wait in the kernel.
            if listener.closed:
                return
            listener.acceptors = [
                Acceptor(
                    self._loop, one, lambda stream, address: self._lead(stream, target(address))
                )
                for one in listener.sockets
            ]

        if debt is None:
            begin()
        else:
            debt.on_paid = begin
            self._answer(debt, success=True, data=data)

    def _lead(self, stream: Socket, target: tuple[str, bytes]) -> None:
        try:
            ToClient(self._loop, self._connection, stream, *target)
        except UsageError as error:
            # As many as there may be: whoever comes now is sent away, and may come again.
            self._note(ERROR, f"forwarded connection: {error}")
            stream.close()


def _forwarded_port(host: str, port: int, address: Any) -> tuple[str, bytes]:
    origin = (address[0], address[1]) if isinstance(address, tuple) else NOWHERE
    return FORWARDED_PORT, ForwardedPort(host, port, *origin).encode()
