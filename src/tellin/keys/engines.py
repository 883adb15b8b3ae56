# SPDX-License-Identifier: MIT
"""Which module does the arithmetic of which kind; imported at its first use.

A login with one kind of key never loads the code of another.
"""

from typing import Any, Protocol

from tellin.keys.kinds import Composite, Ecdsa, Ed25519, Kind, SecurityKey
from tellin.wire import Cursor


class Verifier(Protocol):
    """The public half, ready to check signatures."""

    native: Any  # what the cryptography library calls a public key

    def verify(self, signature: bytes, data: bytes, hash_name: str) -> bool:
        """Whether ``signature`` is right; whatever is wrong with it, the answer is False."""
        ...


class Secret(Protocol):
    """The private half."""

    key_type: str
    public_blob: bytes
    native: Any  # what the cryptography library calls a private key

    def sign(self, data: bytes, hash_name: str) -> bytes:
        """The signature, as it stands in a signature blob behind the algorithm's name."""
        ...

    def fields(self) -> bytes:
        """The key's numbers as openssh-key-v1 and the agent protocol carry them, without the type."""
        ...


class Engine(Protocol):
    """The module that does the arithmetic of one kind."""

    def verifier(self, kind: Kind, blob: bytes, /) -> Verifier:
        """The public key of a blob that ``examine`` has passed."""
        ...

    def read_secret(self, kind: Kind, cursor: Cursor, /) -> Secret:
        """Read what ``Secret.fields`` writes; KeyFileError when the numbers do not belong together."""
        ...

    def generate(self, kind: Kind, bits: int, /) -> Secret:
        """A new key."""
        ...

    def public_blob(self, kind: Kind, native: Any, /) -> bytes:
        """The blob of a public key that the library has read from another format."""
        ...

    def adopt(self, kind: Kind, native: Any, /) -> Secret:
        """A key that the library has read from another format; checked as one from ours."""
        ...


def engine_of(kind: Kind) -> Engine:
    """The module for keys of ``kind``."""
    if isinstance(kind, Ed25519):
        from tellin.keys import ed25519  # noqa: PLC0415  (start-up: only the kind in use)

        return ed25519
    if isinstance(kind, Ecdsa):
        from tellin.keys import ecdsa  # noqa: PLC0415  (the same)

        return ecdsa
    if isinstance(kind, SecurityKey):
        from tellin.keys import security_keys  # noqa: PLC0415  (the same)

        return security_keys
    if isinstance(kind, Composite):
        from tellin.keys import composite  # noqa: PLC0415  (the same)

        return composite
    from tellin.keys import rsa  # noqa: PLC0415  (the same)

    return rsa
