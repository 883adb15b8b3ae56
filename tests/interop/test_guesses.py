# SPDX-License-Identifier: MIT
"""A server that takes a wrong guess for the exchange (RFC 4253 section 7) is reached all the same: Paramiko's."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import ParamikoServer
from tests.library import awaited
from tests.programs.ssh_runs import SSH, Ssh

import tellin
from tellin.keys import PublicKey

pytestmark = pytest.mark.peer("paramiko")

# Methods whose openings it takes for one another in different ways: not one of them is our first.
METHODS = [
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp384",
    "diffie-hellman-group16-sha512",
]


@pytest.fixture(params=METHODS)
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
