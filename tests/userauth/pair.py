# SPDX-License-Identifier: MIT
"""Both halves of a login joined in memory, and a server's accounts to ask."""

from collections.abc import Callable
from functools import cache
from typing import Any

from tellin.errors import UsageError
from tellin.keys import PrivateKey
from tellin.userauth.client import ClientAuthentication
from tellin.userauth.events import SignatureWanted
from tellin.userauth.messages import UserauthRequest, UserauthSuccess
from tellin.userauth.policy import Policy
from tellin.userauth.questions import (
    Accepted,
    Account,
    Answer,
    Ask,
    Granted,
    HostQuestion,
    KeyQuestion,
    NoneQuestion,
    PasswordQuestion,
    PromptQuestion,
    Question,
    Refused,
    Reply,
    Step,
    UserQuestion,
)
from tellin.userauth.server import Authenticator
from tellin.wire import Message

SESSION = b"s" * 32
HOST_KEY = b"the host key's blob"
ALGORITHMS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")


@cache
def _key(number: int, kind: str) -> PrivateKey:
    return PrivateKey.generate(kind, comment=str(number))


def key(number: int = 0, kind: str = "ed25519") -> PrivateKey:
    return _key(number, kind)


def policy(**changes: Any) -> Policy:
    return Policy(**{"algorithms": ALGORITHMS, **changes})


class Backend:
    """Answers as a server with accounts would, and remembers what it was asked."""

    def __init__(self, *, users: dict[str, Policy | None] | None = None) -> None:
        self.users = {"alice": None} if users is None else users
        self.keys = {key().public.blob: "grant of key 0", key(1).public.blob: "grant of key 1"}
        self.password = "correct"
        self.prompts: Callable[[PromptQuestion], Answer] = lambda question: Refused()
        self.password_answer: Callable[[PasswordQuestion], Answer] | None = None
        self.none: Answer = Refused()
        self.host: Answer = Refused()
        self.asked: list[Question] = []

    def __call__(self, question: Question) -> Answer:
        self.asked.append(question)
        match question:
            case UserQuestion(user=user):
                return Account(user in self.users, self.users.get(user))
            case KeyQuestion():
                grant = self.keys.get(question.key.blob)
                return Refused("no such key") if grant is None else Accepted(grant)
            case PasswordQuestion():
                if self.password_answer is not None:
                    return self.password_answer(question)
                return Accepted("by password") if question.password == self.password else Refused()
            case PromptQuestion():
                return self.prompts(question)
            case NoneQuestion():
                return self.none
            case HostQuestion():
                return self.host
        raise AssertionError(question)

    def asked_about(self, kind: type) -> int:
        return sum(isinstance(question, kind) for question in self.asked)


class Server:
    """An authenticator with its backend: one payload in, all messages out."""

    def __init__(self, backend: Backend | None = None, **options: Any) -> None:
        self.backend = backend or Backend()
        given = {"host_key_blob": HOST_KEY, "policy": policy(), **options}
        self.authenticator = Authenticator(given.pop("session_id", SESSION), **given)
        self.granted: Granted | None = None

    def take(self, message: Message | bytes) -> list[Message]:
        payload = message if isinstance(message, bytes) else message.encode()
        step: Step = self.authenticator.receive(payload)
        sent = list(step.messages)
        while isinstance(step, Ask):
            step = self.authenticator.answer(self.backend(step.question))
            sent += step.messages
        if isinstance(step, Granted):
            self.granted = step
            sent.append(UserauthSuccess())
        else:
            assert isinstance(step, Reply)
        return sent


class Pair:
    """A client and a server: ``send`` carries a message over and brings the client's events back."""

    def __init__(self, backend: Backend | None = None, **options: Any) -> None:
        self.server = Server(backend, **options)
        self.client = ClientAuthentication(SESSION, host_key_blob=HOST_KEY)

    @property
    def granted(self) -> Granted | None:
        return self.server.granted

    def send(self, message: Message | SignatureWanted | None) -> list[Any]:
        if not isinstance(message, Message):
            raise UsageError(f"{message!r} is nothing to send")
        events: list[Any] = []
        for answer in self.server.take(message):
            events += self.client.receive(answer.encode())
        return events

    def probe(self, signer: PrivateKey, *, algorithm: str = "", user: str = "alice") -> list[Any]:
        algorithm = algorithm or signer.public.signature_algorithms[0]
        return self.send(
            self.client.try_publickey(user, signer.public.blob, algorithm, signed=False)
        )

    def sign(self, signer: PrivateKey, *, algorithm: str = "", user: str = "alice") -> list[Any]:
        algorithm = algorithm or signer.public.signature_algorithms[0]
        wanted = self.client.try_publickey(user, signer.public.blob, algorithm, signed=True)
        assert isinstance(wanted, SignatureWanted)
        return self.send(self.client.give_signature(signer.sign(wanted.data, algorithm)))


def request(
    fields: Message | bytes,
    *,
    method: str,
    user: str = "alice",
    service: str = "ssh-connection",
) -> UserauthRequest:
    data = fields if isinstance(fields, bytes) else fields.encode()
    return UserauthRequest(user, service, method, data)
