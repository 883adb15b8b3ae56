# SPDX-License-Identifier: MIT
"""Places of the server that a program has listened on: led to places of ours, or to the program itself."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

from tellin.client.arguments import Path
from tellin.client.forwarding.forwards import Forwarding
from tellin.client.forwarding.incoming import Incoming
from tellin.client.forwarding.listening import Listening, Place
from tellin.client.forwarding.local_forwards import library_journal, local_forward, socks_forward
from tellin.client.forwarding.remote_forwards import ANYWHERE, Led, asked_place
from tellin.client.forwarding.streams import Stream
from tellin.config.forwards import Forward
from tellin.config.kinds import OPEN_PLACES
from tellin.connection.channel import Channel, Standing
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import ConfigError, ConnectionLost, RequestRefused, TellinError, UsageError
from tellin.protocol.client import ClientProtocol
from tellin.runtime.loop import Loop
from tellin.runtime.opening import Opening
from tellin.runtime.stream import Link

_log = logging.getLogger("tellin.client")

# How many connections may wait for the program to take them; the server's other callers are sent away.
BACKLOG: Final = 128

StreamHandler: TypeAlias = Callable[[Stream], Coroutine[Any, Any, object]]


class Far:
    """What the server of one connection listens on for the library, and what leads from there."""

    def __init__(
        self, loop: Loop, core: ClientProtocol, link: Link, incoming: Incoming, host: str
    ) -> None:
        self.link = link
        self.host = host
        self.listening = Listening(core, incoming)
        self.led = Led(loop, core, link, library_journal())

    def close(self) -> None:
        """The connection is over."""
        self.led.close()


class RemoteForwarding(Forwarding):
    """The server listens; ``take`` gets each channel that it wants to open for that."""

    __slots__ = ("_asked", "_far", "_on_ended", "_place", "_started", "_take")

    def __init__(
        self,
        far: Far,
        forward: Forward,
        take: Callable[[Channel, tuple[str, int]], object],
        *,
        on_ended: Callable[[Forwarding], object],
    ) -> None:
        place = asked_place(forward)
        super().__init__(host="" if forward.listen_path else place[0], path=forward.listen_path)  # type: ignore[arg-type]
        self._far = far
        self._take = take
        self._on_ended = on_ended
        self._asked = place
        self._place: Place | None = None
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        far.listening.ask(place, take, self._answered)
        far.link.flush_soon()

    async def started(self) -> None:
        """Wait for the server's answer; raises RequestRefused, or what ended the connection."""
        try:
            await asyncio.shield(self._started)
        except BaseException:
            self.close()
            raise

    def _answered(self, success: bool, place: Place) -> None:
        if self._over.done():
            return
        if not success:
            what = f"port {place[1]}" if isinstance(place, tuple) else f"path {self.path!a}"
            refused = RequestRefused(
                f"{self._far.host}: the server does not listen on {what} for us",
                hint="it may be taken, or not permitted (AllowTcpForwarding, PermitListen)",
            )
            self.ended(refused)
            return
        self._place = place
        if isinstance(place, tuple):
            self.port = place[1]
        if self._stopped:
            # Nobody waited for the answer.
            self._stop()
        elif not self._started.done():
            self._started.set_result(None)

    def _stop(self) -> None:
        if self._place is None:
            # The answer, which is on its way, says whether there is anything to be ended.
            return
        self._far.listening.cancel(self._place, self._take, lambda _: self.ended())
        self._far.link.flush_soon()

    def ended(self, error: TellinError | None = None) -> None:
        """The server listens no more; connections that there are go on."""
        if self._over.done():
            return
        super().ended(error)
        if not self._started.done():
            self._started.set_exception(
                error or ConnectionLost("it was closed before it began", stage="session")
            )
            # Heard by whoever waits for it, if anybody does.
            self._started.exception()
        self._on_ended(self)


class Listener(RemoteForwarding):
    """What comes to a place of the server, as Streams: by ``accept``, by ``async for``, or to a handler.

    A connection waits until it is taken, with all that its other side has to say.
    """

    __slots__ = ("_carrier", "_handler", "_tasks", "_waiters", "_waiting")

    def __init__(
        self,
        carrier: "RemoteVerbs",
        far: Far,
        forward: Forward,
        handler: StreamHandler | None,
        *,
        on_ended: Callable[[Forwarding], object],
    ) -> None:
        self._carrier = carrier
        self._handler = handler
        self._waiting: deque[tuple[Channel, tuple[str, int]]] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__(far, forward, self._came, on_ended=on_ended)

    async def accept(self) -> Stream:
        """The next connection; raises UsageError where this was closed, and what ended it otherwise."""
        while True:
            while self._waiting:
                channel, origin = self._waiting.popleft()
                if channel.standing is Standing.ASKED:
                    return self._stream(channel, origin)
            if self.closed:
                raise self.error or UsageError("the listener is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                # What woke us is for somebody else.
                if not waiter.cancelled():
                    self._wake()
                raise

    async def __aiter__(self) -> AsyncIterator[Stream]:
        while True:
            try:
                stream = await self.accept()
            except UsageError:
                return
            yield stream

    def close(self) -> None:
        """Take no more connections; those that nobody has taken yet are sent away."""
        super().close()
        self._send_away()

    def ended(self, error: TellinError | None = None) -> None:
        """The server listens no more."""
        super().ended(error)
        self._send_away()

    def _stream(self, channel: Channel, origin: tuple[str, int]) -> Stream:
        return Stream.accepted(self._carrier, channel, origin)

    def _came(self, channel: Channel, origin: tuple[str, int]) -> None:
        if self._handler is not None:
            self._serve(self._handler, self._stream(channel, origin))
        elif len(self._waiting) >= BACKLOG:
            self._carrier.core.refuse_channel(
                channel, Reason.RESOURCE_SHORTAGE, "too many wait already"
            )
        else:
            self._waiting.append((channel, origin))
            self._wake()

    def _wake(self) -> None:
        while self._waiters and (self._waiting or self.closed):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if not self.closed:
                    return

    def _send_away(self) -> None:
        while self._waiting:
            channel, _ = self._waiting.popleft()
            if channel.standing is Standing.ASKED and not self._carrier.core.closed:
                self._carrier.core.refuse_channel(
                    channel, Reason.CONNECT_FAILED, "nobody takes it any more"
                )
                self._carrier.link.flush_soon()
        self._wake()

    def _serve(self, handler: StreamHandler, stream: Stream) -> None:
        async def serve() -> None:
            async with stream:
                await handler(stream)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a listener's handler failed", exc_info=error)

        task = asyncio.get_running_loop().create_task(serve())
        self._tasks.add(task)
        task.add_done_callback(done)


def remote_forward(
    listen: int | Path, host: Path | None, port: int | None, *, listen_host: str | None
) -> Forward:
    """What was asked for, checked; raises UsageError."""
    if host is not None:
        return local_forward(listen, host, port, listen_host=listen_host)
    if port is not None:
        raise UsageError("a port goes with a host")
    return socks_forward(listen, listen_host=listen_host)


def permitted_places(asked: Forward, places: Sequence[str]) -> tuple[str, ...]:
    """Where SOCKS may lead, checked; raises UsageError."""
    if isinstance(places, str):
        raise UsageError("places are a sequence, also where it is one")
    if not asked.is_socks and tuple(places) != ANYWHERE:
        raise UsageError("permit_open is for SOCKS: what has a target leads nowhere else")
    try:
        return OPEN_PLACES.read(list(places)) if places else ("none",)
    except ConfigError as error:
        raise UsageError(str(error)) from None


class StandingForwarding(Forwarding):
    """A place of a server that is listened on whenever there is a connection to it.

    ``port`` is where that was last; ``refused`` says why it is not listened on now, where the server
    has said no (one that was lost may still have it) and is asked again.
    """

    __slots__ = ("_now", "_on_ended", "asked", "permitted", "refused")

    def __init__(
        self,
        asked: Forward,
        permitted: Sequence[str] = ANYWHERE,
        *,
        on_ended: "Callable[[StandingForwarding], object]",
    ) -> None:
        super().__init__(
            host=asked.listen_host or "", port=asked.listen_port, path=asked.listen_path
        )
        self.asked = asked
        self.permitted = permitted
        self.refused: TellinError | None = None
        self._now: RemoteForwarding | None = None
        self._on_ended = on_ended

    @property
    def listening(self) -> bool:
        """Whether the server listens now."""
        return self._now is not None and not self._now.closed

    def begun(self, now: RemoteForwarding) -> None:
        """The server listens, until this connection ends."""
        self._now, self.refused, self.port = now, None, now.port
        if self.closed:
            now.close()

    def ended(self, error: TellinError | None = None) -> None:
        """Ask no server any more."""
        if not self._over.done():
            super().ended(error)
            self._on_ended(self)

    def _stop(self) -> None:
        if self._now is not None:
            self._now.close()
        self.ended()


class RemoteVerbs:
    """The part of a Connection that has the server listen."""

    loop: Loop
    core: ClientProtocol
    link: Link
    host: str
    incoming: Incoming
    forwardings: set[Forwarding]
    far: Far | None = None

    def forward_remote(
        self,
        listen: int | Path = 0,
        host: Path | None = None,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        permit_open: Sequence[str] = ANYWHERE,
    ) -> Opening[Forwarding]:
        """Have the server listen, and lead what comes there to ``host`` and ``port`` as we know them.

        ``listen`` is a port, 0 for one that the server chooses, or the path of a socket of the server's;
        without ``port``, ``host`` is the path of a socket here, and without both, each connection says
        by SOCKS (4, 4a or 5) where it wants to go: to "host:port" places of ``permit_open``, as in
        PermitRemoteOpen, or anywhere that we can reach. At which addresses the server listens is its own
        matter where ``listen_host`` does not ask for one ("" is every address). Await this for a
        Forwarding, or enter it to have it closed in the end. Raises RequestRefused.
        """
        asked = remote_forward(listen, host, port, listen_host=listen_host)
        permitted = permitted_places(asked, permit_open)
        return Opening(lambda: self.lead_from_there(asked, permitted))

    async def lead_from_there(
        self, asked: Forward, permitted: Sequence[str] = ANYWHERE
    ) -> RemoteForwarding:
        """The same for a RemoteForward of a configuration."""
        far = self._far()
        made = RemoteForwarding(
            far,
            asked,
            lambda channel, _: far.led.take(asked, channel, permitted),
            on_ended=self.forwardings.discard,
        )
        return await self._begun(made)

    def listen(
        self, host: str | None = None, port: int = 0, handler: StreamHandler | None = None
    ) -> Opening[Listener]:
        """Have the server listen, and take what comes there as Streams.

        They come by ``async for stream in listener``, by ``await listener.accept()``, or to ``handler``,
        a coroutine function that gets each in a task of its own; it is closed when that returns. Port 0
        is one that the server chooses. Await this for a Listener, or enter it to have it closed in the
        end. Raises RequestRefused.
        """
        return self._listen(socks_forward(port, listen_host=host), handler)

    def listen_unix(self, path: Path, handler: StreamHandler | None = None) -> Opening[Listener]:
        """The same on a socket of the server's file system (``streamlocal-forward@openssh.com``)."""
        return self._listen(socks_forward(os.fspath(path), listen_host=None), handler)

    def _listen(self, asked: Forward, handler: StreamHandler | None) -> Opening[Listener]:
        async def begin() -> Listener:
            made = Listener(self, self._far(), asked, handler, on_ended=self.forwardings.discard)
            await self._begun(made)
            return made

        return Opening(begin)

    def _far(self) -> Far:
        self.check_open()
        if self.far is None:
            self.far = Far(self.loop, self.core, self.link, self.incoming, self.host)
        return self.far

    async def _begun(self, made: RemoteForwarding) -> RemoteForwarding:
        self.forwardings.add(made)
        await made.started()
        return made

    def check_open(self) -> None:
        """Raise ConnectionLost where it is over."""
        raise NotImplementedError
