# SPDX-License-Identifier: MIT
"""One client's connection at a server: answers the core's events, with the help of those who know.

Nothing here waits: who may take long (a password check, a hardware key, a user's coroutine) gets a
callback to give the answer to, at once or later.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tellin.connection.channel import Channel
from tellin.connection.host_keys import HOST_KEYS_PROVE
from tellin.connection.requests import Request
from tellin.errors import (
    ChannelOpenFailureReason,
    ConnectionLost,
    DisconnectReason,
    ProtocolError,
    SignatureFailed,
    TellinError,
)
from tellin.protocol import ServerProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationAsked,
    ChannelAsked,
    ChannelClosed,
    ChannelClosing,
    ChannelEnded,
    ChannelIdle,
    ChannelOpened,
    ChannelOpenRefused,
    ChannelRequested,
    ChannelWritable,
    Closed,
    ConnectionUnused,
    Event,
    GlobalRequested,
    HostKeySignatureWanted,
)
from tellin.protocol.server import SESSION
from tellin.runtime.journal import INFO, VERBOSE
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Duplex
from tellin.runtime.stream import Link
from tellin.server.host_key_proofs import HostKeyProver
from tellin.userauth.policy import Policy
from tellin.userauth.questions import (
    Answer,
    Ask,
    Attempt,
    Factor,
    Granted,
    Question,
    Reply,
    Step,
)
from tellin.userauth.server import Authenticator
from tellin.wire import Record


class Peer(Record):
    """Where a connection comes from and where it arrived; empty without a network address."""

    host: str
    port: int
    local_host: str
    local_port: int
    routing_domain: str | None = None
    """The device that the socket is bound to, empty where that is none; unknown without a socket."""

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


class Login(Record):
    """Who is in, and how: the verified keys stand in ``factors`` (R067)."""

    user: str
    method: str
    factors: tuple[Factor, ...]


class SessionHandler(Protocol):
    """What serves one channel; the methods are called in the order of the client's messages."""

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """The client asks something; ``answer`` is called exactly once, now or later."""

    def ended(self) -> None:
        """The client sends no more data."""

    def closed(self) -> None:
        """The channel is gone."""

    def writable(self) -> None:
        """There is room for data again."""


class Reach(Protocol):
    """What the programs of a session may reach on the client's side: `tellin.server.forwarding.reach.SessionReach`."""

    def asked(self, request: Request, /) -> bool:
        """Do what is asked before the start, if that is possible."""

    def environment(self) -> Mapping[str, str]:
        """What the programs are told."""

    def prepare(self, environment: Mapping[str, str], then: Callable[[], object], /) -> bool:
        """Do what they need first, and call ``then`` behind it; false where that is nothing."""

    def close(self) -> None:
        """The session is over."""


class Reaches(Protocol):
    """The same for all sessions of a connection: `tellin.server.forwarding.reach.ConnectionReach`."""

    def session(self) -> Reach:
        """One session's part in it."""

    def close(self) -> None:
        """The connection is over."""


class Services(Protocol):
    """What a server offers to its connections."""

    def sign(
        self, key_blob: bytes, algorithm: str, data: bytes, done: Callable[[bytes | None], None]
    ) -> None:
        """Sign with the host key ``key_blob``; None ends the connection."""

    def host_keys(self) -> Sequence[bytes]:
        """The blobs of all keys that ``sign`` signs with, certificates apart."""

    def policy(self, connection: "ServerConnection") -> Policy:
        """What users must show whom nobody knows yet."""

    def ask(
        self,
        connection: "ServerConnection",
        question: Question,
        done: Callable[[Answer], None],
    ) -> None:
        """Answer a question about a user, a key or a password."""

    def logged_in(self, connection: "ServerConnection", login: Login) -> None:
        """A user is in; raising a TellinError sends him away again."""

    def open_session(
        self, connection: "ServerConnection", channel: Channel
    ) -> SessionHandler | str:
        """The handler of a new session channel, or why there is none."""

    def open_other(self, connection: "ServerConnection", event: ChannelAsked) -> None:
        """Accept or refuse a channel that is no session, now or later."""

    def global_requested(self, connection: "ServerConnection", event: GlobalRequested) -> None:
        """Answer a request that is none of a channel's, now or later; ``event.debt`` is what is owed."""

    def attempted(self, connection: "ServerConnection", attempt: Attempt) -> None:
        """For the log: one try to log in has ended."""

    def ended(self, connection: "ServerConnection", error: TellinError | None) -> None:
        """The connection is over."""


class ServerConnection:
    """Serves one stream."""

    __slots__ = (
        "__weakref__",
        "_authenticator",
        "_granting",
        "_open",
        "_prover",
        "core",
        "link",
        "login",
        "note",
        "peer",
        "services",
    )

    def __init__(
        self,
        loop: Loop,
        stream: Duplex,
        core: ServerProtocol,
        services: Services,
        peer: Peer,
        *,
        on_closed: Callable[["ServerConnection"], object] | None = None,
    ) -> None:
        self.core = core
        self.services = services
        self.peer = peer
        self.login: Login | None = None
        self.note: Callable[[int, str], object] = _unheard
        """Takes a level and a line for the log."""
        self._authenticator: Authenticator | None = None
        self._granting: Granted | None = None
        self._open = True
        self._prover: HostKeyProver | None = None
        self.link = Link(
            loop,
            stream,
            core,
            self._on_event,
            on_closed=None if on_closed is None else lambda _: on_closed(self),
            # A client mostly says its first words with its connect.
            listens_first=True,
        )

    def _on_event(self, event: Event) -> None:
        handler = _HANDLERS.get(type(event))
        if handler is None:
            return
        try:
            handler(self, event)
        except ProtocolError as error:
            # What stands in a channel's or a request's own data is read by those who serve it: a
            # fault there is the client's, and ends nothing but its connection.
            self.core.fail(error)

    def flush(self) -> None:
        """Send what was said outside an event."""
        self.link.flush_soon()

    def disconnect(self, reason: int, description: str) -> None:
        """Say goodbye and close."""
        self.core.disconnect(reason, description)
        self.flush()

    # The host key

    def _sign(self, event: HostKeySignatureWanted) -> None:
        def done(signature: bytes | None) -> None:
            if self._open and not self.core.closed:
                if signature is None:
                    self.core.fail(SignatureFailed("the server's host key does not sign"))
                else:
                    self.core.give_host_key_signature(signature)
                self.flush()

        self.services.sign(event.key_blob, event.algorithm, event.data, done)

    # Who may in

    def _asked(self, event: AuthenticationAsked) -> None:
        authenticator = self._authenticator
        if authenticator is None:
            self._authenticator = authenticator = Authenticator(
                self.core.session_id,
                host_key_blob=self.core.host_key,
                policy=self.services.policy(self),
            )
        self._step(lambda: authenticator.receive(event.payload))

    def _step(self, take: Callable[[], Step]) -> None:
        if self.core.closed:
            return
        authenticator = self._authenticator
        assert authenticator is not None
        try:
            step = take()
        except ProtocolError as error:
            self._report(authenticator)
            self.core.fail(error)
            return
        self._report(authenticator)
        for message in step.messages if not isinstance(step, Reply) else ():
            self.core.send_authentication(message)
        if isinstance(step, Reply):
            self.core.answer_authentication(step.messages)
        elif isinstance(step, Ask):
            self.services.ask(self, step.question, self._answered)
        else:
            self._granting = step
            self.core.grant_authentication(step.user, step.method)

    def _answered(self, value: Answer) -> None:
        authenticator = self._authenticator
        if not self._open or authenticator is None:
            return
        self._step(lambda: authenticator.answer(value))
        self.flush()

    def _report(self, authenticator: Authenticator) -> None:
        for attempt in authenticator.attempts():
            self.services.attempted(self, attempt)

    def _logged_in(self, event: Authenticated) -> None:
        granted, self._granting = self._granting, None
        assert granted is not None
        self._authenticator = None
        self.login = Login(event.user, event.method, granted.factors)
        try:
            self.services.logged_in(self, self.login)
        except TellinError as error:
            self.core.fail(error)
        except OSError as error:
            # The change to the user did not work: this process must not serve anybody.
            text = error.strerror or str(error)
            self.core.fail(ConnectionLost(f"the session cannot begin: {text}", stage="session"))
        else:
            self._prover = HostKeyProver(
                self.core, self.services.host_keys(), sign=self.services.sign, flush=self.flush
            )
            self._prover.announce()

    # Channels

    def _channel_asked(self, event: ChannelAsked) -> None:
        if event.channel_type != SESSION:
            self.services.open_other(self, event)
            return
        handler = self.services.open_session(self, event.channel)
        if isinstance(handler, str):
            self.core.refuse_channel(
                event.channel, ChannelOpenFailureReason.ADMINISTRATIVELY_PROHIBITED, handler
            )
            return
        event.channel.owner = handler
        self.core.accept_channel(event.channel)

    def _channel_opened(self, event: ChannelOpened) -> None:
        event.channel.owner.opened()

    def _channel_open_refused(self, event: ChannelOpenRefused) -> None:
        event.channel.owner.refused(event)

    def _channel_requested(self, event: ChannelRequested) -> None:
        channel = event.channel
        debt = event.debt

        def answer(success: bool) -> None:
            if debt is not None:
                channel.answer(success, debt)
                self.flush()

        handler: SessionHandler | None = channel.owner
        if handler is None:
            answer(False)
        else:
            handler.requested(event.request, answer)

    def _channel_ended(self, event: ChannelEnded) -> None:
        if event.channel.owner is not None:
            event.channel.owner.ended()

    def _channel_writable(self, event: ChannelWritable) -> None:
        if event.channel.owner is not None:
            event.channel.owner.writable()

    def _channel_closing(self, event: ChannelClosing) -> None:
        # Only handlers that set ``lingers`` on their channel get to hear of it.
        event.channel.owner.closing()

    def _channel_closed(self, event: ChannelClosed) -> None:
        handler, event.channel.owner = event.channel.owner, None
        event.channel.sink = event.channel.extended_sink = None
        if handler is not None:
            handler.closed()

    def _channel_idle(self, event: ChannelIdle) -> None:
        channel, seconds = event.channel, event.seconds
        said = f"closing after {seconds:g} seconds of inactivity"
        self.note(VERBOSE, f"channel {channel.number}: {said}")
        # Whoever serves it goes now: a client that is gone for good never answers our close.
        handler, channel.owner = channel.owner, None
        channel.sink = channel.extended_sink = None
        if handler is not None:
            handler.closed()

    def _unused(self, _event: ConnectionUnused) -> None:
        user = f"user {self.login.user} " if self.login is not None else ""
        self.note(INFO, f"terminating inactive connection from {user}{self.peer}")
        self.disconnect(DisconnectReason.BY_APPLICATION, "no channel was open for too long")

    def _global_requested(self, event: GlobalRequested) -> None:
        if event.name == HOST_KEYS_PROVE and self._prover is not None:
            self._prover.prove(event)
        else:
            self.services.global_requested(self, event)

    # The end

    def _closed(self, event: Closed) -> None:
        if not self._open:
            return
        self._open = False
        self._authenticator = None
        for channel in list(self.core.channels.values()):
            handler, channel.owner = channel.owner, None
            if handler is not None:
                handler.closed()
        self.services.ended(self, event.error)


def _unheard(_level: int, _line: str) -> None:
    """For those who keep no log."""


_HANDLERS: dict[type[Event], Callable[[ServerConnection, Any], None]] = {
    HostKeySignatureWanted: ServerConnection._sign,
    # By its name: who serves may want to see it first.
    AuthenticationAsked: lambda connection, event: connection._asked(event),
    Authenticated: ServerConnection._logged_in,
    ChannelAsked: ServerConnection._channel_asked,
    # Channels that we ask for have an owner from the beginning.
    ChannelOpened: ServerConnection._channel_opened,
    ChannelOpenRefused: ServerConnection._channel_open_refused,
    ChannelRequested: ServerConnection._channel_requested,
    ChannelEnded: ServerConnection._channel_ended,
    ChannelWritable: ServerConnection._channel_writable,
    ChannelClosing: ServerConnection._channel_closing,
    ChannelClosed: ServerConnection._channel_closed,
    ChannelIdle: ServerConnection._channel_idle,
    ConnectionUnused: ServerConnection._unused,
    GlobalRequested: ServerConnection._global_requested,
    Closed: ServerConnection._closed,
}
