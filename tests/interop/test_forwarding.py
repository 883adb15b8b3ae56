# SPDX-License-Identifier: MIT
"""Forwarding beside OpenSSH's: ports and sockets of the file system, which way round the two may be."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import Running
from tests.interop.servers import Server
from tests.interop.target import free_port
from tests.library import awaited, pattern

import tellin
from tellin.errors import ChannelOpenFailureReason as Reason

# More than every buffer and window on the way together.
MUCH = pattern(24 << 20)


def echo(stream: socket.socket) -> None:
    """Send everything back, and the end behind it."""
    while data := stream.recv(65536):
        stream.sendall(data)


def late_echo(stream: socket.socket) -> None:
    """Send everything back once all of it is here: who cannot end one direction alone gets nothing."""
    data = b"".join(iter(lambda: stream.recv(65536), b""))
    stream.sendall(data)


@contextmanager
def service(
    serve: Callable[[socket.socket], object] = echo, path: Path | None = None
) -> Iterator[int]:
    """Serve each connection to a port, or to a socket at ``path``, in a thread of its own."""
    listening = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listening.bind(str(path) if path else ("127.0.0.1", 0))
    listening.listen(64)

    def one(stream: socket.socket) -> None:
        with stream, suppress(OSError):
            serve(stream)

    def accept() -> None:
        with suppress(OSError):
            while True:
                stream, _ = listening.accept()
                threading.Thread(target=one, args=(stream,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield 0 if path else listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def through(server: Server, **options: Any) -> Any:
    """The library's connection to a server."""
    target = server.target
    return tellin.connect(
        "127.0.0.1",
        **{"port": target.port}
        | {
            "user": target.user,
            "keys": [target.identity.path],
            "host_keys": [tellin.load_public_key(line) for line in target.host_keys],
            "config": None,
        }
        | options,
    )


# --- the library asks a server to connect


@pytest.mark.peer("sshd")
@awaited
async def test_a_library_reaches_a_port_behind_the_server_and_each_direction_ends_alone(
    running: Running,
) -> None:
    with service(late_echo) as port:
        async with (
            through(running("sshd")) as connection,
            connection.open_connection("127.0.0.1", port) as stream,
        ):
            await stream.write(MUCH[: 1 << 20])
            stream.writer.end()
            assert await stream.read() == MUCH[: 1 << 20]


@pytest.mark.peer("sshd")
@awaited
async def test_a_library_reaches_a_socket_of_the_servers_file_system(
    running: Running, home: Path
) -> None:
    with service(late_echo, home / "s"):
        async with (
            through(running("sshd")) as connection,
            connection.open_unix_connection(str(home / "s")) as stream,
        ):
            await stream.write(b"hello")
            stream.writer.end()
            assert await stream.read() == b"hello"


@pytest.mark.peer("sshd")
@awaited
async def test_a_library_hears_why_a_server_could_not_connect(running: Running) -> None:
    async with through(running("sshd")) as connection:
        with pytest.raises(tellin.ChannelRefused, match="Connection refused") as caught:
            await connection.open_connection("127.0.0.1", free_port())
        assert caught.value.code == Reason.CONNECT_FAILED
        assert (await connection.run("echo still here")).stdout == "still here\n"


@pytest.mark.peer("sshd")
@awaited
async def test_a_connection_runs_through_another_connection(running: Running) -> None:
    server = running("sshd")
    async with (
        through(server) as outer,
        through(server, sock=await outer.open_socket("127.0.0.1", server.port)) as inner,
    ):
        done = await inner.run("cat", input=MUCH, encoding=None)
        assert done.stdout == MUCH


@pytest.mark.peer("sshd")
def test_a_program_without_a_loop_reaches_what_is_behind_the_server(
    running: Running, home: Path
) -> None:
    target = running("sshd").target
    with (
        service(late_echo, home / "s"),
        service() as port,
        tellin.blocking.connect(
            "127.0.0.1",
            port=target.port,
            user=target.user,
            keys=[target.identity.path],
            host_keys=[tellin.load_public_key(line) for line in target.host_keys],
            config=None,
        ) as connection,
    ):
        with connection.open_unix_connection(str(home / "s")) as stream:
            stream.write(b"hello")
            stream.writer.close()
            assert stream.read() == b"hello"
        with connection.open_connection("127.0.0.1", port) as stream:
            stream.write(b"hello")
            assert stream.reader.readexactly(5) == b"hello"
        with connection.open_socket("127.0.0.1", port) as sock:
            pass
        assert sock.fileno() == -1
