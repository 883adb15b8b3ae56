# SPDX-License-Identifier: MIT
"""Ports and sockets of this machine that lead to places behind the server."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tellin.client.forwarding.leading import Leader
from tellin.config.forwards import Forward
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConnectFailed
from tellin.protocol.client import ClientProtocol
from tellin.runtime.gateways import chosen_hosts, listen_at
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import FAMILIES, Acceptor, listen_unix
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.userauth.text import escape_text


class LocalForwards(Leader):
    """Listens for ``ssh -L`` and ``-D``, too."""

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        config: SshConfig,
        journal: Journal,
        *,
        on_quiet: Callable[[], object],
    ) -> None:
        super().__init__(loop, core, link, journal, on_quiet=on_quiet)
        self._config = config
        self._acceptors: list[tuple[Forward, Acceptor]] = []
        self._files: dict[str, tuple[int, int]] = {}
        """Device and inode of each socket of the file system that we have made."""

    def begin(self) -> bool:
        """Listen wherever the configuration says; false if something of it could not be had."""
        whole = True
        for forward in (*self._config.local_forward, *self._config.dynamic_forward):
            if not self.add(forward):
                self._journal.error("Could not request local forwarding.")
                whole = False
        return whole

    def add(self, forward: Forward) -> bool:
        """Listen for one more, unless that is done already; false if it could not be had."""
        return any(one == forward for one, _ in self._acceptors) or self.listen(forward)

    def cancel(self, forward: Forward) -> bool:
        """Listen for it no more; false if nothing was listened for."""
        found = [(one, acceptor) for one, acceptor in self._acceptors if one == forward]
        for row in found:
            self._end(*row)
            self._acceptors.remove(row)
        return bool(found)

    def cancel_at(self, place: Forward, *, socks: bool) -> bool:
        """The same for what listens at a place, wherever it leads; with ``socks`` wherever SOCKS says."""
        found = [
            forward
            for forward, _ in self._acceptors
            if forward.is_socks is socks and self._listens_at(forward, place)
        ]
        for forward in found:
            self.cancel(forward)
        return bool(found)

    def _listens_at(self, forward: Forward, place: Forward) -> bool:
        gateway = self._config.gateway_ports
        return (forward.listen_port, forward.listen_path) == (
            place.listen_port,
            place.listen_path,
        ) and set(chosen_hosts(forward.listen_host, gateway=gateway)) == set(
            chosen_hosts(place.listen_host, gateway=gateway)
        )

    def lost(self) -> None:
        """The connection is gone: there is nowhere to lead anybody."""
        self.close()
        self.turn_away_asking()

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        for row in self._acceptors:
            self._end(*row)
        self._acceptors.clear()

    def _end(self, forward: Forward, acceptor: Acceptor) -> None:
        acceptor.close()
        path = forward.listen_path
        identity = self._files.pop(path, None)
        if identity is not None:
            # Gone, or somebody else's by now: then it is not ours to remove.
            with suppress(OSError):
                found = os.lstat(path)
                if (found.st_dev, found.st_ino) == identity:
                    os.unlink(path)  # noqa: PTH108 - the name as it was given

    def listen(self, forward: Forward) -> bool:
        """Listen for one more, which must not be listened for already."""
        self._journal.debug(
            f"Local connections to {forward.listening} forwarded to remote address {forward.leading or 'socks'}"
        )
        made = self._listen_unix(forward) if forward.listen_path else self._listen(forward)
        for listening in made:
            acceptor = Acceptor(
                self._loop,
                listening,
                lambda stream, address: self.accept(forward, stream, address),
            )
            self._acceptors.append((forward, acceptor))
        return bool(made)

    def _listen(self, forward: Forward) -> list[Socket]:
        config, journal, port = self._config, self._journal, forward.listen_port
        hosts = chosen_hosts(forward.listen_host, gateway=config.gateway_ports)
        failures: list[str] = []

        def failed(address: Any, error: OSError) -> None:
            failures.append(f"bind [{address[0]}]:{port}: {error.strerror}")

        what = "channel_setup_fwd_listener_tcpip"
        try:
            made = listen_at(hosts, port, family=FAMILIES[config.address_family], on_error=failed)
        except ConnectFailed as error:
            why = str(error).rpartition(": ")[2]
            journal.error(f"{what}: getaddrinfo({escape_text(hosts[0])}): {why}")
            return []
        for number, line in enumerate(failures, 1):
            # As OpenSSH: of several addresses that are taken the last one is worth a word.
            (journal.error if number == len(failures) else journal.verbose)(line)
        if not made:
            journal.error(f"{what}: cannot listen to port: {port}")
        for one in made:
            address = one.getsockname()
            journal.debug(f"Local forwarding listening on {address[0]} port {address[1]}.")
        return made

    def _listen_unix(self, forward: Forward) -> list[Socket]:
        config, path = self._config, forward.listen_path
        try:
            made = listen_unix(
                path,
                umask=config.stream_local_bind_mask,
                unlink=config.stream_local_bind_unlink,
            )
            found = os.lstat(path)
        except OSError as error:
            self._journal.error(
                f"unix_listener: cannot bind to path {escape_text(path)}: {error.strerror}"
            )
            return []
        self._files[path] = (found.st_dev, found.st_ino)
        self._journal.debug(f"Local forwarding listening on path {path}.")
        return [made]
