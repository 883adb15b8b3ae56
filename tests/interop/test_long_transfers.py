# SPDX-License-Identifier: MIT
"""One large file: at both ends it takes as much memory as a small one. TELLIN_WHOLE=1 moves 10 GiB."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.interop.children import python
from tests.interop.tellin_peer import TellinServer

MIB = 1 << 20
SMALL = 64 * MIB
LARGE = 10 << 30 if os.environ.get("TELLIN_WHOLE") else 1 << 30
# Buffers come and go; a hundredth of the larger file would be ten times this.
SLACK_KIB = 12 << 10

CLIENT = """
import asyncio, sys
import tellin

async def main(port, user, identity, host_key, verb, source, target):
    async with tellin.connect(
        "127.0.0.1", port=int(port), user=user, config=None,
        keys=[tellin.load_private_key(open(identity, "rb").read())],
        host_keys=[tellin.load_public_key(host_key)],
    ) as connection, connection.sftp() as files:
        await getattr(files, verb)(source, target)
        with open("/proc/self/status") as file:
            print(next(line for line in file if line.startswith("VmHWM")), flush=True)
        sys.stdin.read()

asyncio.run(main(*sys.argv[1:]))
"""


def peak(text: str) -> int:
    """The most memory that a process had, in KiB, as its status says it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) if found else 0


def peaks(server: TellinServer, folder: Path, verb: str, size: int) -> tuple[int, int]:
    """What the client and the largest of the server's processes had in memory at the most."""
    source, target = folder / "source", folder / "target"
    with source.open("wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(size)
    where = server.target
    assert where.identity is not None
    words = [where.port, where.user, where.identity.path, where.host_key(), verb, source, target]
    with subprocess.Popen(
        [python(), "-P", "-c", CLIENT, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        ours = peak(client.stdout.readline())
        theirs = [peak(Path(f"/proc/{pid}/status").read_text()) for pid in server.sessions()]
        client.communicate()
    assert client.returncode == 0
    assert target.stat().st_size == size
    with target.open("rb") as file, source.open("rb") as other:
        assert file.read(2 * MIB) == other.read(2 * MIB)
    target.unlink()
    return ours, max(theirs)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("verb", ["get", "put"])
def test_the_memory_of_a_long_transfer_is_that_of_a_short_one(tmp_path: Path, verb: str) -> None:
    with TellinServer(tmp_path) as server:
        small = peaks(server, tmp_path, verb, SMALL)
        large = peaks(server, tmp_path, verb, LARGE)
    # pytest -s shows what they were.
    print(f"{verb}: client {small[0]} and {large[0]} KiB, server {small[1]} and {large[1]} KiB")
    assert min(small) > 0
    for before, after in zip(small, large, strict=True):
        assert after < before + SLACK_KIB
