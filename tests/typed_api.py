# SPDX-License-Identifier: MIT
"""The library as a typed program uses it; ``make check`` reads this, nobody runs it."""

import asyncio
import io
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, assert_type

import tellin
import tellin.keys
from tellin import blocking


class Token:
    """A signer of one's own."""

    def __init__(self, key: tellin.PrivateKey) -> None:
        self.public: tellin.PublicKey = key.public
        self._key = key

    def sign(self, data: bytes, algorithm: str) -> bytes:
        return self._key.sign(data, algorithm)


async def know() -> str:
    return "a password"


def ask(question: tellin.HostKeyQuestion) -> bool:
    return question.fingerprint == "SHA256:..."


async def gen() -> AsyncIterator[bytes]:
    yield b"x"


async def connects(key: tellin.PrivateKey, signer: tellin.Signer, sock: socket.socket) -> None:
    async with tellin.connect(
        "host",
        port=22,
        user="me",
        host_keys=tellin.HostKeyPolicy.ACCEPT_NEW,
        known_hosts=[Path("known_hosts")],
        keys=[key, "file", Path("file"), b"contents", signer, Token(key)],
        certificates=[Path("certificate"), tellin.keys.load_certificate("...")],
        revoked_host_keys=["revoked", tellin.keys.RevocationList()],
        passphrase=lambda name: name,
        password=know,
        questions=lambda name, instruction, prompts: ["x" for _ in prompts],
        config=None,
        sock=sock,
        keepalive=tellin.KeepAlive(30.0),
        ciphers="+3des-cbc",
        macs=["hmac-sha2-256"],
        key_algorithms="rsa-sha2-256",
    ) as connection:
        assert_type(connection, tellin.Connection)
        assert_type(connection.host_key, tellin.PublicKey)
        assert_type(connection.host_certificate, tellin.keys.Certificate | None)
    asking = await tellin.connect("host", host_keys=ask, known_hosts=tellin.KnownHosts())
    assert_type(asking, tellin.Connection)


async def runs(connection: tellin.Connection, encoding: str | None) -> None:
    done = await connection.run("x", check=True, timeout=3, input="text", env={"LANG": "C"})
    assert_type(done, tellin.Completed[str])
    assert_type(done.stdout, str)
    raw = await connection.run("x", encoding=None, input=memoryview(b"x"))
    assert_type(raw.stderr, bytes)
    either = await connection.run("x", encoding=encoding)
    assert_type(either, tellin.Completed[str] | tellin.Completed[bytes])
    try:
        raw.check()
    except tellin.CommandFailed as error:
        assert_type((error.hint, error.stage), tuple[str, str])
    except tellin.AuthenticationFailed as error:
        assert_type(error.tried + error.allowed + error.keys + error.unused, tuple[str, ...])
    except tellin.NegotiationFailed as error:
        assert_type((error.kind, error.ours), tuple[str, tuple[str, ...]])
    except tellin.HostKeyRejected as error:
        assert_type(error.fingerprint, str)


async def redirects(connection: tellin.Connection, sock: socket.socket) -> None:
    run = connection.run
    await run("x", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    await run("x", stdin="path", stdout=Path("path"), stderr=tellin.Redirect.STDOUT)
    await run("x", stdin=sys.stdin, stdout=sys.stdout, stderr=2)
    await run("x", stdin=io.BytesIO(b"x"), stdout=io.StringIO(), stderr=io.BytesIO())
    await run("x", stdin=sock, stdout=sock)
    await run("x", stdin=[b"a", "b"], stdout=lambda view: print(bytes(view)))
    await run("x", stdin=gen())
    with subprocess.Popen(["x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as local:  # noqa: ASYNC220 - nobody runs it
        await run("x", stdin=local.stdout, stdout=local.stdin)
    child = await asyncio.create_subprocess_exec("x", stdin=-1, stdout=-1)
    await run("x", stdin=child.stdout, stdout=child.stdin)


async def starts(connection: tellin.Connection) -> None:
    async with connection.start("y") as process:
        assert_type(process, tellin.Process[str])
        await process.stdin.write("x")
        assert_type(await process.stdout.readline(), str)
        async for line in process.stdout:
            assert_type(line, str)
        async for chunk in process.stderr.chunks():
            assert_type(chunk, str)
        assert_type(await process.communicate("x"), tellin.Completed[str])
    first = await connection.start("y", encoding=None)
    await first.stdin.write(bytearray(b"x"))
    second = await connection.start("z", stdin=first.stdout, encoding=None)
    assert_type(second, tellin.Process[bytes])
    await connection.run("z", stdout=second.stdin)
    async with connection.shell(term="xterm") as shell, connection.subsystem("sftp") as sftp:
        assert_type(shell, tellin.Process[str])
        assert_type(sftp, tellin.Process[bytes])


async def forwards(connection: tellin.Connection) -> None:
    def accept(address: str, port: int) -> bool:
        return bool(address) and port > 0

    async def later(address: str, port: int) -> bool:
        return accept(address, port)

    async with connection.forward_local(0, "host", 1, accept=accept) as forwarding:
        assert_type(forwarding, tellin.Forwarding)
    assert_type(await connection.socks(Path("socket"), accept=later), tellin.Forwarding)
    async with connection.listen() as listener:
        async for stream in listener:
            assert_type(stream, tellin.Stream)
    async with tellin.Tunnel("host", options=["Compression=yes"]) as tunnel:
        assert_type(await tunnel.wait_up(), tellin.Connection)
        standing = await tunnel.forward_remote(permit_open=["host:1"])
        assert_type(standing.refused, tellin.TellinError | None)
    async with tellin.Pool() as pool, pool.acquire("host", user="me") as lent:
        assert_type(lent, tellin.Connection)
    await connection.run("x", x11=True)
    async with connection.start("x", x11=tellin.Display(trusted=True, cookie=b"x")) as process:
        assert_type(process, tellin.Process[str])


def forwards_in_threads() -> None:
    def changed(tunnel: blocking.Tunnel) -> None:
        assert_type(tunnel.state, tellin.TunnelState)

    with blocking.Tunnel("host", on_change=changed, keys=["key"]) as tunnel:
        assert_type(tunnel.wait_up(timeout=1), blocking.Connection)
        assert_type(tunnel.forward_local(0, "host", 1), blocking.Forwarding)
    with blocking.Pool(max_size=1) as pool, pool.acquire("host") as lent:
        assert_type(lent, blocking.Connection)


async def session(process: tellin.ServerProcess[str]) -> int:
    process.on_resize = lambda terminal: print(terminal.columns)
    assert_type(process.terminal, tellin.Terminal | None)
    async for line in process.stdin:
        await process.stdout.write(line)
    return 0


def plain(process: tellin.ServerProcess[bytes]) -> None:
    process.exit(0)


async def allow(candidate: tellin.Candidate) -> bool:
    return candidate.user == "me" and candidate.key is not None


async def serves(key: tellin.PrivateKey) -> None:
    async with tellin.serve(
        host_keys=[key, "file", Path("file"), b"contents"],
        session=session,
        subsystems={"plain": plain, "programs": tellin.RunCommands()},
        host_certificates=["host-cert.pub", tellin.keys.load_certificate("...")],
        authorized_keys={"me": [key.public, Path("authorized_keys")]},
        authorities=[key.public, "ca.pub"],
        revoked=[Path("revoked"), tellin.keys.RevocationList()],
        clock=lambda: 1.0e9,
        authorize=allow,
        password={"me": "x"},
        authentication_methods=["publickey,password"],
    ) as server:
        assert_type(server, tellin.Server)
        assert_type(server.port, int)
    other = await tellin.serve(host_keys=[key], authorize=lambda candidate: True)
    await other.aclose(grace=1)


def waits(key: tellin.PrivateKey, handler: Callable[[blocking.ServerProcess[Any]], int]) -> None:
    with (
        blocking.serve(host_keys=[key], authorized_keys=key.public, session=handler) as server,
        blocking.connect("host", keys=[key], host_keys=ask, password=lambda: "x") as connection,
    ):
        assert_type(server, blocking.Server)
        assert_type(connection.run("x", check=True, input="x"), tellin.Completed[str])
        assert_type(connection.run("x", encoding=None).stdout, bytes)
        connection.run("x", stdin=iter([b"x"]), stdout=print)
        with connection.start("x", encoding=None) as process:
            for line in process.stdout:
                assert_type(line, bytes)
            second = connection.start("y", stdin=process.stdout, stderr=subprocess.STDOUT)
            connection.run("y", stdout=second.stdin)
            assert_type(second.communicate("x"), tellin.Completed[str])
        with connection.sftp() as files:
            assert_type(files, blocking.Files)
            assert_type(files.stat("x").size, int | None)
            files.get("a", Path("b"))
            with files.open("x", "w", permissions=0o600) as file:
                assert_type(file.write(b"x"), int)


async def moves(connection: tellin.Connection) -> None:
    async with connection.sftp() as files:
        assert_type(files, tellin.Files)
        await files.put(Path("a"), b"b")
        assert_type(await files.listdir(), list[str])
        async for entry in files.scandir("x"):
            assert_type(entry.name, str)
        async with await files.open("x") as file:
            assert_type(file, tellin.RemoteFile)
            assert_type(await file.read(5), bytes)
