# SPDX-License-Identifier: MIT
"""ML-DSA-44 beside Ed25519: both halves must hold."""

from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tellin.algorithms.hashing import digest
from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS, SIGNATURES, USER_KEY_ALGORITHMS
from tellin.errors import KeyFileError, SignatureFailed, UsageError
from tellin.keys import PrivateKey, PublicKey, composite, load_private_key, load_public_key
from tellin.wire import Cursor, string

NAME = "ssh-mldsa44-ed25519@openssh.com"
DATA = b"what was agreed upon"


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return PrivateKey.generate("mldsa44-ed25519", comment="me")


def test_it_is_off_until_it_is_named() -> None:
    assert NAME not in HOST_KEY_ALGORITHMS
    assert NAME not in USER_KEY_ALGORITHMS
    assert SIGNATURES.select(f"+{NAME}", USER_KEY_ALGORITHMS)[-1] == NAME


def test_a_key_goes_through_its_file_and_its_line(key: PrivateKey, tmp_path: Path) -> None:
    for passphrase in (None, b"secret"):
        again = load_private_key(key.to_openssh(passphrase, rounds=1), passphrase)
        assert again.encode() == key.encode()
        assert again.comment == "me"
    public = load_public_key(key.public.to_line())
    assert public == key.public
    assert (public.key_type, public.kind, public.bits) == (NAME, "MLDSA44-ED25519", 256)
    assert len(public.blob) == 4 + len(NAME) + 4 + 1312 + 32


def test_both_halves_sign_what_the_drafts_say(key: PrivateKey) -> None:
    """Both over the prefix, the label, no context and the hash; ML-DSA's context is the label."""
    blob = key.sign(DATA)
    cursor = Cursor(blob)
    assert cursor.string() == NAME.encode()
    signature = cursor.string()
    assert len(signature) == 2420 + 64
    both = key.public.blob[-1344:]
    label = b"COMPSIG-MLDSA44-Ed25519-SHA512"
    message = b"CompositeAlgorithmSignatures2025" + label + b"\0" + digest("sha512", DATA)
    mldsa.MLDSA44PublicKey.from_public_bytes(both[:1312]).verify(signature[:2420], message, label)
    private = key.encode()[-64:]
    assert Ed25519PrivateKey.from_private_bytes(private[32:]).sign(message) == signature[2420:]


def test_each_half_is_checked(key: PrivateKey) -> None:
    blob = key.sign(DATA)
    assert key.public.verify(DATA, blob, algorithm=NAME)
    assert not key.public.verify(DATA + b"!", blob, algorithm=NAME)
    for at in (0, 8, len(NAME) + 8, len(blob) - 65, len(blob) - 64, len(blob) - 1):
        changed = bytearray(blob)
        changed[at] ^= 1
        assert not key.public.verify(DATA, bytes(changed), algorithm=NAME), at
        assert not key.public.verify(DATA, blob[:at], algorithm=NAME)
    other = PrivateKey.generate("mldsa44-ed25519")
    assert not other.public.verify(DATA, blob, algorithm=NAME)
    mixed = blob[:-64] + other.sign(DATA)[-64:]
    assert not key.public.verify(DATA, mixed, algorithm=NAME)


@pytest.mark.parametrize("size", [0, 1312, 1343, 1345])
def test_r075_a_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(KeyFileError):
        PublicKey.from_blob(string(NAME.encode()) + string(bytes(size)))


def test_r075_halves_that_do_not_belong_together_are_refused(key: PrivateKey) -> None:
    good = key.encode()
    other = PrivateKey.generate("mldsa44-ed25519").encode()
    for wrong in (good[:-64] + other[-64:], good[:-68] + string(bytes(63)), good[:-1]):
        with pytest.raises(KeyFileError):
            PrivateKey.read(Cursor(wrong))


def test_there_is_no_other_format(key: PrivateKey) -> None:
    for refused in (key.to_pem, key.to_pkcs8, key.public.to_pem, key.public.to_pkcs8):
        with pytest.raises(UsageError, match="no PEM form of MLDSA44-ED25519"):
            refused()


def test_without_ml_dsa_nothing_is_verified_and_it_is_said_what_to_do(
    key: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = key.sign(DATA)

    class Missing:
        @staticmethod
        def from_public_bytes(data: bytes) -> None:
            raise UnsupportedAlgorithm("no ML-DSA")

        from_seed_bytes = from_public_bytes

    monkeypatch.setattr(composite, "MLDSA44PublicKey", Missing)
    monkeypatch.setattr(composite, "MLDSA44PrivateKey", Missing)
    public = PublicKey.from_blob(key.public.blob)
    assert not public.verify(DATA, blob, algorithm=NAME)
    with pytest.raises(SignatureFailed) as caught:
        PrivateKey.generate("mldsa44-ed25519")
    assert "PyPI" in caught.value.hint
