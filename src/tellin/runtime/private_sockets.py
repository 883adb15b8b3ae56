# SPDX-License-Identifier: MIT
"""Local sockets that are one user's alone: in a directory that nobody else can enter, and asked who calls."""

# pathlib would double the start-up time of programs that come this way.
# ruff: noqa: PTH102, PTH106, PTH108

import os
from contextlib import suppress
from typing import Final, Self

from tellin.runtime.callers import caller_of
from tellin.runtime.listeners import listen_unix
from tellin.runtime.sockets import Socket

_TEMPORARY: Final = "/tmp"  # noqa: S108 - the directory in it is made by mkdir(2) or not at all


def called_by_us(stream: Socket) -> bool:
    """Whether root or this process's own user has connected.

    R159: the directory keeps all others out, unless its owner has opened it to them.
    """
    return caller_of(stream) in {0, os.geteuid()}


class PrivateSocket:
    """A listening socket and the directory made for it; both go with ``remove``."""

    def __init__(self, listening: Socket, path: str) -> None:
        self.listening = listening
        self.path = path
        self._owner = os.getpid()

    @classmethod
    def made(cls, name: str) -> Self:
        """Listen as ``/tmp/ssh-RANDOM/NAME``; raises OSError.

        mkdir(2) makes the directory with mode 0700, and fails where somebody has guessed its name.
        """
        directory = f"{_TEMPORARY}/ssh-{os.urandom(8).hex()}"
        os.mkdir(directory, 0o700)
        path = f"{directory}/{name}"
        try:
            return cls(listen_unix(path), path)
        except BaseException:
            os.rmdir(directory)
            raise

    def remove(self) -> None:
        """Listen no more, and leave nothing behind; what a fork has of it removes nothing."""
        self.listening.close()
        if self._owner == os.getpid():
            # Whoever cleans up /tmp may have been here before us.
            with suppress(OSError):
                os.unlink(self.path)
            with suppress(OSError):
                os.rmdir(self.path.rpartition("/")[0])
