# SPDX-License-Identifier: MIT
"""KEXINIT: what is chosen, what is refused, and guesses that turn out right or wrong (RFC 4253 section 7.1)."""

from struct import pack
from typing import Any

import pytest
from tests.conversations.bare import (
    BANNER,
    Bare,
    BareClient,
    kexinit,
    packet,
    refused,
    server_kexinit,
    write,
)
from tests.work import work

from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.errors import HostKeyUnknown, KeyExchangeFailed, NegotiationFailed, TimedOut
from tellin.protocol import Core
from tellin.protocol.events import (
    ExchangeDone,
    HostKeyOffered,
    HostKeySignatureWanted,
    KexInitReceived,
)
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import Pair
from tellin.transport.keying import Stage
from tellin.transport.messages import Disconnect, KexInit
from tellin.transport.negotiation import (
    GUESS_BY_CHOICE,
    STRICT_CLIENT,
    STRICT_SERVER,
    negotiate,
    proposal,
)
from tellin.transport.version import Role
from tellin.wire import string

# Lists in which both sides put another method first, so that whoever guesses guesses wrong.
CURVE = ("curve25519-sha256", "ecdh-sha2-nistp256")
NIST = ("ecdh-sha2-nistp256", "curve25519-sha256")
WRONG_GUESS = packet(b"\x1e" + string(b"what no method understands"))


def public_value(name: str = "curve25519-sha256") -> bytes:
    """A client's opening of an exchange."""
    return packet(b"\x1e" + string(KEY_EXCHANGES[name].start().public))


def forged(payload: bytes, names: bytes, field: int = 0) -> bytes:
    """A KEXINIT with other bytes in one of its ten lists."""
    at = 17
    for _ in range(field):
        at += 4 + int.from_bytes(payload[at : at + 4], "big")
    size = int.from_bytes(payload[at : at + 4], "big")
    return payload[:at] + string(names) + payload[at + 4 + size :]


# What is no KEXINIT


@pytest.mark.parametrize("make", [kexinit, server_kexinit], ids=["to a server", "to a client"])
def test_case_059_a_kexinit_cut_anywhere_ends_the_connection(make: Any) -> None:
    payload = make()
    raw: Any = Bare if make is kexinit else BareClient
    for at in range(1, len(payload), 11):
        assert raw(BANNER, packet(payload[:at])).reason == 2
    assert raw(BANNER, packet(payload + b"\0")).reason == 2


ODD_LISTS = [
    pytest.param(b"a,,b", id="case 62: an empty name"),
    pytest.param(b",a", id="case 62: a leading comma"),
    pytest.param(b"a,", id="case 62: a trailing comma"),
    pytest.param(b"\x80", id="case 63: not ASCII"),
    pytest.param(b"a\x01", id="case 63: a control character"),
    pytest.param(b"a\0b", id="case 63: NUL"),
    pytest.param(b"a b", id="case 63: a space"),
    pytest.param(b"x" * 65, id="R049: a name of 65 bytes"),
    pytest.param(b",".join([b"a"] * 513), id="case 65, R049: 513 names"),
    pytest.param(b",".join([b"x" * 64] * 1009), id="case 65, R049: 64 KiB"),
]


@pytest.mark.parametrize("field", [0, 1, 2, 5, 7])
@pytest.mark.parametrize("names", ODD_LISTS)
def test_odd_lists_of_names_end_the_connection(names: bytes, field: int) -> None:
    assert Bare(BANNER, packet(forged(kexinit(), names, field))).reason == 2
    assert BareClient(BANNER, packet(forged(server_kexinit(), names, field))).reason == 2


def test_r049_512_names_of_64_bytes_are_still_a_list() -> None:
    names = [b"%064d" % at for at in range(511)] + [b"curve25519-sha256"]
    bare = Bare(BANNER, packet(forged(kexinit(), b",".join(names))))
    assert bare.core.algorithms is not None
    assert bare.core.algorithms.key_exchange == "curve25519-sha256"


def cost(payload: bytes) -> int:
    """The calls that a KEXINIT costs a server, who makes 600 of them for a plain one."""
    wire, bare = packet(payload), Bare(BANNER)
    return work(lambda: bare.feed(wire))


def test_r050_case_065_a_kexinit_of_256_kib_costs_no_time() -> None:
    full = ",".join(f"{at:063}" for at in range(512)).encode()
    many = b",".join([b"a"] * 30_000)
    payload = kexinit()
    for field in range(7):
        payload = forged(payload, full, field)
    assert len(payload) > 200_000
    # As many names as may be: 1.7 ms where a plain KEXINIT takes 0.2, and 50 are allowed.
    assert cost(payload) < 10_000
    for field in (0, 7):
        assert cost(forged(kexinit(), many, field)) < 1000
    # Nothing in common, and each list as long as may be: the search is no square.
    assert isinstance(Bare(BANNER, packet(payload)).error, NegotiationFailed)


def test_case_061_reserved_is_ignored() -> None:
    for value in (77, 0xFFFFFFFF):
        bare = Bare(BANNER, packet(kexinit(reserved=value)))
        assert bare.core.algorithms is not None


def test_case_079_languages_are_ignored() -> None:
    for languages in (b"en,de", b"\xff\xfe", b"," * 1000):
        bare = Bare(
            BANNER,
            packet(
                kexinit(languages_client_to_server=languages, languages_server_to_client=languages)
            ),
        )
        assert bare.core.algorithms is not None


# What is chosen


def test_r032_markers_are_never_chosen() -> None:
    markers = ("ext-info-c", "ext-info-s", "kex-strict-s-v00@openssh.com")
    bare = Bare(BANNER, packet(kexinit(kex_algorithms=markers)))
    assert bare.reason == 3
    # A client whose own list held one would not choose it either.
    client = BareClient(BANNER, packet(server_kexinit(kex_algorithms=("ext-info-c",))))
    assert client.reason == 3


def test_case_066_the_first_of_two_equal_names_counts() -> None:
    names = ("curve25519-sha256", "ecdh-sha2-nistp256", "curve25519-sha256")
    bare = Bare(BANNER, packet(kexinit(kex_algorithms=names)))
    assert bare.core.algorithms is not None
    assert bare.core.algorithms.key_exchange == "curve25519-sha256"


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("kex_algorithms", "key exchange method"),
        ("server_host_key_algorithms", "host key type"),
        ("encryption_client_to_server", "cipher"),
        ("encryption_server_to_client", "cipher"),
        ("compression_client_to_server", "compression method"),
        ("compression_server_to_client", "compression method"),
    ],
)
def test_case_067_nothing_in_common_is_code_3_and_says_what_was_offered(
    field: str, kind: str
) -> None:
    bare = Bare(BANNER, packet(kexinit(**{field: ("none-such",)})))
    assert bare.reason == 3
    assert str(bare.error) == f"no matching {kind} found. Their offer: none-such"
    client = BareClient(BANNER, packet(server_kexinit(**{field: ("none-such",)})))
    assert client.reason == 3


def test_case_067_of_an_endless_offer_a_kilobyte_is_shown() -> None:
    bare = Bare(BANNER, packet(kexinit(kex_algorithms=tuple(f"{n:064}" for n in range(500)))))
    assert isinstance(bare.error, NegotiationFailed)
    assert 1024 <= len(str(bare.error)) < 1200
    assert len(bare.error.theirs) == 500


def test_case_067_an_empty_list_has_nothing_in_common_with_any() -> None:
    assert Bare(BANNER, packet(kexinit(kex_algorithms=()))).reason == 3


@pytest.mark.parametrize("field", ["encryption_client_to_server", "encryption_server_to_client"])
def test_case_069_no_encryption_is_no_choice(field: str) -> None:
    bare = Bare(BANNER, packet(kexinit(**{field: ("none",)})), ciphers=("aes128-ctr",))
    assert bare.reason == 3


def test_r031_case_070_a_cipher_without_mac_needs_one() -> None:
    for cipher, reason in (
        ("aes256-ctr", 3),
        ("aes256-gcm@openssh.com", 0),
        ("chacha20-poly1305@openssh.com", 0),
    ):
        offer = kexinit(
            encryption_client_to_server=(cipher,),
            encryption_server_to_client=(cipher,),
            mac_client_to_server=("none",),
            mac_server_to_client=("none",),
        )
        assert Bare(BANNER, packet(offer)).reason == reason


# Strictness


@pytest.mark.parametrize("number", [2, 3, 4])
def test_r001_cases_73_75_strict_exchange_admits_nothing_else(number: int) -> None:
    noise = packet(bytes((number,)) + bytes(9))
    for raw, offer in ((Bare, kexinit()), (BareClient, server_kexinit())):
        before = raw(BANNER, noise, packet(offer))
        assert before.reason == 2
        assert "KEXINIT was not the first packet" in str(before.error)
        after = raw(BANNER, packet(offer), noise)
        assert after.reason == 2


@pytest.mark.parametrize("number", [5, 6, 7, 50, 80, 100, 150, 192, 255])
def test_r001_in_strict_exchange_there_are_no_harmless_messages(number: int) -> None:
    message = packet(bytes((number,)) + bytes(20))
    assert Bare(BANNER, packet(kexinit()), message).reason == 2
    assert BareClient(BANNER, packet(server_kexinit()), message).reason == 2


def test_r001_not_even_between_the_two_halves_of_the_exchange() -> None:
    bare = Bare(BANNER, packet(kexinit(kex_algorithms=(*CURVE, STRICT_CLIENT))), public_value())
    bare.sign()
    bare.feed(packet(b"\x02\0\0\0\0"))
    assert bare.core.closed
    assert refused(bare.core)


def test_case_074_noise_is_legal_without_strict_exchange() -> None:
    bare = Bare(BANNER, packet(b"\x02\0\0\0\0"), packet(kexinit(strict=False)))
    assert not bare.core.closed
    bare.feed(packet(b"\x02\0\0\0\0"), packet(b"\x04" + bytes(9)))
    assert not bare.core.closed


def test_r005_strict_exchange_can_be_required() -> None:
    bare = Bare(BANNER, packet(kexinit(strict=False)), require_strict=True)
    assert isinstance(bare.error, KeyExchangeFailed)
    assert bare.reason == 3
    assert not Bare(BANNER, packet(kexinit()), require_strict=True).core.closed
    client = BareClient(BANNER, packet(server_kexinit(strict=False)), require_strict=True)
    assert client.reason == 3


# One exchange at a time


def test_r007_case_071_a_second_kexinit() -> None:
    for strict in (True, False):
        offer = packet(kexinit(strict=strict))
        assert Bare(BANNER, offer, offer).reason == 2
        offer = packet(server_kexinit(strict=strict))
        assert BareClient(BANNER, offer, offer).reason == 2


@pytest.mark.parametrize("number", [31, 32, 33, 34, 40, 49])
def test_r007_a_message_of_another_method(number: int) -> None:
    for strict in (True, False):
        offer = packet(kexinit(strict=strict, kex_algorithms=CURVE + (STRICT_CLIENT,) * strict))
        bare = Bare(BANNER, offer, packet(bytes((number,)) + string(b"") * 3))
        assert bare.reason == 2
    server = packet(server_kexinit(kex_algorithms=CURVE))
    client = BareClient(BANNER, server, packet(bytes((number + 1,)) + string(b"") * 3))
    assert client.reason == 2


# Guesses


def guessing(*, kex: tuple[str, ...] = CURVE, **changes: Any) -> bytes:
    """A client's KEXINIT that is followed by a guess."""
    names = (*kex, STRICT_CLIENT)
    return packet(kexinit(kex_algorithms=names, first_kex_packet_follows=True, **changes))


def test_r009_case_077_after_a_wrong_guess_one_packet_is_skipped() -> None:
    bare = Bare(BANNER, guessing(kex=NIST), WRONG_GUESS, key_exchanges=CURVE)
    assert not bare.core.closed
    assert not bare.seen(HostKeySignatureWanted)
    assert bare.core.algorithms is not None
    assert not bare.core.algorithms.guess_right
    bare.feed(public_value("ecdh-sha2-nistp256"))
    assert bare.seen(HostKeySignatureWanted)


def test_r009_case_077_one_packet_and_no_more() -> None:
    bare = Bare(BANNER, guessing(kex=NIST), WRONG_GUESS, WRONG_GUESS, key_exchanges=CURVE)
    assert bare.core.closed
    assert bare.reason == 2


def test_r009_case_077_nothing_is_skipped_where_no_guess_was_announced() -> None:
    offer = packet(kexinit(kex_algorithms=(*NIST, STRICT_CLIENT)))
    bare = Bare(BANNER, offer, WRONG_GUESS, key_exchanges=CURVE)
    assert bare.reason == 2


def test_r010_case_077_a_right_guess_is_used() -> None:
    host_keys = ("ssh-ed25519",)
    bare = Bare(
        BANNER,
        guessing(server_host_key_algorithms=host_keys),
        public_value(),
        key_exchanges=CURVE,
    )
    assert bare.seen(KexInitReceived)[0].negotiated.guess_right
    assert bare.seen(HostKeySignatureWanted)


def test_r010_a_guess_is_wrong_if_only_the_host_keys_differ() -> None:
    other = ("ecdsa-sha2-nistp256", "ssh-ed25519")
    bare = Bare(
        BANNER,
        guessing(server_host_key_algorithms=other),
        WRONG_GUESS,
        key_exchanges=CURVE,
    )
    assert not bare.seen(KexInitReceived)[0].negotiated.guess_right
    bare.feed(public_value())
    assert bare.seen(HostKeySignatureWanted)


@pytest.mark.parametrize("server_says_so", [True, False])
@pytest.mark.parametrize("client_says_so", [True, False])
def test_r010_a_guess_is_judged_by_the_choice_where_both_sides_say_so(
    client_says_so: bool, server_says_so: bool
) -> None:
    """Dropbear's way: what stands first in the server's lists is nothing to it."""

    def offer(kex: tuple[str, ...], host_keys: tuple[str, ...], says: bool) -> KexInit:
        names = kex + (GUESS_BY_CHOICE,) * says
        return KexInit.decode(kexinit(kex_algorithms=names, server_host_key_algorithms=host_keys))

    keys = ("ssh-ed25519", "ecdsa-sha2-nistp384")
    server = offer(NIST, keys, server_says_so)
    both = client_says_so and server_says_so
    for kex, host_keys, right in (
        (NIST, keys, True),
        (CURVE, keys, both),
        (NIST, keys[::-1], both),
        (("curve25519-sha256@libssh.org", *NIST), keys, False),
        (NIST, ("rsa-sha2-512", *keys), False),
    ):
        client = offer(kex, host_keys, client_says_so)
        for role in Role:
            assert negotiate(client, server, role).guess_right is right


def test_r010_a_client_that_guesses_says_how_it_is_to_be_judged() -> None:
    marked = server_kexinit(kex_algorithms=(*NIST, STRICT_SERVER, GUESS_BY_CHOICE))
    for marker, openings in ((marked, 1), (server_kexinit(kex_algorithms=NIST), 2)):
        client = BareClient(BANNER, packet(marker), key_exchanges=CURVE)
        offer, *sent = client.said
        assert GUESS_BY_CHOICE in KexInit.decode(offer).kex_algorithms
        # The wrong guess is followed by the method that was chosen.
        assert [payload[0] for payload in sent] == [30] * openings
        # It is the same one, as the guess was: its secret has been used for nothing.
        assert len(set(sent)) == 1
    shy = BareClient(BANNER, packet(marked), key_exchanges=CURVE, guess=False)
    offer, *sent = shy.said
    assert GUESS_BY_CHOICE not in KexInit.decode(offer).kex_algorithms
    assert [payload[0] for payload in sent] == [30]


def test_r009_r010_a_servers_guess_is_treated_alike() -> None:
    """The client skips one packet of a server that announced a guess and guessed wrong."""
    for follows in (True, False):
        offer = server_kexinit(kex_algorithms=NIST, first_kex_packet_follows=follows)
        client = BareClient(
            BANNER,
            packet(offer),
            packet(b"\x1f" + string(b"nonsense") * 3),
            key_exchanges=CURVE,
            guess=False,
        )
        assert client.core.closed is not follows
        # It takes one such packet only.
        client.feed(packet(b"\x1f" + string(b"nonsense") * 3))
        assert client.core.closed


def test_case_078_a_guess_that_was_announced_and_never_comes() -> None:
    bare = Bare(BANNER, guessing(kex=NIST), key_exchanges=CURVE)
    bare.feed(b"")
    assert not bare.core.closed
    deadline = bare.core.deadline()
    assert deadline is not None
    bare.core.tick(deadline)
    assert isinstance(bare.core.error, TimedOut)


def transfer(made: Loopback, size: int = 5000) -> None:
    ours, theirs = made.session()
    ours.sink, theirs.sink = Collector(ours), Collector(theirs)
    ours.send(b"x" * size)
    theirs.send(b"y" * size)
    made.pump()
    assert theirs.sink.data == b"x" * size
    assert ours.sink.data == b"y" * size


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("right", [True, False])
def test_r009_r010_guesses_at_a_rekey(pair: Pair, side: str, right: bool) -> None:
    """Our own cores never guess then, so one side's KEXINIT is made by hand (CVE-2023-1667)."""
    made = pair(key_exchanges=CURVE, host_key_algorithms=("ssh-ed25519",))
    made.log_in()
    core: Core = made.client if side == "client" else made.server
    ours = core._transport.keying
    preferences = core._transport.settings.preferences
    if not right:
        preferences.key_exchanges = NIST
    offer: KexInit = proposal(preferences, core.role, bytes(16), first=False, follows=True)
    ours._offer, ours._ours = offer, offer.encode()
    ours.stage = Stage.OFFERED
    write(core, ours._ours)
    if not right or side == "server":
        # A server that guesses right has nothing to send first; one that guesses wrong may.
        if not right:
            write(core, b"\x1e" + string(b"what no method understands"))
    made.pump()
    assert made.client.error is None
    assert made.server.error is None
    assert len(made.seen(ExchangeDone, made.client)) == 2
    transfer(made)


def test_r009_r010_guesses_of_our_own_client(pair: Pair) -> None:
    right = pair(key_exchanges=CURVE, host_key_algorithms=("ssh-ed25519",))
    right.log_in()
    assert right.seen(KexInitReceived, right.server)[0].negotiated.guess_right
    taken = pair(client={"key_exchanges": NIST}, server={"key_exchanges": CURVE})
    taken.log_in()
    # RFC 4253 section 7: what the server likes best counts, though the guess names what is chosen.
    assert not taken.seen(KexInitReceived, taken.server)[0].negotiated.guess_right
    transfer(taken)
    wrong = pair(client={"key_exchanges": NIST}, server={"key_exchanges": CURVE[:1]})
    wrong.log_in()
    assert not wrong.seen(KexInitReceived, wrong.server)[0].negotiated.guess_right
    transfer(wrong)
    shy = pair(client={"guess": False}, key_exchanges=CURVE)
    shy.log_in()
    transfer(shy)


DH = ("diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512")


def naive(made: Loopback) -> Loopback:
    """The server takes the packet behind a wrong guess for the exchange, as Paramiko's does."""
    keying = made.server._transport.keying
    receive = type(keying).receive_kexinit

    class Naive(type(keying)):  # type: ignore[misc]
        __slots__ = ()

        def receive_kexinit(self, payload: bytes) -> None:
            receive(self, payload)
            self._skip = False

    keying.__class__ = Naive
    made.pump()
    return made


@pytest.mark.parametrize(("ours", "theirs"), [(NIST, CURVE), (CURVE, NIST), (DH, DH[1:])])
def test_a_server_that_misreads_a_guess_is_known_by_how_it_ends(
    pair: Pair, ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    settings = {"client": {"key_exchanges": ours}, "server": {"key_exchanges": theirs[:1]}}
    misled = naive(pair(**settings))
    assert misled.client.closed
    assert misled.client.guess_misread
    settings["client"]["guess"] = False
    again = naive(pair(**settings))
    again.log_in()
    assert not again.client.guess_misread
    transfer(again)


def test_only_a_peer_that_stumbles_over_a_wrong_guess_has_misread_it(pair: Pair) -> None:
    other, same = (packet(server_kexinit(kex_algorithms=names)) for names in (NIST[:1], CURVE))
    nothing_shared = packet(server_kexinit(kex_algorithms=("none-of-ours",)))
    goodbye = packet(Disconnect(2, b"what is this?", b"").encode())
    for parts, misread in (
        ((other, goodbye), True),
        ((other, packet(b"\x1f" + string(b"")), goodbye), True),
        ((other,), False),
        ((same, goodbye), False),
        ((nothing_shared,), False),
        ((goodbye,), False),
    ):
        bare = BareClient(BANNER, *parts, key_exchanges=CURVE)
        assert bare.core.guess_misread is misread, parts
    # It hangs up without a word; it says nothing at all; we are the ones to leave.
    for end, misread in (
        (lambda core: core.received_eof(1.0), True),
        (lambda core: core.connection_lost(ConnectionResetError(104, "reset"), 1.0), True),
        (lambda core: core.tick(1000.0), False),
        (lambda core: core.disconnect(), False),
        (lambda core: core.fail(TimedOut("no more time")), False),
    ):
        bare = BareClient(BANNER, other, key_exchanges=CURVE)
        end(bare.core)
        assert bare.core.closed
        assert bare.core.guess_misread is misread
    # It has understood us, and it is its key that we do not like.
    made = pair(client={"key_exchanges": NIST}, server={"key_exchanges": CURVE})
    made.answers[HostKeyOffered] = lambda core, event: core.reject_host_key(
        HostKeyUnknown("who is this?")
    )
    made.pump()
    assert isinstance(made.client.error, HostKeyUnknown)
    assert not made.client.guess_misread


def test_a_right_guess_saves_the_flight_that_a_wrong_one_costs(pair: Pair) -> None:
    turns = []
    for names in (CURVE, NIST):
        made = pair(
            client={"key_exchanges": names},
            server={"key_exchanges": CURVE[:1]},
            host_key_algorithms=("ssh-ed25519",),
        )
        count = 0
        while not made.client.authenticated:
            made._carry(made.client, made.server)
            made._carry(made.server, made.client)
            made._dispatch()
            count += 1
        turns.append(count)
    assert turns[0] < turns[1]


def test_the_wire_of_a_guess_is_what_is_measured_here() -> None:
    """The packets made by hand above are such as a client of ours sends."""
    from tests.conversations.bare import clear_payloads

    client = BareClient(key_exchanges=CURVE)
    offer, guess = clear_payloads(client.wire)
    assert KexInit.decode(offer).first_kex_packet_follows
    assert guess[:5] == b"\x1e" + pack(">I", 32)
