# SPDX-License-Identifier: MIT
"""How a program is found, started and ended: names, options, messages and exit statuses."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Final

from tellin.errors import TellinError, UsageError
from tellin.userauth.text import escape_text, show_undecoded

INTERRUPTED: Final = 128 + signal.SIGINT
_NOT_UNDERSTOOD: Final = 2


class Program:
    """A program: ``run`` takes the arguments behind its name and answers with the exit status.

    ``failure`` is the status of an error that ``run`` lets out. With ``linked``, ``tellin link``
    makes a link of that name: for programs that others call by their plain names. ``options`` are the
    letters that it takes, in the form of getopt(3), for shells that complete them.
    """

    __slots__ = ("failure", "linked", "name", "options", "run", "summary")

    def __init__(
        self,
        name: str,
        summary: str,
        run: Callable[[list[str]], int],
        *,
        failure: int = 255,
        linked: bool = True,
        options: str = "",
    ) -> None:
        self.name = name
        self.summary = summary
        self.run = run
        self.failure = failure
        self.linked = linked
        self.options = options


# One row a program: its name, and the module whose PROGRAM it is. Nothing is imported before it
# is run.
PROGRAMS: Final[Mapping[str, str]] = {
    "completion": "tellin.programs.completion",
    "demo": "tellin.programs.demo",
    "link": "tellin.programs.link",
    "scp": "tellin.programs.files.scp",
    "sftp": "tellin.programs.files.sftp",
    "ssh": "tellin.programs.ssh.program",
    "serve": "tellin.programs.serve",
    "sftp-server": "tellin.programs.files.sftp_server",
    "ssh-add": "tellin.programs.agents.ssh_add",
    "ssh-agent": "tellin.programs.agents.ssh_agent",
    "ssh-copy-id": "tellin.programs.ssh_copy_id",
    "ssh-keygen": "tellin.programs.keygen.program",
    "ssh-keyscan": "tellin.programs.ssh_keyscan",
    "ssh-pkcs11-helper": "tellin.programs.agents.ssh_pkcs11_helper",
    "ssh-sk-helper": "tellin.programs.agents.ssh_sk_helper",
    "sshd": "tellin.programs.sshd",
    "tunnel": "tellin.programs.tunnels.program",
}


def load(name: str) -> Program:
    """The program of a row."""
    program = import_module(PROGRAMS[name]).PROGRAM
    assert isinstance(program, Program)
    assert program.name == name
    return program


class Options:
    """Reads a command line as OpenSSH's programs do: ``-v``, clusters ``-tq``, values ``-fFILE`` or ``-f FILE``.

    ``accepted`` is in the form of getopt(3): a letter, and a colon behind it if a value follows.
    Iterating gives (letter, value) pairs and ends at the first word that is no option, or behind
    ``--``; ``rest`` holds what is left. A program that takes options behind its first argument,
    as ssh does, makes another Options of the rest.
    """

    __slots__ = ("_accepted", "ended", "rest")

    def __init__(self, arguments: Sequence[str], accepted: str) -> None:
        self._accepted = accepted
        self.rest = list(arguments)
        self.ended = False  # by ``--``: what follows is no option, whatever it looks like

    def __iter__(self) -> Iterator[tuple[str, str]]:
        while self.rest and len(self.rest[0]) > 1 and self.rest[0][0] == "-":
            word = self.rest.pop(0)
            if word == "--":
                self.ended = True
                return
            at = 1
            while at < len(word):
                letter = word[at]
                at += 1
                if self._takes_value(letter):
                    yield letter, self._value(letter, word[at:])
                    break
                yield letter, ""

    def _takes_value(self, letter: str) -> bool:
        place = self._accepted.find(letter)
        if place < 0 or letter == ":":
            raise OptionError(f"unknown option -- {letter}")
        return self._accepted[place + 1 : place + 2] == ":"

    def _value(self, letter: str, attached: str) -> str:
        if attached:
            return attached
        if not self.rest:
            raise OptionError(f"option requires an argument -- {letter}")
        return self.rest.pop(0)


class OptionError(UsageError):
    """A command line that cannot be read; the program prints its usage behind the message."""


class Failure(TellinError):
    """The end of a program: a message and perhaps the usage for standard error, and a status."""

    def __init__(
        self, message: str = "", *, status: int | None = None, usage: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.usage = usage


def visible(text: str) -> str:
    """``text`` with whatever could steer a terminal shown in octal (R036); tabs stay."""
    return "\t".join(map(escape_text, show_undecoded(text).split("\t")))


def plainly(text: str) -> str:
    """``text`` with whatever could steer a terminal shown, but for the ends of its lines."""
    return escape_text(show_undecoded(text), keep_newlines=True)


def say_error(text: str) -> None:
    """Lines on standard error, ended as OpenSSH ends them: also a raw terminal begins a new one."""
    shown = plainly(text)
    sys.stderr.write("".join(f"{line}\r\n" for line in shown.split("\n")))
    sys.stderr.flush()


def complain(error: TellinError) -> None:
    """Say on standard error what went wrong; on a terminal also what to do about it."""
    message = str(error)
    if message:
        sys.stdout.flush()
        say_error(message)
    if isinstance(error, Failure) and error.usage:
        print(error.usage, file=sys.stderr)
    # Scripts compare standard error with OpenSSH's line by line: the hint is for people.
    if error.hint and sys.stderr.isatty():
        say_error(error.hint)


def start(argv: Sequence[str]) -> int:
    """Find the program that ``argv`` names, run it, and turn every ending into an exit status."""
    _open_standard_descriptors()
    failure = _NOT_UNDERSTOOD
    name = "tellin"
    try:
        found = _find(argv)
        try:
            if found is None:
                return _itself(list(argv[1:]))
            name, arguments = found
            program = load(name)
            # What is loaded by now stays, and is not to be looked through for garbage.
            gc.freeze()
            gc.enable()
            failure = program.failure
            return program.run(arguments)
        finally:
            # However it ends: what was printed before is not lost, and comes before the complaint.
            sys.stdout.flush()
    except TellinError as error:
        complain(error)
        own = error.status if isinstance(error, Failure) else None
        return failure if own is None else own
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say_error(f"{name}: {visible(where)}{error.strerror or error}")
        return failure
    except Exception as error:
        if os.environ.get("TELLIN_TRACEBACK"):
            raise
        # A fault of ours: its traceback could hold passwords, so it is shown only when asked for.
        say_error(
            f"{name}: internal error: {type(error).__name__}: {visible(str(error))}"
            " (TELLIN_TRACEBACK=1 shows where)"
        )
        return failure


def _open_standard_descriptors() -> None:
    # A file opened while one of these is closed would take its number, and what is printed
    # would go into that file.
    for descriptor, stream in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, stream) is None:
            try:
                os.fstat(descriptor)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, stream, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    # Files are taken for UTF-8 wherever we are, and what is none in them goes out as it came in. A
    # comment in Latin-1 would otherwise end the program in most places, and in some any comment.
    for used in (sys.stdin, sys.stdout):
        if isinstance(used, TextIOWrapper):
            used.reconfigure(encoding="utf-8", errors="surrogateescape")


def _find(argv: Sequence[str]) -> tuple[str, list[str]] | None:
    called = argv[0].rpartition("/")[2] if argv else ""
    if called in PROGRAMS:
        return called, list(argv[1:])
    if len(argv) > 1 and argv[1] in PROGRAMS:
        return argv[1], list(argv[2:])
    return None


def _itself(arguments: list[str]) -> int:
    match arguments:
        case ["--version" | "-V"]:
            from importlib.metadata import version

            print(f"tellin {version('tellin')}")
            return 0
        case ["--help" | "-h" | "help"]:
            print(_help())
            return 0
        case [str(name), *_] if not name.startswith("-"):
            from difflib import get_close_matches

            near = " or ".join(get_close_matches(name, PROGRAMS, 3))
            raise UsageError(
                f"tellin: no program named {name}" + (f"; is it {near}?" if near else "")
            )
        case _:
            print(_help(), file=sys.stderr)
            return _NOT_UNDERSTOOD


def _help() -> str:
    rows = [(name, load(name).summary) for name in sorted(PROGRAMS)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(
        [
            "usage: tellin PROGRAM [argument ...]",
            "       tellin --help | --version",
            "",
            "programs:",
            *(f"  {name:{width}}  {summary}" for name, summary in rows),
        ]
    )
