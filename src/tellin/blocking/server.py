# SPDX-License-Identifier: MIT
"""A server whose sessions are functions in threads, as ``tellin.serve`` has them in coroutines."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, AnyStr, Generic, TypeAlias, Unpack

from tellin.blocking.faces import Entered, Face, forwarded, told
from tellin.blocking.streams import Reader, Writer
from tellin.keys.public import PublicKey
from tellin.runtime.portal import shared_portal
from tellin.server import serve as server
from tellin.server.forwarding.client_display import ClientDisplay
from tellin.server.sessions.process import HandOver, Terminal
from tellin.server.sessions.process import ServerProcess as AsyncServerProcess


class ServerProcess(Face[AsyncServerProcess[AnyStr]], Generic[AnyStr]):
    """What a client has started; the function that gets it runs in a thread of its own."""

    __slots__ = ("_reader",)

    def _prepare(self) -> None:
        self._reader: Reader[AnyStr] | None = None

    exit = told(AsyncServerProcess.exit)
    exit_by_signal = told(AsyncServerProcess.exit_by_signal)

    @property
    def stdin(self) -> Reader[AnyStr]:
        """What the client sends."""
        if self._reader is None:
            self._reader = Reader(self._portal.call(lambda: self._inner.stdin), self._portal)
        return self._reader

    @property
    def stdout(self) -> Writer[AnyStr]:
        """What the client gets."""
        return Writer(self._portal.call(lambda: self._inner.stdout), self._portal)

    @property
    def stderr(self) -> Writer[AnyStr]:
        """The same for standard error."""
        return Writer(self._portal.call(lambda: self._inner.stderr), self._portal)

    open_agent = forwarded(AsyncServerProcess.open_agent)
    open_display = forwarded(AsyncServerProcess.open_display)

    @property
    def forwards_agent(self) -> bool:
        """Whether the client lets this session ask its agent."""
        return self._inner.forwards_agent

    @property
    def display(self) -> ClientDisplay | None:
        """The client's display, where it shows windows of this session."""
        return self._inner.display

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


class Server(Entered[server.Server]):
    """A server that runs."""

    __slots__ = ()

    stop = told(server.Server.close)
    wait_closed = forwarded(server.Server.wait_closed)

    def close(self, *, grace: float = server.GRACE) -> None:
        """Take no more, end all connections and their sessions; after ``grace`` seconds drop the rest."""
        if self._portal.is_running:
            self._portal.call(self._inner.aclose, grace=grace)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._inner.port

    @property
    def addresses(self) -> list[Any]:
        """Where it listens."""
        return self._inner.addresses


Handler: TypeAlias = Callable[[ServerProcess[Any]], int | None]
"""Serves one session, in a thread of its own; what it returns, or gives to sys.exit(), is the status."""


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    session: Handler | HandOver | None = None,
    subsystems: Mapping[str, Handler | HandOver] | None = None,
    **options: Unpack[server.ServeOptions],
) -> Server:
    """Serve in the background, as ``tellin.serve``; each session's function has its own thread."""
    portal = shared_portal()
    given: dict[str, Any] = dict(options)
    for name in ("authorize", "password", "questions"):
        function = given.get(name)
        if callable(function):
            given[name] = functools.partial(portal.in_thread, function)

    def threaded(handler: Handler | HandOver | None) -> Any:
        if not callable(handler):
            return handler

        async def serve_it(process: AsyncServerProcess[Any]) -> int | None:
            return await portal.in_thread(_status, handler, ServerProcess(process, portal))

        serve_it.__qualname__ = getattr(handler, "__qualname__", type(handler).__name__)
        return serve_it

    named = {name: threaded(handler) for name, handler in (subsystems or {}).items()}
    made = portal.call(
        server.serve, host, port, session=threaded(session), subsystems=named, **given
    )
    portal.keep(made)
    return Server(made, portal)


def _status(handler: Handler, process: ServerProcess[Any]) -> int | None:
    """What the function returns; sys.exit() in it ends the session like a program of its own."""
    try:
        return handler(process)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code
        return 1
