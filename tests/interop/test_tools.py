# SPDX-License-Identifier: MIT
"""git, rsync, sshfs and scp on top of ssh: through tellin's client, to tellin's server, and by way of other hosts."""

import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.interop.network import Network
from tests.interop.servers import OpenSSHServer, Server
from tests.interop.target import KeyFile, make_key
from tests.interop.tellin_peer import TELLIN, TellinServer

PATIENCE = 60.0


def configuration(folder: Path, lines: list[str]) -> Path:
    path = folder / "config"
    path.write_text("".join(f"{line}\n" for line in lines), "ascii")
    return path


def run(
    *words: str | Path, env: Mapping[str, str], cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(word) for word in words],
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def environment(folder: Path) -> dict[str, str]:
    """What keeps tools away from the user's own files."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "GIT_"))},
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }


def wrapper(folder: Path, command: list[str]) -> Path:
    """A program that is one word, for tools that take no more."""
    path = folder / "ssh-wrapper"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "ascii")
    path.chmod(0o755)
    return path


def clone_and_push(folder: Path, place: Path, host: str, env: Mapping[str, str]) -> None:
    """A repository there is cloned, gets something new, and has it in the end."""
    run("git", "init", "-q", "--bare", "-b", "main", place, env=env)
    here = folder / "clone"
    run("git", "clone", "-q", f"{host}:{place}", here, env=env)
    content = os.urandom(300_000)
    (here / "file").write_bytes(content)
    run("git", "add", "file", env=env, cwd=here)
    run("git", "commit", "-q", "-m", "one", env=env, cwd=here)
    run("git", "push", "-q", "origin", "HEAD:main", env=env, cwd=here)
    again = folder / "again"
    run("git", "clone", "-q", f"{host}:{place}", again, env=env)
    assert (again / "file").read_bytes() == content


# --- one of both ends is tellin's

ENDS = pytest.mark.parametrize(
    ("client", "server"),
    [("tellin", OpenSSHServer), ("ssh", TellinServer)],
    ids=["tellin-ssh", "tellin-sshd"],
)


@pytest.fixture
def reached(
    tmp_path: Path, client: str, server: type[Server]
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The command line of an ssh that reaches ``there``, as the user that runs the tests."""
    with server(tmp_path) as running:
        target = running.target
        records = tmp_path / "known_hosts"
        records.write_text(target.known_hosts(), "ascii")
        config = configuration(
            tmp_path,
            [
                "Host there",
                f"  Hostname {target.host}",
                f"  Port {target.port}",
                f"  User {target.user}",
                f"  IdentityFile {target.identity.path}",
                f"  UserKnownHostsFile {records}",
                "  GlobalKnownHostsFile none",
            ],
        )
        program = [*TELLIN, "ssh"] if client == "tellin" else ["ssh"]
        yield [*program, "-F", str(config)], environment(tmp_path)


@pytest.mark.peer("ssh", "sshd", "git")
@ENDS
def test_git_clones_and_pushes(tmp_path: Path, reached: tuple[list[str], dict[str, str]]) -> None:
    command, env = reached
    env["GIT_SSH_COMMAND"] = shlex.join(command)
    clone_and_push(tmp_path, tmp_path / "repository", "there", env)


@pytest.mark.peer("ssh", "sshd", "rsync")
@ENDS
def test_rsync_brings_there_and_back(
    tmp_path: Path, reached: tuple[list[str], dict[str, str]]
) -> None:
    command, env = reached
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    (here / "deep").mkdir(parents=True)
    content = os.urandom(2_000_000)
    (here / "deep" / "large").write_bytes(content)
    (here / "empty").touch()
    shell = shlex.join(command)
    run("rsync", "-a", "-e", shell, f"{here}/", f"there:{there}", env=env)
    run("rsync", "-az", "-e", shell, f"there:{there}/", back, env=env)
    assert (back / "deep" / "large").read_bytes() == content
    assert (back / "empty").exists()
    # What is there already is not sent again.
    said = run("rsync", "-ai", "-e", shell, f"there:{there}/", back, env=env).stdout
    assert said == ""


@pytest.mark.peer("ssh", "sshd", "sshfs")
@ENDS
def test_sshfs_mounts_what_is_there(
    tmp_path: Path, reached: tuple[list[str], dict[str, str]]
) -> None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(
            f"no file system can be mounted by a program here: /dev/fuse: {error.strerror}"
        )
    command, env = reached
    there, mounted = tmp_path / "there", tmp_path / "mounted"
    there.mkdir()
    mounted.mkdir()
    (there / "one").write_text("from there\n")
    run(
        "sshfs",
        "-o",
        f"ssh_command={wrapper(tmp_path, command)}",
        f"there:{there}",
        mounted,
        env=env,
    )
    try:
        assert (mounted / "one").read_text() == "from there\n"
        (mounted / "two").write_text("from here\n")
        assert (there / "two").read_text() == "from here\n"
    finally:
        run("fusermount3", "-u", mounted, env=env)


# --- three hosts on the way, each of which sees its neighbours alone

HOSTS = ("one", "two", "three")


class Chain:
    """A client and three servers, each in a network of its own and joined to the next."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.networks = [stack.enter_context(Network()) for _ in range(4)]
        for number in range(1, 4):
            left, right = self.networks[number - 1 : number + 1]
            near, far = f"10.117.{number}.1/24", f"10.117.{number}.2/24"
            self._ip(left, f"link add right type veth peer name left netns {right.holder}")
            for network, name, address in ((left, "right", near), (right, "left", far)):
                self._ip(network, f"address add {address} dev {name}")
                self._ip(network, f"link set {name} up")
        self.key = make_key(folder / "id")
        self.host_key = make_key(folder / "host")
        (folder / "authorized").write_text(f"{self.key.public}\n")
        for number, program in enumerate((["/usr/sbin/sshd"], [*TELLIN, "sshd"], None), 1):
            self._serve(number, program or ["/usr/sbin/sshd"], stack)
        self.config = self._configure(self.key)

    def _ip(self, network: Network, words: str) -> None:
        done = subprocess.run(
            network.argv(["ip", *words.split()]), capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"networks cannot be joined here: {done.stderr.strip()}")

    def _serve(self, number: int, program: list[str], stack: ExitStack) -> None:
        address = f"10.117.{number}.2"
        config = self.folder / f"sshd_config_{number}"
        config.write_text(
            f"ListenAddress {address}\nPort 22\nHostKey {self.host_key.path}\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nStrictModes no\n"
            "PermitRootLogin yes\nSubsystem sftp internal-sftp\nUsePAM no\n"
        )
        log = self.folder / f"log_{number}"
        words = [*program, "-D", "-f", str(config), "-E", str(log)]
        process = subprocess.Popen(self.networks[number].argv(words), stdin=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        until = time.monotonic() + PATIENCE
        while not log.exists() or "Server listening on" not in log.read_text():
            assert process.poll() is None, log.read_text() if log.exists() else "no log"
            assert time.monotonic() < until
            time.sleep(0.05)

    def _configure(self, key: KeyFile) -> Path:
        records = self.folder / "known_hosts"
        public = " ".join(self.host_key.public.split()[:2])
        records.write_text("".join(f"10.117.{number}.2 {public}\n" for number in (1, 2, 3)))
        text = []
        for number, name in enumerate(HOSTS, 1):
            text += [f"Host {name}", f"  Hostname 10.117.{number}.2"]
        text += [
            "Host *",
            "  User root",
            f"  IdentityFile {key.path}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {records}",
            "  GlobalKnownHostsFile none",
        ]
        return configuration(self.folder, text)

    def ssh(self) -> list[str]:
        """The command line of an ssh that goes by one and two."""
        return self.networks[0].argv([*TELLIN, "ssh", "-F", self.config, "-J", "one,two"])


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with ExitStack() as stack:
        yield Chain(tmp_path_factory.mktemp("chain"), stack)


@pytest.mark.root
@pytest.mark.peer("sshd")
def test_three_hops_lead_where_nobody_can_go_directly(chain: Chain) -> None:
    env = environment(chain.folder)
    said = run(*chain.ssh(), "three", "echo $SSH_CONNECTION", env=env).stdout.split()
    assert (said[0], said[2]) == ("10.117.3.1", "10.117.3.2")
    direct = subprocess.run(
        chain.networks[0].argv([*TELLIN, "ssh", "-F", chain.config, "three", "true"]),
        env=env, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert direct.returncode == 255
    assert "Network is unreachable" in direct.stderr


@pytest.mark.root
@pytest.mark.peer("sshd", "git")
def test_git_goes_by_three_hops(chain: Chain, tmp_path: Path) -> None:
    env = environment(tmp_path)
    env["GIT_SSH_COMMAND"] = shlex.join(chain.ssh())
    clone_and_push(tmp_path, tmp_path / "repository", "three", env)


@pytest.mark.root
@pytest.mark.peer("sshd", "scp")
def test_scp_goes_by_three_hops(chain: Chain, tmp_path: Path) -> None:
    """OpenSSH's scp, which is given our ssh for its own."""
    env = environment(tmp_path)
    content = os.urandom(1_000_000)
    (tmp_path / "here").write_bytes(content)
    ssh = wrapper(tmp_path, chain.ssh())
    run("scp", "-q", "-S", ssh, tmp_path / "here", f"three:{tmp_path}/there", env=env)
    run("scp", "-q", "-S", ssh, f"three:{tmp_path}/there", tmp_path / "back", env=env)
    assert (tmp_path / "back").read_bytes() == content
