# SPDX-License-Identifier: MIT
"""A connection taken out and put back between any two packets changes no byte."""

from typing import Any

import pytest
from tests.conversations.bare import take, write

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.macs import MACS
from tellin.connection.machine import ConnectionSettings
from tellin.connection.requests import ExecRequest
from tellin.errors import MalformedPacket, UsageError
from tellin.protocol import ClientProtocol, Core, ServerProtocol
from tellin.protocol.events import (
    AuthenticationAsked,
    ChannelRequested,
    ExchangeDone,
    HostKeySignatureWanted,
)
from tellin.protocol.freezing import FrozenDirection
from tellin.testing import Collector, Loopback, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY, Pair, make_pair
from tellin.wire import Cursor, string

# Every cipher with every MAC.
PAIRS = [
    (cipher.name, mac) for cipher in CIPHERS for mac in ([""] if cipher.tag_size else MACS.names())
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


# At every boundary of a busy conversation, beside a twin that is left alone


class Busy:
    """A logged-in pair made from data, with two channels that talk; ``freezing`` counts its thaws.

    Two of these made from the same data say the same bytes, whatever is frozen in between: padding
    is made of zeros, and nothing else is random any more.
    """

    def __init__(
        self,
        lists: dict[str, Any],
        frozen: tuple[bytes, bytes],
        *,
        freezing: str,
        who: tuple[int, ...] = (0, 1),
    ) -> None:
        self.settings = (
            client_settings(**lists),
            server_settings(HOST_KEY, **lists),
        )
        for settings in self.settings:
            settings.random = bytes
        self.freezing = freezing
        self.who = who
        self.step = 1
        self.thaws = 0
        self.packets = 0
        self.exchanges = 0
        self.got: dict[tuple[str, int], bytearray] = {}
        self.wire = bytearray()
        self.cores: list[Core] = []
        for kind, settings, data in zip(KINDS, self.settings, frozen, strict=True):
            self.cores.append(kind(settings, frozen=data, now=0.0))
        self.attach()

    def attach(self) -> None:
        """Give every channel its sink: what came is kept apart from the cores."""
        for core in self.cores:
            for number, channel in core.channels.items():
                if channel.sink is None:
                    kept = self.got.setdefault((core.role.value, number), bytearray())
                    channel.sink = channel.extended_sink = Kept(kept)

    def refreeze(self) -> None:
        """Both ends become data and connections again; not while something is open to be answered."""
        for at in self.who:
            try:
                data = self.cores[at].freeze()
            except UsageError:
                continue
            self.cores[at] = KINDS[at](self.settings[at], frozen=data, now=0.0)
            self.thaws += 1
        self.attach()

    def carry(self, source: int) -> None:
        """Bring what one end has to say to the other, step by step; stop between packets."""
        wire = take(self.cores[source])
        self.wire += wire
        for at in range(0, len(wire), self.step):
            target = self.cores[1 - source]
            before = target._transport.reader.packets
            target.receive_data(wire[at : at + self.step], 0.0)
            self.answer()
            arrived = self.cores[1 - source]._transport.reader.packets != before
            self.packets += arrived
            if self.freezing == "bytes" or (self.freezing == "packets" and arrived):
                self.refreeze()

    def answer(self) -> None:
        """Requests are answered at once, so that nothing is open when the next packet comes."""
        for core in self.cores:
            for event in core.events():
                if isinstance(event, ChannelRequested) and event.debt is not None:
                    event.channel.answer(True, event.debt)
                elif isinstance(event, HostKeySignatureWanted):
                    core.give_host_key_signature(HOST_KEY.sign(event.data, event.algorithm))
                self.exchanges += isinstance(event, ExchangeDone)

    def talk(self, turns: int, size: int) -> None:
        """Data, error output, requests and their answers, both ways and over both channels."""
        for turn in range(turns):
            for at, core in enumerate(self.cores):
                for number in (0, 1):
                    channel = core.channels[number]
                    channel.send(bytes((turn * 31 + number + n) % 256 for n in range(size + turn)))
                    channel.send_extended(b"error %d" % turn)
                channel.request(ExecRequest(b"turn %d" % turn), want_reply=False)
                core.request("keepalive@openssh.com")
                self.carry(at)
            write(self.cores[0], b"\x02\0\0\0\3abc")
        for at in (0, 1, 0, 1):
            self.carry(at)

    def flow(self, size: int) -> None:
        """``size`` bytes each way over both channels at once, in pieces, while keys are renewed."""
        left = {(at, number): pattern(at, number, size) for at in (0, 1) for number in (0, 1)}
        for _ in range(1000):
            for (at, number), data in left.items():
                sent = self.cores[at].channels[number].send(data[:500])
                left[at, number] = data[sent:]
            for at in (0, 1):
                self.carry(at)
            if not any(left.values()):
                break
        for at in (0, 1, 0, 1, 0, 1):
            self.carry(at)


def pattern(at: int, number: int, size: int) -> bytes:
    return bytes((at * 89 + number * 53 + n * 7) % 251 for n in range(size))


class Kept:
    """Takes everything, and credits it at once."""

    def __init__(self, kept: bytearray) -> None:
        self.kept = kept

    def take(self, views: list[memoryview]) -> int:
        for view in views:
            self.kept += view
        return sum(map(len, views))


KINDS: tuple[Any, Any] = (ClientProtocol, ServerProtocol)


def twins(
    cipher: str, mac: str, *, freezing: str, who: tuple[int, ...] = (0, 1), **more: Any
) -> tuple[Busy, Busy]:
    """The same connection twice: one to be left alone, one to be frozen wherever ``freezing`` says."""
    lists = {"ciphers": (cipher,), "macs": (mac or "hmac-sha2-256",), "compressions": ("none",)}
    lists |= more
    tiny = ConnectionSettings(channel_types=frozenset({"session"}), receive_budget=1)
    made = make_pair(**lists, client_core={"connection": tiny}, server_core={"connection": tiny})
    made.log_in()
    made.session()
    made.session()
    made.client_events.clear()
    frozen = made.client.freeze(), made.server.freeze()
    return Busy(lists, frozen, freezing=""), Busy(lists, frozen, freezing=freezing, who=who)


def talk(both: tuple[Busy, Busy], *, turns: int, size: int) -> None:
    """The same conversation on both."""
    for busy in both:
        busy.talk(turns, size)
        assert all(core.error is None for core in busy.cores)


@pytest.mark.parametrize(("cipher", "mac"), PAIRS)
def test_between_any_two_packets_freezing_changes_no_byte(cipher: str, mac: str) -> None:
    quick = not mac.startswith("umac")
    alone, frozen = both = twins(cipher, mac, freezing="packets")
    talk(both, turns=3 if quick else 1, size=200)
    assert frozen.wire == alone.wire
    assert frozen.got == alone.got
    assert frozen.packets == alone.packets > (30 if quick else 8)
    # Both ends, behind every packet.
    assert frozen.thaws == 2 * frozen.packets


@pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        ("aes128-gcm@openssh.com", ""),
        ("chacha20-poly1305@openssh.com", ""),
        ("aes128-ctr", "hmac-sha2-256"),
        ("aes128-ctr", "hmac-sha2-256-etm@openssh.com"),
        ("aes128-cbc", "hmac-sha2-256"),
    ],
)
def test_between_any_two_bytes_freezing_changes_no_byte(cipher: str, mac: str) -> None:
    alone, frozen = both = twins(cipher, mac, freezing="bytes")
    talk(both, turns=2, size=20)
    assert frozen.wire == alone.wire
    assert frozen.got == alone.got
    assert frozen.thaws == 2 * len(alone.wire)


# In the midst of a flow of data, while keys are renewed by what each side has counted

LIMIT = 2048


def flows(cipher: str, mac: str, who: tuple[int, ...] = (0, 1)) -> Busy:
    """A flow that is frozen behind every packet that may be; it is checked against one left alone."""
    size = 3000 if not mac.startswith("umac") else 1500
    alone, frozen = both = twins(
        cipher,
        mac,
        freezing="packets",
        who=who,
        key_exchanges=("curve25519-sha256",),
        rekey_bytes=LIMIT,
    )
    for busy in both:
        # No packet is as short, so none ends unseen.
        busy.step = 13
        busy.flow(size)
        assert all(core.error is None for core in busy.cores)
        assert busy.got == {
            (core.role.value, number): pattern(1 - at, number, size)
            for at, core in enumerate(busy.cores)
            for number in (0, 1)
        }
    # What a core has counted is frozen with it: new keys come neither more nor less often.
    assert frozen.exchanges == alone.exchanges >= 2 * (size * 2 // LIMIT)
    assert frozen.packets == alone.packets
    return frozen


@pytest.mark.parametrize(("cipher", "mac"), PAIRS)
def test_frozen_in_a_flow_of_data_between_any_two_packets_under_changing_keys(
    cipher: str, mac: str
) -> None:
    frozen = flows(cipher, mac)
    # Not during the exchanges themselves.
    assert frozen.thaws > frozen.packets // 2


@pytest.mark.parametrize("role", [0, 1], ids=["client", "server"])
@pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        ("aes128-gcm@openssh.com", ""),
        ("chacha20-poly1305@openssh.com", ""),
        ("aes256-ctr", "hmac-sha2-512-etm@openssh.com"),
        ("aes128-cbc", "hmac-sha2-256"),
    ],
)
def test_one_side_alone_is_frozen(cipher: str, mac: str, role: int) -> None:
    assert flows(cipher, mac, (role,)).thaws > 10


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
    with pytest.raises(UsageError, match="while events wait") as caught:
        made.client.freeze()
    assert "events()" in caught.value.hint
    made.client.events()
    with pytest.raises(UsageError, match="during a key exchange") as caught:
        made.client.freeze()
    assert "ExchangeDone" in caught.value.hint
    made = pair(compressions=("zlib@openssh.com",))
    made.log_in()
    for core in (made.server, made.client):
        with pytest.raises(UsageError, match="once compression has begun") as caught:
            core.freeze()
        assert "Compression no" in caught.value.hint
    # For good: new keys do not begin the stream anew.
    made.server.rekey()
    made.pump()
    with pytest.raises(UsageError, match="once compression has begun"):
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


def test_r205_a_frozen_cipher_never_runs_without_its_mac(pair: Pair) -> None:
    made = pair(ciphers=("aes128-ctr",), macs=("hmac-sha2-256",))
    made.log_in()
    cursor = Cursor(made.server.freeze())
    parts = [cursor.string() for _ in range(6)]
    for at in (1, 2):
        direction = FrozenDirection.decode(parts[at])
        direction.mac, direction.mac_key = "", b""
        parts[at] = direction.encode()
    with pytest.raises(MalformedPacket, match="unknown algorithms"):
        ServerProtocol(server_settings(HOST_KEY), frozen=b"".join(map(string, parts)), now=0.0)
