# SPDX-License-Identifier: MIT
"""When a program's connection learns the server's other host keys (UpdateHostKeys)."""

from collections.abc import Callable
from typing import Protocol

from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import GlobalRequested


class Updates(Protocol):
    """What learns them: `tellin.client.hosts.host_key_updates.HostKeyUpdates`."""

    def told(self, event: GlobalRequested) -> None:
        """The server lists its keys."""


class Learning:
    """Keeps a server's list of its keys until the login is through, and hands it on then.

    The key that has let us in may still be on its way into the file; without its record the list
    would look like that of a stranger. ``make`` is asked once, and gives None where nothing may be
    learnt.
    """

    def __init__(self, core: ClientProtocol, make: Callable[[], Updates | None]) -> None:
        self._core = core
        self._make = make
        self._ready = False
        self._waiting: GlobalRequested | None = None
        self._updates: Updates | None = None

    def begin(self) -> None:
        """The login is through."""
        self._ready = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._tell(waiting)

    def told(self, event: GlobalRequested) -> None:
        """The server asks for something; all that it may ask for here is to be listened to."""
        if self._core.closed:
            return
        if event.want_reply:
            self._core.answer_global(False, debt=event.debt)
        if self._ready:
            self._tell(event)
        elif self._waiting is None:
            self._waiting = event

    def _tell(self, event: GlobalRequested) -> None:
        if self._updates is None:
            self._updates = self._make()
        if self._updates is not None:
            self._updates.told(event)
