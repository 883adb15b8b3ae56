# SPDX-License-Identifier: MIT
"""What a program gives to the library is looked at here, before anything is done with it."""

import os
from collections.abc import Mapping
from typing import Final, TypeAlias

from tellin.errors import UsageError
from tellin.runtime.redirection import refuse_tls

Path: TypeAlias = str | os.PathLike[str]
"""A file's name, as all of the interface takes it."""

_STREAM: Final = ("recv_into", "sendmsg", "shutdown", "fileno", "close")


def check_seconds(**given: object) -> None:
    """Raise UsageError for what is no time to wait: neither a number from 0 on, nor None."""
    for name, seconds in given.items():
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise UsageError(f"{name} is a number of seconds, and no {type(seconds).__name__}")
        # Not a number compares with nothing.
        if not seconds >= 0:
            raise UsageError(f"{name} is a number of seconds, and not {seconds}")


def check_variables(variables: object) -> None:
    """Raise UsageError for what no environment can hold."""
    if variables is None:
        return
    if not isinstance(variables, Mapping):
        raise UsageError(f"env is a mapping, and no {type(variables).__name__}")
    for name, value in variables.items():
        for part, what in ((name, "the name"), (value, "the value")):
            if not isinstance(part, str):
                raise UsageError(f"{what} of a variable is a text, and no {type(part).__name__}")
            if "\0" in part:
                raise UsageError(f"a NUL in {what} of the variable {name!a}")
            try:
                part.encode("utf-8")
            except UnicodeEncodeError:
                # Without the error itself: it holds the text.
                raise UsageError(
                    f"{what} of the variable {name!a} has characters that cannot be sent"
                ) from None
        if not name or "=" in name:
            raise UsageError(f"{name!a} is no name of a variable")


def check_stream(sock: object) -> None:
    """Raise UsageError for what no connection can run over."""
    refuse_tls(sock)
    if not all(callable(getattr(sock, name, None)) for name in _STREAM):
        raise UsageError(
            f"{type(sock).__name__} is no connected socket",
            hint="over a process: start it with one end of a socket pair as stdin and stdout, and"
            " give the other end",
        )
