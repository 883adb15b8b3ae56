# SPDX-License-Identifier: MIT
"""The client's half of the authentication protocol (RFC 4252 section 5; RFC 4256)."""

from collections.abc import Callable, Sequence
from typing import Final

from tellin.errors import AuthenticationFailed, DisconnectReason, ProtocolError, UsageError
from tellin.userauth.events import (
    Authenticated,
    AuthenticationRefused,
    Banner,
    ClientEvent,
    KeyAccepted,
    PasswordChangeAsked,
    QuestionsAsked,
    SignatureWanted,
)
from tellin.userauth.messages import (
    HOST_BASED,
    HOST_BOUND,
    KEYBOARD_INTERACTIVE,
    NONE,
    PASSWORD,
    PUBLIC_KEY,
    SERVICE,
    HostBasedFields,
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveFields,
    NoneFields,
    PasswordChangeFields,
    PasswordChangeRequest,
    PasswordFields,
    PublicKeyFields,
    PublicKeyOk,
    SignedHostBasedFields,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
    UserauthSuccess,
    host_based_signed_data,
    signed_data,
)
from tellin.wire import Cursor, Message, Record, string
from tellin.wire.states import State

# A server that answers every try with FAILURE must not keep us busy for ever (R085).
MAXIMUM_TRIES: Final = 64
# Rounds of questions, and banners, in one login: the same server with other means.
MAXIMUM_ROUNDS: Final = 64
MAXIMUM_BANNERS: Final = 64


class Waiting(State):
    """Whose turn it is."""

    FOR_TRY = "the caller, and nothing is under way"
    FOR_SIGNATURE = "the caller: give_signature"
    FOR_ANSWERS = "the caller: answer_questions"
    FOR_REPLY = "the server"
    NO_MORE = "nobody: the user is in"


class _Attempt(Record, secret=("finish",)):
    """One try: by which method, whether it asks only, and whether it proves anything."""

    user: str
    method: str
    key_blob: bytes = b""
    algorithm: str = ""
    probe: bool = False
    proof: bool = False
    finish: Callable[[bytes], Message] | None = None


class ClientAuthentication:
    """The client's authentication: verbs return what is to be sent, ``receive`` says what happened.

    One request is outstanding at most. ``hostbound`` is set once the server's extension
    ``publickey-hostbound@openssh.com`` has been seen; ``host_key_blob`` is that of the first exchange.
    """

    def __init__(
        self,
        session_id: bytes,
        *,
        host_key_blob: bytes = b"",
        hostbound: bool = False,
        refuse_trivial: bool = False,
    ) -> None:
        self.session_id = session_id
        self.host_key_blob = host_key_blob
        self.hostbound = hostbound
        self.refuse_trivial = refuse_trivial
        self.waiting = Waiting.FOR_TRY
        self.allowed: tuple[str, ...] = ()
        self._attempt: _Attempt | None = None
        self._user: str | None = None
        self._tried: dict[str, None] = {}
        self._tries = 0
        self._rounds = 0
        self._banners = 0
        self._prompts = 0
        self._accepted: tuple[bytes, str] | None = None
        self._keys: set[tuple[bytes, str, bool]] = set()
        self._proved = False

    @property
    def tried(self) -> tuple[str, ...]:
        """The methods tried so far, in order."""
        return tuple(self._tried)

    # Verbs

    def try_none(self, user: str) -> Message:
        """Ask which methods can continue (RFC 4252 section 5.2)."""
        attempt = self._begin(_Attempt(user, NONE))
        return self._request(attempt, NoneFields())

    def try_publickey(
        self, user: str, key_blob: bytes, algorithm: str, *, signed: bool, bound: bool = True
    ) -> Message | SignatureWanted:
        """Offer a key: without signature ask whether it would do, with one log in.

        A signed try returns what is to be signed; the message comes from ``give_signature``. The
        signature covers the server's host key too where the server takes that, unless not ``bound``.
        """
        tried = (key_blob, algorithm, signed)
        if tried in self._keys:
            # CVE-2026-59849: a client that offers the same key again can be kept doing so.
            raise UsageError(f"this key was already tried with {algorithm}")
        fields = PublicKeyFields(signed=signed, algorithm=algorithm, key_blob=key_blob)
        attempt = _Attempt(user, PUBLIC_KEY, key_blob, algorithm, probe=not signed)
        # A signature that follows the server's yes belongs to the same try.
        again = signed and self._accepted == (key_blob, algorithm)
        self._begin(attempt, counted=not again)
        self._keys.add(tried)
        if not signed:
            return self._request(attempt, fields)
        host_key_blob = self.host_key_blob if self.hostbound and bound else None

        def finish(signature: bytes) -> Message:
            if host_key_blob is None:
                return self._request(
                    attempt, SignedPublicKeyFields(True, algorithm, key_blob, signature=signature)
                )
            return self._request(
                attempt,
                SignedHostBoundFields(
                    True, algorithm, key_blob, host_key_blob, signature=signature
                ),
                method=HOST_BOUND,
            )

        data = signed_data(
            self.session_id,
            user=user,
            algorithm=algorithm,
            key_blob=key_blob,
            host_key_blob=host_key_blob,
        )
        return self._want_signature(attempt, data, finish)

    def try_hostbased(
        self, user: str, key_blob: bytes, algorithm: str, *, host_name: str, client_user: str
    ) -> SignatureWanted:
        """Let this machine's host key vouch for ``client_user`` (RFC 4252 section 9)."""
        fields = HostBasedFields(algorithm, key_blob, host_name, client_user)
        attempt = _Attempt(user, HOST_BASED, key_blob, algorithm)
        self._begin(attempt)

        def finish(signature: bytes) -> Message:
            return self._request(
                attempt,
                SignedHostBasedFields(
                    algorithm, key_blob, host_name, client_user, signature=signature
                ),
            )

        data = host_based_signed_data(self.session_id, user=user, fields=fields)
        return self._want_signature(attempt, data, finish)

    def give_signature(self, signature: bytes | None) -> Message | None:
        """The signature blob that was wanted; None gives the try up, and nothing is sent."""
        attempt = self._attempt
        if self.waiting is not Waiting.FOR_SIGNATURE or attempt is None or attempt.finish is None:
            raise UsageError("no signature is wanted")
        if signature is None:
            # Nothing was sent: a token that was not touched in time may be asked again.
            self._keys.discard((attempt.key_blob, attempt.algorithm, True))
            self._attempt = None
            self.waiting = Waiting.FOR_TRY
            return None
        attempt.proof = True
        return attempt.finish(signature)

    def try_password(self, user: str, password: str, new_password: str | None = None) -> Message:
        """Log in by password, and replace it where ``new_password`` is given."""
        attempt = self._begin(_Attempt(user, PASSWORD, proof=True))
        old = password.encode("utf-8")
        if new_password is None:
            return self._request(attempt, PasswordFields(changing=False, password=old))
        return self._request(
            attempt, PasswordChangeFields(True, old, new_password=new_password.encode("utf-8"))
        )

    def try_keyboard_interactive(self, user: str, submethods: str = "") -> Message:
        """Ask to be asked; ``submethods`` is a hint for the server, separated by commas."""
        attempt = self._begin(_Attempt(user, KEYBOARD_INTERACTIVE))
        return self._request(
            attempt, KeyboardInteractiveFields(language="", submethods=submethods.encode("utf-8"))
        )

    def answer_questions(self, answers: Sequence[str]) -> Message:
        """The answers to the questions asked last, one for each."""
        if self.waiting is not Waiting.FOR_ANSWERS or self._attempt is None:
            raise UsageError("no questions are open")
        if len(answers) != self._prompts:
            raise UsageError(f"{len(answers)} answers to {self._prompts} questions")
        if any(answers):
            self._attempt.proof = True
        self.waiting = Waiting.FOR_REPLY
        return InfoResponse(tuple(answer.encode("utf-8") for answer in answers))

    # What the server says

    def receive(self, payload: bytes | memoryview) -> list[ClientEvent]:
        """Take a message of the server, numbered 50 to 79. Raises ProtocolError where it is out of turn."""
        number = Cursor(payload).byte()
        handler = _HANDLERS.get(number)
        if handler is None:
            raise ProtocolError(f"message {number} is not for a client that logs in")
        if self.waiting is Waiting.NO_MORE:
            # A second SUCCESS, or a banner that would pose as the session's output (case 173).
            raise ProtocolError(f"authentication message {number} after the login")
        return handler(self, payload)

    def _banner(self, payload: bytes | memoryview) -> list[ClientEvent]:
        message = UserauthBanner.decode(payload)
        self._banners += 1
        if self._banners > MAXIMUM_BANNERS:
            raise ProtocolError(f"more than {MAXIMUM_BANNERS} banners")
        return [Banner(message.text)]

    def _failure(self, payload: bytes | memoryview) -> list[ClientEvent]:
        message = UserauthFailure.decode(payload)
        attempt = self._take_outstanding("FAILURE")
        if message.partial_success and attempt.proof:
            self._proved = True
        self.allowed = message.methods
        return [AuthenticationRefused(message.methods, message.partial_success)]

    def _success(self, payload: bytes | memoryview) -> list[ClientEvent]:
        UserauthSuccess.decode(payload)
        # CVE-2023-46446 and its kin: nobody is in who did not ask (R022, case 166).
        attempt = self._take_outstanding("SUCCESS")
        if attempt.probe:
            # RFC 4252 section 7: the answer to a key without a signature is PK_OK or FAILURE.
            raise ProtocolError("SUCCESS for a key that has signed nothing")
        if self.refuse_trivial and not (attempt.proof or self._proved):
            # CVE-2021-36369: what asks for a passphrase after this is no longer the login (R023).
            raise ProtocolError(
                f"the server let us in by {attempt.method} without any proof",
                reason=DisconnectReason.AUTH_CANCELLED_BY_USER,
                hint="a server that needs none may be posing; allow trivial logins if it is yours",
            )
        self.waiting = Waiting.NO_MORE
        return [Authenticated(attempt.user, attempt.method)]

    def _method_message(self, payload: bytes | memoryview) -> list[ClientEvent]:
        """Message 60 means another thing in each method (RFC 4250 section 4.1.2)."""
        attempt = self._take_outstanding("message 60")
        reader = _METHOD_MESSAGES.get(attempt.method)
        if reader is None:
            raise ProtocolError(f"message 60 has no meaning in method {attempt.method}")
        return reader(self, attempt, payload)

    def _key_ok(self, attempt: _Attempt, payload: bytes | memoryview) -> list[ClientEvent]:
        message = PublicKeyOk.decode(payload)
        if not attempt.probe:
            raise ProtocolError("PK_OK for a signed request")
        # Servers from before RFC 8332 name the key's type instead of the algorithm we asked about.
        named = message.algorithm == attempt.algorithm or attempt.key_blob.startswith(
            string(message.algorithm.encode())
        )
        if message.key_blob != attempt.key_blob or not named:
            raise ProtocolError("PK_OK for another key than the one offered")
        self._accepted = (attempt.key_blob, attempt.algorithm)
        return [KeyAccepted(attempt.key_blob, attempt.algorithm)]

    def _password_change(
        self, _attempt: _Attempt, payload: bytes | memoryview
    ) -> list[ClientEvent]:
        return [PasswordChangeAsked(PasswordChangeRequest.decode(payload).prompt)]

    def _questions(self, attempt: _Attempt, payload: bytes | memoryview) -> list[ClientEvent]:
        message = InfoRequest.decode(payload)
        self._rounds += 1
        if self._rounds > MAXIMUM_ROUNDS:
            raise ProtocolError(f"more than {MAXIMUM_ROUNDS} rounds of questions")
        self._attempt = attempt
        self._prompts = len(message.prompts)
        self.waiting = Waiting.FOR_ANSWERS
        return [QuestionsAsked(message.name, message.instruction, message.prompts)]

    # The one attempt under way

    def _begin(self, attempt: _Attempt, *, counted: bool = True) -> _Attempt:
        if self.waiting in {Waiting.FOR_REPLY, Waiting.NO_MORE}:
            raise UsageError("a request is outstanding, or the user is in already")
        if self._user not in {None, attempt.user}:
            raise UsageError("a connection logs in one user; servers end it at a second name")
        if counted:
            if self._tries >= MAXIMUM_TRIES:
                raise AuthenticationFailed(
                    f"the server refused {self._tries} tries",
                    tried=self.tried,
                    allowed=self.allowed,
                )
            self._tries += 1
        self._user = attempt.user
        self._tried[attempt.method] = None
        # RFC 4252 section 5.1: a new request ends a dialogue that is still open.
        self._attempt = attempt
        self._accepted = None
        return attempt

    def _want_signature(
        self, attempt: _Attempt, data: bytes, finish: Callable[[bytes], Message]
    ) -> SignatureWanted:
        attempt.finish = finish
        self.waiting = Waiting.FOR_SIGNATURE
        return SignatureWanted(attempt.key_blob, attempt.algorithm, data)

    def _request(self, attempt: _Attempt, fields: Message, *, method: str = "") -> Message:
        self.waiting = Waiting.FOR_REPLY
        return UserauthRequest(attempt.user, SERVICE, method or attempt.method, fields.encode())

    def _take_outstanding(self, what: str) -> _Attempt:
        attempt = self._attempt
        if self.waiting is not Waiting.FOR_REPLY or attempt is None:
            raise ProtocolError(f"{what} without a request")
        self._attempt = None
        self.waiting = Waiting.FOR_TRY
        return attempt


_HANDLERS: Final[
    dict[int, Callable[[ClientAuthentication, bytes | memoryview], list[ClientEvent]]]
] = {
    51: ClientAuthentication._failure,
    52: ClientAuthentication._success,
    53: ClientAuthentication._banner,
    60: ClientAuthentication._method_message,
}

_METHOD_MESSAGES: Final[
    dict[
        str,
        Callable[[ClientAuthentication, _Attempt, bytes | memoryview], list[ClientEvent]],
    ]
] = {
    PUBLIC_KEY: ClientAuthentication._key_ok,
    PASSWORD: ClientAuthentication._password_change,
    KEYBOARD_INTERACTIVE: ClientAuthentication._questions,
}
