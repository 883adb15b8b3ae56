# SPDX-License-Identifier: MIT
"""The small loop: order, timers, descriptors, signals, and what comes out of it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.work import work

from tellin.errors import UsageError
from tellin.runtime.loop import Loop, SmallLoop


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        # Many tests close an end themselves.
        with contextlib.suppress(OSError):
            os.close(fd)


def test_calls_run_in_the_order_of_asking_and_new_ones_in_the_next_turn(loop: SmallLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    assert loop.run_until(lambda: len(seen) == 3)
    assert seen == ["first", "second", "third"]


def test_what_is_last_runs_behind_all_that_is_ready_in_its_turn(loop: SmallLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.call_last(lambda: seen.append("last"))
        loop.call_soon(seen.append, "next turn")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    assert loop.run_until(lambda: len(seen) == 3)
    assert seen == ["second", "last", "next turn"]
    # Outside a turn it is the next one's: the loop does not wait for anything else before.
    loop.call_last(lambda: seen.append("alone"))
    assert loop.run_until(lambda: len(seen) == 4)


def test_a_cancelled_call_does_not_run(loop: SmallLoop) -> None:
    seen: list[int] = []
    loop.call_soon(seen.append, 1).cancel()
    loop.call_later(0.0, seen.append, 2).cancel()
    loop.call_later(0.01, seen.append, 3)
    assert loop.run_until(lambda: seen)
    assert seen == [3]


def test_timers_fire_by_time_and_equal_times_by_order(loop: SmallLoop) -> None:
    seen: list[int] = []
    when = loop.time() + 0.02
    loop.call_at(when, seen.append, 2)
    loop.call_at(when, seen.append, 3)
    loop.call_later(0.005, seen.append, 1)
    assert loop.run_until(lambda: len(seen) == 3, timeout=2)
    assert seen == [1, 2, 3]
    assert loop.time() >= when


def test_ten_thousand_cancelled_timers_leave_no_heap(loop: SmallLoop) -> None:
    for _ in range(10_000):
        loop.call_later(60, print).cancel()
    assert len(loop._timers) < 200
    fired: list[int] = []
    loop.call_later(0.0, fired.append, 1)
    assert loop.run_until(lambda: fired, timeout=2)


def test_cancelling_a_timer_that_has_fired_changes_nothing(loop: SmallLoop) -> None:
    fired: list[int] = []
    timer = loop.call_later(0.0, fired.append, 1)
    loop.run_until(lambda: fired)
    for _ in range(200):
        timer.cancel()
    assert loop._stale == 0


def test_run_until_reports_a_timeout(loop: SmallLoop) -> None:
    started = time.monotonic()
    assert loop.run_until(lambda: False, timeout=0.03) is False
    assert 0.02 < time.monotonic() - started < 50


def test_stop_ends_the_run_after_the_turn(loop: SmallLoop) -> None:
    seen: list[int] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 1)
    assert loop.run_until(lambda: False) is False
    assert seen == [1]


def test_what_a_callback_raises_comes_out_and_the_rest_waits(loop: SmallLoop) -> None:
    seen: list[int] = []

    def fail() -> None:
        raise LookupError("mine")

    loop.call_soon(fail)
    loop.call_soon(seen.append, 1)
    with pytest.raises(LookupError, match="mine"):
        loop.run_until(lambda: False)
    assert loop.run_until(lambda: seen, timeout=1)


def test_a_reader_hears_of_bytes_and_of_the_end(loop: SmallLoop, pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    got: list[bytes] = []
    loop.add_reader(read_end, lambda: got.append(os.read(read_end, 100)))
    os.write(write_end, b"one")
    assert loop.run_until(lambda: got, timeout=1)
    os.close(write_end)
    assert loop.run_until(lambda: len(got) == 2, timeout=1)
    assert got == [b"one", b""]
    assert loop.remove_reader(read_end)
    assert not loop.remove_reader(read_end)


def test_a_removed_descriptor_with_a_hangup_does_not_spin(
    loop: SmallLoop, pipe: tuple[int, int]
) -> None:
    read_end, write_end = pipe
    loop.add_reader(read_end, print)
    loop.remove_reader(read_end)
    os.close(write_end)
    turns: list[int] = []
    assert work(lambda: loop.run_until(lambda: turns.append(1), timeout=0.05)) < 200
    assert 0 < len(turns) < 5


def test_a_writer_hears_that_its_reader_has_gone(loop: SmallLoop, pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.set_blocking(write_end, False)
    assert os.write(write_end, bytes(1 << 20)) < 1 << 20
    woken: list[int] = []
    loop.add_writer(write_end, woken.append, 1)
    assert loop.run_until(lambda: woken, timeout=0.02) is False
    os.close(read_end)
    assert loop.run_until(lambda: woken, timeout=1)


def test_reader_and_writer_of_one_descriptor_are_apart(loop: SmallLoop) -> None:
    ours, theirs = socket.socketpair()
    seen: list[str] = []
    loop.add_reader(ours.fileno(), seen.append, "read")
    loop.add_writer(ours.fileno(), seen.append, "write")
    loop.run_until(lambda: seen, timeout=1)
    assert set(seen) == {"write"}
    assert loop.remove_writer(ours.fileno())
    seen.clear()
    theirs.send(b"x")
    loop.run_until(lambda: seen, timeout=1)
    assert set(seen) == {"read"}
    ours.close()
    theirs.close()


def test_an_event_in_the_batch_is_dropped_when_its_reader_is_removed(loop: SmallLoop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    seen: list[int] = []

    def act(mine: int) -> None:
        seen.append(mine)
        for other, _ in pipes:
            loop.remove_reader(other)

    for read_end, write_end in pipes:
        loop.add_reader(read_end, act, read_end)
        os.write(write_end, b"x")
    loop.run_until(lambda: False, timeout=0.03)
    assert len(seen) == 1
    for ends in pipes:
        for fd in ends:
            os.close(fd)


def test_a_number_that_was_closed_and_given_out_again_can_be_watched(loop: SmallLoop) -> None:
    read_end, write_end = os.pipe()
    loop.add_reader(read_end, print)
    os.close(read_end)
    os.close(write_end)
    again, feed = os.pipe()
    assert again == read_end
    got: list[bytes] = []
    loop.add_reader(again, lambda: got.append(os.read(again, 9)))
    os.write(feed, b"new")
    assert loop.run_until(lambda: got, timeout=1)
    os.close(again)
    os.close(feed)


def test_regular_files_are_refused_and_not_remembered(loop: SmallLoop, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        with pytest.raises(PermissionError):
            loop.add_writer(file.fileno(), print)
        assert not loop.remove_writer(file.fileno())


def test_signals_arrive_as_calls_and_handlers_are_put_back(loop: SmallLoop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    seen: list[str] = []
    loop.add_signal(signal.SIGUSR1, seen.append, "usr1")
    loop.add_signal(signal.SIGWINCH, seen.append, "winch")
    threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    assert loop.run_until(lambda: seen, timeout=2)
    os.kill(os.getpid(), signal.SIGWINCH)
    assert loop.run_until(lambda: len(seen) == 2, timeout=2)
    assert seen == ["usr1", "winch"]
    assert loop.remove_signal(signal.SIGUSR1)
    assert not loop.remove_signal(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before
    loop.close()
    assert signal.getsignal(signal.SIGWINCH) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_a_forked_child_that_leaves_the_loop_takes_nothing_from_its_parent(
    loop: SmallLoop, pipe: tuple[int, int]
) -> None:
    got: list[bytes] = []
    seen: list[int] = []
    loop.add_reader(pipe[0], lambda: got.append(os.read(pipe[0], 10)))
    loop.add_signal(signal.SIGUSR1, seen.append, 1)
    child = os.fork()
    if not child:
        loop.leave_to_parent()
        default = signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
        os._exit(0 if default and signal.set_wakeup_fd(-1) == -1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    os.write(pipe[1], b"still")
    os.kill(os.getpid(), signal.SIGUSR1)
    assert loop.run_until(lambda: got and seen, timeout=2)
    assert got == [b"still"]


def test_a_signal_that_cannot_be_caught_is_the_callers_mistake(loop: SmallLoop) -> None:
    with pytest.raises(UsageError):
        loop.add_signal(signal.SIGKILL, print)


def test_ctrl_c_comes_out_of_a_waiting_loop(loop: SmallLoop) -> None:
    threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until(lambda: False, timeout=2)


def test_asyncios_loop_is_a_loop_too() -> None:
    async def use() -> list[bytes]:
        loop: Loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        got: list[bytes] = []
        done = asyncio.Event()

        def read() -> None:
            got.append(os.read(read_end, 10))
            loop.remove_reader(read_end)
            loop.call_later(0.001, done.set)

        loop.add_reader(read_end, read)
        loop.call_soon(os.write, write_end, b"hello")
        loop.call_at(loop.time() + 5, print).cancel()
        await done.wait()
        os.close(read_end)
        os.close(write_end)
        return got

    assert asyncio.run(use()) == [b"hello"]


def test_the_loop_imports_neither_asyncio_nor_selectors_nor_socket() -> None:
    code = (
        "import sys, tellin.runtime.loop, tellin.runtime.stream, tellin.runtime.pumps;"
        "print([m for m in ('asyncio', 'selectors', 'socket', 'subprocess', 'logging',"
        " 'dataclasses', 'inspect', 'threading') if m in sys.modules])"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"[]\n"
