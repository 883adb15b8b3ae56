# SPDX-License-Identifier: MIT
"""Whole files by many requests at once: what is asked for next, what came short, and how far it is."""

from collections.abc import Callable
from typing import Final

from tellin.errors import SftpError, TellinError
from tellin.sftp.client import SftpClient
from tellin.sftp.messages import MOST_DATA

# What every server takes (draft-ietf-secsh-filexfer-02 section 3), where it says nothing of more.
SAFE_BLOCK: Final = 32768
# So much is on its way at once: enough for 16 MB/s at a quarter of a second.
MOST_ON_ITS_WAY: Final = 4 << 20
_FEWEST: Final = 4

Done = Callable[[TellinError | None], object]
"""Called once, when nothing is on its way any more, with the first thing that went wrong."""


def in_flight(block: int) -> int:
    """How many requests of a size are let out at once."""
    return max(_FEWEST, MOST_ON_ITS_WAY // block)


def block_of(limit: int) -> int:
    """The size of a request for a server that takes ``limit`` bytes; 0 where it does not say."""
    return min(limit, MOST_DATA) if limit else SAFE_BLOCK


class Transfer:
    """What both ways have in common: what is on its way, by its offset, and the first failure."""

    def __init__(
        self, client: SftpClient, handle: bytes, *, start: int, block: int, path: bytes, done: Done
    ) -> None:
        self._client = client
        self._handle = handle
        self._block = block
        self._path = path
        self._done = done
        self._most = in_flight(block)
        self._next = start
        self._flying: set[int] = set()
        self._failure: TellinError | None = None
        self._over = False

    @property
    def contiguous(self) -> int:
        """Up to this offset there is no gap."""
        return min(self._flying, default=self._next)

    def fail(self, error: TellinError) -> None:
        """Ask for nothing more; the first failure is the one that counts (R176)."""
        if self._failure is None:
            self._failure = error

    def _step(self) -> None:
        if self._failure is None:
            try:
                self._fill()
            except TellinError as error:
                self.fail(error)
        if not self._flying and not self._over:
            self._over = True
            self._done(self._failure)

    def _fill(self) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        """Ask for the first ones."""
        self._step()


class Download(Transfer):
    """Reads from ``start`` to the file's end, or to ``end``.

    ``take`` gets a view and its offset in the file, in any order; OSError out of it ends the
    transfer. So much as ``size`` says is asked for at once, and more, or a file that says 0, is read
    on to its end; with ``whole`` a file that ends before it is a failure.
    """

    def __init__(
        self,
        client: SftpClient,
        handle: bytes,
        *,
        start: int,
        size: int,
        block: int,
        path: bytes,
        end: int | None = None,
        whole: bool = False,
        take: Callable[[memoryview, int], object],
        done: Done,
    ) -> None:
        super().__init__(client, handle, start=start, block=block, path=path, done=done)
        self._size = size if end is None else min(size, end)
        self._end = end
        self._whole = whole
        self._take = take
        self.problem: OSError | None = None
        self._file_end: int | None = None  # where the server has said that the file ends
        self._gaps: list[tuple[int, int]] = []

    @property
    def contiguous(self) -> int:
        """Up to this offset all is here."""
        first = min([*self._flying, *(at for at, _ in self._gaps)], default=self._next)
        return first if self._file_end is None else min(first, self._file_end)

    def _fill(self) -> None:
        while len(self._flying) < self._most:
            if self._gaps:
                self._fetch(*self._gaps.pop())
                continue
            if self._file_end is not None or (self._end is not None and self._next >= self._end):
                return
            # Up to where it is said to end, and one more that shows the end; what lies behind that
            # is asked for when it is known to be there.
            if self._next > self._size and self._flying:
                return
            length = self._block
            if self._next < self._size:
                length = min(length, self._size - self._next)
            if self._end is not None:
                length = min(length, self._end - self._next)
            self._fetch(self._next, length)
            self._next += max(length, 1)

    def _fetch(self, offset: int, length: int) -> None:
        def take(view: memoryview, position: int) -> None:
            if self._failure is not None:
                return
            try:
                self._take(view, offset + position)
            except OSError as error:
                self.problem = error
                self.fail(SftpError(f"the data cannot be kept: {error.strerror or error}"))

        def settle(count: int | None, error: TellinError | None) -> None:
            self._flying.discard(offset)
            if error is not None:
                self.fail(error)
            if self._failure is not None:
                # Perhaps not all of it was kept.
                self._gaps.append((offset, length))
            elif not count:
                if self._file_end is None or offset < self._file_end:
                    self._file_end = offset
                self._gaps = [gap for gap in self._gaps if gap[0] < self._file_end]
            elif count < length:
                # Any server's habit; only an answer of nothing is the end.
                self._gaps.append((offset + count, length - count))
            self._check()
            self._step()

        try:
            self._client.fetch(self._handle, offset, length, take, settle, path=self._path)
        except TellinError:
            self._gaps.append((offset, length))
            raise
        self._flying.add(offset)

    def _check(self) -> None:
        ended = self._file_end
        if not self._whole or self._flying or self._gaps:
            return
        if ended is not None and ended < self._size:
            # Case 254: the rest of it is not there, whatever was said of its size.
            where = self._path.decode("utf-8", "backslashreplace")
            self.fail(SftpError(f"read {where!a}: it ends after {ended} of {self._size} bytes"))


class Upload(Transfer):
    """Writes what ``read`` gives for an offset and a size, until that is nothing.

    What it gives must not change before it is sent. OSError out of it ends the transfer.
    """

    def __init__(
        self,
        client: SftpClient,
        handle: bytes,
        *,
        start: int,
        block: int,
        path: bytes,
        read: Callable[[int, int], bytes | memoryview],
        done: Done,
    ) -> None:
        super().__init__(client, handle, start=start, block=block, path=path, done=done)
        self._read = read
        self.problem: OSError | None = None
        self._at_end = False

    def _fill(self) -> None:
        while not self._at_end and len(self._flying) < self._most:
            offset = self._next
            try:
                data = self._read(offset, self._block)
            except OSError as error:
                self.problem = error
                self.fail(SftpError(f"the data cannot be read: {error.strerror or error}"))
                return
            if not data:
                self._at_end = True
                return
            self._client.write(
                self._handle, offset, memoryview(data), self._settler(offset), path=self._path
            )
            self._next += len(data)
            self._flying.add(offset)

    def _settler(self, offset: int) -> Callable[[object, TellinError | None], None]:
        def settle(_reply: object, error: TellinError | None) -> None:
            self._flying.discard(offset)
            if error is not None:
                self.fail(error)
            self._step()

        return settle
