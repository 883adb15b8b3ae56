# SPDX-License-Identifier: MIT
"""One client's connection at a server of a program's own."""

import asyncio
import logging
import socket

from tellin.connection.forwarding import AGENT, X11
from tellin.connection.x11 import X11Origin
from tellin.protocol.events import AuthenticationAsked
from tellin.server.connection import Reach, Reaches, ServerConnection
from tellin.server.forwarding.client_display import ClientDisplay
from tellin.server.forwarding.forwarding import Forwarding

_log = logging.getLogger("tellin.server")


class ServedConnection(ServerConnection):
    """One client's connection, and what the library keeps for it."""

    __slots__ = ("forwarding", "grants", "reach", "request", "sessions")

    forwarding: Forwarding | None
    request: bytes
    sessions: int
    grants: tuple[object, ...]
    reach: Reaches | None

    def _asked(self, event: AuthenticationAsked) -> None:
        # A signature in it is looked at before ``authorize`` hears of the key.
        self.request = event.payload
        super()._asked(event)

    async def open_agent(self) -> socket.socket:
        """A socket that leads to the client's agent."""
        # Few functions ask for it.
        from tellin.server.forwarding.client_sockets import reach_client  # noqa: PLC0415  (start-up time)

        return await reach_client(self, AGENT)

    async def open_display(self, display: ClientDisplay) -> socket.socket:
        """A socket that leads to the client's display."""
        # Fewer still.
        from tellin.server.forwarding.client_sockets import reach_client  # noqa: PLC0415  (start-up time)

        display.count()
        return await reach_client(self, X11, X11Origin("127.0.0.1", 0).encode())

    def session_reach(self) -> Reach:
        """What programs of a session reach on the client's side; what its keys allow is known already."""
        if self.reach is None:
            # Few servers run programs.
            from tellin.server.forwarding.reach import ConnectionReach, ReachRules  # noqa: PLC0415
            from tellin.server.forwarding.x11_forwarding import X11Rules  # noqa: PLC0415

            self.reach = ConnectionReach(
                asyncio.get_running_loop(),
                self,
                ReachRules(agent=True, display=X11Rules()),
                note=_note,
            )
        return self.reach.session()

    @property
    def session_id(self) -> bytes:
        """What signatures are bound to."""
        return self.core.session_id

    @property
    def client_version(self) -> str:
        """What the client calls itself."""
        return self.core.peer_identification


def _note(_level: int, line: str) -> None:
    _log.debug("%s", line)
