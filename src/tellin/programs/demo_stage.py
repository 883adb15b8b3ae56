# SPDX-License-Identifier: MIT
"""What a demonstration stands on: a folder, a port, a server, and the programs as others call them."""

import fcntl
import hashlib
import os
import pty
import pwd
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Final

from tellin.errors import TellinError

BLOCK: Final = 4 << 20
BLOCKS: Final = 64  # 256 MiB
_PATIENCE: Final = 60.0

Done = subprocess.CompletedProcess[bytes]


class StepFailed(TellinError):
    """What should have happened did not."""


class Stage:
    """The folder and everything that runs in it; ``step`` is the one under way."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.step = ""
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.block = os.urandom(BLOCK)
        whole = hashlib.sha256()
        for _ in range(BLOCKS):
            whole.update(self.block)
        self.digest = whole.hexdigest()
        self.port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None

    def path(self, name: str) -> str:
        """A file in the folder."""
        return f"{self.folder}/{name}"

    def command(self, program: str) -> list[str]:
        """How one of our programs is started."""
        return [sys.executable, "-m", "tellin", program]

    def check(self, right: bool, what: str, done: Done | None = None) -> None:
        """Fail the step unless ``right``."""
        if not right:
            said = done.stderr.decode("utf-8", "replace").strip() if done else ""
            raise StepFailed(f"{what}; the program said: {said}" if said else what)

    def must(self, program: str, *arguments: str) -> bytes:
        """Run one of our programs, which has to succeed."""
        done = self._run([*self.command(program), *arguments])
        self.check(done.returncode == 0, f"{program}: exit status {done.returncode}", done)
        return done.stdout

    def _run(self, argv: list[str], data: bytes = b"") -> Done:
        try:
            return subprocess.run(
                argv, input=data, capture_output=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{argv[-1]}: no end after {_PATIENCE:.0f} s") from None

    def fingerprint(self, name: str) -> str:
        """SHA256:... of a key."""
        words = self.must("ssh-keygen", "-l", "-f", self.path(name)).decode().split()
        found = next((word for word in words if word.startswith("SHA256:")), "")
        self.check(bool(found), f"no fingerprint of {name}")
        return found

    # The server

    def start_server(self, host_key: str, port: int) -> int:
        """Our sshd, with its configuration in the folder."""
        configuration = self._write_configuration(host_key, port)
        argv = [*self.command("sshd"), "-D", "-e", "-f", configuration]
        self._start(argv)
        return port

    def start_openssh_server(self) -> None:
        """OpenSSH's sshd in its place."""
        program = self.openssh_server_path()
        assert program is not None
        configuration = self._write_configuration("host_key", self.port)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._start([program, "-D", "-e", "-f", configuration])

    def _write_configuration(self, host_key: str, port: int) -> str:
        path = self.path("sshd_config")
        lines = (
            "ListenAddress 127.0.0.1",
            f"Port {port}",
            f"HostKey {self.path(host_key)}",
            f"AuthorizedKeysFile {self.path('authorized_keys')}",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
        )
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _start(self, argv: list[str]) -> None:
        with open(self.path("server.log"), "ab") as log:  # noqa: PTH123 - inherited by number
            self._server = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if self._server.poll() is not None:
                said = Path(self.path("server.log")).read_text("utf-8", "replace").strip()
                raise StepFailed(f"the server ended at once: {said[-500:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise StepFailed("the server did not listen in time")

    def stop_server(self) -> None:
        """End the server that runs."""
        server, self._server = self._server, None
        if server is None:
            return
        server.terminate()
        try:
            server.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def clean_up(self) -> None:
        """Leave nothing behind."""
        self.stop_server()
        shutil.rmtree(self.folder, ignore_errors=True)

    # The clients

    def _ssh_options(self, key: str, *, batch: bool) -> list[str]:
        pairs = (
            "StrictHostKeyChecking=accept-new",
            f"UserKnownHostsFile={self.path('known_hosts')}",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            f"BatchMode={'yes' if batch else 'no'}",
            f"ConnectTimeout={_PATIENCE:.0f}",
        )
        options = ["-F", "none", "-p", str(self.port), "-i", self.path(key)]
        for pair in pairs:
            options += ["-o", pair]
        return options

    def ssh_argv(self, *words: str, key: str = "user_key", batch: bool = False) -> list[str]:
        """A command line of our ssh."""
        options = self._ssh_options(key, batch=batch)
        return [*self.command("ssh"), *options, *words]

    def ssh(
        self,
        *words: str,
        key: str = "user_key",
        batch: bool = False,
        verbose: bool = False,
        data: bytes = b"",
    ) -> Done:
        """Run a command through our ssh."""
        flags = ["-v"] if verbose else []
        target = f"{self.user}@127.0.0.1"
        done = self._run(self.ssh_argv(*flags, target, *words, key=key, batch=batch), data)
        if not verbose:
            notes = [line for line in done.stderr.splitlines(keepends=True)
                     if not line.startswith(b"Warning: Permanently added")]  # fmt: skip
            done.stderr = b"".join(notes)
        return done

    def openssh(self, *words: str) -> Done:
        """Run a command through OpenSSH's ssh."""
        options = self._ssh_options("user_key", batch=True)
        return self._run(["ssh", *options, f"{self.user}@127.0.0.1", *words])

    def openssh_version(self) -> str:
        """What OpenSSH calls itself."""
        return self._run(["ssh", "-V"]).stderr.decode().partition(",")[0].strip()

    def openssh_server_path(self) -> str | None:
        """Where sshd is, if it is."""
        places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        return shutil.which("sshd", path=places)

    def last_line(self, done: Done, expected: str) -> str:
        """The line that says why, which has to be there."""
        lines = done.stderr.decode("utf-8", "replace").replace("\r", "").splitlines()
        found = next((line for line in lines if expected in line), "")
        self.check(bool(found), f"no line says '{expected}'", done)
        return found.strip()

    def algorithms(self, done: Done) -> str:
        """What both sides chose, by the client's own account."""
        names: list[str] = []
        for line in done.stderr.decode("utf-8", "replace").replace("\r", "").splitlines():
            for mark in ("kex: algorithm: ", "kex: host key algorithm: "):
                if mark in line:
                    names.append(line.partition(mark)[2])
            if "kex: client->server cipher: " in line:
                names.append(line.partition("cipher: ")[2].split()[0])
        self.check(len(names) >= 3, "the client does not say which algorithms were chosen", done)
        return ", ".join(names[:3])

    def terminal(self, typed: str, *, columns: int, rows: int) -> tuple[int, bytes]:
        """Type into a shell on a terminal; its exit status and all that it showed."""
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        shell = subprocess.Popen(
            self.ssh_argv("-tt", f"{self.user}@127.0.0.1"),
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(terminal)
        seen = bytearray()
        os.write(controller, typed.encode())
        until = time.monotonic() + _PATIENCE
        try:
            while time.monotonic() < until:
                if select.select([controller], [], [], 0.1)[0]:
                    try:
                        seen += os.read(controller, 65536)
                    except OSError:
                        break  # the last program on the terminal has gone
                elif shell.poll() is not None:
                    break
            return shell.wait(max(0.1, until - time.monotonic())), bytes(seen)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            raise StepFailed("the shell did not end") from None
        finally:
            os.close(controller)

    # Bulk

    def upload(self) -> str:
        """256 MiB into a remote sha256sum; what it found."""
        argv = self.ssh_argv(f"{self.user}@127.0.0.1", "sha256sum")
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            for _ in range(BLOCKS):
                client.stdin.write(self.block)
            client.stdin.close()
            found = client.stdout.read().split()
        self.check(client.returncode == 0, f"exit status {client.returncode}")
        return found[0].decode() if found else ""

    def download(self) -> str:
        """The same 256 MiB out of a remote cat; their SHA-256."""
        name = self.path("block")
        Path(name).write_bytes(self.block)
        command = f"for at in $(seq {BLOCKS}); do cat '{name}'; done"
        argv = self.ssh_argv(f"{self.user}@127.0.0.1", command)
        found = hashlib.sha256()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            while data := client.stdout.read1(1 << 20):  # type: ignore[attr-defined]
                found.update(data)
        self.check(client.returncode == 0, f"exit status {client.returncode}")
        return found.hexdigest()

    def speed(self, started: float) -> str:
        """Megabytes a second, login included."""
        taken = time.perf_counter() - started
        return f"256 MiB, {BLOCK * BLOCKS / taken / 1e6:.0f} MB/s with the login, SHA-256 equal"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
