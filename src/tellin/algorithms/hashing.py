# SPDX-License-Identifier: MIT
"""The hash functions that methods are built on, by the names that Python gives them, and keys made of hashes."""

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


def derive(  # noqa: PLR0917 - in the order of the RFC's formula
    hash_name: str,
    secret: bytes,
    exchange_hash: bytes,
    letter: bytes,
    session_id: bytes,
    size: int,
) -> bytes:
    """``size`` bytes of the key that ``letter`` names (RFC 4253 section 7.2).

    ``secret`` is encoded already; ``session_id`` is the first exchange's hash and may be of
    another length than ``exchange_hash``.
    """
    if not size:
        return b""
    made = digest(hash_name, secret + exchange_hash + letter + session_id)
    while len(made) < size:
        made += digest(hash_name, secret + exchange_hash + made)
    return made[:size]
