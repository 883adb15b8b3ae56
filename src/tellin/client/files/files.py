# SPDX-License-Identifier: MIT
"""The files of the other side, for coroutines: what is there, what is in it, and what is made of it."""

import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, TypeAlias, overload

from tellin.client.files.changes import FileChanges, RemotePath, encoded
from tellin.client.files.copying import Links, Mover, Source, Target, TreeCopy, Wishes
from tellin.client.files.mirroring import (
    Mirror,
    Mirrored,
    allower,
    local_allower,
    local_remover,
    mirror_wishes,
    remover,
    same_bytes,
)
from tellin.client.files.remote_file import FileOpening, RemoteFile, RemoteTextFile
from tellin.client.files.sides import (
    Fetching,
    LocalSource,
    LocalTarget,
    Relaying,
    RemoteSource,
    RemoteTarget,
    Sending,
)
from tellin.client.files.talk import FileTalk
from tellin.client.sessions.remote import Carrier
from tellin.errors import SftpError, UsageError
from tellin.runtime import local_trees
from tellin.runtime.opening import Opening
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import (
    OPEN_APPEND,
    OPEN_CREATE,
    OPEN_EXCLUSIVE,
    OPEN_READ,
    OPEN_TRUNCATE,
    OPEN_WRITE,
)
from tellin.sftp.remote_files import joined, last_name, shown
from tellin.sftp.waiting import aside

LocalPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

Progress: TypeAlias = Callable[[bytes, bytes, int, int], object]
"""Gets source, target, how many bytes of it are there and how many it has."""

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


async def open_files(carrier: Carrier) -> "Files":
    """Start the server's sftp subsystem on a channel of its own."""
    talk = FileTalk(carrier)
    await talk.open()
    return Files(talk)


class Files(FileChanges):
    """The files of the other side; ``Connection.sftp`` makes it.

    What the server refuses is an SftpError, and an OSError of the matching kind: FileNotFoundError,
    PermissionError. Any number of coroutines may use it at once.
    """

    @overload
    def open(
        self, path: RemotePath, mode: str = "r", *, permissions: int | None = None
    ) -> Opening[RemoteFile]: ...

    @overload
    def open(
        self,
        path: RemotePath,
        mode: str = "r",
        *,
        encoding: str,
        errors: str = "strict",
        permissions: int | None = None,
    ) -> Opening[RemoteTextFile]: ...

    def open(
        self,
        path: RemotePath,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str = "strict",
        permissions: int | None = None,
    ) -> Opening[Any]:
        """Open a file; ``mode`` as for Python's ``open``, of bytes or, with an ``encoding``, of text.

        ``async with files.open(...) as file``, or ``file = await files.open(...)``. ``permissions``
        are for one that is made.
        """
        flags = _MODES.get(mode.replace("b" if encoding is None else "t", "", 1))
        if flags is None:
            raise UsageError(
                f"a file is not opened as {mode!r}",
                hint="r, w, a or x, perhaps with +; with an encoding it is of text",
            )
        where = encoded(path)

        async def opened() -> RemoteFile:
            wanted = Attributes(permissions=permissions)
            handle = await self._files.open(where, flags, wanted)
            return RemoteFile(self._files, handle, where, flags=flags)

        async def of_text() -> RemoteTextFile:
            return RemoteTextFile(await opened(), encoding or "", errors)

        return FileOpening(opened) if encoding is None else FileOpening(of_text)

    async def get(
        self,
        remote: RemotePath | Sequence[RemotePath],
        local: LocalPath | None = None,
        *,
        recurse: bool = False,
        preserve: bool = False,
        follow_symlinks: bool = False,
        sparse: bool = False,
        resume: bool = False,
        parallel: int = 0,
        progress_handler: Progress | None = None,
        error_handler: Callable[[bytes, bytes, Exception], object] | None = None,
    ) -> None:
        """Fetch files, into those of the same name here or into ``local``, a file or a directory.

        A file that is made gets the permissions there, less the umask and without set-user-id;
        with ``preserve`` all permissions and the times. If it fails what is here has no gaps: so
        much of the file, from its beginning on, as the error's hint says, and ``resume`` goes on
        with that. With ``recurse`` directories come with all that is in them; links are made again
        or, with ``follow_symlinks``, followed. Many files are fetched at once, or ``parallel`` ones.
        ``error_handler`` gets source, target and the error of each file that fails, and the others
        go on.
        """
        wishes = Wishes(
            recursive=recurse,
            preserve=preserve,
            links=Links.FOLLOW if follow_symlinks else Links.COPY,
            resume=resume,
            sparse=sparse,
            parallel=parallel,
            on_progress=progress_handler,
            on_error=error_handler,
        )
        waits = self._files.waits
        sources = _several(remote)
        target = b"." if local is None else os.fsencode(local)
        inside = local is None or await self._is_local_directory(target)
        await self._run(
            _pairs(sources, target, inside=inside),
            RemoteSource(self._files),
            LocalTarget(waits),
            Fetching(self._files, wishes),
            wishes,
        )

    async def put(
        self,
        local: LocalPath | Sequence[LocalPath],
        remote: RemotePath | None = None,
        *,
        recurse: bool = False,
        preserve: bool = False,
        follow_symlinks: bool = False,
        sparse: bool = False,
        resume: bool = False,
        sync: bool = False,
        parallel: int = 0,
        progress_handler: Progress | None = None,
        error_handler: Callable[[bytes, bytes, Exception], object] | None = None,
    ) -> None:
        """Send files, into those of the same name there or into ``remote``, a file or a directory.

        A file that is made gets the permissions here, less the umask there and without set-user-id.
        A write that fails is raised, whatever comes after it, and what is there has no gaps. With
        ``sync`` the server has it on its disk. The rest is as for ``get``.
        """
        wishes = Wishes(
            recursive=recurse,
            preserve=preserve,
            links=Links.FOLLOW if follow_symlinks else Links.COPY,
            resume=resume,
            sparse=sparse,
            sync=sync,
            parallel=parallel,
            on_progress=progress_handler,
            on_error=error_handler,
        )
        sources = [os.fsencode(one) for one in _each(local)]
        target = b"" if remote is None else encoded(remote)
        inside = remote is None or await self._is_directory(target)
        await self._run(
            _pairs(sources, target, inside=inside),
            LocalSource(self._files.waits),
            RemoteTarget(self._files),
            Sending(self._files, wishes),
            wishes,
        )

    async def copy(
        self,
        source: RemotePath | Sequence[RemotePath],
        target: RemotePath,
        *,
        recurse: bool = False,
        preserve: bool = False,
        follow_symlinks: bool = False,
        resume: bool = False,
        parallel: int = 0,
        progress_handler: Progress | None = None,
        error_handler: Callable[[bytes, bytes, Exception], object] | None = None,
        to: "Files | None" = None,
    ) -> None:
        """Copy files there, by the server itself where it can do that, or to another server's files.

        The rest is as for ``get``.
        """
        wishes = Wishes(
            recursive=recurse,
            preserve=preserve,
            links=Links.FOLLOW if follow_symlinks else Links.COPY,
            resume=resume,
            parallel=parallel,
            on_progress=progress_handler,
            on_error=error_handler,
        )
        other = self if to is None else to
        where = encoded(target)
        inside = await other._is_directory(where)
        await self._run(
            _pairs(_several(source), where, inside=inside),
            RemoteSource(self._files),
            RemoteTarget(other._files),
            Relaying(self._files, other._files, wishes),
            wishes,
        )

    async def _run(
        self,
        pairs: Sequence[tuple[bytes, bytes]],
        source: Source,
        target: Target,
        mover: Mover,
        wishes: Wishes,
    ) -> None:
        await TreeCopy(self._files.waits, source, target, mover, wishes).run(pairs)

    async def mget(
        self, /, patterns: RemotePath | Sequence[RemotePath], local: LocalPath = ".", **wishes: Any
    ) -> None:
        """``get`` of all that fits patterns, as ``glob`` finds it, into a directory."""
        found: list[RemotePath] = []
        for pattern in _each(patterns):
            found += await self._fitting(pattern)
        await self.get(found, local, **wishes)

    async def mirror_put(
        self,
        local: LocalPath,
        remote: RemotePath,
        *,
        delete: bool = False,
        checksum: bool = False,
        dry_run: bool = False,
        progress_handler: Progress | None = None,
    ) -> Mirrored:
        """Make the tree at ``remote`` like the one here: files are sent whose size or time differs.

        With ``checksum`` their bytes are read and compared, and not the times. What is not here is
        removed there only with ``delete``. A ``dry_run`` says what would be done, and does nothing.
        """
        files, wishes = self._files, mirror_wishes(progress_handler)
        mirror = Mirror(
            files.waits,
            source=LocalSource(files.waits),
            beside=RemoteSource(files),
            target=RemoteTarget(files),
            mover=Sending(files, wishes),
            same=(lambda here, there: same_bytes(files, there, here)) if checksum else None,
            remove=remover(files),
            allow=allower(files),
        )
        source, target = os.fsencode(local), encoded(remote)
        return await mirror.run(source, target, wishes, delete=delete, dry_run=dry_run)

    async def mirror_get(
        self,
        remote: RemotePath,
        local: LocalPath,
        *,
        delete: bool = False,
        checksum: bool = False,
        dry_run: bool = False,
        progress_handler: Progress | None = None,
    ) -> Mirrored:
        """Make the tree here like the one at ``remote``; the rest is as for ``mirror_put``."""
        files, wishes = self._files, mirror_wishes(progress_handler)
        mirror = Mirror(
            files.waits,
            source=RemoteSource(files),
            beside=LocalSource(files.waits),
            target=LocalTarget(files.waits),
            mover=Fetching(files, wishes),
            same=(lambda there, here: same_bytes(files, there, here)) if checksum else None,
            remove=local_remover(files.waits),
            allow=local_allower(files.waits),
        )
        source, target = encoded(remote), os.fsencode(local)
        return await mirror.run(source, target, wishes, delete=delete, dry_run=dry_run)

    async def _fitting(self, pattern: RemotePath) -> list[bytes]:
        found = await self._files.glob(encoded(pattern))
        if not found:
            where = shown(encoded(pattern))
            raise SftpError.of(2, f"{where!a}: nothing fits", filename=where)
        return found

    async def _is_directory(self, path: bytes) -> bool:
        try:
            return (await self._files.stat(path)).is_directory
        except SftpError:
            return False

    async def _is_local_directory(self, path: bytes) -> bool:
        found = await aside(self._files.waits, local_trees.find, path, True)
        return found is not None and found.is_directory

    # The talk

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


def _each(paths: Any) -> list[Any]:
    return [paths] if isinstance(paths, str | bytes | os.PathLike) else list(paths)


def _several(paths: RemotePath | Sequence[RemotePath]) -> list[bytes]:
    return [encoded(path) for path in _each(paths)]


def _pairs(sources: Sequence[bytes], target: bytes, *, inside: bool) -> list[tuple[bytes, bytes]]:
    """Where each goes: into a directory by its last name, which must be one (R173)."""
    if not inside:
        if len(sources) > 1:
            raise UsageError(f"{shown(target)!a} is no directory, and several files go there")
        return [(source, target) for source in sources]
    pairs = []
    for source in sources:
        name = last_name(source)
        if name in {b"", b".", b".."}:
            raise UsageError(f"{shown(source)!a} has no name that a file could have")
        pairs.append((source, joined(target, name)))
    return pairs
