# SPDX-License-Identifier: MIT
"""``ssh -J``: through other servers inside one process, beside OpenSSH's client, which starts one for each."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.interop.agents import RunningAgent
from tests.interop.children import descendants
from tests.interop.peers import TERMINALS_OF_SSHD, OpenSSHServer, Server, make_key
from tests.interop.target import Completed, free_port
from tests.interop.tellin_peer import TellinServer
from tests.programs.ssh_runs import EITHER, SSH, Typist, said

pytestmark = pytest.mark.peer("sshd")

PATIENCE = 60


class Hosts:
    """Three servers that a configuration calls one, two and three, each with keys and records of its own."""

    def __init__(self, folder: Path, servers: Sequence[Server], program: Sequence[str]) -> None:
        self.folder = folder
        self.program = list(program)
        self.servers = dict(zip(("one", "two", "three"), servers, strict=True))
        self.config = folder / "config"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SSH_", "DISPLAY", "TELLIN_", "GIT_"))
        }
        blocks = [self.block(name) for name in self.servers]
        self.config.write_text("".join(blocks), "ascii")

    def block(self, name: str) -> str:
        """The lines for one; they say where it is and how to get in, and nothing of the others."""
        server, records = self.servers[name], self.records(name)
        records.write_text(server.target.known_hosts(), "ascii")
        lines = {
            "Hostname": "127.0.0.1",
            "Port": server.port,
            "User": server.user,
            "IdentityFile": server.identity.path,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": records,
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
        }
        return f"Host {name}\n" + "".join(f"  {key} {value}\n" for key, value in lines.items())

    def records(self, name: str) -> Path:
        return self.folder / f"known_{name}"

    def add(self, *lines: str) -> None:
        """Lines that stand before all others."""
        text = "".join(f"{line}\n" for line in lines)
        self.config.write_text(text + self.config.read_text("ascii"), "ascii")

    def argv(self, *words: str) -> list[str]:
        return [*self.program, "-F", str(self.config), *words]

    def run(self, *words: str, input: bytes = b"") -> Completed:  # noqa: A002
        done = subprocess.run(
            self.argv(*words),
            input=input,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            env=self.environment,
            start_new_session=True,
        )
        return Completed(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[list[Server]]:
    """OpenSSH's, tellin's, and OpenSSH's again."""
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    folder = tmp_path_factory.mktemp("servers")
    options = {"LogLevel": "DEBUG"}
    with (
        OpenSSHServer(folder, account=account, options=options) as one,
        TellinServer(folder) as two,
        OpenSSHServer(folder, account=account, options=options) as three,
    ):
        yield [one, two, three]


@pytest.fixture(params=EITHER)
def hosts(request: pytest.FixtureRequest, servers: list[Server], tmp_path: Path) -> Hosts:
    """Both clients, so that what OpenSSH's does is seen and not remembered."""
    return Hosts(tmp_path, servers, SSH if request.param == "tellin" else ("ssh",))


@pytest.fixture
def ours(servers: list[Server], tmp_path: Path) -> Hosts:
    return Hosts(tmp_path, servers, SSH)


def eventually(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


# ------------------------------------------------------------------------- the way


def test_row_35_three_hops(hosts: Hosts) -> None:
    data = os.urandom(3_000_000)
    done = hosts.run("-J", "one,two", "three", "cat; echo end >&2; exit 7", input=data)
    assert (done.status, done.stderr) == (7, b"end\n")
    assert done.stdout == data


@pytest.mark.parametrize(
    "lines",
    [
        ["Host three", "  ProxyJump one,two"],
        ["Host three", "  ProxyJump two", "Host two", "  ProxyJump one"],
        [
            "Host three",
            "  ProxyJump one",
            "Match host 127.0.0.1 originalhost one",
            "  ProxyJump two",
        ],
        ["Host three", "  ProxyJump ssh://one,two", "Host two", "  ProxyJump none"],
        ["Host three", "  ProxyJump none", "  ProxyJump one", "  ProxyCommand false"],
    ],
    ids=["a list", "one by one", "by match", "addresses", "none comes first"],
)
def test_the_configuration_says_the_way(hosts: Hosts, lines: list[str]) -> None:
    """Every hop has its own part of it."""
    if lines[1] == "  ProxyJump none":
        lines = [*lines[:2], *lines[2:3]]
    hosts.add(*lines)
    done = hosts.run("three", "echo inside")
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["-o", "ProxyJump=one", "-o", "ProxyCommand=false"], 0),
        (["-o", "ProxyCommand=none", "-o", "ProxyJump=nowhere.invalid"], 0),
        (["-J", "none", "-o", "ProxyJump=nowhere.invalid"], 0),
        (["-J", "one", "-o", "ProxyCommand=false"], 0),
        (["-o", "ProxyJump=none", "-o", "ProxyCommand=false"], 255),
        (["-o", "ProxyCommand=false", "-o", "ProxyJump=one"], 255),
    ],
)
def test_what_comes_first_counts(hosts: Hosts, options: list[str], status: int) -> None:
    assert hosts.run(*options, "three", "exit 0").status == status


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-J", "one", "-J", "two"], "Only a single -J option is permitted"),
        (["-oProxyCommand=false", "-J", "two"], "Cannot specify -J with ProxyCommand"),
        (["-J", "one,,two"], "Invalid -J argument"),
        (["-J", ""], "Invalid -J argument"),
        (["-J", "one;id"], "Invalid -J argument"),
        (["-J", "-oProxyCommand=id"], "Invalid -J argument"),
    ],
)
def test_r170_a_list_that_is_none_is_refused(hosts: Hosts, words: list[str], told: str) -> None:
    done = hosts.run(*words, "three", "true")
    assert done.status == 255
    assert said(done)[-1].startswith(told)


def test_options_of_the_command_line_are_the_servers_alone(hosts: Hosts) -> None:
    """A hop takes neither the user nor the key nor the records that are named for the server."""
    three = hosts.servers["three"]
    config = hosts.config.read_text("ascii").partition("Host three")[0]
    hosts.config.write_text(config, "ascii")
    words = [
        *("-l", three.user, "-p", str(three.port), "-i", str(three.identity.path)),
        *("-o", f"UserKnownHostsFile={hosts.records('three')}", "-o", "IdentitiesOnly=yes"),
        *("-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none"),
    ]
    done = hosts.run(*words, "-J", "one", "127.0.0.1", "echo inside")
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")


def test_user_and_port_of_a_hop_can_be_named(hosts: Hosts) -> None:
    one, two = hosts.servers["one"], hosts.servers["two"]
    text = hosts.config.read_text("ascii")
    for server in (one, two):
        text = text.replace(f"  Port {server.port}\n", "  Port 1\n", 1)
        text = text.replace(f"  User {server.user}\n", "  User nobody-at-all\n", 1)
    hosts.config.write_text(text, "ascii")
    jumps = f"{one.user}@one:{one.port},ssh://{two.user}@two:{two.port}"
    done = hosts.run("-J", jumps, "three", "echo inside")
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")


def test_the_last_hop_finds_the_server(hosts: Hosts) -> None:
    """Its name and port as they stand here, found there."""
    done = hosts.run("-J", "one", "-o", "Hostname=localhost", "-o", "HostKeyAlias=three",
                     "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                     "-o", "LogLevel=ERROR", "three", "echo inside")  # fmt: skip
    assert (done.status, done.stdout) == (0, b"inside\n")


def test_a_command_may_lead_to_the_first_hop(hosts: Hosts, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    port = hosts.servers["one"].port
    hosts.add("Host one", f"  ProxyCommand sh -c 'echo %h %p > {mark}; exec nc 127.0.0.1 {port}'")
    done = hosts.run("-J", "one,two", "three", "echo inside")
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")
    assert mark.read_text("ascii") == f"127.0.0.1 {port}\n"


@pytest.mark.peer("ssh-agent")
def test_each_hop_has_the_agent_that_its_configuration_names(hosts: Hosts, tmp_path: Path) -> None:
    """All three by its keys; and not the second, where that one is to use none."""
    agent = RunningAgent("openssh", tmp_path)
    try:
        text = hosts.config.read_text("ascii").replace("  IdentitiesOnly yes\n", "")
        for server in hosts.servers.values():
            key = str(server.identity.path)
            subprocess.run(["ssh-add", "-q", key], env=agent.environment, check=True)
            text = text.replace(f"  IdentityFile {key}\n", "  IdentityFile /nonexistent\n")
        hosts.config.write_text(text, "ascii")
        hosts.environment["SSH_AUTH_SOCK"] = str(agent.path)
        done = hosts.run("-J", "one,two", "three", "echo inside")
        assert (done.status, done.stdout) == (0, b"inside\n")
        hosts.add("Host two", "  IdentityAgent none")
        done = hosts.run("-o", "BatchMode=yes", "-J", "one,two", "three", "echo inside")
        assert (done.status, done.stdout) == (255, b"")
        assert b"Permission denied" in done.stderr
    finally:
        agent.stop()


def test_nothing_else_is_started(ours: Hosts) -> None:
    """No shell, no further process: the connections are one inside the other."""
    process = subprocess.Popen(
        ours.argv("-J", "one,two", "three", "echo in; cat"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ours.environment,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii")
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    process.stdout.close()
    assert children == ""


@TERMINALS_OF_SSHD
def test_a_shell_may_be_far_away(ours: Hosts) -> None:
    """In the background, with a terminal, and with questions on the way: by the same connection."""
    with Typist(
        [
            ours.program[0],
            *ours.argv("-tt", "-J", "one,two", "three", "tty; read x; echo got $x")[1:],
        ],
        env=ours.environment,
    ) as typist:
        typist.expect("/dev/pts/[0-9]+")
        typist.type("words\r")
        typist.expect("got words")
        assert typist.end() == 0


@pytest.mark.root
def test_questions_of_hops_come_to_the_terminal(ours: Hosts) -> None:
    """An unknown hop and its password; both name it."""
    one = ours.servers["one"]
    text = ours.config.read_text("ascii")
    ours.config.write_text(
        text.replace(f"  IdentityFile {one.identity.path}\n", "  PubkeyAuthentication no\n", 1),
        "ascii",
    )
    ours.add("Host one", "  StrictHostKeyChecking ask")
    records = ours.records("one")
    records.write_text("", "ascii")
    argv = ours.argv("-J", "one", "three", "echo in''side")
    with Typist([ours.program[0], *argv[1:]], env=ours.environment) as typist:
        typist.expect("The authenticity of host")
        typist.type("yes\r")
        typist.expect(f"{one.user}@one's password: ")
        typist.type(f"{one.password}\r")
        typist.expect("inside")
        assert typist.end() == 0
    assert records.read_text("ascii").startswith(f"[127.0.0.1]:{one.port} ")


# ------------------------------------------------------------------------- what goes wrong


def test_a_wrong_host_key_in_the_middle_is_refused_and_named(ours: Hosts, tmp_path: Path) -> None:
    two = ours.servers["two"]
    other = make_key(tmp_path / "other").public
    ours.records("two").write_text(f"[127.0.0.1]:{two.port} {other}\n", "ascii")
    before = two.log().count("Accepted")
    done = ours.run("-J", "one,two", "three", "echo inside")
    assert (done.status, done.stdout) == (255, b"")
    lines = said(done)
    assert (
        f"Host key for [127.0.0.1]:{two.port} has changed and you have requested strict checking."
        in lines
    )
    assert lines[-2:] == [
        "Host key verification failed.",
        f"The way ends at jump host two (127.0.0.1 port {two.port}).",
    ]
    assert two.log().count("Accepted") == before


def test_a_login_that_is_refused_on_the_way_is_named(ours: Hosts, tmp_path: Path) -> None:
    two = ours.servers["two"]
    text = ours.config.read_text("ascii")
    other = make_key(tmp_path / "other").path
    ours.config.write_text(text.replace(str(two.identity.path), str(other)), "ascii")
    done = ours.run("-o", "BatchMode=yes", "-J", "one,two", "three", "true")
    assert done.status == 255
    assert "Permission denied" in said(done)[-2]
    assert said(done)[-1] == f"The way ends at jump host two (127.0.0.1 port {two.port})."


def test_a_hop_that_is_not_there_is_named(ours: Hosts) -> None:
    port = free_port()
    done = ours.run("-J", f"one,127.0.0.1:{port},two", "three", "true")
    assert done.status == 255
    one = ours.servers["one"]
    # Whoever was asked to go on from there says so.
    assert said(done) == [
        refused_behind(one, port),
        f"The way ends at jump host 127.0.0.1 (127.0.0.1 port {port}).",
    ]
    done = ours.run("-J", f"127.0.0.1:{port}", "three", "true")
    assert said(done) == [
        f"ssh: connect to host 127.0.0.1 port {port}: Connection refused",
        f"The way ends at jump host 127.0.0.1 (127.0.0.1 port {port}).",
    ]


def refused_behind(hop: Server, port: int) -> str:
    where = f"127.0.0.1 port {port} through jump host one (127.0.0.1 port {hop.port})"
    return f"ssh: connect to host {where}: Connection refused"


def test_a_server_that_the_last_hop_does_not_find(ours: Hosts) -> None:
    port, one = free_port(), ours.servers["one"]
    done = ours.run("-J", "one", "-p", str(port), "three", "true")
    assert done.status == 255
    assert said(done) == [
        refused_behind(one, port),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ["Host *", "  ProxyJump one"],
        ["Host one", "  ProxyJump two", "Host two", "  ProxyJump one"],
    ],
    ids=["everywhere", "in a circle"],
)
def test_a_way_in_a_circle_ends(ours: Hosts, lines: list[str]) -> None:
    """OpenSSH's client starts itself without end."""
    ours.add(*lines)
    done = ours.run("one", "true")
    assert done.status == 255
    (line,) = said(done)
    assert "jumphost loop via one" in line


def test_a_way_without_end_ends(ours: Hosts) -> None:
    """A name that leads to another one, each time: no circle, and a bound."""
    ours.add("Host x*", "  Port 1", "  ProxyJump %n1")
    done = ours.run("x", "true")
    assert done.status == 255
    (line,) = said(done)
    assert "jumphost loop via x1111" in line


def test_when_the_first_hop_dies_the_session_dies(
    servers: list[Server], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with OpenSSHServer(tmp_path, account=account) as one:
        hosts = Hosts(tmp_path, [one, *servers[1:]], SSH)
        process = subprocess.Popen(
            hosts.argv("-J", "one,two", "three", "echo in; cat"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=hosts.environment,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"in\n"
        # The process of the connection, which the listening one has left alone.
        assert one.child is not None
        for pid in descendants(one.child.process.pid):
            os.kill(pid, 9)
        assert process.wait(PATIENCE) == 255
        lines = process.stderr.read().decode().splitlines()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    assert lines[0].startswith(f"jump host one (127.0.0.1 port {one.port}): ")
    assert lines[-1] == "Connection to 127.0.0.1 closed by remote host."


# ------------------------------------------------------------------------- what people do by it


def test_git_clones_through_three_hops(hosts: Hosts, tmp_path: Path) -> None:
    # Here the last one is ours: another account cannot look into this folder.
    made = tmp_path / "made"
    environment = {
        **hosts.environment,
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_SSH_COMMAND": " ".join(hosts.argv("-J", "one,three")),
        **{
            f"GIT_{who}_{what}": "x"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *words], env=environment, capture_output=True,
            text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    git("init", "-q", "-b", "main", str(made))
    (made / "file").write_bytes(os.urandom(500_000))
    git("-C", str(made), "add", "file")
    git("-C", str(made), "commit", "-qm", "words")
    git("clone", "-q", f"ssh://two{made}", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "file").read_bytes() == (made / "file").read_bytes()


def test_the_background_keeps_the_way(ours: Hosts, tmp_path: Path) -> None:
    """-f: what goes on behind it has all connections."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    command = f"while [ ! -e {go} ]; do sleep 0.1; done; touch {mark}"
    argv = ours.argv("-f", "-J", "one", "two", command)
    # Whoever waits for the end of a pipe would wait for the command.
    null = subprocess.DEVNULL
    done = subprocess.run(
        argv,
        stdin=null,
        stdout=null,
        stderr=null,
        env=ours.environment,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    assert not mark.exists()
    go.touch()
    eventually(mark.exists)
