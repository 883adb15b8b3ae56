# SPDX-License-Identifier: MIT
"""Escapes of a terminal session: ``~.`` and its kin, typed at the start of a line."""

from typing import Final, Protocol

# What follows the escape character, what it does, and whether a session that rides on another
# program's connection has it too: that program's logs, job control and forwardings are its own.
_HELP: Final = (
    (".", "terminate connection (and the sessions that share it)", False),
    (".", "terminate session", True),
    ("B", "send a BREAK to the remote system", True),
    ("C", "open a command line", False),
    ("R", "request rekey", True),
    ("V/v", "decrease/increase verbosity (LogLevel)", False),
    ("^Z", "suspend ssh", False),
    ("#", "list forwarded connections", True),
    ("I", "show information about the connection", True),
    ("&", "background ssh (when waiting for connections to terminate)", False),
    ("?", "this message", True),
)
_LAST: Final = (
    " {0}{0}   - send the escape character by typing it twice",
    "(Note that escapes are only recognized immediately after newline.)",
)
_SUSPEND: Final = 0x1A
_SPACE: Final = 0x20
_LINE_ENDS: Final = (0x0A, 0x0D)


class Actions(Protocol):
    """What escapes can do; lines for the user go through ``show``."""

    def show(self, lines: tuple[str, ...]) -> None:
        """Write lines to the terminal."""

    def terminate(self) -> None:
        """End the connection."""

    def send_break(self) -> None:
        """Send a BREAK."""

    def rekey(self) -> None:
        """Ask for new keys."""

    def change_level(self, step: int) -> str:
        """Say more or less; returns what is to be told of it."""

    def command_line(self) -> None:
        """Let the user type one command for this program."""

    def suspend(self) -> None:
        """Stop the program as Ctrl-Z does."""

    def open_channels(self) -> tuple[str, ...]:
        """A line for each channel."""

    def information(self) -> tuple[str, ...]:
        """What connection this is."""

    def background(self) -> None:
        """Let go of the terminal."""


class Escapes:
    """Reads what is typed, takes the escapes out, and does them.

    An escape counts only behind a line's end, so that no text pasted in mid-line is one.
    """

    def __init__(
        self,
        character: str,
        actions: Actions,
        *,
        command_line: bool = False,
        shared: bool = False,
    ) -> None:
        """``command_line`` is EnableEscapeCommandline; ``shared``: the connection is another program's."""
        self._character = ord(character)
        self._shown = character if character.isprintable() else f"^{chr(ord(character) | 64)}"
        self._actions = actions
        self._command_line = command_line
        self._shared = shared
        self._at_line_start = True
        self._escaped = False
        self._deeds = {
            ord("."): self._terminate,
            ord("B"): self._break,
            ord("R"): self._rekey,
            ord("#"): self._channels,
            ord("I"): self._information,
            ord("?"): self._help,
        }
        alone = {
            ord("C"): self._command,
            ord("V"): self._quieter,
            ord("v"): self._louder,
            ord("&"): self._background,
            _SUSPEND: self._suspend,
        }
        self._deeds |= dict.fromkeys(alone, self._not_shared) if shared else alone
        self._letter = ""

    def edit(self, data: bytes) -> bytes:
        """What of ``data`` goes to the other side."""
        # The usual key is neither: nothing to look at byte by byte.
        if not self._escaped and not self._at_line_start and self._character not in data:
            self._at_line_start = data[-1:] in (b"\r", b"\n")
            return data
        sent = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if self._take(byte):
                    continue
                # No escape of ours: both characters were meant for the other side.
                if byte != self._character:
                    sent.append(self._character)
            elif self._at_line_start and byte == self._character:
                self._escaped = True
                continue
            sent.append(byte)
            self._at_line_start = byte in _LINE_ENDS
        return bytes(sent)

    def _take(self, byte: int) -> bool:
        deed = self._deeds.get(byte) if byte != self._character else None
        if deed is None:
            return False
        self._at_line_start = True
        self._letter = chr(byte) if byte >= _SPACE else f"^{chr(byte | 64)}"
        deed()
        return True

    def _echo(self, letter: str) -> str:
        return f"{self._shown}{letter}"

    def _terminate(self) -> None:
        self._actions.show((self._echo("."),))
        self._actions.terminate()

    def _break(self) -> None:
        self._actions.show((self._echo("B"),))
        self._actions.send_break()

    def _rekey(self) -> None:
        self._actions.rekey()

    def _quieter(self) -> None:
        self._actions.show((f"{self._echo('V')} [{self._actions.change_level(-1)}]",))

    def _louder(self) -> None:
        self._actions.show((f"{self._echo('v')} [{self._actions.change_level(1)}]",))

    def _command(self) -> None:
        if self._command_line:
            self._actions.command_line()
        else:
            self._actions.show(("commandline disabled",))

    def _not_shared(self) -> None:
        said = "escape not available to multiplexed sessions"
        self._actions.show((f"{self._echo(self._letter)} {said}",))

    def _channels(self) -> None:
        lines = ("The following connections are open:", *self._actions.open_channels())
        self._actions.show((self._echo("#"), *lines))

    def _information(self) -> None:
        self._actions.show((self._echo("I"), *self._actions.information()))

    def _background(self) -> None:
        self._actions.show((f"{self._echo('&')} [backgrounded]",))
        self._actions.background()

    def _help(self) -> None:
        rows = [
            f" {self._shown}{letters:<3} - {text}"
            for letters, text, everywhere in _HELP
            if (everywhere or not self._shared)
            and (letters, everywhere) != (".", not self._shared)
            and (letters != "C" or self._command_line)
        ]
        last = [line.format(self._shown) for line in _LAST]
        self._actions.show((self._echo("?"), "Supported escape sequences:", *rows, *last))

    def _suspend(self) -> None:
        self._actions.show((f"{self._echo('^Z')} [suspend ssh]",))
        self._actions.suspend()
