# SPDX-License-Identifier: MIT
"""Certificates before the Authenticator: what it asks about them, and whose signature counts."""

from typing import Any

import pytest
from tests.certified import authority, user_certificate
from tests.userauth.pair import ALGORITHMS, Backend, Pair, key, policy

from tellin.algorithms.signatures import certified, plain, with_certificates
from tellin.keys import Certificate, PrivateKey
from tellin.userauth.events import (
    Authenticated,
    AuthenticationRefused,
    KeyAccepted,
    SignatureWanted,
)
from tellin.userauth.questions import KeyQuestion, Outcome

CERTIFIED = policy(algorithms=with_certificates(ALGORITHMS))
MADE = user_certificate(key().public, "alice", now=1e9)
NAME = certified("ssh-ed25519")


def pair(**options: Any) -> Pair:
    backend = Backend()
    backend.keys = {MADE.blob: "grant of the certificate"}
    return Pair(backend, **{"policy": CERTIFIED, **options})


def show(
    made: Pair,
    certificate: Certificate = MADE,
    *,
    signer: PrivateKey | None = None,
    algorithm: str = NAME,
    sign_by: str = "",
) -> list[Any]:
    wanted = made.client.try_publickey("alice", certificate.blob, algorithm, signed=True)
    assert isinstance(wanted, SignatureWanted)
    signature = (signer or key()).sign(wanted.data, sign_by or plain(algorithm))
    return made.send(made.client.give_signature(signature))


def test_the_backend_is_asked_about_the_certificate_and_the_factor_is_its_key() -> None:
    made = pair()
    assert isinstance(show(made)[-1], Authenticated)
    (question,) = [one for one in made.server.backend.asked if isinstance(one, KeyQuestion)]
    assert (question.key, question.algorithm) == (MADE, NAME)
    assert made.granted is not None
    (factor,) = made.granted.factors
    # R067: what signed, and what it was shown by.
    assert (factor.key, factor.certificate) == (key().public, MADE)
    assert factor.grant == "grant of the certificate"


def test_a_certificate_is_asked_about_first_and_signs_then() -> None:
    made = pair()
    (answer,) = made.send(made.client.try_publickey("alice", MADE.blob, NAME, signed=False))
    assert answer == KeyAccepted(MADE.blob, NAME)
    assert isinstance(show(made)[-1], Authenticated)


def test_the_log_says_whose_certificate_it_is_and_nothing_of_the_peers_own() -> None:
    hostile = user_certificate(key().public, "alice", key_id="x\n\x1b[2Jroot", now=1e9)
    made = pair()
    show(made, hostile)
    (attempt,) = made.server.authenticator.attempts()
    assert attempt.outcome is Outcome.FAILED
    sentence = attempt.sentence("192.0.2.1 port 7")
    # R036: what it calls itself is the peer's word.
    assert "\n" not in sentence
    assert "\x1b" not in sentence
    assert sentence.startswith(
        f"Failed publickey for alice from 192.0.2.1 port 7 ssh2:"
        f" ED25519-CERT {key().public.fingerprint()} ID x"
    )
    assert sentence.endswith(f"(serial 7) CA ED25519 {authority().public.fingerprint()}")


@pytest.mark.parametrize(
    ("blob", "algorithm"),
    [
        pytest.param(MADE.blob, "ssh-ed25519", id="R072: a certificate as a key"),
        pytest.param(key().public.blob, NAME, id="R072: a key as a certificate"),
        pytest.param(MADE.blob, certified("ecdsa-sha2-nistp256"), id="R072: another type's name"),
        pytest.param(MADE.blob[:-1], NAME, id="R076: cut short"),
        pytest.param(MADE.blob + b"\0", NAME, id="R076: with more behind it"),
        pytest.param(
            MADE.blob, "ssh-ed25519-cert-v00@openssh.com", id="case 137: an unknown version"
        ),
    ],
)
def test_what_is_not_what_it_says_fails_and_the_login_goes_on(blob: bytes, algorithm: str) -> None:
    made = pair()
    (answer,) = made.send(made.client.try_publickey("alice", blob, algorithm, signed=False))
    assert isinstance(answer, AuthenticationRefused)
    assert not made.server.backend.asked_about(KeyQuestion)
    assert isinstance(show(made)[-1], Authenticated)


def test_r071_certificates_are_taken_only_by_a_name_that_is_listed() -> None:
    made = pair(policy=policy())
    (answer,) = show(made)
    assert isinstance(answer, AuthenticationRefused)
    assert not made.server.backend.asked_about(KeyQuestion)


def test_r070_the_signature_is_by_the_certificates_key_and_algorithm() -> None:
    for signer in (key(1), authority()):
        made = pair()
        assert isinstance(show(made, signer=signer)[-1], AuthenticationRefused)
    rsa = PrivateKey.generate("rsa", bits=2048)
    certificate = user_certificate(rsa.public, "alice", now=1e9)
    for sign_by, good in (("rsa-sha2-512", True), ("rsa-sha2-256", False)):
        made = pair()
        made.server.backend.keys[certificate.blob] = "rsa"
        events = show(
            made, certificate, signer=rsa, algorithm=certified("rsa-sha2-512"), sign_by=sign_by
        )
        assert isinstance(events[-1], Authenticated) is good


def test_a_short_key_stays_short_behind_a_certificate() -> None:
    rsa = PrivateKey.generate("rsa", bits=2048)
    certificate = user_certificate(rsa.public, "alice", now=1e9)
    algorithms = with_certificates(ALGORITHMS)
    made = pair(policy=policy(algorithms=algorithms, required_rsa_size=3072))
    made.server.backend.keys[certificate.blob] = "rsa"
    (answer,) = made.send(
        made.client.try_publickey(
            "alice", certificate.blob, certified("rsa-sha2-512"), signed=False
        )
    )
    assert isinstance(answer, AuthenticationRefused)
    assert not made.server.backend.asked_about(KeyQuestion)
