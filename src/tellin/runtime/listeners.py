# SPDX-License-Identifier: MIT
"""Sockets that come to be: listening and accepting, resolving and connecting."""

import _socket
import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, Final

from tellin.errors import ConnectFailed, UsageError
from tellin.runtime.loop import Cancellable, Loop, SmallLoop
from tellin.runtime.sockets import Socket

AF_UNSPEC: Final = _socket.AF_UNSPEC
AF_INET: Final = _socket.AF_INET
AF_INET6: Final = _socket.AF_INET6
# By the words of AddressFamily.
FAMILIES: Final = {"any": AF_UNSPEC, "inet": AF_INET, "inet6": AF_INET6}
AF_UNIX: Final = _socket.AF_UNIX

BACKLOG: Final = 128
_ACCEPTS_PER_TURN: Final = 16
# No descriptor or memory is left: accepting again at once would spin.
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BACK_OFF: Final = 0.5
# RFC 8305 section 8: how long one address may be silent before the next is tried beside it.
_HEAD_START: Final = 0.25

_STREAM: Final = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
_ON_ITS_WAY: Final = (0, errno.EINPROGRESS, errno.EALREADY)

Address = tuple[int, Any]
"""A family and the address in the form that this family has."""


def literal_address(host: str, port: int) -> list[Address] | None:
    """The address that a host is given by, if it is one and no name."""
    for family, rest in ((AF_INET, ()), (AF_INET6, (0, 0))):
        try:
            _socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return [(family, (host, port, *rest))]
    return None


def resolve(
    host: str, port: int, *, family: int = AF_UNSPEC, passive: bool = False
) -> list[Address]:
    """The addresses of ``host`` in the system's order; blocks. Raises ConnectFailed as ssh words it."""
    flags = _socket.AI_PASSIVE if passive else 0
    # As bytes: for a text Python loads its tables of international names, whatever is in it.
    name = host.encode("ascii") if host.isascii() else host
    try:
        found = _socket.getaddrinfo(
            name or None, port, family, _socket.SOCK_STREAM, 0, flags | _socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError) as error:
        raise _unresolved(host, error) from error
    return [(kind, address) for kind, _, _, _, address in found]


def _unresolved(host: str, error: Exception) -> ConnectFailed:
    # A name that cannot be encoded (an empty label, one of 64 letters) is as good as unknown.
    said = error.strerror if isinstance(error, OSError) else "Name or service not known"
    return ConnectFailed(
        f"Could not resolve hostname {host}: {said}",
        hint="check the spelling, or HostName in your ssh_config",
    )


# Listening


def listen(
    host: str,
    port: int,
    *,
    family: int = AF_UNSPEC,
    backlog: int = BACKLOG,
    on_error: Callable[[Any, OSError], object] | None = None,
) -> list[Socket]:
    """Listen on every address of ``host`` ("" is all of this machine); port 0 is the same free one for all.

    ``on_error`` hears of addresses that cannot be bound; the last error is raised if none can.
    """
    return listen_to(
        resolve(host, port, family=family, passive=True),
        port,
        backlog=backlog,
        on_error=on_error,
    )


def listen_to(
    addresses: Sequence[Address],
    port: int,
    *,
    backlog: int = BACKLOG,
    on_error: Callable[[Any, OSError], object] | None = None,
) -> list[Socket]:
    """The same on addresses that were looked up already."""
    listening: list[Socket] = []
    failure: OSError | None = None
    for kind, address in addresses:
        chosen = port or (listening[0].getsockname()[1] if listening else 0)
        place = (address[0], chosen, *address[2:])
        try:
            listening.append(listen_on(kind, place, backlog))
        except OSError as error:
            failure = error
            if on_error is not None:
                on_error(place, error)
    if not listening and failure is not None:
        raise failure
    return listening


def listen_on(family: int, address: Any, backlog: int, *, reuse: bool = True) -> Socket:
    """Listen on one address; ``reuse`` is for the port of a server that was stopped a moment ago."""
    made = Socket(family, _STREAM)
    try:
        if reuse:
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == AF_INET6:
            # IPv4 has a socket of its own; addresses are not shown as ::ffff:1.2.3.4 then.
            made.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


def listen_unix(
    path: str, *, umask: int = 0o177, unlink: bool = False, backlog: int = BACKLOG
) -> Socket:
    """Listen on a local socket whose mode ``umask`` limits from the start.

    ``unlink`` removes what is there before, if it is a socket.
    """
    if unlink:
        _remove_socket(path)
    made = Socket(AF_UNIX, _STREAM)
    # The mode is set by bind itself: with chmod after it anybody could connect in between.
    before = os.umask(umask)
    try:
        made.bind(path)
        made.listen(backlog)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def is_abandoned(path: str, *, settled: float) -> bool:
    """Whether a socket is there that whoever listened on it has left behind, by being killed for one.

    One younger than ``settled`` seconds may be about to be listened on, and is not.
    """
    import stat  # noqa: PLC0415 - as below

    try:
        status = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISSOCK(status.st_mode) or time.time() - status.st_mtime < settled:
        return False
    probe = Socket(AF_UNIX, _STREAM)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return False


def _remove_socket(path: str) -> None:
    # Imported here: a client that forwards no local sockets does without.
    import stat  # noqa: PLC0415

    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108 - the name as the caller gave it


class Acceptor:
    """Takes connections off a listening socket: ``on_connection(socket, address)``, non-blocking already."""

    def __init__(
        self, loop: Loop, listening: Socket, on_connection: Callable[[Socket, Any], object]
    ) -> None:
        self.listening = listening
        self._loop = loop
        self._on_connection = on_connection
        self._family = listening.family
        self._protocol = listening.proto
        self._rest: Cancellable | None = None
        self._accepting = False
        self.resume()

    def resume(self) -> None:
        """Accept from here on."""
        self._rest = None
        if not self._accepting:
            self._accepting = True
            self._loop.add_reader(self.listening.fileno(), self._readable)

    def pause(self) -> None:
        """Leave connections in the kernel's queue (too many are open, or one is being handed over)."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self.listening.fileno())

    def close(self) -> None:
        """Accept no more and close the listening socket."""
        self.pause()
        self.listening.close()

    def _readable(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                # accept4 with SOCK_CLOEXEC, which typeshed leaves out; ``socket.accept`` is
                # this and an object of the heavy module.
                fd, address = self.listening._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.pause()
                    self._rest = self._loop.call_later(_BACK_OFF, self.resume)
                    return
                # A connection that died in the queue (ECONNABORTED, and what accept(2) lists
                # of the network): the next one may be well.
                continue
            # All of it is known: without it the system would be asked three questions.
            connection = Socket(self._family, _socket.SOCK_STREAM, self._protocol, fd)
            connection.setblocking(False)
            self._on_connection(connection, address)
            if not self._accepting:
                return


# Connecting


def begin(
    family: int, address: Any, prepare: Callable[[Socket], object] | None = None
) -> tuple[Socket, bool]:
    """Connect without waiting; whether that is done, as who listens on this machine answers at once.

    Raises OSError where it is known already that nothing comes of it.
    """
    made = Socket(family, _STREAM)
    try:
        if prepare is not None:
            prepare(made)
        code = made.connect_ex(address)
        if code == errno.EINPROGRESS:
            # Asked once more: who listens on this machine has answered by now.
            code = made.connect_ex(address)
    except BaseException:
        made.close()
        raise
    # EAGAIN is not "wait" but a local socket whose queue is full.
    if code not in _ON_ITS_WAY:
        made.close()
        raise OSError(code, os.strerror(code))
    return made, not code


class Attempt:
    """Connects to the first of several addresses that answers; ``on_done(socket or None)`` once.

    Each address gets a quarter of a second before the next is tried beside it, so that one dead
    address family does not hold up the other (RFC 8305). ``prepare`` sets options before
    connecting; what it raises counts against that address. ``begun`` is on its way to the first of
    them already.
    """

    def __init__(
        self,
        loop: Loop,
        addresses: Sequence[Address],
        on_done: Callable[[Socket | None], object],
        *,
        timeout: float | None = None,
        prepare: Callable[[Socket], object] | None = None,
        begun: Socket | None = None,
    ) -> None:
        self.error: OSError | None = None
        """Why it failed: the error of the last address in the list that gave one."""
        self.address: Any = None
        self._loop = loop
        self._on_done = on_done
        self._prepare = prepare
        self._addresses = _by_turns(addresses)
        self._at = 0
        self._error_at = -1
        self._open: dict[int, tuple[int, Socket]] = {}
        self._over = False
        # Last, and what may raise first: half an attempt must not be called.
        self._alarm = None if timeout is None else loop.call_later(timeout, self._timed_out)
        self._next: Cancellable | None = None
        if begun is None:
            self._next = loop.call_soon(self._try_next)
        else:
            self._at = 1
            self._await(0, begun)
            if len(self._addresses) > 1:
                self._next = loop.call_later(_HEAD_START, self._try_next)

    def cancel(self) -> None:
        """Give up; ``on_done`` is not called."""
        self._over = True
        for call in (self._next, self._alarm):
            if call is not None:
                call.cancel()
        for _, pending in self._open.values():
            self._loop.remove_writer(pending.fileno())
            pending.close()
        self._open.clear()

    def _try_next(self) -> None:
        self._next = None
        while self._at < len(self._addresses) and not self._over:
            number, (family, address) = self._at, self._addresses[self._at]
            self._at += 1
            try:
                self._start(number, family, address)
            except OSError as error:
                # Refused at once (no such family, no route): no need to wait before the next.
                self._failed(number, error)
                continue
            if self._at < len(self._addresses) and not self._over:
                self._next = self._loop.call_later(_HEAD_START, self._try_next)
            return
        if not self._open and not self._over:
            self._finish(None)

    def _start(self, number: int, family: int, address: Any) -> None:
        made, there = begin(family, address, self._prepare)
        if there:
            self.address = address
            self._finish(made)
        else:
            self._await(number, made)

    def _await(self, number: int, made: Socket) -> None:
        self._open[made.fileno()] = number, made
        self._loop.add_writer(made.fileno(), self._answered, made.fileno())

    def _answered(self, fd: int) -> None:
        number, made = self._open.pop(fd)
        self._loop.remove_writer(fd)
        code = made.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if not code:
            self.address = self._addresses[number][1]
            self._finish(made)
            return
        made.close()
        self._failed(number, OSError(code, os.strerror(code)))
        if self._next is not None:
            self._next.cancel()
        self._try_next()

    def _failed(self, number: int, error: OSError) -> None:
        if number > self._error_at:
            self._error_at, self.error = number, error

    def _timed_out(self) -> None:
        self.error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        self._finish(None)

    def _finish(self, made: Socket | None) -> None:
        self.cancel()
        self._on_done(made)


def _by_turns(addresses: Sequence[Address]) -> list[Address]:
    """The order of RFC 8305 section 4: the families by turns, the system's first choice first."""
    if not addresses:
        raise UsageError("no address to connect to")
    first = addresses[0][0]
    ours = [entry for entry in addresses if entry[0] == first]
    others = [entry for entry in addresses if entry[0] != first]
    return [entry for entry in chain(*zip_longest(ours, others)) if entry is not None]


def connection_failure(host: str, port: int, error: OSError | None) -> ConnectFailed:
    """The error of a failed attempt, worded as scripts know it from ssh (without the ``ssh:``)."""
    failed = ConnectFailed(f"connect to host {host} port {port}: {_said(error)}")
    failed.__cause__ = error
    return failed


def _said(error: OSError | None) -> str:
    return "No address" if error is None else error.strerror or str(error)


def connect(
    host: str,
    port: int,
    *,
    family: int = AF_UNSPEC,
    timeout: float | None = None,
    prepare: Callable[[Socket], object] | None = None,
) -> Socket:
    """Resolve and connect, waiting for it; the socket is non-blocking. Raises ConnectFailed.

    For programs: inside a running loop use ``resolve`` (in a thread) and ``Attempt``.
    """
    addresses = resolve(host, port, family=family)
    loop = SmallLoop()
    done: list[Socket | None] = []
    attempt = Attempt(loop, addresses, done.append, timeout=timeout, prepare=prepare)
    try:
        loop.run_until(lambda: done)
    finally:
        attempt.cancel()
        loop.close()
    if done[0] is None:
        raise connection_failure(host, port, attempt.error)
    return done[0]


def bind_source(*hosts: str, family: int = AF_UNSPEC) -> Callable[[Socket], None]:
    """A ``prepare`` that connects from one of ``hosts``: the first address of the socket's family.

    BindAddress gives one host, BindInterface all addresses of an interface.
    """
    sources = [source for host in hosts for source in resolve(host, 0, family=family)]

    def bind(made: Socket) -> None:
        for kind, address in sources:
            if kind == made.family:
                made.bind(address)
                return
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    return bind
