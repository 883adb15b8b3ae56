# SPDX-License-Identifier: MIT
"""One client's connection driven by callbacks: checked, logged in, and then its owner's."""

import _socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from tellin.client.endings import Place, Stage, afterword, told
from tellin.connection.machine import ConnectionSettings
from tellin.errors import DisconnectReason, TellinError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.core import KeepAlive
from tellin.protocol.events import (
    Authenticated,
    Banner,
    Closed,
    ExchangeDone,
    HostKeyOffered,
    Identified,
)
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Duplex, Socket
from tellin.runtime.stream import Link
from tellin.transport.settings import Settings


class Check(Protocol):
    """Answers for the host key: `tellin.client.hosts.host_keys.HostKeyCheck`."""

    def handle(self, event: HostKeyOffered) -> None:
        """Settle it, now or later."""


class Way(Protocol):
    """Logs in: `tellin.client.authentication.login.Login`."""

    proved: bool

    def forbid(self, *methods: str) -> Sequence[str]:
        """Do not log in by these; those that would have been tried."""

    def handle(self, event: Any) -> bool:
        """Take an event."""


class ClientConnection:
    """A core on its socket. ``check`` and ``login`` are set by whoever makes it, before any event.

    They are interfaces here: a program loads them while the server is getting ready.

    ``on_ready`` is called when the user is in, ``on_event`` gets what is left after that, and
    ``on_over`` is called once when the socket is closed; ``error`` then says why, if there is
    a reason to tell.
    """

    check: Check
    login: Way

    def __init__(
        self,
        loop: Loop,
        stream: Duplex,
        settings: Settings,
        place: Place,
        *,
        journal: Journal,
        keepalive: KeepAlive | None = None,
        connection: ConnectionSettings | None = None,
        refuse_trivial: bool = False,
        on_ready: Callable[[Authenticated], object],
        on_event: Callable[[Any], object],
        on_over: Callable[[], object],
        on_banner: Callable[[str], object] | None = None,
    ) -> None:
        self.place = place
        self.journal = journal
        self.stage = Stage.BANNER
        self.ended_in = Stage.BANNER
        self._on_ready = on_ready
        self._on_event = on_event
        self._on_over = on_over
        self._on_banner = on_banner
        self.core = ClientProtocol(
            settings,
            connection,
            keepalive=keepalive,
            refuse_trivial=refuse_trivial,
            now=loop.time(),
        )
        self._tell: Callable[[Any], None] | None = None
        if journal.debugs:
            # Who does not ask for the story does not wait for its words.
            from tellin.client.narration import Narrator  # noqa: PLC0415  (start-up time)

            narrator = Narrator(journal, self.core)
            narrator.begin(settings.identification)
            self._tell = narrator.tell
        self.link = Link(loop, stream, self.core, self._event, on_closed=self._closed)
        self._socket: Socket | None = None
        if isinstance(stream, Socket) and stream.family != _socket.AF_UNIX:
            self._socket = stream

    @property
    def error(self) -> TellinError | None:
        """Why the connection ended, None for a plain end."""
        return self.core.error

    def reasons(self) -> Sequence[str]:
        """The lines to tell about the end."""
        error = self.error
        return told(error, self.place, self.ended_in, self.link.failure) if error else ()

    def afterword(self) -> str:
        """What is said behind them to whoever wants to know more."""
        error = self.error
        return afterword(error, self.place, self.ended_in, self.link.failure) if error else ""

    def _event(self, event: Any) -> None:
        if self._socket is not None and self.link.heard and self.stage is not Stage.OVER:
            # Until a session begins OpenSSH's server leaves Nagle's algorithm on: it holds each
            # small packet back until we have acknowledged the last, for which our kernel would
            # take 40 ms.
            self.link.heard = False
            with suppress(OSError):
                self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_QUICKACK, 1)
        if self._tell is not None:
            self._tell(event)
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)
        elif self.stage is Stage.SESSION:
            self._on_event(event)
        elif self.stage is Stage.LOGIN:
            self.login.handle(event)

    def _identified(self, event: Identified) -> None:
        if event.identification.startswith("SSH-2.0-tellin"):
            # It switches Nagle's algorithm off before its first word.
            self._socket = None
        self.stage = Stage.EXCHANGE

    def _host_key_offered(self, event: HostKeyOffered) -> None:
        self.check.handle(event)
        self.link.flush_soon()

    def _exchange_done(self, event: ExchangeDone) -> None:
        if event.first:
            self.stage = Stage.LOGIN
            if not self.core.strict:
                # R005: with some ciphers, who sits in the middle could cut off what comes first.
                self.journal.verbose("the server does not do strict key exchange")
            self.login.handle(event)
        else:
            self._on_event(event)

    def _banner(self, event: Banner) -> None:
        if self._on_banner is not None:
            self._on_banner(event.text)

    def _authenticated(self, event: Authenticated) -> None:
        self.stage = Stage.SESSION
        self.login.handle(event)
        self._on_ready(event)

    def _core_closed(self, event: Closed) -> None:
        self.ended_in, self.stage = self.stage, Stage.OVER
        self._on_event(event)

    def _closed(self, link: Link) -> None:
        self._on_over()

    def quit(self) -> None:
        """Say goodbye; ``on_over`` follows when that has left."""
        self.core.disconnect(DisconnectReason.BY_APPLICATION, "disconnected by user")
        self.link.flush_soon()


_HANDLERS: Final[dict[type, Callable[[ClientConnection, Any], None]]] = {
    Identified: ClientConnection._identified,
    HostKeyOffered: ClientConnection._host_key_offered,
    ExchangeDone: ClientConnection._exchange_done,
    Banner: ClientConnection._banner,
    Authenticated: ClientConnection._authenticated,
    Closed: ClientConnection._core_closed,
}
