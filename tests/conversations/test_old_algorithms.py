# SPDX-License-Identifier: MIT
"""What is off by default and works where both sides name it."""

import pytest

from tellin.errors import NegotiationFailed
from tellin.keys.private import PrivateKey
from tellin.testing.pairs import Pair

GEX = "diffie-hellman-group-exchange-sha256"


@pytest.fixture(scope="module")
def rsa_key() -> PrivateKey:
    return PrivateKey.generate("rsa", bits=2048)


def test_a_host_key_signs_with_sha1_where_both_sides_name_it(
    pair: Pair, rsa_key: PrivateKey
) -> None:
    blob = rsa_key.public.blob
    made = pair(
        host_key=rsa_key,
        host_key_algorithms=("ssh-rsa",),
        server={"host_keys": (("ssh-rsa", blob),)},
    )
    made.log_in()
    assert made.client.algorithms.host_key == "ssh-rsa"


def test_r077_a_host_key_does_not_sign_with_sha1_where_the_client_does_not(
    pair: Pair, rsa_key: PrivateKey
) -> None:
    server = {
        "host_keys": (("ssh-rsa", rsa_key.public.blob),),
        "host_key_algorithms": ("ssh-rsa",),
    }
    made = pair(host_key=rsa_key, server=server)
    made.pump()
    assert isinstance(made.client.error, NegotiationFailed)
    assert made.client.error.theirs == ("ssh-rsa",)


def test_a_server_without_a_file_of_groups_has_the_fixed_ones(pair: Pair) -> None:
    made = pair(key_exchanges=(GEX,))
    made.log_in()
    assert made.client.algorithms.key_exchange == GEX
