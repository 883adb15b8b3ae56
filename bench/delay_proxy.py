# SPDX-License-Identifier: MIT
"""A link with a round-trip time: a TCP proxy that passes every byte on a fixed time later.

Run as ``python -m bench.delay_proxy TARGET-PORT SECONDS``; it prints its own port and serves until
its standard input ends. TCP handshakes are not delayed.

What is under way waits in pipes, into which and out of which the kernel moves pages without
copying them (splice): the proxy shares two cores with what it measures and has to cost little.
The link is as wide as the machine allows, bounded only by `_UNDER_WAY`, far above what anyone
keeps in flight.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import resource
import select
import socket
import sys
import time

from bench import agent

# The most that one pipe takes at once, and the most that one direction holds: a link of 50 ms
# each way at 2.5 GB/s. The number of pipes is bounded too, for those with few descriptors.
_PIPE = 256 * 1024
_UNDER_WAY = 128 * 1024 * 1024
_SELECTABLE = 1024
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Pipes:
    """Empty pipes, made when needed and used again."""

    def __init__(self) -> None:
        """Allow as many as the limit on descriptors leaves room for."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        # Pipes get high numbers: the low ones are for sockets, which select() must take.
        self._lowest = _SELECTABLE if hard > 2 * _SELECTABLE else 3
        self._left = min((hard - self._lowest) // 2 - 50, 8000)
        self._spare: list[tuple[int, int]] = []

    @property
    def empty(self) -> bool:
        """Whether no more pipes are to be had now."""
        return not self._spare and self._left <= 0

    def get(self) -> tuple[int, int]:
        """An empty pipe, as (reading end, writing end)."""
        if self._spare:
            return self._spare.pop()
        self._left -= 1
        low = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        made = (self._raise(low[0]), self._raise(low[1]))
        with contextlib.suppress(OSError):  # an ordinary user's share may be used up: 64 KiB then
            fcntl.fcntl(made[1], fcntl.F_SETPIPE_SZ, _PIPE)
        return made

    def _raise(self, descriptor: int) -> int:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, self._lowest)
        os.close(descriptor)
        return high

    def put(self, pipe: tuple[int, int]) -> None:
        """Take back a pipe that has been emptied."""
        self._spare.append(pipe)

    def drop(self, pipe: tuple[int, int]) -> None:
        """Close a pipe that still holds something."""
        os.close(pipe[0])
        os.close(pipe[1])
        self._left += 1


class Direction:
    """Bytes from one socket to another, each pipeful with the time at which it is due."""

    def __init__(
        self, source: socket.socket, drain: socket.socket, delay: float, pipes: Pipes
    ) -> None:
        """Nothing is under way yet."""
        self.source, self.drain = source, drain
        self._delay, self._pipes = delay, pipes
        # Each is [due, size, pipe]; the end of the source travels as one without a pipe.
        self._chunks: collections.deque[tuple[float, int, tuple[int, int] | None]]
        self._chunks = collections.deque()
        self._held = 0
        self.reading = True
        self.ended = False

    @property
    def wants(self) -> bool:
        """Whether the source may be read."""
        return self.reading and self._held < _UNDER_WAY and not self._pipes.empty

    @property
    def due(self) -> float | None:
        """When the first pipeful may leave."""
        return self._chunks[0][0] if self._chunks else None

    def take(self) -> None:
        """Read once."""
        pipe = self._pipes.get()
        try:
            size = os.splice(self.source.fileno(), pipe[1], _PIPE * 4, flags=_FLAGS)
        except BlockingIOError:
            self._pipes.put(pipe)
            return
        except OSError:
            size = 0
        due = time.monotonic() + self._delay
        if size:
            self._held += size
            self._chunks.append((due, size, pipe))
        else:
            self._pipes.put(pipe)
            self.reading = False
            self._chunks.append((due, 0, None))

    def give(self, now: float) -> None:
        """Send what is due, as far as the drain takes it."""
        while self._chunks and self._chunks[0][0] <= now:
            due, size, pipe = self._chunks[0]
            if pipe is None:
                self._end()
                return
            try:
                sent = os.splice(pipe[0], self.drain.fileno(), size, flags=_FLAGS)
            except BlockingIOError:
                return
            except OSError:
                self._end()
                return
            self._held -= sent
            if sent < size:
                self._chunks[0] = (due, size - sent, pipe)
                return
            self._chunks.popleft()
            self._pipes.put(pipe)

    def _end(self) -> None:
        """Pass the end on; what is still under way, after an error, is lost."""
        for _, _, pipe in self._chunks:
            if pipe is not None:
                self._pipes.drop(pipe)
        self._chunks.clear()
        self.reading, self.ended = False, True
        with contextlib.suppress(OSError):
            self.drain.shutdown(socket.SHUT_WR)


class Link:
    """One proxied connection: two directions."""

    def __init__(
        self, near: socket.socket, far: socket.socket, delay: float, pipes: Pipes
    ) -> None:
        """Join two connected sockets."""
        self._ends = (near, far)
        for end in self._ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.directions = (
            Direction(near, far, delay, pipes),
            Direction(far, near, delay, pipes),
        )

    @property
    def over(self) -> bool:
        """Whether both directions have ended."""
        return all(direction.ended for direction in self.directions)

    def close(self) -> None:
        """Close both sockets."""
        for end in self._ends:
            end.close()


def serve(target: int, delay: float) -> None:
    """Accept and pass on until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.setblocking(False)
    agent.announce(listener.getsockname()[1])
    links: list[Link] = []
    pipes = Pipes()
    while True:
        happened = _wait(listener, links)
        if happened is None:
            return
        if happened:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target))
            links.append(Link(near, far, delay, pipes))
        for link in [link for link in links if link.over]:
            link.close()
            links.remove(link)


def _wait(listener: socket.socket, links: list[Link]) -> bool | None:
    """Wait for something to happen and pass bytes on; True for a connection, None for the end.

    select() and not epoll: few sockets, and its time-out is not rounded to milliseconds.
    """
    directions = [direction for link in links for direction in link.directions]
    readers = {d.source.fileno(): d for d in directions if d.wants}
    now = time.monotonic()
    ripe = {d.drain.fileno(): d for d in directions if d.due is not None and d.due <= now}
    waits = [d.due - now for d in directions if d.due is not None and d.due > now]
    readable, writable, _ = select.select(
        [0, listener.fileno(), *readers], [*ripe], [], min(waits, default=None)
    )
    for ready in writable:
        ripe[ready].give(time.monotonic())
    connected = False
    for ready in readable:
        if ready in readers:
            readers[ready].take()
        elif ready == listener.fileno():
            connected = True
        else:
            return None
    return connected


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
