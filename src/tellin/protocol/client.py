# SPDX-License-Identifier: MIT
"""The client's core: checks the server, logs in, opens channels."""

from collections.abc import Sequence
from typing import Final

from tellin.connection.machine import ConnectionSettings
from tellin.errors import HostKeyRejected, ProtocolError, UsageError
from tellin.protocol.core import Core, KeepAlive
from tellin.protocol.events import Authenticated, AuthenticationReady, SignatureWanted
from tellin.transport.messages import ServiceRequest
from tellin.transport.settings import Settings
from tellin.transport.version import Role
from tellin.userauth.client import ClientAuthentication
from tellin.wire import Message

USERAUTH_SERVICE: Final = "ssh-userauth"
HOSTBOUND_EXTENSION: Final = "publickey-hostbound@openssh.com"
SIGNATURES_EXTENSION: Final = "server-sig-algs"


class ClientProtocol(Core):
    """One client's end. Verbs for logging in may be called from ExchangeDone on."""

    __slots__ = ("_authentication", "_refuse_trivial", "_service_granted")

    role = Role.CLIENT

    def __init__(
        self,
        settings: Settings,
        connection: ConnectionSettings | None = None,
        *,
        keepalive: KeepAlive | None = None,
        refuse_trivial: bool = False,
        frozen: bytes | None = None,
        now: float,
    ) -> None:
        super().__init__(
            settings, connection or ConnectionSettings(), keepalive or KeepAlive(), now=now
        )
        self._refuse_trivial = refuse_trivial
        self._authentication: ClientAuthentication | None = None
        self._service_granted = False
        if frozen is None:
            self._transport.start()
        else:
            self._thaw(frozen)
            self._service_granted = True

    def freeze(self) -> bytes:
        """The connection as data, for ``frozen`` of another core; only after login.

        Raises UsageError where that is impossible: during an exchange, while answers are due, and
        for good once compression has begun (zlib@openssh.com does when the login is granted).
        """
        if not self.authenticated:
            raise UsageError("a client's connection can be frozen only after login")
        return self._freeze(b"")

    # The server's identity

    def trust_host_key(self) -> None:
        """Answer HostKeyOffered with yes; the connection goes on."""
        self._transport.trust_host_key()
        self._proceed()

    def reject_host_key(self, error: HostKeyRejected) -> None:
        """Answer HostKeyOffered with no; the connection ends with ``error``."""
        self._transport.reject_host_key(error)

    # Logging in

    def new_keys(self, *, first: bool) -> None:
        """Ask for the authentication service with the same flight that ends the exchange."""
        super().new_keys(first=first)
        if not first:
            return
        self._authentication = ClientAuthentication(
            self.session_id, host_key_blob=self.host_key, refuse_trivial=self._refuse_trivial
        )
        self._transport.mark_round_trip_start()
        self._transport.send(ServiceRequest(USERAUTH_SERVICE))

    def service_accepted(self, name: str) -> None:
        """The answer to that."""
        if name != USERAUTH_SERVICE or self._service_granted:
            raise ProtocolError(f"the server grants a service we did not ask for: {name[:64]!r}")
        self._service_granted = True
        self._events.append(AuthenticationReady())

    @property
    def authentication(self) -> ClientAuthentication:
        """The authentication machine; what was tried and what is allowed stands there."""
        machine = self._authentication
        if machine is None:
            raise ProtocolError("no authentication before the first key exchange")
        machine.hostbound = self.peer_extensions.get(HOSTBOUND_EXTENSION) == b"0"
        return machine

    @property
    def server_signature_algorithms(self) -> tuple[str, ...] | None:
        """The signature algorithms that the server says it takes (RFC 8308), None if it does not say."""
        listed = self.peer_extensions.get(SIGNATURES_EXTENSION)
        return None if listed is None else tuple(listed.decode("ascii", "replace").split(","))

    def _send_authentication(self, message: Message | SignatureWanted | None) -> None:
        if isinstance(message, SignatureWanted):
            self._events.append(message)
        elif message is not None:
            # R017: nothing that logs in ever leaves without a cipher.
            if self._transport.keying.sending is None:
                raise ProtocolError("authentication before encryption")
            self._transport.send(message)

    def try_none(self, user: str) -> None:
        """Ask which methods there are."""
        self._send_authentication(self.authentication.try_none(user))

    def try_publickey(
        self, user: str, key_blob: bytes, algorithm: str, *, signed: bool, bound: bool = True
    ) -> None:
        """Offer a key; with ``signed`` a SignatureWanted follows at once, else the server's opinion.

        ``bound`` has the signature cover the host key too, if the server announced that it knows how.
        """
        self._send_authentication(
            self.authentication.try_publickey(
                user, key_blob, algorithm, signed=signed, bound=bound
            )
        )

    def try_password(self, user: str, password: str, new_password: str | None = None) -> None:
        """Log in by password."""
        self._send_authentication(self.authentication.try_password(user, password, new_password))

    def try_keyboard_interactive(self, user: str, submethods: str = "") -> None:
        """Ask the server for its questions."""
        self._send_authentication(self.authentication.try_keyboard_interactive(user, submethods))

    def answer_questions(self, answers: Sequence[str]) -> None:
        """Answer QuestionsAsked."""
        self._send_authentication(self.authentication.answer_questions(answers))

    def give_signature(self, signature: bytes | None) -> None:
        """Answer SignatureWanted; None gives this key up."""
        self._send_authentication(self.authentication.give_signature(signature))

    def authentication_message(self, number: int, payload: memoryview) -> None:
        """The server's word on our attempts."""
        if not self._service_granted:
            # Case 166: what grants a login before the service was granted is not our server.
            raise ProtocolError(f"authentication message {number} before its service was granted")
        for event in self.authentication.receive(payload):
            self._events.append(event)
            if isinstance(event, Authenticated):
                self._login_done()
