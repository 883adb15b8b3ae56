# SPDX-License-Identifier: MIT
"""Sessions that run programs: a shell, a command or a subsystem as a child process (RFC 4254 section 6)."""

import grp
import os
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from tellin.connection.channel import Channel, Half, Standing
from tellin.connection.requests import (
    AgentForwarding,
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
    X11Request,
)
from tellin.connection.requests import ExitStatus as ExitStatusRequest
from tellin.runtime.journal import INFO, VERBOSE
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.preludes import run_first
from tellin.runtime.processes import SIGNALS, Child, ExitStatus, shell_command, spawn
from tellin.runtime.pumps import FdSink, FdSource, Flow, Outlet
from tellin.runtime.terminal import PseudoTerminal, WindowSize, open_pty
from tellin.server import notices
from tellin.server.connection import Reach
from tellin.server.files.inside import FilesInside, serve_inside
from tellin.server.files.service import BUILT_IN, serve_built_in
from tellin.server.sessions.session_rules import SessionRules
from tellin.server.sessions.silent_typing import AnsweredSink
from tellin.server.sessions.start_files import start_file
from tellin.sftp.links import sends_link_first
from tellin.userauth.text import escape_text

ENVIRONMENT_VARIABLES: Final = 1024  # R150
# All of a client's variables together: execve(2) takes no more than a quarter of the stack.
VARIABLE_BYTES: Final = 256 << 10
TERMINAL_NAME_BYTES: Final = 255
LONGEST_SIDE: Final = 0xFFFF
STANDARD_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/games"
ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandSession:
    """One session channel: what the client asks for, and the child that serves it."""

    __slots__ = (
        "_channel",
        "_child",
        "_client_variables",
        "_end_told",
        "_files",
        "_flight",
        "_link",
        "_loop",
        "_on_closed",
        "_open_sources",
        "_overdue",
        "_preface",
        "_pty",
        "_reach",
        "_rules",
        "_sink",
        "_sources",
        "_started",
        "_terminal",
        "_variable_bytes",
    )

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Outlet,
        rules: SessionRules,
        *,
        reach: Reach | None = None,
        on_closed: Callable[[], object] | None = None,
    ) -> None:
        self._on_closed = on_closed
        self._reach = reach
        self._loop = loop
        self._channel = channel
        self._link = link
        self._rules = rules
        self._client_variables: dict[str, str] = {}
        self._variable_bytes = 0
        self._terminal = ""
        self._pty: PseudoTerminal | None = None
        self._child: Child | None = None
        self._files: FilesInside | None = None
        self._sink: FdSink | None = None
        self._preface = -1
        self._sources: list[FdSource] = []
        self._open_sources = 0
        self._started = False
        self._end_told = False
        self._flight: Cancellable | None = None
        self._overdue = False

    # What the client asks

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Do what is asked if that is possible."""
        handler = _REQUESTS.get(type(request))
        # R138: who has closed a channel has nothing more to ask of it.
        closed = self._channel.receiving is Half.CLOSED
        answer(handler is not None and not closed and handler(self, request))

    def _pty_requested(self, request: PtyRequest) -> bool:
        name = request.terminal
        if not self._rules.permit_terminal or self._pty is not None or self._started:
            return False
        if len(name) > TERMINAL_NAME_BYTES or not name.isprintable() or " " in name:
            return False
        size = _size(request.columns, request.rows, request.width_pixels, request.height_pixels)
        try:
            self._pty = open_pty(size, modes=request.modes, owner=self._rules.account)
            _close_to_others(self._pty.slave)
        except (OSError, termios.error):
            return False
        self._terminal = name
        return True

    def _environment_requested(self, request: EnvironmentRequest) -> bool:
        size = len(request.variable) + len(request.value)
        if self._started or (
            len(self._client_variables) >= ENVIRONMENT_VARIABLES
            or self._variable_bytes + size > VARIABLE_BYTES
        ):
            return False
        name = request.variable.decode("utf-8", "surrogateescape")
        # R150: the name is the client's; only plain ones, and only those that are let in.
        if not name.isascii() or not name.isidentifier() or not self._rules.accepts(name):
            return False
        if b"\0" in request.value:
            return False
        self._client_variables[name] = os.fsdecode(request.value)
        self._variable_bytes += size
        return True

    def _reach_requested(self, request: Request) -> bool:
        return not self._started and self._reach is not None and self._reach.asked(request)

    def _shell_requested(self, _request: ShellRequest) -> bool:
        return self._start(None, "shell")

    def _exec_requested(self, request: ExecRequest) -> bool:
        if b"\0" in request.command:
            return False
        return self._start(os.fsdecode(request.command), "command")

    def _subsystem_requested(self, request: SubsystemRequest) -> bool:
        name, rules = escape_text(request.subsystem[:TERMINAL_NAME_BYTES]), self._rules
        command = rules.subsystems.get(request.subsystem)
        if command is None:
            rules.note(
                INFO,
                f"subsystem request for {name} by user {rules.account.name} failed,"
                " subsystem not found",
            )
            return False
        return self._start(command, f"subsystem '{name}'", subsystem=True)

    def _resized(self, request: WindowChange) -> bool:
        if self._pty is None:
            return False
        size = _size(request.columns, request.rows, request.width_pixels, request.height_pixels)
        # The terminal of a command that is over may refuse; nobody is left to draw anything.
        with suppress(OSError):
            self._pty.resize(size)
        return True

    def _signalled(self, request: SignalRequest) -> bool:
        number = SIGNALS.get(request.signal)
        # Case 214: a forced command is not the client's to signal.
        if number is None or self._child is None or self._rules.forced_command is not None:
            return False
        return self._child.send_signal(number)

    def _broken(self, request: BreakRequest) -> bool:
        if self._pty is None:
            return False
        try:
            termios.tcsendbreak(self._pty.master, 0)
        except termios.error:
            return False
        return True

    def _reading_stopped(self, _request: EndOfWrite) -> bool:
        # eow@openssh.com: what the command still writes to its standard output would be thrown
        # away. Closing the pipe lets it know, as a local reader's end would; its complaints still
        # have a reader.
        child = self._child
        if self._pty is not None or child is None or child.stdout_fd < 0:
            return True
        if self._sources[0].flow is not Flow.ENDED:
            self._sources[0].close()
            os.close(child.stdout_fd)
            child.stdout_fd = -1
            self._source_ended()
        return True

    # The child

    def _start(self, command: str | None, kind: str, *, subsystem: bool = False) -> bool:
        rules = self._rules
        forced = rules.forced_command is not None
        wanted = rules.forced_command if forced else command
        if self._started:
            return False  # case 209
        self._started = True
        self._channel.purpose = kind.replace(" '", ":").rstrip("'")
        where = f" on {self._pty.name.removeprefix('/dev/')}" if self._pty else ""
        if forced:
            kind = f"forced-command ({rules.forced_by})"
        self._note(f"Starting session: {kind}{where} for {rules.account.name}")
        closed = notices.closed_to(rules.account)
        if closed is not None:
            self._turn_away(closed, notices.NO_LOGIN_STATUS)
        elif rules.password_expired and self._pty is None:
            self._turn_away(notices.EXPIRED + notices.NO_TERMINAL, 1)
        elif forced and not subsystem and _built_in(wanted):
            # As OpenSSH's, on standard output: ssh-copy-id looks for it.
            self._turn_away(notices.FILES_ONLY, 1, extended=False)
        else:
            # A client's own command of that name is one for the shell.
            built_in = _built_in(wanted) if forced or subsystem else []
            original = command if forced else None
            run = partial(self._run, wanted, original=original, built_in=built_in)
            if self._reach is None or not self._reach.prepare(self._environment(original), run):
                run()
        return True

    def _run(
        self, command: str | None, *, original: str | None, built_in: Sequence[str] = ()
    ) -> None:
        rules, account = self._rules, self._rules.account
        executable, argv = shell_command(account, command)
        inside: Callable[[], int] | None = None
        words: list[str] = []
        if rules.password_expired:
            executable, argv = notices.CHANGER, ["passwd"]
        elif built_in:
            words = [*built_in[1:], *(["-L"] if sends_link_first(rules.client) else [])]
            if rules.own_process:
                # Forked and not executed: nothing of ours has to be within the account's reach.
                inside = partial(serve_built_in, words, account)
            else:
                executable = sys.executable
                argv = [executable, "-P", "-m", "tellin", "sftp-server", *words]
        environment = self._environment(original)
        if inside is not None and self._serve_here(words, environment):
            return
        if rules.start_files and not rules.password_expired:
            # OpenSSH's exceptions: what an administrator forces, and subsystems.
            own = rules.user_start_file and not self._channel.purpose.startswith("subsystem")
            first = start_file(account, own=own)
            if first:
                inside = partial(run_first, first, executable, argv, environment, inside=inside)
        if rules.on_start is not None:
            rules.on_start(self._pty is not None)
        try:
            self._child = self._spawn(executable, argv, environment, inside)
        except OSError as error:
            self._turn_away(f"{executable}: {error.strerror}\n".encode(), 1)
            return
        self._wire(self._child)
        self._channel.lingers = True
        if rules.password_expired:
            self._precede(notices.to_pipe(notices.EXPIRED + notices.CHANGE_NOW))
        elif command is None and self._pty is not None and rules.greet:
            self._precede(notices.open_greeting(account))
        else:
            self._begin_output()
        self._child.watch(self._loop, self._exited)

    def _serve_here(self, words: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Serve files in this process, where that is as good as in one of their own."""
        rules = self._rules
        own = rules.user_start_file and not self._channel.purpose.startswith("subsystem")
        first = rules.start_files and start_file(rules.account, own=own)
        if first or rules.password_expired or self._pty is not None or not rules.alone():
            return False
        home = rules.account.home
        if rules.in_chroot and not os.access(home, os.X_OK):
            home = "/"
        self._files = serve_inside(
            self._loop,
            self._channel,
            self._link,
            arguments=words,
            account=rules.account,
            home=home,
            environment=environment,
            on_end=self._files_ended,
        )
        if self._files is None:
            return False
        if rules.on_start is not None:
            rules.on_start(False)
        self._open_sources = 1
        self._channel.lingers = True
        return True

    def _files_ended(self, status: int) -> None:
        self._tell_end(ExitStatus(status=status))
        self._source_ended()

    def _spawn(
        self,
        executable: str,
        argv: list[str],
        environment: dict[str, str],
        inside: Callable[[], int] | None = None,
    ) -> Child:
        rules, home = self._rules, self._rules.account.home
        if rules.in_chroot and not os.access(home, os.X_OK):
            home = "/"
        cwd: str | None = home
        if rules.own_process and self._pty is None:
            # posix_spawn(3) is five times as fast as a fork of an interpreter, but cannot change
            # the directory; so this process goes there itself for a moment.
            with suppress(OSError):
                os.chdir(home)
                cwd = None
        try:
            return spawn(
                argv,
                env=environment,
                executable=executable,
                cwd=cwd,
                cwd_optional=True,
                user=rules.account if rules.change_user else None,
                pty=self._pty,
                inside=inside,
            )
        finally:
            if cwd is None:
                os.chdir("/")

    def _environment(self, original: str | None) -> dict[str, str]:
        rules, account = self._rules, self._rules.account
        # The client's first: what the system says of the account and the connection stands.
        environment = {
            **self._client_variables,
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
        if original is not None:
            environment["SSH_ORIGINAL_COMMAND"] = original
        if self._reach is not None:
            environment.update(self._reach.environment())
        environment.update(rules.environment)
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
        if self._pty is not None and self._rules.ignore is not None:
            channel.sink = AnsweredSink(self._sink, self._pty.master, self._rules.ignore, link)
        if channel.receiving is not Half.OPEN:
            # The client said that it sends nothing before it said what to run.
            self.ended()
        self._open_sources = len(self._sources)

    def _begin_output(self) -> None:
        for source in self._sources:
            source.start()

    # What comes before the command's own output, or in its place

    def _precede(self, fd: int) -> None:
        """Send what can be read from ``fd``, for a terminal, and then what the command writes."""
        if fd < 0:
            self._begin_output()
            return
        after = self._sources

        def over(_error: OSError | None) -> None:
            self._close_preface()
            self._sources = after
            self._begin_output()
            if self._overdue:
                self._wait_for_terminal()

        self._play(fd, over, extended=False)

    def _turn_away(self, text: bytes, status: int, *, extended: bool = True) -> None:
        """No command: a text, and the status that says so."""

        def over(_error: OSError | None) -> None:
            self._close_preface()
            self._source_ended()

        self._open_sources = 1
        self._play(notices.to_pipe(text), over, extended=extended and self._pty is None)
        self._tell_end(ExitStatus(status=status))

    def _play(self, fd: int, over: Callable[[OSError | None], object], *, extended: bool) -> None:
        self._preface = fd
        source = FdSource(
            self._loop,
            fd,
            self._channel,
            self._link,
            extended=extended,
            edit=None if self._pty is None else notices.for_terminal,
            on_end=over,
        )
        self._sources = [source]
        source.start()

    def _close_preface(self) -> None:
        if self._preface >= 0:
            os.close(self._preface)
            self._preface = -1

    # The end of the command

    def _stdin_closed(self, _error: OSError) -> None:
        # The command reads no more: a client that pumps a large file should hear of it.
        self._say(EndOfWrite())
        self._link.flush_soon()

    def _stream_ended(self, _error: OSError | None) -> None:
        self._source_ended()

    def _source_ended(self) -> None:
        self._open_sources -= 1
        if self._open_sources == 0:
            self._channel.eof()
            self._finish_if_done()
            self._send_end()

    def _send_end(self) -> None:
        """Send the end of the output and the status in one flight: when one comes, so does the other."""
        if self._end_told and not self._open_sources:
            self._depart()
        elif self._flight is None:
            self._flight = self._loop.call_later(_SAME_FLIGHT, self._depart)

    def _depart(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            self._flight = None
        self._link.flush()

    def _exited(self, ended: ExitStatus) -> None:
        if self._pty is not None and self._open_sources:
            self._wait_for_terminal()
        self._tell_end(ended)

    def _wait_for_terminal(self) -> None:
        # Whatever still has the terminal open gets no client any more, but what the command
        # itself wrote is already in the terminal and comes first.
        self._overdue = False
        self._loop.call_later(_TERMINAL_GRACE, self._terminal_over)

    def _terminal_over(self) -> None:
        if not self._open_sources or self._channel.standing is not Standing.OPEN:
            return
        if self._preface >= 0 or any(source.flow is Flow.NO_ROOM for source in self._sources):
            # The client has still to take what there is.
            self._overdue = True
            return
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
        self._send_end()

    def _say(self, request: Request) -> None:
        # A client may close the channel, or we, before the command comes to its end.
        channel = self._channel
        if channel.standing is Standing.OPEN and channel.sending is not Half.CLOSED:
            channel.request(request)

    def _finish_if_done(self) -> None:
        if self._end_told and self._open_sources == 0:
            self._channel.eof()
            self._channel.close()

    # What else happens to the channel

    def ended(self) -> None:
        """The client sends no more: the command's input ends, when all of it is written."""
        if self._sink is not None and self._pty is None:
            self._sink.finish()
        if self._files is not None:
            self._files.ended()

    def writable(self) -> None:
        """There is room in the window again."""
        if self._files is not None:
            self._files.resume()
        for source in self._sources:
            source.resume()
        if self._overdue:
            self._wait_for_terminal()

    def closing(self) -> None:
        """The client closes the channel, and waits for the command's status.

        Dropbear and PuTTY do so once each side has said that no more data will come, which may be
        a moment before the command has ended.
        """
        for source in self._sources:
            source.close()
        self._sources = []
        self._close_preface()
        if self._child is not None:
            if self._pty is not None and self._sink is not None:
                self._sink.close()
            self._child.close()
        if self._files is not None and not self._end_told:
            self._files.close()
            self._tell_end(ExitStatus(status=0))
        self._open_sources = 0
        self._finish_if_done()

    def closed(self) -> None:
        """The channel is gone: the command loses its streams, and its terminal hangs up."""
        for source in self._sources:
            source.close()
        self._close_preface()
        if self._sink is not None:
            self._sink.close()
        if self._child is not None:
            self._child.close()
        elif self._pty is not None:
            self._pty.close()
        if self._files is not None:
            self._files.close()
        self._sources = []
        if self._reach is not None:
            self._reach.close()
        if self._started:
            self._note(f"Close session: user {self._rules.account.name}")
        if self._on_closed is not None:
            self._on_closed()

    def _note(self, what: str) -> None:
        line = f"{what} from {self._rules.source} id {self._channel.number}"
        self._rules.note(VERBOSE, line)


# How long the output of a command that has ended may still come out of its terminal (seconds).
_TERMINAL_GRACE: Final = 0.05
# How long the end of a command's output waits for its status, and the status for that (seconds).
_SAME_FLIGHT: Final = 0.002
_OTHERS: Final = 0o022


def _built_in(command: str | None) -> list[str]:
    """The words of a command that is the server within; none for any other."""
    words = (command or "").split()
    return words if words[:1] == [BUILT_IN] else []


def _size(columns: int, rows: int, width: int, height: int) -> WindowSize:
    # Case 211: the kernel's fields have 16 bits.
    return WindowSize(*(min(side, LONGEST_SIDE) for side in (columns, rows, width, height)))


def _close_to_others(slave: int) -> None:
    """Let nobody but the group tty write to a terminal.

    devpts gives the terminal that a user opens to the group it is mounted with, which is tty
    everywhere; without that it is the user's own group, and all its members could write to it.
    """
    status = os.fstat(slave)
    if not status.st_mode & _OTHERS:
        return
    try:
        if grp.getgrnam("tty").gr_gid == status.st_gid and not status.st_mode & 0o002:
            return
    except KeyError:
        # No such group here: then nobody is meant to write to it.
        pass
    os.fchmod(slave, 0o600)


_REQUESTS: Final[dict[type[Request], Callable[[CommandSession, Any], bool]]] = {
    PtyRequest: CommandSession._pty_requested,
    EnvironmentRequest: CommandSession._environment_requested,
    AgentForwarding: CommandSession._reach_requested,
    X11Request: CommandSession._reach_requested,
    ShellRequest: CommandSession._shell_requested,
    ExecRequest: CommandSession._exec_requested,
    SubsystemRequest: CommandSession._subsystem_requested,
    WindowChange: CommandSession._resized,
    SignalRequest: CommandSession._signalled,
    BreakRequest: CommandSession._broken,
    EndOfWrite: CommandSession._reading_stopped,
}
