# SPDX-License-Identifier: MIT
"""Raw mode and its undoing, window sizes, pseudo-terminals."""

import contextlib
import fcntl
import os
import pty
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tellin.runtime import terminal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.privileges import Account
from tellin.runtime.terminal import RawMode, SizeWatch, WindowSize, open_pty
from tellin.runtime.terminal_modes import decode, encode_pairs

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    made = pty.openpty()
    yield made
    for fd in made:
        with contextlib.suppress(OSError):
            os.close(fd)


# Raw mode


def test_raw_mode_lets_every_byte_through_and_is_undone(ends: tuple[int, int]) -> None:
    master, slave = ends
    before = termios.tcgetattr(slave)
    with RawMode(slave) as raw:
        assert raw.active
        os.write(master, b"\x03\x04\r\x1a\x16\x7f")
        assert os.read(slave, 100) == b"\x03\x04\r\x1a\x16\x7f"
        os.write(slave, b"a\nb")
        assert os.read(master, 100) == b"a\nb"
    assert termios.tcgetattr(slave) == before


def test_entering_twice_keeps_the_first_modes_and_leaving_twice_is_nothing(
    ends: tuple[int, int],
) -> None:
    before = termios.tcgetattr(ends[1])
    raw = RawMode(ends[1])
    raw.leave()
    raw.enter()
    raw.enter()
    raw.leave()
    raw.leave()
    assert termios.tcgetattr(ends[1]) == before


def test_raw_mode_of_no_terminal_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with (tmp_path / "file").open("wb") as file:
        raw = RawMode(file.fileno())
        with pytest.raises(termios.error):
            raw.enter()
        assert not raw.active
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_terminal_that_has_gone_does_not_stop_the_leaving(ends: tuple[int, int]) -> None:
    raw = RawMode(ends[1])
    raw.enter()
    os.close(ends[0])
    os.close(ends[1])
    raw.leave()
    assert not raw.active
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_signals_that_somebody_handles_are_left_alone(ends: tuple[int, int]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with RawMode(ends[1]):
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


PROGRAM = """
import os, signal, sys, time
from tellin.runtime.terminal import RawMode
raw = RawMode(0)
raw.enter()
os.write(1, b"raw")
{then}
"""


# In short sleeps: a signal that comes just before one begins is heard only behind it, since Python
# runs handlers between two of its own instructions.
FOREVER = "while True: time.sleep(0.05)"


@contextlib.contextmanager
def in_terminal(then: str, slave: int) -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(then=then)],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        # A group of its own, with us as its parent outside: nobody can suspend a group that has
        # no such parent, as all of them are where the tests run without a terminal.
        process_group=0,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_kills_puts_the_terminal_back_first(
    ends: tuple[int, int], number: int
) -> None:
    before = termios.tcgetattr(ends[1])
    # Ctrl-C has a handler of Python's own: then the exit puts the terminal back.
    with in_terminal(FOREVER, ends[1]) as child:
        assert os.read(ends[0], 3) == b"raw"
        assert termios.tcgetattr(ends[1]) != before
        child.send_signal(number)
        assert child.wait(60) == -number
    assert termios.tcgetattr(ends[1]) == before


@pytest.mark.parametrize("then", ["sys.exit(3)", "raise LookupError('oops')", ""])
def test_every_exit_puts_the_terminal_back(ends: tuple[int, int], then: str) -> None:
    before = termios.tcgetattr(ends[1])
    with in_terminal(then, ends[1]) as child:
        assert child.wait(60) >= 0
    assert termios.tcgetattr(ends[1]) == before


def test_suspending_puts_the_terminal_back_and_going_on_makes_it_raw(
    ends: tuple[int, int],
) -> None:
    before = termios.tcgetattr(ends[1])
    with in_terminal(f"raw.suspend(); os.write(1, b'again')\n{FOREVER}", ends[1]) as child:
        assert os.read(ends[0], 3) == b"raw"
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert os.WSTOPSIG(status) == signal.SIGTSTP
        assert termios.tcgetattr(ends[1]) == before
        child.send_signal(signal.SIGCONT)
        assert os.read(ends[0], 5) == b"again"
        assert termios.tcgetattr(ends[1]) != before
        child.terminate()
        assert child.wait(60) == -signal.SIGTERM


# Sizes


def test_a_window_size_is_set_and_read(ends: tuple[int, int]) -> None:
    size = WindowSize(columns=132, rows=43, width=1320, height=860)
    terminal.set_window_size(ends[0], size)
    assert terminal.window_size(ends[1]) == size


def test_a_size_no_terminal_has_is_cut(ends: tuple[int, int]) -> None:
    terminal.set_window_size(ends[0], WindowSize(columns=0xFFFFFFFF, rows=0, width=70000))
    assert terminal.window_size(ends[1]) == WindowSize(columns=0xFFFF, rows=0, width=0xFFFF)


def test_what_is_no_terminal_has_no_size() -> None:
    read_end, write_end = os.pipe()
    assert terminal.window_size(read_end) is None
    assert terminal.read_modes(read_end) == b"\0"
    os.close(read_end)
    os.close(write_end)


def test_a_change_of_size_is_told_once_and_no_change_is_not(
    loop: SmallLoop, ends: tuple[int, int]
) -> None:
    told: list[WindowSize] = []
    watch = SizeWatch(loop, ends[1], told.append)
    os.kill(os.getpid(), signal.SIGWINCH)
    terminal.set_window_size(ends[0], WindowSize(columns=100, rows=30))
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGWINCH)
    loop.run_until(lambda: False, timeout=0.03)
    assert told == [WindowSize(columns=100, rows=30)]
    watch.close()
    assert signal.getsignal(signal.SIGWINCH) == signal.SIG_DFL


# Pseudo-terminals


def test_a_new_terminal_has_the_peers_size_and_modes() -> None:
    modes = encode_pairs({53: 0, 42: 1, 1: 24, 128: 9600, 129: 9600})
    made = open_pty(WindowSize(columns=81, rows=26), modes=modes)
    assert terminal.window_size(made.slave) == WindowSize(columns=81, rows=26)
    found = decode(terminal.read_modes(made.slave))
    assert (found[53], found[42], found[1], found[129]) == (0, 1, 24, 9600)
    assert made.name.startswith("/dev/")
    assert not os.get_inheritable(made.master)
    made.resize(WindowSize(columns=90, rows=30))
    assert terminal.window_size(made.slave) == WindowSize(columns=90, rows=30)
    made.close()
    made.close()
    assert made.master == made.slave == -1


def test_rubbish_for_modes_still_gives_a_terminal() -> None:
    made = open_pty(WindowSize(columns=0, rows=0), modes=b"\x01\xff\xff\xff\xff\x99\x12")
    assert termios.tcgetattr(made.slave)
    made.close()


@needs_root
def test_a_terminal_for_a_user_is_his_and_no_one_elses() -> None:
    nobody = Account.named("nobody")
    assert nobody is not None
    made = open_pty(WindowSize(columns=80, rows=24), owner=nobody)
    found = Path(made.name).stat()
    assert found.st_uid == nobody.uid
    assert stat.S_IMODE(found.st_mode) in (0o620, 0o600)
    made.close()


def test_a_failed_pty_leaks_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(fcntl, "ioctl", fail)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="no"):
        open_pty(WindowSize(columns=80, rows=24))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
