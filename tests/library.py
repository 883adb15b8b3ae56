# SPDX-License-Identifier: MIT
"""The library against itself: keys, a server with a handler that does as it is told, and a way to await."""

import asyncio
import functools
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import tellin
from tellin.keys import PrivateKey

HOST_KEY = PrivateKey.generate("ed25519", comment="host")
USER_KEY = PrivateKey.generate("ed25519", comment="user")
OTHER_KEY = PrivateKey.generate("ed25519", comment="other")

PATIENCE = 60.0


def awaited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*words: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await test(*words, **named)

        asyncio.run(bounded())

    return run


def pattern(size: int) -> bytes:
    """Bytes of which no two blocks are alike."""
    return hashlib.shake_256(b"tellin").digest(size)


async def obey(process: tellin.ServerProcess[bytes]) -> int:
    """Do what the command says: its first word is the name of an order."""
    word, _, rest = (process.command or "shell").partition(" ")
    return await _ORDERS[word](process, rest)


async def _status(process: tellin.ServerProcess[bytes], rest: str) -> int:
    return int(rest)


async def _say(process: tellin.ServerProcess[bytes], rest: str) -> int:
    await process.stdout.write(rest.encode())
    return 0


async def _both(process: tellin.ServerProcess[bytes], rest: str) -> int:
    size = int(rest)
    data = pattern(size)
    for at in range(0, size, 50_000):
        await process.stdout.write(data[at : at + 50_000])
        await process.stderr.write(data[at : at + 50_000])
    return 3


async def _cat(process: tellin.ServerProcess[bytes], rest: str) -> int:
    async for chunk in process.stdin.chunks():
        await process.stdout.write(chunk)
    return 0


async def _count(process: tellin.ServerProcess[bytes], rest: str) -> int:
    data = await process.stdin.read()
    await process.stdout.write(f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode())
    return 0


async def _source(process: tellin.ServerProcess[bytes], rest: str) -> int:
    await process.stdout.write(pattern(int(rest)))
    return 0


async def _errors(process: tellin.ServerProcess[bytes], rest: str) -> int:
    await process.stderr.write(pattern(int(rest)))
    await process.stdout.write(b"done")
    return 0


async def _wait(process: tellin.ServerProcess[bytes], rest: str) -> int:
    await process.stdout.write(b"waiting\n")
    await asyncio.get_running_loop().create_future()
    return 0


async def _signals(process: tellin.ServerProcess[bytes], rest: str) -> int:
    heard: asyncio.Queue[str] = asyncio.Queue()
    process.on_signal = heard.put_nowait
    process.on_break = lambda milliseconds: heard.put_nowait(f"break {milliseconds}")
    process.on_resize = lambda terminal: heard.put_nowait(f"{terminal.columns}x{terminal.rows}")
    await process.stdout.write(b"ready\n")
    while (word := await heard.get()) != "TERM":
        await process.stdout.write(word.encode() + b"\n")
    process.exit_by_signal("TERM")
    return 0


async def _describe(process: tellin.ServerProcess[bytes], rest: str) -> int:
    terminal = process.terminal
    shown = f"{terminal.name} {terminal.columns}x{terminal.rows}" if terminal else "none"
    key = process.key.fingerprint() if process.key else "none"
    lines = [process.user, key, shown, *(f"{k}={v}" for k, v in sorted(process.env.items()))]
    await process.stdout.write("\n".join(lines).encode())
    return 0


async def _shell(process: tellin.ServerProcess[bytes], rest: str) -> int:
    async for line in process.stdin:
        await process.stdout.write(b"> " + line)
        if line == b"exit\n":
            return 5
    return 0


_ORDERS: dict[str, Callable[[tellin.ServerProcess[bytes], str], Coroutine[Any, Any, int]]] = {
    "status": _status,
    "say": _say,
    "both": _both,
    "cat": _cat,
    "count": _count,
    "source": _source,
    "errors": _errors,
    "wait": _wait,
    "signals": _signals,
    "describe": _describe,
    "shell": _shell,
}


def serving(**options: Any) -> Any:
    """A server whose user is USER_KEY's, unless told otherwise."""
    options.setdefault("host_keys", [HOST_KEY])
    options.setdefault("session", obey)
    options.setdefault("encoding", None)
    ways = {"authorized_keys", "authorities", "authorize", "password", "questions"}
    if not options.keys() & ways:
        options["authorized_keys"] = USER_KEY.public
    return tellin.serve(**options)


def connecting(server: Any, **options: Any) -> Any:
    """A connection to ``server``, with nothing read from this machine."""
    options.setdefault("user", "someone")
    options.setdefault("keys", [USER_KEY])
    options.setdefault("config", None)
    if not options.keys() & {"host_keys", "known_hosts"}:
        options["host_keys"] = HOST_KEY.public
    if not options.keys() & {"sock", "port"}:
        options["port"] = server.port
    return tellin.connect("127.0.0.1", **options)


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tellin.Connection]:
    """A connection over a socket pair to a server of its own."""
    async with serving(port=-1, **options) as server:
        ours, theirs = socket.socketpair()
        server.serve_socket(theirs)
        async with connecting(server, sock=ours) as connection:
            yield connection
