# SPDX-License-Identifier: MIT
"""Ways to a server that are no socket of ours: a ProxyCommand, or a channel of another connection."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from tellin.client.connected import Connection
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import direct_target
from tellin.errors import ConnectFailed, ConnectionLost, TellinError, TimedOut
from tellin.protocol.events import ChannelOpenRefused
from tellin.runtime.channel_duplex import ChannelDuplex
from tellin.runtime.processes import Child
from tellin.runtime.proxies import Passing, ProxyCommand
from tellin.runtime.sockets import Socket

# So long a command that is told to end has for it, before its connection is called over.
_PATIENCE = 1.0


class Way(Protocol):
    """What a connection goes by, and lets go of at its end."""

    async def aclose(self) -> None:
        """Let it go; a second time does nothing."""


class Command:
    """A ProxyCommand: started, told to end with the connection, and reaped. Raises ConnectFailed."""

    def __init__(self, command: str) -> None:
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._proxy = ProxyCommand(command)
        self.stream: Socket = self._proxy.stream
        child = Child(self._proxy.pid, stdin_fd=-1, stdout_fd=-1, stderr_fd=-1, pty=None)
        child.watch(loop, self._reaped)

    async def passed(self, timeout: float | None) -> Socket:  # noqa: ASYNC109 - of what it dials
        """The socket that it hands over; raises ConnectionLost."""
        answer: asyncio.Future[Socket | ConnectionLost] = (
            asyncio.get_running_loop().create_future()
        )
        passing = Passing(
            asyncio.get_running_loop(), self.stream, answer.set_result, timeout=timeout
        )
        try:
            found = await answer
        except BaseException:
            passing.cancel()
            raise
        if isinstance(found, ConnectionLost):
            raise found
        return found

    async def aclose(self) -> None:
        """Tell it that all is over, and give it a moment for that."""
        self._proxy.end()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._ended), _PATIENCE)

    def _reaped(self, status: object) -> None:
        # Its number may be somebody else's from here on.
        self._proxy.pid = 0
        if not self._ended.done():
            self._ended.set_result(None)


async def channel_through(
    outer: Connection,
    config: SshConfig,
    timeout: float | None,  # noqa: ASYNC109 - as it is named
) -> ChannelDuplex:
    """A stream to the server of ``config``, as ``outer``'s server knows it. Raises ConnectFailed, TimedOut."""
    host, port = config.host, config.port
    outer.check_open()
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settled(why: Any) -> None:
        if not answer.done():
            answer.set_result(why)

    channel = outer.core.open_channel(*direct_target(host, port, ""))
    stream = ChannelDuplex(outer.loop, channel, outer.link, on_settled=settled)
    outer.link.flush_soon()
    where = f"connect to host {host} port {port} through {outer.host}"
    try:
        async with asyncio.timeout(timeout):
            why = await answer
    except TimeoutError:
        stream.close()
        late = TimedOut(f"{where}: Connection timed out")
        late.stage = "connecting"
        raise late from None
    except BaseException:
        stream.close()
        raise
    if isinstance(why, ChannelOpenRefused):
        raise ConnectFailed(f"{where}: {why.description or 'refused'}")
    if isinstance(why, TellinError):
        raise why
    return stream


def named_hop(name: str, error: TellinError) -> TellinError:
    """The same error, with the host that it is about."""
    said = str(error)
    if not said.startswith("jump host "):
        error.args = (f"jump host {name}: {said}", *error.args[1:])
    return error
