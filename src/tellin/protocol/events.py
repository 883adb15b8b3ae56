# SPDX-License-Identifier: MIT
"""All events of a core in one place; each floor defines its own."""

from tellin.connection.events import (
    ChannelAsked,
    ChannelClosed,
    ChannelClosing,
    ChannelEnded,
    ChannelIdle,
    ChannelOpened,
    ChannelOpenRefused,
    ChannelReplied,
    ChannelRequested,
    ChannelWritable,
    ConnectionUnused,
    GlobalReplied,
    GlobalRequested,
)
from tellin.transport.events import (
    Closed,
    DebugReceived,
    ExchangeDone,
    ExtensionsReceived,
    HostKeyOffered,
    HostKeySignatureWanted,
    Identified,
    KexInitReceived,
    KexInitSent,
    NewKeysReceived,
    NewKeysSent,
    PublicValueKnown,
)
from tellin.userauth.events import (
    Authenticated,
    AuthenticationAsked,
    AuthenticationRefused,
    Banner,
    KeyAccepted,
    PasswordChangeAsked,
    QuestionsAsked,
    SignatureWanted,
)
from tellin.wire import Record


class AuthenticationReady(Record):
    """The server takes authentication requests now; the client may already have made one."""


class PongReceived(Record):
    """The peer's answer to ``ping``, with the bytes that were sent."""

    data: bytes


# Every event is a Record; the alias says where one is meant.
Event = Record

__all__ = [
    "Authenticated",
    "AuthenticationAsked",
    "AuthenticationReady",
    "AuthenticationRefused",
    "Banner",
    "ChannelAsked",
    "ChannelClosed",
    "ChannelClosing",
    "ChannelEnded",
    "ChannelIdle",
    "ChannelOpenRefused",
    "ChannelOpened",
    "ChannelReplied",
    "ChannelRequested",
    "ChannelWritable",
    "Closed",
    "ConnectionUnused",
    "DebugReceived",
    "Event",
    "ExchangeDone",
    "ExtensionsReceived",
    "GlobalReplied",
    "GlobalRequested",
    "HostKeyOffered",
    "HostKeySignatureWanted",
    "Identified",
    "KexInitReceived",
    "KexInitSent",
    "KeyAccepted",
    "NewKeysReceived",
    "NewKeysSent",
    "PasswordChangeAsked",
    "PongReceived",
    "PublicValueKnown",
    "QuestionsAsked",
    "SignatureWanted",
]
