# SPDX-License-Identifier: MIT
"""Word to the program that started this one and waits for it: systemd's, by sd_notify(3) without its library."""

import _socket
import os
import time
from typing import Final

from tellin.runtime.sockets import Socket

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

_LONGEST_NUMBER: Final = 18


def reloading() -> str:
    """Said before READY, with the time: a supervisor that waits can tell this READY from the first."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds() -> float | None:
    """How often the supervisor wants a WATCHDOG=1 at the least (sd_watchdog_enabled(3)); None if it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    said = os.environ.get("WATCHDOG_USEC", "")
    if not (said.isascii() and said.isdecimal()) or len(said) > _LONGEST_NUMBER:
        return None
    return int(said) / 1e6 or None


def tell_supervisor(word: str) -> None:
    """Send ``word`` where NOTIFY_SOCKET says; nothing without one. Raises OSError."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return
    if address.startswith("@"):
        # A name that is in no file system.
        address = "\0" + address[1:]
    line = Socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        # A supervisor that does not listen must not hold us up.
        line.setblocking(False)
        line.sendto(f"{word}\nMAINPID={os.getpid()}".encode(), address)
    finally:
        line.close()
