# SPDX-License-Identifier: MIT
"""Keys on PKCS#11 tokens: in the agent, at logins, listed by ssh-keygen; a module is nobody's but its helper's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.agents import SECONDS, TELLIN, RunningAgent, wait_for
from tests.interop.peers import OpenSSHServer
from tests.interop.softhsm import KINDS, MODULE, PIN, SoftToken, type_of
from tests.interop.target import make_key, my_name

pytestmark = pytest.mark.peer("softhsm")
TYPES = {
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-ed25519",
}


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> SoftToken:
    return SoftToken(tmp_path_factory.mktemp("token"))


def asks(directory: Path, answer: str) -> dict[str, str]:
    """What makes programs be answered so."""
    program = directory / f"askpass{len(list(directory.iterdir()))}"
    program.write_text(f'#!/bin/sh\necho "$1" >> {directory}/asked\necho {answer}\n')
    program.chmod(0o755)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


@pytest.fixture
def holder(token: SoftToken, home: Path) -> Iterator[RunningAgent]:
    """An agent that may load modules from where Debian has them."""
    made = RunningAgent("tellin", home, **token.environment)
    made.environment |= asks(home, PIN)
    yield made
    made.stop()


def helpers_of(process: int) -> list[str]:
    """The command lines of a process's children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_text() for child in children]


@pytest.mark.parametrize(
    "user", ["tellin", pytest.param("openssh", marks=pytest.mark.peer("openssh"))]
)
def test_keys_of_a_token_are_added_used_and_removed(
    holder: RunningAgent, user: str, home: Path
) -> None:
    said = holder.add(user, "-s", MODULE).stderr
    assert said.splitlines() == [f"Card added: {MODULE}"]
    lines = holder.add(user, "-L").stdout.splitlines()
    assert {type_of(line) for line in lines} == TYPES
    assert sorted(line.split(None, 2)[2] for line in lines) == sorted(
        f"a {kind} key" for kind in KINDS
    )
    for number, line in enumerate(lines):
        (home / f"{number}.pub").write_text(line + "\n")
        assert holder.add(user, "-T", home / f"{number}.pub").returncode == 0
    assert any("ssh-pkcs11-helper" in words for words in helpers_of(holder.process.pid))
    assert holder.add(user, "-e", MODULE).stderr.splitlines() == [f"Card removed: {MODULE}"]
    assert holder.add(user, "-l", check=False).returncode == 1
    wait_for(lambda: not helpers_of(holder.process.pid), "the helper stays behind its keys")


def test_r151_the_agent_never_loads_a_module_into_itself(holder: RunningAgent) -> None:
    holder.add("tellin", "-s", MODULE)
    maps = Path(f"/proc/{holder.process.pid}/maps")
    if os.geteuid() != 0:
        pytest.skip("only root may look into a process that is not dumpable")
    assert "softhsm" not in maps.read_text()
    assert "pkcs11" not in maps.read_text()


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "{home}/module.so",
        "{home}/link.so",
        "relative.so",
        "/usr/lib/../../etc/passwd",
    ],
)
def test_r151_a_module_from_where_none_may_be_is_not_loaded(
    holder: RunningAgent, place: str, home: Path
) -> None:
    """CVE-2023-38408, CVE-2016-10009."""
    (home / "module.so").write_bytes(b"")
    (home / "link.so").symlink_to("/etc/passwd")
    done = holder.add("tellin", "-s", place.format(home=home), check=False)
    assert done.returncode == 1
    assert "agent refused operation" in done.stderr
    assert helpers_of(holder.process.pid) == []


def test_r151_p_says_where_modules_may_be(token: SoftToken, home: Path) -> None:
    holder = RunningAgent("tellin", home, "-P", "/opt/*", **token.environment)
    holder.environment |= asks(home, PIN)
    try:
        assert holder.add("tellin", "-s", MODULE, check=False).returncode == 1
    finally:
        holder.stop()


def test_a_wrong_pin_adds_nothing_and_leaves_no_helper(holder: RunningAgent, home: Path) -> None:
    holder.environment |= asks(home, "9999")
    done = holder.add("tellin", "-s", MODULE, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [f'Could not add card "{MODULE}": agent refused operation'],
    )
    wait_for(lambda: not helpers_of(holder.process.pid), "a helper stays behind")
    holder.environment |= asks(home, PIN)
    holder.add("tellin", "-s", MODULE)


def test_r153_constraints_reach_every_key_of_a_token(holder: RunningAgent) -> None:
    """CVE-2023-51384: they reached the first."""
    said = holder.add("tellin", "-t", "2", "-s", MODULE).stderr
    assert said.splitlines()[0] == f"Card added: {MODULE}"
    wait_for(
        lambda: holder.add("tellin", "-l", check=False).returncode == 1, "some keys do not expire"
    )


def test_sigusr1_ends_helpers_too(holder: RunningAgent) -> None:
    holder.add("tellin", "-s", MODULE)
    assert helpers_of(holder.process.pid)
    holder.process.send_signal(10)
    wait_for(lambda: not helpers_of(holder.process.pid), "a helper stays behind")
    assert holder.add("tellin", "-l", check=False).returncode == 1


def test_a_helper_that_dies_costs_a_signature_and_no_more(
    holder: RunningAgent, home: Path
) -> None:
    holder.add("tellin", "-s", MODULE)
    line = holder.add("tellin", "-L").stdout.splitlines()[0]
    (home / "one.pub").write_text(line + "\n")
    pid = holder.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(child), 9)
    # The next one does not know the PIN.
    assert holder.add("tellin", "-T", home / "one.pub", check=False).returncode == 1
    holder.add("tellin", "-e", MODULE)
    holder.add("tellin", "-s", MODULE)
    holder.add("tellin", "-T", home / "one.pub")


@pytest.mark.peer("ssh-keygen")
def test_certificates_are_added_with_the_keys_of_a_token(holder: RunningAgent, home: Path) -> None:
    holder.add("tellin", "-s", MODULE)
    line = next(one for one in holder.add("tellin", "-L").stdout.splitlines() if "ed25519" in one)
    holder.add("tellin", "-D")
    (home / "key.pub").write_text(line + "\n")
    authority = make_key(home / "authority")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority.path, "-I", "who", "-n", my_name(), home / "key.pub"],
        check=True,
    )
    holder.add("tellin", "-C", "-s", MODULE, home / "key-cert.pub")
    (shown,) = holder.add("tellin", "-L").stdout.splitlines()
    assert shown.startswith("ssh-ed25519-cert-v01@openssh.com ")
    holder.add("tellin", "-D")
    holder.add("tellin", "-s", MODULE, home / "key-cert.pub")
    assert len(holder.add("tellin", "-L").stdout.splitlines()) == len(KINDS) + 1


@pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"])
@pytest.mark.parametrize(
    "user", ["tellin", pytest.param("openssh", marks=pytest.mark.peer("openssh"))]
)
@pytest.mark.peer("sshd")
def test_a_login_with_a_key_of_a_token_through_the_agent(
    holder: RunningAgent, user: str, kind: str, tmp_path: Path
) -> None:
    holder.add("tellin", "-s", MODULE)
    lines = holder.add("tellin", "-L").stdout.splitlines()
    (wanted,) = [line for line in lines if line.startswith(kind + " ")]
    with OpenSSHServer(tmp_path) as server:
        (server.directory / "authorized_keys").write_text(wanted + "\n")
        done = holder.logs_in(user, server.target)
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr


@pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"])
@pytest.mark.peer("sshd")
def test_pkcs11provider_logs_in_and_asks_for_the_pin_once(
    token: SoftToken, kind: str, home: Path, tmp_path: Path
) -> None:
    listed = keygen(token, "-D", MODULE).stdout.splitlines()
    (wanted,) = [line for line in listed if line.startswith(kind + " ")]
    holder = RunningAgent("tellin", home, **token.environment)
    holder.environment |= asks(home, PIN)
    try:
        with OpenSSHServer(tmp_path) as server:
            (server.directory / "authorized_keys").write_text(wanted + "\n")
            option = ("-o", f"PKCS11Provider={MODULE}")
            done = holder.logs_in("tellin", server.target, *option, batch="no")
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
            assert (home / "asked").read_text().startswith("Enter PIN for 'a ")
            assert len((home / "asked").read_text().splitlines()) == 1
            # In batch nobody is asked, and nothing is signed.
            batch = holder.logs_in("tellin", server.target, "-I", MODULE)
            assert batch.returncode == 255
            assert "the token wants a PIN" in batch.stderr
    finally:
        holder.stop()


def keygen(token: SoftToken, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TELLIN, "ssh-keygen", *words],
        env={**os.environ, **token.environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
        check=check,
    )


def test_ssh_keygen_lists_what_a_token_has(token: SoftToken) -> None:
    lines = keygen(token, "-D", MODULE).stdout.splitlines()
    assert {type_of(line) for line in lines} == TYPES
    assert {line.split()[0] for line in lines} == TYPES
    assert "a rsa key" in {line.split(None, 2)[2] for line in lines}


@pytest.mark.parametrize(
    ("module", "words"),
    [("/nonexistent.so", "No such file"), ("/etc/passwd", "invalid ELF header")],
)
def test_ssh_keygen_says_what_is_wrong_with_a_module(
    token: SoftToken, module: str, words: str
) -> None:
    done = keygen(token, "-D", module, check=False)
    assert done.returncode == 255
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_package_it_says_what_to_install(token: SoftToken, tmp_path: Path) -> None:
    (tmp_path / "pkcs11.py").write_text("raise ImportError")
    done = subprocess.run(
        [*TELLIN, "ssh-keygen", "-D", MODULE],
        env={**os.environ, **token.environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 255
    assert "python-pkcs11" in done.stderr


def test_a_module_that_never_answers_is_given_up(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tellin.agent.tokens import TokenError
    from tellin.client.authentication.tokens import PKCS11, TokenHelper, list_module

    # A package of that name that hangs as a module might.
    (tmp_path / "pkcs11.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with TokenHelper(PKCS11, seconds=1) as helper, pytest.raises(TokenError, match="not answer"):
        list_module(helper, MODULE)


def test_a_helper_started_by_hand_says_what_it_is_for() -> None:
    for name in ("ssh-pkcs11-helper", "ssh-sk-helper"):
        done = subprocess.run(
            [sys.executable, "-m", "tellin", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 1
        assert "started by ssh" in done.stderr
