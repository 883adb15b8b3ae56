# SPDX-License-Identifier: MIT
"""How private keys come into the world: from one source, in a file that nobody else could ever read."""

import errno
import os
import stat
from pathlib import Path

import pytest

from tellin.keys.private import PrivateKey
from tellin.programs.command import load
from tellin.programs.keygen import files as keygen_files


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_r120_a_private_key_is_made_in_one_step_with_its_mode(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2022-24302: for an instant the file was everybody's."""
    opened: list[tuple[str, int, int]] = []
    really = os.open

    def noted(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        descriptor = really(path, flags, mode, **more)
        if flags & os.O_CREAT:
            opened.append((path, flags, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", noted)
    before = os.umask(0)
    try:
        words = ["-q", "-t", kind, "-N", "", "-f", str(tmp_path / "key")]
        assert load("ssh-keygen").run(words) == 0
    finally:
        os.umask(before)
    private = [one for one in opened if ".pub" not in one[0]]
    assert private
    for path, flags, mode in private:
        assert path.startswith(str(tmp_path / "key"))
        assert flags & os.O_EXCL
        assert mode == 0o600
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_r120_a_file_that_came_up_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        keygen_files.write(str(tmp_path / "key"), b"mine", mode=0o600, replace=False)
    assert (tmp_path / "key").read_bytes() == b"somebody's"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_r120_where_there_are_no_links_a_file_is_new_or_it_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT knows none, and says that it is not permitted."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "key"
    keygen_files.write(str(path), b"mine", mode=0o600, replace=False)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"mine", 0o600)
    with pytest.raises(FileExistsError):
        keygen_files.write(str(path), b"another", mode=0o600, replace=False)
    assert path.read_bytes() == b"mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_r122_a_thousand_keys_are_a_thousand() -> None:
    """CVE-2022-29245, CVE-2024-31497: keys from a source that anybody could guess."""
    blobs = {PrivateKey.generate("ed25519").encode() for _ in range(1000)}
    assert len(blobs) == 1000
    # No bit that is always the same, beside those that say what it is.
    first = next(iter(blobs))
    always = [byte for byte in range(len(first)) if len({blob[byte] for blob in blobs}) == 1]
    secret = range(len(first) - 64, len(first) - 32)
    assert not set(secret) & set(always)
    assert len({PrivateKey.generate("ecdsa").encode() for _ in range(100)}) == 100
