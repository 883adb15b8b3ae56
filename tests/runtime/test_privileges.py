# SPDX-License-Identifier: MIT
"""Becoming somebody else for good, tried in processes of their own."""

import os
import pwd
import subprocess
import sys

import pytest

from tellin.errors import UsageError
from tellin.runtime import privileges
from tellin.runtime.privileges import Account

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PROLOGUE = """
import ctypes, os
from tellin.runtime import privileges
from tellin.runtime.privileges import Account
nobody = Account.named("nobody")
"""


def python(code: str, *, pass_fds: tuple[int, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + code],
        capture_output=True,
        text=True,
        pass_fds=pass_fds,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_accounts_are_found_by_name_and_number() -> None:
    mine = Account.numbered(os.getuid())
    assert mine is not None
    assert Account.named(mine.name) == mine
    assert mine.shell.startswith("/")
    assert mine.gid in mine.groups()


def test_a_name_with_a_nul_is_nobodys_name() -> None:
    assert Account.named("root\0x") is None
    assert Account.named("no-such-user-here") is None
    assert Account.numbered(4_000_000_000) is None


def test_empty_fields_of_the_password_database_have_their_meaning() -> None:
    entry = pwd.struct_passwd(("a", "x", 5, 6, "", "", ""))
    found = Account._of(entry)
    assert (found.home, found.shell) == ("/", "/bin/sh")


@needs_root
def test_becoming_a_user_takes_all_ids_and_groups_and_cannot_be_undone() -> None:
    said = python(
        """
privileges.become(nobody, nobody.groups())
ids = {*os.getresuid()} == {nobody.uid} and {*os.getresgid()} == {nobody.gid}
back = 0
for change in (os.setuid, os.seteuid, os.setgid):
    try:
        change(0)
    except PermissionError:
        back += 1
print(ids, back, sorted(os.getgroups()) == sorted(set(nobody.groups())))
"""
    )
    assert said == "True 3 True"


@needs_root
def test_a_way_back_to_root_is_noticed() -> None:
    said = python(
        """
real = os.setresuid
os.setresuid = lambda *ids: real(-1, nobody.uid, 0) if ids == (nobody.uid,) * 3 else real(*ids)
os.getresuid = lambda: (nobody.uid,) * 3
try:
    privileges.become(nobody, [])
except PermissionError as error:
    print(error)
"""
    )
    assert said == "root could be regained from nobody"


@needs_root
def test_ids_that_did_not_change_are_noticed() -> None:
    said = python(
        """
os.setresuid = lambda *ids: None
try:
    privileges.become(nobody, [])
except PermissionError as error:
    print(error)
"""
    )
    assert said == "did not become nobody"


@needs_root
def test_an_ordinary_user_can_become_only_himself() -> None:
    said = python(
        """
privileges.become(nobody, [])
privileges.become(nobody, [])
try:
    privileges.become(Account.numbered(0), [])
except PermissionError as error:
    print(error)
"""
    )
    assert said == "only root can become root"


def test_a_process_can_refuse_to_be_looked_into() -> None:
    said = python(
        """
library = ctypes.CDLL(None)
before = library.prctl(3, 0, 0, 0, 0)
privileges.refuse_inspection()
print(before, library.prctl(3, 0, 0, 0, 0))
"""
    )
    assert said == "1 0"


def test_a_process_can_refuse_new_privileges() -> None:
    said = python("privileges.refuse_new_privileges(); print(ctypes.CDLL(None).prctl(39,0,0,0,0))")
    assert said == "1"


def test_a_refused_prctl_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid"):
        privileges._control_process(-5, 0)


def test_inherited_descriptors_are_closed_except_the_kept() -> None:
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    kept = extra[1], extra[3]
    said = python(
        f"privileges.close_inherited(keep={kept!r})\n"
        "def is_open(fd):\n"
        "    try: os.fstat(fd)\n"
        "    except OSError: return False\n"
        "    return True\n"
        f"print([fd for fd in (0, 1, 2, *{extra!r}) if is_open(fd)])",
        pass_fds=tuple(extra),
    )
    assert said == str([0, 1, 2, *kept])
    for fd in extra:
        os.close(fd)


def test_a_closed_descriptor_cannot_be_kept() -> None:
    with pytest.raises(UsageError):
        privileges.close_inherited(keep=(-1,))


def test_missing_standard_descriptors_are_filled() -> None:
    said = python(
        """
os.close(0); os.close(2)
privileges.mend_standard_descriptors()
print(os.readlink("/proc/self/fd/0"), os.readlink("/proc/self/fd/2"), os.get_inheritable(2))
"""
    )
    assert said == "/dev/null /dev/null True"
