# SPDX-License-Identifier: MIT
"""ChrootDirectory: the directory that is / for a login's process, and what that process must have before."""

import os
import stat
import time
from importlib import import_module
from typing import Final

from tellin.config.tokens import expand, expand_tilde
from tellin.errors import ConfigError, TellinError
from tellin.runtime.journal import Journal
from tellin.runtime.privileges import Account
from tellin.runtime.processes import seal_inherited

_LONGEST: Final = 4096
_OTHERS_WRITE: Final = 0o022
# What a session loads when it first needs it. Inside there is no library to load it from, or one that the
# user may have put there.
_NEEDED_LATER: Final = (
    "ctypes",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "grp",
    "hashlib",
    "hmac",
    "ipaddress",
    "resource",
    "secrets",
    "socket",
    "stat",
    "subprocess",
    "tellin.algorithms.finite_field",
    "tellin.connection.idleness",
    "tellin.server.files.rooted_files",
)


def place_of(directory: str, account: Account) -> str:
    """Where the root of an account's sessions is; raises TellinError if no path comes of it."""
    tokens = {
        "h": lambda: account.home,
        "u": lambda: account.name,
        "U": lambda: str(account.uid),
    }
    try:
        path = expand_tilde(directory, account.home, _home_of)
        path = expand(path, tokens, allowed="huU")
    except ConfigError as error:
        raise TellinError(f"ChrootDirectory: {error}") from error
    if not path.startswith("/"):
        raise TellinError("chroot path does not begin at root")
    if len(os.fsencode(path)) >= _LONGEST:
        raise TellinError("chroot path too long")
    return path


def _home_of(user: str) -> str | None:
    found = Account.named(user)
    return None if found is None else found.home


def check(path: str) -> None:
    """Raise TellinError unless root alone can change what the path leads to, in OpenSSH's words.

    Who can write to a root can make it what programs with set-user-id bits believe: their
    libraries, /etc/passwd. Who can write above it can put another one in its place.
    """
    for end in (*(at + 1 for at, letter in enumerate(path) if letter == "/"), len(path)):
        part = path[:end]
        kind = "" if end == len(path) else "component "
        try:
            status = os.stat(part)  # noqa: PTH116 - each part as it is written
        except OSError as error:
            raise TellinError(f'stat("{part}"): {error.strerror}') from error
        if status.st_uid != 0 or status.st_mode & _OTHERS_WRITE:
            raise TellinError(
                f'bad ownership or modes for chroot directory {kind}"{part}"',
                hint="chown it to root, and chmod go-w, down from /",
            )
        if not stat.S_ISDIR(status.st_mode):
            raise TellinError(f'chroot path {kind}"{part}" is not a directory')


def enter(path: str, journal: Journal) -> None:
    """Make a directory / for this process, which must be root's still; raises TellinError."""
    if os.geteuid() != 0:
        raise TellinError("server lacks privileges to chroot to ChrootDirectory")
    check(path)
    for name in _NEEDED_LATER:
        import_module(name)
    # What stands in /proc and /etc/localtime is looked up now.
    seal_inherited()
    time.tzset()
    try:
        os.chdir(path)
        os.chroot(path)
        os.chdir("/")
    except OSError as error:
        raise TellinError(f'chroot("{path}"): {error.strerror}') from error
    journal.verbose(f'Changed root directory to "{path}"')
