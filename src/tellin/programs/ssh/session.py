# SPDX-License-Identifier: MIT
"""The one session of ``ssh``: a command, a shell or a subsystem, with or without a terminal.

Loaded while the server is still busy with the first exchange.
"""

import os
from collections.abc import Callable
from typing import Protocol

from tellin.client.connection import ClientConnection
from tellin.client.sessions.session import Session, SessionPlan
from tellin.config.kinds import traffic_class
from tellin.config.patterns import match_pattern
from tellin.config.ssh_config import SshConfig
from tellin.connection.requests import (
    NO_MORE_SESSIONS,
    ExecRequest,
    PtyRequest,
    Request,
    ShellRequest,
    SubsystemRequest,
    WindowChange,
)
from tellin.programs.ssh.command_line import Master, Wishes
from tellin.programs.ssh.wishes import selected_environment, wants_terminal
from tellin.runtime.journal import Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import set_traffic_class


class Screen(Protocol):
    """The user's terminal while a session has it: `tellin.programs.ssh.terminal.Terminal`."""

    entered: bool

    def enter(self) -> None:
        """The session has begun."""

    def leave(self) -> None:
        """Put the terminal in order."""


class SshSession:
    """Starts a session on a connection, and does what the user at its terminal wants.

    What ``lend`` gives the session asks for first: it is what of ours its programs may use.
    """

    def __init__(
        self,
        loop: SmallLoop,
        connection: ClientConnection,
        config: SshConfig,
        journal: Journal,
        *,
        command: bytes,
        on_over: Callable[[], object],
        master: Master,
        lend: Callable[[], tuple[tuple[Request, bool], ...]],
    ) -> None:
        self.connection = connection
        self._lend = lend
        self._loop = loop
        self._config = config
        self._journal = journal
        self._command = command
        self._on_over = on_over
        self._master = master
        self._session: Session | None = None
        self._screen: Screen | None = None

    # What the program asks

    def start(self) -> None:
        """The user is in: open the session."""
        config, journal, connection = self._config, self._journal, self.connection
        terminal, edit = None, None
        if wants_terminal(config, journal, command=bool(self._command)):
            # Who asks for no terminal does not wait for it.
            from tellin.programs.ssh.terminal import Terminal

            screen = Terminal(self, self._loop, journal)
            terminal, edit = (
                screen.request(),
                screen.edit(config.escape_char, command_line=config.enable_escape_commandline),
            )
            self._screen = screen
        mark = traffic_class(config.ip_qos[0 if terminal is not None else 1])
        set_traffic_class(connection.link.stream, mark)
        if journal.debugs and self._command:
            journal.debug(f"Sending command: {os.fsdecode(self._command)}")
        self._session = Session(
            self._loop,
            connection.link,
            connection.core,
            self._plan(terminal, edit),
            journal=journal,
            on_over=self._on_over,
            on_started=self._started,
        )
        connection.link.flush_soon()

    def abandon(self) -> None:
        """Give up at once."""
        if self._session is not None:
            self._session.abandon()

    def leave(self) -> None:
        """Put the terminal in order."""
        if self._screen is not None:
            self._screen.leave()

    def beside(self, ask: Callable[[], bool]) -> bool:
        """Let somebody have the terminal for a question."""
        screen = self._screen
        if screen is None or not screen.entered:
            return ask()
        screen.leave()
        try:
            return ask()
        finally:
            screen.enter()

    @property
    def is_over(self) -> bool:
        """Whether nothing of a session is left to do."""
        return self._session is None or self._session.is_over

    @property
    def finished(self) -> bool:
        """Whether there was a session, and the server ended it."""
        return self._session is not None and self._session.finished

    @property
    def status(self) -> int:
        """The exit status of the command."""
        return self._session.status if self._session is not None else 0

    @property
    def had_terminal(self) -> bool:
        """Whether a terminal was in use."""
        return self._screen is not None and self._screen.entered

    # What the terminal asks

    def terminate(self) -> None:
        """End the connection."""
        self._master.terminate()

    def resize(self, size: WindowChange) -> None:
        """The window has another size now."""
        if self._session is not None:
            self._session.resize(size)

    def send_break(self) -> None:
        """Send a BREAK."""
        if self._session is not None:
            self._session.send_break()

    def end_input(self, last: bytes) -> None:
        """No more will be typed, but this."""
        if self._session is not None:
            self._session.end_input(last)

    def stop_listening(self) -> None:
        """Take no more connections that are to be forwarded."""
        self._master.forwards().stop_listening()

    def run_command_line(self, line: str) -> None:
        """Do what the user typed for this program."""
        # Few ever do.
        from tellin.client.sessions.command_line import CommandLine

        wishes = Wishes(self._master, self._journal)
        permit = self._config.permit_local_command
        CommandLine(wishes, self._journal.info, permit_local=permit).run(line)

    # The plan

    def _plan(
        self, terminal: PtyRequest | None, edit: Callable[[bytes], bytes] | None
    ) -> SessionPlan:
        config = self._config
        return SessionPlan(
            self._request(),
            environment=selected_environment(config.send_env, config.set_env, fits=match_pattern),
            lent=self._lend(),
            terminal=terminal,
            stdin=os.open(os.devnull, os.O_RDONLY) if config.stdin_null else 0,
            edit=edit,
            obscure=config.obscure_keystroke_timing,
        )

    def _request(self) -> Request:
        if self._config.session_type == "subsystem":
            return SubsystemRequest(os.fsdecode(self._command))
        return ExecRequest(self._command) if self._command else ShellRequest()

    def _started(self) -> None:
        if self._config.control_master == "no" or self._config.control_path is None:
            # Nothing else will be opened: a command on the other side that takes over this
            # connection's socket cannot do so either.
            self._journal.debug(f"Requesting {NO_MORE_SESSIONS}")
            self.connection.core.request(NO_MORE_SESSIONS)
        if self._screen is not None:
            self._screen.enter()
