# SPDX-License-Identifier: MIT
"""Whole files: what is put in its place as it comes, what is kept aside, and what is used again."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from tests.sftp.paper_files import PaperFiles, Talk

from tellin.errors import TellinError
from tellin.runtime import local_trees
from tellin.runtime.local_trees import Opened, PromptFilling, is_in_memory, is_near
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import OPEN_CREATE, OPEN_READ, OPEN_WRITE, Open
from tellin.sftp.transfers import Download, Kept, Upload

DATA = random.Random(8).randbytes(200_000)
BLOCK = 3_000


class Keeper:
    """A disk that is quick at times, and at others keeps what it gets until somebody turns it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.data = bytearray()
        self.ways: list[str] = []
        self.waiting: list[tuple[bytes, int, Kept]] = []

    def prompt(self) -> bool:
        # What was kept aside and is not written lies before what would be written now.
        assert not self.waiting
        return self.random.random() < 0.6

    def put(self, data: bytes, offset: int) -> None:
        # R176: there is never a gap.
        assert offset == len(self.data)
        self.data += data

    def take(self, view: memoryview, offset: int) -> None:
        self.ways.append("take")
        self.put(bytes(view), offset)

    def keep(self, view: memoryview, offset: int, kept: Kept) -> None:
        self.ways.append("keep")
        self.waiting.append((bytes(view), offset, kept))
        if self.random.random() < 0.4:
            self.turn()

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for data, offset, kept in waiting:
            self.put(data, offset)
            kept(None, None)


@pytest.mark.parametrize("piece", [1 << 20, 1000, 77])
@pytest.mark.parametrize("seed", range(6))
def test_a_piece_goes_to_its_place_or_is_kept_aside_and_all_come_in_order(
    seed: int, piece: int
) -> None:
    talk = Talk(PaperFiles(f=DATA), piece=piece)
    handle = talk.handle(Open(b"/f", OPEN_READ, Attributes()))
    disk, ends = Keeper(seed), list[TellinError | None]()
    transfer = Download(
        talk.client,
        handle,
        start=0,
        size=len(DATA),
        whole=True,
        block=BLOCK,
        path=b"/f",
        take=disk.take,
        keep=disk.keep,
        prompt=disk.prompt,
    )
    transfer.begin(ends.append)
    while not ends:
        talk.step()
        disk.turn()
    assert ends == [None]
    assert disk.data == DATA
    assert {*disk.ways} == {"take", "keep"}


@pytest.mark.parametrize("block", [BLOCK, 1 << 18, 700_000])
def test_what_was_read_is_used_again_when_the_server_has_it_and_not_before(block: int) -> None:
    files = PaperFiles()
    talk = Talk(files)
    handle = talk.handle(Open(b"/f", OPEN_WRITE | OPEN_CREATE, Attributes()))
    data = random.Random(3).randbytes(2_900_000)
    spare: list[bytearray] = []
    made, sizes, ends = [0], set(), list[TellinError | None]()

    def load(offset: int, size: int, loaded: Any) -> None:
        sizes.add(size)
        room = spare.pop() if spare else bytearray(size)
        made[0] += not spare
        found = data[offset : offset + size]
        room[: len(found)] = found
        loaded((offset, memoryview(room)[: len(found)]), None)

    def recycle(room: bytearray) -> None:
        # Whoever sends it later sends something else.
        room[:] = b"\xee" * len(room)
        spare.append(room)

    transfer = Upload(
        talk.client,
        handle,
        start=0,
        block=min(block, 200_000),
        path=b"/f",
        load=load,
        recycle=recycle,
    )
    transfer.begin(ends.append)
    while not ends:
        talk.step()
    assert ends == [None]
    assert files.data[b"/f"] == data
    assert spare
    # No request of its own for what is left over.
    (size,) = sizes
    assert size % min(block, 200_000) == 0


def test_a_file_takes_data_on_the_spot_until_that_has_taken_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(local_trees, "monotonic", lambda: now[0])
    monkeypatch.setattr(local_trees, "is_near", lambda status: True)
    with (tmp_path / "f").open("wb") as file:
        filling = PromptFilling(file.fileno(), sparse=False)
        assert filling.prompt()
        filling.write_promptly(memoryview(b"quick"), 0)
        assert filling.prompt()
        # A disk that makes one wait.
        monkeypatch.setattr(filling, "_write", lambda *_: now.__setitem__(0, now[0] + 0.2))
        filling.write_promptly(memoryview(b"slow"), 5)
        assert not filling.prompt()
        now[0] += 0.4
        assert not filling.prompt()
        now[0] += 0.2
        assert filling.prompt()
    assert (tmp_path / "f").read_bytes() == b"quick"


def test_what_is_behind_a_network_or_a_program_is_not_near(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    status = (tmp_path / "f").stat()
    fields = list(status)
    assert is_near(status) == (os.major(status.st_dev) != 0 or is_in_memory(status.st_dev))
    # /proc has files and no disk; a device number that nothing is mounted from has neither.
    assert not is_near(Path("/proc/self/stat").stat())
    assert not is_in_memory(os.makedev(0, 0xFFFFF))
    fields[2] = os.makedev(8, 1)
    assert is_near(os.stat_result(fields))
    assert not is_near(Path("/dev/null").stat())


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="nothing in memory")
def test_a_file_in_memory_is_read_on_the_spot_into_what_was_used_before() -> None:
    path = Path(f"/dev/shm/tellin-test-{os.getpid()}")
    path.write_bytes(DATA)
    try:
        opened = Opened(os.fsencode(path), 0)
        room = bytearray(150_000)
        found = opened.read_at_once(100_000, 150_000, room)
        assert found is not None
        assert found[0] == 100_000
        assert found[1] == DATA[100_000:]
        assert isinstance(found[1], memoryview)
        assert found[1].obj is room
        assert opened.read_at_once(len(DATA), 10) == (len(DATA), b"")
        opened.close()
    finally:
        path.unlink()
