# SPDX-License-Identifier: MIT
"""Channels, windows and requests against a peer that does not keep the rules (RFC 4254)."""

from struct import pack
from typing import Any

import pytest
from tests.conversations.bare import inject, inject_only, refused, take, write

from tellin.connection.channel import Channel
from tellin.connection.machine import ConnectionSettings
from tellin.connection.requests import (
    ExecRequest,
    ExitStatus,
    Request,
    ShellRequest,
    WindowChange,
)
from tellin.errors import UsageError
from tellin.protocol.events import (
    ChannelAsked,
    ChannelClosed,
    ChannelEnded,
    ChannelOpenRefused,
    ChannelReplied,
    ChannelRequested,
    ChannelWritable,
    GlobalReplied,
    GlobalRequested,
)
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import Pair
from tellin.wire import string


def data(number: int, content: bytes) -> bytes:
    return b"\x5e" + pack(">I", number) + string(content)


@pytest.fixture
def session(open_pair: Loopback) -> tuple[Loopback, Channel, Channel]:
    ours, theirs = open_pair.session()
    return open_pair, ours, theirs


Session = tuple[Loopback, Channel, Channel]


def test_data_and_end_reach_the_sink_once(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = Collector(theirs)
    ours.send(b"all of it")
    ours.eof()
    made.pump()
    ours.close()
    made.pump()
    assert theirs.sink.data == b"all of it"
    assert len(made.seen(ChannelEnded, made.server)) == 1
    assert len(made.seen(ChannelClosed)) == 2
    assert not made.client.channels
    assert not made.server.channels


def test_data_that_comes_before_there_is_a_sink_waits_for_it(session: Session) -> None:
    made, ours, theirs = session
    ours.send(b"early ")
    made.pump()
    ours.send(b"and late")
    ours.eof()
    made.pump()
    before = theirs.receive_window + theirs.credit
    theirs.sink = sink = Collector(theirs)
    assert sink.data == b"early and late"
    assert theirs.receive_window + theirs.credit == before + len(sink.data)


def test_standard_error_has_a_sink_of_its_own(session: Session) -> None:
    made, ours, theirs = session
    ours.sink, ours.extended_sink = Collector(ours), Collector(ours)
    theirs.send(b"out")
    theirs.send_extended(b"err")
    made.pump()
    assert ours.sink.data == b"out"
    assert ours.extended_sink.data == b"err"


def test_replies_keep_the_order_of_requests_whoever_decides_first(session: Session) -> None:
    made, ours, theirs = session
    ours.request(ExecRequest(b"one"), want_reply=True)
    ours.request(ShellRequest(), want_reply=True)
    made.pump()
    first, second = made.seen(ChannelRequested, made.server)
    theirs.answer(False, second.debt)
    made.pump()
    assert not made.seen(ChannelReplied)
    theirs.answer(True, first.debt)
    made.pump()
    replies = made.seen(ChannelReplied, made.client)
    assert [(type(reply.request), reply.success) for reply in replies] == [
        (ExecRequest, True),
        (ShellRequest, False),
    ]


def test_r130_a_window_beyond_32_bits_ends_the_connection(session: Session) -> None:
    made, _, theirs = session
    inject(made, b"\x5d" + pack(">II", theirs.number, 0xFFFFFFFF))
    assert refused(made.server)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_r131_case_189_a_tiny_maximum_packet_is_refused(open_pair: Loopback, size: int) -> None:
    inject_only(open_pair, b"\x5a" + string(b"session") + pack(">III", 7, 1 << 20, size))
    assert not open_pair.server.closed
    assert not open_pair.server.channels


def test_r133_refused_channels_leave_nothing_behind(open_pair: Loopback) -> None:
    open_pair.answers[ChannelAsked] = lambda core, event: core.refuse_channel(
        event.channel, 1, "no"
    )
    for _ in range(2000):
        open_pair.client.open_channel("session")
        open_pair.pump()
        open_pair.client_events.clear()
        open_pair.server_events.clear()
    assert not open_pair.server.channels
    assert not open_pair.client.channels
    assert open_pair.server._connection._windows.granted == 0


@pytest.mark.parametrize("number", [99, 100])
def test_r134_an_answer_to_no_request_ends_the_connection(session: Session, number: int) -> None:
    made, _, theirs = session
    inject(made, bytes((number,)) + pack(">I", theirs.number))
    assert refused(made.server)


@pytest.mark.parametrize("number", [81, 82])
def test_r134_an_answer_to_no_global_request_ends_the_connection(
    open_pair: Loopback, number: int
) -> None:
    inject(open_pair, bytes((number,)))
    assert refused(open_pair.server)


def test_r135_case_217_a_truncated_request_ends_the_connection(session: Session) -> None:
    made, _, theirs = session
    inject(made, b"\x62" + pack(">I", theirs.number) + string(b"exit-status") + b"\0" + b"\0\0")
    assert refused(made.server)


@pytest.mark.parametrize("kind", [0, 7, 0xFFFFFFFF])
def test_r136_case_202_extended_data_of_other_types_is_dropped_and_credited(
    session: Session, kind: int
) -> None:
    made, _, theirs = session
    theirs.sink = Collector(theirs)
    before = theirs.receive_window
    inject(made, b"\x5f" + pack(">II", theirs.number, kind) + string(b"x" * 1000))
    assert not made.server.closed
    assert theirs.receive_window + theirs.credit == before
    assert not theirs.sink.data


@pytest.mark.parametrize(
    "payload",
    [
        data(99, b"x"),
        b"\x60" + pack(">I", 99),
        b"\x61" + pack(">I", 99),
        b"\x62" + pack(">I", 99) + string(b"shell") + b"\1",
    ],
)
def test_r137_cases_193_194_messages_for_unknown_channels(
    open_pair: Loopback, payload: bytes
) -> None:
    inject(open_pair, payload)
    assert refused(open_pair.server)
    assert "nonexistent channel" in str(open_pair.server.error)


def test_case_195_a_window_adjustment_for_an_unknown_channel_is_ignored(
    open_pair: Loopback,
) -> None:
    inject(open_pair, b"\x5d" + pack(">II", 99, 5))
    assert not open_pair.server.closed


def test_r138_case_199_data_after_the_end(session: Session) -> None:
    made, ours, theirs = session
    ours.eof()
    inject(made, data(theirs.number, b"late"))
    assert refused(made.server)
    assert len(made.seen(ChannelEnded, made.server)) == 1


def test_case_201_a_second_close(session: Session) -> None:
    made, ours, theirs = session
    ours.close()
    inject(made, b"\x61" + pack(">I", theirs.number))
    assert refused(made.server)


def test_r139_case_198_data_beyond_the_window(session: Session) -> None:
    made, _, theirs = session
    theirs.sink = Collector(theirs, hold=True)
    piece = data(theirs.number, bytes(100_000))
    for _ in range(30):
        inject(made, piece)
    assert refused(made.server)
    assert len(theirs.sink.data) < (2 << 20) + 4 * (128 << 10)


def test_r140_channels_are_limited_and_half_open_ones_count(pair: Pair) -> None:
    limit = ConnectionSettings(maximum_channels=4, channel_types=frozenset({"session"}))
    made = pair(server_core={"connection": limit})
    made.log_in()
    made.answers[ChannelAsked] = lambda *_: None
    for _ in range(6):
        made.client.open_channel("session")
    made.pump()
    assert len(made.seen(ChannelAsked)) == 4
    assert [event.reason for event in made.seen(ChannelOpenRefused)] == [4, 4]
    assert not made.server.closed


def test_r141_flood_both_ways_over_64_channels_with_tiny_windows(pair: Pair) -> None:
    tiny = ConnectionSettings(
        receive_budget=1, maximum_packet=1024, channel_types=frozenset({"session"})
    )
    made = pair(client_core={"connection": tiny}, server_core={"connection": tiny})
    made.log_in()
    ends = [end for _ in range(64) for end in made.session()]
    left = dict.fromkeys(ends, 0)
    size = 80_000
    for end in ends:
        end.sink = Collector(end)
    for _ in range(20_000):
        moving = [end for end in ends if left[end] < size]
        if not moving:
            break
        for end in moving:
            left[end] += end.send(bytes(min(5000, size - left[end])))
            assert made.client.unsent < 1 << 20
            assert made.server.unsent < 1 << 20
        made.step()
    made.pump()
    assert all(isinstance(end.sink, Collector) and len(end.sink.data) == size for end in ends)


def test_r142_case_174_unknown_global_requests_get_failure_only(open_pair: Loopback) -> None:
    open_pair.client.request("roaming@appgate.com", b"x", token="asked")
    open_pair.client.request("roaming@appgate.com", b"x")
    open_pair.pump()
    replies = open_pair.seen(GlobalReplied)
    assert [(reply.name, reply.success, reply.token) for reply in replies] == [
        ("roaming@appgate.com", False, "asked")
    ]
    assert not open_pair.seen(GlobalRequested)


def test_global_replies_keep_their_order(pair: Pair) -> None:
    known = ConnectionSettings(global_requests=frozenset({"slow"}))
    made = pair(server_core={"connection": known})
    made.log_in()
    made.client.request("slow", token=1)
    made.client.request("unknown", token=2)
    made.pump()
    assert not made.seen(GlobalReplied)
    made.server.answer_global(True, b"done")
    made.pump()
    assert [reply.token for reply in made.seen(GlobalReplied)] == [1, 2]
    assert made.seen(GlobalReplied)[0].data == b"done"


def test_case_175_a_truncated_global_request(open_pair: Loopback) -> None:
    inject(open_pair, b"\x50" + pack(">I", 99) + b"x")
    assert refused(open_pair.server)


def test_case_185_a_flood_of_keepalives_that_nobody_reads_ends(open_pair: Loopback) -> None:
    server, client = open_pair.server, open_pair.client
    request = b"\x50" + string(b"keepalive@openssh.com") + b"\1"
    for _ in range(200):
        for _ in range(500):
            write(client, request)
        server.receive_data(take(client), 0.0)
        if server.closed:
            break
    assert refused(server)
    assert server.unsent < 2 << 20


def test_case_186_no_session_after_no_more_sessions(open_pair: Loopback) -> None:
    open_pair.client.request("no-more-sessions@openssh.com")
    open_pair.client.open_channel("session")
    open_pair.pump()
    assert [event.reason for event in open_pair.seen(ChannelOpenRefused)] == [1]


def test_case_187_an_unknown_channel_type(open_pair: Loopback) -> None:
    open_pair.client.open_channel("nonsense@example.com")
    open_pair.pump()
    assert [event.reason for event in open_pair.seen(ChannelOpenRefused)] == [3]


def test_case_190_a_window_of_nothing_makes_output_wait(open_pair: Loopback) -> None:
    inject_only(open_pair, b"\x5a" + string(b"session") + pack(">III", 7, 0, 32768))
    theirs = open_pair.seen(ChannelAsked)[-1].channel
    assert theirs.send(b"x") == 0
    inject_only(open_pair, b"\x5d" + pack(">II", theirs.number, 5))
    assert open_pair.seen(ChannelWritable, open_pair.server)
    assert theirs.send(b"123456789") == 5


@pytest.mark.parametrize(
    "payload",
    [
        b"\x5b" + pack(">IIII", 0, 0, 1000, 1000),
        b"\x5c" + pack(">II", 0, 1) + string(b"") * 2,
    ],
)
def test_cases_205_206_answers_to_no_open(session: Session, payload: bytes) -> None:
    made, _, _ = session
    inject(made, payload)
    assert refused(made.server)


def test_messages_of_a_wrong_shape_end_the_connection(session: Session) -> None:
    made, _, theirs = session
    inject(made, b"\x5e" + pack(">II", theirs.number, 500) + b"short")
    assert refused(made.server)


def test_requests_after_our_close_are_dropped(session: Session) -> None:
    made, ours, theirs = session
    theirs.close()
    ours.request(WindowChange(80, 24, 0, 0))
    made.pump()
    assert not made.seen(ChannelRequested)
    with pytest.raises(UsageError):
        theirs.request(ExitStatus(0))


def test_a_window_grows_only_when_one_round_trip_used_half_of_it(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = Collector(theirs)
    made.server._transport.round_trip = 0.1
    target = theirs.target

    def move(turns: int, seconds: float) -> None:
        for _ in range(turns):
            ours.send(bytes(256 << 10))
            made.now += seconds
            made.pump()

    move(64, 0.1)
    assert theirs.target == target
    move(64, 0.005)
    assert theirs.target > 4 * target
    assert made.server._connection._windows.granted <= 64 << 20


def test_every_request_survives_its_wire_form() -> None:
    samples: dict[type, Any] = {str: "x", int: 7, bytes: b"y", bool: True}
    for kind in Request.named.values():
        values = [samples[annotation.__origin__] for annotation in kind.__annotations__.values()]
        made = kind(*values)
        assert kind.decode(made.encode()) == made
