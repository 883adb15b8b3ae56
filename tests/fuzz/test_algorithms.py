# SPDX-License-Identifier: MIT
"""Whatever a moduli file, a list of names, a stream or a peer's value holds, one kind of error comes out."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.compression import Compressor, Decompressor
from tellin.algorithms.finite_field import check_group, check_public, fixed_prime
from tellin.algorithms.key_exchange import KEY_EXCHANGES, Family, KeyExchange
from tellin.algorithms.macs import MACS
from tellin.algorithms.moduli import Moduli
from tellin.algorithms.registry import Registry
from tellin.errors import ConfigError, KeyExchangeFailed, ProtocolError

_PRIME = f"{fixed_prime(2048):X}"
_FIELD = st.sampled_from(
    ["2", "6", "100", "2047", _PRIME, "0", "-1", "", "F", "#", "\uff11", "\0"]
) | st.text(max_size=12)
_LINE = st.lists(_FIELD, min_size=5, max_size=9).map(" ".join)


@settings(max_examples=300)
@given(st.text(max_size=400) | st.lists(_LINE, max_size=6).map("\n".join))
@example(f"20220714110357 2 6 100 2047 2 {_PRIME}")
@example("\x85\u2028\x1c")
def test_any_moduli_file_gives_groups_that_pass_our_own_check(text: str) -> None:
    moduli = Moduli.parse(text)
    assert len(moduli.problems) <= 20
    for size, groups in moduli.groups.items():
        assert groups
        for generator, prime in groups:
            assert prime.bit_length() == size
            check_group(prime, generator, 2048, 16384)


@given(st.integers(-10, 1 << 33), st.integers(-10, 1 << 33), st.integers(-10, 1 << 33))
def test_any_wish_for_a_group_is_met_within_its_bounds_or_refused(
    minimum: int, preferred: int, maximum: int
) -> None:
    moduli = Moduli.parse(f"20220714110357 2 6 100 2047 2 {_PRIME}")
    try:
        _, prime = moduli.choose(minimum, preferred, maximum)
    except KeyExchangeFailed:
        # Nothing is refused that could have been met.
        assert not any(minimum <= size <= maximum for size in (2048, 4096, 8192))
        return
    assert minimum <= prime.bit_length() <= maximum


@pytest.mark.parametrize("registry", [CIPHERS, MACS, KEY_EXCHANGES], ids=lambda row: row.kind)
@given(spec=st.text(max_size=60) | st.text("+-^,*?aes128-gcm@openssh.com", max_size=60))
def test_any_list_of_names_chooses_known_ones_or_is_refused(
    registry: Registry[Any], spec: str
) -> None:
    try:
        chosen = registry.select(spec)
    except ConfigError:
        return
    assert chosen
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(registry.names())


@settings(max_examples=300)
@given(
    st.lists(
        st.binary(max_size=200)
        | st.binary(min_size=1, max_size=200).map(lambda data: Compressor().compress(data)),
        max_size=4,
    ),
    st.integers(1, 300),
)
def test_any_stream_inflates_within_its_limit_or_is_refused(
    payloads: list[bytes], limit: int
) -> None:
    into = Decompressor()
    for payload in payloads:
        try:
            assert 0 < len(into.decompress(payload, limit)) <= limit
        except ProtocolError:
            return


@settings(max_examples=200)
@given(
    st.sampled_from([row for row in KEY_EXCHANGES if row.family is Family.ECDH]),
    st.binary(max_size=1300) | st.sampled_from([32, 65, 97, 133, 1216, 1249]).map(bytes),
)
def test_any_string_as_a_public_value_is_answered_or_refused(
    method: KeyExchange, value: bytes
) -> None:
    try:
        public, secret = method.respond(value)
    except ProtocolError:
        return
    assert public
    assert secret


@given(st.integers() | st.integers(0, 1 << 1100))
def test_any_integer_as_a_public_value_is_in_range_or_refused(value: int) -> None:
    prime = fixed_prime(1024)
    try:
        check_public(value, prime)
    except KeyExchangeFailed:
        assert not 1 < value < prime - 1 or value.bit_count() < 4
        return
    assert 1 < value < prime - 1
