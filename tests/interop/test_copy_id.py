# SPDX-License-Identifier: MIT
"""ssh-copy-id, then a login: for accounts without ~/.ssh, with a broken last line, and with the key there."""

import os
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.peers import Account, OpenSSHServer, Server, make_key
from tests.interop.tellin_peer import TellinServer

TELLIN = (sys.executable, "-m", "tellin")
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl other"

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize(
        "server",
        ["tellin", pytest.param("sshd", marks=pytest.mark.peer("sshd"))],
        indirect=True,
    ),
]


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, account: Account) -> Iterator[Server]:
    subprocess.run(["rm", "-rf", account.home / ".ssh"], check=True)
    place = tmp_path / "server"
    place.mkdir()
    options: dict[str, object] = {
        "AuthorizedKeysFile": ".ssh/authorized_keys",
        "StrictModes": "yes",
        "PasswordAuthentication": "yes",
    }
    kind = TellinServer if request.param == "tellin" else OpenSSHServer
    with kind(place, account=account, options=options) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, server: Server, account: Account) -> Path:
    """The home of somebody who knows the password."""
    path = tmp_path / "home"
    (path / ".ssh").mkdir(parents=True, mode=0o700)
    (path / ".ssh" / "known_hosts").write_text(server.target.known_hosts(), "ascii")
    program = path / "askpass"
    program.write_text(f"#!/bin/sh\necho '{account.password}'\n")
    program.chmod(0o755)
    make_key(path / ".ssh" / "id_ed25519")
    return path


@pytest.fixture
def run(home: Path, server: Server) -> Run:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SSH_")},
        "HOME": str(home),
        "SSH_ASKPASS": str(home / "askpass"),
        "SSH_ASKPASS_REQUIRE": "force",
    }
    where = [
        "-p", str(server.port),
        "-o", f"UserKnownHostsFile={home}/.ssh/known_hosts",
        "-o", f"IdentityFile={home}/.ssh/id_ed25519",
        "-F", "none",
    ]  # fmt: skip

    def go(
        program: str, *words: str | Path, batch: bool = False
    ) -> subprocess.CompletedProcess[str]:
        more = ["-o", "BatchMode=yes"] if batch else []
        destination = f"{server.user}@{server.target.host}"
        before = [str(word) for word in words if program != "ssh"]
        behind = [str(word) for word in words if program == "ssh"]
        return subprocess.run(
            [*TELLIN, program, *where, *more, *before, destination, *behind],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return go


def authorized(account: Account) -> Path:
    return account.home / ".ssh" / "authorized_keys"


def give(account: Account, text: str) -> None:
    path = authorized(account)
    path.parent.mkdir(mode=0o700)
    path.write_text(text, "ascii")
    path.chmod(0o600)
    account.own(path.parent, path)


def test_an_account_without_a_folder_for_keys(run: Run, account: Account, home: Path) -> None:
    assert run("ssh", "true", batch=True).returncode == 255
    done = run("ssh-copy-id")
    assert done.returncode == 0, done.stderr
    assert "Number of key(s) added: 1" in done.stdout
    assert "1 key(s) remain to be installed" in done.stderr
    path = authorized(account)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert run("ssh", "echo in", batch=True).stdout == "in\n"
    # A second time there is nothing to do.
    again = run("ssh-copy-id")
    assert again.returncode == 0
    assert "All keys were skipped" in again.stderr
    assert len(path.read_text("ascii").splitlines()) == 1


def test_a_last_line_without_its_end_stays_a_line_of_its_own(
    run: Run, account: Account, home: Path
) -> None:
    give(account, OTHER)
    assert run("ssh-copy-id").returncode == 0
    lines = authorized(account).read_text("ascii").splitlines()
    assert lines[0] == OTHER
    assert lines[1].split()[1] == (home / ".ssh" / "id_ed25519.pub").read_text("ascii").split()[1]
    assert run("ssh", "echo in", batch=True).stdout == "in\n"


def test_a_key_that_is_there_with_options_is_not_added_again(
    run: Run, account: Account, home: Path
) -> None:
    public = (home / ".ssh" / "id_ed25519.pub").read_text("ascii").strip()
    give(account, f'from="192.0.2.1" {public}\n')
    done = run("ssh-copy-id", "-f")
    assert "Number of key(s) added: 0" in done.stdout
    assert authorized(account).read_text("ascii").count(public.split()[1]) == 1


def test_a_key_in_a_comment_lets_nobody_in_and_is_added(
    run: Run, account: Account, home: Path
) -> None:
    public = (home / ".ssh" / "id_ed25519.pub").read_text("ascii")
    give(account, f"  # {public}")
    assert "Number of key(s) added: 1" in run("ssh-copy-id").stdout
    assert authorized(account).read_text("ascii").splitlines()[1] == public.strip()
    assert run("ssh", "echo in", batch=True).stdout == "in\n"


def test_what_to_type_next_can_be_typed(run: Run, server: Server) -> None:
    done = run("ssh-copy-id", "-o", "SetEnv=A='b c'")
    (line,) = [one for one in done.stdout.splitlines() if "Now try" in one]
    words = shlex.split(line.split('"', 1)[1].rpartition('"')[0])
    assert words[:3] == ["ssh", "-p", str(server.port)]
    assert words[-3:] == ["-o", "SetEnv=A='b c'", f"{server.user}@{server.target.host}"]


def test_no_agent_and_no_windows_are_forwarded_to_a_host_that_is_new(run: Run) -> None:
    done = run("ssh-copy-id", "-x", "-o", "ForwardAgent=yes")
    said = [line for line in done.stderr.splitlines() if ": + " in line]
    assert len(said) == 2
    assert all(" tellin ssh -a -x " in line for line in said)


def test_a_host_that_cannot_be_reached_is_tried_once(home: Path) -> None:
    """Not for each key, and not once more to install them."""
    lines = [make_key(home / f"key{number}").public for number in range(3)]
    (home / "many.pub").write_text("".join(f"{line}\n" for line in lines))
    with socket.socket() as taken:
        # Bound, and nobody listens: the port is nobody else's meanwhile.
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*TELLIN, "ssh-copy-id", "-F", "none", "-i", home / "many", "-p", port, "127.0.0.1"],
            env={**os.environ, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1
    cause = f"ERROR: ssh: connect to host 127.0.0.1 port {port}: Connection refused"
    assert done.stderr.count("Connection refused") == 1
    assert f"ssh-copy-id: {cause}" in done.stderr
    assert "remain to be installed" not in done.stderr


def test_a_dry_run_changes_nothing(run: Run, account: Account) -> None:
    done = run("ssh-copy-id", "-n")
    assert done.returncode == 0
    assert "would have been added: 1" in done.stdout
    assert not authorized(account).exists()


def test_another_key_and_another_file(run: Run, account: Account, home: Path) -> None:
    other = make_key(home / "other", "rsa")
    done = run("ssh-copy-id", "-i", other.path, "-t", "keys/file")
    assert done.returncode == 0, done.stderr
    path = account.home / "keys" / "file"
    assert path.read_text("ascii").split()[:2] == other.public.split()[:2]
    subprocess.run(["rm", "-rf", path.parent], check=True)


def test_what_goes_wrong_is_said(run: Run, home: Path) -> None:
    (home / "askpass").write_text("#!/bin/sh\necho wrong\n")
    done = run("ssh-copy-id")
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert run("ssh-copy-id", "-t", "a'b").returncode == 1
    assert run("ssh-copy-id", "-i", "/nonexistent").returncode == 1
    assert run("ssh-copy-id", "another").returncode == 1
