# SPDX-License-Identifier: MIT
"""The last lines of a connection's log, in the words that filters of logs look for."""

import errno
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from tellin.errors import (
    ConnectionLost,
    Disconnected,
    DisconnectReason,
    IdentificationError,
    IntegrityError,
    NegotiationFailed,
    TellinError,
    TimedOut,
)
from tellin.runtime.journal import ERROR, FATAL, INFO, VERBOSE
from tellin.userauth.text import escape_text
from tellin.wire import Record
from tellin.wire.states import State

LONGEST_NAME: Final = 100
TOO_MANY_FAILURES: Final = "Too many authentication failures"
_BEFORE_LOGIN: Final = " [preauth]"

Lines = Iterator[tuple[int, str]]


class Standing(State):
    """How far the user came, as the log names him."""

    STRANGER = ""
    AUTHENTICATING = "authenticating user "
    INVALID = "invalid user "
    LOGGED_IN = "user "


class Ending(Record):
    """One connection's end; ``source`` is ``ADDRESS port NUMBER``."""

    source: str
    user: str
    standing: Standing
    error: TellinError | None
    failure: OSError | None  # what the kernel reported, if it was that

    @property
    def who(self) -> str:
        """The user, if he gave a name, and where he is."""
        name = f"{self.name} " if self.standing is not Standing.STRANGER else ""
        return f"{self.standing.value}{name}{self.source}"

    @property
    def name(self) -> str:
        """The user's name, fit for a log (R204)."""
        return shown_name(self.user)

    @property
    def mark(self) -> str:
        """What OpenSSH puts behind lines from before the login."""
        return "" if self.standing is Standing.LOGGED_IN else _BEFORE_LOGIN

    def lines(self) -> Lines:
        """Level and text of each line."""
        for kind, words in _WORDS:
            if isinstance(self.error, kind):
                yield from words(self, self.error)
                return
        yield INFO, f"Disconnected from {self.who}{self.mark}"


def shown_name(user: str) -> str:
    """A user's name as the log shows it: the peer chose it, so it is bounded and holds no line."""
    return escape_text(user[:LONGEST_NAME])


def _disconnected(end: Ending, error: Disconnected) -> Lines:
    # A client that goes because it is done is no error; any other reason of its own is one.
    level = INFO if error.reason == DisconnectReason.BY_APPLICATION else ERROR
    said = escape_text(error.description)
    yield level, f"Received disconnect from {end.source}:{error.reason}: {said}{end.mark}"
    yield INFO, f"Disconnected from {end.who}{end.mark}"


def _not_negotiated(end: Ending, error: NegotiationFailed) -> Lines:
    # Rekeying comes this way too, and then there is a user; the line has never named him.
    yield INFO, f"Unable to negotiate with {end.source}: {escape_text(str(error))}{end.mark}"


def _not_identified(end: Ending, error: IdentificationError) -> Lines:
    said = re.search(r"b(['\"])(.*?)(?:\\r|\\n|\1$)", str(error))
    if said is not None:
        quoted = escape_text(said[2])
        yield (
            ERROR,
            f'kex_exchange_identification: client sent invalid protocol identifier "{quoted}"',
        )
    else:
        yield ERROR, f"kex_exchange_identification: {escape_text(str(error))}"
    old = "protocol version" in str(error)
    fault = "could not read protocol version" if old else "invalid format"
    yield INFO, f"banner exchange: Connection from {end.source}: {fault}"


def _damaged(end: Ending, error: IntegrityError) -> Lines:
    fault = f"message authentication code incorrect{end.mark}"
    yield INFO, f"ssh_dispatch_run_fatal: Connection from {end.who}: {fault}"


def _late(end: Ending, error: TimedOut) -> Lines:
    if end.standing is Standing.LOGGED_IN:
        yield INFO, f"Timeout, client not responding from {end.who}"
    elif str(error).startswith("Timeout before authentication"):
        yield FATAL, f"Timeout before authentication for {end.source}"
    else:
        yield INFO, f"Connection from {end.who} timed out{end.mark}"


def _lost(end: Ending, error: ConnectionLost) -> Lines:
    reset = end.failure is not None and end.failure.errno == errno.ECONNRESET
    if end.standing is Standing.LOGGED_IN:
        if end.failure is not None:
            said = end.failure.strerror or str(end.failure)
            yield VERBOSE, f"Read error from remote host {end.source}: {said}"
            return
        yield VERBOSE, f"Connection closed by {end.source}"
        yield VERBOSE, f"Closing connection to {end.source}"
        return
    verb = "reset" if reset else "closed"
    if error.stage == "banner exchange":
        how = "read: Connection reset by peer" if reset else "Connection closed by remote host"
        yield ERROR, f"kex_exchange_identification: {how}"
        yield INFO, f"Connection {verb} by {end.source}"
        return
    yield INFO, f"Connection {verb} by {end.who}{end.mark}"


def _ended_by_us(end: Ending, error: TellinError) -> Lines:
    text = str(error)
    if text == TOO_MANY_FAILURES:
        invalid = "invalid user " if end.standing is Standing.INVALID else ""
        whose = f"{invalid}{end.name} from {end.source} ssh2{end.mark}"
        yield ERROR, f"maximum authentication attempts exceeded for {whose}"
    yield INFO, f"Disconnecting {end.who}: {escape_text(text)}{end.mark}"


# The first row that fits counts: the particular before the general.
_WORDS: Final[tuple[tuple[type[TellinError], Callable[[Ending, Any], Lines]], ...]] = (
    (Disconnected, _disconnected),
    (NegotiationFailed, _not_negotiated),
    (IdentificationError, _not_identified),
    (IntegrityError, _damaged),
    (TimedOut, _late),
    (ConnectionLost, _lost),
    (TellinError, _ended_by_us),
)
