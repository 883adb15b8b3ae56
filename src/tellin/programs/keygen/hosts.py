# SPDX-License-Identifier: MIT
"""ssh-keygen's known_hosts: hosts found, forgotten, and their names hashed."""

# pathlib: see keygen_files.
# ruff: noqa: PTH116

import os
import re
import stat
from typing import Final

from tellin.config.known_hosts import KnownHosts, Marker, hash_name
from tellin.errors import KeyFileError
from tellin.keys import PublicKey, randomart
from tellin.keys.certificates import Certificate, is_certificate_type
from tellin.keys.kinds import KINDS
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import account, quoted
from tellin.programs.keygen.settings import FATAL, REFUSED, Settings
from tellin.runtime.files import as_bytes, as_text, update_file

_SALT_BYTES: Final = 20
_LINE: Final = re.compile(
    r"[ \t]*(?:(@cert-authority|@revoked)[ \t]+)?([^@ \t][^ \t]*)[ \t]+"
    r"(([^ \t]+)[ \t]+(?!\#)[^ \t\r]+(?:[ \t]+(.*?))?)\r?",
    re.DOTALL,
)
_HASHED: Final = re.compile(r"\|1\|[A-Za-z0-9+/]{27}=\|[A-Za-z0-9+/]{27}=")
_NOTES: Final = {"@cert-authority": "CA", "@revoked": "REVOKED", "": ""}
# Of before 2016: files still hold them, and they are kept like any other.
_OLD_TYPES: Final = {"ssh-dss", "ssh-dss-cert-v01@openssh.com"}


class _Line:
    """One line that has the form of a host and its key; whether the key is of use is not asked.

    OpenSSH takes a file apart this way: what cannot be taken apart spoils the file for rewriting.
    """

    def __init__(self, number: int, found: re.Match[str]) -> None:
        self.number = number
        marker, self.names, self.rest, key_type, comment = found.groups()
        self.marker: str = marker or ""
        self.comment: str = comment or ""
        self.key_type: str = key_type
        self.blob_text: str = self.rest.split(None, 2)[1]
        # As it stood in the file, with the end of its line.
        self.tail = found.string[found.start(3) :]

    @property
    def hashed(self) -> bool:
        """Whether the line keeps its host's name secret."""
        return self.names.startswith("|")

    @property
    def patterned(self) -> bool:
        """Whether the names are patterns, of which there is no hash."""
        return any(sign in self.names for sign in "*?!")

    def key(self) -> PublicKey | Certificate:
        """The key; raises KeyFileError."""
        return keygen_files.key_of_line(f"{self.key_type} {self.blob_text}")

    def with_hashed_names(self) -> list[str]:
        """A line for each name, which does not show it."""
        # An empty name ends the list, as it does for OpenSSH.
        given = self.names.split(",")
        named = given[: given.index("")] if "" in given else given
        return [f"{hash_name(name, salt=os.urandom(_SALT_BYTES))} {self.tail}" for name in named]


def _line(number: int, text: str) -> _Line | None:
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    key_type = found[4]
    known = key_type in KINDS or key_type in _OLD_TYPES or is_certificate_type(key_type)
    return _Line(number, found) if known else None


def run(settings: Settings) -> int:
    """Find a host (-F), forget one (-R), or hash all names (-H)."""
    path = settings.file
    if path is None:
        path = f"{account().pw_dir}/.ssh/known_hosts"
    try:
        text = as_text(keygen_files.read(path))
    except OSError as error:
        raise Failure(f"Cannot stat {visible(path)}: {error.strerror}", status=FATAL) from None
    if "F" in settings.modes:
        return _find(settings, path, text)
    return _rewrite(settings, path)


# Finding


def _find(settings: Settings, path: str, text: str) -> int:
    name = settings.host or ""
    lines = text.split("\n")
    status = REFUSED
    for number in KnownHosts.parse(text, file=path).lines_of(name):
        line = _line(number, lines[number - 1])
        if line is None:
            continue
        key = None
        if "l" in settings.modes:
            try:
                key = line.key()
            except KeyFileError:
                continue
        status = 0
        if not settings.quiet:
            print(f"# Host {visible(name)} found: line {number} {_NOTES[line.marker]}")
        if key is not None:
            _print_fingerprint(settings, key, line.comment)
        elif "H" in settings.modes and not (line.marker or line.hashed or line.patterned):
            print("\n".join(visible(each.rstrip("\r")) for each in line.with_hashed_names()))
        else:
            print(visible(lines[number - 1].rstrip("\r")))
    return status


def _print_fingerprint(settings: Settings, shown: PublicKey | Certificate, comment: str) -> None:
    key = shown.key if isinstance(shown, Certificate) else shown
    beside = f" {visible(comment)}" if comment else ""
    print(
        f"{visible(settings.host or '')} {shown.kind} {key.fingerprint(settings.hash_name)}{beside}"
    )
    if settings.verbose:
        print(randomart(key, settings.hash_name, kind=shown.kind))


# Rewriting


class _Rewriting:
    """Goes through a file line by line; a line that is none spoils it."""

    def __init__(self, settings: Settings, path: str, matching: dict[int, Marker]) -> None:
        self.settings = settings
        self.path = path
        self.matching = matching
        self.lines: list[str] = []
        self.found = False
        self.unhashed = False
        self.broken = False

    def take(self, number: int, text: str) -> None:
        """Keep a line, leave it out, or put others in its place."""
        line = _line(number, text)
        forgetting = "R" in self.settings.modes
        if line is None or (forgetting and line.hashed and not _HASHED.fullmatch(line.names)):
            if not _is_comment(text):
                say_error(f"{self.path}:{number}: invalid line")
                self.broken = True
        elif not forgetting:
            self.lines += self._hashed(line, text)
            return
        # Marked lines stay: who forgets a host does not mean to trust a revoked key again.
        elif number in self.matching and not line.marker:
            if not self.settings.quiet:
                print(f"# Host {visible(self.settings.host or '')} found: line {number}")
            self.found = True
            return
        self.lines.append(text)

    def _hashed(self, line: _Line, text: str) -> list[str]:
        if line.hashed or line.marker or line.patterned:
            if line.patterned:
                where = f"{self.path}:{line.number}"
                say_error(f"{where}: ignoring host name with wildcard: {line.names[:64]}")
            return [text]
        self.unhashed = True
        return line.with_hashed_names()


def _is_comment(text: str) -> bool:
    body = text.strip(" \t\r")
    return not body or body.startswith("#")


def _rewrite(settings: Settings, path: str) -> int:
    """Put the changed file in the place of the old one, which is kept under another name.

    All of it under the lock of whoever else writes there: a host that ssh adds meanwhile stays.
    """
    works: list[_Rewriting] = []

    def change(old: bytes) -> bytes:
        work = _reworked(settings, path, as_text(old))
        if "R" in settings.modes and not work.found:
            return old
        works.append(work)
        keygen_files.write(f"{path}.old", old, mode=_mode_of(path), replace=True)
        return as_bytes("".join(f"{line}\n" for line in work.lines))

    try:
        update_file(path, change)
    except OSError as error:
        raise Failure(f"rename {quoted(path)}: {error.strerror}", status=FATAL) from None
    if works:
        _tell(path, works[0])
    elif "R" in settings.modes:
        say_error(f"Host {settings.host} not found in {path}")
    return 0


def _reworked(settings: Settings, path: str, text: str) -> _Rewriting:
    matching: dict[int, Marker] = {}
    if "R" in settings.modes:
        matching = KnownHosts.parse(text, file=path).lines_of(settings.host or "")
    work = _Rewriting(settings, path, matching)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        work.take(number, line)
    if work.broken:
        say_error(f"{path} is not a valid known_hosts file.")
        raise Failure("Not replacing existing known_hosts file because of errors", status=REFUSED)
    return work


def _mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def _tell(path: str, work: _Rewriting) -> None:
    print(f"{visible(path)} updated.")
    print(f"Original contents retained as {visible(path)}.old")
    if work.unhashed:
        say_error(f"WARNING: {path}.old contains unhashed entries")
        say_error("Delete this file to ensure privacy of hostnames")
