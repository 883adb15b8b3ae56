# SPDX-License-Identifier: MIT
"""Who signs for ssh-keygen with the key of a file."""

from tellin.keys import PrivateKey, Signer
from tellin.programs.keygen.settings import Settings


def signing(settings: Settings, key: PrivateKey, path: str) -> Signer:
    """What signs with the key of a file: the key itself, or the security key that it is inside."""
    if not key.public.is_on_token:
        return key
    from tellin.programs.keygen import tokens as keygen_tokens

    return keygen_tokens.signer_of(settings, key, path)
