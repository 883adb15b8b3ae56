# SPDX-License-Identifier: MIT
"""ssh-keygen and long lists: none is read in part, rewritten in part, or changed behind somebody's back."""

import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.programs.keygen_twins import KEYS, TELLIN, Twins

from tellin.errors import KeyFileError
from tellin.keys.revocation import RevocationList
from tellin.programs.command import load
from tellin.programs.keygen import files as keygen_files

LINE = KEYS["a"].public.with_comment("").to_line()
# More than a megabyte of hosts.
HOSTS = "".join(f"host{number}.example.org {LINE}\n" for number in range(12_000))


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


def test_r189_a_long_file_of_hosts_loses_the_one_host_alone(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text(HOSTS)
    assert load("ssh-keygen").run(["-R", "host7.example.org", "-f", str(path)]) == 0
    assert path.read_text() == HOSTS.replace(f"host7.example.org {LINE}\n", "")
    assert path.with_name("known.old").read_text() == HOSTS


def test_r189_a_long_file_of_hosts_is_searched_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text(HOSTS)
    assert load("ssh-keygen").run(["-q", "-F", "host11999.example.org", "-f", str(path)]) == 0


def test_r189_a_long_list_revokes_all_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "ca.pub").write_text(LINE)
    words = [f"id: somebody-with-number-{number}\n" for number in range(40_000)]
    (tmp_path / "list").write_text("".join(words))
    made = tmp_path / "krl"
    arguments = ["-q", "-k", "-f", made, "-s", tmp_path / "ca.pub", tmp_path / "list"]
    assert load("ssh-keygen").run([str(word) for word in arguments]) == 0
    (section,) = RevocationList.parse(made.read_bytes()).certificates.values()
    assert len(section.key_ids) == 40_000
    # What was made is a megabyte too, and is asked and added to.
    assert load("ssh-keygen").run(["-Q", "-f", str(made), str(tmp_path / "ca.pub")]) == 0
    (tmp_path / "more").write_text("id: another\n")
    arguments = ["-q", "-k", "-u", "-f", made, "-s", tmp_path / "ca.pub", tmp_path / "more"]
    assert load("ssh-keygen").run([str(word) for word in arguments]) == 0
    (section,) = RevocationList.parse(made.read_bytes()).certificates.values()
    assert len(section.key_ids) == 40_001


def test_r189_a_file_that_is_too_long_is_refused_and_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"x" * 100)
    assert keygen_files.read(str(path), most=100) == b"x" * 100
    with pytest.raises(KeyFileError, match="longer than 99 bytes"):
        keygen_files.read(str(path), most=99)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b"x" * 1000)
    with os.fdopen(reading), pytest.raises(KeyFileError, match="longer than 999 bytes"):
        keygen_files.read(f"/dev/fd/{reading}", most=999)


def test_case_313_who_forgets_a_host_waits_for_who_adds_one(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text(f"gone {LINE}\nstays {LINE}\n")
    words = [str(TELLIN), "ssh-keygen", "-R", "gone", "-f", str(path)]
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as forgetting:
            # A second is more than the program takes where nobody holds it up.
            time.sleep(1)
            assert forgetting.poll() is None
            with path.open("a") as file:
                file.write(f"new {LINE}\n")
            fcntl.flock(held, fcntl.LOCK_UN)
            assert forgetting.wait(60) == 0
    assert path.read_text() == f"stays {LINE}\nnew {LINE}\n"


def test_a_link_to_the_file_of_hosts_stays_one(twins: Twins) -> None:
    twins.put("elsewhere", f"gone {LINE}\nstays {LINE}\n")
    (twins.ours / "known").symlink_to("elsewhere")
    assert twins.run_ours("-R", "gone", "-f", "known").status == 0
    assert (twins.ours / "known").is_symlink()
    assert (twins.ours / "elsewhere").read_text() == f"stays {LINE}\n"


@pytest.mark.peer("ssh-keygen")
def test_a_list_from_the_end_of_time_is_shown(twins: Twins) -> None:
    twins.put("krl", RevocationList(generated=(1 << 64) - 1).to_bytes())
    found = twins.run_ours("-Q", "-l", "-f", "krl")
    assert (found.status, found.err) == (0, "")
    assert twins.run_theirs("-Q", "-l", "-f", "krl").status == 0
