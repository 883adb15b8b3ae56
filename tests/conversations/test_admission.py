# SPDX-License-Identifier: MIT
"""What may come when: a server core against raw packets (RFC 4253; rules R001-R035, sections 1-7)."""

from struct import pack
from typing import Any

import pytest

from tellin.errors import Disconnected, IdentificationError, KeyExchangeFailed, ProtocolError
from tellin.protocol import ServerProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationAsked,
    Closed,
    Event,
    HostKeySignatureWanted,
    PongReceived,
)
from tellin.testing import Loopback, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY, Pair
from tellin.transport.messages import Disconnect, ExtInfo, KexInit, Unimplemented
from tellin.transport.negotiation import STRICT_CLIENT, proposal
from tellin.transport.version import Role
from tellin.wire import Message, string

BANNER = b"SSH-2.0-test\r\n"


def packet(payload: bytes, padding: int | None = None) -> bytes:
    """An unprotected packet."""
    if padding is None:
        padding = 8 - (len(payload) + 5) % 8
        padding += 8 if padding < 4 else 0
    return pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def kexinit(*, strict: bool = True, **changes: Any) -> bytes:
    """A client's KEXINIT as a payload."""
    message = proposal(
        client_settings().preferences, Role.CLIENT, bytes(16), first=True, follows=False
    )
    if not strict:
        message.kex_algorithms = tuple(
            name for name in message.kex_algorithms if name != STRICT_CLIENT
        )
    for name, value in changes.items():
        setattr(message, name, value)
    return message.encode()


class Bare:
    """A server core that is fed raw bytes."""

    def __init__(self, *parts: bytes, **settings: Any) -> None:
        self.core = ServerProtocol(server_settings(HOST_KEY, **settings), now=0.0)
        self.events: list[Event] = []
        self.feed(*parts)

    def feed(self, *parts: bytes) -> None:
        for part in parts:
            if not self.core.closed:
                self.core.receive_data(part, 0.0)
            self.events += self.core.events()

    @property
    def reason(self) -> int:
        """The code of the DISCONNECT that the server ends with, or 0."""
        wire = b"".join(self.core.to_send())
        at = wire.index(b"\n") + 1
        reason = 0
        while at < len(wire):
            size = int.from_bytes(wire[at : at + 4], "big")
            payload = wire[at + 5 : at + 4 + size - wire[at + 4]]
            if payload[0] == 1:
                reason = Disconnect.decode(payload).reason
            at += 4 + size
        return reason


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, b"GET / HTTP/1.0\r\n"),
        (2, b"A" * 10000),
        (5, b"SSH-2.0-\r\n"),
        (6, b"SSH-2.0-a\0b\r\n"),
        (7, b"SSH-2.0-a\x1b[2J\r\n"),
        (9, b"SSH-2.0-a\rb\r\n"),
        (10, b"SSH-2.0-\x80\r\n"),
        (11, b"SSH-2.0-" + b"x" * 246 + b"\r\n"),
    ],
)
def test_cases_1_to_11_what_is_no_identification(number: int, line: bytes) -> None:
    bare = Bare(line)
    assert isinstance(bare.core.error, IdentificationError), number
    assert b"".join(bare.core.to_send()).endswith(b"Invalid SSH identification string.\r\n")


def test_case_3_ssh_1_is_told_that_versions_differ() -> None:
    bare = Bare(b"SSH-1.5-old\r\n")
    assert b"".join(bare.core.to_send()).endswith(b"Protocol major versions differ.\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"SSH-2.0-x" + b"y" * 244 + b"\r\n",
        b"SSH-1.99-compatible\r\n",
        b"SSH-2.0-line feed alone\n",
    ],
)
def test_case_11_the_longest_and_oddest_legal_identifications(line: bytes) -> None:
    assert not Bare(line).core.closed


def test_case_17_identification_and_kexinit_in_any_portions() -> None:
    whole = BANNER + packet(kexinit())
    for at in (1, len(BANNER), len(BANNER) + 3, len(whole) - 1):
        assert not Bare(whole[:at], whole[at:]).core.closed
    bare = Bare(*(whole[at : at + 1] for at in range(len(whole))))
    assert bare.core.algorithms is not None


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(pack(">I", 0) + bytes(20), id="case 21"),
        pytest.param(pack(">I", 0xFFFFFFFF) + bytes(20), id="case 22, R024"),
        pytest.param(pack(">I", 262148) + bytes(20), id="case 23"),
        pytest.param(pack(">I", 4) + bytes(20), id="case 25"),
        pytest.param(pack(">IB", 12, 0) + bytes(11), id="case 26: padding 0"),
        pytest.param(pack(">IB", 12, 3) + bytes(11), id="case 26: padding 3"),
        pytest.param(pack(">IB", 12, 12) + bytes(11), id="case 27"),
        pytest.param(pack(">IB", 12, 11) + bytes(11), id="R026: no payload"),
        pytest.param(packet(b"\0abc"), id="case 29"),
        pytest.param(packet(b"\x32abc"), id="case 41"),
        pytest.param(packet(b"\x5aabc"), id="case 42"),
        pytest.param(packet(b"\x15"), id="case 103, R008"),
        pytest.param(packet(b"\x1e\0\0\0\0"), id="case 87: exchange before KEXINIT"),
    ],
)
def test_packets_that_end_the_connection_with_code_2(raw: bytes) -> None:
    bare = Bare(BANNER, raw)
    assert isinstance(bare.core.error, ProtocolError)
    assert bare.reason == 2


def test_case_30_the_largest_packets_are_taken() -> None:
    bare = Bare(BANNER, packet(kexinit(strict=False)[:0] + b"\x02" + bytes(34_990)))
    assert not bare.core.closed
    longest = pack(">IB", 262140, 4) + b"\x02" + bytes(262138)
    bare.feed(longest)
    assert not bare.core.closed


def test_case_33_noise_before_kexinit_is_bounded() -> None:
    assert not Bare(BANNER, *[packet(b"\x02\0\0\0\0")] * 32).core.closed
    assert Bare(BANNER, *[packet(b"\x02\0\0\0\0")] * 33).reason == 2


def test_cases_34_35_a_disconnect_ends_at_once_without_reply() -> None:
    for payload in (Disconnect(11, b"bye", b"").encode(), b"\x01\0"):
        bare = Bare(BANNER, packet(payload))
        assert isinstance(bare.core.error, Disconnected)
        assert bare.reason == 0


def test_case_39_an_unknown_message_is_answered_with_its_sequence_number() -> None:
    bare = Bare(BANNER, packet(b"\x02\0\0\0\0"), packet(b"\x96abc"))
    wire = b"".join(bare.core.to_send())
    assert packet(Unimplemented(1).encode())[5:10] in wire
    strict = Bare(BANNER, packet(kexinit()), packet(b"\x96abc"))
    assert strict.reason == 2


@pytest.mark.parametrize("number", [2, 3, 4])
def test_r001_cases_73_75_strict_exchange_admits_nothing_else(number: int) -> None:
    noise = bytes((number,)) + bytes(9)
    before = Bare(BANNER, packet(noise), packet(kexinit()))
    assert before.reason == 2
    assert "first packet" in str(before.core.error)
    after = Bare(BANNER, packet(kexinit()), packet(noise))
    assert after.reason == 2


def test_case_74_noise_is_legal_without_strict_exchange() -> None:
    bare = Bare(BANNER, packet(b"\x02\0\0\0\0"), packet(kexinit(strict=False)))
    assert not bare.core.closed
    bare.feed(packet(b"\x02\0\0\0\0"))
    assert not bare.core.closed


def test_r005_strict_exchange_can_be_required() -> None:
    bare = Bare(BANNER, packet(kexinit(strict=False)), require_strict=True)
    assert isinstance(bare.core.error, KeyExchangeFailed)
    assert bare.reason == 3


def test_r007_case_71_a_second_kexinit() -> None:
    assert Bare(BANNER, packet(kexinit()), packet(kexinit())).reason == 2


def test_case_59_a_kexinit_cut_anywhere_ends_the_connection() -> None:
    payload = kexinit()
    for at in range(1, len(payload), 11):
        assert Bare(BANNER, packet(payload[:at])).reason == 2


@pytest.mark.parametrize(
    "names", [("a", "", "b"), ("", "a"), ("\x80",), ("a\x01",), ("x" * 65,), ("a",) * 600]
)
def test_r049_cases_62_63_65_odd_names(names: tuple[str, ...]) -> None:
    joined = ",".join(names).encode("latin-1")
    payload = kexinit()
    at = 17
    size = int.from_bytes(payload[at : at + 4], "big")
    forged = payload[:at] + string(joined) + payload[at + 4 + size :]
    assert Bare(BANNER, packet(forged)).reason == 2


def test_r032_markers_are_never_chosen() -> None:
    bare = Bare(
        BANNER,
        packet(kexinit(kex_algorithms=("ext-info-c", "kex-strict-s-v00@openssh.com"))),
    )
    assert bare.reason == 3


def test_case_61_reserved_is_ignored() -> None:
    assert not Bare(BANNER, packet(kexinit(reserved=77))).core.closed


def test_case_66_the_first_of_two_equal_names_counts() -> None:
    names = ("curve25519-sha256", "curve25519-sha256")
    bare = Bare(BANNER, packet(kexinit(kex_algorithms=names)))
    assert bare.core.algorithms is not None


@pytest.mark.parametrize("field", ["kex_algorithms", "server_host_key_algorithms"])
def test_case_67_nothing_in_common_is_code_3(field: str) -> None:
    bare = Bare(BANNER, packet(kexinit(**{field: ("none-such",)})))
    assert bare.reason == 3
    assert "Their offer: none-such" in str(bare.core.error)


def test_case_69_no_encryption_is_no_choice() -> None:
    bare = Bare(BANNER, packet(kexinit(encryption_client_to_server=("none",))))
    assert bare.reason == 3


def test_r031_case_70_a_cipher_without_mac_needs_one() -> None:
    for cipher, reason in (("aes256-ctr", 3), ("aes256-gcm@openssh.com", 0)):
        offer = kexinit(
            encryption_client_to_server=(cipher,),
            encryption_server_to_client=(cipher,),
            mac_client_to_server=("none",),
            mac_server_to_client=("none",),
        )
        assert Bare(BANNER, packet(offer)).reason == reason


@pytest.mark.parametrize("size", [0, 31, 33])
def test_r040_case_89_public_values_of_a_wrong_length(size: int) -> None:
    offer = kexinit(kex_algorithms=("curve25519-sha256", STRICT_CLIENT))
    bare = Bare(BANNER, packet(offer), packet(b"\x1e" + string(bytes(size))))
    assert bare.reason in {2, 3}


def test_r039_case_89_an_all_zero_secret() -> None:
    offer = kexinit(kex_algorithms=("curve25519-sha256", STRICT_CLIENT))
    bare = Bare(BANNER, packet(offer), packet(b"\x1e" + string(bytes(32))))
    assert bare.reason in {2, 3}
    assert not [event for event in bare.events if isinstance(event, HostKeySignatureWanted)]


def test_case_98_a_message_of_the_other_role() -> None:
    bare = Bare(BANNER, packet(kexinit()), packet(b"\x1f" + string(b"") * 3))
    assert bare.reason == 2


def test_r033_any_first_packet_ends_in_progress_or_protocol_error() -> None:
    for number in range(256):
        for tail in (b"", b"\0", bytes(40), b"\xff" * 40):
            bare = Bare(BANNER, packet(bytes((number,)) + tail))
            assert bare.core.error is None or isinstance(
                bare.core.error, ProtocolError | Disconnected
            )


# After the first keys: injected by a client whose own core is bypassed.


def inject(made: Loopback, payload: bytes | Message) -> None:
    """Let the client send what its own core never would."""
    raw = payload.encode() if isinstance(payload, Message) else payload
    made.client._transport.writer.write(raw)
    made.pump()


@pytest.fixture
def waiting(pair: Pair) -> Loopback:
    """Keys are in force, nobody has asked to log in."""
    made = pair()
    made.answers[AuthenticationAsked] = lambda *_: None
    made.pump()
    return made


@pytest.mark.parametrize("number", [80, 81, 90, 91, 93, 94, 95, 97, 98, 127])
def test_r019_case_158_the_connection_protocol_before_login(
    waiting: Loopback, number: int
) -> None:
    inject(waiting, bytes((number,)) + bytes(16))
    assert isinstance(waiting.server.error, ProtocolError)
    assert not waiting.server.channels


@pytest.mark.parametrize("number", [51, 52, 53])
def test_r018_case_157_a_client_that_grants_itself_a_login(pair: Pair, number: int) -> None:
    made = pair()
    asked: list[bytes] = []
    made.answers[AuthenticationAsked] = lambda _core, event: asked.append(event.payload)
    made.pump()
    asked.clear()
    inject(made, bytes((number,)))
    assert not made.server.authenticated
    assert not made.seen(Authenticated, made.server)


def test_r013_ping_before_login_is_not_answered(waiting: Loopback) -> None:
    inject(waiting, b"\xc0" + string(b"hello"))
    assert not waiting.server.closed
    assert not waiting.seen(PongReceived)


def test_ping_after_login_is_answered(open_pair: Loopback) -> None:
    open_pair.client.ping(b"hello")
    open_pair.pump()
    assert open_pair.seen(PongReceived, open_pair.client)[0].data == b"hello"


def test_r020_case_115_ext_info_after_login(open_pair: Loopback) -> None:
    inject(open_pair, ExtInfo.of({"x": b"y"}))
    assert isinstance(open_pair.server.error, ProtocolError)


def test_r021_case_115_ext_info_of_10000_entries() -> None:
    many = ExtInfo.of({f"name{at}": b"" for at in range(10_000)})
    with pytest.raises(ProtocolError):
        many.extensions()
    twice = ExtInfo(2, (string(b"a") + string(b"")) * 2)
    with pytest.raises(ProtocolError):
        twice.extensions()


def test_case_117_a_service_that_is_not_there_is_code_7(waiting: Loopback) -> None:
    inject(waiting, b"\x05" + string(b"ssh-connection"))
    closed = waiting.seen(Closed, waiting.client)
    assert closed
    assert isinstance(waiting.client.error, Disconnected)
    assert waiting.client.error.reason == 7


def test_case_119_a_third_service_request(waiting: Loopback) -> None:
    for closed in (False, True):
        waiting.client._transport.writer.write(b"\x05" + string(b"ssh-userauth"))
        wire = b"".join(waiting.client.to_send())
        waiting.client.sent(len(wire))
        waiting.server.receive_data(wire, 0.0)
        assert waiting.server.closed is closed


def test_case_107_newkeys_outside_an_exchange(open_pair: Loopback) -> None:
    inject(open_pair, b"\x15")
    assert isinstance(open_pair.server.error, ProtocolError)


def test_case_165_a_request_to_log_in_after_the_login_is_ignored(open_pair: Loopback) -> None:
    inject(open_pair, b"\x32" + string(b"root") + string(b"ssh-connection") + string(b"none"))
    assert not open_pair.server.closed
    assert len(open_pair.seen(Authenticated, open_pair.server)) == 1


def test_cases_166_173_a_success_that_nobody_asked_for(open_pair: Loopback) -> None:
    open_pair.server._transport.writer.write(b"\x34")
    open_pair.pump()
    assert isinstance(open_pair.client.error, ProtocolError)


def test_r022_case_166_success_before_any_request(pair: Pair) -> None:
    made = pair()
    from tellin.protocol.events import ExchangeDone

    del made.answers[ExchangeDone]
    made.pump()
    made.server._transport.writer.write(b"\x34")
    made.pump()
    assert isinstance(made.client.error, ProtocolError)
    assert not made.client.authenticated


def test_r002_sequence_numbers_are_zero_after_newkeys(pair: Pair) -> None:
    made = pair(client={"guess": False})
    made.log_in()
    before = made.client._transport.writer.sequence
    assert 0 < before < 8
    made.client.rekey()
    made.pump()
    assert made.client._transport.writer.sequence <= 2
    assert made.server._transport.reader.sequence == made.client._transport.writer.sequence


def test_r004_case_114_strictness_is_settled_by_the_first_kexinit(open_pair: Loopback) -> None:
    open_pair.client.rekey()
    wire_kexinit = KexInit.decode(open_pair.client._transport.keying._ours)
    assert STRICT_CLIENT not in wire_kexinit.kex_algorithms
    open_pair.pump()
    assert open_pair.client.strict
    assert open_pair.server.strict
    assert open_pair.server.error is None


def test_r006_between_our_newkeys_and_the_peers_nothing_else_may_come(pair: Pair) -> None:
    made = pair()
    transport = made.client._transport
    original = transport.keying._raw

    def with_noise(payload: bytes) -> None:
        if payload == b"\x15":
            original(b"\x02\0\0\0\0")
        original(payload)

    transport.keying._raw = with_noise
    made.pump()
    assert isinstance(made.server.error, ProtocolError)
    assert not made.server.authenticated


def test_r028_case_43_a_flipped_bit_delivers_nothing(open_pair: Loopback) -> None:
    ours, theirs = open_pair.session()
    from tellin.testing import Collector

    theirs.sink = Collector(theirs)
    ours.send(b"secret" * 10)
    wire = bytearray(b"".join(open_pair.client.to_send()))
    wire[-1] ^= 1
    open_pair.server.receive_data(wire, 0.0)
    assert theirs.sink.data == b""
    error = open_pair.server.error
    assert isinstance(error, ProtocolError)
    assert error.reason == 5


def test_case_46_a_replayed_packet(open_pair: Loopback) -> None:
    open_pair.client.request("keepalive@openssh.com")
    wire = b"".join(open_pair.client.to_send())
    open_pair.server.receive_data(wire, 0.0)
    open_pair.server.receive_data(wire, 0.0)
    error = open_pair.server.error
    assert isinstance(error, ProtocolError)
    assert error.reason in {2, 5}


def test_r037_case_19_login_grace_only_closes(pair: Pair) -> None:
    made = pair(server_core={"login_grace": 5.0})
    made.answers[AuthenticationAsked] = lambda *_: None
    made.pump()
    assert made.server.deadline() == 5.0
    made.server.tick(5.0)
    assert made.server.closed
    assert "Timeout before authentication" in str(made.server.error)
    made.server.grant_authentication("user", "none")
    assert not made.server.authenticated
