# SPDX-License-Identifier: MIT
"""``tellin ssh`` against OpenSSH's server: streams, statuses, flags, and every way it can go wrong."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import AsyncSSHServer, OpenSSHServer
from tests.interop.target import LOOPBACK, Target, free_port, make_key
from tests.programs.ssh_runs import SSH, Ssh, said

pytestmark = pytest.mark.peer("sshd")

SIZES = (0, 1, 7, 4095, 4096, 32767, 32768, 32769, 65537, 1_000_003, 16 << 20)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OpenSSHServer]:
    # An account of its own has /bin/sh for a shell and no start-up files.
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    folder = tmp_path_factory.mktemp("server")
    banner = folder / "banner"
    banner.write_bytes(b"Hello\r\n\x1b[2Jthere\r\n")
    folder.chmod(0o755)
    banner.chmod(0o644)
    options = {"LogLevel": "DEBUG", "StrictModes": "no"}
    with OpenSSHServer(folder, account=account, options=options) as running:
        yield running


@pytest.fixture
def ssh(server: OpenSSHServer, tmp_path: Path) -> Iterator[Ssh]:
    made = Ssh(tmp_path, server.target)
    yield made
    made.stop()


def random_bytes(size: int) -> bytes:
    return os.urandom(size)


@pytest.mark.peer("ssh")
@pytest.mark.parametrize(
    "words",
    [
        ["-N", "-s"],
        ["-s", "-N"],
        ["-o", "SessionType none", "-s"],
        ["-oSessionType=default", "-N"],
    ],
)
def test_two_kinds_of_session_are_refused_at_once(words: list[str]) -> None:
    def said(program: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            [*program, "-F", "none", *words, "127.0.0.1", "x"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr.strip()

    assert said(SSH) == said(["ssh"])
    assert said(SSH)[1].startswith("Cannot specify -")


# Streams


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(ssh: Ssh, size: int) -> None:
    data = random_bytes(size)
    done = ssh.run("cat", input=data)
    assert (done.status, done.stderr) == (0, b"")
    assert done.stdout == data


@pytest.mark.parametrize("size", [0, 1, 32769, 16 << 20])
def test_standard_error_is_apart_from_output(ssh: Ssh, size: int) -> None:
    data = random_bytes(size)
    done = ssh.run("echo out; cat >&2; echo end", input=data)
    assert done.status == 0
    assert done.stdout == b"out\nend\n"
    assert done.stderr == data


@pytest.mark.parametrize("block", [1, 7, 1021, 4097, 65537])
def test_blocks_of_any_size_pass(ssh: Ssh, block: int) -> None:
    data = random_bytes(min(block * 300, 2 << 20))
    process = ssh.start(f"dd bs={block} 2>/dev/null | cat")
    assert process.stdin is not None

    def feed() -> None:
        assert process.stdin is not None
        for at in range(0, len(data), block):
            process.stdin.write(data[at : at + block])
            process.stdin.flush()
        process.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert process.stdout is not None
    read = process.stdout.read()
    feeder.join()
    assert process.wait(60) == 0
    assert read == data


def test_both_outputs_at_once_are_whole(ssh: Ssh) -> None:
    done = ssh.run("head -c 3000000 /dev/zero & head -c 2000000 /dev/zero | tr '\\0' x >&2; wait")
    assert (done.status, len(done.stdout), len(done.stderr)) == (0, 3_000_000, 2_000_000)


def test_files_for_input_and_output(ssh: Ssh, tmp_path: Path) -> None:
    data = random_bytes(3_000_001)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        process = ssh.start("cat", stdin=source, stdout=sink)
        assert process.wait(60) == 0
    assert (tmp_path / "out").read_bytes() == data


def test_a_closed_or_empty_input_is_an_end(ssh: Ssh) -> None:
    assert ssh.run("cat; echo done", input=None).stdout.endswith(b"done\n")
    assert ssh.run("cat; echo done", flags=["-n"], input=b"not read").stdout == b"done\n"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *ssh.argv("cat; echo done")],
        env=ssh.environment,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"done\n"


def test_output_that_nobody_reads_ends_the_command_quietly(ssh: Ssh) -> None:
    command = " ".join(f"'{word}'" for word in ssh.argv("yes"))
    began = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", f"{command} | head -n 1"],
        env=ssh.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (b"y\n", b"")
    assert time.monotonic() - began < 30


def test_inherited_descriptors_keep_their_flags(ssh: Ssh) -> None:
    reading, writing = os.pipe()
    process = ssh.start("cat", stdin=reading)
    os.write(writing, b"x")
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    assert not fcntl.fcntl(reading, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(writing)
    os.close(reading)
    assert process.wait(60) == 0


# How it ends


@pytest.mark.parametrize("status", [0, 1, 44, 254, 255])
def test_the_command_s_status_is_ours(ssh: Ssh, status: int) -> None:
    done = ssh.run(f"exit {status}")
    assert (done.status, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_a_command_that_a_signal_ends_is_255(ssh: Ssh, name: str) -> None:
    done = ssh.run(f"echo before; kill -{name} $$")
    assert (done.status, done.stdout) == (255, b"before\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_us_ends_the_connection(ssh: Ssh, number: int) -> None:
    process = ssh.start("echo ready; sleep 100", flags=["-o", "LogLevel=VERBOSE"])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 255
    assert f"Killed by signal {int(number)}.\r\n".encode() in errors


def test_a_signal_ends_us_although_nobody_reads_our_output(ssh: Ssh) -> None:
    reading, writing = os.pipe()
    process = ssh.start("yes", stdout=writing)
    os.close(writing)
    assert os.read(reading, 1) == b"y"
    time.sleep(0.5)
    process.terminate()
    assert process.wait(30) == 255
    os.close(reading)


def test_a_server_that_goes_is_told(ssh: Ssh) -> None:
    process = ssh.start("echo $PPID; sleep 100")
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 255
    # What was still unread at the killed server decides whether its kernel ends or resets.
    assert errors in {
        b"Connection to 127.0.0.1 closed by remote host.\r\n",
        (
            b"Read from remote host 127.0.0.1: Connection reset by peer\r\n"
            b"Connection to 127.0.0.1 closed by remote host.\r\n"
        ),
        b"Read from remote host 127.0.0.1: Connection reset by peer\r\n",
    }


def test_a_server_that_is_silent_is_left(ssh: Ssh) -> None:
    process = ssh.start(
        "echo $PPID; sleep 100",
        flags=["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1"],
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert process.returncode == 255
    assert errors == b"Timeout, server 127.0.0.1 not responding.\r\n"


# Requests


def test_subsystems(ssh: Ssh) -> None:
    assert ssh.run("echo", flags=["-s"], input=b"through").stdout == b"through"
    done = ssh.run("nonesuch", flags=["-s"])
    assert (done.status, done.stderr) == (255, b"subsystem request failed on channel 0\r\n")


def test_environment(ssh: Ssh) -> None:
    done = ssh.run(
        'echo "$TELLIN_A $TELLIN_B $TELLIN_C"',
        flags=["-o", "SendEnv=TELLIN_A TELLIN_?", "-o", "SetEnv=TELLIN_B=b"],
        env={"TELLIN_A": "one", "TELLIN_B": "two", "TELLIN_CD": "three"},
    )
    assert done.stdout == b"one b \n"


def test_the_words_of_a_command_are_one_line_for_the_shell(ssh: Ssh) -> None:
    assert ssh.run("echo", "a  b", "'c  d'").stdout == b"a b c  d\n"
    assert ssh.run("--", "echo", "-n", "x").stdout == b"x"


def test_a_command_may_stand_in_the_configuration(ssh: Ssh) -> None:
    assert ssh.run(flags=["-o", "RemoteCommand=echo %n"]).stdout == b"127.0.0.1\n"
    done = ssh.run("true", flags=["-o", "RemoteCommand=echo no"])
    assert done.status == 255
    assert b"Cannot execute command-line and remote command." in done.stderr


@pytest.mark.peer("asyncssh")
def test_output_that_nobody_reads_ends_a_command_of_any_server(tmp_path: Path) -> None:
    with AsyncSSHServer(tmp_path) as other:
        command = " ".join(f"'{word}'" for word in Ssh(tmp_path, other.target).argv("yes"))
        done = subprocess.run(
            ["sh", "-c", f"{command} | head -n 1"], capture_output=True, check=False, timeout=60
        )
    assert (done.stdout, done.stderr) == (b"y\n", b"")


def test_r171_a_user_of_the_command_line_is_taken_as_it_is() -> None:
    words = [*SSH, "-F", "none", "-G", "-l", "a%h", "host"]
    done = subprocess.run(words, capture_output=True, check=False)
    assert b"\nuser a%h\n" in done.stdout


def test_a_shell_without_a_terminal_reads_commands(ssh: Ssh) -> None:
    done = ssh.run(input=b"echo $((6*7)); exit 3\n")
    assert (done.status, done.stdout) == (3, b"42\n")
    assert done.stderr == (
        b"Pseudo-terminal will not be allocated because stdin is not a terminal.\r\n"
    )
    assert ssh.run(flags=["-T"], input=b"exit 4\n").stderr == b""


@pytest.mark.parametrize(
    "flags",
    [
        ["-c", "chacha20-poly1305@openssh.com"],
        ["-c", "aes256-gcm@openssh.com", "-C"],
        ["-c", "aes256-ctr", "-m", "hmac-sha2-512"],
        ["-c", "aes128-ctr", "-m", "hmac-sha2-256-etm@openssh.com"],
        ["-o", "KexAlgorithms=ecdh-sha2-nistp384"],
        ["-o", "KexAlgorithms=diffie-hellman-group-exchange-sha256"],
        ["-o", "RekeyLimit=64K"],
        ["-4", "-b", "127.0.0.1", "-x", "-a", "-q"],
    ],
)
def test_flags_that_choose_how(ssh: Ssh, flags: list[str]) -> None:
    data = random_bytes(2_000_001)
    done = ssh.run("cat", flags=flags, input=data)
    assert (done.status, done.stderr) == (0, b"")
    assert done.stdout == data


def test_new_keys_in_mid_transfer_are_told_once_each(ssh: Ssh) -> None:
    done = ssh.run("cat", flags=["-v", "-o", "RekeyLimit=256K"], input=bytes(4 << 20))
    assert done.stdout == bytes(4 << 20)
    assert done.stderr.count(b"debug1: SSH2_MSG_NEWKEYS sent\r\n") > 5


# Destinations and files


def test_every_form_of_destination(ssh: Ssh) -> None:
    target = ssh.target
    port = str(target.port)
    for words in (
        ["-p", port, f"{target.user}@127.0.0.1"],
        ["-p", port, "-l", target.user, "127.0.0.1"],
        [f"ssh://{target.user}@127.0.0.1:{port}"],
        ["127.0.0.1", "-p", port, "-l", target.user],
        ["-o", f"Port={port}", "-o", f"User={target.user}", "--", "127.0.0.1"],
        ["-o", f"Port={port}", "-o", "HostName=127.0.0.1", f"{target.user}@some.name"],
    ):
        done = ssh.run(*words, "echo", "in", plain=True)
        assert (done.status, done.stdout) == (0, b"in\n"), (words, done)


def test_of_a_user_and_a_port_that_are_given_twice_the_first_counts(ssh: Ssh) -> None:
    target = ssh.target
    port, place = str(target.port), f"{target.user}@{target.host}"
    for words in (
        ["-p", port, "-p", "1", "-l", target.user, "-l", "nobody", f"no-one@{target.host}"],
        ["-p", port, place, "-l", "nobody"],
        [f"ssh://{place}:{port}", "-p", "1", "-l", "nobody"],
    ):
        done = ssh.run(*words, "id", "-un", plain=True)
        assert (done.status, done.stdout.decode().strip()) == (0, target.user), words


def test_a_key_of_the_command_line_that_is_not_there_is_named_and_passed_over(ssh: Ssh) -> None:
    done = ssh.run("echo in", flags=["-q", "-i", "/nonexistent/k\x1bey"])
    assert (done.status, done.stdout) == (0, b"in\n")
    assert done.stderr == (
        b"Warning: Identity file /nonexistent/k\\033ey not accessible:"
        b" No such file or directory.\r\n"
    )
    # The default keys take its place.
    shown = subprocess.run(
        [*SSH, "-F", "none", "-i", "/nonexistent", "-G", "host"], capture_output=True, check=False
    )
    assert (
        b"identityfile ~/.ssh/id_ed25519\n" in shown.stdout
        or b"/.ssh/id_ed25519\n" in shown.stdout
    )
    assert b"nonexistent" not in shown.stdout


def test_a_configuration_file(ssh: Ssh, tmp_path: Path) -> None:
    target = ssh.target
    assert target.identity is not None
    config = tmp_path / "config"
    config.write_text(
        f"Host there\n HostName 127.0.0.1\n Port {target.port}\n User {target.user}\n"
        f" IdentityFile {target.identity.path}\n UserKnownHostsFile {ssh.known_hosts}\n"
        "Host *\n GlobalKnownHostsFile none\n",
        "ascii",
    )
    done = subprocess.run(
        [*SSH, "-F", config, "there", "echo", "in"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")
    done = subprocess.run(
        [*SSH, "-v", "-F", config, "there", "true"], capture_output=True, check=False
    )
    told = done.stderr.decode().splitlines()
    assert told[1:4] == [
        f"debug1: Reading configuration data {config}",
        f"debug1: {config} line 1: Applying options for there",
        f"debug1: {config} line 7: Applying options for *",
    ]
    done = subprocess.run([*SSH, "-F", config, "-G", "there"], capture_output=True, check=False)
    lines = done.stdout.decode().splitlines()
    assert {"hostname 127.0.0.1", f"port {target.port}", f"user {target.user}"} <= set(lines)


def test_a_proxy_command_carries_the_connection(ssh: Ssh, tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n",
        "ascii",
    )
    data = random_bytes(1_000_001)
    done = ssh.run("cat", flags=["-o", f"ProxyCommand={SSH[0]} {relay} %h %p"], input=data)
    assert (done.status, done.stderr) == (0, b"")
    assert done.stdout == data
    done = ssh.run("true", flags=["-o", "ProxyCommand=false"])
    assert done.status == 255
    # Which it is depends on whether our identification was sent before the command's end.
    assert said(done) in (
        [
            "kex_exchange_identification: Connection closed by remote host",
            "Connection closed by UNKNOWN port 65535",
        ],
        [
            "kex_exchange_identification: read: Connection reset by peer",
            "Connection reset by UNKNOWN port 65535",
        ],
    )


@pytest.mark.parametrize("command", [(), ("echo", "no")], ids=["alone", "with a command"])
def test_without_a_session_it_stays_until_it_is_ended(ssh: Ssh, command: tuple[str, ...]) -> None:
    process = ssh.start(*command, flags=["-v", "-N"])
    assert process.stderr is not None
    for line in process.stderr:
        if b"Entering interactive session." in line:
            break
    assert process.poll() is None
    process.terminate()
    # There is no command whose status it could be, and somebody wanted this end.
    assert process.wait(30) == 0
    assert process.stdout is not None
    assert process.stdout.read() == b""


def test_it_goes_to_the_background_once_it_is_in(ssh: Ssh, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    mark.chmod(0o666)
    tmp_path.chmod(0o755)
    done = ssh.run("sleep 1; echo late", flags=["-f"])
    # The output is the command's, and comes when it comes.
    assert (done.status, done.stdout) == (0, b"late\n")
    began = time.monotonic()
    process = ssh.start(flags=["-f", "-N"])
    # Nothing holds our output open once it has gone to the background.
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, b"", b"")
    assert time.monotonic() - began < 30
    for line in Path("/proc").iterdir():
        if line.name.isdigit():
            try:
                words = (line / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"-N" in words and str(ssh.known_hosts).encode() in b" ".join(words):
                os.kill(int(line.name), signal.SIGTERM)
                break
    else:
        pytest.fail("nothing went to the background")


# What it says


def test_the_version(ssh: Ssh) -> None:
    done = ssh.run(flags=["-V"], plain=True)
    assert done.status == 0
    assert done.stderr.startswith(b"tellin_")
    assert done.stdout == b""


def test_what_it_can_do() -> None:
    def query(word: str) -> list[str]:
        done = subprocess.run([*SSH, "-Q", word], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode().split()

    assert "aes256-gcm@openssh.com" in query("cipher")
    assert query("Ciphers") == query("cipher")
    assert set(query("cipher-auth")) < set(query("cipher"))
    assert "mlkem768x25519-sha256" in query("KexAlgorithms")
    assert "hmac-sha2-256-etm@openssh.com" in query("mac")
    assert query("compression") == ["none", "zlib@openssh.com"]
    assert {"ssh-ed25519", "ssh-rsa"} <= set(query("key"))
    assert "rsa-sha2-512" in query("HostKeyAlgorithms")
    certificates = {"ssh-ed25519-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com"}
    assert certificates <= set(query("key-cert")) < set(query("key"))
    assert set(query("key")) == {*query("key-cert"), *query("key-plain")}
    assert not set(query("key-cert")) & set(query("key-plain"))
    assert "rsa-sha2-512-cert-v01@openssh.com" in query("key-sig")
    assert query("PubkeyAcceptedAlgorithms") == query("key-sig")
    assert query("CASignatureAlgorithms") == query("key-ca-sign")
    assert not [name for name in (*query("sig"), *query("key-ca-sign")) if "-cert-" in name]
    assert query("protocol-version") == ["2"]
    assert set(query("help")) >= {"cipher", "kex", "mac", "key-sig", "sig"}
    done = subprocess.run([*SSH, "-Q", "nothing"], capture_output=True, check=False)
    assert (done.returncode, done.stderr.rstrip()) == (255, b'Unsupported query "nothing"')


@pytest.mark.peer("sshd")
def test_a_login_without_certificates_loads_nothing_of_them(ssh: Ssh) -> None:
    done = ssh.run("true", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.status == 0
    loaded = {line.rpartition(b"|")[2].strip() for line in done.stderr.splitlines()}
    assert b"tellin.client.hosts.host_keys" in loaded
    others = (b"certificates", b"certified", b"revo")
    assert not [name for name in loaded if any(word in name for word in others)]


@pytest.mark.peer("ssh")
def test_certificates_lead_the_lists_as_they_do_in_openssh() -> None:
    lists = {}
    for name, words in (("ours", SSH), ("theirs", ("ssh",))):
        said = subprocess.run(
            [*words, "-F", "none", "-G", "host"], capture_output=True, check=True
        )
        lists[name] = dict(line.split(" ", 1) for line in said.stdout.decode().splitlines())
    for keyword in ("hostkeyalgorithms", "pubkeyacceptedalgorithms", "casignaturealgorithms"):
        ours, theirs = (set(lists[name][keyword].split(",")) for name in ("ours", "theirs"))
        # OpenSSH 10.5 has taken what browsers sign into its lists, 9.2 had not.
        assert {name for name in ours if not name.startswith("webauthn-")} == theirs
        names = lists["ours"][keyword].split(",")
        at = [place for place, name in enumerate(names) if "-cert-" in name]
        assert at == list(range(len(at)))
        assert len(at) in {0, len(names) // 2}


def test_the_story_is_told_in_the_words_scripts_look_for(ssh: Ssh, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = ssh.run("echo in; echo err >&2", flags=["-v", "-E", str(log)])
    # With -E standard error carries nothing but the command's own.
    assert (done.stdout, done.stderr) == (b"in\n", b"err\n")
    told = log.read_text().splitlines()
    target = ssh.target
    assert target.identity is not None
    for part in (
        "debug1: Connecting to 127.0.0.1 [127.0.0.1] port ",
        "debug1: Connection established.",
        "debug1: Local version string SSH-2.0-tellin_",
        "debug1: Remote protocol version 2.0, remote software version OpenSSH_",
        "debug1: kex: algorithm: ",
        "debug1: kex: host key algorithm: ssh-ed25519",
        "debug1: kex: server->client cipher: ",
        "debug1: kex: client->server cipher: aes",
        " MAC: <implicit> compression: none",
        "debug1: SSH2_MSG_NEWKEYS sent",
        "debug1: SSH2_MSG_NEWKEYS received",
        "debug1: Server host key: ssh-ed25519 SHA256:",
        "debug1: Next authentication method: publickey",
        f"debug1: Will attempt key: {target.identity.path} explicit",
        f"debug1: Offering public key: {target.identity.path} ED25519 SHA256:",
        f"debug1: Server accepts key: {target.identity.path} ED25519 SHA256:",
        f'Authenticated to 127.0.0.1 ([127.0.0.1]:{target.port}) using "publickey".',
        "debug1: Sending command: echo in",
        "debug1: Requesting no-more-sessions@openssh.com",
        "debug1: channel 0: free: client-session, nchannels 1",
        "Transferred: sent ",
        "Bytes per second: sent ",
        "debug1: Exit status 0",
    ):
        assert any(part in line for line in told), part
    assert told.count("debug1: SSH2_MSG_NEWKEYS sent") == 1
    # Appended, by every run, in files that others cannot read.
    ssh.run("true", flags=["-v", "-E", str(log)])
    assert log.read_text().splitlines()[: len(told)] == told
    assert log.stat().st_mode & 0o077 == 0


def test_groups_of_numbers_are_told_with_their_sizes(ssh: Ssh) -> None:
    flags = ["-vv", "-o", "KexAlgorithms=diffie-hellman-group-exchange-sha256"]
    said = ssh.run("true", flags=flags).stderr.decode()
    assert "debug2: peer server KEXINIT proposal" in said
    assert "debug2: KEX algorithms: diffie-hellman-group-exchange-sha256," in said
    assert re.search(
        r"debug1: SSH2_MSG_KEX_DH_GEX_REQUEST\(2048<3072<8192\) sent\r\n"
        r"debug1: expecting SSH2_MSG_KEX_DH_GEX_GROUP\r\n"
        r"debug1: SSH2_MSG_KEX_DH_GEX_GROUP received\r\n"
        r"debug2: bits set: 1\d{3}/3\d{3}\r\n"
        r"debug1: SSH2_MSG_KEX_DH_GEX_INIT sent\r\n"
        r"debug1: expecting SSH2_MSG_KEX_DH_GEX_REPLY\r\n"
        r"debug2: bits set: 1\d{3}/3\d{3}\r\n"
        r"debug1: SSH2_MSG_KEX_DH_GEX_REPLY received",
        said,
    )
    flags[-1] = "KexAlgorithms=diffie-hellman-group14-sha256"
    said = ssh.run("true", flags=flags).stderr.decode()
    assert len(re.findall(r"debug2: bits set: \d{3,4}/2048\r\n", said)) == 2
    assert "GEX" not in said.partition("debug1: kex: algorithm")[2]


def test_quiet_is_quiet_even_about_failures(ssh: Ssh) -> None:
    done = ssh.run("true", flags=["-q", "-p", "1"])
    assert (done.status, done.stdout, done.stderr) == (255, b"", b"")


# What it refuses


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-w", "0:x", "host"], b"Bad tun device '0:x'"),
        (["-K", "host"], b"-K (GSSAPI) is not supported"),
        (["-z", "host"], b"unknown option -- z"),
        (["host", "-p"], b"option requires an argument -- p"),
        ([], b"usage: ssh "),
        (["-p", "0", "host"], b"Bad port '0'"),
        (["-p", "70000", "host"], b"Bad port '70000'"),
        (["-1", "host"], b"SSH protocol v.1 is no longer supported"),
        (
            ["-p", "1", "-fF", "none", "127.0.0.1"],
            b"Cannot fork into background without a command",
        ),
        (["-p", "1", "-sF", "none", "127.0.0.1"], b"You must specify a subsystem to invoke."),
        (["-o", "Foo=bar", "host"], b"Bad configuration option: Foo"),
        (["-c", "nothing", "host"], b"Ciphers: unknown cipher 'nothing'"),
        (["-e", "long", "host"], b"bad escape character"),
        (["-F", "/nonexistent", "host"], b"Can't open user config file /nonexistent: No such"),
        (["-E", "/nonexistent/x", "host"], b"Couldn't open logfile /nonexistent/x"),
    ],
)
def test_a_bad_command_line_is_named(words: list[str], part: bytes) -> None:
    done = subprocess.run(
        [*SSH, *words], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 255
    assert part in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize(
    "destination",
    ["-oProxyCommand=x", "a;b", "a$(id)b", "a b", "u`x`@host", "host\n", "", "ssh://a%00b@h"],
)
def test_r170_a_destination_that_a_shell_could_take_for_more_is_refused(destination: str) -> None:
    done = subprocess.run(
        [*SSH, "-F", "none", "-o", "ProxyCommand=touch /tmp/tellin-r170", "--", destination, "x"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 255
    assert b"invalid" in done.stderr or b"percent" in done.stderr
    assert not Path("/tmp/tellin-r170").exists()


def one_line(done_stderr: bytes) -> str:
    lines = done_stderr.decode().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# What a run loads


def loaded(stderr: bytes) -> list[str]:
    """The modules that Python says it has imported, in order."""
    lines = [line for line in stderr.decode().splitlines() if line.startswith("import time:")]
    return [line.rpartition("|")[2].strip() for line in lines[1:]]


def test_a_login_loads_only_what_it_needs(ssh: Ssh) -> None:
    flags = ["-o", "KexAlgorithms=curve25519-sha256"]
    done = ssh.run("true", flags=flags, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.status == 0
    names = set(loaded(done.stderr))
    assert {"tellin.client.authentication.login", "tellin.keys.ed25519"} <= names
    # Each of these would make every login wait.
    needless = {
        *("asyncio", "bcrypt", "dataclasses", "difflib", "hashlib", "inspect", "logging"),
        *("pathlib", "secrets", "socket", "subprocess", "tempfile", "threading", "zlib"),
        "cryptography.hazmat.primitives.asymmetric",
        "cryptography.hazmat.primitives.ciphers",
        "cryptography.hazmat.primitives.serialization",
        "tellin.algorithms.block_modes",
        "tellin.algorithms.finite_field",
        "tellin.client.narration",
        "tellin.keys.pem",
        "tellin.keys.pictures",
        "tellin.keys.rsa",
        "tellin.protocol.freezing",
        "tellin.protocol.server",
    }
    assert sorted(names & needless) == []


def test_names_of_algorithms_are_checked_without_the_algorithms(ssh: Ssh) -> None:
    flags = ["-c", "aes256-gcm@openssh.com", "-o", "KexAlgorithms=curve25519-sha256"]
    done = ssh.run("true", flags=flags, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.status == 0
    names = loaded(done.stderr)
    # It connects between these two.
    first = min(names.index(name) for name in names if name.startswith("cryptography"))
    assert names.index("tellin.client.offer") < first


# How it can go wrong before there is a connection


def test_a_closed_port(ssh: Ssh) -> None:
    port = free_port()
    done = ssh.run("true", flags=["-p", str(port)])
    assert done.status == 255
    assert one_line(done.stderr) == (
        f"ssh: connect to host 127.0.0.1 port {port}: Connection refused"
    )


def test_an_unknown_name(ssh: Ssh) -> None:
    done = ssh.run("x@nothing.invalid", "true", plain=True)
    assert done.status == 255
    assert one_line(done.stderr).startswith("ssh: Could not resolve hostname nothing.invalid: ")


class Peer:
    """Listens and says what it is told to, and nothing else."""

    def __init__(self, *pieces: bytes, close: bool = False) -> None:
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]
        self._pieces = pieces
        self._close = close
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        for piece in self._pieces:
            connection.sendall(piece)
        if self._close:
            connection.shutdown(socket.SHUT_WR)
        self._kept.append(connection)

    def stop(self) -> None:
        self._thread.join()
        self._listening.close()
        for connection in self._kept:
            connection.close()


@pytest.mark.parametrize(
    ("pieces", "close", "line"),
    [
        ((), False, "Connection timed out during banner exchange"),
        (
            (b"SSH-2.0-x\r\n",),
            False,
            "Connection to 127.0.0.1 port PORT timed out",
        ),
        ((), True, "kex_exchange_identification: Connection closed by remote host"),
        (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
            True,
            (
                "kex_exchange_identification: the peer is not an SSH server:"
                " it says b'HTTP/1.1 400 Bad Request'"
            ),
        ),
        (
            (b"220 mail ready\r\n",),
            False,
            (
                "kex_exchange_identification: the peer is not an SSH server:"
                " it says b'220 mail ready'"
            ),
        ),
        (
            (b"SSH-1.5-old\r\n",),
            False,
            "kex_exchange_identification: protocol version 1.5 is not 2.0",
        ),
        ((b"SSH-2.0-x\r\n",), True, "Connection closed by 127.0.0.1 port PORT"),
        (
            (b"SSH-2.0-x\r\n", bytes(16)),
            False,
            "ssh_dispatch_run_fatal: Connection to 127.0.0.1 port PORT: Bad packet length 0.",
        ),
    ],
)
def test_a_peer_that_is_no_server_is_left_with_its_cause(
    ssh: Ssh, pieces: tuple[bytes, ...], close: bool, line: str
) -> None:
    peer = Peer(*pieces, close=close)
    began = time.monotonic()
    done = ssh.run("true", flags=["-p", str(peer.port), "-o", "ConnectTimeout=2"])
    took = time.monotonic() - began
    peer.stop()
    assert done.status == 255
    assert one_line(done.stderr) == line.replace("PORT", str(peer.port))
    assert done.stdout == b""
    assert took < 20


def test_no_common_algorithm_shows_both_lists(ssh: Ssh) -> None:
    done = ssh.run("true", flags=["-c", "3des-cbc,aes128-cbc"])
    assert done.status == 255
    line = one_line(done.stderr)
    assert line.startswith(
        f"Unable to negotiate with 127.0.0.1 port {ssh.target.port}: no matching cipher found."
        " Their offer: "
    )
    assert "aes128-ctr" in line
    assert line.endswith("; ours: 3des-cbc,aes128-cbc")


def test_a_refused_key(ssh: Ssh, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    target = ssh.target
    strange = Ssh(
        tmp_path,
        Target(port=target.port, user=target.user, host_keys=target.host_keys, identity=other),
    )
    done = strange.run("true")
    assert done.status == 255
    line = one_line(done.stderr)
    assert line.startswith(f"{target.user}@127.0.0.1: Permission denied (publickey")
