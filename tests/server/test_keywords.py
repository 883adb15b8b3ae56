# SPDX-License-Identifier: MIT
"""Every keyword of sshd_config at a running server: what it says is what happens, also from a Match block."""

import os
import pwd
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.certified import Certified, authority, user_certificate
from tests.interop import test_network_devices
from tests.interop.eavesdropper import Capture
from tests.interop.tellin_peer import TELLIN, TellinServer
from tests.keys.software_authenticator import SoftwareAuthenticator
from tests.server import test_chroot, test_system
from tests.server.caller import Caller
from tests.server.test_security_keys import Token

from tellin.config.sshd_config import SshdConfig
from tellin.connection.forwarding import (
    LISTEN_PORT,
    LISTEN_SOCKET,
    PortChosen,
    PortPlace,
    SocketPlace,
    direct_target,
)
from tellin.connection.requests import (
    AgentForwarding,
    EnvironmentRequest,
    ExecRequest,
    ExitStatus,
    PtyRequest,
    ShellRequest,
    SubsystemRequest,
    X11Request,
)
from tellin.errors import NegotiationFailed, ProtocolError
from tellin.keys.certificates import Certificate
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.protocol.events import (
    Authenticated,
    AuthenticationRefused,
    Banner,
    ChannelClosed,
    ChannelOpened,
    ChannelOpenRefused,
    Closed,
    GlobalReplied,
    KexInitReceived,
    NewKeysReceived,
)

TERMINAL = PtyRequest("xterm", 80, 24, 0, 0, b"")
STRANGER = PrivateKey.generate("ed25519")


class Keywords:
    """A server whose configuration each test chooses."""

    def __init__(self, server: TellinServer) -> None:
        self.server = server
        self.key = load_private_key(server.identity.path.read_bytes())
        self.user = server.user
        self.group = _group_of(server.user)
        self.expected = True
        """Whether what a test looks for should be there: it is waited for longer."""
        self._open: list[Caller] = []
        self._log_at = 0

    def use(self, **options: object) -> None:
        """Take these keywords; ``match`` is the text of a Match block."""
        given = dict(options)
        if "match" in given:
            given["Match"] = given.pop("match")
        self.server.reload(given)
        self._log_at = len(self.server.log())

    def log(self, words: str, seconds: float = 10) -> str:
        """Wait for words in what was logged since ``use``; returns all of that."""
        until = time.monotonic() + seconds
        while words not in (said := self.server.log()[self._log_at :]):
            assert time.monotonic() < until, f"{words!r} is not in {said!r}"
            time.sleep(0.01)
        return said

    def call(self, **changes: Any) -> Caller:
        """A connection on which nobody is logged in."""
        self._open.append(Caller(self.server.port, **changes))
        return self._open[-1]

    def log_in(self, **changes: Any) -> Caller:
        """A connection, logged in by key."""
        return self.call(**changes).log_in(self.user, self.key)

    def run(self, command: str, *before: Any, caller: Caller | None = None) -> str:
        """What a command writes; ``before`` are requests that have to succeed."""
        session = (caller or self.log_in()).session()
        for request in before:
            assert session.ask(request), request
        assert session.ask(ExecRequest(command.encode()))
        session.finish()
        return bytes(session.out.data + session.err.data).decode()

    def authorize(self, *lines: str) -> None:
        """Write authorized_keys."""
        (self.server.directory / "authorized_keys").write_text("".join(f"{x}\n" for x in lines))

    def may_in_by(self, certificate: Certificate) -> bool:
        """Whether our key logs in, shown by this certificate."""
        shown = Certified(self.key, certificate)
        return isinstance(self.call().ready().key(self.user, shown), Authenticated)

    def files(self) -> dict[str, str]:
        """Files for keywords, by the words that stand for them: anybody may read them."""
        place = self.server.directory
        texts = {
            "AUTHORITIES": f"# whom we trust\n{authority().public.to_line()}\n",
            "KEYS": f"{self.line}\n",
            "ROLES": "# who may be this user\nother\nrole\n",
        }
        for name, text in texts.items():
            (place / name).write_text(text)
        return {name: str(place / name) for name in texts}

    @property
    def line(self) -> str:
        """The line of our key."""
        return self.server.identity.public

    def close(self) -> None:
        for one in self._open:
            one.socket.close()


def _group_of(user: str) -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TellinServer]:
    """As root for the throw-away account, else for who runs the tests."""
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with TellinServer(tmp_path_factory.mktemp("keywords"), account=account) as running:
        yield running


@pytest.fixture
def sshd(server: TellinServer) -> Iterator[Keywords]:
    made = Keywords(server)
    made.authorize(made.line)
    yield made
    made.close()


def refused(event: object) -> AuthenticationRefused:
    assert isinstance(event, AuthenticationRefused), event
    return event


# Match (R113): a value for one user is in force for him, whatever stands outside.


def _methods(sshd: Keywords) -> tuple[str, ...]:
    return sshd.call().ready().none(sshd.user).allowed


def _may_in(sshd: Keywords) -> bool:
    return isinstance(sshd.call().ready().key(sshd.user, sshd.key), Authenticated)


def _rekeys(sshd: Keywords) -> int:
    caller = sshd.log_in()
    session = caller.session()
    assert session.ask(ExecRequest(b"head -c 8000000 /dev/zero"))
    session.finish()
    assert len(session.out.data) == 8_000_000
    return sum(isinstance(event, NewKeysReceived) for event in caller.seen)


def _given_up(sshd: Keywords) -> bool:
    caller = sshd.log_in()
    caller.flush()
    # A client that is stopped: it takes nothing and says nothing. One that is not asked is told
    # apart by a session that goes on while another's client would have been given up twice.
    try:
        sshd.log("Timeout, client not responding", 60 if sshd.expected else 3)
    except AssertionError:
        return False
    return True


def _tries(sshd: Keywords) -> int:
    caller = sshd.call().ready()
    for count in range(20):
        caller.core.try_password(sshd.user, "wrong")
        answer = caller.wait(AuthenticationRefused, Closed)
        if isinstance(answer, Closed):
            assert "Too many authentication failures" in str(answer.error)
            return count
    return 20


def _sessions(sshd: Keywords) -> str:
    caller = sshd.log_in()
    caller.session()
    caller.core.open_channel("session")
    answer = caller.wait(ChannelOpened, ChannelOpenRefused)
    return answer.description if isinstance(answer, ChannelOpenRefused) else "open"


def _variable(sshd: Keywords, name: str) -> str:
    caller = sshd.log_in()
    session = caller.session()
    session.ask(EnvironmentRequest(name.encode(), b"given"))
    assert session.ask(ExecRequest(f"echo ${name}".encode()))
    session.finish()
    return session.out.data.decode().strip()


def _token_may_in(sshd: Keywords) -> bool:
    """Whether a security key lets in that was touched by who knows whom."""
    authenticator = SoftwareAuthenticator()
    sshd.authorize(authenticator.line)
    caller = sshd.call().ready()
    return isinstance(caller.key(sshd.user, Token(authenticator)), Authenticated)


def _rsa_may_in(sshd: Keywords) -> bool:
    key = PrivateKey.generate("rsa", bits=2048)
    sshd.authorize(key.public.to_line())
    return isinstance(sshd.call().ready().key(sshd.user, key), Authenticated)


def _turned_away(sshd: Keywords) -> bool:
    caller = sshd.call().ready()
    caller.core.try_none(sshd.user)
    if isinstance(caller.wait(AuthenticationRefused, Closed), AuthenticationRefused):
        return False
    assert "administratively prohibited" in str(caller.core.error)
    sshd.log(f"administratively prohibited connection for {sshd.user} from 127.0.0.1 port")
    return True


def _led(sshd: Keywords, where: str) -> bool:
    """Whether a client is led on: to the server's own port, or to a socket that listens."""
    caller = sshd.log_in()
    with socket.socket(socket.AF_UNIX) as listening:
        path = f"/tmp/tellin-{os.getpid()}-{caller.local_port}"
        listening.bind(path)
        listening.listen()
        Path(path).chmod(0o777)
        port, by_path = ("127.0.0.1", sshd.server.port), (path if where == "socket" else "")
        try:
            caller.core.open_channel(*direct_target(*port, by_path))
            return isinstance(caller.wait(ChannelOpened, ChannelOpenRefused), ChannelOpened)
        finally:
            Path(path).unlink()


def _asked(caller: Caller, name: str, data: bytes) -> GlobalReplied:
    caller.core.request(name, data, token=name)
    return caller.wait(GlobalReplied)


def _listening(sshd: Keywords) -> str:
    """At which addresses the server listens for us: the last numbers of those of this machine."""
    answer = _asked(sshd.log_in(), LISTEN_PORT, PortPlace("", 0).encode())
    if not answer.success:
        return ""
    port = PortChosen.decode(answer.data).port
    found = ""
    for number in "12":
        with suppress(ConnectionRefusedError):
            socket.create_connection((f"127.0.0.{number}", port)).close()
            found += number
    return found


def _bound(sshd: Keywords, *, twice: bool = False) -> int:
    """The mode of a socket that the server makes for us; with ``twice`` there is one already."""
    caller = sshd.log_in()
    with tempfile.TemporaryDirectory(prefix="tellin-") as folder:
        Path(folder).chmod(0o777)
        path = Path(folder) / "s"
        if twice:
            with socket.socket(socket.AF_UNIX) as before:
                before.bind(str(path))
            os.chown(path, *pwd.getpwnam(sshd.user)[2:4])
        if _asked(caller, LISTEN_SOCKET, SocketPlace(bytes(path)).encode()).success:
            return path.stat().st_mode & 0o777
    return 0


def _subsystem(sshd: Keywords, name: str) -> str:
    session = sshd.log_in().session()
    assert session.ask(SubsystemRequest(name))
    session.channel.eof()
    session.finish()
    return session.out.data.decode().strip()


def _terminal(sshd: Keywords) -> bool:
    return sshd.log_in().session().ask(TERMINAL)


def _agent(sshd: Keywords) -> bool:
    return sshd.log_in().session().ask(AgentForwarding())


def _display(sshd: Keywords) -> str:
    """The display that a session gets, if it gets one."""
    session = sshd.log_in().session()
    if not session.ask(X11Request(False, "MIT-MAGIC-COOKIE-1", "00" * 16, 0)):
        return "none"
    assert session.ask(ExecRequest(b"echo $DISPLAY"))
    session.finish()
    return bytes(session.out.data).decode().strip()


def _idle_closed(sshd: Keywords) -> bool:
    """Whether a shell that says nothing is ended; the client goes on."""
    caller = sshd.log_in()
    session = caller.session()
    assert session.ask(ExecRequest(b"sleep 60"))
    try:
        caller.wait(ChannelClosed, seconds=60 if sshd.expected else 2.5)
    except AssertionError:
        return False
    sshd.log("channel 0: closing after 1 seconds of inactivity")
    assert sshd.run("echo more", caller=caller) == "more\n"
    return True


def _unused_closed(sshd: Keywords) -> bool:
    """Whether a client that opens nothing is sent away; before the login is LoginGraceTime's."""
    caller = sshd.log_in()
    try:
        caller.closed(60 if sshd.expected else 2.5)
    except AssertionError:
        return False
    sshd.log(f"terminating inactive connection from user {sshd.user} 127.0.0.1 port")
    return True


def _start_file_runs(sshd: Keywords) -> bool:
    """Whether ~/.ssh/rc runs before a command: of the throw-away account, never of who tests."""
    if sshd.server.account is None:
        pytest.skip("only root makes an account whose home may be written")
    home = sshd.server.account.home
    file = home / ".ssh" / "rc"
    file.parent.mkdir(exist_ok=True)
    file.write_text("echo begun; cat\n")
    file.chmod(0o644)
    try:
        said = sshd.run("echo mine")
        assert said in {"begun\nmine\n", "mine\n"}
        return said.startswith("begun")
    finally:
        file.unlink()


def _exposed(sshd: Keywords) -> bool:
    """Whether a session finds out by which key its user logged in, and nobody afterwards."""
    caller = sshd.log_in()
    said = sshd.run('echo "$SSH_USER_AUTH"; cat "${SSH_USER_AUTH:-/dev/null}"', caller=caller)
    path, _, lines = said.partition("\n")
    if not path:
        return False
    caller.socket.close()
    until = time.monotonic() + 60
    while Path(path).exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return lines == f"publickey {' '.join(sshd.line.split()[:2])}\n"


def _places_named(sshd: Keywords) -> bool:
    sshd.run("true")
    return "sessions.py:_note():" in sshd.log(
        "Starting session"
    ) and " (bin=sshd, pid=" in sshd.log("")


class Marks(Capture):
    """The traffic classes of what comes from a port."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.port = port
        self.found: list[int] = []

    def _keep(self, frame: bytes) -> None:
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00" and packet[9] == socket.IPPROTO_TCP:
            header = (packet[0] & 15) * 4
            if int.from_bytes(packet[header : header + 2], "big") == self.port:
                self.found.append(packet[1])


def _marks(sshd: Keywords) -> set[int]:
    """How what sessions send is marked for routers: with a terminal, and without one."""
    if os.geteuid() != 0:
        pytest.skip("only root sees the marks of packets")
    with (marks := Marks(sshd.server.port)).running():
        sshd.run("echo one")
        sshd.run("echo two", TERMINAL)
    return {*marks.found} - {0}


def _banner(sshd: Keywords) -> str:
    caller = sshd.call().ready()
    caller.none(sshd.user)
    return "".join(event.text for event in caller.seen if isinstance(event, Banner))


def _logged(sshd: Keywords) -> bool:
    sshd.log_in().socket.close()
    time.sleep(0.3)
    return "Accepted publickey" in sshd.log("")


def _certified_may_in(sshd: Keywords) -> bool:
    return sshd.may_in_by(user_certificate(sshd.key.public, sshd.user))


def _role_may_in(sshd: Keywords) -> bool:
    return sshd.may_in_by(user_certificate(sshd.key.public, "role"))


# Where no file lets the key in, and where an authority may.
NO_FILE: dict[str, object] = {"AuthorizedKeysFile": "none"}
AUTHORITY: dict[str, object] = {**NO_FILE, "TrustedUserCAKeys": "AUTHORITIES"}

# Every keyword that may stand in a Match block stands in one of three tables.
# In force: what stands outside, what stands in the block, and what shows that the block holds.
# A cookie is nothing that these would write down.
NO_XAUTH = {"XAuthLocation": "/bin/true"}
IN_MATCH: dict[str, tuple[dict[str, object], str, Callable[[Keywords], object], object]] = {
    "AcceptEnv": ({}, "OTHER", lambda sshd: _variable(sshd, "OTHER"), "given"),
    "AllowAgentForwarding": ({}, "no", _agent, False),
    "AuthorizedKeysCommand": (
        {**NO_FILE, "AuthorizedKeysCommandUser": "USER"}, "/usr/bin/cat KEYS", _may_in, True,
    ),
    "AuthorizedKeysCommandUser": (
        {**NO_FILE, "AuthorizedKeysCommand": "/usr/bin/cat KEYS",
         "AuthorizedKeysCommandUser": "nobody-here"}, "USER", _may_in, True,
    ),
    "AuthorizedPrincipalsCommand": (
        {**AUTHORITY, "AuthorizedPrincipalsCommandUser": "USER"}, "/usr/bin/printf role",
        _role_may_in, True,
    ),
    "AuthorizedPrincipalsCommandUser": (
        {**AUTHORITY, "AuthorizedPrincipalsCommand": "/usr/bin/printf role",
         "AuthorizedPrincipalsCommandUser": "nobody-here"}, "USER", _role_may_in, True,
    ),
    "AuthorizedPrincipalsFile": (AUTHORITY, "ROLES", _role_may_in, True),
    "CASignatureAlgorithms": (AUTHORITY, "rsa-sha2-512", _certified_may_in, False),
    "RevokedKeys": ({}, "KEYS", _may_in, False),
    "TrustedUserCAKeys": (NO_FILE, "AUTHORITIES", _certified_may_in, True),
    "AllowStreamLocalForwarding": ({}, "no", lambda sshd: _led(sshd, "socket"), False),
    "ChannelTimeout": ({}, "direct-tcpip=1h session:comm*=1", _idle_closed, True),
    "UnusedConnectionTimeout": ({}, "1", _unused_closed, True),
    "ExposeAuthInfo": ({}, "yes", _exposed, True),
    "IPQoS": ({"IPQoS": "none"}, "af21 cs1", _marks, {0x48, 0x20}),
    "LogVerbose": ({}, "*:_note*", _places_named, True),
    "PermitUserRC": ({}, "no", _start_file_runs, False),
    "AllowTcpForwarding": ({}, "no", lambda sshd: _led(sshd, "port"), False),
    "DisableForwarding": ({}, "yes", lambda sshd: _led(sshd, "port"), False),
    "PermitOpen": ({}, "none", lambda sshd: _led(sshd, "port"), False),
    "PermitListen": ({}, "none", lambda sshd: bool(_listening(sshd)), False),
    "GatewayPorts": ({}, "yes", lambda sshd: _listening(sshd), "12"),
    "StreamLocalBindMask": ({}, "0111", lambda sshd: _bound(sshd), 0o666),
    "StreamLocalBindUnlink": ({}, "yes", lambda sshd: bool(_bound(sshd, twice=True)), True),
    "AllowGroups": ({"AllowGroups": "*"}, "nobody-here", _may_in, False),
    "AllowUsers": ({"AllowUsers": "*"}, "somebody-else", _may_in, False),
    "AuthenticationMethods": (
        {"PasswordAuthentication": "yes"}, "password", _methods, ("password",),
    ),
    "AuthorizedKeysFile": ({}, "/nonexistent", _may_in, False),
    "Banner": ({}, "BANNER", _banner, "come in\n"),
    "ClientAliveCountMax": (
        {"ClientAliveInterval": 1, "ClientAliveCountMax": 0}, "1", _given_up, True,
    ),
    "ClientAliveInterval": ({"ClientAliveCountMax": 1}, "1", _given_up, True),
    "DenyGroups": ({}, "GROUP", _may_in, False),
    "DenyUsers": ({}, "USER", _may_in, False),
    "ForceCommand": ({}, "echo forced", lambda sshd: sshd.run("echo mine"), "forced\n"),
    "KbdInteractiveAuthentication": (
        {"PasswordAuthentication": "no"}, "yes", _methods, ("publickey", "keyboard-interactive"),
    ),
    "LogLevel": ({}, "QUIET", _logged, False),
    "MaxAuthTries": ({"PasswordAuthentication": "yes"}, "2", _tries, 2),
    "MaxSessions": ({}, "1", _sessions, "open failed"),
    "PasswordAuthentication": (
        {"PasswordAuthentication": "no"}, "yes", _methods, ("publickey", "password"),
    ),
    "PermitTTY": ({}, "no", _terminal, False),
    "PubkeyAcceptedAlgorithms": ({}, "rsa-sha2-512", _may_in, False),
    "PubkeyAuthentication": (
        {"PasswordAuthentication": "yes"}, "no", _methods, ("password",),
    ),
    "PubkeyAuthOptions": ({}, "verify-required", _token_may_in, False),
    "RefuseConnection": ({}, "yes", _turned_away, True),
    "RequiredRSASize": ({"RequiredRSASize": "1024"}, "2049", _rsa_may_in, False),
    "RekeyLimit": ({}, "64K", lambda sshd: _rekeys(sshd) > 5, True),
    "SetEnv": ({}, "TELLIN_SET=by-match", lambda sshd: sshd.run("echo $TELLIN_SET"), "by-match\n"),
    "Subsystem": ({}, "more echo more", lambda sshd: _subsystem(sshd, "more"), "more"),
    "X11DisplayOffset": (
        {"X11Forwarding": "yes", **NO_XAUTH}, "700",
        lambda sshd: _display(sshd).startswith("localhost:7"), True,
    ),
    "X11Forwarding": (NO_XAUTH, "yes", lambda sshd: _display(sshd) != "none", True),
    "X11UseLocalhost": (
        {"X11Forwarding": "yes", **NO_XAUTH}, "no",
        lambda sshd: _display(sshd).startswith(f"{socket.gethostname()}:"), True,
    ),
}  # fmt: skip
# In force, and shown by a test of its own: root's, and what needs an account without a password.
OWN_TESTS: dict[str, Callable[..., None]] = {
    "ChrootDirectory": test_chroot.test_r113_a_match_block_has_a_root_of_its_own,
    "PermitRootLogin": test_system.test_r113_permit_root_login_in_a_match_block,
    "PermitTunnel": (
        test_network_devices.test_r110_r113_devices_are_joined_where_all_who_are_asked_permit_it
    ),
    "PermitEmptyPasswords": (
        test_system.test_r090_an_empty_password_gets_in_only_where_that_is_said
    ),
}
# Waiting: the part that brings the feature. Until then a block may ask for nothing but the absence
# of it. Where a row's ``later`` goes, its keyword moves to one of the tables above.
WAITING = {
    "GSSAPIAuthentication": "Kerberos, which tellin leaves out",
    "HostbasedAcceptedAlgorithms": "host-based login",
    "HostbasedAuthentication": "host-based login",
    "HostbasedUsesNameFromPacketOnly": "host-based login",
    "IgnoreRhosts": "host-based login",
    "KerberosAuthentication": "Kerberos, which tellin leaves out",
    "PAMServiceName": "the daemon",
    "RDomain": "the daemon",
}
MATCHABLE = {row.spelling: row for row in SshdConfig.rows.values() if row.in_match}


@pytest.mark.parametrize("keyword", MATCHABLE)
def test_r113_every_keyword_of_match_is_in_force_or_waits_for_its_part(keyword: str) -> None:
    tables: list[Mapping[str, object]] = [IN_MATCH, OWN_TESTS, WAITING]
    assert sum(keyword in table for table in tables) == 1, f"no test shows Match's {keyword}"
    later = MATCHABLE[keyword].later
    assert (later.feature if later else None) == WAITING.get(keyword)


def test_no_table_of_match_names_what_a_block_may_not_hold() -> None:
    assert {*IN_MATCH, *OWN_TESTS, *WAITING} == {*MATCHABLE}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("keyword", IN_MATCH)
def test_r113_a_match_block_is_in_force(sshd: Keywords, tmp_path: Path, keyword: str) -> None:
    outside, inside, look, expected = IN_MATCH[keyword]
    banner = tmp_path / "banner"
    banner.write_text("come in\n")
    words = {"BANNER": str(banner), "USER": sshd.user, "GROUP": sshd.group, **sshd.files()}

    def put_in(text: object) -> object:
        return " ".join(words.get(word, word) for word in str(text).split(" "))

    given = {name: put_in(value) for name, value in outside.items()}
    sshd.use(**given, match=f"User {sshd.user}\n  {keyword} {put_in(inside)}")
    assert look(sshd) == expected
    # And for everybody else the global value is: nobody is called that.
    sshd.expected = False
    sshd.use(**given, match=f"User not-me\n  {keyword} {put_in(inside)}")
    assert look_or_raise(look, sshd) != expected


def look_or_raise(look: Callable[[Keywords], object], sshd: Keywords) -> object:
    """What is seen, or the complaint that nothing is."""
    try:
        return look(sshd)
    except AssertionError as missing:
        return missing


def criteria(sshd: Keywords) -> dict[str, tuple[str, str]]:
    """A criterion that holds, and one of the same kind that does not."""
    return {
        "User": (f"x,{sshd.user[:3]}*", f"*,!{sshd.user}"),
        "Group": (sshd.group, f"!{sshd.group},*"),
        "Address": ("127.0.0.0/8", "10.0.0.0/8"),
        "LocalAddress": ("127.0.0.1", "::1"),
        "LocalPort": (str(sshd.server.port), "22"),
        "Version": ("SSH-2.0-*", "SSH-2.0-OpenSSH_*"),
        "Host": ("127.0.0.1", "*.example.org"),
    }


@pytest.mark.parametrize(
    "name", ["User", "Group", "Address", "LocalAddress", "LocalPort", "Version", "Host"]
)
def test_a_block_holds_for_whom_it_names(sshd: Keywords, name: str) -> None:
    holds, fails = criteria(sshd)[name]
    block = "\n  SetEnv TELLIN_SET=block"
    sshd.use(SetEnv="TELLIN_SET=outside", match=f"{name} {holds}{block}")
    assert sshd.run("echo $TELLIN_SET") == "block\n"
    sshd.use(SetEnv="TELLIN_SET=outside", match=f"{name} {fails}{block}")
    assert sshd.run("echo $TELLIN_SET") == "outside\n"


@pytest.mark.root
@pytest.mark.parametrize(("pattern", "device"), [("lo", "lo"), ("*,!lo", ""), ("other", "")])
def test_a_block_about_a_routing_domain(
    server: TellinServer, tmp_path: Path, pattern: str, device: str
) -> None:
    """The device that a socket is bound to; most are bound to none, and `*` means those too."""
    config = tmp_path / "sshd_config"
    config.write_text(
        f"HostKey {server.host_keys[0].path}\nStrictModes no\nPermitRootLogin yes\n"
        f"AuthorizedKeysFile {server.directory / 'authorized_keys'}\n"
        f"Match RDomain {pattern}\n  SetEnv TELLIN_SET=block\n"
    )
    key = load_private_key(server.identity.path.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if device:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        client = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    words = [*TELLIN, "sshd", "-i", "-f", str(config), "-E", str(tmp_path / "log")]
    with client, subprocess.Popen(words, stdin=theirs, stdout=theirs) as program:
        theirs.close()
        session = Caller.on(client, seconds=60).log_in("root", key).session()
        assert session.ask(ExecRequest(b"echo [$TELLIN_SET]"))
        session.finish()
        client.close()
        program.wait(60)
    holds = pattern != "other"
    assert session.out.data == (b"[block]\n" if holds else b"[]\n")


def test_a_block_about_users_who_do_not_exist(sshd: Keywords) -> None:
    sshd.use(match="Invalid-User\n  PubkeyAuthentication no")
    assert "publickey" not in sshd.call().ready().none("no-such-user-here").allowed
    assert "publickey" in sshd.call().ready().none(sshd.user).allowed


# Who may in


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("DenyUsers", "{user}", "listed in DenyUsers"),
        ("DenyUsers", "{user}@127.0.0.1", "listed in DenyUsers"),
        ("AllowUsers", "bob {user}@10.0.0.0/8", "not listed in AllowUsers"),
        ("DenyGroups", "{group}", "a group is listed in DenyGroups"),
        ("AllowGroups", "bob", "none of user's groups are listed in AllowGroups"),
    ],
)
def test_a_list_keeps_out_and_the_log_says_which(
    sshd: Keywords, keyword: str, value: str, reason: str
) -> None:
    sshd.use(**{keyword: value.format(user=sshd.user, group=sshd.group)})
    caller = sshd.call().ready()
    refused(caller.key(sshd.user, sshd.key))
    sshd.log(f"User {sshd.user} from 127.0.0.1 not allowed because {reason}")
    sshd.log(f"Failed publickey for invalid user {sshd.user} from 127.0.0.1 port")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("DenyUsers", "{user}@10.0.0.0/8 bob"),
        ("AllowUsers", "{user}@127.0.0.0/8"),
        ("AllowUsers", "?{rest}"),
        ("AllowGroups", "x {group}"),
        ("DenyGroups", "not-{group}"),
    ],
)
def test_a_list_lets_in_whom_it_does_not_concern(sshd: Keywords, keyword: str, value: str) -> None:
    words = {"user": sshd.user, "group": sshd.group, "rest": sshd.user[1:]}
    sshd.use(**{keyword: value.format(**words)})
    assert _may_in(sshd)


def test_use_dns_lets_rules_speak_of_names(sshd: Keywords) -> None:
    from tellin.server.naming import find_name

    name = find_name("127.0.0.1").name
    if not name:
        pytest.skip("127.0.0.1 has no name here")
    sshd.use(UseDNS="yes", AllowUsers=f"{sshd.user}@{name}", match=f"Host {name}\n  PermitTTY no")
    assert not _terminal(sshd)
    sshd.authorize(f'from="{name}" {sshd.line}')
    assert _may_in(sshd)
    sshd.use(UseDNS="no", AllowUsers=f"{sshd.user}@{name}")
    assert not _may_in(sshd)
    sshd.log(f"User {sshd.user} from 127.0.0.1 not allowed because not listed in AllowUsers")


def test_strict_modes_trusts_no_file_that_others_write(
    sshd: Keywords, server: TellinServer
) -> None:
    file = server.directory / "authorized_keys"
    owner = server.account.uid if server.account else os.getuid()
    os.chown(file, owner, -1)
    sshd.use(StrictModes="yes")
    file.chmod(0o666)
    try:
        assert not _may_in(sshd)
        sshd.log(f"Authentication refused: bad ownership or modes for file {file}")
        sshd.use(StrictModes="no")
        assert _may_in(sshd)
    finally:
        file.chmod(0o644)


def test_authorized_keys_files_are_found_by_home_and_user(
    sshd: Keywords, server: TellinServer
) -> None:
    sshd.authorize("# nobody")
    other = server.directory / f"keys-of-{sshd.user}"
    other.write_text(sshd.line + "\n")
    sshd.use(AuthorizedKeysFile=f"/nonexistent {server.directory}/keys-of-%u")
    assert _may_in(sshd)
    sshd.log(f"Accepted key ED25519 {server.identity.fingerprint} found at {other}:1")
    sshd.use(AuthorizedKeysFile="none")
    assert not _may_in(sshd)


@pytest.mark.parametrize(
    ("chains", "first"),
    [
        ("publickey,publickey", ("publickey",)),
        ("keyboard-interactive,publickey", ("keyboard-interactive",)),
        ("password,publickey publickey,password", ("publickey", "password")),
    ],
)
def test_authentication_methods_are_chains(
    sshd: Keywords, chains: str, first: tuple[str, ...]
) -> None:
    sshd.use(
        AuthenticationMethods=chains,
        PasswordAuthentication="yes",
        KbdInteractiveAuthentication="yes",
    )
    assert _methods(sshd) == first


def test_two_keys_are_two_keys(sshd: Keywords) -> None:
    second = PrivateKey.generate("ed25519")
    sshd.authorize(sshd.line, second.public.to_line())
    sshd.use(AuthenticationMethods="publickey,publickey")
    caller = sshd.call().ready()
    answer = refused(caller.key(sshd.user, sshd.key))
    assert (answer.partial, answer.allowed) == (True, ("publickey",))
    assert isinstance(caller.key(sshd.user, second), Authenticated)
    said = sshd.log("Accepted publickey")
    assert "Partial publickey for" in said


def test_login_grace_time_ends_a_login(sshd: Keywords) -> None:
    sshd.use(LoginGraceTime="1")
    idle = socket.create_connection(("127.0.0.1", sshd.server.port))
    caller = sshd.call().ready()
    caller.none(sshd.user)
    began = time.monotonic()
    caller.closed(60)
    assert time.monotonic() - began < 50
    idle.settimeout(5)
    while idle.recv(1000):
        pass
    port = idle.getsockname()[1]
    sshd.log(f"Timeout before authentication for 127.0.0.1 port {port}")
    idle.close()
    # Who is in stays in.
    inside = sshd.log_in()
    time.sleep(1.3)
    assert sshd.run("echo in", caller=inside) == "in\n"


def test_r062_keys_do_not_count_against_a_password_that_is_too_long(sshd: Keywords) -> None:
    sshd.use(PasswordAuthentication="yes", MaxAuthTries="3")
    caller = sshd.call().ready()
    refused(caller.password(sshd.user, "x" * 100_000))
    sshd.log(f"Failed password for {sshd.user} from 127.0.0.1")


# What is said


def test_version_addendum_stands_in_the_first_line(sshd: Keywords) -> None:
    sshd.use(VersionAddendum="of the house")
    with socket.create_connection(("127.0.0.1", sshd.server.port)) as peer:
        assert peer.recv(300).endswith(b" of the house\r\n")


def test_a_banner_that_cannot_be_read_is_said_in_the_log_alone(sshd: Keywords) -> None:
    sshd.use(Banner="/nonexistent/banner")
    assert _may_in(sshd)
    sshd.log("Banner /nonexistent/banner: No such file or directory")


def test_print_motd_greets_a_shell_on_a_terminal(sshd: Keywords) -> None:
    motd = Path("/etc/motd")
    if not motd.is_file() or not motd.read_text("utf-8", "replace").strip():
        pytest.skip("this machine has nothing to say in /etc/motd")
    text = motd.read_bytes().strip().split(b"\n")[0].strip()

    def shown(*, terminal: bool) -> bytes:
        session = sshd.log_in().session()
        if terminal:
            assert session.ask(TERMINAL)
        assert session.ask(ShellRequest())
        session.send(b"echo re''ady; exit\n")
        session.finish()
        assert b"ready" in session.out.data
        return bytes(session.out.data)

    sshd.use(PrintMotd="yes")
    greeted = shown(terminal=True)
    assert text in greeted
    assert greeted.index(text) < greeted.index(b"ready")
    assert b"\n" not in greeted.replace(b"\r\n", b"")
    assert text not in shown(terminal=False)
    assert text.decode() not in sshd.run("echo ready", TERMINAL)
    sshd.use(PrintMotd="no")
    assert text not in shown(terminal=True)


def test_print_last_log_says_that_there_is_none(sshd: Keywords) -> None:
    before = len(sshd.server.log())
    sshd.use(PrintLastLog="yes")
    sshd.server.wait_for_log("PrintLastLog: no record of logins is kept yet")
    assert len(sshd.server.log()) > before


@pytest.mark.parametrize(
    ("level", "seen", "unseen"),
    [
        ("QUIET", "", "no more sessions"),
        ("ERROR", "no more sessions", "Accepted"),
        ("INFO", "Accepted publickey", "Connection from"),
        ("VERBOSE", "Connection from", "debug1"),
        ("DEBUG1", "debug1", "debug2"),
    ],
)
def test_log_level_says_how_much(
    server: TellinServer, tmp_path: Path, level: str, seen: str, unseen: str
) -> None:
    options = {"LogLevel": level, "MaxSessions": 0}
    # One of its own: a quiet server does not say that it has read another configuration.
    with TellinServer(tmp_path, account=server.account, options=options) as running:
        key = load_private_key(running.identity.path.read_bytes())
        with Caller(running.port) as caller:
            caller.ready().none(running.user)
            caller.log_in(running.user, key).refused_session()
        until = time.monotonic() + 5
        while seen not in running.log():
            assert time.monotonic() < until, running.log()
            time.sleep(0.01)
        time.sleep(0.2)
        assert unseen not in running.log()


# Algorithms


@pytest.mark.parametrize(
    ("keyword", "value", "offered", "wanted"),
    [
        ("Ciphers", "aes256-ctr", {"ciphers": ("aes128-ctr", "aes256-ctr")}, "aes256-ctr"),
        ("Ciphers", "-aes128-gcm@openssh.com", {}, "aes256-gcm@openssh.com"),
        (
            "MACs",
            "hmac-sha2-512-etm@openssh.com",
            {"ciphers": ("aes128-ctr",)},
            "hmac-sha2-512-etm@openssh.com",
        ),
        ("KexAlgorithms", "+ecdh-sha2-nistp256", {"key_exchanges": ("ecdh-sha2-nistp256",)}, "n"),
        ("Compression", "no", {"compressions": ("zlib@openssh.com", "none")}, "'none'"),
        ("Compression", "delayed", {"compressions": ("zlib@openssh.com",)}, "zlib@openssh.com"),
        ("SecurityProfile", "strict", {}, "mlkem768x25519-sha256"),
    ],
)
def test_lists_of_algorithms_are_what_is_offered(
    sshd: Keywords, keyword: str, value: str, offered: dict[str, Any], wanted: str
) -> None:
    sshd.use(**{keyword: value})
    caller = sshd.log_in(**offered)
    assert wanted in repr(caller.core.algorithms)
    assert sshd.run("echo works", caller=caller) == "works\n"


@pytest.mark.parametrize(
    ("keyword", "value", "offered"),
    [
        ("Ciphers", "aes256-ctr", {"ciphers": ("aes128-ctr",)}),
        ("MACs", "hmac-sha2-512", {"ciphers": ("aes128-ctr",), "macs": ("hmac-sha2-256",)}),
        ("KexAlgorithms", "curve25519-sha256", {"key_exchanges": ("mlkem768x25519-sha256",)}),
        ("HostKeyAlgorithms", "ssh-ed25519", {"host_key_algorithms": ("rsa-sha2-512",)}),
        ("SecurityProfile", "strict", {"key_exchanges": ("curve25519-sha256",)}),
        ("Compression", "no", {"compressions": ("zlib@openssh.com",)}),
    ],
)
def test_what_is_not_listed_is_not_done(
    sshd: Keywords, keyword: str, value: str, offered: dict[str, Any]
) -> None:
    sshd.use(**{keyword: value})
    caller = sshd.call(**offered)
    caller.closed()
    assert isinstance(caller.core.error, (NegotiationFailed, ProtocolError)) or caller.core.error
    sshd.log("Unable to negotiate with 127.0.0.1 port")


def test_moduli_file_gives_the_groups(sshd: Keywords, tmp_path: Path) -> None:
    system = Path("/etc/ssh/moduli")
    if not system.is_file():
        pytest.skip("no moduli on this machine")
    lines = [line for line in system.read_text().splitlines() if " 2047 " in f" {line} "]
    moduli = tmp_path / "moduli"
    moduli.write_text("\n".join(lines[:3]) + "\n")
    sshd.use(KexAlgorithms="+diffie-hellman-group-exchange-sha256", ModuliFile=moduli)
    caller = sshd.log_in(key_exchanges=("diffie-hellman-group-exchange-sha256",))
    assert sshd.run("echo works", caller=caller) == "works\n"


def test_rekey_limit_holds_for_bytes_and_for_time(sshd: Keywords) -> None:
    sshd.use(RekeyLimit="64K")
    assert _rekeys(sshd) > 5
    sshd.use(RekeyLimit="default none")
    assert _rekeys(sshd) == 1
    sshd.use(RekeyLimit="1G 1")
    caller = sshd.log_in()
    session = caller.session()
    assert session.ask(ExecRequest(b"sleep 1.5; echo new keys"))
    session.finish()
    assert session.out.data == b"new keys\n"
    assert sum(isinstance(event, KexInitReceived) for event in caller.seen) >= 2


# The connection


def test_client_alive_asks_and_a_client_that_answers_stays(sshd: Keywords) -> None:
    sshd.use(ClientAliveInterval="1", ClientAliveCountMax="1")
    caller = sshd.log_in()
    session = caller.session()
    assert session.ask(ExecRequest(b"sleep 3; echo stayed"))
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data == b"stayed\n"


@pytest.mark.parametrize(("value", "timer"), [("yes", "02"), ("no", "00")])
def test_tcp_keep_alive_is_the_systems_own_timer(sshd: Keywords, value: str, timer: str) -> None:
    sshd.use(TCPKeepAlive=value)
    caller = sshd.log_in()
    caller.turn(0.1)
    time.sleep(0.3)
    ours, theirs = f":{sshd.server.port:04X}", f":{caller.local_port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (row,) = [row for row in rows if row[1].endswith(ours) and row[2].endswith(theirs)]
    assert row[5].partition(":")[0] == timer


# Sessions


@pytest.mark.parametrize(
    ("asked", "original"),
    [
        (ExecRequest(b"rsync --server; echo 'x'"), "rsync --server; echo 'x'"),
        (SubsystemRequest("echo"), "/bin/cat"),
        (SubsystemRequest("sftp"), "internal-sftp"),
        (ShellRequest(), "unset"),
    ],
    ids=["exec", "subsystem", "sftp", "shell"],
)
def test_force_command_runs_and_knows_what_was_asked(
    sshd: Keywords, asked: Any, original: str
) -> None:
    sshd.use(ForceCommand='echo "forced:${SSH_ORIGINAL_COMMAND-unset}"')
    session = sshd.log_in().session()
    assert session.ask(asked)
    assert session.finish() == [ExitStatus(0)]
    assert session.out.data.decode() == f"forced:{original}\n"
    sshd.log("Starting session: forced-command (config) for")


@pytest.mark.parametrize("block", ["", "Match All\n"])
def test_r112_every_word_of_a_forced_command_and_of_a_subsystem_counts(
    sshd: Keywords, block: str
) -> None:
    words = [*(f"-{number}" for number in range(11)), "-R"]
    text = " ".join(words)
    lines = [f"ForceCommand printf '%s|' {text}", f"Subsystem twelve printf '%s|' {text}"]
    for line, ask in zip(
        lines, (ExecRequest(b"ignored"), SubsystemRequest("twelve")), strict=True
    ):
        keyword, _, value = line.partition(" ")
        sshd.use(**({"match": f"All\n  {line}"} if block else {keyword: value}))
        session = sshd.log_in().session()
        assert session.ask(ask)
        session.finish()
        assert session.out.data.decode().split("|")[:-1] == words


def test_force_command_internal_sftp_runs_nothing_else(sshd: Keywords) -> None:
    sshd.use(ForceCommand="internal-sftp")
    caller = sshd.log_in()
    for request in (ExecRequest(b"id"), ShellRequest()):
        session = caller.session()
        assert session.ask(request)
        assert session.finish() == [ExitStatus(1)]
        assert session.out.data == b"This service allows sftp connections only.\n"
    assert caller.session().ask(SubsystemRequest("sftp"))


def test_accept_env_and_set_env(sshd: Keywords) -> None:
    sshd.use(AcceptEnv="LANG LC_* PATH *", SetEnv='TELLIN_A=1 "TELLIN_B=two words" LANG=C')
    wanted = (
        EnvironmentRequest(b"LC_ALL", b"C.UTF-8"),
        EnvironmentRequest(b"LANG", b"xx"),
        EnvironmentRequest(b"ANY_OTHER", b"y"),
        EnvironmentRequest(b"PATH", b"/evil"),
        EnvironmentRequest(b"SSH_CONNECTION", b"forged"),
    )
    said = sshd.run("env", *wanted).splitlines()
    found = dict(line.split("=", 1) for line in said if "=" in line)
    assert (found["LC_ALL"], found["LANG"], found["ANY_OTHER"]) == ("C.UTF-8", "C", "y")
    assert (found["TELLIN_A"], found["TELLIN_B"]) == ("1", "two words")
    # The system's own words stand, whatever a pattern lets in.
    assert "/evil" not in found["PATH"]
    assert found["SSH_CONNECTION"].startswith("127.0.0.1 ")


DANGEROUS = (
    *("LD_PRELOAD", "PATH", "PYTHONPATH", "BASH_ENV", "PERL5LIB", "IFS", "PS4", "SHELLOPTS"),
    *("NODE_OPTIONS", "RUBYOPT", "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND", "GCONV_PATH"),
)


def test_r150_a_pattern_lets_no_dangerous_variable_in(sshd: Keywords) -> None:
    sshd.use(AcceptEnv="*")
    session = sshd.log_in().session()
    for name in DANGEROUS:
        assert not session.ask(EnvironmentRequest(name.encode(), b"x"))
    assert session.ask(EnvironmentRequest(b"HARMLESS", b"x"))
    sshd.use(AcceptEnv=" ".join(["*", *DANGEROUS]))
    session = sshd.log_in().session()
    for name in DANGEROUS:
        assert session.ask(EnvironmentRequest(name.encode(), b"x"))


# authorized_keys: what a line says of its key


def test_command_of_a_key_replaces_what_is_asked(sshd: Keywords) -> None:
    sshd.authorize(f'command="echo by key: $SSH_ORIGINAL_COMMAND" {sshd.line}')
    sshd.use()
    assert sshd.run("mine") == "by key: mine\n"
    sshd.log("Starting session: forced-command (key-option) for")
    sshd.use(ForceCommand="echo by config")
    assert sshd.run("mine") == "by config\n"


def test_r068_an_empty_command_of_a_key_is_a_command_that_does_nothing(sshd: Keywords) -> None:
    """A key for forwarding alone, or for nobody: it opens no shell."""
    sshd.authorize(f'command="" {sshd.line}')
    sshd.use()
    for request in (ExecRequest(b"echo mine"), ShellRequest(), SubsystemRequest("echo")):
        session = sshd.log_in().session()
        assert session.ask(request)
        assert session.finish() == [ExitStatus(0)]
        assert session.out.data == b""
    assert sshd.log("Starting session").count("forced-command (key-option) for") == 3
    second = PrivateKey.generate("ed25519")
    sshd.authorize(f'command="" {sshd.line}', f'command="echo two" {second.public.to_line()}')
    sshd.use(AuthenticationMethods="publickey,publickey")
    caller = sshd.call().ready()
    caller.key(sshd.user, sshd.key)
    caller.key(sshd.user, second)
    caller.closed()
    sshd.log("the keys used demand different commands")


@pytest.mark.parametrize(
    ("options", "terminal"),
    [("no-pty", False), ("restrict", False), ("restrict,pty", True), ("no-port-forwarding", True)],
)
def test_a_key_may_be_without_a_terminal(sshd: Keywords, options: str, *, terminal: bool) -> None:
    sshd.authorize(f"{options} {sshd.line}")
    sshd.use()
    session = sshd.log_in().session()
    assert session.ask(TERMINAL) is terminal
    assert session.ask(ExecRequest(b"true"))


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ('from="127.0.0.0/8"', True),
        ('from="10.0.0.1,127.0.0.?"', True),
        ('from="!127.0.0.1,*"', False),
        ('from="*.example.org"', False),
        ('expiry-time="20991231"', True),
        ('expiry-time="20200101"', False),
        ('expiry-time="202001011200Z"', False),
        ("no-such-option", False),
        ('environment="TELLIN_X=1"', True),
    ],
)
def test_a_key_counts_only_as_its_line_says(sshd: Keywords, options: str, *, may: bool) -> None:
    sshd.authorize(f"{options} {sshd.line}")
    sshd.use()
    assert _may_in(sshd) is may


def test_r188_a_key_sets_no_environment(sshd: Keywords) -> None:
    sshd.authorize(f'environment="TELLIN_X=1" {sshd.line}')
    sshd.use()
    assert sshd.run("echo [$TELLIN_X]") == "[]\n"


def test_r068_the_limits_of_all_factors_hold(sshd: Keywords) -> None:
    second = PrivateKey.generate("ed25519")
    sshd.authorize(f'command="echo first" {sshd.line}', f"no-pty {second.public.to_line()}")
    sshd.use(AuthenticationMethods="publickey,publickey")
    for order in ((sshd.key, second), (second, sshd.key)):
        caller = sshd.call().ready()
        for key in order:
            caller.key(sshd.user, key)
        session = caller.session()
        assert not session.ask(TERMINAL)
        assert session.ask(ExecRequest(b"echo mine"))
        session.finish()
        assert session.out.data == b"first\n"


def test_r068_commands_that_contradict_each_other_let_nobody_in(sshd: Keywords) -> None:
    second = PrivateKey.generate("ed25519")
    line = second.public.to_line()
    sshd.authorize(f'command="echo one" {sshd.line}', f'command="echo two" {line}')
    sshd.use(AuthenticationMethods="publickey,publickey")
    caller = sshd.call().ready()
    caller.key(sshd.user, sshd.key)
    caller.key(sshd.user, second)
    caller.closed()
    sshd.log("the keys used demand different commands")
