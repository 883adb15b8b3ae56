# SPDX-License-Identifier: MIT
"""A network of its own, with the addresses that a test speaks of: nothing leaves it, and no port is taken."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from tests.interop.servers import Account

_HOLD = 'set -e; ip link set lo up; eval "$SETUP"; echo up; exec sleep 600'


class Network:
    """Made by unshare(1); who is started by ``argv`` is in it."""

    def __init__(self, *setup: str) -> None:
        """``setup`` are shell lines that root runs in it: ``ip address add ...``, ``mount --bind ...``.

        What they mount is there for nobody else.
        """
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", _HOLD],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SETUP": "\n".join(setup)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "up\n":
            said = self._holder.communicate()[1]
            pytest.skip(f"no network of its own can be made here: {said.strip()}")

    @property
    def holder(self) -> int:
        """A process that is in it, by which others are joined to it."""
        return self._holder.pid

    def argv(self, words: Sequence[str | Path], *, account: Account | None = None) -> list[str]:
        """The command line that runs ``words`` in it, as the account if one is given."""
        place = f"/proc/{self._holder.pid}/ns"
        who = [f"--setuid={account.uid}", f"--setgid={account.gid}"] if account else []
        return ["nsenter", f"--net={place}/net", f"--mount={place}/mnt", *who, *map(str, words)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.communicate()
