# SPDX-License-Identifier: MIT

# The files of a test are small, and nothing else waits.
# ruff: noqa: ASYNC240

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.library import HOST_KEY, USER_KEY, awaited, connected, pattern

import tellin
from tellin import blocking
from tellin.client.files.files import Files
from tellin.errors import ConnectionLost, ProtocolError, RequestRefused, SftpError, UsageError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Entry, Handle, Name, Status, Version, framed
from tellin.wire import Message, string

# More than what is on its way at once, and no multiple of a request.
DATA = pattern(9_000_001)

Answer = Callable[[int, bytes], Message | None]


@asynccontextmanager
async def filed(**options: Any) -> AsyncIterator[Files]:
    """The files of this machine, by tellin's own server."""
    serving = tellin.RunCommands(subsystems={"sftp": "internal-sftp"})
    async with connected(session=serving, **options) as connection, connection.sftp() as files:
        yield files


def scripted(answer: Answer, *, version: bytes | None = None) -> Any:
    """A server that answers with what ``answer`` makes of a request's number and rest, or not at all."""

    async def serve(process: tellin.ServerProcess[bytes]) -> int:
        greeting = Version(3, ()).encode() if version is None else version
        size = int.from_bytes(await process.stdin.readexactly(4), "big")
        await process.stdin.readexactly(size)
        await process.stdout.write(string(greeting))
        while True:
            try:
                size = int.from_bytes(await process.stdin.readexactly(4), "big")
            except asyncio.IncompleteReadError:
                return 0
            frame = await process.stdin.readexactly(size)
            reply = answer(frame[0], frame[5:])
            if reply is not None:
                await process.stdout.write(framed(reply, int.from_bytes(frame[1:5], "big")))

    return serve


@asynccontextmanager
async def scripted_files(answer: Answer) -> AsyncIterator[Files]:
    subsystems = {"sftp": scripted(answer)}
    async with connected(subsystems=subsystems) as connection, connection.sftp() as files:
        yield files


OK = Status(0, b"", b"")
NO = Status(4, b"no", b"")
END = Status(1, b"", b"")


@awaited
async def test_a_file_goes_there_and_back_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "a").chmod(0o6754)
    async with filed() as files:
        await files.put(tmp_path / "a", tmp_path / "b")
        await files.get(tmp_path / "b", tmp_path / "c")
    assert (tmp_path / "b").read_bytes() == DATA
    assert (tmp_path / "c").read_bytes() == DATA
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o754


@awaited
async def test_r174_what_is_fetched_has_no_set_user_id(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    (tmp_path / "a").chmod(0o7755)
    async with filed() as files:
        await files.get(tmp_path / "a", tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o755


@awaited
async def test_a_file_goes_into_a_directory_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there", "cwd"):
        (tmp_path / name).mkdir()
    (tmp_path / "a").write_bytes(b"data")
    monkeypatch.chdir(tmp_path / "cwd")
    async with filed() as files:
        await files.put(tmp_path / "a", tmp_path / "there")
        await files.get(tmp_path / "there" / "a", tmp_path / "here")
        await files.get(tmp_path / "there" / "a")
    for name in ("there", "here", "cwd"):
        assert (tmp_path / name / "a").read_bytes() == b"data"


@pytest.mark.parametrize("name", ["a/..", "..", "a/.", "../", "/"])
@awaited
async def test_r173_what_has_no_name_of_its_own_is_not_fetched_into_a_directory(
    tmp_path: Path, name: str
) -> None:
    asked: list[int] = []

    def answer(number: int, rest: bytes) -> Message:
        asked.append(number)
        return NO

    async with scripted_files(answer) as files:
        with pytest.raises(UsageError):
            await files.get(name, tmp_path)
    assert (asked, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("name", [b"../evil", b"/etc/passwd", b"", b"a/b", b"a\0b"])
@awaited
async def test_r173_a_listing_with_a_way_to_somewhere_else_is_refused(name: bytes) -> None:
    listing: list[Message] = [Name((Entry(name, name, Attributes()),))]

    def answer(number: int, rest: bytes) -> Message:
        if number == 11:
            return Handle(b"h")
        return OK if number == 4 else listing.pop() if listing else END

    async with scripted_files(answer) as files:
        with pytest.raises(ProtocolError):
            await files.listdir("/")


@awaited
async def test_names_are_any_bytes(tmp_path: Path) -> None:
    names = [b"a b", b"line\nend", b"\xff\xfe", b"-rf", b"*", "\u00fc".encode(), b".dot"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    async with filed() as files:
        found = await files.listdir(tmp_path)
        assert sorted(os.fsencode(name) for name in found) == sorted(names)
        for name in found:
            async with await files.open(f"{tmp_path}/{name}") as file:
                assert await file.read() == os.fsencode(name)
        entries = [entry async for entry in files.scandir(tmp_path)]
    assert {entry.attributes.size for entry in entries} == {len(name) for name in names}


@awaited
async def test_what_is_made_of_files(tmp_path: Path) -> None:
    root = str(tmp_path)
    async with filed() as files:
        await files.mkdir(f"{root}/d", 0o700)
        async with await files.open(f"{root}/d/f", "w", permissions=0o640) as file:
            await file.write(b"hello world")
        await files.symlink("f", f"{root}/d/l")
        await files.link(f"{root}/d/f", f"{root}/d/h")
        assert await files.readlink(f"{root}/d/l") == "f"
        assert (await files.lstat(f"{root}/d/l")).is_link
        await files.chmod(f"{root}/d/f", 0o600)
        await files.truncate(f"{root}/d/f", 5)
        await files.utime(f"{root}/d/f", 1, 2)
        found = await files.stat(f"{root}/d/l")
        assert (found.size, found.mode, found.atime, found.mtime) == (5, 0o600, 1, 2)
        await files.chown(f"{root}/d/f", os.getuid(), os.getgid())
        with pytest.raises(OSError, match="Failure"):
            await files.rename(f"{root}/d/f", f"{root}/d/h")
        await files.rename(f"{root}/d/l", f"{root}/d/h", replace=True)
        assert await files.exists(f"{root}/d/h")
        assert not await files.exists(f"{root}/none")
        assert (await files.statvfs(root)).block_size > 0
        assert await files.realpath(f"{root}/d/.././d") == os.path.realpath(f"{root}/d")
        with pytest.raises(OSError, match="d: Failure"):
            await files.rmdir(f"{root}/d")
        for name in ("f", "h"):
            await files.remove(f"{root}/d/{name}")
        await files.rmdir(f"{root}/d")
        assert "posix-rename@openssh.com" in files.extensions
    assert list(tmp_path.iterdir()) == []


@awaited
async def test_an_error_is_the_one_of_the_system_and_names_the_file(tmp_path: Path) -> None:
    async with filed() as files:
        with pytest.raises(FileNotFoundError) as caught:
            await files.get(tmp_path / "none", tmp_path / "x")
        assert str(caught.value) == f"open {tmp_path}/none: No such file"
        assert caught.value.filename == f"{tmp_path}/none"
        with pytest.raises(FileNotFoundError):
            await files.put(tmp_path / "none", "x")
        with pytest.raises(IsADirectoryError):
            await files.put(tmp_path, "x")
        with pytest.raises(SftpError):
            await files.get(tmp_path, tmp_path / "x")
        with pytest.raises(UsageError):
            await files.stat("a\0b")
        with pytest.raises(UsageError):
            await files.open("a", "rw")
    assert not (tmp_path / "x").exists()


@awaited
async def test_an_open_file_reads_writes_and_seeks(tmp_path: Path) -> None:
    async with filed() as files:
        async with await files.open(tmp_path / "f", "x+b") as file:
            assert await file.write(DATA) == len(DATA)
            assert await file.seek(5) == 5
            assert await file.read(10) == DATA[5:15]
            assert await file.seek(-5, os.SEEK_END) == len(DATA) - 5
            assert await file.read(100) == DATA[-5:]
            assert await file.read() == b""
            await file.seek(1)
            assert await file.read() == DATA[1:]
            await file.truncate(3)
            await file.sync()
            assert (await file.stat()).size == 3
            with pytest.raises(UsageError):
                await file.seek(-1)
        with pytest.raises(UsageError):
            await file.read()
        async with await files.open(tmp_path / "f", "a+") as file:
            await file.write(b"mo")
            assert file.offset == 5
            await file.write(b"re")
            assert await file.read() == b""
        with pytest.raises(OSError, match="Failure"):
            await files.open(tmp_path / "f", "x")
    assert (tmp_path / "f").read_bytes() == DATA[:3] + b"more"


@awaited
async def test_a_file_that_says_no_size_is_read_to_its_end(tmp_path: Path) -> None:
    async with filed() as files:
        await files.get("/proc/self/cmdline", tmp_path / "words")
        async with await files.open("/proc/version") as file:
            assert await file.read() == Path("/proc/version").read_bytes()
    assert b"sftp-server" in (tmp_path / "words").read_bytes()


@awaited
async def test_many_work_with_files_at_once(tmp_path: Path) -> None:
    async with filed() as files:

        async def there_and_back(number: int) -> None:
            name = tmp_path / str(number)
            name.write_bytes(DATA[:number])
            await files.put(name, f"{name}.there")
            await files.get(f"{name}.there", f"{name}.back")

        await asyncio.gather(*(there_and_back(number * 9999) for number in range(30)))
    for number in range(30):
        assert (tmp_path / f"{number * 9999}.back").read_bytes() == DATA[: number * 9999]


# What goes wrong


@awaited
async def test_r176_case_257_a_write_that_failed_fails_the_transfer(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA[:600_000])
    writes = 0

    def answer(number: int, rest: bytes) -> Message:
        nonlocal writes
        match number:
            case 17:
                return Status(2, b"", b"")
            case 3:
                return Handle(b"h")
            case 6:
                writes += 1
                return NO if writes == 3 else OK
        return OK

    async with scripted_files(answer) as files:
        with pytest.raises(SftpError, match="no") as caught:
            await files.put(tmp_path / "a", "b")
    # Those behind it succeeded, and hide nothing.
    assert writes > 3
    assert "up to 65536 bytes of 600000 are there" in caught.value.hint


def sending(size: int, data: Callable[[int, int], Message]) -> Answer:
    """A server of one file that says it has ``size`` bytes."""

    def answer(number: int, rest: bytes) -> Message:
        match number:
            case 3:
                return Handle(b"h")
            case 8:
                return messages.Attrs(Attributes(size=size, permissions=0o100644))
            case 5:
                offset = int.from_bytes(rest[5:13], "big")
                return data(offset, int.from_bytes(rest[13:17], "big"))
        return OK

    return answer


@awaited
async def test_case_254_a_file_that_ends_before_its_size_is_an_error_that_says_how_far_it_got(
    tmp_path: Path,
) -> None:
    def data(offset: int, length: int) -> Message:
        part = DATA[offset : min(offset + length, 100_000)]
        return messages.Data(part) if part else END

    async with scripted_files(sending(500_000, data)) as files:
        with pytest.raises(SftpError, match="after 100000 of 500000") as caught:
            await files.get("a", tmp_path / "b")
    assert caught.value.hint.startswith("100000 bytes of 500000 are in")
    assert (tmp_path / "b").read_bytes() == DATA[:100_000]


@awaited
async def test_case_254_answers_that_are_short_are_asked_on(tmp_path: Path) -> None:
    def data(offset: int, length: int) -> Message:
        part = DATA[offset : min(offset + max(1, length // 3), 200_000)]
        return messages.Data(part) if part else END

    async with scripted_files(sending(200_000, data)) as files:
        await files.get("a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA[:200_000]


@awaited
async def test_a_read_that_fails_in_the_middle_leaves_no_gap(tmp_path: Path) -> None:
    def data(offset: int, length: int) -> Message:
        return NO if offset == 5 * 32768 else messages.Data(DATA[offset : offset + length])

    async with scripted_files(sending(600_000, data)) as files:
        with pytest.raises(SftpError, match="no"):
            await files.get("a", tmp_path / "b")
    kept = (tmp_path / "b").read_bytes()
    assert kept == DATA[: len(kept)]
    assert len(kept) == 5 * 32768


@awaited
async def test_a_full_disk_here_is_the_systems_own_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA[:200_000])
    async with filed() as files:
        with pytest.raises(OSError, match="No space left"):
            await files.get(tmp_path / "a", "/dev/full")
        # The talk goes on.
        await files.get(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA[:200_000]


@awaited
async def test_what_the_server_does_not_offer_is_not_asked_for() -> None:
    asked: list[int] = []

    def answer(number: int, rest: bytes) -> Message:
        asked.append(number)
        return NO

    async with scripted_files(answer) as files:
        requests: list[Awaitable[object]] = [
            files.statvfs("/"),
            files.link("a", "b"),
            files.rename("a", "b", replace=True),
            files.change("a", Attributes(permissions=1), follow=False),
        ]
        for request in requests:
            with pytest.raises(SftpError, match="does not offer") as caught:
                await request
            assert caught.value.status == 8
    assert asked == []


@awaited
async def test_a_server_without_files_says_no() -> None:
    async with connected() as connection:
        with pytest.raises(RequestRefused):
            await connection.sftp()
        assert (await connection.run("say still here")).stdout == "still here"


@pytest.mark.parametrize("version", [b"Last login: yesterday\n" * 10, Version(2, ()).encode()])
@awaited
async def test_case_249_what_is_no_file_server_is_told_apart(version: bytes) -> None:
    subsystems = {"sftp": scripted(lambda number, rest: OK, version=version)}
    async with connected(subsystems=subsystems) as connection:
        with pytest.raises(ProtocolError) as caught:
            await connection.sftp()
        assert "start-up files" in caught.value.hint
        assert (await connection.run("say still here")).stdout == "still here"


@awaited
async def test_everybody_hears_when_the_connection_or_the_server_is_gone(tmp_path: Path) -> None:
    for how in ("connection", "server", "files"):
        subsystems = {"sftp": scripted(lambda number, rest: None)}
        async with connected(subsystems=subsystems) as connection:
            files = await connection.sftp()
            asked = [asyncio.ensure_future(files.stat(str(number))) for number in range(5)]
            await asyncio.sleep(0)
            if how == "connection":
                connection.close()
            elif how == "files":
                await files.aclose()
            else:
                files._talk._remote.signal("KILL")
                files._talk._remote.channel.close()
            for one in asked:
                with pytest.raises(ConnectionLost):
                    await one
            with pytest.raises(ConnectionLost):
                await files.stat("after")


@awaited
async def test_a_transfer_that_is_cancelled_leaves_the_talk_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    async with filed() as files:
        for _ in range(3):
            task = asyncio.ensure_future(files.get(tmp_path / "a", tmp_path / "b"))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            kept = (tmp_path / "b").read_bytes() if (tmp_path / "b").exists() else b""
            assert kept == DATA[: len(kept)]
        await files.get(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA


def test_threads_have_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA[:100_000])
    serving = tellin.RunCommands(subsystems={"sftp": "internal-sftp"})
    with (
        blocking.serve(
            host_keys=[HOST_KEY], authorized_keys=USER_KEY.public, session=serving
        ) as server,
        blocking.connect(
            "127.0.0.1",
            port=server.port,
            user="me",
            keys=[USER_KEY],
            config=None,
            host_keys=HOST_KEY.public,
        ) as connection,
        connection.sftp() as files,
    ):
        files.put(tmp_path / "a", tmp_path / "b")
        files.get(tmp_path / "b", tmp_path / "c")
        with files.open(tmp_path / "c", "r+") as file:
            file.seek(5)
            assert file.read(5) == DATA[5:10]
            assert file.tell() == 10
            assert file.write(b"x") == 1
        assert {entry.name for entry in files.scandir(tmp_path)} == {"a", "b", "c"}
        assert sorted(files.listdir(tmp_path)) == ["a", "b", "c"]
        with pytest.raises(FileNotFoundError):
            files.stat(tmp_path / "none")
        with pytest.raises(ZeroDivisionError), files.open(tmp_path / "c") as file:
            file.read(1 // 0)
        assert "statvfs@openssh.com" in files.extensions
        with files.open(tmp_path / "t", "w", encoding="utf-8") as text:
            assert text.write("one\ntwo\n") == 8
        with files.open(tmp_path / "t", encoding="utf-8") as text:
            assert list(text) == ["one\n", "two\n"]
        with files.open(tmp_path / "t") as file:
            assert list(file) == [b"one\n", b"two\n"]
            assert not file.closed
        files.makedirs(tmp_path / "tree" / "below")
        files.copy(tmp_path / "t", tmp_path / "tree" / "below")
        files.get(tmp_path / "tree", tmp_path / "fetched", recurse=True)
        assert files.mirror_put(tmp_path / "tree", tmp_path / "mirror").copied == [
            "below",
            "below/t",
        ]
        walked = [where for where, _, _ in files.walk(tmp_path / "tree")]
        assert walked == [f"{tmp_path}/tree", f"{tmp_path}/tree/below"]
        files.mget(tmp_path / "tree" / "below" / "*", tmp_path / "mirror")
        assert files.glob(tmp_path / "mirror" / "t") == [f"{tmp_path}/mirror/t"]
        files.rmtree(tmp_path / "tree")
        assert not files.exists(tmp_path / "tree")
        assert files.isfile(tmp_path / "fetched" / "below" / "t")
    assert (tmp_path / "c").read_bytes() == DATA[:10] + b"x" + DATA[11:100_000]


@awaited
async def test_case_258_a_server_that_answers_no_more_ends_with_its_connection(
    tmp_path: Path,
) -> None:
    """The connection's own keep-alive ends it; until then a caller's timeout does."""
    async with scripted_files(lambda number, rest: None) as files:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await files.get("a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


@awaited
async def test_a_pipe_holds_up_nobody(tmp_path: Path) -> None:
    """To wait for its other end would hold up all files that come after it."""
    (tmp_path / "a").write_bytes(b"data")
    os.mkfifo(tmp_path / "pipe")
    async with filed() as files:
        with pytest.raises(OSError, match="pipe is no file"):
            await files.put(tmp_path / "pipe", tmp_path / "b")
        with pytest.raises(OSError, match="No such device"):
            await files.get(tmp_path / "a", tmp_path / "pipe")
        other = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with pytest.raises(OSError, match="pipe is no file"):
                await files.get(tmp_path / "a", tmp_path / "pipe")
        finally:
            os.close(other)
        await files.get(tmp_path / "a", "/dev/null")
        await files.put("/dev/null", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b""
