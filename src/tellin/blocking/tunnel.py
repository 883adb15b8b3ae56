# SPDX-License-Identifier: MIT
"""``tellin.Tunnel`` for threads: a connection that comes back by itself, and what is forwarded through it."""

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Unpack

from tellin.blocking.client import Connection, Forwarding
from tellin.blocking.faces import Entered, closing, forwarded, in_thread, told
from tellin.client.arguments import Path
from tellin.client.forwarding.remote_forwardings import StandingForwarding as AsyncStanding
from tellin.client.forwarding.remote_forwards import ANYWHERE
from tellin.client.options import ConnectOptions
from tellin.client.tunnel import LONGEST_WAIT, TunnelState
from tellin.client.tunnel import Tunnel as AsyncTunnel
from tellin.errors import TellinError, TimedOut
from tellin.runtime.portal import Portal, shared_portal

_log = logging.getLogger("tellin.client")

# What is asked while nobody waits: a connection is made whenever one was lost.
_ASKED: Final = ("host_keys", "password", "questions", "change_password", "passphrase")


class InTurn:
    """Calls a function of the user's in a thread of its own, never twice at once, and never on the loop.

    What happens while it runs is one more call behind it: so nothing piles up under a slow one, and
    the last change is always told.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._wanted = self._running = False

    def __call__(self, *_: object) -> None:
        """It has happened; this never waits."""
        with self._lock:
            self._wanted = True
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="tellin change", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._running = self._wanted
                if not self._wanted:
                    return
                self._wanted = False
            try:
                self._function()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's may raise anything
                _log.error("a tunnel's on_change failed", exc_info=error)


class StandingForwarding(Forwarding):
    """A place of a server that is listened on whenever there is a connection to it."""

    __slots__ = ()
    _inner: AsyncStanding

    @property
    def listening(self) -> bool:
        """Whether the server listens now."""
        return self._inner.listening

    @property
    def refused(self) -> TellinError | None:
        """Why it does not, where the server has said no; it is asked again."""
        return self._inner.refused


class Tunnel(Entered[AsyncTunnel]):
    """A connection that is made anew whenever it is lost, as ``tellin.Tunnel``.

    ``with blocking.Tunnel("host", ...) as tunnel`` begins it. It goes on between the calls, also
    while no thread waits for anything: so functions that are asked (about a host key, for a
    password) are called in threads of their own. So is ``on_change``, one call after the other;
    changes that come while it runs are one more call.
    """

    __slots__ = ()

    def __init__(
        self,
        host: str,
        *,
        longest_wait: float = LONGEST_WAIT,
        on_change: "Callable[[Tunnel], object] | None" = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        portal = shared_portal()
        told_of = None if on_change is None else InTurn(functools.partial(on_change, self))
        made = portal.call(
            AsyncTunnel,
            host,
            longest_wait=longest_wait,
            on_change=told_of,
            **in_threads(portal, options),
        )
        portal.keep(made)
        super().__init__(made, portal)

    def __repr__(self) -> str:
        return repr(self._inner)

    start = told(AsyncTunnel.start)
    retry = told(AsyncTunnel.retry)
    close = closing(AsyncTunnel.aclose)
    wait_closed = forwarded(AsyncTunnel.wait_closed)

    def __enter__(self) -> "Tunnel":
        self.start()
        return self

    def wait_up(self, *, timeout: float | None = None) -> Connection:
        """Wait until it is up; raises the error that has ended it before that, and TimedOut."""

        async def wait() -> Any:
            # Nobody can cancel a thread that waits.
            try:
                async with asyncio.timeout(timeout):
                    return await self._inner.wait_up()
            except TimeoutError:
                raise TimedOut(f"{self.host}: not up within {timeout:g} s") from self.error

        return Connection(self._portal.call(wait), self._portal)

    def forward_local(
        self,
        listen: int | Path,
        host: Path,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        accept: Callable[[str, int], bool] | None = None,
    ) -> Forwarding:
        """As ``Connection.forward_local``, for all connections that this tunnel will have."""
        made = self._portal.call(
            self._inner.forward_local,
            listen,
            host,
            port,
            listen_host=listen_host,
            accept=in_thread(self._portal, accept),
        )
        return Forwarding(made, self._portal)

    def socks(
        self,
        listen: int | Path = 0,
        *,
        listen_host: str | None = None,
        accept: Callable[[str, int], bool] | None = None,
    ) -> Forwarding:
        """As ``Connection.socks``, for all connections that this tunnel will have."""
        made = self._portal.call(
            self._inner.socks,
            listen,
            listen_host=listen_host,
            accept=in_thread(self._portal, accept),
        )
        return Forwarding(made, self._portal)

    def forward_remote(
        self,
        listen: int | Path = 0,
        host: Path | None = None,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        permit_open: Sequence[str] = ANYWHERE,
    ) -> StandingForwarding:
        """As ``Connection.forward_remote``, at each server that this tunnel will come to."""
        made = self._portal.call(
            self._inner.forward_remote,
            listen,
            host,
            port,
            listen_host=listen_host,
            permit_open=permit_open,
        )
        return StandingForwarding(made, self._portal)

    @property
    def host(self) -> str:
        """The server as it was named."""
        return self._inner.host

    @property
    def state(self) -> TunnelState:
        """Where it is."""
        return self._inner.state

    @property
    def connection(self) -> Connection | None:
        """The connection, while there is one."""
        made = self._inner.connection
        return None if made is None else Connection(made, self._portal)

    @property
    def error(self) -> TellinError | OSError | None:
        """Why there is none: what went wrong last."""
        return self._inner.error

    @property
    def fault(self) -> BaseException | None:
        """What has ended it, if that was no ``close``."""
        return self._inner.fault

    @property
    def connected(self) -> int:
        """How often it came up."""
        return self._inner.connected

    @property
    def tries(self) -> int:
        """How many attempts have failed since it was up."""
        return self._inner.tries

    @property
    def open(self) -> int:
        """How many connections are being led to the server now."""
        return self._inner.open


def in_threads(portal: Portal, options: ConnectOptions) -> dict[str, Any]:
    """The same options, with each function among them called in a thread of its own."""
    given: dict[str, Any] = dict(options)
    for name in _ASKED:
        function = given.get(name)
        if callable(function):
            given[name] = in_thread(portal, function)
    return given
