# SPDX-License-Identifier: MIT
"""Key exchanges with a peer that cheats: bad public values, bad groups, host keys that are none (RFC 4253 section 8)."""

import gc
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.certified import authority, host_certificate
from tests.conversations.bare import (
    BANNER,
    Bare,
    BareClient,
    kexinit,
    packet,
    refused,
    resident,
    server_kexinit,
)

from tellin.algorithms.finite_field import fixed_prime
from tellin.algorithms.key_exchange import KEY_EXCHANGES, Family, Moduli
from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS, with_certificates
from tellin.errors import (
    DisconnectReason,
    HostKeyRejected,
    KeyExchangeFailed,
    ProtocolError,
)
from tellin.keys.private import PrivateKey
from tellin.protocol.events import HostKeyOffered, HostKeySignatureWanted
from tellin.testing.pairs import HOST_KEY, make_pair
from tellin.transport.exchange import Context, make_exchange
from tellin.transport.messages import (
    KexDhInit,
    KexEcdhInit,
    KexEcdhReply,
    KexGexGroup,
    KexGexInit,
    KexGexReply,
    KexGexRequest,
    KexGexRequestOld,
)
from tellin.transport.negotiation import STRICT_CLIENT, STRICT_SERVER
from tellin.transport.version import Role
from tellin.wire import Message, mpint, string

GROUP14 = "diffie-hellman-group14-sha256"
GEX = "diffie-hellman-group-exchange-sha256"
PRIME = fixed_prime(2048)
MODULI = Moduli.parse(f"20220714110357 2 6 100 2047 2 {PRIME:X}")


def server_in(method: str, *messages: bytes | Message, **settings: Any) -> Bare:
    """A server that has agreed to ``method`` and gets these messages."""
    offer = kexinit(kex_algorithms=(method, STRICT_CLIENT))
    bare = Bare(BANNER, packet(offer), key_exchanges=(method,), **settings)
    assert not bare.core.closed
    bare.feed(*(packet(one if isinstance(one, bytes) else one.encode()) for one in messages))
    return bare


def client_in(method: str, *messages: bytes | Message) -> BareClient:
    """The same with a client."""
    offer = server_kexinit(kex_algorithms=(method, STRICT_SERVER))
    client = BareClient(BANNER, packet(offer), key_exchanges=(method,))
    assert not client.core.closed
    client.feed(*(packet(one if isinstance(one, bytes) else one.encode()) for one in messages))
    return client


# Public values


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(mpint(value), id=f"case 81, R039: {name}")
        for name, value in (
            ("0", 0),
            ("1", 1),
            ("2", 2),
            ("-1", -1),
            ("p-1", PRIME - 1),
            ("p", PRIME),
            ("p+1", PRIME + 1),
            ("a power of two", 1 << 2000),
            ("2p", 2 * PRIME),
        )
    ]
    + [
        pytest.param(string(b"\0\0\x7f"), id="case 82: leading zeros"),
        pytest.param(string(b"\0"), id="case 82: a zero of one byte"),
        pytest.param(string(b"\xff\xff\x80"), id="case 82: a negative one too long"),
        pytest.param(string(b"\0" + bytes(3000)), id="case 82: longer than any"),
        pytest.param(string(b"\x7f" * 16385), id="case 83"),
        pytest.param(string(b"\x7f" * 2050), id="case 83: over 16384 bits"),
        pytest.param(struct.pack(">I", 0xFFFFFFFF) + b"\x7f", id="case 83: a length that lies"),
        pytest.param(mpint(PRIME // 3) + b"x", id="bytes behind it"),
    ],
)
def test_a_value_that_no_client_sends_is_refused_before_anything_is_signed(value: bytes) -> None:
    for method, number in ((GROUP14, b"\x1e"), (GEX, b"\x20")):
        first = () if method is GROUP14 else (KexGexRequest(2048, 2048, 8192),)
        bare = server_in(method, *first, number + value, moduli=MODULI)
        assert bare.reason in {2, 3}
        assert not bare.seen(HostKeySignatureWanted)
        client = client_in(
            method,
            *([KexGexGroup(PRIME, 2)] if first else []),
            (b"\x21" if first else b"\x1f")
            + string(HOST_KEY.public.blob)
            + value
            + string(b"signature"),
        )
        assert client.reason in {2, 3}
        assert not client.seen(HostKeyOffered)


@pytest.mark.parametrize(
    ("method", "right"),
    [
        ("curve25519-sha256", 32),
        ("curve25519-sha256@libssh.org", 32),
        ("ecdh-sha2-nistp256", 65),
        ("ecdh-sha2-nistp384", 97),
        ("ecdh-sha2-nistp521", 133),
        ("mlkem768x25519-sha256", 1216),
        ("mlkem768nistp256-sha256", 1249),
        ("sntrup761x25519-sha512", 1190),
        ("sntrup761x25519-sha512@openssh.com", 1190),
    ],
)
def test_r040_r042_cases_89_91_93_94_only_one_length_is_right(method: str, right: int) -> None:
    good = KEY_EXCHANGES[method].start().public
    assert len(good) == right
    for value in (b"", good[:-1], good + b"\0", good[: right // 2], good * 2):
        bare = server_in(method, KexEcdhInit(value))
        assert bare.reason in {2, 3}
        assert not bare.seen(HostKeySignatureWanted)
    reply = KEY_EXCHANGES[method].respond(good)[0]
    for value in (b"", reply[:-1], reply + b"\0"):
        client = client_in(method, KexEcdhReply(HOST_KEY.public.blob, value, b"signature"))
        assert client.reason in {2, 3}
        assert not client.seen(HostKeyOffered)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        pytest.param("curve25519-sha256", bytes(32), id="case 89, R039: zeros"),
        pytest.param("curve25519-sha256", b"\1" + bytes(31), id="case 89, R039: small order"),
        pytest.param("ecdh-sha2-nistp256", bytes(65), id="R039: infinity"),
        pytest.param("ecdh-sha2-nistp256", b"\4" + b"\1" * 64, id="R039: off the curve"),
        pytest.param(
            "mlkem768x25519-sha256", b"\xff" * 1184 + b"\x09" + bytes(31), id="case 91: modulus"
        ),
    ],
)
def test_a_value_that_makes_no_secret_is_refused(method: str, value: bytes) -> None:
    bare = server_in(method, KexEcdhInit(value))
    assert bare.reason == 3
    assert not bare.seen(HostKeySignatureWanted)


@pytest.mark.parametrize("method", ["mlkem768x25519-sha256", "sntrup761x25519-sha512"])
def test_cases_91_94_the_curve_of_a_hybrid_must_not_make_zeros(method: str) -> None:
    good = KEY_EXCHANGES[method].start().public
    bare = server_in(method, KexEcdhInit(good[:-32] + bytes(32)))
    assert bare.reason == 3
    assert not bare.seen(HostKeySignatureWanted)


# Group exchange


def test_case_085_the_old_request_is_taken_once() -> None:
    bare = server_in(GEX, KexGexRequestOld(2048), moduli=MODULI)
    assert KexGexGroup(PRIME, 2).encode() in bare.said
    bare.feed(packet(KexGexRequestOld(2048).encode()))
    assert bare.reason == 2


def test_case_087_a_value_before_there_is_a_group() -> None:
    for message in (KexGexInit(PRIME // 3), b"\x1f" + mpint(PRIME) + mpint(2)):
        assert server_in(GEX, message, moduli=MODULI).reason == 2
    reply = b"\x21" + string(HOST_KEY.public.blob) + mpint(PRIME // 3) + string(b"")
    assert client_in(GEX, reply).reason == 2


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        pytest.param((4096, 2048, 8192), 2, id="R041: the least above the wish"),
        pytest.param((2048, 8192, 4096), 2, id="R041: the wish above the most"),
        pytest.param((8193, 8193, 8193), 3, id="R041: nothing so large"),
        pytest.param((1024, 1024, 1024), 3, id="R041: nothing so small"),
        pytest.param((0xFFFFFFFF,) * 3, 3, id="R041: nothing at all"),
    ],
)
def test_a_group_that_is_not_to_be_had(wish: tuple[int, int, int], reason: int) -> None:
    bare = server_in(GEX, KexGexRequest(*wish), moduli=MODULI)
    assert bare.reason == reason


@pytest.mark.parametrize(
    ("prime", "generator"),
    [
        pytest.param(fixed_prime(1024), 2, id="case 86, R041: 1024 bits"),
        pytest.param(PRIME + 1, 2, id="case 86, R041: even"),
        pytest.param(1, 2, id="case 86: 1"),
        pytest.param(0, 2, id="case 86: 0"),
        pytest.param(-PRIME, 2, id="case 86: negative"),
        pytest.param((1 << 8193) + 1, 2, id="case 86: beyond what was asked for"),
        pytest.param(PRIME, 0, id="case 86, R041: generator 0"),
        pytest.param(PRIME, 1, id="case 86, R041: generator 1"),
        pytest.param(PRIME, PRIME - 1, id="case 86, R041: generator p-1"),
        pytest.param(PRIME, PRIME, id="case 86: generator p"),
    ],
)
def test_a_client_takes_no_bad_group(prime: int, generator: int) -> None:
    client = client_in(GEX, KexGexGroup(prime, generator))
    assert client.reason == 3
    assert isinstance(client.error, KeyExchangeFailed)
    assert not any(payload[0] == 32 for payload in client.said)


def test_case_086_a_good_group_is_taken_once() -> None:
    client = client_in(GEX, KexGexGroup(PRIME, 2))
    assert any(payload[0] == 32 for payload in client.said)
    client.feed(packet(KexGexGroup(PRIME, 2).encode()))
    assert client.reason == 2


# The server's answer


class Server:
    """A server made by hand: it answers as a good one would, or as ``change`` says."""

    def __init__(
        self, method: str = "curve25519-sha256", *, host_key: str = "ssh-ed25519"
    ) -> None:
        self.client = BareClient(
            key_exchanges=(method,),
            host_key_algorithms=with_certificates(HOST_KEY_ALGORITHMS),
        )
        self.ours = server_kexinit(
            kex_algorithms=(method, STRICT_SERVER), server_host_key_algorithms=(host_key,)
        )
        identification, rest = self.client.wire.split(b"\r\n", 1)
        payloads = self.client.said
        assert rest
        self.context = Context(identification, BANNER.rstrip(), payloads[0], self.ours)
        self.client.feed(BANNER, packet(self.ours))
        self.opening = next(one for one in self.client.said if one[0] in {30, 34})
        self.method = method

    def reply(
        self,
        blob: bytes = HOST_KEY.public.blob,
        *,
        signer: PrivateKey = HOST_KEY,
        change: Callable[[bytes], bytes] = lambda signature: signature,
    ) -> None:
        """Answer with this host key and a signature over the exchange that holds it."""
        family = KEY_EXCHANGES[self.method].family
        exchange = make_exchange(self.method, Role.SERVER, blob, MODULI)
        exchange.start()
        opening: Message
        if family is Family.GEX:
            group = exchange.receive(KexGexRequest.decode(self.opening), self.context)
            assert isinstance(group, Message)
            self.client.feed(packet(group.encode()))
            opening = KexGexInit.decode(next(one for one in self.client.said if one[0] == 32))
        else:
            kind = KexDhInit if family is Family.DH else KexEcdhInit
            opening = kind.decode(self.opening)
        agreed = exchange.receive(opening, self.context)
        assert not isinstance(agreed, Message)
        signature = change(signer.sign(agreed.exchange_hash))
        self.client.feed(packet(exchange.reply(signature).encode()))


@pytest.mark.parametrize("method", ["curve25519-sha256", GROUP14, GEX, "mlkem768x25519-sha256"])
def test_a_server_made_by_hand_is_a_good_server(method: str) -> None:
    server = Server(method)
    server.reply()
    assert server.client.seen(HostKeyOffered)
    server.client.trust()
    assert server.client.error is None


ECDSA = PrivateKey.generate("ecdsa")
OTHER = PrivateKey.generate("ed25519")
BLOB = HOST_KEY.public.blob


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="case 95: nothing"),
        pytest.param(BLOB[:-1], id="case 95: truncated"),
        pytest.param(BLOB + b"\0", id="case 95: trailing bytes"),
        pytest.param(string(b"ssh-none") + string(bytes(32)), id="case 95: unknown type"),
        pytest.param(ECDSA.public.blob, id="case 95: another type than agreed"),
        pytest.param(string(b"ssh-ed25519") + string(bytes(31)), id="case 95, R075: 31 bytes"),
        pytest.param(
            string(b"ssh-ed25519-cert-v01@openssh.com") + string(bytes(32)) + BLOB[15:],
            id="case 95: a certificate where a key was agreed",
        ),
        pytest.param(b"\xff" * 100, id="case 95: rubbish"),
    ],
)
def test_a_host_key_that_is_none_is_never_offered(blob: bytes) -> None:
    server = Server()
    server.reply(blob, signer=ECDSA if blob == ECDSA.public.blob else HOST_KEY)
    client = server.client
    assert client.reason in {2, 9}
    assert not client.seen(HostKeyOffered)
    assert client.core._transport.keying.sending is None


CERTIFICATE = host_certificate(HOST_KEY.public, "host", now=1e9)
CERTIFIED_NAME = CERTIFICATE.key_type


def test_a_certificate_is_offered_as_it_came_with_the_name_that_was_agreed() -> None:
    server = Server(host_key=CERTIFIED_NAME)
    server.reply(CERTIFICATE.blob)
    (offered,) = server.client.seen(HostKeyOffered)
    assert (offered.key_blob, offered.algorithm) == (CERTIFICATE.blob, CERTIFIED_NAME)
    server.client.trust()
    assert server.client.error is None


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(CERTIFICATE.blob[:-1], id="case 95: a certificate cut short"),
        pytest.param(CERTIFICATE.blob + b"\0", id="case 95: a certificate with more behind it"),
        pytest.param(BLOB, id="case 95: a key where a certificate was agreed"),
        pytest.param(
            host_certificate(ECDSA.public, "host", now=1e9).blob,
            id="case 95: a certificate of another type than agreed",
        ),
        pytest.param(
            string(CERTIFIED_NAME.encode()) + BLOB[15:],
            id="case 95: a key by a certificate's name",
        ),
        pytest.param(
            CERTIFICATE.blob.replace(string(authority().public.blob), string(CERTIFICATE.blob)),
            id="case 95, R102: a certificate signed by a certificate",
        ),
    ],
)
def test_a_certificate_that_is_none_is_never_offered(blob: bytes) -> None:
    server = Server(host_key=CERTIFIED_NAME)
    server.reply(blob, signer=ECDSA if b"nistp256" in blob else HOST_KEY)
    client = server.client
    assert client.reason in {2, 9}
    assert not client.seen(HostKeyOffered)
    assert client.core._transport.keying.sending is None


def test_r016_a_certificate_needs_its_own_keys_signature() -> None:
    # Anybody can show one: it is no secret.
    for signer in (OTHER, authority()):
        server = Server(host_key=CERTIFIED_NAME)
        server.reply(CERTIFICATE.blob, signer=signer)
        assert isinstance(server.client.error, HostKeyRejected)
        assert not server.client.seen(HostKeyOffered)
    server = Server()
    server.reply(CERTIFICATE.blob)
    assert not server.client.seen(HostKeyOffered)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda signature: b"", id="R016: no signature"),
        pytest.param(lambda signature: signature[:-1], id="R016: truncated"),
        pytest.param(lambda signature: signature + b"\0", id="R016: trailing bytes"),
        pytest.param(lambda signature: signature[:-1] + b"\xff", id="R016: damaged"),
        pytest.param(lambda signature: signature[:19] + bytes(64), id="R016: zeros"),
        pytest.param(
            lambda signature: string(b"ssh-rsa") + signature[15:], id="R070: another algorithm"
        ),
    ],
)
def test_no_host_key_is_offered_whose_signature_is_wrong(
    change: Callable[[bytes], bytes],
) -> None:
    server = Server()
    server.reply(change=change)
    assert isinstance(server.client.error, HostKeyRejected)
    assert server.client.reason == DisconnectReason.HOST_KEY_NOT_VERIFIABLE
    assert not server.client.seen(HostKeyOffered)


def test_r015_another_certificate_at_a_rekey_is_another_peer() -> None:
    """Also one for the same key: whoever renewed it in between is not known."""
    shown = {"host_keys": ((CERTIFIED_NAME, CERTIFICATE.blob),)}
    made = make_pair(
        server={**shown, "host_key_algorithms": (CERTIFIED_NAME,)},
        client={"host_key_algorithms": (CERTIFIED_NAME,)},
    )
    made.log_in()
    made.client.rekey()
    made.pump()
    assert made.client.error is None
    fresh = host_certificate(HOST_KEY.public, "host", now=1e9, serial=8)
    made.server._transport.keying._settings.host_keys = ((CERTIFIED_NAME, fresh.blob),)
    made.client.rekey()
    made.pump()
    assert isinstance(made.client.error, HostKeyRejected)


def test_r016_a_signature_by_another_key_is_wrong() -> None:
    server = Server()
    server.reply(signer=OTHER)
    assert isinstance(server.client.error, HostKeyRejected)


def test_r016_a_signature_over_another_exchange_is_wrong() -> None:
    """Both identifications and both KEXINITs are covered."""
    for field in ("client_identification", "server_identification", "client_kexinit"):
        server = Server()
        setattr(server.context, field, getattr(server.context, field) + b"x")
        server.reply()
        assert isinstance(server.client.error, HostKeyRejected)


def test_r014_r016_nothing_follows_until_the_host_key_is_trusted() -> None:
    server = Server()
    server.reply()
    before = server.client.wire
    server.client.feed(packet(b"\x15"))
    server.client.core.tick(1.0)
    assert server.client.wire == before
    with pytest.raises(ProtocolError):
        server.client.core.try_password("user", "hunter2")
    server.client.core.reject_host_key(HostKeyRejected("not this one"))
    assert server.client.reason == 9
    server.client.core.trust_host_key()
    assert server.client.core.closed
    assert server.client.core._transport.keying.sending is None


def test_case_097_newkeys_instead_of_the_reply() -> None:
    server = Server()
    server.client.feed(packet(b"\x15"))
    assert server.client.reason == 2


def test_case_098_messages_of_the_other_role() -> None:
    value = KEY_EXCHANGES["curve25519-sha256"].start().public
    bare = server_in("curve25519-sha256", KexEcdhReply(BLOB, value, b""))
    assert bare.reason == 2
    assert client_in("curve25519-sha256", KexEcdhInit(value)).reason == 2
    assert client_in(GEX, KexGexRequest(2048, 2048, 2048)).reason == 2
    assert server_in(GEX, KexGexReply(BLOB, PRIME // 3, b""), moduli=MODULI).reason == 2


@pytest.mark.parametrize("strict", [True, False])
def test_case_099_the_same_opening_twice(strict: bool) -> None:
    value = KEY_EXCHANGES["curve25519-sha256"].start().public
    names = ("curve25519-sha256",) + (STRICT_CLIENT,) * strict
    opening = packet(KexEcdhInit(value).encode())
    bare = Bare(BANNER, packet(kexinit(kex_algorithms=names, strict=strict)), opening, opening)
    assert len(bare.seen(HostKeySignatureWanted)) == 1
    bare.sign()
    assert refused(bare.core)
    assert len(bare.seen(HostKeySignatureWanted)) == 1


def test_r008_case_103_newkeys_before_there_are_keys() -> None:
    for strict in (True, False):
        assert Bare(BANNER, packet(kexinit(strict=strict)), packet(b"\x15")).reason == 2
    value = KEY_EXCHANGES["curve25519-sha256"].start().public
    bare = server_in("curve25519-sha256", KexEcdhInit(value), b"\x15")
    # It waits until the signature is there, and is then what it should be: in its place.
    bare.sign()
    assert bare.core.session_id


@pytest.mark.parametrize("payload", [b"\x15\0", b"\x15" + bytes(100)])
def test_case_105_newkeys_with_something_in_it(payload: bytes) -> None:
    value = KEY_EXCHANGES["curve25519-sha256"].start().public
    bare = server_in("curve25519-sha256", KexEcdhInit(value))
    bare.sign()
    bare.feed(packet(payload))
    assert refused(bare.core)
    assert bare.core._transport.keying.receiving is None


# What is left behind


def abandon(count: int) -> None:
    """Begin exchanges that fail or that nobody finishes."""
    value = KEY_EXCHANGES["mlkem768x25519-sha256"].start().public
    # Not the errors: each would keep its connection by its traceback.
    errors: list[type] = []
    for turn in range(count):
        if turn % 2:
            bare = server_in("mlkem768x25519-sha256", KexEcdhInit(value))  # never signed
        else:
            bare = server_in("curve25519-sha256", KexEcdhInit(bytes(31)))
        client = client_in("curve25519-sha256", KexEcdhReply(BLOB, bytes(32), b""))
        errors += type(bare.error), type(client.error)
    assert errors.count(type(None)) == count // 2


@pytest.mark.alone
def test_r043_a_thousand_abandoned_exchanges_leave_no_memory_behind() -> None:
    abandon(150)
    gc.collect()
    before = resident()
    abandon(1000)
    gc.collect()
    assert resident() - before < 5 << 20


# Randomness of forked processes

FORKED = """
import os
from tellin.testing import server_settings
from tellin.testing.pairs import HOST_KEY
from tellin.protocol import ServerProtocol
settings = server_settings(HOST_KEY)
settings.random = os.urandom
ServerProtocol(settings, now=0.0)
for _ in range(2):
    child = os.fork()
    if not child:
        core = ServerProtocol(settings, now=0.0)
        core.receive_data(b"SSH-2.0-x\\r\\n", 0.0)
        wire = b"".join(core.to_send())
        at = wire.index(b"\\n") + 7
        os.write(1, wire[at : at + 16].hex().encode() + b"\\n")
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_r046_two_children_of_one_process_make_different_cookies() -> None:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True)
    cookies = done.stdout.decode().split()
    assert len(cookies) == len(set(cookies)) == 2
    assert all(len(cookie) == 32 for cookie in cookies)


def test_r046_programs_hand_the_system_s_randomness_to_their_cores() -> None:
    """Python's own generator has one state for parent and child."""
    root = Path(__file__).parents[2] / "src" / "tellin"
    made = [
        (path.name, line.strip())
        for path in (root / "client").glob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\burandom\b|\brandom=", line)
    ]
    made += [
        (path.name, line.strip())
        for path in (root / "server").glob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\burandom\b|\brandom=", line)
    ]
    assert {name for name, _ in made} >= {"preferences.py", "settings.py"}
    assert all("os.urandom" in line for _, line in made)
