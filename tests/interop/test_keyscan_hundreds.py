# SPDX-License-Identifier: MIT
"""ssh-keyscan of hundreds of hosts: all are asked, with few descriptors, and the silent ones hold nobody up."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.interop.target import free_port
from tests.library import HOST_KEY, awaited, serving

import tellin
from tellin.keys import PrivateKey

HOSTS = [f"127.0.{1 + number // 100}.{1 + number % 100}" for number in range(300)]
ECDSA = PrivateKey.generate("ecdsa")
OURS = (sys.executable, "-m", "tellin", "ssh-keyscan")
FEW = 64


class Street:
    """Hosts side by side at one port: those of ``mute`` take connections and say nothing."""

    def __init__(self, server: tellin.Server, mute: Sequence[str]) -> None:
        self.server = server
        self.mute = frozenset(mute)
        self.port = free_port()
        self.open = 0

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(self._visited, HOSTS, self.port, backlog=64)

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with suppress(ConnectionError):
            if writer.get_extra_info("sockname")[0] in self.mute:
                await reader.read()
            else:
                await self._answer(reader, writer)
        self.open -= 1
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have the server talk, at the other end of a pair."""
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.server.port)

        async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))


@asynccontextmanager
async def street(mute: Sequence[str] = ()) -> AsyncIterator[Street]:
    async with serving(host_keys=[HOST_KEY, ECDSA], max_startups=1000) as server:
        made = Street(server, mute)
        listening = await made.start()
        try:
            yield made
        finally:
            listening.close()
            while made.open:  # noqa: ASYNC110 - each visitor's end is its own
                await asyncio.sleep(0.01)


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))


@asynccontextmanager
async def begin(
    program: Sequence[str], *words: str, few: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *program,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=limit if few else None,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
            await running.communicate()


def lines(port: int, hosts: Sequence[str] = HOSTS) -> list[str]:
    return sorted(
        f"[{host}]:{port} {' '.join(key.public.to_line().split()[:2])}"
        for host in hosts
        for key in (HOST_KEY, ECDSA)
    )


async def scan(
    program: Sequence[str], port: int, hosts: Path, *, few: bool = False
) -> tuple[list[str], list[str]]:
    """The keys that are found, and what is said beside."""
    words = ("-p", str(port), "-T", "50", "-t", "ed25519,ecdsa", "-f", str(hosts))
    async with begin(program, *words, few=few) as running:
        told, said = await running.communicate()
        assert running.returncode == 0, said
        return told.decode().splitlines(), said.decode().splitlines()


def written(place: Path, hosts: Sequence[str]) -> Path:
    path = place / "hosts"
    path.write_text("".join(f"{host}\n" for host in hosts), "ascii")
    return path


@pytest.mark.parametrize("few", [False, True])
@awaited
async def test_three_hundred_hosts_give_all_their_keys(few: bool, tmp_path: Path) -> None:
    async with street() as hosts:
        told, said = await scan(OURS, hosts.port, written(tmp_path, HOSTS), few=few)
        assert sorted(told) == lines(hosts.port)
        # A comment for each connection, and not a word besides.
        assert len(said) == 2 * len(HOSTS)
        assert {line.split(":")[0] for line in said} == {f"# {host}" for host in HOSTS}


@pytest.mark.peer("openssh")
@awaited
async def test_both_programs_write_the_same_of_many_hosts(tmp_path: Path) -> None:
    # Few of them: for each OpenSSH's makes a key for sntrup761, which takes it a tenth of a second.
    some = HOSTS[:20]
    async with street() as hosts:
        listed = written(tmp_path, some)
        ours = await scan(OURS, hosts.port, listed)
        theirs = await scan(("ssh-keyscan",), hosts.port, listed)
        assert [sorted(part) for part in ours] == [sorted(part) for part in theirs]
        assert sorted(ours[0]) == lines(hosts.port, some)


@awaited
async def test_silent_hosts_hold_nobody_up(tmp_path: Path) -> None:
    # In front of the others, and more than half of what is asked at once.
    mute, live = HOSTS[:20], HOSTS[20:]
    async with street(mute) as hosts:
        words = ("-q", "-p", str(hosts.port), "-t", "ed25519", "-f", str(written(tmp_path, HOSTS)))
        # Ten minutes for each of the silent: longer than this test may take.
        async with begin(OURS, "-T", "600", *words, few=True) as running:
            assert running.stdout is not None
            told = [(await running.stdout.readline()).decode().rstrip("\n") for _ in live]
            wanted = [line for line in lines(hosts.port, live) if "ssh-ed25519" in line]
            assert sorted(told) == wanted
            assert running.returncode is None
            assert hosts.open >= len(mute)


@awaited
async def test_silent_hosts_are_given_up_side_by_side(tmp_path: Path) -> None:
    mute, live = HOSTS[:30], HOSTS[30:35]
    async with street(mute) as hosts:
        words = ("-q", "-p", str(hosts.port), "-t", "ed25519")
        # One after the other they would take longer than this test may.
        async with begin(OURS, "-T", "4", *words, *mute, *live) as running:
            out, _ = await running.communicate()
            assert running.returncode == 0
            assert sorted(out.decode().splitlines()) == [
                line for line in lines(hosts.port, live) if "ssh-ed25519" in line
            ]
