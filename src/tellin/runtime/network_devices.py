# SPDX-License-Identifier: MIT
"""Network devices of our own, and a channel and one of them joined (OpenSSH's PROTOCOL, section 2.3).

Each message carries one packet, or one frame of an Ethernet. Like any network this one may lose
them, and it does where there is no room: whoever sends them knows how to do so again.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any, Final

from tellin.connection.channel import Channel
from tellin.connection.forwarding import ANY_UNIT, COUNTED, ETHERNET, LARGEST_UNIT
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import Outlet

PLACE: Final = "/dev/net/tun"
# linux/if_tun.h: packets, frames, and neither with a header of the kernel's own.
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
# struct ifreq: the name, the flags, and what else the union may hold.
_REQUEST: Final = Struct("=16sH22x")
# OpenBSD's numbers of address families stand on the wire, whatever they are on either side.
_INET: Final = bytes((0, 0, 0, 2))
_INET6: Final = bytes((0, 0, 0, 24))
_LARGEST: Final = 65536
_PACKETS_PER_TURN: Final = 64


def open_device(mode: int, unit: int) -> tuple[int, str]:
    """A descriptor of a device, made unless it is there, and the device's name; raises OSError.

    ``unit`` may be ANY_UNIT; root alone may make one, and others have one that root made for them.
    """
    kind, flag = ("tap", _IFF_TAP) if mode == ETHERNET else ("tun", _IFF_TUN)
    if unit > LARGEST_UNIT and unit != ANY_UNIT:
        raise OSError(f"no device has the number {unit}")
    name = "" if unit == ANY_UNIT else f"{kind}{unit}"
    fd = os.open(PLACE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        made = fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(name.encode(), flag | _IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd, made[:16].partition(b"\0")[0].decode("ascii", "replace")


def framed(packet: bytes, mode: int) -> bytes:
    """What a message carries for a packet of the device's, which is not empty."""
    if mode == ETHERNET:
        return packet
    return (_INET6 if packet[0] >> 4 == 6 else _INET) + packet


def packet_in(data: memoryview, mode: int) -> memoryview:
    """The packet of a message; empty where there is none.

    The family before it goes unread: the packet itself has its version, and the kernel looks at that.
    """
    return data if mode == ETHERNET else data[len(_INET) :]


class DeviceTunnel:
    """Joins a device to a channel: becomes the channel's owner, and closes the device at the end.

    ``on_over`` is called once, when nothing of it is left; ``on_opened`` and ``on_refused`` (which
    gets the event) are for a channel that this side asks for.
    """

    __slots__ = (
        "_fd",
        "_link",
        "_loop",
        "_mode",
        "_on_opened",
        "_on_over",
        "_on_refused",
        "_over",
        "_reading",
        "channel",
        "title",
    )

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Outlet,
        fd: int,
        *,
        mode: int,
        title: str = "",
        on_opened: Callable[[], object] | None = None,
        on_refused: Callable[[Any], object] | None = None,
        on_over: Callable[[], object] | None = None,
    ) -> None:
        self.channel = channel
        self.title = title
        """What a list of connections calls it."""
        self._loop = loop
        self._link = link
        self._fd = fd
        self._mode = mode
        self._on_opened = on_opened
        self._on_refused = on_refused
        self._on_over = on_over
        self._reading = self._over = False
        channel.owner = self
        channel.sink = self

    def start(self) -> None:
        """The channel is open: read from the device."""
        self._read()

    def take(self, views: list[memoryview]) -> int:
        """Give the device what has come, a packet each; all of it is used up, with its lengths."""
        total = 0
        for view in views:
            total += len(view) + COUNTED
            packet = packet_in(view, self._mode)
            if packet and not self._over:
                # Lost: the device is not up, its queue is full, or the peer sends what is no packet.
                with suppress(OSError):
                    os.write(self._fd, packet)
        return total

    def close(self) -> None:
        """Give it up on both sides."""
        if not self._over:
            self._end()
            self.channel.close()
            self._link.flush_soon()

    # The channel's events

    def opened(self) -> None:
        """The peer has opened the channel that we asked for."""
        self.start()
        if self._on_opened is not None:
            self._on_opened()

    def refused(self, event: Any) -> None:
        """The peer does not open it."""
        if self._on_refused is not None:
            self._on_refused(event)
        self._end()

    def requested(self, event: Any) -> None:
        """Nothing may be asked of such a channel."""
        if event.debt is not None:
            self.channel.answer(success=False, debt=event.debt)
            self._link.flush_soon()

    def replied(self, event: Any) -> None:
        """We ask nothing of it."""

    def writable(self) -> None:
        """There is room for what the device has."""
        self._read()

    def ended(self) -> None:
        """The peer sends no more: a network of one direction is none."""
        self.close()

    def closed(self) -> None:
        """The channel is gone."""
        self._end()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone."""
        self._end()

    # The device

    def _read(self) -> None:
        if not self._reading and not self._over:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _rest(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        for _ in range(_PACKETS_PER_TURN):
            if not self.channel.room():
                # What does not wait in the kernel's own queue is lost there.
                self._rest()
                break
            try:
                packet = os.read(self._fd, _LARGEST)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                # The device was taken away.
                self.close()
                return
            self.channel.send_datagram(framed(packet, self._mode))
        self._link.flush()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._rest()
        os.close(self._fd)
        if self._on_over is not None:
            self._on_over()
