# SPDX-License-Identifier: MIT
"""What may stand at the end of a command line: programs, options, keywords, their values, hosts.

All of it comes from the tables that the programs themselves read by: a new keyword, algorithm or
option is completed without a line here.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tellin.config import kinds
from tellin.config.algorithm_lists import names_for
from tellin.config.destination import host_fault
from tellin.config.keywords import KeywordFile, Row
from tellin.config.known_hosts import KnownHosts
from tellin.config.linting.survey import HOST_LINE, ClientSurvey
from tellin.config.ssh_config import SshConfig
from tellin.config.sshd_config import SshdConfig
from tellin.config.surroundings import Surroundings
from tellin.config.tokens import expand_tilde
from tellin.errors import ConfigError
from tellin.programs.command import PROGRAMS, load
from tellin.programs.ssh.query import QUERIES, names_of_keyword
from tellin.wire import Record

# A known_hosts of a whole company would be more than any shell shows.
_MOST_HOSTS: Final = 5000

# Words of a kind's grammar that stand for themselves.
_LITERAL: Final = frozenset({"any", "ask", "confirm", "default", "no", "none", "yes"})
_LISTED: Final = frozenset("+-^")


class Answer(Record):
    """Whole words to choose from, each with what it means or nothing.

    With ``unfinished`` more is to follow without a blank. ``files`` says that names of files fit, too,
    behind the first ``kept`` characters of the word.
    """

    words: tuple[tuple[str, str], ...] = ()
    unfinished: bool = False
    files: bool = False
    kept: str = ""

    def behind(self, kept: str) -> "Answer":
        """The same for a word that begins with something else."""
        words = tuple((kept + word, meaning) for word, meaning in self.words)
        return Answer(words, self.unfinished, self.files, kept + self.kept)


def plain(names: Iterable[str]) -> Answer:
    """Words that say all themselves."""
    return Answer(tuple((name, "") for name in names))


FILES: Final = Answer(files=True)

_Source = Callable[[str, Surroundings], Answer]


# --- keywords and their values -------------------------------------------------------------------


def _keywords(table: type[KeywordFile]) -> _Source:
    def answer(word: str, surroundings: Surroundings) -> Answer:
        name, equals, value = word.partition("=")
        if not equals:
            rows = ((f"{row.spelling}=", row.doc) for row in table.rows.values())
            return Answer(tuple(rows), unfinished=True)
        row = table.known.get(name.lower())
        if not isinstance(row, Row):
            return Answer()
        return _values(row, value, surroundings).behind(f"{name}=")

    return answer


def _values(row: Row[object], value: str, surroundings: Surroundings) -> Answer:
    if row.kind is kinds.OPTIONAL_ALGORITHMS:
        return _listed(names_for(row.attribute) or (), value)
    if row.attribute in {"hostname", "proxy_jump"}:
        return hosts(value, surroundings)
    words = row.kind.words or tuple(
        word for word in re.split(r"[|\s]+", row.kind.grammar) if word in _LITERAL
    )
    return Answer(plain(words).words, files=row.kind.grammar.startswith("path"))


def _listed(names: Sequence[str], value: str) -> Answer:
    """The next name of a list that may begin with ``+``, ``-`` or ``^``; what is there is not named again."""
    sign = value[:1] if value[:1] in _LISTED else ""
    before, comma, _ = value.removeprefix(sign).rpartition(",")
    left = [name for name in names if name not in before.split(",")]
    return plain(left).behind(sign + before + comma)


def _names(query: str) -> _Source:
    return lambda word, surroundings: _listed(names_of_keyword(query) or (), word)


def _queries(word: str, surroundings: Surroundings) -> Answer:
    tables = (SshConfig, SshdConfig)
    lists = {
        row.spelling: row.doc
        for table in tables
        for row in table.rows.values()
        if row.kind is kinds.OPTIONAL_ALGORITHMS
    }
    return Answer((*((name, "") for name in QUERIES), *lists.items()))


# --- hosts ---------------------------------------------------------------------------------------


def hosts(word: str, surroundings: Surroundings) -> Answer:
    """The hosts that configuration and records name, behind a user's name if there is one."""
    user, at, _ = word.rpartition("@")
    survey = ClientSurvey(surroundings)
    survey.read_files(None)
    found: dict[str, str] = {}
    for block in survey.met:
        for asked in block.asked or ():
            if asked.name in {HOST_LINE, "originalhost"} and not asked.negated:
                names = (name for name in asked.patterns if _is_name(name))
                found.update(dict.fromkeys(names, f"{block.file} line {block.line}"))
    for name in _recorded(survey):
        found.setdefault(name, "")
        if len(found) >= _MOST_HOSTS:
            break
    return Answer(tuple(found.items())).behind(user + at)


def _is_name(pattern: str) -> bool:
    """Whether it is a host's name, and nothing that a shell would take for more (R170)."""
    return not host_fault(pattern.removeprefix("[").partition("]")[0])


def _recorded(survey: ClientSurvey) -> Iterable[str]:
    """The names in known_hosts; hashed ones say nothing."""
    surroundings = survey.surroundings
    paths: dict[str, None] = {}
    for attribute in ("user_known_hosts_file", "global_known_hosts_file"):
        paths.update(dict.fromkeys(SshConfig.rows[attribute].default))
        for said in survey.said(attribute):
            paths.update(dict.fromkeys(said.value))
    for path in paths:
        if "%" in path or "$" in path:
            continue
        try:
            full = expand_tilde(path, surroundings.home, surroundings.home_of)
            text = surroundings.read(full)
        except ConfigError:
            continue  # what cannot be read has nothing to offer
        for entry in KnownHosts.parse(text or "", file=path).entries():
            if not entry.hashed:
                for name in entry.names.split(","):
                    if _is_name(name):
                        yield name.removeprefix("[").partition("]")[0]


# --- command lines -------------------------------------------------------------------------------


def _programs(word: str, surroundings: Surroundings) -> Answer:
    return Answer(tuple((name, load(name).summary) for name in PROGRAMS))


def _words(*words: str) -> _Source:
    return lambda word, surroundings: plain(words)


def _files(word: str, surroundings: Surroundings) -> Answer:
    return FILES


_CLIENT: Final[dict[str, _Source]] = {
    "c": _names("Ciphers"),
    "F": _files,
    "i": _files,
    "J": hosts,
    "o": _keywords(SshConfig),
}
_KEY_TYPES: Final = _words("ed25519", "ecdsa", "rsa", "ed25519-sk", "ecdsa-sk", "mldsa44-ed25519")
_HASHES: Final = _words("sha256", "md5")

# What the values of options are, by program and letter; what is not here is anything.
VALUES: Final[dict[str, dict[str, _Source]]] = {
    "ssh": {
        **_CLIENT,
        "E": _files,
        "I": _files,
        "m": _names("MACs"),
        "O": _words("check", "conninfo", "channels", "forward", "cancel", "proxy", "exit", "stop"),
        "Q": _queries,
        "S": _files,
    },
    "scp": {**_CLIENT, "S": _files, "D": _files},
    "sftp": {**_CLIENT, "b": _files, "S": _files},
    "sshd": {
        "C": _words("addr=", "host=", "laddr=", "lport=", "rdomain=", "user=", "invalid-user"),
        "E": _files,
        "f": _files,
        "h": _files,
        "o": _keywords(SshdConfig),
    },
    "ssh-add": {"E": _HASHES, "H": _files, "h": hosts, "s": _files, "e": _files, "S": _files},
    "ssh-agent": {"a": _files, "E": _HASHES},
    "ssh-copy-id": {"F": _files, "i": _files, "o": _keywords(SshConfig)},
    "ssh-keygen": {
        "D": _files,
        "E": _HASHES,
        "F": hosts,
        "f": _files,
        "m": _words("RFC4716", "PKCS8", "PEM"),
        "R": hosts,
        "r": hosts,
        "s": _files,
        "t": _KEY_TYPES,
        "w": _files,
        "Y": _words("sign", "verify", "find-principals", "match-principals", "check-novalidate"),
        "Z": _names("Ciphers"),
    },
    "ssh-keyscan": {
        "f": _files,
        "O": _words("hashalg=sha1", "hashalg=sha256"),
        "t": _words("ed25519", "ecdsa", "rsa", "ed25519-sk", "ecdsa-sk", "mldsa44-ed25519"),
    },
    "serve": {"d": _files},
    "tunnel": {"F": _files},
}
# The same of the words that are no options: one after the other, the last for all that follow.
ARGUMENTS: Final[dict[str, tuple[_Source, ...]]] = {
    "completion": (_words("bash", "fish", "zsh"), _words()),
    "link": (_files, _programs),
    "scp": (_files,),
    "sftp": (hosts, _words()),
    "ssh": (hosts, _words()),
    "ssh-add": (_files,),
    "ssh-copy-id": (hosts, _words()),
    "ssh-keygen": (_files,),
    "ssh-keyscan": (hosts,),
    "tunnel": (hosts,),
}


def complete(words: Sequence[str], surroundings: Surroundings) -> Answer:
    """What the last of ``words`` may become; the first is the program's own name."""
    if len(words) < 2:
        return Answer()
    name, arguments = words[0].rpartition("/")[2], list(words[1:])
    if name not in PROGRAMS:
        if len(arguments) == 1:
            return _fitting(_programs(arguments[0], surroundings), arguments[0])
        name = arguments.pop(0)
    if name not in PROGRAMS:
        return Answer()
    return _fitting(_in_program(name, arguments, surroundings), arguments[-1])


def _fitting(answer: Answer, word: str) -> Answer:
    """What begins as the word does, in whatever case."""
    begun = word.lower()
    fitting = [one for one in answer.words if one[0].lower().startswith(begun)]
    unfinished = answer.unfinished or all(text.endswith("=") for text, _ in fitting)
    return Answer(tuple(fitting), unfinished and bool(fitting), answer.files, answer.kept)


def _in_program(name: str, arguments: list[str], surroundings: Surroundings) -> Answer:
    accepted = load(name).options
    values = VALUES.get(name, {})
    *before, word = arguments
    pending, placed, ended = "", 0, False
    for one in before:
        if pending:
            pending = ""
        elif one == "--" and not ended:
            ended = True
        elif one.startswith("-") and len(one) > 1 and not ended:
            letter, attached = _valued(one, accepted)
            pending = "" if attached else letter
        else:
            placed += 1
    if pending:
        return values.get(pending, _words())(word, surroundings)
    # Behind the command of ssh every word is the command's.
    if word.startswith("-") and not ended and not (name == "ssh" and placed > 1):
        letter, attached = _valued(word, accepted)
        if letter and attached:
            kept = word.removesuffix(attached)
            return values.get(letter, _words())(attached, surroundings).behind(kept)
        return plain(f"-{letter}" for letter in accepted if letter != ":")
    sources = ARGUMENTS.get(name, (_words(),))
    return sources[min(placed, len(sources) - 1)](word, surroundings)


def _valued(word: str, accepted: str) -> tuple[str, str]:
    """The first option in a cluster that takes a value, and what of it stands in the same word."""
    for at, letter in enumerate(word[1:], 1):
        if f"{letter}:" in accepted and letter != ":":
            return letter, word[at + 1 :]
    return "", ""
