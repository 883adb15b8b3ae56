# SPDX-License-Identifier: MIT
"""Lines that somebody types to sftp: edited and completed, with names from both sides."""

import readline
from collections.abc import Callable, Sequence
from os import scandir
from os.path import expanduser
from typing import Final

from tellin.errors import ConnectionLost, ProtocolError, SftpError
from tellin.programs.files.places import shown
from tellin.programs.files.sftp_lines import VERBS
from tellin.programs.files.sftp_session import Session, say
from tellin.programs.files.sftp_words import Words
from tellin.sftp.globs import unescaped

_PROMPT: Final = "sftp> "
# What means something else than itself where it stands in no quotes.
_SPECIAL: Final = frozenset(b" \t'\"\\*?[#")


def typed(session: Session) -> Callable[[], bytes]:
    """What gives the next line that somebody types; an empty one is the end."""
    completer = Completer(session)
    readline.set_completer(completer.complete)
    # A word of ours may hold blanks: it is found in the whole line.
    readline.set_completer_delims("")
    readline.set_completion_display_matches_hook(completer.show)
    readline.parse_and_bind("tab: complete")

    def next_line() -> bytes:
        while True:
            try:
                return input(_PROMPT).encode("utf-8", "surrogateescape") + b"\n"
            except KeyboardInterrupt:
                say("\nInterrupt")
            except EOFError:
                say("")
                return b""

    return next_line


class Completer:
    """What the word at the end of a line may become."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: list[tuple[str, str]] = []

    def complete(self, text: str, number: int) -> str | None:
        """The numbered one of what the line may be, in readline's way."""
        if not number:
            try:
                self._found = self.find(text.encode("utf-8", "surrogateescape"))
            except (OSError, SftpError, ConnectionLost, ProtocolError):
                self._found = []
        return self._found[number][0] if number < len(self._found) else None

    def show(self, _line: str, matches: Sequence[str], _longest: int) -> None:
        """All that fits, by its last name."""
        say("")
        names = dict(self._found)
        for match in matches:
            say(names.get(match, match))
        print(f"{_PROMPT}{readline.get_line_buffer()}", end="", flush=True)

    def find(self, line: bytes) -> list[tuple[str, str]]:
        """Whole lines that begin as this one does, each with the name that it ends in.

        R186: a name with a control character is not offered, since it would be sent to the terminal.
        """
        words = Words(line)
        begun = words.last < len(line)
        before = words.found[:-1] if begun else words.found
        word = words.found[-1] if begun else b""
        kept = line[: words.last] if begun else line
        if not before:
            name = word.decode("utf-8", "replace").lower()
            return [
                (kept.decode("utf-8", "surrogateescape") + verb + " ", verb)
                for verb in sorted(VERBS)
                if verb.startswith(name) and verb.isalpha()
            ]
        side = _side(before)
        if not side:
            return []
        directory, slash, last = unescaped(word).rpartition(b"/")
        found = self._here(directory + slash) if side == "h" else self._there(directory + slash)
        return [
            (
                (kept + _quoted(directory + slash + name, words.open)).decode(
                    "utf-8", "surrogateescape"
                )
                + _ending(words.open, is_directory=is_directory),
                name.decode("utf-8", "surrogateescape"),
            )
            for name, is_directory in sorted(found)
            if name.startswith(last)
            and not (name.startswith(b".") and not last)
            and shown(name) == name.decode("utf-8", "surrogateescape")
        ]

    def _there(self, directory: bytes) -> list[tuple[bytes, bool]]:
        session = self._session
        path = session.absolute(directory) if directory else session.where
        entries = session.link.wait(session.files.contents(path))
        return [(one.filename, one.attributes.is_directory) for one in entries]

    def _here(self, directory: bytes) -> list[tuple[bytes, bool]]:
        with scandir(expanduser(directory) or b".") as entries:  # noqa: PTH111  (bytes)
            return [(one.name, one.is_dir()) for one in entries]


def _side(before: list[bytes]) -> str:
    """On which side the next word is a path: h(ere) or t(here), or neither."""
    verb = VERBS.get(before[0].decode("utf-8", "replace").lower())
    if verb is None:
        return ""
    placed = sum(not word.startswith(b"-") for word in before[1:])
    return verb.sides[placed : placed + 1].strip()


def _quoted(path: bytes, quote: int) -> bytes:
    """A path as it is typed: in the quotes that are open, or with backslashes."""
    if quote:
        sign = bytes([quote])
        return sign + path.replace(b"\\", b"\\\\").replace(sign, b"\\" + sign)
    return b"".join(b"\\" + bytes([byte]) if byte in _SPECIAL else bytes([byte]) for byte in path)


def _ending(quote: int, *, is_directory: bool) -> str:
    return "/" if is_directory else chr(quote) + " " if quote else " "
