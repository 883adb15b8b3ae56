# SPDX-License-Identifier: MIT
"""Our agent for programs on the server: each channel that it opens leads to a connection of its own."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from tellin.agent.client import bind_request, succeeded
from tellin.client.authentication.agent_link import AgentLink
from tellin.client.forwarding.incoming import Incoming
from tellin.connection.channel import Channel
from tellin.connection.forwarding import AGENT
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelAsked
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import AF_UNIX, Attempt
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.runtime.tunnels import Tunnel
from tellin.wire import Message

# An agent asks its owner one thing at a time; a server that opens more keeps them from others.
MOST_CONNECTIONS: Final = 64


class AgentForwarding:
    """Takes the channels that the server opens to the agent at ``path``.

    ``open`` is how many connections there are; ``on_quiet`` is called when the last has gone.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        path: str,
        *,
        journal: Journal,
        on_quiet: Callable[[], object],
    ) -> None:
        self.open = 0
        self.loop = loop
        self.core = core
        self.link = link
        self.path = path
        self.journal = journal
        self._on_quiet = on_quiet

    def asked(self, event: ChannelAsked) -> None:
        """The server wants one more connection to the agent."""
        if self.open >= MOST_CONNECTIONS:
            self.core.refuse_channel(event.channel, Reason.RESOURCE_SHORTAGE, "too many")
            return
        self.open += 1
        AgentChannel(self, event.channel)

    def one_less(self) -> None:
        """A connection has gone."""
        self.open -= 1
        if not self.open:
            self._on_quiet()


class AgentChannel:
    """One channel: first the agent is reached and told whom it will talk to, then the two are joined.

    The agent hears from us, before the server's side can say a word, that what follows comes from
    another host, and from which. Only so do keys that are kept to destinations stay kept to them
    (session-bind@openssh.com in OpenSSH's PROTOCOL.agent).
    """

    def __init__(self, whole: AgentForwarding, channel: Channel) -> None:
        self._whole = whole
        self._channel = channel
        self._link: AgentLink | None = None
        self._over = False
        channel.owner = self
        self._attempt = Attempt(whole.loop, [(AF_UNIX, whole.path)], self._reached)

    def _reached(self, stream: Socket | None) -> None:
        whole = self._whole
        if stream is None:
            whole.journal.debug(f"client_request_agent: {self._attempt.error}")
            self._refuse()
            return
        core = whole.core
        request = bind_request(
            core.host_key, core.session_id, core.host_key_signature, forwarding=True
        )
        self._link = AgentLink(whole.loop, stream)
        self._link.ask(request, self._bound)

    def _bound(self, reply: Message | None) -> None:
        whole, link = self._whole, self._link
        if self._over or link is None:
            return
        if reply is None:
            # It hung up, or said what no agent says.
            self._refuse()
            return
        if succeeded(reply):
            whole.journal.debug("client_request_agent: bound agent to hostkey")
        else:
            # Agents that know nothing of it say no, and have no keys that are kept to anything.
            whole.journal.debug2("client_request_agent: the agent does not bind sessions")
        whole.core.accept_channel(self._channel)
        tunnel = Tunnel(
            whole.loop, self._channel, whole.link, link.release(), on_over=self._finish
        )
        tunnel.start()
        whole.link.flush_soon()

    def _refuse(self) -> None:
        whole = self._whole
        whole.core.refuse_channel(self._channel, Reason.CONNECT_FAILED, "no agent")
        whole.link.flush_soon()
        self._finish()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._whole.one_less()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone before the channel was open."""
        self._attempt.cancel()
        self._finish()
        if self._link is not None:
            self._link.close()


class Lender(Protocol):
    """A connection as a program has it: `tellin.client.connected.Connection`."""

    @property
    def loop(self) -> Loop:
        """What it runs on."""

    @property
    def core(self) -> ClientProtocol:
        """Its protocol."""

    @property
    def link(self) -> Link:
        """Its socket."""

    @property
    def incoming(self) -> Incoming:
        """Who takes the channels that its server opens."""


def lend_agent(connection: Lender, path: str, journal: Journal) -> None:
    """Let the server open channels to the agent at ``path``, as long as the connection lives."""
    made = AgentForwarding(
        connection.loop,
        connection.core,
        connection.link,
        path,
        journal=journal,
        on_quiet=_still_needed,
    )
    connection.incoming.take(AGENT, made.asked)


def _still_needed() -> None:
    """A program's connection ends when the program says so."""
