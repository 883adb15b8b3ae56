# SPDX-License-Identifier: MIT
"""The questions of a login in ssh's words; the terminal itself is tested with the programs."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tellin.client.authentication import asking
from tellin.client.authentication.asking import TerminalPrompter
from tellin.client.questions import HostKeyQuestion, Nobody
from tellin.keys import PrivateKey
from tellin.keys.pictures import randomart
from tellin.runtime.journal import INFO, Journal

KEY = PrivateKey.generate("ed25519").public


class Terminal:
    """Gives answers and remembers questions."""

    def __init__(self) -> None:
        self.answers: list[str | None] = []
        self.asked: list[tuple[str, bool]] = []
        self.lines: list[str] = []
        self.prompter = TerminalPrompter(Journal(INFO, self.lines.append), who="me@host")

    def __call__(self, prompt: str, *, echo: bool = False) -> str | None:
        self.asked.append((prompt, echo))
        return self.answers.pop(0) if self.answers else None


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal()
    monkeypatch.setattr(asking, "_ask", made)
    yield made
    assert not made.answers


def said(ask: Callable[[Callable[[Any], object]], object]) -> Any:
    answers: list[Any] = []
    ask(answers.append)
    assert len(answers) == 1
    return answers[0]


def question(**changes: Any) -> HostKeyQuestion:
    return HostKeyQuestion(
        **{
            "host": "host",
            "address": "192.0.2.1",
            "key": KEY,
            "fingerprint": KEY.fingerprint(),
            "elsewhere": (),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (["yes"], True),
        ([" YES "], True),
        ([KEY.fingerprint()], True),
        (["no"], False),
        ([None], False),
        (["y", "SHA256:something", "yes"], True),
        ([""], False),
        (["true", "no"], False),
    ],
)
def test_only_yes_or_the_fingerprint_lets_a_host_in(
    terminal: Terminal, answers: list[str | None], outcome: bool
) -> None:
    terminal.answers = list(answers)
    assert said(lambda done: terminal.prompter.confirm_host_key(question(), done)) is outcome
    assert terminal.asked[0] == (
        (
            "The authenticity of host 'host (192.0.2.1)' can't be established.\n"
            f"ED25519 key fingerprint is {KEY.fingerprint()}.\n"
            "This key is not known by any other names.\n"
            "Are you sure you want to continue connecting (yes/no/[fingerprint])? "
        ),
        True,
    )
    assert terminal.asked[1:] == [("Please type 'yes', 'no' or the fingerprint: ", True)] * (
        len(answers) - 1
    )


def test_other_names_of_a_host_are_mentioned(terminal: Terminal) -> None:
    terminal.answers = ["no"]
    asked = question(elsewhere=("file:1: other\x1b[2J",))
    said(lambda done: terminal.prompter.confirm_host_key(asked, done))
    prompt, _ = terminal.asked[0]
    assert "names/addresses:\n    file:1: other\\033[2J\n" in prompt


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (["yes"], True),
        (["no"], False),
        ([""], False),
        ([None], False),
        (["SHA256:x", "YES"], True),
    ],
)
def test_a_key_that_is_another_than_the_address_s_is_asked_about_by_yes_and_no(
    terminal: Terminal, answers: list[str | None], wanted: bool
) -> None:
    terminal.answers = [*answers]
    asked = question(conflict="file\x1b[2J:3", known="file:1")
    assert said(lambda done: terminal.prompter.confirm_host_key(asked, done)) is wanted
    assert [prompt for prompt, _ in terminal.asked] == [
        (
            "Warning: the ED25519 host key for 'host' differs from the key for the IP address"
            " '192.0.2.1'\n"
            "Offending key for IP in file\\033[2J:3\n"
            "Matching host key in file:1\n"
            "Are you sure you want to continue connecting (yes/no)? "
        ),
        *["Please type 'yes' or 'no': "] * (len(answers) - 1),
    ]


def test_a_picture_of_the_key_is_drawn_where_it_is_wanted(terminal: Terminal) -> None:
    terminal.answers = ["no"]
    prompter = TerminalPrompter(Journal(), who="me@host", visual=True)
    said(lambda done: prompter.confirm_host_key(question(), done))
    assert randomart(KEY) in terminal.asked[0][0]


def test_a_passphrase_keeps_its_bytes(terminal: Terminal) -> None:
    terminal.answers = ["p\udcffss", None]
    prompter = terminal.prompter
    assert said(lambda done: prompter.ask_passphrase("/k\x07", 1, done)) == b"p\xffss"
    assert said(lambda done: prompter.ask_passphrase("/k", 1, done)) is None
    assert terminal.asked[0] == ("Enter passphrase for key '/k\\007': ", False)


def test_a_password_is_text_whatever_the_terminal_speaks(terminal: Terminal) -> None:
    terminal.answers = ["plain", "caf\u00e9", "caf\udce9", None]
    for wanted in ("plain", "caf\u00e9", "caf\u00e9", None):
        assert said(lambda done: terminal.prompter.ask_password("me", "host", 1, done)) == wanted
    assert terminal.asked[0] == ("me@host's password: ", False)


def test_a_new_password_is_asked_for_twice(terminal: Terminal) -> None:
    terminal.answers = ["old", "new", "other", "new", "new"]

    def ask(done: Callable[[Any], object]) -> None:
        terminal.prompter.ask_new_password("me", "host", "It has run out.\x07", done)

    assert said(ask) == ("old", "new")
    assert terminal.lines == ["It has run out.\\007", "Mismatch; try again, EOF to quit."]
    assert [prompt for prompt, _ in terminal.asked[:3]] == [
        "Enter me@host's old password: ",
        "Enter me@host's new password: ",
        "Retype me@host's new password: ",
    ]
    for answers in ([None], ["old", None], ["old", ""], ["old", "new", None]):
        terminal.answers = list(answers)
        assert said(ask) is None


def test_the_server_s_questions_are_shown_safely_and_marked(terminal: Terminal) -> None:
    terminal.answers = ["one", "two"]
    prompts = (("Code\x1b[1m: ", False), ("Colour: ", True))
    answers = said(
        lambda done: terminal.prompter.answer_questions("Name\x07", "a\nb\x07", prompts, done)
    )
    assert answers == ["one", "two"]
    assert terminal.asked == [("(me@host) Code\\033[1m: ", False), ("(me@host) Colour: ", True)]
    assert terminal.lines == ["Name\\007", "a", "b\\007"]
    assert said(lambda done: terminal.prompter.answer_questions("", "", prompts, done)) is None


def test_nobody_answers_nothing() -> None:
    nobody = Nobody()
    assert said(lambda done: nobody.confirm_host_key(question(), done)) is False
    assert said(lambda done: nobody.ask_passphrase("/k", 1, done)) is None
    assert said(lambda done: nobody.ask_password("me", "host", 1, done)) is None
    assert said(lambda done: nobody.ask_new_password("me", "host", "", done)) is None
    assert said(lambda done: nobody.answer_questions("", "", (("x", True),), done)) is None
    assert said(lambda done: nobody.answer_questions("", "", (), done)) == ()
