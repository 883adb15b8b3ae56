# SPDX-License-Identifier: MIT
"""Whole files by many requests at once: what is asked for next, what came short, and how far it is."""

import errno
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from tellin.errors import SftpError, TellinError
from tellin.sftp.client import InFile, SftpClient
from tellin.sftp.messages import MOST_DATA

# What every server takes (draft-ietf-secsh-filexfer-02 section 3), where it says nothing of more.
SAFE_BLOCK: Final = 32768
# However full the link is: with so many requests each file goes on.
_FEWEST: Final = 2
# What is read from this side's disk at once, and how much of it is ready before it is needed.
LOAD: Final = 1 << 20
# What was answered and is still being kept; a disk that is slower than the link stops it.
_MOST_KEEPING: Final = 8 << 20

Done = Callable[[TellinError | None], object]
"""Called once, when nothing is on its way any more, with the first thing that went wrong."""

Loaded = Callable[[Any, OSError | None], object]
"""Gets ``(offset, data)``, where no data is the end, or what went wrong."""

Kept = Callable[[Any, Exception | None], object]
"""Told when what was to be kept is, or why it is not."""


def block_of(limit: int) -> int:
    """The size of a request for a server that takes ``limit`` bytes; 0 where it does not say."""
    return min(limit, MOST_DATA) if limit else SAFE_BLOCK


def _ignored(_error: TellinError | None) -> None:
    """The end of a transfer that nobody has begun."""


class Transfer:
    """What both ways have in common: what is on its way, by its offset, and the first failure."""

    def __init__(
        self, client: SftpClient, handle: bytes, *, start: int, block: int, path: bytes
    ) -> None:
        self._client = client
        self._pace = client.pace
        self._handle = handle
        self._block = block
        self._path = path
        self._done: Done = _ignored
        self._next = start
        self._flying: dict[int, float] = {}
        self._failure: TellinError | None = None
        self._over = False
        self.problem: OSError | None = None
        """What was wrong on this side, if that has ended it."""
        self.moved = 0
        """How many bytes have been moved."""
        # Where the last of what was moved ends, and the first that was refused begins.
        self._behind = start
        self._refused: int | None = None
        self.on_moved: Callable[[int], object] | None = None
        """Told of every piece how much was moved up to then."""

    @property
    def contiguous(self) -> int:
        """Up to this offset there is no gap."""
        return min(self._flying, default=self._next)

    @property
    def has_gap(self) -> bool:
        """Whether behind something that was refused there is something that was not."""
        # What was on its way when the talk ended is no such thing: it was not refused.
        refused = self._refused if isinstance(self._failure, SftpError) else None
        return refused is not None and self._behind > refused

    def begin(self, done: Done) -> None:
        """Ask for the first ones; ``done`` hears of the end."""
        self._done = done
        self._step()

    def fail(self, error: TellinError) -> None:
        """Ask for nothing more; the first failure is the one that counts (R176)."""
        if self._failure is None:
            self._failure = error

    def _broken(self, problem: Exception, what: str) -> None:
        if isinstance(problem, TellinError) or not isinstance(problem, OSError):
            self.fail(problem if isinstance(problem, TellinError) else TellinError(str(problem)))
            return
        if self.problem is None and self._failure is None:
            self.problem = problem
        self.fail(SftpError(f"the data cannot be {what}: {problem.strerror or problem}"))

    def _has_moved(self, size: int) -> None:
        self.moved += size
        if self.on_moved is not None:
            self.on_moved(self.moved)

    def _may_ask(self, size: int) -> bool:
        return len(self._flying) < _FEWEST or self._pace.allows(size)

    @property
    def _idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._flying

    def _step(self) -> None:
        if self._over:
            return
        if self._failure is None:
            try:
                self._fill()
            except TellinError as error:
                self.fail(error)
        if self._idle and not self._over:
            self._over = True
            self._done(self._failure)

    def _fill(self) -> None:
        raise NotImplementedError


class _Piece:
    """What one READ asks for."""

    __slots__ = ("_download", "buffer", "count", "length", "offset", "there")

    def __init__(self, download: "Download", offset: int, length: int) -> None:
        self._download = download
        self.offset = offset
        self.length = length
        self.count = 0
        self.there = False
        self.buffer: bytearray | None = None

    def take(self, view: memoryview, position: int) -> None:
        """A part of it has come."""
        download = self._download
        # Of a piece either all goes to its place as it comes, or all of it is collected.
        if self.buffer is None and (position or download.places(self.offset)):
            download.place(view, self.offset + position)
            return
        if self.buffer is None:
            self.buffer = download.buffer()
        self.buffer[position : position + len(view)] = view

    def settle(self, count: int | None, error: TellinError | None) -> None:
        """All of it has come that will."""
        self.count = count or 0
        self._download.answered(self, count, error)

    def kept(self, _value: object, problem: Exception | None) -> None:
        """It is where it belongs, or cannot be."""
        self._download.kept(self, problem)


class Download(Transfer):
    """Reads from ``start`` to the file's end, or to ``end``.

    ``take`` gets views and their offsets in the file, one behind the other whatever the order of the
    answers: a file that is filled so has no gaps even if all of this is killed, and its size is how
    much of it is there. OSError out of it ends the transfer. In its place ``keep`` may get the data
    of a whole request, its offset and what to call when it is kept: until then that counts as on its
    way. With both, ``prompt`` says for each request whether ``take`` gets it. So much as ``size`` says is asked for at once, and more, or a file that says 0, is read on
    to its end; with ``whole`` a file that ends before it is a failure.
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
        supposed: int | None = None,
        take: Callable[[memoryview, int], object] | None = None,
        keep: Callable[[memoryview, int, Kept], object] | None = None,
        prompt: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(client, handle, start=start, block=block, path=path)
        self._size = size if end is None else min(size, end)
        self._end = end
        self._whole = whole
        self._supposed = supposed
        self._take = take
        self._keep = keep
        self._prompt = prompt
        # Up to here all was given to ``take`` or ``keep``; what has come for places behind a gap.
        self._at = start
        self._early: dict[int, _Piece] = {}
        self._file_end: int | None = None  # where the server has said that the file ends
        self._gaps: list[tuple[int, int]] = []
        # Buffers that are free again: a fresh one is zeros that somebody has written.
        self._free: list[bytearray] = []
        self._keeping = 0

    @property
    def contiguous(self) -> int:
        """Up to this offset all is here."""
        first = min([*self._flying, *(at for at, _ in self._gaps)], default=self._next)
        return first if self._file_end is None else min(first, self._file_end)

    def _may_ask(self, size: int) -> bool:
        # What is here already calls nobody.
        flying = len(self._flying) - len(self._early)
        return flying < _FEWEST or self._pace.allows(size)

    @property
    def _room(self) -> bool:
        """Whether more may be asked for: a disk that is slower than the link holds it up, and so does a gap."""
        return (self._keeping + len(self._early)) * self._block < _MOST_KEEPING

    def _fill(self) -> None:
        while True:
            if self._gaps:
                # The first one: all that has come behind it waits for it.
                first = min(self._gaps)
                if not self._may_ask(first[1]):
                    return
                self._gaps.remove(first)
                self._fetch(*first)
                continue
            if not self._room:
                return
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
            if not self._may_ask(length):
                return
            self._fetch(self._next, length)
            self._next += max(length, 1)

    def _fetch(self, offset: int, length: int) -> None:
        asked = _Piece(self, offset, length)
        try:
            self._client.fetch(
                self._handle, offset, length, asked.take, asked.settle, path=self._path
            )
        except TellinError:
            self._gaps.append((offset, length))
            raise
        self._flying[offset] = self._pace.sent(length)

    def place(self, view: memoryview, offset: int) -> None:
        """A part of a piece is here, and goes where it belongs."""
        if self._take is None or self._failure is not None:
            return
        try:
            self._take(view, offset)
        except OSError as error:
            self._broken(error, "kept")
        else:
            self._at = offset + len(view)

    def places(self, offset: int) -> bool:
        """Whether what has come for an offset goes to its place at once, or nowhere any more."""
        if self._failure is not None:
            return True
        if offset != self._at:
            return False
        if self._keep is None:
            return True
        # What is still being kept lies before it.
        return self._prompt is not None and not self._keeping and self._prompt()

    def buffer(self) -> bytearray:
        """Room for one piece."""
        return self._free.pop() if self._free else bytearray(self._block)

    def answered(self, piece: "_Piece", count: int | None, error: TellinError | None) -> None:
        """The server has answered for a piece."""
        self._pace.answered(piece.length, self._flying[piece.offset], moved=count or 0)
        if error is not None:
            self.fail(error)
        # What came after a failure was not taken.
        piece.there = self._failure is None
        if piece.there and piece.buffer is not None and piece.offset > self._at:
            self._early[piece.offset] = piece
        elif piece.there and count:
            self._hand_on(piece)
        else:
            self.settled(piece, count)
            return
        # What it makes room for is asked for at once.
        self._step()

    def _hand_on(self, piece: "_Piece | None") -> None:
        """A piece whose turn it is, and those that have come before their turn."""
        while piece is not None and self._failure is None:
            if piece.buffer is None:
                self.settled(piece, piece.count)
            elif self._keep is not None:
                self._at = piece.offset + piece.count
                self._keeping += 1
                self._keep(memoryview(piece.buffer)[: piece.count], piece.offset, piece.kept)
            else:
                self.place(memoryview(piece.buffer)[: piece.count], piece.offset)
                self._free.append(piece.buffer)
                piece.there = self._failure is None
                self.settled(piece, piece.count)
            piece = self._early.pop(self._at, None)

    def kept(self, piece: "_Piece", problem: Exception | None) -> None:
        """A piece is where it belongs, or cannot be."""
        assert piece.buffer is not None
        self._keeping -= 1
        self._free.append(piece.buffer)
        if problem is not None:
            piece.there = False
            at = piece.offset
            self._refused = at if self._refused is None else min(self._refused, at)
            self._broken(problem, "kept")
        self.settled(piece, piece.count)

    def settled(self, piece: "_Piece", count: int | None) -> None:
        """A piece is not on its way any more."""
        offset, length = piece.offset, piece.length
        del self._flying[offset]
        if not piece.there:
            # Perhaps not all of it was kept.
            self._gaps.append((offset, length))
        elif not count:
            if self._file_end is None or offset < self._file_end:
                self._file_end = offset
            self._gaps = [gap for gap in self._gaps if gap[0] < self._file_end]
        else:
            self._behind = max(self._behind, offset + count)
            self._has_moved(count)
            # Whole blocks may be as much as a server gives at once.
            if count < length and offset + count == self._supposed and count % SAFE_BLOCK:
                self._file_end = self._supposed
            elif count < length:
                # Any server's habit; only an answer of nothing is the end.
                self._gaps.append((offset + count, length - count))
        self._forget_early()
        self._check()
        self._step()

    def _forget_early(self) -> None:
        """What has come, and will not have its turn any more."""
        if self._failure is not None:
            self._gaps += [(piece.offset, piece.length) for piece in self._early.values()]
            gone = [*self._early]
        else:
            # Behind the end there is nothing, whatever was said before.
            ended = self._file_end
            gone = [offset for offset in self._early if ended is not None and offset >= ended]
        for offset in gone:
            del self._early[offset]
            del self._flying[offset]

    def _check(self) -> None:
        ended = self._file_end
        if not self._whole or self._flying or self._gaps:
            return
        size = self._size if self._supposed is None else self._supposed
        if ended is not None and ended < size:
            # Case 254: the rest of it is not there, whatever was said of its size.
            where = self._path.decode("utf-8", "backslashreplace")
            self.fail(SftpError(f"read {where!a}: it ends after {ended} of {size} bytes"))


class Upload(Transfer):
    """Writes what ``load`` gives: it is asked for data from an offset on, and tells ``(offset, data)``.

    The offset it tells may lie further on, behind a hole; no data is the end. What it gives must not
    change before it is sent. It is asked ahead of what is sent, one time after the other. A bytearray
    below it that is free again goes to ``recycle``.
    """

    def __init__(
        self,
        client: SftpClient,
        handle: bytes,
        *,
        start: int,
        block: int,
        path: bytes,
        load: Callable[[int, int, Loaded], object],
        recycle: Callable[[bytearray], object] | None = None,
    ) -> None:
        super().__init__(client, handle, start=start, block=block, path=path)
        self._load = load
        self._recycle = recycle
        # Whole requests: what is left over would travel in one of its own.
        self._at_once = max(LOAD // block * block, block)
        self._position = start
        self._ready: deque[tuple[int, memoryview | InFile, _Load]] = deque()
        self._waiting = 0
        self._at_end = False
        self._loading = False
        self._filling = False

    @property
    def contiguous(self) -> int:
        """Up to this offset all that was written is there."""
        first = min(self._flying, default=self._next)
        return first if self._refused is None else min(first, self._refused)

    @property
    def _idle(self) -> bool:
        return not self._flying and not self._loading

    def _fill(self) -> None:
        self._filling = True
        try:
            while True:
                self._send()
                if self._at_end or self._loading or self._waiting >= self._at_once or self.problem:
                    return
                self._loading = True
                self._load(self._position, self._at_once, self._loaded)
                if self._loading:
                    return
        finally:
            self._filling = False

    def _send(self) -> None:
        ready = self._ready
        while ready:
            offset, data, loaded = ready[0]
            size = min(len(data), self._block)
            if not self._may_ask(size):
                return
            written = _Written(self, offset, size, loaded)
            first = data.part(0, size) if isinstance(data, InFile) else data[:size]
            self._client.write(self._handle, offset, first, written.settle, path=self._path)
            self._flying[offset] = self._pace.sent(size)
            self._next = offset + size
            self._waiting -= size
            if size == len(data):
                ready.popleft()
            else:
                rest = data.part(size, len(data)) if isinstance(data, InFile) else data[size:]
                ready[0] = (offset + size, rest, loaded)

    def ended_early(self, at: int) -> None:
        """Of an InFile nothing is there any more from an offset on: what is sent for it does not count."""
        self._refused = at if self._refused is None else min(self._refused, at)
        self._broken(OSError(errno.EIO, "the file has become shorter"), "read")

    def _loaded(
        self, found: tuple[int, bytes | memoryview | InFile] | None, error: OSError | None
    ) -> None:
        self._loading = False
        if error is not None:
            self._broken(error, "read")
        elif found is None or not found[1]:
            self._at_end = True
        else:
            offset, data = found
            view = data if isinstance(data, InFile) else memoryview(data)
            self._ready.append((offset, view, _Load(view)))
            self._waiting += len(data)
            self._position = offset + len(data)
        if not self._filling:
            self._step()

    def written(self, offset: int, size: int, loaded: "_Load", error: TellinError | None) -> None:
        """The server has answered for a piece."""
        self._pace.answered(size, self._flying.pop(offset), moved=size)
        loaded.left -= size
        if not loaded.left and self._recycle is not None and isinstance(loaded.below, bytearray):
            self._recycle(loaded.below)
        if error is not None:
            self._refused = offset if self._refused is None else min(self._refused, offset)
            self.fail(error)
        else:
            self._behind = max(self._behind, offset + size)
            self._has_moved(size)
        self._step()


class _Load:
    """What was read in one go, and how much of it is not answered for."""

    __slots__ = ("below", "left")

    def __init__(self, view: memoryview | InFile) -> None:
        self.left = len(view)
        self.below: object = view if isinstance(view, InFile) else view.obj


class _Written:
    """What one WRITE puts there."""

    __slots__ = ("_loaded", "_offset", "_size", "_upload")

    def __init__(self, upload: Upload, offset: int, size: int, loaded: _Load) -> None:
        self._upload = upload
        self._loaded = loaded
        self._offset = offset
        self._size = size

    def settle(self, _reply: object, error: TellinError | None) -> None:
        """It is there, or is not."""
        self._upload.written(self._offset, self._size, self._loaded, error)


def from_memory(data: memoryview, start: int) -> Callable[[int, int, Loaded], object]:
    """A ``load`` for data that is here, whose first byte belongs at ``start``."""

    def load(offset: int, size: int, loaded: Loaded) -> None:
        loaded((offset, data[offset - start : offset - start + size]), None)

    return load
