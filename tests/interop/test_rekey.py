# SPDX-License-Identifier: MIT
"""New keys every 64 KiB while eight channels of one connection move data both ways, with every peer that can."""

import asyncio
import contextlib
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import Make
from tests.interop.mirror import TURNED
from tests.interop.pairs import mirror, pairs
from tests.interop.peers import (
    AsyncSSHServer,
    Completed,
    OpenSSHClient,
    OpenSSHServer,
    Server,
)
from tests.interop.scripts import asyncssh_task, paramiko_channels
from tests.interop.tellin_peer import TellinServer, connecting_to
from tests.library import PATIENCE, connecting, serving

import tellin
from tellin.protocol.events import ExchangeDone

LIMIT = 65_536
CHANNELS = 8
SIZE = 1 << 20
# Each of the channels takes its bytes to the server and brings them back on two streams.
TO_SERVER = CHANNELS * SIZE
# A limit counts the packets' own bytes too, and new keys come a window late at most: half of what
# the bytes alone would make is far from what a side makes that forgot its limit.
EXPECTED = TO_SERVER // LIMIT // 2
EACH_CIPHER = pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        ("aes128-gcm@openssh.com", ""),
        ("chacha20-poly1305@openssh.com", ""),
        ("aes256-ctr", "hmac-sha2-256-etm@openssh.com"),
        ("aes128-ctr", "hmac-sha2-512"),
    ],
    ids=["gcm", "chacha20", "ctr-etm", "ctr-mac"],
)


def bytes_of(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


# ------------------------------------------------------------------------- the library


@contextlib.contextmanager
def exchanges_of(connection: tellin.Connection) -> Iterator[Callable[[], int]]:
    """Counts the exchanges that ``connection`` ends from here on."""
    passing_on = connection.link.on_event
    count = 0

    def counting(event: Any) -> None:
        nonlocal count
        count += isinstance(event, ExchangeDone)
        passing_on(event)

    connection.link.on_event = counting
    try:
        yield lambda: count
    finally:
        connection.link.on_event = passing_on


async def one_channel(connection: tellin.Connection, command: str, number: int) -> None:
    """Send bytes in odd pieces, and have the same back on both streams."""
    sent = bytes_of(number)
    sizes = random.Random(~number)
    async with connection.start(command, encoding=None) as process:

        async def feed() -> None:
            at = 0
            while at < len(sent):
                end = at + sizes.randrange(1, 40_000)
                await process.stdin.write(sent[at:end])
                at = end
            await process.stdin.aclose()

        _, output, errors = await asyncio.gather(
            feed(), process.stdout.read(), process.stderr.read()
        )
        done = await process.wait()
    assert (output == sent) is True, f"{len(output)} of channel {number}"
    assert (errors.translate(TURNED) == sent) is True, f"{len(errors)} errors of {number}"
    assert done.exit_status == 0


async def all_channels(connecting_: Any, command: str) -> int:
    """All channels at once over one connection; how often it got new keys."""
    async with connecting_ as connection:
        session_id = connection.core.session_id
        with exchanges_of(connection) as exchanges:
            async with asyncio.TaskGroup() as tasks:
                for number in range(CHANNELS):
                    tasks.create_task(one_channel(connection, command, number))
            assert connection.core.session_id == session_id
            return exchanges()


def await_bounded(coroutine: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE + 30):
            return await coroutine

    return asyncio.run(bounded())


async def _mirrored(process: tellin.ServerProcess[bytes]) -> int:
    async for chunk in process.stdin.chunks():
        await process.stdout.write(chunk)
        await process.stderr.write(bytes(chunk).translate(TURNED))
    return 0


@EACH_CIPHER
def test_r051_library_to_library(cipher: str, mac: str) -> None:
    options = {"ciphers": cipher, "macs": mac or "hmac-sha2-256", "rekey_limit": LIMIT}

    async def meet() -> int:
        async with serving(session=_mirrored, **options) as server:
            return await all_channels(connecting(server, **options), "mirror")

    assert await_bounded(meet()) > EXPECTED


@pytest.mark.parametrize("side", ["client", "server"])
def test_r051_one_side_alone_is_enough(side: str) -> None:
    async def meet() -> int:
        ours, theirs = (LIMIT, 0) if side == "client" else (0, LIMIT)
        async with serving(session=_mirrored, rekey_limit=theirs) as server:
            return await all_channels(connecting(server, rekey_limit=ours), "mirror")

    assert await_bounded(meet()) > EXPECTED


def test_without_a_limit_the_first_keys_serve() -> None:
    """What the other tests count is nothing that happens anyway."""

    async def meet() -> int:
        async with serving(session=_mirrored) as server:
            return await all_channels(connecting(server), "mirror")

    assert await_bounded(meet()) == 0


# ------------------------------------------------------------------------- the library with peers


def limited(name: str, directory: Path) -> Server:
    """A server that wants new keys after 64 KiB."""
    if name == "sshd":
        # Told of exchanges and of nothing else: at DEBUG1 sshd talks to the commands' stderr too.
        options = {"RekeyLimit": "64K", "LogVerbose": "kex.c:*:*", "MaxSessions": CHANNELS}
        return OpenSSHServer(directory, options=options)
    if name == "asyncssh":
        return AsyncSSHServer(directory, options={"rekey_bytes": LIMIT})
    return TellinServer(directory, options={"RekeyLimit": "64K", "LogLevel": "DEBUG1"})


def exchanges_in(log: str) -> int:
    """How often a server gave new keys, by its log."""
    for line in ("SSH2_MSG_NEWKEYS received", "kex: host key algorithm: "):
        if count := log.count(line):
            return count - 1
    return 0


@pytest.mark.parametrize(
    "server",
    [
        "tellin",
        pytest.param("sshd", marks=pytest.mark.peer("sshd")),
        pytest.param("asyncssh", marks=pytest.mark.peer("asyncssh")),
    ],
)
def test_r051_the_library_to_each_server(server: str, tmp_path: Path) -> None:
    with limited(server, tmp_path) as running:
        connection = connecting_to(running.target, rekey_limit=LIMIT)
        count = await_bounded(all_channels(connection, mirror(30_011)))
        log = running.log()
    assert count > EXPECTED
    if server != "asyncssh":
        assert exchanges_in(log) >= count


# ------------------------------------------------------------------------- peers with tellin sshd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with limited("tellin", tmp_path) as running:
        yield running


@pytest.mark.peer("asyncssh")
def test_r051_asyncssh_to_tellin_sshd(server: Server) -> None:
    found = asyncssh_task(
        "channels",
        server.target,
        command=mirror(30_011),
        size=SIZE,
        count=CHANNELS,
        rekey_bytes=LIMIT,
    )
    assert isinstance(found, dict)
    assert found["wrong"] == [""] * CHANNELS
    # It wanted some itself, and took part in every one.
    assert found["requested"] > 0
    assert found["received"] > EXPECTED
    assert exchanges_in(server.log()) > EXPECTED


@pytest.mark.peer("paramiko")
def test_r051_paramiko_to_tellin_sshd(server: Server) -> None:
    found = paramiko_channels(
        server.target,
        command=mirror(30_011),
        # It takes its time over each exchange.
        size=SIZE // 2,
        count=CHANNELS,
        rekey_bytes=LIMIT,
    )
    assert isinstance(found, dict)
    assert found["wrong"] == [""] * CHANNELS
    assert found["exchanges"] > EXPECTED // 2
    assert found["requested"] > 0
    assert exchanges_in(server.log()) >= found["exchanges"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's: 107 bytes are all there are."""
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        yield Path(made)


@pytest.mark.peer("ssh")
def test_r051_openssh_with_eight_sessions_over_one_connection(
    server: Server, tmp_path: Path, short_path: Path
) -> None:
    client = OpenSSHClient(tmp_path)
    socket, log = short_path / "master", tmp_path / "master.log"
    environment = client.environment(server.target)
    master = client.argv(
        server.target,
        "echo ready; exec cat",
        options={
            "ControlMaster": "yes",
            "ControlPath": socket,
            "RekeyLimit": "64K",
            "LogLevel": "DEBUG1",
            # Hundreds of exchanges: with OpenSSH 9.2's own choice each is 40 ms of sntrup761.
            "KexAlgorithms": "curve25519-sha256",
        },
    )
    through = {"ControlPath": socket, "ControlMaster": "no"}
    with subprocess.Popen(
        [str(word) for word in [*master[:1], "-E", log, *master[1:]]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            gate = threading.Barrier(CHANNELS, timeout=PATIENCE)

            def run(number: int) -> Completed:
                gate.wait()
                return client.run(
                    server.target, mirror(30_011), input=bytes_of(number), options=through
                )

            with ThreadPoolExecutor(CHANNELS) as pool:
                ended = list(pool.map(run, range(CHANNELS)))
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert output == b""
    for number, done in enumerate(ended):
        sent = bytes_of(number)
        same = done.stdout == sent, done.stderr.translate(TURNED) == sent
        assert (done.status, *same) == (0, True, True), (number, done.stderr[-500:])
    told = log.read_text("utf-8", "replace")
    # One connection carried them all.
    assert told.count("Authenticated to") == 1
    assert told.count("SSH2_MSG_NEWKEYS received") > EXPECTED
    assert server.log().count("Accepted publickey") == 1


# ------------------------------------------------------------------------- one command, any client


@pytest.mark.parametrize(("client", "server"), pairs(servers=("tellin",)), indirect=["server"])
def test_r051_a_server_gives_every_client_new_keys(
    client: str, server: Server, make_client: Make
) -> None:
    """Each client's own limit is far away: what happens is the server's wish."""
    data = bytes_of(0)
    done = make_client(client).run(server.target, mirror(30_011), input=data, seconds=110)
    assert done.status == 0, done.stderr[-500:]
    same = done.stdout == data, done.stderr.translate(TURNED) == data
    assert same == (True, True), (len(done.stdout), len(done.stderr))
    assert exchanges_in(server.log()) > len(data) // LIMIT // 2
