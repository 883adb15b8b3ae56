# SPDX-License-Identifier: MIT
"""A channel and a network device joined; a socket that keeps messages apart stands for the device."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tellin.connection.forwarding import ANY_UNIT, ETHERNET, LARGEST_UNIT, POINT_TO_POINT
from tellin.runtime.loop import SmallLoop
from tellin.runtime.network_devices import DeviceTunnel, framed, open_device, packet_in

PACKET_4 = b"\x45 version four"
PACKET_6 = b"\x60 version six"


class Line:
    """What a tunnel sees of its channel and its link."""

    def __init__(self) -> None:
        self.owner: Any = None
        self.sink: Any = None
        self.left = 1 << 20
        self.sent: list[bytes] = []
        self.closes = 0
        self.flushes = 0

    def room(self) -> int:
        return self.left

    def send_datagram(self, data: bytes) -> bool:
        self.sent.append(data)
        self.left -= len(data)
        return True

    def close(self) -> None:
        self.closes += 1

    def flush(self) -> None:
        self.flushes += 1

    flush_soon = flush


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, int]]:
    """The network behind a device, and the device."""
    network, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    network.settimeout(20)
    device.setblocking(False)
    with network:
        yield network, device.detach()


def tunnel(loop: SmallLoop, line: Line, fd: int, mode: int, **calls: Any) -> DeviceTunnel:
    return DeviceTunnel(loop, line, line, fd, mode=mode, **calls)  # type: ignore[arg-type]


@pytest.mark.parametrize("packet", [PACKET_4, PACKET_6])
def test_the_family_stands_before_a_packet_in_openbsd_s_numbers(packet: bytes) -> None:
    family = {PACKET_4: 2, PACKET_6: 24}[packet]
    data = framed(packet, POINT_TO_POINT)
    assert data == family.to_bytes(4, "big") + packet
    assert packet_in(memoryview(data), POINT_TO_POINT) == packet
    assert framed(packet, ETHERNET) == packet
    assert packet_in(memoryview(packet), ETHERNET) == packet


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\2"])
def test_a_message_without_a_packet_has_none(data: bytes) -> None:
    assert not packet_in(memoryview(data), POINT_TO_POINT)


def test_what_comes_goes_to_the_device_a_packet_each_and_is_used_up_with_its_length(
    loop: SmallLoop, ends: tuple[socket.socket, int]
) -> None:
    network, fd = ends
    line = Line()
    made = tunnel(loop, line, fd, POINT_TO_POINT)
    views = [
        memoryview(b"\0\0\0\2" + PACKET_4),
        memoryview(b"\0\0"),
        memoryview(b"\0\0\0\x18" + PACKET_6),
    ]
    assert line.sink.take(views) == sum(map(len, views)) + 12
    assert [network.recv(99), network.recv(99)] == [PACKET_4, PACKET_6]
    made.close()
    # What still comes is used up, and nobody else's descriptor is written to.
    assert made.take(views) == sum(map(len, views)) + 12


def test_what_the_device_does_not_take_is_lost_and_used_up(
    loop: SmallLoop, ends: tuple[socket.socket, int]
) -> None:
    _, fd = ends
    made = tunnel(loop, Line(), fd, ETHERNET)
    frame = memoryview(bytes(9000))
    assert all(made.take([frame]) == 9004 for _ in range(200))
    made.close()


def test_what_the_device_has_is_sent_a_message_each_while_there_is_room(
    loop: SmallLoop, ends: tuple[socket.socket, int]
) -> None:
    network, fd = ends
    line = Line()
    made = tunnel(loop, line, fd, POINT_TO_POINT)
    made.opened()
    for packet in (PACKET_4, PACKET_6):
        network.send(packet)
    loop.run_until(lambda: len(line.sent) == 2)
    assert line.sent == [b"\0\0\0\2" + PACKET_4, b"\0\0\0\x18" + PACKET_6]
    line.left = 0
    network.send(PACKET_4)
    loop.run_until(lambda: not made._reading)
    assert len(line.sent) == 2
    line.left = 1000
    made.writable()
    loop.run_until(lambda: len(line.sent) == 3)
    made.close()


@pytest.mark.parametrize("end", ["device", "ended", "closed", "lost", "refused"])
def test_whichever_end_is_first_is_the_end_of_all(
    end: str, loop: SmallLoop, ends: tuple[socket.socket, int]
) -> None:
    network, fd = ends
    line, over, refusals = Line(), [], []
    made = tunnel(
        loop, line, fd, ETHERNET, on_over=lambda: over.append(1), on_refused=refusals.append
    )
    if end == "refused":
        made.refused("why")
    else:
        made.opened()
        if end == "device":
            network.close()
        else:
            getattr(made, end)()
    loop.run_until(lambda: over)
    made.close()
    made.lost()
    assert over == [1]
    assert refusals == (["why"] if end == "refused" else [])
    # The channel is closed by us where it was not gone.
    assert line.closes == (end in {"device", "ended"})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("unit", [LARGEST_UNIT + 1, ANY_UNIT + 1, 0xFFFFFFFF])
def test_numbers_that_no_device_has_are_not_asked_for(
    unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("the system was asked"))
    with pytest.raises(OSError, match="no device has the number"):
        open_device(POINT_TO_POINT, unit)
