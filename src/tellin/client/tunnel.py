# SPDX-License-Identifier: MIT
"""``tellin.Tunnel``: a connection that comes back by itself, and what is forwarded through it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, Final, Unpack

from tellin.client.accepting import Accept
from tellin.client.arguments import Path, check_seconds
from tellin.client.backoff import BackOff, LoopWaits, Waits
from tellin.client.connect import connect
from tellin.client.connected import Connection
from tellin.client.forwarding.forwards import Forwarding
from tellin.client.forwarding.leading import Leader
from tellin.client.forwarding.local_forwards import (
    LocalForwarding,
    library_journal,
    listen_here,
    local_forward,
    socks_forward,
)
from tellin.client.forwarding.remote_forwardings import (
    StandingForwarding,
    permitted_places,
    remote_forward,
)
from tellin.client.forwarding.remote_forwards import ANYWHERE
from tellin.client.options import ConnectOptions
from tellin.config.forwards import Forward
from tellin.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionLost,
    HostKeyRejected,
    KeyFileError,
    RequestRefused,
    TellinError,
    TimedOut,
    UsageError,
)
from tellin.protocol.core import KeepAlive
from tellin.runtime.opening import Opening
from tellin.runtime.routes import RouteWatch, watch_routes
from tellin.runtime.sockets import Socket

_log = logging.getLogger("tellin.client")

LONGEST_WAIT: Final = 30.0
KEEPALIVE: Final = KeepAlive(interval=15.0, count=3)
_LOGIN_SECONDS: Final = 30.0
# A packet that gets no answer is sent again after 1 s, 3 s, 7 s; a new attempt is as good, and sooner.
_CONNECT_SECONDS: Final = 10.0
_SHORTEST_ATTEMPT: Final = 1.0
# However often the network changes: so much lies between two attempts.
_LEAST_WAIT: Final = 0.1

# What no waiting mends: who never got in ends with it.
_FINAL: Final = (AuthenticationFailed, ConfigError, HostKeyRejected, KeyFileError, UsageError)


class TunnelState(Enum):
    """Where a tunnel is."""

    IDLE = "idle"
    """Not begun."""
    CONNECTING = "connecting"
    """On the way to the server, or logging in."""
    UP = "up"
    """Connected and logged in."""
    WAITING = "waiting"
    """For the next attempt."""
    CLOSED = "closed"
    """Over: closed, or given up."""


class Tunnel:
    """A connection that is made anew whenever it is lost, and what is forwarded through it.

    ``async with tellin.Tunnel("host", ...) as tunnel`` begins it; the arguments are those of
    ``tellin.connect``. What ``forward_local`` and ``socks`` listen on stays while the connection is
    away: whoever comes then, and whoever was being led when it was lost, hears a reset, and nothing
    is kept back or lost without a word.

    After a loss or a failure the next attempt follows at once or after a wait that grows to
    ``longest_wait`` seconds, part of it by chance; a change of this machine's links, addresses or
    routes cuts it short (on Linux), and ``retry`` does. ``keepalive`` finds out that a peer is gone
    that says nothing. What no waiting mends (a wrong host key, a login that is refused, a mistake in
    the configuration) ends a tunnel that has never been up, with ``error``.

    ``on_change`` is called on the loop at each change of ``state``, and when the server says whether
    it listens on something; ``waits`` is the clock.
    """

    def __init__(
        self,
        host: str,
        *,
        longest_wait: float = LONGEST_WAIT,
        on_change: "Callable[[Tunnel], object] | None" = None,
        waits: Waits | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        check_seconds(longest_wait=longest_wait)
        if options.get("sock") is not None:
            raise UsageError(
                "a tunnel makes its connections itself, and takes none",
                hint="ProxyJump and ProxyCommand of the configuration lead through others",
            )
        self.host: str = host
        self.state: TunnelState = TunnelState.IDLE
        self.since: float = 0.0
        """When ``state`` began, on the clock of ``waits``."""
        self.connection: Connection | None = None
        """The connection, while there is one."""
        self.error: TellinError | OSError | None = None
        """Why there is none: what went wrong last."""
        self.connected: int = 0
        """How often it came up."""
        self.tries: int = 0
        """How many attempts have failed since it was up."""
        self.next_try: float | None = None
        """When the next attempt is, on the clock of ``waits``, in state WAITING."""
        self.forwardings: set[LocalForwarding] = set()
        """What is listened on here."""
        self.standing: set[StandingForwarding] = set()
        """What the server listens on."""
        options.setdefault("keepalive", KEEPALIVE)
        options.setdefault("login_timeout", _LOGIN_SECONDS)
        within = min(_CONNECT_SECONDS, max(_SHORTEST_ATTEMPT, longest_wait))
        options.setdefault("connect_timeout", within)
        self._options = options
        self._on_change = on_change
        self._waits: Waits = LoopWaits() if waits is None else waits
        self._longest_wait = longest_wait
        self._backoff = BackOff(longest_wait)
        self._asking: set[asyncio.Task[None]] = set()
        self._leader: Leader | None = None
        self._nudge = asyncio.Event()
        self._cut_short = False
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self._watch: RouteWatch | None = None
        self._leaving: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Tunnel to {self.host}, {self.state.value}>"

    # What a program does

    def start(self) -> None:
        """Begin to connect; an ``async with`` does it."""
        if self._task is not None or self.state is TunnelState.CLOSED:
            raise UsageError("a tunnel is started once")
        loop = asyncio.get_running_loop()
        self._watch = watch_routes(loop, self.retry)
        self._task = loop.create_task(self._run())

    def retry(self) -> None:
        """Wait no longer: the next attempt is now."""
        self._nudge.set()

    async def wait_up(self) -> Connection:
        """Wait until it is up; raises the error that has ended it before that."""
        while self.connection is None or self.connection.closed:
            if self.state is TunnelState.CLOSED:
                self._raise()
            self._up.clear()
            await self._up.wait()
        return self.connection

    async def wait_closed(self) -> None:
        """Wait until it is over, and raise what has ended it, if that was no ``close``."""
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """End it, and all that is forwarded."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._finish(None)

    async def aclose(self) -> None:
        """End it, and wait until that is done."""
        self.close()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aenter__(self) -> "Tunnel":
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # What is forwarded

    def forward_local(
        self,
        listen: int | Path,
        host: Path,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        accept: Accept | None = None,
    ) -> Opening[Forwarding]:
        """As ``Connection.forward_local``, for all connections that this tunnel will have."""
        asked = local_forward(listen, host, port, listen_host=listen_host)
        return Opening(lambda: self.forward(asked, accept=accept))

    def socks(
        self,
        listen: int | Path = 0,
        *,
        listen_host: str | None = None,
        accept: Accept | None = None,
    ) -> Opening[Forwarding]:
        """As ``Connection.socks``, for all connections that this tunnel will have."""
        asked = socks_forward(listen, listen_host=listen_host)
        return Opening(lambda: self.forward(asked, accept=accept))

    async def forward(
        self,
        asked: Forward,
        *,
        listening: "list[Socket] | None" = None,
        accept: Accept | None = None,
    ) -> LocalForwarding:
        """Listen for a LocalForward or DynamicForward of a configuration, or take what listens already."""
        self._check_open()
        if listening is None:
            listening = await listen_here(asked)
        made = LocalForwarding(
            asyncio.get_running_loop(),
            asked,
            listening,
            self._leader,
            accept=accept,
            on_ended=self.forwardings.discard,
        )
        self.forwardings.add(made)
        if self.state is TunnelState.CLOSED:
            made.ended()
            self._check_open()
        return made

    def forward_remote(
        self,
        listen: int | Path = 0,
        host: Path | None = None,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        permit_open: Sequence[str] = ANYWHERE,
    ) -> Opening[StandingForwarding]:
        """As ``Connection.forward_remote``, at each server that this tunnel will come to.

        It is there at once, and asks the server when there is one. One that says no is asked again:
        it may not know yet that the last connection is gone.
        """
        asked = remote_forward(listen, host, port, listen_host=listen_host)
        permitted = permitted_places(asked, permit_open)

        async def begin() -> StandingForwarding:
            return self.stand(asked, permitted)

        return Opening(begin)

    def stand(self, asked: Forward, permitted: Sequence[str] = ANYWHERE) -> StandingForwarding:
        """Have a RemoteForward of a configuration listened on; ``permitted`` is its PermitRemoteOpen."""
        self._check_open()
        made = StandingForwarding(asked, permitted, on_ended=self.standing.discard)
        self.standing.add(made)
        if self.connection is not None:
            self._ask_for(made, self.connection)
        return made

    def _ask_for(self, standing: StandingForwarding, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(self._listen_there(standing, connection))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _listen_there(self, standing: StandingForwarding, connection: Connection) -> None:
        """Ask until the server listens, or the connection is gone."""
        backoff, nothing = BackOff(self._longest_wait), asyncio.Event()
        while not standing.closed:
            try:
                standing.begun(
                    await connection.lead_from_there(standing.asked, standing.permitted)
                )
            except RequestRefused as error:
                standing.refused = error
                self._tell()
                await self._waits.wait(backoff.next(), nothing)
            except ConnectionLost:
                return
            else:
                self._tell()
                return

    @property
    def fault(self) -> BaseException | None:
        """What has ended it, if that was no ``close``."""
        return self._fault

    @property
    def open(self) -> int:
        """How many connections are being led to the server now."""
        return 0 if self._leader is None else self._leader.open

    def _check_open(self) -> None:
        if self.state is TunnelState.CLOSED:
            self._raise()

    def _raise(self) -> None:
        if self._fault is not None:
            raise self._fault
        raise ConnectionLost(f"{self.host}: the tunnel is closed", stage="session")

    # Its life

    async def _run(self) -> None:
        try:
            while True:
                began = self._waits.time()
                self._change(TunnelState.CONNECTING)
                self._nudge.clear()
                try:
                    connection = await self._attempt(began)
                except (TellinError, OSError) as error:
                    self.error = error
                    if not self.connected and isinstance(error, _FINAL):
                        raise
                    self.tries += 1
                else:
                    await self._be_up(connection)
                await self._pause(began)
        except asyncio.CancelledError:
            self._finish(None)
            if self._leaving is not None:
                await self._leaving
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._finish(error)

    async def _attempt(self, began: float) -> Connection:
        """Connect once; a change of the network ends an attempt that has had its time.

        The one after that is not ended so: where changes come all the time, none would get through.
        """
        spared, self._cut_short = self._cut_short, False
        attempt = asyncio.ensure_future(connect(self.host, **self._options))
        nudged: asyncio.Task[Any] | None = None
        connection: Connection | None = None
        try:
            while True:
                nudged = asyncio.ensure_future(self._nudge.wait())
                await asyncio.wait([attempt, nudged], return_when=asyncio.FIRST_COMPLETED)
                if attempt.done():
                    connection = attempt.result()
                    return connection
                self._nudge.clear()
                if not spared and self._waits.time() - began >= _SHORTEST_ATTEMPT:
                    # What it has sent may have gone the old way, and is sent again late.
                    self._cut_short = True
                    raise TimedOut(f"{self.host}: the network has changed")
        finally:
            if nudged is not None:
                nudged.cancel()
            if connection is None:
                # Called off, perhaps in the very turn in which it was there.
                attempt.cancel()
                with suppress(asyncio.CancelledError, TellinError, OSError):
                    made = await attempt
                    await made.aclose()

    async def _be_up(self, connection: Connection) -> None:
        """Stay while the connection is there."""
        self.connection, self.error = connection, None
        self.connected += 1
        self.tries = 0
        self._leader = Leader(
            connection.loop, connection.core, connection.link, library_journal(), resets=True
        )
        for forwarding in self.forwardings:
            forwarding.leader = self._leader
        for standing in self.standing:
            self._ask_for(standing, connection)
        began = self._waits.time()
        try:
            self._change(TunnelState.UP)
            # Not its socket's end: a dead peer keeps that open for a while.
            await connection.wait_gone()
        finally:
            self._down()
            connection.close()
            self._leaving = asyncio.ensure_future(connection.wait_closed())
        self.error = connection.error or ConnectionLost(
            f"{self.host}: the connection was closed", stage="session"
        )
        # A server that lets us in and throws us out again is not to be hurried.
        if self._waits.time() - began >= _CONNECT_SECONDS:
            self._backoff.reset()

    def _down(self) -> None:
        self.connection = None
        for task in list(self._asking):
            task.cancel()
        leader, self._leader = self._leader, None
        for forwarding in self.forwardings:
            forwarding.leader = None
        if leader is not None:
            leader.turn_away_asking()

    async def _pause(self, began: float) -> None:
        """Wait for the next attempt; what the last one has taken counts."""
        seconds = self._backoff.next()
        if self.tries:
            seconds -= self._waits.time() - began
        seconds = max(_LEAST_WAIT, seconds)
        self.next_try = self._waits.time() + seconds
        self._change(TunnelState.WAITING)
        self._nudge.clear()
        nudged = await self._waits.wait(seconds, self._nudge)
        left = _LEAST_WAIT - (self._waits.time() - began)
        if nudged and left > 0:
            await self._waits.wait(left, asyncio.Event())
        self.next_try = None

    def _change(self, state: TunnelState) -> None:
        self.state, self.since = state, self._waits.time()
        self._up.set()
        self._tell()

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change(self)

    def _finish(self, fault: BaseException | None) -> None:
        if self.state is TunnelState.CLOSED:
            return
        self._fault = fault
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._down()
        why = fault if isinstance(fault, TellinError) else None
        for forwarding in list(self.forwardings):
            forwarding.ended(why)
        for standing in list(self.standing):
            standing.ended(why)
        try:
            self._change(TunnelState.CLOSED)
        except Exception as error:  # noqa: BLE001 - what ``on_change`` raises, which is the caller's
            if self._fault is None:
                self._fault = error
