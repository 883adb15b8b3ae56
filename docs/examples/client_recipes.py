# SPDX-License-Identifier: MIT
"""Five lines each: what programs do with a connection.

usage: python client_recipes.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import asyncio
import socket
import sys
import tempfile
from pathlib import Path

import tellin


async def follow(connection: tellin.Connection) -> None:
    async with connection.start("for n in 1 2 3; do echo line $n; done") as process:
        async for line in process.stdout:
            print("it says:", line, end="")
        print((await process.wait()).ending)


async def give_and_take(connection: tellin.Connection) -> None:
    process = await connection.start("sort")
    done = await process.communicate("b\na\n", check=True, timeout=60)
    print(done.stdout.split())


async def join_processes(one: tellin.Connection, other: tellin.Connection) -> None:
    numbers = await one.start("seq 100000", encoding=None)
    counting = await other.start("wc -l", stdin=numbers.stdout)
    print((await counting.wait()).stdout.strip(), "lines, never in this program's hands")


async def redirect(connection: tellin.Connection, folder: Path) -> None:
    await connection.run("seq 1000", stdout=folder / "numbers", check=True)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await connection.run("head -n 2", stdin=folder / "numbers", stdout=theirs)
        print(ours.recv(100))


async def move_files(connection: tellin.Connection, folder: Path) -> None:
    (folder / "here").write_bytes(b"first line\n")
    async with connection.sftp() as files:
        await files.put(folder / "here", folder / "there")
        async with files.open(folder / "there", "a") as file:
            await file.write(b"second line\n")
        await files.get(folder / "there", folder / "back")
        try:
            await files.remove(folder / "none")
        except FileNotFoundError as error:
            print(error.filename == str(folder / "none"), (folder / "back").stat().st_size)


async def be_ready_for_failure(connection: tellin.Connection) -> None:
    try:
        await connection.run("echo no such thing >&2; exit 2", check=True, timeout=60)
    except tellin.CommandFailed as error:
        print(error, "/", error.hint)


async def bring_socket_and_key(
    port: int, user: str, key: bytes, host_key: tellin.PublicKey
) -> None:
    sock = socket.create_connection(("127.0.0.1", port))
    async with tellin.connect(
        "name.example", sock=sock, user=user, keys=[key], host_keys=host_key, config=None
    ) as connection:
        print((await connection.run("echo over a socket")).stdout, end="")


async def ask_about_the_host(port: int, user: str, key: bytes) -> None:
    async def ask(question: tellin.HostKeyQuestion) -> bool:
        print("is", question.key.kind, "right?")
        return question.fingerprint.startswith("SHA256:")

    async with tellin.connect(
        "127.0.0.1", port=port, user=user, keys=[key], host_keys=ask, known_hosts=(), config=None
    ) as connection:
        print(connection.host_key.kind, "it is")


async def understand_a_refusal(port: int, host_key: tellin.PublicKey) -> None:
    stranger = tellin.PrivateKey.generate("ed25519", comment="mine")
    try:
        await tellin.connect(
            "127.0.0.1", port=port, user="me", keys=[stranger], host_keys=host_key, config=None
        )
    except tellin.AuthenticationFailed as error:
        print(error.stage, error.tried, error.allowed, len(error.keys), error.unused)


async def main(host: str, port: str, user: str, key: bytes, known_hosts: str) -> None:
    async with tellin.connect(
        host, port=int(port), user=user, keys=[key], known_hosts=known_hosts, config=None
    ) as connection:
        await follow(connection)
        await give_and_take(connection)
        await join_processes(connection, connection)
        with tempfile.TemporaryDirectory() as folder:
            await redirect(connection, Path(folder))
            await move_files(connection, Path(folder))
        await be_ready_for_failure(connection)
        host_key = connection.host_key
    await bring_socket_and_key(int(port), user, key, host_key)
    await ask_about_the_host(int(port), user, key)
    await understand_a_refusal(int(port), host_key)


host, port, user, key_file, known_hosts = sys.argv[1:]
asyncio.run(main(host, port, user, Path(key_file).read_bytes(), known_hosts))
