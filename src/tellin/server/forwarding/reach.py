# SPDX-License-Identifier: MIT
"""What the programs of a session may reach on the client's side: its agent and its display."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tellin.config.key_options import KeyOptions
from tellin.config.sshd_config import SshdConfig
from tellin.connection.requests import AgentForwarding, Request, X11Request
from tellin.runtime.journal import DEBUG1
from tellin.runtime.listeners import FAMILIES
from tellin.runtime.loop import Loop
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.agent_forwarding import AgentSocket
from tellin.server.forwarding.x11_forwarding import X11Display, X11Rules
from tellin.wire import Record

_BARRED: Final = "X11 forwarding disabled by key options."


class ReachRules(Record):
    """What configuration and keys let one user have; each of them has to allow it.

    A command that is forced on him takes nothing of it away (unlike R149's forwarding): what is
    reached is the client's own, and only the programs that he is let run can do so.
    """

    agent: bool = False
    display: X11Rules | None = None
    barred: bool = False  # from the display, by a key


def rules(config: SshdConfig, options: Sequence[KeyOptions]) -> ReachRules:
    """From the configuration and the keys of a login."""
    barred = not all(one.permit_x11_forwarding for one in options)
    if config.disable_forwarding:
        return ReachRules(barred=barred)
    agent, display = config.allow_agent_forwarding, None
    if config.x11_forwarding and not barred:
        display = X11Rules(
            offset=config.x11_display_offset,
            loopback=config.x11_use_localhost,
            xauth=config.xauth_location,
            family=FAMILIES[config.address_family],
        )
    return ReachRules(
        agent=agent and all(one.permit_agent_forwarding for one in options),
        display=display,
        barred=barred,
    )


class ConnectionReach:
    """The same for all sessions of a connection; ``close`` it with the connection."""

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        made: ReachRules,
        *,
        note: Callable[[int, str], object],
    ) -> None:
        self.loop = loop
        self.connection = connection
        self.rules = made
        self.note = note
        self.agent = AgentSocket(loop, connection, note=note)

    def session(self) -> "SessionReach":
        """One session's part in it."""
        return SessionReach(self)

    def close(self) -> None:
        """The connection is over."""
        self.agent.close()


class SessionReach:
    """One session's part in it: only what its client has asked for is told to its programs."""

    __slots__ = ("_agent", "_display", "_whole")

    def __init__(self, whole: ConnectionReach) -> None:
        self._whole = whole
        self._agent = False
        self._display: X11Display | None = None

    def asked(self, request: Request) -> bool:
        """Do what is asked before the start, if that is possible."""
        return _REQUESTS[type(request)](self, request)

    def environment(self) -> Mapping[str, str]:
        """What the session's programs are told."""
        told = {"SSH_AUTH_SOCK": self._whole.agent.path} if self._agent else {}
        if self._display is not None:
            told |= self._display.environment()
        return told

    def prepare(self, environment: Mapping[str, str], then: Callable[[], object]) -> bool:
        """Do what the programs need first, and call ``then`` behind it; false where that is nothing."""
        return self._display is not None and self._display.prepare(environment, then)

    def close(self) -> None:
        """The session is over."""
        if self._display is not None:
            self._display.close()

    def _agent_asked(self, _request: AgentForwarding) -> bool:
        whole = self._whole
        if not whole.rules.agent:
            whole.note(DEBUG1, "session_auth_agent_req: agent forwarding disabled")
            return False
        self._agent = self._agent or whole.agent.begin()
        return self._agent

    def _display_asked(self, request: X11Request) -> bool:
        whole = self._whole
        if whole.rules.barred:
            # As OpenSSH: the owner of a key can look at its line, and at the server's configuration not.
            whole.connection.core.debug(_BARRED)
        if whole.rules.display is None:
            whole.note(
                DEBUG1, "X11 forwarding disabled in server configuration file, or by a key."
            )
            return False
        if self._display is None:
            self._display = X11Display(
                whole.loop, whole.connection, whole.rules.display, note=whole.note
            )
        return self._display.begin(request)


_REQUESTS: Final[dict[type[Request], Callable[[SessionReach, Any], bool]]] = {
    AgentForwarding: SessionReach._agent_asked,
    X11Request: SessionReach._display_asked,
}
