# SPDX-License-Identifier: MIT
"""Whatever fsspec reaches, for a file server: buckets, archives, other hosts; needs the extra ``tellin[fsspec]``."""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, Final, cast

from tellin.errors import SftpError, UsageError
from tellin.server.files.sftp_files import NoNames, long_name
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

_NO_NAMES: Final = NoNames()
_TIMES: Final = ("mtime", "LastModified", "last_modified", "updated", "created", "date_time")
# As many bytes of a file that is changed in the middle stay in memory; more go to a temporary file.
_IN_MEMORY: Final = 1 << 20
_COPY_STEP: Final = 1 << 20
_LOCAL: Final = frozenset({"file", "local"})


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@contextmanager
def _as_system_error() -> Iterator[None]:
    """Each of fsspec's file systems has errors of its own; a client learns only that it failed."""
    try:
        yield
    except OSError:
        raise
    except NotImplementedError as error:
        raise OSError(errno.ENOSYS, f"not supported: {error}") from error
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def _seconds(info: Mapping[str, Any]) -> float:
    """When it was changed, as far as a file system says so: each in its own field and form."""
    for name in _TIMES:
        found: Any = info.get(name)
        if isinstance(found, int | float):
            return float(found)
        if hasattr(found, "timestamp"):
            return float(found.timestamp())
        if isinstance(found, tuple) and len(found) == 6:
            # A member of a ZIP archive.
            return time.mktime((*found, 0, 0, -1))
    return 0.0


def _mode(info: Mapping[str, Any]) -> int:
    directory = info.get("type") == "directory"
    return stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o644


def _attributes(info: Mapping[str, Any]) -> Attributes:
    seconds = within_32_bits(_seconds(info))
    return Attributes(
        size=int(info.get("size") or 0),
        uid=os.geteuid(),
        gid=os.getegid(),
        permissions=_mode(info),
        atime=seconds,
        mtime=seconds,
    )


class _OpenHere:
    """What all open files have in common."""

    def __init__(self, files: "FsspecFiles", path: str) -> None:
        self._files = files
        self._path = path

    def statistics(self) -> Statistics:
        """Nobody knows how much room there is."""
        raise _error(errno.ENOSYS)

    def write(self, view: memoryview, offset: int) -> None:
        """Not what was opened to be read."""
        raise _error(errno.EBADF)

    def fill(self, view: memoryview, offset: int) -> int:
        """Not what was opened to be written."""
        raise _error(errno.EBADF)

    def sync(self) -> None:
        """What was written is there when it is closed, and not before."""

    def change(self, attributes: Attributes) -> None:
        """No file system here has modes and times to change; clients that keep them are not stopped."""
        if attributes.size is not None:
            raise _error(errno.ENOSYS)

    def copy_from(self, source: OpenFile, start: int, length: int, offset: int) -> None:
        """Through here, piece by piece."""
        left = length or (1 << 62)
        buffer = memoryview(bytearray(min(left, _COPY_STEP)))
        while left > 0:
            count = source.fill(buffer[: min(left, len(buffer))], start)
            if not count:
                return
            self.write(buffer[:count], offset)
            start, offset, left = start + count, offset + count, left - count


class _Reading(_OpenHere):
    def __init__(self, files: "FsspecFiles", path: str) -> None:
        super().__init__(files, path)
        with _as_system_error():
            self._file: BinaryIO = files.remote.open(path, "rb")
        self._at = 0

    def fill(self, view: memoryview, offset: int) -> int:
        with _as_system_error():
            if offset != self._at:
                self._file.seek(offset)
            total = 0
            while total < len(view):
                data = self._file.read(len(view) - total)
                if not data:
                    break
                view[total : total + len(data)] = data
                total += len(data)
        self._at = offset + total
        return total

    def stat(self) -> Attributes:
        return self._files.known(self._path)

    def close(self) -> None:
        with _as_system_error():
            self._file.close()


class _Writing(_OpenHere):
    """A new file: bytes go to where it will be, one behind the other; it is there when it is closed."""

    def __init__(self, files: "FsspecFiles", path: str) -> None:
        super().__init__(files, path)
        with _as_system_error():
            self._file: BinaryIO = files.remote.open(path, "wb")
        self._at = 0
        self._failed = False

    def write(self, view: memoryview, offset: int) -> None:
        if offset != self._at:
            # There is no going back, and no hole.
            raise _error(errno.ESPIPE)
        self._failed = True
        with _as_system_error():
            # Some keep what they are given, and this view is dead when we return.
            self._file.write(bytes(view))
        self._failed = False
        self._at += len(view)

    def stat(self) -> Attributes:
        return Attributes(size=self._at, permissions=stat.S_IFREG | 0o644)

    def close(self) -> None:
        with _as_system_error():
            discard = getattr(self._file, "discard", None)
            if self._failed and discard is not None:
                # R176: half a file is none.
                discard()
            self._file.close()


class _Changing(_OpenHere):
    """A file that is changed in the middle, or read and written: a copy here, put back when it is closed."""

    def __init__(self, files: "FsspecFiles", path: str, *, append: bool) -> None:
        super().__init__(files, path)
        self._append = append
        self._changed = False
        made = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed in close
        self._copy = cast("BinaryIO", made)
        try:
            with _as_system_error(), files.remote.open(path, "rb") as file:
                while data := file.read(_COPY_STEP):
                    self._copy.write(data)
        except FileNotFoundError:
            self._changed = True
        self._size = self._copy.tell()

    def fill(self, view: memoryview, offset: int) -> int:
        self._copy.seek(offset)
        data = self._copy.read(len(view))
        view[: len(data)] = data
        return len(data)

    def write(self, view: memoryview, offset: int) -> None:
        at = self._size if self._append else offset
        if at > self._size:
            # Case 233: a hole would be memory here, and zeros on the way to where the file is.
            raise _error(errno.ESPIPE)
        self._changed = True
        self._copy.seek(at)
        self._copy.write(view)
        self._size = max(self._size, self._copy.tell())

    def stat(self) -> Attributes:
        return Attributes(size=self._size, permissions=stat.S_IFREG | 0o644)

    def change(self, attributes: Attributes) -> None:
        if attributes.size is not None:
            if attributes.size > self._size:
                raise _error(errno.ESPIPE)
            self._changed = True
            self._copy.truncate(attributes.size)
            self._size = attributes.size

    def sync(self) -> None:
        if self._changed:
            self._copy.seek(0)
            with _as_system_error(), self._files.remote.open(self._path, "wb") as file:
                while data := self._copy.read(_COPY_STEP):
                    file.write(data)
            self._changed = False

    def close(self) -> None:
        try:
            self.sync()
        finally:
            self._copy.close()


class FsspecListing:
    """A directory that is being read."""

    def __init__(self, files: "FsspecFiles", path: str) -> None:
        found: Sequence[Mapping[str, Any]] = ()
        try:
            with _as_system_error():
                found = files.remote.ls(path, detail=True)
        except FileNotFoundError:
            if not files.is_root(path):
                raise
        self._entries = self._all(found, path)

    @staticmethod
    def _all(found: Sequence[Mapping[str, Any]], path: str) -> Iterator[Entry]:
        now = time.time()
        directory: Mapping[str, Any] = {"type": "directory", "size": 0}
        own = path.strip("/")
        both = [(".", directory), ("..", directory)]
        # Buckets list a directory's own marker among what is in it.
        others = [
            (str(one["name"]).rstrip("/").rpartition("/")[2], one)
            for one in found
            if str(one["name"]).strip("/") != own
        ]
        for text, info in (*both, *others):
            name = os.fsencode(text)
            seconds = int(_seconds(info))
            size = int(info.get("size") or 0)
            ids = (1, os.geteuid(), os.getegid(), size, seconds, seconds, seconds)
            line = long_name(name, os.stat_result((_mode(info), 0, 0, *ids)), _NO_NAMES, now)
            yield Entry(name, line, _attributes(info))

    def entries(self, most: int) -> Sequence[Entry]:
        """The next ones."""
        return list(islice(self._entries, most))

    def close(self) -> None:
        """Read no further."""


class FsspecFiles:
    """The files below a URL, or below ``root`` of one of fsspec's file systems.

    A new file is written as it comes, and is there when it is closed; what changes a file in the middle
    works on a copy. There are no links, no modes and no rename of directories. ``options`` are those of
    the file system. A path's ``..`` is worked out in its text, and never passed on; this machine's own
    directories have links, which is what ``RootedFiles`` is for.
    """

    waits = True

    def __init__(
        self, url: Any, *, root: str = "", options: Mapping[str, Any] | None = None
    ) -> None:
        try:
            # Imported here: it comes with an extra.
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                "fsspec is not installed", hint="pip install 'tellin[fsspec]'"
            ) from error
        self.remote: Any = url
        self._root = root.rstrip("/")
        if isinstance(url, str):
            with _as_system_error():
                self.remote, found = url_to_fs(url, **(options or {}))
            self._root = "/".join(
                part for part in (str(found).rstrip("/"), root.strip("/")) if part
            )
        kinds = self.remote.protocol
        if _LOCAL & {*((kinds,) if isinstance(kinds, str) else kinds)}:
            # R179: fsspec follows the links in it to wherever they lead.
            raise UsageError("a directory of this machine", hint="RootedFiles serves those")

    def _inside(self, path: bytes) -> str:
        """Where a client's path is: below the root, whatever is in it (R179)."""
        if not path:
            raise _error(errno.ENOENT)
        plain = os.fsdecode(self._plain(path))
        # What begins nowhere, as an archive, has no ``/`` at its beginning.
        return self._root + plain if self._root else plain[1:]

    @staticmethod
    def _plain(path: bytes) -> bytes:
        parts: list[bytes] = []
        for part in path.split(b"/"):
            if part == b"..":
                del parts[-1:]
            elif part not in {b"", b"."}:
                parts.append(part)
        return b"/" + b"/".join(parts) if parts else b""

    def is_root(self, path: str) -> bool:
        """Whether it is all that is served: many do not have that as long as nothing is in it."""
        return path == self._root

    def _info(self, path: str) -> Mapping[str, Any]:
        if self.is_root(path):
            return {"type": "directory", "size": 0}
        with _as_system_error():
            return cast("Mapping[str, Any]", self.remote.info(path))

    def known(self, path: str) -> Attributes:
        """What is known of a place."""
        return _attributes(self._info(path))

    def _is_there(self, path: str) -> bool:
        try:
            self._info(path)
        except FileNotFoundError:
            return False
        return True

    def _file(self, path: str) -> None:
        """Raise unless there is a file."""
        if self._info(path).get("type") == "directory":
            raise _error(errno.EISDIR)

    def open(self, path: bytes, flags: int, mode: int) -> OpenFile:
        """Open a file."""
        where = self._inside(path)
        there = self._is_there(where)
        if there:
            self._file(where)
            if flags & OPEN_CREATE and flags & OPEN_EXCLUSIVE:
                raise _error(errno.EEXIST)
        elif not flags & OPEN_CREATE:
            raise _error(errno.ENOENT)
        if not flags & OPEN_WRITE and there and not flags & OPEN_TRUNCATE:
            return _Reading(self, where)
        whole = not there or flags & OPEN_TRUNCATE
        if whole:
            self._parent(where)
            if not flags & (OPEN_READ | OPEN_APPEND):
                return _Writing(self, where)
            with _as_system_error():
                self.remote.pipe_file(where, b"")
        return _Changing(self, where, append=bool(flags & OPEN_APPEND))

    def _parent(self, where: str) -> None:
        """Raise unless something may be put there; not all that fsspec reaches would say so."""
        above = where.rpartition("/")[0]
        if self._info(above).get("type") != "directory":
            raise _error(errno.ENOTDIR)

    def scan(self, path: bytes) -> FsspecListing:
        """Begin to read a directory."""
        where = self._inside(path)
        if self._info(where).get("type") != "directory":
            raise _error(errno.ENOTDIR)
        return FsspecListing(self, where)

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return self.known(self._inside(path))

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        """Change a size; modes, owners and times are let pass, since there are none."""
        where = self._inside(path)
        self._info(where)
        if attributes.size is not None:
            self._file(where)
            file = _Changing(self, where, append=False)
            try:
                file.change(attributes)
            finally:
                file.close()

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        where = self._inside(path)
        self._file(where)
        with _as_system_error():
            # Not ``rm``, which would take ``*`` in a name for a pattern.
            self.remote.rm_file(where)

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        where = self._inside(path)
        if self._is_there(where):
            raise _error(errno.EEXIST)
        self._parent(where)
        with _as_system_error():
            self.remote.mkdir(where, create_parents=False)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        where = self._inside(path)
        if where == self._root:
            raise _error(errno.EBUSY)
        if self._info(where).get("type") != "directory":
            raise _error(errno.ENOTDIR)
        with _as_system_error():
            if any(
                str(one).strip("/") != where.strip("/") for one in self.remote.ls(where, False)
            ):
                raise _error(errno.ENOTEMPTY)
            self.remote.rmdir(where)

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give a file another name: a copy, and then the old one goes."""
        source, target = self._inside(old), self._inside(new)
        self._file(source)
        if self._is_there(target):
            if not replace:
                raise _error(errno.EEXIST)
            self._file(target)
            if source == target:
                return
        self._parent(target)
        with _as_system_error():
            self.remote.cp_file(source, target)
            self.remote.rm_file(source)

    def read_link(self, path: bytes) -> bytes:
        """Nothing is a link."""
        self._info(self._inside(path))
        raise _error(errno.EINVAL)

    def symlink(self, target: bytes, path: bytes) -> None:
        """There are none."""
        raise _error(errno.ENOSYS)

    def link(self, old: bytes, new: bytes) -> None:
        """There are none."""
        raise _error(errno.ENOSYS)

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        """The path from the root on."""
        if expand and path.startswith(b"~"):
            user, _, rest = path[1:].partition(b"/")
            path = self.home(user) + b"/" + rest
        plain = self._plain(path)
        above = plain.rpartition(b"/")[0]
        if above and self._info(self._inside(above)).get("type") != "directory":
            raise _error(errno.ENOTDIR)
        return plain or b"/"

    def home(self, user: bytes) -> bytes:
        """There is one."""
        if user:
            raise SftpError("no such user")
        return b"/"

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """Nobody has one."""
        return [b""] * len(uids), [b""] * len(gids)

    def statistics(self, path: bytes) -> Statistics:
        """Nobody knows how much room there is."""
        raise _error(errno.ENOSYS)
