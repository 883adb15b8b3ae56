# SPDX-License-Identifier: MIT
"""The files of the other side for threads, as ``tellin.Connection.sftp`` makes them."""

from types import TracebackType

from tellin.blocking.faces import Entered, closing, forwarded
from tellin.client.file_verbs import RemotePath
from tellin.client.files import Files as AsyncFiles
from tellin.client.remote_file import RemoteFile as AsyncRemoteFile
from tellin.sftp.messages import Entry


class RemoteFile(Entered[AsyncRemoteFile]):
    """An open file on the other side."""

    __slots__ = ()

    read = forwarded(AsyncRemoteFile.read)
    write = forwarded(AsyncRemoteFile.write)
    seek = forwarded(AsyncRemoteFile.seek)
    stat = forwarded(AsyncRemoteFile.stat)
    truncate = forwarded(AsyncRemoteFile.truncate)
    change = forwarded(AsyncRemoteFile.change)
    sync = forwarded(AsyncRemoteFile.sync)
    close = closing(AsyncRemoteFile.aclose)

    def tell(self) -> int:
        """Where the next read or write begins."""
        return self._inner.offset

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
    listdir = forwarded(AsyncFiles.listdir)
    realpath = forwarded(AsyncFiles.realpath)
    readlink = forwarded(AsyncFiles.readlink)
    statvfs = forwarded(AsyncFiles.statvfs)
    mkdir = forwarded(AsyncFiles.mkdir)
    rmdir = forwarded(AsyncFiles.rmdir)
    remove = forwarded(AsyncFiles.remove)
    rename = forwarded(AsyncFiles.rename)
    link = forwarded(AsyncFiles.link)
    symlink = forwarded(AsyncFiles.symlink)
    change = forwarded(AsyncFiles.change)
    chmod = forwarded(AsyncFiles.chmod)
    chown = forwarded(AsyncFiles.chown)
    utime = forwarded(AsyncFiles.utime)
    truncate = forwarded(AsyncFiles.truncate)
    get = forwarded(AsyncFiles.get)
    put = forwarded(AsyncFiles.put)
    close = closing(AsyncFiles.aclose)

    @property
    def extensions(self) -> dict[str, str]:
        """What the server offers beyond version 3, and in which version."""
        return self._inner.extensions

    def open(
        self, path: RemotePath, mode: str = "r", *, permissions: int | None = None
    ) -> RemoteFile:
        """Open a file, as ``tellin.Files.open``."""
        made = self._portal.call(self._inner.open, path, mode, permissions=permissions)
        return RemoteFile(made, self._portal)

    def scandir(self, path: RemotePath = ".") -> list[Entry]:
        """What is in a directory, all of it at once."""

        async def entries() -> list[Entry]:
            return [entry async for entry in self._inner.scandir(path)]

        found: list[Entry] = self._portal.call(entries)
        return found
