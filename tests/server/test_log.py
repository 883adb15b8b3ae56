# SPDX-License-Identifier: MIT
"""The same acts at OpenSSH's server and at tellin's: their logs say the same, word for word (R204)."""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.servers import Account, OpenSSHServer
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller

from tellin.connection.requests import ExecRequest, SubsystemRequest
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.protocol.events import AuthenticationRefused, Closed

Server = OpenSSHServer | TellinServer
GOODBYE = (11, "disconnected by user")


class Acts:
    """What clients do, good and bad."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.user = server.user
        assert server.account is not None
        self.right = server.account.password
        self.key = load_private_key(server.identity.path.read_bytes())

    def call(self) -> Caller:
        return Caller(self.server.port)

    def comes_and_goes(self) -> None:
        with self.call() as caller:
            caller.ready()

    def gives_a_name_and_goes(self) -> None:
        with self.call() as caller:
            caller.ready().none(self.user)

    def gives_a_wrong_name_and_goes(self) -> None:
        with self.call() as caller:
            caller.ready().none("no-such-user-here")

    def says_goodbye_before_it_is_in(self) -> None:
        with self.call() as caller:
            caller.ready().none(self.user)
            self._goodbye(caller)

    def says_goodbye_before_it_gave_a_name(self) -> None:
        with self.call() as caller:
            self._goodbye(caller.ready())

    def _goodbye(self, caller: Caller) -> None:
        caller.core.disconnect(*GOODBYE)
        caller.flush()
        caller.turn(1)

    def guesses_a_password(self) -> None:
        with self.call() as caller:
            caller.ready().password(self.user, "wrong")
            caller.password(self.user, self.right)
            self._goodbye(caller)

    def guesses_for_a_wrong_name(self) -> None:
        with self.call() as caller:
            caller.ready().password("no-such-user-here", "wrong")

    def guesses_too_often(self) -> None:
        self._guess(self.user)

    def guesses_too_often_for_a_wrong_name(self) -> None:
        self._guess("no-such-user-here")

    def _guess(self, user: str) -> None:
        with self.call() as caller:
            caller.ready()
            for _ in range(9):
                caller.core.try_password(user, "wrong")
                if isinstance(caller.wait(AuthenticationRefused, Closed), Closed):
                    return

    def logs_in_by_key(self) -> None:
        with self.call() as caller:
            session = caller.log_in(self.user, self.key).session()
            assert session.ask(ExecRequest(b"exit 3"))
            session.finish()
            self._goodbye(caller)

    def shows_a_key_and_a_password(self) -> None:
        with self.call() as caller:
            caller.ready().key(self.user, self.key)
            caller.password(self.user, "wrong")
            caller.password(self.user, self.right)
            self._goodbye(caller)

    def speaks_http(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            plain.settimeout(5)
            with_end(plain)

    def offers_no_common_cipher(self) -> None:
        with Caller(self.server.port, ciphers=("3des-cbc",)) as caller:
            caller.closed()

    def damages_a_packet(self) -> None:
        with self.call() as caller:
            caller.ready().none(self.user)
            caller.core.try_none(self.user)
            data = bytearray(b"".join(caller.core.to_send()))
            data[-3] ^= 1
            caller.socket.sendall(data)
            caller.turn(5)

    def asks_for_a_subsystem_that_is_not_there(self) -> None:
        with self.call() as caller:
            session = caller.log_in(self.user, self.key).session()
            assert not session.ask(SubsystemRequest("nonesuch"))
            self._goodbye(caller)


def with_end(plain: socket.socket) -> None:
    try:
        while plain.recv(1000):
            continue
    except ConnectionResetError:
        return


ACTS = (
    "comes_and_goes",
    "gives_a_name_and_goes",
    "gives_a_wrong_name_and_goes",
    "says_goodbye_before_it_is_in",
    "says_goodbye_before_it_gave_a_name",
    "guesses_a_password",
    "guesses_for_a_wrong_name",
    "guesses_too_often",
    "guesses_too_often_for_a_wrong_name",
    "logs_in_by_key",
    "speaks_http",
    "offers_no_common_cipher",
    "damages_a_packet",
    "asks_for_a_subsystem_that_is_not_there",
)
WITH_OPTIONS: dict[str, dict[str, object]] = {
    "shows_a_key_and_a_password": {"AuthenticationMethods": "publickey,password"},
    "guesses_a_password": {"DenyUsers": "tellin*"},
    "guesses_for_a_wrong_name": {"AllowGroups": "nobody-here"},
    "guesses_too_often": {"AllowUsers": "somebody-else"},
}


def plain(log: str, server: Server) -> list[str]:
    """The lines that clients bring about, without what is another's at each run."""
    lines = []
    for line in log.splitlines():
        # What OpenSSH says of itself: it reads the shadow entry of its stand-in.
        if "NOUSER" in line or line.startswith(("Server listening", "Received signal")):
            continue
        found = re.sub(r"port \d+", "port N", line)
        found = re.sub(r"\bSHA256:\S+", "FINGERPRINT", found)
        # A part of each offer that is no algorithm.
        found = re.sub(r",(ext-info|kex-strict)[^, ]*", "", found)
        lines.append(found.replace(str(server.directory), "PLACE"))
    return lines


def logged(
    kind: type[OpenSSHServer] | type[TellinServer],
    account: Account,
    folder: Path,
    acts: tuple[str, ...],
    options: dict[str, object],
) -> dict[str, list[str]]:
    """What a server logs of each act."""
    found: dict[str, list[str]] = {}
    settings = {"LogLevel": "INFO", "KbdInteractiveAuthentication": "no", **options}
    with kind(folder, account=account, options=settings) as server:
        for act in acts:
            at = len(server.log())
            doing: Callable[[], None] = getattr(Acts(server), act)
            doing()
            # Until it has said all that it will say.
            quiet, size = time.monotonic(), at
            while time.monotonic() - quiet < 0.4:
                time.sleep(0.02)
                if len(server.log()) != size:
                    quiet, size = time.monotonic(), len(server.log())
            found[act] = plain(server.log()[at:], server)
    return found


@pytest.mark.root
@pytest.mark.peer("sshd")
def test_the_log_reads_as_opensshs(account: Account, tmp_path: Path) -> None:
    ours = logged(TellinServer, account, tmp_path, ACTS, {})
    theirs = logged(OpenSSHServer, account, tmp_path, ACTS, {})
    assert ours == theirs


@pytest.mark.root
@pytest.mark.peer("sshd")
@pytest.mark.parametrize("act", WITH_OPTIONS)
def test_the_log_of_a_refusal_reads_as_opensshs(
    account: Account, tmp_path: Path, act: str
) -> None:
    options = WITH_OPTIONS[act]
    ours = logged(TellinServer, account, tmp_path, (act,), options)
    theirs = logged(OpenSSHServer, account, tmp_path, (act,), options)
    assert ours == theirs
    assert ours[act]


# As fail2ban's filter for sshd looks for them: an address, whatever else a line holds.
FILTERS = [
    r"^Failed \S+ for (?:invalid user )?.* from (?P<host>\S+) port \d+ ssh2(?:: .*)?$",
    r"^Invalid user .* from (?P<host>\S+) port \d+$",
    r"^maximum authentication attempts exceeded for .* from (?P<host>\S+) port \d+ ssh2(?: \[preauth\])?$",
    r"^Connection closed by (?:authenticating|invalid) user .* (?P<host>\S+) port \d+ \[preauth\]$",
    r"^User \S+ from (?P<host>\S+) not allowed because .*$",
    r"^ROOT LOGIN REFUSED FROM (?P<host>\S+) port \d+$",
]


def banned(log: str) -> set[str]:
    return {
        found["host"]
        for line in log.splitlines()
        for pattern in FILTERS
        if (found := re.search(pattern, line))
    }


@pytest.mark.parametrize(
    "name",
    [
        "x\nAccepted password for root from 192.0.2.66 port 1 ssh2",
        "x\r\nFailed password for root from 192.0.2.66 port 1 ssh2",
        "x from 192.0.2.66 port 22 ssh2",
        "root from 192.0.2.66 port 1",
        "\x1b[2Jx",
        "x\u2028Invalid user y from 192.0.2.66 port 1",
        "y" * 5000,
        "",
    ],
    ids=["a line", "a line with CR", "an address", "a name", "an escape", "LS", "long", "empty"],
)
def test_r204_a_name_makes_no_line_and_bans_nobody_else(tmp_path: Path, name: str) -> None:
    with TellinServer(tmp_path, options={"PasswordAuthentication": "yes"}) as server:
        with Caller(server.port) as caller:
            caller.ready().password(name, "x")
            caller.key(name, PrivateKey.generate("ed25519"))
        server.wait_for_log("[preauth]")
        assert server.child is not None
        # As it stands in the file: a line ends in CR and LF, and nothing else may.
        log = server.child.log_path.read_bytes().decode().replace("\r\n", "\n")
    assert all(line.isprintable() for line in log.split("\n"))
    assert not re.search(r"^Accepted", log, re.MULTILINE)
    assert banned(log) == {"127.0.0.1"}
    assert len(re.findall(r"^Invalid user ", log, re.MULTILINE)) == 1
    assert max(map(len, log.splitlines())) < 700
