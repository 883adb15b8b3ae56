# SPDX-License-Identifier: MIT
"""One directory of this machine for a file server: nothing outside of it is seen or touched (R179)."""

# Paths are bytes, as the client sent them: pathlib takes none.

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from tellin.errors import SftpError
from tellin.runtime.inside import Root
from tellin.server.files.sftp_files import (
    LocalFile,
    Names,
    NoNames,
    attributes_of,
    change,
    long_name,
    rename_to_free_name,
    statistics_of,
    system_flags,
)
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Entry, Statistics

_DESCRIPTORS: Final = "/proc/self/fd"


class RootedListing:
    """A directory inside that is being read."""

    def __init__(self, root: Root, path: bytes, names: Names) -> None:
        self._root = root
        self._path = path
        self._names = names
        self._directory = root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._scan = os.scandir(self._directory)
        except BaseException:
            os.close(self._directory)
            raise
        self._entries = self._all()

    def _all(self) -> Iterator[Entry]:
        now = time.time()
        yield self._entry(b".", os.fstat(self._directory), now)
        try:
            # The system's own ``..`` of the root is outside.
            above = self._root.open(self._path + b"/..", os.O_PATH)
        except OSError:
            # The directory has gone from where it was.
            pass
        else:
            try:
                yield self._entry(b"..", os.fstat(above), now)
            finally:
                os.close(above)
        for found in self._scan:
            try:
                status = found.stat(follow_symlinks=False)
            except OSError:
                # It was there a moment ago.
                continue
            yield self._entry(os.fsencode(found.name), status, now)

    def _entry(self, name: bytes, status: os.stat_result, now: float) -> Entry:
        return Entry(name, long_name(name, status, self._names, now), attributes_of(status))

    def entries(self, most: int) -> Sequence[Entry]:
        """The next ones."""
        return list(islice(self._entries, most))

    def close(self) -> None:
        """Read no further."""
        self._scan.close()
        os.close(self._directory)


class RootedFiles:
    """The files below one directory, with the rights of this process; for a client it is ``/``.

    Links lead to the place of their name inside, as after chroot(2). Only regular files are opened:
    what waits for another process or does something to a device when it is opened is not served.
    Nobody is told the names of this machine's users. ``start`` is where a client begins.
    """

    waits = True

    def __init__(
        self,
        directory: str | bytes | os.PathLike[str],
        *,
        start: str = "/",
        by_hand: bool = False,
    ) -> None:
        self._root = Root(directory, by_hand=by_hand)
        self._names = NoNames()
        self._start = b"/"
        self._proc = os.path.isdir(_DESCRIPTORS)  # noqa: PTH112
        if start != "/":
            self.enter(start)

    def enter(self, directory: str) -> None:
        """Let clients begin in a directory inside."""
        path = self._from_root(os.fsencode(directory))
        os.close(self._root.open(path, os.O_PATH | os.O_DIRECTORY))
        self._start = self._root.real_path(path)

    def close(self) -> None:
        """Serve no more."""
        self._root.close()

    def _from_root(self, path: bytes) -> bytes:
        if not path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return path if path.startswith(b"/") else self._start + b"/" + path

    def open(self, path: bytes, flags: int, mode: int) -> LocalFile:
        """Open a file."""
        # A FIFO would let us wait for whoever opens its other end.
        wanted = system_flags(flags) | os.O_NONBLOCK
        file = LocalFile(self._root.open(self._from_root(path), wanted, mode))
        kind = os.fstat(file.descriptor).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            file.close()
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return file

    def scan(self, path: bytes) -> RootedListing:
        """Begin to read a directory."""
        return RootedListing(self._root, self._from_root(path), self._names)

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        found = self._held(path, follow=follow)
        try:
            return attributes_of(os.fstat(found))
        finally:
            os.close(found)

    def _held(self, path: bytes, *, follow: bool) -> int:
        return self._root.open(self._from_root(path), os.O_PATH | (0 if follow else os.O_NOFOLLOW))

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        """Change it: the very file that was found, whatever has its name by now."""
        if attributes.size is not None:
            file = self.open(path, _TO_WRITE, 0)
            try:
                file.change(Attributes(size=attributes.size))
            finally:
                file.close()
        others = Attributes(
            uid=attributes.uid,
            gid=attributes.gid,
            permissions=attributes.permissions,
            atime=attributes.atime,
            mtime=attributes.mtime,
        )
        if self._proc:
            found = self._held(path, follow=follow)
        else:
            # Without /proc, as in a bare chroot, only what can be read can be changed.
            found = self._root.open(
                self._from_root(path),
                os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW),
            )
        try:
            # Of a descriptor for a path alone the system changes nothing; by this name it does, and
            # where it is a link the link itself.
            name = os.fsencode(f"{_DESCRIPTORS}/{found}")
            change(name if self._proc else found, others, follow=True)
        finally:
            os.close(found)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        with self._root.parent(self._from_root(path)) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        with self._root.parent(self._from_root(path)) as (directory, name):
            os.mkdir(name, mode, dir_fd=directory)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        with self._root.parent(self._from_root(path)) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give another name."""
        with (
            self._root.parent(self._from_root(old)) as (source, old_name),
            self._root.parent(self._from_root(new)) as (target, new_name),
        ):
            if replace:
                os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)
            else:
                rename_to_free_name(old_name, new_name, source, target)

    def read_link(self, path: bytes) -> bytes:
        """Where a link leads, in the words of whoever made it."""
        with self._root.parent(self._from_root(path)) as (directory, name):
            return os.readlink(name, dir_fd=directory)

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a link."""
        with self._root.parent(self._from_root(path)) as (directory, name):
            os.symlink(target, name, dir_fd=directory)

    def link(self, old: bytes, new: bytes) -> None:
        """Give another name besides."""
        with (
            self._root.parent(self._from_root(old)) as (source, old_name),
            self._root.parent(self._from_root(new)) as (target, new_name),
        ):
            os.link(
                old_name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False
            )

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        """The path from the root on; case 238: what there is outside makes no difference."""
        if expand and path.startswith(b"~"):
            user, _, rest = path[1:].partition(b"/")
            path = self.home(user) + b"/" + rest
        return self._root.real_path(self._from_root(path))

    def home(self, user: bytes) -> bytes:
        """Where a client begins; whether there are other users is not said."""
        if user:
            raise SftpError("no such user")
        return self._start

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """Nobody's."""
        return [b""] * len(uids), [b""] * len(gids)

    def statistics(self, path: bytes) -> Statistics:
        """The room around a path."""
        found = self._held(path, follow=True)
        try:
            return statistics_of(os.fstatvfs(found))
        finally:
            os.close(found)


# OPEN_WRITE, which makes nothing.
_TO_WRITE: Final = 2
