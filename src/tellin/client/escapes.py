# SPDX-License-Identifier: MIT
"""Escapes of a terminal session: ``~.`` and its kin, typed at the start of a line."""

from typing import Final, Protocol

HELP: Final = (
    "Supported escape sequences:",
    " {0}.   - terminate connection",
    " {0}B   - send a BREAK to the remote system",
    " {0}R   - request rekey",
    " {0}V/v - decrease/increase verbosity (LogLevel)",
    " {0}^Z  - suspend tellin ssh",
    " {0}#   - list open channels",
    " {0}I   - show information about the connection",
    " {0}&   - go to the background, with the session's input at its end",
    " {0}?   - this message",
    " {0}{0}   - send the escape character by typing it twice",
    "(Note that escapes are only recognized immediately after newline.)",
)
_SUSPEND: Final = 0x1A
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
        """Say more or less; returns the level's name."""

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

    def __init__(self, character: str, actions: Actions) -> None:
        self._character = ord(character)
        self._shown = character if character.isprintable() else f"^{chr(ord(character) | 64)}"
        self._actions = actions
        self._at_line_start = True
        self._escaped = False
        self._deeds = {
            ord("."): self._terminate,
            ord("B"): self._break,
            ord("R"): self._rekey,
            ord("V"): self._quieter,
            ord("v"): self._louder,
            ord("#"): self._channels,
            ord("I"): self._information,
            ord("&"): self._background,
            ord("?"): self._help,
            _SUSPEND: self._suspend,
        }

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
        name = self._actions.change_level(-1)
        self._actions.show((f"{self._echo('V')} [LogLevel {name}]",))

    def _louder(self) -> None:
        name = self._actions.change_level(1)
        self._actions.show((f"{self._echo('v')} [LogLevel {name}]",))

    def _channels(self) -> None:
        lines = ("The following connections are open:", *self._actions.open_channels())
        self._actions.show((self._echo("#"), *lines))

    def _information(self) -> None:
        self._actions.show((self._echo("I"), *self._actions.information()))

    def _background(self) -> None:
        self._actions.show((f"{self._echo('&')} [backgrounded]",))
        self._actions.background()

    def _help(self) -> None:
        lines = tuple(line.format(self._shown) for line in HELP)
        self._actions.show((self._echo("?"), *lines))

    def _suspend(self) -> None:
        self._actions.show((f"{self._echo('^Z')} [suspend tellin ssh]",))
        self._actions.suspend()
