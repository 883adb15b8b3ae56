# SPDX-License-Identifier: MIT
"""An open file of the other side, for coroutines: of bytes, read ahead and written behind, or of text."""

import codecs
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tellin.errors import TellinError, UsageError
from tellin.runtime.opening import Opening
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import OPEN_APPEND, OPEN_READ, OPEN_WRITE
from tellin.sftp.remote_files import RemoteFiles, shown
from tellin.sftp.transfers import Download, Upload, from_memory
from tellin.sftp.waiting import Awaited, settler

# What is read ahead grows to this while a file is read in its order.
_MOST_AHEAD: Final = 4 << 20
# So much may be written and not answered yet.
_MOST_BEHIND: Final = 4 << 20
# What is looked through at once for the end of a line.
_LINE_STEP: Final = 8192


class _Ahead:
    """What is being fetched before it is asked for."""

    __slots__ = ("answer", "data", "start", "transfer")

    def __init__(self, start: int, data: bytearray, transfer: Download, answer: Awaited) -> None:
        self.start = start
        self.data = data
        self.transfer = transfer
        self.answer = answer


class RemoteFile:
    """An open file on the other side, of bytes; made by ``Files.open``.

    ``read`` and ``write`` begin where the last one ended. What is read in its order is fetched ahead,
    so what others write meanwhile may not be seen; ``seek`` forgets it. What is written is on its
    way when ``write`` returns; the first thing that goes wrong is raised by whatever comes next,
    and by ``flush`` and ``aclose`` at the latest.
    """

    __slots__ = (
        "_ahead",
        "_append",
        "_behind",
        "_buffer",
        "_buffer_at",
        "_closed",
        "_end",
        "_failure",
        "_files",
        "_flags",
        "_handle",
        "_path",
        "_waiting",
        "_window",
        "offset",
    )

    def __init__(self, files: RemoteFiles, handle: bytes, path: bytes, *, flags: int) -> None:
        self._files = files
        self._handle = handle
        self._path = path
        self._flags = flags
        self._append = append = bool(flags & OPEN_APPEND)
        self._closed = False
        # What was fetched: from ``_buffer_at`` on, and further what is on its way.
        self._buffer = bytearray()
        self._buffer_at = 0
        self._ahead: _Ahead | None = None
        self._window = 0
        # What was written: how much of it is not answered, and what went wrong first.
        self._behind = 0
        self._waiting: Awaited | None = None
        self._failure: TellinError | None = None
        self._end = 0 if append else -1
        self.offset: int = 0
        """Where the next read or write begins."""

    def __repr__(self) -> str:
        return f"<RemoteFile {shown(self._path)!r}{', closed' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    # Reading

    async def read(self, size: int = -1) -> bytes:
        """``size`` bytes, or fewer where the file ends; without ``size`` all to the end."""
        self._check_for(OPEN_READ, "reading")
        await self.flush()
        if size < 0:
            return await self._rest()
        while len(self._buffer) - self._used() < size:
            if not await self._bring(size):
                break
        start = self._used()
        data = bytes(memoryview(self._buffer)[start : start + size])
        self.offset += len(data)
        self._trim()
        return data

    def _used(self) -> int:
        """Where in the buffer the next byte is; what lies elsewhere is forgotten."""
        at = self.offset - self._buffer_at
        if not 0 <= at <= len(self._buffer):
            self._forget()
            self._buffer_at, at = self.offset, 0
        return at

    def _trim(self) -> None:
        used = self._used()
        if used >= len(self._buffer) or used > _MOST_AHEAD:
            del self._buffer[:used]
            self._buffer_at += used
        # In order so far, and half of it is used up: the next part sets out.
        if (
            self._ahead is None
            and self._window > 1
            and len(self._buffer) - self._used() <= (self._window // 2)
        ):
            self._begin(self._buffer_at + len(self._buffer), self._window)

    async def _bring(self, size: int) -> bool:
        """Have more in the buffer; false at the file's end."""
        end = self._buffer_at + len(self._buffer)
        if self._ahead is not None and self._ahead.start != end:
            self._drop()
        if self._ahead is None:
            missing = size - (len(self._buffer) - self._used())
            self._begin(end, max(missing, self._window))
        ahead = self._ahead
        assert ahead is not None
        try:
            await ahead.answer
        except BaseException:
            self._drop()
            raise
        self._ahead = None
        count = ahead.transfer.contiguous - ahead.start
        self._buffer += memoryview(ahead.data)[:count]
        # Once is no order yet: who reads here and there has nothing fetched in vain.
        grown = max(2 * self._window, self._files.read_block)
        self._window = min(grown, _MOST_AHEAD) if self._window else 1
        return count > 0

    def _begin(self, start: int, size: int) -> None:
        data = bytearray()
        transfer = self._download(start, data, start + size, start + size)
        answer = self._files.waits.answer()
        settle = settler(self._files.waits, answer)
        self._ahead = _Ahead(start, data, transfer, answer)
        transfer.begin(lambda error: settle(None, error))

    def _download(self, start: int, data: bytearray, known: int, end: int | None) -> Download:
        def take(view: memoryview, offset: int) -> None:
            reach = offset - start + len(view)
            if reach > len(data):
                data.extend(bytes(reach - len(data)))
            data[reach - len(view) : reach] = view

        return Download(
            self._files.client,
            self._handle,
            start=start,
            size=known,
            end=end,
            block=self._files.read_block,
            path=self._path,
            take=take,
        )

    async def _rest(self) -> bytes:
        used = self._used()
        before = bytes(memoryview(self._buffer)[used:])
        self._forget()
        start, data = self.offset + len(before), bytearray()
        transfer = self._download(start, data, (await self.stat()).size or 0, None)
        await self._files.carry(transfer)
        del data[transfer.contiguous - start :]
        self.offset = start + len(data)
        return before + bytes(data)

    def _drop(self) -> None:
        if self._ahead is not None:
            self._ahead.transfer.fail(TellinError("not wanted any more"))
            self._ahead = None

    def _forget(self) -> None:
        self._drop()
        self._buffer.clear()
        self._buffer_at = self.offset
        self._window = 0

    async def readline(self, limit: int = -1) -> bytes:
        """Up to the end of a line, and with it; or ``limit`` bytes; nothing at the file's end."""
        self._check_for(OPEN_READ, "reading")
        await self.flush()
        seen = 0
        while True:
            used = self._used()
            found = self._buffer.find(b"\n", used + seen)
            have = len(self._buffer) - used
            if found >= 0:
                have = found + 1 - used
            elif limit < 0 or have < limit:
                seen = have
                if await self._bring(have + _LINE_STEP):
                    continue
                have = len(self._buffer) - self._used()
            return await self.read(have if limit < 0 else min(have, limit))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    # Writing

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it, in the server's order; returns its size."""
        self._check_for(OPEN_WRITE, "writing")
        self._raise()
        self._forget()
        view = memoryview(data).cast("B")
        size = len(view)
        if self._append:
            # Where the server puts it, whatever the offset: at the end.
            self.offset = await self._at_end()
        if size > _MOST_BEHIND:
            # It stays where it is until it is there: nothing of it is copied.
            await self.flush()
            transfer = Upload(
                self._files.client,
                self._handle,
                start=self.offset,
                block=self._files.write_block,
                path=self._path,
                load=from_memory(view, self.offset),
            )
            await self._files.carry(transfer)
        else:
            await self._write_behind(memoryview(bytes(view)))
        self.offset += size
        if self._append:
            self._end = self.offset
        return size

    async def _write_behind(self, view: memoryview) -> None:
        block, offset = self._files.write_block, self.offset
        for at in range(0, len(view), block):
            part = view[at : at + block]
            while self._behind and self._behind + len(part) > _MOST_BEHIND:
                await self._answered()
            self._raise()
            self._files.client.write(
                self._handle, offset + at, part, self._settled(len(part)), path=self._path
            )
            self._behind += len(part)

    def _settled(self, size: int) -> Any:
        def settle(_reply: object, error: TellinError | None) -> None:
            self._behind -= size
            if self._failure is None:
                # R176: the first one counts, whatever comes after it.
                self._failure = error
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

        return settle

    async def _answered(self) -> None:
        """Wait until something that was written is answered."""
        if self._waiting is None:
            self._waiting = self._files.waits.answer()
        waiting = self._waiting
        try:
            await waiting
        except BaseException:
            if self._waiting is waiting:
                self._waiting = None
            raise

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._files.waits.raised(self._failure)

    async def _at_end(self) -> int:
        if not self._end:
            self._end = (await self.stat()).size or 0
        return self._end

    async def flush(self) -> None:
        """Wait until the server has all that was written; raises what went wrong first."""
        while self._behind:
            await self._answered()
        self._raise()

    # The rest

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset`` from the beginning, from here (1) or from the end (2); returns where that is."""
        base = self.offset if whence == os.SEEK_CUR else 0
        if whence == os.SEEK_END:
            base = (await self.stat()).size or 0
        if base + offset < 0:
            raise UsageError("there is nothing before the beginning of a file")
        if base + offset != self.offset:
            self.offset = base + offset
            self._forget()
        return self.offset

    def tell(self) -> int:
        """Where the next read or write begins."""
        return self.offset

    async def stat(self) -> Attributes:
        """What is known of it."""
        await self.flush()
        reply = await self._ask(messages.FileStat(self._handle))
        assert isinstance(reply, messages.Attrs)
        return reply.attributes

    async def truncate(self, size: int | None = None) -> None:
        """Make it ``size`` bytes long, or as long as it is up to here."""
        await self.change(Attributes(size=self.offset if size is None else size))

    async def change(self, attributes: Attributes) -> None:
        """Change what is given."""
        await self.flush()
        self._forget()
        self._end = min(self._end, 0)
        await self._ask(messages.FileSetStat(self._handle, attributes))

    async def sync(self) -> None:
        """Have all that was written brought to the disk, where the server can do that."""
        await self.flush()
        await self._ask(messages.FileSync(self._handle))

    async def _ask(self, request: messages.Request) -> Any:
        self._check()
        return await self._files.ask(request, self._path)

    def _check(self) -> None:
        if self._closed:
            raise UsageError("the file is closed")

    def _check_for(self, flag: int, what: str) -> None:
        self._check()
        if not self._flags & flag:
            # A server's word for it is that there is no such file.
            raise UsageError(f"the file is not open for {what}")

    async def aclose(self) -> None:
        """Close it; raises what the server could not write."""
        if self._closed:
            return
        self._closed = True
        self._drop()
        try:
            await self.flush()
        except BaseException:
            self._files.tell(messages.Close(self._handle))
            raise
        await self._files.close(self._handle, self._path)

    def abandon(self) -> None:
        """Close it without waiting for that."""
        if not self._closed:
            self._closed = True
            self._drop()
            self._files.tell(messages.Close(self._handle))

    async def __aenter__(self) -> Self:
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


class RemoteTextFile:
    """An open file on the other side, of text; made by ``Files.open`` with ``t`` or an encoding.

    Lines end as they do there. ``binary`` is the same file, of bytes.
    """

    __slots__ = ("_decoder", "_encoding", "_errors", "_text", "binary")

    def __init__(self, binary: RemoteFile, encoding: str, errors: str) -> None:
        self.binary = binary
        self._encoding = encoding
        self._errors = errors
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        # Decoded, and not given yet.
        self._text = ""

    def __repr__(self) -> str:
        return f"<RemoteTextFile of {self.binary!r}>"

    async def read(self, size: int = -1) -> str:
        """``size`` characters, or fewer where the file ends; without ``size`` all to the end."""
        if size < 0:
            text = self._text + self._decoder.decode(await self.binary.read(), final=True)
            self._text = ""
            return text
        while len(self._text) < size and await self._more():
            pass
        text, self._text = self._text[:size], self._text[size:]
        return text

    async def readline(self) -> str:
        """Up to the end of a line, and with it; nothing at the file's end."""
        seen = 0
        while (end := self._text.find("\n", seen)) < 0:
            seen = len(self._text)
            if not await self._more():
                end = seen - 1
                break
        line, self._text = self._text[: end + 1], self._text[end + 1 :]
        return line

    async def _more(self) -> bool:
        data = await self.binary.read(_LINE_STEP)
        self._text += self._decoder.decode(data, final=not data)
        return bool(data)

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await self.readline():
            yield line

    async def write(self, text: str) -> int:
        """Write all of it; returns how many characters that were."""
        await self.binary.write(text.encode(self._encoding, self._errors))
        return len(text)

    async def flush(self) -> None:
        """Wait until the server has all that was written; raises what went wrong first."""
        await self.binary.flush()

    async def seek(self, offset: int) -> None:
        """Go to a byte, which must be the first of a character."""
        self._text = ""
        self._decoder.reset()
        await self.binary.seek(offset)

    async def aclose(self) -> None:
        """Close it; raises what the server could not write."""
        await self.binary.aclose()

    def abandon(self) -> None:
        """Close it without waiting for that."""
        self.binary.abandon()

    async def __aenter__(self) -> Self:
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


File = TypeVar("File", RemoteFile, RemoteTextFile)


class FileOpening(Opening[File]):
    """A file that is being opened; a block that is left by an error waits for nothing more."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, trace)
