# SPDX-License-Identifier: MIT
"""Who may say what when, once there are keys: peers that do not keep the rules of a login (RFC 4252, RFC 4253)."""

from typing import Any

import pytest
from tests.conversations.bare import (
    inject,
    inject_only,
    inject_to_client,
    refused,
    take,
    without_strictness,
    write,
)

from tellin.errors import (
    AuthenticationFailed,
    ConnectionLost,
    Disconnected,
    HostKeyChanged,
    KeyExchangeFailed,
    ProtocolError,
    SignatureFailed,
    TellinError,
    TimedOut,
    UsageError,
)
from tellin.protocol.events import (
    Authenticated,
    AuthenticationAsked,
    AuthenticationRefused,
    ExchangeDone,
    ExtensionsReceived,
    PongReceived,
)
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import Pair
from tellin.transport import keying
from tellin.transport.messages import ExtInfo, KexInit
from tellin.transport.negotiation import STRICT_CLIENT
from tellin.transport.packets import PacketReader
from tellin.userauth.messages import UserauthFailure, UserauthRequest
from tellin.wire import string

PING = b"\xc0" + string(b"hello")
NONE = UserauthRequest("root", "ssh-connection", "none", b"").encode()


@pytest.fixture
def waiting(pair: Pair) -> Loopback:
    """Keys are in force, nobody has asked to log in."""
    made = pair()
    del made.answers[ExchangeDone]
    made.pump()
    return made


@pytest.fixture
def asked(pair: Pair) -> Loopback:
    """Keys are in force, and a request to log in waits for its answer."""
    made = pair()
    made.answers[AuthenticationAsked] = lambda *_: None
    made.pump()
    return made


# The connection protocol before a login


@pytest.mark.parametrize("number", range(80, 128))
def test_r019_case_158_the_connection_protocol_before_login(
    waiting: Loopback, number: int
) -> None:
    inject(waiting, bytes((number,)) + bytes(16))
    assert refused(waiting.server)
    assert not waiting.server.channels
    assert not waiting.server.authenticated


@pytest.mark.parametrize("number", [80, 90, 94, 98])
def test_r019_a_server_that_opens_channels_before_the_login(asked: Loopback, number: int) -> None:
    inject_to_client(asked, bytes((number,)) + bytes(16))
    assert refused(asked.client)
    assert not asked.client.channels


def test_r019_no_channel_is_asked_for_before_the_login(waiting: Loopback) -> None:
    with pytest.raises(UsageError):
        waiting.client.open_channel("session")


# Who lets whom in


@pytest.mark.parametrize("number", [51, 52, 53, 60, 61])
def test_r018_case_157_a_client_that_grants_itself_a_login(pair: Pair, number: int) -> None:
    made = pair()
    given: list[bytes] = []
    made.answers[AuthenticationAsked] = lambda _core, event: given.append(event.payload)
    made.pump()
    given.clear()
    inject(made, bytes((number,)))
    # It is the Authenticator's to judge, and that takes a request and nothing else.
    assert not made.server.authenticated
    assert not made.seen(Authenticated, made.server)


def test_r022_a_request_to_log_in_before_its_service_was_granted(
    monkeypatch: pytest.MonkeyPatch, waiting: Loopback
) -> None:
    monkeypatch.setattr(waiting.server, "_services", 0)
    inject(waiting, NONE)
    assert refused(waiting.server)
    assert not waiting.seen(AuthenticationAsked)


def test_cases_166_173_a_success_after_the_login(open_pair: Loopback) -> None:
    inject_to_client(open_pair, b"\x34")
    assert refused(open_pair.client)


def test_r022_case_166_success_before_any_request(waiting: Loopback) -> None:
    inject_to_client(waiting, b"\x34")
    assert refused(waiting.client)
    assert not waiting.client.authenticated


def test_case_166_success_before_the_service_is_granted(pair: Pair) -> None:
    made = pair()
    while made.client._transport.keying.receiving is None:
        made._carry(made.client, made.server)
        made._carry(made.server, made.client)
        made._dispatch()
    made.client._service_granted = False
    inject_to_client(made, b"\x34")
    assert refused(made.client)
    assert not made.client.authenticated


def test_r017_nothing_of_a_login_is_sent_without_a_cipher(asked: Loopback) -> None:
    client = asked.client
    client.authentication.receive(UserauthFailure(("password",), False).encode())
    client._transport.keying.sending = None
    before = client.unsent
    with pytest.raises(ProtocolError, match="before encryption"):
        client.try_password("user", "hunter2")
    assert client.unsent == before


def test_r017_there_is_no_login_before_the_first_exchange(pair: Pair) -> None:
    client = pair().client
    for attempt in (
        lambda: client.try_none("user"),
        lambda: client.try_password("user", "hunter2"),
        lambda: client.try_publickey("user", b"blob", "ssh-ed25519", signed=False),
        lambda: client.try_keyboard_interactive("user"),
    ):
        with pytest.raises(ProtocolError):
            attempt()
    assert b"hunter2" not in take(client)


def test_case_165_a_request_to_log_in_after_the_login_is_ignored(open_pair: Loopback) -> None:
    inject(open_pair, NONE)
    assert not open_pair.server.closed
    assert not open_pair.server.unsent
    assert len(open_pair.seen(Authenticated, open_pair.server)) == 1


def test_a_server_that_asks_to_log_in_after_the_login(open_pair: Loopback) -> None:
    inject_to_client(open_pair, NONE)
    assert refused(open_pair.client)


def test_requests_that_do_not_wait_are_bounded(asked: Loopback) -> None:
    inject_only(asked, *[NONE] * 16)
    assert not asked.server.closed
    inject_only(asked, NONE)
    assert refused(asked.server)


# PING, EXT_INFO, services


def test_r013_case_038_ping_before_login_is_not_answered(asked: Loopback) -> None:
    for _ in range(1000):
        inject_only(asked, PING)
    assert not asked.server.closed
    assert not asked.server.unsent


def test_ping_after_login_is_answered(open_pair: Loopback) -> None:
    open_pair.client.ping(b"hello")
    open_pair.pump()
    assert open_pair.seen(PongReceived, open_pair.client)[0].data == b"hello"


def test_r013_a_flood_of_pings_that_nobody_reads_ends(open_pair: Loopback) -> None:
    ping = b"\xc0" + string(bytes(30_000))
    for _ in range(60):
        if not open_pair.server.closed:
            inject_only(open_pair, ping)
    assert refused(open_pair.server)
    assert open_pair.server.unsent < (1 << 20) + 100_000


def test_r013_a_ping_during_an_exchange_is_not_answered(open_pair: Loopback) -> None:
    open_pair.client.rekey()
    write(open_pair.client, PING)
    open_pair.server.receive_data(take(open_pair.client), 0.0)
    assert refused(open_pair.server)


def test_r020_case_115_ext_info_after_login(open_pair: Loopback) -> None:
    inject(open_pair, ExtInfo.of({"x": b"y"}))
    assert refused(open_pair.server)
    assert "x" not in open_pair.server.peer_extensions
    assert len(open_pair.seen(ExtensionsReceived, open_pair.server)) == 1


def test_r020_case_115_a_client_says_it_first_or_not_at_all(waiting: Loopback) -> None:
    # The client's service request was the first packet under its keys.
    inject(waiting, ExtInfo.of({"x": b"y"}))
    assert refused(waiting.server)
    assert "x" not in waiting.server.peer_extensions


def test_r020_a_server_may_say_it_again_right_before_success(asked: Loopback) -> None:
    inject_to_client(asked, ExtInfo.of({"x": b"y"}))
    assert not asked.client.closed
    asked.server.grant_authentication("user", "none")
    asked.pump()
    assert asked.client.authenticated
    assert asked.client.peer_extensions["x"] == b"y"


@pytest.mark.parametrize(
    "after", [UserauthFailure(("password",), False).encode(), PING, b"\x02\0\0\0\0"]
)
def test_r020_between_it_and_success_nothing_may_come(asked: Loopback, after: bytes) -> None:
    inject_to_client(asked, ExtInfo.of({"x": b"y"}), after)
    assert refused(asked.client)
    assert not asked.seen(AuthenticationRefused)


def test_r021_case_115_a_third_ext_info(asked: Loopback) -> None:
    # The server's first was its first packet; this is the second, and one more.
    transport = asked.client._transport
    inject_to_client(asked, ExtInfo.of({"x": b"y"}))
    assert transport.ext_info_state()[0] == 2
    transport._admission = {**transport._admission, 7: "_ext_info"}
    inject_to_client(asked, ExtInfo.of({"z": b"y"}))
    assert refused(asked.client)


@pytest.mark.parametrize(
    "message",
    [
        ExtInfo.of({f"name{at}": b"" for at in range(10_000)}),
        ExtInfo.of({f"name{at}": b"" for at in range(65)}),
        ExtInfo.of({"name": bytes(65536)}),
        ExtInfo(2, (string(b"a") + string(b"")) * 2),
        ExtInfo(2, string(b"a") + string(b"")),
        ExtInfo(1, string(b"a") + string(b"") + b"x"),
        ExtInfo(0xFFFFFFFF, b""),
        ExtInfo(1, string(b"\xff") + string(b"")),
    ],
    ids=["10k", "65", "64 KiB", "twice", "truncated", "more", "count", "no UTF-8"],
)
def test_r021_case_115_ext_info_that_is_too_much_or_no_list(
    asked: Loopback, message: ExtInfo
) -> None:
    inject_to_client(asked, message)
    assert refused(asked.client)


def test_case_115_unknown_extensions_are_ignored(pair: Pair) -> None:
    many = {f"name{at}@example.com": bytes(100) for at in range(64)}
    made = pair(extensions=many)
    made.log_in()
    assert made.client.peer_extensions == many


def test_case_117_a_service_that_is_not_there_is_code_7(waiting: Loopback) -> None:
    inject(waiting, b"\x05" + string(b"ssh-connection"))
    assert isinstance(waiting.client.error, Disconnected)
    assert waiting.client.error.reason == 7


@pytest.mark.parametrize(
    "payload",
    [
        b"\x05" + string(b"ssh-userauth\0"),
        b"\x05" + string(b"ssh\x1b[2Juserauth"),
        b"\x05" + string(b"\xff"),
        b"\x05" + string(b"ssh-userauth")[:-1],
        b"\x05" + string(b"ssh-userauth") + b"x",
        b"\x05" + string(bytes(1 << 20)),
    ],
    ids=["NUL", "escape", "no UTF-8", "truncated", "longer", "1 MiB"],
)
def test_case_118_a_name_of_a_service_that_is_none(waiting: Loopback, payload: bytes) -> None:
    inject(waiting, payload)
    assert refused(waiting.server)


def test_case_119_a_third_service_request(waiting: Loopback) -> None:
    for closed in (False, True):
        inject_only(waiting, b"\x05" + string(b"ssh-userauth"))
        assert waiting.server.closed is closed
    assert refused(waiting.server)


@pytest.mark.parametrize("name", [b"ssh-connection", b"", b"ssh-userauth\0", b"ssh-userauth"])
def test_case_121_a_service_that_was_not_asked_for_is_granted(
    asked: Loopback, name: bytes
) -> None:
    inject_to_client(asked, b"\x06" + string(name))
    assert refused(asked.client)


def test_a_client_grants_no_service(waiting: Loopback) -> None:
    inject(waiting, b"\x06" + string(b"ssh-userauth"))
    assert refused(waiting.server)


def test_a_server_asks_for_no_service(waiting: Loopback) -> None:
    inject_to_client(waiting, b"\x05" + string(b"ssh-userauth"))
    assert refused(waiting.client)


# Strict key exchange


def test_r002_sequence_numbers_are_zero_after_newkeys(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pair()
    switched: list[int] = []
    switch = PacketReader.switch

    def look(reader: PacketReader, *arguments: Any, **named: Any) -> None:
        assert reader.sequence > 0
        switch(reader, *arguments, **named)
        switched.append(reader.sequence)

    monkeypatch.setattr(PacketReader, "switch", look)
    made.log_in()
    made.client.rekey()
    made.pump()
    made.server.rekey()
    made.pump()
    assert switched == [0] * 6
    for source, target in ((made.client, made.server), (made.server, made.client)):
        writer = source._transport.writer
        assert writer.sequence == writer.packets == target._transport.reader.sequence


def test_r002_without_strictness_they_go_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    without_strictness(monkeypatch)
    made = pair()
    made.log_in()
    assert not made.client.strict
    assert not made.server.strict
    writer = made.client._transport.writer
    before = writer.sequence
    assert before > writer.packets
    made.client.rekey()
    made.pump()
    assert made.client._transport.writer.sequence > before
    ours, theirs = made.session()
    theirs.sink = Collector(theirs)
    ours.send(b"still in step")
    made.pump()
    assert theirs.sink.data == b"still in step"


def test_r004_case_114_strictness_is_settled_by_the_first_kexinit(open_pair: Loopback) -> None:
    open_pair.client.rekey()
    offer = KexInit.decode(open_pair.client._transport.keying._ours)
    assert STRICT_CLIENT not in offer.kex_algorithms
    open_pair.pump()
    assert open_pair.client.strict
    assert open_pair.server.strict
    assert open_pair.server.error is None
    assert open_pair.server._transport.reader.sequence < 3


def test_r004_a_marker_that_comes_later_changes_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        without_strictness(patched)
        made = pair()
        made.log_in()
    proposal = keying.proposal
    monkeypatch.setattr(
        keying,
        "proposal",
        lambda *arguments, **named: proposal(*arguments, **{**named, "first": True}),
    )
    before = made.client._transport.writer.sequence
    made.client.rekey()
    made.pump()
    assert made.client.error is None
    assert not made.client.strict
    assert made.client._transport.writer.sequence > before


def test_r006_between_our_newkeys_and_the_peers_nothing_else_may_come(pair: Pair) -> None:
    for noise in (b"\x02\0\0\0\0", b"\x03\0\0\0\0", b"\x04" + bytes(9), PING, b"\x05" + bytes(4)):
        made = pair()
        raw = made.client._transport.keying._raw

        def with_noise(payload: bytes, *, raw: Any = raw, noise: bytes = noise) -> None:
            if payload == b"\x15":
                raw(noise)
            raw(payload)

        made.client._transport.keying._raw = with_noise
        made.pump()
        assert refused(made.server)
        assert not made.server.authenticated


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HostKeyChanged("/home/me/.ssh/known_hosts line 3"), "host key not accepted"),
        (AuthenticationFailed("me@alias: no"), "no more authentication methods to try"),
        (TimedOut("alias: no login within 3 s"), "timed out"),
        (SignatureFailed("/home/me/.ssh/id_rsa"), "no signature could be made"),
        (ConnectionLost("/home/me is gone"), "the connection cannot go on"),
        (UsageError("/home/me"), "the connection cannot go on"),
        (TellinError("/home/me"), "the connection cannot go on"),
        # What is wrong with the peer's own words is told in full.
        (ProtocolError("message 7 after login"), "message 7 after login"),
        (KeyExchangeFailed("a bad signature"), "a bad signature"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
)
def test_a_peer_is_not_told_what_our_errors_say_to_the_user(
    waiting: Loopback, error: TellinError, said: str
) -> None:
    ours, theirs = (waiting.client, waiting.server)
    ours.fail(error)
    waiting.pump()
    assert ours.error is error
    assert isinstance(theirs.error, Disconnected)
    assert theirs.error.description == said


def test_every_error_that_is_not_about_the_peers_words_has_a_parting_of_its_own() -> None:
    def below(kind: type[TellinError]) -> set[type[TellinError]]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    # A subclass whose message names files, hosts or keys of ours must say so here and there.
    about_the_peer = {one for one in below(TellinError) if not one.parting}
    assert {one.__name__ for one in about_the_peer if one.__module__ == "tellin.errors"} == {
        "ProtocolError",
        "MalformedPacket",
        "IntegrityError",
        "CompressionError",
        "IdentificationError",
        "KeyExchangeFailed",
        "NegotiationFailed",
    }


# Time


def test_r037_case_019_login_grace_only_closes(pair: Pair) -> None:
    made = pair(server_core={"login_grace": 5.0})
    made.answers[AuthenticationAsked] = lambda *_: None
    made.pump()
    assert made.server.deadline() == 5.0
    made.server.tick(4.9)
    assert not made.server.closed
    made.server.tick(5.0)
    assert isinstance(made.server.error, TimedOut)
    assert "Timeout before authentication" in str(made.server.error)
    # Whoever was still thinking about the login finds it gone.
    made.server.grant_authentication("user", "none")
    made.server.answer_authentication(())
    assert not made.server.authenticated


def test_the_time_to_log_in_is_over_when_somebody_is_in(pair: Pair) -> None:
    made = pair(server_core={"login_grace": 5.0})
    made.log_in()
    assert made.server.deadline() is None
    made.server.tick(6.0)
    assert not made.server.closed
