# SPDX-License-Identifier: MIT
"""The ciphers, and in which order they are offered."""

# This is a table of names that a client reads before it connects. What a cipher needs, PyCA above
# all, is imported when it is first used: there is time for that while the two machines greet each other.
# ruff: noqa: PLC0415

from collections.abc import Callable
from typing import Final

from tellin.algorithms.registry import Algorithm, Registry, Standing
from tellin.algorithms.sealing import Opener, Sealer, Transform

_Sealers = tuple[Callable[[bytes, bytes], Sealer], Callable[[bytes, bytes], Opener]]
_Transforms = tuple[Callable[[bytes, bytes], Transform], Callable[[bytes, bytes], Transform]]


class Cipher(Algorithm):
    """A row of ``CIPHERS``; ``tag_size`` is 0 where a MAC has to be negotiated as well."""

    def __init__(
        self,
        name: str,
        *,
        key_size: int,
        iv_size: int,
        block_size: int,
        tag_size: int,
        standing: Standing,
        source: str,
        doc: str,
    ) -> None:
        super().__init__(name, standing=standing, source=source, doc=doc)
        self.key_size = key_size
        self.iv_size = iv_size
        self.block_size = block_size
        self.tag_size = tag_size

    @property
    def small_blocks(self) -> bool:
        """Whether blocks of 64 bits repeat so soon that keys must be changed earlier (RFC 4344)."""
        return self.tag_size == 0 and self.block_size < 16


class AeadCipher(Cipher):
    """A cipher that authenticates by itself; ``build`` gives what seals and what opens, which may take an import."""

    def __init__(
        self,
        name: str,
        *,
        sizes: tuple[int, int, int],
        build: Callable[[], _Sealers],
        source: str,
        doc: str,
    ) -> None:
        key_size, iv_size, block_size = sizes
        super().__init__(
            name,
            key_size=key_size,
            iv_size=iv_size,
            block_size=block_size,
            tag_size=16,
            standing=Standing.DEFAULT,
            source=source,
            doc=doc,
        )
        self._build = build

    def sealer(self, key: bytes, iv: bytes) -> Sealer:
        """What protects packets on the way out."""
        return self._build()[0](key, iv)

    def opener(self, key: bytes, iv: bytes) -> Opener:
        """What unprotects packets on the way in."""
        return self._build()[1](key, iv)


class HidingCipher(Cipher):
    """A cipher that needs a MAC beside it; in a ``chained`` one a block decrypts by its neighbour.

    ``build`` gives what encrypts and what decrypts, which may take an import.
    """

    def __init__(
        self,
        name: str,
        *,
        sizes: tuple[int, int],
        build: Callable[[], _Transforms],
        chained: bool,
        source: str,
        doc: str,
    ) -> None:
        key_size, block_size = sizes
        super().__init__(
            name,
            key_size=key_size,
            iv_size=block_size,
            block_size=block_size,
            tag_size=0,
            standing=Standing.OFF if chained else Standing.DEFAULT,
            source=source,
            doc=doc,
        )
        self._build = build
        self.chained = chained

    def encryptor(self, key: bytes, iv: bytes) -> Transform:
        """What hides packets on the way out."""
        return self._build()[0](key, iv)

    def decryptor(self, key: bytes, iv: bytes) -> Transform:
        """What uncovers packets on the way in."""
        return self._build()[1](key, iv)


def _gcm() -> _Sealers:
    from tellin.algorithms.aead import GcmOpener, GcmSealer

    return GcmSealer, GcmOpener


def _chacha() -> _Sealers:
    from tellin.algorithms.aead import ChaChaOpener, ChaChaSealer

    return ChaChaSealer, ChaChaOpener


def _counter() -> _Transforms:
    from tellin.algorithms.block_modes import AesCounter

    return AesCounter, AesCounter


def _chained_aes() -> _Transforms:
    from tellin.algorithms.block_modes import aes_chained_decryptor, aes_chained_encryptor

    return aes_chained_encryptor, aes_chained_decryptor


def _chained_triple_des() -> _Transforms:
    from tellin.algorithms.block_modes import (
        triple_des_chained_decryptor,
        triple_des_chained_encryptor,
    )

    return triple_des_chained_encryptor, triple_des_chained_decryptor


CIPHERS: Final = Registry[Cipher]("cipher")

CIPHERS.add(
    AeadCipher(
        "aes128-gcm@openssh.com",
        sizes=(16, 12, 16),
        build=_gcm,
        source="RFC 5647",
        doc="AES with 128-bit keys in Galois counter mode",
    )
)
CIPHERS.add(
    AeadCipher(
        "aes256-gcm@openssh.com",
        sizes=(32, 12, 16),
        build=_gcm,
        source="RFC 5647",
        doc="AES with 256-bit keys in Galois counter mode",
    )
)
CIPHERS.add(
    AeadCipher(
        "chacha20-poly1305@openssh.com",
        sizes=(64, 0, 8),
        build=_chacha,
        source="draft-ietf-sshm-chacha20-poly1305",
        doc="ChaCha20 with Poly1305; the packet's length is encrypted under a key of its own",
    )
)
for _bits in (128, 192, 256):
    CIPHERS.add(
        HidingCipher(
            f"aes{_bits}-ctr",
            sizes=(_bits // 8, 16),
            build=_counter,
            chained=False,
            source="RFC 4344",
            doc=f"AES with {_bits}-bit keys in counter mode",
        )
    )
for _bits in (128, 192, 256):
    CIPHERS.add(
        HidingCipher(
            f"aes{_bits}-cbc",
            sizes=(_bits // 8, 16),
            build=_chained_aes,
            chained=True,
            source="RFC 4253",
            doc=f"AES with {_bits}-bit keys in chaining mode, open to guesses of clear text",
        )
    )
CIPHERS.add(
    HidingCipher(
        "3des-cbc",
        sizes=(24, 8),
        build=_chained_triple_des,
        chained=True,
        source="RFC 4253",
        doc="triple DES, slow, with 64-bit blocks that repeat after some gigabytes",
    )
)


def preferred_ciphers(*, has_aes: bool) -> tuple[str, ...]:
    """The default list of both roles, the fastest safe one first: AES-GCM where the processor does AES."""
    names = CIPHERS.defaults()
    if has_aes:
        return names
    return tuple(sorted(names, key=lambda name: not name.startswith("chacha20")))
