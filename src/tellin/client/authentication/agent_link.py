# SPDX-License-Identifier: MIT
"""Talking to an agent, or to a helper whose frames are an agent's, on a loop."""

from collections.abc import Callable
from typing import Final

from tellin.agent.client import AgentConversation, Replied
from tellin.errors import MalformedPacket
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.wire import Message

_READ: Final = 64 * 1024


class AgentLink:
    """A connection to an agent on a loop; requests may be made at any time and are answered in order.

    ``on_close`` is called when it has ended, before those who wait are told.
    """

    def __init__(
        self,
        loop: Loop,
        stream: Socket,
        conversation: AgentConversation | None = None,
        *,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._conversation = conversation or AgentConversation()
        self._on_close = on_close
        self._unsent = b""
        self._open = True
        stream.setblocking(False)
        loop.add_reader(stream.fileno(), self._readable)

    def ask(self, request: Message, done: Replied) -> None:
        """Ask; ``done`` gets the reply, or None if there will be none."""
        if not self._open:
            done(None)
            return
        self._conversation.ask(request, done)
        if not self._unsent:
            self._write()

    def close(self) -> None:
        """Hang up; who waits is told."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._stream.fileno())
            self._loop.remove_writer(self._stream.fileno())
            self._stream.close()
            if self._on_close is not None:
                self._on_close()
            self._conversation.lost()

    def release(self) -> Socket:
        """The stream, for whoever goes on with it; call it when nothing waits for an answer."""
        self._open = False
        self._loop.remove_reader(self._stream.fileno())
        self._loop.remove_writer(self._stream.fileno())
        return self._stream

    def _write(self) -> None:
        self._unsent = self._unsent or self._conversation.take()
        try:
            while self._unsent:
                self._unsent = self._unsent[self._stream.send(self._unsent) :]
                self._unsent = self._unsent or self._conversation.take()
        except BlockingIOError:
            self._loop.add_writer(self._stream.fileno(), self._write)
        except OSError:
            self.close()
        else:
            self._loop.remove_writer(self._stream.fileno())

    def _readable(self) -> None:
        try:
            data = self._stream.recv(_READ)
            if data:
                self._conversation.received(data)
                return
        except BlockingIOError:
            return
        except (OSError, MalformedPacket):
            # R152: a hostile agent costs us its keys and nothing more.
            pass
        self.close()
