# SPDX-License-Identifier: MIT
"""Connections that say by SOCKS where they want to go, for ``ssh -D``."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from tellin.connection.channel import Channel
from tellin.connection.socks import SocksRequest
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import ProtocolError
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.tunnels import reset

# Who says nothing for so long wants nothing.
PATIENCE = 60.0


class Sink(Protocol):
    """What takes the data of a channel."""

    def take(self, views: list[memoryview]) -> int:
        """Take what came."""


class SocksEntry:
    """One connection, until it has said where it wants to go; ``lead`` then has it."""

    __slots__ = (
        "_alarm",
        "_journal",
        "_lead",
        "_loop",
        "_on_over",
        "_partial",
        "_request",
        "_stream",
    )

    def __init__(
        self,
        loop: Loop,
        stream: Socket,
        journal: Journal,
        *,
        lead: Callable[[Socket, SocksRequest], object],
        on_over: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._journal = journal
        self._lead = lead
        self._on_over = on_over
        self._request = SocksRequest()
        self._partial = b""
        self._alarm = loop.call_later(PATIENCE, self.close)
        loop.add_reader(stream.fileno(), self._readable)

    def close(self, *, hard: bool = False) -> None:
        """Send it away; ``hard`` by a reset."""
        self._leave()
        if hard:
            reset(self._stream)
        self._stream.close()

    def _leave(self) -> None:
        self._alarm.cancel()
        self._loop.remove_reader(self._stream.fileno())
        self._on_over()

    def _readable(self) -> None:
        request, stream = self._request, self._stream
        try:
            while request.target is None:
                piece = stream.recv(request.wanted - len(self._partial))
                if not piece:
                    self.close()
                    return
                self._partial += piece
                if len(self._partial) == request.wanted:
                    whole, self._partial = self._partial, b""
                    if answer := request.feed(whole):
                        stream.send(answer)
        except (BlockingIOError, InterruptedError):
            return
        except ProtocolError as error:
            self._journal.debug(str(error))
            if request.last_word:
                with suppress(OSError):
                    stream.send(request.last_word)
            self.close()
        except OSError:
            self.close()
        else:
            self._leave()
            self._lead(stream, request)


class Granting:
    """Stands before a tunnel's sink until the yes has been said: nothing may come before it."""

    __slots__ = ("_channel", "_request", "_sink", "_stream")

    def __init__(self, channel: Channel, stream: Socket, request: SocksRequest) -> None:
        self._channel = channel
        self._stream = stream
        self._request = request
        sink = channel.sink
        assert sink is not None
        self._sink: Sink = sink
        channel.sink = self

    def take(self, views: list[memoryview]) -> int:
        """The server has spoken before we have heard that the channel is open."""
        self.grant()
        return self._sink.take(views)

    def grant(self) -> None:
        """Say yes, once."""
        if self._channel.sink is self:
            self._channel.sink = self._sink
            # A few bytes into an empty buffer; who has gone away is found out by the tunnel.
            with suppress(OSError):
                self._stream.send(self._request.granted())

    def refuse(self, event: Any) -> None:
        """Say no."""
        prohibited = event.reason == Reason.ADMINISTRATIVELY_PROHIBITED
        with suppress(OSError):
            self._stream.send(self._request.refused(prohibited=prohibited))
