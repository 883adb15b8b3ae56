# SPDX-License-Identifier: MIT
"""A file server's half of a talk: requests in, replies out, in order and with back-pressure; no I/O of its own.

What a READ asks for is read into the very place in the outgoing message, and what a WRITE brings
is written from where it lies. Where the messages travel in packets of this process, that is in the
packets themselves: ``Places`` gives the one, ``take`` does the other.
"""

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final, Protocol

from tellin.errors import MalformedPacket, ProtocolError
from tellin.sftp.handlers import DEBUG3, ERROR, INFO, VERBOSE, Handlers
from tellin.sftp.messages import (
    DATA_NUMBER,
    EXTENDED_NUMBER,
    EXTENSIONS,
    MOST_BYTES,
    MOST_DATA,
    READ_NUMBER,
    REQUESTS,
    VERSION,
    WRITE_NUMBER,
    CopyData,
    Extended,
    FileSync,
    Init,
    Read,
    Request,
    Status,
    Version,
    Write,
    fields,
    framed,
)
from tellin.sftp.status import TEXTS, StatusCode, reason_of
from tellin.wire import Message, ReceiveBuffer, SendBuffer, string
from tellin.wire.states import State

_WORD: Final = Struct(">I")
_HEAD: Final = Struct(">IBI")
_DATA_HEAD: Final = Struct(">IBII")
_PLACE: Final = Struct(">QI")
# A message's number and its id, or a version.
_SMALLEST: Final = 5
_LANE: Final = frozenset({READ_NUMBER, WRITE_NUMBER})
# The answer to every WRITE that went well.
_OK_TEXT: Final = string(TEXTS[StatusCode.OK].encode("ascii")) + string(b"")
_OK: Final = Struct(f">IBII{len(_OK_TEXT)}s")
_LONGEST_HANDLE: Final = 256
# What has to be done on a disk before it is answered, however much it is.
_LONG: Final = frozenset({CopyData, FileSync})
# Case 246: with so much waiting to be sent, nothing more is done for a client that does not read.
MOST_WAITING: Final = 1 << 20


class Stage(State):
    """How far the talk is."""

    FRESH = "nothing was said"
    SERVING = "the versions are known"
    OVER = "the client broke the protocol"


# What is legal when: nothing before INIT, and INIT once (R182, cases 225, 226).
ADMISSION: Final[dict[Stage, frozenset[int | None]]] = {
    Stage.FRESH: frozenset({Init.number}),
    Stage.SERVING: frozenset(set(range(256)) - {Init.number}),
    Stage.OVER: frozenset(),
}


class Places(Protocol):
    """Where data that is read goes without a copy: into the packets that will carry it."""

    def ready(self) -> bool:
        """Whether there is as much room as the largest reply takes, or will never be.

        Who says no calls ``proceed`` when there is some.
        """

    def reserve(self, size: int, /) -> list[memoryview]:
        """Places for so much; none where it has to be copied."""

    def commit(self, count: int, /) -> None:
        """The first ``count`` bytes of them are a reply."""


Aside = Callable[[Callable[[], tuple[int, str]], Callable[[int, str], object]], object]
"""Has something done elsewhere that may take long, and tells the status and the reason when it is."""


class SftpServer:
    """One client's talk. ``writable`` and ``received`` take what comes, ``to_send`` and ``sent`` give.

    ``take`` is for who has it in views. While ``hungry`` is false nothing may be read for it.
    ProtocolError out of ``received``, ``proceed`` or ``sent`` is the end: nothing more is answered,
    and who drives this closes. ``aside`` gets what may take minutes, where others would have to wait;
    who drives this calls ``proceed`` when that is over.
    """

    def __init__(
        self, handlers: Handlers, *, places: Places | None = None, aside: Aside | None = None
    ) -> None:
        self._handlers = handlers
        self._places = places
        self._aside = aside
        self._waits_for: int | None = None
        self._in = ReceiveBuffer()
        self._out = SendBuffer()
        self._missing = 0
        self._stage = Stage.FRESH
        self._held_back = False
        # The WRITE whose data is on its way to its file: how much is still to come, where to, and
        # what has gone wrong with it.
        self._left = 0
        self._handle = b""
        self._offset = 0
        self._request_id = 0
        self._failure: OSError | None = None
        # What READ and WRITE begin with, for handles of ours: all but a few messages are of these.
        self._handle_size = handlers.handle_size
        self._lane = Struct(f">IBII{self._handle_size}sQI")
        permits = handlers.permits
        self._reads = not permits.objection(Read)
        self._writes = not permits.objection(Write)

    # The driver's side

    @property
    def hungry(self) -> bool:
        """Whether more may come: too much that waits to be sent stops it."""
        return (
            not self._held_back
            and self._waits_for is None
            and self._stage is not Stage.OVER
            and self._out.size < MOST_WAITING
        )

    @property
    def waiting(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._out)

    def writable(self) -> memoryview:
        """Room for what comes."""
        return self._in.writable(self._missing)

    def received(self, count: int) -> None:
        """So much came into it."""
        self._in.filled(count)
        self.proceed()

    def take(self, views: list[memoryview]) -> int:
        """Take what has come in views that die: a WRITE's data goes from there to its file.

        All else is kept for ``proceed``. Returns how many bytes are used up.
        """
        used = 0
        for view in views:
            at, end = 0, len(view)
            while at < end:
                start = at
                if self._left and not self._in:
                    at = min(end, at + self._left)
                    self._pour(view[start:at])
                else:
                    at = self._begin_write(view, at, end)
                if at == start:
                    self._in.append(view[at:])
                    break
                used += at - start
        return used

    def to_send(self) -> list[memoryview]:
        """What is to be sent; the views are dead after ``sent``."""
        return self._out.views()

    def sent(self, count: int) -> None:
        """So much has left; what had to wait for that is done."""
        self._out.sent(count)
        self.proceed()

    def forget(self, count: int) -> None:
        """So much has left; what had to wait for that is done by ``proceed``, in another thread perhaps."""
        self._out.sent(count)

    def end(self) -> None:
        """The client is gone, or has to be: what it has open is closed."""
        self._stage = Stage.OVER
        self._handlers.close_all()

    # Messages

    def proceed(self) -> None:
        """Do what can be done of what has come."""
        buffer = self._in
        self._held_back = False
        while self.hungry:
            at = buffer.at
            have = buffer.end - at
            if self._left:
                count = min(self._left, have)
                if not count:
                    break
                buffer.at = at + count
                self._pour(buffer.data[at : at + count])
                continue
            if have < 4:
                self._missing = 4 - have
                break
            (length,) = _WORD.unpack_from(buffer.data, at)
            # Case 227: before there is room made for it.
            if not _SMALLEST <= length <= MOST_BYTES:
                self._stage = Stage.OVER
                raise MalformedPacket(f"bad message of {length} bytes")
            if have < 4 + length:
                self._missing = 4 + length - have
                break
            data, end = buffer.data, at + 4 + length
            number = data[at + 4]
            if number == READ_NUMBER and not self._may_read():
                self._held_back = True
                break
            if number not in _LANE or not self._moved(data, at, end, number):
                self._take(data[at + 4 : end])
            buffer.at = end
        buffer.rest()

    def _take(self, frame: memoryview) -> None:
        number = frame[0]
        if number not in ADMISSION[self._stage]:
            said = self._stage.value
            self._stage = Stage.OVER
            raise ProtocolError(f"bad message {number} when {said}")
        (request_id,) = _WORD.unpack_from(frame, 1)
        try:
            if number == READ_NUMBER:
                self._read(frame, request_id)
            elif number == WRITE_NUMBER:
                self._write(frame, request_id)
            elif self._stage is Stage.FRESH:
                self._begin(frame)
            else:
                self._serve(frame, number, request_id)
        except MalformedPacket:
            if self._stage is Stage.FRESH:
                self._stage = Stage.OVER
                raise
            # Case 229: the frame was whole, so the next one begins where it ends.
            self._status(request_id, StatusCode.BAD_MESSAGE)
        except OSError as error:
            self._status(request_id, self._handlers.failed(error), reason_of(error))

    def _begin(self, frame: memoryview) -> None:
        hello = Init.decode(frame)
        self._handlers.note(VERBOSE, f"received client version {hello.version}")
        self._stage = Stage.SERVING
        permits = self._handlers.permits
        offered = tuple(
            (kind.key, kind.version) for kind in EXTENSIONS.values() if not permits.objection(kind)
        )
        body = Version(VERSION, offered).encode()
        self._out.append(_WORD.pack(len(body)) + body)

    def _serve(self, frame: memoryview, number: int, request_id: int) -> None:
        kind: type[Request] | None = REQUESTS.get(number)
        contents = fields(frame)
        if number == EXTENDED_NUMBER:
            extended = Extended.decode(contents)
            kind = EXTENSIONS.get(extended.extension)
            contents = extended.contents
            if kind is None:
                name = extended.extension[:100].decode("utf-8", "surrogateescape")
                self._handlers.note(ERROR, f'Unknown extended request "{name}"')
        elif kind is None:
            self._handlers.note(ERROR, f"Unknown message {number}")
        if kind is None:
            self._status(request_id, StatusCode.OP_UNSUPPORTED)
            return
        self._handlers.note(DEBUG3, f"request {request_id}: {kind.name}")
        if self._handlers.refuse(kind):
            self._status(request_id, StatusCode.PERMISSION_DENIED)
            return
        request = kind.decode(contents)
        if self._aside is not None and kind in _LONG:
            self._waits_for = request_id
            self._aside(partial(self._outcome, request), self._settled)
            return
        reply = self._handlers.handle(request)
        if reply is None:
            self._status(request_id, StatusCode.OK)
        else:
            self._reply(reply, request_id)

    def _outcome(self, request: Request) -> tuple[int, str]:
        """Do what has no other answer than a status."""
        try:
            self._handlers.handle(request)
        except OSError as error:
            return self._handlers.failed(error), reason_of(error)
        return StatusCode.OK, ""

    def _settled(self, code: int, reason: str) -> None:
        request_id, self._waits_for = self._waits_for, None
        if request_id is not None:
            self._status(request_id, code, reason)

    # The lane

    def _moved(self, data: memoryview, at: int, end: int, number: int) -> bool:
        """Do a READ or a WRITE that is as nearly all of them are; false leaves it to ``_take``.

        One look at its fields, no object for the request, and none for the reply.
        """
        lane = self._lane
        begin = at + lane.size
        if begin > end or self._stage is not Stage.SERVING:
            return False
        _, _, request_id, size, handle, offset, length = lane.unpack_from(data, at)
        if size != self._handle_size:
            return False
        try:
            if number == WRITE_NUMBER:
                if length != end - begin or not self._writes:
                    return False
                self._handlers.write(handle, offset, data[begin:end])
                self._written(request_id)
            else:
                if begin != end or not self._reads:
                    return False
                self._fill(handle, offset, length, request_id)
        except OSError as error:
            self._status(request_id, self._handlers.failed(error), reason_of(error))
        return True

    def _may_read(self) -> bool:
        places = self._places
        return places is None or self._out.size > 0 or places.ready()

    def _begin_write(self, view: memoryview, at: int, end: int) -> int:
        """Begin with a WRITE whose data is still to come, if one begins there; returns where its data does."""
        buffer, size = self._in, self._lane.size
        have = buffer.end - buffer.at
        if not have:
            return at + size if end - at >= size and self._opens(view, at) else at
        if have >= size or have + end - at < size:
            return at
        # Its head came in two pieces. What lies there whole and waits is no such head.
        rest = at + size - have
        head = memoryview(bytes(buffer.data[buffer.at : buffer.end]) + bytes(view[at:rest]))
        if not self._opens(head, 0):
            return at
        buffer.at = buffer.end
        buffer.rest()
        return rest

    def _opens(self, data: memoryview, at: int) -> bool:
        if data[at + 4] != WRITE_NUMBER or not self._writes or not self.hungry:
            return False
        if self._stage is not Stage.SERVING:
            return False
        lane = self._lane
        frame, _, request_id, size, handle, offset, length = lane.unpack_from(data, at)
        # What is otherwise than nearly all of them are has to be there as a whole.
        if size != self._handle_size or not length or frame > MOST_BYTES:
            return False
        if frame != lane.size - 4 + length:
            return False
        self._left, self._handle, self._offset = length, handle, offset
        self._request_id = request_id
        return True

    def _pour(self, view: memoryview) -> None:
        """Write a part of what a WRITE brings; after a failure nothing more of it, and one answer (R176)."""
        size = len(view)
        if self._failure is None:
            try:
                self._handlers.write(self._handle, self._offset, view)
            except OSError as error:
                self._failure = error
        self._offset += size
        self._left -= size
        if self._left:
            return
        failure, self._failure = self._failure, None
        if failure is None:
            self._written(self._request_id)
        else:
            self._status(self._request_id, self._handlers.failed(failure), reason_of(failure))

    def _written(self, request_id: int) -> None:
        self._out.append(_OK.pack(_OK.size - 4, Status.number, request_id, 0, _OK_TEXT))

    def _read(self, frame: memoryview, request_id: int) -> None:
        handle, at = _handle(frame)
        if at + _PLACE.size != len(frame):
            raise MalformedPacket("a READ of another size")
        if self._handlers.refuse(Read):
            self._status(request_id, StatusCode.PERMISSION_DENIED)
            return
        offset, length = _PLACE.unpack_from(frame, at)
        self._fill(handle, offset, length, request_id)

    def _fill(self, handle: bytes, offset: int, length: int, request_id: int) -> None:
        # R181: the length is a peer's wish, and no more than a message holds is ever given.
        length = min(length, MOST_DATA)
        head = _DATA_HEAD.size
        # What was answered before goes first.
        if self._places is not None and not self._out.size:
            views = self._places.reserve(head + length)
            if views:
                self._fill_places(self._places, views, handle, offset, request_id)
                return
        block, start, end = self._out.reserve(head + length)
        view = block[start + head : end]
        count = self._handlers.fill(handle, offset, view)
        if not count and length:
            self._status(request_id, StatusCode.EOF)
            return
        _DATA_HEAD.pack_into(block, start, head - 4 + count, DATA_NUMBER, request_id, count)
        self._out.commit(head + count)

    def _fill_places(
        self,
        places: Places,
        views: list[memoryview],
        handle: bytes,
        offset: int,
        request_id: int,
    ) -> None:
        head = _DATA_HEAD.size
        first = views[0]
        wanted = sum(map(len, views)) - head
        views[0] = first[head:]
        count = 0
        for view in views:
            some = self._handlers.fill(handle, offset + count, view)
            count += some
            if some < len(view):
                break
        if not count and wanted:
            self._status(request_id, StatusCode.EOF)
            return
        _DATA_HEAD.pack_into(first, 0, head - 4 + count, DATA_NUMBER, request_id, count)
        places.commit(head + count)

    def _write(self, frame: memoryview, request_id: int) -> None:
        handle, at = _handle(frame)
        if at + _PLACE.size > len(frame):
            raise MalformedPacket("a WRITE cut short")
        offset, length = _PLACE.unpack_from(frame, at)
        data = frame[at + _PLACE.size :]
        if length > len(data):
            raise MalformedPacket(f"{length} bytes to write, and {len(data)} there")
        # Go's pkg/sftp, and rclone with it, sends all of its buffer behind a length that says how
        # much of it counts.
        data = data[:length]
        if self._handlers.refuse(Write):
            self._status(request_id, StatusCode.PERMISSION_DENIED)
            return
        self._handlers.write(handle, offset, data)
        self._status(request_id, StatusCode.OK)

    # Replies

    def _reply(self, reply: Message, request_id: int) -> None:
        self._out.append(framed(reply, request_id))

    def _status(self, request_id: int, code: int, reason: str = "") -> None:
        text = TEXTS[code] if code < len(TEXTS) else "Unknown error"
        if code not in {StatusCode.OK, StatusCode.EOF}:
            self._handlers.note(INFO, f"sent status {text}")
        self._reply(Status(int(code), (reason or text).encode("ascii"), b""), request_id)


def _handle(frame: memoryview) -> tuple[bytes, int]:
    """The handle behind a frame's id, and where it ends."""
    if len(frame) < 9:
        raise MalformedPacket("no handle")
    (size,) = _WORD.unpack_from(frame, 5)
    # R180: one of this length is none of ours, but it may be there; only then is it copied.
    if 9 + size > len(frame):
        raise MalformedPacket("a handle cut short")
    return bytes(frame[9 : 9 + min(size, _LONGEST_HANDLE + 1)]), 9 + size
