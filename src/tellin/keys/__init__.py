# SPDX-License-Identifier: MIT
"""Keys: public and private, on the wire and in files."""

from tellin.keys.formats import load_private_key, load_public_key
from tellin.keys.private import PrivateKey, Signer
from tellin.keys.public import PublicKey
from tellin.keys.randomart import randomart

__all__ = ["PrivateKey", "PublicKey", "Signer", "load_private_key", "load_public_key", "randomart"]
