# SPDX-License-Identifier: MIT
"""The library's files with the peers' servers."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from tests.interop.conftest import Running

import tellin

DATA = random.Random(7).randbytes(3_000_001)


@pytest.mark.parametrize(
    "name",
    [
        "tellin",
        pytest.param("sshd", marks=pytest.mark.peer("sshd")),
        pytest.param("asyncssh", marks=pytest.mark.peer("asyncssh")),
    ],
)
def test_files_links_and_names_with_every_server(
    name: str, running: Running, tmp_path: Path
) -> None:
    """A link's two paths go to AsyncSSH's server in the draft's order, to the others in OpenSSH's."""
    target = running(name).target
    (tmp_path / "here").write_bytes(DATA)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(target.known_hosts(), "ascii")
    root = tmp_path / "there"
    root.mkdir()
    odd = os.fsdecode(b"-a b\n\xff")

    async def work() -> list[str]:
        assert target.identity is not None
        async with (
            tellin.connect(
                target.host,
                port=target.port,
                user=target.user,
                keys=[target.identity.path],
                known_hosts=known_hosts,
                config=None,
            ) as connection,
            connection.sftp() as files,
        ):
            await files.put(tmp_path / "here", f"{root}/{odd}")
            await files.get(f"{root}/{odd}", tmp_path / "back")
            await files.symlink("target", f"{root}/link")
            await files.rename(f"{root}/{odd}", f"{root}/target", replace=True)
            await files.chmod(f"{root}/target", 0o640)
            await files.utime(f"{root}/target", 1, 2)
            with pytest.raises(FileNotFoundError):
                await files.stat(f"{root}/{odd}")
            return await files.listdir(root)

    assert sorted(asyncio.run(work())) == ["link", "target"]
    assert (tmp_path / "back").read_bytes() == DATA
    assert os.readlink(root / "link") == "target"  # noqa: PTH115 - the text of it
    status = (root / "link").stat()
    assert (status.st_size, status.st_mode & 0o777, int(status.st_mtime)) == (len(DATA), 0o640, 2)
