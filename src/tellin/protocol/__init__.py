# SPDX-License-Identifier: MIT
"""The secure shell without a socket: deterministic but for ephemeral keys, no clock, no files.

``ClientProtocol`` and ``ServerProtocol`` take bytes and give bytes; what they cannot know
themselves they ask by events.
"""

from tellin.connection.channel import Channel, Sink
from tellin.connection.machine import ConnectionSettings
from tellin.protocol.client import ClientProtocol
from tellin.protocol.core import Core, KeepAlive
from tellin.protocol.server import ServerProtocol
from tellin.transport.negotiation import Direction, Negotiated, Preferences
from tellin.transport.settings import Settings
from tellin.transport.version import Role

__all__ = [
    "Channel",
    "ClientProtocol",
    "ConnectionSettings",
    "Core",
    "Direction",
    "KeepAlive",
    "Negotiated",
    "Preferences",
    "Role",
    "ServerProtocol",
    "Settings",
    "Sink",
]
