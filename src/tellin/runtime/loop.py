# SPDX-License-Identifier: MIT
"""The event loop that the runtime is written against, and a small one for programs that start fast."""

# Importing asyncio costs 50-60 ms, more than a whole login. The runtime needs nine of its
# methods; SmallLoop has them on top of epoll, and asyncio's own loop fits the same Protocol.

import os
import select
import signal
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from time import monotonic
from types import FrameType
from typing import Any, Final, Protocol, TypeVarTuple

from tellin.errors import UsageError

Arguments = TypeVarTuple("Arguments")

# Half of the heap may be timers that were cancelled before it is cleaned, past this many.
_STALE_TIMERS: Final = 64
_EVENTS_PER_TURN: Final = 256
_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_NOT_READ: Final = ~select.EPOLLIN
_NOT_WRITE: Final = ~select.EPOLLOUT


class Cancellable(Protocol):
    """Something that was asked for and can be called off."""

    def cancel(self) -> None:
        """Make sure that the callback is not called any more."""


class Loop(Protocol):
    """The part of an event loop that the runtime uses; asyncio's loops have it too."""

    def time(self) -> float:
        """The loop's clock in seconds; it never goes back."""

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> Cancellable:
        """Call once in the next turn, in the order of asking."""

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> Cancellable:
        """Call once after ``delay`` seconds."""

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> Cancellable:
        """Call once when the clock shows ``when``."""

    def add_reader(
        self, fd: int, callback: Callable[[*Arguments], Any], *args: *Arguments
    ) -> None:
        """Call whenever ``fd`` is readable or at its end. PermissionError: epoll refuses this kind."""

    def remove_reader(self, fd: int) -> bool:
        """Stop that; false if there was nothing to stop."""

    def add_writer(
        self, fd: int, callback: Callable[[*Arguments], Any], *args: *Arguments
    ) -> None:
        """Call whenever ``fd`` takes bytes or can never take any again."""

    def remove_writer(self, fd: int) -> bool:
        """Stop that; false if there was nothing to stop."""


class SmallLoop:
    """An event loop on epoll for one thread; what a callback raises comes out of ``run_until``."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: deque[_Call] = deque()
        self._last: list[Callable[[], object]] = []
        self._timers: list[tuple[float, int, _Timer]] = []
        self._asked = 0
        self._stale = 0
        self._readers: dict[int, _Call] = {}
        self._writers: dict[int, _Call] = {}
        self._signals = _Signals(self)
        self._stopping = False

    def time(self) -> float:
        """Seconds on the monotonic clock."""
        return monotonic()

    def run_until(self, condition: Callable[[], object], *, timeout: float | None = None) -> bool:
        """Turn until ``condition()`` is true, ``stop`` is called or ``timeout`` is over.

        Returns whether the condition came true. It is asked once before every turn.
        """
        self._stopping = False
        alarm = None if timeout is None else self.call_later(timeout, self.stop)
        try:
            while True:
                if condition():
                    return True
                if self._stopping:
                    return False
                self._turn()
        finally:
            if alarm is not None:
                alarm.cancel()

    def stop(self) -> None:
        """Let ``run_until`` return after this turn."""
        self._stopping = True

    def close(self) -> None:
        """Forget everything and put the signal handlers back; descriptors stay open."""
        self._signals.close()
        self._readers.clear()
        self._writers.clear()
        self._ready.clear()
        self._last.clear()
        self._timers.clear()
        self._epoll.close()

    def leave_to_parent(self) -> None:
        """In a forked child: let go of the loop without taking anything from the parent's.

        Both processes share one epoll instance; what is unregistered here is unregistered there.
        """
        self._epoll.close()
        self._signals.leave_to_parent()

    def call_soon(self, callback: Callable[[*Arguments], object], *args: *Arguments) -> "_Call":
        """Call once in the next turn, in the order of asking."""
        call = _Call(callback, args)
        self._ready.append(call)
        return call

    def call_last(self, callback: Callable[[], object]) -> None:
        """Call once at the end of this turn, behind everything that is ready in it.

        What several descriptors have to say in one turn then leaves together. asyncio has no such place.
        """
        self._last.append(callback)

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> "_Timer":
        """Call once after ``delay`` seconds."""
        return self.call_at(monotonic() + delay, callback, *args)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> "_Timer":
        """Call once when the clock shows ``when``."""
        timer = _Timer(callback, args, self)
        # The running number keeps equal times in order and is compared before the calls are.
        self._asked += 1
        heappush(self._timers, (when, self._asked, timer))
        return timer

    def add_reader(
        self, fd: int, callback: Callable[[*Arguments], Any], *args: *Arguments
    ) -> None:
        """Call whenever ``fd`` is readable or at its end. PermissionError: epoll refuses this kind."""
        self._watch(fd, _IN, self._readers, self._writers, _Call(callback, args))

    def remove_reader(self, fd: int) -> bool:
        """Stop that; false if there was nothing to stop."""
        return self._unwatch(fd, _OUT, self._readers, self._writers)

    def add_writer(
        self, fd: int, callback: Callable[[*Arguments], Any], *args: *Arguments
    ) -> None:
        """Call whenever ``fd`` takes bytes or can never take any again."""
        self._watch(fd, _OUT, self._writers, self._readers, _Call(callback, args))

    def remove_writer(self, fd: int) -> bool:
        """Stop that; false if there was nothing to stop."""
        return self._unwatch(fd, _IN, self._writers, self._readers)

    def add_signal(
        self, signum: int, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> None:
        """Call in a turn of the loop for each delivery of ``signum``; the main thread only."""
        self._signals.add(signum, _Call(callback, args))

    def join_signal(
        self, signum: int, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> Callable[[], object]:
        """Call for it too, whoever else is called; returns what ends that."""
        return self._signals.join(signum, _Call(callback, args))

    def remove_signal(self, signum: int) -> bool:
        """Put back the handler that was there before ``add_signal``."""
        return self._signals.remove(signum)

    def _watch(
        self,
        fd: int,
        mask: int,
        calls: "dict[int, _Call]",
        others: "dict[int, _Call]",
        call: "_Call",
    ) -> None:
        before = calls.get(fd)
        calls[fd] = call
        try:
            if before is None and fd not in others:
                self._epoll.register(fd, mask)
                return
            if before is not None:
                before.cancelled = True
            self._watch_more(fd, _IN | _OUT if fd in others else mask)
        except BaseException:
            del calls[fd]
            raise

    def _watch_more(self, fd: int, mask: int) -> None:
        try:
            self._epoll.modify(fd, mask)
        except FileNotFoundError:
            # The number was closed and given out again: epoll knows files, not numbers.
            self._epoll.register(fd, mask)

    def _unwatch(
        self, fd: int, rest: int, calls: "dict[int, _Call]", others: "dict[int, _Call]"
    ) -> bool:
        call = calls.pop(fd, None)
        if call is None:
            return False
        # The event may already wait in this turn's batch; its callback must not run on a
        # descriptor that is perhaps closed by then.
        call.cancelled = True
        try:
            if fd in others:
                self._epoll.modify(fd, rest)
            else:
                # Not a mask of 0: epoll reports hang-ups even then, and the loop would spin.
                self._epoll.unregister(fd)
        except OSError:
            # A descriptor that was closed first has left epoll by itself.
            return True
        return True

    def _timer_cancelled(self) -> None:
        self._stale += 1
        if self._stale > _STALE_TIMERS and self._stale * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled]
            heapify(self._timers)
            self._stale = 0

    def _patience(self) -> float | None:
        timers = self._timers
        while timers and timers[0][2].cancelled:
            heappop(timers)
            self._stale -= 1
        if self._ready or self._last or self._stopping:
            return 0.0
        return max(0.0, timers[0][0] - monotonic()) if timers else None

    def _turn(self) -> None:
        ready = self._ready
        readers, writers = self._readers, self._writers
        for fd, event in self._epoll.poll(self._patience(), _EVENTS_PER_TURN):
            # Errors and hang-ups wake both ends: whichever acts next meets the real error.
            if event & _NOT_WRITE and (call := readers.get(fd)) is not None:
                ready.append(call)
            if event & _NOT_READ and (call := writers.get(fd)) is not None:
                ready.append(call)
        if self._timers:
            timers, now = self._timers, monotonic()
            while timers and timers[0][0] <= now:
                timer = heappop(timers)[2]
                if timer.cancelled:
                    self._stale -= 1
                else:
                    timer.loop = None
                    ready.append(timer)
        # Only what is ready now: what these calls ask for waits for the next turn, so that
        # descriptors get theirs between.
        for _ in range(len(ready)):
            call = ready.popleft()
            if not call.cancelled:
                call.callback(*call.args)
        # One at a time: if one raises, the others are called in the next turn.
        while self._last:
            self._last.pop(0)()


class _Call:
    __slots__ = ("args", "callback", "cancelled")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _Timer(_Call):
    __slots__ = ("loop",)

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: SmallLoop
    ) -> None:
        super().__init__(callback, args)
        self.loop: SmallLoop | None = loop

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            if self.loop is not None:
                self.loop._timer_cancelled()


class _Signals:
    """Signals as events: the interpreter writes their numbers into a pipe that the loop reads."""

    def __init__(self, loop: SmallLoop) -> None:
        self._loop = loop
        self._calls: dict[int, _Call] = {}
        self._joined: list[tuple[int, _Call]] = []
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._former_wakeup = -1

    def add(self, signum: int, call: _Call) -> None:
        if signum in (signal.SIGKILL, signal.SIGSTOP):
            raise UsageError(f"signal {signum} cannot be caught")
        self._calls[signum] = call
        self._handle(signum)

    def join(self, signum: int, call: _Call) -> Callable[[], object]:
        row = signum, call
        self._joined.append(row)
        self._handle(signum)

        def leave() -> None:
            if row in self._joined:
                self._joined.remove(row)
                self._unhandle(signum)

        return leave

    def _handle(self, signum: int) -> None:
        if self._pipe is None:
            self._open()
        if signum not in self._before:
            self._before[signum] = signal.signal(signum, _delivered)
            # System calls go on by themselves: the loop hears of the signal anyway.
            signal.siginterrupt(signum, False)

    def remove(self, signum: int) -> bool:
        if self._calls.pop(signum, None) is None:
            return False
        self._unhandle(signum)
        return True

    def _unhandle(self, signum: int) -> None:
        if signum in self._calls or any(joined == signum for joined, _ in self._joined):
            return
        before = self._before.pop(signum)
        # None is a handler that was not set from Python and cannot be put back.
        signal.signal(signum, signal.SIG_DFL if before is None else before)

    def _remove_all(self) -> None:
        self._calls.clear()
        self._joined.clear()
        for signum in list(self._before):
            self._unhandle(signum)

    def close(self) -> None:
        self._remove_all()
        if self._pipe is not None:
            signal.set_wakeup_fd(self._former_wakeup)
            self._loop.remove_reader(self._pipe[0])
            for fd in self._pipe:
                os.close(fd)
            self._pipe = None

    def leave_to_parent(self) -> None:
        signal.set_wakeup_fd(-1)
        self._remove_all()
        if self._pipe is not None:
            for fd in self._pipe:
                os.close(fd)
            self._pipe = None

    def _open(self) -> None:
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe is no harm: what is in it wakes the loop as well.
        self._former_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._pipe = read_end, write_end
        self._loop.add_reader(read_end, self._arrived, read_end)

    def _arrived(self, read_end: int) -> None:
        for signum in os.read(read_end, 512):
            call = self._calls.get(signum)
            if call is not None:
                self._loop.call_soon(call.callback, *call.args)
            for joined, one in self._joined:
                if joined == signum:
                    self._loop.call_soon(one.callback, *one.args)


def _delivered(signum: int, frame: FrameType | None) -> None:
    """Do nothing: that a handler written in Python exists makes the interpreter write the number."""
