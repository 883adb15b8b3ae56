# SPDX-License-Identifier: MIT
"""Longer conversations by peers' libraries: scripts beside this file that answer in JSON."""

import json
import os
import subprocess
from pathlib import Path

from tests.interop.children import python
from tests.interop.servers import find
from tests.interop.target import Target

HERE = Path(__file__).parent


def _answer(argv: list[str | Path], told: dict[str, object], seconds: float) -> object:
    modules = HERE.parents[1] / "build" / "peers" / "node_modules"
    done = subprocess.run(
        [str(word) for word in argv],
        # Rounds of thousands are too much for a command line.
        input=json.dumps(told).encode(),
        capture_output=True,
        env={**os.environ, "NODE_PATH": str(modules)},
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return json.loads(done.stdout)


def _about(target: Target) -> dict[str, object]:
    return {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "known_hosts": target.known_hosts(),
        "identity": str(target.identity.path) if target.identity else None,
        "password": target.password,
    }


def asyncssh_task(
    task: str, target: Target | None = None, *, seconds: float = 100, **told: object
) -> object:
    """Let AsyncSSH do one of the tasks of ``asyncssh_tasks.py``, and return what it found."""
    about = _about(target) if target else {}
    argv: list[str | Path] = [python(), HERE / "asyncssh_tasks.py"]
    return _answer(argv, {"task": task, **about, **told}, seconds)


def files_by(library: str, target: Target, root: Path, *, seconds: float = 100) -> object:
    """Let a library's client work with files below ``root``, and return what it saw."""
    argv: list[str | Path] = [python(), HERE / "sftp_clients.py"]
    return _answer(argv, {**_about(target), "library": library, "root": str(root)}, seconds)


def paramiko_rounds(
    target: Target, rounds: list[dict[str, str]], *, seconds: float = 100
) -> object:
    """Log in once with each of ``rounds``, and return what went wrong, "" for nothing."""
    argv: list[str | Path] = [python(), HERE / "paramiko_rounds.py"]
    return _answer(argv, {**_about(target), "rounds": rounds}, seconds)


def paramiko_channels(target: Target, *, seconds: float = 100, **told: object) -> object:
    """Move data over many channels of one connection at once, with new keys every so many bytes."""
    argv: list[str | Path] = [python(), HERE / "paramiko_channels.py"]
    return _answer(argv, {**_about(target), **told}, seconds)


def tellin_rounds(target: Target, rounds: list[dict[str, str]], *, seconds: float = 100) -> object:
    """The same by tellin's library: a process for each login takes four times as long."""
    argv: list[str | Path] = [python(), "-P", HERE / "tellin_rounds.py"]
    return _answer(argv, {**_about(target), "rounds": rounds}, seconds)


def ssh2_rounds(
    target: Target | None, rounds: list[dict[str, str]] | None, *, seconds: float = 100
) -> object:
    """The same by npm's ssh2; without a target, what it can do."""
    argv: list[str | Path] = [find("node"), HERE / "ssh2_rounds.js"]
    told = {**_about(target), "rounds": rounds} if target else {}
    return _answer(argv, told, seconds)
