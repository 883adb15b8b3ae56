# SPDX-License-Identifier: MIT
"""``ssh -O proxy``: a session of our own on a connection that another ``ssh`` holds.

Unlike a passenger's, its data goes through this process, which speaks the connection protocol itself:
so the control socket may be one that was forwarded from another machine.
"""

from types import SimpleNamespace
from typing import Any, Final

from tellin.client.channel_owners import lose_all, tell_owner
from tellin.client.endings import Place
from tellin.client.proxied import ProxiedCore
from tellin.config.ssh_config import SshConfig
from tellin.connection.events import ChannelAsked, GlobalRequested
from tellin.errors import TellinError
from tellin.programs.ssh.session import SshSession
from tellin.runtime.journal import Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link

FAILED: Final = 255


class ByProxy:
    """One run on a proxied connection."""

    def __init__(
        self, config: SshConfig, journal: Journal, stream: Socket, *, command: bytes
    ) -> None:
        if config.remote_forward or config.local_forward or config.dynamic_forward:
            raise TellinError(
                "-O proxy forwards nothing by itself", hint="ask the master, by -O forward"
            )
        self._journal = journal
        self._over = False
        self._killed = False
        self.loop = loop = SmallLoop()
        stream.setblocking(False)
        self._core: Any = ProxiedCore(now=loop.time())
        link = Link(loop, stream, self._core, self._event, on_closed=self._closed)
        connection: Any = SimpleNamespace(
            core=self._core, link=link, place=Place(config.host, "", config.port)
        )
        # What is typed behind ~C is about forwards.
        config = config.replaced(enable_escape_commandline=False)
        self._visit = SshSession(
            loop,
            connection,
            config,
            journal,
            command=command,
            on_over=link.close,
            master=self,
            lend=tuple,
        )
        self._link = link

    def run(self) -> int:
        """Go through all of it; the exit status."""
        try:
            self._visit.start()
            self.loop.run_until(lambda: self._over and self._visit.is_over)
        finally:
            self._visit.leave()
            self.loop.close()
        if self._core.error is not None and not self._visit.finished:
            self._journal.error(str(self._core.error))
            return FAILED
        return FAILED if self._killed else self._visit.status

    def terminate(self) -> None:
        """End it because the user said so."""
        self._killed = True
        self._visit.abandon()
        self._link.close()

    def forwards(self) -> Any:
        """There are none: nobody asks, since there is no command line."""
        raise TellinError("-O proxy forwards nothing by itself")

    def _event(self, event: Any) -> None:
        if not tell_owner(event) and isinstance(event, GlobalRequested | ChannelAsked):
            self._core.answer(event)

    def _closed(self, _: Link) -> None:
        self._over = True
        lose_all(self._core)
