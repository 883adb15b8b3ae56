# SPDX-License-Identifier: MIT
"""From the identification strings to a login: both roles in memory."""

import pytest

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.key_exchange import KEY_EXCHANGES, Family
from tellin.algorithms.macs import MACS
from tellin.errors import HostKeyRejected, NegotiationFailed
from tellin.keys.private import PrivateKey
from tellin.protocol.events import (
    Closed,
    ExchangeDone,
    HostKeyOffered,
    Identified,
    KexInitReceived,
)
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import Pair

FIXED = [row.name for row in KEY_EXCHANGES if row.family is not Family.GEX]
NEEDS_MAC = [row.name for row in CIPHERS if not row.tag_size]


def transfer(made: Loopback, size: int = 100_000) -> None:
    """Move data both ways over a session and compare it."""
    ours, theirs = made.session()
    ours.sink, theirs.sink = Collector(ours), Collector(theirs)
    data = bytes(range(256)) * (size // 256 + 1)
    for channel in (ours, theirs):
        sent = 0
        while sent < size:
            sent += channel.send(memoryview(data)[sent:size])
            made.pump()
    assert bytes(ours.sink.data) == data[:size]
    assert bytes(theirs.sink.data) == data[:size]


def test_client_and_server_agree_on_session_and_user(pair: Pair) -> None:
    made = pair()
    made.log_in()
    assert made.client.session_id == made.server.session_id != b""
    assert made.client.strict
    assert made.server.strict
    assert len(made.seen(HostKeyOffered)) == 1
    assert [event.first for event in made.seen(ExchangeDone)] == [True, True]
    assert made.client.algorithms == made.server.algorithms


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_bytes_may_arrive_in_any_portions(pair: Pair, chunk: int) -> None:
    made = pair(chunk=chunk)
    made.log_in()
    transfer(made, 2000)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("guess", [True, False])
def test_every_key_exchange_makes_a_session(pair: Pair, name: str, guess: bool) -> None:
    made = pair(key_exchanges=(name,), client={"guess": guess})
    made.log_in()
    transfer(made)
    assert made.client.algorithms is not None
    assert made.client.algorithms.key_exchange == name


@pytest.mark.parametrize("name", [row.name for row in CIPHERS if row.tag_size])
def test_every_aead_cipher_carries_data(pair: Pair, name: str) -> None:
    made = pair(ciphers=(name,))
    made.log_in()
    transfer(made)


@pytest.mark.parametrize("mac", MACS.names())
@pytest.mark.parametrize("cipher", NEEDS_MAC)
def test_every_cipher_and_mac_carries_data(pair: Pair, cipher: str, mac: str) -> None:
    size = 20_000 if mac.startswith("umac") else 100_000
    made = pair(ciphers=(cipher,), macs=(mac,))
    made.log_in()
    transfer(made, size)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_host_key_is_verified(pair: Pair, kind: str) -> None:
    made = pair(host_key=PrivateKey.generate(kind))
    made.log_in()
    assert made.seen(HostKeyOffered)[0].key_blob == made.host_key.public.blob


def test_compression_begins_after_login_and_carries_data(pair: Pair) -> None:
    made = pair(compressions=("zlib@openssh.com",))
    made.log_in()
    transfer(made)


def test_r010_a_right_guess_is_used_and_a_wrong_one_is_skipped(pair: Pair) -> None:
    right = pair(key_exchanges=("curve25519-sha256", "ecdh-sha2-nistp256"))
    right.client._transport.settings.preferences.host_keys = ("ssh-ed25519",)
    right.log_in()
    assert right.seen(KexInitReceived)[0].negotiated.guess_right in {True, False}
    wrong = pair(
        client={"key_exchanges": ("ecdh-sha2-nistp256", "curve25519-sha256")},
        server={"key_exchanges": ("curve25519-sha256",)},
    )
    wrong.log_in()
    assert not wrong.seen(KexInitReceived)[0].negotiated.guess_right
    transfer(wrong)


def test_no_common_cipher_names_both_lists(pair: Pair) -> None:
    made = pair(client={"ciphers": ("aes128-ctr",)}, server={"ciphers": ("aes256-ctr",)})
    made.pump()
    error = made.client.error
    assert isinstance(error, NegotiationFailed)
    assert error.ours == ("aes128-ctr",)
    assert error.theirs == ("aes256-ctr",)
    assert "aes256-ctr" in str(error)
    assert "aes128-ctr" in error.hint
    assert made.server.closed


def test_r016_nothing_of_a_login_is_sent_before_the_host_key_is_trusted(pair: Pair) -> None:
    made = pair()
    del made.answers[HostKeyOffered]
    made.pump()
    assert made.seen(HostKeyOffered)
    assert made.client._transport.keying.sending is None
    made.client.reject_host_key(HostKeyRejected("not this one"))
    made.pump()
    assert isinstance(made.client.error, HostKeyRejected)
    assert not made.server.authenticated
    assert made.seen(Closed, made.server)[0].error.reason == 9


def test_the_peer_is_identified(pair: Pair) -> None:
    made = pair()
    made.log_in()
    assert made.seen(Identified, made.client)[0].identification.startswith("SSH-2.0-tellin_")
