# SPDX-License-Identifier: MIT
"""A channel as a stream: what is read and credited, what is written, and how it ends; no socket, no server."""

from collections.abc import Iterator

import pytest

from tellin.connection.channel import Channel, Half, Standing
from tellin.errors import ConnectionLost
from tellin.runtime.channel_duplex import ChannelDuplex
from tellin.runtime.loop import SmallLoop


class Counted(Channel):
    """A channel that is open, whose peer takes as much as ``room`` says."""

    __slots__ = ("credited", "room_left", "written")

    def __init__(self) -> None:
        super().__init__(None, 0, "direct-tcpip", Standing.OPEN)  # type: ignore[arg-type]
        self.credited = 0
        self.room_left = 1 << 20
        self.written = bytearray()

    def consumed(self, count: int) -> None:
        self.credited += count

    def room(self) -> int:
        return self.room_left

    def send(self, data: bytes | bytearray | memoryview, extended: int | None = None) -> int:
        taken = bytes(data[: self.room_left])
        self.room_left -= len(taken)
        self.written += taken
        return len(taken)

    def eof(self) -> None:
        self.sending = Half.EOF

    def close(self) -> None:
        self.sending = Half.CLOSED


class Flushed:
    """The link below."""

    count = 0

    def flush_soon(self) -> None:
        self.count += 1


class Scene:
    def __init__(self, loop: SmallLoop) -> None:
        self.loop = loop
        self.channel = Counted()
        self.link = Flushed()
        self.settled: list[object] = []
        self.stream = ChannelDuplex(loop, self.channel, self.link, on_settled=self.settled.append)
        self.calls: list[str] = []

    def arrives(self, *data: bytes) -> None:
        """What the core does; its views are dead afterwards."""
        copies = [bytearray(one) for one in data]
        assert self.stream.take([memoryview(one) for one in copies]) == 0
        for one in copies:
            one[:] = bytes(len(one))

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_until(lambda: False)

    def read(self, size: int) -> bytes:
        room = bytearray(size)
        return bytes(room[: self.stream.recv_into(memoryview(room))])


@pytest.fixture
def scene() -> Iterator[Scene]:
    loop = SmallLoop()
    yield Scene(loop)
    loop.close()


def test_what_arrives_is_kept_and_credited_when_it_is_read(scene: Scene) -> None:
    with pytest.raises(BlockingIOError):
        scene.read(10)
    scene.arrives(b"one two", b" three")
    assert scene.channel.credited == 0
    assert [scene.read(3), scene.read(6), scene.read(100)] == [b"one", b" two t", b"hree"]
    assert scene.channel.credited == 13
    assert scene.link.count == 3
    with pytest.raises(BlockingIOError):
        scene.read(10)
    scene.stream.ended()
    assert scene.read(10) == b""


def test_the_reader_is_called_while_there_is_something_and_in_a_turn_of_its_own(
    scene: Scene,
) -> None:
    scene.arrives(b"abc")
    heard: list[bytes] = []
    scene.stream.watch_input(lambda: heard.append(scene.read(1)))
    assert heard == []
    for _ in range(6):
        scene.turn()
    assert heard == [b"a", b"b", b"c"]
    scene.stream.watch_input(None)
    scene.arrives(b"d")
    scene.turn()
    assert heard == [b"a", b"b", b"c"]
    # The end is something to read, too.
    scene.stream.watch_input(lambda: heard.append(scene.read(9)))
    scene.stream.closed()
    for _ in range(3):
        scene.turn()
    assert heard[3:5] == [b"d", b""]


def test_what_is_not_taken_waits_for_room(scene: Scene) -> None:
    scene.channel.room_left = 5
    views = [memoryview(b"abc"), memoryview(b"defg"), memoryview(b"h")]
    assert scene.stream.sendmsg(views) == 5
    with pytest.raises(BlockingIOError):
        scene.stream.sendmsg(views)
    assert bytes(scene.channel.written) == b"abcde"
    scene.stream.watch_output(lambda: scene.calls.append("room"))
    scene.turn()
    assert scene.calls == []
    scene.channel.room_left = 5
    scene.stream.writable()
    scene.turn()
    assert scene.calls == ["room"]
    # Who asks while there is room hears of it at once.
    scene.stream.watch_output(lambda: scene.calls.append("again"))
    scene.turn()
    assert scene.calls == ["room", "again"]


@pytest.mark.parametrize("how", ["closed", "lost", "refused"])
def test_an_end_wakes_both_sides_and_takes_nothing_more(scene: Scene, how: str) -> None:
    scene.channel.room_left = 0
    scene.stream.watch_input(lambda: scene.calls.append("read"))
    scene.stream.watch_output(lambda: scene.calls.append("write"))
    why = ConnectionLost("gone")
    {"closed": scene.stream.closed, "lost": lambda: scene.stream.lost(why),
     "refused": lambda: scene.stream.refused(why)}[how]()  # fmt: skip
    scene.turn()
    assert set(scene.calls) == {"read", "write"}
    assert scene.read(10) == b""
    assert scene.settled == ([] if how == "closed" else [why])
    scene.channel.standing = Standing.GONE
    with pytest.raises(BrokenPipeError):
        scene.stream.sendmsg([memoryview(b"x")])


def test_it_is_settled_once(scene: Scene) -> None:
    scene.stream.opened()
    scene.stream.lost(ConnectionLost("gone"))
    assert scene.settled == [None]


def test_after_its_close_nothing_is_kept_and_all_is_credited(scene: Scene) -> None:
    scene.stream.watch_input(lambda: scene.calls.append("read"))
    scene.arrives(b"abc")
    scene.stream.close()
    scene.stream.close()
    assert scene.stream.take([memoryview(b"defg")]) == 4
    scene.turn()
    assert scene.calls == []
    assert scene.channel.sending is Half.CLOSED
    with pytest.raises(BrokenPipeError):
        scene.stream.sendmsg([memoryview(b"x")])


def test_a_channel_that_opens_too_late_is_closed(scene: Scene) -> None:
    scene.stream.close()
    scene.channel.sending = Half.OPEN
    scene.stream.opened()
    assert scene.channel.sending is Half.CLOSED
    assert scene.settled == []


def test_the_end_of_writing_is_told(scene: Scene) -> None:
    scene.stream.shutdown(1)
    assert scene.channel.sending is Half.EOF
    with pytest.raises(BrokenPipeError):
        scene.stream.sendmsg([memoryview(b"x")])
