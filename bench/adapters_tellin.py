# SPDX-License-Identifier: MIT
"""tellin's library as server, as command-line client and as library. The one file that knows it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import tellin
from bench import agent
from tellin.keys import PublicKey, load_private_key

T = TypeVar("T")


@contextlib.asynccontextmanager
async def _connected(orders: agent.Orders, key: Any) -> AsyncIterator[tellin.Connection]:
    async with tellin.connect(
        orders.host,
        port=orders.port,
        user=orders.user,
        keys=[key],
        host_keys=[PublicKey.from_line(orders.host_public)],
        config=None,
        ciphers=orders.cipher,
        macs=orders.mac,
        key_exchanges=orders.kex,
    ) as connection:
        yield connection


def _key(orders: agent.Orders) -> Any:
    return load_private_key(Path(orders.identity).read_bytes())


# ---- command-line client -----------------------------------------------------------------------


async def _execute(orders: agent.Orders) -> int:
    """One command, this process's standard streams joined to it."""
    inputless = stat.S_ISCHR(os.fstat(0).st_mode)
    async with _connected(orders, _key(orders)) as connection:
        done = await connection.run(
            orders.command, encoding=None, stdin=None if inputless else 0, stdout=1, stderr=2
        )
        return 255 if done.exit_status is None else done.exit_status


# ---- library -----------------------------------------------------------------------------------


class Counter:
    """A sink that throws away, having counted; the digest only if asked for."""

    def __init__(self, *, digest: bool) -> None:
        """Nothing has come."""
        self.count = 0
        self.digest = hashlib.sha256() if digest else None

    def take(self, views: list[memoryview]) -> int:
        """Use everything up at once."""
        size = sum(map(len, views))
        self.count += size
        if self.digest:
            for view in views:
                self.digest.update(view)
        return size


def _blocks(size: int) -> Iterator[bytes]:
    block = agent.pattern()
    while size > 0:
        yield block if size >= agent.BLOCK else block[:size]
        size -= agent.BLOCK


class Operations:
    """What the harness may ask of a library client."""

    def __init__(self, orders: agent.Orders) -> None:
        """Keep the target; every operation opens its own connection."""
        self._orders, self._key = orders, _key(orders)
        self._held: list[contextlib.AsyncExitStack] = []

    async def login(self, count: int, command: str) -> list[float]:
        """Seconds of each connect + login + exec + close."""
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            async with _connected(self._orders, self._key) as connection:
                await connection.run(command, check=True, encoding=None)
            taken.append(time.perf_counter() - started)
        return taken

    async def commands(self, count: int, command: str) -> float:
        """Seconds for `count` commands one after the other on one connection."""
        async with _connected(self._orders, self._key) as connection:
            await connection.run(command, check=True, encoding=None)
            started = time.perf_counter()
            for _ in range(count):
                await connection.run(command, check=True, encoding=None)
            return time.perf_counter() - started

    async def echo(self, count: int, command: str) -> list[float]:
        """Seconds of each byte there and back."""
        taken = []
        async with (
            _connected(self._orders, self._key) as connection,
            connection.start(command, encoding=None) as process,
        ):
            for _ in range(count):
                started = time.perf_counter()
                await process.stdin.write(b"x")
                back = await process.stdout.read(16)
                taken.append(time.perf_counter() - started)
                assert back == b"x"
                await asyncio.sleep(0.001)
        return taken

    async def bulk(self, direction: str, size: int, check: bool) -> dict[str, float | int | str]:
        """Move `size` bytes between memories; the login is not in the seconds."""
        async with _connected(self._orders, self._key) as connection:
            used, started = time.process_time(), time.perf_counter()
            if direction == "download":
                counter = Counter(digest=check)
                await connection.run(f"source {size}", check=True, encoding=None, stdout=counter)
                count = counter.count
                digest = counter.digest.hexdigest() if counter.digest else ""
            else:
                done = await connection.run(
                    "digest" if check else "sink", check=True, stdin=_blocks(size)
                )
                answer = done.stdout.strip()
                count, digest = (size, answer) if check else (int(answer), "")
            return {
                "seconds": time.perf_counter() - started,
                "cpu": time.process_time() - used,
                "bytes": count,
                "digest": digest,
            }

    async def files(self, verb: str, source: str, target: str) -> dict[str, float]:
        """Fetch or send a file or a tree; neither the login nor the talk's beginning is in the seconds."""
        async with (
            _connected(self._orders, self._key) as connection,
            connection.sftp() as files,
        ):
            used, started = time.process_time(), time.perf_counter()
            await getattr(files, verb)(source, target, recurse=True)
            return {
                "seconds": time.perf_counter() - started,
                "cpu": time.process_time() - used,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            }

    async def hold(self, count: int, command: str) -> int:
        """Open idle sessions, a connection each, sixteen logins at a time."""
        gate = asyncio.Semaphore(16)

        async def one() -> None:
            async with gate, contextlib.AsyncExitStack() as stack:
                connection = await stack.enter_async_context(_connected(self._orders, self._key))
                await stack.enter_async_context(connection.start(command, encoding=None))
                self._held.append(stack.pop_all())

        await asyncio.gather(*(one() for _ in range(count)))
        return len(self._held)

    async def release(self) -> int:
        """Close every idle session."""
        held, self._held = self._held, []
        for stack in held:
            await stack.aclose()
        return len(held)


# ---- server ------------------------------------------------------------------------------------


async def _source(process: tellin.ServerProcess[bytes], number: str) -> None:
    for block in _blocks(int(number)):
        await process.stdout.write(block)


async def _sink(process: tellin.ServerProcess[bytes], _: str) -> None:
    count = 0
    while data := await process.stdin.read(agent.BLOCK):
        count += len(data)
    await process.stdout.write(b"%d\n" % count)


async def _digest(process: tellin.ServerProcess[bytes], _: str) -> None:
    digest = hashlib.sha256()
    while data := await process.stdin.read(agent.BLOCK):
        digest.update(data)
    await process.stdout.write(digest.hexdigest().encode())


async def _echo(process: tellin.ServerProcess[bytes], _: str) -> None:
    while data := await process.stdin.read(agent.BLOCK):
        await process.stdout.write(data)


async def _hold(process: tellin.ServerProcess[bytes], _: str) -> None:
    await process.stdin.read(1)


async def _true(process: tellin.ServerProcess[bytes], _: str) -> None:
    """Nothing to do: returning is the answer."""


_WORDS = {
    "true": _true,
    "source": _source,
    "sink": _sink,
    "digest": _digest,
    "echo": _echo,
    "hold": _hold,
}


async def _handle(process: tellin.ServerProcess[bytes]) -> int:
    """A session that is answered in this process."""
    word, _, number = (process.command or "").partition(" ")
    await _WORDS[word](process, number)
    return 0


async def _serve(orders: agent.Orders) -> None:
    commands = tellin.RunCommands(
        shell="/bin/sh", directory=os.environ["BENCH_HOME"], env=agent.spawn_environment()
    )
    async with tellin.serve(
        orders.host,
        0,
        host_keys=[orders.host_key],
        authorized_keys=orders.authorized_keys,
        session=_handle if orders.mode == "handler" else commands,
        encoding=None,
    ) as server:
        agent.announce(server.port)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, ended.set)
        await ended.wait()


def main(role: str, text: str) -> int:
    """Run one role until it is done."""
    orders = agent.Orders(text)
    with asyncio.Runner() as runner:
        if role == "exec":
            return runner.run(_execute(orders))
        if role == "server":
            runner.run(_serve(orders))
            return 0
        operations = Operations(orders)

        def blocking(call: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
            return lambda **arguments: runner.run(call(**arguments))

        names = ("login", "commands", "echo", "bulk", "files", "hold", "release")
        agent.answer_requests({name: blocking(getattr(operations, name)) for name in names})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
