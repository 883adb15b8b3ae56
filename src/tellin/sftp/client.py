# SPDX-License-Identifier: MIT
"""A file server's user: requests out, any number of them at once, and replies matched to them; no I/O.

What a READ brings is handed on in the views in which it arrived, and what a WRITE takes is sent
from where it lies: nothing of it is copied here.
"""

from collections.abc import Callable, Iterable
from struct import Struct
from typing import Any, Final, Protocol

from tellin.errors import MalformedPacket, ProtocolError, TellinError, UsageError
from tellin.sftp.links import takes_target_first
from tellin.sftp.messages import (
    DATA_NUMBER,
    MOST_BYTES,
    MOST_DATA,
    READ_NUMBER,
    REPLIES,
    VERSION,
    WRITE_NUMBER,
    AskLimits,
    Attrs,
    Data,
    ExpandPath,
    ExtendedReply,
    Extension,
    FileStat,
    FileStatFileSystem,
    Handle,
    HomeDirectory,
    Init,
    LinkStat,
    Name,
    Open,
    OpenDirectory,
    ReadDirectory,
    ReadLink,
    RealPath,
    Reply,
    Request,
    Stat,
    StatFileSystem,
    Status,
    SymbolicLink,
    UsersGroupsById,
    Version,
    fields,
    framed,
)
from tellin.sftp.pace import Pace
from tellin.sftp.status import StatusCode, refusal
from tellin.wire import string

Settle = Callable[[Any, TellinError | None], object]
"""Gets what came of a request, or why nothing did; called from within ``received``."""

Take = Callable[[memoryview, int], object]
"""Gets a piece of what was read and how far from the request's offset it lies. It must not raise,
and the view is dead when it returns."""

_WORD: Final = Struct(">I")
_HEAD: Final = Struct(">IBI")
_PLACE: Final = Struct(">QI")
# Behind the id of a DATA stands the length of what was read.
_HEAD_BYTES: Final = 9
_DATA_HEAD_BYTES: Final = 13
_MOST_IDS: Final = 0xFFFFFFFF

# What answers a request besides a STATUS; where nothing stands a STATUS is all there is.
ANSWERS: Final[dict[type[Request], type[Reply]]] = {
    Open: Handle,
    OpenDirectory: Handle,
    ReadDirectory: Name,
    RealPath: Name,
    ReadLink: Name,
    Stat: Attrs,
    LinkStat: Attrs,
    FileStat: Attrs,
    StatFileSystem: ExtendedReply,
    FileStatFileSystem: ExtendedReply,
    AskLimits: ExtendedReply,
    ExpandPath: Name,
    HomeDirectory: Name,
    UsersGroupsById: ExtendedReply,
}
# R183: those whose reply has exactly one name.
_ONE_NAME: Final = (RealPath, ReadLink, ExpandPath, HomeDirectory)


class _Asked:
    """A request that is not answered yet."""

    __slots__ = ("answer", "ends", "length", "settle", "single", "take", "what", "where")

    def __init__(
        self, what: str, where: bytes | None, answer: type[Reply], settle: Settle
    ) -> None:
        self.what = what
        self.where = where
        self.answer = answer
        self.settle = settle
        self.take: Take | None = None
        self.length = 0
        self.ends = False  # whether EOF is an answer
        self.single = False


class Lasting(Protocol):
    """A file that is open as long as somebody holds this."""

    @property
    def descriptor(self) -> int:
        """Its descriptor."""

    def fill(self, view: memoryview, offset: int, /) -> int:
        """Read into ``view`` without waiting; 0 where that cannot be."""

    def read(self, offset: int, size: int, /) -> bytes:
        """What is at an offset."""


class InFile:
    """Data that lies in a file here and stays there until it is sent; cut like a view."""

    __slots__ = ("file", "offset", "on_short", "size")

    def __init__(
        self, file: Lasting, offset: int, size: int, on_short: Callable[[int], object]
    ) -> None:
        self.file = file
        self.offset = offset
        self.size = size
        self.on_short = on_short
        """Told where the file has ended before its end: zeros have to be sent in place of the rest."""

    def __len__(self) -> int:
        return self.size

    def read(self) -> memoryview:
        """What is there now; its length was said already, so what is missing is zeros, and a failure."""
        try:
            found = self.file.read(self.offset, self.size)
        except OSError:
            found = b""
        return self.whole(found)

    def whole(self, found: bytes) -> memoryview:
        """The same of what was found there."""
        if len(found) < self.size:
            self.on_short(self.offset + len(found))
        return memoryview(found + bytes(self.size - len(found)))

    def part(self, start: int, end: int) -> "InFile":
        """A part of it."""
        return InFile(self.file, self.offset + start, end - start, self.on_short)


class SftpClient:
    """One talk with a file server.

    ``begin`` comes first; ``on_version`` is called when the server has said what it is. Bytes for
    it come out of ``take``, in order; what was given to ``write`` is among them and must not
    change until it is sent. ``received`` takes its own bytes. When the channel is gone, ``lost``
    tells all who wait. ``on_output`` is called whenever there is something to ``take`` again; with a
    ``clock`` it is measured how much the link holds.
    """

    def __init__(
        self,
        *,
        identification: str = "",
        on_version: Callable[[], object],
        on_output: Callable[[], object] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.extensions: dict[bytes, bytes] = {}
        self.pace = Pace(clock)
        self._on_output = on_output
        self.ready = False
        self._target_first = takes_target_first(identification)
        self._on_version = on_version
        self._out: list[bytes | memoryview | InFile] = []
        self.sends_files = False
        """Whether who sends what ``take`` gives knows an InFile."""
        self._asked: dict[int, _Asked] = {}
        self._next_id = 0
        self._begun = False
        self._failure: TellinError | None = None
        # Where in the stream we are: the frame that is being collected, or the DATA whose bytes
        # are handed on as they come.
        self._frame = bytearray()
        self._wanted = _HEAD_BYTES
        self._streaming: _Asked | None = None
        self._position = 0
        self._left = 0

    # What is asked

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answers."""
        return len(self._asked)

    def begin(self) -> None:
        """Say which version this is."""
        self._begun = True
        body = Init(VERSION, ()).encode()
        self._put(_WORD.pack(len(body)) + body)

    def offers(self, extension: type[Extension]) -> bool:
        """Whether the server has said that it knows an extension, in the version that we know."""
        return self.extensions.get(extension.key) == extension.version

    def ask(self, request: Request, settle: Settle, *, path: bytes | None = None) -> None:
        """Ask; ``settle`` gets the reply, or an SftpError that speaks of ``path``.

        The end of a directory is a Name without entries.
        """
        kind = type(request)
        asked = _Asked(kind.name, path, ANSWERS.get(kind, Status), settle)
        asked.ends = kind is ReadDirectory
        asked.single = kind in _ONE_NAME
        self._put(framed(request, self._enter(asked)))

    def fetch(
        self,
        handle: bytes,
        offset: int,
        length: int,
        take: Take,
        settle: Settle,
        *,
        path: bytes | None = None,
    ) -> None:
        """Ask for ``length`` bytes: ``take`` gets them in pieces, then ``settle`` how many there were.

        0 is the end of the file; fewer than asked for may be any server's habit.
        """
        asked = _Asked("read", path, Data, settle)
        asked.take, asked.length, asked.ends = take, length, True
        request_id = self._enter(asked)
        self._put(
            _HEAD.pack(_HEAD_BYTES + len(handle) + _PLACE.size, READ_NUMBER, request_id)
            + string(handle)
            + _PLACE.pack(offset, length)
        )

    def write(
        self,
        handle: bytes,
        offset: int,
        data: memoryview | InFile,
        settle: Settle,
        *,
        path: bytes | None = None,
    ) -> None:
        """Write ``data``, which must not change until it is sent."""
        if len(data) > MOST_DATA:
            raise UsageError(f"a WRITE of {len(data)} bytes")
        request_id = self._enter(_Asked("write", path, Status, settle))
        size = _HEAD_BYTES + len(handle) + _PLACE.size + len(data)
        self._put(
            _HEAD.pack(size, WRITE_NUMBER, request_id)
            + string(handle)
            + _PLACE.pack(offset, len(data))
        )
        if data:
            self._out.append(data)

    def symlink(self, target: bytes, link: bytes, settle: Settle) -> None:
        """Make a symbolic link, with its two paths in the order that this server takes."""
        paths = (target, link) if self._target_first else (link, target)
        self.ask(SymbolicLink(*paths), settle, path=link)

    def take(self) -> list[Any]:
        """What is to be sent."""
        out, self._out = self._out, []
        return out

    def _put(self, part: bytes) -> None:
        self._out.append(part)
        if len(self._out) == 1 and self._on_output is not None:
            self._on_output()

    def _enter(self, asked: _Asked) -> int:
        if self._failure is not None:
            raise self._failure
        if not self.ready:
            raise UsageError("the server has not said its version yet")
        # Ids that still wait are passed over: two of the same would be one too few.
        while self._next_id in self._asked:
            self._next_id = (self._next_id + 1) & _MOST_IDS
        request_id = self._next_id
        self._next_id = (request_id + 1) & _MOST_IDS
        self._asked[request_id] = asked
        return request_id

    # What comes back

    def received(self, views: Iterable[memoryview]) -> None:
        """Take what has arrived. ProtocolError: this is no file server; give it up, and say ``lost``."""
        if self._failure is not None:
            return
        for view in views:
            at, end = 0, len(view)
            while at < end:
                if self._streaming is not None:
                    at = self._stream(view, at, end)
                    continue
                count = min(self._wanted - len(self._frame), end - at)
                self._frame += view[at : at + count]
                at += count
                if len(self._frame) == self._wanted:
                    self._advance()

    def _advance(self) -> None:
        """As much of a frame is here as was waited for."""
        frame = self._frame
        length, number, request_id = _HEAD.unpack_from(frame)
        # The smallest is a number and an id; a VERSION is as long.
        if not _HEAD_BYTES - 4 <= length <= MOST_BYTES:
            raise MalformedPacket(f"a file server's message of {length} bytes")
        asked = self._asked.get(request_id) if number == DATA_NUMBER else None
        streamed = asked is not None and asked.take is not None
        wanted = _DATA_HEAD_BYTES if streamed else length + 4
        if len(frame) < wanted:
            self._wanted = wanted
            return
        self._frame = bytearray()
        self._wanted = _HEAD_BYTES
        if asked is not None and streamed:
            (size,) = _WORD.unpack_from(frame, _HEAD_BYTES)
            self._begin_stream(request_id, asked, size, length - _HEAD_BYTES)
        else:
            self._dispatch(memoryview(frame)[4:], number, request_id)

    def _begin_stream(self, request_id: int, asked: _Asked, size: int, room: int) -> None:
        # Case 254: what was not asked for would be written over what lies behind it.
        if size != room or size > asked.length:
            raise MalformedPacket(f"{size} bytes in {room}, {asked.length} were asked for")
        del self._asked[request_id]
        asked.length = size
        if size:
            self._streaming, self._position, self._left = asked, 0, size
        else:
            asked.settle(0, None)

    def _stream(self, view: memoryview, at: int, end: int) -> int:
        asked = self._streaming
        assert asked is not None
        assert asked.take is not None
        count = min(self._left, end - at)
        asked.take(view[at : at + count], self._position)
        self._position += count
        self._left -= count
        if not self._left:
            self._streaming = None
            asked.settle(asked.length, None)
        return at + count

    def _dispatch(self, frame: memoryview, number: int, request_id: int) -> None:
        if not self.ready:
            self._greeted(frame, number)
            return
        asked = self._asked.get(request_id)
        if asked is None:
            # R182: a second answer, or one to nothing: whose data would it be?
            raise ProtocolError(f"a file server's answer to {request_id}, which nobody asked")
        # Whoever asked is among those who wait until the answer is known to be one: of what is
        # wrong with it he hears from ``lost``.
        kind = REPLIES.get(number)
        if kind is Status:
            value, error = self._ended(asked, Status.decode(_with_texts(fields(frame))))
        elif kind is None or kind is not asked.answer:
            raise ProtocolError(f"a file server's message {number} as the answer to {asked.what}")
        else:
            value, error = kind.decode(fields(frame)), None
            if asked.single and isinstance(value, Name) and len(value.entries) != 1:
                raise ProtocolError(f"{len(value.entries)} names as the answer to {asked.what}")
        del self._asked[request_id]
        asked.settle(value, error)

    def _greeted(self, frame: memoryview, number: int) -> None:
        if number != Version.number or not self._begun:
            raise ProtocolError(f"a file server's message {number} before its version")
        greeting = Version.decode(frame)
        if greeting.version != VERSION:
            raise ProtocolError(f"a file server of version {greeting.version}")
        # Of a name that comes twice the first counts.
        for name, value in reversed(greeting.extensions):
            self.extensions[name] = value
        self.ready = True
        self._on_version()

    def _ended(self, asked: _Asked, status: Status) -> tuple[Any, TellinError | None]:
        if status.code == StatusCode.EOF and asked.ends:
            return Name(()) if asked.answer is Name else 0, None
        if status.code != StatusCode.OK:
            return None, refusal(status.code, status.message, what=asked.what, path=asked.where)
        if asked.answer is not Status:
            # Case 254: a success that brings nothing of what was asked for.
            raise ProtocolError(f"a file server's OK without an answer to {asked.what}")
        return status, None

    def lost(self, error: TellinError) -> None:
        """Nothing more will come, and ``error`` is why."""
        if self._failure is not None:
            return
        self._failure = error
        self._out.clear()
        waiting = list(self._asked.values())
        if self._streaming is not None:
            waiting.append(self._streaming)
            self._streaming = None
        self._asked.clear()
        for asked in waiting:
            asked.settle(None, error)


def _with_texts(payload: bytes) -> bytes:
    """A STATUS with its two texts, which servers of the first drafts leave out."""
    return payload + bytes(8) if len(payload) == 5 else payload
