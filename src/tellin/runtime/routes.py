# SPDX-License-Identifier: MIT
"""Word from the kernel that a link, an address or a route has changed: Linux's NETLINK_ROUTE, where there is one."""

import _socket
from collections.abc import Callable
from typing import Final

from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket

# linux/rtnetlink.h: RTMGRP_LINK, and those of addresses and routes of both families.
_LINKS: Final = 0x1
_ADDRESSES: Final = 0x10 | 0x100
_ROUTES: Final = 0x40 | 0x400
_KERNEL: Final = 0  # the address that its own messages come from
_ENOUGH: Final = 65536
_MESSAGES_PER_TURN: Final = 256


class RouteWatch:
    """Calls ``on_change`` once for each batch of changes; what has changed is not said."""

    def __init__(self, loop: Loop, line: Socket, on_change: Callable[[], object]) -> None:
        self._loop = loop
        self._line = line
        self._on_change = on_change
        loop.add_reader(line.fileno(), self._readable)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._line.fileno())
        self._line.close()

    def _readable(self) -> None:
        changed = False
        for _ in range(_MESSAGES_PER_TURN):
            try:
                _, sender = self._line.recvfrom(_ENOUGH)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # ENOBUFS: so many changes that some were lost. What they were is nothing to us.
                changed = True
                break
            # Any process may send to us; only what the kernel says is believed.
            changed = changed or sender[0] == _KERNEL
        if changed:
            self._on_change()


def watch_routes(loop: Loop, on_change: Callable[[], object]) -> RouteWatch | None:
    """Listen from here on; None where the system has no such thing, or does not let us."""
    family = getattr(_socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        line = Socket(family, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK, 0)
    except OSError:
        return None
    try:
        line.bind((0, _LINKS | _ADDRESSES | _ROUTES))
    except OSError:
        line.close()
        return None
    return RouteWatch(loop, line, on_change)
