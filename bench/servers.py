# SPDX-License-Identifier: MIT
"""The servers of a run: the two programs with a private configuration, and library processes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench import cpu
from bench.processes import BenchError, start, stop, wait_for_no_children
from bench.workspace import HOST, Workspace

TELLIN = Path(sys.executable).parent / "tellin"

# Both programs get these lines; OpenSSH gets a few more, to be as quiet with a terminal.
_SSHD_CONFIG = """
ListenAddress {host}
AuthorizedKeysFile {authorized_keys}
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 2000:30:2000
MaxSessions 1000
PidFile none
LogLevel ERROR
Subsystem sftp internal-sftp
"""
_OPENSSH_CONFIG = """
PrintMotd no
PrintLastLog no
X11Forwarding no
"""


class Server:
    """A running server process: its port, its CPU and its memory."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        """Take over a process that has been started and listens."""
        self.name, self.process, self.port = name, process, port

    @property
    def own_seconds(self) -> float:
        """CPU of the server process alone: right for a server in one process."""
        return cpu.own_seconds(self.process.pid)

    @property
    def tree_seconds(self) -> float:
        """CPU of the server and of everything it started, once that has ended."""
        wait_for_no_children(self.process.pid)
        return cpu.tree_seconds(self.process.pid)

    def session_kib(self) -> int:
        """PSS of the server's processes, the commands of the sessions left out."""
        total = 0
        for pid in (self.process.pid, *cpu.descendants(self.process.pid)):
            with contextlib.suppress(OSError, ValueError):
                name = Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
                if name not in {"sh", "cat"}:
                    total += cpu.proportional_kib(pid)
        return total

    def stop(self) -> None:
        """End the process and its sessions."""
        stop(self.process)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to serve: how to see whether it is here, and how to start it."""

    name: str
    title: str
    absent: Callable[[], str | None]
    start: Callable[[Workspace], Server]
    in_one_process: bool = False


def module_absent(*names: str) -> Callable[[], str | None]:
    def absent() -> str | None:
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        return f"{', '.join(missing)} not installed" if missing else None

    return absent


def _openssh_absent() -> str | None:
    missing = [name for name in ("ssh", "sshd") if program(name) is None]
    return f"{', '.join(missing)} not installed" if missing else None


def program(name: str) -> str | None:
    """The absolute path of a system program (sshd insists on one)."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def tellin_absent(name: str) -> str | None:
    """Why a program of tellin cannot be measured."""
    if not TELLIN.exists():
        return f"{TELLIN} does not exist"
    try:
        found = importlib.util.find_spec(f"tellin.programs.{name}")
    except ModuleNotFoundError:
        found = None
    return None if found else f"there is no tellin.programs.{name} yet"


def tellin_library_absent() -> str | None:
    """Why tellin's library cannot be measured."""
    code = "import tellin; tellin.connect; tellin.serve"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=20)
    if done.returncode == 0:
        return None
    return done.stderr.decode(errors="replace").strip().splitlines()[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _await_banner(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection((HOST, port), timeout=5) as probe:
                if probe.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.02)
    stop(process)
    tail = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise BenchError(f"the server did not answer on port {port}: {' | '.join(tail)}")


def _start_program(name: str, argv: tuple[str, ...], extra: str) -> Callable[[Workspace], Server]:
    def begin(workspace: Workspace) -> Server:
        config = workspace.folder / f"{name}.conf"
        text = _SSHD_CONFIG.format(host=HOST, authorized_keys=workspace.authorized_keys) + extra
        config.write_text(text.lstrip(), encoding="utf-8")
        port, log = free_port(), workspace.folder / f"{name}.log"
        options = ["-D", "-e", "-f", str(config), "-p", str(port), "-h", str(workspace.host_key)]
        with log.open("wb") as output:
            process = start(
                [*workspace.enclosure, *argv, *options],
                environment=workspace.environment,
                stdout=output,
                stderr=output,
            )
        _await_banner(process, port, log)
        return Server(name, process, port)

    return begin


def read_announcement(process: subprocess.Popen[bytes]) -> int:
    """The port that one of our server processes prints once it listens."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 20)
    line = process.stdout.readline() if ready else b""
    if not line:
        raise BenchError("no port was announced")
    return int(json.loads(line)["port"])


def _start_library(name: str, module: str, **told: str) -> Callable[[Workspace], Server]:
    def begin(workspace: Workspace) -> Server:
        orders = {
            "host": HOST,
            "host_key": str(workspace.host_key),
            "identity": str(workspace.identity),
            "authorized_keys": str(workspace.authorized_keys),
            **told,
        }
        log = workspace.folder / f"{name}.log"
        with log.open("wb") as errors:
            process = start(
                [sys.executable, "-m", module, "server", json.dumps(orders)],
                environment=workspace.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            return Server(name, process, read_announcement(process))
        except BenchError:
            stop(process)
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BenchError(f"the {name} server did not start: {' '.join(tail)}") from None

    return begin


def _library_kinds() -> Iterator[Kind]:
    rows = (
        ("asyncssh", "AsyncSSH", "bench.adapters_asyncssh", "asyncio", ("asyncssh",)),
        ("uvloop", "AsyncSSH+uvloop", "bench.adapters_asyncssh", "uvloop", ("asyncssh", "uvloop")),
        ("paramiko", "Paramiko", "bench.adapters_paramiko", "threads", ("paramiko",)),
        ("tellin-library", "tellin library", "bench.adapters_tellin", "asyncio", ()),
    )
    for name, title, module, loop, needed in rows:
        absent = module_absent(*needed) if needed else tellin_library_absent
        for mode in ("spawn", "handler"):
            full = name if mode == "spawn" else f"{name}-handler"
            yield Kind(
                name=full,
                title=title if mode == "spawn" else f"{title}, in-process handler",
                absent=absent,
                start=_start_library(full, module, loop=loop, mode=mode),
                in_one_process=True,
            )


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="openssh",
            title="OpenSSH sshd",
            absent=_openssh_absent,
            start=_start_program("openssh", (program("sshd") or "sshd",), _OPENSSH_CONFIG),
        ),
        Kind(
            name="tellin",
            title="tellin sshd",
            absent=lambda: tellin_absent("sshd"),
            start=_start_program("tellin", (str(TELLIN), "sshd"), ""),
        ),
        *_library_kinds(),
    )
}


class Servers:
    """Servers by name, started when first asked for and all stopped at the end."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing runs yet."""
        self._workspace = workspace
        self._running: dict[str, Server] = {}
        self._absent: dict[str, str | None] = {}
        self._failed: dict[str, BenchError] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self._running.values():
            server.stop()

    def absent(self, name: str) -> str | None:
        """Why this kind cannot be measured here, or None."""
        if name not in self._absent:
            self._absent[name] = KINDS[name].absent()
        return self._absent[name]

    def get(self, name: str) -> Server:
        """The running server of this kind; the first failure to start it is kept."""
        if name in self._failed:
            raise self._failed[name]
        server = self._running.get(name)
        if server is None or server.process.poll() is not None:
            try:
                server = self._running[name] = self.fresh(name)
            except BenchError as error:
                self._failed[name] = error
                raise
        return server

    def fresh(self, name: str) -> Server:
        """A new server that nobody has used yet; the caller stops it."""
        return KINDS[name].start(self._workspace)
