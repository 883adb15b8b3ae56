# SPDX-License-Identifier: MIT
"""What programs do with files of the other side: python file_recipes.py host port user key known_hosts."""

import asyncio
import sys
import tempfile
from pathlib import Path

import tellin


async def move_trees(files: tellin.Files, folder: Path) -> None:
    (folder / "tree" / "below").mkdir(parents=True)
    (folder / "tree" / "below" / "file").write_bytes(b"data")
    await files.put(folder / "tree", folder / "there", recurse=True, preserve=True)
    await files.get(folder / "there", folder / "back", recurse=True)
    await files.copy(folder / "there", folder / "copy", recurse=True)
    await files.mget(folder / "there" / "below" / "f*", folder)
    print((folder / "back" / "below" / "file").read_text(), (folder / "file").exists())


async def go_on(files: tellin.Files, folder: Path) -> None:
    (folder / "large").write_bytes(b"0123456789" * 100_000)
    (folder / "arrived").write_bytes(b"0123456789" * 1000)
    try:
        await files.get(folder / "large", folder / "arrived", resume=True)
    except tellin.SftpError as error:
        print(error, "/", error.hint)
    print((folder / "arrived").stat().st_size)


async def keep_alike(files: tellin.Files, folder: Path) -> None:
    await files.mirror_put(folder / "tree", folder / "mirror")
    (folder / "tree" / "new").write_bytes(b"more")
    done = await files.mirror_put(folder / "tree", folder / "mirror", delete=True, dry_run=True)
    print(done.copied, done.removed, done.unchanged)


async def read_and_write(files: tellin.Files, folder: Path) -> None:
    async with files.open(folder / "notes", "w", encoding="utf-8") as notes:
        for number in range(1000):
            await notes.write(f"line {number}\n")
    async with files.open(folder / "notes") as file:
        print(await file.readline(), len([line async for line in file]))


async def look_around(files: tellin.Files, folder: Path) -> None:
    async for where, directories, others in files.walk(folder / "tree"):
        print(Path(where).name, [one.name for one in directories], [one.name for one in others])
    print(len(await files.glob(folder / "**" / "file")), await files.isdir(folder / "tree"))


async def main(host: str, port: str, user: str, key: str, known_hosts: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with (
            tellin.connect(
                host, port=int(port), user=user, keys=[key], known_hosts=known_hosts, config=None
            ) as connection,
            connection.sftp() as files,
        ):
            for recipe in (move_trees, go_on, keep_alike, read_and_write, look_around):
                await recipe(files, Path(name))


asyncio.run(main(*sys.argv[1:]))
