# SPDX-License-Identifier: MIT
"""Talk to a command while it runs, and send its output to a file.

usage: python talk_to_process.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import tellin


async def main(host: str, port: str, user: str, key_file: str, known_hosts: str) -> None:
    async with tellin.connect(
        host, port=int(port), user=user, keys=[key_file], known_hosts=known_hosts, config=None
    ) as connection:
        async with connection.start("cat") as process:
            await process.stdin.write("first\n")
            print(await process.stdout.readline(), end="")
            await process.stdin.write("second\n")
            await process.stdin.aclose()
            print(await process.stdout.read(), end="")

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "zeros"
            # The bytes go from the connection to the file; they never pass this program's hands.
            await connection.run("head -c 1000000 /dev/zero", stdout=target, check=True)
            print(target.stat().st_size)


asyncio.run(main(*sys.argv[1:]))
