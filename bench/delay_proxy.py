# SPDX-License-Identifier: MIT
"""A link with a round-trip time: a TCP proxy that passes every byte on a fixed time later.

Run as ``python -m bench.delay_proxy TARGET-PORT SECONDS``; it prints its own port and serves until
its standard input ends. The link is as wide as the machine allows: what is under way is bounded
only by `_UNDER_WAY`, far above what anyone keeps in flight. TCP handshakes are not delayed.
"""

from __future__ import annotations

import collections
import contextlib
import select
import socket
import sys
import time

from bench import agent

_CHUNK = 256 * 1024
# A link of 50 ms each way at 1.3 GB/s: the most that one direction holds.
_UNDER_WAY = 64 * 1024 * 1024
_END = memoryview(b"")


class Direction:
    """Bytes from one socket to another, each chunk with the time at which it is due."""

    def __init__(self, source: socket.socket, drain: socket.socket, delay: float) -> None:
        """Nothing is under way yet."""
        self.source, self.drain = source, drain
        self._delay = delay
        self._chunks: collections.deque[tuple[float, memoryview]] = collections.deque()
        self._held = 0
        self._spare: list[bytearray] = []
        self.reading = True
        self.ended = False

    @property
    def wants(self) -> bool:
        """Whether the source may be read."""
        return self.reading and self._held < _UNDER_WAY

    @property
    def due(self) -> float | None:
        """When the first chunk may leave."""
        return self._chunks[0][0] if self._chunks else None

    def take(self) -> None:
        """Read once; the end of the source travels like a chunk."""
        buffer = self._spare.pop() if self._spare else bytearray(_CHUNK)
        try:
            size = self.source.recv_into(buffer)
        except BlockingIOError:
            self._spare.append(buffer)
            return
        except OSError:
            size = 0
        if not size:
            self.reading = False
        self._held += size
        self._chunks.append((time.monotonic() + self._delay, memoryview(buffer)[:size]))

    def give(self, now: float) -> None:
        """Send what is due, as far as the drain takes it."""
        while self._chunks and self._chunks[0][0] <= now:
            due, view = self._chunks[0]
            if not len(view):
                self._chunks.popleft()
                self.ended = True
                with contextlib.suppress(OSError):
                    self.drain.shutdown(socket.SHUT_WR)
                return
            try:
                sent = self.drain.send(view)
            except BlockingIOError:
                return
            except OSError:
                self._chunks.clear()
                self.reading, self.ended = False, True
                return
            self._held -= sent
            if sent < len(view):
                self._chunks[0] = (due, view[sent:])
                return
            self._chunks.popleft()
            if len(self._spare) < 1024 and isinstance(view.obj, bytearray):
                self._spare.append(view.obj)


class Link:
    """One proxied connection: two directions."""

    def __init__(self, near: socket.socket, far: socket.socket, delay: float) -> None:
        """Join two connected sockets."""
        self.ends = (near, far)
        for end in self.ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.directions = (Direction(near, far, delay), Direction(far, near, delay))

    @property
    def over(self) -> bool:
        """Whether both directions have ended."""
        return all(direction.ended for direction in self.directions)

    def close(self) -> None:
        """Close both sockets."""
        for end in self.ends:
            end.close()


def serve(target: int, delay: float) -> None:
    """Accept and pass on until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.setblocking(False)
    agent.announce(listener.getsockname()[1])
    links: list[Link] = []
    while True:
        if not _turn(listener, links, target, delay):
            return


def _turn(listener: socket.socket, links: list[Link], target: int, delay: float) -> bool:
    """Wait for one thing to happen and act on it; False when standard input has ended.

    select() and not epoll: few sockets, and its time-out is not rounded to milliseconds.
    """
    directions = [direction for link in links for direction in link.directions]
    readers = {direction.source: direction for direction in directions if direction.wants}
    now = time.monotonic()
    ripe = {d.drain: d for d in directions if d.due is not None and d.due <= now}
    waits = [d.due - now for d in directions if d.due is not None and d.due > now]
    readable, writable, _ = select.select(
        [sys.stdin.fileno(), listener, *readers], list(ripe), [], min(waits, default=None)
    )
    for ready in readable:
        if ready in readers:
            readers[ready].take()
        elif ready is listener:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target))
            links.append(Link(near, far, delay))
        else:
            return False
    for ready in writable:
        ripe[ready].give(time.monotonic())
    for link in [link for link in links if link.over]:
        link.close()
        links.remove(link)
    return True


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
