# SPDX-License-Identifier: MIT
"""Servers that read a guess (RFC 4253 section 7) in ways of their own are reached all the same: Paramiko, Dropbear."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import DropbearServer, ParamikoServer
from tests.library import awaited
from tests.programs.ssh_runs import SSH, Ssh

import tellin
from tellin.keys import PublicKey

# Methods whose openings it takes for one another in different ways: not one of them is our first.
METHODS = [
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp384",
    "diffie-hellman-group16-sha512",
]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.peer("paramiko")) for name in METHODS]
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ParamikoServer]:
    with ParamikoServer(tmp_path, options={"kex": [request.param]}) as running:
        yield running


def test_the_program_connects_again_without_a_guess(
    server: ParamikoServer, tmp_path: Path
) -> None:
    ssh = Ssh(tmp_path, server.target)
    done = ssh.run("echo here; exit 7")
    assert (done.status, done.stdout, done.stderr) == (7, b"here\n", b"")
    done = ssh.run("exit 7", flags=["-v", "-o", "ConnectTimeout=60"])
    assert done.status == 7
    assert done.stderr.count(b"debug1: Connecting to ") == 2
    assert done.stderr.count(b"connecting again without one") == 1


def test_a_proxy_command_is_started_once_and_nothing_is_guessed(
    server: ParamikoServer, tmp_path: Path
) -> None:
    ssh = Ssh(tmp_path, server.target)
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "os.write(2, b'started\\n')\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n",
        "ascii",
    )
    done = ssh.run("exit 7", flags=["-o", f"ProxyCommand={SSH[0]} {relay} %h %p"])
    assert (done.status, done.stderr) == (7, b"started\n")


@awaited
async def test_the_library_does_so_too_and_guesses_nothing_on_a_given_socket(
    server: ParamikoServer,
) -> None:
    target = server.target
    assert target.identity is not None
    for sock in (None, socket.create_connection((target.host, target.port))):
        async with tellin.connect(
            target.host,
            port=target.port,
            user=target.user,
            config=None,
            keys=[target.identity.path],
            host_keys=[PublicKey.from_line(line) for line in target.host_keys],
            sock=sock,
        ) as connection:
            assert (await connection.run("exit 7")).exit_status == 7


@pytest.mark.peer("dropbear")
@pytest.mark.parametrize("first", ["curve25519-sha256", "ecdh-sha2-nistp256"])
@pytest.mark.parametrize("host_keys", [("ecdsa384", "ecdsa521"), ("ecdsa521", "rsa")])
def test_a_dropbear_without_its_first_host_key_gets_a_guess_that_it_reads_as_we_do(
    host_keys: tuple[str, ...], first: str, tmp_path: Path
) -> None:
    """It has an Ed25519 key in mind even where it has none: what is first for us is not for it."""
    with DropbearServer(tmp_path, host_keys=host_keys) as dropbear:
        ssh = Ssh(tmp_path, dropbear.target)
        # It offers RSA as well, whether or not it has a key for that.
        options = (
            f"KexAlgorithms=^{first}",
            "HostKeyAlgorithms=^ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
            "ConnectTimeout=60",
        )
        flags = ["-v", *(word for option in options for word in ("-o", option))]
        done = ssh.run("exit 7", flags=flags)
    assert done.status == 7, done.stderr
    assert done.stderr.count(b"debug1: Connecting to ") == 1
