# SPDX-License-Identifier: MIT
"""How somebody logged in, in a file that his sessions can read (ExposeAuthInfo, SSH_USER_AUTH)."""

import os
from binascii import b2a_base64
from collections.abc import Sequence
from contextlib import suppress

from tellin.userauth.questions import Factor


def lines(factors: Sequence[Factor]) -> str:
    """A line for each thing that was shown: the method, and of a key its type and blob."""
    return "".join(f"{_line(factor)}\n" for factor in factors)


def _line(factor: Factor) -> str:
    shown = factor.certificate or factor.key
    if shown is None:
        return factor.method
    blob = b2a_base64(shown.blob, newline=False).decode("ascii")
    return f"{factor.method} {shown.key_type} {blob}"


class LoginRecord:
    """The file, which belongs to whoever this process has become, and is gone with the connection."""

    def __init__(self, factors: Sequence[Factor]) -> None:
        """Raises OSError if it cannot be written."""
        self.path = f"/tmp/sshauth.{os.urandom(8).hex()}"  # noqa: S108 - as OpenSSH; made by O_EXCL
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self.path, flags, 0o600)
        try:
            os.write(file, lines(factors).encode("ascii"))
        finally:
            os.close(file)

    def remove(self) -> None:
        """Nobody needs it any more."""
        with suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - a name that is a text
