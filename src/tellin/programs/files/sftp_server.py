# SPDX-License-Identifier: MIT
"""sftp-server: the user's files for one client, on standard input and output; sshd starts it."""

import os
from typing import Final

from tellin.errors import UsageError
from tellin.programs.command import Failure, Program
from tellin.runtime.privileges import Account
from tellin.server.files.service import OPTIONS, REQUEST_NAMES, USAGE, parse_wishes, serve_files

_FAILED: Final = 1


def run(arguments: list[str]) -> int:
    """Serve until the client is gone."""
    try:
        wishes = parse_wishes(arguments)
    except UsageError as error:
        raise Failure(str(error), usage=USAGE, status=_FAILED) from None
    if wishes.help:
        raise Failure(usage=USAGE, status=_FAILED)
    if wishes.query:
        if wishes.query != "requests":
            raise Failure("Invalid query type", status=_FAILED)
        print("\n".join(REQUEST_NAMES))
        return 0
    account = Account.numbered(os.geteuid())
    if account is None:
        raise Failure(f"No user found for uid {os.geteuid()}", status=_FAILED)
    return serve_files(wishes, account)


PROGRAM: Final = Program(
    "sftp-server", "serve files to one client, for sshd", run, options=OPTIONS
)
