# SPDX-License-Identifier: MIT
"""Channels that nobody uses are closed in their time, and connections without any are told of."""

import pytest

from tellin.config.patterns import match_pattern
from tellin.connection.channel import Channel, Half, Standing
from tellin.connection.idleness import IdleRules
from tellin.protocol import ServerProtocol
from tellin.protocol.events import ChannelClosed, ChannelIdle, ConnectionUnused
from tellin.testing import Collector, Loopback


def watch(core: object, **rules: object) -> None:
    assert isinstance(core, ServerProtocol)
    core.watch_idleness(IdleRules(**rules), fits=match_pattern)  # type: ignore[arg-type]


def wait(pair: Loopback, seconds: float) -> None:
    """Let time pass as a driver does: both cores are woken when they want to be."""
    until = pair.now + seconds
    while True:
        core = pair.server
        at = core.deadline()
        if at is None or at > until:
            break
        pair.now = max(pair.now, at)
        core.tick(pair.now)
        pair.pump()
    pair.now = until


def idle(pair: Loopback) -> list[tuple[Channel, float]]:
    return [(event.channel, event.seconds) for event in pair.seen(ChannelIdle, pair.server)]


def test_a_silent_channel_is_closed_and_a_busy_one_is_not(open_pair: Loopback) -> None:
    pair = open_pair
    quiet, their_quiet = pair.session()
    busy, their_busy = pair.session()
    their_busy.sink = Collector(their_busy)
    watch(pair.server, channels=(("session", 10.0),))
    for _ in range(30):
        wait(pair, 1)
        busy.send(b"x")
        pair.pump()
    assert idle(pair) == [(their_quiet, 10.0)]
    assert quiet.standing is Standing.GONE
    assert pair.seen(ChannelClosed, pair.client)[0].channel is quiet
    assert busy.standing is Standing.OPEN
    # What it says itself is use as well.
    for _ in range(30):
        wait(pair, 1)
        their_busy.send(b"y")
        pair.pump()
    assert their_busy.standing is Standing.OPEN
    wait(pair, 12)
    assert [channel for channel, _ in idle(pair)] == [their_quiet, their_busy]


@pytest.mark.parametrize(
    ("pattern", "closed"),
    [
        ("session", True),
        ("session:shell", True),
        ("session:*", True),
        ("*", True),
        ("session:command", False),
        ("direct-tcpip", False),
    ],
)
def test_a_pattern_names_a_type_or_what_a_session_is_for(
    open_pair: Loopback, pattern: str, closed: bool
) -> None:
    _, theirs = open_pair.session()
    theirs.purpose = "shell"
    watch(open_pair.server, channels=((pattern, 5.0),))
    wait(open_pair, 8)
    assert [channel for channel, _ in idle(open_pair)] == ([theirs] if closed else [])


def test_of_two_patterns_the_first_counts_and_a_time_of_0_is_none(open_pair: Loopback) -> None:
    open_pair.session()
    watch(open_pair.server, channels=(("sess*", 0.0), ("session", 2.0)))
    wait(open_pair, 100)
    assert idle(open_pair) == []


def test_all_channels_together_live_as_long_as_one_is_used(open_pair: Loopback) -> None:
    pair = open_pair
    _, first = pair.session()
    second, their_second = pair.session()
    their_second.sink = Collector(their_second)
    watch(pair.server, together=10.0)
    for _ in range(40):
        wait(pair, 1)
        second.send(b"x")
        pair.pump()
    assert idle(pair) == []
    wait(pair, 12)
    assert {channel for channel, _ in idle(pair)} == {first, their_second}


def test_a_peer_that_does_not_answer_the_close_gets_nothing_more(open_pair: Loopback) -> None:
    pair = open_pair
    ours, theirs = pair.session()
    watch(pair.server, channels=(("*", 3.0),))
    while theirs.sending is not Half.CLOSED:
        at = pair.server.deadline()
        assert at is not None
        pair.now = at
        pair.server.tick(at)
    # The client has not heard of it.
    assert ours.standing is Standing.OPEN
    for _ in range(20):
        pair.now += 3
        pair.server.tick(pair.now)
    assert sum(isinstance(event, ChannelIdle) for event in pair.server.events()) == 1


def test_a_connection_without_a_channel_is_told_of_once(open_pair: Loopback) -> None:
    pair = open_pair
    watch(pair.server, unused=20.0)
    wait(pair, 15)
    ours, theirs = pair.session()
    wait(pair, 100)
    assert pair.seen(ConnectionUnused) == []
    ours.close()
    theirs.close()
    pair.pump()
    wait(pair, 15)
    assert pair.seen(ConnectionUnused) == []
    wait(pair, 100)
    assert [event.seconds for event in pair.seen(ConnectionUnused)] == [20.0]


def test_without_rules_nobody_is_woken(open_pair: Loopback) -> None:
    before = open_pair.server.deadline()
    watch(open_pair.server)
    assert open_pair.server.deadline() == before
