# SPDX-License-Identifier: MIT
"""Keywords of ssh_config that only another machine's network, names and log can show: one is made for each test."""

import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.children import Child, python
from tests.interop.network import Network
from tests.interop.peers import OpenSSHServer, make_key
from tests.interop.target import Completed
from tests.interop.tellin_peer import TELLIN
from tests.programs.ssh_runs import EITHER, having, said

pytestmark = [pytest.mark.root, pytest.mark.peer("sshd")]

PATIENCE = 60
HERE, BESIDE = "192.0.2.1", "198.51.100.7"
# A name may lead to another (real): the first of a line is what all of them lead to. OpenSSH
# asks for full names with the dot at their end.
HOSTS = f"""\
127.0.0.1 localhost
{HERE} box.a.example box.a.example.
{HERE} real.z.example far.a.example far.a.example.
{HERE} plain
"""
SETUP = (
    f"ip address add {HERE}/32 dev lo",
    "ip link add v0 type veth peer name v1",
    f"ip address add {BESIDE}/24 dev v0",
    "ip link set v0 up",
    "ip link set v1 up",
)


class Elsewhere:
    """A machine with a server at 192.0.2.1, port 2222, and a client of one kind."""

    def __init__(self, program: str, directory: Path) -> None:
        self.directory = directory
        names = directory / "hosts"
        names.write_text(HOSTS, "ascii")
        devices = directory / "dev"
        devices.mkdir()
        resolver = directory / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions edns0 trust-ad\n", "ascii")
        mounts = [
            f"mount --bind {names} /etc/hosts",
            f"mount --bind {resolver} /etc/resolv.conf",
        ]
        for name in ("null", "zero", "random", "urandom", "tty"):
            (devices / name).touch()
            mounts.append(f"mount --bind /dev/{name} {devices}/{name}")
        mounts.append(f"mount --rbind {devices} /dev")
        self.log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log.bind(str(devices / "log"))
        self._logged: list[str] = []
        # The queue of such a socket is short, and whoever logs waits while it is full.
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()
        self.network = Network(*SETUP, *mounts)
        options = {"Port": 2222, "ListenAddress": HERE}
        self.server = OpenSSHServer(directory, options=options)
        log = self.server.directory / "log"
        self._child = Child(self.network.argv(self.server.argv()), log=log)
        self._child.wait_for_log("Server listening on")
        self.program = [*TELLIN, "ssh"] if program == "tellin" else ["ssh"]
        self.key = " ".join(self.server.host_keys[0].public.split()[:2])
        self.known_hosts = directory / "known_hosts"
        self.knows(HERE)

    def knows(self, *names: str) -> None:
        """Put the server's key on record under these names and its port."""
        lines = [f"[{name}]:2222 {self.key}\n" for name in names]
        self.known_hosts.write_text("".join(lines), "ascii")

    def run(self, host: str, *words: str, flags: list[str] | None = None) -> Completed:
        given = [
            *("-F", "none", "-p", "2222", "-i", self.server.identity.path),
            *having(
                "StrictHostKeyChecking=yes",
                f"UserKnownHostsFile={self.known_hosts}",
                "GlobalKnownHostsFile=none",
            ),
        ]
        done = subprocess.run(
            self.network.argv([*self.program, *(flags or []), *given, host, *words]),
            env={**os.environ, "HOME": str(self.directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def _listen(self) -> None:
        while line := self.log.recv(8192):
            self._logged.append(line.decode())

    def logged(self, words: str) -> list[str]:
        """The lines with these words that have come to /dev/log, once there is one."""
        until = time.monotonic() + PATIENCE
        while not (found := [line for line in self._logged if words in line]):
            assert time.monotonic() < until, self._logged
            time.sleep(0.02)
        return found

    def stop(self) -> None:
        self._child.stop()
        self.network.__exit__()
        # An empty line is the end.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.log.getsockname())
        self._listening.join()
        self.log.close()


@pytest.fixture(params=EITHER)
def elsewhere(request: pytest.FixtureRequest, home: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(request.param, home)
    yield made
    made.stop()


def test_bind_interface_is_what_it_comes_from(elsewhere: Elsewhere) -> None:
    command = "echo $SSH_CONNECTION"
    assert elsewhere.run(HERE, command).stdout.split()[0] == HERE.encode()
    for flags in (["-B", "v0"], having("BindInterface=v0")):
        assert elsewhere.run(HERE, command, flags=flags).stdout.split()[0] == BESIDE.encode()
    assert elsewhere.run(HERE, command, flags=["-B", "nosuch"]).status == 255


def test_check_host_ip_wants_the_key_of_the_address_too(elsewhere: Elsewhere) -> None:
    elsewhere.knows("box.a.example")
    checked, unchecked = having("CheckHostIP=yes"), having("CheckHostIP=no")
    other = make_key(elsewhere.directory / "other").public
    with elsewhere.known_hosts.open("a") as file:
        file.write(f"[{HERE}]:2222 {other}\n")
    assert elsewhere.run("box.a.example", "echo in", flags=unchecked).stdout == b"in\n"
    done = elsewhere.run("box.a.example", "echo in", flags=checked)
    assert (done.status, done.stdout) == (255, b"")
    assert (
        f"Warning: the ED25519 host key for '[box.a.example]:2222' differs from the key"
        f" for the IP address '[{HERE}]:2222'"
    ) in said(done)


ON = ("CanonicalizeHostname=yes", "CanonicalDomains=nowhere.example a.example")


def test_canonicalize_hostname_finds_the_full_name(elsewhere: Elsewhere) -> None:
    elsewhere.knows("box.a.example")
    assert elsewhere.run("box", "echo in", flags=having(*ON)).stdout == b"in\n"
    assert elsewhere.run("box", "echo in", flags=having(*ON[1:])).status == 255


def test_canonicalize_max_dots_says_which_names_are_short(elsewhere: Elsewhere) -> None:
    elsewhere.knows("box.a.example")
    domains = ("CanonicalizeHostname=yes", "CanonicalDomains=example")
    assert elsewhere.run("box.a", "echo in", flags=having(*domains)).stdout == b"in\n"
    few = having(*domains, "CanonicalizeMaxDots=0")
    assert elsewhere.run("box.a", "echo in", flags=few).status == 255


def test_canonicalize_fallback_local_may_be_off(elsewhere: Elsewhere) -> None:
    elsewhere.knows("plain")
    assert elsewhere.run("plain", "echo in", flags=having(*ON)).stdout == b"in\n"
    done = elsewhere.run("plain", "echo in", flags=having(*ON, "CanonicalizeFallbackLocal=no"))
    assert (done.status, done.stdout) == (255, b"")
    assert b"plain" in done.stderr


def test_canonicalize_permitted_cnames_says_whom_to_follow(elsewhere: Elsewhere) -> None:
    elsewhere.knows("real.z.example")
    follow = having(*ON, "CanonicalizePermittedCNAMEs=*.a.example:*.z.example")
    assert elsewhere.run("far", "echo in", flags=follow).stdout == b"in\n"
    assert elsewhere.run("far", "echo in", flags=having(*ON)).status == 255


# Says of every host that its key has this fingerprint, and vouches for it (RFC 4255).
NAME_SERVER = """
import socket, sys
import dns.flags, dns.message, dns.rrset

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("Server listening", flush=True)
while True:
    data, peer = server.recvfrom(4096)
    query = dns.message.from_wire(data)
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.AD
    if query.question[0].rdtype == 44:
        name = query.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "SSHFP", f"4 2 {sys.argv[1]}"))
    server.sendto(reply.to_wire(), peer)
"""


def test_verify_host_key_dns_asks_the_name_server(elsewhere: Elsewhere) -> None:
    pytest.importorskip("dns.message")
    elsewhere.known_hosts.write_text("", "ascii")
    flags = having("VerifyHostKeyDNS=yes")
    right = hashlib.sha256(elsewhere.server.host_keys[0].blob).hexdigest()
    for fingerprint, status in ((right, 0), ("00" * 32, 255)):
        words = [python(), "-c", NAME_SERVER, fingerprint]
        log = elsewhere.directory / f"names-{status}"
        with Child(elsewhere.network.argv(words), log=log) as names:
            names.wait_for_log("Server listening")
            assert elsewhere.run("box.a.example", "true", flags=flags).status == status
            assert elsewhere.run("box.a.example", "true").status == 255


# RFC 5424 section 6.2.1: eight times the facility, and the severity.
USER, LOCAL3, INFO, DEBUG, ERROR = 1, 19, 6, 7, 3


def test_syslog_facility_is_what_y_writes_to(elsewhere: Elsewhere) -> None:
    flags = ["-y", *having("LogLevel=VERBOSE", "SyslogFacility=LOCAL3")]
    done = elsewhere.run(HERE, "echo in", flags=flags)
    assert (done.status, done.stdout, done.stderr) == (0, b"in\n", b"")
    lines = elsewhere.logged("Authenticated to")
    assert len(lines) == 1
    assert re.fullmatch(
        rf"<{LOCAL3 * 8 + INFO}>\w+ +\d+ [\d:]+ ssh\[\d+\]: Authenticated to {HERE}"
        rf' \(\[{HERE}\]:2222\) using "publickey"\.\x00?',
        lines[0],
    )


def test_y_alone_writes_for_users_and_says_how_bad_it_is(elsewhere: Elsewhere) -> None:
    done = elsewhere.run(HERE, "true", flags=["-y", "-p", "1"])
    assert (done.status, done.stderr) == (255, b"")
    (line,) = elsewhere.logged("refused")
    assert line.startswith(f"<{USER * 8 + ERROR}>")
    assert f"ssh: connect to host {HERE} port 1: Connection refused" in line
    assert re.search(r"ssh\[\d+\]: error: ", line)
    elsewhere.run(HERE, "true", flags=["-y", "-v"])
    assert elsewhere.logged("debug1: ")[0].startswith(f"<{USER * 8 + DEBUG}>")
