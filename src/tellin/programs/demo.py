# SPDX-License-Identifier: MIT
"""tellin demo: the whole way from a key to 256 MiB of data and two refused attacks, on this machine."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tellin.errors import TellinError
from tellin.programs.command import Failure, Program
from tellin.programs.demo_stage import Stage, StepFailed

_STEPS: list[tuple[str, Callable[[Stage], str]]] = []


def _step(name: str) -> Callable[[Callable[[Stage], str]], Callable[[Stage], str]]:
    """Put a function into the demonstration, under ``name``; what it returns is shown."""

    def put(function: Callable[[Stage], str]) -> Callable[[Stage], str]:
        _STEPS.append((name, function))
        return function

    return put


@_step("make keys")
def make_keys(stage: Stage) -> str:
    """A host key and a user key."""
    for name in ("host_key", "user_key"):
        stage.must(
            "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", stage.path(name)
        )
    return f"user {stage.fingerprint('user_key')}, host {stage.fingerprint('host_key')}"


@_step("start server")
def start_server(stage: Stage) -> str:
    """Tellin sshd on a free port."""
    port = stage.start_server("host_key", stage.port)
    return f"tellin sshd on 127.0.0.1 port {port}"


@_step("refuse without key")
def refuse_without_key(stage: Stage) -> str:
    """The key is not installed yet: nobody gets in."""
    done = stage.ssh("true", batch=True)
    stage.check(done.returncode == 255, f"exit status {done.returncode}, not 255", done)
    return stage.last_line(done, "Permission denied")


@_step("install key")
def install_key(stage: Stage) -> str:
    """The public key goes into authorized_keys."""
    public = Path(stage.path("user_key.pub")).read_bytes()
    allowed = Path(stage.path("authorized_keys"))
    allowed.write_bytes(public)
    allowed.chmod(0o600)
    return str(allowed)


@_step("log in")
def log_in(stage: Stage) -> str:
    """By key; the algorithms are those that both sides chose."""
    done = stage.ssh("echo", "logged in as $(id -un)", verbose=True)
    stage.check(done.stdout.startswith(b"logged in as "), "no greeting came back", done)
    return f"{done.stdout.decode().strip()}: {stage.algorithms(done)}"


@_step("run commands")
def run_commands(stage: Stage) -> str:
    """Input, both outputs and the exit status are the command's own."""
    done = stage.ssh("cat; echo to standard error >&2; exit 44", data=b"to standard output\n")
    stage.check(done.returncode == 44, f"exit status {done.returncode}, not 44", done)
    stage.check(done.stdout == b"to standard output\n", "standard output differs", done)
    stage.check(done.stderr == b"to standard error\n", "standard error differs", done)
    return "input, output, errors and exit status 44 came through"


@_step("open a terminal")
def open_terminal(stage: Stage) -> str:
    """A shell on a pseudo-terminal of 101 columns and 37 rows."""
    status, seen = stage.terminal(
        "stty size; echo $((6*7)) $(tty); exit 5\n", columns=101, rows=37
    )
    text = seen.decode("utf-8", "replace").replace("\r\n", "\n")
    stage.check(status == 5, f"exit status {status}, not 5")
    stage.check("37 101" in text, "the size did not arrive")
    terminal = next((word for word in text.split() if word.startswith("/dev/pts/")), "")
    stage.check("42" in text and bool(terminal), "the shell did not answer")
    return f"shell on {terminal}, 101 by 37, exit status 5"


@_step("push 256 MiB")
def push(stage: Stage) -> str:
    """To the server, compared by SHA-256."""
    started = time.perf_counter()
    digest = stage.upload()
    stage.check(digest == stage.digest, f"SHA-256 {digest} came, {stage.digest} left")
    return stage.speed(started)


@_step("pull 256 MiB")
def pull(stage: Stage) -> str:
    """From the server, compared by SHA-256."""
    started = time.perf_counter()
    digest = stage.download()
    stage.check(digest == stage.digest, f"SHA-256 {digest} came, {stage.digest} left")
    return stage.speed(started)


@_step("refuse a wrong key")
def refuse_wrong_key(stage: Stage) -> str:
    """Another key of the same kind is not let in."""
    stage.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stage.path("wrong_key"))
    done = stage.ssh("true", key="wrong_key", batch=True)
    stage.check(done.returncode == 255, f"exit status {done.returncode}, not 255", done)
    return stage.last_line(done, "Permission denied")


@_step("refuse a changed host key")
def refuse_changed_host_key(stage: Stage) -> str:
    """The server comes back with another key: the client must not go on."""
    stage.stop_server()
    stage.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stage.path("other_host_key"))
    stage.start_server("other_host_key", stage.port)
    done = stage.ssh("echo", "reached", batch=True)
    stage.check(done.returncode == 255, f"exit status {done.returncode}, not 255", done)
    stage.check(b"reached" not in done.stdout, "the command ran all the same", done)
    stage.check(b"REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr, "no warning came", done)
    stage.stop_server()
    stage.start_server("host_key", stage.port)
    return stage.last_line(done, "Host key verification failed")


@_step("OpenSSH's client")
def openssh_client(stage: Stage) -> str:
    """Ssh logs in to tellin sshd."""
    if shutil.which("ssh") is None:
        return "not installed, left out"
    done = stage.openssh("echo from OpenSSH")
    stage.check(done.returncode == 0, f"exit status {done.returncode}", done)
    stage.check(done.stdout == b"from OpenSSH\n", "the output differs", done)
    return f"{stage.openssh_version()} logged in to tellin sshd"


@_step("OpenSSH's server")
def openssh_server(stage: Stage) -> str:
    """Tellin ssh logs in to sshd."""
    if stage.openssh_server_path() is None:
        return "not installed, left out"
    stage.stop_server()
    stage.start_openssh_server()
    done = stage.ssh("echo to OpenSSH", verbose=True)
    stage.check(done.stdout == b"to OpenSSH\n", "the output differs", done)
    return f"tellin ssh logged in to {stage.openssh_version()}: {stage.algorithms(done)}"


_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


def run(arguments: list[str]) -> int:
    """The program: 0 only if every step really happened."""
    if arguments:
        raise Failure("usage: tellin demo", status=2)
    # Whoever ends us early ends the server with us, and its keys: by way of the ``finally``.
    for ending in _ENDINGS:
        # An ignored signal stays ignored (nohup).
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, signal.default_int_handler)
    stage = Stage(tempfile.mkdtemp(prefix="tellin-demo-"))
    try:
        for number, (name, function) in enumerate(_STEPS, 1):
            if not _run_step(stage, number, name, function):
                return 1
    finally:
        stage.clean_up()
    print(f"all {len(_STEPS)} steps done")
    return 0


def _run_step(stage: Stage, number: int, name: str, function: Callable[[Stage], str]) -> bool:
    label = f"{number:2}/{len(_STEPS)} {name:26}"
    live = sys.stdout.isatty()
    if live:
        print(f"{label} ...", end="", flush=True)
    stage.step = name
    started = time.perf_counter()
    try:
        said = function(stage)
    except (StepFailed, TellinError, OSError) as error:
        print(f"\r{label}" if live else label, "FAILED")
        print(f"tellin demo: step '{name}' failed: {error}", file=sys.stderr)
        return False
    taken = time.perf_counter() - started
    print(f"\r{label}" if live else label, f"{taken:6.2f} s  {said}")
    sys.stdout.flush()
    return True


PROGRAM = Program("demo", "show the whole thing on this machine", run, linked=False)
