# SPDX-License-Identifier: MIT
"""UMAC (RFC 4418): a universal hash of the packet, hidden under AES; in Python, so slow and not offered."""

from collections.abc import Callable
from struct import Struct, unpack
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.modes import ECB

_UINT64: Final = Struct(">Q")
_BLOCK: Final = Struct(">QQ")
_WORD: Final = 0xFFFFFFFF
_LONG: Final = 0xFFFFFFFFFFFFFFFF

_CHUNK: Final = 1024  # bytes that one first-layer hash takes (RFC 4418 section 5.2)
_GROUP: Final = 32  # bytes that its last one is padded to
_PRIME36: Final = (1 << 36) - 5
_PRIME64: Final = (1 << 64) - 59
_OFFSET: Final = 59
# Words from here on are not below the prime once multiplied out (section 5.3.1).
_WORD_RANGE: Final = (1 << 64) - (1 << 32)
_KEY_MASK: Final = 0x01FFFFFF01FFFFFF


class _Layers:
    """One of the hashes that run side by side, each giving 32 bits of the tag (section 5.1)."""

    __slots__ = ("_first", "_full", "_mask", "_second", "_third")

    def __init__(self, first: bytes, second: bytes, third: bytes, mask: bytes) -> None:
        self._first = unpack(f">{_CHUNK // 4}I", first)
        self._full = _halves(self._first)
        # The 16 bytes behind it key a part for messages of more than 16 MiB, which no packet is.
        self._second = _UINT64.unpack_from(second)[0] & _KEY_MASK
        self._third = tuple(key % _PRIME36 for key in unpack(">8Q", third))
        self._mask = int.from_bytes(mask, "big")

    def hash(self, chunks: list[tuple[tuple[int, ...], int]]) -> bytes:
        """The 32 bits for the words and lengths in bits of a message's chunks."""
        sums = [self._chunk(words, bits) for words, bits in chunks]
        value = sums[0] if len(sums) == 1 else self._polynomial(sums)
        # Layer 3: the inner product of sixteen-bit pieces with the key, in a prime field.
        pieces = unpack(">8H", value.to_bytes(16, "big"))
        product = sum(map(int.__mul__, pieces, self._third)) % _PRIME36
        return ((product & _WORD) ^ self._mask).to_bytes(4, "big")

    def _chunk(self, words: tuple[int, ...], bits: int) -> int:
        """Layer 1: sums of products of keyed words, four apart (section 5.2.2), and the length."""
        low, high = _halves(words)
        size = len(words)
        low_key, high_key = self._full if size == _CHUNK // 4 else _halves(self._first[:size])
        total = sum(
            ((a + b & _WORD) * (c + d & _WORD))
            for a, b, c, d in zip(low, low_key, high, high_key, strict=True)
        )
        return total + bits & _LONG

    def _polynomial(self, sums: list[int]) -> int:
        """Layer 2: the sums as coefficients of a polynomial in the key."""
        key = self._second
        value = 1
        for word in sums:
            if word >= _WORD_RANGE:
                value = (key * value + _PRIME64 - 1) % _PRIME64
                value = (key * value + word - _OFFSET) % _PRIME64
            else:
                value = (key * value + word) % _PRIME64
        return value


def _halves(words: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first four words of each group of eight, and the second four, in matching order."""
    return (
        words[0::8] + words[1::8] + words[2::8] + words[3::8],
        words[4::8] + words[5::8] + words[6::8] + words[7::8],
    )


class Umac:
    """UMAC with a tag of 8 or 16 bytes; the nonce is the packet's sequence number in 64 bits."""

    __slots__ = ("_layers", "_pad", "_size")

    def __init__(self, key: bytes, size: int) -> None:
        count = size // 4
        self._size = size

        def derived(index: int, length: int) -> bytes:
            """Section 3.2.1: the key encrypts which key is wanted, and a count."""
            encrypt = _encryptor(key)
            blocks = range(1, -(-length // 16) + 1)
            return b"".join(encrypt(_BLOCK.pack(index, number)) for number in blocks)[:length]

        first = derived(1, _CHUNK + (count - 1) * 16)
        second = derived(2, count * 24)
        third = derived(3, count * 64)
        masks = derived(4, count * 4)
        self._layers = [
            _Layers(
                # Neighbours share all of their key but 16 bytes (section 5.1).
                first[i * 16 : i * 16 + _CHUNK],
                second[i * 24 : i * 24 + 24],
                third[i * 64 : i * 64 + 64],
                masks[i * 4 : i * 4 + 4],
            )
            for i in range(count)
        ]
        self._pad = _encryptor(derived(0, 16))

    def tag(self, sequence: int, data: memoryview) -> bytes:
        """The code of packet number ``sequence``."""
        chunks = []
        for at in range(0, len(data) or 1, _CHUNK):
            chunk = bytes(data[at : at + _CHUNK])
            padded = chunk.ljust(-(-len(chunk) // _GROUP) * _GROUP or _GROUP, b"\0")
            # Little end first: section 5.2.1 swaps the bytes of each word for such processors.
            chunks.append((unpack(f"<{len(padded) // 4}I", padded), len(chunk) * 8))
        hashed = b"".join(layers.hash(chunks) for layers in self._layers)
        return _exclusive_or(hashed, self._padding(sequence))

    def _padding(self, sequence: int) -> bytes:
        """Section 3.3: two short tags share one block of pad, told apart by the nonce's last bit."""
        if self._size == 16:
            return self._pad(_BLOCK.pack(sequence, 0))
        half = sequence & 1
        block = self._pad(_BLOCK.pack(sequence ^ half, 0))
        return block[8 * half : 8 * half + 8]


def _exclusive_or(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _encryptor(key: bytes) -> Callable[[bytes], bytes]:
    # ECB of single blocks, each of which is distinct by construction.
    return Cipher(algorithms.AES(key), ECB()).encryptor().update  # noqa: S305
