# SPDX-License-Identifier: MIT

# The files of a test are small, and nothing else waits.

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.client.test_files import filed
from tests.client.test_trees import grown, planted
from tests.library import awaited

from tellin.client.files import mirroring
from tellin.errors import SftpError

VERBS = ["mirror_get", "mirror_put"]


@pytest.mark.parametrize("verb", VERBS)
@awaited
async def test_a_tree_is_made_like_another(tmp_path: Path, verb: str) -> None:
    source, target = planted(tmp_path / "source"), tmp_path / "target"
    async with filed() as files:
        mirror = getattr(files, verb)
        said = await mirror(source, target, dry_run=True)
        assert not target.exists()
        done = await mirror(source, target)
        assert sorted(said.copied) == sorted(done.copied)
        assert grown(target) == grown(source)
        again = await mirror(source, target)
        assert (again.copied, again.removed, again.unchanged) == ([], [], 46)
        # Another size, another time, another target of a link, and one that is gone.
        (source / "f3").write_bytes(b"other")
        os.utime(source / "f4", (5, 5))
        (source / "link").unlink()
        (source / "link").symlink_to("f9")
        (source / "f5").unlink()
        third = await mirror(source, target)
        assert sorted(third.copied) == ["f3", "f4", "link"]
        assert (target / "f5").exists()
        said = await mirror(source, target, delete=True, dry_run=True)
        assert said.removed == ["f5"]
        assert (target / "f5").exists()
        await mirror(source, target, delete=True)
    assert grown(target) == grown(source)


@pytest.mark.parametrize("verb", VERBS)
@awaited
async def test_bytes_may_be_compared(tmp_path: Path, verb: str) -> None:
    source, target = planted(tmp_path / "source"), tmp_path / "target"
    async with filed() as files:
        mirror: Any = getattr(files, verb)
        await mirror(source, target)
        status = (source / "large").stat()
        data = bytearray((target / "large").read_bytes())
        data[600_000] ^= 1
        (target / "large").write_bytes(data)
        os.utime(target / "large", (status.st_atime, status.st_mtime))
        assert (await mirror(source, target)).copied == []
        assert (await mirror(source, target, checksum=True)).copied == ["large"]
        # Of another time and the same bytes there is nothing to copy then.
        os.utime(source / "f7", (7, 7))
        assert (await mirror(source, target, checksum=True)).copied == []
    assert grown(target) == grown(source)


@pytest.mark.parametrize("verb", VERBS)
@awaited
async def test_what_is_something_else_is_removed_only_if_that_was_asked_for(
    tmp_path: Path, verb: str
) -> None:
    source, target = planted(tmp_path / "source"), tmp_path / "target"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"mine")
    target.mkdir()
    (target / "f1").mkdir()
    (target / "f1" / "full").write_bytes(b"")
    (target / "a b").symlink_to(tmp_path / "outside")
    (target / "extra").symlink_to(tmp_path / "outside")
    async with filed() as files:
        mirror = getattr(files, verb)
        with pytest.raises(SftpError, match="something else"):
            await mirror(source, target)
        assert len(list(target.iterdir())) == 3
        await mirror(source, target, delete=True)
    assert grown(target) == grown(source)
    assert (tmp_path / "outside" / "f").read_bytes() == b"mine"


@pytest.mark.parametrize("verb", VERBS)
@awaited
async def test_what_nobody_may_write_to_is_unlocked_while_it_is_changed(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may do all: so it is looked at what was allowed, and that it is as it should be in the end."""
    allowed: list[tuple[str, int]] = []
    name = "allower" if verb == "mirror_put" else "local_allower"
    make = getattr(mirroring, name)

    def noting(where: Any) -> Any:
        allow = make(where)

        async def noted(path: bytes, mode: int) -> None:
            allowed.append((os.fsdecode(path), mode))
            await allow(path, mode)

        return noted

    monkeypatch.setattr(f"tellin.client.files.files.{name}", noting)
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d" / "same").mkdir(parents=True)
    (source / "d" / "f").write_bytes(b"old")
    (source / "d" / "g").write_bytes(b"same")
    for path, mode in (("d/f", 0o444), ("d/g", 0o444), ("d/same", 0o555), ("d", 0o555)):
        (source / path).chmod(mode)
    async with filed() as files:
        await getattr(files, verb)(source, target)
        assert allowed == []
        (source / "d" / "f").write_bytes(b"other")
        await getattr(files, verb)(source, target, dry_run=True)
        assert allowed == []
        await getattr(files, verb)(source, target)
    assert sorted(allowed) == [(f"{target}/d", 0o755), (f"{target}/d/f", 0o644)]
    assert (target / "d" / "f").read_bytes() == b"other"
    for path, mode in (("d/f", 0o444), ("d/g", 0o444), ("d/same", 0o555), ("d", 0o555)):
        assert stat.S_IMODE((target / path).stat().st_mode) == mode, path
