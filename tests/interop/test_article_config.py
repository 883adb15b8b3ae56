# SPDX-License-Identifier: MIT
"""What introductions to SSH tell of ~/.ssh/config, typed as it is told: rows 16 and 40."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.config.paper_machine import PaperMachine
from tests.interop.children import Child
from tests.interop.network import Network
from tests.interop.pairs import ALL_SERVERS, pairs
from tests.interop.peers import Account, Server
from tests.interop.tellin_peer import within_reach

from tellin.config.ssh_reading import read_ssh_config
from tellin.keys import load_public_key

PATIENCE = 60
BOTH_WAYS = pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("sshd", "tellin"))
)
ADDRESS = "192.168.1.100"
# The two blocks: a host by its alias, and what is for every host.
BLOCKS = """\
Host production-server
    HostName 192.168.1.100
    User {user}
    Port 2222
    IdentityFile ~/.ssh/id_rsa_production

Host *
    ServerAliveInterval 60
    ServerAliveCountMax 3
    ForwardX11 yes
"""


class Production:
    """The server of the blocks, in a network where it has its address, and a user with these blocks."""

    def __init__(self, kind: str, directory: Path, network: Network, account: Account) -> None:
        self.network = network
        self.account = account
        options = {"Port": 2222, "ListenAddress": ADDRESS}
        self.server: Server = ALL_SERVERS[kind](
            directory, account=account, user_key="rsa", options=options
        )
        log = self.server.directory / "log"
        self._child = Child(network.argv(self.server.argv()), log=log)
        self._child.wait_for_log("Server listening on")
        self.home = account.home / ".ssh"
        self.home.mkdir(mode=0o700)
        shutil.copy(self.server.identity.path, self.home / "id_rsa_production")
        host_key = " ".join(self.server.host_keys[0].public.split()[:2])
        (self.home / "known_hosts").write_text(f"[{ADDRESS}]:2222 {host_key}\n", "ascii")
        self.configure(BLOCKS.format(user=account.name))
        account.own(self.home, *self.home.iterdir())

    def configure(self, text: str) -> None:
        (self.home / "config").write_text(text, "ascii")
        (self.home / "config").chmod(0o600)

    def log(self) -> str:
        return self._child.log()

    def argv(self, client: str, *words: str) -> list[str]:
        """``ssh ...`` as the user types it, by either program."""
        ssh = [*within_reach(self.account)[0], "ssh"] if client == "tellin" else ["ssh"]
        return self.network.argv([*ssh, *words], account=self.account)

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], **within_reach(self.account)[1]}

    def start(self, client: str, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.argv(client, *words),
            env=self.environment(),
            cwd=self.account.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, client: str, *words: str) -> tuple[int, list[str], list[str]]:
        """The status, and the lines of output and of errors."""
        with self.start(client, *words) as process:
            out, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, out.decode().splitlines(), errors.decode().splitlines()

    def stop(self) -> None:
        self._child.stop()
        shutil.rmtree(self.home)


@pytest.fixture
def production(server: str, tmp_path: Path, account: Account) -> Iterator[Production]:
    shutil.rmtree(account.home / ".ssh", ignore_errors=True)
    with Network(f"ip address add {ADDRESS}/32 dev lo") as network:
        made = Production(server, tmp_path, network, account)
        yield made
        made.stop()


# ------------------------------------------------------------------------- 16: ~/.ssh/config


@pytest.mark.root
@BOTH_WAYS
def test_row_16_an_alias_brings_host_user_port_and_key(
    client: str, server: str, production: Production
) -> None:
    """ssh production-server."""
    account = production.account
    said = production.run(client, "production-server", "echo $SSH_CONNECTION; id -un")
    assert said[0] == 0, said
    assert said[1][0].split()[2:] == [ADDRESS, "2222"]
    assert said[1][1] == account.name
    assert said[2] == []
    key = load_public_key(production.server.identity.public.encode())
    assert f"Accepted publickey for {account.name}" in production.log()
    assert f"RSA {key.fingerprint()}" in production.log()
    # Without the alias nothing of its block holds: nobody listens on port 22.
    elsewhere = production.run(client, ADDRESS, "true")
    assert elsewhere == (
        255,
        [],
        [f"ssh: connect to host {ADDRESS} port 22: Connection refused"],
    )


@pytest.mark.root
@pytest.mark.peer("ssh")
@pytest.mark.parametrize("server", ["tellin"])
def test_row_16_both_programs_take_the_same_from_the_blocks(
    server: str, production: Production
) -> None:
    wanted = {
        "hostname": ADDRESS,
        "user": production.account.name,
        "port": "2222",
        "identityfile": "~/.ssh/id_rsa_production",
        "serveraliveinterval": "60",
        "serveralivecountmax": "3",
        "forwardx11": "yes",
    }
    other = {**wanted, "hostname": "elsewhere", "port": "22"}
    # Each version has keys of its own that it tries unasked.
    del other["identityfile"]
    for alias, values in {"production-server": wanted, "elsewhere": other}.items():
        shown = {
            program: [
                line
                for line in production.run(program, "-G", alias)[1]
                if line.split()[0] in values
            ]
            for program in ("tellin", "ssh")
        }
        assert sorted(shown["tellin"]) == sorted(shown["ssh"])
        assert {f"{name} {value}" for name, value in values.items()} == {*shown["tellin"]}


@pytest.mark.root
@pytest.mark.parametrize("server", ["tellin"])
@pytest.mark.parametrize(
    ("client", "mode"),
    [
        ("tellin", 0o666),
        ("tellin", 0o602),
        # Debian's OpenSSH lets the group write if nobody else is in it.
        ("tellin", 0o620),
        pytest.param("ssh", 0o666, marks=pytest.mark.peer("ssh")),
        pytest.param("ssh", 0o602, marks=pytest.mark.peer("ssh")),
    ],
)
def test_row_16_a_file_that_others_may_write_is_not_believed(
    client: str, server: str, production: Production, mode: int
) -> None:
    config = production.home / "config"
    config.chmod(mode)
    said = production.run(client, "production-server", "true")
    assert said == (255, [], [f"Bad owner or permissions on {config}"])
    config.chmod(0o644)
    assert production.run(client, "production-server", "true")[0] == 0
    os.chown(config, production.account.uid + 1, -1)
    assert production.run(client, "production-server", "true") == said


@pytest.mark.root
@BOTH_WAYS
def test_row_16_a_peer_that_is_frozen_is_given_up_after_three_signs_of_life(
    client: str, server: str, production: Production
) -> None:
    """ServerAliveInterval 60 and ServerAliveCountMax 3, sixty times as fast."""
    text = BLOCKS.format(user=production.account.name)
    production.configure(text.replace("Interval 60", "Interval 1"))
    with production.start(client, "production-server", "echo $PPID; sleep 600") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        # A peer that answers is kept, however long it says nothing of its own.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(5)
        os.kill(pid, signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            os.kill(pid, signal.SIGKILL)
    assert time.monotonic() - frozen > 2
    assert process.returncode == 255
    assert errors.decode().splitlines() == [f"Timeout, server {ADDRESS} not responding."]


# ------------------------------------------------------------------------- 40: where the files are

TEXT = (
    "Host production-server\n  HostName 192.168.1.100\n  IdentityFile ~/.ssh/id_rsa_production\n"
)


@pytest.mark.parametrize(
    ("system", "home", "environment", "files"),
    [
        (
            "linux", "/home/me", {"HOME": "/somewhere/else"},
            ("/home/me/.ssh/config", "/etc/ssh/ssh_config"),
        ),
        (
            "darwin", "/Users/me", {"HOME": "/somewhere/else"},
            ("/Users/me/.ssh/config", "/etc/ssh/ssh_config"),
        ),
        (
            "win32", r"C:\Users\me",
            {"USERPROFILE": r"C:\Users\me", "PROGRAMDATA": r"D:\Data", "HOME": "/elsewhere"},
            (r"C:\Users\me\.ssh\config", r"D:\Data\ssh\ssh_config"),
        ),
    ],
)  # fmt: skip
def test_row_40_each_system_has_the_files_in_its_place(
    system: str, home: str, environment: dict[str, str], files: Sequence[str]
) -> None:
    """~/.ssh/config on Linux and macOS, %USERPROFILE%\\.ssh\\config on Windows.

    Linux is what tellin has been run on; the others' paths are shown on paper.
    """
    machine = PaperMachine(
        {files[0]: TEXT, files[1]: "Port 2222\n"}, system=system, home=home, **environment
    )
    found = read_ssh_config(machine, "production-server").expanded(machine)
    assert (found.host, found.port) == ("192.168.1.100", 2222)
    assert found.origin("hostname") == (files[0], 2)
    assert found.origin("port") == (files[1], 1)
    assert found.identity_file == (f"{home}/.ssh/id_rsa_production",)


@pytest.mark.root
@pytest.mark.parametrize("server", ["tellin"])
@pytest.mark.parametrize("client", ["tellin", pytest.param("ssh", marks=pytest.mark.peer("ssh"))])
def test_row_40_on_linux_the_accounts_home_counts_and_not_home(
    client: str, server: str, production: Production, tmp_path: Path
) -> None:
    words = production.argv(client, "-G", "production-server")
    done = subprocess.run(
        words,
        env={**production.environment(), "HOME": str(tmp_path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert f"hostname {ADDRESS}\n" in done.stdout
