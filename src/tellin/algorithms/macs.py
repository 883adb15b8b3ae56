# SPDX-License-Identifier: MIT
"""Message authentication codes: HMAC (RFC 4253 section 6.4, RFC 6668) and UMAC, with their -etm forms."""

from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from tellin.algorithms.registry import Algorithm, Registry, Standing

_UINT32: Final = Struct(">I")


class MacKey(Protocol):
    """One direction's authentication under one key."""

    def tag(self, sequence: int, data: memoryview) -> bytes:
        """The code of packet number ``sequence``."""


class Hmac:
    """HMAC, cut to ``size`` bytes."""

    __slots__ = ("_copy", "_size")

    def __init__(self, key: bytes, hash_name: str, size: int) -> None:
        # A connection under an AEAD cipher needs no MAC and should not wait for it.
        from cryptography.hazmat.primitives.hmac import HMAC  # noqa: PLC0415  (start-up time)

        from tellin.algorithms.hashing import HASHES  # noqa: PLC0415  (the same)

        # The key is absorbed once: a copy costs less than half of a keyed start.
        self._copy = HMAC(key, HASHES[hash_name]).copy
        self._size = size

    def tag(self, sequence: int, data: memoryview) -> bytes:
        """The code of packet number ``sequence``."""
        running = self._copy()
        running.update(_UINT32.pack(sequence))
        running.update(data)
        return running.finalize()[: self._size]


class Mac(Algorithm):
    """A row of ``MACS``: ``etm`` says that the code covers the ciphertext."""

    def __init__(
        self,
        name: str,
        *,
        key_size: int,
        tag_size: int,
        etm: bool,
        build: Callable[[bytes], MacKey],
        standing: Standing,
        source: str,
        doc: str,
    ) -> None:
        super().__init__(name, standing=standing, source=source, doc=doc)
        self.key_size = key_size
        self.tag_size = tag_size
        self.etm = etm
        self.build = build


MACS: Final = Registry[Mac]("MAC")


def _add_hmacs(
    kind: str, hash_name: str, sizes: tuple[int, int], standings: tuple[Standing, Standing]
) -> None:
    key_size, tag_size = sizes
    source = "RFC 6668" if hash_name in {"sha256", "sha512"} else "RFC 4253"

    def build(key: bytes) -> MacKey:
        return Hmac(key, hash_name, tag_size)

    for suffix, standing, covers in (
        ("-etm@openssh.com", standings[0], "ciphertext"),
        ("", standings[1], "clear packet"),
    ):
        MACS.add(
            Mac(
                f"hmac-{kind}{suffix}",
                key_size=key_size,
                tag_size=tag_size,
                etm=bool(suffix),
                build=build,
                standing=standing,
                source=f"{source}, OpenSSH PROTOCOL 1.5" if suffix else source,
                doc=f"HMAC with {hash_name}, {tag_size * 8} bits, over the {covers}",
            )
        )


_ON: Final = (Standing.DEFAULT, Standing.CLIENT)
_OFF: Final = (Standing.OFF, Standing.OFF)
# SHA-256 before SHA-512: processors hash it in hardware, in half the time.
_add_hmacs("sha2-256", "sha256", (32, 32), _ON)
_add_hmacs("sha2-512", "sha512", (64, 64), _ON)
_add_hmacs("sha1", "sha1", (20, 20), _OFF)
_add_hmacs("sha1-96", "sha1", (20, 12), _OFF)
_add_hmacs("md5", "md5", (16, 16), _OFF)
_add_hmacs("md5-96", "md5", (16, 12), _OFF)


def _add_umacs(bits: int) -> None:
    def build(key: bytes) -> MacKey:
        from tellin.algorithms.umac import Umac  # noqa: PLC0415  (start-up time)

        return Umac(key, bits // 8)

    for suffix, covers in (("-etm", "ciphertext"), ("", "clear packet")):
        MACS.add(
            Mac(
                f"umac-{bits}{suffix}@openssh.com",
                key_size=16,
                tag_size=bits // 8,
                etm=bool(suffix),
                build=build,
                # Correct, but in Python it hashes 8 MB a second where HMAC does 1.4 GB.
                standing=Standing.OFF,
                source="RFC 4418, OpenSSH PROTOCOL 1.5" if suffix else "RFC 4418",
                doc=f"UMAC with AES, {bits} bits, over the {covers}",
            )
        )


_add_umacs(64)
_add_umacs(128)

# What covers the ciphertext is of higher standing and so comes first: it finds a forgery before
# anything is decrypted.
CLIENT_MACS: Final = MACS.defaults()
SERVER_MACS: Final = MACS.defaults(server=True)
