# SPDX-License-Identifier: MIT
"""Keys: public and private, on the wire and in files, certificates, signatures of files, revocations."""

# Type checkers take this for true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from tellin.client.authentication.agents import Agent as Agent
    from tellin.config.authorized_keys import AuthorizedKeys as AuthorizedKeys
    from tellin.config.known_hosts import KnownHosts as KnownHosts
    from tellin.keys.certificates import Certificate as Certificate
    from tellin.keys.certificates import CertificateRole as CertificateRole
    from tellin.keys.certificates import load_certificate as load_certificate
    from tellin.keys.file_signatures import FileSignature as FileSignature
    from tellin.keys.file_signatures import sign as sign
    from tellin.keys.file_signatures import verify as verify
    from tellin.keys.formats import load_private_key as load_private_key
    from tellin.keys.formats import load_public_key as load_public_key
    from tellin.keys.pictures import randomart as randomart
    from tellin.keys.private import PrivateKey as PrivateKey
    from tellin.keys.private import Signer as Signer
    from tellin.keys.public import PublicKey as PublicKey
    from tellin.keys.revocation import RevocationList as RevocationList
    from tellin.keys.revocation import load_revocations as load_revocations

# Each is loaded when it is first asked for: whoever compares two blobs waits for no file format.
# What is about keys and lives on other floors has its name here all the same.
_HOMES = {
    "tellin.client.authentication.agents": ("Agent",),
    "tellin.config.authorized_keys": ("AuthorizedKeys",),
    "tellin.config.known_hosts": ("KnownHosts",),
    "tellin.keys.certificates": ("Certificate", "CertificateRole", "load_certificate"),
    "tellin.keys.file_signatures": ("FileSignature", "sign", "verify"),
    "tellin.keys.formats": ("load_private_key", "load_public_key"),
    "tellin.keys.pictures": ("randomart",),
    "tellin.keys.private": ("PrivateKey", "Signer"),
    "tellin.keys.public": ("PublicKey",),
    "tellin.keys.revocation": ("RevocationList", "load_revocations"),
}

__all__ = [
    "Agent",
    "AuthorizedKeys",
    "Certificate",
    "CertificateRole",
    "FileSignature",
    "KnownHosts",
    "PrivateKey",
    "PublicKey",
    "RevocationList",
    "Signer",
    "load_certificate",
    "load_private_key",
    "load_public_key",
    "load_revocations",
    "randomart",
    "sign",
    "verify",
]


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415  (start-up time)

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'tellin.keys' has no attribute {name!r}")
