# SPDX-License-Identifier: MIT
"""How a session's function says how it went, as clients are told it (RFC 4254 section 6.10)."""

from typing import Final

from tellin.connection.requests import ExitStatus
from tellin.errors import UsageError

LARGEST_STATUS: Final = 0xFFFFFFFF


def exit_status(status: object) -> ExitStatus:
    """A function's word on how it went; raises UsageError for what no client could be told."""
    if not isinstance(status, int):
        raise UsageError(
            f"{type(status).__name__} is no exit status",
            hint="return a number, or nothing for 0",
        )
    # What would be cut down to 0 must not pass for success.
    if not -128 <= status <= LARGEST_STATUS:
        raise UsageError(f"{status} is no exit status", hint="0 to 255 are what programs return")
    return ExitStatus(status & 0xFF if status < 0 else status)
