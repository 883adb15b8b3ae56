# SPDX-License-Identifier: MIT
"""What can be led through a connection, each way, and connections that a program has for itself.

usage: python forwards.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import tellin


async def ask(port: int) -> str:
    """What whoever is at a port of this machine says to a greeting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    writer.write_eof()
    said = await reader.read()
    writer.close()
    return said.decode()


async def from_here(connection: tellin.Connection, port: int) -> None:
    # Port 0 is one that is free. "localhost" is the server, since it is the server who connects.
    async with connection.forward_local(0, "localhost", port) as forwarding:
        print("from here:", await ask(forwarding.port))


async def for_some(connection: tellin.Connection, port: int) -> None:
    def accept(address: str, port: int) -> bool:
        return address == "127.0.0.1" and port != 7

    async with connection.forward_local(0, "localhost", port, accept=accept) as forwarding:
        print("for some:", await ask(forwarding.port))


async def by_socks(connection: tellin.Connection, port: int) -> None:
    async with connection.socks() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        # SOCKS 4a: the name is looked up by the server. Browsers and curl do this by themselves.
        writer.write(b"\4\1%b\0\0\0\1\0localhost\0" % port.to_bytes(2))
        granted = (await reader.readexactly(8))[1] == 90
        writer.write(b"hello")
        writer.write_eof()
        print("by SOCKS:", granted, (await reader.read()).decode())
        writer.close()


async def from_there(connection: tellin.Connection, port: int) -> None:
    async with connection.forward_remote(0, "localhost", port) as forwarding:
        # It listens on the server; here that is the same machine.
        print("from there:", await ask(forwarding.port))


async def by_socks_from_there(connection: tellin.Connection, port: int) -> None:
    # Whoever is on the server reaches this place on our side, and nothing else.
    async with connection.forward_remote(permit_open=[f"localhost:{port}"]) as proxy:
        print("a proxy there:", proxy.port > 0)


async def be_reached(connection: tellin.Connection) -> None:
    async def greet(stream: tellin.Stream) -> None:
        await stream.write(b"you said " + await stream.read())

    async with connection.listen(handler=greet) as listener:
        print("the program itself:", await ask(listener.port))


async def be_reached_one_by_one(connection: tellin.Connection) -> None:
    async with connection.listen() as listener:
        asking = asyncio.create_task(ask(listener.port))
        async for stream in listener:
            async with stream:
                await stream.write(f"from {stream.origin[0]}".encode())
            break
        print("one by one:", await asking)


async def reach(connection: tellin.Connection, port: int) -> None:
    async with connection.open_connection("localhost", port) as stream:
        await stream.write(b"hello")
        stream.writer.end()
        print("from the server:", (await stream.read()).decode())


async def reach_a_socket(connection: tellin.Connection, path: str) -> None:
    async with connection.open_unix_connection(path) as stream:
        await stream.write(b"hello")
        stream.writer.end()
        print("a socket there:", (await stream.read()).decode())


async def join_sockets(connection: tellin.Connection, here: str, there: str) -> None:
    async with connection.forward_local(here, there):
        reader, writer = await asyncio.open_unix_connection(here)
        writer.write(b"hello")
        writer.write_eof()
        print("two sockets:", (await reader.read()).decode())
        writer.close()


async def go_further(gate: tellin.Connection, port: int, key: str, known_hosts: str) -> None:
    # The gate sees what is encrypted for the other host, whose key is checked here.
    async with gate.connect(
        "127.0.0.1", port=port, user=gate.user, keys=[key], known_hosts=known_hosts, config=None
    ) as inner:
        print("behind it:", (await inner.run("echo here")).stdout.strip())


async def main(host: str, port: str, user: str, key: str, known_hosts: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    with tempfile.TemporaryDirectory(prefix="tellin-") as folder:
        there, here = str(Path(folder, "there")), str(Path(folder, "here"))
        async with (
            await asyncio.start_server(echo, "127.0.0.1", 0) as service,
            await asyncio.start_unix_server(echo, there),
            tellin.connect(
                host, port=int(port), user=user, keys=[key], known_hosts=known_hosts, config=None
            ) as connection,
        ):
            at = service.sockets[0].getsockname()[1]
            for example in (from_here, for_some, by_socks, from_there, by_socks_from_there, reach):
                await example(connection, at)
            await be_reached(connection)
            await be_reached_one_by_one(connection)
            await reach_a_socket(connection, there)
            await join_sockets(connection, here, there)
            await go_further(connection, int(port), key, known_hosts)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
