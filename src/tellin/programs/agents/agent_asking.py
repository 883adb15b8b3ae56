# SPDX-License-Identifier: MIT
"""How ssh-agent asks its owner: an SSH_ASKPASS program beside the loop."""

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop

_ASKPASS: Final = "/usr/bin/ssh-askpass"
_LONGEST_ANSWER: Final = 1024

# What SSH_ASKPASS_PROMPT tells the program: a yes or no is wanted, nothing is, or a secret.
CONFIRM: Final = "confirm"
TELL: Final = "none"
SECRET: Final = ""


def somebody_to_ask() -> bool:
    """Whether there is a program to ask by, and where its question could be seen."""
    environment = os.environ
    if environment.get("SSH_ASKPASS_REQUIRE", "").lower() == "never":
        return False
    display = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    forced = environment.get("SSH_ASKPASS_REQUIRE", "").lower() == "force"
    return bool(display or forced) and _program() is not None


def _program() -> str | None:
    """The program that SSH_ASKPASS names, as a shell would find it."""
    named = os.environ.get("SSH_ASKPASS") or _ASKPASS
    places = [""] if "/" in named else [f"{directory}/" for directory in os.get_exec_path()]
    found = (place + named for place in places)
    return next((path for path in found if os.access(path, os.X_OK)), None)


class Asking:
    """One question; ``done`` gets what was answered, or None where nobody did, or not well."""

    def __init__(
        self,
        loop: Loop,
        words: str,
        done: Callable[[bytes | None], object],
        *,
        kind: str = CONFIRM,
        journal: Journal,
    ) -> None:
        self._loop = loop
        self._done = done
        self._kind = kind
        self._pidfd = self._reading = self._pid = -1
        try:
            self._start(words)
        except OSError as error:
            journal.error(f"ssh-askpass: {error.strerror}")
            loop.call_soon(done, None)

    def _start(self, words: str) -> None:
        program = _program()
        if program is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        surroundings = dict(os.environ)
        surroundings.pop("SSH_ASKPASS_PROMPT", None)
        if self._kind:
            surroundings["SSH_ASKPASS_PROMPT"] = self._kind
        self._reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = os.posix_spawn(
                program,
                [program, words],
                surroundings,
                file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
                setsigdef=[signal.SIGPIPE],
            )
        finally:
            os.close(writing)
        self._pidfd = os.pidfd_open(self._pid)
        self._loop.add_reader(self._pidfd, self._ended)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._done = _nothing
        if self._pid > 0:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        os.set_blocking(self._reading, False)
        try:
            answer = os.read(self._reading, _LONGEST_ANSWER).split(b"\n")[0].rstrip(b"\r")
        except BlockingIOError:
            answer = b""
        os.close(self._reading)
        self._pid = -1
        self._done(answer if status == 0 else None)


def _nothing(answer: bytes | None) -> None:
    """The connection that asked has gone."""
