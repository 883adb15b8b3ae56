# SPDX-License-Identifier: MIT
"""Connections to a port of the server's that say by SOCKS where on our side they want to go: ``ssh -R PORT``."""

from collections.abc import Callable
from typing import Any

from tellin.client.forwarding.socks import PATIENCE
from tellin.connection.channel import Channel
from tellin.connection.socks import SocksRequest
from tellin.errors import ProtocolError
from tellin.protocol.client import ClientProtocol
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import Gathering
from tellin.runtime.tunnels import Tunnel


class RemoteSocks:
    """One channel, until it has said where it wants to go; ``lead`` then has it.

    What comes behind the request is kept until there is somebody to give it to. It is not credited,
    so that the window bounds it. ``on_over`` is called where it ends before it is led.
    """

    __slots__ = (
        "_alarm",
        "_early",
        "_journal",
        "_lead",
        "_led",
        "_link",
        "_on_over",
        "_over",
        "_partial",
        "_request",
        "channel",
    )

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Gathering,
        channel: Channel,
        journal: Journal,
        *,
        lead: Callable[["RemoteSocks", str, int], object],
        on_over: Callable[[], object],
    ) -> None:
        self.channel = channel
        self._link = link
        self._journal = journal
        self._lead = lead
        self._on_over = on_over
        self._led = self._over = False
        self._request = SocksRequest()
        self._partial = bytearray()
        self._early = bytearray()
        channel.owner = self
        core.accept_channel(channel)
        channel.sink = self
        self._alarm = loop.call_later(PATIENCE, self.close)

    def take(self, views: list[memoryview]) -> int:
        """Data of the channel: the request, and what stands behind it."""
        request, used = self._request, 0
        for view in views:
            at = 0
            while at < len(view) and request.target is None and not self._over:
                piece = view[at : at + request.wanted - len(self._partial)]
                self._partial += piece
                at += len(piece)
                if len(self._partial) == request.wanted:
                    self._feed()
            if self._over:
                at = len(view)
            else:
                self._early += view[at:]
            used += at
        if request.target is not None and not self._led and not self._over:
            self._led = True
            self._alarm.cancel()
            self._lead(self, *request.target)
        return used

    def _feed(self) -> None:
        whole = bytes(self._partial)
        self._partial.clear()
        try:
            if answer := self._request.feed(whole):
                self._say(answer)
        except ProtocolError as error:
            self._journal.debug(str(error))
            if self._request.last_word:
                self._say(self._request.last_word)
            self.close()

    def _say(self, data: bytes) -> None:
        # A few bytes: a window without room for them is one that nothing will come of.
        if self.channel.send(data) < len(data):
            self.channel.close()
        self._link.flush_soon()

    def close(self) -> None:
        """Send it away."""
        if not self._over:
            self._end()
            self.channel.close()
            self._link.flush_soon()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._alarm.cancel()
            self._early.clear()
            self._on_over()

    # Whoever leads it

    def hand_over(self, tunnel: Tunnel) -> None:
        """The target is reached: say so, and give what has come for it."""
        self._say(self._request.granted())
        early, self._early = self._early, bytearray()
        sink = tunnel.channel.sink
        if early and sink is not None:
            tunnel.channel.consumed(sink.take([memoryview(early)]))

    def say_no(self, *, prohibited: bool = False) -> None:
        """The target cannot be had; whoever leads the channel closes it."""
        self._say(self._request.refused(prohibited=prohibited))

    def refuse(self, *, prohibited: bool) -> None:
        """It may not be led there."""
        self.say_no(prohibited=prohibited)
        self.close()

    # The channel's events

    def opened(self) -> None:
        """Nothing: it is the server who asked."""

    def refused(self, event: Any) -> None:
        """Nothing, for the same reason."""

    def requested(self, event: Any) -> None:
        """Nothing may be asked of such a channel."""
        if event.debt is not None:
            self.channel.answer(success=False, debt=event.debt)
            self._link.flush_soon()

    def replied(self, event: Any) -> None:
        """We ask nothing of it."""

    def writable(self) -> None:
        """What is said here is said at once."""

    def ended(self) -> None:
        """Nobody is there any more who wants to go anywhere."""
        self.close()

    def closed(self) -> None:
        """The channel is gone."""
        self._end()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone."""
        self._end()
