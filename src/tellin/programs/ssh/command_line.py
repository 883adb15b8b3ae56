# SPDX-License-Identifier: MIT
"""What the user at a terminal wants of the running ``ssh``: forwardings, and commands of this machine."""

import os
import signal
from collections.abc import Callable
from typing import Final, Protocol

from tellin.config.forwards import Forward
from tellin.runtime.journal import Journal

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


class Forwards(Protocol):
    """What listens here and there: `tellin.programs.ssh.forwards.SshForwards`."""

    def listen(self, forward: Forward) -> bool:
        """Listen for one more; false if it could not be had, or is listened for already."""

    def cancel_at(self, place: Forward, *, socks: bool) -> bool:
        """Listen at a place no more; false if nothing was listened for."""

    def add_remote(self, forward: Forward, done: Callable[[int | None], object]) -> None:
        """Have the server listen for one more; ``done`` gets the port it chose, 0, or None for a no."""

    def cancel_remote_at(self, place: Forward) -> bool:
        """Have it listen at a place no more; false if it did not."""

    def stop_listening(self) -> None:
        """Listen nowhere here any more."""


class Master(Protocol):
    """Who has the connection: `tellin.programs.ssh.run.Run`."""

    def terminate(self) -> None:
        """End the connection because the user said so."""

    def forwards(self) -> Forwards:
        """What listens here for connections that lead through ours."""


class Wishes:
    """Carries out the lines that are typed behind ``~C``."""

    def __init__(self, master: Master, journal: Journal) -> None:
        self._master = master
        self._journal = journal

    def listen(self, forward: Forward) -> bool:
        """Forward from one more place here."""
        return self._master.forwards().listen(forward)

    def unlisten(self, forward: Forward, *, socks: bool) -> bool:
        """Forward from there no more."""
        return self._master.forwards().cancel_at(forward, socks=socks)

    def ask_remote(self, forward: Forward) -> bool:
        """Have the server listen at one more place; what comes of it is said when it answers."""

        def answered(port: int | None) -> None:
            where = f"port {forward.listen_port}" if not forward.listen_path else "path"
            if port is None:
                self._journal.info(f"Warning: remote port forwarding failed for listen {where}")
            elif port:
                self._journal.info(f"Allocated port {port} for remote forward")

        self._master.forwards().add_remote(forward, answered)
        return True

    def cancel_remote(self, forward: Forward) -> bool:
        """Have it listen there no more."""
        return self._master.forwards().cancel_remote_at(forward)

    def run_local(self, command: str) -> None:
        """Run a command of this machine's."""
        run_local_command(command, self._journal)


def run_local_command(command: str, journal: Journal) -> None:
    """Run LocalCommand, or what ``!`` says, on our terminal, and wait for it."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    journal.debug(f"Executing {shell} -c {command!a}")
    try:
        child = os.posix_spawn(
            shell,
            [shell, "-c", command],
            os.environ,
            setsigdef=_ENDINGS,
            setsigmask=(),
        )
    except OSError as error:
        # What it would have done is missing, and the session is none the worse for it.
        journal.error(f"Could not run {shell}: {error.strerror}")
        return
    os.waitpid(child, 0)
