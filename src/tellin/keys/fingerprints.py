# SPDX-License-Identifier: MIT
"""Short forms of a public key for people to compare: hashes, and words made of one."""

import binascii
from typing import Any, Final

from tellin.errors import UsageError

# What ``ssh-keygen -E`` and FingerprintHash take.
FINGERPRINT_HASHES: Final = ("sha256", "md5", "sha1", "sha384", "sha512")

# What a record in the DNS calls a kind of key and a hash (RFC 4255 section 3.1, RFC 6594, RFC 7479).
SSHFP_ALGORITHMS: Final = {"RSA": 1, "ECDSA": 3, "ED25519": 4}
SSHFP_HASHES: Final = {"sha1": 1, "sha256": 2}

_VOWELS: Final = "aeiouy"
_CONSONANTS: Final = "bcdfghklmnprstvzx"


def digest(blob: bytes, hash_name: str) -> bytes:
    """The hash of a key's blob."""
    if hash_name not in FINGERPRINT_HASHES:
        raise UsageError(f"unknown fingerprint hash {hash_name!r}")
    if hash_name == "sha256":
        return bytes(_sha256()(blob).digest())
    # It loads a second OpenSSL, and a login to a known host shows no fingerprint.
    import hashlib  # noqa: PLC0415  (start-up time: 4 ms)

    return hashlib.new(hash_name, blob, usedforsecurity=False).digest()


def _sha256() -> Any:
    """The interpreter's own, where it has one: hashlib would load OpenSSL's."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # noqa: PLC0415  (3.12 on)
    except ImportError:
        from _sha256 import sha256  # type: ignore[import-not-found]  # noqa: PLC0415
    return sha256


def fingerprint(blob: bytes, hash_name: str) -> str:
    """``SHA256:`` and base64 without padding, or ``MD5:`` and pairs of hex digits."""
    raw = digest(blob, hash_name)
    if hash_name == "md5":
        return "MD5:" + raw.hex(":")
    encoded = binascii.b2a_base64(raw, newline=False).decode("ascii")
    return f"{hash_name.upper()}:{encoded.rstrip('=')}"


def bubble_babble(raw: bytes) -> str:
    """A digest as words one can say, with a checksum running through them (by Antti Huima)."""
    checksum = 1
    words = ["x"]
    for at in range(0, len(raw) - 1, 2):
        first, second = raw[at], raw[at + 1]
        words += [
            _VOWELS[((first >> 6) + checksum) % 6],
            _CONSONANTS[(first >> 2) & 15],
            _VOWELS[((first & 3) + checksum // 6) % 6],
            _CONSONANTS[second >> 4],
            "-",
            _CONSONANTS[second & 15],
        ]
        checksum = (checksum * 5 + first * 7 + second) % 36
    if len(raw) % 2:
        last = raw[-1]
        words += [
            _VOWELS[((last >> 6) + checksum) % 6],
            _CONSONANTS[(last >> 2) & 15],
            _VOWELS[((last & 3) + checksum // 6) % 6],
        ]
    else:
        words += [_VOWELS[checksum % 6], "x", _VOWELS[checksum // 6]]
    return "".join([*words, "x"])
