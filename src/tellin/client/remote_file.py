# SPDX-License-Identifier: MIT
"""An open file of the other side, for coroutines."""

import os
from types import TracebackType
from typing import Any

from tellin.errors import UsageError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.remote_files import RemoteFiles, shown
from tellin.sftp.transfers import Download, Upload, from_memory


class RemoteFile:
    """An open file on the other side, of bytes; made by ``Files.open``.

    ``read`` and ``write`` begin where the last one ended. Large ones are several requests at once.
    """

    __slots__ = ("_append", "_closed", "_files", "_handle", "_path", "offset")

    def __init__(self, files: RemoteFiles, handle: bytes, path: bytes, *, append: bool) -> None:
        self._files = files
        self._handle = handle
        self._path = path
        self._append = append
        self._closed = False
        self.offset: int = 0
        """Where the next read or write begins."""

    def __repr__(self) -> str:
        return f"<RemoteFile {shown(self._path)!r}{', closed' if self._closed else ''}>"

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
        transfer = Download(
            self._files.client,
            self._handle,
            start=start,
            size=known,
            end=start + size if size >= 0 else None,
            block=self._files.read_block,
            path=self._path,
            take=take,
        )
        await self._files.carry(transfer)
        del data[transfer.contiguous - start :]
        self.offset = start + len(data)
        return bytes(data)

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it, which must not change before that is done; returns its size."""
        self._check()
        view = memoryview(data).cast("B")
        # Where the server puts it, whatever the offset: at the end.
        start = (await self.stat()).size or 0 if self._append else self.offset
        transfer = Upload(
            self._files.client,
            self._handle,
            start=start,
            block=self._files.write_block,
            path=self._path,
            load=from_memory(view, start),
        )
        await self._files.carry(transfer)
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
        return await self._files.ask(request, self._path)

    def _check(self) -> None:
        if self._closed:
            raise UsageError("the file is closed")

    async def aclose(self) -> None:
        """Close it; raises what the server could not write."""
        if not self._closed:
            self._closed = True
            await self._files.close(self._handle, self._path)

    def abandon(self) -> None:
        """Close it without waiting for that."""
        if not self._closed:
            self._closed = True
            self._files.tell(messages.Close(self._handle))

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
