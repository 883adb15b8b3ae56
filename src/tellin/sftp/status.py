# SPDX-License-Identifier: MIT
"""How a request ended: the codes of version 3, and what becomes of an error of the system's."""

import errno
from enum import IntEnum
from typing import Final

from tellin.errors import SftpError
from tellin.userauth.text import escape_text, show_undecoded

_MOST_TEXT: Final = 1024


class StatusCode(IntEnum):
    """The codes of a STATUS (draft-ietf-secsh-filexfer-02 section 7)."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    OP_UNSUPPORTED = 8


# What a code is called on the wire and in the log: the words that OpenSSH's server has for it.
TEXTS: Final = (
    "Success",
    "End of file",
    "No such file",
    "Permission denied",
    "Failure",
    "Bad message",
    "No connection",
    "Connection lost",
    "Operation unsupported",
)

# As OpenSSH's server has them: clients have learnt to read these.
_OF_ERRNO: Final = {
    errno.ENOENT: StatusCode.NO_SUCH_FILE,
    errno.ENOTDIR: StatusCode.NO_SUCH_FILE,
    errno.EBADF: StatusCode.NO_SUCH_FILE,
    errno.ELOOP: StatusCode.NO_SUCH_FILE,
    errno.EPERM: StatusCode.PERMISSION_DENIED,
    errno.EACCES: StatusCode.PERMISSION_DENIED,
    errno.EFAULT: StatusCode.PERMISSION_DENIED,
    errno.ENAMETOOLONG: StatusCode.BAD_MESSAGE,
    errno.EINVAL: StatusCode.BAD_MESSAGE,
    errno.ENOSYS: StatusCode.OP_UNSUPPORTED,
}


_OF_CLASS: Final[dict[type[OSError], int]] = {
    FileNotFoundError: errno.ENOENT,
    NotADirectoryError: errno.ENOTDIR,
    PermissionError: errno.EACCES,
}

# What version 3 has only one code for, and the user can do something about.
_REASONS: Final = {
    errno.EDQUOT: "Quota exceeded",
    errno.ENOSPC: "No space left on device",
    errno.EROFS: "Read-only file system",
}


def reason_of(error: OSError) -> str:
    """What a client is told besides the code; nothing where the code says it."""
    return _REASONS.get(error.errno or 0, "")


def status_of(error: OSError) -> int:
    """The code that tells a client of an error."""
    if isinstance(error, SftpError):
        return error.status
    number = error.errno
    if number is None:
        # Not the system's: FileNotFoundError("...") of a program has no number.
        number = next((one for kind, one in _OF_CLASS.items() if isinstance(error, kind)), 0)
    return _OF_ERRNO.get(number, StatusCode.FAILURE)


def refusal(status: int, message: bytes, *, what: str, path: bytes | None) -> SftpError:
    """The error for what a server has refused; its own words are bounded, and safe to show."""
    known = TEXTS[status] if status < len(TEXTS) else f"status {status}"
    said = message[:_MOST_TEXT].decode("utf-8", "replace") or known
    name = None if path is None else path.decode("utf-8", "surrogateescape")
    where = "" if name is None else f" {escape_text(show_undecoded(name))}"
    return SftpError.of(status, f"{what}{where}: {escape_text(said)}", filename=name)
