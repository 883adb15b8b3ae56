# SPDX-License-Identifier: MIT
"""Any bytes as what keys are exchanged, certified, revoked and signed with."""

from collections.abc import Iterator
from functools import cache

from tests.fuzz.harness import Harness
from tests.keys.software_authenticator import WEBAUTHN, SoftwareAuthenticator

from tellin.algorithms.sntrup761 import FIELD, ROUNDED
from tellin.keys import PublicKey


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


HARNESSES = [
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
