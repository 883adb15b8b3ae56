# SPDX-License-Identifier: MIT
"""The first line of either side, and what a server may say before it (RFC 4253 section 4.2)."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conversations.bare import BANNER, Bare, BareClient, kexinit, packet

from tellin.client.endings import Place, Stage, told
from tellin.client.narration import Narrator
from tellin.errors import ConnectionLost, IdentificationError
from tellin.protocol.events import Closed, Identified
from tellin.runtime.journal import DEBUG1, Journal
from tellin.testing.pairs import HOST_KEY, Pair

SERVER = b"SSH-2.0-server\r\n"


# Before a server


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"GET / HTTP/1.0\r\n", id="case 1"),
        pytest.param(b"A" * 10000, id="case 2"),
        pytest.param(b"SSH-2.0-\r\n", id="case 5"),
        pytest.param(b"SSH-2.0- comment alone\r\n", id="case 5: no software"),
        pytest.param(b"SSH-2.0-a\0b\r\n", id="case 6"),
        pytest.param(b"SSH-2.0-a\x1b[2J\r\n", id="case 7"),
        pytest.param(b"SSH-2.0-a\x7f\r\n", id="case 7: DEL"),
        pytest.param(b"SSH-2.0-a\rb\r\n", id="case 9"),
        pytest.param(b"SSH-2.0-\x80\r\n", id="case 10"),
        pytest.param(b"SSH-2.0-" + b"x" * 246 + b"\r\n", id="case 11"),
        pytest.param(b"hello\r\n" + BANNER, id="R034: a line before"),
        pytest.param(b"ssh-2.0-x\r\n", id="R034: small letters"),
        pytest.param(b"SSH-2.0\r\n", id="R034: no name"),
        pytest.param(b"SSH-x.y-z\r\n", id="R034: no number"),
    ],
)
def test_what_is_no_identification_is_told_so_in_a_line_of_text(line: bytes) -> None:
    bare = Bare(line)
    assert isinstance(bare.error, IdentificationError)
    assert bare.wire.endswith(b"Invalid SSH identification string.\r\n")
    # The log's line is one line, and moves no cursor.
    assert str(bare.error).isprintable()


def test_case_002_a_scanner_is_not_listened_to_for_long() -> None:
    bare = Bare(*(b"S" for _ in range(300)))
    assert bare.core.closed
    bare = Bare(b"SSH-2.0-")
    for _ in range(256 - 8):
        bare.feed(b"x")
    assert bare.core.closed


def test_case_003_ssh_1_is_told_that_versions_differ() -> None:
    bare = Bare(b"SSH-1.5-old\r\n")
    assert bare.wire.endswith(b"Protocol major versions differ.\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"SSH-2.0-x" + b"y" * 244 + b"\r\n",
        b"SSH-1.99-compatible\r\n",
        b"SSH-2.0-line feed alone\n",
    ],
)
def test_case_011_the_longest_and_oddest_legal_identifications(line: bytes) -> None:
    bare = Bare(line)
    assert not bare.core.closed
    assert bare.seen(Identified)[0].identification == line.rstrip().decode()


def test_r034_r084_nothing_that_follows_a_bad_identification_is_looked_at() -> None:
    bare = Bare(b"SSH-1.5-old\r\n")
    said = bare.wire
    bare.core.receive_data(BANNER + packet(kexinit()), 0.0)
    assert bare.core.closed
    assert not bare.core.events()
    assert bare.wire == said
    assert not bare.core.peer_identification


def test_case_017_identification_and_kexinit_in_any_portions() -> None:
    whole = BANNER + packet(kexinit())
    for at in range(1, len(BANNER) + 8):
        bare = Bare(whole[:at], whole[at:])
        assert bare.core.algorithms is not None
    bare = Bare(*(whole[at : at + 1] for at in range(len(whole))))
    assert bare.core.algorithms is not None


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A daemon that lets three be logging in, and not one more."""
    key = tmp_path / "host_key"
    key.write_bytes(HOST_KEY.to_openssh())
    key.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as found:
        address = found.getsockname()
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"ListenAddress {address[0]}:{address[1]}\nMaxStartups 3:100:3\n"
        f"HostKey {key}\nPidFile none\n",
        "ascii",
    )
    command = [sys.executable, "-m", "tellin", "sshd", "-D", "-e", "-f", str(configuration)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as daemon:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            if b"Server listening" in line:
                break
        yield address
        daemon.terminate()
        daemon.stderr.read()


def greeted(address: tuple[str, int]) -> bool:
    """Whether three that come at once are let in, and no more."""
    clients = []
    try:
        for _ in range(4):
            clients.append(socket.create_connection(address, timeout=10))
        firsts = [client.recv(8) for client in clients]
        return [first == b"SSH-2.0-" for first in firsts] == [True, True, True, False]
    except ConnectionResetError:
        return False
    finally:
        for client in clients:
            client.close()


def test_case_018_a_connection_that_breaks_at_any_of_the_first_bytes_frees_its_place(
    sshd: tuple[str, int],
) -> None:
    whole = BANNER + packet(kexinit())
    for at in range(64):
        with socket.create_connection(sshd) as client:
            client.sendall(whole[:at])
            # Closed at once, and with a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until = time.monotonic() + 20
    while not greeted(sshd):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_case_019_a_peer_that_says_nothing_is_let_go_when_its_time_is_over() -> None:
    bare = Bare()
    assert bare.core.deadline() == 120.0
    bare.core.tick(119.0)
    assert not bare.core.closed
    bare.core.tick(120.0)
    assert bare.core.closed


# Before a client


def test_case_013_a_server_may_say_1024_lines_first_and_no_more() -> None:
    client = BareClient(b"hello\r\n" * 1024 + SERVER)
    assert len(client.seen(Identified)[0].lines) == 1024
    client = BareClient(b"hello\r\n" * 1025 + SERVER)
    assert isinstance(client.error, IdentificationError)
    assert client.core.closed


def test_r035_a_hundred_lines_do_not_count_against_the_length_of_the_identification() -> None:
    client = BareClient(b"".join(b"welcome, line %d\n" % at for at in range(100)) + SERVER)
    assert not client.core.closed
    assert client.core.peer_identification == "SSH-2.0-server"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_r034_case_014_a_line_before_has_8192_bytes_at_most(end: bytes) -> None:
    longest = b"x" * (8192 - len(end)) + end
    assert not BareClient(longest + SERVER).core.closed
    client = BareClient(b"x" + longest + SERVER)
    assert isinstance(client.error, IdentificationError)
    # It does not take the end of the line to know.
    assert BareClient(b"x" * 8193).core.closed


def test_r034_the_servers_own_identification_has_255_bytes_at_most() -> None:
    assert not BareClient(b"SSH-2.0-" + b"x" * 245 + b"\r\n").core.closed
    assert BareClient(b"SSH-2.0-" + b"x" * 246 + b"\r\n").core.closed


def test_r036_case_014_lines_before_are_shown_escaped() -> None:
    client = BareClient(b"\x1b]0;owned\x07\x9bdanger\r\n" + SERVER)
    lines: list[str] = []
    narrator = Narrator(Journal(DEBUG1, lines.append), client.core)
    narrator.tell(client.seen(Identified)[0])
    assert lines[0].endswith("banner line: \\033]0;owned\\007\ufffddanger")
    assert all(line.isprintable() for line in lines)


def test_case_015_a_server_that_closes_before_its_identification() -> None:
    client = BareClient()
    client.core.received_eof(0.0)
    error = client.error
    assert isinstance(error, ConnectionLost)
    assert error.stage == "banner exchange"
    assert told(error, Place("host"), Stage.BANNER) == (
        "kex_exchange_identification: Connection closed by remote host",
    )


def test_case_015_a_server_that_breaks_off_in_mid_line(pair: Pair) -> None:
    whole = pair().server.to_send()[0]
    for at in range(1, 20):
        client = BareClient(bytes(whole[:at]))
        client.core.received_eof(0.0)
        assert isinstance(client.error, ConnectionLost)
        assert [type(event) for event in client.core.events()] == [Closed]


def test_a_client_that_was_greeted_for_does_not_greet_again(pair: Pair) -> None:
    made = pair(client={"greeted": True})
    line = f"{made.client._transport.settings.identification}\r\n".encode()
    assert not b"".join(made.client.to_send()).startswith(b"SSH-")
    made.server.receive_data(line, 0.0)
    # The line is part of what the exchange hash covers, whoever sent it.
    made.log_in()
    assert made.server.peer_identification == line.decode().strip()


@pytest.mark.parametrize(
    "error", [None, ConnectionResetError(104, "reset"), BrokenPipeError(32, "pipe")]
)
def test_what_a_peer_that_is_no_server_said_outlives_its_connection(error: OSError | None) -> None:
    client = BareClient(b"220 mail.example ESMTP\r\n")
    if error is None:
        client.core.received_eof(0.0)
    else:
        client.core.connection_lost(error, 0.0)
    assert isinstance(client.error, IdentificationError)
    assert "not an SSH server: it says b'220 mail.example ESMTP'" in str(client.error)
