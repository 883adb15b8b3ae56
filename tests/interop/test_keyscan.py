# SPDX-License-Identifier: MIT
"""ssh-keyscan: the same lines as OpenSSH's, from servers of every kind, and none from what is no server."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.interop.conftest import Running
from tests.interop.servers import OpenSSHServer
from tests.interop.target import KEY_KINDS, LOOPBACK, free_port, make_key

from tellin.config.known_hosts import KnownHosts

KEYSCAN = (sys.executable, "-m", "tellin", "ssh-keyscan")


def scan(
    *words: str | int, program: tuple[str, ...] = KEYSCAN, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *map(str, words)],
        input=typed,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """A port where ``answer`` is all that is ever said; None takes connections and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as listening, ExitStack() as kept:

        def serve() -> None:
            while True:
                try:
                    peer = kept.enter_context(listening.accept()[0])
                except OSError:
                    return
                if answer is not None:
                    peer.sendall(answer)
                    peer.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(60)


@pytest.mark.peer("openssh", "sshd")
def test_the_same_keys_as_openssh_finds(tmp_path: Path) -> None:
    with OpenSSHServer(tmp_path, host_keys=KEY_KINDS) as server:
        ours = scan("-p", server.port, LOOPBACK)
        theirs = scan("-p", server.port, LOOPBACK, program=("ssh-keyscan",))
        assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
        assert len(ours.stdout.splitlines()) == 3
        assert set(ours.stderr.splitlines()) == set(theirs.stderr.splitlines())
        for kind in ("ed25519", "rsa", "ecdsa,rsa"):
            one = scan("-q", "-t", kind, "-p", server.port, LOOPBACK)
            assert len(one.stdout.splitlines()) == kind.count(",") + 1
            assert not one.stderr


@pytest.mark.parametrize(
    "server",
    [
        "tellin",
        *(
            pytest.param(name, marks=pytest.mark.peer(name))
            for name in ("sshd", "dropbear", "asyncssh", "paramiko")
        ),
    ],
)
def test_every_server_is_asked(server: str, running: Running) -> None:
    target = running(server).target
    done = scan("-p", target.port, target.host)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(target.known_hosts().splitlines())


def test_names_may_be_hashed_or_come_from_a_file(running: Running) -> None:
    target = running("tellin").target
    blob = target.host_keys[0].split()[1]
    hashed = scan("-H", "-t", "ed25519", "-p", target.port, LOOPBACK).stdout
    assert LOOPBACK not in hashed
    (entry,) = KnownHosts.parse(hashed).find(f"[{LOOPBACK}]:{target.port}")
    assert entry.hashed
    typed = f"# a comment\n{LOOPBACK},alias\n{LOOPBACK} one,two\n"
    listed = scan("-q", "-t", "ed25519", "-p", target.port, "-f", "-", typed=typed).stdout
    # Hosts are asked at once, and the first to answer is written first.
    assert sorted(listed.splitlines()) == sorted(
        f"[{name}]:{target.port} ssh-ed25519 {blob}" for name in (LOOPBACK, "alias", "one", "two")
    )


def test_the_next_address_is_tried_when_one_does_not_answer(running: Running) -> None:
    target = running("tellin").target
    done = scan(
        "-t", "ed25519", "-p", target.port, "-f", "-", typed=f"127.0.0.2,{LOOPBACK} name\n"
    )
    assert done.stdout.startswith(f"[name]:{target.port} ssh-ed25519 ")


def test_hundreds_of_hosts_are_asked_at_once(running: Running) -> None:
    target = running("tellin").target
    words = [LOOPBACK] * 150
    done = scan("-q", "-t", "ed25519", "-p", target.port, *words)
    assert len(done.stdout.splitlines()) == len(words)


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"HTTP/1.1 400 no\r\n\r\n", b"SSH-2.0-x\r\n", b"SSH-2.0-x\r\n" + os.urandom(64)],
    ids=["silent", "closed", "http", "half", "noise"],
)
def test_what_is_no_server_gives_no_key_and_holds_nobody_up(answer: bytes | None) -> None:
    with listener(answer) as port:
        began = time.monotonic()
        done = scan("-T", "1", "-t", "ed25519", "-p", port, *[LOOPBACK] * 20)
    assert done.returncode == 1
    assert not done.stdout
    assert "Traceback" not in done.stderr
    # One after the other they would take twenty seconds and more.
    assert time.monotonic() - began < 60


def test_a_closed_port_and_a_name_without_an_address_give_no_key() -> None:
    assert scan("-p", free_port(), LOOPBACK).returncode == 1
    done = scan("-t", "rsa", "nosuch.invalid")
    assert done.returncode == 1
    assert done.stderr.startswith("getaddrinfo nosuch.invalid: ")


def test_r036_what_a_server_calls_itself_cannot_steer_a_terminal() -> None:
    with listener(b"SSH-2.0-x\x1b[2J\r\n") as port:
        done = scan("-T", "2", "-t", "rsa", "-p", port, LOOPBACK)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((), 1),
        (("-t", "foo", "h"), 255),
        (("-O", "hashalg=md5", "h"), 255),
        (("-O", "x", "h"), 255),
        (("-p", "0", "h"), 1),
        (("-p", "65536", "h"), 1),
        (("-T", "x", "h"), 1),
        (("-z", "h"), 1),
        (("10.0.0.0/4",), 255),
        (("10.0.0.0/99",), 255),
        (("-f", "/nonexistent"), 255),
    ],
)
def test_what_cannot_be_done_is_said(words: tuple[str, ...], status: int) -> None:
    done = scan(*words)
    assert done.returncode == status
    assert done.stderr
    assert not done.stdout


@pytest.mark.peer("openssh")
@pytest.mark.parametrize("words", ["-p 0 h", "-T 0 h", "-T 1x h", "-T -1 h", "-f /nonexistent"])
def test_what_cannot_be_done_is_said_as_by_openssh(words: str) -> None:
    ours, theirs = (
        scan(*words.split(), **more) for more in ({}, {"program": ("/usr/bin/ssh-keyscan",)})
    )
    assert ours.returncode == theirs.returncode
    assert ours.stderr.partition("usage:")[0] == theirs.stderr.partition("usage:")[0]


def test_a_timeout_is_a_time_as_in_the_configuration() -> None:
    done = scan("-T", "1m30s", "-p", free_port(), LOOPBACK)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_range_is_every_address_of_it(running: Running) -> None:
    target = running("tellin").target
    done = scan("-q", "-t", "ed25519", "-p", target.port, f"{LOOPBACK}/32")
    assert done.stdout.startswith(f"[{LOOPBACK}]:{target.port} ")


@pytest.mark.peer("openssh", "sshd")
def test_records_for_the_dns_as_openssh_makes_them(tmp_path: Path) -> None:
    with OpenSSHServer(tmp_path, host_keys=KEY_KINDS) as server:
        ours = scan("-q", "-D", "-p", server.port, LOOPBACK).stdout.splitlines()
        theirs = scan("-D", "-p", server.port, LOOPBACK, program=("ssh-keyscan",)).stdout
        assert len(ours) == 6
        assert {line.split(" ", 1)[1] for line in ours} == {
            line.split(" ", 1)[1] for line in theirs.splitlines()
        }
        only = scan("-q", "-D", "-O", "hashalg=sha1", "-p", server.port, LOOPBACK)
        assert sorted(only.stdout.splitlines()) == sorted(
            line for line in ours if line.split()[4] == "1"
        )


@pytest.mark.peer("openssh", "sshd", "ssh-keygen")
def test_certificates_as_openssh_shows_them(tmp_path: Path) -> None:
    authority = make_key(tmp_path / "authority")
    server = OpenSSHServer(tmp_path, host_keys=("ed25519", "ecdsa256", "rsa"))
    for key in server.host_keys:
        subprocess.run(
            ["ssh-keygen", "-q", "-s", authority.path, "-I", "id", "-h", "-n", "x", key.path],
            check=True,
        )
    server.options["HostCertificate"] = [f"{key.path}-cert.pub" for key in server.host_keys]
    with server:
        ours = scan("-q", "-c", "-p", server.port, LOOPBACK)
        theirs = scan("-c", "-p", server.port, LOOPBACK, program=("ssh-keyscan",))
        made = {
            " ".join(Path(path).read_text("ascii").split()[:2])
            for path in server.options["HostCertificate"]  # type: ignore[attr-defined]
        }
        assert {*ours.stdout.splitlines()} == made
        assert {*theirs.stdout.splitlines()} == made
    assert scan("-q", "-c", "-t", "ed25519", "-p", free_port(), LOOPBACK).returncode == 1


def test_kinds_may_be_named_by_their_type_and_those_of_security_keys(running: Running) -> None:
    target = running("tellin").target
    wanted = scan("-q", "-t", "ed25519", "-p", target.port, target.host).stdout
    assert wanted
    words = "ssh-ed25519,ed25519-sk,ecdsa-sk,sk-ssh-ed25519@openssh.com"
    assert scan("-q", "-t", words, "-p", target.port, target.host).stdout == wanted
