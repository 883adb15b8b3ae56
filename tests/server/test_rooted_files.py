# SPDX-License-Identifier: MIT

# Paths of bytes.
# ruff: noqa: PTH208

import ctypes
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.sftp.paper_files import Talk

from tellin.errors import SftpError
from tellin.runtime import inside
from tellin.runtime.inside import Root
from tellin.server import rooted_files
from tellin.server.rooted_files import RootedFiles
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Close, Open, OpenDirectory, ReadDirectory

NOTHING = Attributes()
SECRET = b"what nobody outside may know"
# How often the hostile client tries each of its ways; the whole of `make test-all` tries more.
ROUNDS = 15
MANY_ROUNDS = 3000


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A directory to serve, `root`, and beside it what is not."""
    (tmp_path / "root" / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "docs" / "a.txt").write_bytes(b"inside")
    (tmp_path / "rootX").mkdir()
    (tmp_path / "rootX" / "secret").write_bytes(SECRET)
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path


@pytest.fixture(params=["openat2", "by hand"])
def files(request: pytest.FixtureRequest, world: Path) -> Iterator[RootedFiles]:
    made = RootedFiles(world / "root", by_hand=request.param == "by hand")
    if request.param == "openat2" and not made._root.by_kernel:
        pytest.skip("no openat2 here")
    yield made
    made.close()


@pytest.fixture
def talk(files: RootedFiles) -> Iterator[Talk]:
    made = Talk(files)
    yield made
    made.server.end()


def fetch(talk: Talk, path: bytes) -> bytes:
    handle = talk.handle(Open(path, 1, NOTHING))
    try:
        return talk.read(handle, 0, 1000)
    finally:
        talk.ask(Close(handle))


def put(talk: Talk, path: bytes, data: bytes, flags: int = 2 | 8 | 16) -> None:
    handle = talk.handle(Open(path, flags, Attributes(permissions=0o640)))
    talk.write(handle, 0, data)
    talk.ask(Close(handle))


def real(talk: Talk, path: bytes) -> bytes:
    found = talk.ask(messages.RealPath(path)).entries[0].filename
    assert isinstance(found, bytes)
    return found


def names(talk: Talk, path: bytes) -> dict[bytes, Any]:
    handle = talk.handle(OpenDirectory(path))
    found = {}
    try:
        while True:
            entries = talk.ask(ReadDirectory(handle)).entries
            if not entries:
                return found
            found |= {entry.filename: entry for entry in entries}
    finally:
        talk.ask(Close(handle))


def test_every_request_does_inside_what_it_does_anywhere(talk: Talk, world: Path) -> None:
    root = world / "root"
    put(talk, b"/new", b"data")
    talk.ask(messages.MakeDirectory(b"/dir", Attributes(permissions=0o750)))
    talk.ask(messages.Rename(b"/new", b"dir/one"))
    talk.ask(messages.HardLink(b"/dir/one", b"/dir/two"))
    talk.ask(messages.SymbolicLink(b"/dir/two", b"/link"))
    assert fetch(talk, b"/link") == b"data"
    assert talk.ask(messages.ReadLink(b"/link")).entries[0].filename == b"/dir/two"
    assert talk.ask(messages.Stat(b"/link")).attributes.size == 4
    assert talk.ask(messages.LinkStat(b"/link")).attributes.is_link
    talk.ask(messages.SetStat(b"/link", Attributes(size=2, permissions=0o600, atime=1, mtime=2)))
    status = (root / "dir" / "two").stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode), status.st_mtime) == (2, 0o600, 2)
    talk.ask(messages.LinkSetStat(b"/link", Attributes(atime=3, mtime=4)))
    assert os.lstat(root / "link").st_mtime == 4
    assert (root / "dir" / "two").stat().st_mtime == 2
    with pytest.raises(SftpError):
        talk.ask(messages.LinkSetStat(b"/link", Attributes(permissions=0o777)))
    assert stat.S_IMODE((root / "dir" / "two").stat().st_mode) == 0o600
    assert set(names(talk, b"/dir")) == {b".", b"..", b"one", b"two"}
    talk.ask(messages.PosixRename(b"/dir/one", b"/docs/a.txt"))
    assert (root / "docs" / "a.txt").read_bytes() == b"da"
    assert talk.ask(messages.StatFileSystem(b"/docs")).contents
    talk.ask(messages.Remove(b"/link"))
    talk.ask(messages.Remove(b"/dir/two"))
    talk.ask(messages.RemoveDirectory(b"/dir"))
    assert sorted(os.listdir(root)) == ["docs"]


@pytest.mark.parametrize(
    "path",
    [
        *(b"../secret", b"/../secret", b"/../../../../secret", b"/docs/../../secret"),
        *(b"/../rootX/secret", b"../rootX/secret", b"/docs/deep/../../../rootX/secret"),
        *(b"/out", b"/out/x", b"/up/secret", b"/up/rootX/secret", b"/docs/up/secret"),
    ],
)
def test_r179_case_237_no_path_leads_outside(talk: Talk, world: Path, path: bytes) -> None:
    root = world / "root"
    (root / "out").symlink_to(world / "secret")
    (root / "up").symlink_to("..")
    (root / "docs" / "up").symlink_to("../../")
    for ask in (
        lambda: fetch(talk, path),
        lambda: talk.ask(messages.Stat(path)),
        lambda: talk.ask(messages.SetStat(path, Attributes(permissions=0o777))),
        lambda: talk.ask(messages.StatFileSystem(path)),
        lambda: talk.ask(OpenDirectory(path)),
    ):
        with pytest.raises(FileNotFoundError):
            ask()
    assert (world / "secret").read_bytes() == SECRET
    assert stat.S_IMODE((world / "secret").stat().st_mode) != 0o777
    # To remove, rename or link it is to do so inside, where it is not, or to the link itself.
    for request in (
        messages.Remove(path),
        messages.PosixRename(path, b"/stolen"),
        messages.HardLink(path, b"/stolen2"),
    ):
        with suppress(OSError):
            talk.ask(request)
    assert (world / "secret").read_bytes() == SECRET
    assert (world / "secret").stat().st_nlink == 1
    assert (world / "rootX" / "secret").read_bytes() == SECRET


def test_r179_what_is_written_through_a_link_lands_inside(talk: Talk, world: Path) -> None:
    root = world / "root"
    (root / "out").symlink_to("/new")
    (root / "further").symlink_to("../../../../other")
    (root / "docs" / "out").symlink_to("/newer")
    put(talk, b"/docs/out", b"0")
    assert (root / "newer").read_bytes() == b"0"
    put(talk, b"/out", b"1")
    put(talk, b"/further", b"2")
    assert (root / "new").read_bytes() == b"1"
    assert (root / "other").read_bytes() == b"2"
    with pytest.raises(SftpError):
        put(talk, b"/out", b"3", 2 | 8 | 32)
    talk.ask(messages.MakeDirectory(b"/../../made", NOTHING))
    assert (root / "made").is_dir()
    assert sorted(os.listdir(world)) == ["root", "rootX", "secret"]


def test_r179_the_root_s_parent_is_the_root(talk: Talk, world: Path) -> None:
    os.utime(world, (1, 1))
    os.utime(world / "root", (5, 5))
    found = names(talk, b"/")
    assert found[b".."].attributes.mtime == found[b"."].attributes.mtime == 5
    below = names(talk, b"/docs")
    assert below[b".."].attributes.mtime == 5
    # Nor is anybody's name told.
    owner = str(os.getuid()).encode()
    assert found[b"."].longname.split()[2:4] == [
        owner,
        str((world / "root").stat().st_gid).encode(),
    ]
    reply = talk.ask(messages.UsersGroupsById(b"\0\0\0\0", b"\0\0\0\0"))
    assert reply.contents == b"\0\0\0\4\0\0\0\0" * 2


def test_r179_case_238_a_real_path_is_one_of_inside_whatever_there_is_outside(
    talk: Talk, world: Path
) -> None:
    root = world / "root"
    (root / "out").symlink_to(world)
    (root / "in").symlink_to("/docs/deep")
    (root / "docs" / "abs").symlink_to("/docs/deep")
    assert real(talk, b"/docs/abs/x") == b"/docs/deep/x"
    assert real(talk, b".") == b"/"
    assert real(talk, b"") == b"/"
    assert real(talk, b"../..") == b"/"
    assert real(talk, b"/in/../a.txt") == b"/docs/a.txt"
    assert real(talk, b"/docs/./deep//") == b"/docs/deep"
    # The same for what is outside and for what is nowhere.
    assert real(talk, b"/../secret") == b"/secret"
    assert real(talk, b"/../nothing") == b"/nothing"
    outside = os.fsencode(world)
    for path in (b"/out", b"/out/secret", b"/out/nothing", outside, outside + b"/nothing/at/all"):
        with pytest.raises(FileNotFoundError) as caught:
            real(talk, path)
        assert os.fsencode(str(caught.value)).find(outside + b"/root") < 0
    with pytest.raises(FileNotFoundError):
        real(talk, b"/docs/a.txt/x")


def test_homes_are_inside_and_other_users_are_not_known(world: Path) -> None:
    talk = Talk(RootedFiles(world / "root", start="/docs"))
    assert real(talk, b".") == b"/docs"
    assert fetch(talk, b"a.txt") == b"inside"

    def expanded(path: bytes) -> bytes:
        found = talk.ask(messages.ExpandPath(path)).entries[0].filename
        assert isinstance(found, bytes)
        return found

    assert expanded(b"~") == b"/docs"
    assert expanded(b"~/deep") == b"/docs/deep"
    assert expanded(b"/x~") == b"/x~"
    for user in (b"root", b"nobody-of-that-name"):
        with pytest.raises(SftpError) as caught:
            expanded(b"~" + user)
        assert caught.value.status == 4
        with pytest.raises(SftpError) as caught:
            talk.ask(messages.HomeDirectory(user))
        assert caught.value.status == 4


def test_the_root_itself_is_not_removed_or_renamed(talk: Talk, world: Path) -> None:
    for path in (b"/", b".", b"..", b"/docs/..", b"//"):
        for request in (
            messages.Remove(path),
            messages.RemoveDirectory(path),
            messages.MakeDirectory(path, NOTHING),
            messages.Rename(path, b"/x"),
            messages.PosixRename(b"/docs/a.txt", path),
            messages.SymbolicLink(b"/x", path),
            messages.HardLink(b"/docs/a.txt", path),
        ):
            with pytest.raises(SftpError):
                talk.ask(request)
    assert sorted(os.listdir(world / "root")) == ["docs"]


def test_what_is_no_file_is_not_opened_and_nobody_is_waited_for(talk: Talk, world: Path) -> None:
    os.mkfifo(world / "root" / "fifo")
    for flags in (1, 2, 3, 2 | 8):
        with pytest.raises(OSError, match="open"):
            talk.handle(Open(b"/fifo", flags, NOTHING))
    assert stat.S_ISFIFO(talk.ask(messages.Stat(b"/fifo")).attributes.permissions)


def test_links_that_turn_in_circles_end(talk: Talk, world: Path) -> None:
    (world / "root" / "turn").symlink_to("turn")
    for ask in (
        lambda: fetch(talk, b"/turn"),
        lambda: fetch(talk, b"/turn/x"),
        lambda: real(talk, b"/turn"),
        lambda: put(talk, b"/turn", b""),
    ):
        with pytest.raises(FileNotFoundError):
            ask()


def test_r180_a_path_of_two_thousand_parts_takes_no_two_thousand_descriptors(
    talk: Talk, world: Path
) -> None:
    at = world / "root"
    for _ in range(300):
        at /= "d"
        at.mkdir()
    with pytest.raises(SftpError):
        real(talk, b"/d" * 300)
    # Up and down again costs nothing.
    assert fetch(talk, b"/docs/.." * 400 + b"/docs/a.txt") == b"inside"
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SftpError):
        fetch(talk, b"/d" * 300)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOSYS, errno.EPERM])
def test_where_the_kernel_does_not_help_it_is_done_by_hand(
    world: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked = []

    class Refusing:
        def syscall(self, *arguments: object) -> int:
            asked.append(arguments)
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(inside.ctypes, "CDLL", lambda *_, **__: Refusing())
    with Root(world / "root") as root:
        assert root.by_kernel is (number == errno.EAGAIN)
        asked.clear()
        descriptor = root.open(b"/docs/../docs/a.txt", os.O_RDONLY)
    assert os.read(descriptor, 100) == b"inside"
    os.close(descriptor)
    # The first is what a rename anywhere makes of a path with ``..``: a few tries.
    assert len(asked) == (16 if number == errno.EAGAIN else 0)


def test_without_proc_what_can_be_read_can_be_changed(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooted_files, "_DESCRIPTORS", "/nowhere")
    talk = Talk(RootedFiles(world / "root"))
    talk.ask(messages.SetStat(b"/docs/a.txt", Attributes(permissions=0o600, atime=1, mtime=2)))
    status = (world / "root" / "docs" / "a.txt").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 2)
    (world / "root" / "link").symlink_to("docs/a.txt")
    with pytest.raises(FileNotFoundError):
        talk.ask(messages.LinkSetStat(b"/link", Attributes(atime=3, mtime=4)))


# Somebody swaps what is inside for links to what is outside, while a client does its worst


class Swapper:
    """Turns `swap` and `file` into links to the outside and back, as fast as it can."""

    def __init__(self, world: Path) -> None:
        self.world = world
        self.root = world / "root"
        self.turns = 0
        self._stop = threading.Event()
        self._lay_out()
        self._thread = threading.Thread(target=self._run)

    def _lay_out(self) -> None:
        """Begin anew: the client may have taken something away."""
        for name in ("swap", "leads", "file", "leads-file"):
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (self.root / "swap").mkdir()
        (self.root / "swap" / "secret").write_bytes(b"inside")
        (self.root / "leads").symlink_to(self.world)
        (self.root / "file").write_bytes(b"inside")
        (self.root / "leads-file").symlink_to("../secret")

    def _run(self) -> None:
        exchange = ctypes.CDLL(None).renameat2
        here = os.open(self.root, os.O_RDONLY)
        try:
            while not self._stop.is_set():
                # RENAME_EXCHANGE: there is no moment without either.
                if exchange(here, b"swap", here, b"leads", 2) or exchange(
                    here, b"file", here, b"leads-file", 2
                ):
                    with suppress(OSError):
                        self._lay_out()
                else:
                    self.turns += 1
        finally:
            os.close(here)

    def __enter__(self) -> "Swapper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


def state_of(world: Path) -> dict[str, tuple[Any, ...]]:
    """What is outside, with all that a client could change of it."""
    found = {}
    for path in (world / "secret", world / "rootX", world / "rootX" / "secret"):
        status = path.lstat()
        found[str(path)] = (
            *(status.st_mode, status.st_uid, status.st_nlink, status.st_size),
            *(status.st_mtime_ns, status.st_ino),
        )
    found["names"] = (*sorted(os.listdir(world)), *sorted(os.listdir(world / "rootX")))
    found["data"] = ((world / "secret").read_bytes(), (world / "rootX" / "secret").read_bytes())
    return found


HOSTILE = (
    *(b"/swap/secret", b"/swap/../secret", b"/swap/rootX/secret", b"/swap/../swap/secret"),
    *(b"/file", b"/leads/secret", b"/leads-file", b"/leads/../secret", b"/docs/../swap/secret"),
    *(b"/../secret", b"/swap/rootX/../../secret", b"/link/secret", b"/docs/moved/../../../secret"),
)


@pytest.mark.parametrize(
    "rounds", [ROUNDS, pytest.param(MANY_ROUNDS, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_r179_case_237_a_swapper_of_links_gets_no_client_outside(
    talk: Talk, world: Path, rounds: int
) -> None:
    before = state_of(world)
    sizes = {len(SECRET)}
    outside = os.fsencode(world)
    with Swapper(world) as swapper:
        for number in range(rounds):
            for path in HOSTILE:
                for request in (
                    messages.SymbolicLink(b"../" * (number % 5) + b"swap", b"/link"),
                    messages.SetStat(path, Attributes(permissions=0o777, atime=9, mtime=9)),
                    messages.LinkSetStat(path, Attributes(permissions=0o777, atime=9, mtime=9)),
                    messages.PosixRename(path, b"/docs/stolen"),
                    messages.HardLink(path, b"/docs/linked"),
                    messages.PosixRename(b"/docs/deep", b"/docs/moved"),
                    messages.PosixRename(b"/docs/moved", b"/docs/deep"),
                ):
                    with suppress(OSError):
                        talk.ask(request)
                with suppress(OSError):
                    assert fetch(talk, path) != SECRET
                for kind in (messages.Stat, messages.LinkStat):
                    try:
                        found = talk.ask(kind(path)).attributes
                    except OSError:
                        continue
                    # A link's size is that of its target's name.
                    assert found.is_link or found.size not in sizes
                for ask in (messages.RealPath, messages.ReadLink):
                    try:
                        told = talk.ask(ask(path)).entries[0].filename
                    except OSError:
                        continue
                    assert ask is messages.ReadLink or outside not in told
                with suppress(OSError):
                    put(talk, path, b"touched")
                for last in (
                    messages.Remove(b"/link"),
                    messages.Remove(b"/docs/stolen"),
                    messages.Remove(b"/docs/linked"),
                ):
                    with suppress(OSError):
                        talk.ask(last)
            for path in (b"/swap", b"/swap/rootX", b"/leads", b"/swap/..", b"/"):
                with suppress(OSError):
                    assert b"rootX" not in names(talk, path)
    assert swapper.turns
    assert state_of(world) == before
    assert talk.handle(OpenDirectory(b"/"))


def test_r179_a_check_and_then_a_use_would_have_been_caught(world: Path) -> None:
    """The swapper is quick enough for a server that looks first: the test above can fail."""
    root = os.path.realpath(world / "root")
    seen = 0
    with Swapper(world):
        for _ in range(200_000):
            for name in ("swap/secret", "file"):
                path = f"{root}/{name}"
                with suppress(OSError):
                    if os.path.realpath(path).startswith(root + "/"):
                        with open(path, "rb") as file:  # noqa: PTH123
                            seen += file.read() == SECRET
            if seen:
                break
    assert seen
