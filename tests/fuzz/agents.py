# SPDX-License-Identifier: MIT
"""Any bytes into both ends of the agent protocol, and into what constrains a key."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from tests.fuzz.harness import Harness

from tellin.agent import messages, tokens
from tellin.agent.client import AgentConversation, bind_request, identities, sign_request
from tellin.agent.constraints import Constraints, Destination, Hop, HostKey
from tellin.agent.credentials import Credential, read_public
from tellin.agent.keyring import Keyring
from tellin.agent.messages import framed
from tellin.agent.session import AgentSession
from tellin.errors import KeyFileError, MalformedPacket
from tellin.keys.certificates import Certificate
from tellin.keys.public import PublicKey
from tellin.programs.agents.ssh_pkcs11_helper import blob_of_point
from tellin.testing.pairs import HOST_KEY
from tellin.wire import Cursor, Message, string

_HERE = Hop("", "", ())
_THERE = Hop("me*", "there", (HostKey(HOST_KEY.public.blob, False),))
_POINT = b"\x0b\x06\x08" + bytes.fromhex("2a8648ce3d030107") + b"\x04\x41\x04" + bytes(64)
_BOUNDS = Constraints(60, True, (Destination(_HERE, _THERE),))


def _requests() -> list[Message]:
    key = HOST_KEY.encode() + string(b"comment")
    return [
        messages.RequestIdentities(),
        messages.AddIdentity(key),
        messages.AddIdentityConstrained(key + _BOUNDS.encode()),
        sign_request(HOST_KEY.public, b"data", "ssh-ed25519"),
        messages.Lock(b"secret"),
        messages.Unlock(b"wrong"),
        messages.Unlock(b"secret"),
        bind_request(HOST_KEY.public.blob, b"sid", HOST_KEY.sign(b"sid"), forwarding=True),
        messages.Extension(messages.QUERY, b""),
        messages.RemoveIdentity(HOST_KEY.public.blob),
        messages.RemoveAllIdentities(),
    ]


def to_agent(data: bytes) -> None:
    """Whole or in pieces, the answers are the same; only a frame's length ends a connection."""
    whole = _answers([data])
    if len(data) < 2000:
        assert _answers([data[at : at + 3] for at in range(0, len(data), 3)]) == whole


def _answers(parts: Iterable[bytes]) -> bytes:
    keyring = Keyring(random=bytes)
    keyring.add(Credential(HOST_KEY), "comment", Constraints(), 0.0)
    session = AgentSession(keyring, can_confirm=True)
    out = b""
    now = 1.0
    with suppress(MalformedPacket):
        for part in parts:
            session.received(part, now)
            while (due := session.deadline()) is not None or session.question is not None:
                if due is not None:
                    session.tick(due)
                else:
                    session.answer(True, now)
            out += session.take()
    return out + session.take()


def to_user(data: bytes) -> None:
    """A hostile agent's bytes end in a reply, or in MalformedPacket."""
    user = AgentConversation()
    for _ in range(3):
        user.ask(messages.RequestIdentities(), identities)
    with suppress(MalformedPacket):
        user.received(data)
    user.lost()


def constraints(data: bytes) -> None:
    """What is read is written the same way again."""
    try:
        found = Constraints.read(Cursor(data))
    except MalformedPacket:
        return
    assert Constraints.read(Cursor(found.encode())) == found


def credentials(data: bytes) -> None:
    """What is read is encoded to the same again; so is what is shown of it."""
    with suppress(KeyFileError):
        read_public(data)
    try:
        found = Credential.read(Cursor(data))
    except (KeyFileError, MalformedPacket):
        return
    again = Credential.read(Cursor(found.encode()))
    assert again.public == found.public


def token_points(data: bytes) -> None:
    """Whatever a token calls its curve and its point is a sound key, or none."""
    at = data[0] % (len(data)) if data else 0
    with suppress(KeyFileError):
        PublicKey.from_blob(blob_of_point(data[1:at], data[at:]))


def token_reply(data: bytes) -> None:
    """A hostile helper's bytes end in an answer, in None, or in MalformedPacket."""
    parent = AgentConversation(tokens.ANSWERS, most=tokens.MOST_HELPER_BYTES)
    for _ in range(3):
        parent.ask(tokens.ListKeys("module", b"pin"), tokens.error_of)
    with suppress(MalformedPacket):
        parent.received(data)
    parent.lost()


def _token_seeds() -> list[bytes]:
    key = (HOST_KEY.public.blob, "label")
    resident = tokens.Resident(HOST_KEY.encode(), b"me")
    return [
        framed(tokens.Refused(1, "the token wants a PIN", "")),
        framed(tokens.KeysListed((key, key))),
        framed(tokens.Signed(HOST_KEY.sign(b"data"))) * 2,
        framed(tokens.Enrolled(b"key", b"certificate", b"signature", b"data")),
        framed(tokens.ResidentListed((resident, resident))),
    ]


def _agent_seeds() -> Iterator[bytes]:
    every = _requests()
    yield b"".join(map(framed, every))
    yield from map(framed, every)


def _user_seeds() -> list[bytes]:
    return [
        framed(messages.IdentitiesAnswer(((HOST_KEY.public.blob, "comment"), (b"other", "")))),
        framed(messages.Failure()) + framed(messages.Success()),
        framed(messages.SignResponse(HOST_KEY.sign(b"data"))),
        framed(messages.ExtensionResponse(messages.QUERY, string(b"query"))),
    ]


def _certificate() -> Certificate:
    return Certificate.issue(
        HOST_KEY, HOST_KEY.public, key_id="id", principals=["me"], nonce=bytes(32)
    )


HARNESSES = [
    Harness("token_points", token_points, covers=[], seeds=lambda: [_POINT]),
    Harness("token_reply", token_reply, covers=[], seeds=_token_seeds),
    Harness(
        "agent_credentials",
        credentials,
        covers=[
            "tellin.agent.credentials.Credential.read",
            "tellin.agent.credentials.read_public",
        ],
        seeds=lambda: [
            HOST_KEY.encode(),
            Credential(HOST_KEY, _certificate()).encode(),
            _certificate().blob,
        ],
    ),
    Harness(
        "agent",
        to_agent,
        covers=[
            "tellin.agent.session.AgentSession.received",
            "tellin.agent.messages.Frames.feed",
            "tellin.agent.credentials.Credential.read",
            "tellin.agent.credentials.read_public",
        ],
        seeds=_agent_seeds,
    ),
    Harness(
        "agent_user",
        to_user,
        covers=["tellin.agent.client.AgentConversation.received"],
        seeds=_user_seeds,
    ),
    Harness(
        "agent_constraints",
        constraints,
        covers=[
            "tellin.agent.constraints.Constraints.read",
            "tellin.agent.constraints.Destination.read",
            "tellin.agent.constraints.Hop.read",
        ],
        seeds=lambda: [
            _BOUNDS.encode(),
            Constraints(5).encode(),
            Constraints(provider="internal").encode(),
            Constraints(certificates=(_certificate(),), certified_only=True).encode(),
        ],
    ),
]
