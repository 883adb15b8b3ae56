# SPDX-License-Identifier: MIT
"""The link between a socket and a core: order, fairness, congestion, and every way to end."""

import asyncio
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tellin.errors import ConnectionLost, ProtocolError
from tellin.runtime import stream
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import PipePair
from tellin.runtime.stream import HARD_MARK, Link, Stage

Cores = Callable[..., Any]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def frame(kind: int, body: bytes = b"") -> bytes:
    return bytes((kind,)) + len(body).to_bytes(4, "big") + body


ADJUST, BYE, ASK, ANSWER = 1, 3, 4, 5


def test_what_one_core_says_the_other_hears_in_order(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    heard: list[Any] = []
    ours, theirs = toy_core(), toy_core()
    left = Link(loop, pair[0], ours, print)
    Link(loop, pair[1], theirs, heard.append)
    for number in range(100):
        ours.put(ANSWER, b"%d" % number)
    left.flush_soon()
    assert loop.run_until(lambda: len(heard) == 100, timeout=2)
    assert heard == [("answer", b"%d" % number) for number in range(100)]


def test_flush_soon_sends_many_verbs_with_one_call(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    link = Link(loop, pair[0], core, print)
    calls: list[int] = []
    plain = link._send

    def count(views: Sequence[memoryview]) -> int:
        calls.append(1)
        return plain(views)

    link._send = count
    for _ in range(50):
        core.put(ANSWER, b"x")
        link.flush_soon()
    loop.run_until(lambda: calls, timeout=1)
    loop.run_until(lambda: False, timeout=0.01)
    assert len(calls) == 1
    assert pair[1].recv(10_000) == frame(ANSWER, b"x") * 50


def test_no_delay_is_set_before_the_first_byte(
    loop: SmallLoop, toy_core: Cores, tcp: tuple[socket.socket, socket.socket]
) -> None:
    assert not tcp[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    Link(loop, tcp[0], toy_core(), print)
    assert tcp[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_writer_is_registered_only_while_the_kernel_is_full(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    link = Link(loop, pair[0], core, print)
    body = os.urandom(3_000_001)
    core.put(ANSWER, body)
    link.flush_soon()
    loop.run_until(lambda: loop._writers, timeout=1)
    assert link._unsent > 0
    got = bytearray()

    def read() -> None:
        got.extend(pair[1].recv(7777))

    loop.add_reader(pair[1].fileno(), read)
    assert loop.run_until(lambda: len(got) == len(body) + 5, timeout=5)
    assert bytes(got) == frame(ANSWER, body)
    assert not loop._writers


def test_one_busy_peer_does_not_starve_the_others(
    loop: SmallLoop, toy_core: Cores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_SECONDS_PER_TURN", 60.0)
    busy, quiet = socket.socketpair(), socket.socketpair()
    for end in (*busy, *quiet):
        end.setblocking(False)
    calls: list[str] = []

    class Endless:
        """A stream that always fills what it is offered."""

        def fileno(self) -> int:
            return busy[0].fileno()

        def recv_into(self, room: memoryview) -> int:
            calls.append("busy")
            return len(room)

        def sendmsg(self, views: object) -> int:
            return 0

        def shutdown(self, how: int) -> None:
            calls.append("shut")

        def close(self) -> None:
            calls.append("close")

    class Swallow(type(toy_core())):  # type: ignore[misc]
        def received(self, count: int, now: float) -> None:
            self.input.filled(count)
            self.input.at = self.input.end

    busy[1].send(b"x")
    link = Link(loop, Endless(), Swallow(), print)
    loop.add_reader(quiet[0].fileno(), lambda: calls.append("quiet"))
    quiet[1].send(b"x")
    loop.run_until(lambda: "quiet" in calls, timeout=2)
    assert calls.count("busy") <= 2 * stream._READS_PER_TURN
    link.detach()
    for end in (*busy, *quiet):
        end.close()


def test_a_peer_that_asks_and_never_reads_is_not_read_from_any_more(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    link = Link(loop, pair[0], core, print)
    question = frame(ASK, bytes(50_000))
    sent = 0

    def ask() -> None:
        nonlocal sent
        sent += pair[1].send(question[sent % len(question) :])

    loop.add_writer(pair[1].fileno(), ask)
    loop.run_until(lambda: not link._reading, timeout=5)
    assert HARD_MARK < link._unsent < 2 * HARD_MARK
    # Reading again when the peer has taken its answers.
    loop.add_reader(pair[1].fileno(), lambda: pair[1].recv(1 << 20))
    assert loop.run_until(lambda: link._reading, timeout=5)


def test_ticks_come_at_the_deadline_and_a_later_deadline_moves_no_timer(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    heard: list[Any] = []
    core.due = loop.time() + 0.02
    link = Link(loop, pair[0], core, heard.append)
    loop.run_until(lambda: link._timer, timeout=1)
    first = link._timer
    core.due += 0.02
    due = core.due
    link.flush_soon()
    loop.run_until(lambda: link._flush_call is None, timeout=1)
    assert link._timer is first
    assert loop.run_until(lambda: heard, timeout=2)
    assert heard == [("tick",)]
    assert core.ticks[0] >= due


def test_a_nearer_deadline_moves_the_timer(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    core.due = loop.time() + 60
    link = Link(loop, pair[0], core, print)
    loop.run_until(lambda: link._timer, timeout=1)
    core.due = loop.time() + 0.01
    link.flush_soon()
    assert loop.run_until(lambda: core.ticks, timeout=2)


def test_a_goodbye_is_sent_whole_before_the_socket_closes(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = toy_core(), toy_core()
    closed: list[Link] = []
    heard: list[Any] = []
    left = Link(loop, pair[0], ours, print, on_closed=closed.append)
    Link(loop, pair[1], theirs, heard.append)
    ours.put(ANSWER, bytes(2_000_000))
    ours.say_goodbye()
    left.flush_soon()
    assert loop.run_until(lambda: closed, timeout=5)
    assert left.stage is Stage.CLOSED
    assert loop.run_until(lambda: theirs.closed, timeout=5)
    assert [event[0] for event in heard] == ["answer", "closed"]
    left.close()
    assert len(closed) == 1


def test_after_an_error_the_peer_may_read_why_before_the_socket_closes(
    loop: SmallLoop, toy_core: Cores, tcp: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    closed: list[Link] = []
    link = Link(loop, tcp[0], core, print, on_closed=closed.append)
    # Much unread input: a plain close would answer it with a reset.
    core.say_goodbye(ProtocolError("nonsense"))
    tcp[1].send(bytes(100_000))
    link.flush_soon()
    loop.run_until(lambda: link.stage is Stage.LINGERING, timeout=1)
    loop.run_until(lambda: False, timeout=0.02)
    assert not closed
    tcp[1].setblocking(True)
    assert tcp[1].recv(100) == frame(BYE)
    assert tcp[1].recv(100) == b""
    tcp[1].close()
    assert loop.run_until(lambda: closed, timeout=1)


def test_lingering_is_bounded_in_time_and_in_bytes(
    loop: SmallLoop,
    toy_core: Cores,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "LINGER_SECONDS", 0.03)
    core = toy_core()
    link = Link(loop, pair[0], core, print)
    core.put(ANSWER, bytes(5_000_000))
    core.say_goodbye(ProtocolError("nonsense"))
    link.flush_soon()
    assert loop.run_until(link.is_over, timeout=2)
    other, theirs = socket.socketpair()
    other.setblocking(False)
    core = toy_core()
    monkeypatch.setattr(stream, "LINGER_SECONDS", 60)
    link = Link(loop, other, core, print)
    core.say_goodbye(ProtocolError("nonsense"))
    theirs.setblocking(False)

    def send() -> None:
        try:
            theirs.send(bytes(65536))
        except OSError:
            loop.remove_writer(theirs.fileno())

    loop.add_writer(theirs.fileno(), send)
    assert loop.run_until(link.is_over, timeout=3)
    assert link._discarded < 2_000_000
    theirs.close()


def test_the_peers_end_reaches_the_core_and_closes(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    heard: list[Any] = []
    closed: list[Link] = []
    Link(loop, pair[0], core, heard.append, on_closed=closed.append)
    pair[1].send(frame(ANSWER, b"last"))
    pair[1].shutdown(socket.SHUT_WR)
    assert loop.run_until(lambda: heard[-1:] and heard[-1][0] == "closed", timeout=1)
    assert heard[0] == ("answer", b"last")
    assert isinstance(core.error, ConnectionLost)
    pair[1].close()
    assert loop.run_until(lambda: closed, timeout=1)


def test_a_reset_is_reported_once_with_the_kernels_error(
    loop: SmallLoop, toy_core: Cores, tcp: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    closed: list[Link] = []
    link = Link(loop, tcp[0], core, print, on_closed=closed.append)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    tcp[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    tcp[1].close()
    assert loop.run_until(lambda: closed, timeout=1)
    assert isinstance(link.failure, ConnectionResetError)
    assert str(core.error) == "broke: Connection reset by peer"
    assert closed == [link]


def test_a_goodbye_that_waits_is_heard_although_sending_fails(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    heard: list[Any] = []
    link = Link(loop, pair[0], core, heard.append)
    pair[1].send(frame(BYE))
    pair[1].close()
    core.put(ANSWER, b"too late")
    link.pause()
    assert loop.run_until(link.is_over, timeout=1)
    assert heard == [("closed", None)]
    assert isinstance(link.failure, BrokenPipeError)


def test_events_survive_a_callback_that_raises(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    heard: list[Any] = []

    def listen(event: Any) -> None:
        heard.append(event)
        if len(heard) == 1:
            raise LookupError("mine")

    Link(loop, pair[0], toy_core(), listen)
    pair[1].send(frame(ANSWER, b"1") + frame(ANSWER, b"2"))
    with pytest.raises(LookupError):
        loop.run_until(lambda: False, timeout=1)
    assert loop.run_until(lambda: len(heard) == 2, timeout=1)


def test_what_an_answer_sets_free_is_heard_in_the_same_turn(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    heard: list[Any] = []

    def listen(event: Any) -> None:
        heard.append(event)
        if len(heard) < 5:
            core.happened.append(("more",))

    Link(loop, pair[0], core, listen)
    core.happened.append(("first",))
    assert loop.run_until(lambda: len(heard) == 5, timeout=0.05)
    assert not core.happened


def test_a_core_that_fills_what_was_sent_leaves_turns_to_others(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    others: list[int] = []
    left = 1000

    def listen(event: Any) -> None:
        nonlocal left
        if left:
            left -= 1
            core.put(ANSWER, b"x")

    class Eager(type(core)):  # type: ignore[misc]
        def sent(self, count: int) -> None:
            super().sent(count)
            self.happened.append(("writable",))

    core = Eager()
    core.happened.append(("writable",))
    Link(loop, pair[0], core, listen)

    def turn() -> None:
        others.append(left)
        loop.call_soon(turn)

    loop.call_soon(turn)
    loop.add_reader(pair[1].fileno(), lambda: pair[1].recv(100_000))
    assert loop.run_until(lambda: not left, timeout=2)
    assert len(others) >= 1000 // stream._ROUNDS_PER_TURN


@pytest.mark.parametrize("heard_first", [True, False])
def test_a_proxy_that_reads_no_more_may_still_have_said_something(
    loop: SmallLoop, toy_core: Cores, heard_first: bool
) -> None:
    there, back = os.pipe(), os.pipe()
    core = toy_core()
    heard: list[Any] = []
    link = Link(loop, PipePair(back[0], there[1]), core, heard.append)
    if heard_first:
        os.write(back[1], frame(ANSWER, b"last words"))
    os.close(there[0])
    core.put(ANSWER, b"unheard")
    link.pause()
    assert loop.run_until(link.is_over, timeout=2)
    assert heard == [("answer", b"last words")] * heard_first + [("closed", core.error)]
    assert str(core.error) == "broke: Broken pipe"
    os.close(back[1])


def test_a_detached_stream_stays_open_and_silent(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    heard: list[Any] = []
    link = Link(loop, pair[0], core, heard.append)
    core.put(ANSWER, b"unsent")
    assert link.detach() is pair[0]
    link.flush_soon()
    pair[1].send(frame(ANSWER, b"for another"))
    assert loop.run_until(lambda: heard, timeout=0.02) is False
    assert not loop._readers
    assert pair[0].recv(100) == frame(ANSWER, b"for another")
    again = Link(loop, pair[0], core, heard.append)
    loop.run_until(lambda: not len(core.output), timeout=1)
    assert pair[1].recv(100) == frame(ANSWER, b"unsent")
    again.close()


def test_detaching_inside_an_event_leaves_the_rest_of_the_events(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    heard: list[Any] = []

    def listen(event: Any) -> None:
        heard.append(event)
        link.detach()

    link = Link(loop, pair[0], toy_core(), listen)
    pair[1].send(frame(ANSWER, b"1") + frame(ANSWER, b"2"))
    loop.run_until(lambda: heard, timeout=1)
    loop.run_until(lambda: False, timeout=0.01)
    assert heard == [("answer", b"1")]


def test_a_paused_link_takes_nothing_and_resumes(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    heard: list[Any] = []
    link = Link(loop, pair[0], toy_core(), heard.append)
    link.pause()
    pair[1].send(frame(ANSWER, b"1"))
    assert loop.run_until(lambda: heard, timeout=0.02) is False
    link.resume()
    assert loop.run_until(lambda: heard, timeout=1)


def test_two_pipes_are_a_stream_and_get_their_flags_back(loop: SmallLoop, toy_core: Cores) -> None:
    there, back = os.pipe(), os.pipe()
    kept = os.dup(back[1])
    ours, theirs = toy_core(), toy_core()
    heard: list[Any] = []
    left = Link(loop, PipePair(there[0], back[1]), ours, heard.append)
    right = Link(loop, PipePair(back[0], there[1]), theirs, heard.append)
    body = os.urandom(700_001)
    theirs.put(ASK, body)
    right.flush_soon()
    assert loop.run_until(lambda: heard, timeout=3)
    assert heard == [("answer", body)]
    assert not os.get_blocking(kept)
    left.close()
    assert os.get_blocking(kept)
    os.close(kept)
    assert loop.run_until(right.is_over, timeout=1)


def test_a_thousand_small_blocks_go_out_although_a_call_takes_only_so_many(
    loop: SmallLoop, toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    core = toy_core()
    waiting = [bytes((number % 256,)) for number in range(3000)]

    class Many(type(core)):  # type: ignore[misc]
        def to_send(self) -> list[memoryview]:
            return [memoryview(part) for part in waiting]

        def sent(self, count: int) -> None:
            del waiting[:count]

    Link(loop, pair[0], Many(), print)
    got = bytearray()
    loop.add_reader(pair[1].fileno(), lambda: got.extend(pair[1].recv(100_000)))
    assert loop.run_until(lambda: len(got) == 3000, timeout=2)
    assert bytes(got) == bytes(number % 256 for number in range(3000))


def test_the_same_link_runs_on_asyncio(
    toy_core: Cores, pair: tuple[socket.socket, socket.socket]
) -> None:
    async def talk() -> list[Any]:
        loop = asyncio.get_running_loop()
        heard: list[Any] = []
        done = asyncio.Event()
        ours, theirs = toy_core(), toy_core()

        def listen(event: Any) -> None:
            heard.append(event)
            if event[0] == "answer":
                theirs.say_goodbye()

        left = Link(loop, pair[0], ours, print, on_closed=lambda _: done.set())
        Link(loop, pair[1], theirs, listen)
        theirs.put(ASK, bytes(1_000_000))
        await asyncio.wait_for(done.wait(), 5)
        assert left.stage is Stage.CLOSED
        return heard

    heard = asyncio.run(talk())
    assert heard[0] == ("answer", bytes(1_000_000))


@pytest.mark.alone
def test_a_round_trip_on_loopback_takes_less_than_a_delayed_ack(
    loop: SmallLoop, toy_core: Cores, tcp: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = toy_core(), toy_core()
    heard: list[Any] = []
    link = Link(loop, tcp[0], ours, heard.append)
    Link(loop, tcp[1], theirs, print)
    taken = []
    for number in range(1, 51):
        started = time.monotonic()
        ours.put(ASK, b"?")
        link.flush_soon()
        loop.run_until(lambda: len(heard) == number, timeout=1)  # noqa: B023 - used at once
        assert len(heard) == number
        taken.append(time.monotonic() - started)
    # A delayed acknowledgement takes 40 ms, each time.
    assert statistics.median(taken) < 0.02
