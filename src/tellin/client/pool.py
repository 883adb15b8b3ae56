# SPDX-License-Identifier: MIT
"""``tellin.Pool``: connections that are kept, and lent to whoever needs one for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Unpack

from tellin.client.arguments import check_seconds
from tellin.client.connect import connect
from tellin.client.connected import Connection
from tellin.client.options import ConnectOptions
from tellin.errors import ConnectionLost, TellinError, TimedOut, UsageError
from tellin.runtime.opening import Opening

# OpenSSH's servers take ten sessions a connection (MaxSessions), and the other ones as many.
SESSIONS: Final = 10
_PING_SECONDS: Final = 5.0

Destination = tuple[str, int | None, str | None]
"""Host, port and user, as they were asked for."""


class Lease:
    """A connection for a while; made by ``Pool.acquire``.

    Others may have the same one at the same time. ``connection`` is to be used and not to be closed:
    ``release`` gives it back.
    """

    __slots__ = ("_kept", "_pool", "connection")

    def __init__(self, pool: "Pool", kept: "_Kept", connection: Connection) -> None:
        self.connection = connection
        self._pool = pool
        self._kept: _Kept | None = kept

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._pool._give_back(kept)

    async def aclose(self) -> None:
        """The same."""
        self.release()


class _Lending:
    """``async with pool.acquire(...) as connection``, or a Lease to be released."""

    __slots__ = ("_acquire", "_lease")

    def __init__(self, acquire: Opening[Lease]) -> None:
        self._acquire = acquire
        self._lease: Lease | None = None

    def __await__(self) -> Any:
        return self._acquire.__await__()

    async def __aenter__(self) -> Connection:
        self._lease = await self._acquire
        return self._lease.connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is not None:
            self._lease.release()


class _Kept:
    """One connection of a pool: made, lent, idle, or on its way out."""

    __slots__ = ("alarm", "checking", "connection", "destination", "idle_since", "lent", "making")

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.connection: Connection | None = None
        self.making: asyncio.Task[Connection] | None = None
        self.checking: asyncio.Task[bool] | None = None
        self.lent = 0
        self.idle_since = 0.0
        self.alarm: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        """Whether it is on its way, or there."""
        return self.connection is None or not self.connection.closed


class _Waiter:
    """Somebody for whom there was no room yet: where he stands is kept until he is served."""

    __slots__ = ("destination", "woken")

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.woken = asyncio.Event()


class Pool:
    """Keeps connections by destination (host, port and user) and lends them.

    ``async with pool.acquire("host") as connection`` waits for one: an idle one, one that has fewer
    than ``sessions`` lendings and so serves several at once, or a new one. There are at most
    ``max_size`` of them, and ``max_per_host`` to each destination; beyond that an idle one to
    elsewhere is closed, or whoever comes first waits, ``timeout`` seconds at most (TimedOut). One
    that nobody has is closed after ``idle_time`` seconds. One that was idle for ``check_after`` seconds
    is asked for a sign of life before it is lent, and one that has ended is never lent.

    The other arguments are those of ``tellin.connect`` for all of them. A connection that cannot be
    made is an error to everybody who waits for that one, and to nobody else.
    """

    def __init__(
        self,
        *,
        max_size: int = 32,
        max_per_host: int = 4,
        sessions: int = SESSIONS,
        idle_time: float = 60.0,
        check_after: float = 10.0,
        timeout: float | None = None,
        connect: Callable[..., Awaitable[Connection]] = connect,
        **options: Unpack[ConnectOptions],
    ) -> None:
        for name, number in (
            ("max_size", max_size), ("max_per_host", max_per_host), ("sessions", sessions),
        ):  # fmt: skip
            if type(number) is not int or number < 1:
                raise UsageError(f"{name} is a number from 1 on, and not {number!r}")
        check_seconds(idle_time=idle_time, check_after=check_after, timeout=timeout)
        for name in ("sock", "user", "port"):
            if name in options:
                raise UsageError(f"{name} is no matter of a whole pool")
        self._max_size = max_size
        self._max_per_host = max_per_host
        self._sessions = sessions
        self._idle_time = idle_time
        self._check_after = check_after
        self._timeout = timeout
        self._connect = connect
        self._options = options
        self._kept: set[_Kept] = set()
        self._waiting: list[_Waiter] = []
        self._leaving: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __repr__(self) -> str:
        idle = sum(not one.lent for one in self._kept)
        return f"<Pool of {len(self._kept)} connections, {idle} idle{', closed' * self._closed}>"

    @property
    def size(self) -> int:
        """How many connections there are, those included that are being made."""
        return len(self._kept)

    def acquire(self, host: str, *, port: int | None = None, user: str | None = None) -> _Lending:
        """A connection: enter this for it, or await it for a Lease to be released."""
        return _Lending(Opening(lambda: self._acquire((host, port, user))))

    async def aclose(self) -> None:
        """Close all of them, lent ones too; who waits for one hears a UsageError."""
        self._closed = True
        self._wake()
        for kept in list(self._kept):
            self._drop(kept)
        while self._leaving:
            await asyncio.wait(self._leaving)

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Lending

    async def _acquire(self, destination: Destination) -> Lease:
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    kept = await self._place(destination)
                    try:
                        connection = await self._ready(kept)
                    except BaseException:
                        self._give_back(kept)
                        raise
                    if connection is not None:
                        return Lease(self, kept, connection)
                    self._give_back(kept)
        except TimeoutError:
            raise TimedOut(
                f"{destination[0]}: no connection of the pool was to be had"
                f" within {self._timeout:g} s"
            ) from None

    async def _place(self, destination: Destination) -> _Kept:
        """One that has room for us, which is ours from here on; first come, first served."""
        waiter: _Waiter | None = None
        try:
            while True:
                if self._closed:
                    raise UsageError("the pool is closed")
                # Whoever waits for the same was here before us.
                ahead = (one for one in self._waiting if one.destination == destination)
                if next(ahead, waiter) is waiter and (kept := self._fitting(destination)):
                    kept.lent += 1
                    if kept.alarm is not None:
                        kept.alarm.cancel()
                        kept.alarm = None
                    return kept
                if waiter is None:
                    waiter = _Waiter(destination)
                    self._waiting.append(waiter)
                waiter.woken.clear()
                await waiter.woken.wait()
        finally:
            if waiter is not None:
                self._waiting.remove(waiter)
                # There may be room for the next one, too.
                self._wake()

    def _fitting(self, destination: Destination) -> _Kept | None:
        for one in [one for one in self._kept if not one.usable]:
            self._drop(one)
        ours = [one for one in self._kept if one.destination == destination]
        # Sessions go together before another connection is made: logging in is what costs.
        free = [one for one in ours if one.lent < self._sessions]
        if free:
            return max(free, key=lambda one: one.lent)
        if len(ours) >= self._max_per_host:
            return None
        if len(self._kept) >= self._max_size:
            idle = [one for one in self._kept if not one.lent]
            if not idle:
                return None
            self._drop(min(idle, key=lambda one: one.idle_since))
        made = _Kept(destination)
        made.making = asyncio.get_running_loop().create_task(self._make(made))
        made.making.add_done_callback(lambda task: self._made(made, task))
        self._kept.add(made)
        return made

    async def _make(self, kept: _Kept) -> Connection:
        host, port, user = kept.destination
        connection = await self._connect(host, port=port, user=user, **self._options)
        kept.connection = connection
        return connection

    def _made(self, kept: _Kept, task: "asyncio.Task[Connection]") -> None:
        if task.cancelled() or task.exception() is not None:
            # Those who wait for it hear why; whoever comes after them tries anew.
            self._drop(kept)

    async def _ready(self, kept: _Kept) -> Connection | None:
        """The connection once it is there and alive; None where it was not, and another is to be had."""
        making = kept.making
        if making is not None:
            try:
                # Whoever gives up waiting does not take it from the others.
                made = await asyncio.shield(making)
            except asyncio.CancelledError:
                if making.cancelled():
                    raise UsageError("the pool is closed") from None
                raise
            kept.making = None
            return None if made.closed else made
        connection = kept.connection
        assert connection is not None
        loop = asyncio.get_running_loop()
        if kept.lent == 1 and loop.time() - kept.idle_since >= self._check_after:
            kept.checking = loop.create_task(self._check(kept, connection))
            self._leaving.add(kept.checking)
            kept.checking.add_done_callback(self._leaving.discard)
        # Whoever comes while it is asked waits for the answer, too.
        if kept.checking is not None and not await asyncio.shield(kept.checking):
            return None
        return None if connection.closed else connection

    async def _check(self, kept: _Kept, connection: Connection) -> bool:
        """Whether a connection that was idle gives a sign of life; one that does not is dropped."""
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await connection.ping()
        except (TimeoutError, TellinError):
            self._drop(kept)
            return False
        finally:
            kept.checking = None
        return True

    def _give_back(self, kept: _Kept) -> None:
        kept.lent -= 1
        if not kept.lent and kept in self._kept:
            if not kept.usable:
                self._drop(kept)
            else:
                loop = asyncio.get_running_loop()
                kept.idle_since = loop.time()
                kept.alarm = loop.call_later(self._idle_time, self._drop, kept)
        self._wake()

    def _wake(self) -> None:
        """There may be room: those who wait look again, in their order."""
        for waiter in self._waiting:
            waiter.woken.set()

    def _drop(self, kept: _Kept) -> None:
        """Lend it no more, and close it."""
        if kept not in self._kept:
            return
        self._kept.discard(kept)
        if kept.alarm is not None:
            kept.alarm.cancel()
            kept.alarm = None
        task = asyncio.get_running_loop().create_task(self._leave(kept))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self._wake()

    async def _leave(self, kept: _Kept) -> None:
        if kept.making is not None and not kept.making.done():
            kept.making.cancel()
            await asyncio.wait([kept.making])
        if kept.connection is not None:
            with suppress(ConnectionLost):
                await kept.connection.aclose()
