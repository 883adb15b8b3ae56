# SPDX-License-Identifier: MIT
"""A toy core with one windowed channel, so that the runtime is tested without the protocol."""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from tellin.errors import ConnectionLost, TellinError
from tellin.runtime.loop import SmallLoop
from tellin.wire import ReceiveBuffer, SendBuffer

HEADER = struct.Struct(">BI")
DATA, ADJUST, EOF, BYE, ASK, ANSWER, STDERR = range(7)
PACKET = 32768
HIGH_WATER = 512 * 1024


class Sink(Protocol):
    def take(self, views: list[memoryview]) -> int: ...


class Channel:
    """Both halves of the one channel: what pumps see of it."""

    def __init__(self, core: "ToyCore", window: int) -> None:
        self.core = core
        self.window = window
        self.receive_window = window
        self.sink: Sink | None = None
        self.extended = bytearray()
        self.starved = False
        self._reserved: list[memoryview] = []
        self._place: tuple[memoryview, int] | None = None
        self._kind = DATA

    def room(self) -> int:
        room = min(self.window, HIGH_WATER - len(self.core.output))
        self.starved |= room <= 0
        return max(0, room)

    def wake(self) -> None:
        if self.starved and self.window and len(self.core.output) <= HIGH_WATER // 2:
            self.starved = False
            self.core.happened.append(("writable",))

    def reserve(self, limit: int = 1 << 20, extended: int | None = None) -> list[memoryview]:
        self._kind = DATA if extended is None else STDERR
        room = min(limit, self.room())
        if not room:
            return []
        full = PACKET + HEADER.size
        block, start, stop = self.core.output.reserve(8 * full, least=full)
        views = []
        at = start + HEADER.size
        while room and at < stop:
            size = min(PACKET, room, stop - at)
            views.append(block[at : at + size])
            room -= size
            at += size + HEADER.size
        self._place = block, start
        self._reserved = views
        return views

    def commit(self, count: int) -> None:
        assert self._place is not None
        assert count <= sum(map(len, self._reserved))
        self.window -= count
        block, at = self._place
        start = at
        for view in self._reserved:
            if not count:
                break
            size = min(count, len(view))
            HEADER.pack_into(block, at, self._kind, size)
            at += HEADER.size + size
            count -= size
        self.core.output.commit(at - start)

    def send(self, data: memoryview) -> int:
        size = min(len(data), self.room())
        self.window -= size
        self.core.put(DATA, bytes(data[:size]))
        return size

    def consumed(self, count: int) -> None:
        self.core.uncredited += count
        if self.core.uncredited * 2 >= self.receive_window:
            self.core.put(ADJUST, self.core.uncredited.to_bytes(8, "big"))
            self.core.uncredited = 0


class ToyCore:
    """Frames of a kind, a size and a body; written the way the real core is used."""

    def __init__(self, window: int = 2 * 1024 * 1024) -> None:
        self.input = ReceiveBuffer()
        self.output = SendBuffer()
        self.channel = Channel(self, window)
        self.uncredited = 0
        self.happened: list[Any] = []
        self.closed = False
        self.error: TellinError | None = None
        self.due: float | None = None
        self.ticks: list[float] = []
        self.most_unsent = 0

    def put(self, kind: int, body: bytes = b"") -> None:
        self.output.append(HEADER.pack(kind, len(body)) + body)

    def say_goodbye(self, error: TellinError | None = None) -> None:
        self.put(BYE)
        self.closed = True
        self.error = error
        self.happened.append(("closed", error))

    def writable(self, hint: int = 0) -> memoryview:
        return self.input.writable(hint)

    def received(self, count: int, now: float) -> None:
        self.input.filled(count)
        buffer = self.input
        views: list[memoryview] = []
        while len(buffer) >= HEADER.size and not self.closed:
            kind, size = HEADER.unpack_from(buffer.data, buffer.at)
            start = buffer.at + HEADER.size
            if start + size > buffer.end:
                break
            body = buffer.data[start : start + size]
            buffer.at = start + size
            if kind == DATA:
                views.append(body)
            else:
                if views:
                    self._deliver(views)
                    views = []
                self._handle(kind, bytes(body))
        if views:
            self._deliver(views)
        buffer.rest()

    def _deliver(self, views: list[memoryview]) -> None:
        if self.channel.sink is None:
            self.happened.append(("data", b"".join(views)))
            self.channel.consumed(sum(map(len, views)))
        else:
            count = self.channel.sink.take(views)
            assert 0 <= count <= sum(map(len, views))
            if count:
                self.channel.consumed(count)

    def _handle(self, kind: int, body: bytes) -> None:
        if kind == ADJUST:
            self.channel.window += int.from_bytes(body, "big")
            self.channel.wake()
        elif kind == STDERR:
            self.channel.extended += body
            self.channel.consumed(len(body))
        elif kind == ASK:
            self.put(ANSWER, body)
        elif kind == BYE:
            self.closed = True
            self.happened.append(("closed", None))
        else:
            self.happened.append(({EOF: "eof", ANSWER: "answer"}[kind], body))

    def received_eof(self, now: float) -> None:
        if not self.closed:
            self.closed = True
            self.error = ConnectionLost("ended")
            self.happened.append(("closed", self.error))

    def connection_lost(self, error: OSError, now: float) -> None:
        if not self.closed:
            self.closed = True
            self.error = ConnectionLost(f"broke: {error.strerror}")
            self.happened.append(("closed", self.error))

    def to_send(self) -> list[memoryview]:
        self.most_unsent = max(self.most_unsent, len(self.output))
        return self.output.views()

    def sent(self, count: int) -> None:
        self.output.sent(count)
        self.channel.wake()

    def events(self) -> list[Any]:
        happened, self.happened = self.happened, []
        return happened

    def deadline(self) -> float | None:
        return self.due

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        self.due = None
        self.happened.append(("tick",))


@pytest.fixture
def toy_core() -> Callable[..., ToyCore]:
    return ToyCore


@pytest.fixture
def loop() -> Iterator[SmallLoop]:
    made = SmallLoop()
    yield made
    made.close()
