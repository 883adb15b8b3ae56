# SPDX-License-Identifier: MIT
"""What is told of a connection to whoever asks: ``~I`` and ``~#``, ``ssh -O conninfo`` and ``-O channels``."""

from tellin.client.endings import Place
from tellin.client.sessions.open_channels import describe
from tellin.protocol.client import ClientProtocol


def channel_lines(core: ClientProtocol) -> tuple[str, ...]:
    """A line for each channel of a connection."""
    return tuple(f"  {describe(channel)}" for _, channel in sorted(core.channels.items()))


def connection_lines(core: ClientProtocol, place: Place) -> tuple[str, ...]:
    """What connection it is."""
    algorithms = core.algorithms
    lines = [f"  server {place.host} ({place.where})", f"  {core.peer_identification}"]
    if algorithms is not None:
        lines += [
            f"  kexalgorithm {algorithms.key_exchange}",
            f"  hostkeyalgorithm {algorithms.host_key}",
        ]
        for name in ("cipher", "mac", "compression"):
            both = [
                getattr(direction, name) or "<implicit>"
                for direction in (algorithms.client_to_server, algorithms.server_to_client)
            ]
            lines.append(f"  {name} {' '.join(dict.fromkeys(both))}")
    sent, received = core.traffic
    lines.append(f"  sent {sent} bytes, received {received} bytes")
    return tuple(lines)
