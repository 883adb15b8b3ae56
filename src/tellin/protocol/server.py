# SPDX-License-Identifier: MIT
"""The server's core: shows its host key, lets others decide who may in, serves channels."""

from typing import Final

from tellin.connection.machine import ConnectionSettings
from tellin.errors import DisconnectReason, ProtocolError, TimedOut, UsageError
from tellin.protocol.core import Core, KeepAlive
from tellin.protocol.events import Authenticated, AuthenticationAsked
from tellin.transport.machine import Phase
from tellin.transport.messages import ServiceAccept
from tellin.transport.settings import Settings
from tellin.transport.version import Role
from tellin.userauth.messages import UserauthSuccess
from tellin.wire import Boolean, Byte, Message

SESSION: Final = "session"
SERVICE: Final = "ssh-userauth"
SERVICE_REQUESTS: Final = 2  # case 119: a second request is forgiven
# RFC 4252 lets a client send requests without waiting; nobody needs to be many ahead.
QUEUED_REQUESTS: Final = 16


class FrozenServer(Message):
    """What the server's half adds to a frozen connection."""

    services: Byte
    undecided: Boolean
    grace: Boolean


class ServerProtocol(Core):
    """One server's end. It verifies no login: AuthenticationAsked goes to an Authenticator."""

    __slots__ = ("_grace_at", "_granted", "_queue", "_services", "_undecided")

    role = Role.SERVER

    def __init__(
        self,
        settings: Settings,
        connection: ConnectionSettings | None = None,
        *,
        keepalive: KeepAlive | None = None,
        login_grace: float = 120.0,
        frozen: bytes | None = None,
        now: float,
    ) -> None:
        super().__init__(
            settings,
            connection or ConnectionSettings(channel_types=frozenset({SESSION})),
            keepalive or KeepAlive(),
            now=now,
        )
        self._grace_at: float | None = now + login_grace if login_grace else None
        self._services = 0
        self._undecided = False
        self._granted: tuple[str, str] | None = None
        self._queue: list[bytes] = []
        if frozen is None:
            self._transport.start()
        else:
            self._thaw_own(self._thaw(frozen))

    def freeze(self) -> bytes:
        """The connection as data, for ``frozen`` of another core, in this process or another.

        The Authenticator's state is not in it: freeze when its decision has been made and before
        ``grant_authentication``, or after login. Raises UsageError where it is impossible: during an
        exchange, while answers are due, and for good once compression has begun, which
        zlib@openssh.com does when the login is granted. Before that it may be.
        """
        return self._freeze(
            FrozenServer(self._services, self._undecided, self._grace_at is not None).encode()
        )

    def _thaw_own(self, data: bytes) -> None:
        frozen = FrozenServer.decode(data)
        self._services = frozen.services
        self._undecided = frozen.undecided
        if not frozen.grace:
            self._grace_at = None

    # The host key

    def give_host_key_signature(self, signature: bytes) -> None:
        """Answer HostKeySignatureWanted; the exchange goes on."""
        self._transport.give_host_key_signature(signature)
        self._proceed()

    # Who may in

    def service_requested(self, name: str) -> None:
        """The client wants to log in."""
        self._services += 1
        if not name.isprintable():
            raise ProtocolError(f"the name of a service is none: {name[:64]!r}")
        if name != SERVICE:
            raise ProtocolError(
                f"no service {name[:64]!r} here", reason=DisconnectReason.SERVICE_NOT_AVAILABLE
            )
        if self._services > SERVICE_REQUESTS:
            raise ProtocolError("too many service requests")
        self._transport.send(ServiceAccept(name))

    def authentication_message(self, number: int, payload: memoryview) -> None:
        """A request to log in, or an answer to questions: for the Authenticator, one at a time."""
        if not self._services:
            raise ProtocolError(f"authentication message {number} before its service")
        request = bytes(payload)
        if self._undecided:
            self._queue.append(request)
            if len(self._queue) > QUEUED_REQUESTS:
                raise ProtocolError("too many authentication requests at once")
            return
        self._undecided = True
        self._events.append(AuthenticationAsked(request))

    def answer_authentication(self, messages: tuple[Message, ...]) -> None:
        """Send the Authenticator's reply; the next request may come."""
        if self.closed:
            return
        if not self._undecided:
            raise UsageError("no authentication request is open")
        for message in messages:
            self._transport.send(message)
        self._undecided = False
        if self._queue:
            self._undecided = True
            self._events.append(AuthenticationAsked(self._queue.pop(0)))

    def send_authentication(self, message: Message) -> None:
        """Send a message on the side, such as a banner; the request stays open."""
        self._transport.send(message)

    def grant_authentication(self, user: str, method: str) -> None:
        """The Authenticator is satisfied: let the user in."""
        if self.closed:
            return
        if not self._undecided:
            raise UsageError("no authentication request is open")
        self._granted = (user, method)
        if not self._transport.holding:
            self._let_in()
            self._proceed()

    def _let_in(self) -> None:
        # SUCCESS is the last message without compression: it must not be held back by an
        # exchange, so a grant that falls into one waits as a whole.
        assert self._granted is not None
        user, method = self._granted
        self._granted = None
        self._undecided = False
        self._queue.clear()
        self._grace_at = None
        self._transport.send(UserauthSuccess())
        self._login_done()
        self._events.append(Authenticated(user, method))

    def new_keys(self, *, first: bool) -> None:
        """A grant that had to wait for new keys is carried out."""
        super().new_keys(first=first)
        if self._granted is not None:
            self._let_in()

    # Time

    def _own_deadline(self) -> float | None:
        return self._grace_at

    def _tick_own(self, now: float) -> None:
        if self._grace_at is not None and now >= self._grace_at:
            self._grace_at = None
            # R037: only this; who waits for an answer outside finds the connection closed.
            self._transport.fail(TimedOut("Timeout before authentication"))

    @property
    def awaiting_login(self) -> bool:
        """Whether nobody is logged in yet."""
        return self._transport.resting is not Phase.OPEN
