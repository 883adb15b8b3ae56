# SPDX-License-Identifier: MIT
"""The daemon: listens, bounds how many may be logging in, and forks a process for each connection."""

import _socket
import errno
import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tellin.errors import ConnectFailed
from tellin.protocol import ServerProtocol
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import AF_INET, AF_INET6, AF_UNSPEC, FAMILIES, Acceptor, listen
from tellin.runtime.loop import Loop, SmallLoop
from tellin.runtime.places_journal import with_places
from tellin.runtime.processes import signal_name
from tellin.runtime.sockets import Duplex, Socket
from tellin.server import settings
from tellin.server.connection import Peer, ServerConnection
from tellin.server.offer import Offer
from tellin.server.startups import REFUSAL, Startups
from tellin.server.system import SystemServices

UNKNOWN_PEER: Final = Peer("UNKNOWN", 65535, "UNKNOWN", 65535)
_LONGEST_DEVICE_NAME: Final = 16  # IFNAMSIZ


def peer_of(connection: Socket) -> Peer:
    """Both addresses of a TCP connection, in their canonical form (case 350)."""
    try:
        theirs, ours = connection.getpeername(), connection.getsockname()
    except OSError:
        return UNKNOWN_PEER
    if not isinstance(theirs, tuple) or not isinstance(ours, tuple):
        return UNKNOWN_PEER
    device = _device_of(connection)
    return Peer(_canonical(theirs[0]), theirs[1], _canonical(ours[0]), ours[1], device)


def _device_of(connection: Socket) -> str | None:
    """The routing domain as OpenSSH takes it: the device, such as a VRF, that the socket is bound to."""
    try:
        name = connection.getsockopt(
            _socket.SOL_SOCKET, _socket.SO_BINDTODEVICE, _LONGEST_DEVICE_NAME
        )
    except OSError:
        return None
    return name.partition(b"\0")[0].decode("utf-8", "surrogateescape")


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
    if always.tcp_keep_alive and isinstance(stream, Socket):
        # A socket of the file system has no such thing.
        with suppress(OSError):
            stream.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
    journal = with_places(journal, always.log_verbose, program="sshd")
    core = ServerProtocol(
        offer.core,
        settings.connection_settings(always),
        keepalive=settings.keepalive(always),
        login_grace=float(always.login_grace_time),
        now=loop.time(),
    )
    services = SystemServices(loop, offer, journal, on_login=on_login)
    return ServerConnection(loop, stream, core, services, peer, on_closed=on_closed)


class Daemon:
    """Accepts connections and gives each a process of its own."""

    def __init__(self, loop: SmallLoop, offer: Offer, journal: Journal) -> None:
        self.offer = offer
        self.journal = journal
        self.stopped: int = 0
        """The signal that ended it, or 0."""
        self.on_reload: Callable[[], Offer | None] | None = None
        self.on_taken: Callable[[Offer], object] | None = None
        """Called when what was read anew is in force."""
        self.on_ready: Callable[[], object] | None = None
        """Called when it serves and hears signals, and again after every SIGHUP."""
        self._loop = loop
        self._acceptors: dict[tuple[str, int], list[Acceptor]] = {}
        self._startups = Startups(journal)
        self._starting: set[int] = set()
        self._children: set[int] = set()

    # Listening

    def listen(self) -> list[Any]:
        """Listen as configured; returns the addresses. Raises OSError if none can be had."""
        fresh = self._bind(self.offer, ())
        self._acceptors = fresh
        return [one.listening.getsockname() for made in fresh.values() for one in made]

    def _bind(
        self, offer: Offer, have: "tuple[tuple[str, int], ...]"
    ) -> dict[tuple[str, int], list[Acceptor]]:
        """Sockets for the endpoints of ``offer`` that are not among those we have."""
        config = offer.configuration.always
        family = FAMILIES[config.address_family]
        made: dict[tuple[str, int], list[Acceptor]] = {}
        failure: OSError | None = None
        for endpoint in config.endpoints():
            if endpoint in have:
                continue
            try:
                sockets = listen(*endpoint, family=family, on_error=self._not_bound)
            except ConnectFailed as error:
                # A name that is known tomorrow again must not keep the other addresses shut.
                failure = OSError(errno.EADDRNOTAVAIL, str(error))
                self.journal.error(f"ListenAddress {endpoint[0]}: {error}")
                continue
            except OSError as error:
                failure = error
                continue
            made[endpoint] = self._accept_on(sockets)
        if not made and not have:
            raise failure or OSError("no address to listen on")
        return made

    def _accept_on(self, sockets: list[Socket]) -> list[Acceptor]:
        for one in sockets:
            address = one.getsockname()
            self.journal.info(f"Server listening on {address[0]} port {address[1]}.")
        return [Acceptor(self._loop, one, self._connected) for one in sockets]

    def _bind_other_family(
        self, endpoint: tuple[str, int], have: list[Acceptor]
    ) -> list[Acceptor]:
        """What AddressFamily any adds to an endpoint that has had addresses of one family."""
        (family,) = {AF_INET, AF_INET6} - {one.listening.family for one in have}
        port = endpoint[1] or have[0].listening.getsockname()[1]
        # An address is of one family, and has no other; what cannot be bound is in the log.
        with suppress(ConnectFailed, OSError):
            return self._accept_on(
                listen(endpoint[0], port, family=family, on_error=self._not_bound)
            )
        return []

    def _not_bound(self, address: Any, error: OSError) -> None:
        self.journal.error(f"Bind to port {address[1]} on {address[0]} failed: {error.strerror}.")

    def take_one(self) -> list[tuple[Socket, Peer]]:
        """Accept a single connection, for the caller to serve; it is put into the returned list."""
        taken: list[tuple[Socket, Peer]] = []

        def connected(connection: Socket, _address: Any) -> None:
            taken.append((connection, peer_of(connection)))
            for acceptor in self._all():
                acceptor.pause()

        self._renew(connected)
        return taken

    def _all(self) -> list[Acceptor]:
        return [one for acceptors in self._acceptors.values() for one in acceptors]

    def _renew(self, on_connection: Callable[[Socket, Any], object]) -> None:
        for endpoint, acceptors in self._acceptors.items():
            for acceptor in acceptors:
                acceptor.pause()
            self._acceptors[endpoint] = [
                Acceptor(self._loop, one.listening, on_connection) for one in acceptors
            ]

    def renew_loop(self) -> None:
        """After a fork: an epoll descriptor is shared with the parent, so listen on a new one."""
        self._loop.leave_to_parent()
        self._loop = SmallLoop()
        for endpoint, acceptors in self._acceptors.items():
            self._acceptors[endpoint] = [
                Acceptor(self._loop, one.listening, self._connected) for one in acceptors
            ]

    # Running

    def run(self) -> None:
        """Serve until SIGTERM."""
        for number, handler in (
            (signal.SIGTERM, self._terminated),
            (signal.SIGINT, self._terminated),
            (signal.SIGQUIT, self._terminated),
        ):
            self._loop.add_signal(number, handler, number)
        self._loop.add_signal(signal.SIGHUP, self._hung_up)
        self._loop.add_signal(signal.SIGCHLD, self._reap)
        self._settle()
        self._ready()
        self._loop.run_until(lambda: self.stopped)
        self.close()

    def _ready(self) -> None:
        if self.on_ready is not None:
            self.on_ready()

    def _settle(self) -> None:
        self.offer.prepare()
        # What is there now is never garbage; a collector that wrote to its pages would make every
        # child copy them.
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Listen no more; connections that there are go on (case 351)."""
        for acceptor in self._all():
            acceptor.close()
        self._acceptors.clear()

    def _terminated(self, number: int) -> None:
        self.journal.info(f"Received signal {int(number)}; terminating.")
        self.stopped = number

    def _hung_up(self) -> None:
        """Read the configuration again; one that is broken changes nothing (case 329)."""
        self.journal.info("Received SIGHUP; restarting.")
        self._take_anew()
        self._ready()

    def _take_anew(self) -> None:
        offer = self.on_reload() if self.on_reload is not None else None
        if offer is None:
            return
        before, after = self.offer.configuration.always, offer.configuration.always
        family, wanted = FAMILIES[after.address_family], after.endpoints()
        kept = {
            point: [one for one in made if family in {AF_UNSPEC, one.listening.family}]
            for point, made in self._acceptors.items()
            if point in wanted
        }
        kept = {point: made for point, made in kept.items() if made}
        try:
            # Before the old ones are given up: a port that cannot be had leaves us where we are.
            fresh = self._bind(offer, tuple(kept))
        except OSError as error:
            self.journal.error(f"Cannot bind any address: {error.strerror}; nothing is changed.")
            return
        if family == AF_UNSPEC and before.address_family != after.address_family:
            for point, made in kept.items():
                made += self._bind_other_family(point, made)
        going_on = {id(one) for made in kept.values() for one in made}
        for acceptor in self._all():
            if id(acceptor) not in going_on:
                acceptor.close()
        self._acceptors = {**kept, **fresh}
        self.offer = offer
        if self.on_taken is not None:
            self.on_taken(offer)
        self._settle()

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children.clear()
                return
            if not pid:
                return
            self._children.discard(pid)
            if os.WIFSIGNALED(status):
                # Case 342: only its own connection is gone.
                died = signal_name(os.WTERMSIG(status))
                self.journal.error(f"the process {pid} of a connection died of SIG{died}")

    # Connections

    def _connected(self, connection: Socket, _address: Any) -> None:
        peer = peer_of(connection)
        limits = self.offer.configuration.always.max_startups
        if self._startups.admits(limits, len(self._starting), peer):
            self._fork(connection, peer)
            return
        try:
            connection.send(REFUSAL)
        except OSError as error:
            self.journal.debug(f"telling {peer}: {error.strerror}")
        connection.close()

    def _fork(self, connection: Socket, peer: Peer) -> None:
        pipe: tuple[int, ...] = ()
        try:
            pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            pid = os.fork()
        except OSError as error:
            # Case 341: no more processes or descriptors now; there will be some later.
            self.journal.error(f"no process for {peer}: {error.strerror}")
            for fd in pipe:
                os.close(fd)
            connection.close()
            return
        told, tell = pipe
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
            # Ctrl-C at the daemon's terminal is not meant for those who are logged in.
            os.setsid()
            self._loop.leave_to_parent()
            for acceptor in self._all():
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

    journal.verbose(
        f"Connection from {peer.host} port {peer.port} on {peer.local_host} port {peer.local_port}"
    )
    connection = serve_stream(
        loop, stream, peer, offer, journal, on_closed=closed, on_login=on_login
    )
    loop.add_signal(signal.SIGTERM, lambda: connection.disconnect(11, "the server is stopping"))
    loop.run_until(lambda: over)
    loop.close()
