# SPDX-License-Identifier: MIT
"""What the sessions of a login are and may do: what a configuration and the keys of that login come to."""

from collections.abc import Callable, Mapping

from tellin.runtime.privileges import Account
from tellin.wire import Record


def _unheard(level: int, line: str) -> None:
    """For those who keep no log."""


def _not_alone() -> bool:
    return False


class SessionRules(Record):
    """What the sessions of one login are and may do."""

    account: Account
    environment: Mapping[str, str]  # set whatever the client says
    accepts: Callable[[str], bool]  # which variables of the client's are taken (AcceptEnv)
    subsystems: Mapping[str, str]
    forced_command: str | None = None  # an empty one is one too: whoever has it runs nothing
    forced_by: str = ""  # where that stands, for the log
    permit_terminal: bool = True
    change_user: bool = False  # whether the child must become the account
    own_process: bool = False  # whether this process has no other work that needs its directory
    alone: Callable[[], bool] = _not_alone  # whether a connection has no other channel
    start_files: bool = False  # whether sshrc runs first; needs a process of its own
    user_start_file: bool = False  # whether ~/.ssh/rc does in its place
    on_start: Callable[[bool], object] | None = None  # gets whether somebody sits at a terminal
    in_chroot: bool = False  # then a home need not be there
    ignore: Callable[[bytes], object] | None = None  # sends bytes that mean nothing
    greet: bool = False  # whether a shell on a terminal begins with /etc/motd
    password_expired: bool = False  # then passwd(1) is all that there is
    note: Callable[[int, str], object] = _unheard  # takes a level and a line
    source: str = ""  # ``ADDRESS port NUMBER``
    client: str = ""  # what it calls itself
