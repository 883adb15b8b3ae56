# SPDX-License-Identifier: MIT
"""Run a command, and look at what came of it.

usage: python run_command.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import asyncio
import sys

import tellin


async def main(host: str, port: str, user: str, key_file: str, known_hosts: str) -> None:
    async with tellin.connect(
        host, port=int(port), user=user, keys=[key_file], known_hosts=known_hosts, config=None
    ) as connection:
        done = await connection.run("echo out; echo err >&2; exit 3")
        print(done.stdout, done.stderr, done.exit_status)

        counted = await connection.run("wc -c", input="twelve bytes", check=True)
        print(counted.stdout.strip(), "bytes")

        try:
            await connection.run("false", check=True)
        except tellin.CommandFailed as error:
            print(error)

        # Many at once, on one connection.
        names = await asyncio.gather(*(connection.run(f"echo {n}") for n in range(5)))
        print([done.stdout.strip() for done in names])


asyncio.run(main(*sys.argv[1:]))
