# SPDX-License-Identifier: MIT
"""Questions to whoever sits there: on the terminal, by an SSH_ASKPASS program, or on standard input."""

import contextlib
import os
import select
import signal
import termios
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Final, Self

from tellin.errors import UsageError

# OpenSSH reads at most this much of a passphrase too.
MOST_BYTES: Final = 1024

_LOOK_ROUND: Final = 1000  # milliseconds
_ASKPASS: Final = "/usr/bin/ssh-askpass"
# A terminal's function that no key has (_POSIX_VDISABLE of Linux).
_NO_KEY: Final = b"\0"
# Each ends or stops the program, which must not leave a terminal behind that shows no input.
_ENDINGS: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGPIPE,
    signal.SIGTSTP,
)


def ask(
    prompt: str,
    *,
    echo: bool = False,
    standard_input: bool = False,
    confirm: bool = False,
    cancellable: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> str | None:
    """Ask for one line and return it without its end; None if nobody can answer, or will not.

    The prompt goes to the terminal as it stands: a peer's words in it must be escaped before.
    Without a terminal the program that SSH_ASKPASS names is run, if there is a display;
    SSH_ASKPASS_REQUIRE=never, prefer or force changes that as ssh(1) says. With
    ``standard_input`` the last resort is standard input. ``confirm`` tells the SSH_ASKPASS
    program that yes or no is wanted. With ``cancellable`` Ctrl-C takes back the question alone. Bytes that are no UTF-8 come as surrogates.
    """
    require = environment.get("SSH_ASKPASS_REQUIRE", "").lower()
    display = bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    allowed = require == "force" or (display and require != "never")
    if allowed and (
        require in {"force", "prefer"} or not _terminal_is_there(standard_input=standard_input)
    ):
        return _ask_program(prompt, confirm=confirm, environment=environment)
    answer = _ask_terminal(
        prompt, echo=echo, standard_input=standard_input, cancellable=cancellable
    )
    return None if answer is None else answer.decode("utf-8", "surrogateescape")


def _terminal_is_there(*, standard_input: bool) -> bool:
    if standard_input:
        return os.isatty(0)
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ask_program(prompt: str, *, confirm: bool, environment: Mapping[str, str]) -> str | None:
    program = environment.get("SSH_ASKPASS") or _ASKPASS
    surroundings = dict(environment)
    if confirm:
        surroundings["SSH_ASKPASS_PROMPT"] = "confirm"
    reading, writing = os.pipe()
    try:
        # posix_spawn and not subprocess, whose import alone takes longer than a login's reading
        # of its key.
        child = os.posix_spawnp(
            program,
            [program, prompt.replace("\0", "")],
            surroundings,
            file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
        )
    except OSError:
        os.close(reading)
        return None
    finally:
        os.close(writing)
    try:
        answer = b""
        while len(answer) <= MOST_BYTES and (piece := os.read(reading, 4096)):
            answer += piece
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if status != 0:
        return None
    line = answer.replace(b"\r", b"\n").partition(b"\n")[0]
    _check_length(line)
    return line.decode("utf-8", "surrogateescape")


def _check_length(line: bytes | bytearray) -> None:
    # Cut off, a long passphrase would be another one that works nowhere else.
    if len(line) > MOST_BYTES:
        raise UsageError(f"an answer of more than {MOST_BYTES} bytes")


class _Signals:
    """While this is entered, signals that would end or stop the program are only noted.

    ``descriptor`` becomes readable when one arrives. A handler that raised could do so in the
    middle of putting the terminal back.
    """

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.descriptor, self._writing = os.pipe()
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.arrived.append(number)
        os.write(self._writing, b"!")

    def __enter__(self) -> Self:
        for number in _ENDINGS:
            # An ignored signal stays ignored (nohup).
            if signal.getsignal(number) is not signal.SIG_IGN:
                # ValueError: only the main thread has signals.
                with contextlib.suppress(ValueError):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(self.descriptor)
        os.close(self._writing)


def _ask_terminal(
    prompt: str, *, echo: bool, standard_input: bool, cancellable: bool
) -> bytes | None:
    try:
        reading = writing = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        if not standard_input:
            return None
        reading, writing = 0, 2
    try:
        while True:
            with (
                _Signals() as signals,
                _asking(reading, echo=echo, cancellable=cancellable) as cancelling,
            ):
                _write(writing, prompt.encode("utf-8", "surrogateescape"))
                line = read_line(reading, stop=signals.descriptor, cancelling=cancelling)
                if not echo and cancelling is not None:
                    _write(writing, b"\n")
            # The terminal and the handlers are as they were; now the signals do their work.
            for number in signals.arrived:
                os.kill(os.getpid(), number)
            if line is not None or signals.arrived != [signal.SIGTSTP]:
                return line
    finally:
        if reading != 0:
            os.close(reading)


def read_line(
    descriptor: int, *, stop: int | None = None, cancelling: bytes | None = None
) -> bytes | None:
    """One line without its end; None at the end of the input, or once ``stop`` is readable.

    A line that ends with the byte ``cancelling`` is none. Read byte by byte: what stands behind the
    line belongs to the next reader.
    """
    line = bytearray()
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if stop is not None:
        waiting.register(stop, select.POLLIN)
    while True:
        # Python notes a signal that came just before poll() once that returns: so it does each second.
        ready = waiting.poll(_LOOK_ROUND)
        if any(readable == stop for readable, _ in ready):
            return None
        if not ready:
            continue
        byte = os.read(descriptor, 1)
        if (not byte and not line) or (byte and byte == cancelling):
            return None
        if byte in {b"", b"\n"}:
            return bytes(line.removesuffix(b"\r"))
        line += byte
        _check_length(line)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _asking(descriptor: int, *, echo: bool, cancellable: bool) -> Iterator[bytes | None]:
    """Switch a terminal's echo, and put it back whatever happens; None if this is no terminal.

    The byte that is given takes the question back, where there is one.
    """
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error:
        # Not a terminal: nothing is echoed.
        yield None
        return
    shown = termios.ECHO | termios.ECHONL
    changed: list[Any] = [*before[:6], list(before[6])]
    changed[3] = (before[3] & ~shown) | (termios.ECHO if echo else 0)
    cancelling = b""
    if cancellable:
        # Ctrl-C, or what the user has in its place, ends a line here and is no signal: that would
        # be heard by who runs the loop, as a wish to end everything.
        cancelling = before[6][termios.VINTR]
        changed[6][termios.VEOL], changed[6][termios.VINTR] = cancelling, _NO_KEY
    try:
        # What was typed ahead was not meant for this question.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, changed)
        yield cancelling
    finally:
        if changed != before:
            # What is typed behind an answer that was seen is for the next who reads.
            when = termios.TCSADRAIN if echo else termios.TCSAFLUSH
            termios.tcsetattr(descriptor, when, before)
