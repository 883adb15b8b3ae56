# SPDX-License-Identifier: MIT
"""File transfers of ``tellin.serve(sftp=...)``, with the library's own client."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.library import awaited

import tellin
from tellin.errors import UsageError
from tellin.server.files.memory_files import MemoryFiles
from tellin.server.files.quota_files import QuotaFiles
from tellin.server.files.rooted_files import RootedFiles
from tellin.server.files.service import REQUEST_NAMES
from tellin.server.sessions.subsystem import ServeFiles
from tellin.sftp.attributes import Attributes

HOST_KEY = tellin.PrivateKey.generate("ed25519")
ANN = tellin.PrivateKey.generate("ed25519")
DATA = bytes(range(256)) * 10_000


def serving(sftp: Any, **options: Any) -> Any:
    options = {"authorized_keys": ANN.public, **options}
    return tellin.serve(host_keys=[HOST_KEY], sftp=sftp, **options)


def visiting(server: tellin.Server, user: str = "ann") -> Any:
    return tellin.connect(
        *("127.0.0.1",),
        port=server.port,
        host_keys=HOST_KEY.public,
        user=user,
        keys=[ANN],
        config=None,
    )


class Watched(RootedFiles):
    """Notes the threads in which it is called."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.threads: set[int] = set()

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        self.threads.add(threading.get_ident())
        return super().stat(path, follow=follow)


@pytest.mark.parametrize("kind", ["rooted", "memory", "quota"])
@awaited
async def test_files_go_there_and_back(kind: str, tmp_path: Path) -> None:
    files: Any = {
        "rooted": lambda: RootedFiles(tmp_path / "root"),
        "memory": MemoryFiles,
        "quota": lambda: QuotaFiles(RootedFiles(tmp_path / "root"), most_bytes=len(DATA)),
    }
    (tmp_path / "root").mkdir()
    (tmp_path / "here").write_bytes(DATA)
    async with (
        serving(files[kind]()) as server,
        visiting(server) as connection,
        connection.sftp() as sftp,
    ):
        await sftp.put(tmp_path / "here", "/there")
        await sftp.get("/there", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == DATA
        assert (await sftp.stat("/there")).size == len(DATA)
        with pytest.raises(FileNotFoundError):
            await sftp.stat("/../../etc/passwd")
        if kind == "quota":
            with pytest.raises(OSError, match="Quota exceeded"):
                await sftp.put(tmp_path / "here", "/more")


@awaited
async def test_what_waits_is_called_in_threads_and_memory_in_the_loop(tmp_path: Path) -> None:
    files = Watched(tmp_path)
    (tmp_path / "a").write_bytes(b"data")
    async with (
        serving(files) as server,
        visiting(server) as connection,
        connection.sftp() as sftp,
    ):
        await sftp.stat("/a")
    assert files.threads
    assert threading.get_ident() not in files.threads


@awaited
async def test_each_login_gets_its_own_files_or_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trees = {"ann": MemoryFiles({"whose": b"ann's"}), "bob": MemoryFiles({"whose": b"bob's"})}

    def choose(login: Any) -> MemoryFiles:
        return trees[login.user]

    async with serving(choose) as server:
        for user in ("ann", "bob"):
            async with (
                visiting(server, user) as connection,
                connection.sftp() as sftp,
                await sftp.open("whose") as file,
            ):
                assert await file.read() == f"{user}'s".encode()
        async with visiting(server, "eve") as connection:
            with pytest.raises(tellin.TellinError):
                async with connection.sftp() as sftp:
                    await sftp.stat("/")
    assert "eve gets no files" in caplog.text


@awaited
async def test_what_is_refused_is_refused(tmp_path: Path) -> None:
    files = MemoryFiles({"a": b"data"})
    for options, may_stat in (
        ({"read_only": True}, True),
        ({"denied": ["open", "remove"]}, True),
        ({"allowed": ["realpath"]}, False),
    ):
        async with (
            serving(ServeFiles(files, **options)) as server,
            visiting(server) as connection,
            connection.sftp() as sftp,
        ):
            with pytest.raises(PermissionError):
                await sftp.remove("/a")
            if may_stat:
                assert (await sftp.stat("/a")).size == 4
            else:
                with pytest.raises(PermissionError):
                    await sftp.stat("/a")
    with pytest.raises(UsageError, match="delete"):
        ServeFiles(files, denied=["delete"])
    with pytest.raises(UsageError):
        serving(files, subsystems={"sftp": ServeFiles(files)})
    assert "remove" in REQUEST_NAMES


@pytest.mark.parametrize(
    ("command", "may_read", "may_write"),
    [
        ("internal-sftp", True, True),
        ("internal-sftp -R", True, False),
        ("internal-sftp -P remove", True, False),
        ("internal-sftp -d /elsewhere", False, False),
        ("internal-sftp -r /elsewhere", False, False),
        ("internal-sftp -x", False, False),
        ("echo hello", False, False),
    ],
)
@awaited
async def test_r068_a_key_s_only_command_holds_for_files_too(
    command: str, may_read: bool, may_write: bool, tmp_path: Path
) -> None:
    files = MemoryFiles({"a": b"data"})
    file = tmp_path / "authorized_keys"
    file.write_text(f'command="{command}" {ANN.public.to_line()}\n')
    async with serving(files, authorized_keys=file) as server, visiting(server) as ssh:
        try:
            async with ssh.sftp() as sftp:
                assert (await sftp.stat("/a")).size == 4
                assert may_read
                try:
                    await sftp.remove("/a")
                    assert may_write
                except PermissionError:
                    assert not may_write
        except tellin.TellinError:
            assert not may_read


@awaited
async def test_a_file_system_that_raises_what_it_must_not_ends_its_session_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(MemoryFiles):
        def stat(self, path: bytes, *, follow: bool) -> Attributes:
            raise RuntimeError(f"a mistake about {path!r}")

    async with serving(Faulty()) as server, visiting(server) as connection:
        with pytest.raises(tellin.ConnectionLost):
            async with connection.sftp() as sftp:
                await sftp.stat("/a")
        async with connection.sftp() as sftp:
            await sftp.mkdir("/d")
    assert "a mistake about" in caplog.text


@awaited
async def test_case_235_what_a_client_left_open_is_closed(tmp_path: Path) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Noticing(RootedFiles):
        def open(self, path: bytes, flags: int, mode: int) -> Any:
            file = super().open(path, flags, mode)
            inner = file.close

            class Closing:
                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

                def close(self) -> None:
                    inner()
                    loop.call_soon_threadsafe(closed.set)

            return Closing()

    (tmp_path / "a").write_bytes(b"data")
    async with serving(Noticing(tmp_path)) as server:
        connection = await visiting(server)
        sftp = await connection.sftp()
        file = await sftp.open("/a")
        assert await file.read(2) == b"da"
        await connection.aclose()
        async with asyncio.timeout(60):
            await closed.wait()


@awaited
async def test_bytes_that_are_no_talk_end_with_the_status_of_sftp_server() -> None:
    async with serving(MemoryFiles()) as server, visiting(server) as connection:
        async with connection.subsystem("sftp") as process:
            done = await process.communicate(b"GET / HTTP/1.1\r\n\r\n")
            assert (done.exit_status, done.stdout) == (11, b"")
        async with connection.subsystem("sftp") as process:
            done = await process.communicate(b"")
            assert (done.exit_status, done.stdout) == (0, b"")


@awaited
async def test_case_246_a_client_that_does_not_read_is_not_worked_for() -> None:
    files = MemoryFiles({"a": bytes(100_000)})
    calls = 0

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(files, name)

        def open(self, path: bytes, flags: int, mode: int) -> Any:
            file = files.open(path, flags, mode)
            fill = file.fill

            class Counted:
                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

                def fill(self, view: memoryview, offset: int) -> int:
                    nonlocal calls
                    calls += 1
                    return fill(view, offset)

            return Counted()

    asked = 1000
    async with (
        serving(Counting()) as server,
        visiting(server) as connection,
        connection.subsystem("sftp") as process,
    ):
        init = b"\0\0\0\5\1\0\0\0\3"
        opening = b"\3\0\0\0\1\0\0\0\2/a\0\0\0\1\0\0\0\0"
        await process.stdin.write(init + len(opening).to_bytes(4, "big") + opening)
        data = b""
        while len(data) < 40 or len(data) < 4 + int.from_bytes(data[:4], "big") + 13 + 8:
            data += await process.stdout.read(1 << 16)
        at = 4 + int.from_bytes(data[:4], "big")
        size = int.from_bytes(data[at + 9 : at + 13], "big")
        handle = data[at + 13 : at + 13 + size]
        one = b"\5\0\0\0\7" + size.to_bytes(4, "big") + handle + bytes(8) + b"\0\1\0\0"
        await process.stdin.write((len(one).to_bytes(4, "big") + one) * asked)
        # Its window is a few MiB, and so is what waits behind it; 64 MiB were asked for.
        for _ in range(100):
            await asyncio.sleep(0)
        assert calls < asked
        got = 0
        while got < asked * (13 + 65536):
            got += len(await process.stdout.read(1 << 20))
        assert calls == asked


@awaited
async def test_the_log_names_the_user_and_speaks_as_sftp_server_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tellin.sftp")
    async with (
        serving(MemoryFiles({"a": b"data"})) as server,
        visiting(server) as connection,
        connection.sftp() as sftp,
        await sftp.open("a") as file,
    ):
        await file.read()
    assert 'ann: open "a" flags READ mode 0666' in caplog.messages
    assert 'ann: close "a" bytes read 4 written 0' in caplog.messages
