# SPDX-License-Identifier: MIT
"""Channels, windows and requests against a peer that does not keep the rules (RFC 4254)."""

import gc
import mmap
import tracemalloc
from struct import pack
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.conversations.bare import (
    inject,
    inject_only,
    inject_to_client,
    refused,
    resident,
    take,
    write,
)
from tests.work import work

from tellin.connection import windows
from tellin.connection.channel import Channel
from tellin.connection.machine import HIGH_WATER, ConnectionSettings
from tellin.connection.requests import (
    ExecRequest,
    ExitStatus,
    Request,
    ShellRequest,
    UnknownRequest,
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
from tellin.testing.pairs import Pair, make_pair
from tellin.wire import string

NORESERVE = 0x4000  # Linux; a constant of mmap's from Python 3.13 on


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


def test_after_our_close_nothing_more_is_said_about_the_channel(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = Collector(theirs, hold=True)
    for _ in range(16):
        ours.send(bytes(128 << 10))
        made.pump()
    theirs.close()
    made.client._transport.lane = {}
    sent = made.server.unsent
    theirs.sink.release()
    assert theirs.credit > 0
    assert made.server.unsent == sent


def test_a_sink_that_raises_costs_the_others_nothing(open_pair: Loopback) -> None:
    class Broken:
        def take(self, views: list[memoryview]) -> int:
            raise LookupError("a fault of the program's")

    ends = [open_pair.session() for _ in range(3)]
    sinks = []
    for number, (ours, theirs) in enumerate(ends):
        sinks.append(Broken() if number == 0 else Collector(theirs))
        theirs.sink = sinks[-1]
        ours.send(b"for %d" % number)
    wire = b"".join(open_pair.client.to_send())
    with pytest.raises(LookupError):
        open_pair.server.receive_data(wire, 0.0)
    assert [bytes(sink.data) for sink in sinks if isinstance(sink, Collector)] == [
        b"for 1",
        b"for 2",
    ]


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
    assert not open_pair.seen(ChannelAsked)
    # The peer hears it, by its own number, and does not wait for ever.
    (refusal,) = sent_by_server(open_pair)
    assert refusal[:5] == b"\x5c" + pack(">I", 7)


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


def test_r140_channels_of_all_types_are_limited_and_half_open_ones_count(pair: Pair) -> None:
    types = ("session", "direct-tcpip", "another@example.com")
    limit = ConnectionSettings(maximum_channels=4, channel_types=frozenset(types))
    made = pair(server_core={"connection": limit})
    made.log_in()
    # One of them is open, and the others are only asked for.
    ours, _ = made.session()
    made.answers[ChannelAsked] = lambda *_: None
    for kind in (*types, *types):
        made.client.open_channel(kind)
    made.pump()
    assert len(made.seen(ChannelAsked)) == 4
    assert [event.reason for event in made.seen(ChannelOpenRefused)] == [4] * 3
    assert not made.server.closed
    # The place of one that is gone is free again.
    ours.close()
    made.pump()
    made.client.open_channel(types[1])
    made.pump()
    assert len(made.seen(ChannelAsked)) == 5


def test_r141_flood_both_ways_over_64_channels_with_tiny_windows(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "LEAST_WINDOW", 4096)
    tiny = ConnectionSettings(
        receive_budget=1, maximum_packet=1024, channel_types=frozenset({"session"})
    )
    made = pair(client_core={"connection": tiny}, server_core={"connection": tiny})
    made.log_in()
    ends = [end for _ in range(64) for end in made.session()]
    assert {end.send_window for end in ends} == {4096}
    size = 50_000
    left = dict.fromkeys(ends, size)
    for end in ends:
        end.sink = Collector(end)
    # As a driver does it: whoever finds no room waits until it hears of some.
    ready = set(ends)
    for _ in range(20_000):
        for end in list(ready):
            sent = end.send(bytes(left[end]))
            left[end] -= sent
            assert made.client.unsent < 1 << 20
            assert made.server.unsent < 1 << 20
            if left[end]:
                assert end.room() == 0
            ready.discard(end)
        moved = made.step()
        for event in made.seen(ChannelWritable):
            if left[event.channel]:
                ready.add(event.channel)
        made.client_events.clear()
        made.server_events.clear()
        if not moved and not ready:
            break
    assert not any(left.values())
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


def test_who_has_no_window_costs_no_turn_anything_until_the_peer_says_more(
    open_pair: Loopback,
) -> None:
    inject_only(open_pair, b"\x5a" + string(b"session") + pack(">III", 7, 0, 32768))
    theirs = open_pair.seen(ChannelAsked)[-1].channel
    assert theirs.send(b"x") == 0
    assert theirs.send(b"x") == 0
    assert not open_pair.server._connection._blocked
    inject_only(open_pair, b"\x5d" + pack(">II", theirs.number, 0))
    assert not open_pair.seen(ChannelWritable, open_pair.server)
    inject_only(open_pair, b"\x5d" + pack(">II", theirs.number, 5))
    assert len(open_pair.seen(ChannelWritable, open_pair.server)) == 1
    assert theirs.send(b"123456789") == 5
    assert not open_pair.server._connection._blocked


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


def _fill(made: Loopback, channel: Channel, size: int) -> None:
    """Send so much as standard error, as far as there is room."""
    while size and (sent := channel.send_extended(bytes(min(size, 64 << 10)))):
        size -= sent
        made.pump()
    assert not size


def test_whatever_is_consumed_is_told_to_a_peer_that_could_send_no_more(session: Session) -> None:
    made, ours, theirs = session
    ours.sink = output = Collector(ours)
    ours.extended_sink = errors = Collector(ours, hold=True)
    # What is left is less than what a peer is usually told of at once.
    _fill(made, theirs, ours.target - 1000)
    for _ in range(50):
        assert theirs.send(bytes(900)) == 900
        made.pump()
    assert (len(output.data), errors.held) == (45_000, ours.target - 1000)
    # Or when the rest of the window is used up by what nobody takes.
    errors.release()
    errors.hold = True
    made.pump()
    _fill(made, theirs, ours.target - 100_000)
    assert theirs.send(bytes(40_000)) == 40_000
    made.pump()
    _fill(made, theirs, 60_000)
    assert theirs.send(bytes(1000)) == 1000


def test_a_window_does_not_grow_while_half_of_it_waits_for_a_reader(session: Session) -> None:
    made, ours, theirs = session
    made.client._transport.round_trip = 0.1
    ours.sink = output = Collector(ours)
    ours.extended_sink = errors = Collector(ours, hold=True)
    target = ours.target
    for _ in range(2000):
        # Both outputs at once, faster than anything on the way: only one of them is read.
        theirs.send_extended(bytes(64 << 10))
        theirs.send(bytes(1000))
        made.now += 0.0001
        made.pump()
    assert ours.target == target
    assert errors.held <= target
    assert len(output.data) > 1000


def test_every_request_survives_its_wire_form() -> None:
    samples: dict[type, Any] = {str: "x", int: 7, bytes: b"y", bool: True}
    for kind in Request.named.values():
        values = [samples[annotation.__origin__] for annotation in kind.__annotations__.values()]
        made = kind(*values)
        assert kind.decode(made.encode()) == made


# Numbers of channels and windows at the ends of their ranges


def test_case_191_the_peers_numbers_are_its_own_business(open_pair: Loopback) -> None:
    for _ in range(2):
        inject_only(open_pair, b"\x5a" + string(b"session") + pack(">III", 7, 1 << 20, 32768))
    first, second = (event.channel for event in open_pair.seen(ChannelAsked))
    assert first.peer == second.peer == 7
    assert first.number != second.number
    first.sink, second.sink = Collector(first), Collector(second)
    inject_only(open_pair, data(first.number, b"one"), data(second.number, b"two"))
    assert first.sink.data == b"one"
    assert second.sink.data == b"two"


def test_numbers_of_channels_start_again_when_they_are_used_up(open_pair: Loopback) -> None:
    kept, _ = open_pair.session()
    open_pair.client._connection._next = 0xFFFFFFFF
    last, _ = open_pair.session()
    again, _ = open_pair.session()
    assert (kept.number, last.number, again.number) == (0, 0xFFFFFFFF, 1)


@given(
    size=st.sampled_from([0, 1, 4, 5, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32])
    | st.integers(0, (1 << 33) + 5),
    window=st.sampled_from([0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
    | st.integers(0, (1 << 32) - 1),
    packet=st.sampled_from([4096, 32768, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
    | st.integers(4096, (1 << 32) - 1),
)
@example(size=5000, window=3000, packet=16)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_r132_writers_count_right_with_sizes_beyond_32_bits(
    size: int, window: int, packet: int
) -> None:
    """What is written lies in pages that are never touched: nothing of that size is ever in memory."""
    made = opened()
    inject_only(made, b"\x5a" + string(b"session") + pack(">III", 7, window, packet))
    channel = made.seen(ChannelAsked)[-1].channel
    assert open_payloads(made) == []
    room = channel.room()
    assert room == min(window, HIGH_WATER)
    with mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | NORESERVE) as pages:
        view = memoryview(pages)[:size]
        sent = channel.send(view)
        view.release()
    # Headers and tags fill the connection's share a little before the data does.
    assert sent == min(size, room) or (made.server.congested and 0 < sent < room < size)
    assert channel.send_window == window - sent
    # What is in the packets is what was counted, and none is larger than the peer takes.
    payloads = open_payloads(made)
    assert sum(map(len, payloads)) == sent
    assert all(len(payload) <= min(packet, 128 << 10) for payload in payloads)


def opened() -> Loopback:
    made = make_pair(ciphers=("aes128-gcm@openssh.com",))
    made.log_in()
    return made


def sent_by_server(made: Loopback) -> list[bytes]:
    """What the server has to send, read by the client's own reader and handled by nobody."""
    reader = made.client._transport.reader
    reader.buffer.append(take(made.server))
    found = []
    while (payload := reader.next()) is not None:
        found.append(bytes(payload))
    return found


def open_payloads(made: Loopback) -> list[bytes]:
    """The data in it."""
    return [payload[9:] for payload in sent_by_server(made) if payload[0] == 94]


@given(
    st.lists(
        st.sampled_from([0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]) | st.integers(0, 1 << 32),
        max_size=6,
    )
)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_r130_r132_windows_add_up_or_end_the_connection(steps: list[int]) -> None:
    made = opened()
    inject_only(made, b"\x5a" + string(b"session") + pack(">III", 7, 0, 32768))
    channel = made.seen(ChannelAsked)[-1].channel
    total = 0
    for step in steps:
        if step >= 1 << 32:
            continue
        inject_only(made, b"\x5d" + pack(">II", channel.number, step))
        total += step
        if total > 0xFFFFFFFF:
            assert refused(made.server)
            return
        assert channel.send_window == total
    assert not made.server.closed


def test_r139_case_198_a_little_beyond_the_window_is_forgiven_and_no_more(
    session: Session,
) -> None:
    made, _, theirs = session
    theirs.sink = Collector(theirs, hold=True)
    slack = 3 * theirs.receive_packet
    left = theirs.receive_window + slack
    while left > 1:
        piece = min(100_000, left - 1)
        inject_only(made, data(theirs.number, bytes(piece)))
        left -= piece
    assert not made.server.closed
    inject_only(made, data(theirs.number, b"x"))
    assert not made.server.closed
    inject_only(made, data(theirs.number, b"x"))
    assert refused(made.server)
    assert "ignored channel window" in str(made.server.error)


def test_case_197_packets_larger_than_we_asked_for_are_taken_within_256_kib(
    session: Session,
) -> None:
    made, _, theirs = session
    theirs.sink = Collector(theirs)
    assert theirs.receive_packet < 200_000
    inject_only(made, data(theirs.number, b"x" * 262_000))
    assert not made.server.closed
    assert len(theirs.sink.data) == 262_000
    inject_only(made, data(theirs.number, b"x" * 262_144))
    assert refused(made.server)


# Data where it does not belong


def test_r136_case_203_error_output_on_a_channel_without_it_is_dropped_and_credited(
    pair: Pair,
) -> None:
    made = pair(
        server_core={
            "connection": ConnectionSettings(channel_types=frozenset({"direct-tcpip", "session"}))
        }
    )
    made.log_in()
    for kind in ("direct-tcpip", "session"):
        made.client.open_channel(kind)
        made.pump()
        theirs = made.seen(ChannelAsked)[-1].channel
        theirs.sink = Collector(theirs)
        # Ten windows full of it: it would stall if it were not credited.
        sent = 0
        ours = list(made.client.channels.values())[-1]
        while sent < 20 << 20:
            count = ours.send_extended(bytes(100_000))
            assert count or made.client.unsent
            sent += count
            made.pump()
        assert not theirs.sink.data
        assert theirs.receive_window + theirs.credit == theirs.target
    assert made.server.error is None


def test_data_of_single_bytes_that_nobody_takes_yet_is_kept_in_one_piece(session: Session) -> None:
    made, ours, theirs = session
    for _ in range(3000):
        ours.send(b"x")
    wire = take(made.client)
    tracemalloc.start()
    try:
        for at in range(0, len(wire), 40):
            made.server.receive_data(wire[at : at + 40], 0.0)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 100_000
    theirs.sink = sink = Collector(theirs)
    assert sink.data == b"x" * 3000


def test_r137_r138_no_message_of_a_closed_channel_reaches_anybody(session: Session) -> None:
    made, ours, theirs = session
    theirs.sink = sink = Collector(theirs)
    ours.close()
    made.pump()
    assert not made.server.channels
    made.server_events.clear()
    inject(made, data(theirs.number, b"late"))
    assert refused(made.server)
    assert not sink.data
    assert [type(event).__name__ for event in made.server_events] == ["Closed"]


def test_case_201_a_second_close_of_a_channel_that_lingers(session: Session) -> None:
    made, ours, theirs = session
    theirs.lingers = True
    ours.close()
    made.pump()
    inject(made, b"\x61" + pack(">I", theirs.number))
    assert refused(made.server)
    assert not made.seen(ChannelClosed, made.server)


@pytest.mark.parametrize("number", [94, 95, 96, 97, 98, 99, 100])
def test_r137_case_193_a_channel_that_nobody_has_accepted_yet(
    open_pair: Loopback, number: int
) -> None:
    open_pair.answers[ChannelAsked] = lambda *_: None
    open_pair.client.open_channel("session")
    open_pair.pump()
    (asked,) = open_pair.seen(ChannelAsked)
    payload = {
        94: data(asked.channel.number, b"x"),
        95: b"\x5f" + pack(">II", asked.channel.number, 1) + string(b"x"),
        98: b"\x62" + pack(">I", asked.channel.number) + string(b"exec") + b"\0" + string(b"id"),
    }.get(number, bytes((number,)) + pack(">I", asked.channel.number))
    inject(open_pair, payload)
    assert refused(open_pair.server)
    assert not open_pair.seen(ChannelRequested)


def test_r138_case_199_extended_data_after_the_end(session: Session) -> None:
    made, ours, theirs = session
    ours.eof()
    inject(made, b"\x5f" + pack(">II", theirs.number, 1) + string(b"late"))
    assert refused(made.server)


def test_r138_a_second_end_of_data(session: Session) -> None:
    made, ours, theirs = session
    ours.eof()
    inject(made, b"\x60" + pack(">I", theirs.number))
    assert refused(made.server)
    assert len(made.seen(ChannelEnded, made.server)) == 1


def test_r138_a_close_without_an_end_is_an_end_all_the_same(session: Session) -> None:
    made, ours, _ = session
    ours.close()
    made.pump()
    assert len(made.seen(ChannelEnded, made.server)) == 1


# Requests


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(string(b"exec") + b"\1" + string(b"true")[:-1], id="R135: exec"),
        pytest.param(string(b"exec") + b"\1", id="R135: exec without a command"),
        pytest.param(string(b"pty-req") + b"\1" + string(b"xterm"), id="R135, case 211"),
        pytest.param(string(b"env") + b"\0" + string(b"A"), id="R135: env"),
        pytest.param(string(b"signal") + b"\0", id="R135: signal"),
        pytest.param(string(b"window-change") + b"\0" + bytes(15), id="R135, case 213"),
        pytest.param(string(b"exit-status") + b"\0" + bytes(3), id="R135, case 217"),
        pytest.param(string(b"exit-signal") + b"\0" + string(b"TERM"), id="R135: exit-signal"),
        pytest.param(string(b"shell") + b"\1" + b"x", id="R135: shell with something"),
        pytest.param(string(b"break") + b"\1" + bytes(3), id="case 215: break"),
        pytest.param(string(b"xon-xoff") + b"\0", id="case 215: xon-xoff"),
        pytest.param(string(b"eow@openssh.com") + b"\0x", id="case 215: eow"),
        pytest.param(string(b"auth-agent-req@openssh.com") + b"\1x", id="case 215: agent"),
        pytest.param(string(b"x11-req") + b"\1\0" + string(b"MIT"), id="case 215: x11"),
        pytest.param(string(b"\xff\xfe") + b"\1", id="a name that is no text"),
        pytest.param(
            string(b"subsystem") + b"\1" + string(b"\xff"), id="a subsystem that is none"
        ),
        pytest.param(string(b"shell"), id="no flag"),
        pytest.param(b"\xff\xff\xff\xff", id="a length that lies"),
    ],
)
def test_a_request_of_a_wrong_shape_ends_the_connection(session: Session, asked: bytes) -> None:
    made, _, theirs = session
    inject(made, b"\x62" + pack(">I", theirs.number) + asked)
    assert refused(made.server)
    assert not made.seen(ChannelRequested)


def test_case_207_an_unknown_request_is_told_to_the_driver_and_can_be_refused(
    session: Session,
) -> None:
    made, ours, theirs = session
    unknown = b"\x62" + pack(">I", theirs.number) + string(b"nonsense@example.com")
    inject_only(made, unknown + b"\0" + b"any bytes")
    assert made.seen(ChannelRequested)[-1].debt is None
    ours.request(ExecRequest(b"one"), want_reply=True)
    made.pump()
    inject_only(made, unknown + b"\1")
    assert isinstance(made.seen(ChannelRequested)[-1].request, UnknownRequest)
    for event in made.seen(ChannelRequested):
        if event.debt is not None:
            theirs.answer(isinstance(event.request, ExecRequest), event.debt)
    assert take(made.server)
    assert not made.server.closed


def test_requests_that_nobody_has_answered_are_bounded(session: Session) -> None:
    made, _, theirs = session
    request = b"\x62" + pack(">I", theirs.number) + string(b"shell") + b"\1"
    inject_only(made, *[request] * 1024)
    assert not made.server.closed
    inject_only(made, request)
    assert refused(made.server)


def test_global_requests_that_nobody_has_answered_are_bounded(pair: Pair) -> None:
    known = ConnectionSettings(global_requests=frozenset({"slow"}))
    made = pair(server_core={"connection": known})
    made.log_in()
    request = b"\x50" + string(b"slow") + b"\1"
    inject_only(made, *[request] * 1024)
    assert not made.server.closed
    inject_only(made, request)
    assert refused(made.server)


@pytest.mark.parametrize("number", [81, 82, 99, 100])
def test_r134_ten_thousand_answers_to_nothing_cost_nothing(session: Session, number: int) -> None:
    made, _, theirs = session
    answer = bytes((number,)) + (pack(">I", theirs.number) if number > 90 else b"")
    for _ in range(10_000):
        write(made.client, answer)
    wire = take(made.client)
    assert work(lambda: made.server.receive_data(wire, 0.0)) < 10_000 * 30
    assert refused(made.server)


# What is left behind


def test_r131_case_189_a_confirmation_with_a_tiny_packet_ends_the_connection(
    open_pair: Loopback,
) -> None:
    open_pair.answers[ChannelAsked] = lambda *_: None
    for size in (0, 15):
        made = opened()
        made.answers[ChannelAsked] = lambda *_: None
        ours = made.client.open_channel("session")
        made.pump()
        inject_to_client(made, b"\x5b" + pack(">IIII", ours.number, 0, 1 << 20, size))
        assert refused(made.client)


def test_case_206_a_second_confirmation(session: Session) -> None:
    made, ours, _ = session
    inject_to_client(made, b"\x5b" + pack(">IIII", ours.number, 0, 1000, 32768))
    assert refused(made.client)


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.slow)], ids=str)
@pytest.mark.alone
def test_r133_refused_channels_leave_no_memory_behind(count: int) -> None:
    made = opened()
    made.answers[ChannelAsked] = lambda core, event: core.refuse_channel(event.channel, 1, "no")
    wishes = [
        b"\x5a" + string(kind) + pack(">III", 7, 1 << 20, packet)
        for kind, packet in ((b"session", 32768), (b"nonsense", 32768), (b"session", 1))
    ]

    def ask(times: int) -> None:
        for _ in range(times // 300):
            for _ in range(100):
                for wish in wishes:
                    write(made.client, wish)
            made.server.receive_data(take(made.client), 0.0)
            made._dispatch()
            made.server_events.clear()
            take(made.server)

    ask(3000)
    gc.collect()
    before = resident()
    ask(count)
    gc.collect()
    assert resident() - before < 5 << 20
    assert not made.server.channels
    assert made.server._connection._windows.granted == 0
    assert made.server.error is None
