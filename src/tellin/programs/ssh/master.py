# SPDX-License-Identifier: MIT
"""``ssh`` as the master of a shared connection: the control socket, and how long it stays."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from tellin.client.connection import ClientConnection
from tellin.config.forwards import Forward
from tellin.config.ssh_config import SshConfig
from tellin.connection.requests import Request
from tellin.errors import TellinError
from tellin.mux.messages import REMOTE
from tellin.programs.agents.agent_asking import Asking, somebody_to_ask
from tellin.programs.command import Failure, visible
from tellin.programs.ssh.passenger import FAILED, ride
from tellin.programs.ssh.visitor import Visitor
from tellin.runtime.callers import caller_of
from tellin.runtime.control_sockets import is_trusted, listen_control
from tellin.runtime.descriptors import let_go
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import Acceptor
from tellin.runtime.loop import Cancellable, SmallLoop
from tellin.runtime.sockets import Socket

# As many as there may be channels.
MOST_VISITORS: Final = 1024


class Forwards(Protocol):
    """What listens here and there: `tellin.programs.ssh.forwards.SshForwards`."""

    def add(self, forward: Forward) -> bool:
        """Listen for one more; false if it could not be had."""

    def cancel(self, forward: Forward) -> bool:
        """Listen for it no more; false if nothing was listened for."""

    def add_remote(self, forward: Forward, done: Callable[[int | None], object]) -> None:
        """Have the server listen for one more; ``done`` gets the port it chose, 0, or None for a no."""

    def cancel_remote(self, forward: Forward) -> bool:
        """Have it listen there no more; false if it did not."""


class Sharing:
    """A control socket and those who use it.

    ``on_quiet`` is called when nobody does and nobody is to be waited for; ``on_exit`` when somebody
    wants the whole connection to end.
    """

    def __init__(
        self,
        loop: SmallLoop,
        connection: ClientConnection,
        config: SshConfig,
        journal: Journal,
        listening: Socket,
        *,
        forwards: Callable[[], Forwards],
        lend: Callable[[], tuple[tuple[Request, bool], ...]],
        on_quiet: Callable[[], object],
        on_exit: Callable[[], object],
    ) -> None:
        assert config.control_path is not None
        self.loop = loop
        self.connection = connection
        self.config = config
        self.journal = journal
        self.visitors: set[Visitor] = set()
        self.ends_when_quiet = False
        """Whether there is nothing of our own that the connection is kept for."""
        self.persists = False
        """Whether it is kept without anybody, for ControlPersist's time."""
        self.exit = on_exit
        self.lend = lend
        self._forwards = forwards
        self._on_quiet = on_quiet
        self._path = config.control_path
        status = os.stat(self._path)  # noqa: PTH116 - the name as it was given
        self._identity = (status.st_dev, status.st_ino)
        self._listening = listening
        self._acceptor: Acceptor | None = Acceptor(loop, listening, self._arrived)
        self._closed = False
        self._idle: Cancellable | None = None
        # Our own session's terminal hears of it too.
        self._leave_signal = loop.join_signal(signal.SIGWINCH, self._resized)

    @property
    def busy(self) -> bool:
        """Whether anybody uses the connection."""
        return bool(self.visitors or self.connection.core.channels)

    def settle(self) -> None:
        """Somebody came or went: see whether the connection is still wanted."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self.busy:
            return
        if self.ends_when_quiet:
            self._on_quiet()
        elif self.persists and self.config.control_persist:
            seconds = self.config.control_persist
            self.journal.debug2(
                f"set_control_persist_exit_time: schedule exit in {seconds} seconds"
            )
            self._idle = self.loop.call_later(seconds, self._idled)

    def _idled(self) -> None:
        self._idle = None
        if self.busy:
            return
        self.journal.debug("ControlPersist timeout expired")
        self._on_quiet()

    def stop_listening(self) -> None:
        """Take nobody else; those who are here stay."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        self._acceptor = None
        # By somebody else's hand another master may be there by now.
        try:
            status = os.lstat(self._path)
            if (status.st_dev, status.st_ino) == self._identity:
                os.unlink(self._path)  # noqa: PTH108 - the same
        except OSError as error:
            self.journal.debug(f"control socket {visible(self._path)}: {error.strerror}")

    def stop(self) -> None:
        """Somebody asked for that: what was kept for those who might come is kept no more."""
        self.stop_listening()
        if self.persists or self.config.session_type == "none":
            self.persists, self.ends_when_quiet = False, True

    def leave_to_child(self) -> None:
        """In a forked parent: let go of the socket without removing it."""
        self._listening.close()

    def close(self) -> None:
        """The connection is gone."""
        if self._closed:
            return
        self._closed = True
        self.stop_listening()
        self._leave_signal()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        for visitor in list(self.visitors):
            visitor.close()

    def ask(self, question: str, answer: Callable[[bool], object]) -> Callable[[], object]:
        """R158: ask whoever runs the master, if that is wanted; what takes the question back."""
        if self.config.control_master not in {"ask", "autoask"}:
            answer(True)
            return _nothing
        if not somebody_to_ask():
            answer(False)
            return _nothing

        def answered(said: bytes | None) -> None:
            # As OpenSSH: whatever is no plain yes is a no.
            answer(said is not None and said.lower() in {b"", b"yes"})

        return Asking(self.loop, question, answered, journal=self.journal).cancel

    def open_forward(self, way: int, forward: Forward, done: Callable[[int | None], None]) -> None:
        """Begin it; ``done`` gets the port that the server chose or 0, or None where it failed."""
        if way == REMOTE:
            self._forwards().add_remote(forward, done)
        else:
            done(0 if self._forwards().add(forward) else None)

    def close_forward(self, way: int, forward: Forward) -> str:
        """End it; what went wrong, or nothing."""
        forwards = self._forwards()
        found = (forwards.cancel_remote if way == REMOTE else forwards.cancel)(forward)
        return "" if found else "port not forwarded"

    def _arrived(self, stream: Socket, address: object) -> None:
        uid = caller_of(stream)
        if not is_trusted(uid):
            self.journal.error(f"multiplex uid mismatch: peer euid {uid} != uid {os.geteuid()}")
            stream.close()
            return
        if len(self.visitors) >= MOST_VISITORS:
            stream.close()
            return
        self.journal.debug("multiplexing control connection")
        self.visitors.add(Visitor(self, stream))
        self.settle()

    def left(self, visitor: Visitor) -> None:
        """A visitor has gone."""
        self.visitors.discard(visitor)
        # The channel that it had says its last in this turn.
        self.loop.call_soon(self.settle)

    def _resized(self) -> None:
        for visitor in self.visitors:
            visitor.look_at_size()


def begin(
    loop: SmallLoop,
    connection: ClientConnection,
    config: SshConfig,
    journal: Journal,
    *,
    forwards: Callable[[], Forwards],
    lend: Callable[[], tuple[tuple[Request, bool], ...]],
    on_quiet: Callable[[], object],
    on_exit: Callable[[], object],
) -> Sharing | None:
    """Share a connection from here on; None where somebody else has the place already."""
    assert config.control_path is not None
    journal.debug("setting up multiplex master socket")
    shown = visible(config.control_path)
    try:
        listening = listen_control(config.control_path)
    except FileExistsError:
        journal.error(f"ControlSocket {shown} already exists, disabling multiplexing")
        return None
    except OSError as error:
        raise Failure(f"unix_listener: cannot bind to path {shown}: {error.strerror}") from None
    return Sharing(
        loop,
        connection,
        config,
        journal,
        listening,
        forwards=forwards,
        lend=lend,
        on_quiet=on_quiet,
        on_exit=on_exit,
    )


def detach(sharing: Sharing, command: bytes, stdio: Forward | None) -> None:
    """Go on in the background as the master alone; in our place stays a passenger.

    It has our process id and our terminal, and ends with what it was started for.
    """
    config, journal, loop = sharing.config, sharing.journal, sharing.loop
    journal.debug("control_persist_detach: backgrounding master process")
    wanted = stdio is not None or config.session_type != "none"
    if os.fork():
        if not wanted:
            os._exit(0)
        # The connection is the child's: what is done to it here must not be done to that.
        loop.leave_to_parent()
        stream = sharing.connection.link.stream
        if isinstance(stream, Socket):
            stream.close()
        sharing.leave_to_child()
        # What is forwarded the master has begun already.
        config = config.replaced(
            control_master="no", local_forward=(), dynamic_forward=(), remote_forward=()
        )
        _exit_as_passenger(config, journal, command, stdio)
    os.setsid()
    # Whoever reads the session's output waits for its end, and we are to stay longer.
    let_go(*((0, 1) if journal.debugs else (0, 1, 2)))
    sharing.persists = True
    sharing.settle()


def _exit_as_passenger(
    config: SshConfig, journal: Journal, command: bytes, stdio: Forward | None
) -> NoReturn:
    status = FAILED
    try:
        found = ride(config, journal, command=command, stdio=stdio)
        if found is None:
            journal.fatal("Failed to connect to new control master")
        else:
            status = found
    except TellinError as error:
        journal.fatal(str(error))
    finally:
        # Not by way of whoever called us: what they would tidy up is the child's.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _nothing() -> None:
    """There is no question to take back."""
