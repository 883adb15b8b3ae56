# SPDX-License-Identifier: MIT
"""The clients of a run: command lines that run one command, and library processes to talk to."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, TypedDict, cast

from bench.processes import BenchError, start, stop
from bench.servers import (
    TELLIN,
    module_absent,
    program,
    tellin_absent,
    tellin_library_absent,
)
from bench.settings import Protection
from bench.workspace import HOST, Workspace


@dataclass(frozen=True, kw_only=True)
class Call:
    """One use of a client: which port, which command, which algorithms."""

    port: int
    command: str
    protection: Protection | None = None
    kex: str | None = None
    terminal: bool = False


def _openssh_options(workspace: Workspace, call: Call) -> list[str]:
    """Options in OpenSSH's syntax that keep the user's files, agent and configuration out."""
    options = {
        "UserKnownHostsFile": str(workspace.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    if call.kex:
        options["KexAlgorithms"] = call.kex
    argv = ["-F", "none", "-p", str(call.port), "-l", workspace.user]
    argv += ["-i", str(workspace.identity)]
    for keyword, value in options.items():
        argv += ["-o", f"{keyword}={value}"]
    if call.protection:
        argv += ["-c", call.protection.cipher]
        if call.protection.mac:
            argv += ["-m", call.protection.mac]
    argv.append("-tt" if call.terminal else "-T")
    return argv


def _paces_keystrokes(ssh: str) -> bool:
    """Whether this OpenSSH has ObscureKeystrokeTiming (9.5), which must be off for the echo."""
    done = subprocess.run([ssh, "-V"], capture_output=True, check=False)
    version = done.stderr.decode().removeprefix("OpenSSH_").split("p")[0]
    return tuple(int(part) for part in version.split(".")[:2]) >= (9, 5)


# Otherwise a client waits up to 20 ms with each keystroke, to hide when it was pressed.
_AT_ONCE: Final = ["-o", "ObscureKeystrokeTiming=no"]


def _openssh_argv(workspace: Workspace, call: Call) -> list[str]:
    ssh = program("ssh") or "ssh"
    pacing = _AT_ONCE if call.terminal and _paces_keystrokes(ssh) else []
    return [ssh, *_openssh_options(workspace, call), *pacing, HOST, call.command]


def _tellin_argv(workspace: Workspace, call: Call) -> list[str]:
    pacing = _AT_ONCE if call.terminal else []
    return [str(TELLIN), "ssh", *_openssh_options(workspace, call), *pacing, HOST, call.command]


def tunnel_argv(
    client: Client, workspace: Workspace, call: Call, *, way: str, port: int, target: int
) -> list[str]:
    """The command line that forwards ``port`` of this machine and runs nothing (``-N``)."""
    assert client.program is not None
    where = f"{HOST}:{port}:{HOST}:{target}" if way == "-L" else f"{HOST}:{port}"
    # In front of the destination and the command, which are the last two words.
    return [*client.program(workspace, call)[:-2], "-N", way, where, HOST]


def library_orders(workspace: Workspace, call: Call, *, loop: str, tunnel: str = "") -> str:
    """The JSON that an adapter's process takes as its target."""
    public = workspace.host_key.with_suffix(".pub").read_text(encoding="ascii").strip()
    return json.dumps(
        {
            "host": HOST,
            "port": call.port,
            "user": workspace.user,
            "identity": str(workspace.identity),
            "host_public": public,
            "known_hosts": str(workspace.known_hosts),
            "cipher": call.protection.cipher if call.protection else None,
            "mac": call.protection.mac if call.protection else None,
            "kex": call.kex,
            "loop": loop,
            "command": call.command,
            "tunnel": tunnel,
        }
    )


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client: its command line, and its library if it has one."""

    name: str
    title: str
    absent: Callable[[], str | None]
    program: Callable[[Workspace, Call], list[str]] | None = None
    module: str | None = None
    loop: str = ""
    holds: bool = False

    def argv(self, workspace: Workspace, call: Call) -> list[str]:
        """The command line that carries out `call` with this process's standard streams."""
        if self.program:
            return self.program(workspace, call)
        assert self.module is not None
        orders = library_orders(workspace, call, loop=self.loop)
        return [sys.executable, "-m", self.module, "exec", orders]

    def library(self, workspace: Workspace, call: Call) -> Library:
        """A process of this library, ready to be asked for operations."""
        assert self.module is not None
        orders = library_orders(workspace, call, loop=self.loop)
        argv = [sys.executable, "-m", self.module, "operations", orders]
        return Library(self.name, workspace, argv)


class Answer(TypedDict):
    """What a library process answers: the operation's result, and its own wall and CPU time."""

    result: object
    seconds: float
    cpu: float


class Library:
    """A library process: one request, one answer."""

    def __init__(self, name: str, workspace: Workspace, argv: list[str]) -> None:
        """Start it and wait until its imports are done."""
        self._name = name
        self._log = workspace.folder / f"client-{name}.log"
        with self._log.open("wb") as errors:
            self._process = start(
                argv,
                environment=workspace.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            self._line(30)
        except BaseException:
            stop(self._process)
            raise

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        stop(self._process)

    def _line(self, patience: float) -> dict[str, object]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        if not ready:
            raise BenchError(f"the {self._name} client gave no answer in {patience:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BenchError(f"the {self._name} client ended: {' '.join(tail)}")
        found: dict[str, object] = json.loads(line)
        return found

    def ask(self, operation: str, *, patience: float = 120.0, **arguments: object) -> Answer:
        """Have one operation carried out; an error over there becomes a BenchError here."""
        assert self._process.stdin is not None
        request = json.dumps({"operation": operation, **arguments}) + "\n"
        # A process that has gone shows below, as the end of its answers with the reason.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.encode())
        answer = self._line(patience)
        if "error" in answer:
            raise BenchError(f"{self._name} {operation}: {answer['error']}")
        return cast("Answer", answer)


CLIENTS: dict[str, Client] = {
    client.name: client
    for client in (
        Client(
            name="openssh",
            title="OpenSSH ssh",
            absent=lambda: None if program("ssh") else "ssh not installed",
            program=_openssh_argv,
        ),
        Client(
            name="tellin",
            title="tellin ssh",
            absent=lambda: tellin_absent("ssh"),
            program=_tellin_argv,
        ),
        Client(
            name="asyncssh",
            title="AsyncSSH",
            absent=module_absent("asyncssh"),
            module="bench.adapters_asyncssh",
            loop="asyncio",
            holds=True,
        ),
        Client(
            name="uvloop",
            title="AsyncSSH+uvloop",
            absent=module_absent("asyncssh", "uvloop"),
            module="bench.adapters_asyncssh",
            loop="uvloop",
            holds=True,
        ),
        Client(
            name="paramiko",
            title="Paramiko",
            absent=module_absent("paramiko"),
            module="bench.adapters_paramiko",
            loop="threads",
        ),
        Client(
            name="tellin-library",
            title="tellin library",
            absent=tellin_library_absent,
            module="bench.adapters_tellin",
            loop="asyncio",
            holds=True,
        ),
    )
}
