# SPDX-License-Identifier: MIT
"""Trees of files on this side: what is in them, and putting things into one without being led out of it.

A directory that is filled is held by its descriptor, and what is made in it is made below that
descriptor, by a single name, and through no link: whoever may write to the directory cannot have
the files of a transfer land elsewhere (R175).
"""

# Paths are bytes, as they are: pathlib takes none.
# ruff: noqa: PTH101, PTH102, PTH108, PTH115, PTH116, PTH118

import errno
import os
import stat
from contextlib import suppress
from time import monotonic
from typing import Final

from tellin.errors import UsageError
from tellin.sftp.attributes import Attributes, within_32_bits

# R174: what is privileged elsewhere is not here, unless it was asked for.
PLAIN: Final = 0o777
FULL: Final = 0o7777
_OWNER: Final = 0o700
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def described(status: os.stat_result) -> Attributes:
    """A file here as version 3 can tell of it."""
    return Attributes(
        size=status.st_size,
        uid=status.st_uid,
        gid=status.st_gid,
        permissions=status.st_mode,
        atime=within_32_bits(status.st_atime),
        mtime=within_32_bits(status.st_mtime),
    )


def look(path: bytes, follow: bool) -> Attributes:
    """What is known of a path, or of a link itself."""
    return described(os.stat(path, follow_symlinks=follow))


def find(path: bytes, follow: bool) -> Attributes | None:
    """The same, or nothing where nothing is."""
    try:
        return look(path, follow)
    except FileNotFoundError:
        return None


def contents(path: bytes) -> list[tuple[bytes, Attributes]]:
    """What is in a directory, and of links what is known of themselves."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            # It may be gone since.
            with suppress(FileNotFoundError):
                found.append((entry.name, described(entry.stat(follow_symlinks=False))))
    return found


def _writable(mode: int) -> int:
    """What a file is made with: one that its owner may not write to could not be gone on with."""
    return mode & PLAIN | stat.S_IWUSR


def _single(name: bytes) -> bytes:
    # R172, R173: it comes from the other side, and each of its callers has checked it already.
    if not name or b"/" in name or b"\0" in name or name in {b".", b".."}:
        raise UsageError(f"{name!r} is no name of a file")
    return name


class LocalDirectory:
    """A directory that is filled; what is made in it has a single name, and is reached through no link."""

    __slots__ = ("_created", "descriptor", "path")

    def __init__(self, descriptor: int, path: bytes, *, created: bool) -> None:
        self.descriptor = descriptor
        self.path = path
        self._created = created

    @classmethod
    def at(cls, path: bytes, mode: int) -> "LocalDirectory":
        """One that its user has named: made if it is not there, and a link to one will do."""
        created = False
        try:
            descriptor = os.open(path, _DIRECTORY)
        except FileNotFoundError:
            os.mkdir(path, (mode & PLAIN) | _OWNER)
            created = True
            descriptor = os.open(path, _DIRECTORY)
        return cls(descriptor, path, created=created)

    def enter(self, name: bytes, mode: int) -> "LocalDirectory":
        """A directory in it, which is made if it is not there."""
        created = True
        try:
            os.mkdir(_single(name), (mode & PLAIN) | _OWNER, dir_fd=self.descriptor)
        except FileExistsError:
            created = False
        # R175: it may have become a link in the meantime, and may have been one before.
        descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor)
        return LocalDirectory(descriptor, os.path.join(self.path, name), created=created)

    def create(self, name: bytes, mode: int, *, keep: bool) -> int:
        """A descriptor of a file in it, emptied unless ``keep``."""
        # R175. A pipe in its place would wait for a reader.
        flags = _CREATE | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(_single(name), flags, _writable(mode), dir_fd=self.descriptor)
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not regular:
            os.close(descriptor)
            path = os.path.join(self.path, name)
            raise FileExistsError(errno.EEXIST, "something is there that is no file", path)
        if not keep:
            os.ftruncate(descriptor, 0)
        return descriptor

    def link(self, name: bytes, target: bytes) -> None:
        """A symbolic link in it, in the place of one that is there."""
        try:
            os.symlink(target, _single(name), dir_fd=self.descriptor)
        except FileExistsError:
            if not stat.S_ISLNK(
                os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode
            ):
                raise
            os.unlink(name, dir_fd=self.descriptor)
            os.symlink(target, name, dir_fd=self.descriptor)

    def find(self, name: bytes) -> Attributes | None:
        """What is known of a name in it."""
        try:
            status = os.stat(_single(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return described(status)

    def leave(self, attributes: Attributes, preserve: bool) -> None:
        """It is filled: it gets what the other one has, and is closed."""
        try:
            mode = attributes.mode
            if preserve:
                preserved(self.descriptor, attributes)
            elif self._created and mode is not None and mode & _OWNER != _OWNER:
                # It could not have been filled so.
                now = stat.S_IMODE(os.fstat(self.descriptor).st_mode)
                os.fchmod(self.descriptor, now & (mode | ~_OWNER))
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def preserved(descriptor: int, attributes: Attributes) -> None:
    """Give an open file the permissions and times of another; never its owner (R174)."""
    if attributes.mode is not None:
        os.fchmod(descriptor, attributes.mode & FULL)
    if attributes.mtime is not None:
        os.utime(descriptor, (attributes.atime or 0, attributes.mtime))


def create(place: LocalDirectory | None, name: bytes, mode: int, keep: bool) -> int:
    """A descriptor of a file to fill: in a directory, or by a path that its user has named."""
    if place is not None:
        return place.create(name, mode, keep=keep)
    flags = _CREATE | os.O_NONBLOCK | (0 if keep else os.O_TRUNC)
    descriptor = os.open(name, flags, _writable(mode))
    try:
        _no_pipe(os.fstat(descriptor), name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def close(descriptor: int) -> None:
    """Let go of a file."""
    os.close(descriptor)


def size_of(descriptor: int) -> int:
    """How long an open file is."""
    return os.fstat(descriptor).st_size


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """All of it."""
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


class Filling:
    """What a file gets, one piece behind the other; after one that failed nothing more is written.

    So there is never a gap in it, and its size tells how much of it is there: also to one who goes on
    with it after all of this was killed.
    """

    __slots__ = ("_descriptor", "_failure", "_write")

    def __init__(self, descriptor: int, *, sparse: bool) -> None:
        self._descriptor = descriptor
        self._write = write_sparsely if sparse else write_at
        self._failure: OSError | None = None

    def write(self, view: memoryview, offset: int) -> None:
        """The next piece."""
        if self._failure is not None:
            raise self._failure
        try:
            self._write(self._descriptor, view, offset)
        except OSError as error:
            self._failure = error
            raise


class PromptFilling(Filling):
    """The same where a file takes data at once: to wake a thread for it costs as much as to write it.

    ``prompt`` says whether it does, which is known of disks of this machine, and of them as long as no
    write has taken long.
    """

    __slots__ = ("_near", "_slow_until")

    def __init__(self, descriptor: int, *, sparse: bool) -> None:
        super().__init__(descriptor, sparse=sparse)
        self._near = is_near(os.fstat(descriptor))
        self._slow_until = 0.0

    def prompt(self) -> bool:
        """Whether the next piece may be written on the spot."""
        return self._near and (not self._slow_until or monotonic() > self._slow_until)

    def write_promptly(self, view: memoryview, offset: int) -> None:
        """Write it there, with an eye on the clock."""
        began = monotonic()
        self.write(view, offset)
        now = monotonic()
        if now - began > _SLOW:
            self._slow_until = now + _PAUSE


# A write of so many seconds has waited for a disk, and for so many others do not try that again.
_SLOW: Final = 0.005
_PAUSE: Final = 0.5
_IN_MEMORY: Final = frozenset({b"tmpfs", b"ramfs"})
_MOUNTS: Final = "/proc/self/mountinfo"


def is_near(status: os.stat_result) -> bool:
    """Whether a file is on a disk of this machine, or in its memory: behind no network, and no program."""
    return stat.S_ISREG(status.st_mode) and (
        os.major(status.st_dev) != 0 or is_in_memory(status.st_dev)
    )


def is_in_memory(device: int) -> bool:
    """Whether a file system lives in memory; no call says it but statfs(2), which Python has not."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    try:
        with open(_MOUNTS, "rb") as file:  # noqa: PTH123 - no path of anybody's
            for line in file:
                words = line.split()
                if words[2] == wanted:
                    # proc(5): behind a varying number of fields, a dash, and the kind.
                    return words[words.index(b"-") + 1] in _IN_MEMORY
    except (OSError, IndexError, ValueError):
        # No /proc, or none as we know it: then it is a disk.
        return False
    return False


_ZEROS: Final = bytes(1 << 18)
_ONE_BYTE: Final = bytearray(1)


def write_sparsely(descriptor: int, view: memoryview, offset: int) -> None:
    """All of it but zeros, which a file has anyway where nothing was written."""
    if view[0] or bytes(view) != _ZEROS[: len(view)]:
        write_at(descriptor, view, offset)


def fill(
    place: LocalDirectory | None,
    name: bytes,
    data: bytes | bytearray,
    *,
    mode: int,
    kept: Attributes | None,
    sync: bool,
) -> None:
    """A whole small file, at once."""
    descriptor = create(place, name, mode, keep=False)
    try:
        write_at(descriptor, memoryview(data), 0)
    except BaseException as error:
        path = name if place is None else os.path.join(place.path, name)
        reached = os.fstat(descriptor).st_size
        error.add_note(f"{reached} bytes of {len(data)} are in {os.fsdecode(path)!a}")
        os.close(descriptor)
        raise
    finish(descriptor, None, kept, sync)


def finish(descriptor: int, size: int | None, attributes: Attributes | None, sync: bool) -> None:
    """A file is filled, or is as full as it gets: nothing behind ``size``, and what it is to have; closed."""
    try:
        if size is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, size)
        if attributes is not None:
            preserved(descriptor, attributes)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_pipe(status: os.stat_result, path: bytes) -> None:
    # Who waits for its other end holds up all that is behind him.
    if stat.S_ISFIFO(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe is no file that can be copied", os.fsdecode(path))


# What is sent


def _no_directory(status: os.stat_result, path: bytes) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))


class Lasting:
    """A file once more, and open as long as anybody holds this: what is sent from it waits in a queue."""

    __slots__ = ("_in_memory", "descriptor")

    def __init__(self, descriptor: int, *, in_memory: bool = False) -> None:
        self._in_memory = in_memory
        self.descriptor = os.dup(descriptor)

    def fill(self, view: memoryview, offset: int) -> int:
        """Read into ``view`` what is in memory; 0 where a disk has to be asked, also for an error or the end."""
        try:
            return os.preadv(
                self.descriptor, [view], offset, 0 if self._in_memory else os.RWF_NOWAIT
            )
        except OSError:
            return 0

    def read(self, offset: int, size: int) -> bytes:
        """What is at an offset, as far as it goes."""
        return os.pread(self.descriptor, size, offset)

    def __del__(self) -> None:
        os.close(self.descriptor)


class Opened:
    """A file here that is sent: ``data`` is all of it where it is small, else ``descriptor`` is open."""

    __slots__ = ("_in_memory", "_tells", "attributes", "data", "descriptor", "regular")

    def __init__(self, path: bytes, small: int) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        descriptor = os.open(path, flags)
        self.data: bytes | None = None
        self.descriptor = descriptor
        self._tells = hasattr(os, "RWF_NOWAIT")
        self._in_memory = False
        try:
            status = os.fstat(descriptor)
            _no_directory(status, path)
            _no_pipe(status, path)
            self.attributes = described(status)
            self.regular = stat.S_ISREG(status.st_mode)
            if not self.regular:
                # A device may wait for what comes.
                os.set_blocking(descriptor, True)
            if self.regular and 0 < status.st_size <= small:
                data = os.pread(descriptor, small + 1, 0)
                # One that has grown since is read like any other.
                self.data = data if len(data) <= small else None
        except BaseException:
            os.close(descriptor)
            raise
        if self.data is not None:
            self.close()

    def read(
        self, offset: int, size: int, room: bytearray | None = None
    ) -> tuple[int, bytes | memoryview]:
        """What is at an offset, and the offset; a device gives what comes next.

        ``room`` of the same size is used again: what is fresh has to be cleared first, page by page.
        """
        if not self.regular:
            return offset, os.read(self.descriptor, size)
        room = room or bytearray(size)
        count = os.preadv(self.descriptor, [room], offset)
        return offset, memoryview(room)[:count]

    def read_at_once(
        self, offset: int, size: int, room: bytearray | None = None
    ) -> tuple[int, bytes | memoryview] | None:
        """The same if no disk has to be waited for; None where it must, or the system cannot tell."""
        if not self.regular:
            return None
        if self._in_memory:
            return self.read(offset, size, room)
        if not self._tells:
            return None
        room = room or bytearray(size)
        try:
            count = os.preadv(self.descriptor, [room], offset, os.RWF_NOWAIT)
        except OSError as error:
            # EAGAIN is a page that is not in memory; whatever else it is, an ordinary read says it.
            self._tells = error.errno == errno.EAGAIN
            if error.errno == errno.EOPNOTSUPP:
                self._in_memory = is_in_memory(os.fstat(self.descriptor).st_dev)
            return self.read(offset, size, room) if self._in_memory else None
        if count < size and offset + count < (self.attributes.size or 0):
            # What is in memory ends before the file does.
            return None
        return offset, memoryview(room)[:count]

    def lasting(self) -> Lasting:
        """The same file, for who sends it."""
        return Lasting(self.descriptor, in_memory=self._in_memory)

    def is_ready(self, offset: int, size: int) -> bool:
        """Whether so much, or as much as there is of it, seems to be in memory: its first byte and its last."""
        last = min(offset + size, self.size()) - 1
        return all(
            at >= 0 and self.read_at_once(at, 1, _ONE_BYTE) is not None for at in (offset, last)
        )

    def size(self) -> int:
        """How long it is now."""
        return os.fstat(self.descriptor).st_size

    def read_sparsely(self, offset: int, size: int) -> tuple[int, bytes | memoryview]:
        """The same from where there is something other than a hole."""
        try:
            start = os.lseek(self.descriptor, offset, os.SEEK_DATA)
            end = os.lseek(self.descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                # Nothing but a hole, up to the end.
                return offset, b""
            return self.read(offset, size)
        return start, os.pread(self.descriptor, min(size, end - start), start)

    def close(self) -> None:
        """Let go of it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def real(path: bytes) -> bytes:
    """The path from the root on, without links."""
    return os.path.realpath(path)


def link_target(path: bytes) -> bytes:
    """Where a link leads."""
    return os.readlink(path)


def allow(path: bytes, mode: int) -> None:
    """Give a file or a directory other permissions, and nothing that a link in its place leads to."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
            os.chmod(b"/proc/self/fd/%d" % descriptor, mode)
    finally:
        os.close(descriptor)


def remove(path: bytes, is_directory: bool) -> None:
    """Remove a file, a link or a whole directory, in which no link is followed."""
    if is_directory:
        from shutil import rmtree  # noqa: PLC0415  (programs start without it, and seldom remove)

        rmtree(path)
    else:
        os.unlink(path)
