# SPDX-License-Identifier: MIT
"""What of ours programs on the server may use, agent and display; asked for with a session, and taken care of here."""

import os
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from tellin.client.authentication.agents import open_agent
from tellin.client.forwarding.agent_forwarding import AgentForwarding
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import AGENT, X11
from tellin.connection.requests import AgentForwarding as AgentRequest
from tellin.connection.requests import Request
from tellin.errors import ConnectFailed
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelAsked
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.stream import Link

Asked = tuple[Request, bool]
"""A request, and whether we want to know what becomes of it."""

_UNSAFE: Final = "{} forwarding is disabled to avoid man-in-the-middle attacks."


class Takers(Protocol):
    """Who takes the channels that the server opens: `tellin.client.forwarding.incoming.Incoming`."""

    def take(self, channel_type: str, taker: Callable[[ChannelAsked], object]) -> None:
        """From here on ``taker`` gets channels of that type."""


class Display(Protocol):
    """Our display: `tellin.client.forwarding.x11_forwarding.X11Forwarding`, which few sessions load."""

    open: int

    def request(self) -> Request:
        """What a session asks for."""

    def asked(self, event: ChannelAsked) -> None:
        """The server wants a channel to it."""


class Lending:
    """What one connection's server is lent.

    ``unsafe`` says that the server's host key has changed: whoever answers there gets nothing.
    ``open`` is how many connections there are to what is lent; ``on_quiet`` is called when the last
    has gone.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        incoming: Takers,
        *,
        config: SshConfig,
        journal: Journal,
        unsafe: bool = False,
        environment: Mapping[str, str] = os.environ,
        on_quiet: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._core = core
        self._link = link
        self._incoming = incoming
        self._config = config
        self._journal = journal
        self._unsafe = unsafe
        self._environment = environment
        self._on_quiet = on_quiet
        self._agent: AgentForwarding | None = None
        self._display: Display | None = None

    @property
    def open(self) -> int:
        """How many connections there are."""
        return sum(one.open for one in (self._agent, self._display) if one is not None)

    def requests(self) -> tuple[Asked, ...]:
        """What a session that begins asks for, as the configuration has it."""
        return self._display_requests() + self._agent_requests()

    def _display_requests(self) -> tuple[Asked, ...]:
        config, journal = self._config, self._journal
        if not config.forward_x11:
            return ()
        if self._unsafe:
            journal.error(_UNSAFE.format("X11"))
            return ()
        if self._display is None:
            # Who shows no windows does not wait for this.
            from tellin.client.forwarding.x11_forwarding import (  # noqa: PLC0415  (start-up time)
                X11Forwarding,
                display_of,
                obtain,
            )

            name = display_of(self._environment, journal)
            access = name and obtain(
                name,
                xauth=config.xauth_location,
                trusted=config.forward_x11_trusted,
                timeout=config.forward_x11_timeout,
                journal=journal,
            )
            if not name or not access:
                return ()
            self._display = X11Forwarding(
                self._loop,
                self._core,
                self._link,
                name,
                access,
                journal=journal,
                on_quiet=self._on_quiet,
            )
            self._incoming.take(X11, self._display.asked)
        journal.debug("Requesting X11 forwarding with authentication spoofing.")
        return ((self._display.request(), True),)

    def _agent_requests(self) -> tuple[Asked, ...]:
        config, journal = self._config, self._journal
        if config.forward_agent == "no":
            return ()
        if self._unsafe:
            journal.error(_UNSAFE.format("Agent"))
            return ()
        if self._agent is None:
            path = config.forwarded_agent(self._environment)
            if path is None or not self._is_there(path):
                # As OpenSSH: who has no agent forwards none, and that is no fault.
                return ()
            self._agent = AgentForwarding(
                self._loop,
                self._core,
                self._link,
                path,
                journal=journal,
                on_quiet=self._on_quiet,
            )
            self._incoming.take(AGENT, self._agent.asked)
        journal.debug("Requesting authentication agent forwarding.")
        return ((AgentRequest(), False),)

    def _is_there(self, path: str) -> bool:
        try:
            open_agent(path).close()
        except ConnectFailed as error:
            self._journal.debug(f"ssh_get_authentication_socket: {error}")
            return False
        return True
