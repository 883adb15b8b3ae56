# SPDX-License-Identifier: MIT
"""ssh-keygen's records for the Domain Name System: fingerprints of host keys (RFC 4255)."""

# pathlib: see keygen_files.
# ruff: noqa: PTH110

import os
from collections.abc import Iterator
from typing import Final

from tellin.errors import KeyFileError
from tellin.keys import PublicKey
from tellin.keys.certificates import Certificate
from tellin.keys.fingerprints import SSHFP_ALGORITHMS, SSHFP_HASHES, digest
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import must_exist, quoted
from tellin.programs.keygen.settings import FATAL, Settings

_HOST_KEYS: Final = ("rsa", "ecdsa", "ed25519")


def run(settings: Settings) -> int:
    """The records of a host: of the key of -f, or of this machine's host keys."""
    name = settings.host or ""
    if settings.file is not None:
        must_exist(settings.file)
        paths = [settings.file]
    else:
        paths = [f"/etc/ssh/ssh_host_{kind}_key.pub" for kind in _HOST_KEYS]
        paths = [path for path in paths if os.path.exists(path)]
        if not paths:
            raise Failure("no keys found.", status=FATAL)
    for path in paths:
        for line in _records(name, _key(path), generic=settings.generic):
            print(line)
    return 0


def _key(path: str) -> PublicKey | Certificate:
    try:
        return keygen_files.find_public_or_certificate(path)
    except (OSError, KeyFileError) as error:
        # OpenSSH looks for a .pub beside a file that is no key, and then says so.
        why = error.strerror if isinstance(error, OSError) else "No such file or directory"
        raise Failure(
            f"Failed to read v2 public key from {quoted(path)}: {why}", status=FATAL
        ) from None


def _records(name: str, key: PublicKey | Certificate, *, generic: bool) -> Iterator[str]:
    algorithm = SSHFP_ALGORITHMS.get(key.kind)
    if algorithm is None:
        # No failure to OpenSSH, and so none to scripts.
        say_error("export_dns_rr: unsupported algorithm and/or digest_type")
        return
    for hash_name, number in SSHFP_HASHES.items():
        value = digest(key.blob, hash_name)
        if generic:
            # RFC 3597: for software that knows no such records.
            yield (
                f"{visible(name)} IN TYPE44 \\# {len(value) + 2}"
                f" {algorithm:02x} {number:02x} {value.hex()}"
            )
        else:
            yield f"{visible(name)} IN SSHFP {algorithm} {number} {value.hex()}"
