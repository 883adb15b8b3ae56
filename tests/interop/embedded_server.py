# SPDX-License-Identifier: MIT
"""A program with a server of tellin's library in it that serves files which are on no disk: told in JSON as its argument."""

import asyncio
import json
import sys
from typing import Any

import tellin


def files_of(kind: str) -> Any:
    if kind == "memory":
        return tellin.MemoryFiles({"hello.txt": b"hi"})
    if kind == "fsspec":
        return tellin.FsspecFiles("memory://served")
    return tellin.QuotaFiles(
        tellin.MemoryFiles({"hello.txt": b"hi"}), most_bytes=1_000_000, most_files=5
    )


async def main() -> None:
    told = json.loads(sys.argv[1])
    async with tellin.serve(
        "127.0.0.1",
        told["port"],
        host_keys=told["host_keys"],
        authorized_keys=tellin.load_public_key(told["authorized"]),
        sftp=files_of(told["options"]["kind"]),
    ):
        await asyncio.Event().wait()


asyncio.run(main())
