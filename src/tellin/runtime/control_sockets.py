# SPDX-License-Identifier: MIT
"""The socket by which a connection is shared: made, found, and trusted only where its peer is."""

import _socket
import errno
import os
import stat
from contextlib import suppress
from typing import Final

from tellin.runtime.callers import caller_of
from tellin.runtime.sockets import Socket

LONGEST_PATH: Final = 107  # sockaddr_un holds 108 bytes, the last of which is NUL
_BACKLOG: Final = 64


def is_trusted(uid: int) -> bool:
    """R159: only we ourselves, and root, are let into our connection or handed our descriptors."""
    return uid in {0, os.geteuid()}


def listen_control(path: str) -> Socket:
    """Listen at ``path``, which must not be there: FileExistsError. Nobody else can connect (0600)."""
    # Under a name of its own first: who connects to the real one always finds somebody listening,
    # and a link, unlike a renaming, never takes the place of another master's socket.
    temporary = f"{path}.{os.urandom(8).hex()}"
    if len(os.fsencode(temporary)) > LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    made = Socket(
        _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    )
    before = os.umask(0o177)
    try:
        made.bind(temporary)
        try:
            made.listen(_BACKLOG)
            os.link(temporary, path)
        finally:
            os.unlink(temporary)  # noqa: PTH108 - start-up time
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def connect_control(path: str) -> Socket:
    """Connect to the master at ``path`` and wait for it; OSError says why there is none."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    # Case 337: whoever may put a link there would choose who gets our descriptors.
    if stat.S_ISLNK(os.lstat(path).st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    made = Socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        made.connect(path)
        trusted = is_trusted(caller_of(made))
    except BaseException:
        made.close()
        raise
    if not trusted:
        made.close()
        raise PermissionError(errno.EPERM, "it belongs to somebody else")
    return made


def remove_control(path: str) -> None:
    """Remove a socket nobody listens at; what is no socket stays (case 337)."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108 - start-up time
