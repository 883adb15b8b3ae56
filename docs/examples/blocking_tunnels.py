# SPDX-License-Identifier: MIT
"""A tunnel and a pool in a program without an event loop.

usage: python blocking_tunnels.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import socket
import sys
import threading
from typing import Any

from tellin import blocking


def keep_up(host: str, port: int, **how: Any) -> None:
    with blocking.Tunnel(host, port=port, **how) as tunnel:
        forwarding = tunnel.forward_local(0, "127.0.0.1", port)
        connection = tunnel.wait_up(timeout=30)
        print("through:", connection.host)
        with socket.create_connection(("127.0.0.1", forwarding.port)) as stream:
            print("behind the port:", stream.recv(255).decode().split("-")[0])


def share(host: str, port: int, user: str, **how: Any) -> None:
    with blocking.Pool(timeout=30, **how) as pool:
        said: list[str] = []

        def one(number: int) -> None:
            with pool.acquire(host, port=port, user=user) as connection:
                said.append(connection.run(f"echo {number}", check=True).stdout.strip())

        threads = [threading.Thread(target=one, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(*sorted(said), "by", pool.size)


def main(host: str, port: str, user: str, key: str, known_hosts: str) -> None:
    how: dict[str, Any] = {"keys": [key], "known_hosts": known_hosts, "config": None}
    keep_up(host, int(port), user=user, **how)
    share(host, int(port), user, **how)


if __name__ == "__main__":
    main(*sys.argv[1:])
