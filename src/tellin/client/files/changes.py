# SPDX-License-Identifier: MIT
"""What is there on the other side and what is made of it, one coroutine a verb; paths as Python has them."""

import os
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from tellin.client.files.talk import FileTalk
from tellin.errors import UsageError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Entry, Statistics
from tellin.sftp.remote_files import shown

RemotePath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""A path on the other side; text is UTF-8 there, and names that are none come as surrogates."""


def encoded(path: RemotePath) -> bytes:
    """A path as the server gets it; raises UsageError for one that cannot be one."""
    plain = os.fspath(path)
    data = plain.encode("utf-8", "surrogateescape") if isinstance(plain, str) else plain
    if b"\0" in data:
        raise UsageError("a NUL byte in a path")
    return data


class FileFacts:
    """What is there."""

    def __init__(self, talk: FileTalk) -> None:
        self._talk = talk
        self._files = talk.files

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self.extensions)} extensions>"

    @property
    def extensions(self) -> dict[str, str]:
        """What the server offers beyond version 3, and in which version."""
        known = self._files.client.extensions
        return {shown(name): shown(value) for name, value in known.items()}

    async def stat(self, path: RemotePath) -> Attributes:
        """What is known of a path, or of what a link there leads to."""
        return await self._files.stat(encoded(path))

    async def lstat(self, path: RemotePath) -> Attributes:
        """What is known of a path; of a link itself."""
        return await self._files.stat(encoded(path), follow=False)

    async def exists(self, path: RemotePath) -> bool:
        """Whether something is there; a link that leads nowhere is nothing."""
        return await self._files.find(encoded(path)) is not None

    async def lexists(self, path: RemotePath) -> bool:
        """The same, and a link that leads nowhere is something."""
        return await self._files.find(encoded(path), follow=False) is not None

    async def isdir(self, path: RemotePath) -> bool:
        """Whether a directory is there, or a link to one."""
        return await self._is(path, stat.S_IFDIR)

    async def isfile(self, path: RemotePath) -> bool:
        """Whether a regular file is there, or a link to one."""
        return await self._is(path, stat.S_IFREG)

    async def islink(self, path: RemotePath) -> bool:
        """Whether a symbolic link is there."""
        return await self._is(path, stat.S_IFLNK, follow=False)

    async def _is(self, path: RemotePath, kind: int, *, follow: bool = True) -> bool:
        found = await self._files.find(encoded(path), follow=follow)
        return found is not None and stat.S_IFMT(found.permissions or 0) == kind

    async def getsize(self, path: RemotePath) -> int:
        """How many bytes a file has."""
        return (await self.stat(path)).size or 0

    async def listdir(self, path: RemotePath = ".") -> list[str]:
        """The names in a directory, without ``.`` and ``..``."""
        return [entry.name for entry in await self._files.contents(encoded(path))]

    async def scandir(self, path: RemotePath = ".") -> AsyncIterator[Entry]:
        """What is in a directory, with its attributes, as the server tells of it."""
        async for entry in self._files.scan(encoded(path)):
            yield entry

    async def walk(
        self, path: RemotePath = ".", *, follow_symlinks: bool = False
    ) -> AsyncIterator[tuple[str, list[Entry], list[Entry]]]:
        """Each directory below ``path`` with the directories and the other things in it, as ``os.walk``.

        What is taken out of the list of directories is not walked. With ``follow_symlinks`` links
        to directories are among them; one that leads back to where it is ends the walk with an error.
        """
        async for where, directories, others in self._files.walk(
            encoded(path), follow=follow_symlinks
        ):
            yield shown(where), directories, others

    async def glob(self, pattern: RemotePath) -> list[str]:
        """The paths that fit a pattern, sorted: ``*``, ``?``, ``[a-z]``, ``[!a]``, and ``**`` for any directories.

        A backslash takes a character literally; a pattern without any of these is a path, which is
        given if something is there.
        """
        return [shown(path) for path in await self._files.glob(encoded(pattern))]

    async def realpath(self, path: RemotePath = ".") -> str:
        """The path from the root on, without links; that of ``.`` is where paths begin."""
        return shown(await self._files.real_path(encoded(path)))

    async def expand(self, path: RemotePath) -> str:
        """As ``realpath``, and ``~`` and ``~user`` are homes, where the server can do that."""
        return shown(await self._files.expand(encoded(path)))

    async def readlink(self, path: RemotePath) -> str:
        """Where a symbolic link leads."""
        return shown(await self._files.read_link(encoded(path)))

    async def statvfs(self, path: RemotePath = ".") -> Statistics:
        """The room in the file system of a path, where the server can tell."""
        return await self._files.room(encoded(path))


class FileChanges(FileFacts):
    """What is made of it."""

    async def mkdir(self, path: RemotePath, mode: int = 0o777) -> None:
        """Make a directory; the server takes its umask from ``mode``."""
        await self._files.make_directory(encoded(path), mode)

    async def makedirs(
        self, path: RemotePath, mode: int = 0o777, *, exist_ok: bool = False
    ) -> None:
        """Make a directory, and those on the way to it that are not there."""
        await self._files.make_directories(encoded(path), mode, may_exist=exist_ok)

    async def rmdir(self, path: RemotePath) -> None:
        """Remove an empty directory."""
        await self._ask(messages.RemoveDirectory(encoded(path)), path)

    async def rmtree(
        self,
        path: RemotePath,
        *,
        ignore_errors: bool = False,
        onerror: Callable[[str, Exception], object] | None = None,
    ) -> None:
        """Remove a directory with all that is in it; links are removed and not followed.

        ``onerror`` gets each path that could not be removed, and why, and the others go on.
        """

        def told(where: bytes, error: Exception) -> None:
            if onerror is not None:
                onerror(shown(where), error)

        quiet = ignore_errors or onerror is not None
        await self._files.remove_tree(encoded(path), told if quiet else None)

    async def remove(self, path: RemotePath) -> None:
        """Remove a file, or a link."""
        await self._ask(messages.Remove(encoded(path)), path)

    async def unlink(self, path: RemotePath) -> None:
        """The same."""
        await self.remove(path)

    async def rename(self, old: RemotePath, new: RemotePath, *, replace: bool = False) -> None:
        """Give another name; with ``replace`` in the place of what has it, in one step.

        That needs a server with posix-rename@openssh.com, which most have.
        """
        await self._files.rename(encoded(old), encoded(new), replace=replace)

    async def posix_rename(self, old: RemotePath, new: RemotePath) -> None:
        """Give another name, in the place of what has it."""
        await self.rename(old, new, replace=True)

    async def link(self, old: RemotePath, new: RemotePath) -> None:
        """Give a file a further name, where the server can do that."""
        await self._ask(messages.HardLink(encoded(old), encoded(new)), old)

    async def symlink(self, target: RemotePath, path: RemotePath) -> None:
        """Make a symbolic link at ``path`` that leads to ``target``."""
        await self._files.symlink(encoded(target), encoded(path))

    async def change(
        self, path: RemotePath, attributes: Attributes, *, follow: bool = True
    ) -> None:
        """Change what is given; without ``follow`` of a link itself, where the server can do that."""
        await self._files.change(encoded(path), attributes, follow=follow)

    async def chmod(self, path: RemotePath, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change the permissions."""
        await self.change(path, Attributes(permissions=mode), follow=follow_symlinks)

    async def chown(
        self, path: RemotePath, uid: int, gid: int, *, follow_symlinks: bool = True
    ) -> None:
        """Change owner and group."""
        await self.change(path, Attributes(uid=uid, gid=gid), follow=follow_symlinks)

    async def utime(
        self, path: RemotePath, atime: int, mtime: int, *, follow_symlinks: bool = True
    ) -> None:
        """Change the times of the last access and the last change."""
        times = Attributes(atime=atime, mtime=mtime)
        await self.change(path, times, follow=follow_symlinks)

    async def truncate(self, path: RemotePath, size: int) -> None:
        """Make a file ``size`` bytes long."""
        await self.change(path, Attributes(size=size))

    async def _ask(self, request: messages.Request, path: RemotePath) -> Any:
        return await self._files.ask(request, encoded(path))
