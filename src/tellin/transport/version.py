# SPDX-License-Identifier: MIT
"""The exchange of identification strings (RFC 4253 section 4.2)."""

from typing import Final

from tellin.errors import ConfigError, DisconnectReason, IdentificationError
from tellin.wire import ReceiveBuffer
from tellin.wire.states import State

VERSION: Final = "0.1.0"
IDENTIFICATION: Final = f"SSH-2.0-tellin_{VERSION}"

# RFC 4253 section 4.2: 255 bytes with CR and LF.
IDENTIFICATION_BYTES: Final = 255
# A server may say other lines first. Their number and length are its own choice, so both are
# bounded (R034); 1,024 and 8,192 are what OpenSSH's client puts up with.
LINES_BEFORE: Final = 1024
LINE_BYTES: Final = 8192

INVALID_IDENTIFICATION: Final = b"Invalid SSH identification string.\r\n"
MAJOR_VERSIONS_DIFFER: Final = b"Protocol major versions differ.\r\n"


class Role(State):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


def identification(addendum: str) -> str:
    """Ours, with a comment behind it if one is wanted; raises ConfigError for one that cannot be sent."""
    if not addendum:
        return IDENTIFICATION
    made = f"{IDENTIFICATION} {addendum}"
    if not (made.isascii() and made.isprintable()) or len(made) > IDENTIFICATION_BYTES - 2:
        raise ConfigError("VersionAddendum: it must be printable ASCII, and not long")
    return made


class IdentificationReader:
    """Reads the peer's identification, and what a server says before it."""

    __slots__ = ("_role", "lines")

    def __init__(self, role: Role) -> None:
        self._role = role
        self.lines: list[bytes] = []

    def read(self, buffer: ReceiveBuffer) -> str | None:
        """The identification without its line end, or None while it is not complete.

        Raises IdentificationError, whose ``hint`` is empty and whose text names the fault.
        """
        while True:
            limit = IDENTIFICATION_BYTES if self._role is Role.SERVER else LINE_BYTES
            waiting = bytes(buffer.data[buffer.at : min(buffer.end, buffer.at + limit + 1)])
            size = waiting.find(b"\n")
            if size < 0 or size >= limit:
                self._check_unfinished(waiting, limit)
                return None
            line = waiting[:size]
            buffer.at += size + 1
            if line.startswith(b"SSH-"):
                return self._identification(line, size + 1)
            if self._role is Role.SERVER:
                raise IdentificationError(f"not an SSH identification: {line[:64]!r}")
            if len(self.lines) >= LINES_BEFORE:
                raise IdentificationError(
                    f"more than {LINES_BEFORE} lines before the identification"
                )
            self.lines.append(line.removesuffix(b"\r"))

    def _check_unfinished(self, waiting: bytes, limit: int) -> None:
        if len(waiting) > limit or (len(waiting) == limit and self._role is Role.SERVER):
            raise IdentificationError(f"a first line of more than {limit} bytes")
        # A web browser or a scanner is told at once, not after it has sent 255 bytes.
        if self._role is Role.SERVER and not b"SSH-".startswith(waiting[:4]):
            raise IdentificationError(f"not an SSH identification: {waiting[:64]!r}")

    def _identification(self, line: bytes, size: int) -> str:
        text = line.removesuffix(b"\r")
        # Anything but printable ASCII could forge log lines or steer a terminal (R036), and a
        # CR or NUL inside would be hashed differently by implementations that cut there.
        if size > IDENTIFICATION_BYTES or not all(32 <= byte < 127 for byte in text):
            raise IdentificationError(f"a malformed SSH identification: {text[:64]!r}")
        identification = text.decode("ascii")
        _, version, software = (*identification.split("-", 2), "", "")[:3]
        if version not in {"2.0", "1.99"}:
            if version[:1].isdigit() and "." in version:
                raise IdentificationError(
                    f"protocol version {version[:16]} is not 2.0",
                    reason=DisconnectReason.PROTOCOL_VERSION_NOT_SUPPORTED,
                )
            raise IdentificationError(f"a malformed SSH identification: {identification[:64]!r}")
        if not software or software.startswith(" "):
            raise IdentificationError("an SSH identification that names no software")
        return identification


def farewell(error: IdentificationError) -> bytes:
    """The line of text for a peer that does not speak SSH-2; packets would mean nothing to it."""
    if "protocol version" in str(error):
        return MAJOR_VERSIONS_DIFFER
    return INVALID_IDENTIFICATION
