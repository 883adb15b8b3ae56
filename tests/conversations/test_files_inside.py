# SPDX-License-Identifier: MIT
"""Files that are served within the login's process, behind a connection in memory and with real files."""

import errno
import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conversations.test_sessions import Scene

from tellin.connection.requests import ExitStatus, SubsystemRequest
from tellin.errors import SftpError, TellinError
from tellin.protocol.events import PongReceived
from tellin.server.files.sftp_files import LocalFile
from tellin.server.sessions.sessions import CommandSession
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import SftpClient
from tellin.sftp.messages import (
    OPEN_CREATE,
    OPEN_READ,
    OPEN_WRITE,
    FileSync,
    Open,
    Remove,
    Request,
    SetStat,
    Stat,
)


class FileScene(Scene):
    """A session whose subsystem is the server within, on a connection that has nothing else."""

    def __init__(self, command: str, home: Path, **rules: Any) -> None:
        super().__init__(**{"own_process": True, "alone": lambda: True, **rules})
        self.rules.subsystems = {"files": command}
        self.rules.account.home = str(home)
        self.errors: list[TellinError | None] = []
        self.greeted = False
        self.client = SftpClient(on_version=self._greeted)
        self.channel = self.open()
        self.channel.sink = self

    def _greeted(self) -> None:
        self.greeted = True

    def take(self, views: list[memoryview]) -> int:
        self.client.received(views)
        return sum(map(len, views))

    def begin(self) -> CommandSession:
        assert self.ask(self.channel, SubsystemRequest("files"))
        self.client.begin()
        self.move(lambda: self.greeted)
        return self.handlers[0]

    def move(self, condition: Callable[[], object]) -> None:
        out: list[memoryview] = []

        def turn() -> object:
            out.extend(memoryview(part) for part in self.client.take())
            while out:
                sent = self.channel.send(out[0])
                if sent < len(out[0]):
                    out[0] = out[0][sent:]
                    break
                del out[0]
            return condition()

        self.until(turn)

    def tell(self, request: Request) -> tuple[Any, TellinError | None]:
        """What is answered, or why not."""
        answers: list[tuple[Any, TellinError | None]] = []
        self.client.ask(request, lambda value, error: answers.append((value, error)))
        self.move(lambda: answers)
        return answers[0]

    def opened(self, path: bytes, flags: int) -> bytes:
        reply, error = self.tell(Open(path, flags, Attributes(permissions=0o666)))
        assert error is None
        handle: bytes = reply.handle
        return handle

    def end(self) -> list[int]:
        """The status, once the client has said that it is done."""
        self.channel.eof()
        self.until(lambda: self.over(self.channel))
        return [one.status for one in self.said(self.channel, ExitStatus)]


@pytest.fixture
def file_scene(tmp_path: Path) -> Iterator[Callable[..., FileScene]]:
    made: list[FileScene] = []

    def make(command: str = "internal-sftp", **rules: Any) -> FileScene:
        made.append(FileScene(command, tmp_path, **rules))
        return made[-1]

    before = Path.cwd()
    yield make
    for scene in made:
        scene.close()
    # A login's process rests in the root; this one does not.
    os.chdir(before)


MakeFileScene = Callable[..., FileScene]


def test_files_go_both_ways_without_a_child_where_nothing_else_shares_the_connection(
    file_scene: MakeFileScene, tmp_path: Path
) -> None:
    scene = file_scene()
    handler = scene.begin()
    assert handler._child is None
    data = random.Random(5).randbytes(3 << 20)
    put, size = scene.opened(b"new", OPEN_WRITE | OPEN_CREATE), 200_000
    done: list[TellinError | None] = []
    for at in range(0, len(data), size):
        scene.client.write(
            put, at, memoryview(data)[at : at + size], lambda _value, error: done.append(error)
        )
    scene.move(lambda: len(done) == -(-len(data) // size))
    assert set(done) == {None}
    assert (tmp_path / "new").read_bytes() == data
    got, counts = bytearray(len(data)), []
    handle = scene.opened(b"new", OPEN_READ)
    for at in range(0, len(data), size):

        def take(view: memoryview, position: int, start: int = at) -> None:
            got[start + position : start + position + len(view)] = view

        scene.client.fetch(handle, at, size, take, lambda count, _error: counts.append(count))
    scene.move(lambda: len(counts) == -(-len(data) // size))
    assert got == data
    assert scene.end() == [0]
    assert handler._child is None


@pytest.mark.parametrize(
    ("command", "rules"),
    [
        ("internal-sftp", {"alone": lambda: False}),
        ("internal-sftp -e -l INFO", {}),
        ("internal-sftp -r /", {}),
    ],
)
def test_another_channel_or_a_process_s_own_affairs_bring_files_a_child(
    file_scene: MakeFileScene, tmp_path: Path, command: str, rules: dict[str, Any]
) -> None:
    scene = file_scene(command, **rules)
    handler = scene.begin()
    assert handler._child is not None
    assert scene.tell(Stat(os.fsencode(tmp_path)))[1] is None
    assert scene.end() == [0]


def test_the_directory_and_the_umask_of_a_file_server_are_not_this_process_s(
    file_scene: MakeFileScene, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    before = os.umask(0o022)
    try:
        scene = file_scene("internal-sftp -d below -u 077")
        handler = scene.begin()
        scene.opened(b"private", OPEN_WRITE | OPEN_CREATE)
        assert stat.S_IMODE((tmp_path / "below/private").stat().st_mode) == 0o600
        assert Path.cwd() == Path("/")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert handler._child is None
    assert scene.end() == [0]


def test_bytes_that_are_no_sftp_end_with_openssh_s_status_and_not_the_login(
    file_scene: MakeFileScene,
) -> None:
    scene = file_scene()
    assert scene.ask(scene.channel, SubsystemRequest("files"))
    scene.channel.send(b"GET / HTTP/1.1\r\n\r\n")
    scene.until(lambda: scene.over(scene.channel))
    assert [one.status for one in scene.said(scene.channel, ExitStatus)] == [11]
    assert not scene.made.server.closed


def test_what_waits_for_a_disk_does_not_hold_the_connection_up(
    file_scene: MakeFileScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, release = os.pipe()
    monkeypatch.setattr(LocalFile, "sync", lambda _file: os.read(held, 1))
    scene = file_scene()
    scene.begin()
    handle = scene.opened(b"new", OPEN_WRITE | OPEN_CREATE)
    answers: list[str] = []
    scene.client.ask(FileSync(handle), lambda _value, error: answers.append(f"sync {error}"))
    scene.client.ask(Stat(b"new"), lambda _value, error: answers.append(f"stat {error}"))
    pongs = len(scene.made.seen(PongReceived, scene.made.client))
    scene.move(lambda: True)
    scene.made.client.ping(b"there?")
    scene.until(lambda: len(scene.made.seen(PongReceived, scene.made.client)) > pongs)
    assert answers == []
    os.write(release, b"1")
    scene.move(lambda: len(answers) == 2)
    assert answers == ["sync None", "stat None"]
    os.close(held)
    os.close(release)


def test_r176_what_fails_in_a_child_is_a_failure_here(
    file_scene: MakeFileScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: LocalFile) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalFile, "sync", full)
    scene = file_scene()
    scene.begin()
    handle = scene.opened(b"new", OPEN_WRITE | OPEN_CREATE)
    _, error = scene.tell(FileSync(handle))
    assert isinstance(error, SftpError)
    assert "No space left" in str(error)
    monkeypatch.setattr(LocalFile, "sync", lambda _file: os._exit(1))
    assert isinstance(scene.tell(FileSync(handle))[1], SftpError)


def test_what_a_client_asked_for_before_it_was_gone_is_done(
    file_scene: MakeFileScene, tmp_path: Path
) -> None:
    scene = file_scene()
    scene.begin()
    handle = scene.opened(b"new", OPEN_WRITE | OPEN_CREATE)
    ignored: list[object] = []
    scene.client.write(handle, 0, memoryview(b"last words"), lambda *said: ignored.append(said))
    scene.client.ask(Remove(b"nothing"), lambda *said: ignored.append(said))
    scene.client.ask(SetStat(b"new", Attributes(permissions=0o600)), lambda *_: None)
    for part in scene.client.take():
        scene.channel.send(part)
    scene.channel.close()
    scene.until(lambda: scene.over(scene.channel))
    assert (tmp_path / "new").read_bytes() == b"last words"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
