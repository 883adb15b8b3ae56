# SPDX-License-Identifier: MIT
"""A server whose sessions are a function: it greets, and adds up the numbers it is sent.

usage: python serve.py [AUTHORIZED-KEYS]
"""

import asyncio
import sys

import tellin


async def add_up(process: tellin.ServerProcess[str]) -> int:
    await process.stdout.write(f"hello {process.user}\n")
    total = 0
    async for line in process.stdin:
        if not line.strip().isdigit():
            await process.stderr.write("only numbers\n")
            return 1
        total += int(line)
    await process.stdout.write(f"{total}\n")
    return 0


async def main(authorized_keys: str) -> None:
    key = tellin.PrivateKey.generate("ed25519")
    async with tellin.serve(
        host_keys=[key], authorized_keys=authorized_keys, session=add_up
    ) as server:
        print(server.port, key.public.to_line(), flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["authorized_keys"]))
