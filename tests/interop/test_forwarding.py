# SPDX-License-Identifier: MIT
"""Forwarding beside OpenSSH's: ports and sockets of the file system, which way round the two may be."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.interop.children import descendants
from tests.interop.conftest import Make, Running
from tests.interop.pairs import ALL_SERVERS, pairs
from tests.interop.peers import Client
from tests.interop.servers import Account, Server
from tests.interop.target import Target, free_port
from tests.library import awaited, pattern

import tellin
from tellin.connection.forwarding import direct_target
from tellin.errors import ChannelOpenFailureReason as Reason

# More than every buffer and window on the way together.
MUCH = pattern(24 << 20)


EITHER_SERVER = pytest.mark.parametrize(
    "name", [pytest.param("sshd", marks=pytest.mark.peer("sshd")), "tellin"]
)


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


def set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


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


@EITHER_SERVER
@awaited
async def test_a_library_reaches_a_port_behind_the_server_and_each_direction_ends_alone(
    name: str, running: Running
) -> None:
    with service(late_echo) as port:
        async with (
            through(running(name)) as connection,
            connection.open_connection("127.0.0.1", port) as stream,
        ):
            await stream.write(MUCH[: 1 << 20])
            stream.writer.end()
            assert await stream.read() == MUCH[: 1 << 20]


@EITHER_SERVER
@awaited
async def test_a_library_reaches_a_socket_of_the_servers_file_system(
    name: str, running: Running, home: Path
) -> None:
    with service(late_echo, home / "s"):
        async with (
            through(running(name)) as connection,
            connection.open_unix_connection(str(home / "s")) as stream,
        ):
            await stream.write(b"hello")
            stream.writer.end()
            assert await stream.read() == b"hello"


@EITHER_SERVER
@awaited
async def test_a_library_hears_why_a_server_could_not_connect(name: str, running: Running) -> None:
    async with through(running(name)) as connection:
        with pytest.raises(tellin.ChannelRefused, match="Connection refused") as caught:
            await connection.open_connection("127.0.0.1", free_port())
        assert caught.value.code == Reason.CONNECT_FAILED
        assert (await connection.run("echo still here")).stdout == "still here\n"


@EITHER_SERVER
@awaited
async def test_a_connection_runs_through_another_connection(name: str, running: Running) -> None:
    server = running(name)
    async with (
        through(server) as outer,
        through(server, sock=await outer.open_socket("127.0.0.1", server.port)) as inner,
    ):
        done = await inner.run("cat", input=MUCH, encoding=None)
        assert done.stdout == MUCH


@EITHER_SERVER
def test_a_program_without_a_loop_reaches_what_is_behind_the_server(
    name: str, running: Running, home: Path
) -> None:
    target = running(name).target
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


# --- what a server allows, beside what OpenSSH's does

NO = Reason.ADMINISTRATIVELY_PROHIBITED, "open failed"
# What OpenSSH 9.2 says of sockets instead.
OTHER_NO = Reason.CONNECT_FAILED, "open failed"
# Options of the server, options of the key, and what comes of a port and of a socket.
CASES: list[tuple[dict[str, str], str, object, object]] = [
    ({}, "", "hello", "hello"),
    ({"AllowTcpForwarding": "no"}, "", NO, NO),
    ({"AllowTcpForwarding": "remote"}, "", NO, NO),
    ({"AllowTcpForwarding": "local"}, "", "hello", "hello"),
    ({"AllowStreamLocalForwarding": "no"}, "", "hello", NO),
    ({"AllowStreamLocalForwarding": "remote"}, "", "hello", NO),
    ({"AllowStreamLocalForwarding": "local"}, "", "hello", "hello"),
    ({"DisableForwarding": "yes"}, "", NO, NO),
    ({"PermitOpen": "none"}, "", NO, NO),
    ({"PermitOpen": "127.0.0.1:PORT"}, "", "hello", NO),
    ({"PermitOpen": "127.0.0.1:*"}, "", "hello", NO),
    ({"PermitOpen": "[127.0.0.1]:PORT"}, "", "hello", NO),
    ({"PermitOpen": "localhost:PORT other:*"}, "", NO, NO),
    ({"PermitOpen": "*:PORT"}, "", "hello", NO),
    ({"PermitOpen": "127.0.0.1:9"}, "", NO, NO),
    ({"Match": "all\n AllowTcpForwarding no"}, "", NO, NO),
    ({"AllowTcpForwarding": "no", "Match": "all\n AllowTcpForwarding yes"}, "", "hello", "hello"),
    ({"Match": "user nobody-of-this-name\n DisableForwarding yes"}, "", "hello", "hello"),
    ({"Match": "all\n DisableForwarding yes"}, "", NO, NO),
    ({"Match": "all\n PermitOpen 127.0.0.1:9"}, "", NO, NO),
    ({"Match": "all\n AllowStreamLocalForwarding no"}, "", "hello", NO),
    ({}, "restrict", NO, NO),
    ({}, "no-port-forwarding", NO, NO),
    ({}, "restrict,port-forwarding", "hello", "hello"),
    ({}, 'permitopen="127.0.0.1:PORT"', "hello", NO),
    ({}, 'permitopen="127.0.0.1:*"', "hello", NO),
    ({}, 'permitopen="localhost:PORT"', NO, NO),
    ({}, 'restrict,permitopen="127.0.0.1:PORT"', NO, NO),
    ({}, 'restrict,port-forwarding,permitopen="127.0.0.1:PORT"', "hello", NO),
    ({"PermitOpen": "127.0.0.1:9"}, 'permitopen="127.0.0.1:PORT"', NO, NO),
    ({"DisableForwarding": "yes"}, "port-forwarding", NO, NO),
]


async def outcome(opening: Any) -> object:
    """What comes of a connection: an echo, or why there is none."""
    try:
        async with opening as stream:
            await stream.write(b"hello")
            stream.writer.end()
            return (await stream.read()).decode()
    except tellin.ChannelRefused as refused:
        return refused.code, refused.description


def allow(server: Server, options: str) -> None:
    """Let the key in with these options alone."""
    (server.directory / "authorized_keys").write_text(
        f"{options} {server.identity.public}\n".lstrip(), "ascii"
    )


def forbidding(
    name: str, options: dict[str, str], folder: Path, port: int, keys: str = ""
) -> Server:
    """A server with these options, where PORT is ``port``, and a key with these."""
    given = {one: value.replace("PORT", str(port)) for one, value in options.items()}
    server = ALL_SERVERS[name](folder, options=given).start()
    allow(server, keys.replace("PORT", str(port)))
    return server


@pytest.mark.sampled(2)
@EITHER_SERVER
@pytest.mark.parametrize(("options", "keys", "ports", "sockets"), CASES)
@awaited
async def test_r110_where_clients_may_be_led_to(  # noqa: PLR0917
    name: str,
    options: dict[str, str],
    keys: str,
    ports: object,
    sockets: object,
    tmp_path: Path,
    home: Path,
) -> None:
    with service() as port, service(path=home / "s"):
        server = forbidding(name, options, tmp_path, port, keys)
        try:
            async with through(server) as connection:
                found = (
                    await outcome(connection.open_connection("127.0.0.1", port)),
                    await outcome(connection.open_unix_connection(str(home / "s"))),
                )
                # Whatever is forwarded, commands are another matter.
                assert (await connection.run("echo hello")).stdout == "hello\n"
        finally:
            server.stop()
        if name == "sshd" and found[1] == OTHER_NO:
            found = found[0], NO
        assert found == (ports, sockets)


@pytest.mark.parametrize(
    ("options", "keys", "ports", "sockets"),
    [
        ({"ForceCommand": "/bin/cat"}, "", NO, NO),
        ({"ForceCommand": "/bin/cat", "AllowTcpForwarding": "yes"}, "", "hello", NO),
        ({"Match": "all\n ForceCommand /bin/cat\n AllowTcpForwarding local"}, "", "hello", NO),
        ({}, 'command="/bin/cat"', NO, NO),
        ({}, 'command=""', NO, NO),
        ({}, 'command="/bin/cat",port-forwarding', "hello", "hello"),
        ({}, 'command="/bin/cat",permitopen="127.0.0.1:PORT"', "hello", NO),
        ({}, 'permitopen="127.0.0.1:PORT",command="/bin/cat",no-port-forwarding', NO, NO),
    ],
)
@awaited
async def test_r149_beside_a_forced_command_nothing_is_forwarded_unless_that_is_said(  # noqa: PLR0917
    options: dict[str, str],
    keys: str,
    ports: object,
    sockets: object,
    tmp_path: Path,
    home: Path,
) -> None:
    with service() as port, service(path=home / "s"):
        server = forbidding("tellin", options, tmp_path, port, keys)
        try:
            async with through(server) as connection:
                assert await outcome(connection.open_connection("127.0.0.1", port)) == ports
                opening = connection.open_unix_connection(str(home / "s"))
                assert await outcome(opening) == sockets
        finally:
            server.stop()


@EITHER_SERVER
@awaited
async def test_names_are_looked_up_on_the_server_and_one_that_nobody_knows_is_refused(
    name: str, running: Running
) -> None:
    with service() as port:
        async with through(running(name)) as connection:
            assert await outcome(connection.open_connection("localhost", port)) == "hello"
            code, _ = await outcome(connection.open_connection("no-such.invalid", port))  # type: ignore[misc]
            assert code == Reason.CONNECT_FAILED


@pytest.mark.parametrize("path", ["relative", "/" + "x" * 200, "/a\0b", "/no/such/socket", ""])
@awaited
async def test_case_182_a_path_that_is_no_socket_is_refused(path: str, running: Running) -> None:
    async with through(running("tellin")) as connection:
        found = await outcome(connection.open_unix_connection(path))
        assert isinstance(found, tuple)
        assert found[0] == Reason.CONNECT_FAILED
        assert (await connection.run("echo alive")).stdout == "alive\n"


@pytest.mark.parametrize("host", ["a\0b", "x" * 3000, "\x1b[2J", "", "-v"])
@awaited
async def test_case_219_a_host_that_cannot_be_one_is_refused(host: str, running: Running) -> None:
    # Somebody listens on that port: what is refused is the name.
    with service() as port:
        async with through(running("tellin")) as connection:
            found = await outcome(connection.open_connection(host, port))
            assert isinstance(found, tuple)
            assert found[0] == Reason.CONNECT_FAILED
            assert (await connection.run("echo alive")).stdout == "alive\n"
    assert "\x1b" not in running("tellin").log()


@pytest.mark.parametrize("port", [0, 65536, 70000, 2**32 - 1])
@awaited
async def test_case_177_a_port_that_is_none_is_refused(port: int, running: Running) -> None:
    target = direct_target("127.0.0.1", port, "")
    async with through(running("tellin")) as connection:
        with pytest.raises(tellin.ChannelRefused) as caught:
            await connection._open_stream(*target)
        assert caught.value.code == Reason.CONNECT_FAILED


@awaited
async def test_a_peer_that_does_not_read_holds_up_nobody_else(running: Running) -> None:
    with service() as port:
        async with through(running("tellin")) as connection:
            stalled = [await connection.open_connection("127.0.0.1", port) for _ in range(4)]
            # Each comes back and is not read, until every buffer and window on its way is full.
            writing = [asyncio.create_task(one.write(MUCH)) for one in stalled]
            await asyncio.wait(writing, timeout=0.5)
            for _ in range(20):
                assert await outcome(connection.open_connection("127.0.0.1", port)) == "hello"
            for one, task in zip(stalled, writing, strict=True):
                assert await one.reader.readexactly(len(MUCH)) == MUCH
                await task


@awaited
async def test_r140_channels_are_counted_whatever_they_lead_to(running: Running) -> None:
    with service() as port:
        async with through(running("tellin")) as connection:
            core = connection.core
            opened = [await connection.open_connection("127.0.0.1", port) for _ in range(1024)]
            with pytest.raises(tellin.UsageError, match="open already"):
                await connection.open_connection("127.0.0.1", port)
            core._connection._settings.maximum_channels += 1
            found = await outcome(connection.open_connection("127.0.0.1", port))
            assert found == (Reason.RESOURCE_SHORTAGE, "too many channels")
            core._connection._settings.maximum_channels -= 1
            for one in opened:
                one.close()
            await opened[-1].aclose()
            assert await outcome(connection.open_connection("127.0.0.1", port)) == "hello"


@awaited
async def test_r136_case_203_stderr_on_a_forwarded_channel_is_dropped_with_credit(
    running: Running,
) -> None:
    with service() as port:
        async with (
            through(running("tellin")) as connection,
            connection.open_connection("127.0.0.1", port) as stream,
        ):
            data = memoryview(MUCH)
            while data:
                data = data[stream._channel.send_extended(data) :]
                connection.link.flush_soon()
                await asyncio.sleep(0)
            await stream.write(b"hello")
            assert await stream.reader.readexactly(5) == b"hello"


@awaited
async def test_r148_connections_are_made_with_the_users_own_rights(
    account: Account, home: Path
) -> None:
    seen: list[int] = []

    def look(stream: socket.socket) -> None:
        found = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        seen.append(int.from_bytes(found[4:8], sys.byteorder))

    set_mode(home, 0o755)
    with service(look, home / "s"):
        set_mode(home / "s", 0o666)
        with ALL_SERVERS["tellin"](home, account=account) as server:
            async with through(server) as connection:
                async with connection.open_unix_connection(str(home / "s")) as stream:
                    assert await stream.read() == b""
                set_mode(home / "s", 0o600)
                found = await outcome(connection.open_unix_connection(str(home / "s")))
                assert found == (Reason.CONNECT_FAILED, "Permission denied")
    assert seen == [account.uid]


# --- what clients forward


def wording(client: Client, target: Target, *words: str, **options: object) -> list[str]:
    """A client's command line with these words, and no command."""
    *begin, host, _ = map(str, client.argv(target, "", options=options))
    return [*begin, *words, host]


@contextmanager
def running_with(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A client that goes on until the test is done with it."""
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def dial(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Connect as soon as somebody listens."""
    return _dialled(lambda: socket.create_connection((host, port), timeout=60))


def dial_path(path: Path) -> socket.socket:
    """The same for a socket of the file system."""

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(60)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            raise
        return made

    return _dialled(connect)


def _dialled(connect: Callable[[], socket.socket]) -> socket.socket:
    deadline = time.monotonic() + 60
    while True:
        try:
            return connect()
        except (ConnectionRefusedError, FileNotFoundError):
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.05)


def everything(stream: socket.socket) -> bytes:
    return b"".join(iter(lambda: stream.recv(1 << 20), b""))


def there_and_back(stream: socket.socket, data: bytes) -> bytes:
    """Send all of it, and its end, while what comes back is read."""

    def send() -> None:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    back = everything(stream)
    sending.join(60)
    return back


OPENSSH_AND_WE = pairs(clients={"ssh", "tellin"}, servers={"sshd", "tellin"})
MEETINGS = pytest.mark.parametrize(("client", "server"), OPENSSH_AND_WE)
CLIENTS = pytest.mark.parametrize(
    "client", [pytest.param("ssh", marks=pytest.mark.peer("ssh")), "tellin"]
)


@MEETINGS
def test_w_leads_standard_input_and_output_there(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    with service(late_echo) as port:
        done = subprocess.run(
            wording(make_client(client), running(server).target, "-W", f"127.0.0.1:{port}"),
            input=MUCH,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == MUCH


@MEETINGS
def test_l_leads_a_port_to_a_port_both_ways_and_each_direction_ends_alone(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    ours = free_port()
    with service(late_echo) as port, service() as other:
        words = ("-N", "-L", f"{ours}:127.0.0.1:{port}")
        target = running(server).target
        more = f"LocalForward={free_port()} 127.0.0.1:{other}"
        argv = wording(make_client(client), target, *words, "-o", more)
        with running_with(argv):
            with dial(ours) as stream:
                assert there_and_back(stream, MUCH) == MUCH
            with dial(ours) as one, dial(ours) as two:
                assert there_and_back(two, b"two") == b"two"
                assert there_and_back(one, b"one") == b"one"
            with dial(int(more.split("=")[1].split(maxsplit=1)[0])) as stream:
                assert there_and_back(stream, MUCH) == MUCH


@MEETINGS
def test_l_joins_sockets_of_both_file_systems_and_ports(
    client: str, server: str, running: Running, make_client: Make, home: Path
) -> None:
    ours = free_port()
    with service(path=home / "there") as _, service() as port:
        words = ["-N", "-L", f"{ours}:{home}/there", "-L", f"{home}/a:{home}/there"]
        words += ["-L", f"{home}/b:127.0.0.1:{port}"]
        with running_with(wording(make_client(client), running(server).target, *words)):
            with dial(ours) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
            for name in "ab":
                with dial_path(home / name) as stream:
                    assert there_and_back(stream, b"hello") == b"hello"


@CLIENTS
def test_l_listens_where_it_is_told(
    client: str, running: Running, make_client: Make, home: Path
) -> None:
    """r145: on this machine alone unless more is asked for."""
    ports = [free_port() for _ in range(6)]
    with service() as port:
        lead = f"127.0.0.1:{port}"
        words = ["-N", "-L", f"{ports[0]}:{lead}", "-L", f"127.0.0.2:{ports[1]}:{lead}"]
        words += ["-L", f":{ports[2]}:{lead}", "-L", f"*:{ports[3]}:{lead}"]
        words += ["-L", f"[127.0.0.3]:{ports[4]}:[127.0.0.1]:{port}"]
        words += ["-L", f"localhost:{ports[5]}:{lead}"]
        target = running("tellin").target
        with running_with(wording(make_client(client), target, *words)):
            dial(ports[5]).close()
            heard = [reached(number) for number in ports]
        assert heard == ["1", "2", "1234", "1234", "3", "1"]
        with running_with(
            wording(make_client(client), target, "-N", "-g", "-L", f"{ports[0]}:{lead}")
        ):
            dial(ports[0]).close()
            assert reached(ports[0]) == "1234"
        words = ["-N", "-L", f"{ports[0]}:{lead}", "-L", f"localhost:{ports[1]}:{lead}"]
        gateway = wording(make_client(client), target, *words, GatewayPorts="yes")
        with running_with(gateway):
            dial(ports[1]).close()
            assert [reached(ports[0]), reached(ports[1])] == ["1234", "1"]


def reached(port: int) -> str:
    """At which addresses of 127.0.0.1 to 127.0.0.4 somebody listens: their last numbers."""
    found = ""
    for number in "1234":
        with (
            suppress(ConnectionRefusedError),
            socket.create_connection((f"127.0.0.{number}", port)),
        ):
            found += number
    return found


@CLIENTS
def test_a_socket_that_is_listened_on_is_ours_alone_unless_the_mask_says_more(
    client: str, running: Running, make_client: Make, home: Path
) -> None:
    path, target = home / "s", running("tellin").target
    with service() as port:
        words = ("-N", "-L", f"{path}:127.0.0.1:{port}")
        with running_with(wording(make_client(client), target, *words)):
            with dial_path(path) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
            assert path.stat().st_mode & 0o777 == 0o600
        # It stays behind, as with OpenSSH, and is in the way.
        done = subprocess.run(
            wording(make_client(client), target, *words, ExitOnForwardFailure="yes"),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 255
        assert done.stderr.decode() == (
            f"unix_listener: cannot bind to path {path}: Address already in use\r\n"
            "Could not request local forwarding.\r\n"
        ).replace("\r\n", "\r\n" if b"\r" in done.stderr else "\n")
        anew = wording(
            make_client(client), target, *words,
            StreamLocalBindUnlink="yes", StreamLocalBindMask="0117",
        )  # fmt: skip
        with running_with(anew):
            with dial_path(path) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
            assert path.stat().st_mode & 0o777 == 0o660


def said(client: Client, target: Target, *words: str, **options: object) -> tuple[int, list[str]]:
    """How a client ends, and what it says, without the numbers of channels."""
    done = subprocess.run(
        wording(client, target, *words, **options), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stderr.decode().replace("\r\n", "\n").splitlines()
    return done.returncode, [re.sub(r"^channel \d+:", "channel N:", line) for line in lines]


@pytest.mark.peer("ssh", "sshd")
@pytest.mark.parametrize("fatal", ["yes", "no"])
@pytest.mark.parametrize(
    "place",
    ["127.0.0.1:TAKEN", "TAKEN", "HOME/file", "/no/such/directory/s", "no-such.invalid:FREE",
     "198.51.100.7:FREE"],
)  # fmt: skip
def test_what_cannot_be_had_is_said_in_openssh_s_words(
    place: str, fatal: str, running: Running, make_client: Make, home: Path
) -> None:
    target = running("sshd").target
    (home / "file").write_text("", "utf-8")
    with service() as taken:
        place = place.replace("TAKEN", str(taken)).replace("HOME", str(home))
        words = ("-L", f"{place.replace('FREE', str(free_port()))}:a:1")
        options = {
            "LogLevel": "INFO", "ExitOnForwardFailure": fatal, "RemoteCommand": "true",
        }  # fmt: skip
        theirs = said(make_client("ssh"), target, *words, **options)
        assert said(make_client("tellin"), target, *words, **options) == theirs
        # What is cleared is not even tried.
        options["ClearAllForwardings"] = "yes"
        assert said(make_client("tellin"), target, *words, **options) == (0, [])


@pytest.mark.peer("ssh")
@pytest.mark.parametrize(
    "words",
    [
        ("-L", "foo"), ("-L", "0:a:1"), ("-L", "1:a:0"), ("-L", "1:a:65536"), ("-L", "1:2:3:4:5"),
        ("-L", "[::1:a:1"), ("-D", "0"), ("-D", "foo"), ("-D", "1:2:3"), ("-W", "127.0.0.1"),
        ("-W", "127.0.0.1:0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_forwarding_is_refused_in_openssh_s_words(
    words: tuple[str, str], running: Running, make_client: Make
) -> None:
    target = running("tellin").target
    theirs = said(make_client("ssh"), target, *words)
    assert theirs[0] == 255
    assert said(make_client("tellin"), target, *words) == theirs


@pytest.mark.peer("ssh", "sshd")
def test_w_that_leads_nowhere_is_said_in_openssh_s_words(
    running: Running, make_client: Make
) -> None:
    target, words = running("sshd").target, ("-W", f"127.0.0.1:{free_port()}")
    theirs = said(make_client("ssh"), target, *words, LogLevel="INFO")
    assert said(make_client("tellin"), target, *words, LogLevel="INFO") == theirs
    assert theirs[0] == 255


@pytest.mark.peer("ssh", "sshd")
@pytest.mark.parametrize("server", ["sshd", "tellin"])
def test_a_connection_that_the_server_does_not_want_is_closed_and_said(
    server: str, tmp_path: Path, make_client: Make
) -> None:
    with service() as port:
        made = ALL_SERVERS[server](tmp_path, options={"PermitOpen": f"127.0.0.1:{port}"}).start()
        lines = []
        try:
            for client in ("ssh", "tellin"):
                ours, others = free_port(), free_port()
                words = ["-N", "-L", f"{ours}:127.0.0.1:{port}", "-L", f"{others}:127.0.0.1:9"]
                argv = wording(make_client(client), made.target, *words, LogLevel="INFO")
                with running_with(argv) as process:
                    with dial(others) as stream, suppress(ConnectionResetError):
                        assert everything(stream) == b""
                    with dial(ours) as stream:
                        assert there_and_back(stream, b"hello") == b"hello"
                    process.terminate()
                    _, errors = process.communicate(timeout=60)
                    lines += [one for one in errors.decode().split("\n") if "open failed" in one]
        finally:
            made.stop()
    assert [re.sub(r"channel \d+", "channel N", one).strip() for one in lines] == [
        "channel N: open failed: administratively prohibited: open failed"
    ] * 2


@CLIENTS
def test_a_session_that_has_ended_waits_for_what_is_forwarded(
    client: str, running: Running, make_client: Make
) -> None:
    ours = free_port()
    with service() as port:
        made = make_client(client)
        lead = f"LocalForward={ours} 127.0.0.1:{port}"
        argv = list(map(str, made.argv(running("tellin").target, "cat; exit 7")))
        argv[1:1] = []
        at = argv.index("-F")
        argv[at:at] = ["-o", lead]
        with running_with(argv) as process:
            with dial(ours) as stream:
                stream.sendall(b"x")
                assert stream.recv(1) == b"x"
                assert process.stdin is not None
                process.stdin.close()
                process.stdin = None
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)
                assert there_and_back(stream, b"still here") == b"still here"
            assert process.wait(60) == 7


@CLIENTS
def test_a_client_in_the_background_forwards(
    client: str, running: Running, make_client: Make
) -> None:
    ours = free_port()
    with service() as port:
        words = ("-f", "-N", "-L", f"{ours}:127.0.0.1:{port}")
        argv = wording(make_client(client), running("tellin").target, *words)
        marker = f"{ours}:127.0.0.1:{port}"
        try:
            done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
            # Whoever comes back from it may connect at once.
            with socket.create_connection(("127.0.0.1", ours), timeout=60) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
        finally:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if marker.encode() in place.read_bytes():
                        os.kill(int(place.parent.name), signal.SIGTERM)


@CLIENTS
def test_when_the_connection_breaks_what_is_forwarded_ends_with_it(
    client: str, tmp_path: Path, make_client: Make
) -> None:
    ours = free_port()
    made = ALL_SERVERS["tellin"](tmp_path).start()
    with service() as port:
        argv = wording(make_client(client), made.target, "-N", "-L", f"{ours}:127.0.0.1:{port}")
        with running_with(argv) as process:
            with dial(ours) as stream:
                stream.sendall(b"x")
                assert stream.recv(1) == b"x"
                assert made.child is not None
                for child in descendants(made.child.process.pid):
                    os.kill(child, signal.SIGKILL)
                if client == "tellin":
                    # Not an end: whoever reads knows that something may be missing.
                    with pytest.raises(ConnectionResetError):
                        everything(stream)
                else:
                    with suppress(ConnectionResetError):
                        assert everything(stream) == b""
            assert process.wait(60) == 255
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", ours), timeout=60)
    made.stop()


# --- SOCKS


def ask_by_socks(stream: socket.socket, version: str, host: str, port: int) -> bytes:
    """Say where to go; returns the last answer."""
    number = port.to_bytes(2)
    if version == "5":
        stream.sendall(b"\x05\x02\x02\x00")
        assert exactly(stream, 2) == b"\x05\x00"
        try:
            place = b"\x01" + socket.inet_aton(host)
        except OSError:
            place = b"\x03" + bytes((len(host),)) + host.encode()
        stream.sendall(b"\x05\x01\x00" + place + number)
        return exactly(stream, 10)
    if version == "6":
        stream.sendall(b"\x05\x01\x00")
        assert exactly(stream, 2) == b"\x05\x00"
        stream.sendall(b"\x05\x01\x00\x04" + socket.inet_pton(socket.AF_INET6, host) + number)
        return exactly(stream, 10)
    if version == "4a":
        stream.sendall(b"\x04\x01" + number + b"\0\0\0\1me\0" + host.encode() + b"\0")
    else:
        stream.sendall(b"\x04\x01" + number + socket.inet_aton(host) + b"me\0")
    return exactly(stream, 8)


def exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := stream.recv(size - len(data))):
        data += piece
    return data


GRANTED = {"4": b"\0\x5a", "4a": b"\0\x5a", "5": b"\x05\0", "6": b"\x05\0"}
SIX = not Path("/proc/net/if_inet6").exists()


@MEETINGS
def test_d_leads_where_socks_says_by_every_version_with_names_and_numbers(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    ours, others = free_port(), free_port()
    with service(late_echo) as port:
        words = ("-N", "-D", str(ours), "-o", f"DynamicForward=localhost:{others}")
        with running_with(wording(make_client(client), running(server).target, *words)):
            for at in (ours, others):
                for version, host in (
                    ("4", "127.0.0.1"),
                    ("4a", "localhost"),
                    ("5", "127.0.0.1"),
                    ("5", "localhost"),
                ):
                    with dial(at) as stream:
                        answer = ask_by_socks(stream, version, host, port)
                        assert answer[:2] == GRANTED[version]
                        assert there_and_back(stream, b"hello") == b"hello"
            with dial(ours) as stream:
                ask_by_socks(stream, "5", "127.0.0.1", port)
                assert there_and_back(stream, MUCH) == MUCH


@pytest.mark.skipif(SIX, reason="this machine has no IPv6")
def test_d_leads_to_an_address_of_ipv6(running: Running, make_client: Make) -> None:
    ours = free_port()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = listening.getsockname()[1]
        words = ("-N", "-D", str(ours))
        target = running("tellin").target
        with running_with(wording(make_client("tellin"), target, *words)), dial(ours) as stream:
            assert ask_by_socks(stream, "6", "::1", port)[:2] == GRANTED["6"]
            there, _ = listening.accept()
            with there:
                there.sendall(b"hello")
            assert everything(stream) == b"hello"


def test_who_speaks_first_is_heard_behind_the_yes_and_a_no_is_said(
    running: Running, make_client: Make
) -> None:
    ours = free_port()
    with service(lambda stream: stream.sendall(b"welcome")) as port:
        words = ("-N", "-D", str(ours))
        with running_with(wording(make_client("tellin"), running("tellin").target, *words)):
            for _ in range(50):
                with dial(ours) as stream:
                    assert ask_by_socks(stream, "5", "127.0.0.1", port)[:2] == b"\x05\0"
                    assert everything(stream) == b"welcome"
            with dial(ours) as stream:
                assert ask_by_socks(stream, "5", "127.0.0.1", free_port())[:2] == b"\x05\x05"
                assert everything(stream) == b""
            with dial(ours) as stream:
                assert ask_by_socks(stream, "4", "127.0.0.1", free_port())[:2] == b"\0\x5b"
                assert everything(stream) == b""
            with dial(ours) as stream:
                # One byte at a time, as nobody forbids.
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in b"\x04\x01" + port.to_bytes(2) + b"\x7f\0\0\1me\0":
                    stream.sendall(bytes((byte,)))
                assert exactly(stream, 8)[:2] == b"\0\x5a"
                assert everything(stream) == b"welcome"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x03",
        b"\x04\x02\x00\x50\x7f\0\0\1\0",
        b"\x04\x01\x00\x00\x7f\0\0\1\0",
        b"\x04\x01\x00\x50\x7f\0\0\1" + b"u" * 300,
        b"\x04\x01\x00\x50\0\0\0\1\0" + b"h" * 300,
        b"\x04\x01\x00\x50\0\0\0\1\0\0",
        b"\x05\x00",
        b"\x05\x01\x02",
        b"\x05\x01\x00\x05\x02\x00\x01\x7f\0\0\1\0\x50",
        b"\x05\x01\x00\x05\x01\x00\x02\x7f\0\0\1\0\x50",
        b"\x05\x01\x00\x05\x01\x00\x03\x00\0\x50",
        b"\x05\x01\x00\x05\x01\x00\x03\x03a\0b\0\x50",
        b"\x05\x01\x00\x05\x01\x00\x03\x02\xff\xff\0\x50",
        b"\x05\x01\x00\x04\x01\x00\x01\x7f\0\0\1\0\x50",
    ],
)
def test_case_221_what_is_no_socks_is_closed_and_the_rest_goes_on(
    data: bytes, running: Running, make_client: Make
) -> None:
    ours = free_port()
    with service() as port:
        words = ("-N", "-D", str(ours))
        argv = wording(make_client("tellin"), running("tellin").target, *words)
        with running_with(argv), dial(ours) as good:
            ask_by_socks(good, "5", "127.0.0.1", port)
            with dial(ours) as bad, suppress(ConnectionResetError, BrokenPipeError):
                bad.sendall(data)
                answer = everything(bad)
                assert answer[:2] != b"\0\x5a"
                assert not answer.endswith(b"\x05\x00\x00\x01" + bytes(6))
            assert there_and_back(good, b"hello") == b"hello"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_fetches_through_socks(running: Running, make_client: Make) -> None:
    ours = free_port()

    def page(stream: socket.socket) -> None:
        stream.recv(65536)
        stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with service(page) as port:
        words = ("-N", "-D", str(ours))
        with running_with(wording(make_client("tellin"), running("tellin").target, *words)):
            dial(ours).close()
            for kind in ("socks4", "socks4a", "socks5", "socks5-hostname"):
                done = subprocess.run(
                    ["curl", "-sS", f"--{kind}", f"127.0.0.1:{ours}", f"http://localhost:{port}/"],
                    capture_output=True,
                    timeout=60,
                    check=False,
                )
                assert (done.stdout, done.stderr) == (b"hello", b""), kind


# --- what a library forwards


@EITHER_SERVER
@awaited
async def test_a_library_leads_ports_and_sockets_through_a_server(
    name: str, running: Running, home: Path
) -> None:
    with service(late_echo) as port, service(path=home / "there"):
        async with (
            through(running(name)) as connection,
            connection.forward_local(0, "127.0.0.1", port) as ports,
            connection.forward_local(home / "here", home / "there") as sockets,
            connection.socks() as proxy,
        ):
            loop = asyncio.get_running_loop()

            def all_ways() -> None:
                with dial(ports.port) as stream:
                    assert there_and_back(stream, MUCH) == MUCH
                with dial_path(Path(sockets.path)) as stream:
                    assert there_and_back(stream, MUCH[: 1 << 20]) == MUCH[: 1 << 20]
                with dial(proxy.port) as stream:
                    stream.sendall(b"\4\1" + port.to_bytes(2) + b"\0\0\0\1\0localhost\0")
                    assert stream.recv(8) == b"\0\x5a" + bytes(6)
                    assert there_and_back(stream, MUCH) == MUCH

            await loop.run_in_executor(None, all_ways)
