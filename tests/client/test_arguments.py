# SPDX-License-Identifier: MIT
"""Arguments that cannot be meant are told at once, by an error that says which."""

import math
from pathlib import Path
from typing import Any

import pytest
from tests.library import HOST_KEY, awaited, connected, connecting, serving

import tellin
from tellin import blocking


@pytest.mark.parametrize(
    "given",
    [
        {"connect_timeout": "x"},
        {"connect_timeout": -1},
        {"connect_timeout": math.nan},
        {"connect_timeout": True},
        {"login_timeout": "3"},
        {"login_timeout": -0.5},
        {"keepalive": "x"},
        {"keepalive": -1},
        {"user": 5},
        {"user": b"root"},
    ],
    ids=str,
)
def test_connect_looks_at_its_arguments_first(given: dict[str, Any]) -> None:
    options: dict[str, Any] = {"user": "x", "config": None, "host_keys": HOST_KEY.public} | given
    for connect in (tellin.connect, blocking.connect):
        with pytest.raises(tellin.UsageError, match=next(iter(given))):
            connect("127.0.0.1", **options)


def test_a_host_is_a_text() -> None:
    with pytest.raises(tellin.UsageError, match="host is a text"):
        tellin.connect(5)  # type: ignore[arg-type]


@awaited
async def test_r171_an_empty_user_is_not_the_one_who_runs_us(tmp_path: Path) -> None:
    empty = tmp_path / "config"
    empty.touch()
    async with serving() as server:
        for config in (None, empty):
            with pytest.raises(tellin.ConfigError, match="invalid user name '': it is empty"):
                await connecting(server, user="", config=config)


@pytest.mark.parametrize("seconds", ["3", -1, math.nan, False], ids=repr)
@awaited
async def test_a_time_limit_is_a_number_of_seconds(seconds: Any) -> None:
    async with connected() as connection:
        with pytest.raises(tellin.UsageError, match="timeout is a number of seconds"):
            await connection.run("status 0", timeout=seconds)
        async with connection.start("status 0") as process:
            with pytest.raises(tellin.UsageError, match="timeout is a number of seconds"):
                await process.wait(timeout=seconds)
            assert (await process.wait()).ok


@pytest.mark.parametrize(
    "env",
    [
        {"A": 1},
        {1: "a"},
        {"A=B": "c"},
        {"": "c"},
        {"A": "b\0"},
        {"A\0": "b"},
        {"A": "\ud800"},
        "A=b",
    ],
    ids=ascii,
)
@awaited
async def test_a_variable_has_a_name_and_a_text(env: Any) -> None:
    async with connected() as connection:
        with pytest.raises(tellin.UsageError, match=r"variable|env is a mapping") as caught:
            await connection.run("status 0", env=env)
        assert caught.value.__cause__ is None
        with pytest.raises(tellin.UsageError):
            await connection.start("status 0", env=env)
        assert (await connection.run("status 0", env={"A": "b=c"})).ok
