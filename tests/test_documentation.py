# SPDX-License-Identifier: MIT
"""The examples of the documentation are programs, and they work."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest
from tests.interop.agents import RunningAgent
from tests.interop.children import Child
from tests.interop.peers import OpenSSHClient, OpenSSHServer, Target, make_key
from tests.programs.file_runs import TELLIN, Hosts, tree

from tellin.config.keywords import Retired
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import CRITERIA as CLIENT_CRITERIA
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import CRITERIA as SERVER_CRITERIA

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


@pytest.mark.parametrize("name", ["keys.py", "loopback.py", "certificates.py"])
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
        waited = run("blocking_client.py", *words, str(known_hosts))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "12 bytes" in ran.stdout
    assert "['0', '1', '2', '3', '4']" in ran.stdout
    assert (talked.returncode, talked.stderr) == (0, "")
    assert talked.stdout == "first\nsecond\n1000000\n"
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, "hello\ntyped\n", "")


@pytest.mark.peer("ssh")
def test_the_server_that_adds_up_works(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    log = tmp_path / "log"
    words = [sys.executable, "-W", "error", EXAMPLES / "serve.py", tmp_path / "key.pub"]
    with Child(words, log=log) as child:
        deadline = time.monotonic() + 20
        while not child.log() and time.monotonic() < deadline:
            time.sleep(0.05)
        port, host_key = child.log().split(" ", 1)
        target = Target(int(port), "anybody", (host_key.strip(),), key)
        done = OpenSSHClient(tmp_path).run(target, "add", input=b"1\n20\n300\n")
        wrong = OpenSSHClient(tmp_path).run(target, "add", input=b"one\n")
    assert (done.status, done.stdout) == (0, b"hello anybody\n321\n")
    assert (wrong.status, wrong.stderr.strip()) == (1, b"only numbers")


@pytest.mark.peer("sshd")
def test_what_programs_do_with_a_connection_works(tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with OpenSSHServer(tmp_path) as server:
        known_hosts.write_text(server.target.known_hosts(), "ascii")
        words = ["127.0.0.1", str(server.port), server.user, str(server.identity.path)]
        done = run("client_recipes.py", *words, str(known_hosts))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "it says: line 1",
        "it says: line 2",
        "it says: line 3",
        "ended with status 0",
        "['a', 'b']",
        "100000 lines, never in this program's hands",
        "b'1\\n2\\n'",
        "True 23",
        "127.0.0.1: 'echo no such thing >&2; exit 2' ended with status 2 / no such thing",
        "over a socket",
        "is ED25519 right?",
        "ED25519 it is",
        "authentication ('publickey',) ('publickey',) 1 ()",
    ]


@pytest.mark.peer("sshd")
def test_what_is_forwarded_comes_back_and_is_shared_works(tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with OpenSSHServer(tmp_path) as server:
        known_hosts.write_text(server.target.known_hosts(), "ascii")
        words = ["127.0.0.1", str(server.port), server.user, str(server.identity.path)]
        led = run("forwards.py", *words, str(known_hosts))
        done = run("tunnels.py", *words, str(known_hosts))
        waited = run("blocking_tunnels.py", *words, str(known_hosts))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "behind the port: SSH",
        "a proxy, too: True",
        "up: SSH",
        "up: SSH",
        "0 1 2 3 4 by 1",
    ]
    assert (led.returncode, led.stderr) == (0, "")
    assert led.stdout.splitlines() == [
        "from here: hello",
        "for some: hello",
        "by SOCKS: True hello",
        "from there: hello",
        "a proxy there: True",
        "from the server: hello",
        "the program itself: you said hello",
        "one by one: from 127.0.0.1",
        "a socket there: hello",
        "two sockets: hello",
        "behind it: here",
    ]
    assert (waited.returncode, waited.stderr) == (0, "")
    assert waited.stdout.splitlines() == [
        "through: 127.0.0.1",
        "behind the port: SSH",
        "0 1 2 3 4 by 1",
    ]


@pytest.mark.peer("sshd")
def test_what_programs_do_with_files_works(tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with OpenSSHServer(tmp_path) as server:
        known_hosts.write_text(server.target.known_hosts(), "ascii")
        words = ["127.0.0.1", str(server.port), server.user, str(server.identity.path)]
        done = run("file_recipes.py", *words, str(known_hosts))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "data True",
        "1000000",
        "['new'] [] 1",
        "b'line 0\\n' 999",
        "tree ['below'] ['new']",
        "below [] ['file']",
        "6 True",
    ]


def test_the_batch_and_the_copies_work(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path)
    inbox, here = hosts.host / "inbox", hosts.here
    (inbox / "photos").mkdir(parents=True)
    (inbox / "photos" / "one").write_bytes(b"one")
    (inbox / "old.tmp").write_bytes(b"")
    (here / "report.txt").write_bytes(b"report")
    done = hosts.run("sftp", "-b", str(EXAMPLES / "nightly.sftp"), "host")
    assert (done.returncode, done.stderr) == (0, b"")
    assert tree(inbox) == {
        "photos": None,
        "photos/one": b"one",
        "reports": None,
        "reports/latest.txt": b"report",
    }
    assert tree(here / "photos") == {"one": b"one"}
    for folder in (hosts.host / "backup", hosts.other / "inbox", here / "here", tmp_path / "bin"):
        folder.mkdir()
    (here / "a:b").write_bytes(b"colon")
    (here / "-draft").write_bytes(b"dash")
    scp = tmp_path / "bin" / "scp"
    scp.write_text(f'#!/bin/sh\nexec {" ".join(TELLIN)} scp -S {hosts.program} "$@"\n')
    scp.chmod(0o755)
    copied = subprocess.run(
        ["sh", EXAMPLES / "copies.sh"],
        cwd=here,
        env={**os.environ, "PATH": f"{scp.parent}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert (copied.returncode, copied.stderr) == (0, b"")
    assert {"back.txt", "restored", "last.txt"} <= {one.name for one in here.iterdir()}
    assert {"a:b", "-draft", "report.txt"} <= {one.name for one in inbox.iterdir()}
    assert tree(hosts.host / "backup") == {"photos": None, "photos/one": b"one"}
    assert tree(hosts.other) == {"inbox": None, "inbox/report.txt": b"report"}
    assert tree(here / "here") == {"report.txt": b"report"}


def test_what_servers_let_in_and_do_works() -> None:
    done = run("server_recipes.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "<Completed 'shout' on 127.0.0.1: ended with status 0, 6 + 0 written>",
        "b'back'",
        "eve@127.0.0.1: Permission denied (publickey).",
        "127",
        "['/', 'worker']",
        "b'LOUD'",
    ]


def test_what_is_served_as_files_works() -> None:
    done = run("serve_files.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "in a directory: hello from ann",
        "ann has ['hello.txt']",
        "in memory: b'uploaded'",
        "in an archive: ['read me'] b'packed'",
        "put big.bin: Quota exceeded",
        "remove hello.txt: Permission denied",
    ]


def test_what_threads_do_works() -> None:
    done = run("blocking_recipes.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "it says: b'2 lines from ann\\n'",
        "[0, 1, 2, 3, 4]",
        "3 lines from ann",
        "ended with status 3",
    ]


def test_what_is_done_with_keys_works() -> None:
    # A name that is short enough for a socket.
    with tempfile.TemporaryDirectory(prefix="tellin-") as home:
        agent = RunningAgent("tellin", Path(home))
        try:
            done = run("keys_recipes.py", str(agent.path))
        finally:
            agent.stop()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "authorized_keys:3 uptime False False",
        "1 line of 2",
        "new.example matches",
        "old.example unknown",
        "signed by ann",
        "None",
        "['ann']",
        "in as ann",
    ]


def test_a_configuration_is_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "Host *\n  Port 22\nHost web\n  Port 2222\n  User me\nHost other\n  User you\n"
    )
    done = run("lint_config.py", str(file), "web")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file} line 4: warning: Port 2222 never counts: {file} line 2 (Host *) says Port 22 before it",
        "    the first value counts: what is for everybody belongs at the end",
        "line 2: Port 22: counts",
        "line 4: Port 2222: shadowed by line 2",
        "line 5: User me: counts",
        "line 7: User you: elsewhere",
    ]


@cache
def keywords_page() -> str:
    """The page of keywords, as it is made before each build."""
    # `make check` and `make docs` bring it.
    pytest.importorskip("sphinx", reason="no sphinx here: it comes with what builds the pages")
    place = ROOT / "docs" / "_ext" / "tables.py"
    found = importlib.util.spec_from_file_location("tables", place)
    assert found is not None
    assert found.loader is not None
    tables = importlib.util.module_from_spec(found)
    found.loader.exec_module(tables)
    return "\n".join(tables.keywords())


def part_of(name: str) -> str:
    """What the page says of one file."""
    return keywords_page().split(f"\n## {name}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("name", "table"), [("ssh_config", SshConfig), ("sshd_config", SshdConfig)]
)
def test_the_reference_says_everything_of_every_keyword(
    name: str, table: type[SshConfig] | type[SshdConfig]
) -> None:
    text = part_of(name)
    for row in table.rows.values():
        ((_, said),) = re.findall(rf"^`({row.spelling})`\n: (.*)$", text, re.MULTILINE)
        assert said.startswith(row.doc.replace("<", "\\<").replace("*", "\\*"))
        assert f"takes `{row.kind.grammar}`" in said
        shown = " ".join(row.shown(row.default)) or "none"
        assert f"default `{shown}`" in said
        for letter in row.tokens:
            assert {"$": "${NAME}", "~": "~"}.get(letter, f"%{letter}") in said
        assert ("allowed in Match" in said) is row.in_match
        assert ("may be given several times" in said) is (row.merge is not None)
        assert ("run by the user's shell" in said) is row.by_shell
        assert ("unknown to OpenSSH 9.2" in said) is (row.spelling in table.newer)
        assert ("tellin's own" in said) is (row.spelling in table.foreign)
        assert (row.later.told if row.later else "") in said
        waits = "waits for" in said or "which tellin leaves out" in said
        assert waits is (row.later is not None)
    for alias, spelling in table.aliases.items():
        assert re.search(rf"^`{spelling}`\n: .*also spelt .*{alias}", text, re.MULTILINE)
    for found in table.known.values():
        if isinstance(found, Retired):
            assert f"| `{found.spelling}` |" in text


@pytest.mark.parametrize(
    ("name", "criteria"), [("ssh_config", CLIENT_CRITERIA), ("sshd_config", SERVER_CRITERIA)]
)
def test_the_reference_names_every_criterion_of_match(
    name: str, criteria: dict[str, bool]
) -> None:
    text = part_of(name)
    for criterion, takes in criteria.items():
        assert f"| `{criterion}` | {'one' if takes else 'none'} |" in text


def test_every_example_is_shown_in_a_page() -> None:
    shown = set()
    for page in (ROOT / "docs").rglob("*.md"):
        shown |= set(re.findall(r"examples/(\w+\.py)", page.read_text("utf-8")))
    assert shown == {path.name for path in EXAMPLES.glob("*.py")}
