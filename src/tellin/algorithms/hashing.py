# SPDX-License-Identifier: MIT
"""The hash functions that methods are built on, by the names that Python gives them."""

from typing import Final

from cryptography.hazmat.primitives import hashes

# PyCA's, not hashlib's: the same speed, and one cryptographic library in the process instead of two.
HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "md5": hashes.MD5(),  # noqa: S303 - in MACs that are off unless named
    "sha1": hashes.SHA1(),  # noqa: S303 - in methods that are off unless named
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def digest(hash_name: str, data: bytes) -> bytes:
    """The hash of ``data``."""
    running = hashes.Hash(HASHES[hash_name])
    running.update(data)
    return running.finalize()
