# SPDX-License-Identifier: MIT
"""The same without an event loop.

usage: python blocking_client.py HOST PORT USER KEY-FILE KNOWN-HOSTS
"""

import sys

from tellin import blocking

host, port, user, key_file, known_hosts = sys.argv[1:]
with blocking.connect(
    host, port=int(port), user=user, keys=[key_file], known_hosts=known_hosts, config=None
) as connection:
    print(connection.run("echo hello", check=True).stdout, end="")
    with connection.start("cat") as process:
        process.stdin.write("typed\n")
        print(process.stdout.readline(), end="")
