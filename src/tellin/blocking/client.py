# SPDX-License-Identifier: MIT
"""Connections and their processes for threads, as ``tellin.connect`` makes them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, AnyStr, Final, Generic, TypedDict, Unpack, overload

from tellin import keys
from tellin.blocking.faces import Entered, closing, forwarded, in_thread, told
from tellin.blocking.files import Files
from tellin.blocking.streams import Reader, Writer, turned, unwrapped
from tellin.client import connect as client
from tellin.client.arguments import Path
from tellin.client.connected import Connection as AsyncConnection
from tellin.client.forwarding.forwards import Forwarding as AsyncForwarding
from tellin.client.forwarding.remote_forwardings import Listener as AsyncListener
from tellin.client.forwarding.remote_forwards import ANYWHERE
from tellin.client.forwarding.streams import Stream as AsyncStream
from tellin.client.options import Command, ConnectOptions, OutcomeOptions, SessionOptions
from tellin.client.sessions.process import Completed
from tellin.client.sessions.process import Process as AsyncProcess
from tellin.errors import TellinError, UsageError
from tellin.keys.public import PublicKey
from tellin.protocol import Negotiated
from tellin.runtime.portal import shared_portal
from tellin.runtime.redirection import Source, Target

_ASKED: Final = ("host_keys", "password", "questions", "change_password", "passphrase")


class Process(Entered[AsyncProcess[AnyStr]], Generic[AnyStr]):
    """A command that runs on the other side."""

    __slots__ = ("_readers",)

    def _prepare(self) -> None:
        self._readers: dict[str, Reader[AnyStr]] = {}

    resize = told(AsyncProcess.resize)
    send_signal = told(AsyncProcess.send_signal)
    send_break = told(AsyncProcess.send_break)
    terminate = told(AsyncProcess.terminate)
    kill = told(AsyncProcess.kill)
    close = closing(AsyncProcess.aclose)

    @property
    def command(self) -> str:
        """What runs; empty for a shell, the name of a subsystem."""
        return self._inner.command

    def wait(self, *, check: bool = False, timeout: float | None = None) -> Completed[AnyStr]:
        """Wait for the end; unread output comes with the result."""
        return self._completed(self._inner.wait, check=check, timeout=timeout)

    def communicate(
        self,
        input: AnyStr | bytearray | memoryview | None = None,  # noqa: A002 - as subprocess
        *,
        check: bool = False,
        timeout: float | None = None,
    ) -> Completed[AnyStr]:
        """Write ``input`` and its end, and wait: both outputs are kept meanwhile, so nothing can block."""
        return self._completed(self._inner.communicate, input, check=check, timeout=timeout)

    def _completed(
        self, method: Callable[..., Any], *words: Any, **named: Any
    ) -> Completed[AnyStr]:
        for reader in self._readers.values():
            reader._whole()
        completed: Completed[AnyStr] = self._portal.call(method, *words, **named)
        return completed

    def _reader(self, name: str) -> Reader[AnyStr]:
        """One for each stream: it may have lines in store."""
        reader = self._readers.get(name)
        if reader is None:
            reader = Reader(getattr(self._inner, name), self._portal)
            reader = self._readers.setdefault(name, reader)
        return reader

    @property
    def stdin(self) -> Writer[AnyStr]:
        """The command's input."""
        return Writer(self._inner.stdin, self._portal)

    @property
    def stdout(self) -> Reader[AnyStr]:
        """The command's output."""
        return self._reader("stdout")

    @property
    def stderr(self) -> Reader[AnyStr]:
        """What the command writes to standard error."""
        return self._reader("stderr")

    @property
    def exit_status(self) -> int | None:
        """The status it ended with, as soon as that is known."""
        return self._inner.exit_status

    @property
    def exit_signal(self) -> str | None:
        """The signal that ended it, without SIG."""
        return self._inner.exit_signal


class Stream(Entered[AsyncStream]):
    """A connection that the server has made: bytes both ways, each with its own end."""

    __slots__ = ("reader", "writer")

    def _prepare(self) -> None:
        self.reader: Reader[bytes] = Reader(self._inner.reader, self._portal)
        self.writer: Writer[bytes] = Writer(self._inner.writer, self._portal)

    close = closing(AsyncStream.aclose)

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, or all to the end; empty at the end."""
        return self.reader.read(size)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it; ``writer.close()`` says that nothing more comes."""
        self.writer.write(data)


class Forwarding(Entered[AsyncForwarding]):
    """A port or a socket that is listened on, here or on the server."""

    __slots__ = ()

    close = closing(AsyncForwarding.aclose)
    wait_closed = forwarded(AsyncForwarding.wait_closed)

    @property
    def host(self) -> str:
        """The address that is listened on, as it was asked for."""
        return self._inner.host

    @property
    def port(self) -> int:
        """The port that is listened on; 0 for a socket's path."""
        return self._inner.port

    @property
    def path(self) -> str:
        """The socket that is listened on; empty for a port."""
        return self._inner.path

    @property
    def closed(self) -> bool:
        """Whether it was closed, or has ended by itself."""
        return self._inner.closed

    @property
    def error(self) -> TellinError | None:
        """Why it ended, where nobody here closed it."""
        return self._inner.error


class Listener(Forwarding):
    """What comes to a place of the server, as Streams: one by one, or in a ``for``."""

    __slots__ = ()

    def accept(self) -> Stream:
        """Wait for the next connection."""
        return Stream(self._portal.call(AsyncListener.accept, self._inner), self._portal)

    def __iter__(self) -> Iterator[Stream]:
        while not self.closed:
            try:
                stream = self.accept()
            except UsageError:
                # Closed by another thread.
                return
            yield stream


class StreamOptions(TypedDict, total=False):
    """Where a session's streams come from and go to: also streams of this interface."""

    stdin: Source | Reader[Any]
    stdout: Target | Writer[Any]
    stderr: Target | Writer[Any]


class StartOptions(SessionOptions, StreamOptions, total=False):
    """How a process is started; what each of them does stands with ``tellin.Connection.start``."""


class RunOptions(StartOptions, OutcomeOptions, total=False):
    """The same for ``run``."""


class SubsystemOptions(StreamOptions, total=False):
    """The same for ``subsystem``."""

    env: Mapping[str, str] | None


class Connection(Entered[AsyncConnection]):
    """A connection to a server, with a user logged in."""

    __slots__ = ()

    ping = forwarded(AsyncConnection.ping)
    rekey = told(AsyncConnection.rekey)
    close = closing(AsyncConnection.aclose)
    wait_closed = forwarded(AsyncConnection.wait_closed)
    wait_gone = forwarded(AsyncConnection.wait_gone)

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
        """Run a command to its end, as ``tellin.Connection.run``.

        Functions and objects that its streams go to or come from are called in this thread, one
        piece after the other, and what they raise ends the command.
        """
        named, asked = unwrapped(options, waits=True, encoding=encoding)
        completed: Completed[Any] = self._portal.call(
            self._inner.run, command, encoding=encoding, asked=asked, **named
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
        return self._process(self._inner.start, command, options, encoding=encoding)

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
        return self._process(self._inner.shell, None, options, encoding=encoding)

    def subsystem(self, name: str, **options: Unpack[SubsystemOptions]) -> Process[bytes]:
        """Start a subsystem, as ``tellin.Connection.subsystem``."""
        return self._process(self._inner.subsystem, name, options)

    def sftp(self) -> Files:
        """The files of the other side, as ``tellin.Connection.sftp``."""
        return Files(self._portal.call(self._inner.sftp), self._portal)

    def _process(
        self,
        start: Callable[..., Any],
        what: Command | None,
        options: Mapping[str, Any],
        **named: Any,
    ) -> Process[Any]:
        words = () if what is None else (what,)
        given, _ = unwrapped(options, waits=False)
        return Process(self._portal.call(start, *words, **given, **named), self._portal)

    def connect(self, host: str, **options: Unpack[ConnectOptions]) -> "Connection":
        """Connect to another host through this one, as ``tellin.Connection.connect``."""
        return _connected(self._inner.connect, host, options)

    open_socket = forwarded(AsyncConnection.open_socket)

    def open_connection(self, host: str, port: int) -> Stream:
        """Let the server connect, as ``tellin.Connection.open_connection``."""
        return Stream(self._portal.call(self._inner.open_connection, host, port), self._portal)

    def open_unix_connection(self, path: str) -> Stream:
        """The same, to a socket of the server's file system."""
        return Stream(self._portal.call(self._inner.open_unix_connection, path), self._portal)

    def forward_local(
        self,
        listen: int | Path,
        host: Path,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        accept: Callable[[str, int], bool] | None = None,
    ) -> Forwarding:
        """Lead what comes here to the other side, as ``tellin.Connection.forward_local``.

        ``accept`` is called in a thread of its own for each who connects.
        """
        made = self._portal.call(
            self._inner.forward_local,
            listen,
            host,
            port,
            listen_host=listen_host,
            accept=in_thread(self._portal, accept),
        )
        return Forwarding(made, self._portal)

    def socks(
        self,
        listen: int | Path = 0,
        *,
        listen_host: str | None = None,
        accept: Callable[[str, int], bool] | None = None,
    ) -> Forwarding:
        """The same, where each connection says by SOCKS where it wants to go."""
        made = self._portal.call(
            self._inner.socks,
            listen,
            listen_host=listen_host,
            accept=in_thread(self._portal, accept),
        )
        return Forwarding(made, self._portal)

    def forward_remote(
        self,
        listen: int | Path = 0,
        host: Path | None = None,
        port: int | None = None,
        *,
        listen_host: str | None = None,
        permit_open: Sequence[str] = ANYWHERE,
    ) -> Forwarding:
        """Have the server listen and lead what comes there here, as ``tellin.Connection.forward_remote``."""
        made = self._portal.call(
            self._inner.forward_remote,
            listen,
            host,
            port,
            listen_host=listen_host,
            permit_open=permit_open,
        )
        return Forwarding(made, self._portal)

    def listen(self, host: str | None = None, port: int = 0) -> Listener:
        """Have the server listen, and take what comes there, as ``tellin.Connection.listen``."""
        return Listener(self._portal.call(self._inner.listen, host, port), self._portal)

    def listen_unix(self, path: Path) -> Listener:
        """The same on a socket of the server's file system."""
        return Listener(self._portal.call(self._inner.listen_unix, path), self._portal)

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
    def host_certificate(self) -> "keys.Certificate | None":
        """The certificate that the server has shown, if it was asked for one and had it."""
        return self._inner.host_certificate

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


def connect(host: str, **options: Unpack[ConnectOptions]) -> Connection:
    """Connect and log in, as ``tellin.connect``; close it, or use it in a ``with``."""
    return _connected(client.connect, host, options)


def _connected(connect: Callable[..., Any], host: str, options: Mapping[str, Any]) -> Connection:
    portal = shared_portal()
    named: dict[str, Any] = dict(options)
    asked = {name: turned(named.pop(name)) for name in _ASKED if callable(named.get(name))}
    made = portal.call(connect, host, asked=asked, **named)
    portal.keep(made)
    return Connection(made, portal)
