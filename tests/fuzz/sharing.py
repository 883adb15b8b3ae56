# SPDX-License-Identifier: MIT
"""Any bytes, and descriptors with any of them, into the master's end of a control socket."""

from collections.abc import Iterator
from contextlib import suppress

from tests.fuzz.harness import Harness

from tellin.connection.messages import ChannelData, ChannelOpen
from tellin.errors import MalformedPacket, ProtocolError
from tellin.mux import messages
from tellin.mux.messages import framed
from tellin.mux.packets import Packets, packet
from tellin.mux.talk import MasterTalk
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


HARNESSES = [
    Harness("mux_packets", to_packets, covers=["tellin.mux.packets.Packets.feed"], seeds=_packets),
    Harness("mux_master", to_master, covers=["tellin.mux.talk.MasterTalk.received"], seeds=_seeds),
    Harness("mux_answer", an_answer, covers=[], seeds=_answers),
]
