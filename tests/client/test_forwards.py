# SPDX-License-Identifier: MIT
import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.library import (
    HOST_KEY,
    USER_KEY,
    awaited,
    connected,
    connecting,
    pattern,
    serving,
)

import tellin
from tellin.client import accepting
from tellin.client.forwarding import leading
from tellin.client.forwarding.leading import Leader
from tellin.client.forwarding.local_forwards import library_journal
from tellin.config.forwards import Forward
from tellin.runtime.gateways import LOOPBACK
from tellin.server.forwarding.forwarding import Forwarding, ForwardingRules
from tellin.server.serve import Server


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of the library lead wherever they are asked to, as sshd does."""

    def open_other(self: Server, connection: Any, event: Any) -> None:
        made = ForwardingRules("yes", "yes")
        loop = asyncio.get_running_loop()
        Forwarding(loop, connection, made, note=lambda level, line: None).asked(event)

    monkeypatch.setattr(Server, "open_other", open_other)


@pytest.fixture
def home() -> Iterator[Path]:
    """A place whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        yield Path(made)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A port where everything comes back."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def hears_a_reset(port: int) -> None:
    """Connect there, and hear nothing but that this was no use."""

    async def come() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await reader.read()
        finally:
            writer.close()

    with pytest.raises(ConnectionResetError):
        await come()


async def there_and_back(opened: Any, data: bytes) -> bytes:
    reader, writer = await opened
    writer.write(data)
    writer.write_eof()
    try:
        return await reader.read()  # type: ignore[no-any-return]
    finally:
        writer.close()


@awaited
async def test_a_port_here_leads_to_a_port_there(leads: None) -> None:
    async with echoing() as port, connected() as connection:
        async with connection.forward_local(0, "127.0.0.1", port) as forwarding:
            assert forwarding.port > 0
            assert not forwarding.closed
            data = pattern(3 << 20)
            for host in ("127.0.0.1", "::1"):
                opened = asyncio.open_connection(host, forwarding.port)
                assert await there_and_back(opened, data) == data
        assert forwarding.closed
        assert repr(forwarding) == f"<LocalForwarding at port {forwarding.port}, closed>"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", forwarding.port)


@awaited
async def test_sockets_of_both_file_systems_are_joined_and_ours_is_gone_in_the_end(
    leads: None, home: Path
) -> None:
    server = await asyncio.start_unix_server(echo, home / "there")
    async with server, connected() as connection:
        async with connection.forward_local(home / "here", home / "there") as forwarding:
            assert (forwarding.port, forwarding.path) == (0, str(home / "here"))
            assert (home / "here").stat().st_mode & 0o777 == 0o600
            opened = asyncio.open_unix_connection(str(home / "here"))
            assert await there_and_back(opened, b"hello") == b"hello"
        assert not (home / "here").exists()
        # What somebody else has put there since stays.
        forwarding = await connection.forward_local(str(home / "here"), str(home / "there"))
        (home / "here").unlink()
        (home / "here").write_text("not ours", "utf-8")
        await forwarding.aclose()
        assert (home / "here").read_text("utf-8") == "not ours"


SOCKS_4A = b"\4\1%b\0\0\0\1\0localhost\0"
SOCKS_5 = b"\5\1\0\5\1\0\3\x09localhost%b"


@pytest.mark.parametrize(
    ("words", "answer"),
    [(SOCKS_4A, b"\0\x5a" + bytes(6)), (SOCKS_5, b"\5\0\5\0\0\1" + bytes(6))],
    ids=["4a", "5"],
)
@awaited
async def test_a_proxy_leads_where_each_connection_says(
    words: bytes, answer: bytes, leads: None
) -> None:
    async with echoing() as port, connected() as connection, connection.socks() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(words % struct.pack(">H", port))
        assert await reader.readexactly(len(answer)) == answer
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


@awaited
async def test_whoever_cannot_be_led_on_hears_a_reset_and_a_proxy_says_no() -> None:
    """The library's own server leads nowhere."""
    async with connected() as connection:
        async with connection.forward_local(0, "127.0.0.1", 9) as forwarding:
            await hears_a_reset(forwarding.port)
        async with connection.socks() as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(SOCKS_5 % b"\0\x09")
            assert (await reader.read())[:4] == b"\5\0\5\5"
            writer.close()
        assert (await connection.run("say still here")).stdout == "still here"


@awaited
async def test_case_221_more_askers_than_there_is_room_for_are_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leading, "MOST_ASKING", 1)
    async with connected() as connection, connection.socks() as proxy:
        _, first = await asyncio.open_connection("127.0.0.1", proxy.port)
        await hears_a_reset(proxy.port)
        first.close()


@awaited
async def test_who_connects_is_let_through_by_the_programs_own_word(
    leads: None, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A function or a coroutine function gets address and port; nothing but True is a yes."""
    came: list[tuple[str, int]] = []
    answers: list[Any] = []

    def at_once(host: str, port: int) -> bool:
        came.append((host, port))
        if answers[0] is None:
            raise ValueError("no matter")
        return answers.pop(0)  # type: ignore[no-any-return]

    async def later(host: str, port: int) -> bool:
        await asyncio.sleep(0)
        return at_once(host, port)

    async with echoing() as port, connected() as connection:
        for accept in (at_once, later):
            async with (
                connection.forward_local(0, "127.0.0.1", port, accept=accept) as forwarding,
                connection.forward_local(home / "here", "127.0.0.1", port, accept=accept),
                connection.socks(accept=accept) as proxy,
            ):
                came.clear()
                answers[:] = [True, False, 1, True, False]
                reached = asyncio.open_connection("127.0.0.1", forwarding.port)
                assert await there_and_back(reached, b"hello") == b"hello"
                assert came[0][0] == "127.0.0.1"
                assert came[0][1] > 0
                await hears_a_reset(forwarding.port)
                await hears_a_reset(forwarding.port)
                reached = asyncio.open_unix_connection(str(home / "here"))
                assert await there_and_back(reached, b"hello") == b"hello"
                assert came[-1] == ("", 0)
                await hears_a_reset(proxy.port)
                answers[:] = [None]
                await hears_a_reset(forwarding.port)
        assert caplog.text.count("a function that accepts connections failed") == 2

        # Who waits for a word when it is over hears a reset, and so do more than may wait.
        async def never(host: str, port: int) -> bool:
            asked.set()
            await asyncio.get_running_loop().create_future()
            return True

        monkeypatch.setattr(accepting, "MOST_WAITING", 1)
        asked = asyncio.Event()
        async with connection.forward_local(0, "127.0.0.1", port, accept=never) as forwarding:
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarding.port)
            await asked.wait()
            await hears_a_reset(forwarding.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@awaited
async def test_the_end_of_the_connection_ends_what_is_listened_on_and_resets_who_was_led(
    leads: None,
) -> None:
    async with echoing() as port, serving() as server:
        connection = await connecting(server)
        forwarding = await connection.forward_local(0, "127.0.0.1", port)
        proxy = await connection.socks()
        led_reader, led = await asyncio.open_connection("127.0.0.1", forwarding.port)
        led.write(b"hello")
        assert await led_reader.readexactly(5) == b"hello"
        asking_reader, asking = await asyncio.open_connection("127.0.0.1", proxy.port)
        asking.write(b"\5")
        while not proxy.leader._asking:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        await server.aclose()
        await forwarding.wait_closed()
        assert isinstance(forwarding.error, tellin.ConnectionLost)
        assert forwarding.closed
        assert not connection.forwardings
        for reader in (led_reader, asking_reader):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        led.close()
        asking.close()
        with pytest.raises(tellin.ConnectionLost):
            await connection.forward_local(0, "127.0.0.1", port)


@awaited
async def test_what_is_closed_takes_nobody_more_and_leaves_those_who_were_led(leads: None) -> None:
    async with echoing() as port, connected() as connection:
        forwarding = await connection.forward_local(0, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarding.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        forwarding.close()
        forwarding.close()
        await forwarding.wait_closed()
        assert forwarding.error is None
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        writer.close()


@awaited
async def test_a_port_that_is_taken_on_one_address_is_not_listened_on_at_the_other() -> None:
    """Half of who come would reach somebody else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with connected() as connection:
            with pytest.raises(OSError, match=rf"\[127.0.0.1\]:{port}"):
                await connection.forward_local(port, "127.0.0.1", 9)
            with socket.socket(socket.AF_INET6) as free:
                free.bind(("::1", port))
            assert LOOPBACK == ("::1", "127.0.0.1")


@awaited
async def test_a_path_that_is_taken_and_a_name_that_nobody_knows_are_errors(home: Path) -> None:
    async with connected() as connection:
        (home / "here").write_text("", "utf-8")
        with pytest.raises(OSError, match="here"):
            await connection.forward_local(home / "here", "127.0.0.1", 9)
        with pytest.raises((OSError, tellin.ConnectFailed)):
            await connection.socks(listen_host="no-such.invalid")
        with pytest.raises((OSError, tellin.ConnectFailed)):
            await connection.socks(listen_host="198.51.100.7")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((-1, "a", 1), {}),
        ((65536, "a", 1), {}),
        ((True, "a", 1), {}),
        ((1.5, "a", 1), {}),
        ((None, "a", 1), {}),
        (("", "a", 1), {}),
        (("a\0b", "a", 1), {}),
        ((0, "a", 0), {}),
        ((0, "a", "1"), {}),
        ((0, "", 1), {}),
        ((0, b"a", 1), {}),
        ((0, ""), {}),
        ((0, 80), {}),
        (("/a", "a", 1), {"listen_host": "localhost"}),
        ((0, "a", 1), {"listen_host": 1}),
    ],
)
@awaited
async def test_what_is_no_place_is_an_error_at_once(words: Any, named: dict[str, Any]) -> None:
    async with connected() as connection:
        with pytest.raises(tellin.UsageError):
            connection.forward_local(*words, **named)


def test_threads_have_the_same(leads: None, home: Path) -> None:
    with (
        tellin.blocking.serve(
            port=0, host_keys=[HOST_KEY], authorized_keys=USER_KEY.public,
            session=lambda process: 0,
        ) as server,
        tellin.blocking.connect(
            "127.0.0.1", port=server.port, user="someone", keys=[USER_KEY], config=None,
            host_keys=HOST_KEY.public,
        ) as connection,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):  # fmt: skip
        port = listening.getsockname()[1]
        with connection.forward_local(home / "here", "127.0.0.1", port) as forwarding:
            assert forwarding.path == str(home / "here")
            with socket.socket(socket.AF_UNIX) as ours:
                ours.connect(forwarding.path)
                theirs, _ = listening.accept()
                with theirs:
                    ours.sendall(b"hello")
                    assert theirs.recv(5) == b"hello"
        assert forwarding.closed
        assert not os.path.lexists(home / "here")
        with connection.socks(listen_host="127.0.0.1") as proxy:
            assert (proxy.host, proxy.path, proxy.error) == ("127.0.0.1", "", None)
            assert proxy.port > 0
        proxy.wait_closed()


@awaited
async def test_who_comes_between_the_end_of_a_connection_and_word_of_it_hears_a_reset(
    leads: None,
) -> None:
    async with connected() as connection:
        leader = Leader(
            connection.loop, connection.core, connection.link, library_journal(), resets=True
        )
    assert connection.closed
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), timeout=60)
        theirs, address = listening.accept()
    with ours:
        leader.accept(Forward(None, 1, "", "127.0.0.1", 9, ""), theirs, address)
        with pytest.raises(ConnectionResetError):
            ours.recv(1)
    assert leader.open == 0
