# SPDX-License-Identifier: MIT
"""Transfers that are cut anywhere: what the error says, what is left, and that it can be gone on with."""

import asyncio
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.client.test_files import filed
from tests.library import awaited, connected, connecting, pattern, serving

import tellin
from tellin.errors import ConnectionLost, SftpError

DATA = pattern(9_000_001)
SERVING = {"session": tellin.RunCommands(subsystems={"sftp": "internal-sftp"})}


def said(hint: str) -> int:
    found = re.search(r"(\d+) bytes", hint)
    assert found is not None, hint
    return int(found[1])


@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.parametrize("cut", [0, 1, 500_000, 1_700_000, 2_500_000])
@awaited
async def test_a_connection_that_breaks_leaves_a_beginning_that_can_be_gone_on_with(
    tmp_path: Path, verb: str, cut: int
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    async with connected(**SERVING) as connection:
        files = await connection.sftp()

        def tell(_source: bytes, _target: bytes, done: int, _total: int) -> None:
            if done >= cut:
                with suppress(OSError):
                    connection.link.stream.shutdown(socket.SHUT_RDWR)

        failure: ConnectionLost | None = None
        try:
            await getattr(files, verb)(tmp_path / "a", tmp_path / "b", progress_handler=tell)
        except ConnectionLost as error:
            failure = error
    kept = (tmp_path / "b").read_bytes()
    assert kept == DATA[: len(kept)]
    if failure is None:
        # On a slow machine all of it may have been here before the line was cut.
        assert cut
        assert kept == DATA
    else:
        reached = said(failure.hint)
        # More may have arrived there than was answered; of what was fetched it is exact.
        assert reached == len(kept) if verb == "get" else reached <= len(kept)
    async with filed() as files:
        await getattr(files, verb)(tmp_path / "a", tmp_path / "b", resume=True)
    assert (tmp_path / "b").read_bytes() == DATA


class Line:
    """Two sockets with a carrier between them, who stops after so many bytes and says nothing of it."""

    def __init__(self, most: int) -> None:
        self.ours, self._near = socket.socketpair()
        self._far, self.theirs = socket.socketpair()
        self._left = most
        self._tasks = [
            asyncio.ensure_future(self._carry(*way))
            for way in ((self._near, self._far), (self._far, self._near))
        ]

    async def _carry(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for one in (source, target):
            one.setblocking(False)
        while self._left > 0 and (data := await loop.sock_recv(source, 65536)):
            data = data[: self._left]
            self._left -= len(data)
            await loop.sock_sendall(target, data)

    async def end(self) -> None:
        """Both ends are let go of."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._near.close()
        self._far.close()


@pytest.mark.parametrize("verb", [pytest.param("get", marks=pytest.mark.slow), "put"])
@awaited
async def test_case_258_a_network_that_is_silent_ends_a_transfer_by_the_keep_alive(
    tmp_path: Path, verb: str
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    line = Line(3_000_000)
    async with serving(port=-1, **SERVING) as server:
        server.serve_socket(line.theirs)
        async with connecting(
            server, sock=line.ours, keepalive=tellin.KeepAlive(interval=1, count=2)
        ) as connection:
            files = await connection.sftp()
            with pytest.raises(ConnectionLost) as caught:
                await getattr(files, verb)(tmp_path / "a", tmp_path / "b")
        await line.end()
    kept = (tmp_path / "b").read_bytes()
    assert DATA.startswith(kept)
    assert f"bytes of {len(DATA)} are" in caught.value.hint
    assert str(tmp_path / "b") in caught.value.hint
    reached = said(caught.value.hint)
    assert reached == len(kept) if verb == "get" else reached <= len(kept)
    async with filed() as files:
        await getattr(files, verb)(tmp_path / "a", tmp_path / "b", resume=True)
    assert (tmp_path / "b").read_bytes() == DATA


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of one MiB."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.root
@awaited
async def test_a_disk_that_is_full_here_keeps_a_beginning_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with small_disk(tmp_path / "disk"):
        async with filed() as files:
            with pytest.raises(OSError, match="No space left") as caught:
                await files.get(tmp_path / "a", tmp_path / "disk" / "b")
            kept = (tmp_path / "disk" / "b").read_bytes()
            assert kept == DATA[: len(kept)]
            assert said(caught.value.__notes__[0]) == len(kept)
            with pytest.raises(SftpError) as refused:
                await files.put(tmp_path / "a", tmp_path / "disk" / "b")
            await files.stat(tmp_path)
            there = (tmp_path / "disk" / "b").read_bytes()
            assert there == DATA[: len(there)]
            assert said(refused.value.hint) == len(there) > 0
