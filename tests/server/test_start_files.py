# SPDX-License-Identifier: MIT
"""What runs before a session, whose file counts, and what programs see of it."""

import os
import signal
from pathlib import Path

import pytest

from tellin.keys.private import PrivateKey
from tellin.runtime.preludes import run_first
from tellin.runtime.privileges import Account
from tellin.server.login_record import LoginRecord, lines
from tellin.server.sessions.start_files import start_file
from tellin.userauth.questions import Factor


def account(home: Path) -> Account:
    return Account("somebody", os.getuid(), os.getgid(), str(home), "/bin/sh")


def test_the_users_file_stands_before_the_systems(tmp_path: Path) -> None:
    who, system = account(tmp_path), tmp_path / "sshrc"
    assert start_file(who, own=True, system=str(system)) == []
    system.write_text("true\n")
    assert start_file(who, own=True, system=str(system)) == ["/bin/sh", str(system)]
    (tmp_path / ".ssh").mkdir()
    mine = tmp_path / ".ssh" / "rc"
    mine.write_text("true\n")
    assert start_file(who, own=True, system=str(system)) == ["/bin/sh", "-c", f"/bin/sh {mine}"]
    assert start_file(who, own=False, system=str(system)) == ["/bin/sh", str(system)]


def test_it_runs_to_its_end_reads_nothing_and_does_not_stop_the_session(
    capfd: pytest.CaptureFixture[str],
) -> None:
    environment = {"A": "b", "PATH": "/usr/bin:/bin"}
    for first, said in (
        (["/bin/sh", "-c", "cat; echo $A; exit 3"], "b\n"),
        (["/nonexistent", "x"], ""),
    ):
        assert run_first(first, "", [], environment, inside=lambda: 5) == 5
        assert capfd.readouterr().out == said
    # It is meant for a child, and leaves the signals as a program expects them.
    before = signal.getsignal(signal.SIGPIPE)
    try:
        assert run_first(["/bin/true"], "/nonexistent", ["x"], environment) == 127
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert "No such file" in capfd.readouterr().err


def test_a_record_says_what_was_shown_and_is_its_owners_alone() -> None:
    key = PrivateKey.generate("ed25519").public
    factors = (
        Factor("publickey", "", key, None),
        Factor("keyboard-interactive", "password", None, None),
    )
    said = lines(factors)
    assert said == f"publickey {' '.join(key.to_line().split()[:2])}\nkeyboard-interactive\n"
    record = LoginRecord(factors)
    path = Path(record.path)
    assert path.read_text() == said
    assert path.stat().st_mode & 0o777 == 0o600
    record.remove()
    record.remove()
    assert not path.exists()
