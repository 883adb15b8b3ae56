# SPDX-License-Identifier: MIT
"""Agents that are forwarded: ours and OpenSSH's, through clients and servers of both."""

import asyncio
import base64
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.interop.agents import PROGRAMS, SECONDS, RunningAgent, wait_for
from tests.interop.children import python
from tests.interop.conftest import Running
from tests.interop.servers import Server
from tests.interop.target import KeyFile, Target, make_key
from tests.interop.tellin_peer import TellinServer
from tests.library import awaited

import tellin
from tellin.keys import Agent, PrivateKey

openssh = pytest.mark.peer("openssh", "sshd")
# Which agent, which client, which server.
MEETINGS = pytest.mark.parametrize(
    ("agent", "client", "server"),
    [
        pytest.param("openssh", "tellin", "sshd", marks=openssh),
        pytest.param("openssh", "openssh", "tellin", marks=openssh),
        ("tellin", "tellin", "tellin"),
    ],
    indirect=["agent"],
)
PAIRS = pytest.mark.parametrize(
    ("client", "server"),
    [
        pytest.param("tellin", "sshd", marks=openssh),
        pytest.param("openssh", "tellin", marks=openssh),
        pytest.param("tellin", "tellin", marks=pytest.mark.slow),
    ],
)
ASK = shlex.join([python(), "-I", "-S", str(Path(__file__).with_name("ask_agent.py"))])


def blob_of(key: KeyFile) -> str:
    """In hex, as it stands in an agent's answer."""
    return base64.b64decode(key.public.split()[1]).hex()


def named(target: Target, name: str) -> str:
    return "".join(f"{name} {' '.join(line.split()[:2])}\n" for line in target.host_keys)


def ssh(
    agent: RunningAgent,
    client: str,
    target: Target,
    command: str,
    *flags: str | Path,
    known: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command on ``target``; the login is by its own key, and not by the agent's."""
    assert target.identity is not None
    record = agent.directory / "known"
    record.write_text(target.known_hosts() if known is None else known, "ascii")
    return subprocess.run(
        [
            *PROGRAMS[client]["ssh"],
            *map(str, flags),
            "-F", "none", "-p", str(target.port), "-l", target.user,
            "-o", f"UserKnownHostsFile={record}",
            "-o", "GlobalKnownHostsFile=none",
            "-o", "BatchMode=yes",
            "-o", "IdentitiesOnly=yes",
            "-i", str(target.identity.path),
            target.host,
            command,
        ],
        env={**agent.environment, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )  # fmt: skip


@MEETINGS
def test_the_agent_is_there_with_a_and_not_without_and_nothing_of_it_stays(
    agent: RunningAgent, client: str, server: str, running: Running, tmp_path: Path
) -> None:
    target = running(server).target
    key = make_key(tmp_path / "mine")
    agent.add(client, key.path)
    # One connection after the other, and two at once.
    with_it = ssh(agent, client, target, f"{ASK}; {ASK} & {ASK}; wait; echo $SSH_AUTH_SOCK", "-A")
    *answers, place = with_it.stdout.split()
    assert len(answers) == 3, with_it.stderr
    assert all(blob_of(key) in answer for answer in answers)
    assert with_it.stderr == ""
    without = ssh(agent, client, target, ASK, "-A", "-a")
    assert without.stdout == "none\n"
    wait_for(lambda: not Path(place).parent.exists(), "the socket's directory stays")


def test_forward_agent_names_another_agent_by_its_path_or_by_a_variable(
    running: Running, home: Path, tmp_path: Path
) -> None:
    target = running("tellin").target
    other = make_key(tmp_path / "other")
    (home / "2").mkdir()
    first, second = RunningAgent("tellin", home), RunningAgent("tellin", home / "2")
    try:
        second.add("tellin", other.path)
        for option in (
            f"ForwardAgent={second.path}",
            "ForwardAgent=$OTHER_AGENT",
            # IdentityAgent is the agent that is forwarded, too.
            f"IdentityAgent={second.path}",
        ):
            done = ssh(
                first, "tellin", target, ASK, "-o", option, "-o", "ForwardAgent=yes",
                environment={"OTHER_AGENT": str(second.path)},
            )  # fmt: skip
            assert blob_of(other) in done.stdout, (option, done.stderr)
        # A variable that is not set names none.
        done = ssh(first, "tellin", target, ASK, "-o", "ForwardAgent=$NO_SUCH")
        assert (done.stdout, done.returncode) == ("none\n", 0)
    finally:
        first.stop()
        second.stop()


@pytest.mark.parametrize(
    "client", ["tellin", pytest.param("openssh", marks=[openssh, pytest.mark.slow])]
)
def test_who_has_no_agent_forwards_none_and_hears_nothing_of_it(
    agent: RunningAgent, client: str, running: Running
) -> None:
    gone = str(agent.directory / "nothing-here")
    done = ssh(
        agent, client, running("tellin").target, ASK, "-A", environment={"SSH_AUTH_SOCK": gone}
    )
    assert (done.stdout, done.stderr, done.returncode) == ("none\n", "", 0)


@PAIRS
def test_an_agent_that_dies_is_gone_there_too(
    agent: RunningAgent, client: str, server: str, running: Running
) -> None:
    place = agent.directory
    target = running(server).target

    def kill() -> None:
        wait_for((place / "held").exists, "the agent was not reached")
        agent.stop()
        (place / "go").touch()

    killing = threading.Thread(target=kill)
    killing.start()
    done = ssh(agent, client, target, f"{ASK} {place}; {ASK}", "-A")
    killing.join(SECONDS)
    # The connection that there was, and a new one.
    assert done.stdout == "gone\ngone\n", done.stderr


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Two servers that the second hop may or may not go to."""
    made = {name: TellinServer(tmp_path_factory.mktemp(name)) for name in ("allowed", "forbidden")}
    with made["allowed"], made["forbidden"]:
        yield dict(made)


@pytest.mark.parametrize(
    ("agent", "way"),
    [
        # The client, the first server, and the client there.
        pytest.param("openssh", ("tellin", "sshd", "openssh"), marks=openssh),
        pytest.param("openssh", ("openssh", "tellin", "tellin"), marks=openssh),
        pytest.param("tellin", ("tellin", "tellin", "tellin"), marks=pytest.mark.slow),
    ],
    indirect=["agent"],
)
def test_a_key_kept_to_destinations_goes_on_by_the_permitted_way_alone(
    agent: RunningAgent,
    way: tuple[str, str, str],
    running: Running,
    hosts: dict[str, Server],
    tmp_path: Path,
) -> None:
    client, server, inner = way
    first, key = running(server).target, make_key(tmp_path / "kept")
    known = named(first, "first")
    for name, host in hosts.items():
        known += named(host.target, name)
        (host.directory / "authorized_keys").write_text(f"{key.public}\n", "ascii")
    record = agent.directory / "names"
    record.write_text(known, "ascii")
    agent.add(client, "-H", record, "-h", "first>allowed", "-h", "first", key.path)

    def go_on(name: str) -> subprocess.CompletedProcess[str]:
        port = hosts[name].target.port
        words = (
            *PROGRAMS[inner]["ssh"],
            *("-F", "none", "-p", str(port), "-o", f"UserKnownHostsFile={record}"),
            *("-o", "BatchMode=yes", "-o", "IdentityFile=/nonexistent"),
            *("-o", f"HostKeyAlias={name}", "127.0.0.1", "echo", "through"),
        )
        return ssh(
            agent, client, first, " ".join(words), "-A", "-o", "HostKeyAlias=first", known=known
        )

    through = go_on("allowed")
    assert through.stdout == "through\n", through.stderr
    assert go_on("forbidden").returncode == 255
    # From here, and not by way of the first host, the key is for nobody else.
    assert agent.logs_in(client, hosts["allowed"].target).returncode == 255


@pytest.mark.parametrize(
    "client", ["tellin", pytest.param("openssh", marks=[openssh, pytest.mark.slow])]
)
def test_a_server_whose_key_has_changed_is_lent_no_agent(
    agent: RunningAgent, client: str, running: Running, tmp_path: Path
) -> None:
    target = running("tellin").target
    other = make_key(tmp_path / "other")
    done = ssh(
        agent, client, target, ASK, "-A", "-o", "StrictHostKeyChecking=no",
        known=f"[127.0.0.1]:{target.port} {other.public}\n",
    )  # fmt: skip
    assert done.stdout == "none\n"
    assert "Agent forwarding is disabled to avoid man-in-the-middle attacks." in done.stderr


@PAIRS
def test_what_is_left_running_keeps_the_connection_as_long_as_it_holds_the_agent(
    agent: RunningAgent, client: str, server: str, running: Running
) -> None:
    """As OpenSSH has it: who was led to the agent is not cut off by the end of the command."""
    place = agent.directory
    command = f"{ASK} {place} </dev/null >/dev/null 2>&1 & while test ! -e {place}/held; do sleep 0.05; done"

    def let_go() -> None:
        wait_for((place / "held").exists, "the agent was not reached")
        (place / "go").touch()

    letting_go = threading.Thread(target=let_go)
    letting_go.start()
    done = ssh(agent, client, running(server).target, command, "-A")
    letting_go.join(SECONDS)
    assert done.returncode == 0, done.stderr
    wait_for((place / "said").exists, "nothing was said")
    # 12 is the answer to a question for keys.
    assert (place / "said").read_text("ascii")[8:10] == "0c"


# Programs of one's own: a library's client, and a library's server


@pytest.mark.parametrize(
    "server", ["tellin", pytest.param("sshd", marks=[openssh, pytest.mark.slow])]
)
@awaited
async def test_a_library_lends_an_agent_to_what_it_runs(
    agent: RunningAgent, server: str, running: Running, tmp_path: Path
) -> None:
    target = running(server).target
    assert target.identity is not None
    key = make_key(tmp_path / "lent")
    agent.add("tellin", key.path)
    options: Any = {
        "port": target.port,
        "user": target.user,
        "host_keys": [tellin.load_public_key(line) for line in target.host_keys],
        "keys": [target.identity.path],
        "config": None,
    }
    async with tellin.connect(target.host, forward_agent=agent.path, **options) as connection:
        assert blob_of(key) in (await connection.run(ASK)).stdout
        assert blob_of(key) in (await connection.run(ASK)).stdout
    async with tellin.connect(target.host, **options) as connection:
        assert (await connection.run(ASK)).stdout == "none\n"
    with socket.socket(socket.AF_UNIX) as bare:
        bare.connect(str(agent.path))
        with pytest.raises(tellin.UsageError, match="without a path"):
            tellin.connect(target.host, forward_agent=Agent(bare), **options)


@pytest.mark.parametrize(
    "client", ["tellin", pytest.param("openssh", marks=[openssh, pytest.mark.slow])]
)
@awaited
async def test_a_function_that_serves_asks_the_clients_agent_and_logs_in_by_it(
    agent: RunningAgent, client: str, running: Running, tmp_path: Path
) -> None:
    """It goes on to another host with the client's keys, which stay where they are."""
    key = make_key(tmp_path / "lent")
    agent.add("tellin", key.path)
    behind = running("tellin")
    with (behind.directory / "authorized_keys").open("a", encoding="ascii") as lines:
        lines.write(f"{key.public}\n")

    async def serve(process: tellin.ServerProcess[str]) -> int:
        if not process.forwards_agent:
            with pytest.raises(tellin.UsageError, match="does not forward its agent"):
                await process.open_agent()
            await process.stdout.write("none")
            return 3
        with Agent(await process.open_agent()) as asked:
            keys = await asyncio.to_thread(asked.keys)
            assert [one.blob.hex() for one in keys] == [blob_of(key)]
            async with tellin.connect(
                behind.target.host,
                port=behind.target.port,
                user=behind.target.user,
                host_keys=[tellin.load_public_key(line) for line in behind.target.host_keys],
                agent=asked,
                config=None,
            ) as further:
                await process.stdout.write((await further.run("echo through")).stdout)
        return 0

    login = make_key(tmp_path / "login")
    host_key = PrivateKey.generate("ed25519")
    async with tellin.serve(
        host_keys=[host_key],
        authorized_keys=[tellin.load_public_key(login.public)],
        session=serve,
    ) as server:
        target = Target(server.port, "me", (host_key.public.to_line(),), login, None)
        done = await asyncio.to_thread(ssh, agent, client, target, "go on", "-A")
        assert (done.stdout, done.returncode) == ("through\n", 0), done.stderr
        done = await asyncio.to_thread(ssh, agent, client, target, "go on")
        assert (done.stdout, done.returncode) == ("none", 3), done.stderr


@awaited
async def test_programs_of_a_library_s_server_find_the_agent_unless_the_key_says_no(
    agent: RunningAgent, tmp_path: Path
) -> None:
    login = make_key(tmp_path / "login")
    host_key = PrivateKey.generate("ed25519")
    lines = tmp_path / "authorized"
    for options, answer in (("", "0000"), ("restrict ", "none")):
        lines.write_text(f"{options}{login.public}\n", "ascii")
        async with tellin.serve(
            host_keys=[host_key],
            authorized_keys=lines,
            session=tellin.RunCommands(),
        ) as server:
            target = Target(server.port, "me", (host_key.public.to_line(),), login, None)
            done = await asyncio.to_thread(
                ssh, agent, "tellin", target, f"{ASK}; echo $SSH_AUTH_SOCK", "-A"
            )
            said, *path = done.stdout.split()
            assert (said[:4], len(path)) == (answer, 0 if options else 1), done.stderr
            for gone in map(Path, path):
                wait_for(lambda gone=gone: not gone.exists(), "the socket stays")  # type: ignore[misc]
