# SPDX-License-Identifier: MIT
"""Where a user's files and the system's lie: on Linux and macOS, and on Windows.

Paths are written as their system writes them; ``system`` is a name as in sys.platform. Of these,
programs of tellin's have been run on Linux alone.
"""

from collections.abc import Mapping
from typing import Final

from tellin.wire import Record

_WINDOWS: Final = "win32"
_PROGRAM_DATA: Final = r"C:\ProgramData"


class Locations(Record):
    """The places of one user and one system.

    ``user`` is the user's own directory for SSH, ``system`` that of all users.
    """

    user: str
    system: str
    separator: str

    @property
    def user_config(self) -> str:
        """The user's ssh_config."""
        return self.in_user("config")

    @property
    def system_config(self) -> str:
        """The system's ssh_config."""
        return self.in_system("ssh_config")

    @property
    def system_known_hosts(self) -> tuple[str, ...]:
        """The records of host keys for all users."""
        return tuple(map(self.in_system, ("ssh_known_hosts", "ssh_known_hosts2")))

    def in_user(self, path: str) -> str:
        """A file of the user's: the path itself if it is a whole one."""
        return path if self.is_whole(path) else self.user + self.separator + path

    def in_system(self, path: str) -> str:
        """A file of the system's: the path itself if it is a whole one."""
        return path if self.is_whole(path) else self.system + self.separator + path

    def is_whole(self, path: str) -> bool:
        """Whether a path leads to its file from everywhere."""
        if path.startswith("/"):
            return True
        if self.separator == "/":
            return False
        # A drive with its root, or another machine's share; "C:x" and "\\x" depend on where we are.
        return path.startswith("\\\\") or (path[1:2] == ":" and path[2:3] in {"\\", "/"})


def home_directory(system: str, environment: Mapping[str, str], account: str) -> str:
    """The user's home: on Windows %USERPROFILE%, elsewhere the account's.

    HOME does not count, as with OpenSSH: a program that is started by another user's shell (su,
    sudo) would otherwise take that one's files for its own.
    """
    if system != _WINDOWS:
        return account
    profile = environment.get("USERPROFILE")
    if profile:
        return profile.rstrip("\\/")
    drive, path = environment.get("HOMEDRIVE"), environment.get("HOMEPATH")
    return f"{drive}{path}".rstrip("\\/") if drive and path else account


def locations(system: str, environment: Mapping[str, str], home: str) -> Locations:
    """The places below a home directory and of the whole system."""
    if system == _WINDOWS:
        everybody = environment.get("PROGRAMDATA") or _PROGRAM_DATA
        return Locations(home + r"\.ssh", everybody.rstrip("\\/") + r"\ssh", "\\")
    # macOS keeps them where every other Unix does (sshd_config.d and all).
    return Locations(f"{home}/.ssh", "/etc/ssh", "/")
