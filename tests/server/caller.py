# SPDX-License-Identifier: MIT
"""A client that does one thing at a time: for acts that no real client can be brought to."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from tellin.connection.channel import Channel
from tellin.connection.machine import ConnectionSettings
from tellin.connection.requests import Request
from tellin.keys.private import PrivateKey, Signer
from tellin.protocol import ClientProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationReady,
    AuthenticationRefused,
    ChannelOpened,
    ChannelOpenRefused,
    ChannelReplied,
    ChannelRequested,
    Closed,
    Event,
    HostKeyOffered,
    QuestionsAsked,
    SignatureWanted,
)
from tellin.testing.loopback import Collector, client_settings

E = TypeVar("E", bound=Event)
_KEPT = 1 << 16


class Caller:
    """One connection to a server on this machine, moved on only by who waits for an event."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", seconds: float = 20, **changes: Any
    ) -> None:
        self.socket = socket.create_connection((host, port))
        self._begin(seconds, changes)

    @classmethod
    def on(cls, stream: socket.socket, *, seconds: float = 20, **changes: Any) -> Self:
        """The same over a socket that is there."""
        made = cls.__new__(cls)
        made.socket = stream
        made._begin(seconds, changes)
        return made

    def _begin(self, seconds: float, changes: dict[str, Any]) -> None:
        if self.socket.family in {socket.AF_INET, socket.AF_INET6}:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        allowed: ConnectionSettings | None = changes.pop("connection", None)
        self.core = ClientProtocol(client_settings(**changes), allowed, now=time.monotonic())
        self.seen: list[Event] = []
        self.received = bytearray()
        """The beginning of what arrived, as it arrived."""
        self.seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def local_port(self) -> int:
        """Our end's port, as the server's log names it."""
        port: int = self.socket.getsockname()[1]
        return port

    # Moving on

    def flush(self) -> None:
        """Send what waits."""
        data = b"".join(self.core.to_send())
        if data:
            self.socket.sendall(data)
            self.core.sent(len(data))

    def turn(self, seconds: float) -> bool:
        """Send, and take what arrives next; false when that is nothing."""
        self.flush()
        self.socket.settimeout(max(0.001, seconds))
        try:
            data = self.socket.recv(1 << 18)
        except (TimeoutError, ConnectionResetError):
            return False
        if data:
            self.received += data[: _KEPT - len(self.received)]
            self.core.receive_data(data, time.monotonic())
        else:
            self.core.received_eof(time.monotonic())
        self.flush_quietly()
        return bool(data)

    def flush_quietly(self) -> None:
        """The same to a server that may be gone."""
        try:
            self.flush()
        except OSError:
            self.core.received_eof(time.monotonic())

    def wait(self, *kinds: type[E], seconds: float | None = None) -> E:
        """The next event of one of these kinds; those before it stay in ``seen``."""
        until = time.monotonic() + (self.seconds if seconds is None else seconds)
        while True:
            for event in self.core.events():
                self.seen.append(event)
                if isinstance(event, HostKeyOffered):
                    self.core.trust_host_key()
            for at, event in enumerate(self.seen):
                if isinstance(event, kinds):
                    del self.seen[at]
                    return event
            if time.monotonic() > until or self.core.closed:
                names = " or ".join(kind.__name__ for kind in kinds)
                raise AssertionError(f"no {names}: {self.seen} {self.core.error!r}")
            self.turn(until - time.monotonic())

    def wait_for(self, condition: Callable[[], object], seconds: float | None = None) -> None:
        """Move on until something is so."""
        until = time.monotonic() + (self.seconds if seconds is None else seconds)
        while not condition():
            assert time.monotonic() < until, "it never came true"
            self.turn(min(0.2, until - time.monotonic()))
            self.seen += self.core.events()

    # Logging in

    def ready(self) -> Self:
        """Come to where requests to log in may be sent."""
        self.wait(AuthenticationReady)
        return self

    def none(self, user: str) -> AuthenticationRefused:
        """Ask for the list of methods."""
        self.core.try_none(user)
        return self.wait(AuthenticationRefused)

    def password(self, user: str, password: str) -> Event:
        """Try a password."""
        self.core.try_password(user, password)
        return self.wait(Authenticated, AuthenticationRefused)

    def interactive(self, user: str, answers: Sequence[str]) -> Event:
        """Ask to be asked, and answer once."""
        self.core.try_keyboard_interactive(user)
        asked = self.wait(QuestionsAsked, AuthenticationRefused)
        if isinstance(asked, AuthenticationRefused):
            return asked
        self.core.answer_questions(answers)
        return self.wait(Authenticated, AuthenticationRefused)

    def key(self, user: str, key: Signer, algorithm: str = "") -> Event:
        """Sign at once."""
        chosen = algorithm or key.public.signature_algorithms[0]
        self.core.try_publickey(user, key.public.blob, chosen, signed=True)
        wanted = self.wait(SignatureWanted)
        self.core.give_signature(key.sign(wanted.data, wanted.algorithm))
        return self.wait(Authenticated, AuthenticationRefused)

    def log_in(self, user: str, key: PrivateKey) -> Self:
        """The whole way."""
        if not self.core.session_id:
            self.ready()
        done = self.key(user, key)
        assert isinstance(done, Authenticated), done
        return self

    # Sessions

    def session(self) -> "CallerSession":
        """Open a session channel."""
        self.core.open_channel("session")
        opened = self.wait(ChannelOpened, ChannelOpenRefused)
        assert isinstance(opened, ChannelOpened), opened
        return CallerSession(self, opened.channel)

    def refused_session(self) -> ChannelOpenRefused:
        """Try to open a session channel that there is not."""
        self.core.open_channel("session")
        return self.wait(ChannelOpenRefused)

    def closed(self, seconds: float | None = None) -> Closed:
        """Wait for the end."""
        return self.wait(Closed, seconds=seconds)


class CallerSession:
    """One session channel: its output, and what was said about its end."""

    def __init__(self, caller: Caller, channel: Channel) -> None:
        self.caller = caller
        self.channel = channel
        self.out = Collector(channel)
        self.err = Collector(channel)
        channel.sink, channel.extended_sink = self.out, self.err

    def ask(self, request: Request) -> bool:
        """Make a request and wait for the answer."""
        self.channel.request(request, want_reply=True)
        return self.caller.wait(ChannelReplied).success

    def requests(self) -> list[Request]:
        """What the server said about this channel, so far."""
        return [
            event.request
            for event in self.caller.seen
            if isinstance(event, ChannelRequested) and event.channel is self.channel
        ]

    def send(self, data: bytes) -> None:
        """Send input, waiting for room."""
        view = memoryview(data)
        while view:
            view = view[self.channel.send(view) :]
            if view:
                self.caller.turn(0.05)
        self.caller.flush()

    def finish(self, seconds: float | None = None) -> list[Request]:
        """Wait until the server has closed the channel; what it said about the end."""

        def over() -> bool:
            return self.channel.number not in self.caller.core.channels

        self.caller.wait_for(over, seconds)
        return self.requests()
