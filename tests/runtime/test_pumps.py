# SPDX-License-Identifier: MIT
"""The ends of the data lane over real pipes, files, terminals and sockets."""

import contextlib
import errno
import fcntl
import os
import pty
import select
import socket
import tty
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tellin.runtime import descriptors
from tellin.runtime.loop import SmallLoop
from tellin.runtime.pumps import FdSink, FdSource, Flow, enlarge_pipe, shut_writing
from tellin.runtime.stream import Link

Cores = Callable[..., Any]
Ends = tuple[int, int]


class Outlet:
    """A link that counts how often it is asked to flush."""

    def __init__(self) -> None:
        self.flushes = 0

    def flush_soon(self) -> None:
        self.flushes += 1

    flush = flush_soon


class Credit:
    """A channel's receiving half: counts what is credited."""

    def __init__(self) -> None:
        self.total = 0

    def consumed(self, count: int) -> None:
        self.total += count


class Place:
    """A channel's sending half: a window and one place of odd packets."""

    def __init__(self, window: int, packet: int = 777) -> None:
        self.window = window
        self.packet = packet
        self.got = bytearray()
        self.errors = bytearray()
        self.into = self.got
        self.views: list[memoryview] = []

    def room(self) -> int:
        return self.window

    def reserve(self, limit: int, extended: int | None) -> list[memoryview]:
        self.into = self.got if extended is None else self.errors
        left, self.views = min(self.window, 5 * self.packet), []
        while left:
            size = min(left, self.packet)
            self.views.append(memoryview(bytearray(size)))
            left -= size
        return self.views

    def commit(self, count: int) -> None:
        self.window -= count
        self.into += b"".join(self.views)[:count]

    def send(self, data: memoryview) -> int:
        size = min(self.window, len(data))
        self.window -= size
        self.got += data[:size]
        return size


@pytest.fixture
def pipe() -> Iterator[Ends]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        # Many tests close an end themselves.
        with contextlib.suppress(OSError):
            os.close(fd)


def odd_views(data: bytes) -> Iterator[list[memoryview]]:
    """``data`` in batches of views of odd sizes."""
    sizes, batches = cycle((1, 32768, 77, 2, 1000, 4097, 0)), cycle((1, 3, 2, 5))
    at = 0
    while at < len(data):
        batch = []
        for _ in range(next(batches)):
            size = next(sizes)
            batch.append(memoryview(data)[at : at + size])
            at += size
        yield batch


def read_until_end(loop: SmallLoop, fd: int, into: bytearray, size: int = 5001) -> None:
    def read() -> None:
        data = os.read(fd, size)
        into.extend(data)
        if not data:
            loop.remove_reader(fd)
            into.extend(b"<end>")

    loop.add_reader(fd, read)


# The sink


def test_a_sink_writes_what_the_kernel_takes_and_credits_it_at_once(
    loop: SmallLoop, pipe: Ends
) -> None:
    credit = Credit()
    sink = FdSink(loop, pipe[1], credit, Outlet())
    assert sink.take([memoryview(b"ab"), memoryview(b""), memoryview(b"cd")]) == 4
    assert os.read(pipe[0], 9) == b"abcd"
    assert credit.total == 0
    assert sink.backlog == 0


def test_every_byte_arrives_in_order_with_odd_blocks_and_all_is_credited_once(
    loop: SmallLoop, pipe: Ends
) -> None:
    data = os.urandom(1_234_567)
    credit, outlet, got = Credit(), Outlet(), bytearray()
    sink = FdSink(loop, pipe[1], credit, outlet)
    read_until_end(loop, pipe[0], got)
    taken = 0
    for number, views in enumerate(odd_views(data)):
        taken += sink.take(views)
        if number % 7 == 0:
            loop.run_until(lambda: True)
            loop._turn()
    sink.finish()
    assert loop.run_until(lambda: got.endswith(b"<end>"), timeout=5)
    assert bytes(got) == data + b"<end>"
    assert taken + credit.total == len(data)
    assert outlet.flushes > 0


def test_what_the_sink_keeps_survives_the_views(loop: SmallLoop, pipe: Ends) -> None:
    sink = FdSink(loop, pipe[1], Credit(), Outlet())
    buffer = bytearray(b"a" * 300_000)
    done = sink.take([memoryview(buffer)])
    assert 0 < done < 300_000
    assert sink.backlog == 300_000 - done
    buffer[:] = b"X" * 300_000
    got = bytearray()
    read_until_end(loop, pipe[0], got)
    sink.finish()
    assert loop.run_until(lambda: got.endswith(b"<end>"), timeout=2)
    assert got == b"a" * 300_000 + b"<end>"


def test_a_full_kernel_gives_no_credit_before_the_reader_reads(
    loop: SmallLoop, pipe: Ends
) -> None:
    credit = Credit()
    sink = FdSink(loop, pipe[1], credit, Outlet())
    size = 3_000_000
    done = sink.take([memoryview(bytes(size))])
    assert sink.take([memoryview(bytes(10))]) == 0
    loop.run_until(lambda: False, timeout=0.02)
    # The pipe was enlarged and took what it can hold; the rest is not credited.
    assert done + credit.total <= 1024 * 1024
    credit.total = 0
    loop.run_until(lambda: False, timeout=0.02)
    assert credit.total == 0
    os.read(pipe[0], 65536)
    assert loop.run_until(lambda: credit.total, timeout=1)
    sink.close()


def test_a_reader_that_has_gone_is_reported_once_and_the_rest_is_credited(
    loop: SmallLoop, pipe: Ends
) -> None:
    broken: list[OSError] = []
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), on_broken=broken.append)
    os.close(pipe[0])
    assert sink.take([memoryview(b"lost")]) == 4
    assert sink.take([memoryview(b"too")]) == 3
    # Not from within take(): that runs inside the core.
    assert broken == []
    loop.run_until(lambda: broken, timeout=1)
    assert [error.errno for error in broken] == [errno.EPIPE]
    assert sink.broken is broken[0]


def test_a_reader_that_goes_while_bytes_wait_frees_the_window(loop: SmallLoop, pipe: Ends) -> None:
    credit = Credit()
    broken: list[OSError] = []
    sink = FdSink(loop, pipe[1], credit, Outlet(), on_broken=broken.append)
    done = sink.take([memoryview(bytes(400_000))])
    os.close(pipe[0])
    assert loop.run_until(lambda: broken, timeout=1)
    assert done + credit.total == 400_000
    assert sink.backlog == 0
    assert not loop._writers


def test_a_closed_descriptor_is_reported_like_a_reader_that_has_gone(
    loop: SmallLoop, pipe: Ends
) -> None:
    broken: list[OSError] = []
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), on_broken=broken.append)
    os.close(pipe[1])
    assert sink.take([memoryview(b"x")]) == 1
    loop.run_until(lambda: broken, timeout=1)
    assert broken[0].errno == errno.EBADF


def test_a_full_disk_is_reported(loop: SmallLoop) -> None:
    broken: list[OSError] = []
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = FdSink(loop, fd, Credit(), Outlet(), on_broken=broken.append)
    assert sink.take([memoryview(b"x" * 10)]) == 10
    sink.finish()
    assert [error.errno for error in broken] == [errno.ENOSPC]
    loop.run_until(lambda: False, timeout=0.01)
    assert len(broken) == 1


def test_a_sink_that_is_closed_reports_nothing_more(loop: SmallLoop, pipe: Ends) -> None:
    broken: list[OSError] = []
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), on_broken=broken.append)
    os.close(pipe[0])
    sink.take([memoryview(b"x")])
    sink.close()
    assert loop.run_until(lambda: broken, timeout=0.01) is False


def test_a_window_of_single_bytes_is_kept_in_few_pieces(loop: SmallLoop, pipe: Ends) -> None:
    sink = FdSink(loop, pipe[1], Credit(), Outlet())
    os.set_blocking(pipe[1], False)
    os.write(pipe[1], bytes(1 << 20))
    data = os.urandom(20_000)
    for number in range(len(data)):
        sink.take([memoryview(data)[number : number + 1]])
    assert sink.backlog == len(data)
    assert len(sink._chunks) <= len(data) // 2048 + 1
    got = bytearray()
    read_until_end(loop, pipe[0], got)
    sink.finish()
    assert loop.run_until(lambda: got.endswith(b"<end>"), timeout=2)
    assert got.lstrip(b"\0") == data.lstrip(b"\0") + b"<end>"


def test_files_are_written_directly_and_whole(loop: SmallLoop, tmp_path: Path) -> None:
    data = os.urandom(900_001)
    path = tmp_path / "file"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    finished: list[int] = []
    sink = FdSink(loop, fd, Credit(), Outlet(), on_finished=lambda: finished.append(1))
    for views in odd_views(data):
        assert sink.take(views) == sum(map(len, views))
    sink.finish()
    assert path.read_bytes() == data
    assert finished == [1]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_more_views_than_one_call_takes_are_all_written(loop: SmallLoop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    sink = FdSink(loop, fd, Credit(), Outlet())
    assert sink.take([memoryview(b"ab")] * 2500) == 5000
    sink.finish()
    assert path.read_bytes() == b"ab" * 2500


def test_dev_null_takes_everything(loop: SmallLoop) -> None:
    sink = FdSink(loop, os.open("/dev/null", os.O_WRONLY), Credit(), Outlet(), inherited=True)
    assert sink.take([memoryview(bytes(1_000_000))]) == 1_000_000
    sink.close()


def test_finish_waits_for_the_backlog_and_close_does_not(loop: SmallLoop, pipe: Ends) -> None:
    finished: list[int] = []
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), on_finished=lambda: finished.append(1))
    sink.take([memoryview(bytes(300_000))])
    sink.finish()
    assert not finished
    sink.close()
    sink.close()
    assert finished == [1]
    assert not loop._writers
    assert sink.take([memoryview(b"late")]) == 4


def test_a_socket_is_half_closed_and_can_still_be_read(loop: SmallLoop) -> None:
    ours, theirs = socket.socketpair()
    sink = FdSink(loop, ours.fileno(), Credit(), Outlet(), end=shut_writing)
    sink.take([memoryview(b"request")])
    sink.finish()
    assert theirs.recv(100) == b"request"
    assert theirs.recv(100) == b""
    theirs.send(b"answer")
    place = Place(1000)
    ended: list[OSError | None] = []
    source = FdSource(loop, ours.fileno(), place, Outlet(), on_end=ended.append)
    source.start()
    theirs.close()
    assert loop.run_until(lambda: ended, timeout=1)
    assert place.got == b"answer"
    ours.close()


# Inherited descriptors


def test_a_shared_pipe_keeps_its_flags_while_the_sink_does_not_wait(
    loop: SmallLoop, pipe: Ends
) -> None:
    data = os.urandom(500_003)
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), inherited=True, end=None)
    assert sink._descriptor._reopened
    done = sink.take([memoryview(data)])
    assert done < len(data)
    assert os.get_blocking(pipe[1])
    got = bytearray()
    read_until_end(loop, pipe[0], got)
    assert loop.run_until(lambda: len(got) == len(data), timeout=2)
    assert got == data
    sink.finish()
    os.close(pipe[1])
    assert loop.run_until(lambda: got.endswith(b"<end>"), timeout=1)


def test_without_proc_a_shared_pipe_is_written_in_pieces_that_surely_fit(
    loop: SmallLoop, pipe: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "_open_again", lambda *_: None)
    data = os.urandom(300_003)
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), inherited=True)
    assert sink._descriptor._chunk == select.PIPE_BUF
    done = sink.take([memoryview(data)])
    assert 0 < done < len(data)
    assert sink.take([memoryview(b"tail")]) == 0
    assert os.get_blocking(pipe[1])
    got = bytearray()
    read_until_end(loop, pipe[0], got)
    sink.finish()
    assert loop.run_until(lambda: got.endswith(b"<end>"), timeout=5)
    assert got == data + b"tail<end>"


def test_without_proc_a_shared_pipe_is_read_without_waiting(
    loop: SmallLoop, pipe: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "_open_again", lambda *_: None)
    place = Place(10_000_000)
    ended: list[OSError | None] = []
    source = FdSource(loop, pipe[0], place, Outlet(), inherited=True, on_end=ended.append)
    source.start()
    # Exactly as much as the channel offers at a time: the next read would wait for ever.
    os.write(pipe[1], bytes(5 * 777))
    loop.run_until(lambda: place.got, timeout=1)
    loop.run_until(lambda: False, timeout=0.02)
    assert os.get_blocking(pipe[0])
    os.close(pipe[1])
    assert loop.run_until(lambda: ended, timeout=1)
    assert len(place.got) == 5 * 777


def test_a_shared_socket_keeps_its_flags(loop: SmallLoop) -> None:
    ours, theirs = socket.socketpair()
    sink = FdSink(loop, ours.fileno(), Credit(), Outlet(), inherited=True, end=None)
    place = Place(1 << 20)
    ended: list[OSError | None] = []
    source = FdSource(loop, ours.fileno(), place, Outlet(), inherited=True, on_end=ended.append)
    done = sink.take([memoryview(bytes(3_000_000))])
    assert 0 < done < 3_000_000
    assert os.get_blocking(ours.fileno())
    source.start()
    theirs.send(b"hello")
    assert loop.run_until(lambda: place.got, timeout=1)
    sink.close()
    theirs.close()
    assert loop.run_until(lambda: ended, timeout=1)
    source.close()
    assert os.get_blocking(ours.fileno())
    ours.close()


def test_a_shared_terminal_keeps_its_flags_and_loses_nothing(loop: SmallLoop) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    data = bytes(range(256)) * 200
    sink = FdSink(loop, slave, Credit(), Outlet(), inherited=True, end=None)
    assert sink._descriptor._reopened
    assert sink.take([memoryview(data)]) < len(data)
    assert os.get_blocking(slave)
    got = bytearray()
    loop.add_reader(master, lambda: got.extend(os.read(master, 1000)))
    assert loop.run_until(lambda: len(got) == len(data), timeout=2)
    assert got == data
    sink.close()
    os.close(slave)
    os.close(master)


def test_releasing_leaves_the_given_descriptor_open(pipe: Ends) -> None:
    descriptor = descriptors.Descriptor(pipe[1], ours=False, writing=True)
    again = descriptor.fd
    assert again != pipe[1]
    descriptor.release()
    descriptor.release()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(again)
    os.fstat(pipe[1])


def test_the_master_of_a_terminal_is_never_opened_again() -> None:
    master, slave = pty.openpty()
    shared = descriptors.Descriptor(master, ours=False, writing=False)
    assert shared.fd == master
    assert shared._chunk
    os.close(master)
    os.close(slave)


# The source


def test_a_source_fills_the_channels_own_place(loop: SmallLoop, pipe: Ends) -> None:
    data = os.urandom(60_001)
    place, outlet = Place(1 << 20), Outlet()
    ended: list[OSError | None] = []
    source = FdSource(loop, pipe[0], place, outlet, on_end=ended.append)
    source.start()
    os.write(pipe[1], data)
    os.close(pipe[1])
    assert loop.run_until(lambda: ended, timeout=1)
    assert place.got == data
    assert ended == [None]
    assert outlet.flushes
    assert source.flow is Flow.ENDED
    assert not loop._readers
    os.fstat(pipe[0])


def test_a_source_reads_no_more_than_the_channel_has_room_for(loop: SmallLoop, pipe: Ends) -> None:
    place = Place(1000)
    source = FdSource(loop, pipe[0], place, Outlet())
    source.start()
    os.write(pipe[1], bytes(5000))
    assert loop.run_until(lambda: source.flow is Flow.NO_ROOM, timeout=1)
    assert len(place.got) == 1000
    assert not loop._readers
    source.resume()
    assert loop.run_until(lambda: source.flow is Flow.NO_ROOM, timeout=1)
    place.window = 7
    source.resume()
    assert loop.run_until(lambda: source.flow is Flow.NO_ROOM, timeout=1)
    assert len(place.got) == 1007
    source.close()
    source.resume()
    assert source.flow is Flow.ENDED


def test_a_stopped_source_reads_nothing_until_it_is_started_again(
    loop: SmallLoop, pipe: Ends
) -> None:
    place = Place(10_000)
    source = FdSource(loop, pipe[0], place, Outlet())
    source.start()
    source.stop()
    os.write(pipe[1], b"x")
    assert loop.run_until(lambda: place.got, timeout=0.02) is False
    source.resume()
    assert not loop._readers
    source.start()
    assert loop.run_until(lambda: place.got == b"x", timeout=1)


def test_files_are_read_in_turns_and_end(loop: SmallLoop, tmp_path: Path) -> None:
    data = os.urandom(345_678)
    path = tmp_path / "file"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    place = Place(300_000)
    ended: list[OSError | None] = []
    others: list[int] = []
    source = FdSource(loop, fd, place, Outlet(), inherited=True, on_end=ended.append)
    source.start()

    def count() -> None:
        others.append(1)
        loop.call_soon(count)

    loop.call_soon(count)
    assert loop.run_until(lambda: source.flow is Flow.NO_ROOM, timeout=2)
    assert len(others) > 10
    place.window = 1 << 20
    source.resume()
    assert loop.run_until(lambda: ended, timeout=2)
    assert place.got == data
    os.close(fd)


def test_a_stopped_file_is_not_read_in_the_turn_that_was_asked_for(
    loop: SmallLoop, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    fd = os.open(path, os.O_RDONLY)
    place = Place(1000)
    source = FdSource(loop, fd, place, Outlet())
    source.start()
    source.stop()
    loop.run_until(lambda: False, timeout=0.01)
    assert not place.got
    source.start()
    assert loop.run_until(lambda: place.got, timeout=1)
    os.close(fd)


def test_standard_error_goes_the_extended_way(loop: SmallLoop, pipe: Ends) -> None:
    data = os.urandom(40_000)
    place = Place(33_000)
    ended: list[OSError | None] = []
    source = FdSource(loop, pipe[0], place, Outlet(), extended=True, on_end=ended.append)
    source.start()
    os.write(pipe[1], data)
    os.close(pipe[1])
    assert loop.run_until(lambda: source.flow is Flow.NO_ROOM, timeout=1)
    assert place.errors == data[:33_000]
    place.window = 100_000
    source.resume()
    assert loop.run_until(lambda: ended, timeout=1)
    assert place.errors == data
    assert not place.got


def test_an_edit_sees_every_byte_and_may_grow_or_swallow(loop: SmallLoop, pipe: Ends) -> None:
    place = Place(4)
    ended: list[OSError | None] = []
    source = FdSource(
        loop,
        pipe[0],
        place,
        Outlet(),
        edit=lambda data: data.replace(b"a", b"AAA").replace(b"z", b""),
        on_end=ended.append,
    )
    source.start()
    os.write(pipe[1], b"aaz")
    assert loop.run_until(lambda: source.flow is Flow.NO_ROOM, timeout=1)
    assert place.got == b"AAAA"
    place.window = 100
    source.resume()
    os.close(pipe[1])
    assert loop.run_until(lambda: ended, timeout=1)
    assert place.got == b"AAAAAA"


def test_the_end_of_a_terminals_last_user_is_an_end_and_no_error(loop: SmallLoop) -> None:
    master, slave = pty.openpty()
    place = Place(1000)
    ended: list[OSError | None] = []
    source = FdSource(loop, master, place, Outlet(), on_end=ended.append)
    source.start()
    os.write(slave, b"bye")
    os.close(slave)
    assert loop.run_until(lambda: ended, timeout=1)
    assert place.got == b"bye"
    assert ended == [None]
    os.close(master)


def test_a_reset_is_an_error(loop: SmallLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ended: list[OSError | None] = []
    source = FdSource(loop, ours.fileno(), Place(1000), Outlet(), on_end=ended.append)
    source.start()
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    theirs.close()
    assert loop.run_until(lambda: ended, timeout=1)
    assert isinstance(ended[0], ConnectionResetError)
    ours.close()


def test_pipes_are_enlarged_and_other_things_are_not(pipe: Ends) -> None:
    assert enlarge_pipe(pipe[0]) >= 65536
    with socket.socket() as other:
        assert enlarge_pipe(other.fileno()) == 0


def test_a_pipe_of_a_limited_user_is_enlarged_as_far_as_allowed(
    pipe: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fcntl.fcntl

    def limited(fd: int, command: int, size: int) -> int:
        if size > 200_000:
            raise PermissionError
        return int(plain(fd, command, size))

    monkeypatch.setattr(fcntl, "fcntl", limited)
    assert enlarge_pipe(pipe[0]) == 131_072


def test_a_shared_pipe_whose_reader_has_gone_is_reported_too(loop: SmallLoop, pipe: Ends) -> None:
    os.close(pipe[0])
    broken: list[OSError] = []
    sink = FdSink(loop, pipe[1], Credit(), Outlet(), inherited=True, on_broken=broken.append)
    assert sink.take([memoryview(b"x")]) == 1
    assert loop.run_until(lambda: broken, timeout=1)
    assert broken[0].errno == errno.EPIPE


def test_a_shared_descriptor_that_does_not_wait_anyway_is_used_as_it_is(
    loop: SmallLoop, pipe: Ends
) -> None:
    os.set_blocking(pipe[0], False)
    place = Place(10_000)
    source = FdSource(loop, pipe[0], place, Outlet(), inherited=True)
    assert source._descriptor.fd == pipe[0]
    source.start()
    os.write(pipe[1], b"x")
    assert loop.run_until(lambda: place.got, timeout=1)


# Both ends, a link and a window between them


class Conversation:
    """pipe > source > link > link > sink > pipe, and somebody at both outer ends."""

    def __init__(self, loop: SmallLoop, toy_core: Cores, window: int) -> None:
        self.loop = loop
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        self.sending, self.receiving = toy_core(window), toy_core(window)
        feed_read, self.feed = os.pipe()
        self.out, out_write = os.pipe()
        os.set_blocking(self.feed, False)
        self.left = Link(loop, ends[0], self.sending, self._sending_event)
        self.right = Link(loop, ends[1], self.receiving, self._receiving_event)
        self.source = FdSource(
            loop, feed_read, self.sending.channel, self.left, on_end=self._ended
        )
        self.sink = FdSink(loop, out_write, self.receiving.channel, self.right)
        self.receiving.channel.sink = self.sink
        self.most_kept = 0
        self.got = bytearray()
        self.over = False

    def _sending_event(self, event: Any) -> None:
        if event[0] == "writable":
            self.source.resume()

    def _receiving_event(self, event: Any) -> None:
        if event[0] == "eof":
            self.sink.finish()

    def _ended(self, error: OSError | None) -> None:
        assert error is None
        self.sending.put(2)
        self.left.flush_soon()

    def write(self, data: bytes) -> None:
        view = memoryview(data)

        def more() -> None:
            nonlocal view
            view = view[os.write(self.feed, view[:99_991]) :]
            if not view:
                self.loop.remove_writer(self.feed)
                os.close(self.feed)

        self.loop.add_writer(self.feed, more)
        self.loop.add_reader(self.out, self._read)
        self.source.start()

    def _read(self) -> None:
        self.most_kept = max(self.most_kept, self.sink.backlog)
        block = os.read(self.out, 30_011)
        self.got += block
        if not block:
            self.loop.remove_reader(self.out)
            self.over = True

    def close(self) -> None:
        self.left.close()
        self.right.close()
        os.close(self.source.fd)
        os.close(self.out)


def test_a_fast_writer_and_a_slow_reader_keep_memory_bounded(
    loop: SmallLoop, toy_core: Cores
) -> None:
    window = 256 * 1024
    data = os.urandom(1024 * 1024) * 16
    talk = Conversation(loop, toy_core, window)
    talk.write(data)
    assert loop.run_until(lambda: talk.over, timeout=20)
    assert bytes(talk.got) == data
    assert 0 < talk.most_kept <= window
    assert talk.sending.most_unsent <= 2 * window
    talk.close()


@pytest.mark.parametrize("window", [1, 1000, 32768, 100_003])
def test_every_window_carries_every_byte(loop: SmallLoop, toy_core: Cores, window: int) -> None:
    data = os.urandom(min(window * 2000, 700_001))
    talk = Conversation(loop, toy_core, window)
    talk.write(data)
    assert loop.run_until(lambda: talk.over, timeout=20)
    assert bytes(talk.got) == data
    talk.close()
