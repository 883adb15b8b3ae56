# SPDX-License-Identifier: MIT
"""What keywords of ssh_config say is what happens on a connection, with tellin's ssh as with OpenSSH's.

tests/config/test_keyword_states.py says which test shows which keyword.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.certified import authority, host_certificate
from tests.interop.eavesdropper import Capture
from tests.interop.peers import (
    TERMINALS_OF_SSHD,
    AsyncSSHServer,
    OpenSSHServer,
    Server,
    no_terminals_of_sshd,
)
from tests.interop.target import LOOPBACK, Completed, Target, free_port, make_key
from tests.interop.tellin_peer import TellinServer
from tests.programs.ssh_runs import EITHER, SSH, Ssh, Typist, asked, askpass, having, said

from tellin.keys import load_public_key

pytestmark = pytest.mark.peer("sshd")

PATIENCE = 60.0
CONNECTION = "echo $SSH_CONNECTION"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OpenSSHServer]:
    # An account of its own has /bin/sh for a shell and no start-up files.
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    options = {"LogLevel": "DEBUG", "KbdInteractiveAuthentication": "yes"}
    with OpenSSHServer(
        tmp_path_factory.mktemp("server"), account=account, options=options
    ) as running:
        yield running


def by(program: str, directory: Path, target: Target, **settings: str) -> Ssh:
    made = Ssh(directory, target, **settings)
    if program != "tellin":
        made.program = (program,)
    return made


@pytest.fixture(params=EITHER)
def ssh(request: pytest.FixtureRequest, server: OpenSSHServer, tmp_path: Path) -> Iterator[Ssh]:
    made = by(request.param, tmp_path, server.target)
    yield made
    made.stop()


@pytest.fixture
def ours(server: OpenSSHServer, tmp_path: Path) -> Iterator[Ssh]:
    """tellin's alone: keywords that OpenSSH 9.2 has not."""
    made = Ssh(tmp_path, server.target)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsyncSSHServer]:
    """One that takes a password, and asks for it as a question too."""
    with AsyncSSHServer(tmp_path_factory.mktemp("door")) as running:
        yield running


@pytest.fixture(params=EITHER)
def knocking(request: pytest.FixtureRequest, door: AsyncSSHServer, tmp_path: Path) -> Ssh:
    target = door.target
    there = Target(port=target.port, user=target.user, host_keys=target.host_keys)
    return by(request.param, tmp_path, there)


# How it connects


def test_bind_address_is_where_it_comes_from(ssh: Ssh) -> None:
    done = ssh.run(CONNECTION, flags=having("BindAddress=127.0.0.3"))
    assert done.stdout.split()[0] == b"127.0.0.3"
    assert ssh.run(CONNECTION, flags=["-b", "127.0.0.4"]).stdout.split()[0] == b"127.0.0.4"
    assert ssh.run("true", flags=["-b", "192.0.2.77"]).status == 255


@pytest.mark.parametrize(
    ("flags", "host"),
    [
        (having("AddressFamily=inet6"), LOOPBACK),
        (["-6"], LOOPBACK),
        (having("AddressFamily=inet"), "::1"),
    ],
)
def test_address_family_leaves_the_other_out(ssh: Ssh, flags: list[str], host: str) -> None:
    done = ssh.run(host, "true", flags=flags, plain=True)
    assert done.status == 255
    assert said(done) == [
        f"ssh: Could not resolve hostname {host}: Address family for hostname not supported"
    ]
    assert ssh.run("echo in", flags=having("AddressFamily=inet")).stdout == b"in\n"


def test_address_family_chooses_where_is_listened(ssh: Ssh) -> None:
    local, dynamic = free_port(), free_port()
    strict = having("ExitOnForwardFailure=yes")
    done = ssh.run(
        "echo in", flags=["-4", "-L", f"{local}:127.0.0.1:1", "-D", str(dynamic), *strict]
    )
    assert done == Completed(0, b"in\n", b"")


def test_connection_attempts_are_made_one_a_second(ssh: Ssh) -> None:
    port = free_port()
    done = ssh.run("true", flags=["-v", "-p", str(port), *having("ConnectionAttempts=3")])
    assert done.status == 255
    lines = said(done)
    assert sum("Connecting to 127.0.0.1" in line for line in lines) == 3
    assert lines.count("debug1: Trying again...") == 2
    assert lines[-1] == f"ssh: connect to host 127.0.0.1 port {port}: Connection refused"


def test_a_later_attempt_finds_who_was_late(ssh: Ssh) -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.settimeout(PATIENCE)
        port = listening.getsockname()[1]
        process = ssh.start(
            "true", flags=["-v", "-p", str(port), *having("ConnectionAttempts=100")]
        )
        assert process.stderr is not None
        while b"Trying again" not in process.stderr.readline():
            assert process.poll() is None
        listening.listen()
        with listening.accept()[0] as peer:
            peer.settimeout(PATIENCE)
            assert peer.recv(8).startswith(b"SSH-2.0")
        assert process.wait(PATIENCE) == 255


@pytest.mark.parametrize(("value", "timer"), [("yes", "02"), ("no", "00")])
def test_tcp_keep_alive_is_the_systems_own_timer(ssh: Ssh, value: str, timer: str) -> None:
    process = ssh.start(f"{CONNECTION}; sleep 60", flags=having(f"TCPKeepAlive={value}"))
    assert process.stdout is not None
    port = int(process.stdout.readline().split()[1])
    until = time.monotonic() + PATIENCE
    # 01: something is on its way.
    while (found := _timer_of(port, ssh.target.port)) == "01":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert found == timer


def _timer_of(local: int, remote: int) -> str:
    """What the kernel waits for on a connection (proc(5), /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (row,) = [
        row
        for row in rows
        if row[1].endswith(f":{local:04X}") and row[2].endswith(f":{remote:04X}")
    ]
    return row[5].partition(":")[0]


class Classes(Capture):
    """The traffic classes of what goes to a port."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.port = port
        self.found: list[int] = []

    def _keep(self, frame: bytes) -> None:
        packet = frame[14:]
        if frame[12:14] != b"\x08\x00" or packet[9] != socket.IPPROTO_TCP:
            return
        header = (packet[0] & 15) * 4
        if int.from_bytes(packet[header + 2 : header + 4], "big") == self.port:
            self.found.append(packet[1])


@pytest.mark.root
@pytest.mark.parametrize(("flags", "wanted"), [([], 0x20), (["-tt"], 0x48)])
def test_ip_qos_marks_a_terminal_and_everything_else(
    ssh: Ssh, flags: list[str], wanted: int
) -> None:
    classes = Classes(ssh.target.port)
    with classes.running():
        assert ssh.run("true", flags=[*flags, *having("IPQoS=af21 cs1")], input=None).status == 0
    assert classes.found[-1] == wanted
    with (unmarked := Classes(ssh.target.port)).running():
        assert ssh.run("true", flags=having("IPQoS=none")).status == 0
    assert {*unmarked.found} == {0}


@pytest.mark.parametrize("flags", [["-C"], having("Compression=yes")])
def test_compression_is_asked_for(ssh: Ssh, flags: list[str]) -> None:
    lines = [line for line in said(ssh.run("true", flags=["-v", *flags])) if "kex: " in line]
    assert [line.rpartition(": ")[2] for line in lines[-2:]] == ["zlib@openssh.com"] * 2
    plain = [line for line in said(ssh.run("true", flags=["-v"])) if "kex: " in line]
    assert [line.rpartition(": ")[2] for line in plain[-2:]] == ["none"] * 2


def test_rekey_limit_by_time_holds_where_little_moves(ssh: Ssh) -> None:
    # OpenSSH looks at its clock when it has something to do.
    command = "while echo tick; do sleep 1; done"
    process = ssh.start(command, flags=["-v", *having("RekeyLimit=default 1s")])
    assert process.stderr is not None
    sent = 0
    for line in process.stderr:
        sent += b"SSH2_MSG_NEWKEYS sent" in line
        if sent == 3:
            break
    assert sent == 3


def test_channel_timeout_ends_a_session_in_which_nothing_moves(ours: Ssh) -> None:
    flags = ["-v", *having("ChannelTimeout=session:shell=1s session=2s")]
    done = ours.run("sleep 60", flags=flags, input=None)
    assert done.status == 255
    assert b"channel 0: closing after 2 seconds of inactivity\r\n" in done.stderr
    done = ours.run("for i in 1 2 3; do sleep 1; echo $i; done; exit 7", flags=flags)
    assert (done.status, done.stdout) == (7, b"1\n2\n3\n")


def test_of_rekey_limit_size_and_time_have_each_their_first_value(
    ssh: Ssh, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("RekeyLimit 64K\nRekeyLimit 1G 1h\nRekeyLimit 2G 2h\n", "ascii")
    shown = ssh.run("-F", str(config), "-G", "host", plain=True, flags=["-T"])
    # Of -F the last counts.
    assert b"\nrekeylimit 65536 3600\n" in shown.stdout


def test_hostname_is_the_real_name(ssh: Ssh) -> None:
    options = having("Hostname=127.0.0.1", f"Port={ssh.target.port}", f"User={ssh.target.user}")
    done = ssh.run("there", CONNECTION, flags=options, plain=True)
    assert done.stdout.split()[2:] == [b"127.0.0.1", str(ssh.target.port).encode()]


@pytest.mark.parametrize(
    ("words", "user", "port"),
    [
        ("-o User=x y@h", "x", 22),
        ("-o User=x -l y h", "x", 22),
        ("-oUser=x ssh://y@h", "x", 22),
        ("-l y -o User=x h", "y", 22),
        ("y@h -o User=x", "y", 22),
        ("-l a ssh://b@h:3 -p 4", "a", 3),
        ("-l x h -o Port=1 -p 2", "x", 1),
        ("-l x h -p 2 -o Port=1", "x", 2),
        ("-o Port=1 ssh://x@h:2", "x", 1),
        ("ssh://x@h:2 -o Port=1", "x", 2),
    ],
)
def test_of_all_that_name_a_user_or_a_port_the_first_counts(
    ssh: Ssh, words: str, user: str, port: int
) -> None:
    argv = [*ssh.program, "-F", "none", "-T", "-G", *words.split()]
    shown = subprocess.run(argv, capture_output=True, check=True).stdout.decode().splitlines()
    assert {f"user {user}", f"port {port}"} <= {*shown}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("-o Compression=no -C", "compression yes"),
        ("-C -o Compression=no", "compression yes"),
        ("-4 -6", "addressfamily inet6"),
        ("-o AddressFamily=inet6 -4", "addressfamily inet"),
        ("-c aes128-ctr -c aes256-ctr", "ciphers aes256-ctr"),
        ("-o Ciphers=aes256-ctr -c aes128-ctr", "ciphers aes128-ctr"),
        ("-m hmac-sha2-256 -m hmac-sha2-512", "macs hmac-sha2-512"),
        ("-o EscapeChar=y -e x", "escapechar x"),
        ("-e none -e x -o EscapeChar=y", "escapechar x"),
        ("-o BindAddress=127.0.0.9 -b 127.0.0.1", "bindaddress 127.0.0.1"),
        ("-o BindInterface=eth9 -B lo", "bindinterface lo"),
        ("-o PKCS11Provider=/a -I /b", "pkcs11provider /b"),
        ("-o StdinNull=no -n", "stdinnull yes"),
        ("-o RequestTTY=no -t", "requesttty true"),
        ("-t -o RequestTTY=no -t", "requesttty force"),
        ("-o RequestTTY=yes -t", "requesttty force"),
        ("-t -t -T", "requesttty false"),
        ("-T -t", "requesttty true"),
        ("-o LogLevel=ERROR -v -o LogLevel=QUIET", "loglevel DEBUG"),
        ("-v -q", "loglevel SILENT"),
    ],
)
def test_of_flags_the_last_counts_and_more_than_any_option(
    ssh: Ssh, words: str, line: str
) -> None:
    argv = [*ssh.program, "-F", "none", "-G", *words.split(), "host"]
    shown = subprocess.run(argv, capture_output=True, check=True).stdout.decode().splitlines()
    assert line in shown


@pytest.mark.parametrize(
    "form", ["ssh://{}@127.0.0.1:{}", "ssh://{}@127.0.0.1:{}/", "SSH://{}@127.0.0.1:{}"]
)
def test_an_address_names_user_host_and_port(ssh: Ssh, form: str) -> None:
    target = ssh.target
    address = form.format(target.user, target.port)
    if form.startswith("SSH") and ssh.program != SSH:
        address = address.lower()
    done = ssh.run(address, CONNECTION, plain=True)
    assert done.stdout.split()[2:] == [b"127.0.0.1", str(target.port).encode()]
    # Flags and options that come first count before it.
    for flags in (["-p", "1"], having("Port=1")):
        late = ssh.run(address, "true", flags=flags, plain=True)
        assert late.status == 255
        assert said(late) == ["ssh: connect to host 127.0.0.1 port 1: Connection refused"]


def test_ignore_unknown_lets_pass_what_it_names(ssh: Ssh, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("IgnoreUnknown UseKey*\nUseKeychain yes\n", "ascii")
    argv = [str(config) if word == "none" else word for word in ssh.argv("echo in")]
    done = subprocess.run(argv, capture_output=True, check=False, env=ssh.environment)
    assert done.stdout == b"in\n"
    config.write_text("UseKeychain yes\nIgnoreUnknown UseKey*\n", "ascii")
    done = subprocess.run(argv, capture_output=True, check=False, env=ssh.environment)
    assert done.returncode == 255
    assert b"bad configuration option: usekeychain" in done.stderr.lower()


# What it offers and accepts


def test_preferred_authentications_are_tried_in_order(
    knocking: Ssh, door: AsyncSSHServer, tmp_path: Path
) -> None:
    assert door.password is not None
    order = "PreferredAuthentications=keyboard-interactive,password"
    environment = askpass(tmp_path, *"abc", door.password)
    flags = ["-v", *having(order, "IdentityFile=none")]
    done = knocking.run("echo in", flags=flags, env=environment)
    assert done.stdout == b"in\n"
    tried = [
        line.rpartition(" ")[2] for line in said(done) if "Next authentication method" in line
    ]
    assert list(dict.fromkeys(tried)) == ["keyboard-interactive", "password"]
    assert [question.startswith("(") for question in asked(tmp_path)] == [True] * 3 + [False]


@pytest.mark.parametrize("count", [1, 2])
def test_number_of_password_prompts(knocking: Ssh, tmp_path: Path, count: int) -> None:
    options = [f"NumberOfPasswordPrompts={count}", "PreferredAuthentications=password"]
    done = knocking.run(
        "true", flags=having(*options, "IdentityFile=none"), env=askpass(tmp_path, *"abcd")
    )
    assert done.status == 255
    assert len(asked(tmp_path)) == count


@pytest.mark.parametrize(
    ("keyword", "method"),
    [
        ("PasswordAuthentication", "password"),
        ("KbdInteractiveAuthentication", "keyboard-interactive"),
        ("ChallengeResponseAuthentication", "keyboard-interactive"),
    ],
)
def test_a_method_that_is_off_asks_nothing(
    knocking: Ssh, door: AsyncSSHServer, tmp_path: Path, keyword: str, method: str
) -> None:
    assert door.password is not None
    given = ["IdentityFile=none", f"PreferredAuthentications={method}"]
    for value, questions in (("no", 0), ("yes", 1)):
        environment = askpass(tmp_path, door.password)
        done = knocking.run("echo in", flags=having(f"{keyword}={value}", *given), env=environment)
        assert (done.status == 0) is (value == "yes")
        assert len(asked(tmp_path)) == questions


def test_pubkey_authentication_can_be_off(ssh: Ssh) -> None:
    flags = ["-v", *having("PubkeyAuthentication=no", "BatchMode=yes")]
    done = ssh.run("true", flags=flags)
    assert done.status == 255
    assert not any("Offering public key" in line for line in said(done))
    assert "Permission denied (publickey" in said(done)[-1]


def test_pubkey_accepted_algorithms_keep_a_key_back(ssh: Ssh) -> None:
    flags = ["-v", *having("PubkeyAcceptedAlgorithms=rsa-sha2-512", "BatchMode=yes")]
    done = ssh.run("true", flags=flags)
    assert done.status == 255
    assert not any("Offering public key" in line for line in said(done))
    allowed = having("PubkeyAcceptedAlgorithms=rsa-sha2-512,ssh-ed25519")
    assert ssh.run("echo in", flags=allowed).stdout == b"in\n"


def test_kbd_interactive_devices_are_told_the_server(ssh: Ssh, server: OpenSSHServer) -> None:
    options = ["KbdInteractiveDevices=abacus,dice", "BatchMode=no", "IdentityFile=none"]
    flags = having(*options, "PreferredAuthentications=keyboard-interactive")
    before = server.log().count("keyboard-interactive devs abacus,dice")
    assert ssh.run("true", flags=flags).status == 255
    assert server.log().count("keyboard-interactive devs abacus,dice") == before + 1


def test_required_rsa_size_refuses_a_shorter_host_key(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with OpenSSHServer(tmp_path, account=account, host_keys=("rsa",)) as running:
        for program, why in (("tellin", "3072 bits, where 4096"), ("ssh", "Invalid key length")):
            one = by(program, tmp_path, running.target)
            assert one.run("echo in", flags=having("RequiredRSASize=3072")).stdout == b"in\n"
            done = one.run("echo in", flags=having("RequiredRSASize=4096"))
            assert (done.status, done.stdout) == (255, b"")
            assert why in said(done)[0]


def test_required_rsa_size_keeps_a_shorter_key_back(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with OpenSSHServer(tmp_path, account=account, user_key="rsa") as running:
        for program in ("tellin", "ssh"):
            one = by(program, tmp_path, running.target)
            assert one.run("echo in", flags=having("RequiredRSASize=3072")).stdout == b"in\n"
            done = one.run("echo in", flags=having("RequiredRSASize=4096", "BatchMode=yes"))
            assert (done.status, done.stdout) == (255, b"")


def test_security_profile_strict_takes_no_exchange_that_a_quantum_computer_breaks(
    ours: Ssh, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert ours.run("echo in", flags=having("SecurityProfile=strict")).stdout == b"in\n"
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    old = {"KexAlgorithms": "curve25519-sha256"}
    with OpenSSHServer(tmp_path, account=account, options=old) as running:
        there = Ssh(tmp_path, running.target)
        assert there.run("echo in").stdout == b"in\n"
        done = there.run("echo in", flags=having("SecurityProfile=strict"))
    assert done.status == 255
    assert "no matching key exchange method found" in said(done)[0]


def test_warn_weak_crypto_is_about_the_exchange(ours: Ssh) -> None:
    weak = "KexAlgorithms=curve25519-sha256"
    warned = {
        value: ours.run("true", flags=having(weak, f"WarnWeakCrypto={value}")).stderr
        for value in ("yes", "no", "no-pq-kex")
    }
    assert b"not using a post-quantum key exchange" in warned["yes"]
    assert (warned["no"], warned["no-pq-kex"]) == (b"", b"")
    strong = having("KexAlgorithms=sntrup761x25519-sha512@openssh.com", "WarnWeakCrypto=yes")
    assert ours.run("true", flags=strong).stderr == b""


# Whom it trusts


def test_global_known_hosts_file_is_a_record_too(ssh: Ssh, tmp_path: Path) -> None:
    everybody = tmp_path / "everybody"
    everybody.write_text(ssh.target.known_hosts(), "ascii")
    nobody = having("UserKnownHostsFile=none")
    assert ssh.run("true", flags=nobody).status == 255
    flags = [*nobody, *having(f"GlobalKnownHostsFile={everybody}")]
    assert ssh.run("echo in", flags=flags).stdout == b"in\n"


def test_host_key_alias_is_the_name_of_the_record(ssh: Ssh) -> None:
    key = " ".join(ssh.target.host_key().split()[:2])
    ssh.known_hosts.write_text(f"alias {key}\n", "ascii")
    assert ssh.run("echo in", flags=having("HostKeyAlias=alias")).stdout == b"in\n"
    assert ssh.run("echo in").status == 255
    assert ssh.run("echo in", flags=having("HostKeyAlias=other")).status == 255


def test_fingerprint_hash_is_how_keys_are_shown(ssh: Ssh) -> None:
    key = load_public_key(ssh.target.host_key().encode())
    for name in ("md5", "sha256"):
        done = ssh.run("true", flags=["-v", *having(f"FingerprintHash={name}")])
        shown = [line for line in said(done) if "Server host key" in line]
        assert shown == [f"debug1: Server host key: ssh-ed25519 {key.fingerprint(name)}"]


@pytest.mark.peer("ssh")
def test_visual_host_key_draws_the_same_picture(server: OpenSSHServer, tmp_path: Path) -> None:
    pictures = [
        by(program, tmp_path, server.target).run("true", flags=having("VisualHostKey=yes"))
        for program in ("tellin", "ssh")
    ]
    assert said(pictures[0]) == said(pictures[1])
    assert "[ED25519 256]" in said(pictures[0])[1]


def test_revoked_host_keys_are_refused(ssh: Ssh, tmp_path: Path) -> None:
    listed = tmp_path / "revoked"
    flags = having(f"RevokedHostKeys={listed}")
    listed.write_text(make_key(tmp_path / "other").public + "\n", "ascii")
    assert ssh.run("echo in", flags=flags).stdout == b"in\n"
    listed.write_text(ssh.target.host_key() + "\n", "ascii")
    done = ssh.run("echo in", flags=flags)
    assert (done.status, done.stdout) == (255, b"")
    assert b"revoked" in done.stderr
    # A list that cannot be read vouches for nobody.
    assert ssh.run("echo in", flags=having("RevokedHostKeys=/nonexistent")).status == 255


def test_ca_signature_algorithms_limit_who_vouches_for_hosts(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    shown = tmp_path / "host-cert.pub"

    class Vouched(OpenSSHServer):
        def argv(self) -> Sequence[str | Path]:
            key = load_public_key(self.host_keys[0].public.encode())
            shown.write_text(host_certificate(key, LOOPBACK).to_line() + "\n", "ascii")
            return super().argv()

    with Vouched(tmp_path, account=account, options={"HostCertificate": shown}) as running:
        for program in ("tellin", "ssh"):
            one = by(program, tmp_path, running.target)
            one.known_hosts.write_text(f"@cert-authority * {authority().public.to_line()}\n")
            assert one.run("echo in").stdout == b"in\n"
            good = having("CASignatureAlgorithms=ssh-ed25519")
            assert one.run("echo in", flags=good).stdout == b"in\n"
            done = one.run("echo in", flags=having("CASignatureAlgorithms=rsa-sha2-512"))
            assert (done.status, done.stdout) == (255, b"")


# The session


def test_session_type_none_opens_no_session(ssh: Ssh) -> None:
    process = ssh.start("echo no", flags=["-v", *having("SessionType=none")])
    assert process.stderr is not None
    for line in process.stderr:
        if b"Entering interactive session." in line:
            break
    assert process.poll() is None
    process.terminate()
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == b""


def test_session_type_subsystem_names_one(ssh: Ssh) -> None:
    done = ssh.run("echo", flags=having("SessionType=subsystem"), input=b"through")
    assert done.stdout == b"through"


def test_stdin_null_reads_nothing(ssh: Ssh) -> None:
    done = ssh.run("cat; echo done", flags=having("StdinNull=yes"), input=b"not read")
    assert done.stdout == b"done\n"


def test_fork_after_authentication_leaves_us_behind(ssh: Ssh, server: OpenSSHServer) -> None:
    flags = having("ForkAfterAuthentication=yes", "StdinNull=yes")
    sign = server.directory / f"go-{ssh.program[0].rpartition('/')[2]}"
    process = ssh.start(f"while [ ! -e {sign} ]; do sleep 0.1; done; echo late", flags=flags)
    # It is gone, while the command waits for what we do only now.
    assert process.wait(PATIENCE) == 0
    sign.touch()
    assert process.stdout is not None
    assert process.stdout.read() == b"late\n"


@TERMINALS_OF_SSHD
def test_request_tty(ssh: Ssh) -> None:
    test = "test -t 0 && echo some || echo none"
    assert ssh.run(test, flags=having("RequestTTY=force"), input=None).stdout == b"some\r\n"
    assert ssh.run(test, flags=having("RequestTTY=yes")).stdout == b"none\n"
    assert ssh.run(test, flags=having("RequestTTY=auto")).stdout == b"none\n"


def test_r112_remote_command_is_run_and_is_not_beside_another(ssh: Ssh) -> None:
    twelve = " ".join(str(number) for number in range(1, 12))
    flags = having(f"RemoteCommand=echo %h {twelve} -R")
    assert ssh.run(flags=flags).stdout == f"127.0.0.1 {twelve} -R\n".encode()
    done = ssh.run("true", flags=flags)
    assert (done.status, said(done)) == (
        255,
        ["Cannot execute command-line and remote command."],
    )


def test_local_command_runs_where_it_is_permitted(ssh: Ssh, tmp_path: Path) -> None:
    note = tmp_path / "note"
    command = f"LocalCommand=echo %h %p %r %n > {note}"
    assert ssh.run("true", flags=having(command)).status == 0
    assert ssh.run("true", flags=having(command, "PermitLocalCommand=no")).status == 0
    assert not note.exists()
    # It is over before the session begins.
    allowed = having(command, "PermitLocalCommand=yes")
    assert ssh.run("true", flags=allowed).status == 0
    target = ssh.target
    assert note.read_text() == f"127.0.0.1 {target.port} {target.user} 127.0.0.1\n"
    # What becomes of it changes nothing.
    done = ssh.run("echo in", flags=having("PermitLocalCommand=yes", "LocalCommand=exit 3"))
    assert (done.status, done.stdout) == (0, b"in\n")


def test_send_env_takes_names_back(ssh: Ssh) -> None:
    command = 'echo "$TELLIN_A $TELLIN_B $TELLIN_C"'
    environment = {"TELLIN_A": "one", "TELLIN_B": "two", "TELLIN_C": "three"}
    flags = having("SendEnv=TELLIN_A TELLIN_B TELLIN_C", "SendEnv=-*_B")
    assert ssh.run(command, flags=flags, env=environment).stdout == b"one  three\n"
    flags = having("SetEnv=TELLIN_A=set TELLIN_B=too", "SetEnv=TELLIN_C=late")
    assert ssh.run(command, flags=flags, env=environment).stdout == b"set too \n"


def test_a_tag_chooses_a_match_block(ours: Ssh, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Match tagged prod\n RemoteCommand echo tagged %n\n", "ascii")
    argv = [str(config) if word == "none" else word for word in ours.argv()]
    for flags in (["-P", "prod"], having("Tag=prod")):
        words = [*argv[: len(SSH)], *flags, *argv[len(SSH) :]]
        done = subprocess.run(words, capture_output=True, check=False, env=ours.environment)
        assert done.stdout == b"tagged 127.0.0.1\n"


def test_refuse_connection_says_why_and_connects_to_nobody(ours: Ssh, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host {LOOPBACK}\n RefuseConnection %h is retired\n", "ascii")
    argv = [str(config) if word == "none" else word for word in ours.argv("echo in")]
    done = subprocess.run(argv, capture_output=True, check=False, env=ours.environment)
    assert (done.returncode, done.stdout) == (255, b"")
    assert "127.0.0.1 is retired" in done.stderr.decode()
    assert f"{config} line 2" in done.stderr.decode()


# At a terminal


@pytest.fixture(params=EITHER)
def sitting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ssh]:
    """A server that gives terminals."""
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    options = {"PrintMotd": "no", "PrintLastLog": "no"}
    kind: type[Server] = TellinServer if no_terminals_of_sshd() else OpenSSHServer
    with kind(tmp_path, account=account, options=options) as running:
        yield by(request.param, tmp_path, running.target)


def at_terminal(ssh: Ssh, *words: str, flags: list[str]) -> Typist:
    argv = ssh.argv(*words, flags=flags)
    if argv[0] == "ssh":
        argv[0] = "/usr/bin/ssh"
    return Typist(argv, env=ssh.environment)


def test_escape_char_begins_escapes(sitting: Ssh) -> None:
    with at_terminal(sitting, flags=having("EscapeChar=^B")) as typist:
        typist.type("echo rea''dy\r")
        typist.expect(r"ready\r\n")
        typist.type("\x02.")
        assert typist.end() == 255
    with at_terminal(sitting, flags=having("EscapeChar=none")) as typist:
        typist.type("echo rea''dy\r")
        typist.expect(r"ready\r\n")
        typist.type("~.\r")
        typist.type("exit 7\r")
        assert typist.end() == 7


def test_request_tty_at_a_terminal(sitting: Ssh) -> None:
    test = "test -t 0 && echo so''me || echo no''ne"
    for value, found in (("yes", "some"), ("auto", "none"), ("no", "none")):
        with at_terminal(sitting, test, flags=having(f"RequestTTY={value}")) as typist:
            typist.expect(rf"{found}\r\n")
            assert typist.end() == 0
    with at_terminal(sitting, flags=having("RequestTTY=no")) as typist:
        typist.type(f"{test}; exit\n")
        typist.expect(r"none\r\n")
        assert typist.end() == 0


# What it says


def test_log_level_says_how_much(ssh: Ssh) -> None:
    def lines(level: str, *words: str) -> list[str]:
        return said(ssh.run(*(words or ("true",)), flags=having(f"LogLevel={level}")))

    refused = ["-p", "1"]
    assert said(ssh.run("true", flags=[*refused, *having("LogLevel=QUIET")])) == []
    assert said(ssh.run("true", flags=[*refused, *having("LogLevel=FATAL")])) == []
    assert len(said(ssh.run("true", flags=[*refused, *having("LogLevel=ERROR")]))) == 1
    assert lines("ERROR") == lines("INFO") == []
    assert any(line.startswith("Authenticated to 127.0.0.1") for line in lines("VERBOSE"))
    assert not any(line.startswith("debug") for line in lines("VERBOSE"))
    for level, mark in (("DEBUG", "debug1:"), ("DEBUG2", "debug2:")):
        marks = {line.partition(" ")[0] for line in lines(level) if line.startswith("debug")}
        assert max(marks) == mark


def test_log_verbose_says_all_of_some_places(ssh: Ssh) -> None:
    pattern = (
        "*:_negotiated():*" if ssh.program == SSH else "*:choose_kex():*,*:kex_choose_conf():*"
    )
    flags = having(f"LogVerbose={pattern}")
    done = ssh.run("echo in", flags=flags)
    assert done.stdout == b"in\n"
    assert said(done)
    for line in said(done):
        assert re.match(r"debug\d: \S+:\S+\(\):\d+ \((bin=ssh, )?pid=\d+\): \S", line)
    assert any("kex: algorithm: " in line for line in said(done))
    assert ssh.run("true", flags=having("LogVerbose=*:nosuch():*")).stderr == b""
