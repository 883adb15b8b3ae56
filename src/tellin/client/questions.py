# SPDX-License-Identifier: MIT
"""What a client must ask somebody: an interface whose answers come at once or later."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from tellin.keys.public import PublicKey
from tellin.wire import Record

T = TypeVar("T")

Answer = Callable[[T], object]
"""Called once, from inside the question or at any time after it."""

Prompts = tuple[tuple[str, bool], ...]
"""Each a text and whether the answer may be seen while it is typed."""


class HostKeyQuestion(Record):
    """A host that shows a key nobody has recorded for it; or, with a ``conflict``, for its address."""

    host: str  # as known_hosts would name it
    address: str
    key: PublicKey
    fingerprint: str
    elsewhere: tuple[str, ...]  # where this same key stands under other names
    in_dns: bool | None = None  # whether the DNS has the key; None if it was not asked
    conflict: str = ""  # the line that has another key for the address (CheckHostIP)
    known: str = ""  # and the one that has this key for the host, if there is one

    @property
    def warning(self) -> tuple[str, ...]:
        """What is to be said of a conflict."""
        lines = (
            (
                f"Warning: the {self.key.kind} host key for '{self.host}' differs from the key"
                f" for the IP address '{self.address}'"
            ),
            f"Offending key for IP in {self.conflict}",
        )
        return (*lines, f"Matching host key in {self.known}") if self.known else lines


class Prompter(Protocol):
    """Whoever answers: a person at a terminal, a program's callbacks, nobody.

    None says that there is no answer: the thing is given up. The texts are the server's where
    they are said to be, not yet escaped.
    """

    def confirm_host_key(self, question: HostKeyQuestion, answer: Answer[bool]) -> None:
        """Whether this is the right key; only True lets it in."""

    def ask_passphrase(self, path: str, attempt: int, answer: Answer[bytes | None]) -> None:
        """The passphrase of a key file; ``attempt`` counts from 1."""

    def ask_password(self, user: str, host: str, attempt: int, answer: Answer[str | None]) -> None:
        """The user's password."""

    def ask_new_password(
        self, user: str, host: str, prompt: str, answer: Answer[tuple[str, str] | None]
    ) -> None:
        """The old password and a new one; ``prompt`` is the server's word on it."""

    def answer_questions(
        self,
        name: str,
        instruction: str,
        prompts: Prompts,
        answer: Answer[Sequence[str] | None],
    ) -> None:
        """One answer for each of the server's prompts, of which there may be none."""


class Nobody:
    """Answers nothing: what BatchMode asks for, and what a library does without callbacks."""

    def confirm_host_key(self, question: HostKeyQuestion, answer: Answer[bool]) -> None:
        """No."""
        answer(False)

    def ask_passphrase(self, path: str, attempt: int, answer: Answer[bytes | None]) -> None:
        """None is known."""
        answer(None)

    def ask_password(self, user: str, host: str, attempt: int, answer: Answer[str | None]) -> None:
        """None is known."""
        answer(None)

    def ask_new_password(
        self, user: str, host: str, prompt: str, answer: Answer[tuple[str, str] | None]
    ) -> None:
        """None is known."""
        answer(None)

    def answer_questions(
        self,
        name: str,
        instruction: str,
        prompts: Prompts,
        answer: Answer[Sequence[str] | None],
    ) -> None:
        """No questions need no answers; others get none."""
        answer(None if prompts else ())
