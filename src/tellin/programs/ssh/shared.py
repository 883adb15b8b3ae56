# SPDX-License-Identifier: MIT
"""What somebody who shares a connection has on it: a session, or two descriptors that lead elsewhere.

The descriptors are the visitor's own: its terminal, its pipes. Data goes between them and the server
without passing through the visitor's process.
"""

import os
from collections.abc import Callable
from typing import Final, Protocol

from tellin.client.connection import ClientConnection
from tellin.client.sessions.about import channel_lines, connection_lines
from tellin.client.sessions.escapes import Escapes
from tellin.client.sessions.session import Session, SessionPlan, Stage
from tellin.config.forwards import Forward
from tellin.config.patterns import match_pattern
from tellin.config.ssh_config import SshConfig
from tellin.connection.requests import (
    AgentForwarding,
    ExecRequest,
    ExitStatus,
    PtyRequest,
    Request,
    ShellRequest,
    SubsystemRequest,
    WindowChange,
    X11Request,
)
from tellin.errors import UsageError
from tellin.mux.messages import (
    NO_ESCAPE,
    UNIX_SOCKET,
    Exited,
    Failure,
    MuxMessage,
    NewSession,
    NewStdioForward,
    SessionOpened,
    TerminalRefused,
)
from tellin.programs.ssh.stdio import StdioForward
from tellin.protocol.events import ChannelOpenRefused, ChannelReplied, ChannelRequested
from tellin.runtime.descriptors import Descriptor
from tellin.runtime.journal import INFO, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.terminal import WindowSize, read_modes, window_size

_REFUSED: Final = b"Session open refused by peer"
_LONGEST_TERMINAL: Final = 128
_LARGEST_BYTE: Final = 255
_LARGEST_PORT: Final = 65535


class Owner(Protocol):
    """The master: `tellin.programs.ssh.master.Sharing`."""

    loop: SmallLoop
    connection: ClientConnection
    config: SshConfig
    journal: Journal
    lend: Callable[[], tuple[tuple[Request, bool], ...]]


class Host(Protocol):
    """Who has it: `tellin.programs.ssh.visitor.Visitor`."""

    @property
    def master(self) -> Owner:
        """Whose visitor it is."""

    def say(self, message: MuxMessage) -> None:
        """Answer."""

    def resume(self) -> None:
        """The server has answered."""

    def end(self) -> None:
        """What the visitor was here for is over."""

    def nothing(self) -> None:
        """The visitor has nothing here after all."""


class _Riding(Session):
    """A session whose visitor may be gone before it is open, and hears of its status and terminal."""

    told_status = False
    on_terminal_refused: Callable[[], object]
    on_program_refused: Callable[[str], object]

    def opened(self) -> None:
        """Begin, if there is still somebody to begin for."""
        if self.stage is not Stage.OPENING:
            self.channel.close()
            self._link.flush_soon()
            return
        super().opened()

    def replied(self, event: ChannelReplied) -> None:
        """Note where there is no terminal."""
        super().replied(event)
        if not event.success and isinstance(event.request, PtyRequest):
            self.on_terminal_refused()

    def complain(self, refusal: str) -> None:
        """As by OpenSSH's master: its passenger hears of a status and of nothing else."""
        self.on_program_refused(refusal)

    def requested(self, event: ChannelRequested) -> None:
        """Note that there is a status: without one the visitor hears of none."""
        super().requested(event)
        if isinstance(event.request, ExitStatus):
            self.told_status = True


class SharedSession:
    """A visitor's session."""

    def __init__(self, visitor: Host, message: NewSession, descriptors: tuple[int, ...]) -> None:
        master = visitor.master
        self._visitor = visitor
        self._message = message
        self._descriptors = descriptors
        self._began = False
        self._size: WindowSize | None = None
        self._errors = Descriptor(descriptors[2], ours=False, writing=True)
        # What goes wrong with this session is its visitor's to know, not whoever runs the master.
        journal = Journal(min(master.journal.level, INFO), self._tell)
        connection = master.connection
        master.journal.debug2(
            f"mux session: tty {message.terminal_wanted}, X {message.x11}, agent {message.agent},"
            f" subsystem {message.subsystem}, {len(message.environment)} variables"
        )
        try:
            self._session = _Riding(
                master.loop,
                connection.link,
                connection.core,
                self._plan(),
                journal=journal,
                on_over=self._over,
                on_started=self._started,
            )
        except UsageError as error:
            master.journal.error(str(error))
            self._finish()
            visitor.say(Failure(message.request_id, _REFUSED))
            visitor.nothing()
            return
        self._session.on_terminal_refused = self._terminal_refused
        self._session.on_program_refused = master.journal.debug
        connection.link.flush_soon()

    def _plan(self) -> SessionPlan:
        message, config = self._message, self._visitor.master.config
        stdin, stdout, stderr = self._descriptors
        terminal, edit = None, None
        if message.terminal_wanted:
            terminal = self._terminal()
            if message.escape != NO_ESCAPE and message.escape <= _LARGEST_BYTE:
                edit = Escapes(chr(message.escape), self, shared=True).edit
        return SessionPlan(
            self._request(),
            environment=permitted(message.environment, config.send_env),
            lent=self._lent(),
            terminal=terminal,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            edit=edit,
            obscure=config.obscure_keystroke_timing,
        )

    def _lent(self) -> tuple[tuple[Request, bool], ...]:
        """What the session asks for of what the master lends: that which its visitor wants of it."""
        wanted: tuple[type[Request], ...] = ()
        if self._message.agent:
            wanted += (AgentForwarding,)
        if self._message.x11:
            wanted += (X11Request,)
        if not wanted:
            return ()
        return tuple(one for one in self._visitor.master.lend() if isinstance(one[0], wanted))

    def _request(self) -> Request:
        command = self._message.command
        if self._message.subsystem:
            return SubsystemRequest(command.decode("utf-8", "replace"))
        return ExecRequest(command) if command else ShellRequest()

    def _terminal(self) -> PtyRequest:
        stdin = self._descriptors[0]
        self._size = size = window_size(stdin)
        if size is None:
            size = WindowSize(columns=0, rows=0)
        name = self._message.terminal[:_LONGEST_TERMINAL].decode("utf-8", "replace")
        return PtyRequest(
            name, size.columns, size.rows, size.width, size.height, read_modes(stdin)
        )

    def look_at_size(self) -> None:
        """Some window has another size now: perhaps this visitor's."""
        if self._size is None:
            return
        size = window_size(self._descriptors[0])
        if size is not None and size != self._size:
            self._size = size
            self._session.resize(WindowChange(size.columns, size.rows, size.width, size.height))

    def drop(self) -> None:
        """Case 335: the visitor has gone, and its session with it."""
        self._session.close()
        self._session.abandon()

    # What becomes of the session

    def _started(self) -> None:
        self._began = True
        self._visitor.say(SessionOpened(self._message.request_id, self._session.channel.number))
        self._visitor.resume()

    def _terminal_refused(self) -> None:
        self._visitor.say(TerminalRefused(self._session.channel.number))

    def _over(self) -> None:
        session, visitor = self._session, self._visitor
        self._finish()
        if not self._began:
            visitor.say(Failure(self._message.request_id, _REFUSED))
            visitor.nothing()
            return
        if session.told_status:
            visitor.say(Exited(session.channel.number, session.status))
        visitor.end()

    def _finish(self) -> None:
        self._size = None
        self._errors.release()
        for fd in self._descriptors:
            os.close(fd)

    def _tell(self, line: str) -> None:
        # Not for the price of a wait: others share this process. Who does not read misses a line.
        try:
            self._errors.writev([memoryview(line.encode("utf-8", "replace") + b"\r\n")])
        except OSError as error:
            self._visitor.master.journal.debug(f"mux session: {line} ({error.strerror})")

    # What escapes do

    def show(self, lines: tuple[str, ...]) -> None:
        """Write lines to the visitor's terminal."""
        self._tell("\r\n".join(lines))

    def _later(self, deed: Callable[[], object]) -> None:
        # An escape is found in the middle of reading, and some of them end that.
        self._visitor.master.loop.call_soon(deed)

    def terminate(self) -> None:
        """End this session; the connection is others' too."""
        self._later(self.drop)

    def send_break(self) -> None:
        """Send a BREAK."""
        self._later(self._session.send_break)

    def rekey(self) -> None:
        """Ask for new keys."""
        connection = self._visitor.master.connection
        self._later(connection.core.rekey)
        self._later(connection.link.flush_soon)

    def open_channels(self) -> tuple[str, ...]:
        """A line for each channel."""
        return channel_lines(self._visitor.master.connection.core)

    def information(self) -> tuple[str, ...]:
        """What connection this is."""
        connection = self._visitor.master.connection
        return connection_lines(connection.core, connection.place)

    # The others are the master's own: ``Escapes`` says so, and asks for none of them.

    def change_level(self, step: int) -> str:
        """Not a visitor's to say."""
        return ""

    def command_line(self) -> None:
        """Not a visitor's to have."""

    def suspend(self) -> None:
        """Who would have to stop is another process."""

    def background(self) -> None:
        """Who would have to let go is another process."""


class SharedStdio(StdioForward):
    """A visitor's two descriptors, led to a place behind the server (``ssh -W``)."""

    def __init__(
        self, visitor: Host, message: NewStdioForward, descriptors: tuple[int, ...]
    ) -> None:
        master = visitor.master
        host = message.host.decode("utf-8", "replace")
        target = (
            Forward(listen_path=host)
            if message.port == UNIX_SOCKET
            else Forward(host, message.port & _LARGEST_PORT)
        )
        super().__init__(
            master.loop,
            master.connection,
            target,
            master.journal,
            on_over=self._finish,
            descriptors=(descriptors[0], descriptors[1]),
        )
        self._visitor = visitor
        self._message = message
        self._began = False
        try:
            self.start()
        except UsageError as error:
            master.journal.error(str(error))
            self._over()

    def look_at_size(self) -> None:
        """There is no window."""

    def drop(self) -> None:
        """The visitor has gone: end it on both sides."""
        if self._channel is not None:
            self._channel.close()
            self.connection.link.flush_soon()
        for end in (self._source, self._sink):
            if end is not None:
                end.close()
        self._over()

    def opened(self) -> None:
        """Tell the visitor, if it is still there."""
        if self._done:
            self._channel.close()
            self.connection.link.flush_soon()
            return
        self._began = True
        self._visitor.say(SessionOpened(self._message.request_id, self._channel.number))
        super().opened()
        self._visitor.resume()

    def refused(self, event: ChannelOpenRefused) -> None:
        """The server has not made the connection, which is the visitor's to know."""
        self._channel_gone()

    def _finish(self) -> None:
        for fd in self._descriptors:
            os.close(fd)
        if self._began:
            self._visitor.end()
        else:
            self._visitor.say(Failure(self._message.request_id, _REFUSED))
            self._visitor.nothing()


def permitted(
    settings: tuple[bytes, ...], patterns: tuple[str, ...]
) -> tuple[tuple[bytes, bytes], ...]:
    """The variables that a visitor may send: those that the master's SendEnv names."""
    chosen: list[tuple[bytes, bytes]] = []
    for setting in settings:
        name, sign, value = setting.partition(b"=")
        if sign and name and any(match_pattern(os.fsdecode(name), one) for one in patterns):
            chosen.append((name, value))
    return tuple(chosen)
