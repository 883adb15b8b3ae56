# SPDX-License-Identifier: MIT
"""Network devices of this machine that are joined to clients' devices.

They are opened with the rights of the user who is logged in (R148): others than root have only those
that root made for them.
"""

from collections.abc import Callable
from typing import Final

from tellin.connection.channel import Channel
from tellin.runtime.journal import ERROR, VERBOSE
from tellin.runtime.loop import Loop
from tellin.runtime.network_devices import DeviceTunnel, open_device
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.led import Led

# A client has one; each is a thing of the whole machine.
MOST_DEVICES: Final = 16


class NetworkDevices:
    """Those of one connection; ``on_device`` gets the name of each."""

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        *,
        note: Callable[[int, str], object],
        on_device: Callable[[str], object] | None = None,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._note = note
        self._on_device = on_device
        self._open = 0

    def join(self, channel: Channel, mode: int, unit: int) -> bool:
        """Open one for a channel, and the channel; false where it cannot be had."""
        if self._open >= MOST_DEVICES:
            self._note(ERROR, f"{self._open} network devices are open already")
            return False
        try:
            fd, name = open_device(mode, unit)
        except OSError as error:
            self._note(ERROR, f"network device: {error.strerror or error}")
            return False
        self._note(VERBOSE, f"Tunnel forwarding using interface {name}")
        self._open += 1
        connection = self._connection
        connection.core.accept_channel(channel)
        tunnel = DeviceTunnel(
            self._loop, channel, connection.link, fd, mode=mode, on_over=self._one_less
        )
        channel.owner = Led(tunnel)
        if self._on_device is not None:
            self._on_device(name)
        tunnel.start()
        connection.flush()
        return True

    def _one_less(self) -> None:
        self._open -= 1
