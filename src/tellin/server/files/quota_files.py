# SPDX-License-Identifier: MIT
"""A limit for whatever files are served: so many bytes and files, and whoever wants more is told."""

import errno
import os
import threading
from collections.abc import Sequence
from typing import Final

from tellin.sftp.attributes import Attributes
from tellin.sftp.file_system import FileSystem, Listing, OpenFile
from tellin.sftp.messages import OPEN_APPEND, OPEN_CREATE, OPEN_TRUNCATE, Statistics

_UNLIMITED: Final = 1 << 62
_ENTRIES: Final = 100


def _over() -> OSError:
    return OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


class QuotaFiles:
    """``files`` with at most ``most_bytes`` in at most ``most_files`` files, directories and links below ``below``.

    What is there is counted at the beginning (or by ``measure``) and kept count of; sizes are those
    that listings show. What is removed counts until no file is open any more: its room on the disk
    may still be taken. Hard links are refused: the same bytes would go away twice. The object may
    serve several sessions, which then wait for each other wherever a size may change.
    """

    def __init__(
        self,
        files: FileSystem,
        *,
        most_bytes: int | None = None,
        most_files: int | None = None,
        below: str = "/",
    ) -> None:
        self._files = files
        self._most_bytes = _UNLIMITED if most_bytes is None else most_bytes
        self._most_files = _UNLIMITED if most_files is None else most_files
        self._below = os.fsencode(below)
        self._lock = threading.RLock()
        self._bytes = 0
        self._count = 0
        self._open = 0
        self._owed = 0
        self._measured = False

    @property
    def waits(self) -> bool:
        """As those that are limited."""
        return self._files.waits

    @property
    def used(self) -> tuple[int, int]:
        """Bytes and files."""
        with self._lock:
            self._begin()
            return self._bytes, self._count

    def measure(self) -> None:
        """Count anew what there is."""
        with self._lock:
            self._measured = True
            self._bytes = self._count = self._owed = 0
            left = [self._below]
            while left:
                left += self._measure(left.pop())

    def _measure(self, directory: bytes) -> list[bytes]:
        """Count what is in a directory; those in it come back."""
        found = []
        listing = self._files.scan(directory)
        try:
            while entries := listing.entries(_ENTRIES):
                for entry in entries:
                    if entry.filename in {b".", b".."}:
                        continue
                    self._count += 1
                    if entry.attributes.is_directory:
                        found.append(directory.rstrip(b"/") + b"/" + entry.filename)
                    elif not entry.attributes.is_link:
                        self._bytes += entry.attributes.size or 0
        finally:
            listing.close()
        return found

    def _begin(self) -> None:
        if not self._measured:
            self.measure()

    # What files say

    def changed(self, before: int, after: int) -> None:
        """A file has another size."""
        self._bytes += after - before

    def allow(self, count: int, files: int = 0) -> None:
        """Raise OSError if so much more is too much."""
        self._begin()
        if count > 0 and self._bytes + count > self._most_bytes:
            raise _over()
        if files and self._count + files > self._most_files:
            raise _over()

    def closed(self) -> None:
        """One fewer is open; with the last one goes what was removed meanwhile."""
        self._open -= 1
        if not self._open:
            self._bytes -= self._owed
            self._owed = 0

    @property
    def lock(self) -> threading.RLock:
        """Held while a size changes and is counted."""
        return self._lock

    def _size(self, path: bytes, *, follow: bool) -> int | None:
        """How many bytes count for a path; None if nothing is there."""
        try:
            found = self._files.stat(path, follow=follow)
        except FileNotFoundError:
            return None
        counts = not found.is_directory and not found.is_link
        return (found.size or 0) if counts else 0

    def _gone(self, size: int | None) -> None:
        """Something has lost its name."""
        if size is None:
            return
        self._count -= 1
        if self._open:
            self._owed += size
        else:
            self._bytes -= size

    def _make(self) -> None:
        self.allow(0, 1)

    # The files

    def open(self, path: bytes, flags: int, mode: int) -> OpenFile:
        """Open a file; one that is made counts."""
        with self._lock:
            before = self._size(path, follow=True)
            if before is None and flags & OPEN_CREATE:
                self._make()
            file = self._files.open(path, flags, mode)
            if before is None:
                self._begin()
                self._count += 1
            elif flags & OPEN_TRUNCATE:
                self._begin()
                self.changed(before, 0)
            self._open += 1
            return QuotaFile(self, file, append=bool(flags & OPEN_APPEND))

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        """Change it; a size counts."""
        with self._lock:
            before = 0
            if attributes.size is not None:
                before = self._size(path, follow=follow) or 0
                self.allow(attributes.size - before)
            self._files.change(path, attributes, follow=follow)
            if attributes.size is not None:
                self.changed(before, attributes.size)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        with self._lock:
            self._begin()
            before = self._size(path, follow=False)
            self._files.remove(path)
            self._gone(before)

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        with self._lock:
            self._make()
            self._files.make_directory(path, mode)
            self._count += 1

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        with self._lock:
            self._begin()
            self._files.remove_directory(path)
            self._count -= 1

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give another name; what had it is gone."""
        with self._lock:
            self._begin()
            same = self._files.real_path(old, expand=False) == self._files.real_path(
                new, expand=False
            )
            before = self._size(new, follow=False) if replace and not same else None
            self._files.rename(old, new, replace=replace)
            self._gone(before)

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a link."""
        with self._lock:
            self._make()
            self._files.symlink(target, path)
            self._count += 1

    def link(self, old: bytes, new: bytes) -> None:
        """Nothing gets a second name."""
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def statistics(self, path: bytes) -> Statistics:
        """The room that is left of the limit, if that is less."""
        found = self._files.statistics(path)
        with self._lock:
            self._begin()
            fragment = found.fragment_size or found.block_size or 1
            room = max(0, self._most_bytes - self._bytes) // fragment
            files = max(0, self._most_files - self._count)
        return Statistics(
            block_size=found.block_size,
            fragment_size=found.fragment_size,
            blocks=min(found.blocks, self._most_bytes // fragment),
            free_blocks=min(found.free_blocks, room),
            available_blocks=min(found.available_blocks, room),
            files=min(found.files, self._most_files),
            free_files=min(found.free_files, files),
            available_files=min(found.available_files, files),
            file_system=found.file_system,
            flags=found.flags,
            longest_name=found.longest_name,
        )

    # What changes nothing

    def scan(self, path: bytes) -> Listing:
        """Begin to read a directory."""
        return self._files.scan(path)

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return self._files.stat(path, follow=follow)

    def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        return self._files.read_link(path)

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        """The path from the root on."""
        return self._files.real_path(path, expand=expand)

    def home(self, user: bytes) -> bytes:
        """A user's home."""
        return self._files.home(user)

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """The names of users and groups."""
        return self._files.names(uids, gids)


class QuotaFile:
    """An open file whose growth is counted."""

    __slots__ = ("_append", "_file", "_quota", "fill", "stat", "statistics", "sync")

    def __init__(self, quota: QuotaFiles, file: OpenFile, *, append: bool) -> None:
        self._quota = quota
        self._file = file
        self._append = append
        # What changes no size goes straight to the file.
        self.fill = file.fill
        self.stat = file.stat
        self.statistics = file.statistics
        self.sync = file.sync

    def _size(self) -> int:
        return self._file.stat().size or 0

    def write(self, view: memoryview, offset: int) -> None:
        """Write, unless it would grow too large; a hole counts as what it may be filled with."""
        with self._quota.lock:
            before = self._size()
            end = (before if self._append else offset) + len(view)
            self._quota.allow(end - before)
            try:
                self._file.write(view, offset)
            except BaseException:
                # A part of it may be there.
                self._quota.changed(before, self._size())
                raise
            self._quota.changed(before, max(before, end))

    def change(self, attributes: Attributes) -> None:
        """Change it; a size counts."""
        with self._quota.lock:
            before = self._size()
            if attributes.size is not None:
                self._quota.allow(attributes.size - before)
            self._file.change(attributes)
            if attributes.size is not None:
                self._quota.changed(before, attributes.size)

    def copy_from(self, source: OpenFile, start: int, length: int, offset: int) -> None:
        """Copy from another file of the same files, as far as there is room for all of it."""
        assert isinstance(source, QuotaFile)
        with self._quota.lock:
            before = self._size()
            there = max(0, source._size() - start)
            count = min(length, there) if length else there
            end = (before if self._append else offset) + count
            self._quota.allow(end - before)
            try:
                self._file.copy_from(source._file, start, length, offset)
            finally:
                self._quota.changed(before, self._size())

    def close(self) -> None:
        """Close it."""
        with self._quota.lock:
            try:
                self._file.close()
            finally:
                self._quota.closed()
