# SPDX-License-Identifier: MIT
"""Ports and sockets of this machine that a program has led through its connection."""

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tellin.client.accepting import Accept, Accepting
from tellin.client.arguments import Path
from tellin.client.forwarding.forwards import Forwarding
from tellin.client.forwarding.leading import Leader
from tellin.client.forwarding.listening import NOBODY
from tellin.client.forwarding.through import checked_port
from tellin.client.sessions.remote import Carrier
from tellin.config.forwards import Forward
from tellin.connection.forwarding import LARGEST_PORT
from tellin.errors import TellinError, UsageError
from tellin.runtime.gateways import chosen_hosts, listen_at
from tellin.runtime.journal import DEBUG2, INFO, Journal
from tellin.runtime.listeners import AF_UNSPEC, Acceptor, listen_unix, literal_address
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.tunnels import reset

_log = logging.getLogger("tellin.client")


def local_forward(
    listen: int | Path, host: Path, port: int | None, *, listen_host: str | None
) -> Forward:
    """What was asked for, checked; without ``port`` ``host`` is a path. Raises UsageError."""
    path, at = _listening(listen, listen_host)
    if port is None:
        return Forward(listen_host, at, path, "", 0, _checked_path(host))
    if not (isinstance(host, str) and host):
        raise UsageError(f"a host is a text, and not {host!r}")
    return Forward(listen_host, at, path, host, checked_port(port), "")


def socks_forward(listen: int | Path, *, listen_host: str | None) -> Forward:
    """The same for a place where each connection says where it wants to go."""
    path, at = _listening(listen, listen_host)
    return Forward(listen_host, at, path)


def _listening(listen: int | Path, listen_host: str | None) -> tuple[str, int]:
    if isinstance(listen, str | os.PathLike):
        if listen_host is not None:
            raise UsageError("a socket of the file system has no address")
        return _checked_path(listen), 0
    if type(listen) is not int or not 0 <= listen <= LARGEST_PORT:
        raise UsageError(
            f"what is listened on is a port from 0 to {LARGEST_PORT} or a path, and not {listen!r}"
        )
    if not isinstance(listen_host, str | None):
        raise UsageError(f"an address to listen on is a text, and not {listen_host!r}")
    return "", listen


def _checked_path(path: Path) -> str:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"a path is a text, and not {path!r}", hint="a port goes with a host")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UsageError(f"no path of a socket: {path!r}")
    return text


def library_journal() -> Journal:
    """Where the words about forwarded connections go: to ``logging``."""
    if _log.isEnabledFor(logging.DEBUG):
        return Journal(DEBUG2, _log.debug)
    return Journal(INFO, _log.info)


class LocalForwarding(Forwarding):
    """Listens here; ``leader`` is who leads what comes, and may change or be missing.

    Whoever comes while there is none hears a reset. ``on_ended`` is called once.
    """

    __slots__ = (
        "_accepting",
        "_acceptors",
        "_made",
        "_on_ended",
        "forward",
        "leader",
        "turned_away",
    )

    def __init__(
        self,
        loop: Loop,
        forward: Forward,
        listening: list[Socket],
        leader: Leader | None,
        *,
        accept: Accept | None = None,
        on_ended: Callable[["LocalForwarding"], object] | None = None,
    ) -> None:
        path = forward.listen_path
        super().__init__(
            host=forward.listen_host or "",
            port=0 if path else listening[0].getsockname()[1],
            path=path,
        )
        self.forward = forward
        self.leader = leader
        self.turned_away = 0
        self._accepting = None if accept is None else Accepting(accept)
        self._on_ended = on_ended
        self._made = _identity(path) if path else None
        self._acceptors = [Acceptor(loop, one, self._accepted) for one in listening]

    def ended(self, error: TellinError | None = None) -> None:
        """Take no more connections; those that there are go on."""
        if self._over.done():
            return
        for acceptor in self._acceptors:
            acceptor.close()
        if self._accepting is not None:
            self._accepting.close()
        if self.leader is not None and error is not None:
            self.leader.turn_away_asking()
        if self._made is not None and _identity(self.path) == self._made:
            # What was put there since is somebody else's.
            with suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108 - the name as the caller gave it
        super().ended(error)
        if self._on_ended is not None:
            self._on_ended(self)

    def _stop(self) -> None:
        self.ended()

    def _accepted(self, stream: Socket, address: Any) -> None:
        if self._accepting is None or self.leader is None:
            self._lead(stream, address, accepted=True)
        else:
            # What he says meanwhile waits in his socket.
            origin = (address[0], address[1]) if isinstance(address, tuple) else NOBODY
            self._accepting.ask(
                origin, lambda accepted: self._lead(stream, address, accepted=accepted)
            )

    def _lead(self, stream: Socket, address: Any, *, accepted: bool) -> None:
        if self.leader is None or not accepted:
            self.turned_away += 1
            reset(stream)
            stream.close()
        else:
            self.leader.accept(self.forward, stream, address)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def forward_here(
    carrier: Carrier,
    forward: Forward,
    *,
    accept: Accept | None = None,
    on_ended: Callable[[Forwarding], object],
) -> LocalForwarding:
    """Listen, and lead what comes through a connection."""
    listening = await listen_here(forward)
    leader = Leader(carrier.loop, carrier.core, carrier.link, library_journal(), resets=True)
    return LocalForwarding(
        carrier.loop, forward, listening, leader, accept=accept, on_ended=on_ended
    )


async def listen_here(
    forward: Forward,
    *,
    gateway: bool = False,
    family: int = AF_UNSPEC,
    umask: int = 0o177,
    unlink: bool = False,
) -> list[Socket]:
    """Listen where ``forward`` says; raises OSError, or ConnectFailed for a name that nobody knows."""
    if forward.listen_path:
        try:
            return [listen_unix(forward.listen_path, umask=umask, unlink=unlink)]
        except OSError as error:
            raise OSError(error.errno, error.strerror, forward.listen_path) from None
    hosts = chosen_hosts(forward.listen_host, gateway=gateway)
    words = hosts, forward.listen_port, family
    if not hosts[0] or literal_address(hosts[0], 0) is not None:
        return _listen(*words)
    # A name: somebody may have to be asked.
    return await asyncio.get_running_loop().run_in_executor(None, _listen, *words)


def _listen(hosts: tuple[str, ...], port: int, family: int) -> list[Socket]:
    failures: list[OSError] = []

    def failed(address: Any, error: OSError) -> None:
        failures.append(OSError(error.errno, f"{error.strerror}: [{address[0]}]:{address[1]}"))

    made = listen_at(hosts, port, family=family, on_error=failed)
    # An address that is not this machine's is left out where another is. A port that somebody
    # else has on one of them would lead half of who come to him.
    if made and not any(error.errno == errno.EADDRINUSE for error in failures):
        return made
    for one in made:
        one.close()
    raise failures[-1] if failures else OSError(errno.EADDRNOTAVAIL, "no address to listen on")
