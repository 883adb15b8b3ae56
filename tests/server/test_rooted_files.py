# SPDX-License-Identifier: MIT

# Paths of bytes.
# ruff: noqa: PTH208

import ctypes
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.server import swapping
from tests.server.swapping import lay_out
from tests.sftp.paper_files import Talk

from tellin.errors import SftpError
from tellin.runtime import inside
from tellin.runtime.inside import Root
from tellin.server.files import rooted_files
from tellin.server.files.rooted_files import RootedFiles
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Close, Open, OpenDirectory, ReadDirectory

NOTHING = Attributes()
SECRET = b"what nobody outside may know"
# How often the hostile client tries each of its ways; the whole of `make test-all` tries more.
ROUNDS = 15
MANY_ROUNDS = 100


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A directory to serve, `root`, and beside it what is not."""
    (tmp_path / "root" / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "docs" / "a.txt").write_bytes(b"inside")
    (tmp_path / "rootX").mkdir()
    (tmp_path / "rootX" / "secret").write_bytes(SECRET)
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "secret").write_bytes(SECRET)
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
    assert sorted(os.listdir(world)) == ["away", "root", "rootX", "secret"]


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
    """Turns `swap` and `file` into links to the outside and back, as fast as it can.

    Unless it ``stays`` it moves a directory, `pit`, out of the root and back besides: who is in there
    at that moment, and asks for ``..``, is outside.
    """

    def __init__(self, world: Path, *, stays: bool = False) -> None:
        self.turns = 0
        self.moves = 0
        lay_out(world, stays=stays)
        how = "stays" if stays else "moves"
        self._child = subprocess.Popen(
            [sys.executable, Path(swapping.__file__), world, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> "Swapper":
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        last, _ = self._child.communicate(timeout=60)
        self.turns, self.moves = map(int, last.split())


def state_of(world: Path) -> dict[str, tuple[Any, ...]]:
    """What is outside, with all that a client could change of it."""
    found = {}
    for path in (
        *(world / "secret", world / "rootX", world / "rootX" / "secret"),
        world / "away" / "secret",
    ):
        status = path.lstat()
        found[str(path)] = (
            *(status.st_mode, status.st_uid, status.st_nlink, status.st_size),
            *(status.st_mtime_ns, status.st_ino),
        )
    found["names"] = (*sorted(os.listdir(world)), *sorted(os.listdir(world / "rootX")))
    found["away"] = (*sorted({*os.listdir(world / "away")} - {"pit"}),)
    found["data"] = (
        *((world / "secret").read_bytes(), (world / "rootX" / "secret").read_bytes()),
        (world / "away" / "secret").read_bytes(),
    )
    return found


# `rootX` and what is in it, and the secret of `away`, are nowhere inside.
ELSEWHERE = (
    *(b"/swap/rootX", b"/swap/rootX/secret", b"/leads/rootX/secret", b"/swap/../swap/rootX"),
    *(b"/swap/rootX/../../secret", b"/pit/../away/secret", b"/docs/../swap/rootX/secret"),
)
HOSTILE = (
    *(b"/swap/secret", b"/swap/../secret", b"/swap/../swap/secret"),
    *(b"/file", b"/leads/secret", b"/leads-file", b"/leads/../secret", b"/docs/../swap/secret"),
    *(b"/../secret", b"/link/secret", b"/docs/moved/../../../secret"),
    *(b"/pit/../secret", b"/pit/deep/../../secret", b"/pit/deep/../../pit/../secret"),
    # Those whose last name is missing could be made inside.
    *(path for path in ELSEWHERE if not path.endswith(b"rootX")),
)
CHANGED = Attributes(permissions=0o777, uid=1, gid=1, atime=9, mtime=9)


class Hostile:
    """A client that tries every request that takes a path, and what handles can do, to get outside."""

    def __init__(self, talk: Talk, outside: bytes, *, hides_people: bool = True) -> None:
        self.talk = talk
        self.hides_people = hides_people
        self.outside = outside
        self.answered: set[type[Any]] = set()

    def ask(self, request: Any) -> Any:
        """The reply, or None where the server said no."""
        try:
            reply = self.talk.ask(request)
        except OSError:
            return None
        self.answered.add(type(request))
        return reply

    def run(self, rounds: int, answered: set[type[Any]]) -> None:
        """So many rounds, and more until each of those requests has had a yes: on a busy machine that may take a while."""
        for number in range(rounds + 2000):
            if number >= rounds and self.answered >= answered:
                return
            self.round(number)
        raise AssertionError(f"never answered: {answered - self.answered}")

    def round(self, number: int) -> None:
        for path in HOSTILE:
            self._change(path, number)
            self._look(path)
            self._open(path)
            for name in (b"/link", b"/docs/stolen", b"/docs/linked", b"/docs/in"):
                self.ask(messages.Remove(name))
        for path in ELSEWHERE:
            # It is not there; in whatever way somebody looks for it.
            for kind in (messages.Stat, messages.LinkStat, messages.StatFileSystem):
                assert self.ask(kind(path)) is None, (kind, path)
            for request in (OpenDirectory(path), Open(path, 1, NOTHING)):
                assert self.ask(request) is None, request
            for change in (messages.SetStat, messages.LinkSetStat):
                assert self.ask(change(path, CHANGED)) is None, path
        for path in (b"/swap", b"/leads", b"/swap/..", b"/pit/..", b"/pit/deep/../..", b"/"):
            with suppress(OSError):
                assert not {b"rootX", b"away"} & {*names(self.talk, path)}
        self.ask(messages.MakeDirectory(b"/swap/made", NOTHING))
        self.ask(messages.RemoveDirectory(b"/swap/made"))
        self._held(number)
        self._people()

    def _change(self, path: bytes, number: int) -> None:
        for request in (
            messages.SymbolicLink(b"../" * (number % 5) + b"swap", b"/link"),
            messages.SetStat(path, Attributes(permissions=0o777, atime=9, mtime=9)),
            messages.LinkSetStat(path, Attributes(permissions=0o777, atime=9, mtime=9)),
            messages.SetStat(path, Attributes(size=1)),
            messages.PosixRename(path, b"/docs/stolen"),
            messages.HardLink(path, b"/docs/linked"),
            # Into it: what is made there has the name of nothing that is there.
            messages.PosixRename(b"/docs/stolen", path + b"/in"),
            messages.HardLink(b"/docs/a.txt", path + b"/in"),
            messages.SymbolicLink(b"a", path + b"/in-link"),
            messages.MakeDirectory(path + b"/in-directory", NOTHING),
            messages.RemoveDirectory(path + b"/in-directory"),
            messages.Remove(path + b"/in"),
            messages.Remove(path + b"/in-link"),
            messages.RemoveDirectory(path),
            messages.PosixRename(b"/docs/deep", b"/docs/moved"),
            messages.Rename(b"/docs/moved", b"/docs/deep"),
        ):
            self.ask(request)

    def _look(self, path: bytes) -> None:
        for kind in (messages.Stat, messages.LinkStat):
            reply = self.ask(kind(path))
            # A link's size is that of its target's name.
            if reply is not None and not reply.attributes.is_link:
                assert reply.attributes.size != len(SECRET)
        self.ask(messages.StatFileSystem(path))
        for asked in (
            *(messages.RealPath(path), messages.ExpandPath(path)),
            messages.ExpandPath(b"~" + path),
        ):
            reply = self.ask(asked)
            assert reply is None or self.outside not in reply.entries[0].filename
        self.ask(messages.ReadLink(path))

    def _open(self, path: bytes) -> None:
        talk = self.talk
        with suppress(OSError):
            assert fetch(talk, path) != SECRET
        with suppress(OSError):
            put(talk, path, b"touched")
        # What the server copies by itself comes from where it has opened it, and goes there.
        for source, target in ((path, b"/docs/copy"), (b"/docs/copy", path)):
            handles: list[bytes] = []
            with suppress(OSError):
                handles.append(talk.handle(Open(source, 1, NOTHING)))
                handles.append(talk.handle(Open(target, 2 | 8, NOTHING)))
                talk.ask(messages.CopyData(handles[0], 0, 0, handles[1], 0))
                self.answered.add(messages.CopyData)
            for handle in handles:
                talk.ask(Close(handle))
        with suppress(OSError):
            assert fetch(talk, b"/docs/copy") != SECRET

    def _held(self, number: int) -> None:
        """What is open stays what it was when the directory that it is in has another name, or has gone."""
        talk = self.talk
        for directory in (b"/docs/deep", b"/pit/deep"):
            try:
                handle = talk.handle(Open(directory + b"/held", 3 | 8, NOTHING))
                listing = talk.handle(OpenDirectory(directory))
            except OSError:
                continue
            moved = b"/docs/elsewhere"
            self.ask(messages.PosixRename(directory, moved))
            self.ask(messages.SymbolicLink(b"/../rootX", directory))
            talk.write(handle, 0, b"%d" % number)
            talk.ask(messages.FileSetStat(handle, Attributes(size=1, permissions=0o600)))
            assert talk.ask(messages.FileStat(handle)).attributes.size == 1
            talk.ask(messages.FileStatFileSystem(handle))
            talk.ask(messages.FileSync(handle))
            while entries := talk.ask(ReadDirectory(listing)).entries:
                assert not {b"rootX", b"away", b"root"} & {entry.filename for entry in entries}
            self.ask(messages.Remove(directory))
            self.ask(messages.PosixRename(moved, directory))
            for one in (handle, listing):
                talk.ask(Close(one))

    def _people(self) -> None:
        """Who there is on this machine is outside as well."""
        home = self.ask(messages.HomeDirectory(b""))
        assert home is None or self.outside not in home.entries[0].filename
        self.ask(messages.AskLimits())
        if not self.hides_people:
            return
        assert self.ask(messages.HomeDirectory(b"root")) is None
        assert self.ask(messages.ExpandPath(b"~root/secret")) is None
        told = self.ask(messages.UsersGroupsById(bytes(4), bytes(4)))
        assert told.contents == b"\0\0\0\4\0\0\0\0" * 2


# What must have had a yes meanwhile, or nothing was tried.
ANSWERED = {
    *(messages.Stat, messages.LinkStat, messages.SetStat, messages.LinkSetStat),
    *(messages.PosixRename, messages.HardLink, messages.SymbolicLink, messages.Remove),
    *(messages.MakeDirectory, messages.StatFileSystem, messages.RealPath, messages.ExpandPath),
    *(messages.CopyData, messages.ReadLink, messages.HomeDirectory, messages.AskLimits),
}


some_and_many = pytest.mark.parametrize(
    "rounds", [ROUNDS, pytest.param(MANY_ROUNDS, marks=pytest.mark.slow)], ids=["some", "many"]
)


@some_and_many
@pytest.mark.timeout(1200)
def test_r179_case_237_a_swapper_of_links_gets_no_client_outside(
    talk: Talk, world: Path, rounds: int
) -> None:
    before = state_of(world)
    client = Hostile(talk, os.fsencode(world))
    with Swapper(world) as swapper:
        client.run(rounds, ANSWERED)
    assert swapper.turns
    assert swapper.moves
    assert state_of(world) == before
    assert talk.handle(OpenDirectory(b"/"))


@pytest.mark.root
@some_and_many
@pytest.mark.timeout(1200)
def test_r179_case_237_a_swapper_of_links_gets_no_client_out_of_a_chroot(
    world: Path, rounds: int
) -> None:
    before = state_of(world)
    # Who may move directories out of a chroot is beyond its help: the kernel does not look for that.
    with Swapper(world, stays=True) as swapper:
        done = subprocess.run(
            [sys.executable, "-m", "tests.server.chrooted", world, str(rounds)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert swapper.turns
    assert state_of(world) == before


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


def test_r179_dots_in_a_directory_that_is_moved_out_meanwhile_lead_back_inside(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(world, stays=False)
    pit, away = world / "root" / "pit", world / "away" / "pit"
    opened = os.open
    moved = 0

    def moves(path: Any, *arguments: Any, **named: Any) -> int:
        nonlocal moved
        descriptor = opened(path, *arguments, **named)
        if path == b"pit" and pit.exists():
            pit.rename(away)
            moved += 1
        return descriptor

    with Root(world / "root", by_hand=True) as root:
        monkeypatch.setattr(os, "open", moves)
        with pytest.raises(FileNotFoundError):
            root.open(b"/pit/../secret", os.O_RDONLY)
        away.rename(pit)
        found = root.open(b"/pit/deep/../../docs/a.txt", os.O_RDONLY)
        assert os.read(found, 100) == b"inside"
        os.close(found)
    assert moved == 2
