# SPDX-License-Identifier: MIT
"""Signatures: made, checked, and everything about them that must be refused."""

import pytest
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tellin.errors import SignatureFailed
from tellin.keys import PrivateKey, PublicKey
from tellin.keys import rsa as rsa_engine
from tellin.keys.kinds import KINDS, NISTP256, NISTP384, NISTP521, Curve
from tellin.wire import Cursor, mpint, string

DATA = b"what was agreed upon"
# Those of security keys have tests of their own.
SIGNING = [kind.key_type for kind in KINDS.values() if not kind.on_token]

# RFC 8032 section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
POINT = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture(scope="module")
def keys() -> dict[str, PrivateKey]:
    made = [
        PrivateKey.generate("ed25519"),
        PrivateKey.generate("ecdsa"),
        PrivateKey.generate("ecdsa", bits=384),
        PrivateKey.generate("ecdsa", bits=521),
        PrivateKey.generate("rsa", bits=2048),
        PrivateKey.generate("mldsa44-ed25519"),
    ]
    return {key.public.key_type: key for key in made}


def parts(blob: bytes) -> tuple[bytes, bytes]:
    cursor = Cursor(blob)
    return cursor.string(), cursor.string()


@pytest.mark.parametrize("key_type", SIGNING)
def test_a_signature_holds_for_its_data_key_and_algorithm_only(
    keys: dict[str, PrivateKey], key_type: str
) -> None:
    key = keys[key_type]
    for algorithm in key.public.signature_algorithms:
        blob = key.sign(DATA, algorithm)
        assert key.public.verify(DATA, blob, algorithm=algorithm)
        assert not key.public.verify(DATA + b"!", blob, algorithm=algorithm)
        for other in keys.values():
            for name in (*other.public.signature_algorithms, "ssh-rsa", "nonsense", ""):
                if (other, name) != (key, algorithm):
                    assert not other.public.verify(DATA, blob, algorithm=name)


@pytest.mark.parametrize("key_type", SIGNING)
def test_a_signature_blob_with_any_byte_changed_or_missing_is_false(
    keys: dict[str, PrivateKey], key_type: str
) -> None:
    key = keys[key_type]
    algorithm = key.public.signature_algorithms[0]
    blob = key.sign(DATA)
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 0x01
        assert not key.public.verify(DATA, bytes(changed), algorithm=algorithm), at
        assert not key.public.verify(DATA, blob[:at], algorithm=algorithm), at


@pytest.mark.parametrize("key_type", SIGNING)
def test_case_141_bytes_behind_a_signature_are_refused(
    keys: dict[str, PrivateKey], key_type: str
) -> None:
    # Case 141.
    key = keys[key_type]
    blob = key.sign(DATA)
    name, signature = parts(blob)
    algorithm = name.decode()
    assert not key.public.verify(DATA, blob + b"\0", algorithm=algorithm)
    longer = string(name) + string(signature + b"\0")
    assert not key.public.verify(DATA, longer, algorithm=algorithm)
    empty = string(name) + string(b"")
    assert not key.public.verify(DATA, empty, algorithm=algorithm)


def test_ed25519_is_that_of_rfc_8032() -> None:
    blob = string(b"ssh-ed25519") + string(POINT) + string(SEED + POINT)
    key = PrivateKey.read(Cursor(blob))
    assert parts(key.sign(b"\x72")) == (b"ssh-ed25519", SIGNATURE)
    assert key.encode() == blob


def test_case_142_ed25519_with_s_of_the_order_or_more_is_refused() -> None:
    # Case 142: S + L solves the same equation, and would be a second signature for one message.
    key = PublicKey.from_blob(string(b"ssh-ed25519") + string(POINT))
    s = int.from_bytes(SIGNATURE[32:], "little")
    for number, right in ((s, True), (s + ED25519_ORDER, False), (s + 8 * ED25519_ORDER, False)):
        blob = string(b"ssh-ed25519") + string(SIGNATURE[:32] + number.to_bytes(32, "little"))
        assert key.verify(b"\x72", blob, algorithm="ssh-ed25519") is right


@pytest.mark.parametrize("curve", [NISTP256, NISTP384, NISTP521], ids=lambda curve: curve.name)
def test_the_curves_are_those_of_the_library(keys: dict[str, PrivateKey], curve: Curve) -> None:
    native = keys[f"ecdsa-sha2-{curve.name}"]._secret.native
    point = keys[f"ecdsa-sha2-{curve.name}"].public.blob[-(1 + 2 * curve.size) :]
    assert curve.holds(point)
    assert not curve.holds(point[:-1] + bytes([point[-1] ^ 1]))
    assert curve.order == native.curve.group_order
    # n - 1 is the last scalar that leads to a point.
    assert ec.derive_private_key(curve.order - 1, native.curve).key_size == curve.bits


@pytest.mark.parametrize("bits", [256, 384, 521])
def test_ecdsa_numbers_out_of_range_or_respelled_are_refused(
    keys: dict[str, PrivateKey], bits: int
) -> None:
    # Case 141: r or s = 0, n or more, negative, over-long.
    key = keys[f"ecdsa-sha2-nistp{bits}"]
    order = {256: NISTP256, 384: NISTP384, 521: NISTP521}[bits].order
    name, signature = parts(key.sign(DATA))
    cursor = Cursor(signature)
    r, s = cursor.mpint(), cursor.mpint()

    def holds(fields: bytes) -> bool:
        return key.public.verify(DATA, string(name) + string(fields), algorithm=name.decode())

    assert holds(mpint(r) + mpint(s))
    for bad in (0, order, r + order, -r, r - order):
        assert not holds(mpint(bad) + mpint(s))
    for bad in (0, order, s + order, -s, s - order):
        assert not holds(mpint(r) + mpint(bad))
    size = (r.bit_length() // 8) + 2
    assert not holds(string(r.to_bytes(size, "big")) + mpint(s))
    assert not holds(string(b"\0" * 3000) + mpint(s))
    assert not holds(mpint(r))
    assert not holds(mpint(r) + mpint(s) + b"\0")


def test_ecdsa_never_uses_a_nonce_twice(keys: dict[str, PrivateKey]) -> None:
    key = keys["ecdsa-sha2-nistp256"]
    seen = {Cursor(parts(key.sign(DATA))[1]).mpint() for _ in range(50)}
    assert len(seen) == 50


def test_short_rsa_signatures_are_filled_up_and_long_ones_refused(
    keys: dict[str, PrivateKey],
) -> None:
    key = keys["ssh-rsa"]
    # One signature in 256 begins with a zero byte, which some signers leave out.
    for number in range(5000):
        data = number.to_bytes(4, "big")
        name, signature = parts(key.sign(data, "rsa-sha2-256"))
        if signature[0] == 0:
            break
    else:
        pytest.fail("5000 signatures, and none begins with a zero")
    for spelled in (signature, signature.lstrip(b"\0")):
        assert key.public.verify(data, string(name) + string(spelled), algorithm="rsa-sha2-256")
    longer = string(name) + string(b"\0" + signature)
    assert not key.public.verify(data, longer, algorithm="rsa-sha2-256")


def test_r047_r077_sha1_is_neither_made_nor_accepted_unless_allowed(
    keys: dict[str, PrivateKey],
) -> None:
    # R047, R077. "ssh-rsa" is also the name of the key type: naming it is not enough.
    key = keys["ssh-rsa"]
    assert "ssh-rsa" not in key.public.signature_algorithms
    with pytest.raises(SignatureFailed, match="ssh-rsa"):
        key.sign(DATA, "ssh-rsa")
    blob = key.sign(DATA, "ssh-rsa", sha1=True)
    assert not key.public.verify(DATA, blob, algorithm="ssh-rsa")
    assert key.public.verify(DATA, blob, algorithm="ssh-rsa", sha1=True)
    assert parts(key.sign(DATA))[0] == b"rsa-sha2-512"
    ed25519 = keys["ssh-ed25519"]
    with pytest.raises(SignatureFailed, match="does not sign"):
        ed25519.sign(DATA, "ssh-rsa", sha1=True)
    assert not ed25519.public.verify(DATA, blob, algorithm="ssh-rsa", sha1=True)


@pytest.mark.parametrize("key_type", SIGNING)
def test_r072_a_key_does_not_sign_by_another_kinds_algorithm(
    keys: dict[str, PrivateKey], key_type: str
) -> None:
    # R072
    for other in KINDS.values():
        if other.key_type != key_type:
            for algorithm in other.signatures:
                with pytest.raises(SignatureFailed, match=algorithm):
                    keys[key_type].sign(DATA, algorithm)


def test_r044_a_faulty_rsa_signature_does_not_leave(
    keys: dict[str, PrivateKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    # R044: one wrong bit in the arithmetic gives a prime away.
    secret = rsa_engine.RsaSecret(keys["ssh-rsa"]._secret.native)

    class Faulty:
        def sign(self, *arguments: object) -> bytes:
            signature = bytearray(keys["ssh-rsa"]._secret.native.sign(*arguments))
            signature[100] ^= 0x10
            return bytes(signature)

    monkeypatch.setattr(secret, "native", Faulty())
    with pytest.raises(SignatureFailed, match="faulty"):
        secret.sign(DATA, "sha512")


@pytest.mark.parametrize(
    "error", [UnsupportedAlgorithm("by policy"), InternalError("OpenSSL", [])]
)
def test_r152_a_hash_that_the_machine_forbids_makes_no_signature_and_holds_for_none(
    keys: dict[str, PrivateKey], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """SHA-1 is forbidden on many machines; a forwarded agent that is asked for it must not end."""

    class Forbidding:
        key_size = 2048

        def sign(self, *arguments: object) -> bytes:
            raise error

        def verify(self, *arguments: object) -> None:
            raise error

    secret = rsa_engine.RsaSecret(keys["ssh-rsa"]._secret.native)
    monkeypatch.setattr(secret, "native", Forbidding())
    with pytest.raises(SignatureFailed, match="does not sign by RSA and sha1"):
        secret.sign(DATA, "sha1")
    verifier = rsa_engine.RsaVerifier(Forbidding())  # type: ignore[arg-type]
    assert verifier.verify(bytes(256), DATA, "sha1") is False


def test_r078_the_answer_is_false_unless_the_library_says_yes(
    keys: dict[str, PrivateKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    # R078: nothing that is merely truthy counts.
    key = PublicKey.from_blob(keys["ssh-ed25519"].public.blob)
    blob = keys["ssh-ed25519"].sign(DATA)
    for answer in (None, 1, "yes", False):
        monkeypatch.setattr(
            key._arithmetic(), "verify", lambda *_, answer=answer: answer, raising=True
        )
        assert key.verify(DATA, blob, algorithm="ssh-ed25519") is False


def test_ecdsa_hashes_are_those_of_rfc_5656(keys: dict[str, PrivateKey]) -> None:
    for bits, algorithm in (
        (256, hashes.SHA256()),
        (384, hashes.SHA384()),
        (521, hashes.SHA512()),
    ):
        key = keys[f"ecdsa-sha2-nistp{bits}"]
        native = key._secret.native
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(native.sign(DATA, ec.ECDSA(algorithm)))
        name = f"ecdsa-sha2-nistp{bits}"
        blob = string(name.encode()) + string(mpint(r) + mpint(s))
        assert key.public.verify(DATA, blob, algorithm=name)
