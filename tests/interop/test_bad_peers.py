# SPDX-License-Identifier: MIT
"""What goes wrong with the other side: the client says why in a line and ends with 255, the server serves on.

A failure writes nothing: no output, no file, no line in known_hosts.
"""

import os
import random
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.interop.children import Terminal
from tests.interop.conftest import Running
from tests.interop.peers import Completed, KeyFile, OpenSSHClient, make_key
from tests.interop.raw import (
    RawStream,
    kexinit,
    mpint,
    packet,
    raw_client,
    raw_server,
    string,
)
from tests.interop.target import Target, free_port
from tests.interop.tellin_peer import TellinClient, TellinServer, make_tellin_key

SERVERS = ["tellin", pytest.param("sshd", marks=pytest.mark.peer("sshd"))]
on_each_server = pytest.mark.parametrize("server", SERVERS)


@pytest.fixture
def target(server: str, running: Running) -> Target:
    return running(server).target


@pytest.fixture
def client(tmp_path: Path) -> TellinClient:
    return TellinClient(tmp_path)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def fails(client: TellinClient, target: Target, **more: object) -> list[str]:
    """Run, see that it fails as it should, and return what it says, line by line."""
    # What the client's files are for this target; made before, so that only its run is compared.
    client.argv(target, "echo inside")
    client.environment(target)
    before = contents(client.directory)
    done: Completed = client.run(target, "echo inside", **more)  # type: ignore[arg-type]
    assert done.status == 255
    assert done.stdout == b""
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert "internal error" not in said
    assert contents(client.directory) == before
    lines = said.replace("\r\n", "\n").strip().split("\n")
    assert all(line.isprintable() and line for line in lines), lines
    return lines


def fails_with_one_line(client: TellinClient, target: Target, **more: object) -> str:
    (line,) = fails(client, target, **more)
    return line


# ------------------------------------------------------------------------- host keys


@on_each_server
def test_unknown_host_key(client: TellinClient, target: Target) -> None:
    said = fails(client, replace(target, host_keys=()))
    assert said == [
        (
            f"No ED25519 host key is known for [127.0.0.1]:{target.port}"
            " and you have requested strict checking."
        ),
        "Host key verification failed.",
    ]


@on_each_server
def test_unknown_host_key_that_the_user_turns_down(client: TellinClient, target: Target) -> None:
    stranger = replace(target, host_keys=())
    options = {"StrictHostKeyChecking": "ask", "BatchMode": "no", "LogLevel": "INFO"}
    argv = client.argv(stranger, "echo inside", options=options)
    environment = {**client.environment(stranger), "SSH_ASKPASS_REQUIRE": "never"}
    before = contents(client.directory)
    with Terminal(argv, environment=environment) as terminal:
        terminal.expect("authenticity of host", 60)
        terminal.expect("SHA256:", 60)
        terminal.expect("(yes/no", 60)
        terminal.write("no\r")
        assert terminal.wait(60) == 255
        assert b"Host key verification failed." in terminal.seen
        assert b"inside" not in terminal.seen
    assert contents(client.directory) == before


@on_each_server
def test_changed_host_key(client: TellinClient, target: Target, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    said = fails(client, replace(target, host_keys=(other.public,)))
    text = "\n".join(said)
    assert "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!" in text
    offered = target.host_key().split()[1]
    assert f"{KeyFile(other.path, f'ssh-ed25519 {offered}').fingerprint}." in said
    assert f"known_hosts_{target.port}:1" in text
    assert said[-1] == "Host key verification failed."


@on_each_server
def test_changed_host_key_is_refused_for_passwords_too(
    client: TellinClient, target: Target, tmp_path: Path
) -> None:
    """StrictHostKeyChecking no lets a user go on with a key, and never with a password."""
    other = make_key(tmp_path / "other")
    wrong = replace(target, host_keys=(other.public,), password="never to be sent")
    options = {"StrictHostKeyChecking": "no"}
    said = fails(client, wrong, method="password", options=options)
    assert "Password authentication is disabled to avoid man-in-the-middle attacks." in said


# ------------------------------------------------------------------------- no common algorithm


# A keyword and what is to be offered of it, what the peer has instead, and how that is called.
DISAGREEMENTS = {
    "KexAlgorithms": ("diffie-hellman-group1-sha1", "ecdh-sha2-nistp256", "key exchange method"),
    "Ciphers": ("3des-cbc,aes128-cbc", "aes256-ctr", "cipher"),
    "MACs": ("hmac-md5", "hmac-sha2-256", "MAC"),
    "HostKeyAlgorithms": ("rsa-sha2-512", "ssh-ed25519", "host key type"),
}


@pytest.mark.peer("sshd")
@pytest.mark.parametrize("keyword", DISAGREEMENTS)
def test_no_common_algorithm_shows_both_lists(
    client: TellinClient, running: Running, keyword: str
) -> None:
    ours, theirs, kind = DISAGREEMENTS[keyword]
    target = running("sshd").target
    options = {keyword: ours} | ({"Ciphers": "aes128-ctr"} if keyword == "MACs" else {})
    said = fails_with_one_line(client, target, options=options)
    address = f"{target.host} port {target.port}"
    assert said.startswith(f"Unable to negotiate with {address}: no matching {kind} found. Their")
    offer, _, own = said.partition("offer: ")[2].partition("; ours: ")
    assert theirs in offer.split(",")
    assert own == ours


@pytest.mark.peer("ssh")
def test_no_common_algorithm_is_in_the_servers_log(tmp_path: Path) -> None:
    options = {"Ciphers": "aes256-gcm@openssh.com"}
    with TellinServer(tmp_path, options=options) as server:
        done = OpenSSHClient(tmp_path).run(
            server.target, "true", options={"Ciphers": "aes128-ctr", "LogLevel": "INFO"}
        )
        log = server.wait_for_log("Unable to negotiate with 127.0.0.1 port ")
    assert done.status == 255
    assert b"no matching cipher found" in done.stderr
    (line,) = [line for line in log.splitlines() if line.startswith("Unable to negotiate")]
    assert "aes128-ctr" in line


# ------------------------------------------------------------------------- refused logins


@on_each_server
def test_refused_key(client: TellinClient, target: Target, tmp_path: Path) -> None:
    wrong = replace(target, identity=make_key(tmp_path / "other"))
    said = fails_with_one_line(client, wrong)
    assert said == f"{target.user}@{target.host}: Permission denied (publickey)."


@on_each_server
def test_no_key_at_all(client: TellinClient, target: Target) -> None:
    said = fails_with_one_line(client, replace(target, identity=None))
    assert said == f"{target.user}@{target.host}: Permission denied (publickey)."


@on_each_server
def test_unknown_user_hears_the_same_as_a_wrong_key(client: TellinClient, target: Target) -> None:
    said = fails_with_one_line(client, replace(target, user="nobody-of-this-name"))
    assert said == f"nobody-of-this-name@{target.host}: Permission denied (publickey)."


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    """A key under a passphrase."""
    folder = tmp_path_factory.mktemp("locked")
    return make_tellin_key(folder / "key", "ed25519", "-N", "the right words")


@pytest.fixture
def welcoming(tmp_path: Path, locked: KeyFile) -> TellinServer:
    """A server that would let that key in."""
    server = TellinServer(tmp_path)
    (server.directory / "authorized_keys").write_text(f"{locked.public}\n", "ascii")
    return server


def test_wrong_passphrase(client: TellinClient, welcoming: TellinServer, locked: KeyFile) -> None:
    with welcoming as server:
        there = replace(server.target, identity=locked, password="the wrong words")
        said = fails(client, there, options={"BatchMode": "no"})
        right = replace(there, password="the right words")
        done = client.run(right, "echo inside", options={"BatchMode": "no"})
    assert said == [
        f'Load key "{locked.path}": incorrect passphrase supplied to decrypt private key',
        f"{there.user}@{there.host}: Permission denied (publickey).",
    ]
    # With the right one the same key opens the same door.
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr


def test_passphrase_that_nobody_may_be_asked_for(
    client: TellinClient, welcoming: TellinServer, locked: KeyFile
) -> None:
    with welcoming as server:
        there = replace(server.target, identity=locked)
        said = fails(client, there)
    assert said == [
        f'Load key "{locked.path}": it needs a passphrase, and nobody may be asked',
        f"{there.user}@{there.host}: Permission denied (publickey).",
    ]


@on_each_server
@pytest.mark.parametrize(
    ("text", "mode"),
    [(b"not a key at all\n", 0o600), (None, 0o644)],
    ids=["no key", "readable for all"],
)
def test_key_file_that_cannot_be_used(
    client: TellinClient, target: Target, tmp_path: Path, text: bytes | None, mode: int
) -> None:
    broken = tmp_path / "broken"
    assert target.identity is not None
    broken.write_bytes(text if text is not None else target.identity.path.read_bytes())
    broken.chmod(mode)
    said = fails(client, replace(target, identity=KeyFile(broken, "")))
    assert any(str(broken) in line for line in said), said
    assert said[-1] == f"{target.user}@{target.host}: Permission denied (publickey)."


# ------------------------------------------------------------------------- nothing, or no SSH


def at(port: int) -> Target:
    return Target(port, "somebody", ())


def test_closed_port(client: TellinClient) -> None:
    port = free_port()
    said = fails_with_one_line(client, at(port))
    assert said == f"ssh: connect to host 127.0.0.1 port {port}: Connection refused"


def test_name_that_nobody_knows(client: TellinClient) -> None:
    said = fails_with_one_line(client, replace(at(22), host="no-such-host.invalid"))
    assert said.startswith("ssh: Could not resolve hostname no-such-host.invalid: ")


def test_silent_port(client: TellinClient) -> None:
    """Something accepts and says nothing."""
    with raw_server(RawStream.rest) as port:
        started = time.monotonic()
        said = fails_with_one_line(client, at(port), options={"ConnectTimeout": "1"})
        passed = time.monotonic() - started
    assert said == "Connection timed out during banner exchange"
    assert 1 <= passed < 30


def test_silence_after_the_identification(client: TellinClient) -> None:
    def greet(stream: RawStream) -> None:
        stream.send(b"SSH-2.0-slow\r\n")
        stream.rest()

    with raw_server(greet) as port:
        said = fails_with_one_line(client, at(port), options={"ConnectTimeout": "1"})
        assert said == f"Connection to 127.0.0.1 port {port} timed out"


@pytest.mark.parametrize("stays", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"220 mail.example ESMTP\r\n", "220 mail.example ESMTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "\\x15\\x03\\x01"),
        (b"\x1b]0;title\x07\x1b[2J words\r\n", "words"),
    ],
    ids=["http", "smtp", "tls", "escapes"],
)
def test_peer_that_is_not_ssh(client: TellinClient, says: bytes, told: str, stays: bool) -> None:
    def serve(stream: RawStream) -> None:
        stream.send(says)
        if stays:
            stream.rest()

    with raw_server(serve) as port:
        # A server may say lines before its identification: only time tells that none comes.
        said = fails_with_one_line(client, at(port), options={"ConnectTimeout": "2"})
    assert said.startswith("kex_exchange_identification: ")
    # Where it hangs up the rest of what it said may be lost with the connection.
    assert told in said or "Connection reset" in said
    assert "not an SSH server" in said or "Connection reset" in said


def test_peer_that_talks_without_end(client: TellinClient) -> None:
    def pour(stream: RawStream) -> None:
        for _ in range(10_000):
            stream.send(b"x" * 10_000)

    with raw_server(pour) as port:
        said = fails_with_one_line(client, at(port))
    assert said.startswith("kex_exchange_identification: ")


def test_peer_that_hangs_up_at_once(client: TellinClient) -> None:
    with raw_server(lambda _: None) as port:
        said = fails_with_one_line(client, at(port))
    assert said in {
        "kex_exchange_identification: Connection closed by remote host",
        "kex_exchange_identification: read: Connection reset by peer",
    }


def after_the_identifications(*packets: bytes) -> Callable[[RawStream], object]:
    def serve(stream: RawStream) -> None:
        stream.send(b"SSH-2.0-raw\r\n")
        stream.identification()
        for one in packets:
            stream.send(one)
        stream.rest()

    return serve


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"\xff" * 64, "Bad packet length 4294967295."),
        (struct.pack(">IB", 13, 4) + bytes(12), "Bad packet length 13."),
        (packet(bytes([21])), "message 21 outside a key exchange"),
        (packet(b"\x05" + string(b"ssh-userauth")), ""),
        (packet(kexinit()[:40]), ""),
        (
            packet(b"\x01" + struct.pack(">I", 11) + string(b"go \x1b[31maway") + string(b"")),
            "go ",
        ),
    ],
    ids=["noise", "length", "newkeys", "service", "short", "disconnect"],
)
def test_peer_that_breaks_the_protocol(client: TellinClient, sent: bytes, told: str) -> None:
    with raw_server(after_the_identifications(sent)) as port:
        said = fails(client, at(port))
    assert len(said) <= 2
    assert told in "\n".join(said)
    assert any(f"127.0.0.1 port {port}" in line for line in said), said


def test_connection_that_breaks_in_the_middle(tmp_path: Path, client: TellinClient) -> None:
    """The server is gone while a command runs."""
    with TellinServer(tmp_path) as server:
        argv = [str(word) for word in client.argv(server.target, "echo ready; exec sleep 300")]
        with subprocess.Popen(
            argv,
            env=client.environment(server.target),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            for pid in server.sessions():
                os.kill(pid, 9)
            output, errors = process.communicate(timeout=60)
    assert process.returncode == 255
    assert output == b""
    assert errors.decode().strip() in {
        "Connection to 127.0.0.1 closed by remote host.",
        "Read from remote host 127.0.0.1: Connection reset by peer",
    }


# ------------------------------------------------------------------------- a server and its visitors

NOISE = random.Random(22)
TLS_HELLO = bytes.fromhex("16030100dc010000d80303") + NOISE.randbytes(209)
DIALECTS = b"\x00\x00\x00\x54\xffSMBr\x00\x00\x00\x00\x18\x01\x28" + bytes(60) + b"NT LM 0.12\x00"
VISITS = {
    "nothing": b"",
    "half a word": b"SS",
    "line ends": b"\r\n\r\n",
    "HTTP": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP options": b"OPTIONS / RTSP/1.0\r\n\r\n",
    "TLS": TLS_HELLO,
    "SMB": DIALECTS,
    "DNS": b"\x00\x1e\x00\x06\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03",
    "zeros": bytes(4_096),
    "noise": NOISE.randbytes(4_096),
    "a line without end": b"SSH-2.0-" + b"x" * 70_000,
    "lines without end": b"hello\r\n" * 20_000,
    "SSH 1": b"SSH-1.5-NmapNSE_1.0\n",
    "SSH 3": b"SSH-3.0-future\r\n",
    "no version": b"SSH-\r\n",
    "a NUL": b"SSH-2.0-\0nul\r\n",
    "escapes": b"SSH-2.0-\x1b]0;pwned\x07\r\n",
    "twice": b"SSH-2.0-one\r\nSSH-2.0-two\r\n",
    "noise for packets": b"SSH-2.0-noise\r\n" + NOISE.randbytes(70_000),
    "a huge length": b"SSH-2.0-huge\r\n" + b"\x7f\xff\xff\xff" + bytes(100),
    "a tiny length": b"SSH-2.0-tiny\r\n" + b"\x00\x00\x00\x01" + bytes(100),
    "NEWKEYS": b"SSH-2.0-eager\r\n" + packet(bytes([21])),
    "a login in clear": b"SSH-2.0-clear\r\n" + packet(kexinit()) + packet(b"\x05" + string(b"ssh-userauth")),
    "no algorithms": b"SSH-2.0-none\r\n" + packet(kexinit(kex="", cipher="", mac="")),
    "a zero point": b"SSH-2.0-zero\r\n" + packet(kexinit()) + packet(b"\x1e" + string(bytes(32))),
    "e is 1": b"SSH-2.0-one\r\n"
    + packet(kexinit(kex="diffie-hellman-group14-sha256"))
    + packet(b"\x1e" + mpint(1)),
}  # fmt: skip


def test_sshd_survives_whoever_knocks(tmp_path: Path) -> None:
    """What scanners send to every port: each visitor goes, the next login works."""
    options = {"LoginGraceTime": "20", "KexAlgorithms": "+diffie-hellman-group14-sha256"}
    with TellinServer(tmp_path, options=options) as server:
        for name, sent in VISITS.items():
            with raw_client(server.port) as visitor:
                try:
                    visitor.send(sent)
                    visitor.socket.shutdown(socket.SHUT_WR)
                except ConnectionError:
                    pass  # shown out before it had said everything
                answer = visitor.rest()
            assert answer == b"" or answer.startswith(b"SSH-2.0-tellin_"), name
            assert len(answer) < 10_000, name
        done = TellinClient(tmp_path).run(server.target, "echo inside")
        log = server.wait_for_log("Received disconnect from")
        # Of the processes for them none is left.
        deadline = time.monotonic() + 30
        while server.sessions():
            assert time.monotonic() < deadline, server.sessions()
            time.sleep(0.02)
    assert done.stdout == b"inside\n", log
    assert "Traceback" not in log
    assert "internal error" not in log
    assert all(line.isprintable() for line in log.splitlines())
    came = [line for line in log.splitlines() if line.startswith("Connection from 127.0.0.1")]
    assert len(came) == len(VISITS) + 1


@pytest.mark.parametrize(
    "half", [b"", b"SSH-2.0-slow\r\n", b"SSH-2.0-slow\r\n" + packet(kexinit())]
)
def test_sshd_waits_no_longer_than_its_grace_time(tmp_path: Path, half: bytes) -> None:
    with TellinServer(tmp_path, options={"LoginGraceTime": "1"}) as server:
        with raw_client(server.port) as visitor:
            started = time.monotonic()
            visitor.send(half)
            visitor.rest()  # until it hangs up
            passed = time.monotonic() - started
        server.wait_for_log("Timeout before authentication for")
    assert 0.9 <= passed < 30


@pytest.mark.peer("ssh")
def test_sshd_lets_a_visitor_try_only_so_often(tmp_path: Path) -> None:
    with TellinServer(tmp_path, options={"MaxAuthTries": "3"}) as server:
        keys = [make_key(tmp_path / f"key{number}").path for number in range(5)]
        options = {"IdentityFile": keys, "LogLevel": "INFO"}
        done = OpenSSHClient(tmp_path).run(server.target, "true", options=options)
        log = server.wait_for_log("Too many authentication failures")
    assert done.status == 255
    assert b"Too many authentication failures" in done.stderr
    assert log.count("Failed publickey") == 3
