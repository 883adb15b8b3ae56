# SPDX-License-Identifier: MIT
"""The daemon: listens, bounds how many may be logging in, and forks a process for each connection."""

import gc
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from tellin.algorithms.key_exchange import Moduli
from tellin.config.sshd_reading import SshdSettings
from tellin.keys.private import PrivateKey
from tellin.protocol import ServerProtocol, Settings
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import Acceptor, listen
from tellin.runtime.loop import Loop, SmallLoop
from tellin.runtime.privileges import Account
from tellin.runtime.sockets import Duplex, Socket
from tellin.server import settings
from tellin.server.connection import Peer, ServerConnection
from tellin.server.system import SystemServices
from tellin.server.warming import warm_up
from tellin.wire import Record

UNKNOWN_PEER: Final = Peer("UNKNOWN", 65535, "UNKNOWN", 65535)
_REFUSAL: Final = b"Exceeded MaxStartups\r\n"
_CHANCES: Final = 1 << 16


class Offer(Record):
    """What every connection of one configuration is served with."""

    configuration: SshdSettings
    host_keys: Mapping[bytes, PrivateKey]
    core: Settings
    only: Account | None  # the one account that can be served, when we are not root
    secret: bytes

    @classmethod
    def of(
        cls,
        configuration: SshdSettings,
        host_keys: list[PrivateKey],
        moduli: Moduli | None,
    ) -> "Offer":
        """Raises ConfigError where the configuration leaves nothing to offer."""
        return cls(
            configuration,
            {key.public.blob: key for key in host_keys},
            settings.core_settings(configuration.always, host_keys, moduli),
            None if os.geteuid() == 0 else Account.numbered(os.geteuid()),
            os.urandom(32),
        )


def peer_of(connection: Socket) -> Peer:
    """Both addresses of a TCP connection, in their canonical form (case 350)."""
    try:
        theirs, ours = connection.getpeername(), connection.getsockname()
    except OSError:
        return UNKNOWN_PEER
    if not isinstance(theirs, tuple) or not isinstance(ours, tuple):
        return UNKNOWN_PEER
    return Peer(_canonical(theirs[0]), theirs[1], _canonical(ours[0]), ours[1])


def _canonical(address: str) -> str:
    return address.removeprefix("::ffff:") if "." in address else address


def serve_stream(
    loop: Loop,
    stream: Duplex,
    peer: Peer,
    offer: Offer,
    journal: Journal,
    *,
    on_closed: Callable[[ServerConnection], object],
    on_login: Callable[[], object] | None = None,
) -> ServerConnection:
    """Serve one connection on a loop."""
    always = offer.configuration.always
    core = ServerProtocol(
        offer.core,
        settings.connection_settings(always),
        keepalive=settings.keepalive(always),
        login_grace=float(always.login_grace_time),
        now=loop.time(),
    )
    services = SystemServices(
        loop,
        offer.configuration,
        offer.host_keys,
        journal,
        only=offer.only,
        secret=offer.secret,
        on_login=on_login,
    )
    return ServerConnection(loop, stream, core, services, peer, on_closed=on_closed)


class Daemon:
    """Accepts connections and gives each a process of its own."""

    def __init__(self, loop: SmallLoop, offer: Offer, journal: Journal) -> None:
        self.offer = offer
        self.journal = journal
        self.stopped = False
        self.on_reload: Callable[[], Offer | None] | None = None
        self._loop = loop
        self._acceptors: list[Acceptor] = []
        self._starting: set[int] = set()
        self._children: set[int] = set()

    def listen(self) -> list[Any]:
        """Listen as configured; returns the addresses. Raises OSError if none can be had."""
        config = self.offer.configuration.always
        family = {"inet": 2, "inet6": 10}.get(config.address_family, 0)
        bound: list[Any] = []
        failure: OSError | None = None
        for host, port in config.endpoints():
            try:
                made = listen(host, port, family=family, on_error=self._not_bound)
            except OSError as error:
                failure = error
                continue
            for one in made:
                bound.append(one.getsockname())
                self._acceptors.append(Acceptor(self._loop, one, self._connected))
        if not bound:
            raise failure or OSError("no address to listen on")
        for address in bound:
            self.journal.info(f"Server listening on {address[0]} port {address[1]}.")
        return bound

    def take_one(self) -> list[tuple[Socket, Peer]]:
        """Accept a single connection, for the caller to serve; it is put into the returned list."""
        taken: list[tuple[Socket, Peer]] = []

        def connected(connection: Socket, _address: Any) -> None:
            taken.append((connection, peer_of(connection)))
            for acceptor in self._acceptors:
                acceptor.pause()

        for at, acceptor in enumerate(self._acceptors):
            acceptor.pause()
            self._acceptors[at] = Acceptor(self._loop, acceptor.listening, connected)
        return taken

    def renew_loop(self) -> None:
        """After a fork: an epoll descriptor is shared with the parent, so listen on a new one."""
        sockets = [acceptor.listening for acceptor in self._acceptors]
        self._loop.close()
        self._loop = SmallLoop()
        self._acceptors = [Acceptor(self._loop, one, self._connected) for one in sockets]

    def _not_bound(self, address: Any, error: OSError) -> None:
        self.journal.error(f"Bind to port {address[1]} on {address[0]} failed: {error.strerror}.")

    def run(self) -> None:
        """Serve until SIGTERM."""
        for number, handler in (
            (signal.SIGTERM, self._terminated),
            (signal.SIGINT, self._terminated),
            (signal.SIGHUP, self._hung_up),
            (signal.SIGCHLD, self._reap),
        ):
            self._loop.add_signal(number, handler)
        warm_up(self.offer.core, dict(self.offer.host_keys))
        # What is there now is never garbage; a collector that wrote to its pages would make every
        # child copy them.
        gc.collect()
        gc.freeze()
        self._loop.run_until(lambda: self.stopped)
        self.close()

    def close(self) -> None:
        """Listen no more; connections that there are go on (case 351)."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    def _terminated(self) -> None:
        self.journal.info("Received signal; terminating.")
        self.stopped = True

    def _hung_up(self) -> None:
        """Read the configuration again; one that is broken changes nothing (case 329)."""
        self.journal.info("Received SIGHUP; restarting.")
        offer = self.on_reload() if self.on_reload is not None else None
        if offer is None:
            return
        before = self.offer.configuration.always.endpoints()
        self.offer = offer
        if offer.configuration.always.endpoints() != before:
            self.close()
            try:
                self.listen()
            except OSError as error:
                self.journal.fatal(f"Cannot bind any address: {error.strerror}.")
                self.stopped = True

    def _reap(self) -> None:
        while self._children:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children.clear()
                return
            if not pid:
                return
            self._children.discard(pid)

    def _connected(self, connection: Socket, _address: Any) -> None:
        peer = peer_of(connection)
        if self._too_many():
            self.journal.info(
                f"drop connection #{len(self._starting)} from [{peer.host}]:{peer.port}"
                f" on [{peer.local_host}]:{peer.local_port} past MaxStartups"
            )
            try:
                connection.send(_REFUSAL)
            except OSError as error:
                self.journal.debug(f"telling {peer}: {error.strerror}")
            connection.close()
            return
        self._fork(connection, peer)

    def _too_many(self) -> bool:
        """MaxStartups: refuse some from ``start`` on, more and more of them, and all from ``full``."""
        start, rate, full = self.offer.configuration.always.max_startups
        count = len(self._starting)
        if count < start:
            return False
        if count >= full:
            return True
        chance = rate + (100 - rate) * (count - start) // (full - start)
        drawn = int.from_bytes(os.urandom(2), "big")
        return drawn * 100 < chance * _CHANCES

    def _fork(self, connection: Socket, peer: Peer) -> None:
        told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            pid = os.fork()
        except OSError as error:
            self.journal.error(f"fork: {error.strerror}")
            os.close(told)
            os.close(tell)
            connection.close()
            return
        if pid == 0:
            os.close(told)
            self._child(connection, peer, tell)
        os.close(tell)
        connection.close()
        self._children.add(pid)
        self._starting.add(told)
        self._loop.add_reader(told, self._started, told)

    def _started(self, told: int) -> None:
        """The child's end of the pipe is closed: its user is in, or it is gone."""
        self._loop.remove_reader(told)
        os.close(told)
        self._starting.discard(told)

    def _child(self, connection: Socket, peer: Peer, tell: int) -> None:
        """Serve the connection and leave; nothing of the daemon may run on in this process."""
        status = 255
        try:
            self._loop.leave_to_parent()
            for acceptor in self._acceptors:
                acceptor.listening.close()
            for other in self._starting:
                os.close(other)
            serve_alone(
                connection, peer, self.offer, self.journal, on_login=lambda: os.close(tell)
            )
            status = 0
        except Exception as error:  # noqa: BLE001 - whatever it is, only this connection ends
            self.journal.error(f"internal error: {type(error).__name__}: {error}")
        finally:
            os._exit(status)


def serve_alone(
    stream: Duplex,
    peer: Peer,
    offer: Offer,
    journal: Journal,
    *,
    on_login: Callable[[], object] | None = None,
) -> None:
    """Serve one connection to its end, in a process that does nothing else."""
    loop = SmallLoop()
    over = False

    def closed(_connection: ServerConnection) -> None:
        nonlocal over
        over = True

    journal.info(
        f"Connection from {peer.host} port {peer.port} on {peer.local_host} port {peer.local_port}"
    )
    connection = serve_stream(
        loop, stream, peer, offer, journal, on_closed=closed, on_login=on_login
    )
    loop.add_signal(signal.SIGTERM, lambda: connection.disconnect(11, "the server is stopping"))
    loop.run_until(lambda: over)
    loop.close()
