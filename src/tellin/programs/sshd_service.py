# SPDX-License-Identifier: MIT
"""How sshd runs: as a daemon, in the foreground, for one connection, or for inetd."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tellin.errors import TellinError
from tellin.programs.command import Failure
from tellin.runtime.descriptors import let_go
from tellin.runtime.journal import Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Duplex, PipePair, Socket
from tellin.runtime.supervisor import READY, STOPPING, reloading, tell_supervisor
from tellin.server.daemon import UNKNOWN_PEER, Daemon, peer_of, serve_alone
from tellin.server.offer import Offer

_FATAL: Final = 255
_READY: Final = b"+"


class Service:
    """The daemon with what surrounds it: the background, the file with its number, reloading.

    ``read_again`` makes the offer of the present configuration, or raises a TellinError.
    """

    def __init__(self, offer: Offer, journal: Journal, read_again: Callable[[], Offer]) -> None:
        self._journal = journal
        self._read_again = read_again
        self._loop = SmallLoop()
        self._daemon = Daemon(self._loop, offer, journal)
        self._daemon.on_reload = self._reload
        self._daemon.on_taken = self._move_pid
        self._daemon.on_ready = lambda: self._tell(READY)
        self._pid_file: str | None = None

    def listen(self) -> tuple[Daemon, SmallLoop]:
        """Listen; raises Failure as sshd words it."""
        try:
            self._daemon.listen()
        except OSError as error:
            raise Failure(f"Cannot bind any address: {error.strerror}.", status=_FATAL) from None
        return self._daemon, self._loop

    def run(self, *, foreground: bool) -> int:
        """Serve until a signal ends it."""
        self.listen()
        ready = -1 if foreground else _go_to_background(self._daemon)
        self._write_pid(self._daemon.offer)
        if ready >= 0:
            os.write(ready, _READY)
            os.close(ready)
        try:
            self._daemon.run()
        finally:
            self._tell(STOPPING)
            self._remove_pid()
        return 0 if self._daemon.stopped == signal.SIGTERM else _FATAL

    def _tell(self, word: str) -> None:
        try:
            tell_supervisor(word)
        except OSError as error:
            self._journal.error(f"Cannot tell the supervisor: {error.strerror}")

    def _reload(self) -> Offer | None:
        self._tell(reloading())
        try:
            return self._read_again()
        except (TellinError, OSError) as error:
            self._journal.error(f"{error}; the configuration in force stays")
            return None

    def _move_pid(self, offer: Offer) -> None:
        # Not before its addresses are ours: who looks for us finds us by the file that holds.
        self._remove_pid()
        self._write_pid(offer)

    def _write_pid(self, offer: Offer) -> None:
        self._pid_file = offer.configuration.always.pid_file
        if self._pid_file is None:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            with open(os.open(self._pid_file, flags, 0o644), "wb") as file:  # noqa: PTH123
                file.write(b"%d\n" % os.getpid())
        except OSError as error:
            self._journal.error(f'Couldn\'t create pid file "{self._pid_file}": {error.strerror}')
            self._pid_file = None

    def _remove_pid(self) -> None:
        if self._pid_file is not None:
            # Somebody removed it before us, or the directory is not ours any more.
            with suppress(OSError):
                os.unlink(self._pid_file)  # noqa: PTH108 - the name as configured


def _go_to_background(daemon: Daemon) -> int:
    """Leave the terminal; the one who started us goes on when there is something to connect to.

    Returns, in the new process, the descriptor that tells him.
    """
    waiting, ready = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(ready)
        os._exit(0 if os.read(waiting, 1) == _READY else _FATAL)
    os.close(waiting)
    os.setsid()
    os.chdir("/")
    let_go(0, 1, 2)
    daemon.renew_loop()
    return ready


def serve_once(listening: tuple[Daemon, SmallLoop], offer: Offer, journal: Journal) -> int:
    """-d: one connection, in this process."""
    daemon, loop = listening
    taken = daemon.take_one()
    loop.run_until(lambda: taken)
    connection, peer = taken[0]
    daemon.close()
    loop.close()
    offer.prepare()
    serve_alone(connection, peer, offer, journal)
    return 0


def serve_standard_streams(offer: Offer, journal: Journal) -> int:
    """-i: the connection is standard input and output, a socket or two pipes."""
    stream: Duplex
    peer = UNKNOWN_PEER
    descriptor = os.dup(0)
    try:
        stream = Socket(fileno=descriptor)
    except OSError:
        # No socket, so two pipes, or a terminal of somebody who tries it out.
        stream = PipePair(descriptor, os.dup(1))
    else:
        peer = peer_of(stream)
        stream.setblocking(False)
    serve_alone(stream, peer, offer, journal)
    return 0
