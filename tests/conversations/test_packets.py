# SPDX-License-Identifier: MIT
"""Packets that are not what they should be, clear and under keys, at a whole core (RFC 4253 section 6)."""

import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from struct import pack

import pytest
from tests.algorithms.pairs import FEW_PAIRS, label
from tests.algorithms.pairs import Pair as Protection
from tests.conversations.bare import (
    BANNER,
    Bare,
    BareClient,
    inject,
    inject_only,
    kexinit,
    packet,
    refused,
    server_kexinit,
    take,
    write,
)

from tellin.algorithms.compression import Compressor
from tellin.connection.channel import Channel
from tellin.errors import (
    ConnectionLost,
    Disconnected,
    DisconnectReason,
    IntegrityError,
    MalformedPacket,
    ProtocolError,
    TimedOut,
)
from tellin.protocol import ClientProtocol, ServerProtocol
from tellin.protocol.core import KeepAlive
from tellin.protocol.events import AuthenticationAsked, Event
from tellin.testing import Collector, Loopback, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY, Pair, make_pair
from tellin.transport.messages import Disconnect, Unimplemented
from tellin.wire import string

# In the clear


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(pack(">I", 0) + bytes(20), id="case 21"),
        pytest.param(pack(">I", 0xFFFFFFFF) + bytes(20), id="case 22, R024"),
        pytest.param(pack(">I", 262148) + bytes(20), id="case 23, case 30"),
        pytest.param(pack(">I", 4) + bytes(20), id="case 25"),
        pytest.param(pack(">IB", 13, 4) + bytes(12), id="case 25: no multiple of a block"),
        *(
            # A payload that is welcome in itself.
            pytest.param(
                pack(">IB", 12, size) + b"\x02" + bytes(10), id=f"case 26: padding {size}"
            )
            for size in range(4)
        ),
        pytest.param(pack(">IB", 12, 12) + bytes(11), id="case 27"),
        pytest.param(pack(">IB", 12, 255) + bytes(11), id="case 27: padding 255"),
        pytest.param(pack(">IB", 12, 11) + bytes(11), id="R026: no payload"),
        pytest.param(packet(b"\0abc"), id="case 29"),
        pytest.param(packet(b"\x32abc"), id="case 41, R022"),
        pytest.param(packet(b"\x34"), id="case 41: SUCCESS"),
        pytest.param(packet(b"\x5aabc"), id="case 42"),
        pytest.param(packet(b"\x50abc"), id="case 42: a global request"),
        pytest.param(packet(b"\x05" + string(b"ssh-userauth")), id="a service before keys"),
        pytest.param(packet(b"\x07\0\0\0\0"), id="case 115, R020: EXT_INFO before KEXINIT"),
        pytest.param(packet(b"\x15"), id="case 103, R008"),
        pytest.param(packet(b"\x1e\0\0\0\0"), id="a key exchange before KEXINIT"),
    ],
)
def test_packets_that_end_the_connection_with_code_2(raw: bytes) -> None:
    bare = Bare(BANNER, raw)
    assert isinstance(bare.error, ProtocolError)
    assert bare.reason == 2
    assert BareClient(BANNER, raw).reason == 2


def test_the_words_are_those_that_openssh_has_for_it() -> None:
    assert str(Bare(BANNER, packet(b"\0")).error) == "Invalid ssh2 packet type: 0"
    short = pack(">IB", 12, 1) + bytes(11)
    assert str(Bare(BANNER, short).error) == "Corrupted padlen 1 on input."
    assert str(Bare(BANNER, pack(">I", 4) + bytes(20)).error) == "Bad packet length 4."


@pytest.mark.parametrize("length", [262148, 0x7FFFFFFC, 0xFFFFFFFF])
def test_r024_case_022_nothing_is_allocated_for_a_length_that_lies(length: int) -> None:
    bare = Bare(BANNER)
    tracemalloc.start()
    try:
        bare.feed(pack(">I", length) + bytes(20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bare.core.closed
    assert peak < 32768


def test_r024_what_is_still_missing_of_a_packet_is_asked_for_only_once_its_length_is_good() -> (
    None
):
    bare = Bare(BANNER, pack(">IB", 200_004, 4))
    assert len(bare.core.writable()) >= 200_000
    assert len(Bare(BANNER, pack(">I", 0xFFFFFFFF)).core.writable()) < 100_000


def test_case_030_the_largest_packets_are_taken() -> None:
    bare = Bare(BANNER, packet(b"\x02" + bytes(34_990)))
    assert not bare.core.closed
    # In the clear four bytes of length are part of what blocks are counted by.
    bare.feed(pack(">IB", 262140, 4) + b"\x02" + bytes(262138))
    assert not bare.core.closed


def test_case_030_under_keys_262144_bytes_are_the_limit(pair: Pair) -> None:
    for length, fits in ((262144, True), (262160, False)):
        made = pair(ciphers=("aes128-gcm@openssh.com",))
        made.log_in()
        inject(made, b"\x02" + bytes(length - 6))
        assert made.server.closed is not fits
    assert "Bad packet length 262160." in str(made.server.error)


def test_case_031_a_packet_that_never_ends_is_the_end_of_the_connection() -> None:
    for at in (1, 4, 5, 20, 300):
        bare = Bare(BANNER, packet(kexinit())[:at])
        bare.core.received_eof(1.0)
        assert isinstance(bare.error, ConnectionLost)
        assert bare.core.algorithms is None


def test_case_033_noise_before_kexinit_is_bounded() -> None:
    assert not Bare(BANNER, *[packet(b"\x02\0\0\0\0")] * 32).core.closed
    assert Bare(BANNER, *[packet(b"\x02\0\0\0\0")] * 33).reason == 2


@pytest.mark.parametrize("number", [2, 3, 4, 150])
def test_case_033_noise_of_any_kind_is_counted_together(number: int) -> None:
    noise = packet(bytes((number,)) + bytes(9))
    assert not Bare(BANNER, *[noise] * 32).core.closed
    assert Bare(BANNER, *[packet(b"\x02\0\0\0\0")] * 30, *[noise] * 3).reason == 2


def test_cases_34_35_a_disconnect_ends_at_once_without_reply() -> None:
    for payload in (Disconnect(11, b"bye\x1b[2J", b"").encode(), b"\x01\0", b"\x01"):
        bare = Bare(BANNER, packet(payload))
        assert isinstance(bare.error, Disconnected)
        assert bare.reason == 0
        bare.core.receive_data(packet(kexinit()), 0.0)
        assert bare.core.algorithms is None


def test_case_034_the_text_of_a_disconnect_is_cut() -> None:
    bare = Bare(BANNER, packet(Disconnect(11, b"x" * 100_000, b"").encode()))
    assert len(str(bare.error)) < 2000


def test_case_037_unimplemented_is_ignored_but_in_strict_key_exchange(open_pair: Loopback) -> None:
    message = Unimplemented(77).encode()
    assert Bare(BANNER, packet(kexinit()), packet(message)).reason == 2
    inject_only(open_pair, message, message)
    assert not open_pair.server.closed
    assert not open_pair.server.unsent


def test_case_038_a_ping_before_keys() -> None:
    ping = packet(b"\xc0" + string(b"hello"))
    strict = Bare(BANNER, packet(kexinit()), ping)
    assert strict.reason == 2
    loose = Bare(BANNER, packet(kexinit(strict=False)), ping)
    assert [payload[0] for payload in loose.said if payload[0] not in {20, 31}] == [3]


def test_case_039_an_unknown_message_is_answered_with_its_sequence_number() -> None:
    bare = Bare(BANNER, packet(b"\x02\0\0\0\0"), packet(b"\x96abc"))
    assert Unimplemented(1).encode() in bare.said
    strict = Bare(BANNER, packet(kexinit()), packet(b"\x96abc"))
    assert strict.reason == 2


def test_r003_sequence_numbers_that_wrap_before_the_first_keys_end_the_connection() -> None:
    noise = packet(b"\x02\0\0\0\0")
    for offer in (b"", packet(kexinit(strict=False))):
        bare = Bare(BANNER, offer)
        bare.core._transport.reader.sequence = 0xFFFFFFFE
        bare.feed(noise)
        assert not bare.core.closed
        bare.feed(noise)
        assert bare.reason == 2
        assert "wrapped" in str(bare.error)


def test_r033_any_first_packet_ends_in_progress_or_protocol_error() -> None:
    for number in range(256):
        for tail in (b"", b"\xff" * 40):
            for bare in (
                Bare(BANNER, packet(bytes((number,)) + tail)),
                BareClient(BANNER, packet(bytes((number,)) + tail)),
                Bare(BANNER, packet(kexinit()), packet(bytes((number,)) + tail)),
                BareClient(BANNER, packet(server_kexinit()), packet(bytes((number,)) + tail)),
            ):
                assert bare.error is None or isinstance(bare.error, ProtocolError | Disconnected)


# Under keys: each cipher that authenticates, each cipher and each MAC at least once


class Sealed:
    """A logged-in pair as data: what its client sends can be put before its server many times."""

    def __init__(self, protection: Protection) -> None:
        cipher, mac = protection
        self.lists = lists = {
            "ciphers": (cipher.name,),
            "macs": (mac.name if mac else "hmac-sha2-256",),
            "compressions": ("none",),
        }
        self.settings = server_settings(HOST_KEY, **lists)
        self.made = make_pair(**lists)
        self.made.log_in()
        self.ours, self.theirs = self.made.session()
        self.frozen = self.made.server.freeze()
        self._frozen_client = self.made.client.freeze()
        self.opener = self.made.server._transport.reader.opener
        # An exact number of blocks in each packet, so that every byte has its known place.
        self.ours.send(b"secret" * 10)
        self.first = take(self.made.client)
        self.ours.send(b"second" * 10)
        self.second = take(self.made.client)

    def server(self) -> tuple[ServerProtocol, Collector]:
        """The server as it was before anything of it came."""
        core = ServerProtocol(self.settings, frozen=self.frozen, now=0.0)
        channel = core.channels[self.theirs.number]
        channel.sink = Collector(channel)
        return core, channel.sink

    def outcome(self, *parts: bytes) -> tuple[ServerProtocol, bytes]:
        """What becomes of the server, and what its application got, when ``parts`` arrive."""
        core, sink = self.server()
        for part in parts:
            if not core.closed:
                core.receive_data(part, 0.0)
        return core, bytes(sink.data)

    def forged(self, length: int) -> bytes:
        """A first packet whose tag is right and whose length field lies."""
        writer = self.client()._transport.writer
        sealer = writer.sealer
        end = 4 * sealer.block + (0 if sealer.length_aligned else 4)
        buffer = bytearray(end + sealer.tag)
        buffer[:5] = pack(">IB", length, 4)
        sealer.seal(memoryview(buffer), 0, end, writer.sequence)
        return bytes(buffer)

    def client(self) -> ClientProtocol:
        """The client as it was before anything of it came."""
        return ClientProtocol(client_settings(**self.lists), frozen=self._frozen_client, now=0.0)


@cache
def sealed_by(protection: Protection) -> Sealed:
    return Sealed(protection)


every_protection = pytest.mark.parametrize("protection", FEW_PAIRS, ids=label)
# What a forger must add so that a length that was made longer is also filled.
FILLING = bytes(262144 + 512)


def flipped(wire: bytes, at: int) -> bytes:
    changed = bytearray(wire)
    changed[at] ^= 0x10
    return bytes(changed)


@every_protection
def test_the_packets_themselves_are_good(protection: Protection) -> None:
    sealed = sealed_by(protection)
    core, got = sealed.outcome(sealed.first, sealed.second)
    assert core.error is None
    assert got == b"secret" * 10 + b"second" * 10


@every_protection
def test_r028_case_043_a_flipped_bit_delivers_nothing(protection: Protection) -> None:
    sealed = sealed_by(protection)
    wire, tag = sealed.first, sealed.opener.tag
    places = {"body": 9, "data": 20, "padding": len(wire) - tag - 1, "tag": len(wire) - 1}
    for place, at in places.items():
        core, got = sealed.outcome(flipped(wire, at), FILLING)
        assert isinstance(core.error, ProtocolError), place
        assert core.error.reason == 5, place
        assert got == b"", place
    for at in range(4):
        core, got = sealed.outcome(flipped(wire, at), FILLING)
        assert isinstance(core.error, ProtocolError)
        assert core.error.reason in {2, 5}
        assert got == b""


@every_protection
def test_case_045_a_length_that_is_no_multiple_of_a_block(protection: Protection) -> None:
    sealed = sealed_by(protection)
    if sealed.opener.hides_length:
        core, _ = sealed.outcome(sealed.forged(29))
        assert not core.closed  # R029: nothing is told before the longest packet would be full
        core, _ = sealed.outcome(sealed.forged(29), FILLING)
        assert isinstance(core.error, IntegrityError)
        return
    core, _ = sealed.outcome(sealed.forged(29))
    assert isinstance(core.error, MalformedPacket)
    assert core.error.reason == 2


@every_protection
def test_r024_a_length_out_of_bounds_under_keys(protection: Protection) -> None:
    sealed = sealed_by(protection)
    for length in (0, 1, 4, 262144 + 4 * 60, 0x7FFFFFF0, 0xFFFFFFFC):
        core, _ = sealed.outcome(sealed.forged(length), FILLING)
        assert isinstance(core.error, ProtocolError)
        assert core.error.reason == (5 if sealed.opener.hides_length else 2)
        assert len(core._transport.incoming.data) < 600_000


@every_protection
def test_cases_46_47_packets_replayed_or_swapped(protection: Protection) -> None:
    sealed = sealed_by(protection)
    core, got = sealed.outcome(sealed.first, sealed.first, FILLING)
    assert refused(core, 5) or refused(core, 2)
    assert got == b"secret" * 10
    core, got = sealed.outcome(sealed.second, sealed.first, FILLING)
    assert refused(core, 5) or refused(core, 2)
    assert got == b""


@every_protection
def test_case_050_a_tag_of_zeros(protection: Protection) -> None:
    sealed = sealed_by(protection)
    tag = sealed.opener.tag
    core, got = sealed.outcome(sealed.first[:-tag] + bytes(tag), FILLING)
    assert refused(core, 5)
    assert got == b""


@every_protection
def test_r026_a_packet_without_a_payload_under_keys(protection: Protection) -> None:
    sealed = sealed_by(protection)
    client = sealed.client()
    write(client, b"")
    core, _ = sealed.outcome(take(client))
    assert refused(core)
    assert "no payload" in str(core.error)


def test_r028_a_flipped_bit_towards_a_client_delivers_nothing_either(open_pair: Loopback) -> None:
    ours, theirs = open_pair.session()
    ours.sink = Collector(ours)
    theirs.send(b"secret" * 10)
    wire = bytearray(take(open_pair.server))
    wire[-1] ^= 1
    open_pair.client.receive_data(wire, 0.0)
    assert refused(open_pair.client, 5)
    assert ours.sink.data == b""


def test_case_049_a_tag_that_never_comes_is_waited_for_no_longer_than_any_packet(
    pair: Pair,
) -> None:
    made = pair(server_core={"login_grace": 30.0})
    made.answers[AuthenticationAsked] = lambda *_: None
    made.pump()
    write(made.client, b"\x02\0\0\0\0")
    made.server.receive_data(take(made.client)[:-1], 1.0)
    made.server.tick(29.0)
    assert not made.server.closed
    made.server.tick(30.0)
    assert isinstance(made.server.error, TimedOut)
    made = pair(server_core={"keepalive": KeepAlive(10.0, 2)})
    made.log_in()
    write(made.client, b"\x02\0\0\0\0")
    made.server.receive_data(take(made.client)[:-1], 1.0)
    for now in (11.0, 21.0, 31.0):
        assert not made.server.closed
        made.server.tick(now)
    assert isinstance(made.server.error, TimedOut)


def test_case_051_new_keys_are_asked_for_long_before_the_sequence_numbers_wrap(
    open_pair: Loopback,
) -> None:
    server = open_pair.server
    server._transport.reader.packets = 1 << 31
    inject_only(open_pair, b"\x02\0\0\0\0")
    assert server._transport.keying.stage.name == "OFFERED"
    # The peer goes on without answering: the numbers run out.
    server._transport.reader.packets = 0xFFFFFFFF
    inject_only(open_pair, b"\x02\0\0\0\0")
    assert refused(server)
    assert "sequence numbers" in str(server.error)


def test_case_051_we_do_not_send_beyond_the_last_sequence_number(open_pair: Loopback) -> None:
    client = open_pair.client
    client._transport.writer.packets = 0xFFFFFFFF
    with pytest.raises(ProtocolError, match="sequence numbers"):
        client.request("keepalive@openssh.com")


# Compressed


@pytest.fixture
def squeezed(pair: Pair) -> tuple[Loopback, Channel, Compressor]:
    """A pair that compresses; and the client's compressor, taken out of its writer."""
    made = pair(compressions=("zlib@openssh.com",))
    made.log_in()
    _, theirs = made.session()
    theirs.sink = Collector(theirs)
    compressor = made.client._transport.writer.compressor
    assert compressor is not None
    made.client._transport.writer.compressor = None
    return made, theirs, compressor


Squeezed = tuple[Loopback, Channel, Compressor]
BOMB = b"\x02" + bytes(1 << 20)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda _: b"no zlib at all" * 3, 6, id="case 53"),
        pytest.param(lambda out: out.compress(BOMB), 6, id="case 54, R027"),
        pytest.param(lambda out: out._flush(zlib.Z_SYNC_FLUSH), 2, id="case 55"),
        pytest.param(
            lambda out: out._compress(b"\x02") + out._flush(zlib.Z_FINISH), 6, id="case 57"
        ),
    ],
)
def test_a_payload_that_does_not_inflate_within_its_bound(
    squeezed: Squeezed, make: Callable[[Compressor], bytes], reason: int
) -> None:
    made, theirs, compressor = squeezed
    inject(made, make(compressor))
    assert refused(made.server, reason)
    assert isinstance(theirs.sink, Collector)
    assert theirs.sink.data == b""


def test_r027_before_login_nothing_is_inflated(pair: Pair) -> None:
    made = pair(compressions=("zlib@openssh.com",))
    made.answers[AuthenticationAsked] = lambda *_: None
    made.pump()
    assert made.server._transport.reader.decompressor is None
    offer = kexinit(compression_client_to_server=("zlib",))
    assert Bare(BANNER, packet(offer)).reason == DisconnectReason.KEY_EXCHANGE_FAILED


def test_r084_after_a_mac_error_no_packet_is_opened_any_more(open_pair: Loopback) -> None:
    _, theirs = open_pair.session()
    theirs.sink = Collector(theirs)
    client, server = open_pair.client, open_pair.server
    write(client, b"\x02\0\0\0\0")
    bad = flipped(take(client), -1)
    client.channels[0].send(b"late")
    good = take(client)
    server.receive_data(bad + good, 0.0)
    server.receive_data(good, 0.0)
    events: list[Event] = server.events()
    assert [type(event).__name__ for event in events] == ["Closed"]
    assert theirs.sink.data == b""
