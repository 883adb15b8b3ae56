# SPDX-License-Identifier: MIT
"""How ``ssh`` gets to the server: a TCP connection, the two ends of a ProxyCommand, or our own standard streams."""

import _socket
from contextlib import suppress
from typing import Any, Protocol

from tellin.client.endings import Place
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConfigError, ConnectionLost
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import (
    FAMILIES,
    Address,
    Attempt,
    bind_source,
    connection_failure,
    resolve,
)
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Duplex, Socket
from tellin.runtime.surroundings import source_addresses
from tellin.transport.version import identification


class Proxy(Protocol):
    """A ProxyCommand that runs: `tellin.runtime.proxies.ProxyCommand`."""

    def end(self) -> None:
        """Let it go."""


class Connecting:
    """Begins to connect at once; ``wait`` gives the socket, and ``end`` is called in any case."""

    def __init__(self, loop: SmallLoop, config: SshConfig, journal: Journal) -> None:
        self.place = Place(config.host)
        self.began = loop.time()
        self.greeted = False
        """Whether the server has our identification already."""
        self._loop = loop
        self._config = config
        self._journal = journal
        self._attempt: Attempt | None = None
        self._addresses: list[Address] = []
        self._tries = config.connection_attempts
        self._found: Duplex | None = None
        self._answered = False
        self._greeting = b""
        self._proxy: Proxy | None = None
        self._failure: ConnectionLost | None = None

    def start(self) -> None:
        """Send the first packet, or start the command that connects for us."""
        config = self._config
        greeting = f"{identification(config.version_addendum or '')}\r\n".encode("ascii")
        if config.proxy_command is not None:
            self._spawn(config.proxy_command)
            return
        family = FAMILIES[config.address_family]
        self._addresses = resolve(config.host, config.port, family=family)
        self._try(config.connect_timeout or None)
        # In the first turn of the loop the SYN leaves, whatever else there is to do. In the second
        # a server that is near has answered: OpenSSH's does nothing before it has read our
        # identification, and a good deal after it.
        self._greeting = greeting
        for _ in range(2):
            if not self._answered:
                self._loop.call_soon(self._loop.stop)
                self._loop.run_until(lambda: False)
        self._greeting = b""

    def wait(self) -> Duplex:
        """The stream that leads there; raises ConnectFailed, or ConnectionLost where none was handed over."""
        self._loop.run_until(self._is_answered)
        if self._failure is not None:
            raise self._failure
        if self._found is None:
            error = self._attempt.error if self._attempt is not None else None
            raise connection_failure(self._config.host, self._config.port, error)
        if self._attempt is not None:
            # Not asked of the socket: it has no peer any more where that has hung up already.
            self.place = Place(self._config.host, *self._attempt.address[:2])
            self._journal.debug("Connection established.")
        return self._found

    @property
    def repeatable(self) -> bool:
        """Whether the server can be reached a second time without anybody noticing.

        A ProxyCommand may ask for a password each time, or work but once.
        """
        return self._config.proxy_command is None

    def again(self) -> None:
        """Connect once more, in what ConnectTimeout has left."""
        self._found, self._answered, self.greeted = None, False, False
        self._tries = 1
        self._try(self.remaining())

    def remaining(self) -> float | None:
        """What ConnectTimeout leaves for the identifications and the first exchange."""
        timeout = self._config.connect_timeout
        if not timeout:
            return None
        return max(0.001, self.began + timeout - self._loop.time())

    def end(self) -> None:
        """Let the ProxyCommand go, which may wait for more."""
        if self._proxy is not None:
            self._proxy.end()

    def _is_answered(self) -> bool:
        return self._answered

    def _try(self, timeout: float | None) -> None:
        config, journal = self._config, self._journal
        self._tries -= 1
        if journal.debugs:
            address = self._addresses[0][1][0]
            journal.debug(f"Connecting to {config.host} [{address}] port {config.port}.")
        self._attempt = Attempt(
            self._loop,
            self._addresses,
            self._done,
            timeout=timeout,
            prepare=self._prepare(),
        )

    def _try_again(self) -> None:
        self._journal.debug("Trying again...")
        self._try(self._config.connect_timeout or None)

    def _prepare(self) -> Any:
        config = self._config
        found = source_addresses(config.bind_address, config.bind_interface)
        bind = bind_source(*found) if found else None

        def prepare(made: Socket) -> None:
            if bind is not None:
                bind(made)
            if config.tcp_keep_alive:
                made.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)

        return prepare

    def _done(self, found: Socket | None) -> None:
        if found is None and self._tries > 0:
            self._loop.call_later(1.0, self._try_again)
            return
        self._found = found
        self._answered = True
        if found is not None and self._greeting:
            # The buffer of a fresh socket has room for it. What is wrong with a connection that
            # takes nothing, whoever reads from it will say.
            with suppress(OSError):
                found.send(self._greeting)
                self.greeted = True

    def _spawn(self, command: str) -> None:
        """Run a ProxyCommand: its stream is our connection, or what it hands over by that."""
        # Who connects himself does not wait for this.
        from tellin.runtime.proxies import (
            STANDARD_STREAMS,
            Passing,
            ProxyCommand,
            standard_streams,
        )

        config = self._config
        if command == STANDARD_STREAMS:
            if config.proxy_use_fdpass:
                raise ConfigError("ProxyCommand=- and ProxyUseFDPass are incompatible")
            self._passed(standard_streams())
            return
        kind = "dialer " if config.proxy_use_fdpass else ""
        self._journal.debug(f"Executing proxy {kind}command: exec {command}")
        self._proxy = proxy = ProxyCommand(command)
        if config.proxy_use_fdpass:
            timeout = config.connect_timeout or None
            Passing(self._loop, proxy.stream, self._passed, timeout=timeout)
        else:
            self._found, self._answered = proxy.stream, True

    def _passed(self, found: Duplex | ConnectionLost) -> None:
        self._answered = True
        if isinstance(found, ConnectionLost):
            self._failure = found
            return
        self._found = found
        if not isinstance(found, Socket):
            return
        # A peer that has hung up is none any more: whoever reads will hear of that.
        with suppress(OSError):
            peer = found.getpeername()
            if isinstance(peer, tuple):
                self.place = Place(self._config.host, *peer[:2])
