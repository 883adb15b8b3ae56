# SPDX-License-Identifier: MIT
"""The master's end of one control socket: frames and descriptors in, requests out, one at a time."""

from collections.abc import Sequence
from typing import Final

from tellin.errors import MalformedPacket, ProtocolError
from tellin.mux.messages import (
    DESCRIPTORS,
    REQUESTS,
    VERSION,
    Failure,
    Hello,
    MuxMessage,
    Unknown,
    framed,
    kind_of,
    size_of,
)
from tellin.wire import Record
from tellin.wire.states import State

MISSING: Final = b"did not receive file descriptors"
UNSUPPORTED: Final = b"unsupported request"


class Stage(State):
    """What may come next."""

    HELLO = "its HELLO"
    REQUEST = "a request"
    DESCRIPTORS = "the descriptors of a request"
    PACKETS = "packets of the connection protocol"


class Asked(Record):
    """A request, and the descriptors that came behind it, which are the taker's now."""

    message: MuxMessage
    descriptors: tuple[int, ...] = ()


class MasterTalk:
    """Takes what arrives and gives requests; what is to be sent gathers in ``unsent``.

    Whoever drives it asks ``next`` when it is ready for another request, so that one that waits for
    the server holds the later ones back. An error ends the conversation: the rest of ``unsent``
    still goes out, and ``left`` says which descriptors nobody has taken.
    """

    def __init__(self) -> None:
        self.stage = Stage.HELLO
        self.unsent = bytearray(framed(Hello(VERSION)))
        self._data = bytearray()
        # Where in the stream ``_data`` begins and ends, and which descriptors came with which byte.
        self._start = 0
        self._end = 0
        self._came: list[tuple[int, tuple[int, ...]]] = []
        self._waiting: MuxMessage | None = None
        self._gathered: list[int] = []

    def received(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Take what one call of recvmsg gave: its descriptors came with the last of its bytes."""
        self._data += data
        self._end += len(data)
        if descriptors:
            self._came.append((self._end - 1, tuple(descriptors)))

    def say(self, message: MuxMessage) -> None:
        """Send a message."""
        self.unsent += framed(message)

    def next(self) -> Asked | None:
        """The next request that is here whole; raises ProtocolError, which ends the conversation."""
        while True:
            if self.stage is Stage.DESCRIPTORS:
                return self._gather()
            frame = self._frame() if self.stage is not Stage.PACKETS else None
            if frame is None:
                return None
            asked = self._take(frame)
            if asked is not None:
                return asked

    def become_proxy(self) -> bytes:
        """From here on packets come; what of them is here already."""
        self.stage = Stage.PACKETS
        rest = bytes(self._data)
        self._data.clear()
        self._start = self._end
        return rest

    @property
    def left(self) -> tuple[int, ...]:
        """The descriptors that came and that no request has taken; they are the caller's to close."""
        found = (*self._gathered, *(one for _, more in self._came for one in more))
        self._gathered, self._came = [], []
        return found

    def _frame(self) -> bytes | None:
        data = self._data
        if len(data) < 4:
            return None
        size = 4 + size_of(data)
        if len(data) < size:
            return None
        frame = bytes(data[4:size])
        self._drop(size)
        if self._came and self._came[0][0] < self._start:
            # Kept, they would be taken for the next session's: somebody else's standard input.
            raise ProtocolError("descriptors that belong to no request")
        return frame

    def _drop(self, count: int) -> None:
        del self._data[:count]
        self._start += count

    def _take(self, frame: bytes) -> Asked | None:
        kind = kind_of(frame)
        if self.stage is Stage.HELLO:
            self._greet(kind, frame)
            return None
        if kind == Hello.kind:
            raise ProtocolError("a second HELLO")
        known = REQUESTS.get(kind)
        if known is None:
            asked = Unknown.decode(frame)
            self.say(Failure(asked.request_id, UNSUPPORTED))
            return None
        message = known.decode(frame)
        if known not in DESCRIPTORS:
            return Asked(message)
        self._waiting = message
        self.stage = Stage.DESCRIPTORS
        return self._gather()

    def _greet(self, kind: int, frame: bytes) -> None:
        if kind != Hello.kind:
            raise ProtocolError(f"0x{kind:08x} where HELLO should be")
        hello = Hello.decode(frame)
        if hello.version != VERSION:
            raise ProtocolError(f"version {hello.version} of the protocol, and not {VERSION}")
        if len(hello.extensions) % 2:
            raise MalformedPacket("an extension without a value")
        self.stage = Stage.REQUEST

    def _gather(self) -> Asked | None:
        """Take the descriptors of the request that waits, if they are here: each has its own byte."""
        waiting = self._waiting
        assert waiting is not None
        while len(self._gathered) < DESCRIPTORS[type(waiting)]:
            if not self._data:
                return None
            place, found = self._came[0] if self._came else (-1, ())
            if place != self._start or len(found) != 1:
                self.say(Failure(_request_id(waiting), MISSING))
                raise ProtocolError("a request without its descriptors")
            del self._came[0]
            self._gathered += found
            self._drop(1)
        gathered, self._gathered, self._waiting = tuple(self._gathered), [], None
        self.stage = Stage.REQUEST
        return Asked(waiting, gathered)


def _request_id(message: MuxMessage) -> int:
    value: int = message.__dict__["request_id"]
    return value
