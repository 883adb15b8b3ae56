# SPDX-License-Identifier: MIT
"""The client's agent at a running server: a socket of the user's, channels that lead to it, and their end."""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller, CallerSession

from tellin.connection.forwarding import AGENT
from tellin.connection.machine import ConnectionSettings
from tellin.connection.requests import AgentForwarding, ExecRequest
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.keys.formats import load_private_key
from tellin.protocol.events import ChannelAsked, ChannelClosed, ChannelEnded
from tellin.runtime import private_sockets
from tellin.server.forwarding import agent_forwarding
from tellin.testing.loopback import Collector

Call = Callable[..., Caller]
SECONDS = 60
HOLD = b"echo $SSH_AUTH_SOCK; exec cat"


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TellinServer]:
    """As root for the throw-away account; else for who runs the tests."""
    made = TellinServer(
        tmp_path_factory.mktemp("agents"),
        account=request.getfixturevalue("account") if os.geteuid() == 0 else None,
        options={"MaxSessions": "20"},
    )
    with made as running:
        yield running


@pytest.fixture
def call(server: TellinServer) -> Iterator[Call]:
    """A client that is logged in; ``types`` are the channels that it lets the server open."""
    callers = []

    def make(*types: str) -> Caller:
        made = Caller(
            server.port, connection=ConnectionSettings(channel_types=frozenset(types or {AGENT}))
        )
        callers.append(made)
        return made.log_in(server.user, load_private_key(server.identity.path.read_bytes()))

    yield make
    for caller in callers:
        caller.socket.close()


def hold(session: CallerSession) -> Path:
    """Have a session run that tells where its agent is, and waits."""
    assert session.ask(ExecRequest(HOLD))
    session.caller.wait_for(lambda: b"\n" in session.out.data)
    return Path(bytes(session.out.data).decode().strip())


def forwarded(call: Call, *types: str) -> tuple[Caller, Path]:
    """A session that may reach the agent, and the socket."""
    caller = call(*types)
    session = caller.session()
    assert session.ask(AgentForwarding())
    return caller, hold(session)


def connect(path: Path) -> socket.socket:
    """Connect as root, or as the user himself."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(str(path))
    return made


def gone(path: Path) -> bool:
    return not os.path.lexists(path)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_r159_r148_the_socket_is_the_users_alone_and_goes_with_the_connection(
    server: TellinServer, call: Call
) -> None:
    caller, path = forwarded(call)
    uid = server.account.uid if server.account else os.geteuid()
    place, folder = path.stat(), path.parent.stat()
    assert (place.st_uid, folder.st_uid) == (uid, uid)
    assert stat.S_ISSOCK(place.st_mode)
    assert (stat.S_IMODE(place.st_mode), stat.S_IMODE(folder.st_mode)) == (0o600, 0o700)
    caller.socket.close()
    wait_until(lambda: gone(path.parent))


def test_a_connection_to_the_socket_is_a_channel_to_the_client_both_ways(
    server: TellinServer, call: Call
) -> None:
    caller, path = forwarded(call)
    with connect(path) as stream:
        asked = caller.wait(ChannelAsked)
        assert (asked.channel_type, asked.data) == (AGENT, b"")
        # Said before the client has answered: it waits.
        stream.sendall(b"request")
        out = Collector(asked.channel)
        asked.channel.sink = out
        caller.core.accept_channel(asked.channel)
        caller.wait_for(lambda: out.data == b"request")
        asked.channel.send(b"reply")
        caller.flush()
        assert stream.recv(100) == b"reply"
        stream.close()
        caller.wait(ChannelEnded)
        asked.channel.close()
        caller.wait(ChannelClosed)


def test_a_client_that_refuses_the_channel_costs_one_connection(
    server: TellinServer, call: Call
) -> None:
    caller, path = forwarded(call)
    for _ in range(2):
        with connect(path) as stream:
            channel = caller.wait(ChannelAsked).channel
            caller.core.refuse_channel(channel, Reason.CONNECT_FAILED, "no agent")
            caller.flush()
            assert stream.recv(100) == b""


def test_what_a_session_leaves_running_still_finds_the_agent(
    server: TellinServer, call: Call
) -> None:
    caller, path = forwarded(call)
    first = next(iter(caller.core.channels.values()))
    first.eof()
    caller.wait(ChannelClosed)
    assert path.exists()
    # And the next session has the same one, if its client asks for it.
    session = caller.session()
    assert session.ask(AgentForwarding())
    assert hold(session) == path


def test_only_a_session_that_asked_is_told_of_the_agent(server: TellinServer, call: Call) -> None:
    caller, _ = forwarded(call)
    session = caller.session()
    assert session.ask(ExecRequest(b"echo =$SSH_AUTH_SOCK="))
    session.finish()
    assert session.out.data == b"==\n"
    # What is asked of a session that runs comes too late.
    late = caller.session()
    assert late.ask(ExecRequest(HOLD))
    assert not late.ask(AgentForwarding())


@pytest.mark.parametrize(
    ("words", "granted"),
    [
        ("no-agent-forwarding", False),
        ("restrict", False),
        ("restrict,agent-forwarding", True),
        ('command="cat"', True),
    ],
)
def test_keys_say_whether_the_agent_may_be_reached(
    server: TellinServer, call: Call, words: str, granted: bool
) -> None:
    lines = server.directory / "authorized_keys"
    before = lines.read_text("ascii")
    lines.write_text(f"{words} {before}", "ascii")
    try:
        assert call().session().ask(AgentForwarding()) is granted
    finally:
        lines.write_text(before, "ascii")


def test_so_many_connections_to_the_agent_and_no_more(server: TellinServer, call: Call) -> None:
    caller, path = forwarded(call)
    most = agent_forwarding.MOST_CONNECTIONS
    streams = [connect(path) for _ in range(most)]
    asked = [caller.wait(ChannelAsked) for _ in streams]
    with connect(path) as one_more:
        assert one_more.recv(1) == b""
    assert not [event for event in caller.seen if isinstance(event, ChannelAsked)]
    caller.core.refuse_channel(asked[0].channel, Reason.CONNECT_FAILED, "")
    caller.flush()
    assert streams[0].recv(1) == b""
    with connect(path):
        caller.wait(ChannelAsked)
    for stream in streams:
        stream.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_r159_another_user_who_gets_to_the_socket_is_hung_up_on(
    server: TellinServer, call: Call
) -> None:
    caller, path = forwarded(call)
    path.parent.chmod(0o755)
    path.chmod(0o666)
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(60);"
        "s.connect(sys.argv[1]); print(s.recv(1))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(path)],
        user=65534, group=65534, extra_groups=[], cwd="/",
        capture_output=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.stdout == b"b''\n", done.stderr
    server.wait_for_log("agent socket: another user has called")
    assert not [event for event in caller.seen if isinstance(event, ChannelAsked)]


def test_where_no_socket_can_be_made_the_session_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(private_sockets, "_TEMPORARY", str(tmp_path / "nothing-here"))
    said: list[str] = []
    made = agent_forwarding.AgentSocket(
        loop=None,  # type: ignore[arg-type]
        connection=None,  # type: ignore[arg-type]
        note=lambda _, line: said.append(line),
    )
    assert not made.begin()
    assert made.path == ""
    assert said == ["Agent forwarding disabled: no socket for it: No such file or directory"]
    made.close()


def test_a_socket_of_a_forks_is_its_parents_to_remove(tmp_path: Path) -> None:
    made = private_sockets.PrivateSocket.made("agent.1")
    path = Path(made.path)
    child = os.fork()
    if not child:
        made.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()
    made.remove()
    assert gone(path.parent)
