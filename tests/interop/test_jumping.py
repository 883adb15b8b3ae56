# SPDX-License-Identifier: MIT
"""The library on its way to a server through others: ``connection.connect``, ProxyJump and ProxyCommand."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.children import descendants
from tests.interop.peers import Account, AsyncSSHServer, OpenSSHServer, Server, make_key
from tests.interop.target import free_port
from tests.interop.tellin_peer import TellinServer
from tests.library import awaited

import tellin
from tellin import blocking

pytestmark = pytest.mark.peer("sshd")

PATIENCE = 60.0


def account_of(request: pytest.FixtureRequest) -> Account | None:
    found: Account | None = request.getfixturevalue("account") if os.geteuid() == 0 else None
    return found


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[list[Server]]:
    """OpenSSH's, tellin's, OpenSSH's."""
    folder, account = tmp_path_factory.mktemp("servers"), account_of(request)
    with (
        OpenSSHServer(folder, account=account) as one,
        TellinServer(folder) as two,
        OpenSSHServer(folder, account=account) as three,
    ):
        yield [one, two, three]


def there(server: Server) -> dict[str, Any]:
    """What leads to one, by itself."""
    return {
        "port": server.port,
        "user": server.user,
        "keys": [server.identity.path],
        "host_keys": [tellin.load_public_key(key.public.encode()) for key in server.host_keys],
        "config": None,
    }


def configuration(folder: Path, servers: list[Server], *lines: str) -> Path:
    """Hosts one, two and three, each with records of its own, behind the lines that are given."""
    text = [*lines]
    for name, server in zip(("one", "two", "three"), servers, strict=True):
        records = folder / f"known_{name}"
        records.write_text(server.target.known_hosts(), "ascii")
        text += [
            f"Host {name}",
            "  Hostname 127.0.0.1",
            f"  Port {server.port}",
            f"  User {server.user}",
            f"  IdentityFile {server.identity.path}",
            f"  UserKnownHostsFile {records}",
            "  GlobalKnownHostsFile none",
            "  StrictHostKeyChecking yes",
        ]
    path = folder / "config"
    path.write_text("".join(f"{line}\n" for line in text), "ascii")
    return path


async def until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


# ------------------------------------------------------------------------- by hand


@awaited
async def test_connections_go_one_through_the_other(servers: list[Server]) -> None:
    one, two, three = servers
    data = os.urandom(3_000_000)
    async with (
        tellin.connect("127.0.0.1", **there(one)) as first,
        first.connect("127.0.0.1", **there(two)) as second,
        second.connect("127.0.0.1", **there(three)) as third,
    ):
        done = await third.run("cat; exit 7", input=data, encoding=None)
        assert (done.exit_status, done.stdout == data) == (7, True)
        # Each is a connection like any other, and several go through one.
        async with first.connect("127.0.0.1", **there(three)) as other:
            results = await asyncio.gather(
                *(one.run("echo in") for one in (first, second, third, other) for _ in range(5))
            )
        assert [result.stdout for result in results] == ["in\n"] * 20
        third.rekey()
        assert await third.ping() > 0
    assert first.closed
    assert third.error is None


@awaited
async def test_the_end_of_the_outer_one_is_an_error_of_the_inner_one(
    servers: list[Server],
) -> None:
    one, two, _ = servers
    async with (
        tellin.connect("127.0.0.1", **there(one)) as first,
        first.connect("127.0.0.1", **there(two)) as second,
    ):
        process = await second.start("echo in; cat")
        assert await process.stdout.readline() == "in\n"
        first.close()
        with pytest.raises(tellin.ConnectionLost):
            await process.stdout.read()
        await asyncio.wait_for(second.wait_closed(), PATIENCE)
        with pytest.raises(tellin.ConnectionLost):
            await first.connect("127.0.0.1", **there(two))


@awaited
async def test_the_end_of_the_inner_one_leaves_the_outer_one(servers: list[Server]) -> None:
    one, two, _ = servers
    async with tellin.connect("127.0.0.1", **there(one)) as first:
        for _ in range(3):
            async with first.connect("127.0.0.1", **there(two)) as second:
                await second.run("true")
        await until(lambda: not first.core.channels)
        assert (await first.run("echo in")).stdout == "in\n"


@awaited
async def test_where_the_server_cannot_go_the_error_says_so(servers: list[Server]) -> None:
    port = free_port()
    async with tellin.connect("127.0.0.1", **there(servers[0])) as first:
        words = rf"^connect to host 127\.0\.0\.1 port {port} through 127\.0\.0\.1: .*Connection refused"
        with pytest.raises(tellin.ConnectFailed, match=words):
            await first.connect("127.0.0.1", **{**there(servers[1]), "port": port})
        with pytest.raises(tellin.UsageError, match="around"):
            await first.connect("127.0.0.1", sock=object())
        # The host key is that of whoever is at the end.
        with pytest.raises(tellin.HostKeyChanged):
            await first.connect(
                "127.0.0.1", **{**there(servers[1]), "host_keys": there(servers[2])["host_keys"]}
            )
        await until(lambda: not first.core.channels)


@awaited
async def test_a_reader_that_stops_holds_up_nobody_else(servers: list[Server]) -> None:
    """What the inner connection does not take stays at the server: the channel's window is the bound."""
    one, two, _ = servers
    async with (
        tellin.connect("127.0.0.1", **there(one)) as first,
        first.connect("127.0.0.1", **there(two)) as stalled,
    ):
        stalled.link.pause()
        process = asyncio.ensure_future(stalled.run("head -c 50000000 /dev/zero | wc -c"))
        assert (await first.run("head -c 5000000 /dev/zero", encoding=None)).stdout == bytes(
            5000000
        )
        stalled.link.resume()
        assert (await process).stdout.split() == ["50000000"]


@pytest.mark.peer("asyncssh")
@awaited
async def test_through_another_library_s_server(servers: list[Server], tmp_path: Path) -> None:
    with AsyncSSHServer(tmp_path) as other:
        async with (
            tellin.connect("127.0.0.1", **there(servers[0])) as first,
            first.connect("127.0.0.1", **there(other)) as second,
        ):
            assert (await second.run("echo in")).stdout == "in\n"


def test_the_same_without_an_event_loop(servers: list[Server]) -> None:
    with (
        blocking.connect("127.0.0.1", **there(servers[0])) as first,
        first.connect("127.0.0.1", **there(servers[1])) as second,
    ):
        assert second.run("echo in").stdout == "in\n"


# ------------------------------------------------------------------------- by the configuration


@pytest.mark.parametrize(
    "lines",
    [
        ("Host three", "  ProxyJump one,two"),
        ("Host three", "  ProxyJump two", "Host two", "  ProxyJump one"),
    ],
    ids=["a list", "one by one"],
)
@awaited
async def test_proxy_jump_leads_through_hosts_that_are_gone_afterwards(
    servers: list[Server], tmp_path: Path, lines: tuple[str, ...]
) -> None:
    config = configuration(tmp_path, servers, *lines)
    before = servers[1].log().count("Accepted publickey for")
    async with tellin.connect("three", config=config) as connection:
        assert (await connection.run("echo in")).stdout == "in\n"
        assert connection.host == "three"
        assert connection.address == ("UNKNOWN", 65535)
    assert servers[1].log().count("Accepted publickey for") == before + 1
    # Nothing is left of it: no task, no socket.
    assert asyncio.all_tasks() == {asyncio.current_task()}


@awaited
async def test_a_hop_is_named_where_it_is_at_fault(servers: list[Server], tmp_path: Path) -> None:
    config = configuration(tmp_path, servers, "Host three", "  ProxyJump one,two")
    other = make_key(tmp_path / "other").public
    (tmp_path / "known_two").write_text(f"[127.0.0.1]:{servers[1].port} {other}\n", "ascii")
    with pytest.raises(tellin.HostKeyChanged, match=r"^jump host two: "):
        await tellin.connect("three", config=config)
    config = configuration(
        tmp_path, servers, "Host three", "  ProxyJump one,two", "Host one", "  IdentityFile /none"
    )
    text = config.read_text("ascii").replace(str(servers[0].identity.path), "/none")
    config.write_text(text, "ascii")
    with pytest.raises(tellin.AuthenticationFailed, match=r"^jump host one: "):
        # What is given for the server is not for those on the way.
        await tellin.connect("three", config=config, keys=[servers[0].identity.path], password="x")
    config = configuration(tmp_path, servers, "Host one", "  ProxyJump one")
    with pytest.raises(tellin.ConfigError, match="jumphost loop via one"):
        await tellin.connect("one", config=config)


@awaited
async def test_keys_of_the_server_are_not_those_of_hops(
    servers: list[Server], tmp_path: Path
) -> None:
    """A pinned key is one host's: the others are judged by the configuration."""
    config = configuration(tmp_path, servers, "Host three", "  ProxyJump one")
    pinned = there(servers[2])["host_keys"]
    async with tellin.connect("three", config=config, host_keys=pinned) as connection:
        assert (await connection.run("echo in")).stdout == "in\n"


# ------------------------------------------------------------------------- by a command


RELAY = """\
import os, socket, sys, threading
with open(sys.argv[3], "w") as file: file.write(str(os.getpid()))
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536): s.sendall(data)
    s.shutdown(1)
threading.Thread(target=up, daemon=True).start()
while data := s.recv(65536): os.write(1, data)
threading.Event().wait()
"""


@awaited
async def test_a_proxy_command_is_started_and_ended(servers: list[Server], tmp_path: Path) -> None:
    relay, number = tmp_path / "relay.py", tmp_path / "number"
    relay.write_text(RELAY, "ascii")
    command = f"  ProxyCommand {sys.executable} {relay} %h %p {number}"
    config = configuration(tmp_path, servers, "Host three", command)
    data = os.urandom(1_000_000)
    async with tellin.connect("three", config=config) as connection:
        done = await connection.run("cat", input=data, encoding=None)
        assert done.stdout == data
        assert connection.address == ("UNKNOWN", 65535)
        pid = int(number.read_text("ascii"))
        assert pid in descendants(os.getpid())
    # Reaped, too.
    assert pid not in descendants(os.getpid())


@awaited
async def test_a_command_that_leads_nowhere(servers: list[Server], tmp_path: Path) -> None:
    for command, error in (
        ("head -n 1 > /dev/null", tellin.ConnectionLost),
        ("sleep 60", tellin.TimedOut),
        ("-", tellin.ConfigError),
    ):
        config = configuration(tmp_path, servers, "Host three", f"  ProxyCommand {command}")
        before = set(descendants(os.getpid()))
        with pytest.raises(error):
            await tellin.connect("three", config=config, connect_timeout=1)
        await until(lambda before=before: set(descendants(os.getpid())) <= before)


@pytest.mark.parametrize("dials", [True, False])
@awaited
async def test_a_command_may_hand_over_a_socket(
    servers: list[Server], tmp_path: Path, dials: bool
) -> None:
    dialer = tmp_path / "dialer.py"
    dialer.write_text(
        "import array, socket, sys\n"
        "made = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [made.fileno()]))\n"
        "socket.socket(fileno=1).sendmsg([b'x'], [rights] if sys.argv[3] == 'True' else [])\n",
        "ascii",
    )
    config = configuration(
        tmp_path,
        servers,
        "Host three",
        f"  ProxyCommand {sys.executable} {dialer} %h %p {dials}",
        "  ProxyUseFdpass yes",
    )
    if not dials:
        with pytest.raises(tellin.ConnectionLost, match=r"did not pass back a connection"):
            await tellin.connect("three", config=config)
        return
    async with tellin.connect("three", config=config) as connection:
        assert (await connection.run("echo in")).stdout == "in\n"
        assert connection.address == ("127.0.0.1", servers[2].port)
