# SPDX-License-Identifier: MIT
"""The ciphers, and in which order they are offered."""

from collections.abc import Callable
from typing import Final

from tellin.algorithms.aead import ChaChaOpener, ChaChaSealer, GcmOpener, GcmSealer
from tellin.algorithms.block_modes import (
    AesCounter,
    Transform,
    aes_chained_decryptor,
    aes_chained_encryptor,
    triple_des_chained_decryptor,
    triple_des_chained_encryptor,
)
from tellin.algorithms.registry import Algorithm, Registry, Standing
from tellin.algorithms.sealing import Opener, Sealer


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
    """A cipher that authenticates by itself."""

    def __init__(
        self,
        name: str,
        *,
        sizes: tuple[int, int, int],
        sealer: Callable[[bytes, bytes], Sealer],
        opener: Callable[[bytes, bytes], Opener],
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
        self.sealer = sealer
        self.opener = opener


class HidingCipher(Cipher):
    """A cipher that needs a MAC beside it; in a ``chained`` one a block decrypts by its neighbour."""

    def __init__(
        self,
        name: str,
        *,
        sizes: tuple[int, int],
        encryptor: Callable[[bytes, bytes], Transform],
        decryptor: Callable[[bytes, bytes], Transform],
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
        self.encryptor = encryptor
        self.decryptor = decryptor
        self.chained = chained


CIPHERS: Final = Registry[Cipher]("cipher")

CIPHERS.add(
    AeadCipher(
        "aes128-gcm@openssh.com",
        sizes=(16, 12, 16),
        sealer=GcmSealer,
        opener=GcmOpener,
        source="RFC 5647",
        doc="AES with 128-bit keys in Galois counter mode",
    )
)
CIPHERS.add(
    AeadCipher(
        "aes256-gcm@openssh.com",
        sizes=(32, 12, 16),
        sealer=GcmSealer,
        opener=GcmOpener,
        source="RFC 5647",
        doc="AES with 256-bit keys in Galois counter mode",
    )
)
CIPHERS.add(
    AeadCipher(
        "chacha20-poly1305@openssh.com",
        sizes=(64, 0, 8),
        sealer=ChaChaSealer,
        opener=ChaChaOpener,
        source="draft-ietf-sshm-chacha20-poly1305",
        doc="ChaCha20 with Poly1305; the packet's length is encrypted under a key of its own",
    )
)
for _bits in (128, 192, 256):
    CIPHERS.add(
        HidingCipher(
            f"aes{_bits}-ctr",
            sizes=(_bits // 8, 16),
            encryptor=AesCounter,
            decryptor=AesCounter,
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
            encryptor=aes_chained_encryptor,
            decryptor=aes_chained_decryptor,
            chained=True,
            source="RFC 4253",
            doc=f"AES with {_bits}-bit keys in chaining mode, open to guesses of clear text",
        )
    )
CIPHERS.add(
    HidingCipher(
        "3des-cbc",
        sizes=(24, 8),
        encryptor=triple_des_chained_encryptor,
        decryptor=triple_des_chained_decryptor,
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
