# SPDX-License-Identifier: MIT
"""This machine's files for a file server that runs as the user: done directly, and nothing is hidden from him."""

# Paths are bytes, as the client sent them: pathlib takes none.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH114, PTH115, PTH116, PTH118, PTH120, PTH211

import errno
import grp
import os
import pwd
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Final

from tellin.errors import SftpError
from tellin.sftp.attributes import Attributes, within_32_bits
from tellin.sftp.file_system import OpenFile
from tellin.sftp.messages import (
    OPEN_APPEND,
    OPEN_CREATE,
    OPEN_EXCLUSIVE,
    OPEN_READ,
    OPEN_TRUNCATE,
    OPEN_WRITE,
    Entry,
    Statistics,
)
from tellin.sftp.status import StatusCode

_SYSTEM_FLAGS: Final = (
    (OPEN_APPEND, os.O_APPEND),
    (OPEN_CREATE, os.O_CREAT),
    (OPEN_TRUNCATE, os.O_TRUNC),
    (OPEN_EXCLUSIVE, os.O_EXCL),
)
# Where copy_file_range(2) does not go: other file systems on old kernels, files opened to append.
_COPY_BY_HAND: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.ETXTBSY}
)
_NO_HARD_LINKS: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EPERM, errno.EMLINK}
)
_COPY_STEP: Final = 1 << 20
_HALF_A_YEAR: Final = 182 * 24 * 3600
_READ_ONLY: Final = 1
_NO_SET_USER_ID: Final = 2


def attributes_of(status: os.stat_result) -> Attributes:
    """What version 3 can say of a file."""
    return Attributes(
        size=status.st_size,
        uid=status.st_uid,
        gid=status.st_gid,
        permissions=status.st_mode,
        atime=within_32_bits(status.st_atime),
        mtime=within_32_bits(status.st_mtime),
    )


class Names:
    """Names of users and groups, each looked up once."""

    def __init__(self) -> None:
        self._users: dict[int, bytes] = {}
        self._groups: dict[int, bytes] = {}

    def user(self, uid: int) -> bytes:
        """A user's name, or nothing."""
        if uid not in self._users:
            self._users[uid] = b""
            with suppress(KeyError, OverflowError):
                self._users[uid] = os.fsencode(pwd.getpwuid(uid).pw_name)
        return self._users[uid]

    def group(self, gid: int) -> bytes:
        """A group's name, or nothing."""
        if gid not in self._groups:
            self._groups[gid] = b""
            with suppress(KeyError, OverflowError):
                self._groups[gid] = os.fsencode(grp.getgrgid(gid).gr_name)
        return self._groups[gid]


class NoNames(Names):
    """Users and groups are numbers: whose numbers they are is none of a guest's business."""

    def user(self, uid: int) -> bytes:
        """Nobody."""
        return b""

    def group(self, gid: int) -> bytes:
        """Nobody."""
        return b""


def long_name(name: bytes, status: os.stat_result, names: Names, now: float) -> bytes:
    """A line as `ls -l` writes it, in the columns of OpenSSH's server: clients show it, some take it apart."""
    when = time.localtime(status.st_mtime)
    recent = now - _HALF_A_YEAR < status.st_mtime <= now
    shown = time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", when)
    user = names.user(status.st_uid) or b"%d" % status.st_uid
    group = names.group(status.st_gid) or b"%d" % status.st_gid
    return b"%s %3d %-8s %-8s %8d %s %s" % (
        # strmode(3) has a place behind the bits, which is empty here.
        stat.filemode(status.st_mode).encode("ascii") + b" ",
        status.st_nlink,
        user,
        group,
        status.st_size,
        shown.encode("utf-8", "surrogateescape"),
        name,
    )


class LocalFile:
    """An open file."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fill(self, view: memoryview, offset: int) -> int:
        """Read straight into the message."""
        count = os.preadv(self.descriptor, [view], offset)
        while 0 < count < len(view):
            more = os.preadv(self.descriptor, [view[count:]], offset + count)
            if not more:
                break
            count += more
        return count

    def write(self, view: memoryview, offset: int) -> None:
        """Write all: a full disk or a quota is said by the call that writes nothing."""
        done = os.pwrite(self.descriptor, view, offset)
        while done < len(view):
            done += os.pwrite(self.descriptor, view[done:], offset + done)

    def stat(self) -> Attributes:
        """What is known of it."""
        return attributes_of(os.fstat(self.descriptor))

    def change(self, attributes: Attributes) -> None:
        """Change it."""
        change(self.descriptor, attributes, follow=True)

    def sync(self) -> None:
        """Bring it to the disk."""
        os.fsync(self.descriptor)

    def statistics(self) -> Statistics:
        """The room around it."""
        return statistics_of(os.fstatvfs(self.descriptor))

    def copy_from(self, source: OpenFile, start: int, length: int, offset: int) -> None:
        """Copy within the kernel where that is possible."""
        assert isinstance(source, LocalFile)
        if os.path.samestat(os.fstat(source.descriptor), os.fstat(self.descriptor)):
            # R177: under two names it is still one file, and a copy would run after its own end.
            raise SftpError("a copy of a file into itself")
        left = length or (1 << 63) - 1 - max(start, offset)
        kernel = True
        while left > 0:
            step = min(left, _COPY_STEP)
            if kernel:
                try:
                    count = os.copy_file_range(
                        source.descriptor, self.descriptor, step, start, offset
                    )
                except OSError as error:
                    if error.errno not in _COPY_BY_HAND:
                        raise
                    kernel = False
                    continue
            else:
                data = os.pread(source.descriptor, step, start)
                self.write(memoryview(data), offset)
                count = len(data)
            if not count:
                return
            start, offset, left = start + count, offset + count, left - count

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class LocalListing:
    """A directory that is being read, with what is in it at that moment."""

    def __init__(self, path: bytes, names: Names) -> None:
        self._path = path
        self._names = names
        self._scan = os.scandir(path)
        self._entries = self._all()

    def _all(self) -> Iterator[Entry]:
        now = time.time()
        found = ((entry.name, entry.path) for entry in self._scan)
        parents = ((name, os.path.join(self._path, name)) for name in (b".", b".."))
        for name, path in chain(parents, found):
            try:
                status = os.lstat(path)
            except OSError:
                # It was there a moment ago.
                continue
            line = long_name(name, status, self._names, now)
            yield Entry(name, line, attributes_of(status))

    def entries(self, most: int) -> Sequence[Entry]:
        """The next ones."""
        return list(islice(self._entries, most))

    def close(self) -> None:
        """Read no further."""
        self._scan.close()


def change(target: bytes | int, attributes: Attributes, *, follow: bool) -> None:
    """Change what is given of a file, by its path or descriptor."""
    if attributes.size is not None:
        os.truncate(target, attributes.size)
    if attributes.permissions is not None:
        if follow:
            os.chmod(target, attributes.permissions)
        else:
            _change_mode_of_link(target, attributes.permissions)
    if attributes.mtime is not None:
        times = (attributes.atime or 0, attributes.mtime)
        if follow:
            os.utime(target, times)
        else:
            os.utime(target, times, follow_symlinks=False)
    if attributes.uid is not None and attributes.gid is not None:
        if follow:
            os.chown(target, attributes.uid, attributes.gid)
        else:
            os.chown(target, attributes.uid, attributes.gid, follow_symlinks=False)


def _change_mode_of_link(target: bytes | int, mode: int) -> None:
    # Links have no mode of their own here, and what they lead to is not meant.
    if stat.S_ISLNK(os.stat(target, follow_symlinks=False).st_mode):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    os.chmod(target, mode)


def statistics_of(found: os.statvfs_result) -> Statistics:
    """The room in a file system."""
    flags = _READ_ONLY if found.f_flag & os.ST_RDONLY else 0
    flags |= _NO_SET_USER_ID if found.f_flag & os.ST_NOSUID else 0
    return Statistics(
        block_size=found.f_bsize,
        fragment_size=found.f_frsize,
        blocks=found.f_blocks,
        free_blocks=found.f_bfree,
        available_blocks=found.f_bavail,
        files=found.f_files,
        free_files=found.f_ffree,
        available_files=found.f_favail,
        file_system=found.f_fsid,
        flags=flags,
        longest_name=found.f_namemax,
    )


def system_flags(flags: int) -> int:
    """The system's flags for those of OPEN."""
    wanted = os.O_CLOEXEC | os.O_NOCTTY
    if flags & OPEN_WRITE:
        wanted |= os.O_RDWR if flags & OPEN_READ else os.O_WRONLY
    for flag, system in _SYSTEM_FLAGS:
        wanted |= system if flags & flag else 0
    return wanted


def rename_to_free_name(
    old: bytes, new: bytes, source: int | None = None, target: int | None = None
) -> None:
    """Rename to what nothing is called yet; the names may be those in two open directories."""
    if stat.S_ISREG(os.lstat(old, dir_fd=source).st_mode):
        try:
            # Case 241: link(2) fails where something is, with no moment in between.
            os.link(old, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            os.unlink(old, dir_fd=source)
            return
    with suppress(FileNotFoundError):
        os.lstat(new, dir_fd=target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)


class LocalFiles:
    """All files of this machine, with the rights of this process; paths begin in its directory."""

    waits = True

    def __init__(self) -> None:
        self._names = Names()

    def open(self, path: bytes, flags: int, mode: int) -> LocalFile:
        """Open a file."""
        return LocalFile(os.open(path, system_flags(flags), mode))

    def scan(self, path: bytes) -> LocalListing:
        """Begin to read a directory."""
        return LocalListing(path or b"", self._names)

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return attributes_of(os.stat(path, follow_symlinks=follow))

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        """Change it."""
        change(path, attributes, follow=follow)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        os.unlink(path)

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        os.mkdir(path, mode)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give another name. What has it already is replaced only where that was asked for."""
        if replace:
            os.rename(old, new)
        else:
            rename_to_free_name(old, new)

    def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        return os.readlink(path)

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a link."""
        os.symlink(target, path)

    def link(self, old: bytes, new: bytes) -> None:
        """Give another name besides."""
        os.link(old, new, follow_symlinks=False)

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        """The path from the root on; what is not there may be its last part alone."""
        if expand and path.startswith(b"~"):
            user, _, rest = path[1:].partition(b"/")
            path = os.path.join(self.home(user), rest)
        found = os.path.realpath(path)
        os.stat(os.path.dirname(found) + b"/.")
        if os.path.islink(found):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return found

    def home(self, user: bytes) -> bytes:
        """A user's home."""
        try:
            entry = pwd.getpwnam(os.fsdecode(user)) if user else pwd.getpwuid(os.geteuid())
        except KeyError:
            raise SftpError("no such user", status=StatusCode.FAILURE) from None
        return os.fsencode(entry.pw_dir)

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """The names of users and groups."""
        return [self._names.user(uid) for uid in uids], [self._names.group(gid) for gid in gids]

    def statistics(self, path: bytes) -> Statistics:
        """The room around a path."""
        return statistics_of(os.statvfs(path))
