# SPDX-License-Identifier: MIT
"""``tellin.Pool`` for threads: connections that are kept, and lent to whichever thread needs one."""

from types import TracebackType
from typing import Any, Unpack

from tellin.blocking.client import Connection
from tellin.blocking.faces import Entered, Face, closing
from tellin.blocking.tunnel import in_threads
from tellin.client.options import ConnectOptions
from tellin.client.pool import SESSIONS
from tellin.client.pool import Lease as AsyncLease
from tellin.client.pool import Pool as AsyncPool
from tellin.runtime.portal import shared_portal


class Lease(Face[AsyncLease]):
    """A connection for a while: enter this for it, or take ``connection``, and ``release`` in the end."""

    __slots__ = ("connection",)

    def _prepare(self) -> None:
        self.connection: Connection = Connection(self._inner.connection, self._portal)

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        # A child that was forked has nothing to give back, and a program that ends nobody to take it.
        if self._portal.is_running:
            self._portal.call(self._inner.release)

    def __enter__(self) -> Connection:
        return self.connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Pool(Entered[AsyncPool]):
    """Keeps connections by destination and lends them, as ``tellin.Pool``.

    ``with pool.acquire("host") as connection`` waits for one; any thread may. A thread that holds
    all there are and wants one more waits for itself: ``timeout`` bounds that (TimedOut). Functions
    that are asked are called in threads of their own: a connection is made for whoever waits for it.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        max_size: int = 32,
        max_per_host: int = 4,
        sessions: int = SESSIONS,
        idle_time: float = 60.0,
        check_after: float = 10.0,
        timeout: float | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        portal = shared_portal()
        made = portal.call(
            AsyncPool,
            max_size=max_size,
            max_per_host=max_per_host,
            sessions=sessions,
            idle_time=idle_time,
            check_after=check_after,
            timeout=timeout,
            **in_threads(portal, options),
        )
        portal.keep(made)
        super().__init__(made, portal)

    def __repr__(self) -> str:
        return repr(self._inner)

    close = closing(AsyncPool.aclose)

    @property
    def size(self) -> int:
        """How many connections there are, those included that are being made."""
        return self._inner.size

    def acquire(self, host: str, *, port: int | None = None, user: str | None = None) -> Lease:
        """Wait for a connection, which is to be given back."""
        made: Any = self._portal.call(self._inner.acquire, host, port=port, user=user)
        return Lease(made, self._portal)
