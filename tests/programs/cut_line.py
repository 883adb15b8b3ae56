# SPDX-License-Identifier: MIT
"""Carries what two programs say to each other until so many bytes have gone one way, and then kills: WAY COUNT WHOM ARGUMENT...

WAY is ``in`` or ``out``, as the server sees it. WHOM is ``server``, ``client``, which is whoever has
begun this, or ``line``, which is this itself.
"""

import os
import selectors
import signal
import subprocess
import sys

way, count, whom, *argv = sys.argv[1:]
left = int(count)
with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
    assert server.stdin is not None
    assert server.stdout is not None
    ways = {"in": (0, server.stdin.fileno()), "out": (server.stdout.fileno(), 1)}
    carried = {source: (name, target) for name, (source, target) in ways.items()}
    with selectors.DefaultSelector() as ready:
        for source in carried:
            ready.register(source, selectors.EVENT_READ)
        while left:
            for key, _ in ready.select():
                name, target = carried[key.fd]
                data = os.read(key.fd, min(left, 65536) if name == way else 65536)
                if not data:
                    sys.exit(0)
                left -= len(data) * (name == way)
                while data:
                    data = data[os.write(target, data) :]
                if not left:
                    break
    victim = {"server": server.pid, "client": os.getppid(), "line": os.getpid()}[whom]
    os.kill(victim, signal.SIGKILL)
    server.stdin.close()
    server.stdout.close()
    # A server that lives sees the end of its input, and that nobody listens.
    server.wait()
sys.exit(255)
