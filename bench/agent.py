# SPDX-License-Identifier: MIT
"""Library processes: what an adapter's process is told, and how the harness talks to it.

An adapter is a module run as ``python -m bench.adapters_NAME ROLE JSON`` in one of three roles:
`server` (announces its port, then serves until its standard input ends), `exec` (one command
through its standard streams, like a command-line client) and `operations` (one JSON request a
line, one JSON answer a line). This file imports little: it is part of the start-up of `exec`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping

# Memory to send from: not zeros, so that a digest over it would notice blocks out of order.
BLOCK = 256 * 1024


def pattern() -> bytes:
    """One block of the bulk source."""
    return hashlib.shake_256(b"tellin bench").digest(BLOCK)


def pattern_digest(size: int) -> str:
    """What the digest of `size` bytes of the bulk source must be."""
    digest, block = hashlib.sha256(), pattern()
    for _ in range(size // BLOCK):
        digest.update(block)
    digest.update(block[: size % BLOCK])
    return digest.hexdigest()


class Orders:
    """What an adapter's process was told on its command line."""

    def __init__(self, text: str) -> None:
        """Parse the JSON of the command line."""
        told: dict[str, str | int | None] = json.loads(text)
        self.host = str(told.get("host", "127.0.0.1"))
        self.port = int(told.get("port") or 0)
        self.user = str(told.get("user", ""))
        self.identity = str(told.get("identity", ""))
        self.host_key = str(told.get("host_key", ""))
        self.host_public = str(told.get("host_public", ""))
        self.known_hosts = str(told.get("known_hosts", ""))
        self.authorized_keys = str(told.get("authorized_keys", ""))
        self.cipher = str(told["cipher"]) if told.get("cipher") else None
        self.mac = str(told["mac"]) if told.get("mac") else None
        self.kex = str(told["kex"]) if told.get("kex") else None
        self.loop = str(told.get("loop") or "asyncio")
        self.mode = str(told.get("mode") or "spawn")
        self.command = str(told.get("command") or "")
        self.tunnel = str(told.get("tunnel") or "")


def announce(port: int) -> None:
    """Tell the harness where the server listens."""
    print(json.dumps({"port": port}), flush=True)


def spawn_environment() -> dict[str, str]:
    """The environment of a command that a library server starts."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ["BENCH_HOME"], "SHELL": "/bin/sh"}


def answer_requests(operations: Mapping[str, Callable[..., object]]) -> None:
    """Carry out one request a line until standard input ends.

    Each answer carries the wall and CPU seconds of this process beside the operation's result.
    """
    print(json.dumps({"ready": sorted(operations)}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("operation")
        started, used = time.perf_counter(), time.process_time()
        try:
            answer: dict[str, object] = {"result": operations[name](**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answer["seconds"] = time.perf_counter() - started
        answer["cpu"] = time.process_time() - used
        print(json.dumps(answer), flush=True)
