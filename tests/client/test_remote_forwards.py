# SPDX-License-Identifier: MIT
"""Places of a server that a program of ours has listened on: led to us, or taken as streams."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.test_forwards import echo, echoing, there_and_back
from tests.interop.test_forwarding import ask_by_socks
from tests.library import HOST_KEY, USER_KEY, awaited, connected, connecting, pattern, serving

import tellin
from tellin.client.forwarding import remote_forwardings
from tellin.connection import windows

ANY = {"permit_listen": ["any"], "permit_sockets": True}


@pytest.fixture
def home() -> Iterator[Path]:
    """A place whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        yield Path(made)


def opened(port: int) -> Any:
    return asyncio.open_connection("127.0.0.1", port)


@awaited
async def test_a_port_there_leads_to_a_port_here_until_it_is_closed() -> None:
    async with echoing() as port, connected(**ANY) as connection:
        async with connection.forward_remote(0, "127.0.0.1", port) as forwarding:
            assert forwarding.port > 0
            assert not forwarding.closed
            data = pattern(3 << 20)
            assert await there_and_back(opened(forwarding.port), data) == data
            # The second of one place is refused, and the first stays.
            with pytest.raises(tellin.RequestRefused, match="does not listen on port"):
                await connection.forward_remote(forwarding.port, "127.0.0.1", 9)
            assert await there_and_back(opened(forwarding.port), b"again") == b"again"
        assert forwarding.closed
        assert forwarding.error is None
        assert repr(forwarding) == f"<RemoteForwarding at port {forwarding.port}, closed>"
        with pytest.raises(ConnectionRefusedError):
            await opened(forwarding.port)
        # And it can be had again.
        async with connection.forward_remote(forwarding.port, "127.0.0.1", port) as again:
            assert await there_and_back(opened(again.port), b"hello") == b"hello"


@awaited
async def test_sockets_of_both_file_systems_are_joined(home: Path) -> None:
    server = await asyncio.start_unix_server(echo, home / "here")
    async with server, connected(**ANY) as connection:
        async with connection.forward_remote(home / "there", home / "here") as forwarding:
            assert (forwarding.port, forwarding.path) == (0, str(home / "there"))
            assert (home / "there").stat().st_mode & 0o777 == 0o600
            reached = asyncio.open_unix_connection(str(home / "there"))
            assert await there_and_back(reached, b"hello") == b"hello"
        assert not (home / "there").exists()


@awaited
async def test_without_a_target_each_connection_says_by_socks_where_it_wants_to_go() -> None:
    def ask(port: int, version: str, host: str, to: int) -> tuple[bytes, bytes]:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
            answer = ask_by_socks(stream, version, host, to)
            if answer[1] in {0, 0x5A}:
                # Both in one: what stands behind the request is not lost.
                stream.sendall(b"hello")
                stream.shutdown(socket.SHUT_WR)
            return answer[:2], b"".join(iter(lambda: stream.recv(65536), b""))

    async with (
        echoing() as port,
        connected(**ANY) as connection,
        connection.forward_remote() as proxy,
    ):
        for version, host, yes in (
            ("4", "127.0.0.1", b"\0\x5a"),
            ("4a", "localhost", b"\0\x5a"),
            ("5", "localhost", b"\x05\0"),
        ):
            found = await asyncio.to_thread(ask, proxy.port, version, host, port)
            assert found == (yes, b"hello")
        with socket.create_server(("127.0.0.1", 0)) as unused:
            nobody = unused.getsockname()[1]
        assert await asyncio.to_thread(ask, proxy.port, "4", "127.0.0.1", nobody) == (
            b"\0\x5b",
            b"",
        )
        assert await asyncio.to_thread(ask, proxy.port, "5", "no-such.invalid", 9) == (
            b"\x05\x05",
            b"",
        )
        # Nowhere but to the places that are given (PermitRemoteOpen).
        permitted = [f"127.0.0.1:{port}", "*.invalid:9"]
        async with connection.forward_remote(permit_open=permitted) as bounded:
            for version, host, to, answer in (
                ("4", "127.0.0.1", port, (b"\0\x5a", b"hello")),
                ("4", "127.0.0.1", nobody, (b"\0\x5b", b"")),
                ("5", "localhost", port, (b"\x05\x02", b"")),
            ):
                assert await asyncio.to_thread(ask, bounded.port, version, host, to) == answer
        for wrong in ("any", ["somewhere"], ["host:0"]):
            with pytest.raises(tellin.UsageError):
                connection.forward_remote(permit_open=wrong)
        with pytest.raises(tellin.UsageError, match="leads nowhere else"):
            connection.forward_remote(0, "127.0.0.1", port, permit_open=permitted)
        # One byte at a time, with more than the request in the last packet.
        reader, writer = await opened(proxy.port)
        request = b"\x04\x01" + port.to_bytes(2) + b"\x7f\0\0\1me\0"
        for byte in request[:-1]:
            writer.write(bytes((byte,)))
            await writer.drain()
        writer.write(request[-1:] + b"early")
        assert await reader.readexactly(8) == b"\0\x5a" + bytes(6)
        assert await reader.readexactly(5) == b"early"
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x04\x02\x00\x50\x7f\0\0\1\0",
        b"\x04\x01\x00\x50\x7f\0\0\1" + b"u" * 300,
        b"\x05\x01\x02",
        b"\x05\x01\x00\x05\x01\x00\x03\xff" + b"h" * 255 + b"\0\0",
        b"\x05\x01\x00\x05\x01\x00\x03\x02\xff\xff\0\x50",
    ],
)
@awaited
async def test_case_221_what_is_no_socks_is_closed_and_leaves_no_channel(data: bytes) -> None:
    async with connected(**ANY) as connection, connection.forward_remote() as proxy:
        reader, writer = await opened(proxy.port)
        writer.write(data)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert answer[-8:-6] != b"\0\x5a"
        writer.close()
        while connection.core.channels:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        assert connection.far is not None
        assert connection.far.led.open == 0


@awaited
async def test_what_comes_to_a_port_there_is_taken_as_streams() -> None:
    async with connected(**ANY) as connection, connection.listen() as listener:
        data = pattern(2 << 20)
        asking = asyncio.create_task(there_and_back(opened(listener.port), data))
        stream = await listener.accept()
        assert stream.origin[0] == "127.0.0.1"
        assert stream.origin[1] > 0
        await stream.write(await stream.read())
        await stream.aclose()
        assert await asking == data
        # One after the other, until it is closed.
        taken = []

        async def take() -> None:
            async for one in listener:
                async with one:
                    taken.append(await one.read())

        taking = asyncio.create_task(take())
        for word in (b"one", b"two", b"three"):
            await there_and_back(opened(listener.port), word)
        await listener.aclose()
        await taking
        assert taken == [b"one", b"two", b"three"]
        with pytest.raises(tellin.UsageError, match="closed"):
            await listener.accept()


@awaited
async def test_a_handler_gets_each_stream_and_its_failure_ends_that_one_alone(home: Path) -> None:
    async def handle(stream: tellin.Stream) -> None:
        if (data := await stream.read()) == b"fail":
            raise ValueError(data)
        await stream.write(data.upper())

    async with (
        connected(**ANY) as connection,
        connection.listen_unix(home / "s", handle) as listener,
    ):
        assert listener.path == str(home / "s")
        for word, answer in ((b"one", b"ONE"), (b"fail", b""), (b"two", b"TWO")):
            reached = asyncio.open_unix_connection(str(home / "s"))
            assert await there_and_back(reached, word) == answer


@awaited
async def test_who_is_not_taken_waits_and_is_sent_away_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_forwardings, "BACKLOG", 2)
    async with connected(**ANY) as connection:
        listener = await connection.listen()
        waiting = [await opened(listener.port) for _ in range(2)]
        while len(listener._waiting) < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        # One more than may wait.
        reader, writer = await opened(listener.port)
        assert await reader.read() == b""
        writer.close()
        async with await listener.accept() as stream:
            await stream.write(b"first")
        assert await waiting[0][0].read() == b"first"
        await listener.aclose()
        assert await waiting[1][0].read() == b""
        for _, one in waiting:
            one.close()


@awaited
async def test_when_the_connection_ends_whoever_waits_hears_why() -> None:
    async with serving(**ANY) as server:
        connection = await connecting(server)
        listener = await connection.listen()
        forwarding = await connection.forward_remote(0, "127.0.0.1", 9)
        accepting = asyncio.create_task(listener.accept())
        await asyncio.sleep(0)
        for one in list(server.connections):
            one.link.close()
        with pytest.raises(tellin.ConnectionLost):
            await accepting
        await forwarding.wait_closed()
        assert isinstance(forwarding.error, tellin.ConnectionLost)
        with pytest.raises(tellin.ConnectionLost):
            await connection.forward_remote(0, "127.0.0.1", 9)
        await connection.aclose()


@pytest.mark.parametrize(
    ("permit", "options", "allowed"),
    [
        ({}, "", False),
        ({"permit_open": ["any"]}, "", False),
        ({"permit_listen": ["localhost:PORT"]}, "", True),
        ({"permit_listen": ["PORT"]}, "", True),
        ({"permit_listen": ["127.0.0.1:*"]}, "", False),
        ({"permit_listen": ["localhost:9"]}, "", False),
        ({"permit_listen": ["any"]}, "restrict", False),
        ({"permit_listen": ["any"]}, 'permitlisten="localhost:9"', False),
        ({"permit_listen": ["any"]}, 'permitlisten="localhost:PORT"', True),
        ({"permit_listen": ["any"]}, 'command="true"', False),
        ({"permit_listen": ["any"]}, 'command="true",port-forwarding', True),
    ],
)
@awaited
async def test_r149_a_server_of_the_library_listens_only_where_it_and_the_key_permit(
    permit: dict[str, list[str]], options: str, allowed: bool, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {
        name: [one.replace("PORT", str(port)) for one in value] for name, value in permit.items()
    }
    file = tmp_path / "authorized_keys"
    file.write_text(f"{options.replace('PORT', str(port))} {USER_KEY.public.to_line()}\n".lstrip())
    async with (
        serving(authorized_keys=str(file), **given) as server,
        connecting(server) as connection,
    ):
        opening = connection.forward_remote(port, "127.0.0.1", 9)
        if allowed:
            async with opening as made:
                assert made.port == port
        else:
            with pytest.raises(tellin.RequestRefused):
                await opening
        # Whatever is forwarded, commands are another matter.
        assert not connection.closed


@awaited
async def test_r145_where_nothing_else_is_said_a_server_listens_for_its_own_machine_alone() -> (
    None
):
    async with connected(**ANY) as connection:
        for host in (None, "", "*", "0.0.0.0", "127.0.0.2"):  # noqa: S104 - what is asked for
            async with connection.listen(host) as listener:
                (await opened(listener.port))[1].close()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.2", listener.port)
    async with (
        connected(permit_listen=["127.0.0.2:*"]) as connection,
        connection.listen("127.0.0.2") as listener,
    ):
        (await asyncio.open_connection("127.0.0.2", listener.port))[1].close()
        with pytest.raises(ConnectionRefusedError):
            await opened(listener.port)


@awaited
async def test_r141_floods_both_ways_through_64_forwards_with_tiny_windows_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for ever, and what waits to be sent stays small."""
    for name in ("INITIAL_WINDOW", "LEAST_WINDOW"):
        monkeypatch.setattr(windows, name, 4096)
    monkeypatch.setattr(windows, "GROWTH", 1)
    data = bytes(60_000)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        taken = b""
        while piece := await reader.read(4096):
            taken += piece
            assert connection.core.unsent < 2 << 20
        await sending
        writer.close()
        return taken

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.append(await flood(reader, writer))

    there: list[bytes] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        connected(**ANY) as connection,
        connection.forward_remote(0, "127.0.0.1", server.sockets[0].getsockname()[1]) as made,
    ):
        streams = [await opened(made.port) for _ in range(64)]
        here = await asyncio.gather(*(flood(*one) for one in streams))
        while len(there) < 64:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        assert {channel.target for channel in connection.core.channels.values()} <= {4096}
    assert here == there == [data] * 64


@pytest.mark.parametrize("places", ["any", ["nowhere"], ["host:0"]])
def test_places_that_are_none_are_refused_at_once(places: Any) -> None:
    with pytest.raises(tellin.UsageError):
        tellin.serve(host_keys=[HOST_KEY], permit_listen=places)


def test_a_program_without_a_loop_has_the_server_listen(home: Path) -> None:
    def call(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
            stream.sendall(b"hello")
            stream.shutdown(socket.SHUT_WR)
            heard.append(stream.recv(64))

    heard: list[bytes] = []
    with (
        tellin.blocking.serve(
            host_keys=[HOST_KEY], authorized_keys=USER_KEY.public, **ANY
        ) as server,
        tellin.blocking.connect(
            "127.0.0.1", port=server.port, user="me", keys=[USER_KEY],
            host_keys=[HOST_KEY.public], config=None,
        ) as connection,
        connection.listen() as listener,
    ):  # fmt: skip
        for _ in range(2):
            calling = threading.Thread(target=call, args=(listener.port,), daemon=True)
            calling.start()
            with next(iter(listener)) as stream:
                stream.write(stream.read().upper())
            calling.join(60)
        with connection.forward_remote(0, "127.0.0.1", listener.port) as forwarding:
            calling = threading.Thread(target=call, args=(forwarding.port,), daemon=True)
            calling.start()
            with listener.accept() as stream:
                stream.write(b"through")
            calling.join(60)
        with connection.listen_unix(home / "s") as other:
            assert other.path == str(home / "s")
    assert heard == [b"HELLO", b"HELLO", b"through"]
