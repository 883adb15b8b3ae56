# SPDX-License-Identifier: MIT
"""What comes to a place of this machine, led through a connection to a place behind its server."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tellin.client.forwarding.socks import Granting, SocksEntry
from tellin.config.forwards import Forward
from tellin.connection.forwarding import NOWHERE, direct_target
from tellin.connection.socks import SocksRequest
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import UsageError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelOpenRefused
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.runtime.tunnels import Tunnel, reset
from tellin.userauth.text import escape_text

# How many may be saying by SOCKS where they want to go.
MOST_ASKING: Final = 1024

_REASONS: Final[dict[int, str]] = {
    Reason.ADMINISTRATIVELY_PROHIBITED: "administratively prohibited",
    Reason.CONNECT_FAILED: "connect failed",
    Reason.UNKNOWN_CHANNEL_TYPE: "unknown channel type",
    Reason.RESOURCE_SHORTAGE: "resource shortage",
}


def refusal(event: ChannelOpenRefused) -> str:
    """The line for a channel that the server did not open."""
    reason = _REASONS.get(event.reason, "unknown reason")
    return (
        f"channel {event.channel.number}: open failed: {reason}: {escape_text(event.description)}"
    )


def _title(kind: str, forward: Forward, stream: Socket, address: Any) -> str:
    """A connection in OpenSSH's words."""
    leading = f"{forward.host} port {forward.port}" if forward.host else forward.path
    if forward.listen_path or not isinstance(address, tuple):
        return f"{kind}: listening path {forward.listen_path} for {leading}"
    ours = stream.getsockname()
    return (
        f"{kind}: listening port {forward.listen_port} for {leading},"
        f" connect from {address[0]} port {address[1]} to {ours[0]} port {ours[1]}"
    )


class Leader:
    """Leads sockets through a connection.

    ``open`` is how many there are; ``on_quiet`` is called when the last has gone. With ``resets``,
    whoever cannot be led anywhere hears a reset where he would hear an end, as ``ssh`` has it: what
    was accepted is not lost without a word.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        journal: Journal,
        *,
        resets: bool = False,
        on_quiet: Callable[[], object] | None = None,
    ) -> None:
        self.open = 0
        self._loop = loop
        self._core = core
        self._link = link
        self._journal = journal
        self._resets = resets
        self._on_quiet = on_quiet
        self._asking: set[SocksEntry] = set()

    def accept(self, forward: Forward, stream: Socket, address: Any) -> None:
        """Take a connection that came for ``forward`` from ``address``."""
        if forward.is_socks:
            self._ask_where(stream)
            return
        origin = (address[0], address[1]) if isinstance(address, tuple) else NOWHERE
        if self._journal.debugs:
            self._journal.debug(
                f"Connection to port {forward.listen_port} forwarding to"
                f" {forward.host or forward.path} port {forward.port} requested."
            )
        target = direct_target(forward.host, forward.port, forward.path, origin)
        tunnel = self.lead(stream, target)
        if tunnel is not None:
            # Few ask for it: it is not made before.
            tunnel.titled = partial(_title, target[0], forward, stream, address)

    def turn_away_asking(self) -> None:
        """There is nowhere to go for those who are still saying where they want to."""
        for entry in list(self._asking):
            entry.close(hard=self._resets)

    def _ask_where(self, stream: Socket) -> None:
        """Let a connection say by SOCKS where it wants to go."""
        if len(self._asking) >= MOST_ASKING:
            self._turn_away(stream)
            return
        entry = SocksEntry(
            self._loop,
            stream,
            self._journal,
            lead=self._lead_by_socks,
            on_over=lambda: self._asking.discard(entry),
        )
        self._asking.add(entry)

    def _lead_by_socks(self, stream: Socket, request: SocksRequest) -> None:
        assert request.target is not None
        host, port = request.target
        target = direct_target(host, port, "")
        tunnel = self.lead(stream, target, request)
        if tunnel is not None:
            tunnel.titled = lambda: f"{target[0]}: {host} port {port}"

    def lead(
        self, stream: Socket, target: tuple[str, bytes], socks: SocksRequest | None = None
    ) -> Tunnel | None:
        """Lead a connection to ``target`` (of ``direct_target``); ``socks`` is who waits for a yes.

        None where it was turned away.
        """
        if self._core.closed:
            # Its end is known, and not yet told to everybody: nobody would hear of this one's.
            self._turn_away(stream)
            return None
        try:
            channel = self._core.open_channel(*target)
        except UsageError as error:
            # As many as there may be: whoever comes now is sent away, and may come again.
            self._journal.error(f"forwarded connection: {error}")
            self._turn_away(stream)
            return None
        self.open += 1
        tunnel = Tunnel(
            self._loop,
            channel,
            self._link,
            stream,
            on_refused=self._refused,
            on_over=self._one_less,
        )
        if socks is not None:
            granting = Granting(channel, stream, socks)
            tunnel.on_opened = granting.grant
            tunnel.on_refused = partial(self._not_granted, granting)
        self._link.flush_last()
        return tunnel

    def _refused(self, event: ChannelOpenRefused) -> None:
        self._journal.info(refusal(event))
        if self._resets:
            reset(event.channel.owner.stream)

    def _not_granted(self, granting: Granting, event: ChannelOpenRefused) -> None:
        self._journal.info(refusal(event))
        granting.refuse(event)

    def _turn_away(self, stream: Socket) -> None:
        if self._resets:
            reset(stream)
        stream.close()

    def _one_less(self) -> None:
        self.open -= 1
        if not self.open and self._on_quiet is not None:
            self._on_quiet()
