# SPDX-License-Identifier: MIT
"""Ciphers that only hide: block ciphers in counter mode (RFC 4344) and chained (RFC 4253 section 6.3)."""

# PyCA's ciphers are imported where one is made: a connection under AES-GCM does not wait for them.
# ruff: noqa: PLC0415

from typing import Any, Final

from tellin.algorithms.sealing import Transform

_AES_BLOCK: Final = 16
_COUNTER_MASK: Final = (1 << 128) - 1


class AesCounter:
    """AES in counter mode: the same both ways."""

    __slots__ = ("_blocks", "_first", "_update_into")

    def __init__(self, key: bytes, iv: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._update_into = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update_into
        self._first = int.from_bytes(iv, "big")
        self._blocks = 0

    def apply(self, view: memoryview) -> None:
        """Encrypt or decrypt whole blocks in place."""
        self._blocks += self._update_into(view, view) // _AES_BLOCK

    def current_iv(self) -> bytes:
        """The counter of the next block."""
        return ((self._first + self._blocks) & _COUNTER_MASK).to_bytes(_AES_BLOCK, "big")


class ChainedEncryptor:
    """A block cipher in CBC mode on the way out."""

    __slots__ = ("_block", "_iv", "_update")

    def __init__(self, algorithm: Any, iv: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        self._update = Cipher(algorithm, modes.CBC(iv)).encryptor().update
        self._block = len(iv)
        self._iv = iv

    def apply(self, view: memoryview) -> None:
        """Encrypt whole blocks in place."""
        # By way of a copy: PyCA writes CBC only where a block of room is left behind it.
        view[:] = done = self._update(view)
        self._iv = done[-self._block :]

    def current_iv(self) -> bytes:
        """The last block that went out."""
        return self._iv


class ChainedDecryptor:
    """A block cipher in CBC mode on the way in."""

    __slots__ = ("_block", "_iv", "_update")

    def __init__(self, algorithm: Any, iv: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        self._update = Cipher(algorithm, modes.CBC(iv)).decryptor().update
        self._block = len(iv)
        self._iv = iv

    def apply(self, view: memoryview) -> None:
        """Decrypt whole blocks in place."""
        self._iv = bytes(view[-self._block :])
        view[:] = self._update(view)

    def current_iv(self) -> bytes:
        """The last block that came in."""
        return self._iv


def aes_chained_encryptor(key: bytes, iv: bytes) -> Transform:
    """AES in CBC mode on the way out."""
    from cryptography.hazmat.primitives.ciphers import algorithms

    return ChainedEncryptor(algorithms.AES(key), iv)


def aes_chained_decryptor(key: bytes, iv: bytes) -> Transform:
    """AES in CBC mode on the way in."""
    from cryptography.hazmat.primitives.ciphers import algorithms

    return ChainedDecryptor(algorithms.AES(key), iv)


def triple_des_chained_encryptor(key: bytes, iv: bytes) -> Transform:
    """Triple DES in CBC mode on the way out."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES

    return ChainedEncryptor(TripleDES(key), iv)


def triple_des_chained_decryptor(key: bytes, iv: bytes) -> Transform:
    """Triple DES in CBC mode on the way in."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES

    return ChainedDecryptor(TripleDES(key), iv)
