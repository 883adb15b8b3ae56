# SPDX-License-Identifier: MIT
"""Ports led through connections, a connection that comes back by itself, and a pool of them.

usage: python tunnels.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import asyncio
import socket
import sys
from typing import Any

import tellin


async def ask(port: int) -> str:
    """What whoever is at a port of this machine says first."""

    def first_word() -> str:
        with socket.create_connection(("127.0.0.1", port)) as stream:
            return stream.recv(255).decode().split("-")[0]

    return await asyncio.to_thread(first_word)


async def lead(host: str, port: int, **how: Any) -> None:
    async with (
        tellin.connect(host, port=port, **how) as connection,
        connection.forward_local(0, "127.0.0.1", port) as forwarding,
        connection.socks() as proxy,
    ):
        print("behind the port:", await ask(forwarding.port))
        print("a proxy, too:", proxy.port > 0)


async def come_back(host: str, port: int, **how: Any) -> None:
    async with tellin.Tunnel(host, port=port, longest_wait=5, **how) as tunnel:
        forwarding = await tunnel.forward_local(0, "127.0.0.1", port)
        for _ in range(2):
            connection = await tunnel.wait_up()
            print("up:", await ask(forwarding.port))
            # Whatever ends it, the next one follows, and the port stays.
            connection.close()
            await connection.wait_closed()


async def share(host: str, port: int, user: str, **how: Any) -> None:
    async with tellin.Pool(**how) as pool:

        async def one(number: int) -> str:
            async with pool.acquire(host, port=port, user=user) as connection:
                return (await connection.run(f"echo {number}", check=True)).stdout.strip()

        print(*await asyncio.gather(*map(one, range(5))), "by", pool.size)


async def main(host: str, port: str, user: str, key: str, known_hosts: str) -> None:
    how = {"user": user, "keys": [key], "known_hosts": known_hosts, "config": None}
    await lead(host, int(port), **how)
    await come_back(host, int(port), **how)
    await share(host, int(port), **how)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
