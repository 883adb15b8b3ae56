# SPDX-License-Identifier: MIT
"""A connection's socket: bytes between the kernel and a sans-I/O core, with as few copies as there can be.

The runtime owns the socket. Bytes are received straight into the core's buffer and leave it only
by ``core.sent(n)``, so nothing keeps a view of a buffer that is used again.
"""

from _socket import SHUT_WR
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from tellin.errors import ConnectionLost, Disconnected, TellinError, TimedOut
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.sockets import Duplex, Watched, without_delay, write_descriptor
from tellin.wire.states import State

# One wake-up reads until the kernel has no more, this often or this long: other descriptors
# get their turn although a peer sends without pause.
_READS_PER_TURN: Final = 8
_SECONDS_PER_TURN: Final = 0.005
_ROUNDS_PER_TURN: Final = 8
_LAST_READS: Final = 64
# IOV_MAX of Linux.
_VIEWS_PER_CALL: Final = 1024

# Above this much unsent output nothing is read from the peer. Channel data stops far below (the
# core gives no room and says ChannelWritable later), so only answers can bring it here: the peer
# asks without reading. (Stopping where data stops would let two busy ends wait for each other.)
HARD_MARK: Final = 4 * 1024 * 1024
LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1024 * 1024
# After such an end nobody is there to be told why: no error, the peer's own goodbye, or its silence.
_HEARD: Final = (type(None), Disconnected, ConnectionLost, TimedOut)


class Core(Protocol):
    """What a sans-I/O protocol machine shows to whatever drives it."""

    @property
    def closed(self) -> bool:
        """Nothing more is processed: send what ``to_send`` holds, then close."""

    @property
    def error(self) -> TellinError | None:
        """Why it closed, if not by agreement."""

    def writable(self, hint: int = 0) -> memoryview:
        """Room for what arrives."""

    def received(self, count: int, now: float) -> None:
        """``count`` bytes are in that room."""

    def received_eof(self, now: float) -> None:
        """No more will arrive."""

    def connection_lost(self, error: OSError, now: float) -> None:
        """The kernel reports that the connection broke."""

    def to_send(self) -> Sequence[memoryview]:
        """All that waits to be sent, in order."""

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of it have left."""

    def events(self) -> Sequence[Any]:
        """What happened since the last call."""

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""

    def tick(self, now: float) -> None:
        """Time has passed."""


class Stage(State):
    """How far a link is on its way."""

    OPEN = "bytes go both ways"
    FLUSHING = "the core has closed; the rest is sent"
    LINGERING = "all is sent; the peer has a moment to read it"
    CLOSED = "the socket is closed"
    DETACHED = "the socket was given away"


# What every batch is asked about: a member looked up in its class costs as much as a call.
_OPEN: Final = Stage.OPEN
_FLUSHING: Final = Stage.FLUSHING
_LINGERING: Final = Stage.LINGERING


class Link:
    """Drives one core over one non-blocking stream.

    ``on_event`` gets the core's events in order, ``on_closed`` is called once when the socket is
    closed. Whoever calls a verb of the core outside ``on_event`` calls ``flush_soon`` after it. With
    ``listens_first`` what the peer has said already is read before our first line goes out, which
    then leaves with the answer.
    """

    def __init__(
        self,
        loop: Loop,
        stream: Duplex,
        core: Core,
        on_event: Callable[[Any], object],
        *,
        on_closed: Callable[["Link"], object] | None = None,
        listens_first: bool = False,
    ) -> None:
        self.loop = loop
        self.stream = stream
        self.core = core
        self.on_event = on_event
        self.on_closed = on_closed
        self.stage = Stage.OPEN
        self.failure: OSError | None = None
        """What the kernel reported when the connection broke."""
        self.heard = False
        """Whether something has come since somebody took this back."""
        self._receive = stream.recv_into
        self._send = stream.sendmsg
        self._read_fd = stream.fileno()
        self._write_fd = write_descriptor(stream)
        self._over = False  # whether ``stage`` is one of the last two: asked with every event
        self._reading = False
        self._writing = False
        self._held = False
        self._patient = False
        self._busy = False
        self._late = False
        # asyncio's loops have no place behind all that is ready.
        self._call_last: Callable[[Callable[[], object]], object] | None = getattr(
            loop, "call_last", None
        )
        self._unsent = 0
        self._events: list[Any] = []  # the last first
        self._flush_call: Cancellable | None = None
        self._timer: Cancellable | None = None
        self._timer_at = 0.0
        self._discarded = 0
        without_delay(stream)
        self._watch_input()
        # The first line goes out in the first turn; the caller has this object by then.
        self._flush_call = loop.call_soon(self._begin if listens_first else self._flush_due)

    def is_over(self) -> bool:
        """The stream is closed or belongs to somebody else."""
        return self._over

    def flush_soon(self) -> None:
        """Send what the core holds, and hand out its events, once in the next turn."""
        if self._flush_call is None and not self._busy and not self._over:
            self._flush_call = self.loop.call_soon(self._flush_due)

    def flush(self) -> None:
        """The same at once, for whoever is called by the loop itself: one turn of it is saved."""
        if not self._busy:
            if self._flush_call is not None:
                self._flush_call.cancel()
                self._flush_call = None
            self._turn()

    def flush_last(self) -> None:
        """The same behind all that is ready in this turn: what many have to say leaves together."""
        if self._busy or self._late:
            return
        if self._call_last is None:
            self.flush()
            return
        self._late = True
        self._call_last(self._flush_late)

    def _flush_late(self) -> None:
        # Unless something else has sent it by now.
        if self._late:
            self._late = False
            self.flush()

    def hold_flight(self) -> None:
        """For ``on_event``: what is to be sent now waits for the next turn, and for what comes until then."""
        self._patient = True

    def pause(self) -> None:
        """Take nothing more from the peer for now."""
        self._held = True
        self._watch_input()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._held = False
        self._watch_input()

    def close(self) -> None:
        """Close the socket at once; what is unsent is lost. ``core.disconnect`` is the polite way."""
        if not self.is_over():
            self._let_go()
            self.stage = Stage.CLOSED
            self._over = True
            self.stream.close()
            if self.on_closed is not None:
                self.on_closed(self)

    def detach(self) -> Duplex:
        """Let the stream go without closing it, for another process or another core to use."""
        self._let_go()
        self.stage = Stage.DETACHED
        self._over = True
        return self.stream

    def _let_go(self) -> None:
        if self._reading:
            self._attend_input(wanted=False)
        if self._writing:
            self._attend_output(wanted=False)
        for call in (self._timer, self._flush_call):
            if call is not None:
                call.cancel()
        self._timer = self._flush_call = None

    def _watch_input(self) -> None:
        wanted = (
            self.stage is _OPEN and not self._held and self._unsent <= HARD_MARK
        ) or self.stage is _LINGERING
        if wanted is not self._reading:
            self._attend_input(wanted=wanted)

    def _attend_input(self, *, wanted: bool) -> None:
        self._reading = wanted
        if isinstance(self.stream, Watched):
            self.stream.watch_input(self._readable if wanted else None)
        elif wanted:
            self.loop.add_reader(self._read_fd, self._readable)
        else:
            self.loop.remove_reader(self._read_fd)

    def _attend_output(self, *, wanted: bool) -> None:
        self._writing = wanted
        if isinstance(self.stream, Watched):
            self.stream.watch_output(self._writable if wanted else None)
        elif wanted:
            self.loop.add_writer(self._write_fd, self._writable)
        else:
            self.loop.remove_writer(self._write_fd)

    def _readable(self) -> None:
        if self.stage is _LINGERING:
            self._discard()
            return
        core, receive, loop = self.core, self._receive, self.loop
        now = loop.time()
        until = now + _SECONDS_PER_TURN
        self._busy = True
        try:
            for _ in range(_READS_PER_TURN):
                room = core.writable()
                try:
                    count = receive(room)
                except (BlockingIOError, InterruptedError):
                    break
                except OSError as error:
                    self._broken(error)
                    break
                if not count:
                    core.received_eof(now)
                    self._ended()
                    break
                self.heard = True
                core.received(count, now)
                # A short read has emptied the kernel's buffer: no need to hear EAGAIN for it.
                if count < len(room) or core.closed:
                    break
                self._dispatch()
                if not self._reading:
                    break
                now = loop.time()
                if now > until:
                    break
            self._settle()
        except BaseException:
            self._raised()
            raise
        self._busy = False

    def _begin(self) -> None:
        """The first turn of a link that listens first; it may have been paused by then."""
        self._flush_call = None
        if self._reading:
            self._readable()
        else:
            self._turn()

    def _writable(self) -> None:
        self._turn()

    def _flush_due(self) -> None:
        self._flush_call = None
        self._turn()

    def _turn(self) -> None:
        self._busy = True
        try:
            self._settle()
        except BaseException:
            self._raised()
            raise
        self._busy = False

    def _raised(self) -> None:
        """A callback has raised: what is left of its turn is done in the next."""
        self._busy = False
        self.flush_soon()

    def _tick_due(self) -> None:
        self._timer = None
        now = self.loop.time()
        deadline = self.core.deadline()
        self._busy = True
        try:
            if deadline is not None and deadline <= now:
                self.core.tick(now)
            self._settle()
        except BaseException:
            self._raised()
            raise
        self._busy = False

    def _broken(self, error: OSError) -> None:
        """The kernel says that the connection is gone: nothing can be sent or received any more."""
        if self.failure is None:
            self.failure = error
        self.core.connection_lost(self.failure, self.loop.time())
        self._ended()

    def _ended(self) -> None:
        """Nothing more comes in; what is left to send has a bounded time to leave."""
        if self.stage is Stage.OPEN:
            self.stage = Stage.FLUSHING
            self._watch_input()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(LINGER_SECONDS, self.close)

    def _dispatch(self) -> bool:
        """Hand out the core's events; whether there were any."""
        waiting, events = self._events, self.core.events
        any_came = False
        while not self._over:
            if not waiting:
                # An answer given inside a callback may have let the core go on: ask again.
                found = events()
                if not found:
                    break
                waiting.extend(reversed(found))
            any_came = True
            # One at a time: if a callback raises, the rest is still here for the next turn.
            self.on_event(waiting.pop())
        return any_came

    def _settle(self) -> None:
        """Hand out events and send until both are quiet, then see what follows from it."""
        over, self._late = self._over, False
        if over:
            return
        self._dispatch()
        patient, self._patient = self._patient and not self.core.closed, False
        for _ in range(0 if patient else _ROUNDS_PER_TURN):
            # What has left can only bring events: room for a source, keys that have served enough.
            if self._over or not self._flush() or not self._dispatch():
                break
        else:
            # A source that fills what was sent at once must not keep the turn for itself.
            if self._flush_call is None and not self._over:
                self._flush_call = self.loop.call_soon(self._flush_due)
        if self.stage is _OPEN:
            if not self.core.closed:
                self._arm()
                if self._unsent > HARD_MARK or not self._reading:
                    self._watch_input()
                return
            self._ended()
        if self.stage is _FLUSHING:
            self._finish()

    def _flush(self) -> bool:
        """Offer the kernel what waits; whether it took anything."""
        if self.failure is not None:
            self._unsent = 0
            return False
        core = self.core
        took = unsent = 0
        while views := core.to_send():
            unsent = offered = sum(map(len, views))
            if len(views) > _VIEWS_PER_CALL:
                views = views[:_VIEWS_PER_CALL]
                offered = sum(map(len, views))
            try:
                count = self._send(views)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._send_failed(error)
                return True
            core.sent(count)
            took += count
            unsent -= count
            if count < offered or not unsent:
                break
        self._unsent = unsent
        blocked = unsent > 0
        if blocked is not self._writing:
            self._attend_output(wanted=blocked)
        return took > 0

    def _send_failed(self, error: OSError) -> None:
        # What the peer said before it went (a DISCONNECT with the reason) may still wait here.
        self.failure = error
        if self._writing:
            self._attend_output(wanted=False)
        core = self.core
        for _ in range(_LAST_READS):
            if core.closed:
                break
            try:
                count = self._receive(core.writable())
            except OSError:
                break
            if not count:
                break
            core.received(count, self.loop.time())
        self._broken(error)

    def _arm(self) -> None:
        """One timer, moved only when the deadline comes nearer: most packets move it further off."""
        deadline = self.core.deadline()
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._tick_due)

    def _finish(self) -> None:
        """Close, once all is sent."""
        if self._unsent:
            return
        if self.failure is not None or isinstance(self.core.error, _HEARD):
            self.close()
            return
        # We close because of an error, most likely of the peer's, which may still be sending.
        # Closing with unread input would send a reset, and that can destroy the DISCONNECT
        # that tells the peer why.
        try:
            self.stream.shutdown(SHUT_WR)
        except OSError:
            self.close()
            return
        self.stage = Stage.LINGERING
        self._watch_input()

    def _discard(self) -> None:
        scratch = memoryview(bytearray(65536))
        try:
            count = self._receive(scratch)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        self._discarded += count
        if not count or self._discarded > _LINGER_BYTES:
            self.close()
