# SPDX-License-Identifier: MIT
"""What of ours programs on the server may use: the agent; asked for with a session, and taken care of here."""

import os
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from tellin.client.agent_forwarding import AgentForwarding
from tellin.client.agents import open_agent
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import AGENT
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
    """Who takes the channels that the server opens: `tellin.client.incoming.Incoming`."""

    def take(self, channel_type: str, taker: Callable[[ChannelAsked], object]) -> None:
        """From here on ``taker`` gets channels of that type."""


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

    @property
    def open(self) -> int:
        """How many connections there are."""
        return 0 if self._agent is None else self._agent.open

    def requests(self) -> tuple[Asked, ...]:
        """What a session that begins asks for, as the configuration has it."""
        return self._agent_requests()

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
