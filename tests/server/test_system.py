# SPDX-License-Identifier: MIT
"""As root, every account of the machine: who a session is, what its connection's process is, and who gets in."""

import contextlib
import grp
import os
import pwd
import shutil
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.interop.children import descendants, python
from tests.interop.servers import Account
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller, CallerSession

from tellin.connection.requests import (
    ExecRequest,
    ExitStatus,
    PtyRequest,
    Request,
    ShellRequest,
)
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.protocol.events import (
    Authenticated,
    AuthenticationRefused,
    HostKeyOffered,
    KexInitReceived,
    NewKeysReceived,
    QuestionsAsked,
)

pytestmark = pytest.mark.root

TERMINAL = PtyRequest("xterm", 80, 24, 0, 0, b"")
STRANGER = PrivateKey.generate("ed25519")
OPTIONS = {
    "KbdInteractiveAuthentication": "yes",
    "PasswordAuthentication": "yes",
    "PrintMotd": "no",
}


class Entry:
    """A server of root's, and how the throw-away account gets in."""

    def __init__(self, server: TellinServer, account: Account) -> None:
        self.server = server
        self.account = account
        self.key = load_private_key(server.identity.path.read_bytes())
        self._open: list[Caller] = []

    def call(self) -> Caller:
        self._open.append(Caller(self.server.port))
        return self._open[-1]

    def log_in(self, user: str = "") -> Caller:
        return self.call().log_in(user or self.account.name, self.key)

    def session(self) -> CallerSession:
        return self.log_in().session()

    def run(self, command: str, *before: Request) -> str:
        session = self.session()
        for request in before:
            assert session.ask(request), request
        assert session.ask(ExecRequest(command.encode()))
        session.finish()
        return bytes(session.out.data + session.err.data).decode()

    def log(self, words: str, seconds: float = 10) -> str:
        return self.server.wait_for_log(words, seconds=seconds)

    def close(self) -> None:
        for one in self._open:
            one.socket.close()


@pytest.fixture(scope="module")
def server(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TellinServer]:
    made = TellinServer(tmp_path_factory.mktemp("system"), account=account, options=OPTIONS)
    with made as running:
        yield running


@pytest.fixture
def entry(server: TellinServer, account: Account) -> Iterator[Entry]:
    made = Entry(server, account)
    yield made
    made.close()


def passwords(*arguments: str) -> None:
    """Change the account's entry in shadow(5)."""
    subprocess.run(arguments, check=True, capture_output=True)


@contextlib.contextmanager
def shadow(account: Account, *change: str) -> Iterator[None]:
    """The account's shadow entry changed for a while."""
    passwords(*change, account.name)
    try:
        yield
    finally:
        subprocess.run(
            ["chpasswd"], input=f"{account.name}:{account.password}".encode(), check=True
        )
        passwords("chage", "-d", "20000", "-E", "-1", "-M", "-1", "-I", "-1", account.name)


# Who a session is


def test_a_session_is_its_user_and_nothing_else(entry: Entry, account: Account) -> None:
    said = entry.run(
        "id -u; id -ru; id -g; id -rg; id -G; umask; pwd; echo $HOME $USER $LOGNAME $SHELL"
    )
    lines = said.splitlines()
    assert lines[0:2] == [str(account.uid)] * 2
    assert lines[2:4] == [str(account.gid)] * 2
    expected = os.getgrouplist(account.name, account.gid)
    assert sorted(map(int, lines[4].split())) == sorted(expected)
    assert lines[5] == "0022"
    assert lines[6] == str(account.home)
    assert lines[7] == f"{account.home} {account.name} {account.name} /bin/sh"


def test_a_session_has_its_users_other_groups(entry: Entry, account: Account) -> None:
    group = "games" if "games" in {one.gr_name for one in grp.getgrall()} else "nogroup"
    passwords("gpasswd", "-a", account.name, group)
    try:
        assert str(grp.getgrnam(group).gr_gid) in entry.run("id -G").split()
    finally:
        passwords("gpasswd", "-d", account.name, group)
    assert str(grp.getgrnam(group).gr_gid) not in entry.run("id -G").split()


def test_a_connections_process_is_its_users_for_good(entry: Entry, account: Account) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in entry.run("cat /proc/$PPID/status").splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split() == [str(account.uid)] * 4
    assert status["Gid"].split() == [str(account.gid)] * 4
    expected = os.getgrouplist(account.name, account.gid)
    assert sorted(map(int, status["Groups"].split())) == sorted(expected)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0


@pytest.mark.parametrize(
    "look",
    [
        "cat /proc/$PPID/environ",
        "cat /proc/$PPID/maps",
        "ls /proc/$PPID/fd",
        "dd if=/proc/$PPID/mem bs=1 count=1",
        "cat /proc/$PPID/fdinfo/0",
        "ls -l /proc/$PPID/exe",
    ],
)
def test_the_user_cannot_look_into_the_process_that_holds_the_host_keys(
    entry: Entry, look: str
) -> None:
    assert "Permission denied" in entry.run(look)


def test_the_user_cannot_trace_that_process(entry: Entry) -> None:
    system = "/usr/bin/python3"
    if not Path(system).exists():
        pytest.skip("no python3 that the account may run")
    attach = (
        "import ctypes, os; library = ctypes.CDLL(None, use_errno=True);"
        " done = library.ptrace(16, os.getppid(), 0, 0);"
        " print(done, os.strerror(ctypes.get_errno()))"
    )
    # exec: so that the parent is the connection's process, and not the shell.
    assert entry.run(f"exec {system} -c '{attach}'") == "-1 Operation not permitted\n"


def test_no_descriptor_of_the_servers_reaches_a_session(entry: Entry) -> None:
    assert entry.run("ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    assert entry.run("ls /proc/self/fd", TERMINAL).split() == ["0", "1", "2", "3"]


def test_host_keys_sign_after_the_change_of_user(entry: Entry) -> None:
    caller = entry.log_in()
    for round_ in range(3):
        caller.core.rekey()
        session = caller.session()
        assert session.ask(ExecRequest(b"echo %d; id -u" % round_))
        session.finish()
        assert session.out.data == b"%d\n%d\n" % (round_, entry.account.uid)
    assert sum(isinstance(event, NewKeysReceived) for event in caller.seen) == 4


def test_a_terminal_belongs_to_its_user(entry: Entry, account: Account) -> None:
    said = entry.run("stat -c '%u %a %G' $SSH_TTY", TERMINAL).split()
    assert said[0] == str(account.uid)
    # Without gid=tty at the mount of devpts there is no group that may write to it.
    assert said[1:] == ["620", "tty"] or said[1] == "600"


def test_on_a_machine_as_they_are_a_terminal_is_open_to_the_group_tty(
    account: Account, tmp_path: Path
) -> None:
    # devpts as every distribution mounts it, which a container may not.
    mount = "mount -t devpts -o newinstance,gid=tty,mode=620,ptmxmode=666 devpts /dev/pts"
    bind = "mount --bind /dev/pts/ptmx /dev/ptmx"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{mount} && {bind}"], check=False, capture_output=True
    )
    if tried.returncode:
        pytest.skip("devpts cannot be mounted here")

    class OnItsOwn(TellinServer):
        def program(self) -> Sequence[str | Path]:
            script = f'{mount} && {bind} && exec "$@"'
            return ["unshare", "--mount", "sh", "-c", script, "sh", *super().program()]

    with OnItsOwn(tmp_path, account=account, options=OPTIONS) as server:
        made = Entry(server, account)
        said = made.run("stat -c '%u %a %G' $SSH_TTY", TERMINAL).split()
        made.close()
    assert said == [str(account.uid), "620", "tty"]


# Passwords


def test_passwords_and_answers_get_in(entry: Entry, account: Account) -> None:
    caller = entry.call().ready()
    assert isinstance(caller.password(account.name, "wrong"), AuthenticationRefused)
    assert isinstance(caller.password(account.name, account.password), Authenticated)
    source = f"127.0.0.1 port {caller.local_port} ssh2"
    entry.log(f"Failed password for {account.name} from {source}")
    entry.log(f"Accepted password for {account.name} from {source}")
    caller = entry.call().ready()
    caller.core.try_keyboard_interactive(account.name)
    # As sshd has it: clients put (user@host) before it themselves.
    assert caller.wait(QuestionsAsked).prompts == (("Password: ", False),)
    caller.core.answer_questions(["wrong"])
    caller.wait(AuthenticationRefused)
    assert isinstance(caller.interactive(account.name, [account.password]), Authenticated)
    source = f"127.0.0.1 port {caller.local_port} ssh2"
    entry.log(f"Accepted keyboard-interactive/password for {account.name} from {source}")


def test_r090_an_empty_password_gets_in_only_where_that_is_said(
    entry: Entry, account: Account
) -> None:
    with shadow(account, "passwd", "-d"):
        for permitted in ("no", "yes"):
            entry.server.reload({**OPTIONS, "PermitEmptyPasswords": permitted})
            answer = entry.call().ready().password(account.name, "")
            assert isinstance(answer, Authenticated) is (permitted == "yes")
    entry.server.reload({**OPTIONS, "PermitEmptyPasswords": "yes"})
    assert isinstance(entry.call().ready().password(account.name, ""), AuthenticationRefused)
    # R113: from a Match block too.
    with shadow(account, "passwd", "-d"):
        block = f"User {account.name}\n  PermitEmptyPasswords yes"
        entry.server.reload({**OPTIONS, "Match": block})
        assert isinstance(entry.call().ready().password(account.name, ""), Authenticated)
    entry.server.reload(OPTIONS)


def test_r063_a_locked_account_stays_out(entry: Entry, account: Account) -> None:
    with shadow(account, "passwd", "-l"):
        answer = entry.call().ready().password(account.name, account.password)
        assert isinstance(answer, AuthenticationRefused)
        assert isinstance(entry.call().ready().key(account.name, entry.key), AuthenticationRefused)
        entry.log(f"User {account.name} not allowed because account is locked")


def test_case_353_an_account_that_has_expired_stays_out(entry: Entry, account: Account) -> None:
    with shadow(account, "chage", "-E", "2001-01-01"):
        assert isinstance(entry.call().ready().key(account.name, entry.key), AuthenticationRefused)
        entry.log(f"Account {account.name} has expired")


def test_a_password_that_has_run_out_leads_to_passwd_alone(entry: Entry, account: Account) -> None:
    with shadow(account, "chage", "-d", "0"):
        caller = entry.call().ready()
        assert isinstance(caller.password(account.name, account.password), Authenticated)
        entry.log(f"User {account.name} password has expired")
        session = caller.session()
        assert session.ask(ExecRequest(b"id"))
        assert session.finish() == [ExitStatus(1)]
        assert session.out.data == b""
        assert session.err.data == (
            b"WARNING: Your password has expired.\n"
            b"Password change required but no TTY available.\n"
        )
        session = caller.session()
        assert session.ask(TERMINAL)
        assert session.ask(ExecRequest(b"id"))
        caller.wait_for(lambda: b"assword" in session.out.data.split(b"login again!", 1)[-1])
        assert session.out.data.startswith(
            b"WARNING: Your password has expired.\r\n"
            b"You must change your password now and login again!\r\n"
        )
        assert b"uid=" not in session.out.data
        session.channel.close()
        # A key does not run out with it.
        assert entry.run("echo in") == "in\n"


def test_a_wish_for_another_password_is_refused(entry: Entry, account: Account) -> None:
    caller = entry.call().ready()
    caller.core.try_password(account.name, account.password, "another one")
    caller.wait(AuthenticationRefused)
    entry.log("password change not supported")
    assert isinstance(caller.password(account.name, account.password), Authenticated)


# Root


@pytest.mark.parametrize(
    ("value", "options", "key"),
    [
        ("yes", "", True),
        ("prohibit-password", "", True),
        ("without-password", "", True),
        ("forced-commands-only", "", False),
        ("forced-commands-only", 'command="id -u" ', True),
        ("no", "", False),
        ("no", 'command="id -u" ', False),
    ],
)
def test_permit_root_login_by_key(entry: Entry, value: str, options: str, *, key: bool) -> None:
    file = entry.server.directory / "authorized_keys"
    file.write_text(f"{options}{entry.server.identity.public}\n")
    try:
        entry.server.reload({**OPTIONS, "PermitRootLogin": value})
        caller = entry.call().ready()
        assert isinstance(caller.key("root", entry.key), Authenticated) is key
        if key:
            session = caller.session()
            assert session.ask(ExecRequest(b"id -u"))
            session.finish()
            assert session.out.data == b"0\n"
        else:
            entry.log(f"ROOT LOGIN REFUSED FROM 127.0.0.1 port {caller.local_port}")
    finally:
        file.write_text(f"{entry.server.identity.public}\n")
        entry.server.reload(OPTIONS)


def test_r113_permit_root_login_in_a_match_block(entry: Entry) -> None:
    options = {**OPTIONS, "PermitRootLogin": "no"}
    entry.server.reload({**options, "Match": "Address 127.0.0.1\n  PermitRootLogin yes"})
    assert isinstance(entry.call().ready().key("root", entry.key), Authenticated)
    entry.server.reload({**options, "Match": "Address 10.0.0.1\n  PermitRootLogin yes"})
    assert isinstance(entry.call().ready().key("root", entry.key), AuthenticationRefused)
    entry.server.reload(OPTIONS)


def test_r119_root_has_the_groups_of_its_own_and_not_those_of_the_server(
    account: Account, tmp_path: Path
) -> None:
    class AmongOthers(TellinServer):
        def program(self) -> Sequence[str | Path]:
            return ["setpriv", "--groups", "5,24,1000", *super().program()]

    with AmongOthers(tmp_path, account=account, options=OPTIONS) as server:
        made = Entry(server, account)
        session = made.log_in("root").session()
        assert session.ask(ExecRequest(b"id -G; exec cat /proc/$PPID/status"))
        session.finish()
        made.close()
    groups, *status = session.out.data.decode().splitlines()
    own = os.getgrouplist("root", 0)
    assert sorted(map(int, groups.split())) == sorted(own)
    held = next(line for line in status if line.startswith("Groups:"))
    assert sorted(map(int, held.split()[1:])) == sorted(own)


def test_a_terminal_of_roots_is_open_to_the_group_tty(entry: Entry) -> None:
    session = entry.log_in("root").session()
    assert session.ask(TERMINAL)
    assert session.ask(ExecRequest(b"stat -c '%u %a %G' $SSH_TTY"))
    session.finish()
    assert session.out.data.split() == [b"0", b"620", b"tty"]


# What the account lacks (case 353)


def test_case_353_a_home_that_is_missing_is_said_and_root_serves(
    entry: Entry, account: Account
) -> None:
    away = account.home.with_name(f"{account.name}-away")
    file = entry.server.directory / "authorized_keys"
    keys = Path("/tmp") / f"tellin-keys-{os.getpid()}"
    shutil.copy(file, keys)
    entry.server.reload({**OPTIONS, "AuthorizedKeysFile": keys})
    # Its configuration is in that home too: when it answers it has read it.
    entry.call().ready()
    account.home.rename(away)
    try:
        for requests in ((), (TERMINAL,)):
            said = entry.run("pwd", *requests).replace("\r", "")
            assert said.count("/\n") == 1
            assert f"Could not chdir to home directory {account.home}: No such file" in said
    finally:
        away.rename(account.home)
        keys.unlink()
        entry.server.reload(OPTIONS)


@pytest.mark.parametrize(
    ("shell", "reason"),
    [
        ("/nonexistent/shell", "because shell /nonexistent/shell does not exist"),
        ("/etc/passwd", "because shell /etc/passwd is not executable"),
    ],
)
def test_case_353_a_shell_that_cannot_be_run_keeps_out(
    entry: Entry, account: Account, shell: str, reason: str
) -> None:
    passwords("usermod", "-s", shell, account.name)
    try:
        assert isinstance(entry.call().ready().key(account.name, entry.key), AuthenticationRefused)
        entry.log(f"User {account.name} not allowed {reason}")
    finally:
        passwords("usermod", "-s", "/bin/sh", account.name)


def test_case_353_nologin_as_a_shell_says_so(entry: Entry, account: Account) -> None:
    shell = shutil.which("nologin", path="/usr/sbin:/sbin") or ""
    if not shell:
        pytest.skip("no nologin(8) here")
    passwords("usermod", "-s", shell, account.name)
    try:
        session = entry.session()
        assert session.ask(ExecRequest(b"id"))
        assert session.finish() == [ExitStatus(1)]
        assert b"not available" in session.out.data
    finally:
        passwords("usermod", "-s", "/bin/sh", account.name)


def test_case_353_a_closed_machine_turns_everybody_but_root_away(
    account: Account, tmp_path: Path
) -> None:
    # /etc/nologin itself would close the machine to everything that runs beside this test.
    notice = tmp_path / "nologin"
    notice.write_text("Closed until noon.\n")

    class Elsewhere(TellinServer):
        def program(self) -> Sequence[str | Path]:
            code = (
                "import sys; from tellin.server import notices;"
                f" notices.NO_LOGIN = {str(notice)!r};"
                " from tellin.programs.command import start; sys.exit(start(sys.argv))"
            )
            return [python(), "-P", "-c", code]

    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and parent != Path("/") and not parent.stat().st_mode & 1:
            parent.chmod(0o711)
    with Elsewhere(tmp_path, account=account, options=OPTIONS) as server:
        made = Entry(server, account)
        for requests, marks in (((), b""), ((TERMINAL,), b"\r")):
            session = made.session()
            for request in requests:
                assert session.ask(request)
            assert session.ask(ExecRequest(b"id"))
            assert session.finish() == [ExitStatus(254)]
            said = bytes(session.out.data + session.err.data)
            assert said == b"Closed until noon." + marks + b"\n"
        root = made.call().log_in("root", made.key).session()
        assert root.ask(ExecRequest(b"id -u"))
        assert root.finish() == [ExitStatus(0)]
        notice.unlink()
        assert made.run("echo open") == "open\n"
        made.close()


# What guessers learn


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("method", ["password", "keyboard-interactive", "publickey"])
def test_r061_a_refusal_takes_as_long_for_users_who_do_not_exist(
    entry: Entry, method: str
) -> None:
    # The same name before and after it is an account: each name has a time of its own.
    name = f"late{os.getpid()}"
    tries = 25

    def median() -> float:
        times = []
        while len(times) < tries:
            caller = entry.call().ready()
            caller.none(name)
            for _ in range(5):
                began = time.perf_counter()
                if method == "password":
                    answer = caller.password(name, "not this one")
                elif method == "publickey":
                    answer = caller.key(name, PrivateKey.generate("ed25519"))
                else:
                    answer = caller.interactive(name, ["not this one"])
                times.append(time.perf_counter() - began)
                assert isinstance(answer, AuthenticationRefused)
            caller.socket.close()
        return statistics.median(times)

    for _ in range(4):
        without = median()
        passwords("useradd", "--no-create-home", "--shell", "/bin/sh", name)
        try:
            subprocess.run(["chpasswd"], input=f"{name}:a password".encode(), check=True)
            entry.log(f"Invalid user {name} from")
            with_account = median()
        finally:
            passwords("userdel", name)
        # A busy machine adds its own time to one of the two; never to the same one each time.
        if abs(with_account - without) < 0.005:
            return
    raise AssertionError(f"{without:.4f} s without an account, {with_account:.4f} s with one")


@pytest.mark.parametrize("user", ["account", "no-such-user-here"])
def test_r062_a_password_of_a_megabyte_is_not_hashed(
    entry: Entry, account: Account, user: str
) -> None:
    name = account.name if user == "account" else user
    caller = entry.call().ready()
    pid = max(descendants(entry.server.child.process.pid))
    before = cpu_seconds(pid)
    for size in (1025, 100_000):
        assert isinstance(caller.password(name, "x" * size), AuthenticationRefused)
    assert cpu_seconds(pid) - before < 0.2


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_r046_forked_processes_draw_different_numbers(entry: Entry) -> None:
    cookies, shares = set(), set()
    for _ in range(20):
        caller = entry.call()
        caller.wait(NewKeysReceived)
        # Before there are keys all of it can be read: RFC 4253 sections 6 and 7.1, RFC 5656.
        _, _, rest = bytes(caller.received).partition(b"\r\n")
        kexinit, rest = packet(rest)
        reply, _ = packet(rest)
        assert (kexinit[0], reply[0]) == (20, 31)
        cookies.add(kexinit[1:17])
        _, rest = text(reply[1:])
        share, _ = text(rest)
        assert len(share) >= 32
        shares.add(share)
    assert len(cookies) == len(shares) == 20


def packet(data: bytes) -> tuple[bytes, bytes]:
    """The payload of the first packet, and what follows it."""
    size, padding = struct.unpack_from(">IB", data)
    return data[5 : 4 + size - padding], data[4 + size :]


def text(data: bytes) -> tuple[bytes, bytes]:
    """The first string, and what follows it."""
    (size,) = struct.unpack_from(">I", data)
    return data[4 : 4 + size], data[4 + size :]


# Slots of MaxStartups


def stages(user: str) -> dict[str, Callable[[Caller], object]]:
    """How far a client comes before it breaks off."""
    return {
        "connected": lambda caller: caller.socket.recv(1, socket.MSG_PEEK),
        "said who it is": lambda caller: caller.socket.recv(1, socket.MSG_PEEK) and caller.flush(),
        "offered keys": lambda caller: caller.wait(KexInitReceived),
        "saw the host key": lambda caller: caller.wait(HostKeyOffered),
        "has new keys": lambda caller: caller.wait(NewKeysReceived),
        "may log in": lambda caller: caller.ready(),
        "gave a name": lambda caller: caller.ready().none(user),
        "gave a wrong name": lambda caller: caller.ready().none("no-such-user-here"),
        "waits for an answer": lambda caller: _ask_and_go(caller.ready(), user),
        "was refused": lambda caller: caller.ready().password("no-such-user-here", "x"),
    }


def _ask_and_go(caller: Caller, user: str) -> None:
    caller.core.try_password(user, "wrong")
    caller.flush()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_r200_no_slot_is_lost_wherever_a_login_is_broken_off(
    entry: Entry, account: Account, *, reset: bool
) -> None:
    entry.server.reload({**OPTIONS, "MaxStartups": "3:100:3"})
    for name, come in stages(account.name).items():
        for _ in range(5):
            caller = entry.call()
            come(caller)
            if reset:
                linger = struct.pack("ii", 1, 0)
                caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            caller.socket.close()
            wait_for_no_logins(entry, name)
    assert entry.run("echo served") == "served\n"
    assert "past MaxStartups" not in entry.server.log()
    entry.server.reload(OPTIONS)


def wait_for_no_logins(entry: Entry, stage: str) -> None:
    until = time.monotonic() + 10
    while descendants(entry.server.child.process.pid):
        assert time.monotonic() < until, f"{stage}: a process is left"
        time.sleep(0.005)


def test_a_login_frees_its_slot_and_full_is_full(entry: Entry) -> None:
    entry.server.reload({**OPTIONS, "MaxStartups": "2:100:2"})
    inside = [entry.log_in() for _ in range(4)]
    waiting = [socket.create_connection(("127.0.0.1", entry.server.port)) for _ in range(2)]
    for one in waiting:
        assert one.recv(100).startswith(b"SSH-2.0-")
    with socket.create_connection(("127.0.0.1", entry.server.port)) as dropped:
        assert dropped.recv(100) == b"Exceeded MaxStartups\r\n"
        port = dropped.getsockname()[1]
    entry.log("beginning MaxStartups throttling")
    entry.log(
        f"drop connection #2 from [127.0.0.1]:{port} on [127.0.0.1]:{entry.server.port}"
        " past MaxStartups"
    )
    for one in waiting:
        one.close()
    wait_until(lambda: len(descendants(entry.server.child.process.pid)) == len(inside))
    assert entry.run("echo served") == "served\n"
    entry.log("exited MaxStartups throttling after 00:00:0")
    entry.server.reload(OPTIONS)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_case_342_a_process_that_is_killed_takes_nobody_with_it(entry: Entry) -> None:
    other = entry.log_in()
    session = entry.session()
    assert session.ask(ExecRequest(b"echo $PPID; sleep 30"))
    session.caller.wait_for(lambda: session.out.data.endswith(b"\n"))
    os.kill(int(session.out.data), 9)
    entry.log("of a connection died of SIGKILL")
    again = other.session()
    assert again.ask(ExecRequest(b"echo here"))
    again.finish()
    assert again.out.data == b"here\n"


def test_nobody_is_served_under_a_name_with_a_nul_or_another_case(
    entry: Entry, account: Account
) -> None:
    for name in (
        f"{account.name}\0",
        account.name.upper(),
        f" {account.name}",
        f"{account.name} ",
    ):
        answer = entry.call().ready().key(name, entry.key)
        assert isinstance(answer, AuthenticationRefused), name


def test_a_session_is_a_login_shell_of_its_user(entry: Entry, account: Account) -> None:
    session = entry.session()
    assert session.ask(TERMINAL)
    assert session.ask(ShellRequest())
    session.send(b"echo $0; id -un; exit 9\n")
    assert session.finish() == [ExitStatus(9)]
    said = session.out.data.decode()
    assert "-sh\r\n" in said
    assert f"{account.name}\r\n" in said
    assert pwd.getpwnam(account.name).pw_uid == account.uid
