# SPDX-License-Identifier: MIT
"""Ciphers against the vectors of NIST SP 800-38A, and ChaCha20-Poly1305 against RFC 8439 put together anew."""

from tests.algorithms.pairs import Pair, open_, opener, packet, seal, sealer

from tellin.algorithms.block_modes import (
    AesCounter,
    aes_chained_decryptor,
    aes_chained_encryptor,
    triple_des_chained_decryptor,
    triple_des_chained_encryptor,
)
from tellin.algorithms.ciphers import CIPHERS

KEY_128 = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
KEY_256 = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
COUNTER = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
CLEAR = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")


def applied(transform: object, data: bytes) -> str:
    buffer = bytearray(data)
    transform.apply(memoryview(buffer))  # type: ignore[attr-defined]
    return buffer.hex()


def test_counter_mode_of_sp_800_38a() -> None:
    """F.5.1 and F.5.5."""
    hidden = "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
    assert applied(AesCounter(KEY_128, COUNTER), CLEAR) == hidden
    assert applied(AesCounter(KEY_128, COUNTER), bytes.fromhex(hidden)) == CLEAR.hex()
    hidden = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    assert applied(AesCounter(KEY_256, COUNTER), CLEAR) == hidden


def test_chaining_mode_of_sp_800_38a() -> None:
    """F.2.1 and F.2.2."""
    iv = bytes(range(16))
    hidden = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
    out, into = aes_chained_encryptor(KEY_128, iv), aes_chained_decryptor(KEY_128, iv)
    assert applied(out, CLEAR) == hidden
    assert applied(into, bytes.fromhex(hidden)) == CLEAR.hex()
    assert out.current_iv() == into.current_iv() == bytes.fromhex(hidden)[-16:]


def test_triple_des_with_one_key_is_des() -> None:
    """The classic worked example of DES, and the inverse."""
    key, clear = bytes.fromhex("133457799bbcdff1") * 3, bytes.fromhex("0123456789abcdef")
    assert applied(triple_des_chained_encryptor(key, bytes(8)), clear) == "85e813540f0ab405"
    hidden = bytes.fromhex("85e813540f0ab405")
    assert applied(triple_des_chained_decryptor(key, bytes(8)), hidden) == clear.hex()


# ChaCha20 and Poly1305 as RFC 8439 sections 2.1 to 2.5 define them, for their own sake.


def chacha_block(key: bytes, counter: bytes) -> bytes:
    """One block; ``counter`` is the last four words, counter and nonce as one likes to split them."""
    first = [
        int.from_bytes(part, "little")
        for whole in (b"expand 32-byte k", key, counter)
        for part in (whole[at : at + 4] for at in range(0, len(whole), 4))
    ]
    words = list(first)

    def turn(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            words[x] = words[x] + words[y] & 0xFFFFFFFF
            mixed = words[z] ^ words[x]
            words[z] = (mixed << by | mixed >> 32 - by) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            turn(column, column + 4, column + 8, column + 12)
        for column in range(4):
            turn(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return b"".join(
        (one + other & 0xFFFFFFFF).to_bytes(4, "little")
        for one, other in zip(first, words, strict=True)
    )


def poly1305(key: bytes, message: bytes) -> bytes:
    factor = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total += int.from_bytes(message[at : at + 16] + b"\1", "little")
        total = total * factor % (2**130 - 5)
    return (total + int.from_bytes(key[16:], "little") & (1 << 128) - 1).to_bytes(16, "little")


def test_rfc_8439_holds_for_what_these_tests_compare_with() -> None:
    nonce = bytes.fromhex("01000000000000090000004a00000000")
    assert chacha_block(bytes(range(32)), nonce).hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    key = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    tag = poly1305(key, b"Cryptographic Forum Research Group")
    assert tag.hex() == "a8061dc1305136c6c22b8baf0c0127a9"


def test_chacha20_poly1305_is_what_its_draft_says() -> None:
    """The second key hides the length; the first the packet from block 1 on, and gives the MAC's key."""
    pair: Pair = (CIPHERS["chacha20-poly1305@openssh.com"], None)
    key = bytes(range(64))
    out, into = sealer(pair, key=key), opener(pair, key=key)
    sequence = 0x01020304
    clear = packet(100, out)
    nonce = sequence.to_bytes(8, "big")

    def stream(half: bytes, first: int, size: int) -> bytes:
        blocks = b"".join(
            chacha_block(half, (first + number).to_bytes(8, "little") + nonce)
            for number in range(-(-size // 64))
        )
        return blocks[:size]

    def mixed(one: bytes, other: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(one, other, strict=True))

    hidden = mixed(clear[:4], stream(key[32:], 0, 4))
    hidden += mixed(clear[4:], stream(key[:32], 1, len(clear) - 4))
    expected = hidden + poly1305(stream(key[:32], 0, 32), hidden)
    assert seal(out, clear, sequence) == expected
    assert open_(into, expected, sequence) == clear[4:]
