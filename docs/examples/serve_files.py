# SPDX-License-Identifier: MIT
"""Five lines each: what clients see as files. The client that tries them stands at the end."""

import asyncio
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import tellin

HOST_KEY = tellin.PrivateKey.generate("ed25519")
ANN = tellin.PrivateKey.generate("ed25519")
SCRATCH = Path(tempfile.mkdtemp())


# One directory: no path, link or rename leads out of it, and no rights of root's are needed.
def directory() -> Any:
    (SCRATCH / "shared").mkdir()
    return tellin.RootedFiles(SCRATCH / "shared")


# To each user a tree of their own. A name comes from the client: a table, and no path made of it.
def own() -> Any:
    trees = {"ann": tellin.MemoryFiles({"hello.txt": b"hi"}), "bob": tellin.MemoryFiles()}
    return lambda login: trees[login.user]


# Nothing on any disk: what clients put there is the program's to read.
INBOX = tellin.MemoryFiles(most_bytes=1 << 20)


# Whatever fsspec reaches: "s3://bucket/folder", or an archive. pip install 'tellin[fsspec]'
def archive() -> Any:
    with zipfile.ZipFile(SCRATCH / "a.zip", "w") as packed:
        packed.writestr("read me", "packed")
    return tellin.FsspecFiles(f"zip://::{SCRATCH}/a.zip")


# A limit round any of them.
LIMITED = tellin.QuotaFiles(tellin.MemoryFiles(), most_bytes=1000, most_files=10)

# What may be asked of any of them.
READ_ONLY = tellin.ServeFiles(tellin.MemoryFiles({"hello.txt": b"hi"}), read_only=True)


async def visit(files: Any, task: Any) -> None:
    async with (
        tellin.serve(host_keys=[HOST_KEY], authorized_keys=ANN.public, sftp=files) as server,
        tellin.connect(
            "127.0.0.1",
            port=server.port,
            host_keys=HOST_KEY.public,
            user="ann",
            keys=[ANN],
            config=None,
        ) as connection,
        connection.sftp() as sftp,
    ):
        await task(sftp)


async def main() -> None:
    async def greet(sftp: tellin.Files) -> None:
        async with sftp.open("/hello.txt", "w") as file:
            await file.write(b"hello from ann")
        print("in a directory:", (SCRATCH / "shared" / "hello.txt").read_text())

    async def look(sftp: tellin.Files) -> None:
        print("ann has", await sftp.listdir("/"))

    async def upload(sftp: tellin.Files) -> None:
        async with sftp.open("/new", "w") as file:
            await file.write(b"uploaded")
        print("in memory:", INBOX.read("/new"))

    async def unpack(sftp: tellin.Files) -> None:
        names = await sftp.listdir("/")
        async with sftp.open(f"/{names[0]}") as file:
            print("in an archive:", names, await file.read())

    async def fill(sftp: tellin.Files) -> None:
        (SCRATCH / "big.bin").write_bytes(bytes(2000))
        try:
            await sftp.put(SCRATCH / "big.bin", "big.bin")
        except OSError as error:
            print("put big.bin:", str(error).rpartition(": ")[2])

    async def change(sftp: tellin.Files) -> None:
        try:
            await sftp.remove("hello.txt")
        except PermissionError as error:
            print("remove hello.txt:", str(error).rpartition(": ")[2])

    await visit(directory(), greet)
    await visit(own(), look)
    await visit(INBOX, upload)
    await visit(archive(), unpack)
    await visit(LIMITED, fill)
    await visit(READ_ONLY, change)


asyncio.run(main())
