# SPDX-License-Identifier: MIT
"""The same library for programs without an event loop: one loop, in one thread behind the scenes.

    from tellin import blocking

    with blocking.connect("host", host_keys=HostKeyPolicy.STRICT) as connection:
        print(connection.run("uname -a").stdout)

Every method waits for what its coroutine in ``tellin`` would bring, and takes the same arguments.
The loop goes on between the calls, so a connection stays alive while the program does other things.
Functions that are asked (about a host key, for a password) are called in the thread that waits, and
never on the loop. Ctrl-C cancels what is being waited for. A forked child has no connection of its
parent's: using one there is an error that says so.
"""

import functools
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, AnyStr, Concatenate, Final, Generic, ParamSpec, TypeVar, Unpack, overload

from tellin.client import connect as client
from tellin.client.connected import Connection as AsyncConnection
from tellin.client.options import Command, ConnectOptions, RunOptions, StartOptions
from tellin.client.process import Completed
from tellin.client.process import Process as AsyncProcess
from tellin.errors import TellinError, UsageError
from tellin.keys.public import PublicKey
from tellin.protocol import Negotiated
from tellin.runtime.channel_streams import Reader as AsyncReader
from tellin.runtime.channel_streams import Writer as AsyncWriter
from tellin.runtime.portal import Portal, shared_portal
from tellin.runtime.redirection import Redirect, descriptor_of, plain
from tellin.server import serve as server
from tellin.server.process import HandOver, Terminal
from tellin.server.process import ServerProcess as AsyncServerProcess

__all__ = [
    "Connection",
    "Process",
    "Reader",
    "Server",
    "ServerProcess",
    "Writer",
    "connect",
    "serve",
]

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

_ASKED: Final = ("host_keys", "password", "questions", "change_password", "passphrase")


class _Face(Generic[S]):
    """Something of the asynchronous library, and the portal to it."""

    __slots__ = ("_inner", "_portal")

    def __init__(self, inner: S, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal


def _forwarded(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """The method that waits for a coroutine method."""

    def call(self: Any, /, *words: P.args, **named: P.kwargs) -> T:
        result: T = self._portal.call(functools.partial(method, self._inner, *words, **named))
        return result

    functools.update_wrapper(call, method)
    return call


def _told(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """The method that has a plain method called on the loop."""

    def call(self: Any, /, *words: P.args, **named: P.kwargs) -> T:
        result: T = self._portal.call(functools.partial(method, self._inner, *words, **named))
        return result

    functools.update_wrapper(call, method)
    return call


class Reader(_Face[AsyncReader[AnyStr]], Generic[AnyStr]):
    """A stream to read, and to iterate over by lines."""

    __slots__ = ()

    def read(self, size: int = -1) -> AnyStr:
        """At least one and at most ``size`` bytes (or characters); without ``size`` all to the end."""
        return self._call(self._inner.read, size)

    def readexactly(self, size: int) -> AnyStr:
        """Just so many."""
        return self._call(self._inner.readexactly, size)

    def readline(self) -> AnyStr:
        """One line with its end."""
        return self._call(self._inner.readline)

    def readuntil(self, separator: AnyStr) -> AnyStr:
        """All up to and with ``separator``."""
        return self._call(self._inner.readuntil, separator)

    def _call(self, method: Callable[..., Coroutine[Any, Any, AnyStr]], *words: Any) -> AnyStr:
        data: AnyStr = self._portal.call(method, *words)
        return data

    def __iter__(self) -> Iterator[AnyStr]:
        while line := self.readline():
            yield line

    def chunks(self) -> Iterator[AnyStr]:
        """The data in pieces as they arrived."""
        while chunk := self.read(1 << 30):
            yield chunk


class Writer(_Face[AsyncWriter[AnyStr]], Generic[AnyStr]):
    """A stream to write."""

    __slots__ = ()

    def write(self, data: AnyStr | bytearray | memoryview) -> None:
        """Send all of it."""
        self._portal.call(self._inner.write, data)

    def writelines(self, lines: Iterable[AnyStr]) -> None:
        """Send several, one behind the other."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Send the end behind all that was written."""
        self._portal.call(self._inner.aclose)


class Process(_Face[AsyncProcess[AnyStr]], Generic[AnyStr]):
    """A command that runs on the other side."""

    __slots__ = ()

    resize = _told(AsyncProcess.resize)
    send_signal = _told(AsyncProcess.send_signal)
    send_break = _told(AsyncProcess.send_break)
    terminate = _told(AsyncProcess.terminate)
    kill = _told(AsyncProcess.kill)
    close = _forwarded(AsyncProcess.aclose)

    def wait(self, *, check: bool = False, timeout: float | None = None) -> Completed[AnyStr]:
        """Wait for the end; unread output comes with the result."""
        completed: Completed[AnyStr] = self._portal.call(
            self._inner.wait, check=check, timeout=timeout
        )
        return completed

    def communicate(
        self,
        input: AnyStr | bytearray | memoryview | None = None,  # noqa: A002 - as subprocess
        *,
        check: bool = False,
        timeout: float | None = None,
    ) -> Completed[AnyStr]:
        """Write ``input`` and its end, and wait: both outputs are kept meanwhile, so nothing can block."""
        completed: Completed[AnyStr] = self._portal.call(
            self._inner.communicate, input, check=check, timeout=timeout
        )
        return completed

    @property
    def stdin(self) -> Writer[AnyStr]:
        """The command's input."""
        return Writer(self._inner.stdin, self._portal)

    @property
    def stdout(self) -> Reader[AnyStr]:
        """The command's output."""
        return Reader(self._inner.stdout, self._portal)

    @property
    def stderr(self) -> Reader[AnyStr]:
        """What the command writes to standard error."""
        return Reader(self._inner.stderr, self._portal)

    @property
    def exit_status(self) -> int | None:
        """The status it ended with, as soon as that is known."""
        return self._inner.exit_status

    @property
    def exit_signal(self) -> str | None:
        """The signal that ended it, without SIG."""
        return self._inner.exit_signal

    def __enter__(self) -> "Process[AnyStr]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Connection(_Face[AsyncConnection]):
    """A connection to a server, with a user logged in."""

    __slots__ = ()

    ping = _forwarded(AsyncConnection.ping)
    rekey = _told(AsyncConnection.rekey)
    close = _forwarded(AsyncConnection.aclose)
    wait_closed = _forwarded(AsyncConnection.wait_closed)

    @overload
    def run(
        self, command: Command, *, encoding: str = "utf-8", **options: Unpack[RunOptions]
    ) -> Completed[str]: ...

    @overload
    def run(
        self, command: Command, *, encoding: None, **options: Unpack[RunOptions]
    ) -> Completed[bytes]: ...

    def run(
        self, command: Command, *, encoding: str | None = "utf-8", **options: Unpack[RunOptions]
    ) -> Completed[Any]:
        """Run a command to its end, as ``tellin.Connection.run``."""
        completed: Completed[Any] = self._portal.call(
            self._inner.run, command, encoding=encoding, **_unwrapped(options)
        )
        return completed

    @overload
    def start(
        self, command: Command, *, encoding: str = "utf-8", **options: Unpack[StartOptions]
    ) -> Process[str]: ...

    @overload
    def start(
        self, command: Command, *, encoding: None, **options: Unpack[StartOptions]
    ) -> Process[bytes]: ...

    def start(
        self, command: Command, *, encoding: str | None = "utf-8", **options: Unpack[StartOptions]
    ) -> Process[Any]:
        """Start a command, as ``tellin.Connection.start``."""
        return self._process(self._inner.start, command, encoding=encoding, **_unwrapped(options))

    @overload
    def shell(
        self, *, encoding: str = "utf-8", **options: Unpack[StartOptions]
    ) -> Process[str]: ...

    @overload
    def shell(self, *, encoding: None, **options: Unpack[StartOptions]) -> Process[bytes]: ...

    def shell(
        self, *, encoding: str | None = "utf-8", **options: Unpack[StartOptions]
    ) -> Process[Any]:
        """Start the user's shell, as ``tellin.Connection.shell``."""
        return self._process(self._inner.shell, encoding=encoding, **_unwrapped(options))

    def subsystem(self, name: str, **options: Any) -> Process[bytes]:
        """Start a subsystem, as ``tellin.Connection.subsystem``."""
        return self._process(self._inner.subsystem, name, **_unwrapped(options))

    def _process(self, start: Callable[..., Any], *words: Any, **named: Any) -> Process[Any]:
        return Process(self._portal.call(start, *words, **named), self._portal)

    @property
    def host(self) -> str:
        """The server as it was named."""
        return self._inner.host

    @property
    def user(self) -> str:
        """Who is logged in."""
        return self._inner.user

    @property
    def banner(self) -> str:
        """What the server said to whoever logs in."""
        return self._inner.banner

    @property
    def address(self) -> tuple[str, int]:
        """Address and port of the server."""
        return self._inner.address

    @property
    def host_key(self) -> PublicKey:
        """The key that the server has shown."""
        return self._inner.host_key

    @property
    def server_version(self) -> str:
        """The server's identification."""
        return self._inner.server_version

    @property
    def algorithms(self) -> Negotiated | None:
        """What the two sides agreed on."""
        return self._inner.algorithms

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._inner.closed

    @property
    def error(self) -> TellinError | None:
        """Why it ended, if not by agreement."""
        return self._inner.error

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _unwrapped(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options for the coroutine: ends that are ours opened up, and none that runs user code."""
    made = dict(options)
    for name in ("stdin", "stdout", "stderr"):
        end = plain(made.get(name))
        if isinstance(end, Reader | Writer):
            made[name] = end._inner
        elif not (
            end is None
            or isinstance(end, Redirect | int | str | os.PathLike)
            or descriptor_of(end) is not None
        ):
            raise UsageError(
                f"{name} would be called on the loop's own thread",
                hint="start() the command, and read and write its streams here",
            )
    return made


def connect(host: str, **options: Unpack[ConnectOptions]) -> Connection:
    """Connect and log in, as ``tellin.connect``; close it, or use it in a ``with``."""
    portal = shared_portal()
    named: dict[str, Any] = dict(options)
    asked = {name: named.pop(name) for name in _ASKED if callable(named.get(name))}
    made = portal.call(client.connect, host, asked=asked, **named)
    portal.keep(made)
    return Connection(made, portal)


# The other side


class ServerProcess(_Face[AsyncServerProcess[AnyStr]], Generic[AnyStr]):
    """What a client has started; the function that gets it runs in a thread of its own."""

    __slots__ = ()

    exit = _told(AsyncServerProcess.exit)
    exit_by_signal = _told(AsyncServerProcess.exit_by_signal)

    @property
    def stdin(self) -> Reader[AnyStr]:
        """What the client sends."""
        return Reader(self._portal.call(lambda: self._inner.stdin), self._portal)

    @property
    def stdout(self) -> Writer[AnyStr]:
        """What the client gets."""
        return Writer(self._portal.call(lambda: self._inner.stdout), self._portal)

    @property
    def stderr(self) -> Writer[AnyStr]:
        """The same for standard error."""
        return Writer(self._portal.call(lambda: self._inner.stderr), self._portal)

    @property
    def command(self) -> str | None:
        """What is to be run; None for a shell or a subsystem."""
        return self._inner.command

    @property
    def subsystem(self) -> str | None:
        """The subsystem that is wanted."""
        return self._inner.subsystem

    @property
    def terminal(self) -> Terminal | None:
        """The client's terminal, if it has one."""
        return self._inner.terminal

    @property
    def env(self) -> dict[str, str]:
        """The variables that the client sent."""
        return self._inner.env

    @property
    def user(self) -> str:
        """Who is logged in."""
        return self._inner.user

    @property
    def key(self) -> PublicKey | None:
        """The key that has signed for the login."""
        return self._inner.key


class Server(_Face[server.Server]):
    """A server that runs."""

    __slots__ = ()

    close = _forwarded(server.Server.aclose)
    wait_closed = _forwarded(server.Server.wait_closed)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._inner.port

    @property
    def addresses(self) -> list[Any]:
        """Where it listens."""
        return self._inner.addresses

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


Handler = Callable[[ServerProcess[Any]], int | None]


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    session: Handler | HandOver | None = None,
    subsystems: Mapping[str, Handler | HandOver] | None = None,
    **options: Any,
) -> Server:
    """Serve in the background, as ``tellin.serve``; each session's function has its own thread."""
    portal = shared_portal()
    for name in ("authorize", "password", "questions"):
        function = options.get(name)
        if callable(function):
            options[name] = functools.partial(portal.in_thread, function)

    def threaded(handler: Handler | HandOver | None) -> Any:
        if not callable(handler):
            return handler

        async def serve_it(process: AsyncServerProcess[Any]) -> int | None:
            return await portal.in_thread(handler, ServerProcess(process, portal))

        return serve_it

    named = {name: threaded(handler) for name, handler in (subsystems or {}).items()}
    made = portal.call(
        server.serve, host, port, session=threaded(session), subsystems=named, **options
    )
    portal.keep(made)
    return Server(made, portal)
