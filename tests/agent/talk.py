# SPDX-License-Identifier: MIT
"""A user and an agent joined in memory, and the keys they talk about."""

import secrets
from typing import Any

from tellin.agent import messages
from tellin.agent.client import (
    AgentConversation,
    add_request,
    bind_request,
    identities,
    sign_request,
    signature,
    succeeded,
)
from tellin.agent.constraints import Constraints, Hop, HostKey
from tellin.agent.credentials import Credential
from tellin.agent.keyring import Keyring
from tellin.agent.session import AgentSession, TokenPolicy
from tellin.errors import UsageError
from tellin.keys.private import PrivateKey
from tellin.userauth.messages import signed_data
from tellin.wire import Message, string

ED25519 = PrivateKey.generate("ed25519", comment="mine")
ECDSA = PrivateKey.generate("ecdsa", comment="other")
RSA = PrivateKey.generate("rsa", bits=2048, comment="old")
HOST_A, HOST_B, HOST_C = (PrivateKey.generate("ed25519") for _ in range(3))
HERE = Hop("", "", ())


def hop(host: PrivateKey, name: str, user: str = "") -> Hop:
    return Hop(user, name, (HostKey(host.public.blob, False),))


class Talk:
    """A user and an agent, joined in memory, with a clock that is set by hand."""

    def __init__(
        self,
        keyring: Keyring | None = None,
        *,
        can_confirm: bool = True,
        tokens: TokenPolicy | None = None,
    ) -> None:
        self.now = 1000.0
        self.keyring = keyring or Keyring(random=secrets.token_bytes)
        self.session = AgentSession(self.keyring, can_confirm=can_confirm, tokens=tokens)
        self.user = AgentConversation()
        self.replies: list[Message | None] = []

    def carry(self, *, piece: int = 1 << 20) -> None:
        data = self.user.take()
        for at in range(0, len(data), piece):
            self.session.received(data[at : at + piece], self.now)
        self.user.received(self.session.take())

    def ask(self, request: Message) -> Any:
        before = len(self.replies)
        self.user.ask(request, self.replies.append)
        self.carry()
        return self.replies[before] if len(self.replies) > before else None

    def helper_says(self, answer: Message | None) -> Any:
        """The helper has done its errand; the reply that came of it."""
        self.session.returned(answer, self.now)
        before = len(self.replies)
        self.user.received(self.session.take())
        return self.replies[before] if len(self.replies) > before else None

    def raw(self, payload: bytes) -> bytes:
        self.session.received(string(payload), self.now)
        return self.session.take()

    def add(self, key: PrivateKey = ED25519, **bounds: Any) -> bool:
        return succeeded(self.ask(add_request(key, Constraints(**bounds))))

    def keeps(self, key: PrivateKey) -> bool:
        """Whether the keyring takes a key, however long the request for it would be."""
        try:
            self.keyring.add(Credential(key), key.comment, Constraints(), self.now)
        except UsageError:
            return False
        return True

    def names(self) -> list[str]:
        found = identities(self.ask(messages.RequestIdentities()))
        assert found is not None
        return [key.comment for key in found]

    def signs(self, key: PrivateKey = ED25519, data: bytes = b"data") -> bool:
        algorithm = key.public.signature_algorithms[0]
        reply = self.ask(sign_request(key.public, data, algorithm))
        return signature(reply, key.public, data, algorithm) is not None

    def binds(
        self,
        host: PrivateKey,
        session_id: bytes,
        *,
        forwarding: bool = False,
        signed: bytes | None = None,
    ) -> bool:
        proof = host.sign(session_id if signed is None else signed)
        request = bind_request(host.public.blob, session_id, proof, forwarding=forwarding)
        return succeeded(self.ask(request))

    def logs_in(
        self, session_id: bytes, *, user: str = "me", host: PrivateKey | None, **named: Any
    ) -> bool:
        data = signed_data(
            session_id,
            user=user,
            algorithm="ssh-ed25519",
            key_blob=ED25519.public.blob,
            host_key_blob=None if host is None else host.public.blob,
            **named,
        )
        return self.signs(ED25519, data)
