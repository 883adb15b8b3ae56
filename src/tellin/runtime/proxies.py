# SPDX-License-Identifier: MIT
"""A ProxyCommand: a process of the user's whose standard input and output lead to the server."""

import _socket
import fcntl
import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import ETIMEDOUT
from struct import Struct
from typing import Final

from tellin.errors import ConfigError, ConnectFailed, ConnectionLost
from tellin.runtime.descriptors import let_go
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.sockets import Duplex, PipePair, Socket

_DESCRIPTOR: Final = Struct("=i")
STANDARD_STREAMS: Final = "-"
"""A ProxyCommand that is none: somebody has started us with the connection in our hands."""
NOTHING_PASSED: Final = "proxy dialer did not pass back a connection"


class ProxyCommand:
    """Runs ``command`` by the user's shell, on one end of a socket pair; ``stream`` is the other end.

    ``stream`` belongs to whoever takes it. The command's standard error stays the program's own.
    Raises ConnectFailed where there is no such shell.
    """

    def __init__(self, command: str) -> None:
        if command == STANDARD_STREAMS:
            raise ConfigError(
                "ProxyCommand=- is for programs: a library does not take standard input and output",
                hint="hand the stream over with sock=",
            )
        shell = os.environ.get("SHELL") or "/bin/sh"
        # The C module's pair: these are what the rest of the program calls sockets.
        ours, theirs = (Socket(fileno=fd) for fd in _pair())
        try:
            self.pid = os.posix_spawn(
                shell,
                # The shell makes room for it: what is ended is the command itself.
                [shell, "-c", f"exec {command}"],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1),
                ],
                # Python ignores SIGPIPE; the command should not.
                setsigdef=[signal.SIGPIPE],
            )
        except OSError as error:
            ours.close()
            raise ConnectFailed(f"{shell}: {error.strerror}") from None
        finally:
            theirs.close()
        ours.setblocking(False)
        self.stream: Socket = ours

    def end(self) -> None:
        """Tell the command that it is over, as OpenSSH does: it may wait for more.

        Not once it has been reaped: the number may belong to somebody else by then.
        """
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGHUP)
            self.pid = 0


class Passing:
    """Waits for the socket that a command connects and hands over (ProxyUseFdpass).

    ``on_done`` is called once, with the socket or with why there is none. ``stream`` is closed then.
    """

    def __init__(
        self,
        loop: Loop,
        stream: Socket,
        on_done: Callable[[Socket | ConnectionLost], object],
        *,
        timeout: float | None = None,
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._on_done = on_done
        self._over = False
        self._alarm: Cancellable | None = None
        if timeout is not None:
            self._alarm = loop.call_later(timeout, self._too_late)
        loop.add_reader(stream.fileno(), self._readable)

    def cancel(self) -> None:
        """Wait no more; ``on_done`` is not called."""
        if not self._over:
            self._over = True
            self._loop.remove_reader(self._stream.fileno())
            if self._alarm is not None:
                self._alarm.cancel()
            self._stream.close()

    def _readable(self) -> None:
        try:
            _, ancillary, _, _ = self._stream.recvmsg(1, _socket.CMSG_SPACE(_DESCRIPTOR.size))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(_nothing(error.strerror or str(error)))
            return
        # Room for one may be room for two: what nobody asked for is not kept open.
        passed = [
            _DESCRIPTOR.unpack_from(data, at)[0]
            for level, kind, data in ancillary
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
            for at in range(0, len(data) - _DESCRIPTOR.size + 1, _DESCRIPTOR.size)
        ]
        for fd in passed[1:]:
            os.close(fd)
        self._finish(_adopted(passed[0]) if passed else _nothing(""))

    def _too_late(self) -> None:
        self._finish(_nothing(os.strerror(ETIMEDOUT)))

    def _finish(self, found: Socket | ConnectionLost) -> None:
        self.cancel()
        self._on_done(found)


def standard_streams() -> Duplex:
    """Standard input and output as the stream that leads to the server, from now on its alone.

    In their places stands nothing: a session that read there would take the server's packets, and
    what a command wrote there would stand among ours.
    """
    made: Duplex
    try:
        here, there = os.fstat(0), os.fstat(1)
    except OSError as error:
        raise ConnectFailed(f"standard input and output: {error.strerror}") from None
    incoming, outgoing = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    if stat.S_ISSOCK(here.st_mode) and os.path.samestat(here, there):
        os.close(outgoing)
        made = Socket(fileno=incoming)
        made.setblocking(False)
    else:
        # Two pipes, or two sockets: one to read from, one to write to.
        made = PipePair(incoming, outgoing)
    let_go(0, 1)
    return made


def _pair() -> tuple[int, int]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    return ours.detach(), theirs.detach()


def _adopted(fd: int) -> Socket | ConnectionLost:
    os.set_inheritable(fd, False)
    try:
        made = Socket(fileno=fd)
    except OSError as error:
        os.close(fd)
        return _nothing(error.strerror or str(error))
    made.setblocking(False)
    return made


def _nothing(why: str) -> ConnectionLost:
    said = f"{NOTHING_PASSED}: {why}" if why else NOTHING_PASSED
    return ConnectionLost(said, stage="connecting")
