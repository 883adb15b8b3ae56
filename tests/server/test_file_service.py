# SPDX-License-Identifier: MIT

# Paths of bytes.
# ruff: noqa: PTH102, PTH116, PTH119, PTH208, PTH211

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sftp.paper_files import Talk

from tellin.errors import SftpError, UsageError
from tellin.server.files.service import Wishes, parse_wishes
from tellin.server.files.sftp_files import LocalFile, LocalFiles, Names, long_name
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Close, Open, OpenDirectory, ReadDirectory

NOTHING = Attributes()


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk(LocalFiles())
    yield made
    made.server.end()


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path)


def test_a_file_is_written_and_read_and_its_attributes_are_true(talk: Talk, root: bytes) -> None:
    handle = talk.handle(Open(root + b"/f", 27, Attributes(permissions=0o640)))
    talk.write(handle, 5, b"world")
    talk.write(handle, 0, b"hello")
    assert talk.read(handle, 3, 100) == b"loworld"
    assert talk.read(handle, 10, 100) == b""
    talk.ask(messages.FileSetStat(handle, Attributes(size=7, atime=1, mtime=2)))
    talk.ask(messages.FileSync(handle))
    found = talk.ask(messages.FileStat(handle)).attributes
    talk.ask(Close(handle))
    assert (found.size, found.atime, found.mtime, found.mode) == (7, 1, 2, 0o640)
    assert (found.uid, found.gid) == (os.getuid(), os.stat(root).st_gid)
    assert found.is_file


def test_appended_data_goes_to_the_end_whatever_its_offset(talk: Talk, root: bytes) -> None:
    Path(os.fsdecode(root), "f").write_bytes(b"first")
    handle = talk.handle(Open(root + b"/f", 2 | 4, NOTHING))
    talk.write(handle, 0, b"second")
    assert Path(os.fsdecode(root), "f").read_bytes() == b"firstsecond"


@pytest.mark.parametrize("kernel", [True, False])
def test_data_is_copied_within_the_server(
    talk: Talk, root: bytes, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "another file system")

    if not kernel:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    data = bytes(range(256)) * 10_000
    Path(os.fsdecode(root), "a").write_bytes(data)
    source = talk.handle(Open(root + b"/a", 1, NOTHING))
    target = talk.handle(Open(root + b"/b", 3 | 8, NOTHING))
    talk.ask(messages.CopyData(source, 100, 0, target, 5))
    talk.ask(messages.CopyData(source, 0, 3, target, 1))
    found = Path(os.fsdecode(root), "b").read_bytes()
    assert found == b"\0" + data[:3] + b"\0" + data[100:]
    # Beyond the end there is nothing to copy.
    talk.ask(messages.CopyData(source, 1 << 40, 0, target, 0))
    assert len(found) == os.stat(root + b"/b").st_size


def test_r177_case_242_a_file_with_two_names_is_not_copied_into_itself(
    talk: Talk, root: bytes
) -> None:
    Path(os.fsdecode(root), "a").write_bytes(b"0123456789")
    os.link(root + b"/a", root + b"/b")
    source = talk.handle(Open(root + b"/a", 1, NOTHING))
    target = talk.handle(Open(root + b"/b", 2, NOTHING))
    with pytest.raises(SftpError):
        talk.ask(messages.CopyData(source, 0, 4, target, 8))
    assert os.stat(root + b"/a").st_size == 10


def test_case_239_a_directory_that_changes_meanwhile_is_read_to_its_end(
    talk: Talk, root: bytes
) -> None:
    for number in range(300):
        Path(os.fsdecode(root), f"{number}").write_bytes(b"")
    handle = talk.handle(OpenDirectory(root))
    first = talk.ask(ReadDirectory(handle)).entries
    for number in range(300):
        Path(os.fsdecode(root), f"{number}").unlink()
    Path(os.fsdecode(root), "new").write_bytes(b"")
    rest = []
    while entries := talk.ask(ReadDirectory(handle)).entries:
        rest += entries
    assert [entry.filename for entry in first[:2]] == [b".", b".."]
    assert len(first) == 100
    # What is gone is not told of; what has come may be or not.
    assert {entry.filename for entry in rest} <= {b"new"}


def test_case_241_a_rename_never_replaces_and_directories_are_renamed_too(
    talk: Talk, root: bytes
) -> None:
    for name in (b"/a", b"/b"):
        Path(os.fsdecode(root + name)).write_bytes(name)
    os.mkdir(root + b"/d")
    for old, new in ((b"/a", b"/b"), (b"/d", b"/b"), (b"/a", b"/d")):
        with pytest.raises(SftpError) as caught:
            talk.ask(messages.Rename(root + old, root + new))
        assert caught.value.status == 4
    with pytest.raises(FileNotFoundError):
        talk.ask(messages.Rename(root + b"/none", root + b"/c"))
    talk.ask(messages.Rename(root + b"/a", root + b"/c"))
    talk.ask(messages.Rename(root + b"/d", root + b"/e"))
    assert sorted(os.listdir(root)) == [b"b", b"c", b"e"]


def test_paths_are_made_real_and_only_their_last_part_may_be_missing(
    talk: Talk, root: bytes
) -> None:
    real = os.path.realpath(root)
    os.symlink(b".", root + b"/here")
    os.symlink(b"turn", root + b"/turn")

    def ask(path: bytes) -> bytes:
        found = talk.ask(messages.RealPath(path)).entries[0].filename
        assert isinstance(found, bytes)
        return found

    assert ask(root + b"/here/./../" + os.path.basename(root)) == real
    assert ask(root + b"/none") == real + b"/none"
    for path in (root + b"/none/below", root + b"/turn"):
        with pytest.raises(FileNotFoundError):
            ask(path)
    home = talk.ask(messages.HomeDirectory(b"root")).entries[0].filename
    assert talk.ask(messages.ExpandPath(b"~root")).entries[0].filename == os.path.realpath(home)
    for user in (b"nobody-of-that-name", b"\xff"):
        with pytest.raises(SftpError):
            talk.ask(messages.ExpandPath(b"~" + user))


def test_links_are_changed_themselves_where_that_is_asked_for(talk: Talk, root: bytes) -> None:
    Path(os.fsdecode(root), "f").write_bytes(b"")
    talk.ask(messages.SymbolicLink(b"f", root + b"/l"))
    assert talk.ask(messages.ReadLink(root + b"/l")).entries[0].filename == b"f"
    talk.ask(messages.LinkSetStat(root + b"/l", Attributes(atime=5, mtime=6)))
    assert os.lstat(root + b"/l").st_mtime == 6
    assert os.stat(root + b"/f").st_mtime > 6
    with pytest.raises(SftpError):
        talk.ask(messages.LinkSetStat(root + b"/l", Attributes(permissions=0o600)))
    assert stat.S_IMODE(os.stat(root + b"/f").st_mode) != 0o600


def test_a_listing_s_line_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    (tmp_path / "f").chmod(0o4755)
    status = (tmp_path / "f").stat()

    def shown(now: float) -> bytes:
        return long_name(b"f\xff", status, Names(), now)

    assert shown(status.st_mtime).startswith(b"-rwsr-xr-x    1 ")
    assert b"        5 " in shown(status.st_mtime)
    assert shown(status.st_mtime).endswith(b" f\xff")
    # Older than half a year, and of the future: the year is what tells.
    for now in (status.st_mtime + 200 * 86400, status.st_mtime - 60):
        assert shown(now).split()[-2].isdigit()
    assert b":" in shown(status.st_mtime + 100).split()[-2]


def test_case_247_a_disk_that_is_full_is_said_and_no_write_is_half_done_in_silence() -> None:
    file = LocalFile(os.open("/dev/full", os.O_WRONLY))
    try:
        with pytest.raises(OSError, match="No space left"):
            file.write(memoryview(b"data"), 0)
    finally:
        file.close()


def test_the_wishes_of_the_command_line() -> None:
    wishes = parse_wishes(
        ["-R", "-e", "-l", "debug", "-f", "local3", "-u", "027", "-d", "/x", "-P", "a,b", "-L"]
    )
    assert (wishes.read_only, wishes.to_stderr, wishes.level) == (True, True, 5)
    assert (wishes.facility, wishes.umask, wishes.directory) == ("LOCAL3", 0o027, "/x")
    assert (wishes.denied, wishes.allowed, wishes.link_first) == ({"a", "b"}, None, True)
    assert parse_wishes(["-p", "stat"]).allowed == {"stat"}
    # A login shell of that name gets ``-c command``.
    assert parse_wishes(["-c", "-l", "LOUD"]) == Wishes()


@pytest.mark.parametrize(
    "words",
    [["-u", "0778"], ["-u", "1000"], ["-u", ""], ["-p", "a", "-p", "b"], ["-z"], ["-l"]],
)
def test_wishes_that_are_none(words: list[Any]) -> None:
    with pytest.raises(UsageError):
        parse_wishes(words)
