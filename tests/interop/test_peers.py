# SPDX-License-Identifier: MIT
"""The peers against each other: if one of these fails, the peer or its handling is at fault, not tellin."""

import hashlib
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.interop.children import Terminal
from tests.interop.peers import (
    CLIENTS,
    KEY_KINDS,
    SERVERS,
    Account,
    Algorithms,
    AsyncSSHClient,
    AsyncSSHServer,
    DropbearClient,
    DropbearServer,
    OpenSSHClient,
    OpenSSHServer,
    Target,
    make_key,
    no_terminals_of_sshd,
    offer_of_server,
)
from tests.interop.servers import run

DATA = random.Random(4253).randbytes(300_001)


def pair(client: str, server: str) -> object:
    return pytest.param(
        client, server, id=f"{client}-to-{server}", marks=pytest.mark.peer(client, server)
    )


# dbclient sends a guess right behind its KEXINIT (RFC 4253 section 7), and with it a guess of its own
# "kexguess2" rules; AsyncSSH 2.24 and Paramiko 5.1 end such a connection.
UNABLE = {("dbclient", "asyncssh"), ("dbclient", "paramiko")}
PAIRS = [
    pair(client, server)
    for client in CLIENTS
    for server in SERVERS
    if (client, server) not in UNABLE
]


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_every_client_runs_a_command_on_every_server(
    client: str, server: str, tmp_path: Path
) -> None:
    with SERVERS[server](tmp_path) as running:
        peer = CLIENTS[client](tmp_path)
        done = peer.run(running.target, "cat; echo problem >&2; exit 44", input=DATA)
        log = running.log()
    assert done.stdout == DATA, log
    assert b"problem" in done.stderr
    assert done.status == 44


@pytest.mark.parametrize(
    "client", [pytest.param(n, marks=pytest.mark.peer(n, "sshd")) for n in CLIENTS]
)
def test_a_client_refuses_a_host_key_it_was_not_told(client: str, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with OpenSSHServer(tmp_path) as server:
        told = server.target
        wrong = Target(told.port, told.user, (other.public,), told.identity)
        done = CLIENTS[client](tmp_path).run(wrong, "echo inside")
    assert done.status != 0
    assert b"inside" not in done.stdout


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(n, marks=pytest.mark.peer(n, "asyncssh"))
        for n in CLIENTS
        if (n, "asyncssh") not in UNABLE
    ],
)
def test_a_client_logs_in_with_a_password(client: str, tmp_path: Path) -> None:
    with AsyncSSHServer(tmp_path) as server:
        done = CLIENTS[client](tmp_path).run(server.target, "echo inside", method="password")
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr


@pytest.mark.peer("ssh", "asyncssh")
def test_a_client_answers_questions(tmp_path: Path) -> None:
    with AsyncSSHServer(tmp_path) as server:
        done = OpenSSHClient(tmp_path).run(
            server.target, "echo inside", method="keyboard-interactive"
        )
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr


@pytest.mark.root
@pytest.mark.peer("ssh", "sshd", "dropbear", "dbclient")
@pytest.mark.parametrize("kind", [OpenSSHServer, DropbearServer])
def test_a_server_run_by_root_serves_another_account(
    kind: type[OpenSSHServer | DropbearServer], account: Account, tmp_path: Path
) -> None:
    with kind(tmp_path, account=account) as server:
        by_key = OpenSSHClient(tmp_path).run(server.target, "id -un")
        by_password = DropbearClient(tmp_path).run(server.target, "id -un", method="password")
        log = server.log()
    assert by_key.stdout.decode().strip() == account.name, log
    assert by_password.stdout.decode().strip() == account.name, log


@pytest.mark.root
@pytest.mark.peer("ssh", "sshd")
def test_sshd_runs_as_an_ordinary_user(account: Account, tmp_path: Path) -> None:
    with OpenSSHServer(tmp_path, account=account, unprivileged=True) as server:
        done = OpenSSHClient(tmp_path).run(server.target, "id -u")
        log = server.log()
    assert done.stdout.decode().strip() == str(account.uid), log


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "client", [pytest.param(n, marks=pytest.mark.peer(n, "sshd")) for n in CLIENTS]
)
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_client_takes_each_kind_of_key(client: str, kind: str, tmp_path: Path) -> None:
    with OpenSSHServer(tmp_path, host_keys=[kind], user_key=kind) as server:
        done = CLIENTS[client](tmp_path).run(server.target, "echo inside")
        log = server.log()
    assert done.stdout == b"inside\n", log + done.stderr.decode()


@pytest.mark.parametrize(
    "client",
    [pytest.param(n, marks=pytest.mark.peer(n, "sshd")) for n in CLIENTS if n != "plink"],
)
@pytest.mark.parametrize("server", ["sshd", "asyncssh"])
def test_a_client_uses_a_subsystem(client: str, server: str, tmp_path: Path) -> None:
    if (client, server) in UNABLE:
        server = "sshd"
    with SERVERS[server](tmp_path) as running:
        done = CLIENTS[client](tmp_path).run(running.target, "echo", subsystem=True, input=DATA)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(DATA).digest()


@pytest.mark.parametrize(
    "client", [pytest.param(n, marks=pytest.mark.peer(n, "dropbear")) for n in CLIENTS]
)
def test_a_client_asks_for_a_terminal(client: str, tmp_path: Path) -> None:
    with DropbearServer(tmp_path) as server:
        peer = CLIENTS[client](tmp_path)
        argv = peer.argv(server.target, "tty; exit 3", pty=True)
        # dbclient refuses to ask for one unless it has one itself.
        with Terminal(argv, environment=peer.environment(server.target)) as terminal:
            terminal.expect("/dev/pts/")
            assert terminal.wait() == 3


@pytest.mark.peer("ssh", "sshd", "asyncssh", "dropbear")
@pytest.mark.parametrize("server", ["sshd", "asyncssh", "dropbear"])
def test_a_terminal_is_resized(server: str, tmp_path: Path) -> None:
    if server == "sshd" and (reason := no_terminals_of_sshd()):
        pytest.skip(reason)
    with SERVERS[server](tmp_path) as running:
        client = OpenSSHClient(tmp_path)
        # It waits for the size, not for a key: ssh may read that before it hears of the size.
        command = 'stty size; until [ "$(stty size)" = "45 120" ]; do sleep 0.1; done; exit 7'
        argv = client.argv(running.target, command, pty=True)
        environment = client.environment(running.target)
        with Terminal(argv, environment=environment, rows=31, columns=91) as terminal:
            terminal.expect("31 91")
            terminal.resize(rows=45, columns=120)
            assert terminal.wait() == 7


@pytest.mark.peer("sshd", "asyncssh", "ssh2")
@pytest.mark.parametrize("client", ["asyncssh", "ssh2"])
def test_a_client_tells_a_signal_from_a_status(client: str, tmp_path: Path) -> None:
    with OpenSSHServer(tmp_path) as server:
        done = CLIENTS[client](tmp_path).run(server.target, "kill -TERM $$")
    assert done.signal == "TERM"


@pytest.mark.peer("sshd", "asyncssh")
def test_a_client_is_held_to_the_algorithms_it_is_given(tmp_path: Path) -> None:
    chosen = Algorithms(
        kex="ecdh-sha2-nistp384", cipher="aes192-ctr", mac="hmac-sha2-512-etm@openssh.com"
    )
    with OpenSSHServer(tmp_path) as server:
        client = AsyncSSHClient(tmp_path)
        done = client.run(server.target, "true", algorithms=chosen)
    assert done.facts["send_cipher"] == chosen.cipher
    assert done.facts["recv_mac"] == chosen.mac


def each(names: Iterable[str]) -> list[object]:
    return [pytest.param(name, id=name, marks=pytest.mark.peer(name)) for name in names]


@pytest.mark.parametrize("server", each(SERVERS))
def test_the_offer_of_a_server_is_read(server: str, tmp_path: Path) -> None:
    with SERVERS[server](tmp_path) as running:
        offer = offer_of_server(running.target.host, running.port)
    assert "ssh-ed25519" in offer.host_key
    assert offer.identification.startswith("SSH-2.0-")


@pytest.mark.parametrize("client", each(CLIENTS))
def test_the_offer_of_a_client_is_read(client: str, tmp_path: Path) -> None:
    offer = CLIENTS[client](tmp_path).offer(make_key(tmp_path / "key"))
    assert "ssh-ed25519" in offer.host_key
    assert any("25519" in name for name in offer.kex)


@pytest.mark.peer("ssh")
def test_openssh_says_what_it_has(tmp_path: Path) -> None:
    supported = OpenSSHClient(tmp_path).supported()
    assert "aes128-gcm@openssh.com" in supported["cipher"]


@pytest.mark.peer("ssh-keygen")
def test_keys_made_here_are_openssh_keys(tmp_path: Path) -> None:
    for kind in KEY_KINDS:
        key = make_key(tmp_path / kind, kind)
        assert key.fingerprint.encode() in run("ssh-keygen", "-l", "-f", key.path)
