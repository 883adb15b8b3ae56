# SPDX-License-Identifier: MIT
"""Which signatures are offered, by whom."""

import pytest

from tellin.algorithms.signatures import (
    HOST_KEY_ALGORITHMS,
    SERVER_HOST_KEY_ALGORITHMS,
    SIGNATURES,
    USER_KEY_ALGORITHMS,
)


def test_a_server_shows_no_ecdsa_and_a_client_takes_it_last() -> None:
    assert SERVER_HOST_KEY_ALGORITHMS == ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")
    assert (
        *SERVER_HOST_KEY_ALGORITHMS,
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    ) == HOST_KEY_ALGORITHMS


def test_users_have_what_servers_take() -> None:
    assert set(USER_KEY_ALGORITHMS) == set(HOST_KEY_ALGORITHMS)
    assert USER_KEY_ALGORITHMS[0] == "ssh-ed25519"


def test_r047_rsa_over_sha1_is_off_until_it_is_named() -> None:
    for names in (HOST_KEY_ALGORITHMS, SERVER_HOST_KEY_ALGORITHMS, USER_KEY_ALGORITHMS):
        assert "ssh-rsa" not in names
    assert SIGNATURES.select("+ssh-rsa", USER_KEY_ALGORITHMS)[-1] == "ssh-rsa"
    assert SIGNATURES["ssh-rsa"].hash_name == "sha1"


@pytest.mark.parametrize(
    ("name", "key_type", "hash_name"),
    [
        ("ssh-ed25519", "ssh-ed25519", "sha512"),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", "sha256"),
        ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", "sha384"),
        ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521", "sha512"),
        ("rsa-sha2-256", "ssh-rsa", "sha256"),
        ("rsa-sha2-512", "ssh-rsa", "sha512"),
    ],
)
def test_which_key_signs_by_it_over_which_hash(name: str, key_type: str, hash_name: str) -> None:
    assert SIGNATURES[name].key_type == key_type
    assert SIGNATURES[name].hash_name == hash_name
