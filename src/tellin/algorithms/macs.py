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
        # Here because a connection under an AEAD cipher needs no MAC and should not wait for it.
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.hmac import HMAC

        algorithms: dict[str, hashes.HashAlgorithm] = {
            "md5": hashes.MD5(),  # noqa: S303 - off unless named
            "sha1": hashes.SHA1(),  # noqa: S303 - off unless named
            "sha256": hashes.SHA256(),
            "sha512": hashes.SHA512(),
        }
        # The key is absorbed once: a copy costs less than half of a keyed start.
        self._copy = HMAC(key, algorithms[hash_name]).copy
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


def _hmac(hash_name: str, key_size: int, tag_size: int) -> Callable[[bytes], MacKey]:
    return lambda key: Hmac(key[:key_size], hash_name, tag_size)


def _add(
    name: str, hash_name: str, sizes: tuple[int, int], standing: Standing, source: str, doc: str
) -> None:
    etm = name.endswith("-etm@openssh.com")
    key_size, tag_size = sizes
    MACS.add(
        Mac(
            name,
            key_size=key_size,
            tag_size=tag_size,
            etm=etm,
            build=_hmac(hash_name, key_size, tag_size),
            standing=standing,
            source="OpenSSH PROTOCOL 1.5, " + source if etm else source,
            doc=doc + (" over the ciphertext" if etm else " over the clear packet"),
        )
    )


# SHA-256 before SHA-512: processors hash it in hardware, in half the time.
_add(
    "hmac-sha2-256-etm@openssh.com",
    "sha256",
    (32, 32),
    Standing.DEFAULT,
    "RFC 6668",
    "HMAC with SHA-256",
)
_add(
    "hmac-sha2-512-etm@openssh.com",
    "sha512",
    (64, 64),
    Standing.DEFAULT,
    "RFC 6668",
    "HMAC with SHA-512",
)
_add("hmac-sha2-256", "sha256", (32, 32), Standing.CLIENT, "RFC 6668", "HMAC with SHA-256")
_add("hmac-sha2-512", "sha512", (64, 64), Standing.CLIENT, "RFC 6668", "HMAC with SHA-512")
_add("hmac-sha1-etm@openssh.com", "sha1", (20, 20), Standing.OFF, "RFC 4253", "HMAC with SHA-1")
_add("hmac-sha1", "sha1", (20, 20), Standing.OFF, "RFC 4253", "HMAC with SHA-1")
_add(
    "hmac-sha1-96-etm@openssh.com",
    "sha1",
    (20, 12),
    Standing.OFF,
    "RFC 4253",
    "HMAC with SHA-1, cut",
)
_add("hmac-sha1-96", "sha1", (20, 12), Standing.OFF, "RFC 4253", "HMAC with SHA-1, cut")
_add("hmac-md5-etm@openssh.com", "md5", (16, 16), Standing.OFF, "RFC 4253", "HMAC with MD5")
_add("hmac-md5", "md5", (16, 16), Standing.OFF, "RFC 4253", "HMAC with MD5")
_add(
    "hmac-md5-96-etm@openssh.com", "md5", (16, 12), Standing.OFF, "RFC 4253", "HMAC with MD5, cut"
)
_add("hmac-md5-96", "md5", (16, 12), Standing.OFF, "RFC 4253", "HMAC with MD5, cut")

CLIENT_MACS: Final = MACS.defaults()
SERVER_MACS: Final = MACS.defaults(server=True)
