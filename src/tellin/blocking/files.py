# SPDX-License-Identifier: MIT
"""The files of the other side for threads, as ``tellin.Connection.sftp`` makes them."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, overload

from tellin.blocking.faces import Entered, closing, forwarded
from tellin.client.files.changes import RemotePath
from tellin.client.files.files import Files as AsyncFiles
from tellin.client.files.remote_file import RemoteFile as AsyncRemoteFile
from tellin.client.files.remote_file import RemoteTextFile as AsyncRemoteTextFile
from tellin.sftp.messages import Entry


class RemoteFile(Entered[AsyncRemoteFile]):
    """An open file on the other side."""

    __slots__ = ()

    read = forwarded(AsyncRemoteFile.read)
    readline = forwarded(AsyncRemoteFile.readline)
    write = forwarded(AsyncRemoteFile.write)
    flush = forwarded(AsyncRemoteFile.flush)
    seek = forwarded(AsyncRemoteFile.seek)
    stat = forwarded(AsyncRemoteFile.stat)
    truncate = forwarded(AsyncRemoteFile.truncate)
    change = forwarded(AsyncRemoteFile.change)
    sync = forwarded(AsyncRemoteFile.sync)
    close = closing(AsyncRemoteFile.aclose)

    def tell(self) -> int:
        """Where the next read or write begins."""
        return self._inner.offset

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._inner.closed

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._portal.is_running:
            self._portal.call(self._inner.abandon)


class RemoteTextFile(Entered[AsyncRemoteTextFile]):
    """An open file on the other side, of text."""

    __slots__ = ()

    read = forwarded(AsyncRemoteTextFile.read)
    readline = forwarded(AsyncRemoteTextFile.readline)
    write = forwarded(AsyncRemoteTextFile.write)
    flush = forwarded(AsyncRemoteTextFile.flush)
    seek = forwarded(AsyncRemoteTextFile.seek)
    close = closing(AsyncRemoteTextFile.aclose)

    def __iter__(self) -> Iterator[str]:
        while line := self.readline():
            yield line

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._portal.is_running:
            self._portal.call(self._inner.abandon)


class Files(Entered[AsyncFiles]):
    """The files of the other side."""

    __slots__ = ()

    stat = forwarded(AsyncFiles.stat)
    lstat = forwarded(AsyncFiles.lstat)
    exists = forwarded(AsyncFiles.exists)
    lexists = forwarded(AsyncFiles.lexists)
    isdir = forwarded(AsyncFiles.isdir)
    isfile = forwarded(AsyncFiles.isfile)
    islink = forwarded(AsyncFiles.islink)
    getsize = forwarded(AsyncFiles.getsize)
    listdir = forwarded(AsyncFiles.listdir)
    glob = forwarded(AsyncFiles.glob)
    realpath = forwarded(AsyncFiles.realpath)
    expand = forwarded(AsyncFiles.expand)
    readlink = forwarded(AsyncFiles.readlink)
    statvfs = forwarded(AsyncFiles.statvfs)
    mkdir = forwarded(AsyncFiles.mkdir)
    makedirs = forwarded(AsyncFiles.makedirs)
    rmdir = forwarded(AsyncFiles.rmdir)
    rmtree = forwarded(AsyncFiles.rmtree)
    remove = forwarded(AsyncFiles.remove)
    unlink = forwarded(AsyncFiles.unlink)
    rename = forwarded(AsyncFiles.rename)
    posix_rename = forwarded(AsyncFiles.posix_rename)
    link = forwarded(AsyncFiles.link)
    symlink = forwarded(AsyncFiles.symlink)
    change = forwarded(AsyncFiles.change)
    chmod = forwarded(AsyncFiles.chmod)
    chown = forwarded(AsyncFiles.chown)
    utime = forwarded(AsyncFiles.utime)
    truncate = forwarded(AsyncFiles.truncate)
    get = forwarded(AsyncFiles.get)
    mget = forwarded(AsyncFiles.mget)
    put = forwarded(AsyncFiles.put)
    mirror_get = forwarded(AsyncFiles.mirror_get)
    mirror_put = forwarded(AsyncFiles.mirror_put)
    close = closing(AsyncFiles.aclose)

    @property
    def extensions(self) -> dict[str, str]:
        """What the server offers beyond version 3, and in which version."""
        return self._inner.extensions

    @overload
    def open(
        self, path: RemotePath, mode: str = "r", *, permissions: int | None = None
    ) -> RemoteFile: ...

    @overload
    def open(
        self,
        path: RemotePath,
        mode: str = "r",
        *,
        encoding: str,
        errors: str = "strict",
        permissions: int | None = None,
    ) -> RemoteTextFile: ...

    def open(
        self,
        path: RemotePath,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str = "strict",
        permissions: int | None = None,
    ) -> RemoteFile | RemoteTextFile:
        """Open a file, as ``tellin.Files.open``."""
        words: dict[str, Any] = {"permissions": permissions}
        if encoding is None:
            return RemoteFile(
                self._portal.call(self._inner.open, path, mode, **words), self._portal
            )
        words |= {"encoding": encoding, "errors": errors}
        made = self._portal.call(self._inner.open, path, mode, **words)
        return RemoteTextFile(made, self._portal)

    def copy(
        self,
        source: RemotePath | list[RemotePath],
        target: RemotePath,
        *,
        to: "Files | None" = None,
        **wishes: Any,
    ) -> None:
        """Copy files there, or to another server's files, as ``tellin.Files.copy``."""
        other = None if to is None else to._inner
        self._portal.call(self._inner.copy, source, target, to=other, **wishes)

    def scandir(self, path: RemotePath = ".") -> list[Entry]:
        """What is in a directory, all of it at once."""

        async def entries() -> list[Entry]:
            return [entry async for entry in self._inner.scandir(path)]

        found: list[Entry] = self._portal.call(entries)
        return found

    def walk(
        self, path: RemotePath = ".", *, follow_symlinks: bool = False
    ) -> Iterator[tuple[str, list[Entry], list[Entry]]]:
        """Each directory below a path, as ``tellin.Files.walk``."""
        steps = self._inner.walk(path, follow_symlinks=follow_symlinks)

        async def step() -> tuple[str, list[Entry], list[Entry]] | None:
            return await anext(steps, None)

        while (found := self._portal.call(step)) is not None:
            yield found
