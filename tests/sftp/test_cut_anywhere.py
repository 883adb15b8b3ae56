# SPDX-License-Identifier: MIT
"""A copy whose line ends after any byte: what is left has no gaps, the error says how far it got, and resuming finishes it."""

import errno
import os
import random
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.sftp.paper_files import Talk, drain, feed, no

from tellin.client.files.copying import TreeCopy, Wishes
from tellin.client.files.sides import (
    Fetching,
    LocalSource,
    LocalTarget,
    RemoteSource,
    RemoteTarget,
    Sending,
)
from tellin.errors import ConnectionLost, SftpError
from tellin.runtime.local_trees import Filling
from tellin.server.files.quota_files import QuotaFiles
from tellin.server.files.rooted_files import RootedFiles
from tellin.server.files.sftp_files import LocalFiles
from tellin.sftp.messages import READ_NUMBER
from tellin.sftp.remote_files import RemoteFiles
from tellin.sftp.waiting import Directly, Job

# Requests of so many bytes make a talk of a few thousand, each of which can be the last.
BLOCK = 64
WHOLE = random.Random(6).randbytes(700)
TREE = {
    "a": WHOLE[:200],
    "b": b"",
    "d/c": WHOLE[:130],
    "d/e/f": WHOLE[5:70],
    "d/e/g": WHOLE[:1],
}


class Cut(ConnectionLost):
    """The line ended where the test said."""


def frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found


class Line(Talk):
    """A talk of which so many bytes, both ways together, are carried; then nothing more is.

    With ``order`` a server's answers come in another order than their questions, and what it reads is
    short, as the protocol allows.
    """

    def __init__(self, files: Any, *, last: int = 1 << 40, order: int | None = None) -> None:
        self.left = 1 << 40
        self.order = None if order is None else random.Random(order)
        super().__init__(files)
        self.left = last
        self.carried = 0
        self.over = False
        self.remote = RemoteFiles(self.client, Directly())
        self.remote.limits.largest_read = self.remote.limits.largest_write = BLOCK

    def _part(self, data: bytes) -> bytes:
        part = data[: self.left]
        self.left -= len(part)
        self.carried = getattr(self, "carried", 0) + len(part)
        return part

    def _shuffled(self, data: bytes) -> bytes:
        if self.order is None:
            return data
        found = frames(data)
        self.order.shuffle(found)
        return b"".join(found)

    def step(self) -> None:
        while self.left and (out := b"".join(self.client.take())):
            if self.order is not None:
                out = b"".join(self._shorter(one) for one in frames(out))
            feed(self.server, self._part(out))
            answers = b""
            while data := drain(self.server):
                answers += data
            self.client.received([memoryview(self._part(self._shuffled(answers)))])

    def _shorter(self, frame: bytes) -> bytes:
        assert self.order is not None
        if frame[4] != READ_NUMBER:
            return frame
        wanted = int.from_bytes(frame[-4:], "big")
        return frame[:-4] + max(1, wanted - self.order.randrange(30)).to_bytes(4, "big")

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it as far as the line carries it, without a word to the client of its end."""
        self.job = Job(work)
        while self.left and not self.job.done():
            self.step()
        self.server.end()

    def end(self) -> BaseException | None:
        """The client hears of the end, if it has not come to its own; what it raised."""
        self.client.lost(Cut("the line was cut", stage="session"))
        assert self.job.done()
        return self.job.exception()

    def copy(self, verb: str, source: bytes, target: bytes, **wanted: Any) -> Any:
        wishes = Wishes(**wanted)
        files, waits = self.remote, self.remote.waits
        ends: dict[str, tuple[Any, Any, Any]] = {
            "get": (RemoteSource(files), LocalTarget(waits), Fetching(files, wishes)),
            "put": (LocalSource(waits), RemoteTarget(files), Sending(files, wishes)),
        }
        return TreeCopy(waits, *ends[verb], wishes).run([(source, target)])


def planted(root: Path, what: dict[str, bytes] | bytes) -> Path:
    if isinstance(what, bytes):
        root.write_bytes(what)
        return root
    for name, data in what.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def grown(root: Path) -> dict[str, bytes]:
    if not root.is_dir():
        return {"": root.read_bytes()} if root.exists() else {}
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if not path.is_dir()
    }


def is_beginning(found: dict[str, bytes], whole: dict[str, bytes]) -> bool:
    return all(whole[name].startswith(data) for name, data in found.items())


def drawn(total: int, most: int) -> range:
    """So many cuts, evenly spread; where the first one lies is the seed's affair."""
    step = max(1, total // most)
    return range(random.Random(os.environ.get("TELLIN_SEED", "6")).randrange(step), total, step)


def cut_everywhere(
    tmp_path: Path, verb: str, what: dict[str, bytes] | bytes, order: int | None, cuts: int
) -> None:
    recursive = isinstance(what, dict)
    source = planted(tmp_path / "from", what)
    whole = grown(source)
    line = Line(LocalFiles(), order=order)
    line.run(line.copy(verb, bytes(source), bytes(tmp_path / "all"), recursive=recursive))
    assert line.end() is None
    assert grown(tmp_path / "all") == whole
    total = line.carried
    assert total > 1000
    told = 0
    for cut in drawn(total, cuts):
        target = tmp_path / f"to{cut}"
        line = Line(LocalFiles(), last=cut, order=order)
        line.run(line.copy(verb, bytes(source), bytes(target), recursive=recursive))
        # As it is found by one whose client was killed here.
        assert is_beginning(grown(target), whole), cut
        error = line.end()
        kept = grown(target)
        assert is_beginning(kept, whole), cut
        if error is not None:
            assert isinstance(error, ConnectionLost)
            told += says_how_far(error, kept, target, exactly=verb == "get")
        again = Line(LocalFiles(), order=order)
        again.run(again.copy(verb, bytes(source), bytes(target), recursive=recursive, resume=True))
        assert again.end() is None, cut
        assert grown(target) == whole, cut
    assert told


def says_how_far(
    error: ConnectionLost, kept: dict[str, bytes], target: Path, *, exactly: bool
) -> bool:
    """Whether the error names a file that was on its way; then what it says of it is so."""
    said = re.fullmatch(r"(?:up to )?(\d+) bytes of (\d+) are (?:there )?in '(.*)'", error.hint)
    if said is None:
        # Nothing was being moved.
        assert not error.hint
        return False
    name = os.path.relpath(said[3], target)
    there = len(kept.get("" if name == "." else name, b""))
    assert int(said[1]) == there if exactly else int(said[1]) <= there
    assert there <= int(said[2])
    return True


some_cuts = pytest.mark.parametrize(
    "cuts", [15, pytest.param(1 << 20, marks=pytest.mark.slow)], ids=["some", "all"]
)
both_ways = pytest.mark.parametrize("verb", ["get", "put"])


@some_cuts
@both_ways
@pytest.mark.parametrize("order", [None, 1], ids=["in order", "in no order"])
@pytest.mark.parametrize(
    "what", [pytest.param(WHOLE, id="a file"), pytest.param(TREE, id="a tree")]
)
@pytest.mark.timeout(900)
def test_a_line_that_is_cut_after_any_byte_leaves_beginnings_that_resuming_finishes(
    tmp_path: Path, verb: str, order: int | None, what: dict[str, bytes] | bytes, cuts: int
) -> None:
    cut_everywhere(tmp_path, verb, what, order, cuts)


# Writes that fail, with others behind them


class Failing:
    """Files of a disk on which one WRITE fails, and all others do not."""

    def __init__(self, number: int, *, shortens: bool = True) -> None:
        self._number = number
        self._shortens = shortens
        self._files = LocalFiles()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def open(self, path: bytes, flags: int, mode: int) -> Any:
        file = self._files.open(path, flags, mode)
        write, change = file.write, file.change

        def fails(view: memoryview, offset: int) -> None:
            self._number -= 1
            if not self._number:
                raise no(errno.ENOSPC)
            write(view, offset)

        def refuses(attributes: Any) -> None:
            if not self._shortens:
                raise no(errno.EPERM)
            change(attributes)

        return Wrapped(file, write=fails, change=refuses)


class Wrapped:
    def __init__(self, inner: Any, **others: Any) -> None:
        self._inner = inner
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("number", range(1, 12))
def test_r176_a_write_that_failed_is_an_error_and_resuming_trusts_no_more_than_lies_before_it(
    tmp_path: Path, number: int
) -> None:
    source, target = planted(tmp_path / "a", WHOLE), tmp_path / "b"
    line = Line(Failing(number))
    line.run(line.copy("put", bytes(source), bytes(target)))
    error = line.job.exception()
    assert isinstance(error, SftpError)
    reached = (number - 1) * BLOCK
    assert error.hint == f"up to {reached} bytes of 700 are there in {str(target)!a}"
    assert str(target) in str(error)
    assert "No space left" in str(error)
    # Those behind it were written, and are gone again.
    assert target.read_bytes() == WHOLE[:reached]
    again = Line(LocalFiles())
    again.run(again.copy("put", bytes(source), bytes(target), resume=True))
    assert again.end() is None
    assert target.read_bytes() == WHOLE


def test_r176_where_a_gap_cannot_be_taken_off_it_is_said_that_there_is_one(tmp_path: Path) -> None:
    source, target = planted(tmp_path / "a", WHOLE), tmp_path / "b"
    line = Line(Failing(3, shortens=False))
    line.run(line.copy("put", bytes(source), bytes(target)))
    error = line.job.exception()
    assert isinstance(error, SftpError)
    assert target.read_bytes() == WHOLE[:128] + bytes(64) + WHOLE[192:]
    assert error.hint.startswith("up to 128 bytes of 700 are there")
    assert error.hint.endswith("behind a gap some more: not to be gone on with")


@pytest.mark.parametrize("number", [1, 4, 11])
@pytest.mark.parametrize("order", [None, 2], ids=["in order", "in no order"])
def test_r176_a_disk_here_that_fails_keeps_a_beginning_and_says_so(
    tmp_path: Path, number: int, order: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = planted(tmp_path / "a", WHOLE), tmp_path / "b"
    written: list[int] = []
    pwrite = os.pwrite

    def fails(descriptor: int, view: memoryview, offset: int) -> int:
        written.append(offset)
        if len(written) == number:
            raise no(errno.ENOSPC)
        return pwrite(descriptor, view, offset)

    line = Line(LocalFiles(), order=order)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails)
        line.run(line.copy("get", bytes(source), bytes(target)))
    error = line.job.exception()
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert len(written) == number
    assert written == sorted(written)
    kept = target.read_bytes()
    assert WHOLE.startswith(kept)
    assert error.__notes__ == [f"{len(kept)} bytes of 700 are in {str(target)!a}"]
    again = Line(LocalFiles(), order=order)
    again.run(again.copy("get", bytes(source), bytes(target), resume=True))
    assert again.end() is None
    assert target.read_bytes() == WHOLE


def test_r176_a_disk_that_fails_once_is_written_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library has given to its thread already comes after the piece that failed."""
    pwrite, failing = os.pwrite, [64]

    def fails(descriptor: int, view: memoryview, offset: int) -> int:
        if offset in failing:
            failing.clear()
            raise no(errno.ENOSPC)
        return pwrite(descriptor, view, offset)

    monkeypatch.setattr(os, "pwrite", fails)
    with (tmp_path / "a").open("wb") as file:
        filling = Filling(file.fileno(), sparse=False)
        filling.write(memoryview(WHOLE)[:64], 0)
        for start in (64, 128):
            with pytest.raises(OSError, match="No space"):
                filling.write(memoryview(WHOLE)[start : start + 64], start)
    assert (tmp_path / "a").read_bytes() == WHOLE[:64]


@both_ways
def test_a_file_that_nobody_may_write_can_be_gone_on_with(tmp_path: Path, verb: str) -> None:
    source, target = planted(tmp_path / "a", WHOLE), tmp_path / "b"
    source.chmod(0o444)
    line = Line(LocalFiles(), last=1000)
    line.run(line.copy(verb, bytes(source), bytes(target)))
    assert line.end() is not None
    assert 0 < len(target.read_bytes()) < len(WHOLE)
    assert target.stat().st_mode & 0o200
    whole = Line(LocalFiles())
    whole.run(whole.copy(verb, bytes(source), bytes(tmp_path / "c")))
    assert whole.end() is None
    # As by OpenSSH: whoever fetches a file may write to his own.
    assert (tmp_path / "c").stat().st_mode & 0o777 == (0o644 if verb == "get" else 0o444)


def test_a_server_whose_answers_skip_one_is_not_read_to_its_end(tmp_path: Path) -> None:
    """What comes before its turn is held in memory, so it is bounded."""
    # Sizes and not bytes: a file of 1 GiB that is a hole.
    source, target = tmp_path / "a", tmp_path / "b"
    source.touch()
    os.truncate(source, 1 << 30)
    line = Line(LocalFiles())
    line.remote.limits.largest_read = 1 << 18
    withheld: list[bytes] = []
    asked = 0
    job = Job(line.copy("get", bytes(source), bytes(target)))
    while out := b"".join(line.client.take()):
        for frame in frames(out):
            if frame[4] == READ_NUMBER and not withheld:
                withheld.append(frame)
                continue
            asked += frame[4] == READ_NUMBER
            feed(line.server, frame)
            while data := drain(line.server):
                line.client.received([memoryview(data)])
    assert withheld
    assert not job.done()
    # 8 MiB, and what was on its way besides.
    assert asked <= (8 + 4 + 1) * 4
    assert target.stat().st_size == 0
    feed(line.server, withheld[0])
    line.client.received([memoryview(drain(line.server))])
    assert target.stat().st_size >= 8 << 20
    line.client.lost(Cut("enough", stage="session"))


def test_a_quota_says_how_far_it_got_and_with_more_of_it_resuming_finishes(tmp_path: Path) -> None:
    source = planted(tmp_path / "a", WHOLE)
    (tmp_path / "root").mkdir()
    target = tmp_path / "root" / "b"
    for most, resume in ((400, False), (400, True), (1000, True)):
        line = Line(QuotaFiles(RootedFiles(tmp_path / "root"), most_bytes=most))
        line.run(line.copy("put", bytes(source), b"/b", resume=resume))
        error = line.end()
        kept = target.read_bytes()
        assert WHOLE.startswith(kept)
        if most < len(WHOLE):
            assert isinstance(error, SftpError)
            assert "Quota" in str(error)
            assert error.hint == f"up to {len(kept)} bytes of 700 are there in '/b'"
            # All whole blocks that there was room for.
            assert len(kept) == 400 // BLOCK * BLOCK
        else:
            assert error is None
            assert kept == WHOLE
