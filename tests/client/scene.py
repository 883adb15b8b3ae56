# SPDX-License-Identifier: MIT
"""A client that logs in, in memory, to a server whose every answer is written down beforehand."""

from collections.abc import Callable, Sequence
from typing import Any

from tellin.client.authentication.identities import KeySource
from tellin.client.authentication.login import Login, LoginPlan
from tellin.client.hosts.host_keys import HostKeyCheck, HostKeyPolicy
from tellin.client.hosts.records import HostPlace, MemoryRecords
from tellin.client.questions import HostKeyQuestion
from tellin.protocol import ClientProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationAsked,
    AuthenticationReady,
    AuthenticationRefused,
    ExchangeDone,
    HostKeyOffered,
    KeyAccepted,
    PasswordChangeAsked,
    QuestionsAsked,
    SignatureWanted,
)
from tellin.runtime.journal import DEBUG3, Journal
from tellin.testing.pairs import make_pair
from tellin.userauth.messages import (
    InfoRequest,
    InfoResponse,
    PasswordChangeRequest,
    PublicKeyOk,
    UserauthFailure,
    UserauthRequest,
    method_fields,
)
from tellin.wire import Message

GRANT = "grant"
Decision = tuple[Message, ...] | str


def no(*methods: str, partial: bool = False) -> Decision:
    return (UserauthFailure(methods, partial),)


def pk_ok(fields: Any) -> Decision:
    return (PublicKeyOk(fields.algorithm, fields.key_blob),)


def questions(*prompts: tuple[str, bool], name: str = "", instruction: str = "") -> Decision:
    return (InfoRequest(name, instruction, "", prompts),)


def change(prompt: str) -> Decision:
    return (PasswordChangeRequest(prompt, ""),)


class Answers:
    """A prompter with its answers ready; ``later`` keeps them until ``release``."""

    def __init__(self, *, later: bool = False) -> None:
        self.passwords: list[str | None] = []
        self.passphrases: list[bytes | None] = []
        self.new_passwords: list[tuple[str, str] | None] = []
        self.replies: list[Sequence[str] | None] = []
        self.host_key: Any = True
        self.asked: list[tuple[Any, ...]] = []
        self.later = later
        self._waiting: list[Callable[[], object]] = []

    def _answer(self, answer: Callable[[Any], object], value: Any) -> None:
        if self.later:
            self._waiting.append(lambda: answer(value))
        else:
            answer(value)

    def release(self) -> bool:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
        return bool(waiting)

    def confirm_host_key(
        self, question: HostKeyQuestion, answer: Callable[[bool], object]
    ) -> None:
        self.asked.append(("host key", question))
        self._answer(answer, self.host_key)

    def ask_passphrase(
        self, path: str, attempt: int, answer: Callable[[bytes | None], object]
    ) -> None:
        self.asked.append(("passphrase", path, attempt))
        self._answer(answer, self.passphrases.pop(0) if self.passphrases else None)

    def ask_password(
        self, user: str, host: str, attempt: int, answer: Callable[[str | None], object]
    ) -> None:
        self.asked.append(("password", user, host, attempt))
        self._answer(answer, self.passwords.pop(0) if self.passwords else None)

    def ask_new_password(
        self,
        user: str,
        host: str,
        prompt: str,
        answer: Callable[[tuple[str, str] | None], object],
    ) -> None:
        self.asked.append(("new password", prompt))
        self._answer(answer, self.new_passwords.pop(0) if self.new_passwords else None)

    def answer_questions(
        self,
        name: str,
        instruction: str,
        prompts: tuple[tuple[str, bool], ...],
        answer: Callable[[Sequence[str] | None], object],
    ) -> None:
        self.asked.append(("questions", name, instruction, prompts))
        value: Sequence[str] | None = ()
        if prompts:
            value = self.replies.pop(0) if self.replies else None
        self._answer(answer, value)


class Scene:
    """One login: the client's own parts around its core, and a script for the server's."""

    def __init__(
        self,
        *,
        keys: Sequence[KeySource] = (),
        script: Sequence[Decision | Callable[[Any], Decision]] = (),
        plan: dict[str, Any] | None = None,
        policy: HostKeyPolicy | None = HostKeyPolicy.OFF,
        records: str = "",
        place: HostPlace | None = None,
        answers: Answers | None = None,
        check: dict[str, Any] | None = None,
        **pair: Any,
    ) -> None:
        self.pair = make_pair(**pair)
        self.core: ClientProtocol = self.pair.client
        self.lines: list[str] = []
        self.journal = Journal(DEBUG3, self.lines.append)
        self.answers = answers or Answers()
        self.records = MemoryRecords(records)
        self.requests: list[tuple[str, Any]] = []
        self.script = list(script)
        self.login = Login(
            self.core,
            LoginPlan(user="user", host="host", **(plan or {})),
            keys=keys,
            prompter=self.answers,
            journal=self.journal,
        )
        self.check = HostKeyCheck(
            self.core,
            place or HostPlace("host"),
            policy=policy,
            records=self.records,
            prompter=self.answers,
            journal=self.journal,
            **(check or {}),
        )
        ours = self.pair.answers
        ours[HostKeyOffered] = lambda core, event: self.check.handle(event)
        for kind in (
            Authenticated,
            AuthenticationReady,
            AuthenticationRefused,
            ExchangeDone,
            KeyAccepted,
            PasswordChangeAsked,
            QuestionsAsked,
            SignatureWanted,
        ):
            ours[kind] = self._handle
        ours[AuthenticationAsked] = lambda core, event: self._decide(event.payload)

    def _handle(self, core: Any, event: Any) -> None:
        if core is self.core:
            self.login.handle(event)

    def _decide(self, payload: bytes) -> None:
        fields: Any
        if payload[0] == InfoResponse.number:
            method, fields = "responses", InfoResponse.decode(payload)
        else:
            request = UserauthRequest.decode(payload)
            method, fields = request.method, method_fields(request)
        self.requests.append((method, fields))
        decision = self.script.pop(0)
        if callable(decision):
            decision = decision(fields)
        if isinstance(decision, str):
            self.pair.server.grant_authentication("user", method)
        else:
            self.pair.server.answer_authentication(decision)

    def settle(self) -> None:
        """Answer all events that there are, without moving a byte."""
        while self.pair._dispatch():
            pass

    def play(self) -> "Scene":
        """Go on until nothing moves and nobody has an answer left."""
        self.pair.pump()
        while self.answers.release():
            self.pair.pump()
        return self

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.requests]

    @property
    def granted(self) -> bool:
        return self.core.authenticated

    def said(self, part: str) -> bool:
        return any(part in line for line in self.lines)
