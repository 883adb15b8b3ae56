# SPDX-License-Identifier: MIT
"""Every method against OpenSSH's server, as far as the first answer that went to and fro under its keys."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.algorithms.pairs import PAIRS, Pair, label

from tellin.algorithms.ciphers import preferred_ciphers
from tellin.algorithms.key_exchange import CLIENT_KEY_EXCHANGES, KEY_EXCHANGES
from tellin.algorithms.macs import CLIENT_MACS
from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS
from tellin.protocol import ClientProtocol
from tellin.protocol.events import AuthenticationReady, AuthenticationRefused, HostKeyOffered
from tellin.testing import client_settings

pytestmark = pytest.mark.peer("sshd", "ssh-keygen")

# Every MAC with one cipher, and every cipher with one MAC of each form.
SOME_PAIRS = [
    (cipher, mac)
    for cipher, mac in PAIRS
    if mac is None
    or cipher.name in {"aes128-ctr", "3des-cbc"}
    or mac.name in {"hmac-sha2-256", "hmac-sha2-256-etm@openssh.com"}
]

Connect = Callable[..., ClientProtocol]


@cache
def known_to_peer(kind: str) -> frozenset[str]:
    listed = subprocess.run(["ssh", "-Q", kind], check=True, capture_output=True, text=True)
    return frozenset(listed.stdout.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sshd")
    key = made / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (made / "config").write_text(
        f"HostKey {key}\nPidFile none\nUsePAM no\nPasswordAuthentication yes\n"
        f"Ciphers {','.join(sorted(known_to_peer('cipher')))}\n"
        f"MACs {','.join(sorted(known_to_peer('mac')))}\n"
        f"KexAlgorithms {','.join(sorted(known_to_peer('kex')))}\n"
    )
    return made


@pytest.fixture
def connect(folder: Path) -> Iterator[Connect]:
    """Runs an sshd of its own on a socket, until it has refused to let us in without a word."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "sshd"
    children = []

    def run(**changes: tuple[str, ...]) -> ClientProtocol:
        ours, theirs = socket.socketpair()
        with theirs:
            child = subprocess.Popen(
                [sshd, "-i", "-f", folder / "config", "-E", folder / "log"],
                stdin=theirs,
                stdout=theirs,
            )
        children.append(child)
        core = ClientProtocol(client_settings(**changes), now=time.monotonic())
        with ours:
            ours.settimeout(20)
            converse(core, ours)
        return core

    yield run
    for child in children:
        child.wait(20)


def converse(core: ClientProtocol, sock: socket.socket) -> None:
    while True:
        for event in core.events():
            if isinstance(event, HostKeyOffered):
                core.trust_host_key()
            elif isinstance(event, AuthenticationReady):
                core.try_none("nobody")
            elif isinstance(event, AuthenticationRefused):
                return
        for view in list(core.to_send()):
            sock.sendall(view)
            core.sent(len(view))
        assert not core.closed, core.error
        count = sock.recv_into(core.writable())
        assert count, "the server hung up"
        core.received(count, time.monotonic())


@pytest.mark.parametrize("pair", SOME_PAIRS, ids=label)
def test_openssh_reads_us_and_we_read_it(connect: Connect, pair: Pair) -> None:
    cipher, mac = pair
    if cipher.name not in known_to_peer("cipher") or (
        mac and mac.name not in known_to_peer("mac")
    ):
        pytest.skip("this OpenSSH does not have it")
    core = connect(ciphers=(cipher.name,), macs=(mac.name,) if mac else CLIENT_MACS)
    assert core.algorithms is not None
    assert core.algorithms.client_to_server.cipher == cipher.name
    assert core.algorithms.server_to_client.mac == (mac.name if mac else "")


@pytest.mark.parametrize("name", KEY_EXCHANGES.names())
def test_openssh_exchanges_keys_with_us(connect: Connect, name: str) -> None:
    if name not in known_to_peer("kex"):
        pytest.skip("this OpenSSH does not have it")
    core = connect(key_exchanges=(name,))
    assert core.algorithms is not None
    assert core.algorithms.key_exchange == name


def test_what_we_have_is_what_openssh_has() -> None:
    """One way round: what it has and we lack is named, so that it is seen when there is more."""
    assert known_to_peer("cipher") - {pair[0].name for pair in PAIRS} <= {
        "rijndael-cbc@lysator.liu.se"
    }
    assert not known_to_peer("mac") - {pair[1].name for pair in PAIRS if pair[1]}
    assert not known_to_peer("kex") - set(KEY_EXCHANGES.names())


def test_defaults_meet_openssh_s(connect: Connect) -> None:
    core = connect(
        key_exchanges=CLIENT_KEY_EXCHANGES,
        host_key_algorithms=HOST_KEY_ALGORITHMS,
        ciphers=preferred_ciphers(has_aes=False),
    )
    assert core.algorithms is not None
    assert core.algorithms.client_to_server.cipher == "chacha20-poly1305@openssh.com"
