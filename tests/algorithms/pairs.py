# SPDX-License-Identifier: MIT
"""Every cipher with every MAC it can go with, keys for them, and packets to seal."""

from tellin.algorithms.ciphers import CIPHERS, AeadCipher, Cipher
from tellin.algorithms.macs import MACS, Mac
from tellin.algorithms.protection import make_opener, make_sealer
from tellin.algorithms.sealing import Opener, Sealer

Pair = tuple[Cipher, Mac | None]

PAIRS: list[Pair] = [
    (cipher, mac)
    for cipher in CIPHERS
    for mac in ([None] if isinstance(cipher, AeadCipher) else MACS)
]
# UMAC in Python is slow to set up; where every bit counts, one cipher for each MAC will do.
FEW_PAIRS: list[Pair] = [
    (cipher, mac)
    for cipher, mac in PAIRS
    if mac is None or cipher.name in {"aes128-ctr", "3des-cbc"} or mac.name == "hmac-sha2-256"
]


def label(pair: Pair) -> str:
    cipher, mac = pair
    return cipher.name if mac is None else f"{cipher.name}+{mac.name}"


def keys(pair: Pair, seed: int = 0) -> dict[str, bytes]:
    """Keys that differ in every byte, as three-key DES needs."""
    cipher, mac = pair
    return {
        "key": bytes((7 * i + seed) & 0xFF for i in range(cipher.key_size)),
        "iv": bytes((11 * i + 3 + seed) & 0xFF for i in range(cipher.iv_size)),
        "mac_key": bytes((13 * i + 5 + seed) & 0xFF for i in range(mac.key_size if mac else 0)),
    }


def sealer(pair: Pair, **changes: bytes) -> Sealer:
    return make_sealer(*pair, **{**keys(pair), **changes})


def opener(pair: Pair, **changes: bytes) -> Opener:
    return make_opener(*pair, **{**keys(pair), **changes})


def packet(size: int, side: Sealer | Opener, fill: int = 0x41) -> bytes:
    """A clear packet with ``size`` bytes of payload."""
    counted = size + (5 if side.length_aligned else 1)
    padding = side.block - counted % side.block
    if padding < 4:
        padding += side.block
    length = 1 + size + padding
    return length.to_bytes(4, "big") + bytes((padding,)) + bytes((fill,)) * size + bytes(padding)


def seal(side: Sealer, clear: bytes, sequence: int, *, offset: int = 0) -> bytes:
    """The packet as it goes out, sealed at some place in a larger buffer."""
    buffer = bytearray(offset + len(clear) + side.tag + 5)
    end = offset + len(clear)
    buffer[offset:end] = clear
    side.seal(memoryview(buffer), offset, end, sequence)
    assert buffer[:offset] == bytes(offset)
    assert buffer[end + side.tag :] == bytes(5)
    return bytes(buffer[offset : end + side.tag])


def open_(side: Opener, wire: bytes, sequence: int, *, offset: int = 0) -> bytes:
    """The clear packet behind its length, opened as the packet machine does it."""
    buffer = bytearray(offset) + bytearray(wire) + bytearray(5)
    view = memoryview(buffer)
    assert side.peek <= len(wire)
    length = side.length(view, offset, sequence)
    end = offset + 4 + length
    assert end + side.tag == offset + len(wire)
    side.open(view, offset, end, sequence)
    return bytes(buffer[offset + 4 : end])
