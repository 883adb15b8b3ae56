# SPDX-License-Identifier: MIT
"""Data whose messages are datagrams (OpenSSH's PROTOCOL, section 2.3): each stays whole, and none is ever owed."""

import pytest

from tellin.connection.channel import Channel
from tellin.connection.forwarding import COUNTED
from tellin.protocol.events import ChannelWritable
from tellin.testing import Loopback


class Datagrams:
    """A sink that uses up every message, as its sender counts it."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def take(self, views: list[memoryview]) -> int:
        self.taken += map(bytes, views)
        return sum(len(view) + COUNTED for view in views)


Session = tuple[Loopback, Channel, Channel]


@pytest.fixture
def session(open_pair: Loopback) -> Session:
    ours, theirs = open_pair.session()
    return open_pair, ours, theirs


def test_each_datagram_is_one_message_of_its_own(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = sink = Datagrams()
    sent = [bytes((at,)) * size for at, size in enumerate((1, 5, 1500, 65535, 2, 2))]
    assert all(ours.send_datagram(one) for one in sent)
    made.pump()
    assert sink.taken == sent


def test_the_length_of_a_datagram_is_counted_with_it(session: Session) -> None:
    _, ours, _ = session
    before = ours.send_window
    assert ours.send_datagram(bytes(100))
    assert ours.send_window == before - 104


def test_what_does_not_fit_is_not_sent_at_all(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = sink = Datagrams()
    assert not ours.send_datagram(b"")
    ours.send_packet = 1000
    assert not ours.send_datagram(bytes(997))
    ours.send_window = 999
    assert not ours.send_datagram(bytes(996))
    ours.send_window = 1000
    assert ours.send_datagram(bytes(996))
    assert ours.send_window == 0
    assert not ours.send_datagram(b"x")
    made.pump()
    assert sink.taken == [bytes(996)]


def test_whoever_had_no_room_hears_when_there_is_some(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = Datagrams()
    while ours.send_datagram(bytes(60000)):
        pass
    ours.send_window = 0
    assert not ours.room()
    made.pump()
    # All that had been sent was used up, and told.
    assert [event.channel for event in made.seen(ChannelWritable, made.client)] == [ours]


def test_a_window_is_neither_used_up_nor_widened_by_many_lengths(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = sink = Datagrams()
    for _ in range(100):
        assert all(ours.send_datagram(bytes(40)) for _ in range(400))
        made.pump()
    assert len(sink.taken) == 40000
    assert ours.send_window + theirs.credit == theirs.target
