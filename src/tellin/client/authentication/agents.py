# SPDX-License-Identifier: MIT
"""Talking to an agent over its socket and waiting for each answer; on a loop it is `agent_link`."""

import _socket
import os
from collections.abc import Iterable, Sequence
from typing import Final, Self

from tellin.agent import messages
from tellin.agent.client import (
    AgentConversation,
    add_request,
    extensions,
    identities,
    sign_request,
    signature,
    succeeded,
)
from tellin.agent.constraints import Constraints, Destination
from tellin.agent.credentials import Public
from tellin.errors import ConnectFailed, MalformedPacket, RequestRefused, SignatureFailed
from tellin.keys.certificates import Certificate
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.runtime.sockets import Socket
from tellin.wire import Message

_READ: Final = 64 * 1024


def open_agent(path: str) -> Socket:
    """A socket to the agent that listens at ``path``; it waits. Raises ConnectFailed."""
    made = Socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        made.connect(path)
    except OSError as error:
        made.close()
        failed = ConnectFailed(
            error.strerror or str(error),
            hint="is an agent running, and SSH_AUTH_SOCK the socket of that one?",
        )
        raise failed from error
    return made


class Agent:
    """A connection to an agent whose every call waits for the answer.

    Raises ConnectFailed where there is none, and RequestRefused where it says no. Inside an event
    loop use it from a thread.
    """

    def __init__(self, stream: Socket) -> None:
        self.path = ""
        """Where it listens; empty where nobody said."""
        self._stream = stream
        self._conversation = AgentConversation()

    @classmethod
    def connect(cls, path: str | None = None) -> Self:
        """The agent at ``path``, or the one that SSH_AUTH_SOCK names."""
        place = path or os.environ.get("SSH_AUTH_SOCK")
        if not place:
            raise ConnectFailed(
                "SSH_AUTH_SOCK is not set", hint='start an agent: eval "$(tellin ssh-agent -s)"'
            )
        made = cls(open_agent(place))
        made.path = os.path.abspath(place)  # noqa: PTH100 (start-up)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def ask(self, request: Message) -> Message:
        """Ask anything, and wait for the reply."""
        replies: list[Message | None] = []
        self._conversation.ask(request, replies.append)
        try:
            self._stream.sendall(self._conversation.take())
            while not replies:
                data = self._stream.recv(_READ)
                if not data:
                    break
                self._conversation.received(data)
        except (OSError, MalformedPacket) as error:
            raise ConnectFailed(f"communication with agent failed: {error}") from error
        if not replies or replies[0] is None:
            raise ConnectFailed("communication with agent failed")
        return replies[0]

    def keys(self) -> Sequence[Public]:
        """The keys and certificates that it has and shows; those of kinds that we do not know are left out."""
        found = identities(self.ask(messages.RequestIdentities()))
        if found is None:
            raise RequestRefused("agent refused operation")
        return found

    def signers(self) -> Sequence["AgentSigner"]:
        """The same as things that sign."""
        return [AgentSigner(self, key) for key in self.keys() if isinstance(key, PublicKey)]

    def sign(self, key: Public, data: bytes, algorithm: str) -> bytes:
        """The signature blob over ``data``; SignatureFailed if the agent would not."""
        reply = self.ask(sign_request(key, data, algorithm))
        made = signature(reply, key, data, algorithm)
        if made is None:
            raise SignatureFailed("agent refused operation")
        return made

    def add(
        self,
        key: PrivateKey,
        *,
        lifetime: int | None = None,
        confirm: bool = False,
        destinations: Iterable[Destination] = (),
        certificate: Certificate | None = None,
        provider: str = "",
    ) -> None:
        """Have it keep ``key`` (under its comment), for ``lifetime`` seconds if that is given.

        With a ``certificate`` for the key it is known by that. ``provider`` says how to reach the
        security key that a key is inside.
        """
        bounds = Constraints(lifetime, confirm, tuple(destinations), provider)
        self._demand(add_request(key, bounds, certificate=certificate))

    def add_module(self, provider: str, pin: bytes, bounds: Constraints) -> None:
        """Have it use the keys of a PKCS#11 module's tokens."""
        constraints = bounds.encode()
        if constraints:
            self._demand(messages.AddSmartcardKeyConstrained(provider, pin, constraints))
        else:
            self._demand(messages.AddSmartcardKey(provider, pin))

    def remove_module(self, provider: str) -> None:
        """Have it use them no more."""
        self._demand(messages.RemoveSmartcardKey(provider, b""))

    def remove(self, key: Public) -> None:
        """Have it forget a key."""
        self._demand(messages.RemoveIdentity(key.blob))

    def clear(self) -> None:
        """Have it forget all keys."""
        self._demand(messages.RemoveAllIdentities())

    def lock(self, passphrase: bytes) -> None:
        """Have it answer nothing until it is unlocked."""
        self._demand(messages.Lock(passphrase))

    def unlock(self, passphrase: bytes) -> None:
        """End that; a wrong passphrase is refused, later each time."""
        self._demand(messages.Unlock(passphrase))

    def extensions(self) -> Sequence[str] | None:
        """The extensions that it says it has; None if it does not say."""
        return extensions(self.ask(messages.Extension(messages.QUERY, b"")))

    def _demand(self, request: Message) -> None:
        if not succeeded(self.ask(request)):
            raise RequestRefused("agent refused operation")


class AgentSigner:
    """One of an agent's keys; a Signer."""

    def __init__(self, agent: Agent, public: PublicKey) -> None:
        self.public = public
        self._agent = agent

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """The signature blob; SignatureFailed if the agent would not."""
        return self._agent.sign(self.public, data, algorithm)
