# SPDX-License-Identifier: MIT
"""Who is at the other end of a local socket, as the kernel saw it (unix(7))."""

import _socket
from struct import Struct
from typing import Final

from tellin.runtime.sockets import Socket

# struct ucred: process, user, group.
_CREDENTIALS: Final = Struct("iII")


def caller_of(stream: Socket) -> int:
    """The user id of whoever has connected, or is connected to, a local socket."""
    raw = stream.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid
