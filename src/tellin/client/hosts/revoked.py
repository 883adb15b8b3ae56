# SPDX-License-Identifier: MIT
"""Files of RevokedHostKeys, read; loaded only where there is one."""

from collections.abc import Iterable

from tellin.errors import HostKeyRejected, TellinError
from tellin.keys.revocation import MOST_BYTES, RevocationList, load_revocations
from tellin.runtime.files import read_file


def revocation_lists(paths: Iterable[str]) -> list[tuple[str, RevocationList]]:
    """Each file's list with its name; HostKeyRejected for one that cannot be read.

    Fails closed: what cannot be read might have listed the key that is shown (case 301).
    """
    found = []
    for path in paths:
        try:
            found.append((path, load_revocations(read_file(path, limit=MOST_BYTES), name=path)))
        except (OSError, TellinError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise HostKeyRejected(
                f"Error checking host key in revoked keys file {path}: {cause}"
            ) from None
    return found
