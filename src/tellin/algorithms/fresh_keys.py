# SPDX-License-Identifier: MIT
"""Keys straight from PyCA's compiled part, where that has them under the names of today.

Its public functions first ask what their OpenSSL can do, and that question alone imports half of
the library: 9 ms of a login that takes 60. Where the compiled part lacks a name, they are asked
after all, and say what is wrong.
"""

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey


def _found(kind: str, name: str) -> Callable[..., Any] | None:
    found = getattr(getattr(openssl, kind, None), name, None)
    return found if callable(found) else None


_generate_x25519 = _found("x25519", "generate_key")
_read_x25519 = _found("x25519", "from_public_bytes")
_generate_mlkem768 = _found("mlkem", "generate_mlkem768_key")
_read_mlkem768 = _found("mlkem", "from_mlkem768_public_bytes")
_aes_gcm = _found("aead", "AESGCM")


def aes_gcm(key: bytes) -> Any:
    """AES-GCM under one key."""
    if _aes_gcm is not None:
        return _aes_gcm(key)
    from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415  (start-up time)
        AESGCM,
    )

    return AESGCM(key)


def x25519() -> X25519PrivateKey:
    """A fresh key on Curve25519."""
    if _generate_x25519 is None:
        return X25519PrivateKey.generate()
    key: X25519PrivateKey = _generate_x25519()
    return key


def x25519_public(data: bytes) -> X25519PublicKey:
    """The peer's value on Curve25519; ValueError if it is none."""
    if _read_x25519 is None:
        return X25519PublicKey.from_public_bytes(data)
    key: X25519PublicKey = _read_x25519(data)
    return key


def mlkem768() -> Any:
    """A fresh ML-KEM-768 key; UnsupportedAlgorithm where the library was built without."""
    if _generate_mlkem768 is not None:
        return _generate_mlkem768()
    from cryptography.hazmat.primitives.asymmetric.mlkem import (  # noqa: PLC0415  (start-up time)
        MLKEM768PrivateKey,
    )

    return MLKEM768PrivateKey.generate()


def mlkem768_public(data: bytes) -> Any:
    """The peer's ML-KEM-768 key; ValueError if it is none."""
    if _read_mlkem768 is not None:
        return _read_mlkem768(data)
    from cryptography.hazmat.primitives.asymmetric.mlkem import (  # noqa: PLC0415  (start-up time)
        MLKEM768PublicKey,
    )

    return MLKEM768PublicKey.from_public_bytes(data)
