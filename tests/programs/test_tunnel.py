# SPDX-License-Identifier: MIT
import asyncio
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.children import Child
from tests.interop.target import free_port
from tests.interop.tellin_peer import TELLIN
from tests.interop.test_forwarding import ask_by_socks, echo, service
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, awaited

import tellin
from tellin.errors import ConfigError
from tellin.programs.command import Failure
from tellin.programs.tunnels import status as tunnel_status
from tellin.programs.tunnels.plan import gather_plans
from tellin.programs.tunnels.program import run
from tellin.programs.tunnels.status import StatusPlace, duration, lines, running
from tellin.runtime.supervisor import watchdog_seconds


class Home:
    """A configuration, and what runs by it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        key = folder / "key"
        key.write_bytes(USER_KEY.to_openssh())
        key.chmod(0o600)
        line = HOST_KEY.public.to_line().rsplit(" ", 1)[0]
        (folder / "known").write_text(f"[127.0.0.1]:{port} {line}\n", "ascii")
        self.listening = free_port()
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.told.settimeout(60)
        self.environment = {
            **os.environ,
            "TELLIN_RUNTIME_DIR": str(folder / "run"),
            "NOTIFY_SOCKET": str(folder / "notify"),
        }
        self._children: list[Child] = []

    def configure(self, *more: str, host: str = "one", keyword: str = "") -> None:
        """A host with a tunnel, and what else there is to be."""
        keyword = keyword or f"LocalForward 127.0.0.1:{self.listening} 127.0.0.1:9"
        text = (
            f"Host {host}\n HostName 127.0.0.1\n Port {self.port}\n User someone\n"
            f" IdentityFile {self.folder}/key\n UserKnownHostsFile {self.folder}/known\n"
            f" {keyword}\n"
        )
        (self.folder / "config").write_text("\n".join([text, *more]), "utf-8")

    def start(self, *words: str, **environment: str) -> Child:
        config = () if "-F" in words else ("-F", self.folder / "config")
        argv = [*TELLIN, "tunnel", *config, "-w", "1", *words]
        log = self.folder / f"log{len(self._children)}"
        made = Child(argv, log=log, env={**self.environment, **environment})
        self._children.append(made)
        return made

    def hears(self, word: str) -> None:
        """Return when the supervisor is told that."""
        while word not in self.told.recv(4096).decode().splitlines():
            continue

    def status(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TELLIN, "tunnel", "--status", *words],
            env=self.environment, capture_output=True, check=False, text=True,
        )  # fmt: skip

    def stop(self) -> None:
        for child in self._children:
            child.stop()
        self.told.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Home]:
    with tellin.blocking.serve(
        host_keys=[HOST_KEY],
        authorized_keys=USER_KEY.public,
        session=lambda process: 0,
        permit_listen=["*:*"],
    ) as server:
        made = Home(tmp_path, server.port)
        yield made
        made.stop()


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_tunnel_runs_by_its_host_block_and_tells_its_supervisor_and_whoever_asks(
    served: Home,
) -> None:
    served.configure("Host two\n HostName 127.0.0.1\n Port 1\n DynamicForward 127.0.0.1:1")
    assert served.status().stdout == "no tunnel runs\n"
    child = served.start("one", WATCHDOG_USEC="60000000")
    served.hears("WATCHDOG=1")
    served.hears("STATUS=1 of 1 tunnels up")
    served.hears("READY=1")
    # Whoever comes cannot be led to where nobody is, and hears so.
    with (
        socket.create_connection(("127.0.0.1", served.listening), timeout=60) as stream,
        pytest.raises(ConnectionResetError),
    ):
        stream.recv(1)
    done = served.status("--json")
    assert done.returncode == 0
    (found,) = json.loads(done.stdout)
    assert (found["name"], found["state"], found["connected"]) == ("one", "up", 1)
    assert found["pid"] == child.process.pid
    assert found["forwards"] == [
        {
            "kind": "local",
            "listen": f"[127.0.0.1]:{served.listening}",
            "to": "[127.0.0.1]:9",
            "turned_away": 0,
        }
    ]
    done = served.status("one")
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert first.split()[:3] == ["one", "up", "for"]
    assert f"someone@127.0.0.1 port {served.port}, 0 open" in first
    assert second == f"       [127.0.0.1]:{served.listening} -> [127.0.0.1]:9"
    done = served.status("one", "two")
    assert (done.returncode, done.stderr) == (1, "tunnel: two does not run\n")
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(60) == 0
    served.hears("STOPPING=1")
    assert child.log().splitlines() == [
        f"one: up: someone@127.0.0.1 port {served.port}",
        "one: closed",
    ]
    assert not list((served.folder / "run").iterdir())
    assert (served.folder / "run").stat().st_mode & 0o777 == 0o700


def test_a_signal_has_the_configuration_read_again_and_what_has_not_changed_goes_on(
    served: Home,
) -> None:
    other, third = free_port(), free_port()
    tagged = f"Host two\n Tag tunnel\n HostName 127.0.0.1\n Port 1\n DynamicForward {other}\n"
    served.configure("Match all\n Tag tunnel\n", tagged)
    child = served.start("--all")
    served.hears("READY=1")
    # It is up, or waits for the next try.
    wait_for(lambda: "one: up:" in child.log() and "two: down:" in child.log())
    (_, two) = json.loads(served.status("-j").stdout)
    assert (two["state"] in {"waiting", "connecting"}, two["tries"] > 0) == (True, True)
    assert "Connection refused" in two["error"]
    served.configure("Match all\n Tag tunnel\n", tagged.replace(str(other), str(third)))
    child.process.send_signal(signal.SIGHUP)
    served.hears("READY=1")
    wait_for(lambda: "configuration read: 2 tunnels" in child.log())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", other))
    socket.create_connection(("127.0.0.1", third)).close()
    assert child.log().count("one: ") == 1
    # A mistake changes nothing.
    served.configure("Match nonsense\n")
    child.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the configuration stays as it was: " in child.log())
    # What is not there any more is ended.
    served.configure("Match all\n Tag tunnel\n")
    child.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "configuration read: 1 tunnels" in child.log())
    assert [one["name"] for one in json.loads(served.status("-j").stdout)] == ["one"]


def test_what_ssh_says_on_its_command_line_is_said_here_too(served: Home) -> None:
    """Without a configuration: -i, -l, -p, -L, -o and -v, before the host."""
    own = free_port()
    served.configure(keyword=f"LocalForward 127.0.0.1:{own} 127.0.0.1:1")
    flags = [
        "-vN", "-F", "none", "-i", str(served.folder / "key"), "-l", "someone",
        "-p", str(served.port), "-L", f"127.0.0.1:{served.listening}:127.0.0.1:9",
        "-o", f"UserKnownHostsFile={served.folder}/known",
    ]  # fmt: skip
    child = served.start(*flags, "127.0.0.1")
    child.wait_for_log(f"127.0.0.1: up: someone@127.0.0.1 port {served.port}\n")
    (found,) = json.loads(served.status("-j").stdout)
    assert [one["listen"] for one in found["forwards"]] == [f"[127.0.0.1]:{served.listening}"]
    child.process.send_signal(signal.SIGINT)
    assert child.process.wait(60) == 0
    # What is said there comes before what the Host block says, and what it does not say stays.
    file = served.folder / "config"
    file.write_text(
        file.read_text()
        .replace(f"Port {served.port}", f"Port {free_port()}")
        .replace("User someone", "User nobody")
    )
    more = str(free_port())
    child = served.start(f"-oPort={served.port}", "-o", "User someone", "-D", more, "one")
    child.wait_for_log(f"one: up: someone@127.0.0.1 port {served.port}\n")
    (found,) = json.loads(served.status("-j").stdout)
    assert [one["kind"] for one in found["forwards"]] == ["local", "dynamic"]


def test_what_a_killed_tunnel_has_left_behind_does_not_keep_the_next_from_beginning(
    served: Home,
) -> None:
    place = served.folder / "s"
    served.configure(keyword=f"LocalForward {place} 127.0.0.1:9")
    first = served.start("one")
    first.wait_for_log("one: up: ")
    first.process.kill()
    first.process.wait(60)
    left = place.stat()
    # It may have been made in this second: then it might be somebody's who is about to listen.
    os.utime(place, (left.st_atime - 9, left.st_mtime - 9))
    served.start("one").wait_for_log("one: up: ")
    assert place.stat().st_mtime > left.st_mtime - 9
    # Where somebody listens nothing is taken away, though he is no tunnel of ours.
    theirs = served.folder / "t"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(theirs))
        other.listen()
        os.utime(theirs, (left.st_atime - 9, left.st_mtime - 9))
        served.configure(keyword=f"LocalForward {theirs} 127.0.0.1:9")
        second = served.start("one")
        assert second.process.wait(60) == 255
        assert "Address already in use" in second.log()
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(theirs))


def test_a_tunnel_of_which_one_runs_already_is_refused(served: Home) -> None:
    """It would wait for the first one's ports on the server, and take them when that blinks."""
    keyword = f"RemoteForward 127.0.0.1:{served.listening} 127.0.0.1:9"
    served.configure(keyword=keyword)
    first = served.start("one")
    first.wait_for_log("one: up: ")
    second = served.start("one")
    assert second.process.wait(60) == 255
    assert second.log() == f"one: it runs already, in process {first.process.pid}\n"
    # Another host, and the same one with other ports, are other tunnels.
    third = served.start("-oClearAllForwardings=no", "-R", "127.0.0.1:0:127.0.0.1:9", "one")
    third.wait_for_log("one: up: ")
    # One that was killed is none.
    first.process.kill()
    first.process.wait(60)
    fourth = served.start("one")
    fourth.wait_for_log("one: up: ")
    fourth.process.send_signal(signal.SIGTERM)
    assert fourth.process.wait(60) == 0
    fifth = served.start("one")
    fifth.wait_for_log("one: up: ")
    # What is read again is the same tunnel, and no second one.
    fifth.process.send_signal(signal.SIGHUP)
    fifth.wait_for_log("configuration read: 1 tunnels")
    served.configure("Match all\n ServerAliveInterval 20\n", keyword=keyword)
    fifth.process.send_signal(signal.SIGHUP)
    wait_for(lambda: fifth.log().count("one: up: ") == 2)


def test_r146_permit_remote_open_bounds_where_socks_from_the_server_leads(served: Home) -> None:
    with service(echo, 0) as allowed, service(echo, 0) as other:
        served.configure(
            keyword=f"RemoteForward 127.0.0.1:{served.listening}\n"
            f" PermitRemoteOpen localhost:{allowed} 127.0.0.1:{allowed}"
        )
        child = served.start("one")
        wait_for(lambda: json.loads(served.status("-j").stdout or "[]"))
        wait_for(lambda: json.loads(served.status("-j").stdout)[0]["forwards"][0]["listening"])
        for version, host, port, granted in (
            ("5", "127.0.0.1", allowed, True),
            ("5", "127.0.0.1", other, False),
            ("4a", "localhost", allowed, True),
            ("4a", "localhost", other, False),
        ):
            with socket.create_connection(("127.0.0.1", served.listening), timeout=60) as stream:
                answer = ask_by_socks(stream, version, host, port)
                assert (answer[1] in {0, 0x5A}) is granted
                if granted:
                    stream.sendall(b"hello")
                    assert stream.recv(5) == b"hello"
    assert child.running()


def test_a_supervisor_hears_of_readiness_of_changes_and_of_life_all_the_while(
    served: Home,
) -> None:
    """By datagrams, each with the process that they are about; a first try that fails is one, too."""
    dead, place = free_port(), free_port()
    served.configure(f"Host two\n HostName 127.0.0.1\n Port {dead}\n DynamicForward {place}\n")
    child = served.start("one", "two", WATCHDOG_USEC="200000")
    heard: list[str] = []

    def hear() -> None:
        *words, pid = served.told.recv(4096).decode().splitlines()
        assert pid == f"MAINPID={child.process.pid}"
        heard.extend(words)

    while heard.count("WATCHDOG=1") < 4 or {"READY=1", "STATUS=1 of 2 tunnels up"} - {*heard}:
        hear()
    assert heard.index("READY=1") > heard.index("STATUS=0 of 2 tunnels up")
    child.process.send_signal(signal.SIGHUP)
    while heard.count("READY=1") < 2:
        hear()
    # With the time that systemd tells one reload from another by (Type=notify-reload).
    again = heard[heard.index("RELOADING=1") + 1]
    assert again.removeprefix("MONOTONIC_USEC=").isdecimal()
    child.process.send_signal(signal.SIGTERM)
    while "STOPPING=1" not in heard:
        hear()
    assert child.process.wait(60) == 0
    # One that nobody listens to any more is no reason to end.
    (served.folder / "notify").unlink()
    child = served.start("one")
    child.wait_for_log("one: up: ")


def test_a_server_that_says_nothing_more_does_not_keep_the_program_from_ending(
    served: Home,
) -> None:
    served.configure()
    child = served.start("one")
    child.wait_for_log("one: up: ")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = served.folder / "config"
        file.write_text(
            file.read_text().replace(f"Port {served.port}", f"Port {silent.getsockname()[1]}")
        )
        child.process.send_signal(signal.SIGHUP)
        # On its way to somebody who listens and says nothing.
        silent.settimeout(60)
        reached, _ = silent.accept()
        with reached:
            child.process.send_signal(signal.SIGTERM)
            assert child.process.wait(60) == 0


def test_what_no_waiting_mends_ends_the_program(served: Home) -> None:
    line = OTHER_KEY.public.to_line().rsplit(" ", 1)[0]
    (served.folder / "known").write_text(f"[127.0.0.1]:{served.port} {line}\n", "ascii")
    served.configure()
    child = served.start("one")
    assert child.process.wait(60) == 255
    assert child.log().startswith("one: given up: ")
    with socket.create_server(("127.0.0.1", served.listening)):
        child = served.start("one")
        assert child.process.wait(60) == 255
        assert child.log().startswith("one: cannot listen: Address already in use")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "^$"),
        (["--json", "a"], "^$"),
        (["-x"], "unknown option"),
        (["-w", "0", "a"], "no number of seconds"),
        (["-w", "nan", "a"], "no number of seconds"),
        (["-w", "much", "a"], "no number of seconds"),
        (["-F", "none", "a"], "nothing is forwarded"),
        (["-F", "none", "--all"], "no host of the configuration is tagged"),
        (["-F", "none", "a;b"], "invalid host name"),
        (["-F", "none", "-o", "LocalForwards 1 x:1", "a"], "LocalForwards"),
        (["-F", "none", "-L", "nonsense", "a"], "Bad local forwarding specification"),
        (["-F", "none", "-D", "1", "-oClearAllForwardings=yes", "a"], "nothing is forwarded"),
        (["-F", "none", "-D", "1", "a", "b"], "-D, -L and -R go with one host"),
        (["-D", "1", "--all"], "-D, -L and -R go with one host"),
        (["-F", "none", "-o"], "option requires an argument"),
    ],
)
def test_what_cannot_be_begun_is_said(words: list[str], said: str) -> None:
    with pytest.raises((Failure, tellin.TellinError), match=said):
        run(words)


def test_tagged_hosts_are_those_that_are_named_in_full(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "Host a b *.example !c\n Tag tunnel\n LocalForward 1 x:1\nHost d\n DynamicForward 2\n"
        "Host e\n Tag other\n RemoteForward 3 x:1\n",
        "utf-8",
    )
    (tmp_path / "config").chmod(0o600)
    file = str(tmp_path / "config")
    assert [plan.name for plan in gather_plans([], tagged=True, file=file)] == ["a", "b"]
    plans = gather_plans(["ssh://me@d:22", "a"], tagged=True, file=file)
    assert [plan.name for plan in plans] == ["ssh://me@d:22", "a", "b"]
    assert not plans[0].same(plans[1])
    assert plans[1].same(gather_plans(["a"], tagged=False, file=file)[0])
    with pytest.raises(ConfigError, match="nothing is forwarded"):
        gather_plans(["c"], tagged=False, file=file)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
        (3600 * 4 + 601, "4 h 10 min"), (86400 * 3 + 7200, "3 d 2 h"),
    ],
)  # fmt: skip
def test_a_time_is_shown_by_its_two_largest_parts(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_r036_what_a_server_says_cannot_steer_the_terminal_of_who_asks() -> None:
    one = {
        "name": "a\33[2J", "state": "waiting", "seconds": 1, "next_try": 2, "error": "no\33]0;x\7",
        "forwards": [],
    }  # fmt: skip
    (line,) = lines([one])
    assert "\33" not in line
    assert "\7" not in line


def test_r159_who_was_killed_and_who_talks_nonsense_are_no_tunnels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "run"
    monkeypatch.setenv(tunnel_status.DIRECTORY, str(place))
    assert running() == []
    place.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(place / "tunnel.1"))
    # A directory that others can enter is not believed, and nothing in it is touched.
    assert running() == []
    assert (place / "tunnel.1").exists()
    place.chmod(0o700)
    assert running() == []
    assert not (place / "tunnel.1").exists()
    for said in (b"", b"{", b"[]", b'{"tunnels": 5}', b"null"):
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(str(place / "tunnel.2"))
            line.listen()

            import threading

            def tell(line: socket.socket = line, said: bytes = said) -> None:
                other, _ = line.accept()
                with other:
                    other.sendall(said)

            telling = threading.Thread(target=tell)
            telling.start()
            assert running() == []
            telling.join()
        (place / "tunnel.2").unlink()


_ASKING = """
import socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.settimeout(60)
    line.connect(sys.argv[1])
    print(line.recv(100))
"""


def _open_up(socket: str) -> None:
    """Let everybody have it."""
    Path(socket).chmod(0o666)
    Path(socket).parent.chmod(0o755)


@pytest.mark.root
@awaited
async def test_r159_another_user_is_told_nothing_even_where_the_files_let_him_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="tellin-") as folder:
        monkeypatch.setenv(tunnel_status.DIRECTORY, folder)
        place = StatusPlace(lambda: {"tunnels": []})
        place.open()
        _open_up(place.path)

        async def ask(**who: Any) -> bytes:
            done = await asyncio.to_thread(
                subprocess.run, ["/usr/bin/python3", "-c", _ASKING, place.path],
                cwd="/", capture_output=True, check=True, timeout=60, **who,
            )  # fmt: skip
            return bytes(done.stdout)

        assert await ask(user=65534, group=65534, extra_groups=[]) == b"b''\n"
        assert await ask() == b"b'{\"tunnels\": []}'\n"
        place.close()


@awaited
async def test_r145_a_tunnel_listens_for_its_own_machine_alone_unless_it_is_told_otherwise(
    tmp_path: Path,
) -> None:
    async def hosts(*more: str) -> set[str]:
        lines = "\n".join(("Host a", f"DynamicForward {free_port()}", *more))
        (tmp_path / "config").write_text(lines, "utf-8")
        (plan,) = gather_plans(["a"], tagged=False, file=str(tmp_path / "config"))
        listening = await plan.listen(plan.here[0])
        found = {one.getsockname()[0] for one in listening}
        for one in listening:
            one.close()
        return found

    assert await hosts() <= {"127.0.0.1", "::1"}
    assert await hosts("GatewayPorts yes") & {"0.0.0.0", "::"}  # noqa: S104 - what is looked for


def test_r016_a_host_that_nobody_knows_is_not_trusted_because_nobody_is_there_to_be_asked(
    served: Home,
) -> None:
    (served.folder / "known").write_text("", "ascii")
    served.configure()
    child = served.start("one")
    assert child.process.wait(60) == 255
    assert child.log().startswith("one: given up: ")
    assert (served.folder / "known").read_text("ascii") == ""
    served.configure("Match all\n StrictHostKeyChecking accept-new\n")
    child = served.start("one")
    child.wait_for_log("one: up: ")
    assert (served.folder / "known").read_text("ascii") != ""


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 30}, None),
    ],
)
def test_a_watchdog_is_fed_if_it_is_ours(
    environment: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds
