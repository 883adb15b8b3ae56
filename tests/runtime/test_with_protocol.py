# SPDX-License-Identifier: MIT
"""Links and pumps around the real protocol: two ends over a TCP connection on loopback."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tellin.connection.channel import Channel
from tellin.protocol import ClientProtocol, ServerProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationAsked,
    AuthenticationReady,
    ChannelAsked,
    ChannelClosed,
    ChannelEnded,
    ChannelOpened,
    ChannelWritable,
    Closed,
    Event,
    HostKeyOffered,
    HostKeySignatureWanted,
)
from tellin.runtime.loop import SmallLoop
from tellin.runtime.pumps import FdSink, FdSource
from tellin.runtime.stream import Link, Stage
from tellin.testing.loopback import client_settings, server_settings
from tellin.testing.pairs import HOST_KEY

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def tcp() -> Iterator[Sockets]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    for end in (ours, theirs):
        end.setblocking(False)
    yield ours, theirs
    for end in (ours, theirs):
        end.close()


class Talk:
    """A client that opens a session, a server that accepts it, and what each side saw."""

    def __init__(self, loop: SmallLoop, sockets: Sockets, **settings: Any) -> None:
        self.loop = loop
        self.client = ClientProtocol(client_settings(**settings), now=loop.time())
        self.server = ServerProtocol(server_settings(HOST_KEY, **settings), now=loop.time())
        self.seen: list[tuple[str, Event]] = []
        self.ours: Channel | None = None
        self.theirs: Channel | None = None
        self.resume: dict[int, Callable[[], object]] = {}
        self.left = Link(loop, sockets[0], self.client, self._client_event)
        self.right = Link(loop, sockets[1], self.server, self._server_event)

    def _client_event(self, event: Event) -> None:
        self.seen.append(("client", event))
        if isinstance(event, HostKeyOffered):
            self.client.trust_host_key()
        elif isinstance(event, AuthenticationReady):
            self.client.try_none("user")
        elif isinstance(event, Authenticated):
            self.client.open_channel("session")
        elif isinstance(event, ChannelOpened):
            self.ours = event.channel
        self._both(event)

    def _server_event(self, event: Event) -> None:
        self.seen.append(("server", event))
        if isinstance(event, HostKeySignatureWanted):
            self.server.give_host_key_signature(HOST_KEY.sign(event.data, event.algorithm))
        elif isinstance(event, AuthenticationAsked):
            self.server.grant_authentication("user", "none")
        elif isinstance(event, ChannelAsked):
            self.server.accept_channel(event.channel)
            self.theirs = event.channel
        self._both(event)

    def _both(self, event: Event) -> None:
        if isinstance(event, ChannelWritable):
            self.resume[id(event.channel)]()

    def saw(self, kind: type[Event], side: str) -> bool:
        return any(isinstance(event, kind) and who == side for who, event in self.seen)

    def log_in(self) -> tuple[Channel, Channel]:
        assert self.loop.run_until(lambda: self.ours and self.theirs, timeout=10)
        assert self.ours is not None
        assert self.theirs is not None
        return self.ours, self.theirs


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
def test_a_pipe_is_carried_byte_by_byte_through_a_session(
    loop: SmallLoop, tcp: Sockets, cipher: str
) -> None:
    data = os.urandom(1 << 20) * 6 + b"the odd end"
    talk = Talk(loop, tcp, ciphers=(cipher,))
    ours, theirs = talk.log_in()
    feed_read, feed_write = os.pipe()
    out_read, out_write = os.pipe()

    def ended(error: OSError | None) -> None:
        assert error is None
        theirs.eof()
        theirs.close()

    source = FdSource(loop, feed_read, theirs, talk.right, on_end=ended)
    talk.resume[id(theirs)] = source.resume
    ours.sink = FdSink(loop, out_write, ours, talk.left)
    source.start()
    os.set_blocking(feed_write, False)
    view, got = memoryview(data), bytearray()

    def feed() -> None:
        nonlocal view
        view = view[os.write(feed_write, view[:70_001]) :]
        if not view:
            loop.remove_writer(feed_write)
            os.close(feed_write)

    loop.add_writer(feed_write, feed)
    loop.add_reader(out_read, lambda: got.extend(os.read(out_read, 50_021)))
    assert loop.run_until(lambda: len(got) == len(data), timeout=20)
    assert bytes(got) == data
    assert loop.run_until(lambda: talk.saw(ChannelEnded, "client"), timeout=1)
    ours.close()
    talk.left.flush_soon()
    assert loop.run_until(lambda: talk.saw(ChannelClosed, "server"), timeout=1)
    for fd in (feed_read, out_read, out_write):
        os.close(fd)


class _Heap:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.data = b""

    def take(self, views: list[memoryview]) -> int:
        self.data += b"".join(views)
        return sum(map(len, views))


def test_what_many_say_in_one_turn_leaves_in_one_flight(loop: SmallLoop, tcp: Sockets) -> None:
    talk = Talk(loop, tcp)
    ours, theirs = talk.log_in()
    theirs.sink = heap = _Heap()
    flights: list[int] = []
    send = talk.left._send

    def counted(views: Sequence[memoryview]) -> int:
        flights.append(sum(map(len, views)))
        return send(views)

    talk.left._send = counted

    def say() -> None:
        assert ours.send(b"word") == 4
        talk.left.flush_last()

    for _ in range(5):
        loop.call_soon(say)
    assert loop.run_until(lambda: len(heap.data) == 20, timeout=60)
    assert heap.data == b"word" * 5
    assert len(flights) == 1


def test_standard_error_is_pumped_beside_standard_output(loop: SmallLoop, tcp: Sockets) -> None:
    talk = Talk(loop, tcp)
    ours, theirs = talk.log_in()
    errors_read, errors_write = os.pipe()
    out_read, out_write = os.pipe()
    source = FdSource(loop, errors_read, theirs, talk.right, extended=True)
    ours.extended_sink = FdSink(loop, out_write, ours, talk.left)
    source.start()
    os.write(errors_write, b"e" * 50_000)
    got = bytearray()
    loop.add_reader(out_read, lambda: got.extend(os.read(out_read, 4096)))
    assert loop.run_until(lambda: len(got) == 50_000, timeout=2)
    assert got == b"e" * 50_000
    for fd in (errors_read, errors_write, out_read, out_write):
        os.close(fd)


def test_a_reader_that_never_reads_stops_the_writer_and_not_the_connection(
    loop: SmallLoop, tcp: Sockets
) -> None:
    talk = Talk(loop, tcp)
    ours, theirs = talk.log_in()
    zero = os.open("/dev/zero", os.O_RDONLY)
    out_read, out_write = os.pipe()
    source = FdSource(loop, zero, theirs, talk.right)
    talk.resume[id(theirs)] = source.resume
    sink = FdSink(loop, out_write, ours, talk.left)
    ours.sink = sink
    source.start()
    loop.run_until(lambda: theirs.send_window == 0, timeout=5)
    loop.run_until(lambda: False, timeout=0.05)
    assert theirs.send_window == 0
    assert sink.backlog <= 2 << 20
    # Everything else goes on.
    talk.server.open_channel("session")
    talk.right.flush_soon()
    before = len(talk.seen)
    loop.run_until(lambda: len(talk.seen) > before, timeout=1)
    assert len(talk.seen) > before
    source.close()
    sink.close()
    os.close(zero)
    os.close(out_read)


def test_a_goodbye_reaches_the_other_side_and_both_sockets_close(
    loop: SmallLoop, tcp: Sockets
) -> None:
    talk = Talk(loop, tcp)
    talk.log_in()
    talk.client.disconnect(11, "done here")
    talk.left.flush_soon()
    assert loop.run_until(lambda: talk.saw(Closed, "server"), timeout=2)
    assert "done here" in str(talk.server.error)
    # At once: both have heard why, so nobody lingers.
    assert loop.run_until(
        lambda: talk.left.stage is Stage.CLOSED and talk.right.stage is Stage.CLOSED, timeout=0.5
    )


def test_a_broken_connection_says_what_the_kernel_said(loop: SmallLoop, tcp: Sockets) -> None:
    talk = Talk(loop, tcp)
    talk.log_in()
    talk.right.detach()
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    tcp[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    tcp[1].close()
    assert loop.run_until(lambda: talk.saw(Closed, "client"), timeout=2)
    assert "Connection reset by peer" in str(talk.client.error)
