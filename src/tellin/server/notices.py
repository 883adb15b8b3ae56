# SPDX-License-Identifier: MIT
"""What a session is told before its command, or in its place: /etc/motd, /etc/nologin, a password that ran out."""

# The names are those of other programs' files, as they have them.
# ruff: noqa: PTH110, PTH118

import os
import stat
from typing import Final

from tellin.runtime.privileges import Account

MOTD: Final = "/etc/motd"
NO_LOGIN: Final = "/etc/nologin"
NO_LOGIN_STATUS: Final = 254
CHANGER: Final = "/usr/bin/passwd"
EXPIRED: Final = b"WARNING: Your password has expired.\n"
CHANGE_NOW: Final = b"You must change your password now and login again!\n"
FILES_ONLY: Final = b"This service allows sftp connections only.\n"
NO_TERMINAL: Final = b"Password change required but no TTY available.\n"
# A pipe holds this much without a reader.
LONGEST: Final = 65536


def open_greeting(account: Account) -> int:
    """A descriptor of what is shown at an interactive login, or -1: there is none, or it is not wanted."""
    if os.path.exists(os.path.join(account.home, ".hushlogin")):
        return -1
    return _open_file(MOTD)


def closed_to(account: Account) -> bytes | None:
    """What nologin(5) says to everybody but root while the machine is closed; None while it is open."""
    if account.uid == 0:
        return None
    fd = _open_file(NO_LOGIN)
    if fd < 0:
        # One that cannot be read closes the machine all the same.
        return b"" if os.path.exists(NO_LOGIN) else None
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        return file.read(LONGEST)


def to_pipe(text: bytes) -> int:
    """The reading end of a pipe that holds ``text``, cut to what a pipe holds."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(writing, text[:LONGEST])
    finally:
        os.close(writing)
    return reading


def for_terminal(block: bytes) -> bytes:
    """Lines as a terminal wants them that no driver has gone over."""
    return block.replace(b"\n", b"\r\n")


def _open_file(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return -1
