# SPDX-License-Identifier: MIT
"""Where an agent listens: sockets in directories that only their owner can enter, and those left behind."""

# pathlib would double the start-up time of a program that runs in every login shell.
# ruff: noqa: PTH100, PTH102, PTH106, PTH108, PTH118, PTH120, PTH208

import hashlib
import os
import pwd
import secrets
import stat
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Final, Self

from tellin.programs.command import Failure
from tellin.runtime.listeners import is_abandoned, listen_unix
from tellin.runtime.sockets import Socket

_FAILED: Final = 1
_NAME: Final = 10  # letters of each part of a socket's name
_SETTLED_SECONDS: Final = 60.0


class Place:
    """A listening socket and what is to be removed with it."""

    def __init__(self, listening: Socket, path: str | None, directory: str | None = None) -> None:
        self.listening = listening
        self.path = path
        self._directory = directory
        self._owner = os.getpid()

    @classmethod
    def inherited(cls, fd: int) -> Self:
        """A socket that whoever started us listens on; it is not ours to remove."""
        os.set_inheritable(fd, False)
        listening = Socket(fileno=fd)
        listening.setblocking(False)
        return cls(listening, None)

    def adopt(self) -> None:
        """This process serves it, and removes it in the end."""
        self._owner = os.getpid()

    def leave_to_child(self) -> None:
        """Close our copy."""
        self.listening.close()

    def remove(self) -> None:
        """Listen no more and leave nothing behind."""
        self.listening.close()
        if self.path is None or self._owner != os.getpid():
            return
        with suppress(OSError):
            os.unlink(self.path)
        if self._directory is not None:
            with suppress(OSError):
                os.rmdir(self._directory)


def claim(address: str | None, *, temporary: bool) -> Place:
    """Listen where -a says, below $TMPDIR, or below ~/.ssh/agent; what is there already stays (case 274)."""
    directory = None
    if address is not None:
        path = os.path.abspath(address)
    elif temporary:
        # Made by mkdir(2) with mode 0700: who guessed the name finds it taken.
        directory = _made(os.path.join(os.environ.get("TMPDIR") or "/tmp", f"ssh-{_random()}"))  # noqa: S108
        path = f"{directory}/agent.{os.getppid()}"
    else:
        path = f"{_home_directory()}/s.{_host()}.agent.{_random()}"
    try:
        return Place(listen_unix(path), path, directory)
    except OSError as error:
        if directory is not None:
            os.rmdir(directory)
        raise Failure(
            f"unix_listener: cannot bind to path {address or path}: {error.strerror or error}",
            status=_FAILED,
        ) from None


def _random() -> str:
    return secrets.token_urlsafe(_NAME)[:_NAME]


def _host() -> str:
    """Homes are shared between machines: a name tells whose a socket is without saying the host's."""
    digest = hashlib.sha512(os.fsencode(os.uname().nodename)).digest()
    return urlsafe_b64encode(digest)[:_NAME].decode("ascii")


def _made(path: str) -> str:
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise Failure(f"mkdtemp: private socket dir: {error.strerror}", status=_FAILED) from None
    return path


def _agents() -> str:
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    return os.path.join(home, ".ssh", "agent")


def _home_directory() -> str:
    """~/.ssh/agent, made if need be; one that others may write to is refused (R159)."""
    path = _agents()
    for each in (os.path.dirname(path), path):
        try:
            with suppress(FileExistsError):
                os.mkdir(each, 0o700)
        except OSError as error:
            raise Failure(f"{each}: {error.strerror}", status=_FAILED) from None
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {0, os.getuid()}:
        raise Failure(f"{path} is not a directory of yours", status=_FAILED)
    if status.st_mode & 0o077:
        os.chmod(path, 0o700)  # noqa: PTH101
    return path


def clean_up(*, every_host: bool) -> None:
    """Remove the sockets below ~/.ssh/agent that nobody listens on any more."""
    directory = _agents()
    try:
        names = os.listdir(directory)
    except OSError:
        return
    ours = "s." if every_host else f"s.{_host()}."
    for name in names:
        path = f"{directory}/{name}"
        if name.startswith(ours) and is_abandoned(path, settled=_SETTLED_SECONDS):
            with suppress(OSError):
                os.unlink(path)
