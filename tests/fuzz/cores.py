# SPDX-License-Identifier: MIT
"""Any bytes into a whole core: before there are keys, and as packets under keys, logged in or not."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from zlib import crc32

from tests.fuzz.harness import Harness, joined, pieces

from tellin.algorithms.compression import Compressor, Decompressor
from tellin.algorithms.key_exchange import KEY_EXCHANGES
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
from tellin.errors import AuthenticationFailed, MalformedPacket, TellinError, UsageError
from tellin.protocol import ClientProtocol, Core, ServerProtocol
from tellin.protocol.events import (
    AuthenticationAsked,
    AuthenticationRefused,
    ChannelAsked,
    ChannelRequested,
    Event,
    GlobalRequested,
    HostKeyOffered,
    HostKeySignatureWanted,
    PasswordChangeAsked,
    QuestionsAsked,
)
from tellin.protocol.freezing import freeze
from tellin.testing import Collector, client_settings, server_settings
from tellin.testing.pairs import HOST_KEY, make_pair
from tellin.transport.machine import Phase
from tellin.transport.messages import ExtInfo, KexEcdhInit, KexEcdhReply
from tellin.transport.negotiation import proposal
from tellin.userauth.client import ClientAuthentication
from tellin.userauth.messages import (
    InfoRequest,
    PasswordChangeRequest,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
    UserauthSuccess,
)
from tellin.wire import string

# Quick ones; every method and cipher has its own fuzzing in test_algorithms.py.
CIPHER = {
    "ciphers": ("aes128-gcm@openssh.com",),
    "compressions": ("none",),
    "key_exchanges": ("curve25519-sha256", "ecdh-sha2-nistp256"),
}


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
    elif isinstance(core, ClientProtocol):
        with suppress(UsageError, AuthenticationFailed):
            log_in(core, event)


def log_in(core: ClientProtocol, event: Event) -> None:
    """What a willing client does about a server's answers; it may have tried often enough."""
    if isinstance(event, AuthenticationRefused):
        if "keyboard-interactive" in event.allowed:
            core.try_keyboard_interactive("user")
        else:
            core.try_password("user", "secret")
    elif isinstance(event, QuestionsAsked):
        core.answer_questions(["answer"] * len(event.prompts))
    elif isinstance(event, PasswordChangeAsked):
        core.try_password("user", "secret", "new")


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
        parts = drive(make(), portions(data, by=data))
        assert whole == parts, (whole, parts)

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


def logged_in(*, client: bool) -> Callable[[], tuple[Core, Core]]:
    """An end of a connection that is logged in, with a channel open, and its peer."""

    def make() -> tuple[Core, Core]:
        ends = (thawed_client(frozen()[0]), thawed_server(frozen()[1]))
        core, sender = ends if client else ends[::-1]
        for channel in core.channels.values():
            channel.sink = Collector(channel)
        return core, sender

    return make


def portions(wire: bytes, *, by: bytes) -> Iterator[bytes]:
    """A wire cut where ``by`` has it: an eighth of the inputs byte by byte, which takes ten times as long.

    The wire itself differs from run to run, as do the keys; the cuts must not, or a fault would not
    come again.
    """
    chance = random.Random(crc32(by))
    largest = 64 if chance.randrange(8) else 1
    if len(wire) > 2048:
        largest = 128
    at = 0
    while at < len(wire):
        end = at + chance.randint(1, largest)
        yield wire[at:end]
        at = end


def in_one(wire: bytes, *, by: bytes) -> Iterator[bytes]:
    """A wire in one piece."""
    yield wire


def both_ways(make: Callable[[], tuple[Core, Core]]) -> Callable[[bytes], None]:
    """Packets by a sender that bypasses its own rules, all at once and in portions.

    ``make`` gives the core that gets them and the one that seals them.
    """

    def run(data: bytes) -> None:
        for cut in (in_one, portions):
            core, sender = make()
            drive(core, cut(b"".join(sealed(sender, pieces(data))), by=data))

    return run


@cache
def frozen_at_login() -> tuple[bytes, bytes]:
    """A client's and a server's connection as data, with keys, and nobody logged in."""
    made = make_pair(**CIPHER)
    del made.answers[AuthenticationAsked]
    made.pump()
    made.server.answer_authentication((UserauthFailure((), partial_success=False),))
    made.pump()
    client = made.client
    return freeze(client._transport, client._connection, b""), made.server.freeze()


def server_at_login() -> tuple[Core, Core]:
    """A server that nobody has logged in to, and a client with keys."""
    client, server = frozen_at_login()
    return thawed_server(server), thawed_client(client)


def client_at_login() -> tuple[Core, Core]:
    """A client that has asked which methods there are, and a server with keys."""
    client, server = frozen_at_login()
    core = thawed_client(client)
    # What a thawed client has behind it begins once more: a new exchange would take ten times as long.
    core._authentication = ClientAuthentication(core.session_id, host_key_blob=core.host_key)
    core.try_none("user")
    core.sent(core.unsent)
    return core, thawed_server(server)


def at_rekey(*, client: bool) -> Callable[[], tuple[Core, Core]]:
    """One end that waits for an answer to its KEXINIT."""

    def make() -> tuple[Core, Core]:
        core, sender = logged_in(client=client)()
        core.rekey()
        core.sent(core.unsent)
        return core, sender

    return make


def compressed(*, client: bool) -> Callable[[], tuple[Core, Core]]:
    """One end that inflates, and a sender that compresses nothing: its payloads are the stream."""

    def make() -> tuple[Core, Core]:
        core, sender = logged_in(client=client)()
        core._transport.reader.decompressor = Decompressor()
        return core, sender

    return make


def to_login(data: bytes) -> None:
    """Packets to a server that nobody has logged in to: nobody gets in by any of them."""
    for cut in (in_one, portions):
        core, sender = server_at_login()
        drive(core, cut(b"".join(sealed(sender, pieces(data))), by=data))
        assert not core.authenticated


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


def answer_seeds() -> Iterator[bytes]:
    """What a server says to who logs in."""
    yield joined(
        message.encode()
        for message in (
            UserauthBanner("Hello", ""),
            UserauthFailure(("publickey", "password"), partial_success=False),
            PasswordChangeRequest("New: ", ""),
            UserauthFailure(("keyboard-interactive",), partial_success=True),
            InfoRequest("", "", "", (("Password: ", False),)),
            UserauthSuccess(),
        )
    )
    yield joined([ExtInfo.of({"server-sig-algs": b"ssh-ed25519"}).encode(), b"\x34"])
    yield joined([b"\x06" + string(b"ssh-userauth"), b"\x33" + string(b"") + b"\0"])


def exchange_seeds(*, client: bool) -> Iterator[bytes]:
    """An exchange of keys in mid-connection."""
    core: Core = new_client() if client else new_server()
    offer = proposal(
        core._transport.settings.preferences, core.role, bytes(16), first=False, follows=False
    )
    value = KEY_EXCHANGES["curve25519-sha256"].start().public
    method = (
        KexEcdhInit(value) if client else KexEcdhReply(HOST_KEY.public.blob, value, b"signature")
    )
    yield joined([offer.encode(), method.encode(), b"\x15"])
    offer.kex_algorithms = ("ecdh-sha2-nistp256", "curve25519-sha256")
    offer.first_kex_packet_follows = True
    yield joined([offer.encode(), b"\x1e" + string(b"x"), method.encode()])
    yield from packet_seeds()


def compressed_seeds() -> Iterator[bytes]:
    """Conversations as one zlib stream."""
    for seed in packet_seeds():
        out = Compressor()
        yield joined(out.compress(payload) for payload in pieces(seed))
    yield joined([b"\x02\0\0\0\1x", b"", bytes(40)])


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
    Harness("login_at_a_client", both_ways(client_at_login), covers=[], seeds=answer_seeds),
    Harness(
        "packets_to_a_server",
        both_ways(logged_in(client=False)),
        covers=[],
        seeds=packet_seeds,
    ),
    Harness(
        "packets_to_a_client", both_ways(logged_in(client=True)), covers=[], seeds=packet_seeds
    ),
    Harness(
        "new_keys_at_a_server",
        both_ways(at_rekey(client=False)),
        covers=[],
        seeds=lambda: exchange_seeds(client=True),
    ),
    Harness(
        "new_keys_at_a_client",
        both_ways(at_rekey(client=True)),
        covers=[],
        seeds=lambda: exchange_seeds(client=False),
    ),
    Harness(
        "compressed_to_a_server",
        both_ways(compressed(client=False)),
        covers=[],
        seeds=compressed_seeds,
    ),
    Harness(
        "compressed_to_a_client",
        both_ways(compressed(client=True)),
        covers=[],
        seeds=compressed_seeds,
    ),
    Harness("thaw", thaw, covers=[], seeds=lambda: [frozen()[1]]),
]
