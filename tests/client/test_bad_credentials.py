# SPDX-License-Identifier: MIT
"""What a program gives to log in with may be of the wrong kind: it hears so, at once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.library import HOST_KEY, USER_KEY, awaited, connecting, serving

import tellin
from tellin import blocking
from tellin.client.authentication.login import Login
from tellin.keys import PrivateKey, PublicKey


def dialogue(user: str, answers: tuple[str, ...] | None) -> Any:
    return [("Code: ", False)] if answers is None else answers == ("right",)


def right(user: str, password: str) -> bool:
    return password == "right"


def later(function: Callable[..., Any]) -> Any:
    async def ask(*words: Any) -> Any:
        await asyncio.sleep(0)
        return function(*words)

    return ask


@pytest.mark.parametrize(
    "given",
    [
        {"password": b"pw"},
        {"password": 5},
        {"password": "\ud800"},
        {"questions": "right"},
        {"questions": ["right"]},
        {"change_password": ("old", "new")},
        {"passphrase": 5},
    ],
    ids=str,
)
def test_a_credential_of_a_wrong_kind_is_refused_before_anything_is_done(given: Any) -> None:
    for connect in (tellin.connect, blocking.connect):
        with pytest.raises(tellin.UsageError) as caught:
            connect("127.0.0.1", config=None, user="x", host_keys=HOST_KEY.public, **given)
        assert "\ud800" not in str(caught.value)
        assert caught.value.__cause__ is None


WRONG_PASSWORDS: list[Any] = [b"right", 5, ["right"], "\ud800", True]
WRONG_ANSWERS: list[Any] = ["right", b"right", 5, [b"right"], [5], [], ["right"] * 2, ["\udc80"]]


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("said", WRONG_PASSWORDS, ids=repr)
@awaited
async def test_what_a_function_gives_for_a_password_is_looked_at(said: Any, wait: bool) -> None:
    def know() -> Any:
        return said

    for options in ({"password": right}, {"questions": dialogue}):
        async with serving(**options) as server:
            with pytest.raises(tellin.UsageError, match="a password"):
                await connecting(
                    server, keys=(), password=later(know) if wait else know, login_timeout=None
                )


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("said", WRONG_ANSWERS, ids=repr)
@awaited
async def test_what_a_function_answers_to_questions_is_looked_at(said: Any, wait: bool) -> None:
    def answer(*_question: Any) -> Any:
        return said

    async with serving(questions=dialogue) as server:
        with pytest.raises(tellin.UsageError, match="answer"):
            await connecting(
                server, keys=(), questions=later(answer) if wait else answer, login_timeout=None
            )


@awaited
async def test_another_way_in_may_do_where_an_answer_was_none() -> None:
    async with (
        serving(questions=dialogue, password=right) as server,
        connecting(
            server, keys=(), questions=lambda *_: [b"right"], password="right"
        ) as connection,
    ):
        assert (await connection.run("status 0")).ok


def test_the_blocking_connect_hears_of_it_too() -> None:
    with blocking.serve(
        host_keys=[HOST_KEY], questions=dialogue, session=lambda process: 0
    ) as server:
        options: Any = {"port": server.port, "host_keys": HOST_KEY.public, "config": None}
        options |= {"user": "x", "login_timeout": 50}
        with pytest.raises(tellin.UsageError, match="a password"):
            blocking.connect("127.0.0.1", password=lambda: b"right", **options)  # type: ignore[arg-type, return-value]
        with pytest.raises(tellin.UsageError, match="2 answers to 1 questions"):
            blocking.connect("127.0.0.1", questions=lambda *_: ["a", "b"], **options)


class Mumbling:
    """A token whose signature is none."""

    def __init__(self, key: PrivateKey) -> None:
        self.public: PublicKey = key.public

    def sign(self, data: bytes, algorithm: str) -> Any:
        return "a text"


@awaited
async def test_a_signature_that_is_no_bytes_ends_the_login() -> None:
    async with serving() as server:
        with pytest.raises((TypeError, AttributeError, tellin.UsageError)):
            await connecting(server, keys=[Mumbling(USER_KEY)], login_timeout=None)


@pytest.mark.parametrize(
    "error", [LookupError("broken"), tellin.UsageError("broken")], ids=lambda error: repr(error)
)
@awaited
async def test_whatever_is_raised_in_the_middle_of_a_login_comes_out_of_connect(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_words: Any) -> None:
        raise error

    monkeypatch.setattr(Login, "handle", broken)
    async with serving() as server:
        with pytest.raises(type(error), match="broken"):
            await connecting(server, login_timeout=None)
