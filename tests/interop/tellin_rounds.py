# SPDX-License-Identifier: MIT
"""A login and a command by tellin's library for each set of algorithms told on standard input; what went wrong as JSON."""

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

import tellin
from tellin.config.known_hosts import KnownHosts

OPTIONS = {
    "kex": "key_exchanges",
    "host_key": "host_key_algorithms",
    "cipher": "ciphers",
    "mac": "macs",
}
DATA = random.Random(3).randbytes(5_003)


async def once(told: dict[str, Any], known: KnownHosts, algorithms: dict[str, str]) -> str:
    async with tellin.connect(
        told["host"],
        port=told["port"],
        user=told["user"],
        known_hosts=known,
        keys=[Path(told["identity"])],
        config=None,
        connect_timeout=60,
        **{option: algorithms[kind] for kind, option in OPTIONS.items() if algorithms[kind]},
    ) as connection:
        done = await connection.run("cat", input=DATA, encoding=None, check=True)
        return "" if done.stdout == DATA else "other bytes came back"


async def main() -> None:
    told = json.load(sys.stdin)
    known = KnownHosts.parse(told["known_hosts"])
    found = []
    for algorithms in told["rounds"]:
        try:
            found.append(await once(told, known, algorithms))
        except (OSError, tellin.TellinError) as error:
            found.append(f"{type(error).__name__}: {error}")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
