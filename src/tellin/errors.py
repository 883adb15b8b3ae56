# SPDX-License-Identifier: MIT
"""Every error tellin raises: whose fault it is, the disconnect code it carries, and what to do next."""

import errno
from collections.abc import Sequence
from enum import IntEnum
from typing import Final


class DisconnectReason(IntEnum):
    """Why a connection ends (RFC 4253 section 11.1)."""

    HOST_NOT_ALLOWED_TO_CONNECT = 1
    PROTOCOL_ERROR = 2
    KEY_EXCHANGE_FAILED = 3
    RESERVED = 4
    MAC_ERROR = 5
    COMPRESSION_ERROR = 6
    SERVICE_NOT_AVAILABLE = 7
    PROTOCOL_VERSION_NOT_SUPPORTED = 8
    HOST_KEY_NOT_VERIFIABLE = 9
    CONNECTION_LOST = 10
    BY_APPLICATION = 11
    TOO_MANY_CONNECTIONS = 12
    AUTH_CANCELLED_BY_USER = 13
    NO_MORE_AUTH_METHODS_AVAILABLE = 14
    ILLEGAL_USER_NAME = 15


class ChannelOpenFailureReason(IntEnum):
    """Why a channel was not opened (RFC 4254 section 5.1)."""

    ADMINISTRATIVELY_PROHIBITED = 1
    CONNECT_FAILED = 2
    UNKNOWN_CHANNEL_TYPE = 3
    RESOURCE_SHORTAGE = 4


class TellinError(Exception):
    """The root of every error.

    ``hint`` says in one sentence what to do about it. ``stage`` is what was under way, where a
    connection was: "connecting", "banner exchange", "key exchange", "authentication", "session".
    ``parting`` is what the peer is told of it: the message is for our side, and may name its files,
    hosts and users.
    """

    hint: str = ""
    stage: str = ""
    parting: str = "the connection cannot go on"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint


class UsageError(TellinError):
    """The caller asked for something that the interface does not allow."""


class ProtocolError(TellinError):
    """The peer broke the protocol; ``reason`` is the code its DISCONNECT carries.

    The message speaks of nothing but what the peer itself has sent, and goes out where there is no
    ``parting``.
    """

    reason: DisconnectReason = DisconnectReason.PROTOCOL_ERROR
    parting = ""

    def __init__(
        self, message: str = "", *, reason: DisconnectReason | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        if reason is not None:
            self.reason = reason


class MalformedPacket(ProtocolError):
    """Bytes that do not parse as the message they claim to be."""


class IntegrityError(ProtocolError):
    """A packet whose tag does not fit: damaged or forged on the way."""

    reason = DisconnectReason.MAC_ERROR


class CompressionError(ProtocolError):
    """A compressed payload that does not inflate within its bound."""

    reason = DisconnectReason.COMPRESSION_ERROR


class IdentificationError(ProtocolError):
    """The peer's first line is not that of an SSH-2 implementation (RFC 4253 section 4.2)."""

    reason = DisconnectReason.PROTOCOL_VERSION_NOT_SUPPORTED


class KeyExchangeFailed(ProtocolError):
    """A key exchange that cannot be trusted: a bad public value, group or signature."""

    reason = DisconnectReason.KEY_EXCHANGE_FAILED


class NegotiationFailed(ProtocolError):
    """No algorithm that both sides offer; ``kind``, ``ours`` and ``theirs`` say which lists."""

    reason = DisconnectReason.KEY_EXCHANGE_FAILED

    def __init__(self, kind: str, ours: Sequence[str], theirs: Sequence[str]) -> None:
        self.kind = kind
        self.ours = tuple(ours)
        self.theirs = tuple(theirs)
        # An offer may be 64 KiB of names: what is shown of it is bounded.
        shown = ",".join(theirs)[:1024]
        super().__init__(
            f"no matching {kind} found. Their offer: {shown}",
            hint=f"we offered {','.join(ours)}; allow one of theirs for this host if you trust it",
        )


class HostKeyRejected(ProtocolError):
    """The server's host key, of this ``fingerprint``, was not accepted; nothing secret has been sent."""

    reason = DisconnectReason.HOST_KEY_NOT_VERIFIABLE
    parting = "host key not accepted"
    fingerprint: str = ""


class HostKeyUnknown(HostKeyRejected):
    """No record of this host, and the policy does not let new ones in."""


class HostKeyChanged(HostKeyRejected):
    """The host is recorded with another key: reinstalled, another machine, or an attack."""


class HostKeyRevoked(HostKeyRejected):
    """The host key is marked as revoked."""


class AuthenticationFailed(TellinError):
    """The server let none of our attempts in; ``tried`` and ``allowed`` list the methods.

    ``keys`` are those that were offered to it, ``unused`` those that could not be, each with why.
    """

    parting = "no more authentication methods to try"

    def __init__(
        self,
        message: str,
        *,
        tried: Sequence[str] = (),
        allowed: Sequence[str] = (),
        keys: Sequence[str] = (),
        unused: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.tried = tuple(tried)
        self.allowed = tuple(allowed)
        self.keys = tuple(keys)
        self.unused = tuple(unused)


class Disconnected(TellinError):
    """The peer said goodbye with DISCONNECT; ``reason`` is its code, any number it liked."""

    def __init__(self, reason: int, description: str) -> None:
        super().__init__(f"disconnected by the peer: {description} (code {reason})")
        self.reason = reason
        self.description = description


class ConnectionLost(TellinError):
    """The connection ended without a goodbye; ``stage`` says what was under way."""

    def __init__(self, message: str, *, stage: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage


class ConnectFailed(TellinError):
    """No TCP connection: name not found, refused, no route, or no answer in time."""

    stage = "connecting"


class TimedOut(TellinError):
    """Something did not happen in the time it was given; ``completed`` is what a command had written."""

    parting = "timed out"

    def __init__(self, message: str = "", *, hint: str = "", completed: object = None) -> None:
        super().__init__(message, hint=hint)
        self.completed = completed


class ChannelRefused(TellinError):
    """The peer, on ``host``, did not open the channel we asked for."""

    stage = "session"

    def __init__(self, code: int, description: str, *, host: str = "") -> None:
        where = f"{host}: " if host else ""
        super().__init__(
            f"{where}channel refused: {description} (code {code})",
            hint="a connection may have as many sessions at once as the server's MaxSessions says"
            if code == ChannelOpenFailureReason.ADMINISTRATIVELY_PROHIBITED
            else "",
        )
        self.code = code
        self.description = description


class RequestRefused(TellinError):
    """The peer answered a channel or global request with failure."""

    stage = "session"


class CommandFailed(TellinError):
    """A remote command ended with another status than 0 where success was asked for.

    ``completed`` is what came of it; ``hint`` is the last line it wrote to standard error.
    """

    stage = "session"

    def __init__(self, message: str, *, completed: object, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.completed = completed


class SftpError(TellinError, OSError):
    """A file server's no: ``status`` is its code, ``filename`` what it was about.

    It is an OSError of the matching kind too, so that ``except FileNotFoundError`` means files of
    both sides.
    """

    stage = "session"

    def __init__(
        self, message: str, *, status: int = 4, filename: str | bytes | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.filename = filename
        self.errno, _ = _SFTP_STATUS.get(status, (errno.EIO, SftpError))

    def __str__(self) -> str:
        # OSError would show the number, and the message a second time.
        return str(self.args[0])

    @staticmethod
    def of(status: int, message: str, *, filename: str | bytes | None = None) -> "SftpError":
        """The error for a status, of the class that fits."""
        _, kind = _SFTP_STATUS.get(status, (errno.EIO, SftpError))
        return kind(message, status=status, filename=filename)


class RemoteFileNotFound(SftpError, FileNotFoundError):
    """The file, or a directory on the way to it, is not there."""


class RemoteFileExists(SftpError, FileExistsError):
    """There is something already; servers of version 3 mostly say no more than that it failed."""


class RemoteFileForbidden(SftpError, PermissionError):
    """The user may not do that there."""


# draft-ietf-secsh-filexfer-13 section 9.1; those from 9 on are no part of version 3, and are said
# by some servers all the same.
_SFTP_STATUS: Final[dict[int, tuple[int, type[SftpError]]]] = {
    2: (errno.ENOENT, RemoteFileNotFound),
    3: (errno.EACCES, RemoteFileForbidden),
    5: (errno.EINVAL, SftpError),
    6: (errno.ENOTCONN, SftpError),
    7: (errno.ECONNRESET, SftpError),
    8: (errno.EOPNOTSUPP, SftpError),
    10: (errno.ENOENT, RemoteFileNotFound),
    11: (errno.EEXIST, RemoteFileExists),
    12: (errno.EROFS, RemoteFileForbidden),
    14: (errno.ENOSPC, SftpError),
    15: (errno.EDQUOT, SftpError),
    18: (errno.ENOTEMPTY, SftpError),
    19: (errno.ENOTDIR, SftpError),
    21: (errno.ELOOP, SftpError),
    24: (errno.EISDIR, SftpError),
}


class KeyFileError(TellinError):
    """A key file or blob that cannot be read; the message names the file or format and the cause."""


class WrongPassphrase(KeyFileError):
    """The key is encrypted and the passphrase is missing or wrong."""


class CertificateRejected(TellinError):
    """A certificate that does not prove what it should: another kind, out of its time, for other names."""


class SignatureFailed(TellinError):
    """A key could not sign: the agent refused, the token was not touched, the algorithm does not fit."""

    parting = "no signature could be made"


class ConfigError(TellinError):
    """A configuration file or option that cannot be used; says where."""

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, keyword: str = "", hint: str = ""
    ) -> None:
        where = f"{file} line {line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, hint=hint)
        self.file = file
        self.line = line
        self.keyword = keyword
