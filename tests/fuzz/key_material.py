# SPDX-License-Identifier: MIT
"""Any bytes as what keys are exchanged, certified, revoked and signed with."""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache

from tests.fuzz.harness import Harness, on_bytes, on_text
from tests.keys.software_authenticator import WEBAUTHN, SoftwareAuthenticator

from tellin.algorithms.sntrup761 import FIELD, ROUNDED
from tellin.errors import CertificateRejected, KeyFileError
from tellin.keys import PrivateKey, PublicKey
from tellin.keys.certificates import (
    DEFAULT_EXTENSIONS,
    Certificate,
    CertificateRole,
    flag,
    load_certificate,
    text_option,
)


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


HARNESSES = [
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
