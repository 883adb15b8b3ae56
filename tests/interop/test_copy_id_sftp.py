# SPDX-License-Identifier: MIT
"""ssh-copy-id -s, then a login: to accounts that may only move files, and to others."""

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import Account, OpenSSHServer, Server
from tests.interop.tellin_peer import TellinServer

# Fixtures that need no more than another server.
from tests.interop.test_copy_id import OTHER, Run, authorized, give, home, run

__all__ = ["home", "run"]

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
    """It runs no command, and nothing but the account's own file lets anybody in by key."""
    subprocess.run(["rm", "-rf", account.home / ".ssh"], check=True)
    place = tmp_path / "server"
    place.mkdir()
    options: dict[str, object] = {
        "AuthorizedKeysFile": ".ssh/authorized_keys",
        "StrictModes": "yes",
        "PasswordAuthentication": "yes",
        "ForceCommand": "internal-sftp",
    }
    kind = TellinServer if request.param == "tellin" else OpenSSHServer
    with kind(place, account=account, options=options) as made:
        yield made


def test_an_account_that_may_only_move_files_gets_its_key(
    run: Run, account: Account, home: Path
) -> None:
    assert run("ssh-copy-id").returncode == 1
    assert not authorized(account).exists()
    done = run("ssh-copy-id", "-s")
    assert done.returncode == 0, done.stderr
    assert "1 key(s) remain to be installed" in done.stderr
    assert "Number of key(s) added: 1" in done.stdout
    assert 'with:   "sftp ' in done.stdout
    path = authorized(account)
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, account.uid)
    folder = path.parent.stat()
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid) == (0o700, account.uid)
    assert (
        path.read_text("ascii").split()[:2]
        == ((home / ".ssh" / "id_ed25519.pub").read_text("ascii").split()[:2])
    )
    # It lets its owner in, and a second time there is nothing to do.
    again = run("ssh-copy-id", "-s", batch=True)
    assert again.returncode == 0, again.stderr
    assert "All keys were skipped" in again.stderr


def test_what_is_there_stays_and_no_key_comes_twice(
    run: Run, account: Account, home: Path
) -> None:
    give(account, OTHER)
    assert run("ssh-copy-id", "-s", "-n").returncode == 0
    assert authorized(account).read_text("ascii") == OTHER
    assert run("ssh-copy-id", "-s").returncode == 0
    forced = run("ssh-copy-id", "-s", "-f")
    assert "Number of key(s) added: 0" in forced.stdout
    lines = authorized(account).read_text("ascii").splitlines()
    assert lines[0] == OTHER
    assert len(lines) == 2


def test_a_server_that_says_no_is_told_of(run: Run, account: Account, home: Path) -> None:
    account.home.joinpath(".ssh").write_text("no folder", "ascii")
    done = run("ssh-copy-id", "-s")
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert "Traceback" not in done.stderr
    account.home.joinpath(".ssh").unlink()
    (home / "askpass").write_text("#!/bin/sh\necho wrong\n")
    done = run("ssh-copy-id", "-s")
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
