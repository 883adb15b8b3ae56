# SPDX-License-Identifier: MIT
"""A connection taken out and put back between any two packets changes no byte."""

import pytest

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.macs import MACS
from tellin.errors import MalformedPacket, UsageError
from tellin.protocol import ClientProtocol, ServerProtocol
from tellin.protocol.events import AuthenticationAsked
from tellin.testing import Collector, Loopback, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY, Pair

PAIRS = [(row.name, "") for row in CIPHERS if row.tag_size] + [
    (row.name, mac) for row in CIPHERS if not row.tag_size for mac in MACS.names()
]


def refreeze(made: Loopback) -> None:
    """Replace both cores by thawed copies and attach the sinks again."""
    for name, settings, kind in (
        ("client", client_settings(), ClientProtocol),
        ("server", server_settings(HOST_KEY), ServerProtocol),
    ):
        old = getattr(made, name)
        new = kind(settings, frozen=old.freeze(), now=made.now)  # type: ignore[operator]
        for number, channel in old.channels.items():
            new.channels[number].sink = channel.sink
            if isinstance(channel.sink, Collector):
                channel.sink.channel = new.channels[number]
        setattr(made, name, new)


@pytest.mark.parametrize(("cipher", "mac"), PAIRS)
def test_frozen_between_any_two_packets(pair: Pair, cipher: str, mac: str) -> None:
    made = pair(ciphers=(cipher,), macs=(mac or "hmac-sha2-256",), compressions=("none",))
    made.log_in()
    ours, theirs = made.session()
    ours.sink, theirs.sink = Collector(ours), Collector(theirs)
    kept = (ours.sink, theirs.sink)
    numbers = (ours.number, theirs.number)
    expected = [bytearray(), bytearray()]
    for turn in range(6):
        data = bytes((turn * 31 + at) % 256 for at in range(700 + turn))
        made.client.channels[numbers[0]].send(data)
        expected[1] += data
        made.server.channels[numbers[1]].send(data[::-1])
        expected[0] += data[::-1]
        # Half of what is on its way has arrived when the copies are made.
        for source, target in ((made.client, made.server), (made.server, made.client)):
            wire = b"".join(source.to_send())
            part = wire[: len(wire) * (turn % 3 + 1) // 4]
            target.receive_data(part, made.now)
            source.sent(len(part))
        made.client.events()
        made.server.events()
        refreeze(made)
        made.pump()
    assert kept[0].data == expected[0]
    assert kept[1].data == expected[1]


def test_a_thawed_connection_writes_the_same_bytes(pair: Pair) -> None:
    made = pair(ciphers=("aes256-gcm@openssh.com",), compressions=("none",))
    made.log_in()
    copy = ServerProtocol(server_settings(HOST_KEY), frozen=made.server.freeze(), now=0.0)
    for core in (made.server, copy):
        core._transport.writer._random = lambda count: bytes(count)
        core._transport.writer._padding = b""
        core.request("keepalive@openssh.com")
    assert b"".join(made.server.to_send()) == b"".join(copy.to_send())


def test_a_login_may_be_granted_by_the_thawed_copy(pair: Pair) -> None:
    made = pair(compressions=("zlib@openssh.com",))
    del made.answers[AuthenticationAsked]
    made.pump()
    made.server = ServerProtocol(
        server_settings(HOST_KEY, compressions=("zlib@openssh.com",)),
        frozen=made.server.freeze(),
        now=0.0,
    )
    made.server.grant_authentication("user", "none")
    made.pump()
    assert made.client.authenticated
    assert made.server.authenticated
    ours, theirs = made.session()
    theirs.sink = Collector(theirs)
    ours.send(b"compressed" * 100)
    made.pump()
    assert theirs.sink.data == b"compressed" * 100


def test_nothing_is_frozen_during_an_exchange_or_under_compression(pair: Pair) -> None:
    made = pair()
    made.log_in()
    made.client.rekey()
    with pytest.raises(UsageError):
        made.client.freeze()
    made = pair(compressions=("zlib@openssh.com",))
    made.log_in()
    with pytest.raises(UsageError):
        made.server.freeze()


def test_r205_what_is_thawed_is_not_believed(open_pair: Loopback) -> None:
    frozen = open_pair.server.freeze()
    settings = server_settings(HOST_KEY)
    for at in range(0, len(frozen), 7):
        with pytest.raises(MalformedPacket):
            ServerProtocol(settings, frozen=frozen[:at], now=0.0)
    with pytest.raises(MalformedPacket):
        ServerProtocol(settings, frozen=frozen + b"x", now=0.0)
    with pytest.raises(MalformedPacket):
        ServerProtocol(settings, frozen=frozen.replace(b"aes128-gcm", b"aes999-gcm"), now=0.0)
