# SPDX-License-Identifier: MIT
"""What a program says of a command, as the protocol has it: its text, its input, its output, its terminal."""

from collections.abc import Mapping
from typing import Any

from tellin.client.options import Command, Input
from tellin.connection.requests import PtyRequest
from tellin.errors import UsageError
from tellin.runtime.redirection import Collected
from tellin.runtime.terminal_modes import encode_pairs


def encoded_command(command: Command) -> bytes:
    """The text for the server's shell; raises UsageError."""
    data = command.encode("utf-8", "surrogateescape") if isinstance(command, str) else command
    if not isinstance(data, bytes):
        raise UsageError(
            f"a command is a text, which a shell on the server reads, and no {type(data).__name__}",
            hint="shlex.join(words) makes one of several words",
        )
    if b"\0" in data:
        raise UsageError("a NUL byte in a command")
    return data


def shown_command(command: Command) -> str:
    """The same for people."""
    return command if isinstance(command, str) else command.decode("utf-8", "replace")


def encoded_input(data: Input, encoding: str | None) -> bytes | bytearray | memoryview:
    """A command's whole input; raises UsageError."""
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    if not isinstance(data, str):
        raise UsageError(f"input is text or bytes, and no {type(data).__name__}")
    if encoding is None:
        raise UsageError("without an encoding, input is bytes")
    return data.encode(encoding)


def decoded_output(output: Collected | None, encoding: str | None, errors: str) -> Any:
    """What has been collected, as text where there is an encoding."""
    data = b"" if output is None else output.data()
    return data if encoding is None else data.decode(encoding, errors)


def terminal_wanted(
    name: str | None, size: tuple[int, int], modes: Mapping[int, int] | None
) -> PtyRequest | None:
    """The request for a terminal of that name; None for none."""
    if name is None:
        return None
    columns, rows = size
    return PtyRequest(name, columns, rows, 0, 0, encode_pairs(modes or {}))
