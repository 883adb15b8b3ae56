# SPDX-License-Identifier: MIT
"""Sessions that run programs: a shell, a command or a subsystem as a child process (RFC 4254 section 6)."""

import os
import termios
from collections.abc import Callable
from typing import Any, Final

from tellin.connection.channel import Channel
from tellin.connection.requests import (
    BreakRequest,
    EndOfWrite,
    EnvironmentRequest,
    ExecRequest,
    ExitSignal,
    PtyRequest,
    Request,
    ShellRequest,
    SignalRequest,
    SubsystemRequest,
    WindowChange,
)
from tellin.connection.requests import ExitStatus as ExitStatusRequest
from tellin.runtime.loop import Loop
from tellin.runtime.privileges import Account
from tellin.runtime.processes import SIGNALS, Child, ExitStatus, spawn
from tellin.runtime.pumps import FdSink, FdSource, Outlet
from tellin.runtime.terminal import PseudoTerminal, WindowSize, open_pty
from tellin.wire import Record

ENVIRONMENT_VARIABLES: Final = 1024  # R150
VARIABLE_BYTES: Final = 128 << 10
TERMINAL_NAME_BYTES: Final = 255
LONGEST_SIDE: Final = 0xFFFF
STANDARD_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/games"
ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class SessionRules(Record):
    """What the sessions of one login are and may do."""

    account: Account
    environment: dict[str, str]  # set whatever the client says
    accepts: Callable[[str], bool]  # which variables of the client's are taken (AcceptEnv)
    subsystems: dict[str, str]
    forced_command: str = ""
    permit_terminal: bool = True
    change_user: bool = False  # whether the child must become the account


class CommandSession:
    """One session channel: what the client asks for, and the child that serves it."""

    __slots__ = (
        "_channel",
        "_child",
        "_client_variables",
        "_end_told",
        "_link",
        "_loop",
        "_on_closed",
        "_open_sources",
        "_pty",
        "_rules",
        "_sink",
        "_sources",
        "_started",
        "_terminal",
    )

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Outlet,
        rules: SessionRules,
        *,
        on_closed: Callable[[], object] | None = None,
    ) -> None:
        self._on_closed = on_closed
        self._loop = loop
        self._channel = channel
        self._link = link
        self._rules = rules
        self._client_variables: dict[str, str] = {}
        self._terminal = ""
        self._pty: PseudoTerminal | None = None
        self._child: Child | None = None
        self._sink: FdSink | None = None
        self._sources: list[FdSource] = []
        self._open_sources = 0
        self._started = False
        self._end_told = False

    # What the client asks

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Do what is asked if that is possible."""
        handler = _REQUESTS.get(type(request))
        answer(handler is not None and handler(self, request))

    def _pty_requested(self, request: PtyRequest) -> bool:
        name = request.terminal
        if not self._rules.permit_terminal or self._pty is not None or self._started:
            return False
        if len(name) > TERMINAL_NAME_BYTES or not name.isprintable() or " " in name:
            return False
        size = _size(request.columns, request.rows, request.width_pixels, request.height_pixels)
        owner = self._rules.account if self._rules.change_user else None
        try:
            self._pty = open_pty(size, modes=request.modes, owner=owner)
        except OSError:
            return False
        self._terminal = name
        return True

    def _environment_requested(self, request: EnvironmentRequest) -> bool:
        if len(self._client_variables) >= ENVIRONMENT_VARIABLES or (
            len(request.variable) + len(request.value) > VARIABLE_BYTES
        ):
            return False
        name = request.variable.decode("utf-8", "surrogateescape")
        # R150: the name is the client's; only plain ones, and only those that are let in.
        if not name.isascii() or not name.isidentifier() or not self._rules.accepts(name):
            return False
        if b"\0" in request.value:
            return False
        self._client_variables[name] = os.fsdecode(request.value)
        return True

    def _shell_requested(self, _request: ShellRequest) -> bool:
        return self._start(None)

    def _exec_requested(self, request: ExecRequest) -> bool:
        if b"\0" in request.command:
            return False
        return self._start(os.fsdecode(request.command))

    def _subsystem_requested(self, request: SubsystemRequest) -> bool:
        command = self._rules.subsystems.get(request.subsystem)
        # The built-in SFTP server answers no more than that it is not there yet.
        if command is None or command.split(None, 1)[:1] == ["internal-sftp"]:
            return False
        return self._start(command)

    def _resized(self, request: WindowChange) -> bool:
        if self._pty is None:
            return False
        self._pty.resize(
            _size(request.columns, request.rows, request.width_pixels, request.height_pixels)
        )
        return True

    def _signalled(self, request: SignalRequest) -> bool:
        number = SIGNALS.get(request.signal)
        # Case 214: a forced command is not the client's to signal.
        if number is None or self._child is None or self._rules.forced_command:
            return False
        return self._child.send_signal(number)

    def _broken(self, request: BreakRequest) -> bool:
        if self._pty is None:
            return False
        termios.tcsendbreak(self._pty.master, 0)
        return True

    def _reading_stopped(self, _request: EndOfWrite) -> bool:
        # eow@openssh.com: what the command still writes would be thrown away. Closing its pipes
        # lets it know, as a local reader's end would.
        if self._pty is None and self._child is not None:
            for source in self._sources:
                source.close()
            if self._open_sources:
                self._child.close()
                self._open_sources = 0
                self._channel.eof()
                self._finish_if_done()
            self._sources = []
        return True

    # The child

    def _start(self, command: str | None) -> bool:
        if self._started:
            return False  # case 209
        self._started = True
        rules = self._rules
        original = command
        if rules.forced_command:
            command = rules.forced_command
        environment = self._environment(original if rules.forced_command else None)
        account = rules.account
        name = os.path.basename(account.shell)  # noqa: PTH119 - a path that may be relative
        argv = [f"-{name}"] if command is None else [name, "-c", command]
        try:
            self._child = spawn(
                argv,
                env=environment,
                executable=account.shell,
                cwd=account.home,
                cwd_optional=True,
                user=account if rules.change_user else None,
                pty=self._pty,
            )
        except OSError as error:
            text = f"{account.shell}: {error.strerror}\r\n".encode()
            self._channel.send_extended(text)
            self._tell_end(ExitStatus(status=1))
            return True
        self._wire(self._child)
        self._channel.lingers = True
        self._child.watch(self._loop, self._exited)
        return True

    def _environment(self, original: str | None) -> dict[str, str]:
        account = self._rules.account
        environment = {
            "USER": account.name,
            "LOGNAME": account.name,
            "HOME": account.home,
            "PATH": ROOT_PATH if account.uid == 0 else STANDARD_PATH,
            "SHELL": account.shell,
            "MAIL": f"/var/mail/{account.name}",
        }
        if "TZ" in os.environ:
            environment["TZ"] = os.environ["TZ"]
        if self._pty is not None:
            environment["SSH_TTY"] = self._pty.name
            environment["TERM"] = self._terminal
        environment.update(self._client_variables)
        environment.update(self._rules.environment)
        if original is not None:
            environment["SSH_ORIGINAL_COMMAND"] = original
        return environment

    def _wire(self, child: Child) -> None:
        loop, channel, link = self._loop, self._channel, self._link
        if self._pty is not None:
            master = self._pty.master
            self._sink = FdSink(loop, master, channel, link, end=None)
            self._sources = [FdSource(loop, master, channel, link, on_end=self._stream_ended)]
        else:
            self._sink = FdSink(loop, child.stdin_fd, channel, link, on_broken=self._stdin_closed)
            self._sources = [
                FdSource(loop, child.stdout_fd, channel, link, on_end=self._stream_ended),
                FdSource(
                    loop,
                    child.stderr_fd,
                    channel,
                    link,
                    extended=True,
                    on_end=self._stream_ended,
                ),
            ]
            child.stdin_fd = -1  # the sink closes it
        channel.sink = self._sink
        self._open_sources = len(self._sources)
        for source in self._sources:
            source.start()

    def _stdin_closed(self, _error: OSError) -> None:
        # The command reads no more: a client that pumps a large file should hear of it.
        self._channel.request(EndOfWrite())
        self._link.flush_soon()

    def _stream_ended(self, _error: OSError | None) -> None:
        self._source_ended()

    def _source_ended(self) -> None:
        self._open_sources -= 1
        if self._open_sources == 0:
            self._channel.eof()
            self._finish_if_done()
        self._link.flush_soon()

    def _exited(self, ended: ExitStatus) -> None:
        if self._pty is not None and self._open_sources:
            # Whatever still has the terminal open gets no client any more, but what the command
            # itself wrote is already in the terminal and comes first.
            self._loop.call_later(_TERMINAL_GRACE, self._terminal_over)
        self._tell_end(ended)

    def _terminal_over(self) -> None:
        if self._open_sources:
            for source in self._sources:
                source.close()
            self._open_sources = 0
            self._channel.eof()
            self._finish_if_done()
            self._link.flush_soon()

    def _tell_end(self, ended: ExitStatus) -> None:
        self._end_told = True
        if ended.signal_name is not None:
            self._say(ExitSignal(ended.signal_name, ended.core_dumped, b"", b""))
        else:
            self._say(ExitStatusRequest(ended.status if ended.status is not None else 255))
        self._finish_if_done()
        self._link.flush_soon()

    def _say(self, request: Request) -> None:
        if self._channel.owner is self:
            self._channel.request(request)

    def _finish_if_done(self) -> None:
        if self._end_told and self._open_sources == 0:
            self._channel.eof()
            self._channel.close()

    # What else happens to the channel

    def ended(self) -> None:
        """The client sends no more: the command's input ends, when all of it is written."""
        if self._sink is not None and self._pty is None:
            self._sink.finish()

    def writable(self) -> None:
        """There is room in the window again."""
        for source in self._sources:
            source.resume()

    def closing(self) -> None:
        """The client closes the channel, and waits for the command's status.

        Dropbear and PuTTY do so once each side has said that no more data will come, which may be
        a moment before the command has ended.
        """
        for source in self._sources:
            source.close()
        self._sources = []
        if self._child is not None:
            if self._pty is not None and self._sink is not None:
                self._sink.close()
            self._child.close()
        self._open_sources = 0
        self._finish_if_done()

    def closed(self) -> None:
        """The channel is gone: the command loses its streams, and its terminal hangs up."""
        for source in self._sources:
            source.close()
        if self._sink is not None:
            self._sink.close()
        if self._child is not None:
            self._child.close()
        elif self._pty is not None:
            self._pty.close()
        self._sources = []
        if self._on_closed is not None:
            self._on_closed()


# How long the output of a command that has ended may still come out of its terminal (seconds).
_TERMINAL_GRACE: Final = 0.05


def _size(columns: int, rows: int, width: int, height: int) -> WindowSize:
    # Case 211: the kernel's fields have 16 bits.
    return WindowSize(*(min(side, LONGEST_SIDE) for side in (columns, rows, width, height)))


_REQUESTS: Final[dict[type[Request], Callable[[CommandSession, Any], bool]]] = {
    PtyRequest: CommandSession._pty_requested,
    EnvironmentRequest: CommandSession._environment_requested,
    ShellRequest: CommandSession._shell_requested,
    ExecRequest: CommandSession._exec_requested,
    SubsystemRequest: CommandSession._subsystem_requested,
    WindowChange: CommandSession._resized,
    SignalRequest: CommandSession._signalled,
    BreakRequest: CommandSession._broken,
    EndOfWrite: CommandSession._reading_stopped,
}
