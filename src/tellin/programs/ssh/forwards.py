# SPDX-License-Identifier: MIT
"""What ``ssh`` forwards: the places of both sides, and when it can leave the shell or has to give up."""

from collections.abc import Callable
from typing import Protocol

from tellin.client.connection import ClientConnection
from tellin.client.forwarding.listening import Takers
from tellin.config.forwards import Forward
from tellin.config.ssh_config import SshConfig
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import FAMILIES
from tellin.runtime.loop import SmallLoop


class Here(Protocol):
    """What listens here, once it is loaded: `tellin.client.forwarding.listeners.LocalForwards`."""

    open: int

    def begin(self) -> bool:
        """Listen wherever the configuration says."""

    def add(self, forward: Forward) -> bool:
        """Listen for one more."""

    def listen(self, forward: Forward) -> bool:
        """Listen for one more, which must not be listened for already."""

    def cancel(self, forward: Forward) -> bool:
        """Listen for it no more."""

    def cancel_at(self, place: Forward, *, socks: bool) -> bool:
        """The same for what listens at a place."""

    def close(self) -> None:
        """Listen nowhere any more."""

    def lost(self) -> None:
        """The connection is gone."""


class There(Protocol):
    """What the server listens on, once it is loaded: `tellin.client.forwarding.remote_forwards.RemoteForwards`."""

    @property
    def open(self) -> int:
        """How many connections there are."""

    def begin(self) -> None:
        """Ask for everything that the configuration names."""

    def add(self, forward: Forward, done: Callable[[int | None], object]) -> None:
        """Ask for one more."""

    def cancel(self, forward: Forward) -> bool:
        """Have the server listen there no more."""

    def cancel_at(self, there: Forward) -> bool:
        """The same for what listens at a place."""

    def lost(self) -> None:
        """The connection is gone."""


class Device(Protocol):
    """Our network device, once it is loaded: `tellin.client.forwarding.network_devices.JoinedDevice`."""

    open: int

    def begin(self) -> bool:
        """Open it and ask for the server's; false if it could not be had."""


class SshForwards:
    """Everything that the configuration names.

    ``on_quiet`` is called when no forwarded connection is left; ``on_settled`` when the server has
    answered for all of its places, with whether it listens on each, and when it has for its network
    device, with whether it has one.
    """

    def __init__(
        self,
        loop: SmallLoop,
        connection: ClientConnection,
        incoming: Callable[[], Takers],
        config: SshConfig,
        journal: Journal,
        *,
        on_quiet: Callable[[], object],
        on_settled: Callable[[bool], object],
    ) -> None:
        self.pending = False
        """Whether the server has not answered for everything that it is to do."""
        self._config = config
        self._on_quiet = on_quiet
        self._on_settled = on_settled
        self._loop = loop
        self._connection = connection
        self._incoming = incoming
        self._journal = journal
        self._here: Here | None = None
        self._there: There | None = None
        self._device: Device | None = None
        self._unanswered = 0

    # Who forwards one way does not wait for what the other takes.

    def _local(self) -> Here:
        if self._here is None:
            from tellin.client.forwarding.listeners import LocalForwards

            self._here = LocalForwards(
                self._loop,
                self._connection.core,
                self._connection.link,
                self._config,
                self._journal,
                on_quiet=self._quiet,
            )
        return self._here

    def _remote(self) -> There:
        if self._there is None:
            from tellin.client.forwarding.remote_forwards import RemoteForwards

            self._there = RemoteForwards(
                self._loop,
                self._connection.core,
                self._connection.link,
                self._incoming(),
                config=self._config,
                journal=self._journal,
                family=FAMILIES[self._config.address_family],
                on_settled=self._settled,
                on_quiet=self._quiet,
            )
        return self._there

    def _network_device(self) -> Device:
        from tellin.client.forwarding.network_devices import JoinedDevice

        self._device = JoinedDevice(
            self._loop,
            self._connection.core,
            self._connection.link,
            self._config,
            self._journal,
            on_settled=self._settled,
            on_quiet=self._quiet,
        )
        return self._device

    @property
    def open(self) -> int:
        """How many connections are being forwarded, and with them a network device."""
        here = 0 if self._here is None else self._here.open
        there = 0 if self._there is None else self._there.open
        return here + there + (0 if self._device is None else self._device.open)

    def begin(self) -> bool:
        """Listen here and have the server listen; false if something could not be had here."""
        config = self._config
        whole = not (config.local_forward or config.dynamic_forward) or self._local().begin()
        # With ExitOnForwardFailure there is an end at the first that could not be had.
        if config.remote_forward and (whole or not config.exit_on_forward_failure):
            self._ask()
            self._remote().begin()
        if config.tunnel != "no" and (whole or not config.exit_on_forward_failure):
            if not self._network_device().begin():
                return False
            self._ask()
        return whole

    def add(self, forward: Forward) -> bool:
        """Listen here for one more, unless that is done already; false if it could not be had."""
        return self._local().add(forward)

    def listen(self, forward: Forward) -> bool:
        """Listen here for one more; false if it could not be had, or is listened for already."""
        return self._local().listen(forward)

    def cancel(self, forward: Forward) -> bool:
        """Listen for it no more; false if nothing was listened for."""
        return self._local().cancel(forward)

    def add_remote(self, forward: Forward, done: Callable[[int | None], object]) -> None:
        """Have the server listen for one more; ``done`` gets the port it chose, 0, or None for a no."""
        self._remote().add(forward, done)

    def cancel_remote(self, forward: Forward) -> bool:
        """Have it listen there no more; false if it did not."""
        return self._remote().cancel(forward)

    def cancel_at(self, place: Forward, *, socks: bool) -> bool:
        """Listen at a place no more, wherever it leads; with ``socks`` where SOCKS says."""
        return self._here is not None and self._here.cancel_at(place, socks=socks)

    def cancel_remote_at(self, place: Forward) -> bool:
        """Have the server listen at a place no more, wherever it leads."""
        return self._there is not None and self._there.cancel_at(place)

    def stop_listening(self) -> None:
        """Listen nowhere here any more; what there is goes on."""
        if self._here is not None:
            self._here.close()

    def lost(self) -> None:
        """The connection is gone."""
        if self._here is not None:
            self._here.lost()
        if self._there is not None:
            self._there.lost()

    def _ask(self) -> None:
        self._unanswered += 1
        self.pending = True

    def _settled(self, whole: bool) -> None:
        self._unanswered -= 1
        self.pending = self._unanswered > 0
        self._on_settled(whole)

    def _quiet(self) -> None:
        if not self.open:
            self._on_quiet()
