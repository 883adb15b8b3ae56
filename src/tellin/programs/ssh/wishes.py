# SPDX-License-Identifier: MIT
"""What a run of ``ssh`` wants of its session, whoever's connection it is on."""

import os
from collections.abc import Callable
from typing import Any

from tellin.config.ssh_config import SshConfig
from tellin.programs.command import Failure
from tellin.runtime.journal import Journal


def wanted_command(words: list[str], config: SshConfig) -> bytes:
    """The command as the shell on the other side gets it, or nothing for a shell."""
    configured = config.remote_command
    if words and configured and config.session_type == "default":
        raise Failure("Cannot execute command-line and remote command.")
    command = os.fsencode(" ".join(words)) if words else os.fsencode(configured or "")
    if config.session_type == "subsystem" and not command:
        raise Failure("You must specify a subsystem to invoke.")
    if config.session_type == "none":
        # -N has the last word, as with OpenSSH: scripts give both.
        return b""
    if config.fork_after_authentication and not command:
        raise Failure("Cannot fork into background without a command to execute.")
    return command


def wants_terminal(config: SshConfig, journal: Journal, *, command: bool) -> bool:
    """Whether the session gets a terminal."""
    if config.session_type != "default" or config.request_tty == "no":
        return False
    if config.request_tty == "force":
        return True
    if command and config.request_tty != "yes":
        return False
    if config.stdin_null or not os.isatty(0):
        journal.info("Pseudo-terminal will not be allocated because stdin is not a terminal.")
        return False
    return True


def selected_environment(
    patterns: tuple[str, ...],
    settings: tuple[str, ...],
    *,
    fits: Callable[[str, str], bool],
    environment: Any = os.environb,
) -> tuple[tuple[bytes, bytes], ...]:
    """The variables to send: those that SendEnv's patterns name, then those of SetEnv."""
    chosen: dict[bytes, bytes] = {}
    if patterns:
        for variable, value in environment.items():
            name = os.fsdecode(variable)
            if any(fits(name, pattern) for pattern in patterns):
                chosen[variable] = value
    for setting in settings:
        name, _, text = setting.partition("=")
        chosen[os.fsencode(name)] = os.fsencode(text)
    return tuple(chosen.items())
