# SPDX-License-Identifier: MIT
"""Connections that the server makes for us: a socket here whose other end is somewhere behind the server."""

import _socket
from collections.abc import Callable

from tellin.connection.forwarding import LARGEST_PORT
from tellin.errors import UsageError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelOpenRefused
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.runtime.tunnels import Tunnel


def checked_port(port: object) -> int:
    """A port that can be connected to; raises UsageError for any other."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= LARGEST_PORT:
        raise UsageError(f"a port is a number from 1 to {LARGEST_PORT}, and not {port!r}")
    return port


def socket_through(
    loop: Loop,
    core: ClientProtocol,
    link: Link,
    target: tuple[str, bytes],
    *,
    on_opened: Callable[[], object],
    on_failed: Callable[[ChannelOpenRefused | None], object],
    on_over: Callable[[], object] | None = None,
) -> Socket:
    """A socket that leads to ``target`` (of ``direct_target``) through a connection that is logged in.

    It never waits, and belongs to the caller; what is written to it before the server has answered
    goes out after that. Either ``on_opened`` is called, or ``on_failed``: with the server's no, or
    with None where the connection ended first. ``on_over`` is called when the channel is gone,
    however that came.

    The channel's ``owner`` is a Tunnel: whoever hands out the events of ``core`` gives it those that
    are for it, and ``lost`` at the end of the connection (``tellin.client.channel_owners``).
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _KIND)
    answered = False

    def opened() -> None:
        nonlocal answered
        answered = True
        on_opened()

    def refused(event: ChannelOpenRefused) -> None:
        nonlocal answered
        answered = True
        on_failed(event)

    def over() -> None:
        if not answered:
            on_failed(None)
        if on_over is not None:
            on_over()

    try:
        channel = core.open_channel(*target)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    Tunnel(loop, channel, link, theirs, on_opened=opened, on_refused=refused, on_over=over)
    link.flush_soon()
    return ours


_KIND = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
