# SPDX-License-Identifier: MIT
"""Keys straight from PyCA's compiled part, where that has them under the names of today.

Its public functions first ask what their OpenSSL can do, and that question alone imports half of
the library: 9 ms of a login that takes 60. The modules that hold these functions bring the formats
of key files with them, for another 2 ms. Where the compiled part lacks a name, the public functions
are asked after all, and say what is wrong.
"""

# What is asked only where a name is missing is imported there: the others do not wait for it.
# ruff: noqa: PLC0415

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.bindings._rust import openssl


def _found(kind: str, name: str) -> Callable[..., Any] | None:
    found = getattr(getattr(openssl, kind, None), name, None)
    return found if callable(found) else None


_generate_x25519 = _found("x25519", "generate_key")
_read_x25519 = _found("x25519", "from_public_bytes")
_generate_ed25519 = _found("ed25519", "generate_key")
_read_ed25519 = _found("ed25519", "from_private_bytes")
_read_ed25519_public = _found("ed25519", "from_public_bytes")
_generate_mlkem768 = _found("mlkem", "generate_mlkem768_key")
_read_mlkem768 = _found("mlkem", "from_mlkem768_public_bytes")
_aes_gcm = _found("aead", "AESGCM")


def aes_gcm(key: bytes) -> Any:
    """AES-GCM under one key."""
    if _aes_gcm is not None:
        return _aes_gcm(key)
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def x25519() -> Any:
    """A fresh key on Curve25519."""
    if _generate_x25519 is not None:
        return _generate_x25519()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.generate()


def x25519_public(data: bytes) -> Any:
    """The peer's value on Curve25519; ValueError if it is none."""
    if _read_x25519 is not None:
        return _read_x25519(data)
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    return X25519PublicKey.from_public_bytes(data)


def ed25519() -> Any:
    """A fresh Ed25519 key."""
    if _generate_ed25519 is not None:
        return _generate_ed25519()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def ed25519_secret(seed: bytes) -> Any:
    """The Ed25519 key of a seed; ValueError if it is not of 32 bytes."""
    if _read_ed25519 is not None:
        return _read_ed25519(seed)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def ed25519_public(point: bytes) -> Any:
    """What checks the signatures of an Ed25519 key; ValueError if it is none."""
    if _read_ed25519_public is not None:
        return _read_ed25519_public(point)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(point)


def mlkem768() -> Any:
    """A fresh ML-KEM-768 key; UnsupportedAlgorithm where the library was built without."""
    if _generate_mlkem768 is not None:
        return _generate_mlkem768()
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

    return MLKEM768PrivateKey.generate()


def mlkem768_public(data: bytes) -> Any:
    """The peer's ML-KEM-768 key; ValueError if it is none."""
    if _read_mlkem768 is not None:
        return _read_mlkem768(data)
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

    return MLKEM768PublicKey.from_public_bytes(data)
