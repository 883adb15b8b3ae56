# SPDX-License-Identifier: MIT

# The files of a test are small, and nothing else waits.

import asyncio
import os
import stat
from pathlib import Path
from typing import Any, cast

import pytest
from tests.client.test_files import DATA, END, NO, OK, filed, scripted_files
from tests.library import awaited

from tellin.client.files.copying import Item, TreeCopy, Wishes
from tellin.client.files.sides import LocalTarget
from tellin.errors import ProtocolError, SftpError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Attrs, Data, Entry, Handle, Name, Status
from tellin.sftp.waiting import Directly, Job, aside
from tellin.wire import Message

Tree = dict[str, Any]


def planted(root: Path) -> Path:
    """A tree with all that a tree may have."""
    root.mkdir()
    for number in range(40):
        (root / f"f{number}").write_bytes(DATA[: number * 37])
    (root / "large").write_bytes(DATA[:700_000])
    (root / "empty").mkdir()
    (root / "a b").mkdir()
    (root / "a b" / "-x\n*").write_bytes(b"odd")
    (root / os.fsdecode(b"a b/\xff")).write_bytes(b"bytes")
    (root / "locked").mkdir()
    (root / "locked" / "file").write_bytes(b"data")
    (root / "link").symlink_to("f3")
    (root / "nowhere").symlink_to("none")
    (root / "f1").chmod(0o640)
    os.utime(root / "f1", (1_000_000_000, 1_100_000_000))
    (root / "locked").chmod(0o555)
    os.utime(root / "empty", (1_000_000_000, 1_200_000_000))
    return root


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def grown(root: Path) -> Tree:
    """What a tree holds."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_a_tree_arrives_whole(tmp_path: Path, verb: str) -> None:
    source = planted(tmp_path / "source")
    (tmp_path / "inside").mkdir()
    async with filed() as files:
        move = getattr(files, verb)
        await move(source, tmp_path / "new", recurse=True)
        await move(source, tmp_path / "inside", recurse=True)
        # Once more, over what is there.
        await move(source, tmp_path / "inside", recurse=True)
    assert grown(tmp_path / "new") == grown(source)
    assert grown(tmp_path / "inside" / "source") == grown(source)
    assert stat.S_IMODE((tmp_path / "new" / "locked").stat().st_mode) == 0o555
    assert (tmp_path / "new" / "f1").stat().st_mtime > 1_200_000_000


@awaited
async def test_what_is_fetched_can_be_gone_on_with_and_preserved_it_is_as_it_was(
    tmp_path: Path,
) -> None:
    (tmp_path / "source").mkdir()
    for name, size in (("small", 5), ("large", 300_000)):
        (tmp_path / "source" / name).write_bytes(DATA[:size])
        (tmp_path / "source" / name).chmod(0o444)
    async with filed() as files:
        await files.get(tmp_path / "source", tmp_path / "new", recurse=True)
        await files.get(tmp_path / "source" / "small", tmp_path / "single")
        await files.get(tmp_path / "source", tmp_path / "kept", recurse=True, preserve=True)
    for name in ("new/small", "new/large", "single"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o700 == 0o600, name
    for name in ("kept/small", "kept/large"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o444, name


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_what_is_preserved(tmp_path: Path, verb: str) -> None:
    source = planted(tmp_path / "source")
    async with filed() as files:
        await getattr(files, verb)(source, tmp_path / "new", recurse=True, preserve=True)
    for name in ("f1", "empty", "locked", "large", "f0"):
        was, now = (source / name).stat(), (tmp_path / "new" / name).stat()
        assert (now.st_mode, int(now.st_mtime)) == (was.st_mode, int(was.st_mtime)), name


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_links_are_followed_where_that_is_wanted(tmp_path: Path, verb: str) -> None:
    source = planted(tmp_path / "source")
    (source / "nowhere").unlink()
    (source / "to").symlink_to("a b")
    async with filed() as files:
        await getattr(files, verb)(source, tmp_path / "new", recurse=True, follow_symlinks=True)
    assert (tmp_path / "new" / "link").read_bytes() == (source / "f3").read_bytes()
    assert not (tmp_path / "new" / "link").is_symlink()
    assert grown(tmp_path / "new" / "to") == grown(source / "a b")


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_case_253_a_link_that_leads_back_is_an_error(tmp_path: Path, verb: str) -> None:
    source = planted(tmp_path / "source")
    (source / "nowhere").unlink()
    (source / "a b" / "back").symlink_to("..")
    async with filed() as files:
        with pytest.raises(SftpError, match="leads back"):
            await getattr(files, verb)(
                source, tmp_path / "new", recurse=True, follow_symlinks=True
            )


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_errors_are_told_and_the_others_go_on(tmp_path: Path, verb: str) -> None:
    source = planted(tmp_path / "source")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "source").mkdir()
    # Where a file is to go there is a directory, and the other way round.
    (tmp_path / "new" / "source" / "f5").mkdir()
    (tmp_path / "new" / "source" / "a b").write_bytes(b"")
    told: list[tuple[bytes, bytes, Exception]] = []
    async with filed() as files:
        with pytest.raises(OSError):
            await getattr(files, verb)(source, tmp_path / "new", recurse=True)
        await getattr(files, verb)(
            source,
            tmp_path / "new",
            recurse=True,
            error_handler=lambda *words: told.append(words),
        )
    assert sorted(target for _, target, _ in told) == [
        os.fsencode(tmp_path / "new" / "source" / name) for name in ("a b", "f5")
    ]
    there = grown(tmp_path / "new" / "source")
    wanted = {name: what for name, what in grown(source).items() if not name.startswith("a b")}
    assert {**wanted, "f5": "directory", "a b": b""} == there


@awaited
async def test_how_far_it_is_is_told(tmp_path: Path) -> None:
    source = planted(tmp_path / "source")
    told: dict[bytes, list[tuple[int, int]]] = {}

    def tell(path: bytes, target: bytes, done: int, total: int) -> None:
        told.setdefault(path, []).append((done, total))

    async with filed() as files:
        await files.get(source, tmp_path / "new", recurse=True, progress_handler=tell)
        large = told[os.fsencode(source / "large")]
        assert (large[0], large[-1]) == ((0, 700_000), (700_000, 700_000))
        assert large == sorted(large)
        assert len(told) == 44
        with pytest.raises(ZeroDivisionError):
            await files.put(
                source, tmp_path / "other", recurse=True, progress_handler=lambda *_: 1 // 0
            )
        assert await files.exists(source)


@awaited
async def test_a_directory_goes_only_where_that_was_said(tmp_path: Path) -> None:
    source = planted(tmp_path / "source")
    async with filed() as files:
        for verb in (files.get, files.put, files.copy):
            with pytest.raises(OSError, match="directory"):
                await verb(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@awaited
async def test_a_tree_that_is_called_off_leaves_the_talk_whole(tmp_path: Path) -> None:
    source = planted(tmp_path / "source")
    async with filed() as files:
        before = len(names(Path("/proc/self/fd")))
        for verb in (files.get, files.put, files.copy):
            begun = asyncio.Event()
            task = asyncio.ensure_future(
                verb(
                    source,
                    tmp_path / "new",
                    recurse=True,
                    parallel=3,
                    progress_handler=lambda *_, begun=begun: begun.set(),
                )
            )
            async with asyncio.timeout(60):
                await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        # Whatever was still being opened or closed here, in the order of asking.
        await aside(files._files.waits, int)
        assert len(names(Path("/proc/self/fd"))) == before
        await files.get(source, tmp_path / "whole", recurse=True)
    assert grown(tmp_path / "whole") == grown(source)


# Resuming


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@pytest.mark.parametrize("kept", [0, 1, 32768, 300_000, 699_999, 700_000])
@awaited
async def test_a_transfer_goes_on_where_it_was_cut(tmp_path: Path, verb: str, kept: int) -> None:
    (tmp_path / "a").write_bytes(DATA[:700_000])
    (tmp_path / "b").write_bytes(DATA[:kept])
    async with filed() as files:
        await getattr(files, verb)(tmp_path / "a", tmp_path / "b", **resumed(verb))
    assert (tmp_path / "b").read_bytes() == DATA[:700_000]


def resumed(verb: str) -> dict[str, bool]:
    return {"resume": True}


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_case_261_more_than_there_is_to_have_is_no_beginning(
    tmp_path: Path, verb: str
) -> None:
    (tmp_path / "a").write_bytes(DATA[:100])
    (tmp_path / "b").write_bytes(
        b"another file, and longer than the one that is to be fetched" * 9
    )
    before = (tmp_path / "b").read_bytes()
    async with filed() as files:
        with pytest.raises(SftpError, match="already"):
            await getattr(files, verb)(tmp_path / "a", tmp_path / "b", **resumed(verb))
    assert (tmp_path / "b").read_bytes() == before


@pytest.mark.parametrize("verb", ["get", "put"])
@awaited
async def test_holes_stay_holes(tmp_path: Path, verb: str) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"begin")
        file.seek(20 << 20)
        file.write(b"middle")
        file.truncate(30 << 20)
    async with filed() as files:
        await getattr(files, verb)(tmp_path / "a", tmp_path / "b", sparse=True)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert (tmp_path / "b").stat().st_blocks * 512 < 4 << 20


# What a server may try


def serving(listing: list[Entry], *, real: bytes = b"/d") -> Any:
    """A server whose every directory holds ``listing``."""
    left: dict[bytes, bool] = {}
    count = 0

    def answer(number: int, rest: bytes) -> Message:
        nonlocal count
        match number:
            case 17 | 7 | 8:
                return Attrs(Attributes(permissions=stat.S_IFDIR | 0o755))
            case 16:
                return Name((Entry(real, b"", Attributes()),))
            case 11:
                count += 1
                return Handle(b"%d" % count)
            case 12:
                if left.pop(rest, True):
                    left[rest] = False
                    return Name(tuple(listing))
                return END
            case 3:
                return Handle(b"file")
            case 5:
                return messages.Data(b"evil")
            case 19:
                return Name((Entry(b"/etc", b"", Attributes()),))
        return OK

    return answer


FILE = Attributes(permissions=stat.S_IFREG | 0o644, size=4)
FOLDER = Attributes(permissions=stat.S_IFDIR | 0o755)
LINK = Attributes(permissions=stat.S_IFLNK | 0o777)


@pytest.mark.parametrize("name", [b"../evil", b"/tmp/evil", b"", b"a/b", b"a\0b"])
@pytest.mark.parametrize("attributes", [FILE, FOLDER, LINK])
@awaited
async def test_r172_r173_a_name_that_leads_elsewhere_ends_the_fetching(
    tmp_path: Path, name: bytes, attributes: Attributes
) -> None:
    (tmp_path / "to").mkdir()
    async with scripted_files(serving([Entry(name, b"", attributes)])) as files:
        with pytest.raises(ProtocolError):
            await files.get("d", tmp_path / "to" / "d", recurse=True)
    assert names(tmp_path) == ["to"]
    assert names(tmp_path / "to" / "d") == []


@awaited
async def test_a_file_that_has_grown_since_it_was_listed_arrives_whole(tmp_path: Path) -> None:
    grown, block = {b"grown": 17, b"same": 9, b"one": 1, b"blocks": 80_000}, 32768
    told = {b"grown": 9, b"same": 9, b"one": 1, b"blocks": 2 * block}
    asked: list[bytes] = []
    follow = serving(
        [Entry(name, b"", Attributes(permissions=0o100644, size=told[name])) for name in told]
    )

    def answer(number: int, rest: bytes) -> Message:
        if number == 3:
            return Handle(rest[4 : 4 + int.from_bytes(rest[:4], "big")].rpartition(b"/")[2])
        if number == 5:
            name, place = rest[4:-12], int.from_bytes(rest[-12:-4], "big")
            asked.append(name)
            length = min(block, int.from_bytes(rest[-4:], "big"))
            data = DATA[: grown[name]][place : place + length]
            return Data(data) if data else END
        return cast("Message", follow(number, rest))

    async with scripted_files(answer) as files:
        await files.get("d", tmp_path / "to", recurse=True)
    for name, size in grown.items():
        assert (tmp_path / "to" / name.decode()).read_bytes() == DATA[:size], name
    # That a file ends is no question of its own.
    assert asked.count(b"same") == asked.count(b"one") == 1


@awaited
async def test_r175_a_link_is_not_written_through(tmp_path: Path) -> None:
    """Not one that was there, nor one that the server has had us make."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "victim").write_bytes(b"mine")
    for name, target in (("file", "../victim"), ("folder", "../outside")):
        (tmp_path / "to" / "d").mkdir(parents=True, exist_ok=True)
        (tmp_path / "to" / "d" / name).symlink_to(f"../{target}")
    for listing in (
        [Entry(b"file", b"", FILE)],
        [Entry(b"folder", b"", FOLDER)],
        [Entry(b"twice", b"", LINK), Entry(b"twice", b"", FOLDER)],
        [Entry(b"both", b"", LINK), Entry(b"both", b"", FILE)],
    ):
        async with scripted_files(serving(listing)) as files:
            with pytest.raises(OSError):
                await files.get("d", tmp_path / "to", recurse=True, parallel=1)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert names(tmp_path / "outside") == []


@awaited
async def test_case_253_a_tree_without_an_end_is_given_up(tmp_path: Path) -> None:
    async with scripted_files(serving([Entry(b"d", b"", FOLDER)])) as files:
        with pytest.raises(SftpError, match="deep"):
            await files.get("d", tmp_path / "d", recurse=True)
        with pytest.raises(SftpError, match="deep"):
            await files.rmtree("d")
        with pytest.raises(SftpError, match="deep"):
            [one async for one in files.walk("d")]
        with pytest.raises(SftpError, match="deep"):
            await files.glob("**/x")


@pytest.mark.parametrize("pattern", ["d", "*"])
@awaited
async def test_r183_a_listing_without_an_end_is_said_to_be_one(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tellin.sftp.remote_files.MOST_ENTRIES", 50)
    endless = Name(tuple(Entry(b"f%d" % number, b"", FILE) for number in range(20)))

    def answer(number: int, rest: bytes) -> Message:
        return {11: Handle(b"h"), 12: endless}.get(number, OK)

    async with scripted_files(answer) as files:
        with pytest.raises(SftpError, match="too many entries: 51"):
            await (files.listdir("d") if pattern == "d" else files.glob(pattern))


@awaited
async def test_r183_a_listing_of_nothing_but_itself_ends() -> None:
    dots = Name(tuple(Entry(name, b"", FOLDER) for name in (b".", b"..")))

    def answer(number: int, rest: bytes) -> Message:
        return {11: Handle(b"h"), 12: dots}.get(number, OK)

    async with scripted_files(answer) as files:
        with pytest.raises(SftpError, match="times in itself"):
            await files.listdir("d")


@awaited
async def test_r184_a_directory_is_looked_through_once_for_each_part() -> None:
    """However many ways there are to share it out among several stars."""
    asked: list[bytes] = []

    def answer(number: int, rest: bytes) -> Message:
        if number == 11:
            asked.append(rest[4:])
            return Handle(rest[4:]) if rest.count(b"d") < 8 else NO
        if number == 12:
            count = asked.count(rest[4:])
            named = Name((Entry(b"d", b"", FOLDER),))
            return named if read.setdefault((rest[4:], count), True) else END
        return OK

    class Once(dict[tuple[bytes, int], bool]):
        def setdefault(self, key: tuple[bytes, int], default: bool = True) -> bool:
            if key in self:
                return False
            self[key] = default
            return True

    read = Once()
    async with scripted_files(answer) as files:
        found = await files.glob("**/" * 4 + "x")
    assert found == []
    assert len(asked) <= 9 * 5


@awaited
async def test_r174_a_tree_has_no_set_user_id_unless_it_is_preserved(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("small", "large"):
        (tmp_path / "a" / name).write_bytes(DATA[: 9 if name == "small" else 500_000])
        (tmp_path / "a" / name).chmod(0o6755)
    async with filed() as files:
        await files.get(tmp_path / "a", tmp_path / "b", recurse=True)
        await files.get(tmp_path / "a", tmp_path / "c", recurse=True, preserve=True)
    for name in ("small", "large"):
        assert stat.S_IMODE((tmp_path / "b" / name).stat().st_mode) == 0o755
        assert stat.S_IMODE((tmp_path / "c" / name).stat().st_mode) == 0o6755


@pytest.mark.root
@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@awaited
async def test_r174_a_copy_that_keeps_all_keeps_no_owner(tmp_path: Path, verb: str) -> None:
    (tmp_path / "a").mkdir()
    for name in ("small", "large"):
        (tmp_path / "a" / name).write_bytes(DATA[: 9 if name == "small" else 500_000])
        (tmp_path / "a" / name).chmod(0o640)
        os.chown(tmp_path / "a" / name, 1, 1)
    os.chown(tmp_path / "a", 1, 1)
    async with filed() as files:
        await getattr(files, verb)(tmp_path / "a", tmp_path / "b", recurse=True, preserve=True)
    for path in (tmp_path / "b", tmp_path / "b" / "small", tmp_path / "b" / "large"):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
    assert stat.S_IMODE((tmp_path / "b" / "large").stat().st_mode) == 0o640


@awaited
async def test_r176_a_write_that_failed_leaves_no_gap_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA[:600_000])
    sizes: list[int] = []

    def answer(number: int, rest: bytes) -> Message:
        match number:
            case 17:
                return Status(2, b"", b"")
            case 3:
                return Handle(b"h")
            case 6:
                offset = int.from_bytes(rest[5:13], "big")
                return NO if offset in {3 * 32768, 5 * 32768} else OK
            case 10:
                sizes.append(int.from_bytes(rest[9:17], "big"))
        return OK

    async with scripted_files(answer) as files:
        with pytest.raises(SftpError, match="no") as caught:
            await files.put(tmp_path / "a", "b")
    assert "98304 bytes" in caught.value.hint
    assert sizes == [3 * 32768]


class Careless:
    """A source that hands on what names it got."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    async def look(self, path: bytes, *, follow: bool) -> Attributes:
        return FOLDER

    async def contents(self, path: bytes) -> list[tuple[bytes, Attributes]]:
        return [(self.name, LINK)]

    async def read_link(self, path: bytes) -> bytes:
        return b"/etc"

    async def real(self, path: bytes) -> bytes:
        return path


@pytest.mark.parametrize("name", [b"../evil", b"..", b".", b"", b"a/b", b"a\0b"])
def test_r172_r173_a_source_that_does_not_check_its_names_is_checked(
    tmp_path: Path, name: bytes
) -> None:
    waits = Directly()
    wishes = Wishes(recursive=True)
    copy = TreeCopy(waits, Careless(name), LocalTarget(waits), Unmoving(), wishes)
    with pytest.raises(ProtocolError):
        Job(copy.run([(b"d", bytes(tmp_path / "to"))])).result()
    assert names(tmp_path) == ["to"]


class Unmoving:
    most = 1

    async def move(self, item: Item) -> None:
        raise AssertionError(item.name)
