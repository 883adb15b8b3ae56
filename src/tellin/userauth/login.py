# SPDX-License-Identifier: MIT
"""What a server knows of one login: who, how far, how often; and the one place that lets in."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from tellin.errors import KeyFileError, ProtocolError
from tellin.keys import PublicKey
from tellin.keys.certificates import Certificate, inner_key, is_certificate_type
from tellin.userauth.messages import PASSWORD_METHODS, UserauthFailure
from tellin.userauth.policy import Policy, Progress
from tellin.userauth.questions import (
    Accepted,
    Answer,
    Ask,
    Attempt,
    Factor,
    Granted,
    Outcome,
    Question,
    Reply,
    Shown,
    Step,
)

# crypt(3) takes its time with a long password (CVE-2016-6515, R062).
MAXIMUM_PASSWORD: Final = 1024
MAXIMUM_USER_NAME: Final = 255


class State(Enum):
    """Whose turn it is."""

    READY = auto()  # the client's
    ASKING = auto()  # the server's: an answer
    PROMPTING = auto()  # the client's: a request, or the responses to our prompts
    GRANTED = auto()
    ENDED = auto()  # broken off; nothing more is processed


class Login:
    """The record that methods read and write; ``Authenticator`` feeds it."""

    def __init__(
        self, session_id: bytes, *, host_key_blob: bytes, policy: Policy, confidential: bool
    ) -> None:
        self.session_id = session_id
        self.host_key_blob = host_key_blob
        self.user = ""
        self.known = False
        self.failures = 0
        self.state = State.READY
        self.question: Question | None = None
        self.then: Callable[[Any], Step] | None = None
        self.attempts: list[Attempt] = []
        self.factors: list[Factor] = []
        # A key that we said would do, until the request that follows.
        self.offered: tuple[bytes, str] | None = None
        # The dialogue of keyboard-interactive: its submethod, and how many prompts are open.
        self.device = ""
        self.prompts = 0
        self._confidential = confidential
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Go by ``policy`` from the start."""
        methods = policy.methods
        if not self._confidential:
            # RFC 4252 section 8: no secret over a connection that anybody can read (case 134).
            methods = tuple(name for name in methods if name not in PASSWORD_METHODS)
        self.policy = policy
        self.progress = Progress(policy, methods)

    def ask(self, question: Question, then: Callable[[Any], Step]) -> Step:
        """Have ``question`` answered, and go on in ``then``."""
        self.question, self.then = question, then
        self.state = State.ASKING
        return Ask(question)

    def decide(
        self, method: str, answer: Answer, *, device: str = "", key: Shown | None = None
    ) -> Step:
        """Let in, or one step further, on a yes for a user who exists; nothing else does it."""
        if not isinstance(answer, Accepted) or not self.known:
            return self.fail(method, reason_of(answer), device=device, key=key)
        self.factors.append(
            Factor(
                method,
                device,
                None if key is None else inner_key(key),
                answer.grant,
                key if isinstance(key, Certificate) else None,
            )
        )
        if not self.progress.complete(method, device):
            self.note(Outcome.PARTIAL, method, device=device, key=key)
            return Reply((UserauthFailure(self.progress.methods(), partial_success=True),))
        self.note(Outcome.ACCEPTED, method, device=device, key=key)
        self.state = State.GRANTED
        return Granted(self.user, method, tuple(self.factors))

    def fail(
        self,
        method: str,
        reason: str,
        *,
        device: str = "",
        key: Shown | None = None,
        counted: bool = True,
    ) -> Step:
        """Say no, and which methods can continue."""
        self.failures += counted
        self.note(Outcome.FAILED, method, device=device, key=key, reason=reason)
        return Reply((UserauthFailure(self.progress.methods(), partial_success=False),))

    def note(
        self,
        outcome: Outcome,
        method: str,
        *,
        device: str = "",
        key: Shown | None = None,
        reason: str = "",
    ) -> None:
        """Keep a fact for the log."""
        self.attempts.append(Attempt(outcome, self.user, self.known, method, device, key, reason))

    def usable_key(self, blob: bytes, algorithm: str, accepted: tuple[str, ...]) -> Shown | str:
        """The key of a request, or its certificate, or why it cannot be one; never the end of the connection (R076)."""
        # The exact name: one ECDSA curve listed does not let in the others (R071).
        if algorithm not in accepted:
            return "algorithm not accepted"
        try:
            # What the name says it is, it must be: a certificate is never taken for its key.
            certified = is_certificate_type(algorithm)
            key: Shown = (Certificate if certified else PublicKey).from_blob(blob)
        except (KeyFileError, ProtocolError) as error:
            return str(error)
        # RSA with SHA-1 bears the key type's own name; it is here only if the policy names it.
        if algorithm not in key.signature_algorithms and algorithm != key.key_type:
            return "algorithm of another type of key"
        inner = inner_key(key)
        if inner.kind == "RSA" and inner.bits < self.policy.required_rsa_size:
            return "key too short"
        # "publickey,publickey" asks for two keys, not for one with and without its certificate.
        if any(factor.key == inner for factor in self.factors):
            return "key already used"
        return key

    def end(self) -> None:
        """Forget what was proven; nothing is processed any more."""
        self.state = State.ENDED
        self.question = self.then = None
        self.factors.clear()


def reason_of(answer: Answer, otherwise: str = "unknown user") -> str:
    """Why a no was said, for the log."""
    return getattr(answer, "reason", "") or otherwise


def plausible_name(name: str) -> bool:
    """Whether a name can be one: neither empty nor long, and nothing in it that does not print."""
    return bool(name) and len(name.encode("utf-8")) <= MAXIMUM_USER_NAME and name.isprintable()


def password_text(raw: bytes) -> str | None:
    """A password as text; None for what is not worth a hash."""
    # crypt(3) ends at a NUL: what follows would not count (case 133).
    if len(raw) > MAXIMUM_PASSWORD or b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
