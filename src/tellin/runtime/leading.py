# SPDX-License-Identifier: MIT
"""A channel that the peer asks for, and that is to lead somewhere: first the connection is made, then the two joined."""

import os
from collections.abc import Callable
from typing import Any

from tellin.connection.channel import Channel, Standing
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.core import Core
from tellin.runtime.listeners import Address, Attempt, begin
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import Gathering
from tellin.runtime.sockets import Socket
from tellin.runtime.tunnels import Tunnel

REFUSED = "open failed"


class Leading:
    """Owns a channel from the peer's question on; a Tunnel takes it over when both ends are there.

    ``on_failed`` hears why no address answered, before the peer does; ``on_over`` is called once,
    when nothing is left. A channel that is open already (its peer has said through it where it is
    to lead) is closed where another would be refused.
    """

    __slots__ = (
        "_attempt",
        "_core",
        "_ended",
        "_link",
        "_loop",
        "_on_connected",
        "_on_failed",
        "_on_over",
        "_over",
        "channel",
    )

    def __init__(
        self,
        loop: Loop,
        core: Core,
        link: Gathering,
        channel: Channel,
        *,
        on_failed: Callable[[str], object],
        on_connected: Callable[[Tunnel], object] | None = None,
        on_over: Callable[[], object] | None = None,
    ) -> None:
        self.channel = channel
        self._loop = loop
        self._core = core
        self._link = link
        self._on_failed = on_failed
        self._on_connected = on_connected
        self._on_over = on_over
        self._attempt: Attempt | None = None
        self._ended = False
        self._over = False
        channel.owner = self

    def connect(self, addresses: list[Address]) -> None:
        """Connect to the first address that answers."""
        if self._over:
            return
        try:
            made, there = begin(*addresses[0])
        except OSError as error:
            if len(addresses) == 1:
                self._failed(error)
            else:
                self._attempt = Attempt(self._loop, addresses[1:], self._connected)
            return
        if there:
            self._joined(made)
        else:
            self._attempt = Attempt(self._loop, addresses, self._connected, begun=made)

    def refuse(self, why: str, reason: int = Reason.CONNECT_FAILED) -> None:
        """It cannot be had."""
        if self._over:
            return
        channel = self.channel
        if channel.standing is Standing.ASKED:
            channel.owner = None
            self._core.refuse_channel(channel, reason, why)
        else:
            channel.close()
        self._end()
        self._link.flush_soon()

    def _connected(self, stream: Socket | None) -> None:
        attempt, self._attempt = self._attempt, None
        if stream is None:
            self._failed(attempt.error if attempt is not None else None)
        else:
            self._joined(stream)

    def _failed(self, error: OSError | None) -> None:
        why = os.strerror(error.errno) if error is not None and error.errno else REFUSED
        self._on_failed(why)
        self.refuse(why)

    def _joined(self, stream: Socket) -> None:
        channel = self.channel
        if channel.standing is Standing.ASKED:
            self._core.accept_channel(channel)
        self._over = True
        tunnel = Tunnel(self._loop, channel, self._link, stream, on_over=self._on_over)
        if self._on_connected is not None:
            self._on_connected(tunnel)
        tunnel.start()
        if self._ended:
            tunnel.ended()
        self._link.flush_last()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._on_over is not None:
            self._on_over()

    # The channel's events

    def opened(self) -> None:
        """Nothing: it is the peer who asked."""

    def refused(self, event: Any) -> None:
        """Nothing, for the same reason."""

    def requested(self, event: Any) -> None:
        """Nothing may be asked of such a channel."""
        if event.debt is not None:
            self.channel.answer(success=False, debt=event.debt)
            self._link.flush_soon()

    def replied(self, event: Any) -> None:
        """We ask nothing of it."""

    def ended(self) -> None:
        """The peer sends no more: the tunnel is told when there is one."""
        self._ended = True

    def writable(self) -> None:
        """Nothing is written before there is a tunnel."""

    def closed(self) -> None:
        """The channel is gone."""
        self._end()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone."""
        self._end()
