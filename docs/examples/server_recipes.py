# SPDX-License-Identifier: MIT
"""Five lines each: who may in, and what sessions are. The client that tries them stands at the end."""

import asyncio
import hashlib
import hmac
from typing import Any

import tellin

HOST_KEY = tellin.PrivateKey.generate("ed25519")
ANN = tellin.PrivateKey.generate("ed25519")
SECRET = hashlib.scrypt(b"open sesame", salt=b"per user", n=1024, r=8, p=1)

# Whoever holds the key that a table has for the name.
KEYS = {"ann": ANN.public}


async def know(candidate: tellin.Candidate) -> bool:
    await asyncio.sleep(0)  # a database, say
    return candidate.key == KEYS.get(candidate.user)


# A hash takes long: the loop has others to serve meanwhile.
async def check(user: str, password: str) -> bool:
    guess = await asyncio.to_thread(
        hashlib.scrypt, password.encode(), salt=b"per user", n=1024, r=8, p=1
    )
    return user == "bob" and hmac.compare_digest(guess, SECRET)


# A session is a function: streams, and a status.
async def shout(process: tellin.ServerProcess[str]) -> int:
    async for line in process.stdin:
        await process.stdout.write(line.upper())
    return 0 if process.command == "shout" else 127


# A subsystem is one too, by its name.
async def echo(process: tellin.ServerProcess[Any]) -> None:
    async for chunk in process.stdin.chunks():
        await process.stdout.write(chunk)


# What this account's shell would run, in a folder of its own.
COMMANDS = tellin.RunCommands(
    directory="/", env={"ROLE": "worker"}, subsystems={"up": "tr a-z A-Z"}
)


def visit(server: tellin.Server, **options: Any) -> Any:
    return tellin.connect(
        "127.0.0.1", port=server.port, host_keys=HOST_KEY.public, config=None, **options
    )


async def main() -> None:
    sessions: Any = {"host_keys": [HOST_KEY], "session": shout, "subsystems": {"echo": echo}}
    async with tellin.serve(authorize=know, **sessions) as server:
        async with visit(server, user="ann", keys=[ANN]) as connection:
            print(await connection.run("shout", input="hello\n"))
            async with connection.subsystem("echo") as process:
                print((await process.communicate(b"back")).stdout)
        try:
            await visit(server, user="eve", keys=[ANN])
        except tellin.AuthenticationFailed as error:
            print(error)
    async with (
        tellin.serve(password=check, **sessions) as server,
        visit(server, user="bob", password=lambda: "open sesame") as connection,
    ):
        print((await connection.run("whisper")).exit_status)
    async with (
        tellin.serve(host_keys=[HOST_KEY], authorize=know, session=COMMANDS) as server,
        visit(server, user="ann", keys=[ANN]) as connection,
    ):
        print((await connection.run("pwd; echo $ROLE")).stdout.split())
        async with connection.subsystem("up") as process:
            print((await process.communicate(b"loud")).stdout)


asyncio.run(main())
