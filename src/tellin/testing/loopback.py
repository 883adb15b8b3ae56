# SPDX-License-Identifier: MIT
"""Two cores joined in memory: no socket, no threads, time set by hand."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from tellin.algorithms.ciphers import preferred_ciphers
from tellin.algorithms.key_exchange import CLIENT_KEY_EXCHANGES
from tellin.algorithms.macs import CLIENT_MACS
from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS, plain
from tellin.connection.channel import Channel
from tellin.errors import UsageError
from tellin.keys.private import PrivateKey
from tellin.protocol import ClientProtocol, Core, Preferences, ServerProtocol, Settings
from tellin.protocol.events import (
    AuthenticationAsked,
    ChannelAsked,
    Event,
    ExchangeDone,
    HostKeyOffered,
    HostKeySignatureWanted,
)

E = TypeVar("E", bound=Event)


class Randomness:
    """Bytes that look random and are the same in every run."""

    def __init__(self, seed: bytes) -> None:
        self._state = hashlib.sha256(seed).digest()

    def __call__(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        made = b""
        while len(made) < count:
            self._state = hashlib.sha256(self._state).digest()
            made += self._state
        return made[:count]


def client_settings(**changes: Any) -> Settings:
    """A client's settings with every algorithm that is on; fields and preferences may be changed."""
    return _settings(b"client", **changes)


def server_settings(host_key: PrivateKey, **changes: Any) -> Settings:
    """A server's settings that show ``host_key``."""
    algorithms = host_key.public.signature_algorithms
    pairs = tuple((name, host_key.public.blob) for name in algorithms)
    return _settings(
        b"server", **{"host_keys": pairs, "host_key_algorithms": algorithms, **changes}
    )


def _settings(seed: bytes, **changes: Any) -> Settings:
    preferences = Preferences(
        changes.pop("key_exchanges", CLIENT_KEY_EXCHANGES),
        changes.pop("host_key_algorithms", HOST_KEY_ALGORITHMS),
        changes.pop("ciphers", preferred_ciphers(has_aes=True)),
        changes.pop("macs", CLIENT_MACS),
        changes.pop("compressions", ("none", "zlib@openssh.com")),
    )
    changes.setdefault("extensions", {"ping@openssh.com": b"0"})
    return Settings(preferences, Randomness(seed), **changes)


class Collector:
    """A sink that keeps what it is given; with ``hold`` it credits nothing until ``release``."""

    def __init__(self, channel: Channel, *, hold: bool = False) -> None:
        self.channel = channel
        self.data = bytearray()
        self.hold = hold
        self.held = 0

    def take(self, views: list[memoryview]) -> int:
        """Keep a copy."""
        size = 0
        for view in views:
            self.data += view
            size += len(view)
        if self.hold:
            self.held += size
            return 0
        return size

    def release(self) -> None:
        """Credit what was held, and from now on at once."""
        self.hold = False
        held, self.held = self.held, 0
        self.channel.consumed(held)


class Loopback:
    """A client and a server core, and the wire between them.

    ``answers`` maps an event's class to what is done about it for the side it happened on; host
    keys, host key signatures and logins are answered with yes unless told otherwise. ``chunk``
    moves so many bytes at a time.
    """

    def __init__(
        self,
        client: ClientProtocol,
        server: ServerProtocol,
        *,
        host_key: PrivateKey,
        chunk: int = 1 << 20,
    ) -> None:
        self.client = client
        self.server = server
        self.host_key = host_key
        self.chunk = chunk
        self.now = 0.0
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.answers: dict[type[Event], Callable[[Core, Any], object]] = {
            HostKeyOffered: lambda _core, _event: self.client.trust_host_key(),
            HostKeySignatureWanted: self._sign,
            ExchangeDone: self._log_in,
            AuthenticationAsked: lambda _core, _event: self.server.grant_authentication(
                "user", "none"
            ),
            ChannelAsked: lambda core, event: core.accept_channel(event.channel),
        }

    def _sign(self, _core: Core, event: HostKeySignatureWanted) -> None:
        name = plain(event.algorithm)
        self.server.give_host_key_signature(
            self.host_key.sign(event.data, name, sha1=name == "ssh-rsa")
        )

    def _log_in(self, core: Core, event: ExchangeDone) -> None:
        if core is self.client and event.first:
            self.client.try_none("user")

    def step(self) -> bool:
        """Move what is there once each way; whether anything happened."""
        moved = self._carry(self.client, self.server)
        moved |= self._carry(self.server, self.client)
        return self._dispatch() or moved

    def _carry(self, source: Core, target: Core) -> bool:
        data = b"".join(source.to_send())
        if not data:
            return False
        source.sent(len(data))
        for at in range(0, len(data), self.chunk):
            if target.closed:
                break
            target.receive_data(data[at : at + self.chunk], self.now)
            self._dispatch()
        return True

    def _dispatch(self) -> bool:
        found = False
        for core, kept in ((self.client, self.client_events), (self.server, self.server_events)):
            for event in core.events():
                found = True
                kept.append(event)
                answer = self.answers.get(type(event))
                if answer is not None:
                    answer(core, event)
        return found

    def pump(self, turns: int = 10000) -> None:
        """Go on until nothing moves any more."""
        for _ in range(turns):
            if not self.step():
                return
        raise UsageError(f"still moving after {turns} turns")

    def log_in(self) -> None:
        """Go on until the client is logged in."""
        self.pump()
        if not (self.client.authenticated and self.server.authenticated):
            raise self.client.error or self.server.error or UsageError("nobody logged in")

    def session(self) -> tuple[Channel, Channel]:
        """Open a session channel; its two ends, client's first."""
        ours = self.client.open_channel("session")
        self.pump()
        return ours, next(
            event.channel
            for event in reversed(self.server_events)
            if isinstance(event, ChannelAsked)
        )

    def seen(self, kind: type[E], core: Core | None = None) -> list[E]:
        """The events of one class, of one side or of both."""
        events: list[Event] = []
        if core is not self.server:
            events += self.client_events
        if core is not self.client:
            events += self.server_events
        return [event for event in events if isinstance(event, kind)]
