# SPDX-License-Identifier: MIT
"""Any bytes as what keys are exchanged, certified, revoked and signed with."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fuzz.harness import Harness, on_bytes, on_text
from tests.keys.software_authenticator import WEBAUTHN, SoftwareAuthenticator

from tellin.algorithms.sntrup761 import FIELD, ROUNDED
from tellin.config.allowed_signers import AllowedSigners, Clock
from tellin.errors import CertificateRejected, ConfigError, KeyFileError
from tellin.keys import PrivateKey, PublicKey
from tellin.keys.certificates import (
    DEFAULT_EXTENSIONS,
    Certificate,
    CertificateRole,
    flag,
    load_certificate,
    text_option,
)
from tellin.keys.file_signatures import FileSignature
from tellin.keys.pem import read_x509
from tellin.keys.revocation import RevocationList, load_revocations


def unpack(data: bytes) -> None:
    """Nothing but the length is checked before, so every string of that length is unpacked."""
    for packing, size, most in ((FIELD, 1158, 4591), (ROUNDED, 1007, 1531)):
        numbers = packing.decode(data[:size].ljust(size, b"\xff"))
        assert len(numbers) == 761
        assert max(numbers) < most


@cache
def tokens() -> tuple[SoftwareAuthenticator, ...]:
    return SoftwareAuthenticator("ed25519"), SoftwareAuthenticator("ecdsa")


def verify_by_token(data: bytes) -> None:
    """A signature that was not made over this data is false, whatever it says."""
    for token in tokens():
        key = PublicKey.from_blob(token.blob)
        for algorithm in key.signature_algorithms:
            assert not key.verify(b"other", data, algorithm=algorithm, touch_required=False)


def token_signatures() -> Iterator[bytes]:
    for token in tokens():
        yield token.sign(b"data")
    yield tokens()[1].sign_in_browser(b"data")
    yield tokens()[1].sign_in_browser(b"other").replace(WEBAUTHN.encode(), b"x")


@cache
def authorities() -> tuple[PrivateKey, ...]:
    return PrivateKey.generate("ed25519"), PrivateKey.generate("ecdsa")


@cache
def x509_certificates() -> list[bytes]:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a token's")])
    private = ec.generate_private_key(ec.SECP256R1())
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day)
        .sign(private, hashes.SHA256())
    )
    return [made.public_bytes(serialization.Encoding.DER)]


@cache
def certificates() -> tuple[Certificate, ...]:
    ed25519, ecdsa = authorities()
    keys = [ecdsa.public, ed25519.public, *(PublicKey.from_blob(one.blob) for one in tokens())]
    return tuple(
        Certificate.issue(
            authority,
            key,
            role=role,
            key_id="somebody",
            principals=["me", "you"],
            critical_options=[text_option("force-command", "true"), flag("verify-required")],
            extensions=map(flag, DEFAULT_EXTENSIONS),
        )
        for authority in authorities()
        for key in keys
        for role in CertificateRole
    )


def judge_certificate(data: bytes) -> None:
    """What was not issued is not signed; what is asked of it is answered or refused."""
    try:
        found = Certificate.from_blob(data)
    except KeyFileError:
        return
    assert found in certificates() or not found.is_signed()
    for role in CertificateRole:
        with suppress(CertificateRejected):
            found.check(role, now=0, names=None)
            assert found in certificates()
    with suppress(CertificateRejected):
        found.options()
    assert Certificate.from_line(found.to_line()) == found


def revocation_lists() -> Iterator[bytes]:
    made = RevocationList(version=1, comment="x")
    for number in (1, 5, 6, 7, 9, 40, 41, 1000, 1 << 40):
        made.add_serials(number, authority=authorities()[0].public)
    made.add_serials(2000, 9000)
    made.add_key_id("gone", authority=authorities()[1].public)
    made.add_fingerprint("sha1", bytes(20))
    made.add_key(authorities()[1].public)
    yield made.to_bytes()
    yield made.to_bytes(authorities())
    yield "\n".join(key.public.to_line() for key in authorities()).encode()


def use_revocations(data: bytes) -> None:
    """A list that is understood says the same once it is written again."""
    with suppress(KeyFileError):
        found = load_revocations(data)
        verdicts = [found.revokes(one) for one in certificates()]
        again = RevocationList.parse(found.to_bytes())
        assert [again.revokes(one) for one in certificates()] == verdicts


@cache
def file_signatures() -> tuple[FileSignature, ...]:
    first = authorities()[0]
    return (
        *(FileSignature.make(key, b"data", namespace="file") for key in authorities()),
        FileSignature.make(
            first,
            b"data",
            namespace="git",
            hash_name="sha256",
            certificate=Certificate.issue(authorities()[1], first.public, key_id="x"),
        ),
    )


def verify_file(parse: Callable[[bytes], FileSignature]) -> Callable[[bytes], None]:
    """A signature that is understood is written again as it was, and holds for no other data."""

    def run(data: bytes) -> None:
        with suppress(KeyFileError):
            found = parse(data)
            assert not found.verify(b"other", namespace=found.namespace)
            assert FileSignature.from_blob(found.to_blob()) == found

    return run


def judge_signers(text: str) -> None:
    """Nobody is allowed more than once, whatever the file says."""
    clock = Clock(1e9, lambda expiry: float(expiry.moment[0]), str)
    for key in (authorities()[0].public, certificates()[0]):
        signers = AllowedSigners.parse(text)
        signers.allows(key, "me", namespace="file", clock=clock)
        signers.principals_of(key, clock=clock)
        with suppress(ConfigError):
            signers.patterns_for("me")
        assert all(isinstance(note, str) for note in signers.notes)


def allowed_signers() -> Iterator[bytes]:
    key = authorities()[0].public.to_line()
    options = 'namespaces="file,git*",valid-after="20200101Z",valid-before="203001010000"'
    yield f"me,*@x {key}\n# c\n\n".encode()
    yield f'"me" {options} {key}\n'.encode()
    yield f"!you,me cert-authority {key} comment\n".encode()


HARNESSES = [
    Harness(
        "x509",
        on_bytes(read_x509, KeyFileError),
        covers=["tellin.keys.pem.read_x509"],
        seeds=x509_certificates,
    ),
    Harness(
        "file_signature",
        verify_file(FileSignature.parse),
        covers=["tellin.keys.file_signatures.FileSignature.parse"],
        seeds=lambda: [one.to_armor() for one in file_signatures()],
    ),
    Harness(
        "file_signature_blob",
        verify_file(FileSignature.from_blob),
        covers=["tellin.keys.file_signatures.FileSignature.from_blob"],
        seeds=lambda: [one.to_blob() for one in file_signatures()],
    ),
    Harness(
        "allowed_signers",
        on_text(judge_signers),
        covers=["tellin.config.allowed_signers.AllowedSigners.parse"],
        seeds=allowed_signers,
    ),
    Harness(
        "revocation_list",
        use_revocations,
        covers=[
            "tellin.keys.revocation.load_revocations",
            "tellin.keys.revocation.RevocationList.parse",
        ],
        seeds=revocation_lists,
    ),
    Harness(
        "certificate",
        judge_certificate,
        covers=["tellin.keys.certificates.Certificate.from_blob"],
        seeds=lambda: [one.blob for one in certificates()],
    ),
    Harness(
        "certificate_line",
        on_text(Certificate.from_line, KeyFileError),
        covers=["tellin.keys.certificates.Certificate.from_line"],
        seeds=lambda: [one.to_line().encode() for one in certificates()],
    ),
    Harness(
        "certificate_file",
        on_bytes(load_certificate, KeyFileError),
        covers=["tellin.keys.certificates.load_certificate"],
        seeds=lambda: [one.to_line().encode() for one in certificates()],
    ),
    Harness(
        "security_key_signature",
        verify_by_token,
        covers=["tellin.keys.security_keys.Assertion.read"],
        seeds=token_signatures,
    ),
    Harness(
        "sntrup761",
        unpack,
        covers=["tellin.algorithms.sntrup761.Packing.decode"],
        seeds=lambda: [FIELD.encode(range(761)), ROUNDED.encode([1530] * 761)],
    ),
]
