# SPDX-License-Identifier: MIT
"""Terminals: raw mode that is always undone, window sizes, and pseudo-terminals for sessions."""

import atexit
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol, Self

from tellin.runtime import terminal_modes
from tellin.runtime.privileges import Account
from tellin.wire import Record

_SIZE: Final = struct.Struct("HHHH")
_LARGEST: Final = 0xFFFF
# Signals that end a program: the terminal is put in order before they do.
_ENDING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class WindowSize(Record):
    """How large a terminal is, in characters and (0 if unknown) in pixels."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0


class SignalLoop(Protocol):
    """A loop that also hears signals: SmallLoop."""

    def add_signal(self, signum: int, callback: Callable[[], object], /) -> None:
        """Call for each delivery of the signal."""

    def remove_signal(self, signum: int, /) -> bool:
        """Stop that."""


def window_size(fd: int) -> WindowSize | None:
    """The size of the terminal behind ``fd``; None if it is not a terminal."""
    try:
        answer = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size))
    except OSError:
        return None
    rows, columns, width, height = _SIZE.unpack(answer)
    return WindowSize(columns=columns, rows=rows, width=width, height=height)


def set_window_size(fd: int, size: WindowSize) -> None:
    """Set it; numbers above 65535 are cut to that, since any uint32 may come from the peer."""
    numbers = (min(n, _LARGEST) for n in (size.rows, size.columns, size.width, size.height))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _SIZE.pack(*numbers))


class SizeWatch:
    """Calls back with the new size whenever the window changes; most changes come in bursts."""

    def __init__(
        self, loop: SignalLoop, fd: int, on_change: Callable[[WindowSize], object]
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._on_change = on_change
        self._known = window_size(fd)
        loop.add_signal(signal.SIGWINCH, self._changed)

    def close(self) -> None:
        """Watch no more."""
        self._loop.remove_signal(signal.SIGWINCH)

    def _changed(self) -> None:
        size = window_size(self._fd)
        if size is not None and size != self._known:
            self._known = size
            self._on_change(size)


class RawMode:
    """The user's terminal while every key goes to the other side.

    It is put back by ``leave``, at the end of a ``with``, at exit, and by a signal that ends the
    program and that nobody else handles.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.active = False
        self._before: terminal_modes.Attributes | None = None
        self._handlers: list[int] = []

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()

    def enter(self) -> None:
        """Remember the modes and let everything through unchanged; termios.error if it is no terminal."""
        if self.active:
            return
        before = termios.tcgetattr(self.fd)
        raw = [*before[:6], list(before[6])]
        raw[0] = raw[0] & ~(
            termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
            | termios.IXANY
            | termios.IXOFF
            | getattr(termios, "IUCLC", 0)
        )
        raw[0] |= termios.IGNPAR
        raw[1] &= ~termios.OPOST
        raw[3] &= ~(
            termios.ISIG
            | termios.ICANON
            | termios.ECHO
            | termios.ECHOE
            | termios.ECHOK
            | termios.ECHONL
            | termios.IEXTEN
        )
        raw[6][termios.VMIN] = 1
        raw[6][termios.VTIME] = 0
        # Known before it is changed: a signal in between still puts it back.
        self._before = before
        self.active = True
        self._guard()
        termios.tcsetattr(self.fd, termios.TCSADRAIN, raw)

    def leave(self) -> None:
        """Put the modes back as ``enter`` found them."""
        if not self.active or self._before is None:
            return
        # The terminal may be gone (its window was closed): nothing to put back then.
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)
        self.active = False
        atexit.unregister(self.leave)
        while self._handlers:
            signal.signal(self._handlers.pop(), signal.SIG_DFL)

    def suspend(self) -> None:
        """Stop this program as Ctrl-Z does, with the terminal in order; go on raw when continued."""
        self.leave()
        try:
            os.kill(os.getpid(), signal.SIGTSTP)
        finally:
            self.enter()

    def _guard(self) -> None:
        atexit.register(self.leave)
        for number in _ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._killed)
                self._handlers.append(number)

    def _killed(self, number: int, frame: FrameType | None) -> None:
        self.leave()
        # Die of the same signal, so that the shell sees what happened.
        os.kill(os.getpid(), number)


class PseudoTerminal:
    """Both ends of a pseudo-terminal: the master is ours, the slave the session's."""

    def __init__(self, master: int, slave: int, name: str) -> None:
        self.master = master
        self.slave = slave
        self.name = name

    def resize(self, size: WindowSize) -> None:
        """Set the size; the programs in front hear SIGWINCH."""
        set_window_size(self.master, size)

    def close_slave(self) -> None:
        """Keep only the master: the end of the last program on the slave can be seen then."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        """Close what is open; programs on the slave get SIGHUP."""
        self.close_slave()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


# Terminals for a process that will have no /dev to open any from.
_reserve: list[PseudoTerminal] = []


def _new_pty() -> PseudoTerminal:
    master, slave = os.openpty()
    return PseudoTerminal(master, slave, os.ttyname(slave))


def reserve_ptys(count: int, *, owner: Account) -> None:
    """Open some now, which ``open_pty`` gives later; as root they become ``owner``'s."""
    for _ in range(count):
        made = _new_pty()
        if os.geteuid() == 0:
            _give(made.slave, owner)
        _reserve.append(made)


def open_pty(
    size: WindowSize, *, modes: bytes = b"", owner: Account | None = None
) -> PseudoTerminal:
    """A new pseudo-terminal with the peer's size and encoded modes, for ``owner`` if we are root."""
    made = _reserve.pop() if _reserve else _new_pty()
    try:
        set_window_size(made.master, size)
        if modes:
            apply_modes(made.slave, modes)
        if owner is not None and os.geteuid() == 0:
            _give(made.slave, owner)
    except BaseException:
        made.close()
        raise
    return made


def apply_modes(fd: int, modes: bytes) -> None:
    """Set encoded modes on a terminal; those it does not take stay as they are."""
    attributes = termios.tcgetattr(fd)
    termios.tcsetattr(
        fd, termios.TCSANOW, terminal_modes.apply(attributes, terminal_modes.decode(modes))
    )


def read_modes(fd: int) -> bytes:
    """The encoded modes of the terminal behind ``fd``; only the end mark if it is not a terminal."""
    try:
        return terminal_modes.encode(termios.tcgetattr(fd))
    except termios.error:
        return bytes((terminal_modes.END,))


def _give(slave: int, owner: Account) -> None:
    """To the user; write(1) and wall(1) reach it by the group tty, nobody else does."""
    # Imported here: only a server that runs as root comes this way.
    import grp  # noqa: PLC0415

    try:
        group, mode = grp.getgrnam("tty").gr_gid, 0o620
    except KeyError:
        group, mode = owner.gid, 0o600
    os.fchown(slave, owner.uid, group)
    os.fchmod(slave, mode)
