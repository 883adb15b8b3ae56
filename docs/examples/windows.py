# SPDX-License-Identifier: MIT
"""A function of a server that shows something on its client's display.

usage: python windows.py, where DISPLAY and XAUTHORITY are those of a display that makes cookies
"""

import asyncio
import socket
from struct import pack, unpack

import tellin


def ask_for_name(stream: socket.socket, protocol: bytes, cookie: bytes) -> str:
    """Open the display, as every program of X11 does first, and read who made it."""
    lengths = pack("<HHHHH", 11, 0, len(protocol), len(cookie), 0)
    with stream, stream.makefile("rb") as reader:
        stream.sendall(b"l\0" + lengths + protocol.ljust(20, b"\0") + cookie)
        success, _, _, _, size = unpack("<BBHHH", reader.read(8))
        rest = reader.read(4 * size)
        (vendor,) = unpack("<H", rest[16:18])
        return rest[32 : 32 + vendor].decode() if success else "refused"


async def draw(process: tellin.ServerProcess[str]) -> None:
    display = process.display
    if display is None:
        await process.stdout.write("no windows for this one")
    else:
        words = await process.open_display(), display.protocol.encode(), display.cookie
        await process.stdout.write(await asyncio.to_thread(ask_for_name, *words))


async def show(connection: tellin.Connection) -> None:
    print((await connection.run("draw")).stdout)
    print((await connection.run("draw", x11=True)).stdout)


async def main() -> None:
    host_key, key = (tellin.PrivateKey.generate("ed25519") for _ in range(2))
    async with (
        tellin.serve(
            host_keys=[host_key], authorized_keys=key.public, session=draw, permit_x11=True
        ) as server,
        tellin.connect(
            "127.0.0.1",
            port=server.port,
            user="ann",
            keys=[key],
            host_keys=host_key.public,
            config=None,
        ) as connection,
    ):
        await show(connection)


asyncio.run(main())
