# SPDX-License-Identifier: MIT
"""Key exchange: both halves agree, bad public values are refused, and the keys follow as in RFC 4253."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tellin.algorithms import fresh_keys
from tellin.algorithms.elliptic_curves import Curve25519Key, EllipticCurve
from tellin.algorithms.finite_field import fixed_prime
from tellin.algorithms.hashing import derive
from tellin.algorithms.key_exchange import (
    CLIENT_KEY_EXCHANGES,
    KEY_EXCHANGES,
    SERVER_KEY_EXCHANGES,
    STRICT_KEY_EXCHANGES,
    Family,
    KeyExchange,
)
from tellin.algorithms.nist_curves import NistKey
from tellin.errors import DisconnectReason, KeyExchangeFailed, ProtocolError

every_method = pytest.mark.parametrize("method", KEY_EXCHANGES, ids=lambda method: method.name)
HYBRIDS = [row for row in KEY_EXCHANGES if row.post_quantum]
hybrids = pytest.mark.parametrize("method", HYBRIDS, ids=lambda method: method.name)
ML_KEM = [row for row in HYBRIDS if row.name.startswith("mlkem")]
ml_kem_hybrids = pytest.mark.parametrize("method", ML_KEM, ids=lambda method: method.name)
ELLIPTIC = [row for row in KEY_EXCHANGES if row.family is Family.ECDH and not row.post_quantum]
elliptic = pytest.mark.parametrize("method", ELLIPTIC, ids=lambda method: method.name)

# The points of small order of Curve25519 and their other spellings (RFC 7748 section 7 leads to them).
LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
]


def group(method: KeyExchange) -> tuple[int, ...]:
    return (fixed_prime(2048), 2) if method.family is Family.GEX else ()


@every_method
def test_both_halves_come_to_the_same_secret(method: KeyExchange) -> None:
    client = method.start(*group(method))
    server_public, secret = method.respond(client.public, *group(method))
    assert client.finish(server_public) == secret
    size = int.from_bytes(secret[:4], "big")
    assert size == len(secret) - 4 > 0


@elliptic
def test_no_two_exchanges_share_anything(method: KeyExchange) -> None:
    clients = [method.start() for _ in range(3)]
    answers = [method.respond(clients[0].public) for _ in range(3)]
    assert len({client.public for client in clients}) == 3
    assert len({public for public, _ in answers}) == 3
    assert len({secret for _, secret in answers}) == 3


def test_the_default_lists() -> None:
    assert SERVER_KEY_EXCHANGES == (
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
    )
    assert (
        *SERVER_KEY_EXCHANGES,
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256",
    ) == CLIENT_KEY_EXCHANGES
    assert SERVER_KEY_EXCHANGES[:3] == STRICT_KEY_EXCHANGES


@pytest.mark.parametrize("marker", ["ext-info-c", "ext-info-s", "kex-strict-c-v00@openssh.com"])
def test_r032_markers_are_no_methods(marker: str) -> None:
    assert marker not in KEY_EXCHANGES


# Keys made ahead


@pytest.mark.parametrize("name", ["sntrup761x25519-sha512", "curve25519-sha256"])
def test_a_key_that_was_made_ahead_is_used_once(name: str) -> None:
    method = KEY_EXCHANGES[name]
    method.prepare()
    made = method._prepared
    assert made is not None
    client = method.start()
    assert client is made
    answer, secret = method.respond(client.public)
    assert client.finish(answer) == secret
    assert method.start().public != client.public


def test_where_a_group_is_needed_first_nothing_is_made_ahead() -> None:
    method = KEY_EXCHANGES["diffie-hellman-group-exchange-sha256"]
    method.prepare()
    assert method.start(fixed_prime(2048), 2).public > 1


# Public values


@elliptic
@pytest.mark.parametrize("change", [-1, 1, -1000, 1000])
def test_r040_case_089_a_value_of_another_length_is_refused(
    method: KeyExchange, change: int
) -> None:
    client = method.start()
    public = client.public
    wrong = public + bytes(change) if change > 0 else public[:change]
    for refused in (lambda: method.respond(wrong), lambda: client.finish(wrong)):
        with pytest.raises(ProtocolError) as caught:
            refused()
        assert caught.value.reason is DisconnectReason.PROTOCOL_ERROR


@pytest.mark.parametrize("name", ["curve25519-sha256", "curve25519-sha256@libssh.org"])
@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_r039_case_089_points_of_small_order_are_refused(name: str, point: bytes) -> None:
    method = KEY_EXCHANGES[name]
    for refused in (lambda: method.respond(point), lambda: method.start().finish(point)):
        with pytest.raises(KeyExchangeFailed) as caught:
            refused()
        assert caught.value.reason is DisconnectReason.KEY_EXCHANGE_FAILED


@pytest.mark.parametrize("bits", [256, 384, 521])
def test_r039_what_is_no_point_of_the_curve_is_refused(bits: int) -> None:
    method = KEY_EXCHANGES[f"ecdh-sha2-nistp{bits}"]
    public = method.start().public
    size = len(public)
    off_curve = public[:-1] + bytes((public[-1] ^ 1,))
    compressed = (b"\x02" + public[1 : 1 + size // 2]).ljust(size, b"\0")
    infinity = bytes(size)
    huge = b"\4" + b"\xff" * (size - 1)
    for wrong in (off_curve, compressed, infinity, huge, b"\4" + bytes(size - 1)):
        for refused in (
            lambda w=wrong: method.respond(w),
            lambda w=wrong: method.start().finish(w),
        ):
            with pytest.raises(KeyExchangeFailed):
                refused()


@hybrids
def test_r042_cases_91_93_94_each_part_of_a_hybrid_has_its_exact_length(
    method: KeyExchange,
) -> None:
    client = method.start()
    public, _ = method.respond(client.public)
    for wrong in (client.public + b"\0", client.public[:-1], client.public[:-32], b""):
        with pytest.raises(KeyExchangeFailed):
            method.respond(wrong)
    for wrong in (public + b"\0", public[:-1], public[:-32], b""):
        with pytest.raises(KeyExchangeFailed):
            client.finish(wrong)


@ml_kem_hybrids
def test_cases_91_93_a_coefficient_past_the_modulus_is_refused(method: KeyExchange) -> None:
    """FIPS 203 section 7.2: two coefficients of twelve bits lie in three bytes, each below 3329."""
    public = method.start().public
    for at in (0, 3 * 255, 1149):
        wrong = public[:at] + b"\xff\xff\xff" + public[at + 3 :]
        with pytest.raises(KeyExchangeFailed):
            method.respond(wrong)


@pytest.mark.parametrize("name", ["mlkem768x25519-sha256", "sntrup761x25519-sha512"])
@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_cases_91_94_a_hybrid_does_not_stand_on_one_leg(name: str, point: bytes) -> None:
    method = KEY_EXCHANGES[name]
    client = method.start()
    public, _ = method.respond(client.public)
    with pytest.raises(KeyExchangeFailed):
        method.respond(client.public[:-32] + point)
    with pytest.raises(KeyExchangeFailed):
        client.finish(public[:-32] + point)


def test_case_093_a_hybrid_refuses_what_is_no_point() -> None:
    method = KEY_EXCHANGES["mlkem768nistp256-sha256"]
    client = method.start()
    public, _ = method.respond(client.public)
    for wrong in (bytes(65), b"\4" + bytes(64)):
        with pytest.raises(KeyExchangeFailed):
            method.respond(client.public[:-65] + wrong)
        with pytest.raises(KeyExchangeFailed):
            client.finish(public[:-65] + wrong)


@hybrids
def test_a_forged_ciphertext_gives_a_secret_nobody_has(method: KeyExchange) -> None:
    client = method.start()
    public, secret = method.respond(client.public)
    forged = bytes((public[0] ^ 1,)) + public[1:]
    assert client.finish(forged) != secret


@ml_kem_hybrids
def test_without_ml_kem_it_is_said_what_to_do(
    method: KeyExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = method.start().public

    class Missing:
        @staticmethod
        def generate() -> None:
            raise UnsupportedAlgorithm("no ML-KEM")

        @staticmethod
        def from_public_bytes(data: bytes) -> None:
            raise UnsupportedAlgorithm("no ML-KEM")

    monkeypatch.setattr(fresh_keys, "_generate_mlkem768", None)
    monkeypatch.setattr(fresh_keys, "_read_mlkem768", None)
    monkeypatch.setattr(mlkem, "MLKEM768PrivateKey", Missing)
    monkeypatch.setattr(mlkem, "MLKEM768PublicKey", Missing)
    for refused in (method.start, lambda: method.respond(public)):
        with pytest.raises(KeyExchangeFailed) as caught:
            refused()
        assert "KexAlgorithms" in caught.value.hint


def test_keys_come_by_the_public_functions_where_the_short_way_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gcm = fresh_keys.aes_gcm(bytes(16))
    signature = fresh_keys.ed25519_secret(bytes(32)).sign(b"data")
    short_ways = [
        name for name in vars(fresh_keys) if name.startswith(("_generate", "_read", "_aes"))
    ]
    assert len(short_ways) == 8
    for name in short_ways:
        assert getattr(fresh_keys, name) is not None
        monkeypatch.setattr(fresh_keys, name, None)
    nonce = bytes(12)
    assert fresh_keys.aes_gcm(bytes(16)).encrypt(nonce, b"x", b"") == gcm.encrypt(nonce, b"x", b"")
    for method in (row for row in KEY_EXCHANGES if "25519" in row.name):
        client = method.start()
        answer, secret = method.respond(client.public)
        assert client.finish(answer) == secret
    assert fresh_keys.ed25519_secret(bytes(32)).sign(b"data") == signature
    key = fresh_keys.ed25519()
    point = key.public_key().public_bytes_raw()
    fresh_keys.ed25519_public(point).verify(key.sign(b"data"), b"data")


@settings(max_examples=200)
@given(st.sampled_from(ELLIPTIC + HYBRIDS), st.data())
def test_any_string_of_the_right_length_is_taken_or_refused(
    method: KeyExchange, data: st.DataObject
) -> None:
    size = len(_publics()[method.name])
    public = data.draw(st.binary(min_size=size, max_size=size))
    try:
        answer, secret = method.respond(public)
    except KeyExchangeFailed:
        return
    assert answer
    assert secret


_PUBLICS: dict[str, bytes] = {}


def _publics() -> dict[str, bytes]:
    if not _PUBLICS:
        _PUBLICS.update((row.name, row.start().public) for row in ELLIPTIC + HYBRIDS)
    return _PUBLICS


# Known answers


def test_curve25519_of_rfc_7748() -> None:
    """Section 6.1."""
    alice, bob = (
        Curve25519Key(X25519PrivateKey.from_private_bytes(bytes.fromhex(private)))
        for private in (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        )
    )
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.secret(bob.public).hex() == bob.secret(alice.public).hex() == shared


def test_p256_of_rfc_5903() -> None:
    """Section 8.1: the shared secret is the x coordinate."""
    ours = 0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433
    theirs = 0xC6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53
    key = NistKey(ec.derive_private_key(ours, ec.SECP256R1()))
    peer = NistKey(ec.derive_private_key(theirs, ec.SECP256R1()))
    assert key.public.hex() == (
        "04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
        "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
    )
    shared = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"
    assert key.secret(peer.public).hex() == peer.secret(key.public).hex() == shared


class _FixedCurve:
    """A curve on which every secret is the same."""

    size = 4

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def generate(self) -> Any:
        fixed = self._secret

        class Key:
            public = b"here"

            def secret(self, peer_public: bytes) -> bytes:
                return fixed

        return Key()


@pytest.mark.parametrize(
    ("secret", "encoded"),
    [
        ("7fffffff", "000000047fffffff"),
        ("80000000", "000000050080000000"),
        ("00ffffff", "0000000400ffffff"),
        ("007fffff", "000000037fffff"),
        ("00000001", "0000000101"),
        ("ff000000", "0000000500ff000000"),
    ],
)
def test_case_101_a_secret_is_a_positive_integer_in_its_shortest_form(
    secret: str, encoded: str
) -> None:
    agreement = EllipticCurve(_FixedCurve(bytes.fromhex(secret)))
    assert agreement.respond(b"peer")[1].hex() == encoded
    assert agreement.start().finish(b"peer").hex() == encoded


@pytest.mark.parametrize(
    ("name", "size"), [("mlkem768x25519-sha256", 32), ("sntrup761x25519-sha512", 64)]
)
def test_case_101_a_hybrid_secret_keeps_its_leading_zeros(name: str, size: int) -> None:
    """As a string it has one length, whatever it is; one in 256 would be shorter as an integer."""
    method = KEY_EXCHANGES[name]
    client = method.start()
    secrets = {method.respond(client.public)[1] for _ in range(40)}
    assert {(secret[:4], len(secret)) for secret in secrets} == {
        (bytes((0, 0, 0, size)), size + 4)
    }
    assert any(secret[4] >= 0x80 for secret in secrets)


# The keys


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha384", "sha512"])
def test_keys_follow_as_in_rfc_4253_section_7_2(hash_name: str) -> None:
    secret, exchange_hash, session_id = b"\0\0\0\1K", b"H" * 20, b"S" * 64

    def hashed(*parts: bytes) -> bytes:
        return hashlib.new(hash_name, b"".join(parts)).digest()

    for letter in (b"A", b"B", b"C", b"D", b"E", b"F"):
        first = hashed(secret, exchange_hash, letter, session_id)
        second = hashed(secret, exchange_hash, first)
        third = hashed(secret, exchange_hash, first, second)
        whole = first + second + third
        for size in (0, 1, len(first), len(first) + 1, 64, len(whole)):
            if size <= len(whole):
                made = derive(hash_name, secret, exchange_hash, letter, session_id, size)
                assert made == whole[:size]


def test_case_102_the_session_id_may_be_of_another_length_than_the_hash() -> None:
    """It stays the first exchange's, though a later one may hash to another size (CVE-2021-3634)."""
    arguments = (b"\0\0\0\1K", b"H" * 32, b"A")
    assert derive("sha256", *arguments, b"S" * 64, 32) != derive(
        "sha256", *arguments, b"S" * 32, 32
    )


@pytest.mark.parametrize(
    ("name", "hash_name"),
    [
        ("curve25519-sha256", "sha256"),
        ("ecdh-sha2-nistp256", "sha256"),
        ("ecdh-sha2-nistp384", "sha384"),
        ("ecdh-sha2-nistp521", "sha512"),
        ("diffie-hellman-group16-sha512", "sha512"),
        ("diffie-hellman-group14-sha1", "sha1"),
        ("mlkem768x25519-sha256", "sha256"),
        ("sntrup761x25519-sha512", "sha512"),
    ],
)
def test_each_method_hashes_by_its_own_hash(name: str, hash_name: str) -> None:
    assert KEY_EXCHANGES[name].hash_name == hash_name
    assert KEY_EXCHANGES[name].digest(b"data") == hashlib.new(hash_name, b"data").digest()


def _memory() -> int:
    """Resident memory in KiB."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _abandon(count: int) -> None:
    for _ in range(count):
        for name in ("mlkem768x25519-sha256", "curve25519-sha256"):
            client = KEY_EXCHANGES[name].start()
            KEY_EXCHANGES[name].respond(client.public)
            with pytest.raises(ProtocolError):
                KEY_EXCHANGES[name].respond(client.public[:-1])


def test_r043_abandoned_exchanges_leave_no_memory_behind() -> None:
    _abandon(200)
    before = _memory()
    _abandon(1000)
    assert _memory() - before < 5 * 1024


# Forks twice from one state in which keys have been made already, and prints what each child makes.
FORKED = """
import os
from tellin.algorithms.key_exchange import KEY_EXCHANGES
methods = ("mlkem768x25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group1-sha1")
for name in methods:
    KEY_EXCHANGES[name].start()
for _ in range(2):
    child = os.fork()
    if not child:
        for name in methods:
            public = KEY_EXCHANGES[name].start().public
            text = public.hex() if isinstance(public, bytes) else f"{public:x}"
            os.write(1, f"{name} {text}\\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_r046_two_children_of_one_process_make_different_keys() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True)
    made = done.stdout.decode().split()[1::2]
    assert len(made) == 6
    assert len(set(made)) == 6
    hybrids_made = [text for text in made if len(text) == 2 * 1216]
    assert len({text[-64:] for text in hybrids_made}) == 2, "also on the curve alone"
