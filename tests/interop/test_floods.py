# SPDX-License-Identifier: MIT
"""R141 with whole programs: floods both ways through many channels, at a peer that grants next to nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.interop.children import descendants
from tests.interop.target import free_port, make_key
from tests.interop.tellin_peer import TellinServer
from tests.interop.test_forwarding import through
from tests.library import awaited, pattern, serving
from tests.programs.ssh_runs import SSH

import tellin
from tellin.connection import windows

CHANNELS = 64
EACH = 1 << 18
# Of the 16 MiB that go each way.
MOST_KEPT = 4 << 20
TINY = 4096
DATA = pattern(EACH)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library in this process grants its peer."""
    for name in ("INITIAL_WINDOW", "LEAST_WINDOW"):
        monkeypatch.setattr(windows, name, TINY)
    monkeypatch.setattr(windows, "GROWTH", 1)


def status(pid: int, name: str) -> int:
    """A figure of /proc/PID/status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(name)


class Measured:
    """How much memory some processes come to need beyond what they have now."""

    def __init__(self, *pids: int) -> None:
        self._before = {pid: status(pid, "VmRSS") for pid in pids}
        for pid in pids:
            # proc(5): the highest mark starts anew.
            Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")

    def grown(self) -> int:
        return sum(status(pid, "VmHWM") - before for pid, before in self._before.items())


async def flood(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, have: int = 0
) -> None:
    """Send all of it while as much comes: neither waits for the other's end."""

    async def send() -> None:
        writer.write(DATA)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    taken = bytearray()
    while piece := await reader.read(1 << 16):
        taken += piece
    await sending
    writer.close()
    assert taken == DATA[have:]


@asynccontextmanager
async def flooding() -> AsyncIterator[tuple[int, list[bool]]]:
    """A port that floods whoever comes, and a row for each that was taken in whole."""
    ended: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await flood(reader, writer)
        ended.append(True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=CHANNELS)
    async with server:
        yield server.sockets[0].getsockname()[1], ended


async def flood_all(port: int, ended: list[bool], *pids: int) -> None:
    streams = []
    while not streams:
        try:
            streams = [await asyncio.open_connection("127.0.0.1", port)]
        except ConnectionRefusedError:
            # A program that is still logging in.
            await asyncio.sleep(0.05)
    # With the first of them it has loaded what all of them take.
    await streams[0][0].readexactly(1)
    measured = Measured(*pids)
    while len(streams) < CHANNELS:
        streams.append(await asyncio.open_connection("127.0.0.1", port))
    await asyncio.gather(*(flood(*one, have=not at) for at, one in enumerate(streams)))
    while len(ended) < CHANNELS:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)
    assert measured.grown() < MOST_KEPT


@awaited
async def test_r141_sshd_keeps_little_of_floods_for_a_client_with_tiny_windows(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with TellinServer(tmp_path, account=account) as server:
        async with (
            flooding() as (target, ended),
            through(server) as connection,
            connection.forward_local(0, "127.0.0.1", target) as made,
        ):
            family = descendants(os.getpid())
            await flood_all(made.port, ended, *family)


@awaited
async def test_r141_ssh_keeps_little_of_floods_for_a_server_with_tiny_windows(
    tmp_path: Path,
) -> None:
    key, port = make_key(tmp_path / "key"), free_port()
    async with (
        flooding() as (target, ended),
        serving(authorized_keys=tellin.load_public_key(key.public), permit_open=["any"]) as server,
    ):
        words = [
            *SSH, "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
            "-o", "UserKnownHostsFile=/dev/null", "-i", str(key.path), "-N",
            "-L", f"127.0.0.1:{port}:127.0.0.1:{target}", "-p", str(server.port), "me@127.0.0.1",
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(*words)
        try:
            await flood_all(port, ended, process.pid)
        finally:
            process.kill()
            await process.wait()
