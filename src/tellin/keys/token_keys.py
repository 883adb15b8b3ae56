# SPDX-License-Identifier: MIT
"""Private keys whose private half is inside a security key: what a file tells of them, and new ones."""

from tellin.errors import UsageError
from tellin.keys.private import PrivateKey
from tellin.keys.security_keys import SecurityKeySecret
from tellin.wire import string


def secret_of(private: PrivateKey) -> SecurityKeySecret:
    """Flags and handle of such a key; UsageError for others."""
    secret = private._secret
    if not isinstance(secret, SecurityKeySecret):
        raise UsageError(f"a {private.public.kind} key is inside no security key")
    return secret


def made_inside(
    key_type: str, point: bytes, *, application: bytes, flags: int, handle: bytes
) -> PrivateKey:
    """A key that a security key has just made; KeyFileError if it is none."""
    fields = [point] if "ed25519" in key_type else [b"nistp256", point]
    blob = b"".join(map(string, [key_type.encode("ascii"), *fields, application]))
    return PrivateKey(SecurityKeySecret(blob, flags=flags, handle=handle))


def with_flags(private: PrivateKey, flags: int) -> PrivateKey:
    """The same key, asking for a touch or a PIN as ``flags`` say."""
    secret = secret_of(private)
    made = SecurityKeySecret(secret.public_blob, flags=flags, handle=secret.handle)
    return PrivateKey(made, private.comment)
