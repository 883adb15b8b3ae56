# SPDX-License-Identifier: MIT
"""Logging in by an agent: what it is told of the session, and what follows for keys kept to destinations."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.agent.talk import HERE, Talk, hop
from tests.certified import user_certificate
from tests.client.scene import GRANT, Scene, no, pk_ok
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, awaited, connecting, serving

import tellin
from tellin.agent.client import Replied
from tellin.agent.constraints import Destination
from tellin.agent.keyring import Keyring
from tellin.agent.messages import Failure, SignRequest, framed
from tellin.agent.session import AgentSession
from tellin.client.authentication.agent_keys import AgentKeys
from tellin.client.authentication.agents import Agent
from tellin.client.authentication.identities import Identity, MemoryKeys
from tellin.errors import MalformedPacket
from tellin.keys import PrivateKey
from tellin.runtime.journal import Journal
from tellin.runtime.sockets import Socket
from tellin.testing.pairs import HOST_KEY as PAIR_KEY
from tellin.wire import Message

ED25519, RSA = (
    PrivateKey.generate("ed25519", comment="mine"),
    PrivateKey.generate("rsa", bits=2048),
)


def way(host: PrivateKey, user: str = "") -> Destination:
    return Destination(HERE, hop(host, "there", user))


# In memory


class Wire:
    """An agent within reach, for as many questions as it takes."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk

    def ask(self, request: Message, done: Replied) -> None:
        self.talk.user.ask(request, done)
        self.talk.carry()


class Late:
    """The agent's keys, for the core that a scene makes."""

    def __init__(self, talk: Talk, files: Sequence[PrivateKey] = ()) -> None:
        self.scene: Scene | None = None
        self.talk = talk
        self.files = MemoryKeys(files)

    def prepare(self) -> None:
        """There is nothing to get ready."""

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        assert self.scene is not None
        keys = AgentKeys(
            Wire(self.talk),  # type: ignore[arg-type]
            self.scene.core,
            flush=lambda: None,
            files=self.files,
            only_files=False,
            journal=Journal(),
        )
        keys.identities(done)


def play(talk: Talk, *script: Any) -> Scene:
    source = Late(talk)
    source.scene = scene = Scene(keys=[source], script=script)
    return scene.play()


@pytest.mark.parametrize("user", ["", "user"])
def test_a_key_that_is_kept_to_a_host_logs_in_there(user: str) -> None:
    talk = Talk()
    assert talk.add(ED25519, destinations=(way(PAIR_KEY, user),))
    scene = play(talk, pk_ok, GRANT)
    assert scene.granted
    assert scene.methods == ["publickey"] * 2


def test_a_key_that_is_kept_to_another_user_does_not_sign() -> None:
    talk = Talk()
    assert talk.add(ED25519, destinations=(way(PAIR_KEY, "someone"),))
    scene = play(talk, pk_ok, no("publickey"))
    assert not scene.granted
    # Asked whether the key would do, and never given a signature.
    assert scene.methods == ["publickey", "none"]


def test_a_key_that_is_kept_to_another_host_is_not_even_offered() -> None:
    talk = Talk()
    assert talk.add(ED25519, destinations=(way(OTHER_KEY),))
    assert talk.add(RSA)
    scene = play(talk, pk_ok, GRANT)
    assert scene.granted
    assert {fields.key_blob for _, fields in scene.requests} == {RSA.public.blob}


# The library


class RunningAgent:
    """An agent on the test's own loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keyring = Keyring(random=secrets.token_bytes)
        self.sessions: list[AgentSession] = []
        self.refuses = False
        self.serving: list[asyncio.Task[None]] = []

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = AgentSession(self.keyring, can_confirm=False)
        self.sessions.append(session)
        with suppress(ConnectionError, MalformedPacket):
            while data := await reader.read(65536):
                if self.refuses and data[4] == SignRequest.number:
                    writer.write(framed(Failure()))
                    continue
                session.received(data, asyncio.get_running_loop().time())
                writer.write(session.take())
        await hang_up(writer)


@asynccontextmanager
async def agent(path: Path) -> AsyncIterator[RunningAgent]:
    running = RunningAgent(path / "agent")
    server = await asyncio.start_unix_server(running.take, running.path)
    try:
        yield running
    finally:
        server.close()
        await asyncio.gather(*running.serving)


async def own(running: RunningAgent) -> Agent:
    """A program's own connection to it, which waits and so is used in a thread."""
    return await asyncio.to_thread(Agent.connect, str(running.path))


async def add(running: RunningAgent, key: PrivateKey, *ways: Destination) -> None:
    with await own(running) as opened:
        await asyncio.to_thread(opened.add, key, destinations=ways)


@pytest.mark.parametrize("given", ["path", "agent"])
@awaited
async def test_a_program_s_login_is_one_that_a_key_may_be_kept_to(
    given: str, tmp_path: Path
) -> None:
    async with (
        agent(tmp_path) as running,
        serving() as here,
        serving(host_keys=[OTHER_KEY]) as other,
    ):
        await add(running, USER_KEY, way(HOST_KEY))
        opened = await own(running)
        by: Any = running.path if given == "path" else opened
        # More than once: to bind a connection is for good, and each login has one of its own.
        for _ in range(2):
            async with connecting(here, keys=[], agent=by) as connection:
                assert connection.user == "someone"
            with pytest.raises(tellin.AuthenticationFailed) as caught:
                await connecting(other, keys=[], agent=by, host_keys=OTHER_KEY.public)
            assert not caught.value.keys
        # And the program's own is as it was: bound, it could not be used for what it is for.
        assert [key.comment for key in await asyncio.to_thread(opened.keys)] == ["user"]
        opened.close()
        assert not any(session._bindings for session in running.sessions[:2])


@awaited
async def test_an_agent_whose_place_nobody_knows_signs_with_what_is_kept_to_no_host(
    tmp_path: Path,
) -> None:
    ours, theirs = socket.socketpair()
    async with agent(tmp_path) as running, serving() as server:
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        serves = asyncio.ensure_future(running.serve(reader, writer))
        with Agent(Socket(fileno=ours.detach())) as opened:
            assert not opened.path
            await asyncio.to_thread(opened.add, USER_KEY)
            async with connecting(server, keys=[], agent=opened):
                pass
            await asyncio.to_thread(opened.add, USER_KEY, destinations=[way(HOST_KEY)])
            with pytest.raises(tellin.AuthenticationFailed) as caught:
                await connecting(server, keys=[], agent=opened)
            assert "agent refused operation" in caught.value.hint
        await serves


@awaited
async def test_the_keys_that_were_named_come_before_the_agent_s(tmp_path: Path) -> None:
    seen: list[Any] = []

    def note(candidate: tellin.Candidate) -> bool:
        seen.append(candidate.key)
        return candidate.key == USER_KEY.public

    async with agent(tmp_path) as running, serving(authorize=note) as server:
        await add(running, USER_KEY)
        async with connecting(server, keys=[OTHER_KEY], agent=running.path):
            pass
    assert list(dict.fromkeys(seen)) == [OTHER_KEY.public, USER_KEY.public]


@awaited
async def test_a_certificate_is_shown_where_only_the_agent_has_its_key(tmp_path: Path) -> None:
    async with agent(tmp_path) as running, serving(authorities=[OTHER_KEY.public]) as server:
        await add(running, USER_KEY)
        certificate = user_certificate(USER_KEY.public, "someone", signer=OTHER_KEY)
        async with connecting(server, keys=[], agent=running.path, certificates=[certificate]):
            pass
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[], agent=running.path)
        with await own(running) as opened:
            await asyncio.to_thread(opened.add, USER_KEY, certificate=certificate)
        async with connecting(server, keys=[], agent=running.path):
            pass


@awaited
async def test_an_agent_that_will_not_sign_is_named_with_its_key(tmp_path: Path) -> None:
    async with agent(tmp_path) as running, serving() as server:
        await add(running, USER_KEY)
        running.refuses = True
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[], agent=running.path)
        assert "user (agent refused operation)" in caught.value.hint


@pytest.mark.parametrize(
    "answer", [b"", b"\xff" * 8, b"\0\0\0\5\x0c\xff\xff\xff\xff", b"\0\0\0\1\5"]
)
@awaited
async def test_r152_an_agent_that_is_none_costs_its_keys_and_nothing_more(
    answer: bytes, tmp_path: Path
) -> None:
    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(answer)
        await hang_up(writer)

    path = tmp_path / "agent"
    async with serving() as server, await asyncio.start_unix_server(hostile, path):
        async with connecting(server, keys=[OTHER_KEY, USER_KEY], agent=path):
            pass
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[OTHER_KEY], agent=path)
        assert "the agent (it does not list its keys)" in caught.value.hint


@awaited
async def test_a_login_that_is_given_up_hangs_up_on_the_agent(tmp_path: Path) -> None:
    gone = asyncio.Event()
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            asked.set()
        await hang_up(writer)
        gone.set()

    path = tmp_path / "agent"
    async with serving() as server, await asyncio.start_unix_server(silent, path):
        with pytest.raises(tellin.TimedOut):
            await connecting(server, keys=[], agent=path, login_timeout=0.5)
        await gone.wait()
        gone.clear()
        asked.clear()
        login = asyncio.ensure_future(_await(connecting(server, keys=[], agent=path)))
        await asked.wait()
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        await gone.wait()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _await(thing: Any) -> Any:
    return await thing
