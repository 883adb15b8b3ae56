# SPDX-License-Identifier: MIT
"""Whether tunnels come back: by a peer that is killed, frozen, out of reach or started anew, and how soon.

As root, ``python -m tests.interop.comes_back`` has all of that happen to ``tellin tunnel`` and to a
``tellin.Tunnel``, with OpenSSH's server and with ours, each in networks of its own. It prints the
seconds from the moment in which the path is there again to the first connection that goes through,
and what has become of all connections: an echo, or an error that was told, and never less. The exit
status is 1 where one of them took longer than two seconds, or something was lost without a word.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.interop.children import Child, descendants
from tests.interop.network import Network
from tests.interop.pairs import ALL_SERVERS
from tests.interop.peers import Server
from tests.interop.tellin_peer import TELLIN
from tests.interop.test_forwarding import echo, service

HERE, THERE = "192.0.2.1", "192.0.2.2"
PORT = 2222
LISTENING = 4000
PATIENCE = 60.0
# Must be so with the longest wait set to 1 s, on a machine that has time for it.
SECONDS: Final = 2.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


class Scene:
    """A client's network and a server's, a wire between them, a tunnel over it, and who goes through."""

    def __init__(
        self, tunnel: str, kind: str, folder: Path, home: Path, networks: tuple[Network, Network]
    ) -> None:
        self.here, self.there = networks
        here = self.here
        self.home = home
        options = {"Port": PORT, "ListenAddress": THERE}
        self.server: Server = ALL_SERVERS[kind](folder, options=options)
        self._children: list[Child] = []
        self.started = self.start_server()
        host_key = " ".join(self.server.host_keys[0].public.split()[:2])
        (home / "known").write_text(f"[{THERE}]:{PORT} {host_key}\n", "ascii")
        (home / "config").write_text(
            f"""
            Host there
              HostName {THERE}
              Port {PORT}
              User {self.server.user}
              IdentityFile {self.server.identity.path}
              UserKnownHostsFile {home}/known
              StrictHostKeyChecking yes
              ServerAliveInterval 1
              ServerAliveCountMax 2
              LocalForward 127.0.0.1:{LISTENING} {home}/echo
              RemoteForward 127.0.0.1:{LISTENING} {home}/echo
            """,
            "utf-8",
        )
        self.environment = {**os.environ, "TELLIN_RUNTIME_DIR": str(home / "run")}
        self.by_program = tunnel == "program"
        library = [sys.executable, Path(__file__).with_name("kept_up.py"), home, str(LISTENING)]
        program = [*TELLIN, "tunnel", "-F", home / "config", "-w", "1", "there"]
        words = program if self.by_program else library
        self.tunnel = self._start(here.argv(words), "tunnel.log", env=self.environment)
        self.wait_for_up(1)
        probe = [sys.executable, Path(__file__).with_name("tunnel_probe.py"), str(LISTENING)]
        self.probe = self._start(here.argv(probe), "probe.log")
        wait_for(self.outcomes, "the first connection through the tunnel")

    def _start(self, argv: list[str], log: str, **options: object) -> Child:
        made = Child(argv, log=self.home / log, **options)
        self._children.append(made)
        return made

    def start_server(self) -> Child:
        made = self._start(self.there.argv(self.server.argv()), f"server{len(self._children)}.log")
        made.wait_for_log("Server listening on")
        return made

    def status(self) -> dict[str, Any]:
        """What is told of the tunnel: its state, how often it was up, whether the server listens."""
        nothing: dict[str, Any] = {"connected": 0, "state": ""}
        if not self.by_program:
            lines = [
                one for one in self.tunnel.log().splitlines(keepends=True) if one[-2:] == "}\n"
            ]
            last: dict[str, Any] = json.loads(lines[-1]) if lines else nothing
            return last
        done = subprocess.run(
            [*TELLIN, "tunnel", "--status", "--json"],
            env=self.environment, capture_output=True, check=False,
        )  # fmt: skip
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found[0] if found else nothing

    def wait_for_up(self, times: int) -> None:
        def up() -> bool:
            found = self.status()
            if found["connected"] < times or found["state"] != "up":
                return False
            # A server that does not know yet that it has lost us may hold the port for a while.
            return all(one.get("listening", True) for one in found["forwards"])

        wait_for(up, f"the tunnel to be up\n{self.tunnel.log()}")

    def outcomes(self) -> list[tuple[float, float, str]]:
        """What became of all connections so far; the last line may be half there."""
        found = []
        for line in self.probe.log().splitlines(keepends=True):
            if line.endswith("]\n"):
                began, ended, outcome = json.loads(line)
                found.append((began, ended, outcome))
        return found

    def back_after(self, since: float) -> float:
        """How long after ``since`` a connection went through that was begun after it."""

        def first() -> float | None:
            ends = [
                ended
                for began, ended, outcome in self.outcomes()
                if outcome == "echo" and began >= since
            ]
            return min(ends) - since if ends else None

        found = wait_for(first, f"the tunnel to be back\n{self.tunnel.log()}")
        assert isinstance(found, float)
        return found

    def wait_for_held(self, times: int) -> None:
        """Return when somebody holds a connection open that was made since the last loss."""
        wait_for(
            lambda: sum(outcome == "holds" for *_, outcome in self.outcomes()) >= times,
            "a connection that is held",
        )

    def is_down(self, before: int) -> None:
        """Return when somebody has come in vain, behind the first ``before`` of them."""
        wait_for(
            lambda: any(
                outcome not in {"echo", "holds"} for *_, outcome in self.outcomes()[before:]
            ),
            "the tunnel to be down",
        )

    def sessions(self) -> list[int]:
        return descendants(self.started.process.pid)

    def in_there(self, command: str) -> None:
        subprocess.run(self.there.argv(["sh", "-c", command]), check=True)

    def stop(self) -> None:
        for pid in [*self.sessions(), self.started.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for child in reversed(self._children):
            child.stop()

    def comes_back(self) -> dict[str, float]:
        """Have all of it happen, one after the other: the seconds until somebody was led through again."""
        figures = {}
        for number, happens in enumerate(EVENTS, 2):
            self.wait_for_held(number - 1)
            back = happens(self)
            figures[happens.__name__] = round(self.back_after(back), 2)
            self.wait_for_up(number)
        return figures


# --- what happens


def killed(path: Scene) -> float:
    """The peer's processes are killed: the path was never away."""
    before = len(path.outcomes())
    sessions = path.sessions()
    assert sessions
    back = time.monotonic()
    for pid in sessions:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    path.is_down(before)
    return back


def frozen(path: Scene) -> float:
    """The peer's host goes on answering, and nobody on it does."""
    before = len(path.outcomes())
    pids = [*path.sessions(), path.started.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    path.is_down(before)
    time.sleep(2)
    back = time.monotonic()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return back


def blackholed(path: Scene) -> float:
    """What the server says to us goes nowhere, and nobody tells us."""
    before = len(path.outcomes())
    path.in_there(f"ip route add blackhole {HERE}/32")
    path.is_down(before)
    time.sleep(3)
    back = time.monotonic()
    path.in_there(f"ip route del blackhole {HERE}/32")
    return back


def restarted(path: Scene) -> float:
    """The server is stopped, and its host says so; then it is there again."""
    before = len(path.outcomes())
    family = path.sessions()
    path.started.stop()
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    path.is_down(before)
    time.sleep(2)
    path.started = path.start_server()
    return time.monotonic()


EVENTS: Final = (killed, frozen, blackholed, restarted)

# What a caller may meet: what he came for, or an error that is told.
TOLD: Final = {"echo", "reset", "holds", "held reset"}


@contextmanager
def scene(tunnel: str, kind: str, folder: Path) -> Iterator[Scene]:
    """A tunnel by ``program`` or ``library`` to a server of that kind."""
    with (
        tempfile.TemporaryDirectory(prefix="tellin-") as short,
        service(echo, Path(short) / "echo"),
        Network() as there,
    ):
        home = Path(short)
        wire = (
            f"ip link add wire type veth peer name wire netns {there.holder}",
            f"ip address add {HERE}/24 dev wire",
            "ip link set wire up",
        )
        with Network(*wire) as here:
            (home / "echo").chmod(0o777)
            subprocess.run(
                there.argv(
                    ["sh", "-c", f"ip address add {THERE}/24 dev wire; ip link set wire up"]
                ),
                check=True,
            )
            made = Scene(tunnel, kind, folder, home, (here, there))
            try:
                yield made
            finally:
                made.stop()


def main() -> int:
    """All of it, and a line for each."""
    whole = True
    for tunnel, called in (("program", "tellin tunnel"), ("library", "tellin.Tunnel")):
        for kind in ("sshd", "tellin"):
            with (
                tempfile.TemporaryDirectory() as folder,
                scene(tunnel, kind, Path(folder)) as path,
            ):
                figures = path.comes_back()
                found = Counter(outcome for *_, outcome in path.outcomes())
            soon, told = max(figures.values()) <= SECONDS, set(found) <= TOLD
            whole = whole and soon and told
            seconds = ", ".join(f"{what} {took:.2f} s" for what, took in figures.items())
            said = ", ".join(f"{count} x {outcome}" for outcome, count in found.most_common())
            verdict = "" if soon and told else "  <- too late" if told else "  <- lost"
            print(f"{called} to {kind}: back after: {seconds}; {said}{verdict}", flush=True)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
