# SPDX-License-Identifier: MIT
"""A session that a function of the program's own serves: what the client asked for, its streams, its end."""

import asyncio
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, AnyStr, Final, Generic, Protocol, TypeAlias

from tellin.connection.channel import EXTENDED_STDERR, Channel, Half, Standing
from tellin.connection.requests import (
    AgentForwarding,
    BreakRequest,
    EndOfWrite,
    EnvironmentRequest,
    ExecRequest,
    ExitSignal,
    ExitStatus,
    PtyRequest,
    Request,
    ShellRequest,
    SignalRequest,
    SubsystemRequest,
    WindowChange,
    X11Request,
)
from tellin.errors import ConnectionLost, UsageError
from tellin.keys import PublicKey
from tellin.runtime.channel_streams import Reader, Writer, decoder_for
from tellin.runtime.redirection import DISCARD
from tellin.runtime.stream import Link
from tellin.server.connection import Login, Peer, Reach, SessionHandler
from tellin.server.forwarding.client_display import ClientDisplay, read_display_request
from tellin.server.sessions.exit_statuses import exit_status
from tellin.sftp.file_system import FileSystem
from tellin.userauth.messages import PUBLIC_KEY
from tellin.wire import Record
from tellin.wire.states import State

_log = logging.getLogger("tellin.server")

ForLogin: TypeAlias = Callable[[Login], FileSystem]
"""Which files a login gets."""

MOST_VARIABLES: Final = 1024  # R150
LONGEST_VARIABLE: Final = 128 << 10
LONGEST_SIDE: Final = 0xFFFF
LONGEST_TERMINAL_NAME: Final = 255
_FAILED: Final = 1
_BROKEN_PIPE: Final = "PIPE"


class Terminal(Record):
    """The terminal that the client has; ``modes`` are encoded as in RFC 4254 section 8."""

    name: str
    columns: int
    rows: int
    width_pixels: int = 0
    height_pixels: int = 0
    modes: bytes = b""


class Stage(State):
    """How far a session is."""

    ASKED = "nothing has been started"
    RUNNING = "the function runs"
    EXITING = "the status is known, the rest of the output is on its way"
    GONE = "the channel is closed"


class ReadNoMore(ConnectionLost):
    """The client has closed the output: to a function what SIGPIPE is to a program."""


class Owner(Protocol):
    """The connection that a session belongs to."""

    sessions: int
    """How many it has."""

    @property
    def link(self) -> Link:
        """Its socket."""

    @property
    def login(self) -> Login | None:
        """Who is logged in."""

    @property
    def peer(self) -> Peer:
        """Where it comes from."""

    @property
    def client_version(self) -> str:
        """What the client calls itself."""

    async def open_agent(self) -> socket.socket:
        """A socket that leads to the client's agent."""

    async def open_display(self, display: ClientDisplay) -> socket.socket:
        """A socket that leads to the client's display."""

    def session_reach(self) -> Reach:
        """What programs of a session reach on the client's side."""


class HandOver(Protocol):
    """What serves a session in place of a function: programs of this machine, for one."""

    def adopt(self, session: "HandledSession") -> SessionHandler | str:
        """A handler for the session's channel, or why there is none."""


class ServerProcess(Generic[AnyStr]):
    """What a client has started, from this side: read ``stdin``, write ``stdout``, and ``exit``.

    Returning from the function exits too, with the status that it returns, or 0. A status has 32
    bits; -1 to -128 are what exit(3) makes of them, 255 to 128.
    """

    __slots__ = ("_session", "command", "on_break", "on_resize", "on_signal", "subsystem")

    def __init__(
        self, session: "HandledSession", *, command: str | None, subsystem: str | None
    ) -> None:
        self._session = session
        self.command: str | None = command
        """What is to be run; None for a shell or a subsystem."""
        self.subsystem: str | None = subsystem
        self.on_resize: Callable[[Terminal], object] | None = None
        """Called when the terminal has another size."""
        self.on_signal: Callable[[str], object] | None = None
        """Called with the name of a signal, without SIG."""
        self.on_break: Callable[[int], object] | None = None
        """Called with the milliseconds of a BREAK."""

    @property
    def stdin(self) -> Reader[AnyStr]:
        """What the client sends."""
        return self._session.reader()

    @property
    def stdout(self) -> Writer[AnyStr]:
        """What the client gets."""
        return self._session.writer(None)

    @property
    def stderr(self) -> Writer[AnyStr]:
        """The same for standard error."""
        return self._session.writer(EXTENDED_STDERR)

    @property
    def original_command(self) -> str | None:
        """What the client wanted, where the user's key lets only ``command`` run."""
        return self._session.original_command

    @property
    def terminal(self) -> Terminal | None:
        """The client's terminal, if it has one."""
        return self._session.terminal

    @property
    def env(self) -> dict[str, str]:
        """The variables that the client sent, as far as they are accepted."""
        return self._session.environment or {}

    @property
    def user(self) -> str:
        """Who is logged in."""
        login = self._session.owner.login
        return "" if login is None else login.user

    @property
    def key(self) -> PublicKey | None:
        """The key that has signed for the login, if there was one (R067)."""
        login = self._session.owner.login
        for factor in () if login is None else login.factors:
            if factor.method == PUBLIC_KEY:
                return factor.key
        return None

    @property
    def login(self) -> Login | None:
        """How the user has logged in: every factor, with its key."""
        return self._session.owner.login

    @property
    def peer(self) -> Peer:
        """Where the client comes from."""
        return self._session.owner.peer

    @property
    def forwards_agent(self) -> bool:
        """Whether the client lets this session ask its agent."""
        return self._session.forwards_agent

    async def open_agent(self) -> socket.socket:
        """A socket that leads to the client's agent, as many as you like: for a `tellin.keys.Agent`.

        It waits, and belongs to the caller. Raises UsageError where the client forwards no agent,
        and ChannelRefused where it does not open the way to it.
        """
        if not self._session.forwards_agent:
            raise UsageError("the client does not forward its agent", hint="ssh -A does")
        return await self._session.owner.open_agent()

    @property
    def display(self) -> ClientDisplay | None:
        """The client's display, where it shows windows of this session and ``permit_x11`` lets it."""
        return self._session.display

    async def open_display(self) -> socket.socket:
        """A socket that leads to the client's display: to speak X11, which begins with its cookie.

        It waits, and belongs to the caller. Raises UsageError where there is none, or the client wants
        a single connection and has had it, and ChannelRefused where it does not open the way to it.
        """
        if self._session.display is None:
            raise UsageError("the client does not forward its display", hint="ssh -X does")
        return await self._session.owner.open_display(self._session.display)

    def exit(self, status: int = 0) -> None:
        """End with ``status``, behind all that was written; raises UsageError if it is none."""
        self._session.exit(exit_status(status))

    def exit_by_signal(self, name: str, message: str = "", *, core_dumped: bool = False) -> None:
        """End as if by a signal (its name without SIG)."""
        self._session.exit(
            ExitSignal(name.removeprefix("SIG"), core_dumped, message.encode(), b"")
        )


Handler: TypeAlias = Callable[[ServerProcess[Any]], Awaitable[int | None] | int | None]
"""Serves one session; a coroutine function, or a plain one that does not take long."""


class HandledSession:
    """One session channel, between the connection's events and the function that serves it.

    ``on_closed`` is called once when the channel is gone.
    """

    __slots__ = (
        "_ended",
        "_exit",
        "_handlers",
        "_stdin",
        "_writers",
        "asked",
        "channel",
        "display",
        "environment",
        "forwards_agent",
        "on_closed",
        "original_command",
        "owner",
        "process",
        "stage",
        "task",
        "terminal",
    )

    def __init__(
        self, owner: Owner, channel: Channel, handlers: "Handlers", on_closed: Callable[[], object]
    ) -> None:
        self.owner = owner
        self.channel = channel
        self.stage = Stage.ASKED
        self.environment: dict[str, str] | None = None
        self.terminal: Terminal | None = None
        self.process: ServerProcess[Any] | None = None
        self.task: asyncio.Task[None] | None = None
        self.original_command: str | None = None
        self.forwards_agent = False
        self.display: ClientDisplay | None = None
        self.asked: list[Request] = []
        """What was granted before the start, for whoever takes the session over."""
        self._handlers = handlers
        self.on_closed = on_closed
        self._stdin: Reader[Any] | None = None
        self._writers: dict[int | None, Writer[Any]] | None = None
        self._ended = False
        self._exit: ExitStatus | ExitSignal | None = None

    # Streams

    def reader(self) -> Reader[Any]:
        """The client's input; made when it is first asked for: an idle session needs none."""
        reader = self._stdin
        if reader is None:
            handlers = self._handlers
            reader = self._stdin = Reader(
                self.channel,
                self.owner.link,
                decoder=decoder_for(handlers.encoding, handlers.errors),
            )
            if self.stage is Stage.RUNNING:
                # What has come until now is waiting in the channel.
                self.channel.sink = reader
            if self._ended:
                reader.finish()
        return reader

    def writer(self, extended: int | None) -> Writer[Any]:
        """The client's output."""
        if self._writers is None:
            self._writers = {}
        writer = self._writers.get(extended)
        if writer is None:
            writer = self._writers[extended] = Writer(
                self.channel,
                self.owner.link,
                extended=extended,
                encoding=self._handlers.encoding,
                on_ended=self._written,
            )
        return writer

    @property
    def forced_command(self) -> str | None:
        """The only command that the keys of this login let run."""
        return self._handlers.forced_command(self.owner.login)

    # What the client asks

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Do what is asked, if that is possible."""
        if isinstance(request, ExecRequest | ShellRequest | SubsystemRequest):
            self._start(request, answer)
            return
        handler = _REQUESTS.get(type(request))
        granted = handler is not None and handler(self, request)
        if granted and self.stage is Stage.ASKED:
            self.asked.append(request)
        answer(granted)

    def _terminal_requested(self, request: PtyRequest) -> bool:
        name = request.terminal
        if self.stage is not Stage.ASKED or self.terminal is not None:
            return False
        if not self._handlers.permits_terminal(self.owner.login):
            return False
        if len(name) > LONGEST_TERMINAL_NAME or not name.isprintable() or " " in name:
            return False
        self.terminal = Terminal(name, *_sides(request), modes=request.modes)
        return True

    def _agent_forwarded(self, _request: AgentForwarding) -> bool:
        if self.stage is not Stage.ASKED or not self._handlers.permits_agent(self.owner.login):
            return False
        self.forwards_agent = True
        return True

    def _display_shown(self, request: X11Request) -> bool:
        if self.stage is not Stage.ASKED or self.display is not None:
            return False
        if self._handlers.permits_x11(self.owner.login):
            self.display = read_display_request(request)
        return self.display is not None

    def _variable_sent(self, request: EnvironmentRequest) -> bool:
        environment = self.environment
        if environment is None:
            environment = self.environment = {}
        if (
            self.stage is not Stage.ASKED
            or len(environment) >= MOST_VARIABLES
            or len(request.variable) + len(request.value) > LONGEST_VARIABLE
        ):
            return False
        name = request.variable.decode("utf-8", "surrogateescape")
        # R150: the name is the client's; only plain ones, and only those that are let in.
        if not (name.isascii() and name.isidentifier() and self._handlers.accepts(name)):
            return False
        if b"\0" in request.value:
            return False
        environment[name] = request.value.decode("utf-8", "surrogateescape")
        return True

    def _resized(self, request: WindowChange) -> bool:
        if self.terminal is None:
            return False
        terminal = self.terminal
        self.terminal = Terminal(terminal.name, *_sides(request), modes=terminal.modes)
        process = self.process
        if process is not None and process.on_resize is not None:
            process.on_resize(self.terminal)
        return True

    def _signalled(self, request: SignalRequest) -> bool:
        process = self.process
        if process is None or process.on_signal is None:
            return False
        process.on_signal(request.signal[:64])
        return True

    def _broken(self, request: BreakRequest) -> bool:
        process = self.process
        if process is None or process.on_break is None:
            return False
        process.on_break(request.milliseconds)
        return True

    def _reading_stopped(self, _request: EndOfWrite) -> bool:
        # Standard output alone, also where nothing was written yet: errors may still be told.
        self.writer(None).fail(ReadNoMore("the client reads no more", stage="session"))
        return True

    # The function

    def _start(
        self,
        request: ExecRequest | ShellRequest | SubsystemRequest,
        answer: Callable[[bool], None],
    ) -> None:
        if self.stage is not Stage.ASKED:
            answer(False)  # case 209
            return
        handlers = self._handlers
        command = subsystem = None
        if isinstance(request, SubsystemRequest):
            subsystem = request.subsystem
        elif isinstance(request, ExecRequest):
            command = request.command.decode("utf-8", "surrogateescape")
        handler = handlers.session if subsystem is None else handlers.subsystems.get(subsystem)
        if handler is None and not callable(handlers.session):
            # What runs this machine's programs has a table of subsystems of its own.
            handler = handlers.session
        forced = self.forced_command
        if forced is not None and callable(handler):
            self.original_command, command, subsystem = command or subsystem, forced, None
            handler = handlers.session
        if handler is None:
            answer(False)
            return
        if not callable(handler):
            self._hand_over(handler, request, answer)
            return
        self.stage = Stage.RUNNING
        self.asked.clear()
        self.process = ServerProcess(self, command=command, subsystem=subsystem)
        if inspect.iscoroutinefunction(handler):
            self._keep(self._serve(handler, answer), handler)
        else:
            answer(True)
            self._call(handler)

    def _keep(self, coroutine: Coroutine[Any, Any, None], handler: Handler) -> None:
        """Run it as this session's task, named after the user's function."""
        tasks = self._handlers.tasks
        name = getattr(handler, "__qualname__", type(handler).__name__)
        self.task = task = asyncio.get_running_loop().create_task(coroutine, name=name)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _call(self, handler: Handler) -> None:
        assert self.process is not None
        try:
            result = handler(self.process)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self._raised(error)
            return
        if inspect.isawaitable(result):
            self._keep(self._await(result), handler)
        else:
            self._returned(result)

    async def _serve(
        self, handler: Callable[[ServerProcess[Any]], Any], answer: Callable[[bool], None]
    ) -> None:
        """Answer only now: so it leaves in one flight with what the function writes at once."""
        answer(True)
        assert self.process is not None
        await self._await(handler(self.process))

    def _hand_over(
        self, handler: HandOver, request: Request, answer: Callable[[bool], None]
    ) -> None:
        successor = handler.adopt(self)
        if isinstance(successor, str):
            answer(False)
            return
        self.stage = Stage.GONE
        channel = self.channel
        channel.owner = successor
        for earlier in self.asked:
            successor.requested(earlier, _nobody)
        successor.requested(request, answer)
        if self._ended:
            successor.ended()

    async def _await(self, result: Awaitable[int | None]) -> None:
        try:
            status = await result
        except asyncio.CancelledError:
            self._abort()
            raise
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self._raised(error)
        else:
            self._returned(status)

    def _returned(self, status: object) -> None:
        if self.stage is not Stage.RUNNING:
            return
        try:
            how = exit_status(0 if status is None else status)
        except UsageError as error:
            self._raised(error)
        else:
            self.exit(how)

    def _raised(self, error: Exception) -> None:
        if self.stage is Stage.GONE and isinstance(error, ConnectionLost):
            return  # what it was to tell, nobody is there to hear
        if isinstance(error, ReadNoMore):
            # `| head -1` is no fault of anybody's.
            _log.debug("a session's function has ended: %s", error)
            if self.stage is Stage.RUNNING:
                self.exit(ExitSignal(_BROKEN_PIPE, False, b"", b""))
            return
        _log.error("a session's function failed", exc_info=error)
        if self.stage is Stage.RUNNING:
            self.exit(ExitStatus(_FAILED))

    # The end

    def exit(self, how: ExitStatus | ExitSignal) -> None:
        """Tell the client how it ended, when all output has left."""
        if self.stage is not Stage.RUNNING:
            if self._exit is not None:
                raise UsageError("the process has exited already")
            return  # the client is gone
        self.stage = Stage.EXITING
        self._exit = how
        for writer in list((self._writers or {}).values()):
            writer.end()
        self._written()

    def _written(self) -> None:
        if self.stage is not Stage.EXITING or self._exit is None:
            return
        if any(not writer.ended for writer in (self._writers or {}).values()):
            return
        channel = self.channel
        if channel.standing is Standing.OPEN and channel.sending is not Half.CLOSED:
            channel.request(self._exit)
            channel.eof()
            channel.close()
            if self.owner.sessions == 1:
                # No other session could share the flight: a turn of the loop is saved.
                self.owner.link.flush()
            else:
                self.owner.link.flush_soon()
        self._release_input()

    def _release_input(self) -> None:
        """What the client still sends is of no use: it is dropped, with credit."""
        self.channel.sink = DISCARD
        if self._stdin is not None:
            self._stdin.finish()
            self._stdin.drain()

    def _abort(self) -> None:
        """The function was cancelled: there is no status to tell."""
        if self.stage is Stage.RUNNING:
            self.stage = Stage.EXITING
            self.channel.close()
            self.owner.link.flush_soon()
            self._release_input()

    # What else happens to the channel

    def ended(self) -> None:
        """The client sends no more."""
        self._ended = True
        if self._stdin is not None:
            self._stdin.finish()

    def writable(self) -> None:
        """There is room again."""
        for writer in list((self._writers or {}).values()):
            writer.resume()

    def closed(self) -> None:
        """The channel is gone: a function that still runs is cancelled."""
        before, self.stage = self.stage, Stage.GONE
        lost = ConnectionLost("the client has closed the session", stage="session")
        if self._stdin is not None:
            self._stdin.finish(None if self._ended else lost)
        for writer in (self._writers or {}).values():
            writer.fail(lost)
        if before is Stage.RUNNING and self.task is not None:
            self.task.cancel()
        self.on_closed()


class Handlers(Protocol):
    """What a server lets its sessions do."""

    session: "Handler | HandOver | None"
    subsystems: "dict[str, Handler | HandOver]"
    encoding: str | None
    errors: str
    tasks: set[asyncio.Task[None]]

    def permits_terminal(self, login: Login | None) -> bool:
        """Whether there may be a terminal."""

    def accepts(self, name: str) -> bool:
        """Whether a variable of the client's is taken."""

    def permits_agent(self, login: Login | None) -> bool:
        """Whether the client's agent may be asked."""

    def permits_x11(self, login: Login | None) -> bool:
        """Whether the client's display may be reached."""

    def forced_command(self, login: Login | None) -> str | None:
        """The only command that the keys of a login let run."""


def _nobody(_success: bool) -> None:
    """The client has its answer already."""


def _sides(request: PtyRequest | WindowChange) -> tuple[int, int, int, int]:
    # Case 211: the kernel's fields have 16 bits.
    sides = (request.columns, request.rows, request.width_pixels, request.height_pixels)
    columns, rows, width, height = (min(side, LONGEST_SIDE) for side in sides)
    return columns, rows, width, height


_REQUESTS: Final[dict[type[Request], Callable[[HandledSession, Any], bool]]] = {
    PtyRequest: HandledSession._terminal_requested,
    AgentForwarding: HandledSession._agent_forwarded,
    X11Request: HandledSession._display_shown,
    EnvironmentRequest: HandledSession._variable_sent,
    WindowChange: HandledSession._resized,
    SignalRequest: HandledSession._signalled,
    BreakRequest: HandledSession._broken,
    EndOfWrite: HandledSession._reading_stopped,
}
