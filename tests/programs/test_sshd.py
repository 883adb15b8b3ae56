# SPDX-License-Identifier: MIT
"""sshd's command line: how it starts, what it refuses, how it ends; beside OpenSSH's where that is here."""

import contextlib
import fcntl
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.interop.children import Child, descendants
from tests.interop.peers import OpenSSHClient, Target, make_key
from tests.interop.servers import find, run
from tests.interop.target import KeyFile, free_port
from tests.interop.tellin_peer import TELLIN, TellinClient, tellin
from tests.server.caller import Caller

from tellin.connection.requests import ExecRequest, ExitStatus
from tellin.keys.formats import load_private_key

ME = pwd.getpwuid(os.getuid()).pw_name
SSHD = (*TELLIN, "sshd")


class Place:
    """A folder with a host key, a user's key, and the files of a server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host_key = make_key(directory / "host_key")
        self.identity = make_key(directory / "user_key")
        self.authorized = directory / "authorized_keys"
        self.authorized.write_text(f"{self.identity.public}\n")
        self.port = free_port()
        self.pid_file = directory / "pid"
        self.config = self.write()

    def write(self, *lines: str) -> Path:
        """The configuration: what every test needs, and more lines."""
        path = self.directory / "sshd_config"
        text = [
            *lines,
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key.path}",
            f"AuthorizedKeysFile {self.authorized}",
            f"PidFile {self.pid_file}",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
        ]
        path.write_text("\n".join(text) + "\n")
        return path

    @property
    def target(self) -> Target:
        return Target(self.port, ME, (self.host_key.public,), self.identity)

    @property
    def key(self) -> object:
        return load_private_key(self.identity.path.read_bytes())

    def works(self) -> bool:
        """Whether a login gets as far as a command."""
        with Caller(self.port) as caller:
            session = caller.log_in(ME, self.key).session()
            assert session.ask(ExecRequest(b"exit 42"))
            return session.finish() == [ExitStatus(42)]

    def pid(self) -> int:
        """The number in the pid file, once it is there."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return int(self.pid_file.read_text())
            time.sleep(0.01)
        raise TimeoutError(f"no {self.pid_file}")

    @contextlib.contextmanager
    def serving(self, *words: str | Path, listens: bool = True) -> Iterator[Child]:
        """The program in the foreground, its standard error in a file."""
        argv = [*SSHD, "-f", self.config, *map(str, words)]
        with Child(argv, log=self.directory / "stderr") as child:
            if listens:
                child.wait_for_port(self.port)
            yield child


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(condition: object, child: Child | None = None, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, child.log() if child else ""
        time.sleep(0.01)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# Starting


def test_d_stays_in_the_foreground_and_e_logs_to_standard_error(place: Place) -> None:
    with place.serving("-D", "-e") as child:
        assert place.works()
        assert place.pid() == child.process.pid
        assert f"Server listening on 127.0.0.1 port {place.port}." in child.log()
        until(lambda: "Accepted publickey" in child.log(), child)


def test_without_d_it_goes_to_the_background_when_it_listens(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "log"
    # Started elsewhere and by names that hold only there: it leaves that directory.
    done = subprocess.run(
        [*SSHD, "-f", "sshd_config", "-E", "log", "-o", f"HostKey={place.host_key.path}"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    pid = int(place.pid_file.read_text())
    try:
        # It listens already, and belongs to nobody's terminal.
        assert place.works()
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        streams = [Path(f"/proc/{pid}/fd/{number}").readlink() for number in range(3)]
        assert streams == [Path("/dev/null")] * 3
        assert log.stat().st_mode & 0o777 == 0o600
        os.kill(pid, signal.SIGHUP)
        until(lambda: "Received SIGHUP; restarting." in log.read_text())
        assert place.works()
        assert int(place.pid_file.read_text()) == pid
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: ended(pid))
    assert not place.pid_file.exists()
    assert "Received signal 15; terminating." in log.read_text()


def test_d_twice_serves_one_connection_and_says_how(place: Place) -> None:
    with place.serving("-d", "-d") as child:
        assert place.works()
        assert child.process.wait(10) == 0
        assert "debug1: private host key #0: ssh-ed25519 SHA256:" in child.log()
        assert "Accepted publickey for" in child.log()
    assert not place.pid_file.exists()


def test_q_says_nothing(place: Place) -> None:
    with place.serving("-D", "-e", "-q") as child:
        assert place.works()
        assert child.log() == ""


def test_e_with_a_file_appends_to_it_and_standard_error_is_silent(place: Place) -> None:
    log = place.directory / "log"
    log.write_text("before\n")
    with place.serving("-D", "-E", log, "-E", log) as child:
        assert place.works()
        until(lambda: "Accepted publickey" in log.read_text(), child)
        assert child.log() == ""
    assert log.read_text().startswith("before\n")


def test_a_log_file_is_made_for_its_owner_alone(place: Place) -> None:
    log = place.directory / "log"
    with place.serving("-D", "-E", log):
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_file_that_was_moved_away_is_made_anew_at_a_reload(place: Place) -> None:
    log = place.directory / "log"
    with place.serving("-D", "-E", log) as child:
        log.rename(place.directory / "log.1")
        child.process.send_signal(signal.SIGHUP)
        until(log.exists, child)
        assert place.works()
        until(lambda: "Accepted publickey" in log.read_text(), child)


# sshd whose lines for syslog(3) stand on its standard error, each behind the number that a log
# daemon gets (RFC 5424 section 6.2.1): the facility's, of which Python's constants are eight times
# that, and the severity's.
AT_SYSLOG = """
import sys, syslog
numbers = [syslog.LOG_USER]
syslog.openlog = lambda name, options, number: numbers.append(number)
syslog.syslog = lambda severity, line: print(f"<{numbers[-1] | severity}>{line}", file=sys.stderr)
sys.argv[0] = "tellin"
from tellin.__main__ import main
main()
"""


def test_syslog_facility_is_where_its_lines_go_also_after_a_reload(place: Place) -> None:
    info = 6
    place.write("SyslogFacility AUTHPRIV")
    argv = [*TELLIN[:2], "-u", "-c", AT_SYSLOG, "sshd", "-D", "-f", place.config]
    with Child(argv, log=place.directory / "stderr") as child:
        child.wait_for_log(f"<{10 * 8 + info}>Server listening on")
        assert place.works()
        child.wait_for_log(f"<{10 * 8 + info}>Accepted publickey for")
        place.write("SyslogFacility LOCAL3")
        child.process.send_signal(signal.SIGHUP)
        until(lambda: "Received SIGHUP" in child.log(), child, 60)
        assert place.works()
        child.wait_for_log(f"<{19 * 8 + info}>Accepted publickey for")
        assert child.log().count("Accepted publickey") == 2


def test_p_and_o_and_h_stand_before_the_file(place: Place) -> None:
    place.config = place.write(f"Port {free_port()}", "MaxSessions 0")
    second = make_key(place.directory / "second_key")
    other = free_port()
    words = ("-p", str(other), "-o", "MaxSessions=1", "-h", second.path)
    with Child(
        [*SSHD, "-D", "-e", "-f", place.config, *words], log=place.directory / "stderr"
    ) as child:
        child.wait_for_port(other)
        with Caller(other) as caller:
            assert caller.log_in(ME, place.key).session().ask(ExecRequest(b"true"))
            assert caller.core.host_key == second.blob
        # Nor is the port of the file served beside the one that is asked for.
        assert f"Server listening on 127.0.0.1 port {other}." in child.log()
        assert child.log().count("Server listening on") == 1
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", place.port)) != 0


@pytest.mark.parametrize(("flag", "family"), [("-4", "127.0.0.1"), ("-6", "::1")])
def test_4_and_6_choose_the_addresses(place: Place, flag: str, family: str) -> None:
    try:
        socket.create_server((family, 0), family=socket.AF_INET6 if ":" in family else 2).close()
    except OSError:
        pytest.skip(f"no {family} here")
    config = place.directory / "both"
    config.write_text(place.config.read_text().replace("ListenAddress 127.0.0.1\n", ""))
    place.config = config
    with place.serving("-D", "-e", flag) as child:
        lines = [line for line in child.log().splitlines() if "Server listening on" in line]
        wanted = "0.0.0.0" if flag == "-4" else "::"  # noqa: S104 - what every address is called
        assert lines == [f"Server listening on {wanted} port {place.port}."]


def test_g_and_u0_are_keywords_too(place: Place) -> None:
    said = said_by("-T", "-f", place.config, "-g", "90", "-u0", "-o", "UseDNS=yes")
    assert {"logingracetime 90", "usedns no"} <= set(said.splitlines())


def test_case_354_closed_standard_descriptors_are_nobodys(place: Place) -> None:
    with Child(
        [
            "sh",
            "-c",
            'exec "$@" <&- >&- 2>&-',
            "sh",
            *SSHD,
            "-D",
            "-f",
            place.config,
            "-E",
            place.directory / "log",
        ],
        log=place.directory / "stderr",
    ) as child:
        child.wait_for_port(place.port)
        assert place.works()


# From inetd


def test_i_serves_a_socket(place: Place) -> None:
    ours, theirs = socket.socketpair()
    argv = [*map(str, SSHD), "-i", "-e", "-f", str(place.config)]
    with (
        ours,
        subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as program,
    ):
        theirs.close()
        session = Caller.on(ours).log_in(ME, place.key).session()
        assert session.ask(ExecRequest(b"echo $SSH_CONNECTION; echo $SSH_CLIENT; exit 4"))
        assert session.finish() == [ExitStatus(4)]
        assert session.out.data == b"UNKNOWN 65535 UNKNOWN 65535\nUNKNOWN 65535 65535\n"
        ours.close()
        _, said = program.communicate(timeout=10)
    assert program.returncode == 0
    assert f"Accepted publickey for {ME} from UNKNOWN port 65535 ssh2" in said.decode()


def test_i_serves_an_accepted_connection_with_its_addresses(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    argv = [*map(str, SSHD), "-i", "-f", str(place.config), "-E", str(place.directory / "log")]
    with client, subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs) as program:
        host, port = theirs.getsockname()
        theirs.close()
        session = Caller.on(client).log_in(ME, place.key).session()
        assert session.ask(ExecRequest(b"echo $SSH_CONNECTION"))
        session.finish()
        here = client.getsockname()[1]
        assert session.out.data.decode() == f"{host} {here} {host} {port}\n"
        client.close()
        assert program.wait(10) == 0


@pytest.mark.peer("ssh")
def test_i_serves_two_pipes(place: Place) -> None:
    proxy = " ".join([*map(str, SSHD), "-i", "-f", str(place.config), "-E", "/dev/null"])
    client = OpenSSHClient(place.directory)
    done = client.run(
        place.target, "cat; exit 5", input=b"by pipe" * 10_000, options={"ProxyCommand": proxy}
    )
    assert (done.status, done.stdout, done.stderr) == (5, b"by pipe" * 10_000, b"")


def test_i_gives_pipes_back_as_they_were(place: Place) -> None:
    ours, theirs = os.pipe(), os.pipe()
    argv = [*map(str, SSHD), "-i", "-f", str(place.config), "-E", "/dev/null"]
    with subprocess.Popen(argv, stdin=ours[0], stdout=theirs[1]) as program:
        os.write(ours[1], b"nonsense\r\n")
        assert os.read(theirs[0], 300).startswith(b"SSH-2.0-tellin_")
        os.close(ours[1])
        assert program.wait(10) == 0
    for fd in (ours[0], theirs[1]):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    for fd in (ours[0], *theirs):
        os.close(fd)


def test_i_tells_no_client_what_is_wrong_with_the_configuration(place: Place) -> None:
    place.config.write_text("NoSuchKeyword yes\n")
    ours, theirs = socket.socketpair()
    argv = [*map(str, SSHD), "-i", "-f", str(place.config)]
    with ours, subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs) as program:
        theirs.close()
        assert program.wait(10) == 255
        assert ours.recv(1000) == b""


# Ending and reloading


def test_case_351_sigterm_ends_the_daemon_and_no_session(place: Place) -> None:
    with place.serving("-D", "-e") as child, Caller(place.port) as caller:
        session = caller.log_in(ME, place.key).session()
        assert session.ask(ExecRequest(b"read line; echo got $line; exit 6"))
        family = descendants(child.process.pid)
        child.process.terminate()
        assert child.process.wait(10) == 0
        assert not place.pid_file.exists()
        assert "Received signal 15; terminating." in child.log()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", place.port)) != 0
        session.send(b"this\n")
        assert session.finish() == [ExitStatus(6)]
        assert session.out.data == b"got this\n"
        assert family


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_other_signals_end_it_too_and_take_the_pid_file(
    place: Place, number: signal.Signals
) -> None:
    with place.serving("-D", "-e") as child:
        assert place.pid() == child.process.pid
        child.process.send_signal(number)
        assert child.process.wait(10) == 255
        assert not place.pid_file.exists()


def test_ctrl_c_at_the_daemons_terminal_ends_no_connection(place: Place) -> None:
    with place.serving("-D", "-e") as child, Caller(place.port) as caller:
        session = caller.log_in(ME, place.key).session()
        assert session.ask(ExecRequest(b"read line; exit 6"))
        # As a terminal does it: to the whole group in front.
        os.killpg(child.process.pid, signal.SIGINT)
        child.process.wait(10)
        session.send(b"\n")
        assert session.finish() == [ExitStatus(6)]


def test_sigterm_to_a_connection_says_goodbye(place: Place) -> None:
    with place.serving("-D", "-e") as child, Caller(place.port) as caller:
        caller.log_in(ME, place.key)
        (pid,) = descendants(child.process.pid)
        os.kill(pid, signal.SIGTERM)
        said = caller.closed()
        assert "the server is stopping" in str(said.error)
        assert place.works()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("NoSuchKeyword yes", "sshd_config line 1: Bad configuration option: NoSuchKeyword"),
        ("Ciphers nonsense", "sshd_config line 1: Ciphers: unknown cipher 'nonsense'"),
        ("HostKey /nonexistent", 'Unable to load host key "/nonexistent": No such file'),
    ],
)
def test_case_329_a_broken_configuration_leaves_the_old_one_in_force(
    place: Place, broken: str, said: str
) -> None:
    with place.serving("-D", "-e") as child:
        pid = place.pid()
        text = place.config.read_text()
        kept = [line for line in text.splitlines() if not line.startswith("HostKey")]
        place.config.write_text("\n".join([broken, *kept]) + "\n")
        child.process.send_signal(signal.SIGHUP)
        until(lambda: "the configuration in force stays" in child.log(), child)
        assert said in child.log()
        assert place.works()
        assert place.pid() == pid
        # And a good one is taken afterwards.
        place.config.write_text(f"Banner none\nVersionAddendum reloaded\n{text}")
        child.process.send_signal(signal.SIGHUP)
        until(lambda: child.log().count("Received SIGHUP") == 2, child)
        with socket.create_connection(("127.0.0.1", place.port)) as peer:
            assert peer.recv(300).endswith(b" reloaded\r\n")


def test_a_reload_is_for_new_connections_and_touches_no_session(place: Place) -> None:
    second = make_key(place.directory / "second_key")
    with place.serving("-D", "-e") as child, Caller(place.port) as caller:
        session = caller.log_in(ME, place.key).session()
        assert session.ask(ExecRequest(b"read line; echo got $line; exit 6"))
        old_port, old_key = place.port, place.host_key
        place.port, place.host_key = free_port(), second
        place.config = place.write("MaxSessions 1", "SetEnv WHO=new")
        with place.config.open("a") as file:
            file.write(f"Match User {ME}\n  ForceCommand echo forced $WHO\n")
        child.process.send_signal(signal.SIGHUP)
        child.wait_for_port(place.port)
        with Caller(place.port) as fresh:
            new = fresh.log_in(ME, place.key).session()
            assert new.ask(ExecRequest(b"echo mine"))
            new.finish()
            assert new.out.data == b"forced new\n"
            assert fresh.core.host_key == second.blob != old_key.blob
            fresh.session()
            fresh.refused_session()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", old_port)) != 0
        # The old connection is served as it was, and opens what it might open then.
        other = caller.session()
        assert other.ask(ExecRequest(b"echo ${WHO-old}"))
        other.finish()
        assert other.out.data == b"old\n"
        session.send(b"this\n")
        assert session.finish() == [ExitStatus(6)]
        assert session.out.data == b"got this\n"


def test_a_login_reads_the_configuration_no_second_time(place: Place) -> None:
    with place.config.open("a") as file:
        file.write(f"Match User {ME}\n  SetEnv WHO=matched\n")
    with place.serving("-D", "-e"):
        place.config.unlink()
        for _ in range(2):
            with Caller(place.port) as caller:
                session = caller.log_in(ME, place.key).session()
                assert session.ask(ExecRequest(b"echo $WHO"))
                session.finish()
                assert session.out.data == b"matched\n"


def test_case_329_a_file_that_is_gone_or_not_to_be_read_leaves_the_old_one_in_force(
    place: Place,
) -> None:
    included = place.directory / "more"
    included.write_text("VersionAddendum first\n")
    place.config = place.write(f"Include {included}")
    text = place.config.read_text()

    def gone() -> None:
        place.config.unlink()

    def directory() -> None:
        place.config.mkdir()

    def in_included() -> None:
        place.config.rmdir()
        place.config.write_text(text)
        included.write_text("\nVersionAddendum second\nCiphers aes129-ctr\n")

    def loop() -> None:
        included.write_text(f"Include {place.config}\n")

    kept = "the configuration in force stays"
    faults = [
        (gone, "No such file or directory"),
        (directory, "not a regular file"),
        (in_included, "more line 3: Ciphers: unknown cipher 'aes129-ctr'"),
        (loop, "files include one another"),
    ]
    with place.serving("-D", "-e") as child:
        for number, (break_it, said) in enumerate(faults, 1):
            break_it()
            child.process.send_signal(signal.SIGHUP)
            until(lambda number=number: child.log().count(kept) == number, child, 60)  # type: ignore[misc]
            assert said in child.log()
            with socket.create_connection(("127.0.0.1", place.port)) as peer:
                assert peer.recv(300).endswith(b" first\r\n")
        included.write_text("VersionAddendum third\n")
        child.process.send_signal(signal.SIGHUP)
        until(lambda: child.log().count("Received SIGHUP") == len(faults) + 1, child, 60)
        with socket.create_connection(("127.0.0.1", place.port)) as peer:
            assert peer.recv(300).endswith(b" third\r\n")
        assert place.works()


def test_a_reload_may_move_the_server_and_its_pid_file(place: Place) -> None:
    with place.serving("-D", "-e") as child:
        old, old_port = place.pid_file, place.port
        place.pid()
        place.port, place.pid_file = free_port(), place.directory / "other.pid"
        place.config = place.write()
        child.process.send_signal(signal.SIGHUP)
        child.wait_for_port(place.port)
        assert place.pid() == child.process.pid
        assert not old.exists()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", old_port)) != 0
        assert place.works()


def test_a_reload_that_finds_its_port_taken_leaves_the_pid_file(place: Place) -> None:
    with place.serving("-D", "-e") as child, socket.create_server(("127.0.0.1", 0)) as taken:
        old, old_port, pid = place.pid_file, place.port, place.pid()
        place.port, place.pid_file = taken.getsockname()[1], place.directory / "other.pid"
        other = place.pid_file
        place.config = place.write()
        child.process.send_signal(signal.SIGHUP)
        until(lambda: "nothing is changed" in child.log(), child, 60)
        assert int(old.read_text()) == pid
        assert not other.exists()
        # Whoever goes by the file still reaches the daemon; what can be had is taken then.
        place.port, place.pid_file = old_port, other
        place.config = place.write("VersionAddendum third")
        os.kill(int(old.read_text()), signal.SIGHUP)
        until(other.exists, child, 60)
        assert place.pid() == pid
        assert not old.exists()
        with socket.create_connection(("127.0.0.1", place.port)) as peer:
            assert peer.recv(300).endswith(b" third\r\n")
    assert not other.exists()


# Supervisors (sd_notify(3))


class Supervisor:
    """What systemd is to a unit of type notify: a socket on which it waits for words."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.settimeout(60)

    def hear(self) -> dict[str, str]:
        words = self.socket.recv(4096).decode().split("\n")
        return dict(word.split("=", 1) for word in words)


@pytest.fixture(params=["file", "abstract"])
def supervisor(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervisor]:
    with tempfile.TemporaryDirectory() as directory:
        name = f"@tellin-{os.getpid()}" if request.param == "abstract" else f"{directory}/notify"
        made = Supervisor(name)
        monkeypatch.setenv("NOTIFY_SOCKET", made.address)
        with made.socket:
            yield made


def test_a_supervisor_hears_when_it_is_ready_reloads_and_stops(
    place: Place, supervisor: Supervisor
) -> None:
    with place.serving("-D", "-e", listens=False) as child:
        pid = str(child.process.pid)
        assert supervisor.hear() == {"READY": "1", "MAINPID": pid}
        # From that moment on it serves, and a signal does what it should.
        assert place.works()
        for broken in (False, True, False):
            before = time.monotonic_ns() // 1000
            place.write(*(["NoSuchKeyword yes"] if broken else []))
            child.process.send_signal(signal.SIGHUP)
            word = supervisor.hear()
            assert before <= int(word.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
            assert word == {"RELOADING": "1", "MAINPID": pid}
            assert supervisor.hear() == {"READY": "1", "MAINPID": pid}
            assert place.works()
        child.process.terminate()
        assert supervisor.hear() == {"STOPPING": "1", "MAINPID": pid}
        assert child.process.wait(60) == 0


def test_a_session_hears_nothing_of_the_supervisor(place: Place, supervisor: Supervisor) -> None:
    with place.serving("-D", "-e"), Caller(place.port) as caller:
        session = caller.log_in(ME, place.key).session()
        assert session.ask(ExecRequest(b"env"))
        session.finish()
    assert b"PATH=" in session.out.data
    assert b"NOTIFY_SOCKET" not in session.out.data


@pytest.mark.parametrize("address", ["/nonexistent/notify", "nonsense", ""])
def test_a_supervisor_that_cannot_be_told_is_no_reason_not_to_serve(
    place: Place, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with place.serving("-D", "-e") as child:
        assert place.works()
        child.process.terminate()
        assert child.process.wait(60) == 0
    told = "Cannot tell the supervisor: No such file or directory" in child.log()
    assert told is address.startswith("/")


# Test modes


def said_by(*words: str | Path, status: int = 0) -> str:
    done = tellin("sshd", *words)
    assert done.returncode == status, done.stderr
    return done.stdout.decode()


def test_what_t_prints_reads_back_as_itself(place: Place) -> None:
    place.config = place.write(
        "ListenAddress [::1]:2200",
        "AcceptEnv LANG LC_*",
        'SetEnv A=1 "B=two words"',
        "Subsystem sftp internal-sftp",
        "Banner /etc/issue",
        "DenyUsers eve mallory@192.0.2.*",
        "RekeyLimit 1G 1h",
        "ForceCommand echo 'a b'",
        "VersionAddendum some words",
        "AuthenticationMethods publickey,password publickey",
    )
    first = said_by("-T", "-f", place.config)
    again = place.directory / "again"
    again.write_text(first)
    assert said_by("-T", "-f", again) == first
    assert said_by("-G", "-f", again) == first
    assert {"acceptenv LANG", "acceptenv LC_*", "denyusers eve", "maxstartups 10:30:100"} <= set(
        first.splitlines()
    )


@pytest.mark.peer("sshd")
def test_t_prints_what_opensshs_prints(place: Place) -> None:
    lines = (
        "LoginGraceTime 1m",
        "MaxAuthTries 3",
        "MaxStartups 5",
        "ClientAliveInterval 2m",
        "AllowUsers a b@192.0.2.1",
        "DenyGroups c d",
        "AcceptEnv X Y_*",
        "SetEnv A=1",
        "Subsystem echo /bin/cat -u",
        "Banner /etc/issue",
        "RekeyLimit 1G 1h",
        "PermitRootLogin yes",
        "Compression no",
        "ForceCommand date -u",
        "VersionAddendum some words",
    )
    place.config = place.write(*lines)
    ours = as_table(said_by("-T", "-f", place.config))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    theirs = as_table(run("sshd", "-T", "-f", place.config).decode())
    both = ours.keys() & theirs.keys()
    assert len(both) > 40
    # What each has of its own, or names in another of the ways that both read.
    own = {"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"}
    # 10.5's default is ef and none.
    own |= {"casignaturealgorithms", "hostbasedacceptedalgorithms", "ipqos"}
    own |= {"listenaddress", "modulifile", "pidfile"}
    different = {
        name: (ours[name], theirs[name]) for name in both - own if ours[name] != theirs[name]
    }
    assert different == {}
    for name in own & both - {"ipqos", "listenaddress", "modulifile", "pidfile"}:
        known = set(",".join(theirs[name]).split(","))
        # What 10.5 has and this one has not.
        elsewhere = {
            "mlkem768x25519-sha256",
            "aes128-cbc",
            "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
            "webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        }
        assert set(",".join(ours[name]).split(",")) - elsewhere <= known


def as_table(text: str) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        table.setdefault(name, []).append(value)
    return table


def test_c_shows_what_holds_for_one_connection(place: Place) -> None:
    with place.config.open("a") as file:
        file.write(
            f"Match User {ME}\n  MaxSessions 1\nMatch Address 192.0.2.0/24\n  PermitTTY no\n"
            "Match LocalPort 2200\n  MaxAuthTries 1\nMatch Host *.example.org\n  Banner /x\n"
            "Match LocalAddress 198.51.100.1\n  ClientAliveInterval 7\n"
            "Match Invalid-User\n  PubkeyAuthentication no\n"
            f"Match Group {my_group()}\n  SetEnv GROUP=1\n"
        )

    def shown(*specifications: str) -> set[str]:
        words = [word for one in specifications for word in ("-C", one)]
        return set(said_by("-G", "-f", place.config, *words).splitlines()) - always

    always = set(said_by("-T", "-f", place.config).splitlines())
    assert shown("user=somebody-else,lport=1") == set()
    assert shown(f"user={ME},lport=1") == {"maxsessions 1", "setenv GROUP=1"}
    assert shown("addr=192.0.2.9,lport=2200") == {"permittty no", "maxauthtries 1"}
    assert shown("host=a.example.org,lport=1") == {"banner /x"}
    assert shown("laddr=198.51.100.1,lport=1", "user=x") == {"clientaliveinterval 7"}
    for one in ("user=x,invalid-user", "invalid-user"):
        assert shown(one, "lport=1") == {"pubkeyauthentication no"}


# A block, the connection that -C describes, and what OpenSSH makes of them.
HALVES = [
    ("all", []),
    ("user a", []),
    ("user a", ["addr=192.0.2.1"]),
    ("address 192.0.2.1", ["user=a"]),
    ("group a", ["addr=192.0.2.1"]),
    ("group root", ["user=root"]),
    ("group a", ["user=no-such-user-here"]),
    ("host a", ["user=a"]),
    ("host 192.0.2.1", ["addr=192.0.2.1"]),
    ("localport 22", ["user=a"]),
    ("user a localport 22", ["user=b"]),
    ("localport 22", ["lport=0"]),
    ("localport 22", ["lport=ssh"]),
    ("localport 22", ["lport=no-such-service"]),
    ("localport 22", ["lport="]),
    ("localport 22", ["lport=-1"]),
    ("localaddress 192.0.2.1", ["user=a"]),
    ("rdomain a", ["user=a"]),
    ("rdomain *", ["rdomain=a"]),
    ("user a", [""]),
    ("user a", ["user=a,,bogus"]),
    ("user a", ["user=a,bogus"]),
    ("user a", ["user"]),
    ("user a", ["USER=a"]),
    ("user a", ["user=b", "user=a"]),
    ("address 192.0.2.0/24", ["addr=nonsense"]),
    ("address ::1", ["addr=::1"]),
]


@pytest.mark.sampled(2)
@pytest.mark.peer("sshd")
@pytest.mark.parametrize(("block", "described"), HALVES)
def test_half_a_connection_is_judged_as_opensshs_does(
    place: Place, block: str, described: list[str]
) -> None:
    place.config.write_text(f"HostKey {place.host_key.path}\nMatch {block}\n  Banner /x\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    words = [word for one in described for word in ("-C", one)]
    seen = []
    for program in ([find("sshd")], SSHD):
        done = subprocess.run(
            [*program, "-T", "-f", place.config, *words], capture_output=True, check=False
        )
        banner = [line for line in done.stdout.splitlines() if line.startswith(b"banner")]
        seen.append((done.returncode, banner, done.stderr.replace(b"\r", b"")))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "AuthenticationMethods password\nPasswordAuthentication no",
            "AuthenticationMethods cannot be satisfied by enabled authentication methods",
        ),
        (
            "AuthorizedKeysCommand /x",
            "AuthorizedKeysCommand set without AuthorizedKeysCommandUser",
        ),
        (
            "AuthorizedPrincipalsCommand /x",
            "AuthorizedPrincipalsCommand set without AuthorizedPrincipalsCommandUser",
        ),
        ("AuthorizedKeysCommand x", "must be an absolute path"),
        ("Match user a\nPort 2", "line 2: Directive 'Port' is not allowed within a Match block"),
        ("Match user a\nPubkeyAcceptedAlgorithms bogus", "line 2: "),
        ("Match user a\nCASignatureAlgorithms bogus", "line 2: "),
        ("HostbasedAcceptedAlgorithms bogus", "line 1: "),
    ],
)
@pytest.mark.parametrize("mode", ["-t", "-T"])
@pytest.mark.peer("sshd")
def test_what_makes_no_sense_is_refused_where_opensshs_refuses_it(
    place: Place, lines: str, said: str, mode: str
) -> None:
    place.config.write_text(f"{lines}\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    # Sense comes before keys: there is none.
    for program in ([find("sshd")], SSHD):
        done = subprocess.run(
            [*program, mode, "-f", place.config, "-h", "/nonexistent/key"],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 255
        assert said in done.stderr.decode()


def test_g_judges_what_t_does_but_for_keys(place: Place) -> None:
    place.config.write_text("AuthorizedKeysCommand /x\n")
    assert said_by("-G", "-f", place.config, status=255) == ""
    place.config.write_text("Match All\n  Banner /x\n")
    assert "banner /x" in said_by("-G", "-f", place.config)


def my_group() -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam(ME).pw_gid).gr_name


def test_g_needs_no_host_key_and_t_does(place: Place) -> None:
    place.host_key.path.unlink()
    assert "maxsessions 10" in said_by("-G", "-f", place.config)
    assert said_by("-T", "-f", place.config, status=1) == ""


# One line and the status that OpenSSH's has


def faults(place: Place) -> dict[str, tuple[Sequence[str | Path], int, str]]:
    """The words behind ``sshd``, the exit status, and what the one line is."""
    config, folder = place.config, place.directory

    def written(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        return path

    opened = make_key(folder / "open_key").path
    opened.chmod(0o640)
    junk = written("junk_key", "no key\n")
    junk.chmod(0o600)
    directory = folder / "a_directory"
    directory.mkdir()
    none = ("-f", "none")
    no_key = r"Unable to load host key.*\nsshd: no hostkeys available -- exiting\."
    return {
        "no such flag": (["-z"], 1, r"unknown option -- z\nusage: tellin sshd (.|\n)*"),
        "a flag without its value": (["-f"], 1, r"option requires an argument -- f\nusage(.|\n)*"),
        "an argument": (["-t", "-f", config, "x"], 1, r"Extra argument x\.\nusage(.|\n)*"),
        "a bad port": (["-t", "-p", "99999"], 1, r"Bad port number\."),
        "no file": (["-t", "-f", "/nonexistent/c"], 1, "/nonexistent/c: No such file or directory"),
        "a directory": (["-t", "-f", directory], 255, ".*/a_directory: .+"),
        "an unknown keyword": (
            ["-t", "-f", written("c1", "Port 22\nPermitRotLogin no\n")], 255,
            (r".*/c1 line 2: Bad configuration option: PermitRotLogin"
            r" \(did you mean PermitRootLogin.*\?\)"),
        ),
        "an unknown option": (
            ["-t", "-o", "Foo=bar"], 1, "command-line: Bad configuration option: Foo",
        ),
        "a bad value of an option": (
            ["-t", "-o", "LoginGraceTime=x"], 255, "command-line: LoginGraceTime: 'x' is not .*",
        ),
        "a bad value": (
            ["-t", "-f", written("c2", "\nMaxAuthTries many\n")], 255,
            ".*/c2 line 2: MaxAuthTries: 'many' is not a number .*",
        ),
        "a bad cipher": (
            ["-t", *none, "-h", place.host_key.path, "-o", "Ciphers=aes128-ctr,aes129-ctr"], 255,
            "command-line: Ciphers: unknown cipher 'aes129-ctr' .*",
        ),
        "a bad cipher and no host key": (
            ["-t", *none, "-h", "/nonexistent/k", "-o", "Ciphers=aes129-ctr"], 255,
            "command-line: Ciphers: unknown cipher 'aes129-ctr' .*",
        ),
        "R114: a bad algorithm in a block": (
            ["-t", "-f", written("c5", "Match User x\nPubkeyAcceptedAlgorithms ssh-ed2551\n")], 255,
            (r".*/c5 line 2: PubkeyAcceptedAlgorithms: unknown key algorithm 'ssh-ed2551'"
            r" \(did you mean ssh-ed25519.*\?\)"),
        ),
        "a bad Match": (
            ["-t", "-f", written("c3", "Match Bogus x\n")], 255, ".*/c3 line 1: .*Bogus.*",
        ),
        "a keyword to come": (
            ["-t", "-f", written("c4", "UsePAM yes\n")], 255,
            r".*/c4 line 1: UsePAM is not supported .*",
        ),
        "no host key": (["-t", *none, "-h", "/nonexistent/k"], 1, no_key),
        "a host key that others may read": (
            ["-t", *none, "-h", opened], 1,
            (r'Unable to load host key ".*/open_key": bad permissions: 0640 .*\n'
            r"sshd: no hostkeys available -- exiting\."),
        ),
        "a host key that is none": (["-t", *none, "-h", junk], 1, no_key),
        "no log file": (
            ["-t", "-f", config, "-E", "/nonexistent/l"], 1,
            "Couldn't open logfile /nonexistent/l: No such file or directory",
        ),
        "a bad connection": (
            ["-T", "-f", config, "-C", "bogus=1"], 1, "Invalid test mode specification bogus=1",
        ),
        "a bad port of a connection": (
            ["-T", "-f", config, "-C", "lport=99999"], 1,
            "Invalid port '99999' in test mode specification lport=99999",
        ),
        "a connection without a test": (
            ["-f", config, "-C", "user=x"], 255,
            r"Config test connection parameter \(-C\) provided without test mode \(-T\)",
        ),
        "no address": (
            ["-D", "-e", "-f", config, "-o", "ListenAddress=192.0.2.1"], 255,
            (rf"Bind to port {place.port} on 192\.0\.2\.1 failed: Cannot assign requested address\.\n"
            r"Bind to port .* in use\.\nCannot bind any address: Address already in use\."),
        ),
    }  # fmt: skip


FAULTS = (
    "no such flag", "a flag without its value", "an argument", "a bad port", "no file",
    "a directory", "an unknown keyword", "an unknown option", "a bad value of an option",
    "a bad value", "a bad cipher", "a bad cipher and no host key",
    "R114: a bad algorithm in a block", "a bad Match",
    "a keyword to come", "no host key",
    "a host key that others may read", "a host key that is none", "no log file",
    "a bad connection", "a bad port of a connection", "a connection without a test", "no address",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_in_its_line_and_status(place: Place, fault: str) -> None:
    known = faults(place)
    assert tuple(known) == FAULTS
    words, status, line = known[fault]
    with socket.create_server(("127.0.0.1", place.port)):
        done = tellin("sshd", *words)
    said = done.stderr.decode().replace("\r\n", "\n")
    assert re.fullmatch(line + r"\n?", said), said
    assert done.returncode == status
    assert done.stdout == b""


@pytest.mark.parametrize("fault", [one for one in FAULTS if one != "a keyword to come"])
@pytest.mark.peer("sshd")
def test_opensshs_ends_with_the_same_status(place: Place, fault: str) -> None:
    words, status, _ = faults(place)[fault]
    if fault == "a directory":
        pytest.skip("OpenSSH reads a directory as an empty file")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.create_server(("127.0.0.1", place.port)):
        done = subprocess.run(
            [find("sshd"), *map(str, words)], capture_output=True, check=False, timeout=20
        )
    assert done.returncode == status, done.stderr


def test_case_330_a_port_in_use_is_said_as_opensshs_says_it(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.port)):
        done = tellin("sshd", "-D", "-e", "-f", place.config)
    assert done.returncode == 255
    assert done.stderr.decode().split("\r\n") == [
        f"Bind to port {place.port} on 127.0.0.1 failed: Address already in use.",
        "Cannot bind any address: Address already in use.",
        "",
    ]


def test_a_fault_goes_to_the_log_file_if_there_is_one(place: Place) -> None:
    log = place.directory / "log"
    place.config.write_text("Bogus yes\n")
    done = tellin("sshd", "-D", "-f", place.config, "-E", log)
    assert (done.returncode, done.stderr) == (255, b"")
    assert "sshd_config line 1: Bad configuration option: Bogus" in log.read_text()


def test_v_says_which_version(place: Place) -> None:
    done = tellin("sshd", "-V")
    assert done.returncode == 0
    assert re.fullmatch(rb"tellin_[0-9.]+\n", done.stderr)


def test_one_bad_host_key_costs_no_other(place: Place) -> None:
    with place.serving("-D", "-e", "-h", "/nonexistent/key") as child:
        assert 'Unable to load host key "/nonexistent/key": No such file' in child.log()
        assert place.works()


def test_a_pid_file_that_cannot_be_written_is_said_and_no_more(place: Place) -> None:
    place.pid_file = place.directory / "nonexistent" / "pid"
    place.config = place.write()
    with place.serving("-D", "-e") as child:
        until(lambda: "Couldn't create pid file" in child.log(), child)
        assert place.works()


def test_a_server_without_a_pid_file_writes_none(place: Place) -> None:
    before = set(place.directory.iterdir())
    with place.serving("-D", "-e", "-o", "PidFile=none"):
        assert place.works()
    assert {path.name for path in set(place.directory.iterdir()) - before} == {"stderr"}


# Clients


@pytest.mark.peer("ssh")
def test_opensshs_client_logs_in_and_runs_a_command(place: Place) -> None:
    with place.serving("-D", "-e"):
        client = OpenSSHClient(place.directory)
        done = client.run(place.target, "cat; echo err >&2; exit 44", input=bytes(100_000))
        assert (done.status, done.stdout, done.stderr) == (44, bytes(100_000), b"err\n")
        done = client.run(place.target, "stty size; exit 3", pty=True)
        assert done.status == 3


def test_tellins_client_logs_in_and_runs_a_command(place: Place) -> None:
    with place.serving("-D", "-e"):
        done = TellinClient(place.directory).run(place.target, "cat; exit 44", input=b"x" * 9)
        assert (done.status, done.stdout) == (44, b"x" * 9)


def test_every_kind_of_host_key_is_served(place: Place) -> None:
    keys: dict[str, KeyFile] = {
        kind: make_key(place.directory / f"host_{kind}", kind) for kind in ("rsa", "ecdsa256")
    }
    words = [word for key in keys.values() for word in ("-h", str(key.path))]
    with place.serving("-D", "-e", *words, "-o", "HostKeyAlgorithms=+ecdsa-sha2-nistp256"):
        for algorithm, key in (
            ("rsa-sha2-512", keys["rsa"]),
            ("rsa-sha2-256", keys["rsa"]),
            ("ecdsa-sha2-nistp256", keys["ecdsa256"]),
            ("ssh-ed25519", place.host_key),
        ):
            with Caller(place.port, host_key_algorithms=(algorithm,)) as caller:
                caller.log_in(ME, place.key)
                assert caller.core.host_key == key.blob


@pytest.mark.peer("ssh-audit")
def test_ssh_audit_finds_nothing_but_curve25519s_age(place: Place) -> None:
    import json
    import sys

    keys = [make_key(place.directory / f"host_{kind}", kind) for kind in ("rsa", "ecdsa256")]
    words = [word for key in keys for word in ("-h", str(key.path))]
    with place.serving("-D", "-e", *words):
        done = subprocess.run(
            [sys.executable, "-m", "ssh_audit", "--json", "-p", str(place.port), "127.0.0.1"],
            capture_output=True,
            check=False,
            timeout=60,
        )
    found = json.loads(done.stdout)
    notes = [
        (level, kind, entry["algorithm"], text)
        for kind in ("kex", "key", "enc", "mac")
        for entry in found[kind]
        for level in ("fail", "warn")
        for text in entry.get("notes", {}).get(level, ())
    ]
    assert len(found["kex"]) >= 2
    assert not [note for note in notes if note[0] == "fail"]
    warned = {name for level, _, name, _ in notes if level == "warn"}
    assert warned <= {"curve25519-sha256", "curve25519-sha256@libssh.org"}
    assert not found.get("cves")
    recommended = found.get("recommendations", {})
    assert not recommended.get("critical", {}).get("del")
