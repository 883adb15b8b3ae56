# SPDX-License-Identifier: MIT
"""Any bytes into a whole core: before there are keys, and as packets under keys, logged in or not."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from tests.fuzz.harness import Harness, joined, pieces

from tellin.connection.messages import (
    ChannelData,
    ChannelEof,
    ChannelExtendedData,
    ChannelOpen,
    ChannelRequest,
    ChannelWindowAdjust,
    GlobalRequest,
)
from tellin.connection.requests import ExecRequest, ExitStatus, PtyRequest
from tellin.errors import MalformedPacket, TellinError, UsageError
from tellin.protocol import ClientProtocol, Core, ServerProtocol
from tellin.protocol.events import (
    AuthenticationAsked,
    ChannelAsked,
    ChannelRequested,
    Event,
    GlobalRequested,
    HostKeyOffered,
    HostKeySignatureWanted,
)
from tellin.testing import Collector, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY, make_pair
from tellin.transport.machine import Phase
from tellin.userauth.messages import UserauthFailure, UserauthRequest, UserauthSuccess

CIPHER = {"ciphers": ("aes128-gcm@openssh.com",), "compressions": ("none",)}


def new_client() -> ClientProtocol:
    return ClientProtocol(client_settings(**CIPHER), now=0.0)


def new_server() -> ServerProtocol:
    return ServerProtocol(server_settings(HOST_KEY, **CIPHER), now=0.0)


def answer(core: Core, event: Event) -> None:
    """What a willing driver does about an event."""
    if isinstance(core, ClientProtocol) and isinstance(event, HostKeyOffered):
        core.trust_host_key()
    elif isinstance(core, ServerProtocol) and isinstance(event, HostKeySignatureWanted):
        core.give_host_key_signature(HOST_KEY.sign(event.data, event.algorithm))
    elif isinstance(core, ServerProtocol) and isinstance(event, AuthenticationAsked):
        core.answer_authentication((UserauthFailure(("publickey",), partial_success=False),))
    elif isinstance(event, ChannelAsked):
        core.accept_channel(event.channel)
        event.channel.sink = Collector(event.channel)
    elif isinstance(event, ChannelRequested) and event.debt:
        event.channel.answer(True, event.debt)
    elif isinstance(event, GlobalRequested) and event.want_reply:
        core.answer_global(False)


def drive(core: Core, arriving: Iterable[bytes]) -> tuple[type[BaseException] | None, Phase]:
    """Feed ``arriving`` and answer what is asked; only an error of tellin's may end the connection."""
    for data in arriving:
        if core.closed:
            break
        core.receive_data(data, 1.0)
        for event in core.events():
            answer(core, event)
        core.sent(sum(map(len, core.to_send())))
    phase = core._transport.phase
    core.tick(2.0)
    assert core.error is None or isinstance(core.error, TellinError)
    if core.closed:
        core.events()
        core.receive_data(b"after the end", 3.0)
        assert core.closed  # R084: what is over stays over
        assert not core.events()
    # Not the error's text: it quotes what was there when it was raised.
    return type(core.error) if core.error else None, phase


def in_clear(make: Callable[[], Core]) -> Callable[[bytes], None]:
    """Bytes from the first one on; it makes no difference in what portions they arrive."""

    def run(data: bytes) -> None:
        whole = drive(make(), [data])
        singly = drive(make(), (data[at : at + 1] for at in range(len(data))))
        assert whole == singly, (whole, singly)

    return run


@cache
def frozen() -> tuple[bytes, bytes]:
    """A client's and a server's connection as data, logged in, with a channel open."""
    made = make_pair(**CIPHER)
    made.log_in()
    made.session()
    return made.client.freeze(), made.server.freeze()


def thawed_client(data: bytes) -> ClientProtocol:
    return ClientProtocol(client_settings(**CIPHER), frozen=data, now=0.0)


def thawed_server(data: bytes) -> ServerProtocol:
    return ServerProtocol(server_settings(HOST_KEY, **CIPHER), frozen=data, now=0.0)


def sealed(sender: Core, payloads: Iterable[bytes]) -> Iterator[bytes]:
    """Payloads as packets of ``sender``'s, whatever they are."""
    for payload in payloads:
        sender._transport.writer.write(payload)
        packet = b"".join(sender.to_send())
        sender.sent(len(packet))
        yield packet


def to_server(data: bytes) -> None:
    """Packets to a server whose client is logged in, with a channel open."""
    client, server = frozen()
    core = thawed_server(server)
    for channel in core.channels.values():
        channel.sink = Collector(channel)
    drive(core, sealed(thawed_client(client), pieces(data)))


def to_client(data: bytes) -> None:
    """Packets to a client that is logged in, with a channel open."""
    client, server = frozen()
    core = thawed_client(client)
    for channel in core.channels.values():
        channel.sink = Collector(channel)
    drive(core, sealed(thawed_server(server), pieces(data)))


def to_login(data: bytes) -> None:
    """Packets to a server that nobody has logged in to, from a client with keys."""
    made = make_pair(**CIPHER)
    del made.answers[AuthenticationAsked]
    made.pump()
    if not made.server.closed:
        made.server.answer_authentication((UserauthFailure((), partial_success=False),))
    drive(made.server, sealed(made.client, pieces(data)))
    assert not made.server.authenticated


def thaw(data: bytes) -> None:
    """A frozen connection that somebody has changed: refused, or a core that goes on."""
    try:
        core = thawed_server(data)
    except (MalformedPacket, UsageError):
        return
    drive(core, [b"\0" * 64])


def clear_seeds(*, client: bool) -> Iterator[bytes]:
    """What a peer says first."""
    peer: Core = new_client() if client else new_server()
    yield b"".join(peer.to_send())
    yield b"SSH-2.0-other\r\n"
    yield b"hello\r\nSSH-1.99-old comment\n"
    made = make_pair(**CIPHER)
    source, target = (made.client, made.server) if client else (made.server, made.client)
    said = b""
    for _ in range(4):
        for one, other in ((source, target), (target, source)):
            data = b"".join(one.to_send())
            one.sent(len(data))
            said += data if one is source else b""
            if data and not other.closed:
                other.receive_data(data, 0.0)
            for event in other.events():
                answer(other, event)
    yield said


def packet_seeds() -> Iterator[bytes]:
    """Conversations of the connection protocol."""
    pty = PtyRequest("xterm", 80, 24, 0, 0, b"\0")
    yield joined(
        message.encode()
        for message in (
            ChannelRequest(0, "pty-req", True, pty.encode()),
            ChannelRequest(0, "exec", True, ExecRequest(b"true").encode()),
            ChannelData(0, b"data"),
            ChannelWindowAdjust(0, 1 << 20),
            ChannelEof(0),
        )
    )
    yield joined(
        message.encode()
        for message in (
            ChannelExtendedData(0, 1, b"error"),
            ChannelRequest(0, "exit-status", False, ExitStatus(3).encode()),
            ChannelOpen("session", 7, 1 << 20, 1 << 15, b""),
            GlobalRequest("keepalive@openssh.com", True, b""),
        )
    )
    yield joined([b"\x02\0\0\0\1x", b"\xc0\0\0\0\1y", b"\x01\0\0\0\x0b\0\0\0\0\0\0\0\0"])
    yield joined([UserauthSuccess().encode(), b"\x14" + bytes(16) + bytes(45)])


def login_seeds() -> Iterator[bytes]:
    yield joined(
        [
            UserauthRequest("me", "ssh-connection", "none", b"").encode(),
            UserauthRequest("me", "ssh-connection", "password", b"\0\0\0\0\1x").encode(),
        ]
    )
    yield from packet_seeds()


HARNESSES = [
    Harness(
        "core_of_a_server",
        in_clear(new_server),
        covers=[],
        seeds=lambda: clear_seeds(client=True),
    ),
    Harness(
        "core_of_a_client",
        in_clear(new_client),
        covers=[],
        seeds=lambda: clear_seeds(client=False),
    ),
    Harness("login_at_a_server", to_login, covers=[], seeds=login_seeds),
    Harness("packets_to_a_server", to_server, covers=[], seeds=packet_seeds),
    Harness("packets_to_a_client", to_client, covers=[], seeds=packet_seeds),
    Harness("thaw", thaw, covers=[], seeds=lambda: [frozen()[1]]),
]
