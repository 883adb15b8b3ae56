# SPDX-License-Identifier: MIT
"""The same bytes as other implementations make: AsyncSSH seals and opens, Paramiko exchanges keys."""

import hashlib
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from tests.algorithms.pairs import PAIRS, Pair, keys, label, open_, opener, packet, seal, sealer

from tellin.algorithms.finite_field import fixed_prime
from tellin.algorithms.hashing import derive
from tellin.algorithms.key_exchange import KEY_EXCHANGES, KeyExchange
from tellin.wire import mpint, string

with warnings.catch_warnings():
    # What the peers import is their affair.
    warnings.simplefilter("ignore")
    encryption = pytest.importorskip("asyncssh.encryption")
    asyncssh_kex = pytest.importorskip("asyncssh.kex")
    kex_dh = pytest.importorskip("asyncssh.kex_dh")
    paramiko = pytest.importorskip("paramiko")
    from paramiko.kex_curve25519 import KexCurve25519
    from paramiko.kex_ecdh_nist import KexNistp256, KexNistp384, KexNistp521
    from paramiko.kex_gex import KexGexSHA256
    from paramiko.kex_group14 import KexGroup14SHA256
    from paramiko.kex_group16 import KexGroup16SHA512
    from paramiko.kex_mlkem import KexMLKEM768X25519

# AsyncSSH does UMAC only where the nettle library is, and 3DES without EtM.
SHARED = [
    pair
    for pair in PAIRS
    if pair[0].name.encode() in encryption.get_encryption_algs()
    and (
        pair[1] is None or not pair[1].name.startswith(("umac", "hmac-md5-96", "hmac-sha1-96-etm"))
    )
]
every_shared_pair = pytest.mark.parametrize("pair", SHARED, ids=label)


def asyncssh_end(pair: Pair) -> Any:
    cipher, mac = pair
    return encryption.get_encryption(
        cipher.name.encode(),
        keys(pair)["key"],
        keys(pair)["iv"],
        mac.name.encode() if mac else b"",
        keys(pair)["mac_key"],
        etm=mac.etm if mac else False,
    )


def test_most_pairs_are_shared() -> None:
    assert len(SHARED) > 50
    assert {pair[0].name for pair in SHARED} == {pair[0].name for pair in PAIRS}


@every_shared_pair
def test_asyncssh_seals_the_same_bytes(pair: Pair) -> None:
    ours, theirs = sealer(pair), asyncssh_end(pair)
    for sequence, size in ((0, 10), (1, 0), (2, 500), (0xFFFFFFFF, 3)):
        clear = packet(size, ours)
        hidden, tag = theirs.encrypt_packet(sequence, clear[:4], clear[4:])
        assert seal(ours, clear, sequence) == hidden + tag


@every_shared_pair
def test_asyncssh_opens_what_we_seal_and_we_what_it_seals(pair: Pair) -> None:
    ours, theirs = sealer(pair), asyncssh_end(pair)
    our_opener, their_sealer = opener(pair), asyncssh_end(pair)
    for sequence in range(3):
        clear = packet(70 * sequence, ours)
        wire = seal(ours, clear, sequence)
        first, header = theirs.decrypt_header(sequence, wire[: our_opener.peek], 4)
        assert header == clear[:4]
        body, tag = wire[our_opener.peek : -ours.tag], wire[-ours.tag :]
        assert theirs.decrypt_packet(sequence, first, body, 4, tag) == clear[4:]
        hidden, tag = their_sealer.encrypt_packet(sequence, clear[:4], clear[4:])
        assert open_(our_opener, hidden + tag, sequence) == clear[4:]


def test_the_fixed_groups_are_asyncssh_s() -> None:
    for number, bits in ((1, 1024), (14, 2048), (16, 4096), (18, 8192)):
        assert fixed_prime(bits) == getattr(kex_dh, f"_group{number}_p")


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha384", "sha512"])
def test_asyncssh_derives_the_same_keys(hash_name: str) -> None:
    kex = object.__new__(asyncssh_kex.Kex)
    kex._hash_alg = getattr(hashlib, hash_name)
    secret, exchange_hash, session_id = string(b"K" * 40), b"H" * 32, b"S" * 64
    for letter in (b"A", b"C", b"E"):
        for size in (12, 64, 200):
            theirs = kex.compute_key(secret, exchange_hash, letter, session_id, size)
            assert derive(hash_name, secret, exchange_hash, letter, session_id, size) == theirs


class Transport:
    """As much of Paramiko's transport as a key exchange asks for."""

    local_version, remote_version = "SSH-2.0-here", "SSH-2.0-there"
    local_kex_init, remote_kex_init = b"our offer", b"their offer"
    host_key_type = "ssh-ed25519"

    def __init__(self, *, server: bool) -> None:
        self.server_mode = server
        self.sent: list[bytes] = []
        self.exchange_hash = b""

    def _expect_packet(self, *numbers: int) -> None:
        self.expected = numbers

    def _send_message(self, message: Any) -> None:
        self.sent.append(message.asbytes())

    def _set_K_H(self, secret: Any, exchange_hash: bytes) -> None:  # noqa: N802
        self.exchange_hash = exchange_hash

    def _verify_key(self, host_key: bytes, signature: bytes) -> None:
        assert host_key == b"host key"

    def _activate_outbound(self) -> None:
        self.done = True

    def _log(self, level: int, text: str) -> None:
        self.logged = text

    def get_server_key(self) -> Any:
        return SimpleNamespace(
            asbytes=lambda: b"host key", sign_ssh_data=lambda data, algorithm: b"signature"
        )

    def _get_modulus_pack(self) -> Any:
        return SimpleNamespace(get_modulus=lambda *sizes: (2, fixed_prime(2048)))


def exchange_hash(
    method: KeyExchange, middle: bytes, secret: bytes, *, peer_is_client: bool
) -> bytes:
    """RFC 4253 section 8: both versions, both KEXINITs, the host key, the method's values, the secret."""
    peer = (Transport.local_version.encode(), Transport.local_kex_init)
    us = (Transport.remote_version.encode(), Transport.remote_kex_init)
    client, server = (peer, us) if peer_is_client else (us, peer)
    covered = (client[0], server[0], client[1], server[1], b"host key")
    return method.digest(b"".join(map(string, covered)) + middle + secret)


STRINGS = {
    "mlkem768x25519-sha256": KexMLKEM768X25519,
    "curve25519-sha256@libssh.org": KexCurve25519,
    "ecdh-sha2-nistp256": KexNistp256,
    "ecdh-sha2-nistp384": KexNistp384,
    "ecdh-sha2-nistp521": KexNistp521,
}
INTEGERS = {
    "diffie-hellman-group14-sha256": KexGroup14SHA256,
    "diffie-hellman-group16-sha512": KexGroup16SHA512,
}


@pytest.mark.parametrize("name", STRINGS)
def test_paramiko_as_client_agrees_with_us(name: str) -> None:
    method, transport = KEY_EXCHANGES[name], Transport(server=False)
    engine = STRINGS[name](transport)
    engine.start_kex()
    message = paramiko.Message(transport.sent[0])
    assert message.get_byte() == b"\x1e"
    client_public = message.get_string()
    public, secret = method.respond(client_public)
    reply = paramiko.Message(string(b"host key") + string(public) + string(b"signature"))
    engine.parse_next(31, reply)
    middle = string(client_public) + string(public)
    assert transport.exchange_hash == exchange_hash(method, middle, secret, peer_is_client=True)


@pytest.mark.parametrize("name", STRINGS)
def test_paramiko_as_server_agrees_with_us(name: str) -> None:
    method, transport = KEY_EXCHANGES[name], Transport(server=True)
    engine = STRINGS[name](transport)
    engine.start_kex()
    client = method.start()
    engine.parse_next(30, paramiko.Message(string(client.public)))
    message = paramiko.Message(transport.sent[0])
    assert message.get_byte() == b"\x1f"
    assert message.get_string() == b"host key"
    public = message.get_string()
    middle = string(client.public) + string(public)
    expected = exchange_hash(method, middle, client.finish(public), peer_is_client=False)
    assert transport.exchange_hash == expected


@pytest.mark.parametrize("name", INTEGERS)
def test_paramiko_agrees_in_the_fixed_groups(name: str) -> None:
    method, transport = KEY_EXCHANGES[name], Transport(server=False)
    engine = INTEGERS[name](transport)
    engine.start_kex()
    client_public = paramiko.Message(transport.sent[0][1:]).get_mpint()
    public, secret = method.respond(client_public)
    engine.parse_next(
        31, paramiko.Message(string(b"host key") + mpint(public) + string(b"signature"))
    )
    middle = mpint(client_public) + mpint(public)
    assert transport.exchange_hash == exchange_hash(method, middle, secret, peer_is_client=True)


def test_paramiko_agrees_in_a_group_that_a_server_picked() -> None:
    method, transport = (
        KEY_EXCHANGES["diffie-hellman-group-exchange-sha256"],
        Transport(server=False),
    )
    engine = KexGexSHA256(transport)
    engine.start_kex()
    request = transport.sent[0][1:]
    prime, generator = fixed_prime(2048), 2
    engine.parse_next(31, paramiko.Message(mpint(prime) + mpint(generator)))
    client_public = paramiko.Message(transport.sent[1][1:]).get_mpint()
    public, secret = method.respond(client_public, prime, generator)
    engine.parse_next(
        33, paramiko.Message(string(b"host key") + mpint(public) + string(b"signature"))
    )
    middle = request + b"".join(map(mpint, (prime, generator, client_public, public)))
    assert transport.exchange_hash == exchange_hash(method, middle, secret, peer_is_client=True)
