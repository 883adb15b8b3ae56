# SPDX-License-Identifier: MIT
"""Diffie-Hellman modulo a prime: the groups are the known ones, and bad values are refused before any power."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellin.algorithms import finite_field
from tellin.algorithms.finite_field import (
    FiniteFieldInitiator,
    check_group,
    check_public,
    draw_exponent,
    fixed_prime,
)
from tellin.algorithms.key_exchange import KEY_EXCHANGES, Family
from tellin.errors import DisconnectReason, KeyExchangeFailed
from tellin.wire import mpint

PRIME = fixed_prime(1024)
GROUPS = {
    "diffie-hellman-group1-sha1": 1024,
    "diffie-hellman-group14-sha1": 2048,
    "diffie-hellman-group14-sha256": 2048,
    "diffie-hellman-group16-sha512": 4096,
    "diffie-hellman-group18-sha512": 8192,
}


@pytest.mark.parametrize(
    ("bits", "end"),
    [
        (1024, "49286651ECE65381"),
        (2048, "15728E5A8AACAA68"),
        (4096, "4DF435C934063199"),
        (8192, "60C980DD98EDD3DF"),
    ],
)
def test_each_fixed_prime_begins_and_ends_as_it_is_printed(bits: int, end: str) -> None:
    """RFC 2409 section 6.2 and RFC 3526: 64 ones, the digits of pi, 64 ones."""
    text = f"{fixed_prime(bits):X}"
    assert len(text) == bits // 4
    assert text.startswith("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74")
    assert text.endswith(end + "FFFFFFFFFFFFFFFF")


@pytest.mark.parametrize("bits", [1024, 2048])
def test_each_fixed_prime_is_a_safe_prime(bits: int) -> None:
    """By Fermat's test for the prime and for half of it; what passes for two bases here is one."""
    prime = fixed_prime(bits)
    half = (prime - 1) // 2
    for base in (2, 3):
        assert pow(base, prime - 1, prime) == 1
        assert pow(base, half - 1, half) == 1


@pytest.mark.parametrize("name", GROUPS)
def test_each_fixed_method_runs_in_its_group(name: str) -> None:
    method = KEY_EXCHANGES[name]
    assert method.family is Family.DH
    public = method.start().public
    assert GROUPS[name] - 64 < public.bit_length() <= GROUPS[name]


@pytest.mark.parametrize("name", GROUPS)
def test_r039_case_081_values_out_of_range_are_refused(name: str) -> None:
    method = KEY_EXCHANGES[name]
    prime = fixed_prime(GROUPS[name])
    for value in (-1, -(2**64), 0, 1, prime - 1, prime, prime + 1, prime * 2, 1 << 9000):
        with pytest.raises(KeyExchangeFailed) as caught:
            method.respond(value)
        assert caught.value.reason is DisconnectReason.KEY_EXCHANGE_FAILED


def test_r039_a_value_with_hardly_a_bit_set_is_refused() -> None:
    for value in (2, 4, 1 << 1000, (1 << 500) + (1 << 3), 7):
        with pytest.raises(KeyExchangeFailed):
            check_public(value, PRIME)
    check_public(15, PRIME)


def test_r038_nothing_is_raised_to_a_power_for_a_bad_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*arguments: int) -> int:
        raise AssertionError("a power was computed")

    prime = fixed_prime(2048)
    method = KEY_EXCHANGES["diffie-hellman-group14-sha256"]
    client = method.start()
    monkeypatch.setattr(finite_field, "pow", forbidden, raising=False)
    for side in (method.respond, client.finish):
        with pytest.raises(AssertionError):
            side(15)
        for value in (0, 1, prime - 1, prime, prime + 1, -1, 1 << 1000, 1 << 9000):
            with pytest.raises(KeyExchangeFailed):
                side(value)


def test_the_client_checks_the_server_too() -> None:
    client = KEY_EXCHANGES["diffie-hellman-group1-sha1"].start()
    for value in (0, 1, PRIME - 1, PRIME, -1):
        with pytest.raises(KeyExchangeFailed):
            client.finish(value)


def test_the_secret_is_the_power_of_the_power() -> None:
    ours, theirs = 0xC0FFEE << 100 | 1, 0xDECAF << 90 | 3
    client = FiniteFieldInitiator(PRIME, 2, ours)
    server = FiniteFieldInitiator(PRIME, 2, theirs)
    assert client.public == pow(2, ours, PRIME)
    expected = mpint(pow(2, ours * theirs, PRIME))
    assert client.finish(server.public) == server.finish(client.public) == expected


def test_a_group_that_yields_next_to_nothing_is_given_up() -> None:
    """Modulo 2^n - 1 the powers of two have one bit each: what we sent would give our exponent away."""
    with pytest.raises(KeyExchangeFailed):
        FiniteFieldInitiator((1 << 2048) - 1, 2, 12345)


def test_a_secret_that_everybody_knows_is_refused() -> None:
    """In a group whose modulus is no prime, a value may have a small order."""
    modulus = 3 * 5 * 7 * 11 * 13 * 17
    small = next(
        value
        for value in range(15, modulus)
        if value.bit_count() >= 4 and pow(value, 2, modulus) == 1
    )
    initiator = FiniteFieldInitiator(modulus, 37, 1002)
    with pytest.raises(KeyExchangeFailed, match="everybody knows"):
        initiator.finish(small)


@settings(max_examples=50)
@given(st.integers(64, 9000))
def test_an_exponent_is_long_enough_and_no_longer(bits: int) -> None:
    prime = (1 << bits) - 1
    exponent = draw_exponent(prime)
    assert exponent.bit_length() == min(512, bits - 2)
    assert 1 < exponent < (prime - 1) // 2


def test_no_two_exponents_are_alike() -> None:
    assert len({draw_exponent(PRIME) for _ in range(50)}) == 50


def test_r041_case_086_groups_out_of_bounds_are_refused() -> None:
    prime = fixed_prime(2048)
    check_group(prime, 2, 2048, 8192)
    check_group(prime, prime - 2, 2048, 2048)
    bad = [
        (fixed_prime(1024), 2),
        (prime - 1, 2),
        (1, 2),
        (0, 2),
        (-prime, 2),
        ((1 << 8192) + 1, 2),
        (prime, 0),
        (prime, 1),
        (prime, -2),
        (prime, prime - 1),
        (prime, prime),
        (prime, prime + 2),
    ]
    for modulus, generator in bad:
        with pytest.raises(KeyExchangeFailed) as caught:
            check_group(modulus, generator, 2048, 8192)
        assert caught.value.reason is DisconnectReason.KEY_EXCHANGE_FAILED
