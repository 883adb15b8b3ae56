# SPDX-License-Identifier: MIT
"""Streamlined NTRU Prime 761: the submission's known answer, its arithmetic, and what a forged ciphertext gives."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from tellin.algorithms import sntrup761
from tellin.algorithms.sntrup761 import (
    FIELD,
    ROUNDED,
    Sntrup761,
    Sntrup761Key,
    encode_small,
    inverse_3,
    inverse_of_triple,
)

P, Q, WEIGHT = 761, 4591, 286
KEM = Sntrup761()


def multiply(left: list[int], right: list[int], modulus: int) -> list[int]:
    """By the definition: modulo x**761 - x - 1."""
    product = [0] * (2 * P)
    for i, one in enumerate(left):
        if one:
            for j, other in enumerate(right):
                product[i + j] += one * other
    for i in range(2 * P - 1, P - 1, -1):
        product[i - P] += product[i]
        product[i - P + 1] += product[i]
    return [value % modulus for value in product[:P]]


def digits(seed: int, weight: int | None = None) -> bytes:
    source = random.Random(seed)
    if weight is None:
        return bytes(source.randrange(3) for _ in range(P))
    made = [source.choice((0, 2)) for _ in range(weight)] + [1] * (P - weight)
    source.shuffle(made)
    return bytes(made)


def values(small: bytes) -> list[int]:
    return [digit - 1 for digit in small]


# The known answer


class Generator:
    """The generator of random bytes that NIST's test programs use: AES-256 as a counter."""

    def __init__(self, seed: bytes) -> None:
        self._key, self._counter = bytes(32), 0
        self._update(seed)

    def _blocks(self, count: int) -> bytes:
        context = Cipher(AES(self._key), ECB()).encryptor()  # noqa: S305 - what NIST defines
        made = b""
        for _ in range(count):
            self._counter = (self._counter + 1) % (1 << 128)
            made += context.update(self._counter.to_bytes(16, "big"))
        return made

    def _update(self, data: bytes) -> None:
        state = bytes(a ^ b for a, b in zip(self._blocks(3), data, strict=True))
        self._key, self._counter = state[:32], int.from_bytes(state[32:], "big")

    def __call__(self, size: int) -> bytes:
        made = self._blocks(-(-size // 16))[:size]
        self._update(bytes(48))
        return made


def test_the_first_known_answer_of_the_submission() -> None:
    """PQClean lists its SHA-256 as ``nistkat-sha256``: seed, both keys, ciphertext and secret."""
    seed = Generator(bytes(range(48)))(48)
    kem = Sntrup761(Generator(seed))
    key = kem.generate()
    secret, ciphertext = kem.encapsulate(key.public)
    assert key.decapsulate(ciphertext) == secret
    short = [key._short + sntrup761._WIDE_ONES >> 32 * at & 3 for at in range(P)]
    private = (
        encode_small(bytes(short))
        + encode_small(bytes((value + 1) % 3 for value in key._inverse))
        + key.public
        + key._instead
        + key._key_hash
    )
    lines = ("seed", seed), ("pk", key.public), ("sk", private), ("ct", ciphertext), ("ss", secret)
    text = "count = 0\n" + "".join(f"{name} = {data.hex().upper()}\n" for name, data in lines)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "afc42c3a5b10f4ef69654250097ebda9b9564570f4086744b24a6daf2bd1f89a"
    )


# Its arithmetic


@pytest.mark.parametrize("seed", range(8))
def test_an_inverse_modulo_3_is_one(seed: int) -> None:
    small = digits(seed)
    inverse = inverse_3(small)
    assert inverse is not None
    assert set(inverse) <= {0, 1, 2}
    assert multiply(values(small), inverse, 3) == [1] + [0] * (P - 1)


def test_what_divides_the_modulus_has_no_inverse_modulo_3() -> None:
    # x**761 - x - 1 has a factor of degree 19 modulo 3; all its multiples have no inverse.
    factor = _small_factor()
    assert len(factor) == 20
    assert inverse_3(bytes((value + 1) % 3 for value in factor).ljust(P, b"\1")) is None
    assert inverse_3(b"\1" * P) is None


def _small_factor() -> list[int]:
    """The common factor of x**761 - x - 1 and x**(3**19) - x modulo 3."""
    power = [0, 1] + [0] * (P - 2)
    for _ in range(19):
        power = multiply(power, multiply(power, power, 3), 3)
    power[1] = (power[1] - 1) % 3
    left, right = [2, 2] + [0] * (P - 2) + [1], power
    while right := _trimmed(right):
        left, right = right, _remainder(left, right)
    return [value * left[-1] % 3 for value in left]


def _trimmed(polynomial: list[int]) -> list[int]:
    while polynomial and not polynomial[-1]:
        polynomial = polynomial[:-1]
    return polynomial


def _remainder(left: list[int], right: list[int]) -> list[int]:
    left = list(left)
    for at in range(len(left) - len(right), -1, -1):
        # 1 and 2 are their own inverses modulo 3.
        times = left[at + len(right) - 1] * right[-1]
        for offset, value in enumerate(right):
            left[at + offset] = (left[at + offset] - times * value) % 3
    return _trimmed(left)


@pytest.mark.parametrize("weight", [1, 2, WEIGHT, P])
@pytest.mark.parametrize("seed", range(3))
def test_an_inverse_modulo_4591_is_one(seed: int, weight: int) -> None:
    short = digits(seed, weight)
    inverse = inverse_of_triple(short)
    tripled = [3 * value for value in values(short)]
    assert multiply(tripled, inverse, Q) == [1] + [0] * (P - 1)


@pytest.mark.parametrize("place", [0, 1, 15, 16, 759, 760])
def test_a_single_term_has_its_inverse(place: int) -> None:
    """The division steps then do nothing for as long as they can."""
    short = bytearray(b"\1" * P)
    short[place] = 2
    one = [1] + [0] * (P - 1)
    assert (
        multiply([3 * value for value in values(bytes(short))], inverse_of_triple(bytes(short)), Q)
        == one
    )
    inverse = inverse_3(bytes(short))
    assert inverse is not None
    assert multiply(values(bytes(short)), inverse, 3) == one


def test_products_are_those_of_the_definition_at_their_largest() -> None:
    for small in (b"\0" * P, b"\2" * P, digits(1), digits(2, WEIGHT)):
        for field in ([Q - 1] * P, [0] * (P - 1) + [Q - 1], list(range(P))):
            product = sntrup761._product(sntrup761._wide(field), sntrup761._signed(small))
            assert [value % Q for value in product] == multiply(values(small), field, Q)
    twos = [2] * P
    assert [value % 3 for value in sntrup761._product_3(twos, twos)] == multiply(twos, twos, 3)


# What stands on the wire


@pytest.mark.parametrize(("packing", "modulus", "size"), [(FIELD, Q, 1158), (ROUNDED, 1531, 1007)])
def test_numbers_are_packed_and_unpacked(
    packing: sntrup761.Packing, modulus: int, size: int
) -> None:
    source = random.Random(1)
    rows = [[0] * P, [modulus - 1] * P, [source.randrange(modulus) for _ in range(P)]]
    for row in rows:
        data = packing.encode(row)
        assert len(data) == size
        assert packing.decode(data) == row


@settings(max_examples=50)
@given(st.data())
def test_any_bytes_unpack_to_numbers_in_their_range(data: st.DataObject) -> None:
    packing, modulus, size = data.draw(st.sampled_from([(FIELD, Q, 1158), (ROUNDED, 1531, 1007)]))
    found = packing.decode(data.draw(st.binary(min_size=size, max_size=size)))
    assert len(found) == P
    assert all(0 <= value < modulus for value in found)


def test_every_small_digit_has_its_place() -> None:
    small = digits(3)
    data = encode_small(small)
    assert len(data) == 191
    assert [data[at // 4] >> 2 * (at % 4) & 3 for at in range(P)] == list(small)


# The draws


def test_a_short_polynomial_has_its_weight_and_every_place_is_as_likely() -> None:
    drawn = [sntrup761._draw_short(random.Random(seed).randbytes) for seed in range(60)]
    assert {small.count(1) for small in drawn} == {P - WEIGHT}
    assert {len(small) for small in drawn} == {P}
    halves = Counter(small[: P // 2].count(1) for small in drawn)
    mean = sum(count * times for count, times in halves.items()) / len(drawn)
    assert abs(mean - (P // 2) * (P - WEIGHT) / P) < 6
    signs = sum(small.count(2) - small.count(0) for small in drawn) / len(drawn)
    assert abs(signs) < 10


def test_a_draw_that_has_no_inverse_is_drawn_again() -> None:
    # Words of zeros make the polynomial of nothing but -1; those of one third and up make zeros.
    zeros, real = (0x20000000).to_bytes(4, "little") * P, random.Random(5).randbytes(4 * P)
    given_out = [zeros, real]

    def source(size: int) -> bytes:
        return given_out.pop(0)

    small, inverse = sntrup761._draw_invertible(source)
    assert not given_out
    assert multiply(values(small), inverse, 3) == [1] + [0] * (P - 1)


# The key encapsulation


def test_many_keys_open_what_was_meant_for_them() -> None:
    for _ in range(10):
        key = KEM.generate()
        for _ in range(3):
            secret, ciphertext = KEM.encapsulate(key.public)
            assert key.decapsulate(ciphertext) == secret
            assert (len(key.public), len(ciphertext), len(secret)) == (1158, 1039, 32)


Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def key() -> Sntrup761Key:
    return KEM.generate()


@pytest.mark.parametrize("at", [0, 1, 500, 1006, 1007, 1038])
def test_case_094_a_forged_ciphertext_gives_a_secret_nobody_has(
    key: Sntrup761Key, at: int
) -> None:
    """And always the same one: what differed from time to time would tell that it was refused."""
    secret, ciphertext = KEM.encapsulate(key.public)
    forged = ciphertext[:at] + bytes((ciphertext[at] ^ 1,)) + ciphertext[at + 1 :]
    made = key.decapsulate(forged)
    assert made != secret
    assert made == key.decapsulate(forged)
    assert (
        made
        == hashlib.sha512(
            b"\0" + hashlib.sha512(b"\3" + key._instead).digest()[:32] + forged
        ).digest()[:32]
    )


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1039, max_size=1039))
def test_case_094_any_bytes_of_the_right_length_open_to_something(data: bytes) -> None:
    opened = _KEY.decapsulate(data)
    assert len(opened) == 32


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1158, max_size=1158))
def test_case_094_any_bytes_of_the_right_length_are_a_key(data: bytes) -> None:
    secret, ciphertext = KEM.encapsulate(data)
    assert (len(secret), len(ciphertext)) == (32, 1039)


_KEY = KEM.generate()


def test_nothing_is_drawn_twice() -> None:
    keys = [KEM.generate() for _ in range(3)]
    assert len({made.public for made in keys}) == 3
    assert len({KEM.encapsulate(keys[0].public)[1] for _ in range(3)}) == 3
