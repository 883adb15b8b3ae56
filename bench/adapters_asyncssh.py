# SPDX-License-Identifier: MIT
"""AsyncSSH as server, as command-line client and as library, on asyncio's loop or uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import asyncssh

from bench import agent

T = TypeVar("T")


def _algorithms(orders: agent.Orders) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if orders.cipher:
        chosen["encryption_algs"] = [orders.cipher]
    if orders.mac:
        chosen["mac_algs"] = [orders.mac]
    if orders.kex:
        chosen["kex_algs"] = orders.kex.split(",")
    return chosen


@contextlib.asynccontextmanager
async def _connected(orders: agent.Orders) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(
        orders.host,
        orders.port,
        username=orders.user,
        client_keys=[orders.identity],
        known_hosts=orders.known_hosts,
        agent_path=None,
        config=None,
        **_algorithms(orders),
    ) as connection:
        yield connection


# ---- server ------------------------------------------------------------------------------------


class _Handler(asyncssh.SSHServerSession[bytes]):
    """A session that is answered in this process: no-op, echo, source, sink, hold."""

    def __init__(self) -> None:
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._word, self._left, self._count = "", 0, 0
        self._digest = hashlib.sha256()
        self._writing, self._filling = True, False
        self._block = _BLOCK

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        self._word, _, number = command.partition(" ")
        self._left = int(number or 0)
        return True

    def session_started(self) -> None:
        assert self._chan is not None
        if self._word == "true":
            self._chan.exit(0)
        elif self._word == "source":
            self._fill()

    def _fill(self) -> None:
        assert self._chan is not None
        if self._filling:
            return  # write() has called resume_writing() from below
        self._filling = True
        while self._writing and self._left:
            size = min(self._left, agent.BLOCK)
            self._left -= size
            self._chan.write(self._block if size == agent.BLOCK else self._block[:size])
        self._filling = False
        if not self._left and self._word == "source":
            self._word = "done"
            self._chan.exit(0)

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        if self._word == "source":
            self._fill()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        assert self._chan is not None
        if self._word == "echo":
            self._chan.write(data)
        elif self._word == "digest":
            self._digest.update(data)
        self._count += len(data)

    def eof_received(self) -> bool:
        assert self._chan is not None
        if self._word in {"source", "done"}:
            return True  # a client without input; the output goes on
        if self._word == "sink":
            self._chan.write(b"%d\n" % self._count)
        elif self._word == "digest":
            self._chan.write(self._digest.hexdigest().encode() + b"\n")
        self._chan.exit(0)
        return False


_BLOCK = b""


class _Output(asyncio.Protocol):
    """The reading end of a command's output."""

    def __init__(self, session: _Spawned) -> None:
        self._session = session

    def data_received(self, data: bytes) -> None:
        self._session.chan.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.ended("output")


class _Input(asyncio.BaseProtocol):
    """The writing end of a command's input."""

    def __init__(self, session: _Spawned) -> None:
        self._session = session

    def pause_writing(self) -> None:
        self._session.chan.pause_reading()

    def resume_writing(self) -> None:
        # Not at once: asyncio's pipe calls this in the middle of emptying its buffer (3.11), and
        # loses what it is given there if the end of file comes with it, as it does here.
        asyncio.get_running_loop().call_soon(self._session.chan.resume_reading)


class _Spawned(asyncssh.SSHServerSession[bytes]):
    """A session that runs its command as sshd would: /bin/sh -c, a pipe for each stream.

    Standard error is not carried: no command of the benchmark writes to it. The pipes are joined
    by hand and not by `SSHServerProcess.redirect`, which loses commands that end at once (under
    uvloop) and the last block of an input that is read slowly (under asyncio's loop, see above);
    and with Popen, which starts a process in half the time of uvloop's own fork.
    """

    chan: asyncssh.SSHServerChannel[bytes]

    def __init__(self) -> None:
        self._command = ""
        self._early: list[bytes] = []
        self._early_end = False
        self._child: subprocess.Popen[bytes] | None = None
        self._input: asyncio.WriteTransport | None = None
        self._output: asyncio.ReadTransport | None = None
        self._running = {"output", "process"}
        self._starting: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.chan = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        child = self._child = subprocess.Popen(  # noqa: ASYNC220 - waits for vfork alone, 1 ms
            ["/bin/sh", "-c", self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=agent.spawn_environment(),
            bufsize=0,
        )
        watched = os.pidfd_open(child.pid)
        loop.add_reader(watched, self._exited, watched)
        writing, _ = await loop.connect_write_pipe(lambda: _Input(self), child.stdin)
        self._output, _ = await loop.connect_read_pipe(lambda: _Output(self), child.stdout)
        for data in self._early:
            writing.write(data)
        self._input = writing  # only now, or what comes meanwhile would overtake the above
        if self._early_end:
            self._input.close()

    def _exited(self, watched: int) -> None:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)
        self.ended("process")

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._input:
            self._input.write(data)
        else:
            self._early.append(data)

    def eof_received(self) -> bool:
        if self._input:
            self._input.close()
        else:
            self._early_end = True
        return True  # the output goes on

    def pause_writing(self) -> None:
        if self._output:
            self._output.pause_reading()

    def resume_writing(self) -> None:
        if self._output:
            self._output.resume_reading()

    def ended(self, what: str) -> None:
        """Give the exit status back once the process and its output have both ended."""
        self._running.discard(what)
        if self._child and not self._running:
            self.chan.exit(self._child.wait())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._input and not self._input.is_closing():
            self._input.close()


class _HandlingServer(asyncssh.SSHServer):
    def connection_requested(self, *_: object) -> bool:
        return True

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Handler()


class _SpawningServer(asyncssh.SSHServer):
    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Spawned()


async def _serve(orders: agent.Orders) -> None:
    server = await asyncssh.listen(
        orders.host,
        0,
        server_factory=_HandlingServer if orders.mode == "handler" else _SpawningServer,
        server_host_keys=[orders.host_key],
        authorized_client_keys=orders.authorized_keys,
        encoding=None,
        config=None,
        backlog=1000,
        agent_forwarding=False,
        x11_forwarding=False,
        sftp_factory=True,
    )
    agent.announce(server.get_port())
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(0, ended.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await ended


# ---- command-line client -----------------------------------------------------------------------


async def _execute(orders: agent.Orders) -> int:
    """One command, this process's standard streams joined to it."""
    # /dev/null cannot be watched by epoll (uvloop aborts); the caller means "none".
    inputless, outputless = (stat.S_ISCHR(os.fstat(each).st_mode) for each in (0, 1))
    async with _connected(orders) as connection:
        process = await connection.create_process(
            orders.command,
            encoding=None,
            # Files, not numbers: a 0 would be taken for "no redirection".
            stdin=asyncssh.DEVNULL if inputless else sys.stdin.buffer,
            stdout=asyncssh.DEVNULL if outputless else sys.stdout.buffer,
            stderr=asyncssh.DEVNULL,
        )
        await process.wait_closed()
        return 255 if process.exit_status is None else process.exit_status


async def _tunnel(orders: agent.Orders) -> int:
    """Forward one port until this process is ended."""
    way, port, target = orders.tunnel.split()
    async with _connected(orders) as connection:
        if way == "-L":
            made = await connection.forward_local_port(
                orders.host, int(port), orders.host, int(target)
            )
        else:
            made = await connection.forward_socks(orders.host, int(port))
        await made.wait_closed()
    return 0


# ---- library -----------------------------------------------------------------------------------


class _Receiver(asyncssh.SSHClientSession[bytes]):
    """A client session that counts what arrives, and digests or keeps it if asked to."""

    def __init__(self, *, keep: bool = False, digest: bool = False) -> None:
        self.count = 0
        self.kept = bytearray() if keep else None
        self.digest = hashlib.sha256() if digest else None
        self.closed = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self.arrived = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.count += len(data)
        if self.kept is not None:
            self.kept += data
            self.arrived.set()
        if self.digest is not None:
            self.digest.update(data)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class Operations:
    """What the harness may ask of a library client."""

    def __init__(self, orders: agent.Orders) -> None:
        """Keep the target; every operation opens its own connection."""
        self._orders = orders
        self._held: list[tuple[contextlib.AsyncExitStack, object]] = []
        self._block = agent.pattern()

    async def login(self, count: int, command: str) -> list[float]:
        """Seconds of each connect + login + exec + close."""
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            async with _connected(self._orders) as connection:
                done = await connection.run(command, check=True, encoding=None)
                assert done.exit_status == 0
            taken.append(time.perf_counter() - started)
        return taken

    async def commands(self, count: int, command: str) -> float:
        """Seconds for `count` commands one after the other on one connection."""
        async with _connected(self._orders) as connection:
            await connection.run(command, check=True, encoding=None)
            started = time.perf_counter()
            for _ in range(count):
                await connection.run(command, check=True, encoding=None)
            return time.perf_counter() - started

    async def echo(self, count: int, command: str) -> list[float]:
        """Seconds of each byte there and back."""
        taken = []
        async with _connected(self._orders) as connection:
            session = _Receiver(keep=True)
            chan, _ = await connection.create_session(lambda: session, command, encoding=None)
            assert session.kept is not None
            for _ in range(count):
                session.arrived.clear()
                started = time.perf_counter()
                chan.write(b"x")
                await session.arrived.wait()
                taken.append(time.perf_counter() - started)
                await asyncio.sleep(0.001)
            assert session.kept == b"x" * count
            chan.write_eof()
        return taken

    async def bulk(self, direction: str, size: int, check: bool) -> dict[str, float | int | str]:
        """Move `size` bytes between memories; the login is not in the seconds."""
        async with _connected(self._orders) as connection:
            used, started = time.process_time(), time.perf_counter()
            if direction == "download":
                session = _Receiver(digest=check)
                await connection.create_session(lambda: session, f"source {size}", encoding=None)
                await session.closed
                count = session.count
                digest = session.digest.hexdigest() if session.digest else ""
            else:
                session = _Receiver(keep=True)
                chan, _ = await connection.create_session(
                    lambda: session, "digest" if check else "sink", encoding=None
                )
                left = size
                while left:
                    await session.writable.wait()
                    step = min(left, agent.BLOCK)
                    chan.write(self._block if step == agent.BLOCK else self._block[:step])
                    left -= step
                chan.write_eof()
                await session.closed
                assert session.kept is not None
                answer = session.kept.decode().strip()
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
            _connected(self._orders) as connection,
            connection.start_sftp_client() as files,
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
                connection = await stack.enter_async_context(_connected(self._orders))
                chan, _ = await connection.create_session(_Receiver, command, encoding=None)
                self._held.append((stack.pop_all(), chan))

        await asyncio.gather(*(one() for _ in range(count)))
        return len(self._held)

    async def release(self) -> int:
        """Close every idle session."""
        held, self._held = self._held, []
        for stack, _ in held:
            await stack.aclose()
        return len(held)


def _runner(orders: agent.Orders) -> asyncio.Runner:
    if orders.loop == "uvloop":
        import uvloop  # only this variant needs it, and it need not be installed

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def main(role: str, text: str) -> int:
    """Run one role until it is done."""
    global _BLOCK
    orders = agent.Orders(text)
    with _runner(orders) as runner:
        if role == "exec":
            return runner.run(_execute(orders))
        if role == "tunnel":
            return runner.run(_tunnel(orders))
        if role == "server":
            _BLOCK = agent.pattern()
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
