# SPDX-License-Identifier: MIT
"""tellin serve: what it prints is all that is needed to come in."""

import contextlib
import os
import pwd
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.target import free_port
from tests.interop.tellin_peer import TELLIN, tellin
from tests.server.caller import Caller

from tellin.connection.requests import ExecRequest, ExitStatus
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.protocol.events import AuthenticationRefused

ME = pwd.getpwuid(os.getuid()).pw_name


class Served:
    """A running server and the three lines that it said."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self.directory = directory
        assert process.stdout is not None
        self.lines = [process.stdout.readline().decode().rstrip("\n") for _ in range(3)]

    @property
    def port(self) -> int:
        return int(self.lines[0].split(" port ")[1].split(";")[0])


@contextlib.contextmanager
def serving(directory: Path, *words: str) -> Iterator[Served]:
    argv = [*TELLIN, "serve", "-d", str(directory), *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield Served(process, directory)
        finally:
            process.terminate()


def test_the_line_it_prints_gets_in(tmp_path: Path) -> None:
    directory = tmp_path / "100% of a directory"
    with serving(directory, "-p", str(free_port())) as served:
        assert served.lines[0] == (
            f"serving {ME} on 127.0.0.1 port {served.port}; stop with Ctrl-C"
        )
        kind, fingerprint = served.lines[1].removeprefix("host key  ").split()
        assert (kind, fingerprint[:7]) == ("ED25519", "SHA256:")
        _, program, rest = served.lines[2].split(maxsplit=2)
        assert program == "tellin"
        known = tmp_path / "known_hosts"
        done = subprocess.run(
            [
                *TELLIN,
                *shlex.split(rest)[:1],
                *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=accept-new"),
                *("-F", "none", "-o", "BatchMode=yes"),
                *shlex.split(rest)[1:],
                "echo in; exit 7",
            ],
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (7, b"in\n"), done.stderr
        shown = tellin("ssh-keygen", "-l", "-f", known)
        assert fingerprint in shown.stdout.decode()


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "place"
    with serving(directory, "-p", str(free_port())) as first:
        pass
    made = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert made.keys() == {
        *("host_ed25519", "host_ed25519.pub", "id_ed25519", "id_ed25519.pub"),
        "authorized_keys",
    }
    assert directory.stat().st_mode & 0o777 == 0o700
    for name in ("host_ed25519", "id_ed25519"):
        assert (directory / name).stat().st_mode & 0o777 == 0o600
    with serving(directory, "-p", str(free_port())) as again:
        assert again.lines[1] == first.lines[1]
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == made


def test_nobody_else_gets_in_and_nothing_but_a_key_does(tmp_path: Path) -> None:
    with serving(tmp_path, "-p", str(free_port())) as served:
        ours = load_private_key((tmp_path / "id_ed25519").read_bytes())
        with Caller(served.port) as caller:
            caller.ready()
            assert caller.none(ME).allowed == ("publickey",)
            stranger = PrivateKey.generate("ed25519")
            assert isinstance(caller.key(ME, stranger), AuthenticationRefused)
        for name in ("nobody", "root" if ME != "root" else "daemon"):
            with Caller(served.port) as caller:
                assert isinstance(caller.ready().key(name, ours), AuthenticationRefused)
        with Caller(served.port) as caller:
            session = caller.log_in(ME, ours).session()
            assert session.ask(ExecRequest(b"id -u"))
            assert session.finish() == [ExitStatus(0)]
            assert session.out.data == b"%d\n" % os.getuid()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_told_to_and_says_nothing_odd(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path, "-p", str(free_port())) as served:
        time.sleep(0.1)
        served.process.send_signal(number)
        _, said = served.process.communicate(timeout=10)
        assert served.process.returncode == 0
        assert b"Traceback" not in said
        assert f"Received signal {int(number)}; terminating." in said.decode()


def test_it_may_be_quiet_or_say_more(tmp_path: Path) -> None:
    for flag, expected in (("-q", False), ("-v", True)):
        with serving(tmp_path, flag, "-p", str(free_port())) as served:
            with Caller(served.port) as caller:
                caller.log_in(ME, load_private_key((tmp_path / "id_ed25519").read_bytes()))
            time.sleep(0.2)
            served.process.terminate()
            _, said = served.process.communicate(timeout=10)
            assert (b"Connection from 127.0.0.1" in said) is expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-z"], "unknown option -- z\r\nusage: tellin serve"),
        (["extra"], "extra argument extra\r\nusage: tellin serve"),
        (["-p", "many"], "command-line: Port: 'many' is not a number"),
        (["-b", "192.0.2.1", "-p", "2222"], "cannot listen on 192.0.2.1 port 2222: Cannot assign"),
        (["-d", "/dev/null/x"], "/dev/null/x: File exists"),
        (
            ["-b", "nowhere.invalid"],
            "cannot listen on nowhere.invalid port 2222: Could not resolve",
        ),
    ],
)
def test_what_it_cannot_do_is_one_line_and_1(tmp_path: Path, words: list[str], said: str) -> None:
    done = tellin("serve", "-q", "-d", tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(said)
    assert done.stdout == b""


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tellin("serve", "-q", "-d", tmp_path, "-p", str(port))
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"cannot listen on 127.0.0.1 port {port}: Address already in use\r\n"
    )
