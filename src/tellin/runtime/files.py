# SPDX-License-Identifier: MIT
"""Files: bounded reads, atomic writes, updates that lose no line, and who else may touch them."""

# pathlib would be half of the start-up time of a program that needs a file or two.
# ruff: noqa: PTH102, PTH105, PTH108, PTH116, PTH118, PTH120

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tellin.errors import ConfigError, TimedOut

LONGEST_FILE: Final = 16 * 1024 * 1024
"""Enough for a hundred thousand keys; what is longer is not a file of ours (case 317)."""

_LOCK_SECONDS: Final = 10.0
_LOCK_PAUSE: Final = 0.01

_NULL_DEVICE: Final = os.makedev(1, 3)

# Where the directory takes no new file, or the file is a mount of its own, a rename cannot be had.
_NO_RENAME: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV, errno.ENOTSUP}
)
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})

Check = Callable[[os.stat_result], None]


# --- reading -------------------------------------------------------------------------------------


def read_file(
    path: str, *, limit: int = LONGEST_FILE, pipes: bool = False, check: Check | None = None
) -> bytes:
    """The bytes of a regular file; /dev/null is empty, and with ``pipes`` a pipe is read to its end.

    ``check`` sees the status of what has been opened, so nobody can swap the file in between.
    Raises OSError for what cannot be opened and ConfigError for what is refused.
    """
    # Without O_NONBLOCK, opening a FIFO that somebody left there would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if check is not None:
            check(status)
        if _is_null(status):
            return b""
        if stat.S_ISFIFO(status.st_mode) and pipes:
            os.set_blocking(descriptor, True)
        elif not stat.S_ISREG(status.st_mode):
            raise ConfigError("not a regular file", file=path)
        return _read_all(descriptor, path, limit)
    finally:
        os.close(descriptor)


def read_text(
    path: str, *, limit: int = LONGEST_FILE, pipes: bool = False, check: Check | None = None
) -> str:
    """As ``read_file``; bytes that are not UTF-8 come as surrogates and go back as they were."""
    return as_text(read_file(path, limit=limit, pipes=pipes, check=check))


def as_text(data: bytes) -> str:
    """Bytes as the text that the parsers take."""
    return data.decode("utf-8", "surrogateescape")


def as_bytes(text: str) -> bytes:
    """The bytes that ``as_text`` read."""
    return text.encode("utf-8", "surrogateescape")


def _is_null(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE


def _read_all(descriptor: int, path: str, limit: int) -> bytes:
    """Everything there is; the size that the status names is not trusted: a file may grow."""
    pieces: list[bytes] = []
    left = limit + 1
    while left:
        piece = os.read(descriptor, min(left, 1 << 20))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        left -= len(piece)
    raise ConfigError(f"longer than {limit} bytes", file=path)


# --- writing -------------------------------------------------------------------------------------


def write_file(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file, or make it with ``mode``: a reader or a crash sees the old or the new, whole.

    Owner and mode of an existing file stay; a symbolic link is followed, not replaced. What is
    not a regular file is refused, save /dev/null, which takes everything.
    """
    target = os.path.realpath(path)
    status = _status(target)
    if status is not None and _is_null(status):
        return
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise ConfigError("not a regular file", file=path)
    directory = os.path.dirname(target)
    temporary = os.path.join(directory, f".tellin-{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            _write_all(descriptor, data)
            _take_after(descriptor, status, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(directory)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _take_after(descriptor: int, status: os.stat_result | None, mode: int) -> None:
    """Give the new file the owner and mode of the old one, as far as we may."""
    if status is None:
        os.fchmod(descriptor, mode)
        return
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        # Who may not give files away keeps them; the mode below is no wider than before.
        with suppress(PermissionError):
            os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _sync_directory(directory: str) -> None:
    """Make a rename last; not every file system can, and then it lasts as long as it lasts."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- changing ------------------------------------------------------------------------------------


def update_file(
    path: str,
    change: Callable[[bytes], bytes],
    *,
    mode: int = 0o600,
    limit: int = LONGEST_FILE,
) -> bool:
    """Read, ``change`` and replace a file under a lock, and say whether anything was written.

    A missing file begins empty. Processes that all come this way wait for each other and lose
    nothing (case 313); killed at any moment, one leaves the old or the new content. Raises
    TimedOut if the lock is not to be had.
    """
    target = os.path.realpath(path)
    status = _status(target)
    if status is not None and _is_null(status):
        return False
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise ConfigError("not a regular file", file=path)
    with _locked(target, mode) as descriptor:
        old = _read_all(descriptor, path, limit)
        new = change(old)
        if new == old:
            return False
        try:
            write_file(target, new, mode=mode)
        except OSError as problem:
            if problem.errno not in _NO_RENAME or not new.startswith(old):
                raise
            _append_in_place(target, len(old), new[len(old) :])
        return True


def update_text(path: str, change: Callable[[str], str], *, mode: int = 0o600) -> bool:
    """As ``update_file`` for what changes text; bytes that are not UTF-8 survive."""
    return update_file(path, lambda old: as_bytes(change(as_text(old))), mode=mode)


def append_line(path: str, line: str, *, mode: int = 0o600) -> None:
    """Add one line (given without its end); a last line that lacks its end gets it first."""
    if "\n" in line or "\r" in line:
        raise ConfigError("a line break inside a line", file=path)

    def added(old: bytes) -> bytes:
        return old + (b"\n" if old and not old.endswith(b"\n") else b"") + as_bytes(line) + b"\n"

    update_file(path, added, mode=mode)


@contextmanager
def _locked(target: str, mode: int) -> Iterator[int]:
    """An open descriptor of the file, locked, and sure to be the one that has this name now.

    Whoever replaces the file renames a new one into its place, so one that waited may hold the
    lock of a file that has gone: then it begins again.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        flags = os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, mode)
        try:
            _lock(descriptor, target, deadline)
            now, ours = _status(target), os.fstat(descriptor)
            if now is not None and os.path.samestat(now, ours):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, target: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"{target} is locked by another process",
                    hint=f"see who holds it: fuser {target}",
                ) from None
            time.sleep(_LOCK_PAUSE)
        except OSError as problem:
            if problem.errno not in _NO_LOCKS:
                raise
            return
        else:
            return


def _append_in_place(target: str, size: int, data: bytes) -> None:
    """Write behind the end of a file that cannot be replaced; all of it, or none."""
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            _write_all(descriptor, data)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(path: str) -> None:
    """Make a directory for its owner alone, such as ~/.ssh, unless it is there."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)


# --- who else may touch it -----------------------------------------------------------------------


def exposed_mode(status: os.stat_result, *, uid: int | None = None) -> int | None:
    """The permission bits of a private key that others could read, or None if it is safe.

    As in OpenSSH, only a file that is ours is judged: root reading another's key is no leak.
    """
    owner = os.getuid() if uid is None else uid
    mode = stat.S_IMODE(status.st_mode)
    return mode if status.st_uid == owner and mode & 0o077 else None


def is_guarded(status: os.stat_result, *, uid: int | None = None) -> bool:
    """Whether only its owner (``uid`` or root) may write a file; a wider one steers our programs."""
    owner = os.getuid() if uid is None else uid
    return status.st_uid in {0, owner} and not status.st_mode & 0o022


def strict_modes_fault(path: str, status: os.stat_result, *, uid: int, home: str) -> str:
    """What StrictModes holds against a file, as the log says it, or an empty text.

    The file must be regular; it and every directory above it, up to the home directory or the
    root, must belong to ``uid`` or root and be writable by no one else. ``status`` is that of the
    opened file.
    """
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a regular file"
    if not is_guarded(status, uid=uid):
        return f"bad ownership or modes for file {path}"
    directory = os.path.dirname(os.path.realpath(path))
    top = os.path.realpath(home)
    while True:
        found = _status(directory)
        if found is None or not is_guarded(found, uid=uid):
            return f"bad ownership or modes for directory {directory}"
        if directory in {top, "/"}:
            return ""
        directory = os.path.dirname(directory)
