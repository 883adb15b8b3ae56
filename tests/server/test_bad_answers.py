# SPDX-License-Identifier: MIT
"""Functions that decide about logins may say anything: what is no answer is a no, and stands in the log."""

import asyncio
from typing import Any

import pytest
from tests.library import HOST_KEY, awaited, connecting, obey, serving

import tellin
from tellin.userauth.questions import Prompts

NO_PROMPTS: list[Any] = [
    ["Password: "],
    "Password: ",
    b"Password: ",
    [],
    5,
    [("Code: ", False)] * 100,
    [(5, False)],
    [(b"Code: ", False)],
    [("\ud800", False)],
    [("Code: ", "no")],
    [("Code: ", False, 1)],
    Prompts((("Code: ", False),) * 100),
    Prompts((("Code: ", False),), name="\ud800"),
    Prompts(((b"Code: ", False),)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("said", NO_PROMPTS, ids=lambda said: repr(said)[:40])
@awaited
async def test_what_a_dialogue_cannot_ask_is_a_refusal_and_is_logged(
    said: Any, wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(user: str, answers: tuple[str, ...] | None) -> Any:
        return said

    async def ask_later(user: str, answers: tuple[str, ...] | None) -> Any:
        await asyncio.sleep(0)
        return said

    async with serving(questions=ask_later if wait else ask, login_grace=None) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=(), questions=lambda *_: ["right"], login_timeout=None)
    assert "a function that decides about logins gave no answer" in caplog.text


@awaited
async def test_a_dialogue_may_tell_something_without_asking() -> None:
    told: list[str] = []

    def ask(user: str, answers: tuple[str, ...] | None) -> Any:
        return Prompts((), instruction="Welcome") if answers is None else answers == ()

    def hear(name: str, instruction: str, prompts: Any) -> list[str]:
        told.append(instruction)
        return []

    async with (
        serving(questions=ask) as server,
        connecting(server, keys=(), questions=hear) as connection,
    ):
        assert (await connection.run("status 0")).ok
    assert told == ["Welcome"]


@pytest.mark.parametrize(
    "given",
    [
        {"password": {"bob": b"pw"}},
        {"password": {"bob": None}},
        {"password": {"bob": "\ud800"}},
        {"password": {b"bob": "pw"}},
        {"password": "pw"},
        {"questions": [("Code: ", False)]},
        {"authorize": True},
    ],
    ids=str,
)
def test_what_decides_about_logins_is_looked_at_when_serving_begins(given: Any) -> None:
    with pytest.raises(tellin.UsageError) as caught:
        tellin.serve(host_keys=[HOST_KEY], session=obey, **given)
    assert "pw" not in str(caught.value)
    assert caught.value.__cause__ is None
