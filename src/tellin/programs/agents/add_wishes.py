# SPDX-License-Identifier: MIT
"""What the command line of ssh-add said, and how ssh-add speaks and asks."""

import os
import sys

from tellin.agent.constraints import Constraints, Destination
from tellin.programs.command import Failure, plainly

_FAILED = 1
# What OpenSSH's fatal() ends with.
FATAL = 255


def tell(text: str) -> None:
    """A line on standard error, ended as OpenSSH's ssh-add ends those that are no complaints of its library."""
    sys.stderr.write(f"{plainly(text)}\n")
    sys.stderr.flush()


def told(text: str, *, status: int = _FAILED, hint: str = "") -> Failure:
    """The end of the program, whose message is such a line."""
    tell(text)
    return Failure(status=status, hint=hint)


class Wishes:
    """What the command line said."""

    def __init__(self) -> None:
        self.modes: list[str] = []
        self.mode = ""
        """Which of them is done."""
        self.confirm = False
        self.lifetime: int | None = None
        self.hash_name = "sha256"
        self.quiet = False
        self.loud = 0
        self.destinations: list[str] = []
        self.host_files: list[str] = []
        self.plain_only = False
        self.certified_only = False
        self.keep_expired = False
        self.module = ""
        self.provider = os.environ.get("SSH_SK_PROVIDER") or "internal"
        self.passphrase = b""  # the last one that opened a key: the next is tried with it too

    def say_bounds(self, lifetime: int | None) -> None:
        """Under which constraints a key was added."""
        if lifetime is not None:
            self.say(f"Lifetime set to {lifetime} seconds")
        if self.confirm:
            self.say("The user must confirm each use of the key")

    def constraints(self) -> Constraints:
        """What every key that is added is kept to (R153)."""
        ways: tuple[Destination, ...] = ()
        if self.destinations:
            from tellin.programs.agents.add_destinations import destinations_of

            ways = destinations_of(self.destinations, self.host_files)
        return Constraints(self.lifetime, self.confirm, ways)

    def say(self, text: str) -> None:
        """What went well, unless -q."""
        if not self.quiet:
            tell(text)


def asked(question: str) -> bytes:
    """The answer to a question whose answer nobody is to see; nothing where nobody answers, as in OpenSSH."""
    # Who only lists keys is asked nothing.
    from tellin.runtime import prompts

    answer = prompts.ask(question, standard_input=True)
    return (answer or "").encode("utf-8", "surrogateescape")
