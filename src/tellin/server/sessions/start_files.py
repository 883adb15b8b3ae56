# SPDX-License-Identifier: MIT
"""~/.ssh/rc and /etc/ssh/sshrc: what runs before a user's shell, command or subsystem."""

import os
from typing import Final

from tellin.runtime.privileges import Account

SYSTEM_FILE: Final = "/etc/ssh/sshrc"
_SHELL: Final = "/bin/sh"


def start_file(account: Account, *, own: bool, system: str = SYSTEM_FILE) -> list[str]:
    """The command that runs before a session; none where there is no such file.

    Of the two the user's stands before the system's; ``own`` says whether it counts. It is run by
    the account's own shell, which may forbid that.
    """
    path = f"{account.home}/.ssh/rc"
    if own and os.path.exists(path):  # noqa: PTH110 - as the account has it
        return [account.shell, "-c", f"{_SHELL} {path}"]
    return [_SHELL, system] if os.path.exists(system) else []  # noqa: PTH110 - the same
