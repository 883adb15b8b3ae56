# SPDX-License-Identifier: MIT
"""Keys: public and private, on the wire and in files, certificates, signatures of files, revocations."""

# Type checkers take this for true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from tellin.keys.certificates import Certificate as Certificate
    from tellin.keys.certificates import CertificateRole as CertificateRole
    from tellin.keys.certificates import load_certificate as load_certificate
    from tellin.keys.file_signatures import FileSignature as FileSignature
    from tellin.keys.formats import load_private_key as load_private_key
    from tellin.keys.formats import load_public_key as load_public_key
    from tellin.keys.pictures import randomart as randomart
    from tellin.keys.private import PrivateKey as PrivateKey
    from tellin.keys.private import Signer as Signer
    from tellin.keys.public import PublicKey as PublicKey
    from tellin.keys.revocation import RevocationList as RevocationList
    from tellin.keys.revocation import load_revocations as load_revocations

# Each is loaded when it is first asked for: whoever compares two blobs waits for no file format.
_HOMES = {
    "tellin.keys.certificates": ("Certificate", "CertificateRole", "load_certificate"),
    "tellin.keys.file_signatures": ("FileSignature",),
    "tellin.keys.formats": ("load_private_key", "load_public_key"),
    "tellin.keys.pictures": ("randomart",),
    "tellin.keys.private": ("PrivateKey", "Signer"),
    "tellin.keys.public": ("PublicKey",),
    "tellin.keys.revocation": ("RevocationList", "load_revocations"),
}

__all__ = [
    "Certificate",
    "CertificateRole",
    "FileSignature",
    "PrivateKey",
    "PublicKey",
    "RevocationList",
    "Signer",
    "load_certificate",
    "load_private_key",
    "load_public_key",
    "load_revocations",
    "randomart",
]


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415  (start-up time)

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'tellin.keys' has no attribute {name!r}")
