# SPDX-License-Identifier: MIT
"""Arguments that cannot be meant are told at once, by an error that says which."""

import asyncio
import math
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.library import (
    HOST_KEY,
    OTHER_KEY,
    awaited,
    connected,
    connecting,
    pattern,
    serving,
)

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


@pytest.mark.parametrize("name", ["a;b", "$(id)", "-x", "a b", "a\x1bb", ""])
@awaited
async def test_r170_a_name_that_a_shell_could_take_for_more_is_refused(
    tmp_path: Path, name: str
) -> None:
    mark, config = tmp_path / "mark", tmp_path / "config"
    config.write_text(f'Match exec "touch {mark}"\n  StrictHostKeyChecking yes\n', "utf-8")
    with pytest.raises(tellin.ConfigError, match="invalid host name"):
        await tellin.connect(name, config=config)
    with pytest.raises(tellin.ConfigError, match="invalid user name"):
        await tellin.connect("127.0.0.1", user=name, config=config)
    assert not mark.exists()


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


class Halves:
    """A stream that is no socket: it has what a connection needs of one."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        for name in ("recv_into", "sendmsg", "shutdown", "fileno", "close"):
            setattr(self, name, getattr(sock, name))


@pytest.mark.parametrize("wrap", [lambda sock: sock, Halves], ids=["socket", "object"])
@awaited
async def test_a_connection_runs_inside_a_process_of_another_connection(wrap: Any) -> None:
    async def relay(process: tellin.ServerProcess[bytes]) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(process.command or ""))

        async def there() -> None:
            async for chunk in process.stdin.chunks():
                writer.write(chunk)
            writer.write_eof()

        task = asyncio.create_task(there())
        try:
            while data := await reader.read(65536):
                await process.stdout.write(data)
        finally:
            task.cancel()
            writer.close()
        return 0

    async with (
        serving() as target,
        connected(session=relay) as outer,
    ):
        ours, theirs = socket.socketpair()
        process = await outer.start(str(target.port), encoding=None, stdin=theirs, stdout=theirs)
        with theirs:
            async with connecting(target, sock=wrap(ours)) as inner:
                done = await inner.run("both 300000", encoding=None)
                assert (done.stdout, done.exit_status) == (pattern(300000), 3)
            await process.aclose()


@pytest.mark.parametrize("kind", ["process", "number", "stream"])
@awaited
async def test_what_no_connection_can_run_over_is_told(kind: str) -> None:
    async with connected() as connection:
        process = await connection.start("cat")
        given: Any = {"process": process, "number": 5, "stream": process.stdin}[kind]
        with pytest.raises(tellin.UsageError, match="is no connected socket") as caught:
            tellin.connect("127.0.0.1", sock=given, host_keys=HOST_KEY.public)
        assert "socket pair" in caught.value.hint
        await process.aclose()


@awaited
async def test_errors_and_names_speak_of_what_the_program_said(tmp_path: Path) -> None:
    async with serving(max_sessions=1) as server:
        for config in (None, tmp_path / "empty"):
            (tmp_path / "empty").touch()
            with pytest.raises(tellin.ConfigError, match=r"^Ciphers: unknown cipher 'nope'"):
                await connecting(server, ciphers="nope", config=config)
        # A key that was given is no record that could be removed.
        with pytest.raises(tellin.HostKeyChanged) as changed:
            await connecting(server, host_keys=OTHER_KEY.public)
        assert "record" not in changed.value.hint
        assert "give this key" in changed.value.hint
        # What is switched off is no advice.
        (tmp_path / "off").write_text("PubkeyAuthentication no\n")
        with pytest.raises(tellin.AuthenticationFailed) as refused:
            await connecting(server, config=tmp_path / "off", password="x")
        assert "would also take" not in refused.value.hint
        async with connecting(server) as connection:
            assert repr(connection) == "<Connection to someone@127.0.0.1>"
            assert repr(server) == f"<Server on port {server.port}, 1 connections, serving>"
            async with connection.start("cat") as process:
                with pytest.raises(tellin.ChannelRefused, match=r"^127\.0\.0\.1: ") as full:
                    await connection.run("status 0")
                assert "MaxSessions" in full.value.hint
                assert not process.stdin.is_closing()
                process.stdin.write_eof()
                assert process.stdin.is_closing()
                assert (await process.wait()).ok
        assert repr(connection) == "<Connection to someone@127.0.0.1, closed>"
