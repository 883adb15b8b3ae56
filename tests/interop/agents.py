# SPDX-License-Identifier: MIT
"""Agents that run, ours and OpenSSH's, and the programs that find them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.interop.target import Target

TELLIN = (sys.executable, "-m", "tellin")
PROGRAMS = {
    "tellin": {
        "agent": (*TELLIN, "ssh-agent"),
        "add": (*TELLIN, "ssh-add"),
        "ssh": (*TELLIN, "ssh"),
    },
    "openssh": {"agent": ("ssh-agent",), "add": ("ssh-add",), "ssh": ("ssh",)},
}
SECONDS = 60


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class RunningAgent:
    """An agent in the foreground, and programs that find it."""

    def __init__(self, name: str, directory: Path, *flags: str, **surroundings: str) -> None:
        self.name = name
        self.directory = directory
        self.path = directory / "agent.sock"
        self.environment: dict[str, str] = {
            **{n: v for n, v in os.environ.items() if not n.startswith(("SSH_", "DISPLAY"))},
            "HOME": str(directory),
            **surroundings,
        }
        self.process = subprocess.Popen(
            [*PROGRAMS[name]["agent"], "-D", "-a", str(self.path), *flags],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.environment["SSH_AUTH_SOCK"] = str(self.path)
        wait_for(self._listens, f"{name}'s agent does not listen")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)

    def add(
        self, user: str, *words: str | Path, check: bool = True, typed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAMS[user]["add"], *map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            **({"stdin": subprocess.DEVNULL} if typed is None else {"input": typed}),  # type: ignore[call-overload]
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    def logs_in(
        self, user: str, target: Target, *options: str, word: str = "in", batch: str = "yes"
    ) -> subprocess.CompletedProcess[str]:
        known = self.directory / "known"
        known.write_text(target.known_hosts(), "ascii")
        return subprocess.run(
            [
                *PROGRAMS[user]["ssh"],
                "-F", "none", "-p", str(target.port), "-l", target.user,
                "-o", f"UserKnownHostsFile={known}",
                "-o", "GlobalKnownHostsFile=none",
                "-o", f"BatchMode={batch}",
                "-o", "IdentityFile=/nonexistent",
                *options,
                target.host,
                f"echo {word}",
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )  # fmt: skip
