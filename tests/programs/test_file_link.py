# SPDX-License-Identifier: MIT
"""What sftp and scp send goes from a file into a pipe without being read; where that cannot be, it is."""

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.tellin_peer import TELLIN

from tellin.client.files.copying import TreeCopy, Wishes
from tellin.client.files.sides import LocalSource, RemoteTarget, Sending
from tellin.errors import TellinError
from tellin.programs.files.link import FileLink
from tellin.runtime import local_trees
from tellin.runtime.loop import SmallLoop
from tellin.sftp import messages

DATA = random.Random(4).randbytes(3_000_001)


@pytest.fixture
def link(request: pytest.FixtureRequest) -> Iterator[FileLink]:
    made = FileLink([*TELLIN, "sftp-server"], loop=SmallLoop(), **getattr(request, "param", {}))
    made.open()
    yield made
    made.close()
    made.loop.close()


def put(link: FileLink, source: Path, target: Path) -> None:
    files, wishes = link.files, Wishes()
    copy = TreeCopy(
        files.waits,
        LocalSource(files.waits),
        RemoteTarget(files),
        Sending(files, wishes),
        wishes,
    )
    link.wait(copy.run([(os.fsencode(source), os.fsencode(target))]))


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How much each call of one of the system's has moved."""
    real, moved = getattr(os, name), []

    def call(*words: Any, **named: Any) -> Any:
        found = real(*words, **named)
        moved.append(found if isinstance(found, int) else len(found))
        return found

    monkeypatch.setattr(os, name, call)
    return moved


def test_a_file_is_sent_without_being_read(
    link: FileLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(DATA)
    spliced, read = watched(monkeypatch, "splice"), watched(monkeypatch, "preadv")
    put(link, tmp_path / "f", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == DATA
    assert sum(spliced) == len(DATA)
    assert read == []


@pytest.mark.parametrize("link", [{"kilobits": 1 << 20}], indirect=True)
def test_a_link_that_is_held_to_a_rate_reads_what_it_sends(
    link: FileLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(DATA)
    spliced = watched(monkeypatch, "splice")
    put(link, tmp_path / "f", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == DATA
    assert spliced == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_what_cannot_be_spliced_is_read(
    link: FileLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def never(*_words: Any, **_named: Any) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "f").write_bytes(DATA)
    monkeypatch.setattr(os, "splice", never)
    put(link, tmp_path / "f", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == DATA


def test_r176_a_file_that_becomes_shorter_is_a_failure_and_none_of_what_was_made_up_stays(
    link: FileLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "f"
    source.write_bytes(DATA)
    real = os.splice

    def shortened(*words: Any, **named: Any) -> int:
        if named["offset_src"] > 1_500_000:
            os.truncate(source, 1_600_000)
        return real(*words, **named)

    monkeypatch.setattr(os, "splice", shortened)
    with pytest.raises((OSError, TellinError), match="become shorter"):
        put(link, source, tmp_path / "g")
    link.ask(messages.Stat(os.fsencode(tmp_path)))
    assert (tmp_path / "g").read_bytes() == DATA[:1_600_000]


def test_a_file_that_waits_to_be_sent_stays_open_when_its_transfer_is_over(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    opened = local_trees.Opened(os.fsencode(tmp_path / "f"), 0)
    held = local_trees.Lasting(opened.descriptor)
    opened.close()
    assert os.pread(held.descriptor, 9, 5) == DATA[5:14]
    number = held.descriptor
    del held
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
