# SPDX-License-Identifier: MIT
"""That a tunnel runs once: two of the same would take each other's ports on the server, turn by turn."""

import fcntl
import hashlib
import os
from contextlib import suppress
from typing import Final

from tellin.errors import UsageError
from tellin.programs.tunnels.plan import Plan
from tellin.programs.tunnels.status import own_directory

_PREFIX: Final = "claim."
_LONGEST_NUMBER: Final = 20
# A file is made again only where its last owner ends at that moment.
_TRIES: Final = 16


class Claim:
    """A locked file in the directory of the status sockets, for as long as this process has it.

    The lock goes with the process, however that ends: what a killed one has left behind claims
    nothing. Where there is no directory of our own, nothing is claimed, and nobody is told.
    """

    def __init__(self, plan: Plan) -> None:
        """Claim it; raises UsageError where another process has."""
        self._descriptor = -1
        self._path = ""
        directory = own_directory()
        if directory is None:
            return
        path = str(directory / f"{_PREFIX}{_fingerprint(plan)}")
        for _ in range(_TRIES):
            try:
                self._descriptor = _lock(path)
            except BlockingIOError:
                raise UsageError(
                    f"it runs already, in process {_owner(path)}",
                    hint="tellin tunnel --status shows what runs",
                ) from None
            except OSError:
                # A disk that is full is no reason to be without a tunnel.
                return
            if self._descriptor >= 0:
                self._path = path
                return

    def release(self) -> None:
        """Somebody else may begin it; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # While we have the lock: whoever waits for it looks whether the file is still this one.
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - made by this name
            os.close(descriptor)


def _lock(path: str) -> int:
    """A descriptor that has the lock; -1 where its file has been taken away meanwhile."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
            kept, descriptor = descriptor, -1
            return kept
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return -1


def _owner(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as it was made
            said = file.read(_LONGEST_NUMBER).strip()
    except OSError:
        said = b""
    return said.decode() if said.isdigit() else "unknown"


def _fingerprint(plan: Plan) -> str:
    """The same for what leads the same ports to the same server, and for nothing else."""
    config = plan.config
    words = [config.host, str(config.port), config.user or ""]
    words += sorted(f"here {one.listening} {one.leading}" for one in plan.here)
    words += sorted(f"there {one.listening} {one.leading}" for one in plan.there)
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:32]
