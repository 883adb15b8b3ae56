# SPDX-License-Identifier: MIT
"""A network device of this machine that is joined to one of the server's: ``ssh -w``."""

from collections.abc import Callable

from tellin.client.forwarding.leading import refusal
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import ANY_UNIT, DEVICE, ETHERNET, POINT_TO_POINT, DeviceTarget
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelOpenRefused
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.network_devices import DeviceTunnel, open_device
from tellin.runtime.stream import Link


class JoinedDevice:
    """The device that the configuration names; words and ends are OpenSSH's, which scripts know.

    ``on_settled`` is called once, with whether the server has opened its own; ``on_quiet`` when
    nothing of it is left.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        config: SshConfig,
        journal: Journal,
        *,
        on_settled: Callable[[bool], object],
        on_quiet: Callable[[], object],
    ) -> None:
        self.open = 0
        self._loop = loop
        self._core = core
        self._link = link
        self._config = config
        self._journal = journal
        self._on_settled = on_settled
        self._on_quiet = on_quiet

    def begin(self) -> bool:
        """Open ours and ask for theirs; false where ours cannot be had."""
        journal = self._journal
        mode = ETHERNET if self._config.tunnel == "ethernet" else POINT_TO_POINT
        ours, theirs = (ANY_UNIT if one is None else one for one in self._config.tunnel_device)
        journal.debug(f"Requesting tun unit {ours} in mode {mode}")
        try:
            fd, name = open_device(mode, ours)
        except OSError as error:
            journal.debug(f"network device: {error.strerror or error}")
            journal.error("Tunnel device open failed.")
            journal.error("Could not request tunnel forwarding.")
            return False
        journal.debug(f"Tunnel forwarding using interface {name}")
        channel = self._core.open_channel(DEVICE, DeviceTarget(mode, theirs).encode())
        self.open = 1
        DeviceTunnel(
            self._loop,
            channel,
            self._link,
            fd,
            mode=mode,
            title=f"{DEVICE}: {name}",
            on_opened=lambda: self._on_settled(True),
            on_refused=self._refused,
            on_over=self._over,
        )
        self._link.flush_soon()
        return True

    def _refused(self, event: ChannelOpenRefused) -> None:
        self._journal.info(refusal(event))
        self._journal.error("Tunnel forwarding failed")
        self._on_settled(False)

    def _over(self) -> None:
        self.open = 0
        self._on_quiet()
