# SPDX-License-Identifier: MIT
"""The library's trees of files with the peers' servers."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.client.test_trees import grown, planted
from tests.interop.conftest import Running
from tests.interop.test_files import DATA

import tellin
from tellin.errors import SftpError

SERVERS = [
    "tellin",
    pytest.param("sshd", marks=pytest.mark.peer("sshd")),
    pytest.param("asyncssh", marks=pytest.mark.peer("asyncssh")),
    pytest.param("paramiko", marks=pytest.mark.peer("paramiko")),
]


def with_files(
    name: str, running: Running, tmp_path: Path, work: Callable[[tellin.Files], Awaitable[None]]
) -> None:
    target = running(name).target
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(target.known_hosts(), "ascii")

    async def connected() -> None:
        assert target.identity is not None
        async with (
            tellin.connect(
                target.host,
                port=target.port,
                user=target.user,
                keys=[target.identity.path],
                known_hosts=known_hosts,
                config=None,
            ) as connection,
            connection.sftp() as files,
        ):
            await work(files)

    asyncio.run(connected())


@pytest.mark.parametrize("name", SERVERS)
def test_trees_go_there_and_back_with_every_server(
    name: str, running: Running, tmp_path: Path
) -> None:
    source = planted(tmp_path / "source")
    if name == "paramiko":
        # It takes names for UTF-8.
        (source / os.fsdecode(b"a b/\xff")).unlink()

    async def work(files: tellin.Files) -> None:
        await files.put(source, tmp_path / "there", recurse=True, preserve=True)
        await files.get(tmp_path / "there", tmp_path / "back", recurse=True, preserve=True)
        await files.copy(tmp_path / "there", tmp_path / "copy", recurse=True)
        mirrored = await files.mirror_put(source, tmp_path / "there", dry_run=True)
        assert (mirrored.copied, mirrored.removed) == ([], [])
        names = await files.glob(f"{tmp_path}/there/f[0-2]")
        assert [path.rpartition("/")[2] for path in names] == ["f0", "f1", "f2"]
        async with await files.open(tmp_path / "there" / "large") as file:
            read = b"".join([await file.read(10_000) for _ in range(71)])
        assert read == (source / "large").read_bytes()
        async with await files.open(tmp_path / "text", "w", encoding="utf-8") as text:
            for number in range(1000):
                await text.write(f"{number}\n")
        await files.rmtree(tmp_path / "copy" / "a b")

    with_files(name, running, tmp_path, work)
    for found in ("there", "back"):
        assert grown(tmp_path / found) == grown(source)
    kept = {one: what for one, what in grown(source).items() if not one.startswith("a b")}
    assert grown(tmp_path / "copy") == kept
    assert (tmp_path / "back" / "f1").stat().st_mtime == 1_100_000_000
    assert (tmp_path / "text").read_text().split() == [str(number) for number in range(1000)]


@pytest.mark.parametrize("name", SERVERS)
def test_a_transfer_goes_on_with_every_server(name: str, running: Running, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(DATA)
    (tmp_path / "there").write_bytes(DATA[:1_234_567])
    (tmp_path / "back").write_bytes(DATA[:7])
    (tmp_path / "longer").write_bytes(DATA + b"more")

    async def work(files: tellin.Files) -> None:
        await files.put(tmp_path / "here", tmp_path / "there", resume=True)
        await files.get(tmp_path / "there", tmp_path / "back", resume=True)
        with pytest.raises(SftpError, match="already"):
            await files.put(tmp_path / "here", tmp_path / "longer", resume=True)

    with_files(name, running, tmp_path, work)
    assert (tmp_path / "there").read_bytes() == DATA
    assert (tmp_path / "back").read_bytes() == DATA
