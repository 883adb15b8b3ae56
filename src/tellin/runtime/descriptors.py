# SPDX-License-Identifier: MIT
"""File descriptors: what kind they are, and how to use one that is shared without changing it.

O_NONBLOCK belongs to the open file, not to the descriptor: set on our stdin it is set for the
shell that started us, and for every command of the pipeline. So an inherited descriptor is never
switched. Instead, in this order:

1. regular files, directories and devices that epoll refuses never make anyone wait: used directly;
2. a socket takes MSG_DONTWAIT per call;
3. a pipe or a terminal is opened once more through /proc/self/fd, which gives an open file of our
   own to the same object, with flags of its own;
4. where that is forbidden (no /proc, or we run as another user than its owner): ``poll`` first.
   A read after POLLIN returns what is there; a write after POLLOUT is kept to what such a
   descriptor surely takes (PIPE_BUF for pipes: POLLOUT means that a page is free).
"""

import contextlib
import fcntl
import os
import select
import stat
from _socket import MSG_DONTWAIT, SHUT_WR
from collections.abc import Sequence
from typing import Final

from tellin.runtime.sockets import Socket

_EPOLL_TAKES: Final = (stat.S_IFIFO, stat.S_IFSOCK)
_PTMX: Final = os.makedev(5, 2)
# select.PIPE_BUF is the size up to which a write to a pipe is all or nothing; a terminal reports
# POLLOUT only while it has room for 256 characters.
_TERMINAL_CHUNK: Final = 256


def let_go(*standard: int) -> None:
    """Have the null device in the place of standard descriptors: who reads our output sees its end."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in standard:
        os.dup2(null, fd)
    if null not in standard:
        os.close(null)


class Descriptor:
    """One end for the data lane: ``readv`` and ``writev`` never wait, and ``pollable`` says if epoll takes it.

    ``ours`` are descriptors nobody else uses: O_NONBLOCK is set on them. All others stay as they are.
    """

    __slots__ = ("_chunk", "_reopened", "_socket", "borrows", "fd", "given", "pollable")

    def __init__(self, fd: int, *, ours: bool, writing: bool) -> None:
        self.given = fd
        self.fd = fd
        self.pollable = pollable(fd)
        self._socket: Socket | None = None
        self._reopened = False
        self._chunk = 0
        self.borrows = False
        """Whether there is something to release."""
        if not self.pollable:
            return
        if ours:
            os.set_blocking(fd, False)
            return
        mode = os.fstat(fd)
        if stat.S_ISSOCK(mode.st_mode):
            # A duplicate, because the object closes what it holds; the open file is the same.
            self._socket = Socket(fileno=os.dup(fd))
            self.borrows = True
        elif not os.get_blocking(fd):
            return
        elif (again := _open_again(fd, mode, os.O_WRONLY if writing else os.O_RDONLY)) is not None:
            self.fd = again
            self._reopened = self.borrows = True
        else:
            self._chunk = select.PIPE_BUF if stat.S_ISFIFO(mode.st_mode) else _TERMINAL_CHUNK

    def readv(self, views: Sequence[memoryview]) -> int:
        """Read into the views; 0 is the end, BlockingIOError means not now."""
        if self._socket is not None:
            return self._socket.recvmsg_into(views, 0, MSG_DONTWAIT)[0]
        if self._chunk and not self._is_ready(select.POLLIN):
            raise BlockingIOError
        return os.readv(self.fd, views)

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; none is the end, BlockingIOError means not now."""
        if self._socket is not None:
            return self._socket.recv(size, MSG_DONTWAIT)
        if self._chunk and not self._is_ready(select.POLLIN):
            raise BlockingIOError
        return os.read(self.fd, size)

    def writev(self, views: Sequence[memoryview]) -> int:
        """Write what is taken now; BlockingIOError means nothing."""
        if self._socket is not None:
            return self._socket.sendmsg(views, (), MSG_DONTWAIT)
        if self._chunk:
            return self._write_chunks(views[0])
        return os.writev(self.fd, views)

    def release(self) -> None:
        """Close what was opened here; ``given`` stays open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        elif self._reopened:
            os.close(self.fd)
            self._reopened = False
        self.fd = self.given

    @classmethod
    def of_socket(cls, fd: int) -> "Descriptor":
        """For a socket that is ours and does not wait already: nothing has to be asked or set."""
        made = cls.__new__(cls)
        made.given = made.fd = fd
        made.pollable = True
        made._socket = None
        made._reopened = False
        made._chunk = 0
        made.borrows = False
        return made

    def _write_chunks(self, view: memoryview) -> int:
        """Write so much at a time as surely does not wait, while there is room."""
        done = 0
        while done < len(view) and self._is_ready(select.POLLOUT):
            done += os.write(self.fd, view[done : done + self._chunk])
        if not done:
            raise BlockingIOError
        return done

    def _is_ready(self, wanted: int) -> bool:
        poller = select.poll()
        poller.register(self.fd, wanted)
        return bool(poller.poll(0))


def pollable(fd: int) -> bool:
    """Whether epoll takes ``fd``; regular files and /dev/null are always ready and it refuses them."""
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    if kind in _EPOLL_TAKES:
        # Known for a third of what the trial costs, and a command has three of them.
        return True
    with contextlib.closing(select.epoll()) as trial:
        try:
            trial.register(fd, 0)
        except PermissionError:
            return False
    return True


def _open_again(fd: int, mode: os.stat_result, access: int) -> int | None:
    # The master of a pseudo-terminal is a terminal too, but opening it makes a new pair.
    terminal = stat.S_ISCHR(mode.st_mode) and mode.st_rdev != _PTMX and os.isatty(fd)
    if not terminal and not stat.S_ISFIFO(mode.st_mode):
        return None
    flags = access | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return None


def enlarge_pipe(fd: int, size: int = 1024 * 1024) -> int:
    """Let a pipe hold ``size`` bytes, or as much of it as the system allows; returns what it holds.

    0 means that ``fd`` is no pipe. An ordinary user gets at most /proc/sys/fs/pipe-max-size.
    """
    while size >= select.PIPE_BUF:
        try:
            return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
        except PermissionError:
            size //= 2
        except OSError:
            return 0
    return 0


def shut_writing(fd: int) -> None:
    """Say on a socket that nothing more is written, and keep it open for reading."""
    stream = Socket(fileno=fd)
    try:
        # The peer may have gone already: then there is nobody to tell.
        with contextlib.suppress(OSError):
            stream.shutdown(SHUT_WR)
    finally:
        stream.detach()
