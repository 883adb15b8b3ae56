# SPDX-License-Identifier: MIT
"""New keys in mid-connection: by bytes, packets and time, from either side, under load."""

import pytest

from tellin.errors import HostKeyRejected, ProtocolError
from tellin.keys.private import PrivateKey
from tellin.protocol.events import ChannelWritable, ExchangeDone, HostKeySignatureWanted
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import Pair


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


def test_r015_a_host_key_that_changes_at_rekey_ends_the_connection(pair: Pair) -> None:
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


def test_r011_messages_above_after_a_rekey_kexinit_end_the_connection(open_pair: Loopback) -> None:
    client = open_pair.client
    client.rekey()
    client._transport.writer.write(b"\x50\0\0\0\x01x\0")
    open_pair.pump()
    assert isinstance(open_pair.server.error, ProtocolError)


def test_r012_an_exchange_that_the_peer_does_not_finish_times_out(open_pair: Loopback) -> None:
    server = open_pair.server
    server.rekey()
    server.sent(server.unsent)
    deadline = server.deadline()
    assert deadline is not None
    server.tick(deadline + 1)
    assert server.closed
    assert "in time" in str(server.error)


def test_data_does_not_flow_while_we_wait_for_new_keys(open_pair: Loopback) -> None:
    ours, _ = open_pair.session()
    open_pair.client.rekey()
    assert ours.room() == 0
    assert ours.send(b"x") == 0
    open_pair.pump()
    assert open_pair.seen(ChannelWritable, open_pair.client)
    assert ours.room() > 0
