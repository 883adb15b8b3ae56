# SPDX-License-Identifier: MIT

# The files of a test are small, and nothing else waits.
# ruff: noqa: ASYNC240

import asyncio
import os
from pathlib import Path

import pytest
from tests.client.test_files import DATA, END, NO, OK, filed, scripted_files
from tests.library import awaited

from tellin.errors import ConnectionLost, SftpError, UsageError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Handle
from tellin.wire import Message


@pytest.mark.parametrize("size", [1000, 32768, 1 << 20])
@awaited
async def test_what_is_read_in_its_order_comes_whole(tmp_path: Path, size: int) -> None:
    data = DATA[: min(len(DATA), size * 400)]
    (tmp_path / "f").write_bytes(data)
    found = bytearray()
    async with filed() as files, await files.open(tmp_path / "f") as file:
        while part := await file.read(size):
            found += part
            assert file.tell() == len(found)
        assert await file.read(1) == b""
    assert found == data


@awaited
async def test_reading_here_and_there_brings_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA[:2_000_000])
    async with filed() as files, await files.open(tmp_path / "f", "r+") as file:
        for place in (0, 5, 1_000_000, 999_000, 3, 1_999_990, 0, 262_144):
            await file.seek(place)
            for _ in range(3):
                at = file.tell()
                assert await file.read(7000) == DATA[at : min(at + 7000, 2_000_000)]
        # What was written is read, whatever was fetched before.
        await file.seek(100)
        await file.read(10)
        await file.write(b"new")
        await file.seek(110)
        assert await file.read(5) == b"new" + DATA[113:115]
        await file.seek(1_999_999)
        assert await file.read() == DATA[1_999_999:2_000_000]
        assert await file.read() == b""


@awaited
async def test_only_who_reads_in_order_has_something_fetched_ahead() -> None:
    asked: list[tuple[int, int]] = []

    def answer(number: int, rest: bytes) -> Message:
        if number == 3:
            return Handle(b"h")
        if number == 5:
            offset, length = int.from_bytes(rest[5:13], "big"), int.from_bytes(rest[13:17], "big")
            asked.append((offset, length))
            part = DATA[offset : min(offset + length, 1_000_000)]
            return messages.Data(part) if part else END
        return OK

    async with scripted_files(answer) as files, await files.open("f") as file:
        for place in (0, 500_000, 100, 700_000):
            await file.seek(place)
            assert await file.read(50) == DATA[place : place + 50]
        assert asked == [(0, 50), (500_000, 50), (100, 50), (700_000, 50)]
        for _ in range(100):
            await file.read(50)
    # Many small reads, and few requests.
    assert len(asked) < 15


@awaited
async def test_lines(tmp_path: Path) -> None:
    lines = [b"%d %s\n" % (number, b"x" * (number % 300)) for number in range(3000)] + [b"no end"]
    (tmp_path / "f").write_bytes(b"".join(lines))
    async with filed() as files, await files.open(tmp_path / "f") as file:
        assert [line async for line in file] == lines
        await file.seek(0)
        assert await file.readline() == lines[0]
        assert await file.read(3) == lines[1][:3]
        assert await file.readline(2) == lines[1][3:5]


@awaited
async def test_text(tmp_path: Path) -> None:
    smile = "\U0001f600"
    lines = [f"{number} \u00fc\u20ac{smile * (number % 9)}\n" for number in range(2000)]
    async with filed() as files:
        async with await files.open(tmp_path / "f", "w", encoding="utf-8") as file:
            for line in lines:
                assert await file.write(line) == len(line)
        assert (tmp_path / "f").read_text("utf-8") == "".join(lines)
        async with await files.open(tmp_path / "f", "rt", encoding="utf-8") as file:
            assert [line async for line in file] == lines
            await file.seek(0)
            assert await file.read(5) == lines[0][:5]
            assert await file.read() == "".join(lines)[5:]
            assert await file.readline() == ""
        (tmp_path / "f").write_bytes(b"a\xff")
        async with await files.open(tmp_path / "f", encoding="utf-8", errors="replace") as file:
            assert await file.read() == "a\ufffd"
        with pytest.raises(UsageError):
            await files.open(tmp_path / "f", "rt")
        with pytest.raises(UsageError):
            await files.open(tmp_path / "f", "rb", encoding="utf-8")


@awaited
async def test_what_is_written_piece_by_piece_arrives_in_its_order(tmp_path: Path) -> None:
    async with filed() as files:
        async with await files.open(tmp_path / "f", "w") as file:
            buffer = bytearray(1000)
            for at in range(0, 3_000_000, 1000):
                # It is copied: who writes may use his memory again at once.
                buffer[:] = DATA[at : at + 1000]
                await file.write(buffer)
            assert file.tell() == 3_000_000
            await file.flush()
            assert (tmp_path / "f").read_bytes() == DATA[:3_000_000]
            await file.write(DATA[3_000_000:])
        async with await files.open(tmp_path / "f", "a") as file:
            for _ in range(10):
                await file.write(b"more")
    assert (tmp_path / "f").read_bytes() == DATA + b"more" * 10


@awaited
async def test_r176_a_write_that_failed_is_raised_by_all_that_comes_after_it() -> None:
    writes = 0

    def answer(number: int, rest: bytes) -> Message:
        nonlocal writes
        if number == 3:
            return Handle(b"h")
        if number == 6:
            writes += 1
            return NO if writes == 2 else OK
        return OK

    async with scripted_files(answer) as files:
        file = await files.open("f", "w")
        for _ in range(4):
            await file.write(b"data")
        with pytest.raises(SftpError, match="no"):
            await file.flush()
        with pytest.raises(SftpError, match="no"):
            await file.write(b"data")
        with pytest.raises(SftpError, match="no"):
            await file.aclose()
        with pytest.raises(UsageError):
            await file.write(b"data")
    assert writes == 4


@awaited
async def test_who_writes_faster_than_the_server_answers_waits() -> None:
    held: list[bytes] = []
    full = asyncio.Event()

    def answer(number: int, rest: bytes) -> Message | None:
        if number == 3:
            return Handle(b"h")
        if number == 6:
            held.append(rest)
            if len(held) == 128:
                full.set()
            return None
        return OK

    async with scripted_files(answer) as files:
        file = await files.open("f", "w")
        written = 0

        async def write() -> None:
            nonlocal written
            while True:
                await file.write(bytes(1 << 16))
                written += 1 << 16

        task = asyncio.ensure_future(write())
        async with asyncio.timeout(60):
            await full.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert written == 4 << 20
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        file.abandon()


@awaited
async def test_a_file_whose_server_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    async with filed() as files:
        file = await files.open(tmp_path / "f", "r+")
        for _ in range(3):
            await file.read(10)
        await file.write(b"x")
        await files.aclose()
        for again in (file.read, file.flush, file.aclose):
            with pytest.raises(ConnectionLost):
                await again()


# More verbs


@awaited
async def test_what_is_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "f").write_bytes(b"data")
    (tmp_path / "d" / ".hidden").write_bytes(b"")
    (tmp_path / "d" / "l").symlink_to("f")
    (tmp_path / "d" / "m").symlink_to("e")
    (tmp_path / "d" / "none").symlink_to("nowhere")
    (tmp_path / "d" / "e" / "x[1].txt").write_bytes(b"")
    root = f"{tmp_path}/d"
    async with filed() as files:
        assert await files.isdir(root)
        assert not await files.isfile(root)
        assert await files.isfile(f"{root}/l")
        assert await files.islink(f"{root}/l")
        assert not await files.islink(f"{root}/f")
        assert not await files.isdir(f"{root}/absent")
        assert not await files.exists(f"{root}/none")
        assert await files.lexists(f"{root}/none")
        assert await files.getsize(f"{root}/l") == 4
        for pattern, wanted in (
            ("*", ["e", "f", "l", "m", "none"]),
            (".*", [".hidden"]),
            ("[a-f]", ["e", "f"]),
            ("[!a-f]", ["l", "m"]),
            ("*/*.txt", ["e/x[1].txt", "m/x[1].txt"]),
            ("**/*.txt", ["e/x[1].txt"]),
            ("**", ["e", "e/x[1].txt", "f", "l", "m", "none"]),
            ("e/x\\[1].txt", ["e/x[1].txt"]),
            ("?", ["e", "f", "l", "m"]),
            ("f/*", []),
            ("*/", ["e/", "m/"]),
            ("e/", ["e/"]),
            ("m/", ["m/"]),
            ("[fl]/", []),
            ("f", ["f"]),
            ("absent", []),
        ):
            found = await files.glob(f"{root}/{pattern}")
            assert found == [f"{root}/{name}" for name in wanted], pattern
        walked = [
            (where, sorted(one.name for one in directories), sorted(one.name for one in others))
            async for where, directories, others in files.walk(root)
        ]
        assert walked == [
            (root, ["e"], [".hidden", "f", "l", "m", "none"]),
            (f"{root}/e", [], ["x[1].txt"]),
        ]
        followed = [where async for where, _, _ in files.walk(root, follow_symlinks=True)]
        assert sorted(followed) == [root, f"{root}/e", f"{root}/m"]
        async for _, directories, _ in files.walk(root):
            directories.clear()
        assert await files.expand("~") == str(Path.home())


@awaited
async def test_directories_are_made_and_removed_whole(tmp_path: Path) -> None:
    root = f"{tmp_path}/a/b/c"
    async with filed() as files:
        await files.makedirs(root)
        await files.makedirs(root, exist_ok=True)
        with pytest.raises(SftpError):
            await files.makedirs(root)
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "f").write_bytes(b"mine")
        (tmp_path / "a" / "l").symlink_to(tmp_path / "outside")
        for number in range(150):
            (tmp_path / "a" / "b" / str(number)).write_bytes(b"")
        with pytest.raises(FileNotFoundError):
            await files.rmtree(f"{tmp_path}/absent")
        await files.rmtree(f"{tmp_path}/absent", ignore_errors=True)
        told: list[str] = []
        await files.rmtree(f"{tmp_path}/absent", onerror=lambda path, _error: told.append(path))
        assert told == [f"{tmp_path}/absent"]
        await files.rmtree(f"{tmp_path}/a")
        await files.unlink(f"{tmp_path}/outside/f")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


@awaited
async def test_several_go_into_a_directory(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "to").mkdir()
    (tmp_path / "too").mkdir()
    async with filed() as files:
        await files.get([tmp_path / "a1", tmp_path / "b"], tmp_path / "to")
        await files.mget(tmp_path / "a*", tmp_path / "too")
        with pytest.raises(UsageError):
            await files.get([tmp_path / "a1", tmp_path / "b"], tmp_path / "a2")
        with pytest.raises(FileNotFoundError):
            await files.mget(tmp_path / "z*", tmp_path / "too")
        with pytest.raises(SftpError, match="itself"):
            await files.copy(tmp_path / "b", f"{tmp_path}/too/../b")
        await files.copy([tmp_path / "a1", tmp_path / "b"], tmp_path / "too")
    assert sorted(os.listdir(tmp_path / "to")) == ["a1", "b"]  # noqa: PTH208
    assert sorted(os.listdir(tmp_path / "too")) == ["a1", "a2", "b"]  # noqa: PTH208
    assert (tmp_path / "b").read_bytes() == b"b"


@awaited
async def test_r183_a_listing_without_an_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tellin.sftp.remote_files.MOST_ENTRIES", 500)
    count = 0

    def answer(number: int, rest: bytes) -> Message:
        nonlocal count
        if number == 11:
            return Handle(b"h")
        if number == 12:
            count += 1
            name = b"%d" % count
            return messages.Name(
                tuple(messages.Entry(name + b"%d" % n, b"", Attributes()) for n in range(10))
            )
        return OK

    async with scripted_files(answer) as files:
        with pytest.raises(SftpError, match="too many"):
            await files.listdir("/")
        # Read one after the other nothing is kept: there is no end to it, and none is needed.
        seen = 0
        async for _ in files.scandir("/"):
            seen += 1
            if seen == 2000:
                break
    assert count < 300


@awaited
async def test_a_file_is_opened_by_a_block_alone(tmp_path: Path) -> None:
    async with filed() as files:
        async with files.open(tmp_path / "a", "w") as file:
            await file.write(b"data")
        async with files.open(tmp_path / "a", encoding="utf-8") as text:
            assert await text.read() == "data"
        assert file.closed
        opened = []

        async def stumbles() -> None:
            async with files.open("/dev/full", "w") as file:
                opened.append(file)
                await file.write(b"nobody hears of it")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await stumbles()
        assert opened[0].closed


@awaited
async def test_what_a_file_is_not_open_for_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    async with filed() as files:
        async with files.open(tmp_path / "a") as file:
            with pytest.raises(UsageError, match="not open for writing"):
                await file.write(b"x")
            assert await file.read() == b"data"
        for mode in ("w", "a"):
            async with files.open(tmp_path / "b", mode) as file:
                with pytest.raises(UsageError, match="not open for reading"):
                    await file.read()
                with pytest.raises(UsageError, match="not open for reading"):
                    await file.readline()
