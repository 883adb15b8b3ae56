# SPDX-License-Identifier: MIT
"""``tellin tunnel``: what hosts of ssh's configuration forward, kept up by connections that come back by themselves.

A tunnel is a Host block: its LocalForward, DynamicForward and RemoteForward lines say what is
forwarded, and all else in it how to get there. ``Tag tunnel`` in it has ``--all`` begin it.
"""

import os
import sys
from contextlib import suppress
from typing import Any, Final

from tellin.errors import ConfigError
from tellin.programs.command import Failure, OptionError, Options, Program, visible
from tellin.runtime.journal import LEVELS, Journal

USAGE: Final = """\
usage: tellin tunnel [-46CgNqTv] [-B bind_interface] [-b bind_address]
           [-c cipher_spec] [-D [bind_address:]port] [-F configfile]
           [-I pkcs11] [-i identity_file] [-J destination] [-L address]
           [-l login_name] [-m mac_spec] [-o option] [-P tag] [-p port]
           [-R address] [-w seconds] host ...
       tellin tunnel [options] --all [host ...]
       tellin tunnel --status [--json] [host ...]
  -a, --all     the tunnels of all hosts whose configuration says "Tag tunnel"
  -F            read this configuration alone
  -j, --json    the status as JSON
  -q            say only what goes wrong
  -s, --status  show the tunnels that run; the exit status is 1 if one of them is not up
  -v            say more
  -w            the longest wait between two attempts, in seconds (30)
all other options are those of ssh, and count for each of the hosts"""

LONGEST_WAIT: Final = 30.0
_MOST_SECONDS: Final = 86400.0
_LONG: Final = {"--all": "-a", "--status": "-s", "--json": "-j"}
# What means the same as with ssh, and is given to it to be read.
_PLAIN_OF_SSH: Final = "46CgNT"
_VALUED_OF_SSH: Final = "BbcDIiJLlmoPpR"
_OPTIONS: Final = f"aF:jqsvw:{_PLAIN_OF_SSH}{':'.join(_VALUED_OF_SSH)}:"


class Wishes:
    """What a command line says."""

    def __init__(self, arguments: list[str]) -> None:
        self.all = self.status = self.json = False
        self.file: str | None = None
        self.longest_wait = LONGEST_WAIT
        self.level = "INFO"
        self.of_ssh: list[tuple[str, str]] = []
        options = Options([_LONG.get(word, word) for word in arguments], _OPTIONS)
        for letter, value in options:
            self._take(letter, value)
        self.names = options.rest

    def _take(self, letter: str, value: str) -> None:
        match letter:
            case "a":
                self.all = True
            case "F":
                self.file = value
            case "j":
                self.json = True
            case "q":
                self.level = "ERROR"
            case "s":
                self.status = True
            case "v":
                self.level = "VERBOSE" if self.level == "INFO" else "DEBUG1"
            case "w":
                self.longest_wait = _seconds(value)
            case _:
                self.of_ssh.append((letter, value))


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    # Not a number compares with nothing.
    if not 0 < found <= _MOST_SECONDS:
        raise OptionError(f"{text[:40]}: no number of seconds")
    return found


def run(arguments: list[str]) -> int:
    """Keep tunnels up, or show those that run."""
    try:
        wishes = Wishes(arguments)
    except OptionError as error:
        raise Failure(f"tunnel: {error}", usage=USAGE) from None
    if wishes.status:
        return _show(wishes)
    if wishes.json or not (wishes.all or wishes.names):
        raise Failure(usage=USAGE)
    places = {letter for letter, _ in wishes.of_ssh} & {"D", "L", "R"}
    if places and (wishes.all or len(wishes.names) > 1):
        raise Failure("tunnel: -D, -L and -R go with one host")
    return _keep_up(wishes)


def _show(wishes: Wishes) -> int:
    import json

    from tellin.programs.tunnels.status import lines, running

    found = running()
    if wishes.names:
        found = [one for one in found if one["name"] in wishes.names]
    if wishes.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)) or "no tunnel runs")
    missing = set(wishes.names) - {one["name"] for one in found}
    for name in sorted(missing):
        print(f"tunnel: {visible(name)} does not run", file=sys.stderr)
    return int(bool(missing) or not found or any(one["state"] != "up" for one in found))


def _keep_up(wishes: Wishes) -> int:
    # What follows loads most of the library.
    import asyncio

    from tellin.programs.ssh.program import Invocation
    from tellin.programs.tunnels.plan import Plan, gather_plans
    from tellin.programs.tunnels.service import Service

    invocation = Invocation()
    for letter, value in wishes.of_ssh:
        invocation.take(letter, value)

    def read() -> list[Plan]:
        return gather_plans(
            wishes.names, tagged=wishes.all, file=wishes.file, invocation=invocation
        )

    try:
        plans = read()
    except ConfigError as error:
        raise Failure(f"tunnel: {error}", hint=error.hint) from None
    if not plans:
        raise Failure(
            "tunnel: no host of the configuration is tagged",
            hint='a Host block with the line "Tag tunnel" is',
        )
    journal = Journal(LEVELS[wishes.level], _write)
    if journal.debugs:
        _hear_the_library(journal)
    service = Service(read, journal, longest_wait=wishes.longest_wait)
    return asyncio.run(service.run(plans))


def _hear_the_library(journal: Journal) -> None:
    import logging

    class Handler(logging.Handler):
        """What the library says of its connections is for whoever looks for a fault."""

        def emit(self, record: Any) -> None:
            journal.debug(record.getMessage())

    log = logging.getLogger("tellin")
    log.addHandler(Handler())
    log.setLevel(logging.DEBUG)


def _write(line: str) -> None:
    # A log that nobody reads any more is no reason to take tunnels down.
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


PROGRAM: Final = Program(
    "tunnel",
    "keep up what hosts of the configuration forward, whatever happens to the connection",
    run,
    linked=False,
    options=_OPTIONS,
)
