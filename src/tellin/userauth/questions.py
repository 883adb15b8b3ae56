# SPDX-License-Identifier: MIT
"""What an ``Authenticator`` asks its server, the answers, the steps it takes, and what the log is told."""

from enum import Enum
from typing import ClassVar

from tellin.errors import UsageError
from tellin.keys import PublicKey
from tellin.keys.certificates import Certificate
from tellin.userauth.messages import MAXIMUM_PROMPTS
from tellin.userauth.policy import Policy
from tellin.userauth.text import escape_text
from tellin.wire import Message, Record

Shown = PublicKey | Certificate
"""What a client shows of its key: the key, or a certificate for it."""


# Answers


class Account(Record):
    """The answer to ``UserQuestion``; ``policy`` replaces the general one for this user."""

    known: bool
    policy: Policy | None = None


class Accepted(Record):
    """Yes; ``grant`` is what this factor allows, kept for ``Granted.factors`` as it is.

    The others are what the signature of a security key must say: that it was touched, that it
    knew by whom.
    """

    grant: object = None
    touch_required: bool = True
    verify_required: bool = False


class Refused(Record):
    """No; ``reason`` is for the log alone."""

    reason: str = ""


class ChangeWanted(Record):
    """The password is right and has run out: ask for a new one."""

    prompt: str


class Prompts(Record):
    """The next questions to the person: each a text, and whether the answer may be seen."""

    prompts: tuple[tuple[str, bool], ...]
    name: str = ""
    instruction: str = ""


Answer = Account | Accepted | Refused | ChangeWanted | Prompts


# Questions


class UserQuestion(Record):
    """Asked once, at the first request: is there such a user, and what must he show?"""

    answers: ClassVar[tuple[type[Record], ...]] = (Account,)
    user: str


class NoneQuestion(Record):
    """May this user in without anything? Asked only where the policy permits ``none``."""

    answers: ClassVar[tuple[type[Record], ...]] = (Accepted, Refused)
    user: str
    known: bool


class KeyQuestion(Record):
    """May this key log this user in? With ``probe`` nothing has been signed, and nothing is let in.

    Asked before the signature is looked at: what it says is not proven yet. A certificate comes as
    it was sent, and only where the policy lists its algorithms: nothing of it has been judged.
    """

    answers: ClassVar[tuple[type[Record], ...]] = (Accepted, Refused)
    user: str
    known: bool
    key: Shown
    algorithm: str
    probe: bool


class PasswordQuestion(Record, secret=("password", "new_password")):
    """Is this the password? With ``new_password`` it is also to be replaced."""

    answers: ClassVar[tuple[type[Record], ...]] = (Accepted, Refused, ChangeWanted)
    user: str
    known: bool
    password: str
    new_password: str | None


class PromptQuestion(Record, secret=("responses",)):
    """What is the person to be asked next? ``responses`` is None in the first round of a dialogue."""

    answers: ClassVar[tuple[type[Record], ...]] = (Accepted, Refused, Prompts)
    user: str
    known: bool
    device: str
    responses: tuple[str, ...] | None


class HostQuestion(Record):
    """Is this the key of ``host_name``, and may its ``client_user`` log in as ``user``?"""

    answers: ClassVar[tuple[type[Record], ...]] = (Accepted, Refused)
    user: str
    known: bool
    key: Shown
    algorithm: str
    host_name: str
    client_user: str


Question = (
    UserQuestion | NoneQuestion | KeyQuestion | PasswordQuestion | PromptQuestion | HostQuestion
)


# Steps


class Factor(Record):
    """One thing that was shown; ``key`` is the key that signed, and never one only asked about (R067).

    ``certificate`` is the one that it was shown by.
    """

    method: str
    device: str
    key: PublicKey | None
    grant: object
    certificate: Certificate | None = None


class Reply(Record):
    """Send these messages; none at all while requests wait for an answer.

    ``abandoned``, here and below: a dialogue was dropped by the client; free what holds it.
    """

    messages: tuple[Message, ...]
    abandoned: bool = False


class Ask(Record):
    """Send these messages, and give the question's answer to ``Authenticator.answer``."""

    question: Question
    messages: tuple[Message, ...] = ()
    abandoned: bool = False


class Granted(Record):
    """Send these messages, and let the user in; SUCCESS itself is the connection's to send.

    Every factor's grant holds: a session gets what all of them allow (R068).
    """

    user: str
    method: str
    factors: tuple[Factor, ...]
    messages: tuple[Message, ...] = ()
    abandoned: bool = False


Step = Reply | Ask | Granted


# For the log


class Outcome(Enum):
    """How a try ended, as OpenSSH's log calls it."""

    ACCEPTED = "Accepted"
    PARTIAL = "Partial"
    FAILED = "Failed"
    POSTPONED = "Postponed"


class Attempt(Record):
    """One try that ended, or that the client has to continue (POSTPONED)."""

    outcome: Outcome
    user: str
    known: bool
    method: str
    device: str = ""
    key: Shown | None = None
    reason: str = ""

    def sentence(self, source: str, *, fingerprint_hash: str = "sha256") -> str:
        """The line that filters of logs look for; ``source`` is ``ADDRESS port NUMBER``.

        Names are the peer's words: escaped, or one could hold a line of its own (R204).
        """
        method = escape_text(self.method)[:64]
        if self.device:
            method = f"{method}/{self.device}"
        whose = "" if self.known else "invalid user "
        line = (
            f"{self.outcome.value} {method} for {whose}{escape_text(self.user)[:100]}"
            f" from {source} ssh2"
        )
        if self.key is None:
            return line
        return f"{line}: {_described(self.key, fingerprint_hash)}"


def _described(key: Shown, fingerprint_hash: str) -> str:
    text = f"{key.kind} {key.fingerprint(fingerprint_hash)}"
    if isinstance(key, PublicKey):
        return text
    authority = key.authority
    return (
        f"{text} ID {escape_text(key.key_id)[:256]} (serial {key.serial})"
        f" CA {authority.kind} {authority.fingerprint(fingerprint_hash)}"
    )


def check_answer(question: Question, value: Record) -> None:
    """Raise UsageError where ``value`` cannot be the answer to ``question``."""
    if not isinstance(value, question.answers):
        names = ", ".join(kind.__name__ for kind in question.answers)
        raise UsageError(
            f"{type(question).__name__} is answered by {names}, not {type(value).__name__}"
        )
    if isinstance(value, Prompts) and len(value.prompts) > MAXIMUM_PROMPTS:
        raise UsageError(f"more than {MAXIMUM_PROMPTS} prompts at once")
