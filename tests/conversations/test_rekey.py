# SPDX-License-Identifier: MIT
"""New keys in mid-connection: by bytes, packets and time, from either side, under load."""

import itertools
from struct import pack

import pytest
from tests.conversations.bare import inject, refused, take, write

from tellin.algorithms.ciphers import CIPHERS
from tellin.errors import HostKeyRejected, TimedOut
from tellin.keys.private import PrivateKey
from tellin.protocol.events import ChannelWritable, ExchangeDone, HostKeySignatureWanted
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import Pair
from tellin.wire import string


def flood(made: Loopback, channels: int, size: int) -> None:
    """Move ``size`` bytes each way over each of ``channels`` channels, all at once."""
    ends = [made.session() for _ in range(channels)]
    data = {}
    left = {}
    for index, pair_of_ends in enumerate(ends):
        for end in pair_of_ends:
            end.sink = Collector(end)
            data[end] = bytes((index + at * 7) % 251 for at in range(997)) * (size // 997 + 1)
            left[end] = 0
    for _ in range(100_000):
        moving = [end for end in left if left[end] < size]
        if not moving:
            break
        for end in moving:
            left[end] += end.send(memoryview(data[end])[left[end] : min(size, left[end] + 40_000)])
        made.step()
    made.pump()
    for ours, theirs in ends:
        for source, target in ((ours, theirs), (theirs, ours)):
            assert isinstance(target.sink, Collector)
            assert target.sink.data == data[source][:size]


@pytest.mark.parametrize("side", ["client", "server", "both"])
@pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        ("aes256-gcm@openssh.com", ""),
        ("chacha20-poly1305@openssh.com", ""),
        ("aes128-ctr", "hmac-sha2-256-etm@openssh.com"),
        ("aes256-ctr", "hmac-sha2-512"),
    ],
)
def test_r051_rekey_every_64_kib_under_load_loses_no_byte(
    pair: Pair, side: str, cipher: str, mac: str
) -> None:
    limit = {"rekey_bytes": 65536}
    made = pair(
        ciphers=(cipher,),
        macs=(mac or "hmac-sha2-256",),
        client=limit if side != "server" else None,
        server=limit if side != "client" else None,
    )
    made.log_in()
    flood(made, 8, 300_000)
    assert made.client.error is None
    assert made.server.error is None
    assert len(made.seen(ExchangeDone, made.client)) > 5


def test_r051_rekey_by_time_happens_without_traffic(pair: Pair) -> None:
    made = pair(client={"rekey_seconds": 60.0})
    made.log_in()
    assert made.client.deadline() == 60.0
    made.now = 61.0
    made.client.tick(made.now)
    made.pump()
    assert len(made.seen(ExchangeDone, made.server)) == 2


def test_r051_rekey_by_packets(pair: Pair) -> None:
    made = pair()
    made.log_in()
    made.client._transport.writer.packets = 1 << 31
    made.pump()
    made.session()
    assert len(made.seen(ExchangeDone, made.server)) == 2


def test_both_sides_ask_for_new_keys_at_the_same_moment(pair: Pair) -> None:
    made = pair()
    made.log_in()
    made.client.rekey()
    made.server.rekey()
    made.pump()
    assert len(made.seen(ExchangeDone, made.client)) == 2
    flood(made, 1, 1000)


def test_case_102_the_session_id_stays_when_the_hash_changes(pair: Pair) -> None:
    made = pair(key_exchanges=("curve25519-sha256",))
    made.log_in()
    first = made.client.session_id
    for core in (made.client, made.server):
        core._transport.settings.preferences.key_exchanges = ("ecdh-sha2-nistp521",)
    made.client.rekey()
    made.pump()
    assert made.client.session_id == made.server.session_id == first
    flood(made, 1, 1000)


@pytest.mark.parametrize("begins", ["client", "server"])
def test_r030_keys_change_between_every_ordered_pair_of_ciphers(pair: Pair, begins: str) -> None:
    """CVE-2013-4548 came with a change to GCM; here every cipher follows every other, and itself."""
    names = CIPHERS.names()
    made = pair(ciphers=names, macs=("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"))
    made.log_in()
    ours, theirs = made.session()
    ours.sink, theirs.sink = Collector(ours), Collector(theirs)
    expected = bytearray()
    for cipher in walk(names):
        for core in (made.client, made.server):
            core._transport.settings.preferences.ciphers = (cipher,)
        (made.client if begins == "client" else made.server).rekey()
        made.pump()
        assert made.client.algorithms is not None
        assert made.client.algorithms.client_to_server.cipher == cipher
        piece = cipher.encode() * 9
        expected += piece
        assert ours.send(piece) == theirs.send(piece) == len(piece)
        made.pump()
    assert ours.sink.data == theirs.sink.data == expected
    assert made.client.error is made.server.error is None


def walk(names: tuple[str, ...]) -> list[str]:
    """A way through all names in which each follows each, itself too."""
    way: list[str] = []
    for at, name in enumerate(names):
        way += [name, name]
        for other in names[at + 1 :]:
            way += [other, name]
    assert {*itertools.pairwise(way)} == {*itertools.product(names, names)}
    return way


def test_r015_case_111_a_host_key_that_changes_at_rekey_ends_the_connection(pair: Pair) -> None:
    made = pair()
    made.log_in()
    other = PrivateKey.generate("ed25519")
    made.server._transport.settings.host_keys = (("ssh-ed25519", other.public.blob),)
    made.answers[HostKeySignatureWanted] = lambda _core, event: (
        made.server.give_host_key_signature(other.sign(event.data, event.algorithm))
    )
    made.client.rekey()
    made.pump()
    assert isinstance(made.client.error, HostKeyRejected)
    assert made.server.error is not None
    assert made.server.error.reason == 9


def test_r015_another_algorithm_of_the_same_host_key_is_no_change(pair: Pair) -> None:
    key = PrivateKey.generate("rsa", bits=2048)
    made = pair(host_key=key)
    made.log_in()
    for core in (made.client, made.server):
        core._transport.settings.preferences.host_keys = ("rsa-sha2-256",)
    made.client.rekey()
    made.pump()
    assert made.client.error is None
    assert len(made.seen(ExchangeDone, made.client)) == 2


@pytest.mark.parametrize("number", [50, 52, 80, 90, 93, 94, 95, 96, 97, 98, 100, 192, 193, 255])
def test_r011_messages_above_after_a_rekey_kexinit_end_the_connection(
    pair: Pair, number: int
) -> None:
    for side in ("client", "server"):
        made = pair()
        made.log_in()
        ours, theirs = made.session()
        theirs.sink, ours.sink = Collector(theirs), Collector(ours)
        core = made.client if side == "client" else made.server
        target = made.server if side == "client" else made.client
        core.rekey()
        write(core, bytes((number,)) + pack(">II", 0, 1) + b"x")
        made.pump()
        assert refused(target)
        assert not ours.sink.data
        assert not theirs.sink.data
        assert not target._transport._held.size


def test_r012_case_110_an_exchange_that_the_peer_does_not_finish_times_out(pair: Pair) -> None:
    for seconds in (120.0, 7.0):
        made = pair(exchange_timeout=seconds)
        made.log_in()
        server = made.server
        made.now = 1000.0
        server.tick(made.now)
        server.rekey()
        take(server)
        assert server.deadline() == 1000.0 + seconds
        # Whatever else the peer says meanwhile.
        write(made.client, b"\x02\0\0\0\0")
        server.receive_data(take(made.client), 1000.0 + seconds / 2)
        server.tick(1000.0 + seconds - 0.1)
        assert not server.closed
        server.tick(1000.0 + seconds)
        assert isinstance(server.error, TimedOut)
        assert "in time" in str(server.error)


def test_r012_an_exchange_that_stops_in_the_middle_times_out_too(pair: Pair) -> None:
    made = pair(client={"guess": False})
    made.log_in()
    made.client.rekey()
    made.server.receive_data(take(made.client), 5.0)
    made.client.receive_data(take(made.server), 5.0)
    take(made.client)  # the client's value is lost
    for core in (made.client, made.server):
        deadline = core.deadline()
        assert deadline is not None
        core.tick(deadline)
        assert isinstance(core.error, TimedOut)


def test_r012_what_we_would_send_meanwhile_is_bounded(open_pair: Loopback) -> None:
    ours, _ = open_pair.session()
    client = open_pair.client
    client.rekey()
    # A source that asks for room finds none.
    assert ours.reserve() == []
    assert ours.send(bytes(1 << 20)) == 0
    # What is no data is held back, up to a bound.
    for _ in range(3000):
        if not client.closed:
            client.request("keepalive@openssh.com", bytes(1000))
    assert client.closed
    assert client.unsent + client._transport._held.size < 2 << 20


def test_r012_requests_of_a_peer_that_delays_new_keys_do_not_pile_up_replies(
    open_pair: Loopback,
) -> None:
    server, client = open_pair.server, open_pair.client
    server.rekey()
    server.sent(server.unsent)
    ping = b"\xc0" + string(bytes(30_000))
    for _ in range(60):
        if not server.closed:
            write(client, ping)
            server.receive_data(take(client), 0.0)
    assert server.closed
    assert server.unsent + server._transport._held.size < 2 << 20


def test_r004_r002_case_114_a_rekey_without_markers_starts_from_zero_again(
    open_pair: Loopback,
) -> None:
    for _ in range(3):
        open_pair.client.rekey()
        open_pair.pump()
        assert open_pair.client._transport.writer.sequence == 0
        assert open_pair.server._transport.reader.sequence == 0


def test_case_105_newkeys_with_something_in_it_at_a_rekey(open_pair: Loopback) -> None:
    raw = open_pair.client._transport.keying._raw
    open_pair.client._transport.keying._raw = lambda payload: raw(
        payload + b"x" if payload == b"\x15" else payload
    )
    open_pair.client.rekey()
    open_pair.pump()
    assert refused(open_pair.server)


def test_case_106_newkeys_twice(pair: Pair) -> None:
    made = pair()
    raw = made.client._transport.keying._raw

    def twice(payload: bytes) -> None:
        raw(payload)
        if payload == b"\x15":
            raw(payload)

    made.client._transport.keying._raw = twice
    made.pump()
    assert made.server.closed
    assert not made.server.authenticated


def test_case_106_newkeys_twice_under_the_new_keys(open_pair: Loopback) -> None:
    open_pair.client.rekey()
    open_pair.pump()
    inject(open_pair, b"\x15")
    assert refused(open_pair.server)


def test_case_107_newkeys_outside_an_exchange(pair: Pair) -> None:
    for side in ("client", "server"):
        made = pair()
        made.log_in()
        core, target = (
            (made.client, made.server) if side == "client" else (made.server, made.client)
        )
        write(core, b"\x15")
        made.pump()
        assert refused(target)


def test_r007_methods_messages_outside_an_exchange(open_pair: Loopback) -> None:
    inject(open_pair, b"\x1e" + string(bytes(32)))
    assert refused(open_pair.server)


def test_r007_a_second_kexinit_in_mid_exchange(open_pair: Loopback) -> None:
    client = open_pair.client
    client.rekey()
    write(client, client._transport.keying._ours)
    open_pair.pump()
    assert refused(open_pair.server)


def test_case_109_a_peer_that_wants_new_keys_after_every_packet(pair: Pair) -> None:
    made = pair(key_exchanges=("curve25519-sha256",))
    made.log_in()
    ours, theirs = made.session()
    theirs.sink = Collector(theirs)
    for turn in range(60):
        ours.send(b"%d," % turn)
        made.client.rekey()
        made.pump()
    assert theirs.sink.data == b"".join(b"%d," % turn for turn in range(60))
    assert len(made.seen(ExchangeDone, made.server)) == 61


def test_case_113_new_keys_while_64_channels_move_data_both_ways(pair: Pair) -> None:
    made = pair(rekey_bytes=1 << 20)
    made.log_in()
    flood(made, 64, 100_000)
    assert made.client.error is made.server.error is None
    assert len(made.seen(ExchangeDone, made.client)) > 5
    assert made.client.session_id == made.server.session_id


def test_r051_the_default_limits_are_in_force(open_pair: Loopback) -> None:
    for end, field, limit in (
        ("reader", "bytes", 4 << 30),
        ("writer", "bytes", 4 << 30),
        ("reader", "packets", 1 << 31),
        ("writer", "packets", 1 << 31),
    ):
        transport = open_pair.client._transport
        before = len(open_pair.seen(ExchangeDone, open_pair.client))
        setattr(getattr(transport, end), field, limit - 1)
        open_pair.client.to_send()
        assert transport.keying.stage.name == "IDLE", (end, field)
        setattr(getattr(transport, end), field, limit)
        open_pair.client.to_send()
        open_pair.pump()
        assert len(open_pair.seen(ExchangeDone, open_pair.client)) == before + 1, (end, field)


def test_r051_a_cipher_of_small_blocks_gets_new_keys_after_a_gigabyte(pair: Pair) -> None:
    made = pair(ciphers=("3des-cbc",))
    made.log_in()
    made.client._transport.writer.bytes = (1 << 30) - 1
    made.client.to_send()
    assert made.client._transport.keying.stage.name == "IDLE"
    made.client._transport.writer.bytes = 1 << 30
    made.pump()
    assert len(made.seen(ExchangeDone, made.client)) == 2


def test_r051_data_in_one_direction_is_enough(pair: Pair) -> None:
    for side in ("client", "server"):
        made = pair(**{side: {"rekey_bytes": 65536}})
        made.log_in()
        ours, theirs = made.session()
        theirs.sink = Collector(theirs)
        sent = 0
        while sent < 400_000:
            sent += ours.send(bytes(20_000))
            made.pump()
        assert len(theirs.sink.data) == sent
        assert len(made.seen(ExchangeDone, made.client)) > 4


def test_r051_no_keys_seal_more_than_the_limit(pair: Pair) -> None:
    """A source that fills all the room there is stops where new keys are due."""
    made = pair(client={"rekey_bytes": 65536})
    made.log_in()
    ours, theirs = made.session()
    theirs.sink = Collector(theirs)
    sent = most = 0
    while sent < 1_000_000:
        sent += ours.send(bytes(1 << 20))
        most = max(most, made.client._transport.writer.bytes)
        assert ours.room() == 0
        made.pump()
    assert len(theirs.sink.data) == sent
    # Of the last packet nothing but its header and padding goes beyond.
    assert 65536 <= most < 65536 + 512
    assert len(made.seen(ExchangeDone, made.client)) > 15


def test_data_does_not_flow_while_we_wait_for_new_keys(open_pair: Loopback) -> None:
    ours, _ = open_pair.session()
    open_pair.client.rekey()
    assert ours.room() == 0
    assert ours.send(b"x") == 0
    open_pair.pump()
    assert open_pair.seen(ChannelWritable, open_pair.client)
    assert ours.room() > 0
