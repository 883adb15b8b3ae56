# SPDX-License-Identifier: MIT
"""What introductions to SSH tell, shown by the real programs, row by row; and what they tell wrongly, put right.

The rows are those of "How SSH Works": what it names, and what must then work from end to end.
docs/misunderstandings.md says the same in words.
"""

import asyncio
import hashlib
import os
import shlex
import shutil
import socket
import stat
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.certified import authority, user_certificate
from tests.interop.children import Terminal
from tests.interop.conftest import Make, Running
from tests.interop.eavesdropper import Capture, Conversation, side
from tests.interop.pairs import pairs
from tests.interop.peers import (
    Account,
    Algorithms,
    AsyncSSHServer,
    Client,
    OpenSSHClient,
    OpenSSHServer,
    Server,
    Target,
    make_key,
    no_terminals_of_sshd,
)
from tests.interop.raw import (
    DISCONNECT,
    RawStream,
    Wiretap,
    kexinit,
    mpint,
    name_lists,
    raw_client,
    raw_server,
    string,
)
from tests.interop.scripts import asyncssh_task
from tests.interop.servers import find, run
from tests.interop.target import KeyFile, free_port
from tests.interop.tellin_peer import (
    TELLIN,
    TellinClient,
    TellinServer,
    connecting_to,
    make_tellin_key,
    tellin,
)
from tests.library import HOST_KEY, awaited, serving

import tellin as library
from tellin.algorithms import fresh_keys
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.keys import load_private_key, load_public_key

PATIENCE = 60
# tellin's client with OpenSSH's server, the other way round, and tellin with itself.
BOTH_WAYS = pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("sshd", "tellin"))
)


@contextmanager
def at_terminal(
    peer: Client, target: Target, command: str, *, pty: bool = True, **options: Any
) -> Iterator[Terminal]:
    """The client at a terminal, as somebody has it who types; questions are asked there."""
    argv = peer.argv(target, command, pty=pty, **options)
    environment = {
        **peer.environment(target),
        "TERM": "xterm",
        "SSH_ASKPASS_REQUIRE": "never",
        "LC_ALL": "C",
    }
    with Terminal(argv, environment=environment, rows=24, columns=80) as terminal:
        yield terminal


def lines_of(stderr: bytes) -> list[str]:
    return stderr.decode("utf-8", "replace").replace("\r\n", "\n").splitlines()


# ------------------------------------------------------------------------- 1: a shell somewhere else


@pytest.mark.peer("vim")
@BOTH_WAYS
def test_row_01_a_shell_and_an_editor_at_a_distance(
    client: str, server: str, running: Running, make_client: Make, tmp_path: Path
) -> None:
    if server == "sshd" and (reason := no_terminals_of_sshd()):
        pytest.skip(reason)
    vim = next(filter(None, map(shutil.which, ("vim", "vim.tiny"))))
    file = tmp_path / "letter"
    with at_terminal(make_client(client), running(server).target, "") as terminal:
        before = termios.tcgetattr(terminal.master)[3]
        # Quoted so that the echo of this line does not look like what it makes.
        terminal.write("exec bash --norc --noprofile\r")
        terminal.write("PS1='there''> '\r")
        terminal.expect("there> ", PATIENCE)
        # Raw mode: no key is for the terminal here, each goes over.
        raw = termios.tcgetattr(terminal.master)[3]
        assert not raw & (termios.ICANON | termios.ECHO | termios.ISIG)
        terminal.write("tty; echo $((6 * 7)) $TERM\r")
        terminal.expect("/dev/pts/", PATIENCE)
        terminal.expect("42 xterm\r\n", PATIENCE)
        terminal.expect("there> ", PATIENCE)
        terminal.write(
            f"{shlex.quote(vim)} -u NONE -N -n {shlex.quote(str(file))}; echo ed'it'ed\r"
        )
        # A full screen has been drawn when the file's name stands at its foot.
        terminal.expect('letter"', PATIENCE)
        terminal.write("iDear reader,\rthis went over.\x1b")
        # While it waits for what an escape may be the beginning of, Vim forgets a change of size.
        terminal.write(":set ruler?\r")
        terminal.expect("noruler", PATIENCE)
        terminal.resize(rows=40, columns=111)
        # It draws lines that are longer than those before.
        terminal.expect(" " * 100, PATIENCE)
        terminal.write(":wq\r")
        terminal.expect("edited\r\n", PATIENCE)
        assert file.read_text() == "Dear reader,\nthis went over.\n"
        terminal.expect("there> ", PATIENCE)
        terminal.write("stty size\r")
        terminal.expect("40 111\r\n", PATIENCE)
        terminal.write("exit 7\r")
        assert terminal.wait(PATIENCE) == 7
        assert termios.tcgetattr(terminal.master)[3] == before


# ------------------------------------------------------------------------- 2: every byte encrypted


@pytest.fixture
def by_password(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server that takes passwords: tellin's as root, or AsyncSSH's."""
    if request.param == "tellin":
        account = request.getfixturevalue("account")
        made: Server = TellinServer(tmp_path, account=account)
    else:
        made = AsyncSSHServer(tmp_path)
    with made as running:
        yield running


WITH_PASSWORDS = pytest.mark.parametrize(
    "by_password",
    [
        pytest.param("tellin", marks=pytest.mark.root),
        pytest.param("asyncssh", marks=pytest.mark.peer("asyncssh")),
    ],
    indirect=True,
)
TYPED = "a word that is typed"
# What a session of zeros would be recognised by, were it not encrypted.
ZEROS = 1 << 20


def hold_a_session(client: Client, target: Target) -> None:
    """Log in by a password that is typed, type a word to a command, and have zeros from another."""
    options = {"BatchMode": "no", "LogLevel": "INFO"}
    command = "echo ready; read line; echo got ${#line}"
    with at_terminal(client, target, command, method="password", options=options) as terminal:
        terminal.expect("password:", PATIENCE)
        terminal.write(f"{target.password}\r")
        terminal.expect("ready", PATIENCE)
        terminal.write(f"{TYPED}\r")
        terminal.expect(f"got {len(TYPED)}", PATIENCE)
        assert terminal.wait(PATIENCE) == 0
    done = client.run(target, f"head -c {ZEROS} /dev/zero; echo in the end >&2", method="password")
    assert done.stdout == bytes(ZEROS), done.stderr
    assert done.stderr.endswith(b"in the end\n")


def talk_in_clear(port: int, password: str) -> None:
    """What Telnet and rlogin did."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{password}\r\n{TYPED}\r\n".encode())
        while connection.recv(4096):
            pass


@WITH_PASSWORDS
def test_row_02_every_byte_is_encrypted(by_password: Server, tmp_path: Path) -> None:
    target = by_password.target
    assert target.password is not None
    secrets = [word.encode() for word in (target.password, TYPED, "in the end", target.user)]
    tap = Wiretap(by_password.port)
    with tap.running():
        # The host key is the one of the server behind the tap.
        tapped = replace(target, port=tap.port)
        hold_a_session(TellinClient(tmp_path), tapped)
    # With a terminal and without: two connections.
    assert len(tap.recordings) == 2
    zeros = tap.recordings[1]
    for recording in tap.recordings:
        for stream in (recording.to_server, recording.to_client):
            sealed = side(bytes(stream)).sealed
            assert len(sealed) > 500
            assert not any(secret in stream for secret in secrets)
            # Nothing but packets in clear stands before, and they end with NEWKEYS.
            names = b"".join(side(bytes(stream)).clear)
            assert not any(secret in names for secret in secrets)
    sealed = side(bytes(zeros.to_client)).sealed
    assert len(sealed) > ZEROS
    # A mebibyte of zeros: no value of a byte is seen much more often than any other.
    counts = [sealed.count(bytes([value])) for value in range(256)]
    assert max(counts) < 1.2 * len(sealed) / 256
    assert min(counts) > 0.8 * len(sealed) / 256


@pytest.mark.root
@pytest.mark.parametrize("by_password", ["tellin"], indirect=True)
def test_row_02_a_sniffer_reads_telnet_and_not_ssh(by_password: Server, tmp_path: Path) -> None:
    target = by_password.target
    assert target.password is not None
    with raw_server(lambda stream: stream.send(b"welcome " + stream.line())) as telnet:
        with Capture(telnet).running() as plain:
            talk_in_clear(telnet, target.password)
        with Capture(target.port).running() as sealed:
            hold_a_session(TellinClient(tmp_path), target)
    # The same sniffer, the same words.
    assert target.password.encode() in plain
    assert TYPED.encode() in plain
    assert b"SSH-2.0-tellin" in sealed
    assert sum(map(len, sealed.packets)) > ZEROS
    for word in (target.password, TYPED, "in the end", target.user):
        assert word.encode() not in sealed


# ------------------------------------------------------------------------- 3: client and server


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts sshd -D as systemd does: by a unit of type notify, whose file names no terminal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as words:
        words.bind("")
        words.settimeout(PATIENCE)
        address = words.getsockname().decode().replace("\0", "@")

        class Unit(TellinServer):
            def environment(self) -> dict[str, str]:
                return {"NOTIFY_SOCKET": address, "PATH": os.environ["PATH"], "LANG": "C"}

            def heard(self) -> list[str]:
                return words.recv(4096).decode().splitlines()

        yield Unit


def test_row_03_a_daemon_that_starts_reloads_and_stops_as_systemd_does_it(
    supervised: Callable[..., Any], tmp_path: Path
) -> None:
    with supervised(tmp_path) as server:
        pid = server.child.process.pid
        assert server.heard() == ["READY=1", f"MAINPID={pid}"]
        client = TellinClient(tmp_path)
        argv = [str(word) for word in client.argv(server.target, "read line; echo $line; exit 5")]
        with subprocess.Popen(
            argv,
            env=client.environment(server.target),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as session:
            server.wait_for_log("Accepted publickey")
            # systemctl reload: what is there stays, what comes finds the new settings.
            server.reload({"VersionAddendum": "another day"})
            assert server.heard()[0] == "RELOADING=1"
            assert server.heard() == ["READY=1", f"MAINPID={pid}"]
            with raw_client(server.port) as visitor:
                assert visitor.identification().endswith(b" another day")
            assert client.run(server.target, "exit 6").status == 6
            # systemctl stop, with KillMode=process: nobody new, and who is in stays in.
            server.child.process.terminate()
            assert server.heard() == ["STOPPING=1", f"MAINPID={pid}"]
            assert server.child.process.wait(PATIENCE) == 0
            refused = client.run(server.target, "true")
            assert b"Connection refused" in refused.stderr
            output, _ = session.communicate(b"still here\n", timeout=PATIENCE)
        assert (session.returncode, output) == (5, b"still here\n")


@pytest.mark.root
def test_row_03_a_session_has_its_users_rights_and_no_others(
    account: Account, tmp_path: Path
) -> None:
    command = (
        "id -u; id -g; grep -h Cap /proc/self/status /proc/$PPID/status | sort -u;"
        " grep Uid: /proc/$PPID/status; cat /etc/shadow"
    )
    with TellinServer(tmp_path, account=account) as server:
        done = TellinClient(tmp_path).run(server.target, command)
        daemon = Path(f"/proc/{server.child.process.pid}/status").read_text()
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == [str(account.uid), str(account.gid)]
    capabilities = dict(line.split(":\t") for line in lines if line.startswith("Cap"))
    assert {capabilities[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    # Its connection's process too, which talks to whoever is at the other end.
    assert lines[-1].split()[1:] == [str(account.uid)] * 4
    assert b"Permission denied" in done.stderr
    assert "Uid:\t0" in daemon


@pytest.mark.timeout(300)
@pytest.mark.peer("asyncssh")
def test_row_03_a_hundred_logins_at_once(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    # The throw-away account's shell reads no start-up files, which may take longer than a login.
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with TellinServer(tmp_path, account=account) as server:
        found = asyncssh_task("logins", server.target, count=100, seconds=250)
        log = server.wait_for_log("Disconnected from user", count=100)
    assert isinstance(found, dict)
    user = server.user
    assert found.get("said") == [f"{number}\n{user}\n" for number in range(100)], found
    assert log.count("Accepted publickey for ") == 100


# ------------------------------------------------------------------------- 4: algorithms


@pytest.fixture(scope="module")
def all_ciphers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Both servers with every cipher that they have, on or off by default."""
    made: dict[str, Server] = {}
    theirs = ",".join(OpenSSHClient(tmp_path_factory.mktemp("lists")).supported()["cipher"])
    made["sshd"] = OpenSSHServer(tmp_path_factory.mktemp("sshd"), options={"Ciphers": theirs})
    ours = ",".join(ciphers_of("tellin"))
    made["tellin"] = TellinServer(tmp_path_factory.mktemp("tellin"), options={"Ciphers": ours})
    for one in made.values():
        one.start()
    yield made
    for one in made.values():
        one.stop()


def ciphers_of(client: str) -> list[str]:
    """What ``ssh -Q cipher`` prints."""
    words = [find("ssh")] if client == "ssh" else [*TELLIN, "ssh"]
    done = subprocess.run([*words, "-Q", "cipher"], capture_output=True, check=True)
    return done.stdout.decode().split()


@pytest.mark.peer("openssh")
@pytest.mark.parametrize(
    ("client", "server"), [("tellin", "sshd"), ("ssh", "tellin")], ids=["tellin-ssh", "ssh-tellin"]
)
def test_row_04_every_cipher_by_its_flag(
    client: str, server: str, all_ciphers: dict[str, Server], make_client: Make
) -> None:
    """-c chooses; what is in force is said by -v. Each with each MAC and method: test_algorithms.py."""
    target = all_ciphers[server].target
    names = ciphers_of(client)
    assert {"aes256-ctr", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"} <= {*names}
    common = [name for name in names if name in ciphers_of("ssh" if client != "ssh" else "tellin")]
    assert len(common) >= 9
    peer = make_client(client)
    for name in common:
        argv = [str(word) for word in peer.argv(target, "cat", options={"LogLevel": "DEBUG1"})]
        at = argv.index("-T")
        done = subprocess.run(
            [*argv[:at], "-c", name, *argv[at:]],
            input=name.encode(),
            capture_output=True,
            env=peer.environment(target),
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, name.encode()), done.stderr
        # RFC 5647 and the ChaCha20 draft: AES-GCM is authenticated encryption as ChaCha20-Poly1305
        # is, and neither has a MAC beside it; every other has.
        sealing = "gcm" in name or "poly1305" in name
        for way in ("client->server", "server->client"):
            (line,) = [line for line in lines_of(done.stderr) if f"kex: {way} cipher:" in line]
            mac = line.partition(" MAC: ")[2].split()[0]
            assert f" cipher: {name} " in line
            assert (mac == "<implicit>") is sealing, line


@pytest.mark.peer("openssh")
def test_row_04_the_clients_first_choice_that_the_server_has_is_taken(
    all_ciphers: dict[str, Server], make_client: Make
) -> None:
    """Not the strongest, nor the server's first: RFC 4253 section 7.1."""
    wishes = {
        "aes128-ctr,aes256-gcm@openssh.com": "aes128-ctr",
        "aes256-ctr,aes128-ctr": "aes256-ctr",
        "chacha20-poly1305@openssh.com,aes128-ctr": "chacha20-poly1305@openssh.com",
    }
    for server in ("sshd", "tellin"):
        for names, taken in wishes.items():
            done = make_client("tellin").run(
                all_ciphers[server].target,
                "true",
                options={"Ciphers": names, "LogLevel": "DEBUG1"},
            )
            assert done.status == 0
            assert f"kex: client->server cipher: {taken} MAC: ".encode() in done.stderr


# ------------------------------------------------------------------------- 7: the first line


LONGEST_IDENTIFICATION = b"SSH-2.0-" + b"x" * (253 - len(b"SSH-2.0-"))
GOOD_LINES = {
    "2.0": b"SSH-2.0-OpenSSH_3.9p1",
    "1.99": b"SSH-1.99-OpenSSH_3.9p1",
    "a comment": b"SSH-2.0-billsSSH_3.6.3q3 with words behind it",
    "255 bytes": LONGEST_IDENTIFICATION,
}
BAD_LINES = {
    "1.5": b"SSH-1.5-1.2.27",
    "3.0": b"SSH-3.0-future",
    "no software": b"SSH-2.0-",
    "256 bytes": LONGEST_IDENTIFICATION + b"x",
    "no SSH": b"220 mail.example ESMTP",
}
EACH_CLIENT = pytest.mark.parametrize(
    "client", ["tellin", pytest.param("ssh", marks=pytest.mark.peer("ssh"))]
)
EACH_SERVER = pytest.mark.parametrize(
    "server", ["tellin", pytest.param("sshd", marks=pytest.mark.peer("sshd"))]
)


@EACH_CLIENT
@pytest.mark.parametrize("line", GOOD_LINES)
def test_row_07_a_client_goes_on_with_whoever_speaks_2_0(
    client: str, line: str, make_client: Make
) -> None:
    """1.99 is 2.0 with a past, and nothing is negotiated by these lines: KEXINIT is what follows."""
    heard: list[bytes] = []

    def serve(stream: RawStream) -> None:
        stream.send(GOOD_LINES[line] + b"\r\n")
        heard.append(stream.identification())
        heard.append(stream.packet())

    with raw_server(serve) as port:
        done = make_client(client).run(Target(port, "somebody", ()), "true")
    assert done.status == 255
    assert heard[0].startswith(b"SSH-2.0-")
    assert len(heard[0]) <= 253
    # The real negotiation begins.
    assert heard[1][0] == 20
    assert any("25519" in name for name in name_lists(heard[1])[0])


@pytest.mark.parametrize(
    ("client", "line"),
    [
        *(("tellin", line) for line in BAD_LINES),
        # OpenSSH reads a longer line than it may be.
        *(
            pytest.param("ssh", line, marks=pytest.mark.peer("ssh"))
            for line in BAD_LINES
            if line != "256 bytes"
        ),
    ],
)
def test_row_07_a_client_leaves_whoever_does_not(
    client: str, line: str, make_client: Make
) -> None:
    heard: list[bytes] = []

    def serve(stream: RawStream) -> None:
        stream.send(BAD_LINES[line] + b"\r\n")
        heard.append(stream.rest())

    with raw_server(serve) as port:
        options = {"ConnectTimeout": "3"}
        done = make_client(client).run(Target(port, "somebody", ()), "true", options=options)
    assert done.status == 255
    assert done.stdout == b""
    if client == "tellin":
        (said,) = lines_of(done.stderr)
        assert said.startswith("kex_exchange_identification: ")
        if line in {"1.5", "3.0"}:
            # Who runs such a server reads why, and not that something went wrong.
            assert said.endswith(f"protocol version {line} is not 2.0")
    assert heard[0].startswith(b"SSH-2.0-")
    assert b"somebody" not in heard[0]


@BOTH_WAYS
def test_row_07_a_server_may_say_lines_first(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    target = running(server).target
    greeting = b"".join(b"Only for those who may, line %d.\r\n" % number for number in range(100))
    with Wiretap(target.port, greeting=greeting).running() as tap:
        done = make_client(client).run(replace(target, port=tap.port), "echo inside")
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr


# What a visitor may say first, and what he is told, by OpenSSH's server too.
FIRST_WORDS = {
    b"SSH-2.0-friend\r\n": b"",
    b"SSH-2.0-friend\n": b"",
    b"SSH-2.0-friend and a comment\r\n": b"",
    b"SSH-1.99-friend\r\n": b"",
    b"SSH-1.5-old friend\r\n": b"Protocol major versions differ.",
    b"SSH-3.0-young friend\r\n": b"Protocol major versions differ.",
    b"GET / HTTP/1.1\r\n\r\n": b"Invalid SSH identification string.",
    b"SSH-2.0-\r\n": b"Invalid SSH identification string.",
}


@EACH_SERVER
@pytest.mark.parametrize("said", FIRST_WORDS, ids=lambda said: said.split(b"\r")[0].decode())
def test_row_07_a_server_tells_a_visitor_what_is_wrong_with_his_first_line(
    server: str, said: bytes, running: Running
) -> None:
    with raw_client(running(server).port) as visitor:
        visitor.send(said)
        assert visitor.identification().startswith(b"SSH-2.0-")
        if FIRST_WORDS[said]:
            assert visitor.rest().strip() == FIRST_WORDS[said]
        else:
            assert visitor.packet()[0] == 20


def test_row_07_comments_on_both_sides_are_hashed_and_do_no_harm(
    make_client: Make, tmp_path: Path
) -> None:
    """Both lines are part of what the host key signs: a login is the proof that all was read alike."""
    addendum = "a server, with words"
    with TellinServer(tmp_path, options={"VersionAddendum": addendum}) as server:
        for client in ("tellin", *(["ssh"] if shutil.which("ssh") else [])):
            done = make_client(client).run(server.target, "echo inside")
            assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr
        with raw_client(server.port) as visitor:
            assert visitor.identification().decode().endswith(f" {addendum}")


@pytest.mark.peer("asyncssh")
def test_row_07_a_clients_comment_is_no_software(running: Running) -> None:
    server = running("tellin")
    found = asyncssh_task("logins", server.target, count=1, version="client_1.0 and a comment")
    assert found == {"said": [f"0\n{server.user}\n"]}


# ------------------------------------------------------------------------- 8: the shared secret


async def serve_and_note(
    exchange: str, client: Callable[[Target], Any], tmp_path: Path
) -> tuple[bytes, Any]:
    """A server of the library's for one login; its session id, and what ``client`` returns."""
    noted: list[bytes] = []

    async def session(process: library.ServerProcess[bytes]) -> int:
        noted.append(process._session.owner.core.session_id)
        await process.stdout.write(b"inside\n")
        return 0

    identity = make_key(tmp_path / "key")
    async with serving(
        session=session,
        key_exchanges=exchange,
        authorized_keys=load_public_key(identity.public),
    ) as server:
        target = Target(server.port, "someone", (HOST_KEY.public.to_line(),), identity)
        answer = await client(target)
    (session_id,) = noted
    return session_id, answer


OUR_EXCHANGES = KEY_EXCHANGES.names()


@pytest.mark.parametrize("exchange", OUR_EXCHANGES)
def test_row_08_both_sides_come_to_the_same_session_id(exchange: str, tmp_path: Path) -> None:
    async def client(target: Target) -> list[bytes]:
        found = []
        async with connecting_to(target, key_exchanges=exchange) as connection:
            assert connection.algorithms.key_exchange == exchange
            assert (await connection.run("x")).stdout == "inside\n"
            found.append(connection.core.session_id)
            connection.rekey()
            assert await connection.ping() > 0
            found.append(connection.core.session_id)
        return found

    @awaited
    async def meet() -> None:
        theirs, ours = await serve_and_note(exchange, client, tmp_path)
        # RFC 4253 section 7.2: the first exchange's hash, also when there are newer keys.
        assert ours == [theirs, theirs]
        assert len(theirs) in {20, 32, 48, 64}

    meet()


@pytest.mark.parametrize(
    ("peer", "exchange"),
    [
        pytest.param(name, exchange, marks=pytest.mark.peer(name))
        for name, exchanges in {
            "asyncssh": (
                "mlkem768x25519-sha256",
                "curve25519-sha256",
                "ecdh-sha2-nistp521",
                "diffie-hellman-group16-sha512",
                "diffie-hellman-group-exchange-sha256",
            ),
            "paramiko": (
                "curve25519-sha256@libssh.org",
                "ecdh-sha2-nistp384",
                "diffie-hellman-group14-sha256",
                "diffie-hellman-group-exchange-sha256",
            ),
        }.items()
        for exchange in exchanges
    ],
)
def test_row_08_a_peer_comes_to_the_same_session_id(
    peer: str, exchange: str, make_client: Make, tmp_path: Path
) -> None:
    """Beside every login by key: what the key signs begins with it (row 11)."""

    async def client(target: Target) -> Any:
        done = await asyncio.to_thread(
            make_client(peer).run, target, "x", algorithms=Algorithms(kex=exchange)
        )
        assert done.stdout == b"inside\n", done.stderr
        return bytes.fromhex(done.facts["session_id"])

    @awaited
    async def meet() -> None:
        theirs, ours = await serve_and_note(exchange, client, tmp_path)
        assert ours == theirs

    meet()


GROUP_14 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A0879"
    "8E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B"
    "0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA4836"
    "1C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804"
    "F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6"
    "955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
# The hybrids' answers are ciphertexts, of other sizes than the keys they answer to.
CIPHERTEXTS = {"mlkem768x25519-sha256": 1088, "sntrup761x25519-sha512@openssh.com": 1039}
# Public values that make no secret, or one that everybody knows.
BAD_VALUES = {
    "curve25519-sha256": {
        "zeros": string(bytes(32)),
        "one": string(b"\1" + bytes(31)),
        "of order eight": string(
            bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
        ),
        "short": string(bytes(31)),
        "long": string(b"\x09" * 33),
        "none": string(b""),
    },
    "ecdh-sha2-nistp256": {
        "off the curve": string(b"\4" + b"\1" * 64),
        "infinity": string(b"\0"),
        "zeros": string(b"\4" + bytes(64)),
        "compressed": string(b"\2" + b"\1" * 32),
    },
    "diffie-hellman-group14-sha256": {
        "0": mpint(0),
        "1": mpint(1),
        "p-1": mpint(GROUP_14 - 1),
        "p": mpint(GROUP_14),
        "negative": string(b"\x80" + bytes(255)),
    },
    "mlkem768x25519-sha256": {
        "zeros": string(bytes(1184 + 32)),
        "coefficients out of range": string(b"\xff" * 1184 + b"\x09" + bytes(31)),
        "short": string(bytes(1184 + 31)),
    },
    "sntrup761x25519-sha512@openssh.com": {
        "zeros": string(bytes(1158 + 32)),
        "long": string(bytes(1158 + 33)),
    },
}
EACH_BAD_VALUE = pytest.mark.parametrize(
    ("exchange", "value"),
    [(exchange, name) for exchange, values in BAD_VALUES.items() for name in values],
)


@pytest.fixture(scope="module")
def open_to_all_exchanges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TellinServer]:
    options = {"KexAlgorithms": ",".join(BAD_VALUES)}
    with TellinServer(tmp_path_factory.mktemp("exchanges"), options=options) as server:
        yield server


@EACH_BAD_VALUE
def test_row_08_a_server_refuses_values_that_make_no_secret(
    exchange: str, value: str, open_to_all_exchanges: TellinServer
) -> None:
    with raw_client(open_to_all_exchanges.port) as attacker:
        attacker.send(b"SSH-2.0-attacker\r\n")
        attacker.send_packet(kexinit(kex=exchange))
        attacker.send_packet(b"\x1e" + BAD_VALUES[exchange][value])
        attacker.identification()
        assert attacker.packet()[0] == 20
        farewell = attacker.packet()
        assert attacker.rest() == b""
    # No reply, no signature, no NEWKEYS: the fault is named and that is all.
    assert farewell[0] == DISCONNECT
    assert struct.unpack_from(">I", farewell, 1)[0] in {2, 3}


@EACH_BAD_VALUE
def test_row_08_a_client_refuses_values_that_make_no_secret(
    exchange: str, value: str, make_client: Make, tmp_path: Path
) -> None:
    host_key = make_key(tmp_path / "host_key")
    bad = BAD_VALUES[exchange][value]
    if exchange in CIPHERTEXTS:
        bad = string(bytes(CIPHERTEXTS[exchange] + {"short": 31, "long": 33}.get(value, 32)))
    behind: list[bytes] = []

    def serve(stream: RawStream) -> None:
        stream.send(b"SSH-2.0-attacker\r\n")
        stream.identification()
        stream.send_packet(kexinit(kex=exchange))
        assert stream.packet()[0] == 20
        assert stream.packet()[0] == 30
        stream.send_packet(
            b"\x1f"
            + string(host_key.blob)
            + bad
            + string(string(b"ssh-ed25519") + string(bytes(64)))
        )
        behind.append(stream.packet())

    with raw_server(serve) as port:
        target = Target(port, "somebody", (host_key.public,))
        done = make_client("tellin").run(
            target, "true", algorithms=Algorithms(kex=exchange, host_key="ssh-ed25519")
        )
    assert done.status == 255
    # Refused for the value, before its (wrong) signature was looked at.
    assert b"signature" not in done.stderr
    assert f"127.0.0.1 port {port}".encode() in done.stderr
    assert len(lines_of(done.stderr)) <= 2
    assert behind[0][0] == DISCONNECT
    assert struct.unpack_from(">I", behind[0], 1)[0] in {2, 3}


# ------------------------------------------------------------------------- 9: who only listens


@pytest.fixture
def secrets_drawn(monkeypatch: pytest.MonkeyPatch) -> list[X25519PrivateKey]:
    """The ephemeral secrets that clients of this process draw, which are gone once they are used."""
    drawn: list[X25519PrivateKey] = []
    draw = fresh_keys.x25519

    def noting() -> X25519PrivateKey:
        drawn.append(draw())
        return drawn[-1]

    monkeypatch.setattr(fresh_keys, "x25519", noting)
    return drawn


def scalars_of(key: KeyFile) -> list[X25519PrivateKey]:
    """An Ed25519 key as a secret on Curve25519: by its seed, and as its own signatures use it."""
    private = serialization.load_ssh_private_key(key.path.read_bytes(), None)
    seed = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    return [
        X25519PrivateKey.from_private_bytes(one)
        for one in (seed, hashlib.sha512(seed).digest()[:32])
    ]


def record_a_connection(target: Target, word: str) -> Conversation:
    """Say ``word`` over a connection, and keep what went over the wire."""

    @awaited
    async def talk() -> None:
        options = {"key_exchanges": "curve25519-sha256", "ciphers": "aes128-gcm@openssh.com"}
        async with connecting_to(replace(target, port=tap.port), **options) as connection:
            done = await connection.run("cat", input=word)
            assert done.stdout == word

    with Wiretap(target.port).running() as tap:
        talk()
    (recording,) = tap.recordings
    return Conversation(recording)


@EACH_SERVER
def test_row_09_a_recording_is_of_no_use_to_who_gets_the_host_key_later(
    server: str, running: Running, secrets_drawn: list[X25519PrivateKey]
) -> None:
    """Forward secrecy: the host key signs the exchange, and has no part in the secret."""
    at = running(server)
    words = ["a word in confidence", "another word in confidence"]
    first, second = (record_a_connection(at.target, word) for word in words)
    known = {secret.public_key().public_bytes_raw(): secret for secret in secrets_drawn}
    ours, later = known[first.client_public], known[second.client_public]

    # The recordings are whole and the listener knows his trade: with the secret that the client
    # drew, and forgot, he reads it all, the login included.
    for conversation, secret, word in zip((first, second), (ours, later), words, strict=True):
        opened = conversation.read(secret, conversation.server_public)
        assert opened is not None
        to_server, to_client = opened
        assert word.encode() in to_server
        assert word.encode() in to_client
        assert b"ssh-userauth" in to_server
        assert at.identity.blob in to_server

    # With the server's host key, and the user's key too, he reads nothing.
    stolen = scalars_of(at.host_keys[0]) + scalars_of(at.identity)
    for conversation in (first, second):
        for secret in (*stolen, X25519PrivateKey.generate()):
            for public in (conversation.client_public, conversation.server_public):
                assert conversation.read(secret, public) is None
    # Nor with what opened another connection of the same two.
    assert first.read(later, first.server_public) is None
    assert second.read(ours, second.server_public) is None

    # What is exchanged are no keys of theirs, but values made for this once.
    values = {first.client_public, first.server_public, second.client_public, second.server_public}
    assert len(values) == 4
    host_key = at.host_keys[0].blob
    assert first.host_key == second.host_key == host_key
    for value in values:
        assert value not in host_key
        assert value not in at.identity.blob


# ------------------------------------------------------------------------- 10: passwords


PASSWORD_SERVERS: dict[str, type[Server]] = {"tellin": TellinServer, "sshd": OpenSSHServer}


@pytest.fixture
def door(
    server: str, request: pytest.FixtureRequest, account: Account, tmp_path: Path
) -> Callable[..., Server]:
    """Makes a server that the throw-away account may log in to by its password."""

    def make(**options: object) -> Server:
        made = PASSWORD_SERVERS[server](
            tmp_path, account=account, options={"KbdInteractiveAuthentication": "no", **options}
        )
        request.addfinalizer(made.stop)
        return made.start()

    return make


@contextmanager
def asked_for(
    peer: Client, target: Target, command: str, *, method: str = "password", pty: bool = False
) -> Iterator[Terminal]:
    """The client at a terminal, with three tries."""
    options = {"BatchMode": "no", "NumberOfPasswordPrompts": "3", "LogLevel": "INFO"}
    with at_terminal(peer, target, command, method=method, pty=pty, options=options) as terminal:
        yield terminal


def accepts(peer: Client, target: Target, password: str) -> bool:
    """Whether that password lets in, typed by nobody."""
    done = peer.run(
        replace(target, password=password), "echo inside", method="password", options=ONE_TRY
    )
    assert (done.stdout == b"inside\n") is (done.status == 0), done
    return done.status == 0


ONE_TRY = {"BatchMode": "no", "NumberOfPasswordPrompts": "1"}


@pytest.mark.root
@BOTH_WAYS
def test_row_10_the_right_password_lets_in_and_a_wrong_one_does_not(
    client: str, door: Callable[..., Server], make_client: Make
) -> None:
    target = door().target
    assert target.password is not None
    with asked_for(make_client(client), target, "id -un") as terminal:
        terminal.expect(f"{target.user}@127.0.0.1's password: ", PATIENCE)
        terminal.write("not this one\r")
        terminal.expect("Permission denied, please try again.", PATIENCE)
        terminal.expect("password: ", PATIENCE)
        terminal.write(f"{target.password}\r")
        assert terminal.wait(PATIENCE) == 0
        # Nothing that was typed is seen.
        assert target.password.encode() not in terminal.seen
        assert terminal.seen.rstrip().endswith(target.user.encode())
    with asked_for(make_client(client), target, "id -un") as terminal:
        for _ in range(3):
            terminal.expect("password: ", PATIENCE)
            terminal.write("not this one\r")
        terminal.expect("Permission denied (", PATIENCE)
        assert terminal.wait(PATIENCE) == 255


@pytest.mark.root
@BOTH_WAYS
def test_row_10_who_guesses_is_shown_out(
    client: str, server: str, door: Callable[..., Server], make_client: Make
) -> None:
    running = door(MaxAuthTries=2)
    assert running.password is not None
    with asked_for(make_client(client), running.target, "echo inside") as terminal:
        for _ in range(2):
            terminal.expect("password: ", PATIENCE)
            terminal.write("a guess\r")
        if server == "tellin":
            # It hangs up over the try that is one too many, and does not look at it.
            terminal.expect("password: ", PATIENCE)
            terminal.write(f"{running.password}\r")
        terminal.expect("Too many authentication failures", PATIENCE)
        assert terminal.wait(PATIENCE) == 255
        assert b"inside" not in terminal.seen
    assert running.log().count(f"Failed password for {running.user} ") == 2
    # The next one may try again, and has the right one.
    assert accepts(make_client(client), running.target, running.password)


@contextmanager
def entry_changed(account: Account, *change: str) -> Iterator[None]:
    """The account's entry in shadow(5) otherwise for a while."""
    subprocess.run([*change, account.name], check=True, capture_output=True)
    try:
        yield
    finally:
        line = f"{account.name}:{account.password}".encode()
        subprocess.run(["chpasswd"], input=line, check=True)
        again = ["chage", "-d", "20000", "-E", "-1", "-M", "-1", "-I", "-1", account.name]
        subprocess.run(again, check=True)


@pytest.mark.root
@BOTH_WAYS
@pytest.mark.parametrize(
    "change", [("passwd", "-l"), ("chage", "-E", "2001-01-01")], ids=["locked", "expired"]
)
def test_row_10_an_account_that_is_locked_or_expired_lets_nobody_in(
    client: str,
    change: tuple[str, ...],
    door: Callable[..., Server],
    make_client: Make,
    account: Account,
) -> None:
    running, peer = door(), make_client(client)
    assert running.password is not None
    with entry_changed(account, *change):
        assert not accepts(peer, running.target, running.password)
        # Nor by a key.
        assert peer.run(running.target, "echo inside").status == 255
    assert accepts(peer, running.target, running.password)


@pytest.mark.root
@BOTH_WAYS
def test_row_10_a_password_that_has_run_out_is_changed_at_the_login(
    client: str, server: str, door: Callable[..., Server], make_client: Make, account: Account
) -> None:
    if server == "sshd" and (reason := no_terminals_of_sshd()):
        pytest.skip(reason)
    running, peer, other = door(), make_client(client), "Brand-new 77 mules"
    with entry_changed(account, "chage", "-d", "0"):
        with asked_for(peer, running.target, "echo inside", pty=True) as terminal:
            terminal.expect("password: ", PATIENCE)
            terminal.write(f"{account.password}\r")
            terminal.expect("You must change your password now and login again!", PATIENCE)
            terminal.expect("urrent", PATIENCE)
            terminal.expect("assword: ", PATIENCE)
            terminal.write(f"{account.password}\r")
            for _ in range(2):
                terminal.expect("ew password: ", PATIENCE)
                terminal.write(f"{other}\r")
            terminal.expect("updated successfully", PATIENCE)
            terminal.wait(PATIENCE)
            # The command has to wait for the next login.
            assert b"inside" not in terminal.seen
        assert not accepts(peer, running.target, account.password)
        assert accepts(peer, running.target, other)


@pytest.mark.root
@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("tellin",))
)
def test_row_10_without_the_method_password_the_same_password_may_still_let_in(
    client: str, door: Callable[..., Server], make_client: Make
) -> None:
    """PasswordAuthentication no leaves keyboard-interactive open: two keywords, not one.

    OpenSSH asks by keyboard-interactive through PAM alone, which not every machine has set up.
    """
    for interactive in ("yes", "no"):
        running = door(PasswordAuthentication="no", KbdInteractiveAuthentication=interactive)
        assert running.password is not None
        peer = make_client(client)
        assert not accepts(peer, running.target, running.password)
        with asked_for(
            peer, running.target, "echo inside", method="keyboard-interactive"
        ) as terminal:
            if interactive == "yes":
                terminal.expect("Password: ", PATIENCE)
                terminal.write(f"{running.password}\r")
                terminal.expect("inside", PATIENCE)
                assert terminal.wait(PATIENCE) == 0
            else:
                assert terminal.wait(PATIENCE) == 255
                assert b"Permission denied (publickey)." in terminal.seen
        running.stop()


@pytest.mark.peer("asyncssh")
@EACH_CLIENT
def test_row_10_a_server_may_want_another_password(
    client: str, make_client: Make, tmp_path: Path
) -> None:
    """RFC 4252 section 8: PASSWD_CHANGEREQ, which few servers send."""
    with AsyncSSHServer(tmp_path, options={"expired": True}) as running:
        peer = make_client(client)
        with asked_for(peer, running.target, "echo inside") as terminal:
            terminal.expect("'s password: ", PATIENCE)
            terminal.write(f"{running.password}\r")
            terminal.expect("It has served long enough.", PATIENCE)
            terminal.expect("old password: ", PATIENCE)
            terminal.write(f"{running.password}\r")
            for _ in range(2):
                terminal.expect("new password: ", PATIENCE)
                terminal.write("another horse\r")
            terminal.expect("inside", PATIENCE)
            assert terminal.wait(PATIENCE) == 0
        assert not accepts(peer, running.target, str(running.password))
        assert accepts(peer, running.target, "another horse")


# ------------------------------------------------------------------------- 11: keys


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """A server of each kind, whose authorized_keys are for the tests to write."""
    started: dict[str, Server] = {}

    def one(name: str) -> Server:
        if name not in started:
            made = PASSWORD_SERVERS[name](tmp_path_factory.mktemp(name))
            started[name] = made.start()
        return started[name]

    yield one
    for running in started.values():
        running.stop()


@pytest.fixture
def met(
    client: str, server: str, doors: Callable[[str], Server], make_client: Make
) -> tuple[Client, Server]:
    """A client and such a server."""
    return make_client(client), doors(server)


def authorize(running: Server, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    (running.directory / "authorized_keys").write_text(text, "utf-8")


KINDS = {
    "ed25519": ("ed25519",),
    "ecdsa 256": ("ecdsa", "-b", "256"),
    "ecdsa 384": ("ecdsa", "-b", "384"),
    "ecdsa 521": ("ecdsa", "-b", "521"),
    "rsa": ("rsa", "-b", "3072"),
}


def key_made_by(maker: str, path: Path, kind: str) -> KeyFile:
    """A key as ``ssh-keygen -t KIND`` makes it."""
    words, *more = KINDS[kind]
    if maker == "tellin":
        return make_tellin_key(path, words, *more)
    run("ssh-keygen", "-q", "-t", words, *more, "-N", "", "-C", "somebody", "-f", path)
    return KeyFile(path, path.with_name(f"{path.name}.pub").read_text("utf-8").strip())


@pytest.mark.sampled(2)
@pytest.mark.peer("ssh-keygen")
@BOTH_WAYS
@pytest.mark.parametrize("maker", ["tellin", "openssh"])
@pytest.mark.parametrize("kind", KINDS)
def test_row_11_a_key_of_either_ssh_keygen_logs_in(
    met: tuple[Client, Server], maker: str, kind: str, tmp_path: Path
) -> None:
    peer, running = met
    key = key_made_by(maker, tmp_path / "key", kind)
    # Both know it by the same fingerprint.
    shown = [
        run("ssh-keygen", "-l", "-f", key.path),
        tellin("ssh-keygen", "-l", "-f", key.path, check=True).stdout,
    ]
    assert shown[0] == shown[1]
    assert key.fingerprint.encode() in shown[0]
    target = replace(running.target, identity=key)
    authorize(running, make_key(tmp_path / "other").public)
    assert peer.run(target, "echo inside").status == 255
    authorize(running, make_key(tmp_path / "third").public, key.public)
    done = peer.run(target, "echo inside")
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr
    said = {"ed25519": "ED25519", "rsa": "RSA"}.get(kind, "ECDSA")
    assert f" ssh2: {said} {key.fingerprint}" in running.log()


@pytest.mark.sampled(2)
@BOTH_WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_row_11_a_certificate_logs_in_where_an_authority_is_trusted(
    met: tuple[Client, Server], kind: str, tmp_path: Path
) -> None:
    peer, running = met
    key = key_made_by("tellin", tmp_path / "key", kind)
    made = user_certificate(load_public_key(key.public.encode()), running.user)
    (tmp_path / "key-cert.pub").write_text(f"{made.to_line()}\n", "ascii")
    target = replace(running.target, identity=key)
    # It is found beside the key. Whom the server trusts stands in a line of the user's own file.
    authorize(running, authority().public.to_line())
    assert peer.run(target, "echo inside").status == 255
    authorize(running, f"cert-authority {authority().public.to_line()}")
    done = peer.run(target, "echo inside")
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr
    said = {"ed25519": "ED25519", "rsa": "RSA"}.get(kind, "ECDSA")
    assert f" ssh2: {said}-CERT {key.fingerprint} ID five minutes (serial 7) CA " in running.log()


# Of a cert-authority line and of a certificate, what happens.
LINES: dict[str, tuple[str, dict[str, Any], bytes | None]] = {
    "the user's name": ("", {}, b"inside\n"),
    "a list of names": ('principals="ops,USER"', {}, b"inside\n"),
    "names without ours": ('principals="ops"', {}, None),
    "R100 one name with a comma": ('principals="a,b"', {"principals": ("a,b",)}, None),
    "command of the line": ('command="echo line"', {}, b"line\n"),
    "command of both": (
        'command="echo one"', {"options": {"force-command": "echo one"}}, b"one\n",
    ),
    "case 294 two commands": (
        'command="echo one"', {"options": {"force-command": "echo two"}}, None,
    ),
    "from elsewhere": ('from="192.0.2.0/24"', {}, None),
    "R069 from elsewhere by the certificate": (
        'from="127.0.0.1"', {"options": {"source-address": "192.0.2.1"}}, None,
    ),
    "no more": ('expiry-time="20200101"', {}, None),
}  # fmt: skip


@pytest.mark.sampled(2)
@BOTH_WAYS
@pytest.mark.parametrize("way", LINES)
def test_row_15_what_a_line_for_an_authority_says_and_what_the_certificate_says_both_hold(
    met: tuple[Client, Server], way: str, tmp_path: Path
) -> None:
    peer, running = met
    options, changes, expected = LINES[way]
    key = make_key(tmp_path / "key")
    fields = dict(changes)
    principals = fields.pop("principals", (running.user,))
    made = user_certificate(load_public_key(key.public.encode()), *principals, **fields)
    (tmp_path / "key-cert.pub").write_text(f"{made.to_line()}\n", "ascii")
    words = ",".join(filter(None, ("cert-authority", options.replace("USER", running.user))))
    authorize(running, f"{words} {authority().public.to_line()}")
    done = peer.run(replace(running.target, identity=key), "echo inside")
    if expected is None:
        assert done.status == 255
        assert b"Permission denied" in done.stderr
    else:
        assert (done.status, done.stdout) == (0, expected), done.stderr


class Pen:
    """A key that keeps what it is made to sign."""

    def __init__(self, path: Path) -> None:
        self._key = load_private_key(path.read_bytes())
        self.public = self._key.public
        self.signed: list[tuple[bytes, str, bytes]] = []

    def sign(self, data: bytes, algorithm: str) -> bytes:
        signature = self._key.sign(data, algorithm)
        self.signed.append((data, algorithm, signature))
        return signature


@EACH_SERVER
@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("ed25519", "ssh-ed25519"),
        ("ecdsa 384", "ecdsa-sha2-nistp384"),
        # An RSA key says nothing of the hash: it is SHA-512, and no longer SHA-1.
        ("rsa", "rsa-sha2-512"),
    ],
)
def test_row_11_the_client_signs_and_nobody_encrypts_a_challenge(
    server: str,
    kind: str,
    algorithm: str,
    doors: Callable[[str], Server],
    tmp_path: Path,
) -> None:
    """RFC 4252 section 7: session identifier and request, whose first part no other session has."""
    running = doors(server)
    key = key_made_by("tellin", tmp_path / "key", kind)
    authorize(running, key.public)
    pen = Pen(key.path)
    sessions: list[bytes] = []

    @awaited
    async def log_in() -> None:
        async with connecting_to(running.target, keys=[pen]) as connection:
            assert (await connection.run("echo inside")).stdout == "inside\n"
            sessions.append(connection.core.session_id)

    log_in()
    log_in()
    assert len({*sessions}) == 2
    requests = []
    for session_id, (data, used, signature) in zip(sessions, pen.signed, strict=True):
        assert used == algorithm
        assert pen.public.verify(data, signature, algorithm=algorithm)
        head = string(session_id)
        assert data.startswith(head)
        requests.append(data[len(head) :])
    user = running.user.encode()
    # The same request twice, and different signatures, since the sessions are others.
    assert requests[0] == requests[1]
    assert pen.signed[0][2] != pen.signed[1][2]
    start = b"\x32" + string(user) + string(b"ssh-connection")
    # OpenSSH's servers may be told in it which host key was seen, too.
    assert requests[0].startswith(
        (
            start + string(b"publickey") + b"\1" + string(algorithm.encode()),
            start + string(b"publickey-hostbound-v00@openssh.com") + b"\1",
        )
    )
    assert string(pen.public.blob) in requests[0]


@EACH_SERVER
def test_row_11_a_signature_of_another_session_is_worth_nothing(
    server: str, doors: Callable[[str], Server], tmp_path: Path
) -> None:
    running = doors(server)
    key = make_key(tmp_path / "key")
    authorize(running, key.public)
    pen = Pen(key.path)

    class Stolen(Pen):
        def sign(self, data: bytes, algorithm: str) -> bytes:
            """What was signed for the other session, over and over."""
            super().sign(data, algorithm)
            return pen.signed[0][2]

    replay = Stolen(key.path)

    @awaited
    async def log_in() -> None:
        async with connecting_to(running.target, keys=[pen]):
            pass
        with pytest.raises(library.AuthenticationFailed):
            await connecting_to(running.target, keys=[replay])

    log_in()
    assert len(replay.signed) == 1


@BOTH_WAYS
def test_row_11_a_stolen_private_key_is_all_it_takes(
    met: tuple[Client, Server], tmp_path: Path
) -> None:
    """The public half is computed from it; what keeps a thief out is a passphrase."""
    peer, running = met
    mine = make_tellin_key(tmp_path / "id_ed25519", "ed25519", "-C", "")
    authorize(running, mine.public)
    thief = tmp_path / "elsewhere"
    thief.mkdir()
    shutil.copy(mine.path, thief / "loot")
    mine.path.unlink()
    mine.path.with_suffix(".pub").unlink()
    loot = KeyFile(thief / "loot", "")
    done = peer.run(replace(running.target, identity=loot), "echo inside")
    assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr
    computed = tellin("ssh-keygen", "-y", "-f", loot.path, check=True).stdout.decode().split()
    assert computed[:2] == mine.public.split()[:2]

    locked = make_tellin_key(tmp_path / "locked", "ed25519", "-N", "nobody knows this")
    authorize(running, locked.public)
    shutil.copy(locked.path, thief / "locked")
    (locked.path.with_suffix(".pub")).unlink()
    loot = KeyFile(thief / "locked", "")
    there = replace(running.target, identity=loot, password="a guess")
    done = peer.run(there, "echo inside", options={"BatchMode": "no"})
    assert (done.status, done.stdout) == (255, b"")


@BOTH_WAYS
def test_row_11_keys_are_offered_one_by_one_and_each_counts(
    met: tuple[Client, Server], tmp_path: Path
) -> None:
    """Who has six keys in his agent may be shown out before the right one had its turn."""
    peer, running = met
    keys = [make_key(tmp_path / f"key{number}") for number in range(7)]
    authorize(running, keys[-1].public)
    for wrong, status in ((3, 0), (6, 255)):
        files = [str(key.path) for key in (*keys[:wrong], keys[-1])]
        done = peer.run(
            running.target, "echo inside", options={"IdentityFile": files, "LogLevel": "INFO"}
        )
        assert done.status == status, done.stderr
        assert (b"Too many authentication failures" in done.stderr) is (status == 255)


# ------------------------------------------------------------------------- 14: one line of shell


@pytest.mark.root
@BOTH_WAYS
def test_row_14_a_key_is_copied_by_cat_and_ssh(
    client: str, server: str, account: Account, make_client: Make, tmp_path: Path
) -> None:
    """cat ~/.ssh/id_ed25519.pub | ssh user@host "mkdir -p ~/.ssh && cat >> ~/.ssh/authorized_keys"."""
    key = make_tellin_key(tmp_path / "id_ed25519", "ed25519", "-C", "my laptop")
    home = account.home / ".ssh"
    options = {
        "StrictModes": "yes",
        # Once by the way that is there, and then by the file that the line has made.
        "AuthorizedKeysFile": f"{account.home}/first_keys .ssh/authorized_keys",
    }
    first = account.home / "first_keys"
    peer = make_client(client)
    with PASSWORD_SERVERS[server](tmp_path, account=account, options=options) as running:
        first.write_text(running.identity.public + "\n", "ascii")
        account.own(first)
        remote = "mkdir -p ~/.ssh && cat >> ~/.ssh/authorized_keys"
        try:
            argv = [str(word) for word in peer.argv(running.target, remote)]
            line = f"cat {shlex.quote(str(key.path))}.pub | {shlex.join(argv)}"
            mine = replace(running.target, identity=key)
            assert peer.run(mine, "true").status == 255
            done = subprocess.run(
                ["/bin/sh", "-c", line],
                env=peer.environment(running.target),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
            # ~ was the account's, by the shell on the other side, and the file is its own.
            copied = home / "authorized_keys"
            assert copied.read_text("ascii") == f"{key.public}\n"
            for path in (home, copied):
                assert (path.stat().st_uid, path.stat().st_gid) == (account.uid, account.gid)
            first.unlink()
            done = peer.run(mine, "id -un")
            assert done.stdout.decode().strip() == account.name, done.stderr
            # What the line does not see to: its modes are whatever umask says, and that is good
            # enough. Refused is what others may write.
            assert stat.S_IMODE(copied.stat().st_mode) == 0o644
            assert stat.S_IMODE(home.stat().st_mode) == 0o755
            home.chmod(0o777)
            assert peer.run(mine, "true").status == 255
            home.chmod(0o700)
            assert peer.run(mine, "true").status == 0
            # A second key behind a line that has no end: both are lost.
            copied.write_text(key.public, "ascii")
            other = make_key(tmp_path / "other")
            appended = peer.run(mine, remote, input=f"{other.public}\n".encode())
            assert appended.status == 0, appended.stderr
            assert copied.read_text("ascii").count("\n") == 1
            assert peer.run(replace(mine, identity=other), "true").status == 255
        finally:
            shutil.rmtree(home, ignore_errors=True)
            first.unlink(missing_ok=True)


@BOTH_WAYS
def test_row_14_the_remote_command_is_quoted_once_here_and_once_there(
    client: str, server: str, running: Running, make_client: Make, tmp_path: Path
) -> None:
    """As anybody who may log in: what is between quotes here is a line for the shell there."""
    target, peer = running(server).target, make_client(client)
    folder = tmp_path / "a folder's"
    remote = f"mkdir -p {shlex.quote(str(folder))} && cat >> {shlex.quote(str(folder))}/'the file'"
    argv = [str(word) for word in peer.argv(target, remote)]
    for count in (1, 2):
        done = subprocess.run(
            ["/bin/sh", "-c", f"printf 'line %s\\n' {count} | {shlex.join(argv)}"],
            env=peer.environment(target),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / "the file").read_text() == "line 1\nline 2\n"


# ------------------------------------------------------------------------- 23: another port


@BOTH_WAYS
def test_row_23_another_port_stands_with_the_name_in_known_hosts(
    client: str, server: str, running: Running, make_client: Make, tmp_path: Path
) -> None:
    """[host]:port, for the key of the server at that port and no other."""
    target = running(server).target
    known = tmp_path / "hosts"
    new = {"UserKnownHostsFile": known, "StrictHostKeyChecking": "accept-new", "LogLevel": "INFO"}
    done = make_client(client).run(target, "echo inside", options=new)
    name = f"[127.0.0.1]:{target.port}"
    assert done.stdout == b"inside\n"
    assert lines_of(done.stderr) == [
        f"Warning: Permanently added '{name}' (ED25519) to the list of known hosts."
    ]
    assert known.read_text("ascii") == f"{name} {' '.join(target.host_key().split()[:2])}\n"
    # Both programs find the key there, and take none that stands for another port.
    text = known.read_text("ascii")
    lists = {
        text: True,
        text.replace(name, "[127.0.0.1]:1"): False,
        text.replace(name, f"[127.0.0.2]:{target.port}"): False,
        # Where nothing stands for the port, the host's own key will do; another is not "changed".
        text.replace(name, "127.0.0.1"): True,
        f"127.0.0.1 {make_key(tmp_path / 'other').public}\n": False,
    }
    for reader in ("tellin", *(["ssh"] if shutil.which("ssh") else [])):
        for lines, good in lists.items():
            known.write_text(lines, "ascii")
            strict = {"UserKnownHostsFile": known, "StrictHostKeyChecking": "yes"}
            done = make_client(reader).run(target, "true", options=strict)
            assert (done.status == 0) is good, (lines, done.stderr)
            if not good:
                assert f"No ED25519 host key is known for {name}".encode() in done.stderr
                assert b"CHANGED" not in done.stderr
            assert known.read_text("ascii") == lines


def test_row_23_port_and_listen_address_say_where_the_server_is(
    make_client: Make, tmp_path: Path
) -> None:
    ports = [free_port() for _ in range(3)]
    options = {
        "Port": [ports[0], ports[1]],
        "ListenAddress": ["127.0.0.1", f"127.0.0.2:{ports[2]}"],
    }
    client = make_client("tellin")

    class Several(TellinServer):
        """One whose first port is waited for."""

        def argv(self) -> Sequence[str | Path]:
            self.port = ports[0]
            return super().argv()

    with Several(tmp_path, options=options) as server:
        server.wait_for_log("Server listening on", count=3)
        for host, port in (
            ("127.0.0.1", ports[0]),
            ("127.0.0.1", ports[1]),
            ("127.0.0.2", ports[2]),
        ):
            there = replace(server.target, host=host, port=port)
            done = client.run(there, "echo $SSH_CONNECTION")
            assert done.stdout.split()[2:] == [host.encode(), str(port).encode()]
        elsewhere = client.run(replace(server.target, port=ports[2]), "true")
        assert b"Connection refused" in elsewhere.stderr


# In a network of its own, where the ports of the article are free.
NETWORK = """
ip link set lo up
"$@" sshd -D -e -f "$CONFIG" 2>"$HERE/log" &
daemon=$!
trap 'kill $daemon' EXIT
for _ in $(seq 600); do
    [ "$(grep -c 'Server listening' "$HERE/log")" = 2 ] && break
    sleep 0.1
done
options="-F none -i $KEY -o UserKnownHostsFile=$HERE/hosts -o GlobalKnownHostsFile=none"
for port in 2222 22; do
    "$@" ssh $options -o StrictHostKeyChecking=accept-new -p $port "$WHO@127.0.0.1" \
        'echo $SSH_CONNECTION'
done
"$@" ssh $options -o StrictHostKeyChecking=yes "$WHO@127.0.0.1" 'echo by itself'
"$@" ssh $options -o StrictHostKeyChecking=yes "ssh://$WHO@127.0.0.1:2222" 'echo by its address'
cat "$HERE/hosts"
"""


@pytest.mark.root
def test_row_23_ports_2222_and_22(tmp_path: Path) -> None:
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "set", "lo", "up"], check=False, capture_output=True
    )
    if tried.returncode:
        pytest.skip("no network of its own can be made here")
    server = TellinServer(tmp_path, options={"Port": [2222, 22]})
    server.argv()
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", NETWORK, "sh", *TELLIN],
        env={
            **os.environ,
            "CONFIG": str(server.directory / "sshd_config"),
            "HERE": str(tmp_path),
            "KEY": str(server.identity.path),
            "WHO": server.user,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )
    key = " ".join(server.host_keys[0].public.split()[:2])
    lines = done.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines[:2]] == ["2222", "22"], done.stderr
    # With its port where that is not 22, and only there.
    assert lines[2:] == [
        "by itself",
        "by its address",
        f"[127.0.0.1]:2222 {key}",
        f"127.0.0.1 {key}",
    ]
