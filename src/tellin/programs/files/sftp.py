# SPDX-License-Identifier: MIT
"""sftp: files of another host, command by command: typed, from a batch, or one for the whole run."""

import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

from tellin.config.destination import parse_destination
from tellin.errors import ConnectionLost, ProtocolError, UsageError
from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.programs.files.link import FileLink, ssh_program
from tellin.programs.files.meter import Meter
from tellin.programs.files.options import (
    FLAGS_FOR_SSH,
    VALUES_FOR_SSH,
    Tuning,
    block_size,
    kilobits_of,
    requests_of,
    tune,
)
from tellin.programs.files.places import Place, colon, place_of, shown
from tellin.programs.files.sftp_lines import Line, LineFault, line_of
from tellin.programs.files.sftp_session import Habits, Quit, Session, complain, say
from tellin.programs.files.sftp_words import words_of
from tellin.runtime.loop import SmallLoop
from tellin.sftp.globs import escaped, unescaped
from tellin.wire import Record

USAGE: Final = """\
usage: sftp [-46AaCfNpqrv] [-B buffer_size] [-b batchfile] [-c cipher]
          [-D sftp_server_command] [-F ssh_config] [-i identity_file]
          [-J destination] [-l limit] [-o ssh_option] [-P port]
          [-R num_requests] [-S program] [-s subsystem | sftp_server]
          [-X sftp_option] destination"""

_OPTIONS: Final = "46AaCfNpqrvB:b:c:D:F:i:J:l:o:P:R:S:s:X:"
_FAILED: Final = 1
_BROKEN: Final = 255
_MOST_LINE: Final = 1 << 16
_ENDS: Final = b"\r\n"
# What the connection is for, whatever the configuration says of a login's.
_BEGIN: Final = ("-oForwardX11 no", "-oPermitLocalCommand no", "-oClearAllForwardings yes")


class Orders(Record):
    """What the command line said."""

    agent: bool = False
    noisy: bool = False
    batch: str | None = None
    server: str | None = None
    subsystem: str | None = None
    program: str | None = None
    kilobits: int = 0
    ssh: tuple[str, ...] = ()


def run(arguments: list[str]) -> int:
    """Talk to a file server; the status is 1 where a batch, or the one command, failed."""
    orders, habits, tuning = Orders(), Habits(), Tuning()
    options = Options(arguments, _OPTIONS)
    try:
        for letter, value in options:
            _take(orders, habits, tuning, letter, value)
    except OptionError as error:
        raise Failure(f"sftp: {error}", usage=USAGE, status=_FAILED) from None
    words = options.rest
    if (
        len(words) > 2
        or (not words and orders.server is None)
        or (len(words) > 1 and orders.batch is not None)
    ):
        raise Failure(usage=USAGE, status=_FAILED)
    if orders.noisy:
        habits.quiet = False
    place = _place(words[0]) if words and orders.server is None else Place(b"")
    batch = _open_batch(orders)
    loop = SmallLoop()
    shown_there = (
        batch is None and not habits.quiet and sys.stderr.isatty() and sys.stdout.isatty()
    )
    # Ctrl-C ends a transfer, and not the connection: ssh does not hear of it.
    link = FileLink(_argv(orders, place), loop=loop, kilobits=orders.kilobits, deaf=True)
    try:
        link.open(block=tuning.block, requests=tuning.requests)
        if not habits.quiet:
            name = "Attached to" if orders.server is not None else "Connected to"
            complain(f"{name} {orders.server or place.host}.")
        session = Session(link, habits, meter=Meter(loop, shown=shown_there))
        target = os.fsencode(words[1]) if len(words) > 1 else None
        right = _talk(session, place, target, batch)
    except KeyboardInterrupt:
        link.child.end()
        return _FAILED
    except (ConnectionLost, ProtocolError) as error:
        complain(str(error))
        return _BROKEN
    finally:
        link.close()
        loop.close()
    return 0 if right else _FAILED


def _take(orders: Orders, habits: Habits, tuning: Tuning, letter: str, value: str) -> None:
    flag = _HABITS.get(letter)
    if flag is not None:
        setattr(habits, flag, True)
    elif letter in _TEXTS:
        setattr(orders, _TEXTS[letter], value)
    elif letter in FLAGS_FOR_SSH:
        orders.ssh += (f"-{letter}",)
    elif letter in VALUES_FOR_SSH:
        orders.ssh += (f"-{letter}", value)
    else:
        _take_other(orders, habits, tuning, letter, value)


_HABITS: Final = {"a": "resume", "f": "sync", "p": "preserve", "r": "recursive"}
_TEXTS: Final = {"D": "server", "S": "program", "s": "subsystem"}


def _take_other(orders: Orders, habits: Habits, tuning: Tuning, letter: str, value: str) -> None:
    match letter:
        case "A":
            orders.agent = True
        case "N":
            orders.noisy = True
        case "q" | "v":
            orders.ssh += (f"-{letter}",)
            habits.quiet = habits.quiet or letter == "q"
        case "b":
            if orders.batch is not None:
                raise Failure("Batch file already specified.")
            orders.batch, habits.quiet = value, True
            orders.ssh += ("-obatchmode yes",)
        case "P":
            orders.ssh += (f"-oPort {value}",)
        case "B":
            tuning.block = block_size(value)
        case "R":
            tuning.requests = requests_of(value)
        case "X":
            tune(tuning, value)
        case _:
            orders.kilobits = kilobits_of(value)
            if not orders.kilobits:
                raise Failure(usage=USAGE, status=_FAILED)


def _place(word: str) -> Place:
    """The host, and perhaps a path on it."""
    try:
        if word[:7].lower() == "sftp://" or colon(word) >= 0:
            return place_of(word, scheme="sftp")
        found = parse_destination(word)
    except UsageError as error:
        raise Failure(str(error)) from None
    return Place(b"", found.host, found.user, found.port)


def _argv(orders: Orders, place: Place) -> list[str]:
    """The command line of the child."""
    if orders.server is not None:
        words = [os.fsdecode(unescaped(word)) for word in words_of(os.fsencode(orders.server))]
        if not words:
            raise Failure(usage=USAGE, status=_FAILED)
        return words
    command = orders.subsystem or "sftp"
    return [
        *ssh_program(orders.program),
        *_BEGIN,
        *orders.ssh,
        "-A" if orders.agent else "-oForwardAgent no",
        *((f"-oPort {place.port}",) if place.port is not None else ()),
        *(("-l", place.user) if place.user is not None else ()),
        # A path is a command, and no subsystem.
        *(() if "/" in command else ("-s",)),
        "--",
        str(place.host),
        command,
    ]


def _open_batch(orders: Orders) -> BinaryIO | None:
    if orders.batch is None:
        return None
    if orders.batch == "-":
        return sys.stdin.buffer
    try:
        return open(orders.batch, "rb")  # noqa: PTH123  (closed at the end of the process)
    except OSError as error:
        raise Failure(f"{error.strerror} ({orders.batch}).") from None


def _talk(session: Session, place: Place, target: bytes | None, batch: BinaryIO | None) -> bool:
    if place.path:
        path = session.absolute(place.path)
        found = session.link.wait(session.files.find(path))
        if found is None or not found.is_directory or target is not None:
            # The one command: what stands there may be a pattern.
            patterns = (place.path,) if target is None else (place.path, escaped(target))
            return session.obey(Line("get", (), patterns))
        if not session.habits.quiet:
            say(f"Changing to: {shown(path)}")
        if not session.obey(Line("cd", (), (escaped(path),))):
            return False
    if batch is not None:
        return _all_of(session, batch.readline, stops=True)
    if sys.stdin.isatty():
        from tellin.programs.files.sftp_typing import typed

        return _all_of(session, typed(session), stops=False, echo=False)
    return _all_of(session, sys.stdin.buffer.readline, stops=False)


def _all_of(
    session: Session, next_line: Callable[[], bytes], *, stops: bool, echo: bool = True
) -> bool:
    """Every line; with ``stops`` the first that fails is the last."""
    while text := next_line():
        if len(text) > _MOST_LINE:
            complain("Command too long")
            right: bool | None = False
            line = Line()
        else:
            right, line = _one(session, text, echo=echo)
        if right is None:
            return True
        if not right and stops and not line.forgiven:
            return False
    return True


def _one(session: Session, text: bytes, *, echo: bool) -> tuple[bool | None, Line]:
    """Do what a line says; None is the end."""
    fault = ""
    try:
        line = line_of(text)
    except LineFault as error:
        line, fault = error.line, str(error)
        complain(fault)
    if echo and not line.silent:
        say(f"sftp> {shown(text.strip(_ENDS))}")
    if fault or not line.deed:
        return not fault, line
    loop = session.link.loop
    # Ctrl-C ends what a command does, and the next one is read.
    loop.add_signal(signal.SIGINT, session.link.interrupt)
    try:
        return session.obey(line), line
    except Quit:
        return None, line
    finally:
        loop.remove_signal(signal.SIGINT)


PROGRAM: Final = Program("sftp", "work with the files of another host", run, options=_OPTIONS)
