# SPDX-License-Identifier: MIT
"""Becoming an account for good, and leaving nothing behind that could be used to go back."""

import os
import pwd
from typing import Final, Self

from tellin.errors import UsageError
from tellin.wire import Record

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_NO_CHANGE: Final = -1


class Account(Record):
    """A user of this machine, as the password database has it."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The account of that name, if there is one."""
        try:
            # A NUL would be the end of the name for the C library: "root\\0x" is not root.
            return cls._of(pwd.getpwnam(name)) if "\0" not in name else None
        except KeyError:
            return None

    @classmethod
    def numbered(cls, uid: int) -> Self | None:
        """The account of that user id, if there is one."""
        try:
            return cls._of(pwd.getpwuid(uid))
        except KeyError:
            return None

    @classmethod
    def _of(cls, entry: pwd.struct_passwd) -> Self:
        # An empty field means /bin/sh (passwd(5)).
        return cls(
            name=entry.pw_name,
            uid=entry.pw_uid,
            gid=entry.pw_gid,
            home=entry.pw_dir or "/",
            shell=entry.pw_shell or "/bin/sh",
        )

    def groups(self) -> list[int]:
        """All groups of the account, its own first; asks the name service, so not after a fork."""
        return os.getgrouplist(self.name, self.gid)


def become(account: Account, groups: list[int]) -> None:
    """Run as ``account`` from here on; raises PermissionError if that fails or could be undone.

    ``groups`` are fetched before (``account.groups()``). The order is forced: once the user id is
    given up, nothing else may be changed. CVE-2021-41617 was a missing setgroups.
    """
    ours = (os.getresuid(), os.getresgid())
    if os.geteuid() == 0:
        os.setgroups(groups)
    elif ours != ((account.uid,) * 3, (account.gid,) * 3):
        raise PermissionError(f"only root can become {account.name}")
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    _verify(account)


def _verify(account: Account) -> None:
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        raise PermissionError(f"did not become {account.name}")
    if account.uid == 0:
        return
    for ids in ((_NO_CHANGE, 0, _NO_CHANGE), (0, 0, 0)):
        try:
            os.setresuid(*ids)
        except PermissionError:
            continue
        raise PermissionError(f"root could be regained from {account.name}")


def refuse_inspection() -> None:
    """Nobody but root may read this process's memory: no core files, no ptrace, no /proc/PID/mem."""
    _control_process(_PR_SET_DUMPABLE, 0)


def lock_memory() -> bool:
    """Keep this process out of the swap; false where the limit on locked memory does not let us.

    A limit that fits what there is now would make the next allocation fail, so it is all or nothing.
    """
    import ctypes  # noqa: PLC0415  (see below)
    import resource  # noqa: PLC0415

    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.geteuid() != 0 and limit != resource.RLIM_INFINITY:
        return False
    locked: int = ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)
    return locked == 0


def refuse_new_privileges() -> None:
    """Nothing executed from here on gains rights by set-user-id bits or file capabilities."""
    _control_process(_PR_SET_NO_NEW_PRIVS, 1)


def _control_process(option: int, value: int) -> None:
    # Imported here: ctypes costs 5 ms, and only servers and agents come this way.
    import ctypes  # noqa: PLC0415

    library = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_ulong
    if library.prctl(option, number(value), number(0), number(0), number(0)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def close_inherited(*, keep: tuple[int, ...] = (), first: int = 3) -> None:
    """Close all descriptors from ``first`` on, except ``keep``: what leaked in must not leak on."""
    if any(fd < 0 for fd in keep):
        raise UsageError("a closed descriptor cannot be kept")
    at = first
    for fd in sorted(keep):
        if fd >= at:
            os.closerange(at, fd)
            at = fd + 1
    os.closerange(at, os.sysconf("SC_OPEN_MAX"))


def mend_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed.

    Otherwise the next socket or key file becomes standard output and is printed into.
    """
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)
