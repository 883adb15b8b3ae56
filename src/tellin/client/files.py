# SPDX-License-Identifier: MIT
"""The files of the other side, for coroutines: what is there, what is in it, and what is made of it."""

# Paths of this side are used as they were given.
# ruff: noqa: PTH112, PTH118, PTH119

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

from tellin.client.file_talk import FileTalk
from tellin.client.remote import Carrier
from tellin.errors import ProtocolError, RemoteFileNotFound, SftpError, UsageError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import (
    OPEN_APPEND,
    OPEN_CREATE,
    OPEN_EXCLUSIVE,
    OPEN_READ,
    OPEN_TRUNCATE,
    OPEN_WRITE,
    Entry,
    Extension,
    Statistics,
)
from tellin.sftp.transfers import Done, Download, Upload

RemotePath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""A path on the other side; text is UTF-8 there, and names that are none come as surrogates."""

LocalPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_PERMISSIONS: Final = 0o777
_MODES: Final = {
    "r": OPEN_READ,
    "r+": OPEN_READ | OPEN_WRITE,
    "w": OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE,
    "w+": OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE,
    "a": OPEN_WRITE | OPEN_CREATE | OPEN_APPEND,
    "a+": OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_APPEND,
    "x": OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE,
    "x+": OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE,
}


def encoded(path: RemotePath) -> bytes:
    """A path as the server gets it; raises UsageError for one that cannot be one."""
    plain = os.fspath(path)
    data = plain.encode("utf-8", "surrogateescape") if isinstance(plain, str) else plain
    if b"\0" in data:
        raise UsageError("a NUL byte in a path")
    return data


def decoded(path: bytes) -> str:
    """A path that the server has named."""
    return path.decode("utf-8", "surrogateescape")


async def open_files(carrier: Carrier) -> "Files":
    """Start the server's sftp subsystem on a channel of its own."""
    talk = FileTalk(carrier)
    await talk.open()
    return Files(talk)


class RemoteFile:
    """An open file on the other side, of bytes; made by ``Files.open``.

    ``read`` and ``write`` begin where the last one ended. Large ones are several requests at once.
    """

    __slots__ = ("_append", "_closed", "_handle", "_path", "_talk", "offset")

    def __init__(self, talk: FileTalk, handle: bytes, path: bytes, *, append: bool) -> None:
        self._talk = talk
        self._handle = handle
        self._path = path
        self._append = append
        self._closed = False
        self.offset: int = 0
        """Where the next read or write begins."""

    def __repr__(self) -> str:
        return f"<RemoteFile {decoded(self._path)!r}{', closed' if self._closed else ''}>"

    async def read(self, size: int = -1) -> bytes:
        """``size`` bytes, or fewer where the file ends; without ``size`` all to the end."""
        self._check()
        start, data = self.offset, bytearray()

        def take(view: memoryview, offset: int) -> None:
            end = offset - start + len(view)
            if end > len(data):
                data.extend(bytes(end - len(data)))
            data[end - len(view) : end] = view

        known = start + size if size >= 0 else (await self.stat()).size or 0
        made: list[Download] = []

        def make(done: Done) -> Download:
            made.append(
                Download(
                    self._talk.client,
                    self._handle,
                    start=start,
                    size=known,
                    end=start + size if size >= 0 else None,
                    block=self._talk.read_block,
                    path=self._path,
                    take=take,
                    done=done,
                )
            )
            return made[0]

        await self._talk.carry(make)
        del data[made[0].contiguous - start :]
        self.offset = start + len(data)
        return bytes(data)

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it, which must not change before that is done; returns its size."""
        self._check()
        view = memoryview(data).cast("B")
        # Where the server puts it, whatever the offset: at the end.
        start = (await self.stat()).size or 0 if self._append else self.offset

        def make(done: Done) -> Upload:
            return Upload(
                self._talk.client,
                self._handle,
                start=start,
                block=self._talk.write_block,
                path=self._path,
                read=lambda offset, size: view[offset - start : offset - start + size],
                done=done,
            )

        await self._talk.carry(make)
        self.offset = start + len(view)
        return len(view)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset`` from the beginning, from here (1) or from the end (2); returns where that is."""
        base = self.offset if whence == os.SEEK_CUR else 0
        if whence == os.SEEK_END:
            base = (await self.stat()).size or 0
        if base + offset < 0:
            raise UsageError("there is nothing before the beginning of a file")
        self.offset = base + offset
        return self.offset

    async def stat(self) -> Attributes:
        """What is known of it."""
        reply = await self._ask(messages.FileStat(self._handle))
        assert isinstance(reply, messages.Attrs)
        return reply.attributes

    async def truncate(self, size: int | None = None) -> None:
        """Make it ``size`` bytes long, or as long as it is up to here."""
        await self.change(Attributes(size=self.offset if size is None else size))

    async def change(self, attributes: Attributes) -> None:
        """Change what is given."""
        await self._ask(messages.FileSetStat(self._handle, attributes))

    async def sync(self) -> None:
        """Have all that was written brought to the disk, where the server can do that."""
        await self._ask(messages.FileSync(self._handle))

    async def _ask(self, request: messages.Request) -> Any:
        self._check()
        return await self._talk.ask(request, path=self._path)

    def _check(self) -> None:
        if self._closed:
            raise UsageError("the file is closed")

    async def aclose(self) -> None:
        """Close it; raises what the server could not write."""
        if not self._closed:
            self._closed = True
            await self._talk.ask(messages.Close(self._handle), path=self._path)

    def abandon(self) -> None:
        """Close it without waiting for that."""
        if not self._closed:
            self._closed = True
            self._talk.tell(messages.Close(self._handle))

    async def __aenter__(self) -> "RemoteFile":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            self.abandon()


class Files:
    """The files of the other side; ``Connection.sftp`` makes it.

    What the server refuses is an SftpError, and an OSError of the matching kind: FileNotFoundError,
    PermissionError. Any number of coroutines may use it at once.
    """

    def __init__(self, talk: FileTalk) -> None:
        self._talk = talk

    def __repr__(self) -> str:
        return f"<Files, {len(self.extensions)} extensions>"

    @property
    def extensions(self) -> dict[str, str]:
        """What the server offers beyond version 3, and in which version."""
        known = self._talk.client.extensions
        return {decoded(name): decoded(value) for name, value in known.items()}

    # What is there

    async def stat(self, path: RemotePath) -> Attributes:
        """What is known of a path, or of what a link there leads to."""
        return await self._attributes(messages.Stat(encoded(path)), path)

    async def lstat(self, path: RemotePath) -> Attributes:
        """What is known of a path; of a link itself."""
        return await self._attributes(messages.LinkStat(encoded(path)), path)

    async def exists(self, path: RemotePath) -> bool:
        """Whether something is there; a link that leads nowhere is nothing."""
        try:
            await self.stat(path)
        except RemoteFileNotFound:
            return False
        return True

    async def listdir(self, path: RemotePath = ".") -> list[str]:
        """The names in a directory, without ``.`` and ``..``."""
        return [entry.name async for entry in self.scandir(path)]

    async def scandir(self, path: RemotePath = ".") -> AsyncIterator[Entry]:
        """What is in a directory, with its attributes, as the server tells of it."""
        where = encoded(path)
        reply = await self._talk.ask(messages.OpenDirectory(where), path=where)
        assert isinstance(reply, messages.Handle)
        try:
            while True:
                names = await self._talk.ask(messages.ReadDirectory(reply.handle), path=where)
                if not names.entries:
                    return
                for entry in names.entries:
                    if entry.filename not in {b".", b".."}:
                        yield _checked(entry)
        finally:
            # Who stops in the middle waits for nothing.
            self._talk.tell(messages.Close(reply.handle))

    async def realpath(self, path: RemotePath = ".") -> str:
        """The path from the root on, without links; that of ``.`` is where paths begin."""
        return await self._one_name(messages.RealPath(encoded(path)), path)

    async def readlink(self, path: RemotePath) -> str:
        """Where a symbolic link leads."""
        return await self._one_name(messages.ReadLink(encoded(path)), path)

    async def statvfs(self, path: RemotePath = ".") -> Statistics:
        """The room in the file system of a path, where the server can tell."""
        reply = await self._ask(messages.StatFileSystem(encoded(path)), path)
        return Statistics.decode(reply.contents)

    # What is made of it

    async def mkdir(self, path: RemotePath, mode: int = 0o777) -> None:
        """Make a directory; the server takes its umask from ``mode``."""
        request = messages.MakeDirectory(encoded(path), Attributes(permissions=mode))
        await self._ask(request, path)

    async def rmdir(self, path: RemotePath) -> None:
        """Remove an empty directory."""
        await self._ask(messages.RemoveDirectory(encoded(path)), path)

    async def remove(self, path: RemotePath) -> None:
        """Remove a file, or a link."""
        await self._ask(messages.Remove(encoded(path)), path)

    async def rename(self, old: RemotePath, new: RemotePath, *, replace: bool = False) -> None:
        """Give another name; with ``replace`` in the place of what has it, in one step.

        That needs a server with posix-rename@openssh.com, which most have.
        """
        kind = messages.PosixRename if replace else messages.Rename
        await self._ask(kind(encoded(old), encoded(new)), old)

    async def link(self, old: RemotePath, new: RemotePath) -> None:
        """Give a file a further name, where the server can do that."""
        await self._ask(messages.HardLink(encoded(old), encoded(new)), old)

    async def symlink(self, target: RemotePath, path: RemotePath) -> None:
        """Make a symbolic link at ``path`` that leads to ``target``."""
        await self._talk.symlink(encoded(target), encoded(path))

    async def change(
        self, path: RemotePath, attributes: Attributes, *, follow: bool = True
    ) -> None:
        """Change what is given; without ``follow`` of a link itself, where the server can do that."""
        kind = messages.SetStat if follow else messages.LinkSetStat
        await self._ask(kind(encoded(path), attributes), path)

    async def chmod(self, path: RemotePath, mode: int) -> None:
        """Change the permissions."""
        await self.change(path, Attributes(permissions=mode))

    async def chown(self, path: RemotePath, uid: int, gid: int) -> None:
        """Change owner and group."""
        await self.change(path, Attributes(uid=uid, gid=gid))

    async def utime(self, path: RemotePath, atime: int, mtime: int) -> None:
        """Change the times of the last access and the last change."""
        await self.change(path, Attributes(atime=atime, mtime=mtime))

    async def truncate(self, path: RemotePath, size: int) -> None:
        """Make a file ``size`` bytes long."""
        await self.change(path, Attributes(size=size))

    # What is in it

    async def open(
        self, path: RemotePath, mode: str = "r", *, permissions: int | None = None
    ) -> RemoteFile:
        """Open a file; ``mode`` as for Python's ``open``, and always of bytes.

        ``permissions`` are for one that is made.
        """
        flags = _MODES.get(mode.replace("b", "", 1))
        if flags is None:
            raise UsageError(
                f"a file is not opened as {mode!r}", hint="r, w, a or x, perhaps with +"
            )
        where = encoded(path)
        request = messages.Open(where, flags, Attributes(permissions=permissions))
        reply = await self._talk.ask(request, path=where)
        assert isinstance(reply, messages.Handle)
        return RemoteFile(self._talk, reply.handle, where, append=bool(flags & OPEN_APPEND))

    async def get(self, remote: RemotePath, local: LocalPath | None = None) -> None:
        """Fetch a file, into one of the same name here or into ``local``, a file or a directory.

        A file that is made gets the permissions there, less the umask and without set-user-id. If
        it fails what is here has no gaps: so much of the file, from its beginning on, as the
        error's hint says.
        """
        source = encoded(remote)
        target = _within("." if local is None else local, source)
        async with await self.open(source) as file:
            found = await file.stat()
            if found.is_directory:
                raise SftpError(f"{decoded(source)!a} is a directory", filename=decoded(source))
            # R174: what was privileged there is not here.
            mode = _PERMISSIONS & (0o666 if found.mode is None else found.mode)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
            descriptor = os.open(target, flags, mode)
            try:
                await self._fetch(file, found.size or 0, descriptor, target)
            finally:
                os.close(descriptor)

    async def _fetch(self, file: RemoteFile, size: int, descriptor: int, target: bytes) -> None:
        made: list[Download] = []

        def take(view: memoryview, offset: int) -> None:
            while view:
                count = os.pwrite(descriptor, view, offset)
                view, offset = view[count:], offset + count

        def make(done: Done) -> Download:
            made.append(
                Download(
                    self._talk.client,
                    file._handle,
                    start=0,
                    size=size,
                    whole=True,
                    block=self._talk.read_block,
                    path=file._path,
                    take=take,
                    done=done,
                )
            )
            return made[0]

        try:
            await self._talk.carry(make)
        except BaseException as error:
            # Pieces came in any order: without gaps it is something that one can go on with.
            kept = made[0].contiguous
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.truncate(descriptor, kept)
            if made[0].problem is not None:
                raise made[0].problem from None
            if isinstance(error, SftpError):
                error.hint = f"{kept} bytes of it are in {decoded(target)!a}"
            raise

    async def put(self, local: LocalPath, remote: RemotePath | None = None) -> None:
        """Send a file, into one of the same name there or into ``remote``, a file or a directory.

        A file that is made gets the permissions here, less the umask there and without set-user-id.
        A write that fails is raised, whatever comes after it.
        """
        source = os.fsencode(local)
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(local))
            target = await self._remote_target(source, remote)
            mode = status.st_mode & _PERMISSIONS
            file = await self.open(target, "w", permissions=mode)
            async with file:
                await self._send(file, _reader(descriptor, regular=stat.S_ISREG(status.st_mode)))
        finally:
            os.close(descriptor)

    async def _remote_target(self, source: bytes, remote: RemotePath | None) -> bytes:
        name = os.path.basename(source)
        if remote is None:
            return name
        target = encoded(remote)
        try:
            inside = (await self.stat(target)).is_directory
        except SftpError:
            inside = False
        return os.path.join(target, name) if inside else target

    async def _send(self, file: RemoteFile, read: Callable[[int, int], bytes]) -> None:
        made: list[Upload] = []

        def make(done: Done) -> Upload:
            made.append(
                Upload(
                    self._talk.client,
                    file._handle,
                    start=0,
                    block=self._talk.write_block,
                    path=file._path,
                    read=read,
                    done=done,
                )
            )
            return made[0]

        try:
            await self._talk.carry(make)
        except SftpError as error:
            if made[0].problem is not None:
                raise made[0].problem from None
            error.hint = f"up to {made[0].contiguous} bytes of it are there"
            raise

    # The talk

    async def _ask(self, request: messages.Request, path: RemotePath) -> Any:
        if isinstance(request, Extension) and not self._talk.client.offers(type(request)):
            where = encoded(path)
            raise SftpError.of(
                8,
                f"{request.name}: the server does not offer {decoded(request.key)}",
                filename=decoded(where),
            )
        return await self._talk.ask(request, path=encoded(path))

    async def _attributes(self, request: messages.Request, path: RemotePath) -> Attributes:
        reply = await self._ask(request, path)
        assert isinstance(reply, messages.Attrs)
        return reply.attributes

    async def _one_name(self, request: messages.Request, path: RemotePath) -> str:
        reply = await self._ask(request, path)
        assert isinstance(reply, messages.Name)
        return reply.entries[0].name

    async def aclose(self) -> None:
        """End the talk; what is still asked fails."""
        await self._talk.aclose()

    async def __aenter__(self) -> "Files":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _checked(entry: Entry) -> Entry:
    """A name out of a listing: R173, it is one name and no way to somewhere else."""
    name = entry.filename
    if not name or b"/" in name or b"\0" in name:
        raise ProtocolError(f"a file server's listing with the name {decoded(name[:255])!a}")
    return entry


def _within(local: LocalPath, source: bytes) -> bytes:
    """Where a fetched file goes: into a directory by its last name, which must be one (R173)."""
    target = os.fsencode(local)
    if not os.path.isdir(target):
        return target
    name = source.rpartition(b"/")[2]
    if name in {b"", b".", b".."}:
        raise UsageError(f"{decoded(source)!a} has no name that a file here could have")
    return os.path.join(target, name)


def _reader(descriptor: int, *, regular: bool) -> Callable[[int, int], bytes]:
    if regular:
        return lambda offset, size: os.pread(descriptor, size, offset)
    # A pipe or a device: once, and in its order, which is the one that is asked for.
    return lambda _offset, size: os.read(descriptor, size)
