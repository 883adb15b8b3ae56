# SPDX-License-Identifier: MIT
"""CBC with a MAC over the clear packet: an attacker learns nothing from when and how we give up (R029)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.algorithms.pairs import Pair, opener, packet, seal, sealer

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.macs import MACS
from tellin.algorithms.sealing import MAXIMUM_PACKET_LENGTH
from tellin.errors import IntegrityError

CHAINED: list[Pair] = [
    (CIPHERS[cipher], MACS["hmac-sha2-256"])
    for cipher in ("aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc")
]


def awaited(pair: Pair, stream: bytes, cuts: list[int]) -> tuple[int, str]:
    """How many bytes of ``stream`` are taken before the error, and the error's text.

    It does what the packet machine does: the length is checked, an error is kept, and all further
    bytes go to ``poison`` as they come.
    """
    into = opener(pair)
    buffer = bytearray(stream)
    view = memoryview(buffer)
    length = into.length(view, 0, 0)
    at = 0
    if 5 <= length <= MAXIMUM_PACKET_LENGTH and (length + 4) % into.block == 0:
        at = 4 + length
        with pytest.raises(IntegrityError):
            into.open(view, 0, at, 0)
    steps = iter([*cuts, *[4096] * len(stream)])
    while True:
        step = min(next(steps), len(stream) - at)
        assert at < len(stream), "it never gave up"
        try:
            into.poison(view[at : at + step])
        except IntegrityError as error:
            return at + step, str(error)
        at += step


def forged(pair: Pair, first: bytes) -> bytes:
    """A stream whose first block decrypts to ``first``, and noise without end."""
    out = sealer(pair)
    buffer = bytearray(first.ljust(out.block, b"\0")) + bytearray(out.tag)
    out.seal(memoryview(buffer), 0, out.block, 0)
    return bytes(buffer[: out.block]) + b"noise..." * (MAXIMUM_PACKET_LENGTH // 8 + 100)


LENGTHS = [0, 1, 4, 5, 12, 28, 44, 1004, 35004, 262140, 262144, 262145, 0x7FFFFFFF, 0xFFFFFFFF]


@pytest.mark.parametrize("pair", CHAINED, ids=lambda pair: pair[0].name)
def test_r029_each_length_is_awaited_as_long_and_fails_alike(pair: Pair) -> None:
    mac = pair[1]
    assert mac is not None
    outcomes = set()
    for length in LENGTHS:
        stream = forged(pair, length.to_bytes(4, "big"))
        outcomes.add(awaited(pair, stream, [])[1])
        total = 4 + MAXIMUM_PACKET_LENGTH + mac.tag_size
        assert not _fails_by(pair, stream, total - 1)
        assert _fails_by(pair, stream, total)
    assert outcomes == {"corrupted MAC on input"}


def _fails_by(pair: Pair, stream: bytes, count: int) -> bool:
    """Whether ``count`` bytes are enough to make it give up."""
    into = opener(pair)
    view = memoryview(bytearray(stream))
    length = into.length(view, 0, 0)
    at = 0
    if 5 <= length <= MAXIMUM_PACKET_LENGTH and (length + 4) % into.block == 0:
        at = 4 + length
        with pytest.raises(IntegrityError):
            into.open(view, 0, at, 0)
    try:
        into.poison(view[at:count])
    except IntegrityError:
        return True
    return False


@settings(max_examples=40)
@given(
    length=st.integers(0, 0xFFFFFFFF) | st.integers(0, 20000).map(lambda n: 16 * n + 12),
    cuts=st.lists(st.integers(1, 40000), max_size=20),
)
def test_r029_however_the_bytes_come(length: int, cuts: list[int]) -> None:
    pair = CHAINED[0]
    stream = forged(pair, length.to_bytes(4, "big"))
    taken, text = awaited(pair, stream, cuts)
    assert text == "corrupted MAC on input"
    assert taken >= 4 + MAXIMUM_PACKET_LENGTH + 32


def test_r029_good_packets_before_it_are_not_counted() -> None:
    pair = CHAINED[0]
    out, into = sealer(pair), opener(pair)
    for sequence in range(3):
        buffer = bytearray(seal(out, packet(100, out), sequence))
        view = memoryview(buffer)
        into.open(view, 0, 4 + into.length(view, 0, sequence), sequence)
    noise = memoryview(bytearray(MAXIMUM_PACKET_LENGTH + 100))
    into.length(noise, 0, 3)
    into.poison(noise[: 4 + MAXIMUM_PACKET_LENGTH + 31])
    with pytest.raises(IntegrityError):
        into.poison(noise[:1])
