# SPDX-License-Identifier: MIT
"""Starts that go wrong, beside OpenSSH's client: the same status, the same lines where scripts read them, and nothing left behind.

What each fault is, one by one and at tellin's own server too: test_bad_peers.py.
"""

import contextlib
import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.interop.children import Terminal
from tests.interop.conftest import Running
from tests.interop.peers import (
    Account,
    Client,
    Completed,
    KeyFile,
    OpenSSHClient,
    Server,
    make_key,
)
from tests.interop.raw import RawStream, kexinit, raw_server, string
from tests.interop.target import Target, free_port
from tests.interop.tellin_peer import (
    TellinClient,
    TellinServer,
    make_tellin_key,
    tellin,
    within_reach,
)

PATIENCE = 60
CLIENTS: dict[str, type[Client]] = {"ssh": OpenSSHClient, "tellin": TellinClient}


class Start(NamedTuple):
    """A start that goes wrong."""

    target: Target
    options: dict[str, object]


class Said(NamedTuple):
    """What a client made of it; ``lines`` speak of FOLDER and PORT, which differ from run to run."""

    status: int
    lines: list[str]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def start(client: Client, begun: Start) -> Said:
    """Start a client and see that it leaves nothing: no output, and no file of its folder changed."""
    client.argv(begun.target, "echo inside", options=begun.options)
    client.environment(begun.target)
    before = contents(client.directory)
    done: Completed = client.run(begun.target, "echo inside", options=begun.options)
    assert done.stdout == b""
    assert contents(client.directory) == before
    text = done.stderr.decode("utf-8", "replace").replace("\r\n", "\n")
    assert "Traceback" not in text
    text = text.replace(str(client.directory), "FOLDER").replace(str(begun.target.port), "PORT")
    return Said(done.status, text.splitlines())


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short name: OpenSSH shows no more than 100 characters of a path."""
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        yield Path(made)


@pytest.fixture(params=["tellin", pytest.param("ssh", marks=pytest.mark.peer("ssh"))])
def client(request: pytest.FixtureRequest, folder: Path) -> Client:
    """Both, so that what OpenSSH's says is seen and not remembered."""
    return CLIENTS[request.param](folder)


# ------------------------------------------------------------------------- the faults


def unknown_host_key(server: Server, folder: Path) -> Start:
    return Start(replace(server.target, host_keys=()), {})


def changed_host_key(server: Server, folder: Path) -> Start:
    return Start(replace(server.target, host_keys=(make_key(folder / "other").public,)), {})


def changed_host_key_where_new_ones_are_welcome(server: Server, folder: Path) -> Start:
    return changed_host_key(server, folder)._replace(
        options={"StrictHostKeyChecking": "accept-new"}
    )


def refused_key(server: Server, folder: Path) -> Start:
    return Start(replace(server.target, identity=make_key(folder / "refused")), {})


def wrong_passphrase(server: Server, folder: Path) -> Start:
    locked = make_tellin_key(folder / "locked", "ed25519", "-N", "the right words")
    # The right one would let in: it is the passphrase that is wrong, and nothing else.
    with (server.directory / "authorized_keys").open("a", encoding="ascii") as file:
        file.write(f"{locked.public}\n")
    there = replace(server.target, identity=locked, password="the wrong words")
    return Start(there, {"BatchMode": "no"})


def key_that_others_may_read(server: Server, folder: Path) -> Start:
    copy = folder / "open_to_all"
    copy.write_bytes(server.identity.path.read_bytes())
    copy.chmod(0o644)
    return Start(replace(server.target, identity=KeyFile(copy, "")), {})


def closed_port(server: Server, folder: Path) -> Start:
    return Start(Target(free_port(), "somebody", ()), {})


def unknown_name(server: Server, folder: Path) -> Start:
    return Start(Target(22, "somebody", (), host="no-such-host.invalid"), {})


def proxy_that_ends(server: Server, folder: Path) -> Start:
    return Start(server.target, {"ProxyCommand": "false"})


def proxy_that_is_not_there(server: Server, folder: Path) -> Start:
    return Start(server.target, {"ProxyCommand": "/nonexistent/program"})


CHANGED = [
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
    "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
    "IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!",
    "Someone could be eavesdropping on you right now (man-in-the-middle attack)!",
    "It is also possible that a host key has just been changed.",
    "The fingerprint for the ED25519 key sent by the remote host is",
    "FINGERPRINT.",
    "Please contact your system administrator.",
    "Add correct host key in FOLDER/known_hosts_PORT to get rid of this message.",
    "Offending ED25519 key in FOLDER/known_hosts_PORT:1",
    "  remove with:",
    '  ssh-keygen -f "FOLDER/known_hosts_PORT" -R "[127.0.0.1]:PORT"',
    "Host key for [127.0.0.1]:PORT has changed and you have requested strict checking.",
    "Host key verification failed.",
]
DENIED = "USER@127.0.0.1: Permission denied (publickey)."
# The fault, and the lines that both programs print about it, to the letter.
FAULTS: dict[Callable[[Server, Path], Start], list[str]] = {
    unknown_host_key: [
        "No ED25519 host key is known for [127.0.0.1]:PORT and you have requested strict checking.",
        "Host key verification failed.",
    ],
    changed_host_key: CHANGED,
    changed_host_key_where_new_ones_are_welcome: CHANGED,
    refused_key: [DENIED],
    wrong_passphrase: [DENIED],
    key_that_others_may_read: [
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
        "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @",
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
        "Permissions 0644 for 'FILES/open_to_all' are too open.",
        "It is required that your private key files are NOT accessible by others.",
        "This private key will be ignored.",
        'Load key "FILES/open_to_all": bad permissions',
        DENIED,
    ],
    closed_port: ["ssh: connect to host 127.0.0.1 port PORT: Connection refused"],
    unknown_name: [
        "ssh: Could not resolve hostname no-such-host.invalid: Name or service not known"
    ],
    proxy_that_ends: ["kex_exchange_identification: Connection closed by remote host"],
    proxy_that_is_not_there: [
        "SHELL: /nonexistent/program: not found",
        "kex_exchange_identification: Connection closed by remote host",
    ],
}
# What tellin says before that, where OpenSSH's program leaves the cause out.
CAUSES = {
    wrong_passphrase: 'Load key "FILES/locked": incorrect passphrase supplied to decrypt private key',
}


@pytest.mark.peer("sshd")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.replace("_", " "))
def test_the_lines_are_those_of_openssh(
    fault: Callable[[Server, Path], Start], client: Client, running: Running, folder: Path
) -> None:
    server = running("sshd")
    begun = fault(server, folder)
    said = start(client, begun)
    lines = []
    for line in said.lines:
        words = line.replace(str(folder), "FILES").replace(f"{begun.target.user}@", "USER@")
        words = words.replace(server.host_keys[0].fingerprint, "FINGERPRINT")
        # How a shell begins its own complaints is its affair, and so is how it says "not there".
        if words.endswith((": not found", ": No such file or directory")):
            assert "/nonexistent/program" in words
            words = "SHELL: /nonexistent/program: not found"
        lines.append(words)
    if fault is unknown_name and lines != FAULTS[fault]:
        # The system's resolver may know of no network at all.
        assert lines[0].startswith("ssh: Could not resolve hostname no-such-host.invalid: ")
        lines = FAULTS[fault]
    if client.name == "tellin" and fault in CAUSES:
        assert lines.pop(0) == CAUSES[fault]
    assert said.status == 255
    assert lines == FAULTS[fault]


# ------------------------------------------------------------------------- ports that say nothing


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: the first packet of a connection is dropped, as by a firewall."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))
        yield port


def test_a_port_that_drops_everything(client: Client) -> None:
    """Not "refused": nobody has answered."""
    with deaf_port() as port:
        said = start(client, Start(Target(port, "somebody", ()), {"ConnectTimeout": "1"}))
    assert said == (255, ["ssh: connect to host 127.0.0.1 port PORT: Connection timed out"])


def test_a_port_that_accepts_and_is_silent(client: Client) -> None:
    with raw_server(RawStream.rest) as port:
        said = start(client, Start(Target(port, "somebody", ()), {"ConnectTimeout": "1"}))
    assert said == (255, ["Connection timed out during banner exchange"])


@pytest.mark.root
def test_a_network_that_leads_nowhere(client: Client) -> None:
    tried = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("no network of its own can be made here")
    target = Target(22, "somebody", (), host="192.0.2.1")
    words = [str(word) for word in client.argv(target, "true")]
    done = subprocess.run(
        ["unshare", "--net", *words],
        env=client.environment(target),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (255, b"")
    assert done.stderr.decode().splitlines() == [
        "ssh: connect to host 192.0.2.1 port 22: Network is unreachable"
    ]


HANGS_UP = {
    "ends": struct.pack("ii", 0, 0),
    "resets": struct.pack("ii", 1, 0),
}


@pytest.mark.parametrize("how", HANGS_UP)
def test_a_peer_that_hangs_up_before_a_word(client: Client, how: str) -> None:
    """Before the client has even looked: the connection that it has just made is none any more."""

    def hang_up(stream: RawStream) -> None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HANGS_UP[how])
        stream.file.close()
        stream.socket.close()

    with raw_server(hang_up) as port:
        for _ in range(5):
            said = start(client, Start(Target(port, "somebody", ()), {}))
            assert said.status == 255
            assert said.lines[0] in {
                "kex_exchange_identification: Connection closed by remote host",
                "kex_exchange_identification: read: Connection reset by peer",
                "kex_exchange_identification: write: Broken pipe",
                "banner exchange: Connection to 127.0.0.1 port PORT: Broken pipe",
                "Connection reset by 127.0.0.1 port PORT",
                # Where its kernel has heard of it even before it says "connected".
                "ssh: connect to host 127.0.0.1 port PORT: Connection reset by peer",
            }
            assert len(said.lines) == 1


# ------------------------------------------------------------------------- nothing is learned from a bad start


def host_key_with_a_wrong_signature(host_key: KeyFile) -> Callable[[RawStream], object]:
    """A server that shows a key it does not have."""

    def serve(stream: RawStream) -> None:
        stream.send(b"SSH-2.0-impostor\r\n")
        stream.identification()
        stream.send_packet(kexinit())
        stream.packet()
        stream.packet()
        signature = string(b"ssh-ed25519") + string(bytes(64))
        value = string(b"\x09" + bytes(31))
        stream.send_packet(b"\x1f" + string(host_key.blob) + value + string(signature))
        stream.rest()

    return serve


def no_common_cipher(stream: RawStream) -> None:
    stream.send(b"SSH-2.0-old\r\n")
    stream.identification()
    stream.send_packet(kexinit(cipher="arcfour"))
    stream.rest()


def web_server(stream: RawStream) -> None:
    stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    stream.line()


@pytest.mark.parametrize("fault", ["signature", "cipher", "web"])
@pytest.mark.parametrize("policy", ["accept-new", "no", "off"])
def test_a_key_is_not_recorded_before_it_has_signed(
    fault: str, policy: str, tmp_path: Path
) -> None:
    """A user who takes any new host takes none that fails; OpenSSH's records the impostor's key."""
    serve = {
        "signature": host_key_with_a_wrong_signature(make_key(tmp_path / "shown")),
        "cipher": no_common_cipher,
        "web": web_server,
    }[fault]
    client = TellinClient(tmp_path)
    options = {
        "StrictHostKeyChecking": policy,
        "KexAlgorithms": "curve25519-sha256",
        "HostKeyAlgorithms": "ssh-ed25519",
        "ConnectTimeout": "20",
    }
    with raw_server(serve) as port:
        said = start(client, Start(Target(port, "somebody", ()), options))
    assert said.status == 255
    cause = {
        "signature": "the server's signature over the key exchange is wrong",
        "cipher": "no matching cipher found. Their offer: arcfour; ours: ",
        "web": "not an SSH server",
    }[fault]
    assert cause in said.lines[0]
    assert said.lines[1:] == (["Host key verification failed."] if fault == "signature" else [])


@pytest.mark.parametrize("command", ["true", ""])
def test_nobody_is_asked_for_anything_by_a_server_that_is_not_trusted(
    command: str, running: Running, tmp_path: Path
) -> None:
    """A changed key, and a user at his terminal: no question, no passphrase, no password."""
    client = TellinClient(tmp_path)
    locked = make_tellin_key(tmp_path / "locked", "ed25519", "-N", "the right words")
    target = replace(
        running("tellin").target, host_keys=(make_key(tmp_path / "other").public,), identity=locked
    )
    argv = client.argv(target, command, options={"BatchMode": "no", "LogLevel": "INFO"})
    environment = {**client.environment(target), "SSH_ASKPASS_REQUIRE": "never"}
    with Terminal(argv, environment=environment) as terminal:
        assert terminal.wait(PATIENCE) == 255
        said = terminal.seen
    assert b"Host key verification failed." in said
    assert b"passphrase" not in said
    assert b"password" not in said


def test_r048_whoever_listens_does_not_learn_whether_the_host_is_known(tmp_path: Path) -> None:
    """CVE-2020-14145: the order of what is asked for told whom a false key would be noticed by."""
    client, key = TellinClient(tmp_path), make_key(tmp_path / "key")
    offers = [
        client.offer(key, options=options)
        for options in ({}, {"UserKnownHostsFile": "/dev/null"}, {"UserKnownHostsFile": "none"})
    ]
    assert len({offer.host_key for offer in offers}) == 1
    assert offers[0].host_key.index("ssh-ed25519") < offers[0].host_key.index("rsa-sha2-512")


# ------------------------------------------------------------------------- with nothing but its defaults


def owned_by(uid: int, home: Path) -> dict[str, tuple[int, int]]:
    """What an account has at home and where all may write, with size and time."""
    found: dict[str, tuple[int, int]] = {}

    def look(folder: Path) -> None:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                state = entry.stat(follow_symlinks=False)
                # In a directory of somebody else's there is nothing of its own.
                if state.st_uid == uid:
                    found[entry.path] = (state.st_size, state.st_mtime_ns)
                    if entry.is_dir(follow_symlinks=False):
                        look(Path(entry.path))

    for place in (home, *map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run/user", "/run/lock"))):
        look(place)
    return found


@pytest.mark.root
@pytest.mark.parametrize("fault", ["unknown host key", "closed port", "not SSH", "unknown name"])
def test_a_bad_start_of_a_new_user_leaves_nothing_anywhere(
    fault: str, account: Account, running: Running
) -> None:
    """No ~/.ssh, no known_hosts, no file in any directory that all may write to."""
    program, environment = within_reach(account)
    with raw_server(web_server) as web:
        words = {
            "unknown host key": ["-p", str(running("tellin").port), "127.0.0.1"],
            "closed port": ["-p", str(free_port()), "127.0.0.1"],
            "not SSH": ["-p", str(web), "127.0.0.1"],
            "unknown name": ["no-such-host.invalid"],
        }[fault]
        before = owned_by(account.uid, account.home)
        done = subprocess.run(
            [*program, "ssh", *words, "echo", "inside"],
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
            cwd=account.home,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
        after = owned_by(account.uid, account.home)
    assert (done.returncode, done.stdout) == (255, b"")
    assert after == before
    (line,) = [line for line in done.stderr.decode().splitlines() if line][-1:]
    assert {
        "unknown host key": "Host key verification failed.",
        "closed port": "Connection refused",
        "not SSH": "not an SSH server",
        "unknown name": "Could not resolve hostname",
    }[fault] in line


def test_an_error_before_any_connection_is_an_error_of_the_command_line(tmp_path: Path) -> None:
    """255 too, and nothing is connected to."""
    for words in (["-p", "0", "h"], ["-o", "NoSuchKeyword=1", "h"], ["-F", "/nonexistent", "h"]):
        done = tellin("ssh", *words, "true")
        assert done.returncode == 255
        assert done.stdout == b""
        assert b"Traceback" not in done.stderr
        assert done.stderr.strip()


def test_the_same_start_goes_well_when_nothing_is_wrong(client: Client, tmp_path: Path) -> None:
    """What is told apart above is the fault, and not the way it is looked at."""
    with TellinServer(tmp_path) as server:
        client.argv(server.target, "echo inside")
        client.environment(server.target)
        before = contents(client.directory)
        done = client.run(server.target, "echo inside")
        assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")
        assert contents(client.directory) == before
