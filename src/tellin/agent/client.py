# SPDX-License-Identifier: MIT
"""An agent's user: requests out, replies in, in their order; no socket."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tellin.agent import messages
from tellin.agent.constraints import Constraints
from tellin.agent.credentials import Credential, Public, read_public
from tellin.agent.messages import (
    MOST_BYTES,
    REPLIES,
    RSA_SHA2_256,
    RSA_SHA2_512,
    Frames,
    IdentitiesAnswer,
    SessionBind,
    SignResponse,
    Success,
    framed,
)
from tellin.algorithms.signatures import plain
from tellin.errors import KeyFileError, MalformedPacket
from tellin.keys.certificates import Certificate, inner_key
from tellin.keys.private import PrivateKey
from tellin.wire import Cursor, Message, string

Replied = Callable[[Message | None], object]

# Which flag asks for which algorithm (RFC 9987 section 3.6.1); others are a key's only one.
_FLAGS: Final = {"rsa-sha2-256": RSA_SHA2_256, "rsa-sha2-512": RSA_SHA2_512}


class AgentConversation:
    """What is asked of an agent and not answered yet.

    Bytes for the agent come out of ``take``; ``received`` takes its own. When the connection is
    gone, ``lost`` tells everybody who waits: their reply is None. ``replies`` are the messages
    that may come, for helpers whose frames are an agent's and whose messages are not.
    """

    def __init__(
        self,
        replies: Mapping[int | None, type[Message]] = REPLIES,
        *,
        most: int = MOST_BYTES,
    ) -> None:
        self._frames = Frames(most=most)
        self._replies = replies
        self._out = bytearray()
        self._waiting: deque[Replied] = deque()

    def ask(self, request: Message, done: Replied) -> None:
        """Put a request behind those that wait."""
        self._out += framed(request)
        self._waiting.append(done)

    def take(self) -> bytes:
        """What is to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def received(self, data: bytes | memoryview) -> None:
        """Take what has arrived. MalformedPacket: this is no agent; hang up (R152, R155)."""
        self._frames.feed(data)
        for frame in self._frames:
            if not self._waiting:
                raise MalformedPacket("an agent's reply that nobody asked for")
            kind = self._replies.get(frame[0])
            if kind is None:
                raise MalformedPacket(f"an agent's reply of the unknown type {frame[0]}")
            reply = kind.decode(frame)
            self._waiting.popleft()(reply)

    def lost(self) -> None:
        """No reply will come."""
        while self._waiting:
            self._waiting.popleft()(None)


def identities(reply: Message | None) -> Sequence[Public] | None:
    """The keys and certificates of a reply to RequestIdentities, those of kinds that we do not know left out."""
    if not isinstance(reply, IdentitiesAnswer):
        return None
    found: list[Public] = []
    for blob, comment in reply.keys:
        try:
            found.append(read_public(blob, comment))
        except KeyFileError:
            continue
    return found


def sign_request(key: Public, data: bytes, algorithm: str) -> Message:
    """The request for a signature by ``algorithm``."""
    return messages.SignRequest(key.blob, data, _FLAGS.get(plain(algorithm), 0))


def signature(reply: Message | None, key: Public, data: bytes, algorithm: str) -> bytes | None:
    """The signature blob of a reply; None if the agent would not, or made another than asked for.

    It is checked: an agent that signs by SHA-1 what was to be SHA-2, or with a faulty key, would
    have the server refuse a login for a reason that nobody could see there (R077).
    """
    if not isinstance(reply, SignResponse):
        return None
    name = plain(algorithm)
    if not inner_key(key).verify(data, reply.signature, algorithm=name, sha1=name == "ssh-rsa"):
        return None
    return reply.signature


def add_request(
    key: PrivateKey, constraints: Constraints, *, certificate: Certificate | None = None
) -> Message:
    """The request to keep a key, known by its certificate if it comes with one."""
    comment = string(key.comment.encode("utf-8", "surrogateescape"))
    body = Credential(key, certificate).encode() + comment
    bounds = constraints.encode()
    if bounds:
        return messages.AddIdentityConstrained(body + bounds)
    return messages.AddIdentity(body)


def bind_request(
    host_key: bytes, session_id: bytes, signature: bytes, *, forwarding: bool
) -> Message:
    """The request that binds this connection to a session (OpenSSH's PROTOCOL.agent)."""
    bound = SessionBind(host_key, session_id, signature, forwarding)
    return messages.Extension(messages.SESSION_BIND, bound.encode())


def extensions(reply: Message | None) -> Sequence[str] | None:
    """The names in a reply to the query for them; MalformedPacket if they are none."""
    if not isinstance(reply, messages.ExtensionResponse) or reply.name != messages.QUERY:
        return None
    cursor = Cursor(reply.contents)
    names = []
    while cursor.remaining():
        names.append(cursor.text())
    return names


def succeeded(reply: Message | None) -> bool:
    """Whether the agent said yes."""
    return isinstance(reply, Success)
