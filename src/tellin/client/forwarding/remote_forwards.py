# SPDX-License-Identifier: MIT
"""What comes to places of the server, led to places that we reach: ``ssh -R``."""

import os
from collections.abc import Callable, Sequence
from typing import Final

from tellin.client.forwarding.listening import Listening, Place, Taker, Takers, told_host
from tellin.client.forwarding.remote_socks import RemoteSocks
from tellin.config.forwards import Forward, names_place
from tellin.config.ssh_config import SshConfig
from tellin.connection.channel import Channel
from tellin.protocol.client import ClientProtocol
from tellin.runtime.journal import Journal
from tellin.runtime.leading import Leading
from tellin.runtime.listeners import AF_UNIX, AF_UNSPEC, Address
from tellin.runtime.loop import Loop
from tellin.runtime.resolving import Resolver
from tellin.runtime.stream import Link
from tellin.userauth.text import escape_text

ANYWHERE: Final = ("any",)


class Led:
    """Leads channels that the server opens to places on our side.

    ``open`` is how many there are; ``on_quiet`` is called when the last has gone.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        journal: Journal,
        *,
        family: int = AF_UNSPEC,
        on_quiet: Callable[[], object] | None = None,
    ) -> None:
        self.open = 0
        self._loop = loop
        self._core = core
        self._link = link
        self._journal = journal
        self._family = family
        self._on_quiet = on_quiet
        self._resolver = Resolver(loop)

    def take(
        self, forward: Forward, channel: Channel, permitted: Sequence[str] = ANYWHERE
    ) -> None:
        """Lead a channel that was asked for where ``forward`` says.

        ``permitted`` are the places that may be asked for by SOCKS (PermitRemoteOpen).
        """
        self.open += 1
        if forward.is_socks:
            RemoteSocks(
                self._loop,
                self._core,
                self._link,
                channel,
                self._journal,
                lead=lambda socks, host, port: self._lead_by_socks(socks, host, port, permitted),
                on_over=self._one_less,
            )
        elif forward.path:
            # OpenSSH has a port for paths, and scripts have the line.
            shown = f"connect to {escape_text(forward.path)} port -2 failed: {{}}"
            self._leading(channel, shown, None).connect([(AF_UNIX, os.fsencode(forward.path))])
        else:
            self._lead_to_port(channel, forward.host, forward.port, None)

    def close(self) -> None:
        """The connection is over."""
        self._resolver.close()

    def _lead_by_socks(
        self, socks: RemoteSocks, host: str, port: int, permitted: Sequence[str]
    ) -> None:
        if permitted != ANYWHERE and not any(names_place(one, host, port) for one in permitted):
            self._journal.debug("rdynamic_connect_finish: requested forward not permitted")
            socks.refuse(prohibited=True)
        else:
            self._lead_to_port(socks.channel, host, port, socks)

    def _lead_to_port(
        self, channel: Channel, host: str, port: int, socks: RemoteSocks | None
    ) -> None:
        shown = escape_text(host)
        leading = self._leading(channel, f"connect_to {shown} port {port}: failed.", socks)

        def found(addresses: list[Address] | None, why: str) -> None:
            if addresses is not None:
                leading.connect(addresses)
                return
            self._journal.error(f"connect_to {shown}: unknown host ({why})")
            if socks is not None:
                socks.say_no()
            leading.refuse(why)

        self._resolver.find(host, port, found, family=self._family)

    def _leading(self, channel: Channel, said: str, socks: RemoteSocks | None) -> Leading:
        def failed(why: str) -> None:
            self._journal.error(said.replace("{}", why))
            if socks is not None:
                socks.say_no()

        return Leading(
            self._loop,
            self._core,
            self._link,
            channel,
            on_failed=failed,
            on_connected=None if socks is None else socks.hand_over,
            on_over=self._one_less,
        )

    def _one_less(self) -> None:
        self.open -= 1
        if not self.open and self._on_quiet is not None:
            self._on_quiet()


class RemoteForwards:
    """Has the server listen for ``ssh -R``; words and ends are OpenSSH's, which scripts know.

    ``on_settled`` is called once: when the server has answered for all places of the configuration,
    with whether it listens on each.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        incoming: Takers,
        *,
        config: SshConfig,
        journal: Journal,
        family: int,
        on_settled: Callable[[bool], object],
        on_quiet: Callable[[], object],
    ) -> None:
        self.led = Led(
            loop,
            core,
            link,
            journal,
            family=family,
            on_quiet=on_quiet,
        )
        self._listening = Listening(core, incoming)
        self._link = link
        self._config = config
        self._journal = journal
        self._on_settled = on_settled
        self._unanswered = len(config.remote_forward)
        self._standing: list[tuple[Forward, Place, Taker]] = []
        self._whole = True

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self.led.open

    def begin(self) -> None:
        """Ask for everything that the configuration names."""
        for forward in self._config.remote_forward:
            self._journal.debug(
                f"Remote connections from {_place_shown(forward)} forwarded to"
                f" local address {forward.host or forward.path or 'socks'}:{forward.port}"
            )
            self._ask(forward, self._answered)
        self._link.flush_soon()

    def add(self, forward: Forward, done: Callable[[int | None], object]) -> None:
        """Ask for one more; ``done`` gets the port that the server chose, 0 where it did not, None for a no."""

        def answered(forward: Forward, success: bool, place: Place) -> None:
            chosen = isinstance(place, tuple) and not forward.listen_port
            done(int(place[1]) if success and chosen else 0 if success else None)

        for one, place, _ in self._standing:
            if one == forward:
                answered(forward, True, place)
                return
        self._ask(forward, answered)
        self._link.flush_soon()

    def cancel(self, forward: Forward) -> bool:
        """Have the server listen there no more; false if it was not asked to."""
        for row in self._standing:
            one, place, taker = row
            if one == forward:
                self._standing.remove(row)
                self._listening.cancel(
                    place, taker, lambda success: self._cancelled(forward, success)
                )
                self._link.flush_soon()
                return True
        return False

    def cancel_at(self, there: Forward) -> bool:
        """The same for what listens at a place, wherever it leads."""
        named = asked_place(there)
        for forward, place, _ in self._standing:
            # By the port that was asked for, or by the one that the server chose.
            if named in (asked_place(forward), place):
                return self.cancel(forward)
        return False

    def lost(self) -> None:
        """The connection is gone."""
        self.led.close()

    def _cancelled(self, forward: Forward, success: bool) -> None:
        if not success:
            self._journal.error(f"the server does not end forwarding {_place_shown(forward)}")

    def _ask(self, forward: Forward, done: Callable[[Forward, bool, Place], object]) -> None:
        def taken(channel: Channel, origin: tuple[str, int]) -> None:
            if self._journal.debugs:
                self._journal.debug(
                    f"client_request_forwarded: listen {_place_shown(forward)},"
                    f" originator {escape_text(origin[0][:100])} port {origin[1]}"
                )
            self.led.take(forward, channel, self._config.permit_remote_open)

        def answered(success: bool, place: Place) -> None:
            if success:
                self._standing.append((forward, place, taken))
            done(forward, success, place)

        self._listening.ask(asked_place(forward), taken, answered)

    def _answered(self, forward: Forward, success: bool, place: Place) -> None:
        if self._unanswered <= 0:
            # It was given up at the first no.
            return
        journal = self._journal
        leading = f"{forward.host or forward.path or 'socks'}:{forward.port}"
        if journal.debugs:
            journal.debug(
                f"remote forward {'success' if success else 'failure'} for:"
                f" listen {_place_shown(forward)}, connect {leading}"
            )
        if isinstance(place, tuple) and not forward.listen_port and place[1]:
            if success:
                journal.info(f"Allocated port {place[1]} for remote forward to {leading}")
            else:
                journal.error(f"Invalid allocated port {place[1]} for remote forward to {leading}")
        if not success:
            self._whole = False
            at = f"port {forward.listen_port}"
            if forward.listen_path:
                at = f"path {escape_text(forward.listen_path)}"
            said = f"remote port forwarding failed for listen {at}"
            if self._config.exit_on_forward_failure:
                journal.fatal(f"Error: {said}")
                self._unanswered = 1
            else:
                journal.info(f"Warning: {said}")
        self._unanswered -= 1
        if not self._unanswered:
            self._on_settled(self._whole)


def asked_place(forward: Forward) -> Place:
    """What the server is asked for."""
    if forward.listen_path:
        return os.fsencode(forward.listen_path)
    return told_host(forward.listen_host), forward.listen_port


def _place_shown(forward: Forward) -> str:
    if forward.listen_path:
        return escape_text(forward.listen_path)
    return f"{escape_text(forward.listen_host or 'LOCALHOST')}:{forward.listen_port}"
