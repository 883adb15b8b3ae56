# SPDX-License-Identifier: MIT
"""How a connection's end is told: one line with its cause, worded as scripts know it from ssh(1)."""

from collections.abc import Callable
from typing import Any, Final

from tellin.errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    Disconnected,
    HostKeyRejected,
    IdentificationError,
    IntegrityError,
    NegotiationFailed,
    TellinError,
    TimedOut,
)
from tellin.wire import Record
from tellin.wire.states import State

NOWHERE: Final = ("UNKNOWN", 65535)  # where we have no address: behind a ProxyCommand


class Stage(State):
    """What a client's connection is about."""

    CONNECTING = "connecting"
    BANNER = "the identifications"
    EXCHANGE = "the first key exchange"
    LOGIN = "the login"
    SESSION = "open"
    OVER = "over"


class Place(Record):
    """The server as the user named it, and where that turned out to be."""

    host: str
    address: str = NOWHERE[0]
    port: int = NOWHERE[1]

    @property
    def where(self) -> str:
        """``ADDRESS port NUMBER``."""
        return f"{self.address} port {self.port}"


def told(
    error: TellinError, place: Place, stage: Stage, failure: OSError | None = None
) -> tuple[str, ...]:
    """The lines for an error; ``failure`` is what the kernel said when the connection broke."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words(error, place, stage, failure)
    return (f"ssh_dispatch_run_fatal: Connection to {place.where}: {error}",)


def afterword(
    error: TellinError, place: Place, stage: Stage, failure: OSError | None = None
) -> str:
    """What is said behind that where a command led to nobody: that it was no address that failed."""
    if stage is not Stage.BANNER or (place.address, place.port) != NOWHERE:
        return ""
    if isinstance(error, TimedOut):
        return f"Connection to {place.where} timed out"
    if not isinstance(error, ConnectionLost):
        return ""
    how = "reset" if isinstance(failure, ConnectionResetError) else "closed"
    return f"Connection {how} by {place.where}"


_Words = Callable[[Any, Place, Stage, OSError | None], tuple[str, ...]]


def _itself(error: TellinError, *_: object) -> tuple[str, ...]:
    return (str(error),)


def _no_connection(error: ConnectFailed, *_: object) -> tuple[str, ...]:
    return (f"ssh: {error}",)


def _host_key(error: HostKeyRejected, *_: object) -> tuple[str, ...]:
    return (str(error), "Host key verification failed.")


def _identification(error: IdentificationError, *_: object) -> tuple[str, ...]:
    return (f"kex_exchange_identification: {error}",)


def _negotiation(error: NegotiationFailed, place: Place, *_: object) -> tuple[str, ...]:
    return (f"Unable to negotiate with {place.where}: {error}; ours: {','.join(error.ours)}",)


def _integrity(error: IntegrityError, place: Place, *_: object) -> tuple[str, ...]:
    cause = "message authentication code incorrect"
    return (
        "Corrupted MAC on input.",
        f"ssh_dispatch_run_fatal: Connection to {place.where}: {cause}",
    )


def _goodbye(error: Disconnected, place: Place, *_: object) -> tuple[str, ...]:
    return (f"Received disconnect from {place.where}:{error.reason}: {error.description}",)


def _too_late(error: TimedOut, place: Place, stage: Stage, *_: object) -> tuple[str, ...]:
    if stage is Stage.SESSION:
        return (f"Timeout, server {place.host} not responding.",)
    if stage is Stage.BANNER:
        return ("Connection timed out during banner exchange",)
    return (f"Connection to {place.where} timed out",)


def _lost(
    error: ConnectionLost, place: Place, stage: Stage, failure: OSError | None
) -> tuple[str, ...]:
    # Writing to a peer that has closed: all there is to know is that it has.
    closed = failure is None or isinstance(failure, BrokenPipeError)
    cause = "" if failure is None or closed else failure.strerror
    if stage is Stage.BANNER:
        how = f"read: {cause}" if cause else "Connection closed by remote host"
        return (f"kex_exchange_identification: {how}",)
    if stage is Stage.SESSION:
        if cause:
            return (f"Read from remote host {place.host}: {cause}",)
        return (f"Connection to {place.host} closed by remote host.",)
    if isinstance(failure, ConnectionResetError):
        return (f"Connection reset by {place.where}",)
    return (f"Connection closed by {place.where}",)


# The first kind that fits has the word: kinds of a kind stand before it.
_WORDS: Final[tuple[tuple[type[TellinError], _Words], ...]] = (
    (ConnectFailed, _no_connection),
    (HostKeyRejected, _host_key),
    (IdentificationError, _identification),
    (NegotiationFailed, _negotiation),
    (IntegrityError, _integrity),
    (Disconnected, _goodbye),
    (AuthenticationFailed, _itself),
    (TimedOut, _too_late),
    (ConnectionLost, _lost),
)
