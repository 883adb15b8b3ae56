# SPDX-License-Identifier: MIT
"""Everything over one connection at once: a shell, files, two forwarded ports, a window, and an agent."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.agents import PROGRAMS, RunningAgent
from tests.interop.target import free_port, make_key
from tests.interop.tellin_peer import TellinServer
from tests.interop.test_agent_forwarding import ASK, blob_of
from tests.interop.test_forwarding import late_echo, service
from tests.interop.test_x11 import LOOK, NAMED, SECONDS, Screen
from tests.library import pattern

BLOCK = pattern(3 << 20)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    made = Screen(tmp_path)
    yield made
    made.stop()


@pytest.mark.peer("openssh", "xvfb", "sftp")
def test_row_05_shell_files_two_ports_and_a_window_at_once_by_stock_clients_of_our_master(
    screen: Screen, agent: RunningAgent, home: Path, tmp_path: Path
) -> None:
    """Each of them gets what it was sent, byte by byte; the server sees one login."""
    key = make_key(home / "lent")
    agent.add("tellin", key.path)
    cookies = tmp_path / "cookies"
    cookies.touch(0o600)
    options = {
        "X11Forwarding": "yes",
        "X11DisplayOffset": "600",
        "SetEnv": f"XAUTHORITY={cookies}",
    }
    environment = {**agent.environment, **screen.environment}
    (home / "there").write_bytes(BLOCK)
    got: dict[str, bytes] = {}

    with (
        TellinServer(tmp_path, options=options) as server,
        service(late_echo) as first,
        service(late_echo) as second,
    ):
        ours = [free_port(), free_port()]
        known = home / "known"
        known.write_text(server.target.known_hosts(), "ascii")
        where = [
            "-F", "none", "-o", f"Port={server.port}", "-o", f"User={server.user}",
            "-o", f"UserKnownHostsFile={known}", "-o", f"IdentityFile={server.identity.path}",
            "-o", f"ControlPath={home}/control",
        ]  # fmt: skip

        def run(name: str, *words: str, data: bytes = b"") -> None:
            done = subprocess.run(
                [*words], input=data, env=environment, capture_output=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
            got[name] = done.stdout + (b"" if done.returncode == 0 else done.stderr)

        def send(name: str, port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as stream:
                stream.settimeout(SECONDS)
                stream.sendall(BLOCK)
                stream.shutdown(socket.SHUT_WR)
                got[name] = b"".join(iter(lambda: stream.recv(65536), b""))

        run(
            "master", *PROGRAMS["tellin"]["ssh"], *where, "-A", "-Y", "-M",
            "-o", "ControlPersist=yes",
            "-L", f"{ours[0]}:127.0.0.1:{first}", "-L", f"{ours[1]}:127.0.0.1:{second}",
            "127.0.0.1", "echo begun",
        )  # fmt: skip
        assert got["master"] == b"begun\n"
        ssh = ("ssh", *where)
        host = "127.0.0.1"
        tasks: list[Callable[[], None]] = [
            lambda: run("shell", *ssh, host, "cat", data=BLOCK),
            lambda: run("window", *ssh, "-Y", host, LOOK),
            lambda: run("agent", *ssh, "-A", host, ASK),
            lambda: run(
                "files", "sftp", "-q", "-b", "-", *where, host,
                data=f"get {home}/there {home}/here\n".encode(),
            ),
            lambda: send("first", ours[0]),
            lambda: send("second", ours[1]),
        ]  # fmt: skip
        try:
            threads = [threading.Thread(target=task) for task in tasks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS)
        finally:
            run("end", *ssh, "-O", "exit", host)
        assert (home / "here").read_bytes() == BLOCK, got["files"]
        assert server.log().count("Accepted publickey") == 1
    assert [got[name] == BLOCK for name in ("shell", "first", "second")] == [True] * 3
    assert NAMED.fullmatch(got["window"].decode()), got["window"]
    assert blob_of(key) in got["agent"].decode()
