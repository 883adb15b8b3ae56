# SPDX-License-Identifier: MIT
"""Five lines each, without an event loop: a server whose sessions are threads, and its clients."""

import threading

import tellin
from tellin import blocking


def count(process: blocking.ServerProcess[str]) -> int:
    lines = sum(1 for _ in process.stdin)
    process.stdout.write(f"{lines} lines from {process.user}\n")
    return lines


def follow(connection: blocking.Connection) -> None:
    # Called here, piece by piece, while the command runs.
    connection.run("count", input="a\nb\n", stdout=lambda piece: print("it says:", bytes(piece)))


def many_at_once(connection: blocking.Connection) -> None:
    statuses: list[int | None] = []
    threads = [
        threading.Thread(
            target=lambda n=n: statuses.append(
                connection.run("count", input="x\n" * n).exit_status
            )
        )
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sorted(status for status in statuses if status is not None))


def talk(connection: blocking.Connection) -> None:
    with connection.start("count") as process:
        process.stdin.writelines(["one\n", "two\n", "three\n"])
        process.stdin.close()
        print(process.stdout.readline(), end="")
        print(process.wait(timeout=60).ending)


def main() -> None:
    host_key, key = (tellin.PrivateKey.generate("ed25519") for _ in range(2))
    with (
        blocking.serve(host_keys=[host_key], authorized_keys=key.public, session=count) as server,
        blocking.connect(
            "127.0.0.1",
            port=server.port,
            user="ann",
            keys=[key],
            host_keys=host_key.public,
            config=None,
        ) as connection,
    ):
        follow(connection)
        many_at_once(connection)
        talk(connection)


main()
