# SPDX-License-Identifier: MIT
"""Any bytes, and descriptors with any of them, into the master's end of a control socket."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from tests.fuzz.harness import Harness

from tellin.client.channel_owners import tell_owner
from tellin.client.proxied import ProxiedCore
from tellin.connection.channel import Half, Standing
from tellin.connection.machine import ConnectionSettings
from tellin.connection.messages import (
    ChannelClose,
    ChannelData,
    ChannelEof,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelRequest,
    ChannelWindowAdjust,
    GlobalRequest,
)
from tellin.connection.requests import ExitStatus
from tellin.errors import MalformedPacket, ProtocolError
from tellin.mux import messages
from tellin.mux.messages import framed
from tellin.mux.packets import Packets, packet
from tellin.mux.talk import MasterTalk
from tellin.programs.ssh.proxied import Proxied
from tellin.protocol import Core
from tellin.protocol.events import ChannelAsked, ChannelRequested, GlobalRequested
from tellin.testing import Collector, Loopback
from tellin.testing.pairs import make_pair
from tellin.transport.version import Role
from tellin.wire import Message

_HELLO = messages.Hello(messages.VERSION)
_REQUESTS = (
    messages.NewSession(1, b"", 1, 0, 1, 0, 126, b"xterm", b"true", (b"LANG=C",)),
    messages.AliveCheck(2),
    messages.OpenForward(3, messages.LOCAL, b"", 8080, b"localhost", 80),
    messages.CloseForward(4, messages.DYNAMIC, b"*", 1080, b"socks", 0),
    messages.NewStdioForward(5, b"", b"host", 22),
    messages.StopListening(6),
    messages.AskInformation(7, b"channels"),
    messages.Proxy(8),
    messages.Terminate(9),
)


def to_master(data: bytes) -> None:
    """No descriptor is lost or taken twice; the same bytes in pieces ask for the same."""
    asked = _heard([data])
    assert (
        _heard([data[at : at + 1] for at in range(len(data))][:2000]) == asked or len(data) > 2000
    )
    # With a descriptor at every byte that is 0: where they may be, and where they may not.
    talk, count = MasterTalk(), 0
    taken: list[int] = []
    with suppress(MalformedPacket, ProtocolError):
        for byte in data:
            count += not byte
            talk.received(bytes((byte,)), [] if byte else [count])
            while (one := talk.next()) is not None:
                taken += one.descriptors
    else_left = [*taken, *talk.left]
    assert len(set(else_left)) == len(else_left)
    assert set(else_left) == set(range(1, count + 1))


def _heard(parts: list[bytes]) -> list[Message]:
    talk, made = MasterTalk(), []
    with suppress(MalformedPacket, ProtocolError):
        for part in parts:
            talk.received(part)
            while (one := talk.next()) is not None:
                made.append(one.message)
    return made


def _seeds() -> Iterator[bytes]:
    hello = framed(_HELLO)
    for one in _REQUESTS:
        count = messages.DESCRIPTORS.get(type(one), 0)
        yield hello + framed(one) + bytes(count)
    yield hello + b"".join(map(framed, _REQUESTS[1:4]))


def an_answer(data: bytes) -> None:
    """What a passenger reads is one of the answers, or malformed."""
    with suppress(MalformedPacket):
        size = messages.size_of(data[:4])
        frame = data[4 : 4 + size]
        known = messages.ANSWERS.get(messages.kind_of(frame))
        if known is not None:
            assert known.decode(known.decode(frame).encode()) == known.decode(frame)


def _answers() -> Iterator[bytes]:
    yield framed(_HELLO)
    yield framed(messages.Alive(1, 4711))
    yield framed(messages.Failure(1, b"no"))
    yield framed(messages.Exited(2, 255))
    yield framed(messages.Information(3, b"  line\n"))


def to_packets(data: bytes) -> None:
    """Whole or in pieces, the payloads are the same."""
    whole = _payloads([data])
    if len(data) < 2000:
        assert _payloads([data[at : at + 3] for at in range(0, len(data), 3)]) == whole


def _payloads(parts: list[bytes]) -> list[bytes]:
    packets, made = Packets(), []
    with suppress(MalformedPacket):
        for part in parts:
            made += packets.feed(part)
    return made


def _packets() -> Iterator[bytes]:
    opening = ChannelOpen("session", 0, 1 << 20, 1 << 15, b"")
    yield packet(opening) + packet(ChannelData(0, b"data"))


class _Visitor:
    """Whose packets they are: what is sent to it must be packets again."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sent = bytearray()

    def put(self, data: bytes) -> None:
        self.sent += data


def to_proxy(data: bytes) -> None:
    """A visitor's packets end in channels on our connection, or in an error; that goes on unharmed."""
    pair = make_pair(
        server_core={"connection": ConnectionSettings(channel_types=frozenset({"session"}))}
    )
    pair.log_in()
    pair.answers[ChannelRequested] = _echo
    later: list[Callable[[], object]] = []
    link = SimpleNamespace(flush_soon=lambda: None)
    visitor = _Visitor(SimpleNamespace(core=pair.client, link=link))
    proxied = Proxied(visitor, later.append)
    half = len(data) // 2
    with suppress(MalformedPacket, ProtocolError):
        for part in (data[:half], data[half:], b""):
            proxied.received(part)
            _turn(pair, later)
    proxied.drop()
    _turn(pair, later)
    assert not pair.client.closed
    assert not pair.server.closed
    assert not pair.client.channels
    assert list(Packets().feed(bytes(visitor.sent))) or not visitor.sent


def _echo(core: Core, event: ChannelRequested) -> None:
    if core.role is Role.SERVER:
        event.channel.send(b"output")
        event.channel.send_extended(b"errors")
        if event.debt is not None:
            event.channel.answer(success=True, debt=event.debt)
        if event.channel.standing is Standing.OPEN and event.channel.sending is Half.OPEN:
            event.channel.request(ExitStatus(3))


def _turn(pair: Loopback, later: list[Callable[[], object]]) -> None:
    for _ in range(4):
        pair.pump()
        events = [one for one in pair.client_events if not isinstance(one, ChannelAsked)]
        pair.client_events.clear()
        for event in events:
            tell_owner(event)
        calls, later[:] = later[:], []
        for call in calls:
            call()


def _proxied() -> Iterator[bytes]:
    opening = packet(ChannelOpen("session", 0, 1 << 20, 1 << 15, b""))
    request = packet(ChannelRequest(0, "exec", True, b"\0\0\0\4true"))
    data = packet(ChannelData(0, b"data"))
    end = packet(ChannelEof(0)) + packet(ChannelClose(0))
    yield opening + request + data + packet(ChannelWindowAdjust(0, 100)) + end
    yield packet(ChannelOpen("session", 5, 3, 16, b"")) * 2 + request + end
    yield packet(ChannelOpen("x11", 5, 3, 16, b"")) + packet(GlobalRequest("name", True, b""))


def to_proxied_core(data: bytes) -> None:
    """Any bytes of a master end in events, or in an error that says why."""
    core = ProxiedCore(now=0.0)
    channel = core.open_channel("session")
    channel.sink = Collector(channel)
    for at in range(0, len(data), 1000):
        part = data[at : at + 1000]
        core.writable()[: len(part)] = part
        core.received(len(part), 0.0)
        for event in core.events():
            if isinstance(event, GlobalRequested | ChannelAsked):
                core.answer(event)
        if core.closed:
            assert core.error is not None
            break
        sent = b"".join(core.to_send())
        list(Packets().feed(sent))
        core.sent(len(sent))


def _from_master() -> Iterator[bytes]:
    opened = packet(ChannelOpenConfirmation(0, 7, 1 << 20, 1 << 15, b""))
    status = packet(ChannelRequest(0, "exit-status", False, b"\0\0\0\3"))
    end = packet(ChannelEof(0)) + packet(ChannelClose(0))
    yield opened + packet(ChannelData(0, b"output")) + status + end
    yield packet(GlobalRequest("name", True, b"")) + packet(ChannelOpen("x11", 0, 9, 99, b""))


HARNESSES = [
    Harness("mux_proxied_core", to_proxied_core, covers=[], seeds=_from_master),
    Harness(
        "mux_proxy",
        to_proxy,
        covers=["tellin.programs.ssh.proxied.Proxied.received"],
        seeds=_proxied,
    ),
    Harness("mux_packets", to_packets, covers=["tellin.mux.packets.Packets.feed"], seeds=_packets),
    Harness("mux_master", to_master, covers=["tellin.mux.talk.MasterTalk.received"], seeds=_seeds),
    Harness("mux_answer", an_answer, covers=[], seeds=_answers),
]
