# SPDX-License-Identifier: MIT
"""What is typed and when it leaves: two cores in memory, under a clock that the test moves."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from tellin.client.sessions.keystrokes import CHAFF, Keystrokes
from tellin.protocol.events import PongReceived
from tellin.runtime.journal import DEBUG3, Journal
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import make_pair

BEAT = 0.020
# A beat is a tenth early or late at most.
EARLIEST, LATEST = BEAT * 0.9, BEAT * 1.1
KNOWS_PING = {"extensions": {"ping@openssh.com": b"0"}}


class Call:
    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Clock:
    """The part of a loop that keeps time."""

    def __init__(self) -> None:
        self.now = 100.0
        self._calls: list[tuple[float, int, Call]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> Call:
        made = Call(callback)
        heapq.heappush(self._calls, (when, next(self._order), made))
        return made

    @property
    def pending(self) -> int:
        return sum(made.call is not None for _, _, made in self._calls)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            when, _, made = heapq.heappop(self._calls)
            if made.call is not None:
                self.now = max(self.now, when)
                made.call()
        self.now = until


class Desk:
    """Somebody types; ``wire`` is what a listener sees of it: when, and how much."""

    def __init__(
        self,
        made: Loopback,
        *,
        edit: Callable[[bytes], bytes] | None = None,
        milliseconds: int = 20,
        knows_ping: bool = True,
    ) -> None:
        self.made = made
        self.clock = Clock()
        self.channel, self.theirs = made.session()
        self.sink = self.theirs.sink = Collector(self.theirs)
        self.wire: list[tuple[float, int]] = []
        self.lines: list[str] = []
        client: Any = made.client
        self.keys = Keystrokes(
            self.clock,  # type: ignore[arg-type]
            self.channel,
            self,
            milliseconds=milliseconds,
            fake=(lambda: client.ping(CHAFF)) if knows_ping else None,
            edit=edit,
            journal=Journal(DEBUG3, self.lines.append),
            random=random.Random(17).randbytes,
        )

    def flush(self) -> None:
        size = self.made.client.unsent
        if size:
            self.wire.append((self.clock.now, size))
            self.made.pump()

    def type(self, data: bytes) -> None:
        """As a source does it: what ``edit`` returns is sent at once."""
        now = self.keys.edit(data)
        if now:
            assert self.channel.send(now) == len(now)
        self.flush()

    @property
    def read(self) -> bytes:
        return bytes(self.sink.data)

    @property
    def fakes(self) -> int:
        return len(self.made.seen(PongReceived, self.made.client))

    def gaps(self) -> list[float]:
        times = [when for when, _ in self.wire]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


@pytest.fixture
def desk() -> Callable[..., Desk]:
    def make(*, server: dict[str, Any] | None = None, **options: Any) -> Desk:
        made = make_pair(server=server or KNOWS_PING)
        made.log_in()
        return Desk(made, **options)

    return make


Make = Callable[..., Desk]


def test_the_first_key_leaves_at_once_and_those_behind_it_with_the_beat(desk: Make) -> None:
    one = desk()
    one.type(b"l")
    assert one.read == b"l"
    assert one.wire[0][0] == 100.0
    one.clock.advance(0.003)
    one.type(b"s")
    one.clock.advance(0.002)
    one.type(b"\r")
    assert one.read == b"l"
    one.clock.advance(LATEST)
    assert one.read == b"ls\r"
    assert len(one.wire) == 2
    assert EARLIEST <= one.gaps()[0] <= LATEST


@pytest.mark.parametrize("echoing", [True, False], ids=["echo", "echo off"])
def test_r157_a_typed_line_is_a_steady_beat_and_fakes_go_on_for_a_second(
    desk: Make, echoing: bool
) -> None:
    """CVE-2024-39894: real keys among the fakes were seen, where nothing was echoed most of all."""
    typist = desk()
    answers: list[int] = []

    class Terminal:
        """Echoes each key, or answers for it as the server does where it must not."""

        def take(self, views: list[memoryview]) -> int:
            size = sum(map(len, views))
            if echoing:
                typist.theirs.send(b"*" * size)
            else:
                typist.made.server.ignore(bytes(4 + size))
            return size

    typist.theirs.sink = Terminal()
    carry = typist.made._carry

    def noted(source: Any, target: Any) -> bool:
        if source is typist.made.server and source.unsent:
            answers.append(source.unsent)
        return carry(source, target)

    typist.made._carry = noted  # type: ignore[method-assign]
    gaps = (0.0, 0.031, 0.07, 0.2, 0.013, 0.4, 0.09, 0.02, 0.11, 0.3)
    for key, gap in zip(b"correct ho", gaps, strict=True):
        typist.clock.advance(gap)
        typist.type(bytes((key,)))
    last = typist.clock.now
    typist.clock.advance(5)
    # The cadence, from the first key to the last fake.
    assert all(EARLIEST <= gap <= LATEST for gap in typist.gaps())
    assert typist.wire[-1][0] >= last + 1
    # What goes one way looks the same for a key and for none, and what comes back does.
    assert len({size for _, size in typist.wire}) == 1
    assert len(set(answers)) == 1
    assert len(answers) == len(typist.wire)


def test_to_who_listens_a_key_is_like_no_key(desk: Make) -> None:
    one = desk()
    for pause in (0.0, 0.031, 0.172, 0.009, 0.4, 0.011, 0.25):
        one.clock.advance(pause)
        one.type(b"x")
    one.clock.advance(10.0)
    assert one.read == b"x" * 7
    # Every packet has the same size, and their distance says nothing of the pauses.
    assert {size for _, size in one.wire} == {one.wire[0][1]}
    assert all(EARLIEST - 1e-9 <= gap <= LATEST + 1e-9 for gap in one.gaps())
    assert len(set(one.gaps())) > len(one.gaps()) // 2
    # The server has answered every fake, as it would have echoed a key.
    assert one.fakes == len(one.wire) - 7
    assert one.made.client.error is None


def test_fakes_follow_the_last_key_for_one_second_to_three_and_then_all_is_quiet(
    desk: Make,
) -> None:
    lengths = []
    one = desk()
    for _ in range(12):
        one.type(b"x")
        began = one.clock.now
        one.clock.advance(5.0)
        assert not one.keys.active
        assert not one.clock.pending
        lengths.append(one.wire[-1][0] - began)
    assert min(lengths) >= 1.0 - LATEST
    assert max(lengths) <= 3.0
    assert max(lengths) - min(lengths) > 0.5


def test_a_key_among_the_fakes_makes_them_last_longer(desk: Make) -> None:
    one = desk()
    for _ in range(10):
        one.type(b"x")
        one.clock.advance(0.9)
        assert one.keys.active
    assert one.read == b"x" * 10
    assert len(one.lines) == 1


def test_what_is_pasted_is_not_held_up(desk: Make) -> None:
    one = desk()
    text = bytes(range(32, 127)) * 4
    one.type(text)
    assert one.read == text
    assert not one.keys.active
    one.type(b"a")
    one.type(b"b")
    one.type(text)
    assert one.read == text + b"ab" + text
    assert not one.keys.active
    one.clock.advance(10.0)
    assert one.fakes == 0


def test_a_server_that_does_not_know_ping_gets_the_beat_without_fakes(desk: Make) -> None:
    one = desk(server={"extensions": {}}, knows_ping=False)
    one.type(b"a")
    one.clock.advance(0.005)
    one.type(b"b")
    assert one.read == b"a"
    one.clock.advance(10.0)
    assert one.read == b"ab"
    assert [size for _, size in one.wire] == [one.wire[0][1]] * 2
    assert one.lines[-1].endswith("0 fakes")


def test_another_interval(desk: Make) -> None:
    one = desk(milliseconds=200)
    one.type(b"a")
    one.type(b"b")
    one.clock.advance(0.17)
    assert one.read == b"a"
    one.clock.advance(0.06)
    assert one.read == b"ab"


def test_an_escape_takes_part_in_nothing(desk: Make) -> None:
    one = desk(edit=lambda data: data.replace(b"~?", b""))
    one.type(b"~?")
    assert not one.keys.active
    one.type(b"a")
    one.type(b"~?")
    one.type(b"b~?c")
    one.clock.advance(LATEST)
    assert one.read == b"abc"


def test_while_keys_are_exchanged_nothing_is_sent_and_nothing_lost(desk: Make) -> None:
    one = desk()
    one.type(b"a")
    client = one.made.client
    client.rekey()
    first = client.unsent
    one.type(b"b")
    one.clock.advance(0.3)
    # Our KEXINIT has gone with the flush of the first beat; its answer is kept back by nobody.
    assert first
    assert one.read == b"ab"
    # The other way round: an exchange whose answer does not come.
    held = desk()
    held.type(b"a")
    held.made.client.rekey()
    size = held.made.client.unsent
    held.keys.edit(b"b")
    held.flush = lambda: None  # type: ignore[method-assign]
    held.clock.advance(5.0)
    assert held.made.client.unsent == size
    assert held.keys.active
    assert held.fakes == 0
    held.made.pump()
    held.clock.advance(LATEST)
    held.made.pump()
    assert held.read == b"ab"


def test_a_full_window_keeps_what_was_typed(desk: Make) -> None:
    one = desk()
    one.type(b"a")
    one.channel.send_window = 0
    one.type(b"bcd")
    one.clock.advance(5.0)
    assert one.read == b"a"
    one.channel.send_window = 2
    one.clock.advance(LATEST)
    assert one.read == b"abc"
    one.channel.send_window = 2
    one.clock.advance(LATEST)
    assert one.read == b"abcd"


def test_the_end_of_the_input_stands_behind_what_was_typed(desk: Make) -> None:
    one = desk()
    ended: list[bytes] = []
    one.type(b"a")
    one.type(b"b")
    one.keys.finish(lambda: ended.append(one.read))
    assert ended == [b"ab"]
    assert not one.clock.pending
    # Without room it waits for the next beats.
    two = desk()
    two.type(b"a")
    two.channel.send_window = 0
    two.type(b"b")
    two.keys.finish(lambda: ended.append(two.read))
    two.clock.advance(1.0)
    assert len(ended) == 1
    two.channel.send_window = 10
    two.clock.advance(LATEST)
    assert ended == [b"ab", b"ab"]
    assert not two.clock.pending


def test_what_is_closed_sends_nothing_more(desk: Make) -> None:
    one = desk()
    one.type(b"a")
    one.type(b"b")
    one.keys.finish(lambda: None)
    one.keys.close()
    two = desk()
    two.type(b"a")
    two.type(b"b")
    two.keys.close()
    two.clock.advance(10.0)
    assert two.read == b"a"
    assert two.fakes == 0
    assert not two.clock.pending


def test_beats_that_were_missed_are_not_made_up_for(desk: Make) -> None:
    one = desk()
    one.type(b"a")
    # The machine was asleep: the clock jumps, and no call came in between.
    one.clock.now += 0.5
    one.clock.advance(LATEST)
    assert len(one.wire) <= 3


@pytest.mark.parametrize("seed", range(6))
def test_all_that_is_typed_arrives_in_its_order(desk: Make, seed: int) -> None:
    chance = random.Random(seed)
    one = desk(knows_ping=bool(seed % 2))
    typed = b""
    for _ in range(80):
        data = chance.randbytes(chance.choice((1, 1, 1, 2, 5, 60, 127, 128, 3000)))
        typed += data
        one.type(data)
        if chance.random() < 0.1:
            one.made.client.rekey()
            one.flush()
        one.clock.advance(chance.choice((0.0, 0.001, 0.001, 0.02, 0.02, 0.1, 0.1, 4.0)))
    one.keys.finish(one.channel.eof)
    one.made.pump()
    assert one.read == typed
    assert one.made.server.error is None
