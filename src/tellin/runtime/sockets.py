# SPDX-License-Identifier: MIT
"""The socket type the runtime uses, and the pair of pipes that may stand in its place."""

# The C module directly: ``socket`` brings selectors and turns some hundred constants into
# enums, 2 ms of CPU in a program whose whole start takes 35. ``socket.socket`` is a subclass
# of this type, so what asyncio or a user hands in fits as well.

import _socket
import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol

Socket = _socket.socket

_INTERNET: Final = (_socket.AF_INET, _socket.AF_INET6)


class Duplex(Protocol):
    """A two-way stream of bytes that never makes its caller wait."""

    def fileno(self) -> int:
        """The descriptor to read from."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into ``buffer``; 0 is the end, BlockingIOError means not now."""

    def sendmsg(self, buffers: Sequence[memoryview], /) -> int:
        """Write what is taken now; BlockingIOError means nothing."""

    def shutdown(self, how: int, /) -> None:
        """Say that nothing more is written."""

    def close(self) -> None:
        """Give the descriptors up."""


def set_traffic_class(stream: object, value: int | None) -> None:
    """Mark what is sent for the routers on the way (IPQoS); None leaves the system's mark."""
    if value is None or not isinstance(stream, Socket):
        return
    # Some systems refuse some classes to some users: nothing depends on it.
    with contextlib.suppress(OSError):
        if stream.family == _socket.AF_INET:
            stream.setsockopt(_socket.IPPROTO_IP, _socket.IP_TOS, value)
        elif stream.family == _socket.AF_INET6:
            stream.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_TCLASS, value)


class PipePair:
    """Two descriptors as one stream: a ProxyCommand's pipes, or stdin and stdout of ``sshd -i``.

    Both are set to O_NONBLOCK; ``restore`` puts that back for who else holds them.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (read_fd, write_fd)}
        for fd in self._flags:
            os.set_blocking(fd, False)

    def fileno(self) -> int:
        """The descriptor to read from."""
        return self.read_fd

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into ``buffer``; 0 is the end."""
        return os.readv(self.read_fd, (buffer,))

    def sendmsg(self, buffers: Sequence[memoryview], /) -> int:
        """Write what is taken now."""
        return os.writev(self.write_fd, buffers)

    def shutdown(self, how: int, /) -> None:
        """Nothing: a pipe says its end by being closed."""

    def restore(self) -> None:
        """Give both descriptors the flags that they came with."""
        for fd, flags in self._flags.items():
            # Closed by now, perhaps by the peer that shares them.
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    def close(self) -> None:
        """Restore the flags and close both."""
        self.restore()
        for fd in self._flags:
            os.close(fd)


class Watched:
    """Base of streams that have no descriptor: they tell by themselves when there is something to do."""

    def fileno(self) -> int:
        """None."""
        return -1

    def watch_input(self, callback: Callable[[], object] | None) -> None:
        """Call whenever there is something to read, or the end; None stops that."""
        raise NotImplementedError

    def watch_output(self, callback: Callable[[], object] | None) -> None:
        """Call whenever bytes are taken, or never will be any more; None stops that."""
        raise NotImplementedError


def write_descriptor(stream: Duplex) -> int:
    """The descriptor that becomes writable when ``stream`` takes more."""
    return stream.write_fd if isinstance(stream, PipePair) else stream.fileno()


def without_delay(stream: Duplex) -> None:
    """TCP_NODELAY from the first byte, where the stream is TCP.

    Nagle's algorithm against delayed ACKs costs two pauses of 40 ms in a login.
    """
    if isinstance(stream, Socket) and stream.family in _INTERNET:
        try:
            stream.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError:
            # Not TCP (SCTP, a test's fake): then there is nothing to switch off.
            return
