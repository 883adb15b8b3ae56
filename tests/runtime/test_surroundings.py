# SPDX-License-Identifier: MIT
"""The machine as a configuration sees it."""

import os
import pwd
import sys
import time
from pathlib import Path

import pytest

from tellin.config.ssh_reading import read_ssh_config
from tellin.errors import ConfigError
from tellin.runtime import surroundings
from tellin.runtime.surroundings import LocalSurroundings, interface_addresses

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime is for Linux")


def test_it_knows_the_user_and_the_machine() -> None:
    here = LocalSurroundings()
    account = pwd.getpwuid(os.getuid())
    assert (here.user, here.home, here.uid) == (account.pw_name, account.pw_dir, os.getuid())
    assert here.host == os.uname().nodename
    assert here.environment is os.environ
    assert here.home_of("root") == pwd.getpwnam("root").pw_dir
    assert here.home_of("no such user") is None
    with pytest.raises(ConfigError, match="no user has the number"):
        LocalSurroundings(uid=2**31 - 7)


def test_a_file_that_others_may_write_steers_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("Port 1\n")
    here = LocalSurroundings(home=str(tmp_path))
    file.chmod(0o644)
    assert here.read(str(file), guarded=True) == "Port 1\n"
    file.chmod(0o664)
    with pytest.raises(ConfigError, match=f"Bad owner or permissions on {file}"):
        here.read(str(file), guarded=True)
    assert here.read(str(file)) == "Port 1\n"
    (tmp_path / ".ssh").mkdir()
    file.rename(tmp_path / ".ssh" / "config")
    with pytest.raises(ConfigError, match="Bad owner or permissions"):
        read_ssh_config(here, "host")


def test_a_missing_file_is_none_and_other_trouble_an_error(tmp_path: Path) -> None:
    here = LocalSurroundings()
    assert here.read(str(tmp_path / "nosuch")) is None
    (tmp_path / "f").write_text("")
    assert here.read(str(tmp_path / "f" / "below")) is None
    with pytest.raises(ConfigError, match="not a regular file"):
        here.read(str(tmp_path))
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match=f"^{loop}: cannot be read"):
        here.read(str(loop))


def test_patterns_find_sorted_paths(tmp_path: Path) -> None:
    here = LocalSurroundings()
    for name in ("b.conf", "a.conf", "c.txt"):
        (tmp_path / name).write_text("")
    assert here.glob(f"{tmp_path}/*.conf") == [f"{tmp_path}/a.conf", f"{tmp_path}/b.conf"]
    assert here.glob(f"{tmp_path}/c.txt") == (f"{tmp_path}/c.txt",)
    assert here.glob(f"{tmp_path}/d.txt") == ()


def test_a_command_is_run_by_the_shell_and_answers_by_its_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = LocalSurroundings()
    assert here.run("exit 0")
    assert not here.run("exit 3")
    assert here.run(f"cat; echo flood; touch '{tmp_path}/done'")
    assert (tmp_path / "done").exists()
    assert capfd.readouterr().out == ""


def test_case_322_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "EXEC_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(ConfigError, match="has not ended"):
        LocalSurroundings().run("sleep 60 & sleep 60")
    assert time.monotonic() - start < 50


def test_a_shell_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/no/such/shell")
    with pytest.raises(ConfigError, match="cannot run /no/such/shell"):
        LocalSurroundings().run("true")


def test_the_addresses_of_the_interfaces_are_asked_of_the_kernel() -> None:
    found = interface_addresses()
    assert "127.0.0.1" in found
    assert len(set(found)) == len(found)
    assert LocalSurroundings().addresses() == found
