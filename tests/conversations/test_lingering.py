# SPDX-License-Identifier: MIT
"""A channel that one side closes while the other has still something to say."""

from tellin.connection.requests import ExitStatus
from tellin.protocol.events import ChannelClosed, ChannelClosing, ChannelEnded
from tellin.testing import Loopback


def test_a_close_waits_for_its_answer_where_the_channel_lingers(open_pair: Loopback) -> None:
    ours, theirs = open_pair.session()
    theirs.lingers = True
    ours.close()
    open_pair.pump()
    assert len(open_pair.seen(ChannelEnded, open_pair.server)) == 1
    assert len(open_pair.seen(ChannelClosing, open_pair.server)) == 1
    assert not open_pair.seen(ChannelClosed)
    # Requests still go out; tests/interop has the clients that wait for this one.
    theirs.request(ExitStatus(44))
    open_pair.pump()
    assert list(open_pair.client.channels.values()) == [ours]
    theirs.close()
    open_pair.pump()
    assert len(open_pair.seen(ChannelClosed)) == 2
    assert not open_pair.server.channels
    assert not open_pair.client.channels


def test_a_close_is_answered_at_once_where_nothing_lingers(open_pair: Loopback) -> None:
    ours, _theirs = open_pair.session()
    ours.close()
    open_pair.pump()
    assert not open_pair.seen(ChannelClosing)
    assert len(open_pair.seen(ChannelClosed)) == 2


def test_two_closes_that_cross_leave_nothing_to_wait_for(open_pair: Loopback) -> None:
    ours, theirs = open_pair.session()
    theirs.lingers = True
    ours.close()
    theirs.close()
    open_pair.pump()
    assert not open_pair.seen(ChannelClosing)
    assert len(open_pair.seen(ChannelClosed)) == 2
