# SPDX-License-Identifier: MIT
"""Key files on disk: read if they are kept well, written so that no half of one is ever seen."""

# pathlib is not imported anywhere in this program: it costs as much start-up time as making a key.
# ruff: noqa: PTH105, PTH108, PTH116

import contextlib
import errno
import os
import stat

from tellin.errors import KeyFileError
from tellin.keys import PublicKey, load_public_key
from tellin.keys.certificates import Certificate, is_certificate_type
from tellin.keys.formats import MOST_BYTES
from tellin.keys.public import words_of
from tellin.programs.command import visible

# What a list of keys, of hosts or of signers may hold: as much as the other programs read of one.
_MOST_LIST_BYTES = 1 << 24
_PIECE = 1 << 20
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})

# What OpenSSH prints, line by line: people search for it.
_BAR = "@" * 59
_UNPROTECTED = f"""\
{_BAR}
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
{_BAR}
Permissions {{mode:04o}} for '{{path}}' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored."""


class Unprotected(KeyFileError):
    """A private key file that others may read or replace; ``warning`` is the box to print."""

    def __init__(self, warning: str) -> None:
        super().__init__("bad permissions")
        self.warning = warning


def read(path: str, *, most: int = _MOST_LIST_BYTES) -> bytes:
    """The bytes of a file, from one opening: a file replaced meanwhile is not read in halves.

    KeyFileError for one of more than ``most``: a list that is cut off says something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read_all(descriptor, most, path)
    finally:
        os.close(descriptor)


def read_standard_input(*, most: int = _MOST_LIST_BYTES) -> bytes:
    """The same of standard input."""
    return _read_all(0, most, "(stdin)")


def read_public(path: str) -> PublicKey:
    """The first public key of a file of lines."""
    for line in read(path).decode("utf-8", "surrogateescape").split("\n"):
        with contextlib.suppress(KeyFileError):
            return PublicKey.from_line(line)
    raise KeyFileError("a file without a public key")


def key_of_line(text: str) -> PublicKey | Certificate:
    """The key or the certificate of a line ``type base64 comment``; raises KeyFileError."""
    if is_certificate_type("".join(words_of(text)[:1])):
        return Certificate.from_line(text)
    return PublicKey.from_line(text)


def find_public_or_certificate(path: str) -> PublicKey | Certificate:
    """As ``find_public``, and what it finds may be a certificate."""
    for candidate in (path, f"{path}.pub"):
        with contextlib.suppress(OSError, KeyFileError):
            for line in read(candidate).decode("utf-8", "surrogateescape").split("\n"):
                with contextlib.suppress(KeyFileError):
                    return key_of_line(line)
    return load_public_key(read(path))


def is_private(path: str) -> bool:
    """Whether a file begins as a private key does; one that is not there does not."""
    try:
        return b"PRIVATE KEY" in read(path).partition(b"\n")[0]
    except (OSError, KeyFileError):
        return False


def find_public(path: str) -> PublicKey:
    """The public key in a file, else in the .pub beside it, else the head of a private key."""
    for candidate in (path, f"{path}.pub"):
        with contextlib.suppress(OSError, KeyFileError):
            return read_public(candidate)
    return load_public_key(read(path))


def _read_all(descriptor: int, most: int, name: str) -> bytes:
    pieces: list[bytes] = []
    left = most + 1
    while piece := os.read(descriptor, min(left, _PIECE)):
        pieces.append(piece)
        left -= len(piece)
        if not left:
            # R189: what is behind would be lost to whoever rewrites the file or is told to revoke it.
            raise KeyFileError(f"{visible(name)}: longer than {most} bytes")
    return b"".join(pieces)


def read_private(path: str) -> bytes:
    """The bytes of a private key file; Unprotected if it is not its owner's alone (case 283)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        user = os.getuid()
        if status.st_uid == user and status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode) & 0o777
            raise Unprotected(_UNPROTECTED.format(mode=mode, path=visible(path)))
        if user != 0 and status.st_uid not in {0, user}:
            raise Unprotected(
                f"'{visible(path)}' belongs to user {status.st_uid}, who could replace it."
            )
        return _read_all(descriptor, MOST_BYTES, path)
    finally:
        os.close(descriptor)


def write(path: str, data: bytes, *, mode: int, replace: bool) -> None:
    """Put a file in place whole or not at all; without ``replace`` FileExistsError if one is there.

    The bytes go into a new file beside it that is ``mode`` from its first moment (R120), and that
    file takes the name when they are on the disk. The owner of a replaced file is kept, and its
    mode as far as that is no wider than ``mode``.
    """
    path = os.path.realpath(path)
    before = _status(path)
    if before is not None and not stat.S_ISREG(before.st_mode):
        # /dev/stdout and the like: there is nothing to protect, and renaming would destroy it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return
    beside = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if before is not None:
                _take_after(descriptor, before, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if replace:
            os.replace(beside, path)
        else:
            _name_new(beside, path, mode)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _name_new(beside: str, path: str, mode: int) -> None:
    """Give a file its name if nobody else has: a link, unlike a rename, replaces nothing."""
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some shares of networks have no links: the name is taken first, by an empty file.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        os.replace(beside, path)
    else:
        os.unlink(beside)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _take_after(descriptor: int, before: os.stat_result, mode: int) -> None:
    # Root changing a user's passphrase must leave the file to the user; others may not give away.
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    # A key written over a file that others may read must not come into the world readable.
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & mode)
