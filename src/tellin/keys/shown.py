# SPDX-License-Identifier: MIT
"""What is shown of a key, whether it is the key itself or a certificate for it."""

from typing import Protocol


class Shown(Protocol):
    """What the other side is shown of a key: its public half, or a certificate for it."""

    @property
    def blob(self) -> bytes:
        """As it stands on the wire."""

    @property
    def key_type(self) -> str:
        """The type's name on the wire."""

    @property
    def kind(self) -> str:
        """The type's name in messages."""

    @property
    def bits(self) -> int:
        """The size of the key."""

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        """The names under which it can be shown together with a signature, best first."""

    def fingerprint(self, hash_name: str = "sha256") -> str:
        """That of the key."""
