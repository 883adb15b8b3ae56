# SPDX-License-Identifier: MIT
"""A program with a ``tellin.Tunnel``: ``python kept_up.py FOLDER PORT``, by the configuration in that folder.

Each change of it is a line of standard output.
"""

import asyncio
import json
import sys
from pathlib import Path

import tellin


async def main(folder: Path, port: int) -> None:
    """Until somebody ends us."""

    def changed(tunnel: tellin.Tunnel) -> None:
        forwards = [{"listening": one.listening} for one in tunnel.standing]
        said = {
            "state": tunnel.state.value,
            "connected": tunnel.connected,
            "error": str(tunnel.error or ""),
            "forwards": forwards,
        }
        print(json.dumps(said), flush=True)

    keepalive = tellin.KeepAlive(interval=1.0, count=2)
    async with tellin.Tunnel(
        "there",
        config=folder / "config",
        longest_wait=1.0,
        keepalive=keepalive,
        on_change=changed,
    ) as tunnel:
        await tunnel.forward_local(port, folder / "echo", listen_host="127.0.0.1")
        await tunnel.forward_remote(port, folder / "echo", listen_host="127.0.0.1")
        await tunnel.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
