# SPDX-License-Identifier: MIT
"""What holds for every back end of the file server, and what is one's own."""

import datetime as dt
import errno
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.sftp.paper_files import PaperFiles, Talk

from tellin.errors import SftpError, UsageError
from tellin.server.files.fsspec_files import FsspecFiles
from tellin.server.files.memory_files import MemoryFiles
from tellin.server.files.quota_files import QuotaFiles
from tellin.server.files.rooted_files import RootedFiles
from tellin.server.files.sftp_files import LocalFiles
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.file_system import FileSystem
from tellin.sftp.messages import Close, Open, OpenDirectory, ReadDirectory

NOTHING = Attributes()
NEW = 2 | 8 | 16
_counter = iter(range(10_000))


def in_memory_of_fsspec() -> FsspecFiles:
    made = FsspecFiles("memory://", root=f"bucket{next(_counter)}")
    made.remote.mkdir(made._root)
    return made


BACK_ENDS: dict[str, Callable[[Path], FileSystem]] = {
    "rooted": lambda path: RootedFiles(path),
    "by hand": lambda path: RootedFiles(path, by_hand=True),
    "memory": lambda path: MemoryFiles(),
    "fsspec": lambda path: in_memory_of_fsspec(),
    "quota": lambda path: QuotaFiles(RootedFiles(path), most_bytes=1 << 20, most_files=100),
    "memory quota": lambda path: QuotaFiles(MemoryFiles(), most_bytes=1 << 20, most_files=100),
    "fsspec quota": lambda path: QuotaFiles(in_memory_of_fsspec(), most_bytes=1 << 20),
}
with_links = pytest.mark.parametrize(
    "files", ["rooted", "by hand", "memory", "quota"], indirect=True
)
with_quota = pytest.mark.parametrize(
    "files", ["quota", "memory quota", "fsspec quota"], indirect=True
)


@pytest.fixture(params=BACK_ENDS)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystem:
    return BACK_ENDS[request.param](tmp_path)


@pytest.fixture
def talk(files: FileSystem) -> Talk:
    return Talk(files)


def put(talk: Talk, path: bytes, data: bytes, flags: int = NEW) -> None:
    handle = talk.handle(Open(path, flags, NOTHING))
    try:
        for at in range(0, len(data), 1 << 17):
            talk.write(handle, at, data[at : at + (1 << 17)])
    finally:
        talk.ask(Close(handle))


def fetch(talk: Talk, path: bytes) -> bytes:
    handle = talk.handle(Open(path, 1, NOTHING))
    try:
        return talk.read(handle, 0, 1 << 17)
    finally:
        talk.ask(Close(handle))


def names(talk: Talk, path: bytes) -> set[bytes]:
    handle = talk.handle(OpenDirectory(path))
    found: set[bytes] = set()
    while entries := talk.ask(ReadDirectory(handle)).entries:
        found |= {one.filename for one in entries}
    talk.ask(Close(handle))
    return found - {b".", b".."}


def real(talk: Talk, path: bytes, kind: Any = messages.RealPath) -> bytes:
    found = talk.ask(kind(path)).entries[0].filename
    assert isinstance(found, bytes)
    return found


def status(talk: Talk, request: messages.Request) -> int:
    try:
        talk.ask(request)
    except SftpError as error:
        return error.status
    return 0


# What holds for all


def test_files_are_written_read_listed_renamed_and_removed(talk: Talk) -> None:
    put(talk, b"/a", b"0123456789" * 2000)
    assert fetch(talk, b"a") == b"0123456789" * 2000
    talk.ask(messages.MakeDirectory(b"/d", NOTHING))
    put(talk, b"/d/b", b"other")
    assert names(talk, b"/") == {b"a", b"d"}
    assert names(talk, b"/d") == {b"b"}
    found = talk.ask(messages.Stat(b"/a")).attributes
    assert (found.size, found.is_file, found.is_directory) == (20000, True, False)
    assert talk.ask(messages.LinkStat(b"/d")).attributes.is_directory
    talk.ask(messages.Rename(b"/a", b"/d/c"))
    assert status(talk, messages.Rename(b"/d/b", b"/d/c")) == 4
    talk.ask(messages.PosixRename(b"/d/b", b"/d/c"))
    assert fetch(talk, b"/d/c") == b"other"
    assert status(talk, messages.RemoveDirectory(b"/d")) == 4
    talk.ask(messages.Remove(b"/d/c"))
    talk.ask(messages.RemoveDirectory(b"/d"))
    assert names(talk, b"/") == set()


def test_a_file_is_changed_in_its_middle_cut_and_gone_on_with(talk: Talk) -> None:
    put(talk, b"/a", b"0123456789")
    handle = talk.handle(Open(b"/a", 2, NOTHING))
    talk.write(handle, 4, b"xy")
    talk.write(handle, 10, b"more")
    assert talk.ask(messages.FileStat(handle)).attributes.size == 14
    talk.ask(messages.FileSync(handle))
    talk.ask(Close(handle))
    assert fetch(talk, b"/a") == b"0123xy6789more"
    talk.ask(messages.SetStat(b"/a", Attributes(size=5)))
    handle = talk.handle(Open(b"/a", 1 | 2, NOTHING))
    assert talk.read(handle, 1, 100) == b"123x"
    talk.ask(messages.FileSetStat(handle, Attributes(size=2)))
    talk.ask(Close(handle))
    handle = talk.handle(Open(b"/a", 2 | 4, NOTHING))
    talk.write(handle, 0, b"end")
    talk.ask(Close(handle))
    assert fetch(talk, b"/a") == b"01end"


def test_what_is_not_there_or_not_a_file_is_said_to_be_so(talk: Talk) -> None:
    put(talk, b"/a", b"")
    talk.ask(messages.MakeDirectory(b"/d", NOTHING))
    for request in (
        Open(b"/none", 1, NOTHING),
        Open(b"/none/x", NEW, NOTHING),
        OpenDirectory(b"/none"),
        OpenDirectory(b"/a"),
        messages.Stat(b"/none"),
        messages.SetStat(b"/none", Attributes(permissions=0o600)),
        messages.Remove(b"/none"),
        messages.RemoveDirectory(b"/none"),
        messages.Rename(b"/none", b"/x"),
        messages.RealPath(b"/none/x"),
        messages.ReadLink(b"/none"),
        messages.MakeDirectory(b"/none/x", NOTHING),
    ):
        assert status(talk, request) == 2, request
    for request in (
        Open(b"/d", 2, NOTHING),
        Open(b"/a", 2 | 8 | 32, NOTHING),
        messages.MakeDirectory(b"/d", NOTHING),
        messages.MakeDirectory(b"/a", NOTHING),
        messages.Remove(b"/d"),
        messages.RemoveDirectory(b"/"),
    ):
        assert status(talk, request) == 4, request
    assert names(talk, b"/") == {b"a", b"d"}


def test_r179_case_237_case_238_there_is_nothing_above_the_root(
    talk: Talk, tmp_path: Path
) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.write_bytes(b"outside")
    try:
        name = os.fsencode(secret.name)
        for path in (b"../" + name, b"/../" + name, b"/../../" + name, os.fsencode(secret)):
            assert status(talk, Open(path, 1, NOTHING)) == 2
            assert status(talk, messages.Stat(path)) == 2
            assert status(talk, messages.Remove(path)) == 2
        assert real(talk, b"../..") == real(talk, b".") == real(talk, b"") == b"/"
        assert real(talk, b"/../" + name) == b"/" + name
        assert real(talk, b"~/y", messages.ExpandPath) == b"/y"
        assert status(talk, messages.ExpandPath(b"~root")) == 4
        assert status(talk, messages.HomeDirectory(b"root")) == 4
        put(talk, b"/../../../new", b"inside")
        assert names(talk, b"/") == {b"new"}
        assert secret.read_bytes() == b"outside"
    finally:
        secret.unlink()


def test_data_is_copied_from_file_to_file(talk: Talk) -> None:
    put(talk, b"/a", b"0123456789")
    source = talk.handle(Open(b"/a", 1, NOTHING))
    target = talk.handle(Open(b"/b", 2 | 8, NOTHING))
    talk.ask(messages.CopyData(source, 3, 0, target, 0))
    talk.ask(Close(target))
    assert fetch(talk, b"/b") == b"3456789"


def test_modes_and_times_may_be_said(talk: Talk) -> None:
    """Clients that keep them are not stopped where there are none."""
    put(talk, b"/a", b"data")
    talk.ask(messages.SetStat(b"/a", Attributes(permissions=0o600, atime=1, mtime=2)))
    handle = talk.handle(Open(b"/a", 2, NOTHING))
    talk.ask(messages.FileSetStat(handle, Attributes(permissions=0o640, atime=3, mtime=4)))
    talk.ask(Close(handle))
    assert fetch(talk, b"/a") == b"data"


@pytest.mark.parametrize("offset", [1 << 40, (1 << 62)])
def test_case_233_a_hole_costs_no_memory(talk: Talk, offset: int, files: FileSystem) -> None:
    handle = talk.handle(Open(b"/a", 1 | NEW, NOTHING))
    # On a disk it costs nothing either, as far as its file system goes.
    sparse = isinstance(files, RootedFiles) and offset < 1 << 60
    if sparse:
        talk.write(handle, offset, b"x")
    else:
        with pytest.raises(SftpError):
            talk.write(handle, offset, b"x")
    talk.ask(Close(handle))
    assert talk.ask(messages.Stat(b"/a")).attributes.size == (offset + 1 if sparse else 0)


@with_links
def test_links_are_followed_inside(talk: Talk) -> None:
    talk.ask(messages.MakeDirectory(b"/d", NOTHING))
    put(talk, b"/d/a", b"data")
    talk.ask(messages.SymbolicLink(b"/d", b"/to"))
    talk.ask(messages.SymbolicLink(b"../../../d/a", b"/d/up"))
    talk.ask(messages.SymbolicLink(b"turn", b"/turn"))
    assert fetch(talk, b"/to/up") == b"data"
    assert real(talk, b"/to/up") == b"/d/a"
    assert real(talk, b"/to/new") == b"/d/new"
    assert talk.ask(messages.ReadLink(b"/to")).entries[0].filename == b"/d"
    assert talk.ask(messages.LinkStat(b"/to")).attributes.is_link
    assert talk.ask(messages.Stat(b"/to")).attributes.is_directory
    assert status(talk, messages.Stat(b"/turn")) == 2
    put(talk, b"/to/new", b"new")
    assert names(talk, b"/d") == {b"a", b"up", b"new"}
    assert status(talk, messages.SymbolicLink(b"x", b"/to")) == 4
    talk.ask(messages.Remove(b"/to"))
    assert names(talk, b"/") == {b"d", b"turn"}


# Memory


def test_memory_has_what_programs_put_there_and_gives_what_clients_put() -> None:
    files = MemoryFiles({"docs/a.txt": b"text"}, clock=lambda: 1000.0)
    talk = Talk(files)
    assert fetch(talk, b"/docs/a.txt") == b"text"
    put(talk, b"/docs/b.txt", b"from the client")
    assert files.read("/docs/b.txt") == b"from the client"
    assert talk.ask(messages.Stat(b"/docs/b.txt")).attributes.mtime == 1000
    with pytest.raises(IsADirectoryError):
        files.read("docs")


def test_memory_knows_modes_owners_times_and_two_names_of_a_file() -> None:
    talk = Talk(MemoryFiles({"a": b"data"}))
    wanted = Attributes(permissions=0o640, uid=7, gid=8, atime=1, mtime=2)
    talk.ask(messages.SetStat(b"/a", wanted))
    talk.ask(messages.HardLink(b"/a", b"/b"))
    found = talk.ask(messages.Stat(b"/b")).attributes
    assert (found.mode, found.uid, found.gid, found.atime, found.mtime) == (0o640, 7, 8, 1, 2)
    talk.ask(messages.Remove(b"/a"))
    assert fetch(talk, b"/b") == b"data"
    for request in (messages.HardLink(b"/", b"/c"), messages.HardLink(b"/b", b"/b")):
        assert status(talk, request) != 0


def test_memory_is_bounded_and_what_is_removed_is_free_again() -> None:
    files = MemoryFiles(most_bytes=1000, most_files=2)
    talk = Talk(files)
    put(talk, b"/a", bytes(900))
    with pytest.raises(SftpError, match="No space left"):
        put(talk, b"/b", bytes(101))
    assert status(talk, messages.SetStat(b"/a", Attributes(size=1 << 50))) == 4
    for request in (
        Open(b"/c", NEW, NOTHING),
        messages.MakeDirectory(b"/c", NOTHING),
        messages.SymbolicLink(b"a", b"/c"),
        messages.HardLink(b"/a", b"/c"),
    ):
        assert status(talk, request) == 4
    # A file that is open has its bytes still.
    handle = talk.handle(Open(b"/a", 1, NOTHING))
    talk.ask(messages.Remove(b"/a"))
    with pytest.raises(SftpError):
        put(talk, b"/b", bytes(200))
    assert talk.read(handle, 0, 5) == bytes(5)
    talk.ask(Close(handle))
    put(talk, b"/b", bytes(1000))
    assert talk.ask(messages.StatFileSystem(b"/")).contents[-16:] == bytes(8) + (255).to_bytes(
        8, "big"
    )


def test_a_directory_is_not_moved_into_itself() -> None:
    talk = Talk(MemoryFiles({"a/b/c": b""}))
    for new in (b"/a/b/d", b"/a/d", b"/a/b"):
        assert status(talk, messages.PosixRename(b"/a", new)) != 0
    assert real(talk, b"/a/b/c") == b"/a/b/c"
    talk.ask(messages.Rename(b"/a/b", b"/b"))
    assert real(talk, b"/b/../b/c") == b"/b/c"


# Quotas


@with_quota
def test_a_quota_is_said_and_what_is_removed_may_be_written_again(talk: Talk) -> None:
    put(talk, b"/a", bytes(1 << 19))
    put(talk, b"/b", bytes(1 << 19))
    with pytest.raises(SftpError, match="Quota exceeded") as caught:
        put(talk, b"/c", b"x")
    assert caught.value.status == 4
    put(talk, b"/a", b"")
    talk.ask(messages.Remove(b"/b"))
    put(talk, b"/c", bytes(1 << 20))
    with pytest.raises(SftpError):
        put(talk, b"/d", b"x")


@pytest.mark.parametrize("inner", ["rooted", "memory"])
def test_a_quota_counts_what_there_is_and_every_way_to_more(tmp_path: Path, inner: str) -> None:
    below = BACK_ENDS[inner](tmp_path)
    before = Talk(below)
    before.ask(messages.MakeDirectory(b"/d", NOTHING))
    put(before, b"/d/old", bytes(500))
    files = QuotaFiles(below, most_bytes=1000, most_files=4)
    talk = Talk(files)
    assert files.used == (500, 2)
    handle = talk.handle(Open(b"/a", 1 | 2 | 8, NOTHING))
    talk.write(handle, 0, bytes(400))
    # In the middle nothing grows; a hole counts.
    talk.write(handle, 100, bytes(300))
    for grow in (
        lambda: talk.write(handle, 400, bytes(101)),
        lambda: talk.write(handle, 1000, b"x"),
        lambda: talk.ask(messages.FileSetStat(handle, Attributes(size=501))),
        lambda: talk.ask(messages.SetStat(b"/a", Attributes(size=501))),
        lambda: talk.ask(
            messages.CopyData(talk.handle(Open(b"/d/old", 1, NOTHING)), 0, 0, handle, 1)
        ),
        lambda: talk.ask(messages.HardLink(b"/a", b"/b")),
    ):
        with pytest.raises(SftpError):
            grow()
    # The one to copy from is still open: until it is closed nothing that is removed is free.
    talk.ask(Close(b"salt\0\0\0\2"))
    assert files.used == (900, 3)
    talk.ask(messages.FileSetStat(handle, Attributes(size=500)))
    talk.ask(messages.SymbolicLink(b"/a", b"/link"))
    for request in (
        Open(b"/more", NEW, NOTHING),
        messages.MakeDirectory(b"/more", NOTHING),
        messages.SymbolicLink(b"/a", b"/more"),
    ):
        with pytest.raises(SftpError, match="Quota exceeded"):
            talk.ask(request)
    assert files.used == (1000, 4)
    talk.ask(messages.Remove(b"/link"))
    # What is removed while it is open has its room still.
    talk.ask(messages.Remove(b"/a"))
    assert files.used == (1000, 2)
    talk.ask(Close(handle))
    assert files.used == (500, 2)
    put(talk, b"/d/new", bytes(10))
    talk.ask(messages.PosixRename(b"/d/new", b"/d/old"))
    assert files.used == (10, 2)
    talk.ask(messages.PosixRename(b"/d/old", b"/d/old"))
    talk.ask(messages.Remove(b"/d/old"))
    talk.ask(messages.RemoveDirectory(b"/d"))
    assert files.used == (0, 0)
    files.measure()
    assert files.used == (0, 0)


def test_a_quota_shows_in_the_room_that_is_left(tmp_path: Path) -> None:
    files = QuotaFiles(RootedFiles(tmp_path), most_bytes=1 << 20, most_files=10)
    found = files.statistics(b"/")
    assert found.available_blocks * found.fragment_size == 1 << 20
    assert found.available_files == 10


def test_case_247_a_write_that_fails_half_way_counts_for_what_is_there() -> None:
    paper = PaperFiles(a=b"")
    files = QuotaFiles(paper, most_bytes=100)
    file = files.open(b"/a", 2, 0)
    paper.full = True
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.write(memoryview(b"data"), 0)
    assert files.used == (0, 1)
    paper.full = False
    file.write(memoryview(b"data"), 0)
    assert files.used == (4, 1)


# fsspec


def test_an_archive_is_served_to_be_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("docs/one.txt", b"first")
        archive.writestr("two.txt", b"second" * 1000)
    talk = Talk(FsspecFiles(f"zip://::{tmp_path}/a.zip"))
    assert names(talk, b"/") == {b"docs", b"two.txt"}
    assert names(talk, b"/docs") == {b"one.txt"}
    assert fetch(talk, b"/docs/one.txt") == b"first"
    handle = talk.handle(Open(b"/two.txt", 1, NOTHING))
    assert talk.read(handle, 3000, 12) == b"second" * 2
    # Back again, which a packed file has to be read anew for.
    assert talk.read(handle, 6, 6) == b"second"
    assert talk.ask(messages.FileStat(handle)).attributes.size == 6000
    for request in (
        messages.Remove(b"/two.txt"),
        messages.SymbolicLink(b"a", b"b"),
        messages.HardLink(b"/two.txt", b"/b"),
        messages.StatFileSystem(b"/"),
    ):
        assert status(talk, request) in {4, 8}


def test_a_new_file_is_written_from_its_beginning_to_its_end() -> None:
    talk = Talk(in_memory_of_fsspec())
    handle = talk.handle(Open(b"/a", NEW, NOTHING))
    talk.write(handle, 0, b"01234")
    with pytest.raises(SftpError):
        talk.write(handle, 0, b"again")
    talk.write(handle, 5, b"56789")
    talk.ask(Close(handle))
    assert fetch(talk, b"/a") == b"0123456789"


def test_a_root_that_is_made_with_its_first_file_is_an_empty_one_before() -> None:
    talk = Talk(FsspecFiles("memory://of-nothing-yet"))
    assert names(talk, b"/") == set()
    with pytest.raises(SftpError):
        names(talk, b"/below")
    put(talk, b"/a", b"data")
    assert names(talk, b"/") == {b"a"}


def test_a_pattern_in_a_name_is_no_pattern() -> None:
    talk = Talk(in_memory_of_fsspec())
    for name in (b"/a*", b"/ab", b"/ac"):
        put(talk, name, name)
    talk.ask(messages.Remove(b"/a*"))
    assert names(talk, b"/") == {b"ab", b"ac"}
    put(talk, b"/*", b"star")
    talk.ask(messages.Rename(b"/*", b"/?"))
    assert names(talk, b"/") == {b"ab", b"ac", b"?"}


def test_r179_a_directory_of_this_machine_is_not_served_through_fsspec(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        FsspecFiles(f"file://{tmp_path}")
    assert "RootedFiles" in caught.value.hint


def test_errors_of_a_file_system_s_own_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    files = in_memory_of_fsspec()
    talk = Talk(files)
    put(talk, b"/a", b"")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such bucket, and your key is wrong")

    monkeypatch.setattr(files.remote, "info", fail)
    with pytest.raises(SftpError) as caught:
        talk.ask(messages.Stat(b"/a"))
    assert caught.value.status == 4
    assert "key" not in str(caught.value)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError) as caught:
        FsspecFiles("memory://")
    assert "tellin[fsspec]" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mtime", 86400),
        ("created", 86400.5),
        ("LastModified", dt.datetime(1970, 1, 2, tzinfo=dt.UTC)),
    ],
)
def test_times_are_read_in_every_form(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = in_memory_of_fsspec()
    info = {"name": "/x", "size": 1, "type": "file", name: value}
    monkeypatch.setattr(files.remote, "info", lambda _path: info)
    assert files.stat(b"/x", follow=True).mtime == 86400


def test_this_machine_s_files_wait_and_memory_does_not(tmp_path: Path) -> None:
    assert LocalFiles().waits
    assert RootedFiles(tmp_path).waits
    assert not MemoryFiles().waits
    assert not QuotaFiles(MemoryFiles()).waits
    assert stat.S_ISDIR(MemoryFiles().stat(b"/", follow=True).permissions or 0)
