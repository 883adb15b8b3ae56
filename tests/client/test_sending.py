# SPDX-License-Identifier: MIT
"""What the library sends: read into the packets where it is in memory, by a thread where it is not."""

# The files of a test are small, and nothing else waits.

import os
from pathlib import Path

import pytest
from tests.client.test_files import DATA, filed
from tests.library import awaited

from tellin.runtime.local_trees import Lasting, Opened


@awaited
async def test_what_is_in_memory_is_read_into_the_packets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    counts: list[int] = []

    def fill(file: Lasting, view: memoryview, offset: int) -> int:
        counts.append(os.preadv(file.descriptor, [view], offset))
        return counts[-1]

    monkeypatch.setattr(Opened, "is_ready", lambda *_: True)
    monkeypatch.setattr(Lasting, "fill", fill)
    monkeypatch.setattr(Lasting, "read", None)
    async with filed() as files:
        await files.put(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA
    assert sum(counts) == len(DATA)


@awaited
async def test_what_has_left_the_memory_meanwhile_is_read_by_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    asked: list[int] = []

    def fill(file: Lasting, view: memoryview, offset: int) -> int:
        asked.append(offset)
        # Every third time it is not there, and at times less is there than was asked for.
        if len(asked) % 3 == 0:
            return 0
        return os.preadv(file.descriptor, [view[: max(1, len(view) // len(asked))]], offset)

    monkeypatch.setattr(Opened, "is_ready", lambda *_: True)
    monkeypatch.setattr(Lasting, "fill", fill)
    async with filed() as files:
        await files.put(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA
    assert len(asked) > 10


@awaited
async def test_what_is_on_a_disk_is_read_ahead_by_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    monkeypatch.setattr(Opened, "read_at_once", lambda *_: None)
    monkeypatch.setattr(Lasting, "fill", None)
    async with filed() as files:
        await files.put(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA


@awaited
async def test_r176_a_file_that_becomes_shorter_is_a_failure_and_what_was_made_up_is_taken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a"
    source.write_bytes(DATA)

    def fill(file: Lasting, view: memoryview, offset: int) -> int:
        if offset > 4_000_000:
            os.truncate(source, 4_100_000)
        return os.preadv(file.descriptor, [view], offset)

    monkeypatch.setattr(Opened, "is_ready", lambda *_: True)
    monkeypatch.setattr(Lasting, "fill", fill)
    async with filed() as files:
        with pytest.raises(OSError, match="become shorter"):
            await files.put(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA[:4_100_000]
