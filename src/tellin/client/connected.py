# SPDX-License-Identifier: MIT
"""A connection as a program has it: logged in, and ready to run commands."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Unpack, overload

from tellin import keys
from tellin.algorithms.signatures import plain as uncertified
from tellin.client.accepting import Accept
from tellin.client.arguments import Path, check_seconds, check_variables
from tellin.client.channel_owners import lose_all, tell_owner
from tellin.client.commands import (
    decoded_output,
    encoded_command,
    encoded_input,
    shown_command,
    terminal_wanted,
)
from tellin.client.connection import ClientConnection
from tellin.client.display import Display, Lent
from tellin.client.files.files import Files, open_files
from tellin.client.forwarding.forwards import Forwarding
from tellin.client.forwarding.incoming import Incoming
from tellin.client.forwarding.local_forwards import forward_here, local_forward, socks_forward
from tellin.client.forwarding.remote_forwardings import RemoteVerbs
from tellin.client.forwarding.streams import Stream
from tellin.client.forwarding.through import checked_port, socket_through
from tellin.client.hosts.learning import Learning
from tellin.client.options import Command, ConnectOptions, Input, RunOptions, StartOptions
from tellin.client.sessions.process import Completed, Plan, Process, complete
from tellin.client.sessions.remote import Remote
from tellin.config.forwards import Forward
from tellin.connection.forwarding import direct_target
from tellin.connection.requests import (
    KEEPALIVE,
    ExecRequest,
    PtyRequest,
    Request,
    ShellRequest,
    SubsystemRequest,
    X11Request,
)
from tellin.errors import ChannelRefused, ConnectionLost, TellinError, TimedOut, UsageError
from tellin.keys.public import PublicKey
from tellin.protocol import Negotiated
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import (
    ChannelAsked,
    Closed,
    GlobalReplied,
    GlobalRequested,
    Identified,
)
from tellin.runtime.loop import Loop
from tellin.runtime.opening import Opening
from tellin.runtime.redirection import Collected, Redirect, Source, Target, plain
from tellin.runtime.stream import Link
from tellin.wire import Cursor


class Driver(ClientConnection):
    """The way to a login; once there, a connection's events go to it directly.

    ``failure`` is what was raised where an event was handled before that; ``learning``, which is set
    before any event, takes what the server tells of its host keys.
    """

    failure: Exception | None = None
    learning: Learning
    _under_way = True

    def _event(self, event: Any) -> None:
        if type(event) is Identified and "OpenSSH" not in event.identification:
            # Quick acknowledgements are for a server that leaves Nagle's algorithm on.
            self._socket = None
        if type(event) is GlobalRequested:
            self.learning.told(event)
            return
        if type(event) is GlobalReplied and tell_owner(event):
            return
        try:
            super()._event(event)
        except Exception as error:
            if not self._under_way:
                raise
            self.break_off(error)

    def break_off(self, error: Exception) -> None:
        """End a login that cannot go on: whoever waits for it hears of ``error``."""
        if self.failure is None:
            self.failure = error
        cause = error if isinstance(error, TellinError) else TellinError("the login cannot go on")
        self.core.fail(cause)
        self.link.flush_soon()

    def take(self, event: Any) -> None:
        """Take what is no channel's."""
        self._event(event)

    def hand_over(self, dispatch: Callable[[Any], object]) -> None:
        """The user is in: ``dispatch`` gets all events from here on."""
        self._socket = None
        self._under_way = False
        self.link.on_event = dispatch


class Connection(RemoteVerbs):
    """A connection to a server, with a user logged in; ``tellin.connect`` makes it."""

    def __init__(
        self,
        loop: Loop,
        driver: Driver,
        *,
        host: str,
        user: str,
        connect: "Callable[..., Opening[Connection]]",
    ) -> None:
        self.loop: Loop = loop
        self.core: ClientProtocol = driver.core
        self.link: Link = driver.link
        self.host: str = host
        """The server as it was named."""
        self.incoming: Incoming = Incoming(driver.core)
        """Who takes the channels that the server opens."""
        self.user: str = user
        self.banner: str = ""
        """What the server said to whoever logs in; its own words, control characters and all."""
        self.lent: Lent = Lent()
        """What of ours programs there may use."""
        self._driver = driver
        self._connect = connect
        self._closing: asyncio.Task[None] | None = None
        self._pings: set[asyncio.Future[None]] = set()
        self.forwardings: set[Forwarding] = set()
        """What is listened on for it: all of it ends with it."""
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        where = f"{self.user}@{self.host}" if self.user else self.host
        return f"<Connection to {where}{', closed' if self.closed else ''}>"

    # What it is

    @property
    def address(self) -> tuple[str, int]:
        """Address and port of the server."""
        return self._driver.place.address, self._driver.place.port

    @property
    def host_key(self) -> PublicKey:
        """The key that the server has shown, or that is in its certificate."""
        certificate = self.host_certificate
        return PublicKey.from_blob(self.core.host_key) if certificate is None else certificate.key

    @property
    def host_certificate(self) -> "keys.Certificate | None":
        """The certificate that the server has shown, if it was asked for one and had it."""
        blob = self.core.host_key
        key_type = Cursor(blob).text()
        # Few servers have one: its class is loaded here alone.
        return None if uncertified(key_type) == key_type else keys.Certificate.from_blob(blob)

    @property
    def server_version(self) -> str:
        """The server's identification."""
        return self.core.peer_identification

    @property
    def algorithms(self) -> Negotiated | None:
        """What the two sides agreed on."""
        return self.core.algorithms

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.core.closed

    @property
    def error(self) -> TellinError | None:
        """Why it ended, if not by agreement: the first cause."""
        return self.core.error

    # Commands

    @overload
    async def run(
        self, command: Command, *, encoding: str = "utf-8", **options: Unpack[RunOptions]
    ) -> Completed[str]: ...

    @overload
    async def run(
        self, command: Command, *, encoding: None, **options: Unpack[RunOptions]
    ) -> Completed[bytes]: ...

    async def run(
        self,
        command: Command,
        *,
        encoding: str | None = "utf-8",
        errors: str = "replace",
        check: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - it also ends the command
        input: Input | None = None,  # noqa: A002 - the name that subprocess gave it
        stdin: Source = None,
        stdout: Target = None,
        stderr: Target = None,
        env: Mapping[str, str] | None = None,
        term: str | None = None,
        term_size: tuple[int, int] = (80, 24),
        term_modes: Mapping[int, int] | None = None,
        x11: bool | Display = False,
    ) -> Completed[Any]:
        """Run a command to its end; all of its output comes with the result, or goes where it is sent.

        Without ``input`` and ``stdin`` its input is empty. ``check`` raises CommandFailed for any
        status but 0. When ``timeout`` is over (TimedOut), or the coroutine is cancelled, the
        command is told to end and its channel is closed; TimedOut has in ``completed`` what it had
        written until then. ``x11`` lets what runs there show windows here: see Display.
        """
        check_seconds(timeout=timeout)
        if input is not None and stdin is not None:
            raise UsageError("input and stdin are two ways to say the same")
        # As ``subprocess.run`` has it, a pipe is what is collected, and empty as input.
        pipes = (None, Redirect.PIPE)
        output = Collected() if plain(stdout) in pipes else None
        extended = Collected() if plain(stderr) in pipes else None
        plan = Plan(
            stdin=Redirect.DEVNULL if plain(stdin) in pipes else stdin,
            stdout=output or stdout,
            stderr=extended or stderr,
            encoding=encoding,
            errors=errors,
            data=b"" if input is None else encoded_input(input, encoding),
        )
        remote = self._remote(
            ExecRequest(encoded_command(command)),
            env,
            terminal_wanted(term, term_size, term_modes),
            await self._show(x11),
        )
        try:
            plan.wire(remote)
            remote.launch()
            if timeout is None:
                await remote.done
            else:
                async with asyncio.timeout(timeout):
                    await remote.done
        except TimeoutError:
            remote.abandon()
            raise TimedOut(
                f"{self.host}: {shown_command(command)!r} has not ended within {timeout:g} s",
                completed=complete(
                    remote,
                    shown_command(command),
                    decoded_output(output, encoding, "replace"),
                    decoded_output(extended, encoding, "replace"),
                ),
            ) from None
        except BaseException:
            remote.abandon()
            raise
        remote.check()
        completed: Completed[Any] = complete(
            remote,
            shown_command(command),
            decoded_output(output, encoding, errors),
            decoded_output(extended, encoding, errors),
        )
        if check:
            completed.check()
        return completed

    @overload
    def start(
        self, command: Command, *, encoding: str = "utf-8", **options: Unpack[StartOptions]
    ) -> Opening[Process[str]]: ...

    @overload
    def start(
        self, command: Command, *, encoding: None, **options: Unpack[StartOptions]
    ) -> Opening[Process[bytes]]: ...

    def start(
        self,
        command: Command,
        *,
        encoding: str | None = "utf-8",
        errors: str = "replace",
        stdin: Source = Redirect.PIPE,
        stdout: Target = Redirect.PIPE,
        stderr: Target = Redirect.PIPE,
        env: Mapping[str, str] | None = None,
        term: str | None = None,
        term_size: tuple[int, int] = (80, 24),
        term_modes: Mapping[int, int] | None = None,
        x11: bool | Display = False,
    ) -> Opening[Process[Any]]:
        """Start a command; await this for the process, or enter it to have it closed in the end."""
        plan = Plan(stdin=stdin, stdout=stdout, stderr=stderr, encoding=encoding, errors=errors)
        request = ExecRequest(encoded_command(command))
        terminal = terminal_wanted(term, term_size, term_modes)
        return Opening(
            lambda: self._start(request, shown_command(command), plan, env, terminal, x11=x11)
        )

    @overload
    def shell(
        self, *, encoding: str = "utf-8", **options: Unpack[StartOptions]
    ) -> Opening[Process[str]]: ...

    @overload
    def shell(
        self, *, encoding: None, **options: Unpack[StartOptions]
    ) -> Opening[Process[bytes]]: ...

    def shell(
        self,
        *,
        encoding: str | None = "utf-8",
        errors: str = "replace",
        stdin: Source = Redirect.PIPE,
        stdout: Target = Redirect.PIPE,
        stderr: Target = Redirect.PIPE,
        env: Mapping[str, str] | None = None,
        term: str | None = None,
        term_size: tuple[int, int] = (80, 24),
        term_modes: Mapping[int, int] | None = None,
        x11: bool | Display = False,
    ) -> Opening[Process[Any]]:
        """Start the user's shell; with ``term`` on a terminal."""
        plan = Plan(stdin=stdin, stdout=stdout, stderr=stderr, encoding=encoding, errors=errors)
        terminal = terminal_wanted(term, term_size, term_modes)
        return Opening(lambda: self._start(ShellRequest(), "", plan, env, terminal, x11=x11))

    def subsystem(
        self,
        name: str,
        *,
        stdin: Source = Redirect.PIPE,
        stdout: Target = Redirect.PIPE,
        stderr: Target = Redirect.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> Opening[Process[bytes]]:
        """Start a subsystem, such as ``sftp``; its streams are bytes."""
        plan = Plan(stdin=stdin, stdout=stdout, stderr=stderr)
        request = SubsystemRequest(name)
        return Opening(lambda: self._start(request, name, plan, env, None))

    def sftp(self) -> Opening[Files]:
        """The files of the other side: await this for them, or enter it to have them closed in the end."""
        if self.core.closed:
            raise self._lost()
        return Opening(lambda: open_files(self))

    def _remote(
        self,
        request: Request,
        env: Mapping[str, str] | None,
        terminal: PtyRequest | None,
        shown: X11Request | None,
    ) -> Remote:
        check_variables(env)
        if self.core.closed:
            raise self._lost()
        lent = self.lent.agent and not isinstance(request, SubsystemRequest)
        return Remote(
            self, request, environment=env, terminal=terminal, lends_agent=lent, shown=shown
        )

    async def _show(self, x11: bool | Display) -> X11Request | None:
        """Ready a display for a session that begins."""
        if x11 is False:
            return None
        self.check_open()
        # Few programs show windows.
        from tellin.client.display_lending import show  # noqa: PLC0415  (start-up time)

        return await show(self, Display() if x11 is True else x11)

    async def _start(
        self,
        request: Request,
        command: str,
        plan: Plan,
        env: Mapping[str, str] | None,
        terminal: PtyRequest | None,
        *,
        x11: bool | Display = False,
    ) -> Process[Any]:
        remote = self._remote(request, env, terminal, await self._show(x11))
        remote.started = asyncio.get_running_loop().create_future()
        try:
            stdin, stdout, stderr = plan.wire(remote)
            remote.launch()
            await remote.started
        except BaseException:
            remote.abandon()
            raise
        remote.check()
        return Process(remote, command, stdin=stdin, stdout=stdout, stderr=stderr)

    # Connections that the server makes

    def open_connection(self, host: str, port: int) -> Opening[Stream]:
        """Let the server connect to ``host`` and ``port``, as it knows them (``direct-tcpip``).

        Await this for a Stream of bytes, or enter it to have it closed in the end. Raises
        ChannelRefused where the server does not want to, or could not connect.
        """
        return Opening(lambda: self._open_stream(*direct_target(host, checked_port(port), "")))

    def open_unix_connection(self, path: str) -> Opening[Stream]:
        """The same, to a socket of the server's file system (``direct-streamlocal@openssh.com``)."""
        return Opening(lambda: self._open_stream(*direct_target("", 0, path)))

    async def _open_stream(self, channel_type: str, data: bytes) -> Stream:
        if self.core.closed:
            raise self._lost()
        stream = Stream(self, self.core.open_channel(channel_type, data))
        try:
            await stream.opening
        except BaseException:
            stream.close()
            raise
        return stream

    async def open_socket(self, host: str, port: int) -> socket.socket:
        """The same as ``open_connection``, as a connected socket for whoever needs a real one.

        It is one end of a pair of local sockets, never waits, and belongs to the caller; what goes
        through it is moved by this loop. It is what ``tellin.connect(..., sock=)`` takes, for a
        connection through this one.
        """
        if self.core.closed:
            raise self._lost()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def opened() -> None:
            if not answer.done():
                answer.set_result(None)

        def failed(error: TellinError) -> None:
            if not answer.done():
                answer.set_exception(error)

        made = socket_through(
            self.loop,
            self.core,
            self.link,
            direct_target(host, checked_port(port), ""),
            on_opened=opened,
            on_failed=lambda event: failed(
                self._lost()
                if event is None
                else ChannelRefused(event.reason, event.description, host=self.host)
            ),
        )
        try:
            await answer
        except BaseException:
            made.close()
            raise
        whole = socket.socket(fileno=made.detach())
        whole.setblocking(False)
        return whole

    # What is forwarded

    def forward_local(
        self,
        listen: int | Path,
        host: Path,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        accept: Accept | None = None,
    ) -> Opening[Forwarding]:
        """Listen here, and lead what comes there to ``host`` and ``port`` as the server knows them.

        ``listen`` is a port, 0 for any that is free, or the path of a socket; without ``port``,
        ``host`` is the path of a socket of the server's. A port is listened on at this machine's own
        addresses alone, unless ``listen_host`` says otherwise ("" is every address). Await this for a
        Forwarding, or enter it to have it closed in the end. Raises OSError where nothing can be
        listened on; whoever connects and cannot be led on hears a reset, and so does whom ``accept``, a
        function or coroutine function of his address and port, does not let through by saying True.
        """
        asked = local_forward(listen, host, port, listen_host=listen_host)
        return Opening(lambda: self._forward(asked, accept))

    def socks(
        self,
        listen: int | Path = 0,
        *,
        listen_host: str | None = None,
        accept: Accept | None = None,
    ) -> Opening[Forwarding]:
        """The same, where each connection says by SOCKS (4, 4a or 5) where it wants to go."""
        asked = socks_forward(listen, listen_host=listen_host)
        return Opening(lambda: self._forward(asked, accept))

    async def _forward(self, asked: Forward, accept: Accept | None) -> Forwarding:
        self.check_open()
        made = await forward_here(self, asked, accept=accept, on_ended=self.forwardings.discard)
        self.forwardings.add(made)
        if self.core.closed:
            made.ended(self._lost())
        return made

    def connect(self, host: str, **options: Unpack[ConnectOptions]) -> "Opening[Connection]":
        """Connect to another host through this one, which leads there by a channel.

        It is ``tellin.connect`` in all else: the same arguments, the configuration of that host, its
        keys checked here. What this connection's server sees of it is encrypted. This one stays, and
        ends the other one where it ends.
        """
        if options.get("sock") is not None:
            raise UsageError(
                "a socket of its own leads around this connection, and not through it"
            )
        options["sock"] = self
        return self._connect(host, **options)

    def check_open(self) -> None:
        """Raise ConnectionLost where it is over."""
        if self.core.closed:
            raise self._lost()

    # The connection itself

    async def ping(self) -> float:
        """The seconds that an answer takes; any server gives one."""
        if self.core.closed:
            raise self._lost()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        began = loop.time()
        self._pings.add(answer)

        def answered(_: GlobalReplied) -> None:
            # Any answer, also no, is a sign of life.
            if not answer.done():
                answer.set_result(None)

        self.core.request(KEEPALIVE, token=answered)
        self.link.flush_soon()
        try:
            await answer
        finally:
            self._pings.discard(answer)
        return loop.time() - began

    def rekey(self) -> None:
        """Ask for new keys now."""
        self.core.rekey()
        self.link.flush_soon()

    def close(self) -> None:
        """Say goodbye; what still runs is given up."""
        if not self.core.closed:
            self._driver.quit()
            self.link.flush()

    async def wait_closed(self) -> None:
        """Wait until the connection is over, whoever ends it."""
        await asyncio.shield(self._over)

    async def wait_gone(self) -> None:
        """Wait until nothing can be asked of it any more; its last bytes may still be leaving."""
        await asyncio.shield(self._gone)

    async def aclose(self) -> None:
        """Say goodbye, and wait until it has left."""
        self.close()
        await self.wait_closed()

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Events

    def dispatch(self, event: Any) -> None:
        """Take an event of the core's, once the user is in: the way that all of a session go."""
        if not tell_owner(event):
            self._driver.take(event)

    def handle(self, event: Any) -> None:
        """Take an event that belongs to no channel."""
        if isinstance(event, Closed):
            self._closed()
        elif isinstance(event, ChannelAsked):
            self.incoming.asked(event)
            self.link.flush_soon()

    def say(self, text: str) -> None:
        """Keep what the server says before the login."""
        self.banner += text

    def close_behind(self, closing: Coroutine[Any, Any, None]) -> None:
        """The socket is closed: it is over when what it went by is let go of, too."""
        self._closing = asyncio.get_running_loop().create_task(closing)
        self._closing.add_done_callback(lambda _: self.ended())

    def ended(self) -> None:
        """The socket is closed."""
        if not self._over.done():
            self._over.set_result(None)

    def _lost(self) -> ConnectionLost:
        error = self.core.error
        said = "the connection was closed" if error is None else f"the connection ended: {error}"
        lost = ConnectionLost(f"{self.host}: {said}", stage="session")
        lost.__cause__ = error
        return lost

    def _closed(self) -> None:
        lost = self._lost()
        if not self._gone.done():
            self._gone.set_result(None)
        lose_all(self.core, lost)
        if self.far is not None:
            self.far.close()
        for forwarding in list(self.forwardings):
            forwarding.ended(lost)
        for answer in self._pings:
            if not answer.done():
                answer.set_exception(lost)
