# SPDX-License-Identifier: MIT
"""The command line behind ``~C``: forwardings that are begun and ended while the connection is in use."""

from collections.abc import Callable
from typing import Final, Protocol

from tellin.config.forwards import Forward, parse_forward
from tellin.errors import ConfigError

PROMPT: Final = "\r\nssh> "

_HELP: Final = (
    "Commands:",
    "      -L[bind_address:]port:host:hostport    Request local forward",
    "      -R[bind_address:]port:host:hostport    Request remote forward",
    "      -D[bind_address:]port                  Request dynamic forward",
    "      -KL[bind_address:]port                 Cancel local forward",
    "      -KR[bind_address:]port                 Cancel remote forward",
    "      -KD[bind_address:]port                 Cancel dynamic forward",
)
_LOCAL_HELP: Final = "      !args                                  Execute local command"


class Deeds(Protocol):
    """What a command line can do; each says whether it could be done."""

    def listen(self, forward: Forward) -> bool:
        """Listen here: -L and -D."""

    def unlisten(self, forward: Forward, *, socks: bool) -> bool:
        """Listen there no more: -KL and -KD."""

    def ask_remote(self, forward: Forward) -> bool:
        """Have the server listen: -R."""

    def cancel_remote(self, forward: Forward) -> bool:
        """Have it listen there no more: -KR."""

    def run_local(self, command: str) -> None:
        """Run a command of this machine's: ``!``."""


class CommandLine:
    """Does what one line says and tells what came of it, by ``say``.

    ``permit_local`` is PermitLocalCommand.
    """

    def __init__(
        self, deeds: Deeds, say: Callable[[str], object], *, permit_local: bool = False
    ) -> None:
        self._deeds = deeds
        self._say = say
        self._permit_local = permit_local

    def run(self, line: str) -> None:
        """Do what the line says; one that is empty, or says nothing that can be understood, does nothing."""
        words = line.lstrip().removeprefix("-")
        if not words.strip():
            return
        if words[0] in "hH?":
            self._help()
        elif words[0] == "!" and self._permit_local:
            self._deeds.run_local(words[1:])
        elif words[0] == "K" and words[1:2] in _KINDS:
            self._cancel(words[1], words[2:].strip())
        elif words[0] in _KINDS:
            self._begin(words[0], words[1:].strip())
        else:
            self._say("Invalid command.")

    def _help(self) -> None:
        for line in _HELP:
            self._say(line)
        if self._permit_local:
            self._say(_LOCAL_HELP)

    def _cancel(self, kind: str, text: str) -> None:
        try:
            # One end alone, as -D has it: what was listened on names the forwarding.
            place = parse_forward(text, socks=True)
        except ConfigError:
            self._say("Bad forwarding close specification.")
            return
        if kind == "R":
            done = self._deeds.cancel_remote(place)
        else:
            done = self._deeds.unlisten(place, socks=kind == "D")
        self._say("Canceled forwarding." if done else "Unknown port forwarding.")

    def _begin(self, kind: str, text: str) -> None:
        remote = kind == "R"
        try:
            forward = parse_forward(text, remote=remote, socks=kind == "D")
        except ConfigError:
            where = "remote" if remote else "local"
            self._say(f"Bad {where} forwarding specification.")
            return
        done = self._deeds.ask_remote(forward) if remote else self._deeds.listen(forward)
        self._say("Forwarding port." if done else "Port forwarding failed.")


_KINDS: Final = ("L", "R", "D")
