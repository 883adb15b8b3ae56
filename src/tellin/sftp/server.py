# SPDX-License-Identifier: MIT
"""A file server's half of a talk: requests in, replies out, in order and with back-pressure; no I/O of its own.

What a READ asks for is read into the very place in the outgoing message, and what a WRITE brings
is written from the receive buffer.
"""

from struct import Struct
from typing import Final

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
    Extended,
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


class SftpServer:
    """One client's talk. ``writable`` and ``received`` take what comes, ``to_send`` and ``sent`` give.

    While ``hungry`` is false nothing may be read for it. ProtocolError out of ``received`` or
    ``sent`` is the end: nothing more is answered, and who drives this closes.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._in = ReceiveBuffer()
        self._out = SendBuffer()
        self._missing = 0
        self._stage = Stage.FRESH
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
        return self._stage is not Stage.OVER and len(self._out) < MOST_WAITING

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
        while self.hungry:
            at = buffer.at
            have = buffer.end - at
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
        reply = self._handlers.handle(kind.decode(contents))
        if reply is None:
            self._status(request_id, StatusCode.OK)
        else:
            self._reply(reply, request_id)

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
                self._out.append(_OK.pack(_OK.size - 4, Status.number, request_id, 0, _OK_TEXT))
            else:
                if begin != end or not self._reads:
                    return False
                self._fill(handle, offset, length, request_id)
        except OSError as error:
            self._status(request_id, self._handlers.failed(error), reason_of(error))
        return True

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
        block, start, end = self._out.reserve(head + length)
        view = block[start + head : end]
        count = self._handlers.fill(handle, offset, view)
        if not count and length:
            self._status(request_id, StatusCode.EOF)
            return
        _DATA_HEAD.pack_into(block, start, head - 4 + count, DATA_NUMBER, request_id, count)
        self._out.commit(head + count)

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
