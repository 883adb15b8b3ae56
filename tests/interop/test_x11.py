# SPDX-License-Identifier: MIT
"""X11 through clients and servers of both: windows on a display without a screen, and who is kept off it."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.agents import PROGRAMS
from tests.interop.servers import OpenSSHServer, Server
from tests.interop.target import make_key
from tests.interop.tellin_peer import TellinServer
from tests.library import HOST_KEY, awaited

import tellin

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "windows.py"
openssh = pytest.mark.peer("openssh", "sshd")
pytestmark = pytest.mark.peer("xvfb")
SECONDS = 60
PAIRS = pytest.mark.parametrize(
    ("client", "server"),
    [
        pytest.param("tellin", "sshd", marks=openssh),
        pytest.param("openssh", "tellin", marks=openssh),
        pytest.param("tellin", "tellin", marks=pytest.mark.slow),
    ],
)
# What OpenSSH says to the same is for `make test-all` to hold beside ours.
EITHER = pytest.mark.parametrize(
    "client", ["tellin", pytest.param("openssh", marks=[openssh, pytest.mark.slow])]
)
# What a program says to whom the display answers.
NAMED = re.compile(r"name of display: +localhost:\d+\.0\n")
LOOK = "xdpyinfo | grep 'name of display'"
# Debian's OpenSSH trusts everybody unless it is told not to.
NOT_TRUSTED = ("-X", "-o", "ForwardX11Trusted=no")
Servers = Callable[[str], Server]


class Screen:
    """An X server that draws nowhere, and lets in who knows its cookie."""

    def __init__(self, directory: Path) -> None:
        self.authority = directory / "authority"
        self.authority.touch(0o600)
        # The number is not known yet: a server looks at the cookie alone.
        self._write(":0")
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            # It forgets what it knows when the last program leaves, unless it is told not to.
            ["Xvfb", "-displayfd", str(writing), "-auth", str(self.authority), "-noreset",
             "-nolisten", "tcp", "-screen", "0", "64x64x8", "+extension", "SECURITY"],
            pass_fds=[writing],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writing)
        with os.fdopen(reading) as told:
            self.name = f":{told.readline().strip()}"
        self._write(self.name)
        self.environment = {"DISPLAY": self.name, "XAUTHORITY": str(self.authority)}

    def _write(self, name: str) -> None:
        cookie = "0123456789abcdef" * 2
        words = ["xauth", "-f", self.authority, "add", name, ".", cookie]
        subprocess.run(words, check=True, capture_output=True, timeout=SECONDS)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    made = Screen(tmp_path_factory.mktemp("screen"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers that forward X11, and keep the cookies of the tests out of their owner's files."""
    started: dict[str, Server] = {}

    def server(name: str) -> Server:
        if name not in started:
            directory = tmp_path_factory.mktemp(name)
            # There already: xauth tells of files that it makes, and sshd hands that on.
            cookies = directory / "cookies"
            cookies.touch(0o600)
            options = {
                "X11Forwarding": "yes",
                "X11DisplayOffset": "500",
                "SetEnv": f"XAUTHORITY={cookies}",
            }
            kind = TellinServer if name == "tellin" else OpenSSHServer
            started[name] = kind(directory, options=options).start()
        return started[name]

    yield server
    for one in started.values():
        one.stop()


class Run:
    """How a client runs commands on one server, with the screen's display as its own."""

    def __init__(self, client: str, server: Server, screen: Screen, directory: Path) -> None:
        self.client = client
        self.server = server
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SSH_")},
            **screen.environment,
        }
        self.known = directory / "known"
        self.known.write_text(server.target.known_hosts(), "ascii")

    def __call__(self, command: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *PROGRAMS[self.client]["ssh"], *flags,
                "-F", "none", "-p", str(self.server.port), "-l", self.server.user,
                "-o", f"UserKnownHostsFile={self.known}", "-o", "GlobalKnownHostsFile=none",
                "-o", "BatchMode=yes", "-i", str(self.server.identity.path),
                "127.0.0.1", command,
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )  # fmt: skip


@pytest.fixture
def run(
    client: str, request: pytest.FixtureRequest, servers: Servers, screen: Screen, tmp_path: Path
) -> Run:
    name = request.getfixturevalue("server") if "server" in request.fixturenames else "tellin"
    return Run(client, servers(name), screen, tmp_path)


@PAIRS
def test_programs_there_show_windows_here(run: Run, client: str, server: str) -> None:
    """Trusted (`-Y`), not trusted (`-X`, ForwardX11), or not at all."""
    done = run(f"{LOOK}; xdpyinfo | grep -c SECURITY; {LOOK}", "-Y")
    assert len(NAMED.findall(done.stdout)) == 2, done.stderr
    # Who is trusted sees all extensions; others do not get at those of the display's keeper.
    assert "\n1\n" in done.stdout
    assert done.stderr == ""
    done = run(f"{LOOK}; xdpyinfo | grep -c SECURITY", *NOT_TRUSTED)
    assert NAMED.match(done.stdout), done.stderr
    assert done.stdout.endswith("\n0\n")
    assert done.stderr == ""
    assert run("echo =$DISPLAY=", "-Y", "-x").stdout == "==\n"


@PAIRS
def test_a_forged_cookie_does_not_reach_the_display(run: Run, client: str, server: str) -> None:
    # As long as the right one, and all that is wrong with it is what it says.
    forged = (
        "export XAUTHORITY=$(mktemp); xauth add unix:${DISPLAY#*:} . " + "00" * 16 + "; xdpyinfo;"
        ' rm "$XAUTHORITY"'
    )
    done = run(forged, "-Y")
    assert "X11 connection rejected because of wrong authentication." in done.stderr
    assert "name of display" not in done.stdout
    # And no cookie at all.
    done = run("XAUTHORITY=/dev/null xdpyinfo", "-Y")
    assert "X11 connection rejected because of wrong authentication." in done.stderr
    assert "name of display" not in done.stdout


@EITHER
def test_r144_what_comes_after_forward_x11_timeout_is_refused(run: Run, client: str) -> None:
    """CVE-2015-5352: whatever the display still thinks of the cookie."""
    late = "while xdpyinfo >/dev/null 2>&1; do sleep 0.1; done; echo late"
    done = run(late, *NOT_TRUSTED, "-v", "-o", "ForwardX11Timeout=2")
    assert done.stdout == "late\n"
    assert "Rejected X11 connection after ForwardX11Timeout expired" in done.stderr
    # Whoever is trusted may go on.
    assert "late" not in run("xdpyinfo >/dev/null || echo late", "-Y").stdout


@EITHER
def test_without_xauth_windows_are_shown_to_those_who_are_trusted_alone(
    run: Run, client: str
) -> None:
    """R144: by ForwardX11Trusted and XAuthLocation; no cookie is no reason to give out the real one."""
    none = "XAuthLocation=/nonexistent/xauth"
    done = run("echo =$DISPLAY=", "-o", none, "-o", "ForwardX11=yes", "-o", "ForwardX11Trusted=no")
    assert done.stdout == "==\n"
    assert (
        "Warning: untrusted X11 forwarding setup failed: xauth key data not generated"
        in done.stderr
    )
    done = run("echo $DISPLAY", "-o", none, "-o", "ForwardX11=yes", "-o", "ForwardX11Trusted=yes")
    assert done.stdout.startswith("localhost:")
    assert (
        "Warning: No xauth data; using fake authentication data for X11 forwarding." in done.stderr
    )


@EITHER
def test_a_server_that_forwards_no_x11_says_so_and_the_command_runs(
    client: str, screen: Screen, tmp_path: Path
) -> None:
    with TellinServer(tmp_path) as server:
        done = Run(client, server, screen, tmp_path)("echo =$DISPLAY=", "-Y")
    assert done.stdout == "==\n"
    assert done.stderr.replace("\r", "") == "X11 forwarding request failed on channel 0\n"


@EITHER
def test_who_has_no_display_forwards_none(run: Run, client: str) -> None:
    del run.environment["DISPLAY"]
    done = run("echo =$DISPLAY=", "-Y")
    assert (done.stdout, done.stderr, done.returncode) == ("==\n", "", 0)
    if client == "tellin":
        run.environment["DISPLAY"] = ":0\nadd"
        assert run("echo =$DISPLAY=", "-Y").stdout == "==\n"


@EITHER
def test_a_display_that_does_not_answer_is_none_there_either(run: Run, client: str) -> None:
    run.environment["DISPLAY"] = ":59999" if client == "tellin" else ":999"
    done = run("xdpyinfo; echo done", "-Y")
    assert done.stdout == "done\n"
    assert "unable to open display" in done.stderr


@EITHER
def test_a_server_whose_key_has_changed_is_shown_no_display(
    run: Run, client: str, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other").public
    run.known.write_text(f"[127.0.0.1]:{run.server.port} {other}\n", "ascii")
    done = run("echo =$DISPLAY=", "-Y", "-o", "StrictHostKeyChecking=no")
    assert done.stdout == "==\n"
    assert "X11 forwarding is disabled to avoid man-in-the-middle attacks." in done.stderr


# --- the library


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("sshd", marks=openssh),
        pytest.param("tellin", marks=pytest.mark.slow),
    ],
)
@awaited
async def test_the_librarys_sessions_show_windows_trusted_or_not(
    server: str, servers: Servers, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = servers(server).target
    for name, value in screen.environment.items():
        monkeypatch.setenv(name, value)
    async with tellin.connect(
        "127.0.0.1",
        port=target.port,
        user=target.user,
        keys=[target.identity.path],
        host_keys=[tellin.load_public_key(line) for line in target.host_keys],
        config=None,
    ) as connection:
        seen = f"{LOOK}; xdpyinfo | grep -c SECURITY"
        first, second = await asyncio.gather(
            connection.run(seen, x11=True), connection.run(LOOK, x11=True)
        )
        assert NAMED.match(first.stdout), first.stderr
        assert first.stdout.endswith("\n0\n")
        assert NAMED.match(second.stdout)
        assert (await connection.run("echo =$DISPLAY=")).stdout == "==\n"
    async with tellin.connect(
        "127.0.0.1",
        port=target.port,
        user=target.user,
        keys=[target.identity.path],
        host_keys=[tellin.load_public_key(line) for line in target.host_keys],
        config=None,
    ) as connection:
        done = await connection.run(seen, x11=tellin.Display(trusted=True))
        assert NAMED.match(done.stdout), done.stderr
        assert done.stdout.endswith("\n1\n")


@EITHER
@awaited
async def test_programs_of_a_library_server_show_windows_where_it_permits_that(
    client: str, screen: Screen, tmp_path: Path
) -> None:
    cookies = tmp_path / "cookies"
    cookies.touch(0o600)
    key = make_key(tmp_path / "key")
    run = tellin.RunCommands(env={"XAUTHORITY": str(cookies)})
    async with tellin.serve(
        host_keys=[HOST_KEY], authorized_keys=tmp_path / "key.pub", session=run, permit_x11=True
    ) as server:
        known = tmp_path / "known"
        line = HOST_KEY.public.to_line()
        known.write_text(f"[127.0.0.1]:{server.port} {line}\n", "ascii")
        words = [
            *PROGRAMS[client]["ssh"], "-Y", "-F", "none", "-p", str(server.port), "-l", "me",
            "-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=none",
            "-o", "BatchMode=yes", "-i", str(key.path), "127.0.0.1", LOOK,
        ]  # fmt: skip
        done = await asyncio.to_thread(
            subprocess.run, words, env={**os.environ, **screen.environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert NAMED.match(done.stdout), done.stderr


def test_the_example_of_a_function_that_shows_something_works(screen: Screen) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE], env={**os.environ, **screen.environment},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == "no windows for this one"
    # Who made the display says so.
    assert "X.Org" in second
