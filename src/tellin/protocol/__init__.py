# SPDX-License-Identifier: MIT
"""The secure shell without a socket: deterministic but for ephemeral keys, no clock, no files.

``ClientProtocol`` and ``ServerProtocol`` take bytes and give bytes; what they cannot know
themselves they ask by events. Each name is loaded when it is first asked for: a client does not
wait for a server.
"""

# Type checkers take this for true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from tellin.connection.channel import Channel as Channel
    from tellin.connection.channel import Sink as Sink
    from tellin.connection.machine import ConnectionSettings as ConnectionSettings
    from tellin.protocol.client import ClientProtocol as ClientProtocol
    from tellin.protocol.core import Core as Core
    from tellin.protocol.core import KeepAlive as KeepAlive
    from tellin.protocol.server import ServerProtocol as ServerProtocol
    from tellin.transport.negotiation import Direction as Direction
    from tellin.transport.negotiation import Negotiated as Negotiated
    from tellin.transport.negotiation import Preferences as Preferences
    from tellin.transport.settings import Settings as Settings
    from tellin.transport.version import Role as Role

_HOMES = {
    "tellin.connection.channel": ("Channel", "Sink"),
    "tellin.connection.machine": ("ConnectionSettings",),
    "tellin.protocol.client": ("ClientProtocol",),
    "tellin.protocol.core": ("Core", "KeepAlive"),
    "tellin.protocol.server": ("ServerProtocol",),
    "tellin.transport.negotiation": ("Direction", "Negotiated", "Preferences"),
    "tellin.transport.settings": ("Settings",),
    "tellin.transport.version": ("Role",),
}

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


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415  (start-up time)

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'tellin.protocol' has no attribute {name!r}")
