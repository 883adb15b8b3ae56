# SPDX-License-Identifier: MIT
"""The user's terminal while an ``ssh`` session has it: raw, resized, and watched for escapes."""

import os
import signal
from collections.abc import Callable
from typing import Final, Protocol

from tellin.client.connection import ClientConnection
from tellin.client.sessions.escapes import Escapes
from tellin.connection.requests import PtyRequest, WindowChange
from tellin.runtime.journal import LEVELS, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.terminal import RawMode, SizeWatch, WindowSize, read_modes, window_size

# As OpenSSH writes them, which has two names for the first.
_SHOWN: Final = {"DEBUG1": "DEBUG", "QUIET": "SILENT"}
_LEVEL_NAMES: Final = tuple(_SHOWN.get(name, name) for name in LEVELS)
_LONGEST_TERMINAL: Final = 128
# What ends the input of whatever reads from a terminal (^D).
_END_OF_TYPING: Final = b"\x04"
_STDIN: Final = 0
_STDERR: Final = 2


class Owner(Protocol):
    """What a terminal needs of the session that it belongs to."""

    connection: ClientConnection

    def terminate(self) -> None:
        """End the connection."""

    def resize(self, size: WindowChange) -> None:
        """The window has another size now."""

    def send_break(self) -> None:
        """Send a BREAK."""

    def end_input(self, last: bytes) -> None:
        """No more will be typed, but this."""

    def stop_listening(self) -> None:
        """Take no more connections that are to be forwarded."""

    def run_command_line(self, line: str) -> None:
        """Do what the user typed for this program, and tell what came of it."""


class Terminal:
    """Standard input as a terminal; the deeds of the escapes are done here.

    They are done in the next turn of the loop: an escape is found in the middle of reading, and
    some of them end that.
    """

    def __init__(self, owner: Owner, loop: SmallLoop, journal: Journal) -> None:
        self.entered = False
        self._owner = owner
        self._loop = loop
        self._journal = journal
        self._raw = RawMode(_STDIN)
        self._watch: SizeWatch | None = None

    def request(self) -> PtyRequest:
        """What the server is asked for: a terminal like this one."""
        size = window_size(_STDIN) or WindowSize(columns=0, rows=0)
        name = os.environ.get("TERM", "")[:_LONGEST_TERMINAL]
        return PtyRequest(
            name.encode("utf-8", "replace").decode("utf-8"),
            size.columns,
            size.rows,
            size.width,
            size.height,
            read_modes(_STDIN),
        )

    def edit(
        self, escape_character: str, *, command_line: bool
    ) -> Callable[[bytes], bytes] | None:
        """What every input passes through: the search for escapes, unless there are none."""
        if not escape_character:
            return None
        return Escapes(escape_character, self, command_line=command_line).edit

    def enter(self) -> None:
        """The session has begun: every key goes to the other side."""
        self.entered = True
        if os.isatty(_STDIN):
            self._raw.enter()
            self._watch = SizeWatch(self._loop, _STDIN, self._resized)

    def leave(self) -> None:
        """Put the terminal in order."""
        self._raw.leave()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _resized(self, size: WindowSize) -> None:
        self._owner.resize(WindowChange(size.columns, size.rows, size.width, size.height))

    def _later(self, deed: Callable[[], object]) -> None:
        self._loop.call_soon(deed)

    # What escapes do

    def show(self, lines: tuple[str, ...]) -> None:
        """Write lines to the terminal."""
        text = "".join(f"{line}\r\n" for line in lines)
        os.write(_STDERR, text.encode("utf-8", "replace"))

    def terminate(self) -> None:
        """End the connection."""
        self._later(self._owner.terminate)

    def send_break(self) -> None:
        """Send a BREAK."""
        self._later(self._owner.send_break)

    def rekey(self) -> None:
        """Ask for new keys."""
        self._later(self._rekey)

    def _rekey(self) -> None:
        self._owner.connection.core.rekey()
        self._owner.connection.link.flush_soon()

    def change_level(self, step: int) -> str:
        """Say more or less; the new level's name."""
        if self._journal.to_system:
            return "Logging to syslog"
        level = min(max(self._journal.level + step, 0), len(_LEVEL_NAMES) - 1)
        self._journal.level = level
        return f"LogLevel {_LEVEL_NAMES[level]}"

    def command_line(self) -> None:
        """Ask for one line, on a terminal that is in order meanwhile."""
        self._later(self._command_line)

    def _command_line(self) -> None:
        # Few ever ask for it.
        from tellin.client.sessions.command_line import PROMPT
        from tellin.runtime.prompts import ask

        self._raw.leave()
        # Ctrl-C takes back what is typed here, and does not end the connection; nor does a signal
        # of that name that comes while a command of this machine runs.
        interrupts = {signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, interrupts)
        try:
            line = ask(PROMPT, echo=True, cancellable=True)
            if line is not None:
                self._owner.run_command_line(line)
        finally:
            signal.sigtimedwait(interrupts, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts)
            self._raw.enter()

    def suspend(self) -> None:
        """Stop as Ctrl-Z does; the terminal is in order meanwhile."""
        self._later(self._suspend)

    def _suspend(self) -> None:
        self._raw.suspend()
        # The window may have changed while we were away, without a word to us.
        size = window_size(_STDIN)
        if size is not None:
            self._resized(size)

    def open_channels(self) -> tuple[str, ...]:
        """A line for each channel."""
        from tellin.client.sessions.about import channel_lines

        return channel_lines(self._owner.connection.core)

    def information(self) -> tuple[str, ...]:
        """What connection this is."""
        from tellin.client.sessions.about import connection_lines

        connection = self._owner.connection
        return connection_lines(connection.core, connection.place)

    def background(self) -> None:
        """Let go of the terminal: no more input, and the shell has its prompt again."""
        self._later(self._background)

    def _background(self) -> None:
        self.leave()
        self._owner.stop_listening()
        if os.fork():
            os._exit(0)
        self._owner.end_input(_END_OF_TYPING)
