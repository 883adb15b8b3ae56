# SPDX-License-Identifier: MIT
"""A command on the other side: its streams, how it ended, and what came of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, AnyStr, Final, Generic, TypeVar

from tellin.client.arguments import check_seconds
from tellin.client.sessions.remote import Remote
from tellin.connection.requests import BreakRequest, WindowChange
from tellin.errors import CommandFailed, ConnectionLost, TimedOut, UsageError
from tellin.runtime.channel_streams import Reader, Writer, check_encoding, decoder_for
from tellin.runtime.pumps import FdSource
from tellin.runtime.redirection import DISCARD, Collected, Redirect, plain
from tellin.userauth.text import escape_text

_BREAK_MILLISECONDS: Final = 1000
# How long a server may take to say that a channel is gone: some wait for the command's own end.
_CLOSING_SECONDS: Final = 10.0

# How much of a command's complaint stands in its error.
_SHOWN: Final = 200

T = TypeVar("T")


class Completed(Generic[AnyStr]):
    """What came of a command: what it wrote, how it ended, how long it took (seconds)."""

    __slots__ = ("command", "duration", "exit_signal", "exit_status", "host", "stderr", "stdout")

    def __init__(
        self,
        command: str,
        *,
        host: str,
        stdout: AnyStr,
        stderr: AnyStr,
        exit_status: int | None,
        exit_signal: str | None,
        duration: float,
    ) -> None:
        self.command: str = command
        self.host: str = host
        self.stdout: AnyStr = stdout
        self.stderr: AnyStr = stderr
        self.exit_status: int | None = exit_status
        """None when a signal ended it, or the server did not say."""
        self.exit_signal: str | None = exit_signal
        """The signal's name without SIG."""
        self.duration: float = duration

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0."""
        return self.exit_status == 0

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.exit_signal is not None:
            return f"was ended by signal {self.exit_signal}"
        if self.exit_status is None:
            return "ended without a status"
        return f"ended with status {self.exit_status}"

    def check(self) -> None:
        """Raise CommandFailed unless it ended with status 0."""
        if not self.ok:
            raise CommandFailed(
                f"{self.host}: {self.command!r} {self.ending}",
                completed=self,
                hint=_last_line(self.stderr),
            )

    def __repr__(self) -> str:
        return (
            f"<Completed {self.command!r} on {self.host}: {self.ending},"
            f" {len(self.stdout)} + {len(self.stderr)} written>"
        )


def _last_line(errors: str | bytes) -> str:
    """The last of what a command has complained of, safe to show."""
    text = (
        errors[-_SHOWN:]
        if isinstance(errors, str)
        else errors[-_SHOWN:].decode("utf-8", "replace")
    )
    lines = text.split("\n")
    return escape_text(next((line.strip() for line in reversed(lines) if line.strip()), ""))


def complete(remote: Remote, command: str, stdout: AnyStr, stderr: AnyStr) -> Completed[AnyStr]:
    """What came of a command that has ended."""
    return Completed(
        command,
        host=remote.carrier.host,
        stdout=stdout,
        stderr=stderr,
        exit_status=remote.exit_status,
        exit_signal=remote.exit_signal,
        duration=asyncio.get_running_loop().time() - remote.began,
    )


class Process(Generic[AnyStr]):
    """A command that runs on the other side; made by ``Connection.start``, ``shell``, ``subsystem``."""

    __slots__ = ("_remote", "_stderr", "_stdin", "_stdout", "command")

    def __init__(
        self,
        remote: Remote,
        command: str,
        *,
        stdin: Writer[AnyStr] | None,
        stdout: Reader[AnyStr] | None,
        stderr: Reader[AnyStr] | None,
    ) -> None:
        self.command: str = command
        self._remote = remote
        self._stdin: Writer[AnyStr] | None = stdin
        self._stdout: Reader[AnyStr] | None = stdout
        self._stderr: Reader[AnyStr] | None = stderr

    @property
    def stdin(self) -> Writer[AnyStr]:
        """The command's input."""
        return _present(self._stdin, "input")

    @property
    def stdout(self) -> Reader[AnyStr]:
        """The command's output."""
        return _present(self._stdout, "output")

    @property
    def stderr(self) -> Reader[AnyStr]:
        """What the command writes to standard error; nothing if it has a terminal."""
        return _present(self._stderr, "standard error")

    @property
    def exit_status(self) -> int | None:
        """The status it ended with, as soon as that is known."""
        return self._remote.exit_status

    @property
    def exit_signal(self) -> str | None:
        """The signal that ended it, without SIG."""
        return self._remote.exit_signal

    async def wait(
        self,
        *,
        check: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Completed[AnyStr]:
        """Wait for the end; unread output is kept, and comes with the result.

        With ``timeout`` raises TimedOut after so many seconds; the command goes on. Its input is
        left as it is: a command that reads it to the end has to be given one.
        """
        check_seconds(timeout=timeout)
        for reader in (self._stdout, self._stderr):
            if reader is not None:
                reader.drain()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._remote.done)
        except TimeoutError:
            raise TimedOut(f"{self.command!r} has not ended within {timeout:g} s") from None
        self._remote.check()
        rest = [_rest(reader) for reader in (self._stdout, self._stderr)]
        completed: Completed[Any] = complete(self._remote, self.command, *rest)
        if check:
            completed.check()
        return completed

    async def communicate(
        self,
        input: AnyStr | bytearray | memoryview | None = None,  # noqa: A002 - as subprocess
        *,
        check: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Completed[AnyStr]:
        """Write ``input`` and its end, and wait: both outputs are kept meanwhile, so nothing can block."""
        if self._stdin is not None:
            if input:
                # A command that has ended takes no input: how it ended is what is told.
                with suppress(ConnectionLost):
                    self._stdin.put(input)
            self._stdin.end()
        elif input is not None:
            raise UsageError("the input was redirected")
        return await self.wait(check=check, timeout=timeout)

    def resize(
        self, columns: int, rows: int, *, width_pixels: int = 0, height_pixels: int = 0
    ) -> None:
        """Its terminal has another size now."""
        self._remote.ask(WindowChange(columns, rows, width_pixels, height_pixels))

    def send_signal(self, name: str) -> None:
        """Send a signal: INT, TERM, KILL, USR1 and so on, without SIG."""
        self._remote.signal(name.removeprefix("SIG"))

    def send_break(self, milliseconds: int = _BREAK_MILLISECONDS) -> None:
        """Send a BREAK (RFC 4335)."""
        self._remote.ask(BreakRequest(milliseconds))

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal("TERM")

    def kill(self) -> None:
        """Make it end."""
        self.send_signal("KILL")

    def close(self) -> None:
        """Give it up: it is told to end, and nothing more is read or written."""
        self._remote.abandon()

    async def aclose(self) -> None:
        """The same, and wait until the channel is gone, but not longer than ten seconds."""
        self.close()
        await asyncio.wait([self._remote.done], timeout=_CLOSING_SECONDS)

    async def __aenter__(self) -> "Process[AnyStr]":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _present(stream: T | None, what: str) -> T:
    if stream is None:
        raise UsageError(f"the {what} was redirected")
    return stream


def _rest(reader: "Reader[Any] | None") -> Any:
    return b"" if reader is None else reader.rest()


class Plan:
    """Where the streams of a process go, worked out before its channel is opened.

    Redirect.PIPE is a stream to read or write; a ``Collected`` keeps output for the result.
    """

    __slots__ = ("_begin", "_data", "_encoding", "_errors", "_stderr", "_stdin", "_stdout")

    def __init__(
        self,
        *,
        stdin: object,
        stdout: object,
        stderr: object,
        encoding: str | None = None,
        errors: str = "replace",
        data: bytes | bytearray | memoryview = b"",
    ) -> None:
        self._stdin = plain(stdin)
        self._stdout = plain(stdout)
        self._stderr = plain(stderr)
        self._encoding = encoding
        self._errors = errors
        self._data = data
        self._begin: Callable[[], FdSource | None] | None = None
        check_encoding(encoding)
        if self._stdin is Redirect.STDOUT or self._stdout is Redirect.STDOUT:
            raise UsageError("only standard error can go where standard output goes")
        if isinstance(self._stdin, Reader):
            self._stdin.check_bytes()

    def wire(
        self, remote: Remote
    ) -> tuple[Writer[Any] | None, Reader[Any] | None, Reader[Any] | None]:
        """Join the streams of ``remote`` to their ends; those that are pipes come back."""
        writer: Writer[Any] | None = None
        if self._data or self._stdin is not Redirect.DEVNULL:
            remote.writer = writer = Writer[Any](
                remote.channel,
                remote.carrier.link,
                encoding=self._encoding,
                on_ended=remote.send_eof,
            )
        redirected = self._stdin is not Redirect.DEVNULL and self._stdin is not Redirect.PIPE
        if writer is not None and not self._data and redirected:
            self._begin = remote.make_ends().input(self._stdin, writer)
        remote.on_opened = lambda: self._feed(remote)
        output = self._output(remote, self._stdout, extended=False)
        if self._stderr is Redirect.STDOUT:
            remote.channel.extended_sink = remote.channel.sink
            errors = None
        else:
            errors = self._output(remote, self._stderr, extended=True)
            if output is not None and errors is not None:
                output.pair_with(errors)
        return remote.writer if self._stdin is Redirect.PIPE else None, output, errors

    def _feed(self, remote: Remote) -> None:
        """The channel is open: input may go."""
        writer, begin = remote.writer, self._begin
        if writer is None:
            remote.send_eof()
        elif self._data:
            writer.put(self._data)
            writer.end()
        elif begin is not None:
            pump = begin()
            remote.source = pump
            if pump is not None:
                pump.start()

    def _output(self, remote: Remote, target: object, *, extended: bool) -> Reader[Any] | None:
        if target is Redirect.DEVNULL:
            remote.collect(DISCARD, extended=extended)
            return None
        if target is Redirect.PIPE:
            reader = Reader[Any](
                remote.channel,
                remote.carrier.link,
                decoder=decoder_for(self._encoding, self._errors),
            )
            remote.collect(reader, extended=extended)
            return reader
        if isinstance(target, Collected):
            remote.collect(target, extended=extended)
            return None
        remote.unfinished += 1
        try:
            text = decoder_for(self._encoding or "utf-8", self._errors)
            remote.collect(remote.make_ends().output(target, text), extended=extended)
        except BaseException:
            remote.unfinished -= 1
            raise
        return None
