# SPDX-License-Identifier: MIT
"""The examples of the documentation are programs, and they work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.peers import OpenSSHServer

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["keys.py", "loopback.py"])
def test_an_example_that_needs_nobody_works(name: str) -> None:
    done = run(name)
    assert done.returncode == 0, done.stderr


@pytest.mark.peer("sshd")
def test_the_blocking_client_round_the_core_works(tmp_path: Path) -> None:
    with OpenSSHServer(tmp_path) as server:
        words = ["127.0.0.1", str(server.port), server.user, str(server.identity.path)]
        key = server.host_keys[0]
        done = run("sans_io_client.py", *words, key.fingerprint, "echo hello; echo no >&2; exit 7")
        wrong = run("sans_io_client.py", *words, server.identity.fingerprint, "echo hello")
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello\n", "no\n")
    assert wrong.returncode == 255
    assert "fingerprint" in wrong.stderr


@pytest.mark.peer("sshd")
def test_the_examples_of_the_library_work(tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with OpenSSHServer(tmp_path) as server:
        known_hosts.write_text(server.target.known_hosts(), "ascii")
        words = ["127.0.0.1", str(server.port), server.user, str(server.identity.path)]
        ran = run("run_command.py", *words, str(known_hosts))
        talked = run("talk_to_process.py", *words, str(known_hosts))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "12 bytes" in ran.stdout
    assert "['0', '1', '2', '3', '4']" in ran.stdout
    assert (talked.returncode, talked.stderr) == (0, "")
    assert talked.stdout == "first\nsecond\n1000000\n"


def test_every_example_is_shown_in_a_page() -> None:
    shown = set()
    for page in (ROOT / "docs").rglob("*.md"):
        shown |= set(re.findall(r"examples/(\w+\.py)", page.read_text("utf-8")))
    assert shown == {path.name for path in EXAMPLES.glob("*.py")}
