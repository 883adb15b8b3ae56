# SPDX-License-Identifier: MIT
"""The server's half of the authentication protocol: decides, and asks whoever knows the accounts."""

from collections import deque
from typing import Final

from tellin.errors import DisconnectReason, ProtocolError, UsageError
from tellin.userauth.login import Login, State, plausible_name
from tellin.userauth.messages import (
    NONE,
    SERVICE,
    InfoResponse,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    UserauthBanner,
    UserauthRequest,
    method_fields,
)
from tellin.userauth.methods import METHODS, none, respond
from tellin.userauth.policy import Policy, plain_method
from tellin.userauth.questions import (
    Account,
    Answer,
    Ask,
    Attempt,
    Reply,
    Step,
    UserQuestion,
    check_answer,
)
from tellin.wire import Cursor, Message

# Requests and responses of one connection, whatever becomes of them (R065).
MAXIMUM_REQUESTS: Final = 128
# RFC 4252 section 5 lets a client send requests without waiting; how many of them wait here.
MAXIMUM_QUEUE: Final = 16
MAXIMUM_QUEUE_BYTES: Final = 65536


class Authenticator:
    """One connection's login: payloads and answers in, steps out.

    It keeps its own record of session, host key and user, so that it can run in another process
    than the connection and need not believe it: a signature counts only over what is recorded here
    (R081). Whatever ends the connection is a ProtocolError, and after it nothing is processed.
    ``policy`` is the general one, and the only one that users who do not exist meet unless the
    answer to ``UserQuestion`` brings another.
    """

    def __init__(
        self,
        session_id: bytes,
        *,
        host_key_blob: bytes,
        policy: Policy,
        confidential: bool = True,
    ) -> None:
        self._login = Login(
            session_id, host_key_blob=host_key_blob, policy=policy, confidential=confidential
        )
        self._user: str | None = None
        self._requests = 0
        self._queue: deque[bytes] = deque()
        self._queued = 0

    @property
    def user(self) -> str | None:
        """The name that the client gave; None before it gave one."""
        return self._user

    @property
    def known(self) -> bool:
        """Whether there is such a user."""
        return self._login.known

    @property
    def state(self) -> State:
        """Whose turn it is."""
        return self._login.state

    def receive(self, payload: bytes | memoryview) -> Step:
        """Take a message of the client, numbered 50 to 79."""
        if self._login.state is State.ENDED:
            raise ProtocolError("the login was broken off")
        try:
            return self._receive(payload)
        except ProtocolError:
            self._end()
            raise

    def answer(self, value: Answer) -> Step:
        """The answer to the question asked last; requests that waited for it are processed."""
        login = self._login
        question, then = login.question, login.then
        if login.state is not State.ASKING or question is None or then is None:
            raise UsageError("no question is open")
        check_answer(question, value)
        login.question = login.then = None
        login.state = State.READY
        try:
            return self._drain(then(value))
        except ProtocolError:
            self._end()
            raise

    def attempts(self) -> list[Attempt]:
        """What was tried since the last call, for the log; also what preceded a ProtocolError."""
        attempts, self._login.attempts = self._login.attempts, []
        return attempts

    def _receive(self, payload: bytes | memoryview) -> Step:
        number = Cursor(payload).byte()
        state = self._login.state
        if number == UserauthRequest.number:
            if state is State.GRANTED:
                # RFC 4252 section 5.1: ignored silently (case 165).
                return Reply(())
            return self._keep(bytes(payload)) if state is State.ASKING else self._request(payload)
        if number == InfoResponse.number and state is State.PROMPTING:
            return self._responses(payload)
        # SUCCESS from a client is the key to every door in CVE-2018-10933 (R018, case 157).
        raise ProtocolError(f"message {number} is not for a server, or out of turn")

    def _keep(self, payload: bytes) -> Step:
        self._queued += len(payload)
        if len(self._queue) >= MAXIMUM_QUEUE or self._queued > MAXIMUM_QUEUE_BYTES:
            raise ProtocolError("too many authentication requests at once")
        self._queue.append(payload)
        return Reply(())

    def _drain(self, step: Step) -> Step:
        while self._queue and isinstance(step, Reply):
            payload = self._queue.popleft()
            self._queued -= len(payload)
            before = step
            step = self._request(payload)
            step.messages = before.messages + step.messages
            step.abandoned = step.abandoned or before.abandoned
        if not isinstance(step, Ask):
            self._queue.clear()
        return step

    def _request(self, payload: bytes | memoryview) -> Step:
        # Everything is read to its last byte before the user is looked at: a malformed request
        # ends alike for users who exist and who do not (CVE-2018-15473, R060).
        self._count()
        request = UserauthRequest.decode(payload)
        fields = method_fields(request)
        if self._user is None:
            return self._first(request, fields)
        if request.user != self._user or request.service != SERVICE:
            # What was proven for one user must not serve another (R066).
            raise ProtocolError("change of username or service not allowed")
        return self._judge(request, fields)

    def _count(self) -> None:
        self._requests += 1
        if self._requests > MAXIMUM_REQUESTS:
            raise ProtocolError("too many authentication requests")

    def _first(self, request: UserauthRequest, fields: Message | None) -> Step:
        if request.service != SERVICE:
            raise ProtocolError(
                f"service {request.service[:64]!r} is not available",
                reason=DisconnectReason.SERVICE_NOT_AVAILABLE,
            )
        login = self._login
        self._user = login.user = request.user

        def admit(account: Account) -> Step:
            login.known = account.known
            if account.policy is not None:
                login.adopt(account.policy)
            step = self._judge(request, fields)
            if login.policy.banner:
                step.messages = (UserauthBanner(login.policy.banner, ""), *step.messages)
            return step

        if not plausible_name(request.user):
            # No account has such a name: nobody is asked about it, now or later.
            return admit(Account(known=False))
        return login.ask(UserQuestion(request.user), admit)

    def _judge(self, request: UserauthRequest, fields: Message | None) -> Step:
        login = self._login
        abandoned = self._settle(fields)
        if login.failures >= login.policy.maximum_tries:
            raise ProtocolError("Too many authentication failures")
        method = plain_method(request.method)
        handler = METHODS.get(method)
        if not plausible_name(login.user):
            step = login.fail(method, "not a user name")
        elif method == NONE:
            step = none(login, first=self._requests == 1)
        elif handler is None or fields is None or method not in login.progress.methods():
            # Only what the list says is reachable; no other backend is called (R089).
            step = login.fail(method, "not offered")
        else:
            step = handler(login, fields)
        step.abandoned = abandoned
        return step

    def _settle(self, fields: Message | None) -> bool:
        """Count what the last request left open: whether a dialogue was dropped.

        A probe that no signature follows is a try like any other, and so is a dialogue without an
        end (R065, case 146).
        """
        login = self._login
        abandoned = login.state is State.PROMPTING
        login.state = State.READY
        offered, login.offered = login.offered, None
        if abandoned or (offered is not None and offered != _signer(fields)):
            login.failures += 1
        return abandoned

    def _responses(self, payload: bytes | memoryview) -> Step:
        self._count()
        given = InfoResponse.decode(payload).responses
        if len(given) != self._login.prompts:
            raise ProtocolError(f"{len(given)} responses to {self._login.prompts} prompts")
        self._login.state = State.READY
        return respond(self._login, given)

    def _end(self) -> None:
        self._login.end()
        self._queue.clear()


def _signer(fields: Message | None) -> tuple[bytes, str] | None:
    """Whose signature a request carries, and by which algorithm."""
    if isinstance(fields, (SignedPublicKeyFields, SignedHostBoundFields)):
        return fields.key_blob, fields.algorithm
    return None
