# SPDX-License-Identifier: MIT
"""A socket on the server's side that leads to the client's agent (draft-ietf-sshm-ssh-agent section 5)."""

import os
from collections.abc import Callable
from typing import Any, Final

from tellin.connection.forwarding import AGENT
from tellin.errors import UsageError
from tellin.runtime.journal import ERROR, INFO
from tellin.runtime.listeners import Acceptor
from tellin.runtime.loop import Loop
from tellin.runtime.private_sockets import PrivateSocket, called_by_us
from tellin.runtime.sockets import Socket
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.to_client import ToClient

# Programs ask an agent one after the other; more at once is somebody who keeps them open.
MOST_CONNECTIONS: Final = 64


class AgentSocket:
    """The client's agent as the programs of its sessions find it: one socket for a connection.

    It is made in the process, and so with the rights, of the user whose agent it is (R148), when the
    first session asks for it, and lives as long as the connection: what a session leaves running may
    still need it.
    """

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        *,
        note: Callable[[int, str], object],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._note = note
        self._place: PrivateSocket | None = None
        self._acceptor: Acceptor | None = None
        self._open = 0

    @property
    def path(self) -> str:
        """Where it is; empty where nobody has asked for it."""
        return "" if self._place is None else self._place.path

    def begin(self) -> bool:
        """Listen, if that is not done yet; false where it cannot be."""
        if self._place is None:
            try:
                self._place = PrivateSocket.made(f"agent.{os.getpid()}")
            except OSError as error:
                why = error.strerror or str(error)
                self._note(ERROR, f"Agent forwarding disabled: no socket for it: {why}")
                return False
            self._acceptor = Acceptor(self._loop, self._place.listening, self._accepted)
        return True

    def close(self) -> None:
        """The connection is over: leave nothing behind."""
        if self._acceptor is not None:
            self._acceptor.pause()
        if self._place is not None:
            self._place.remove()
        self._acceptor = self._place = None

    def _accepted(self, stream: Socket, _address: Any) -> None:
        # Whoever gets through here can log in as this user wherever his keys do.
        if not called_by_us(stream):
            self._note(ERROR, "agent socket: another user has called")
            stream.close()
            return
        if self._open >= MOST_CONNECTIONS:
            self._note(INFO, "agent socket: too many connections")
            stream.close()
            return
        try:
            ToClient(self._loop, self._connection, stream, AGENT, on_over=self._one_less)
        except UsageError as error:
            self._note(INFO, f"agent socket: {error}")
            stream.close()
            return
        self._open += 1

    def _one_less(self) -> None:
        self._open -= 1
