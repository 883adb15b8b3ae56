# SPDX-License-Identifier: MIT
"""The commands of sftp: what each takes, and a line that somebody has typed as one of them."""

from typing import Final

from tellin.errors import UsageError
from tellin.programs.files.sftp_words import words_of
from tellin.sftp.globs import unescaped
from tellin.wire import Record
from tellin.wire.states import State


class Takes(State):
    """What follows the flags of a command."""

    NOTHING = "nothing; what is there is passed over"
    PATH = "one path"
    MAYBE = "perhaps one path"
    TRANSFER = "a path, and perhaps another"
    BOTH = "two paths"
    NUMBER = "a number"
    OF_A_PATH = "a number and a path"
    SHELL = "the rest of the line, for a shell"


class Verb(Record):
    """A command: its deed, its flags, what it takes, and whether its paths are here or there.

    ``sides`` says of each path where it is, for completion: h(ere) or t(here).
    """

    deed: str
    takes: Takes
    flags: str = ""
    sides: str = ""
    base: int = 10


_GET: Final = Verb("get", Takes.TRANSFER, "afpPrR", "th")
_PUT: Final = Verb("put", Takes.TRANSFER, "afpPrR", "ht")
_QUIT: Final = Verb("quit", Takes.NOTHING)
_CD: Final = Verb("cd", Takes.MAYBE, "", "t")
_LCD: Final = Verb("lcd", Takes.MAYBE, "", "h")
_LS: Final = Verb("ls", Takes.MAYBE, "1afhlnrSt", "t")
_COPY: Final = Verb("copy", Takes.BOTH, "", "tt")
_HELP: Final = Verb("help", Takes.NOTHING)

VERBS: Final[dict[str, Verb]] = {
    "bye": _QUIT,
    "cd": _CD,
    "chdir": _CD,
    "chgrp": Verb("chgrp", Takes.OF_A_PATH, "h", " t"),
    "chmod": Verb("chmod", Takes.OF_A_PATH, "h", " t", base=8),
    "chown": Verb("chown", Takes.OF_A_PATH, "h", " t"),
    "copy": _COPY,
    "cp": _COPY,
    "df": Verb("df", Takes.MAYBE, "hi", "t"),
    "dir": _LS,
    "exit": _QUIT,
    "get": _GET,
    "help": _HELP,
    "lcd": _LCD,
    "lchdir": _LCD,
    "lls": Verb("lls", Takes.SHELL, "", "h"),
    "lmkdir": Verb("lmkdir", Takes.PATH, "", "h"),
    "ln": Verb("ln", Takes.BOTH, "s", "tt"),
    "lpwd": Verb("lpwd", Takes.NOTHING),
    "ls": _LS,
    "lumask": Verb("lumask", Takes.NUMBER, base=8),
    "mget": _GET,
    "mkdir": Verb("mkdir", Takes.PATH, "", "t"),
    "mput": _PUT,
    "progress": Verb("progress", Takes.NOTHING),
    "put": _PUT,
    "pwd": Verb("pwd", Takes.NOTHING),
    "quit": _QUIT,
    "reget": Verb("reget", Takes.TRANSFER, "fpPrR", "th"),
    "rename": Verb("rename", Takes.BOTH, "l", "tt"),
    "reput": Verb("reput", Takes.TRANSFER, "fpPrR", "ht"),
    "rm": Verb("rm", Takes.PATH, "", "t"),
    "rmdir": Verb("rmdir", Takes.PATH, "", "t"),
    "symlink": Verb("symlink", Takes.BOTH, "", "tt"),
    "version": Verb("version", Takes.NOTHING),
    "!": Verb("shell", Takes.SHELL),
    "?": _HELP,
}

HELP: Final = """\
Available commands:
bye                                Quit sftp
cd path                            Change remote directory to 'path'
chgrp [-h] grp path                Change group of file 'path' to 'grp'
chmod [-h] mode path               Change permissions of file 'path' to 'mode'
chown [-h] own path                Change owner of file 'path' to 'own'
copy oldpath newpath               Copy remote file
cp oldpath newpath                 Copy remote file
df [-hi] [path]                    Display statistics for current directory or
                                   filesystem containing 'path'
exit                               Quit sftp
get [-afpR] remote [local]         Download file
help                               Display this help text
lcd path                           Change local directory to 'path'
lls [ls-options [path]]            Display local directory listing
lmkdir path                        Create local directory
ln [-s] oldpath newpath            Link remote file (-s for symlink)
lpwd                               Print local working directory
ls [-1afhlnrSt] [path]             Display remote directory listing
lumask umask                       Set local umask to 'umask'
mkdir path                         Create remote directory
progress                           Toggle display of progress meter
put [-afpR] local [remote]         Upload file
pwd                                Display remote working directory
quit                               Quit sftp
reget [-fpR] remote [local]        Resume download file
rename oldpath newpath             Rename remote file
reput [-fpR] local [remote]        Resume upload file
rm path                            Delete remote file
rmdir path                         Remove remote directory
symlink oldpath newpath            Symlink remote file
version                            Show SFTP version
!command                           Execute 'command' in local shell
!                                  Escape to local shell
?                                  Synonym for help"""


class Line(Record):
    """A line that was read; with an empty deed there was nothing in it.

    ``patterns`` are its paths as they were typed, ``paths`` the same where each means one name alone.
    """

    deed: str = ""
    flags: tuple[str, ...] = ()
    patterns: tuple[bytes, ...] = ()
    number: int = 0
    rest: bytes = b""
    forgiven: bool = False
    silent: bool = False

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The paths, and no patterns."""
        return tuple(unescaped(one) for one in self.patterns)


class LineFault(UsageError):
    """A line that is no command; what stood before the command counts all the same."""

    def __init__(self, message: str, line: Line) -> None:
        super().__init__(message)
        self.line = line


def line_of(text: bytes) -> Line:
    """Read one line; raises LineFault."""
    line = Line()
    rest = text.lstrip(b" \t\r\n")
    while rest[:1] in {b"-", b"@"}:
        if rest[:1] == b"-":
            line.forgiven = True
        else:
            line.silent = True
        rest = rest[1:].lstrip(b" \t\r\n")
    if not rest or rest.startswith(b"#"):
        return line
    try:
        _fill(line, rest.rstrip(b"\r\n"))
    except UsageError as error:
        raise LineFault(str(error), line) from None
    return line


def _fill(line: Line, text: bytes) -> None:
    if text.startswith(b"!"):
        line.deed, line.rest = "shell", text[1:].strip()
        return
    words = words_of(text)
    if not words:
        return
    name = words.pop(0).decode("utf-8", "replace").lower()
    verb = VERBS.get(name)
    if verb is None:
        raise UsageError("Invalid command.")
    if verb.takes is Takes.SHELL:
        # As it was typed: quotes and patterns are the shell's.
        line.deed, line.rest = verb.deed, text.lstrip()[len(name) :].strip()
        return
    line.flags = _flags(name, verb, words)
    _take(line, name, verb, words)
    line.deed = verb.deed


def _flags(name: str, verb: Verb, words: list[bytes]) -> tuple[str, ...]:
    """The flags in front; they are taken out of the words."""
    found: list[str] = []
    named = verb.takes not in {Takes.NOTHING, Takes.NUMBER}
    # What takes no flags says so: `rm -f name` means no file that is called -f.
    while named and words and words[0][:1] == b"-" and len(words[0]) > 1:
        word = words.pop(0)
        if word == b"--":
            break
        for letter in word[1:].decode("latin-1"):
            if letter not in verb.flags:
                raise UsageError(f"{name}: Invalid flag -{letter}")
            found.append(letter)
    return tuple(found)


def _take(line: Line, name: str, verb: Verb, words: list[bytes]) -> None:
    match verb.takes:
        case Takes.NOTHING:
            return
        case Takes.NUMBER | Takes.OF_A_PATH:
            line.number = _number(name, verb, words)
            words = words[1:]
            if verb.takes is Takes.OF_A_PATH and not words:
                raise UsageError(f"You must specify a path after a {name} command.")
        case Takes.PATH if not words:
            raise UsageError(f"You must specify a path after a {name} command.")
        case Takes.TRANSFER if not words:
            raise UsageError(f"You must specify at least one path after a {name} command.")
        case Takes.BOTH if len(words) < 2:
            raise UsageError(f"You must specify two paths after a {name} command.")
    most = 2 if verb.takes in {Takes.BOTH, Takes.TRANSFER} else 1
    line.patterns = tuple(words[:most])


def _number(name: str, verb: Verb, words: list[bytes]) -> int:
    text = words[0].decode("latin-1") if words else ""
    digits = "01234567" if verb.base == 8 else "0123456789"
    if not text or text.strip(digits) or len(text) > 10 or int(text, verb.base) > 0xFFFFFFFF:
        raise UsageError(f"You must supply a numeric argument to the {name} command.")
    number = int(text, verb.base)
    if verb.base == 8 and number > 0o7777:
        raise UsageError(f"You must supply a numeric argument to the {name} command.")
    return number
