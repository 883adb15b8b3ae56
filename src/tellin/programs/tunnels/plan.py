# SPDX-License-Identifier: MIT
"""Which tunnels there are to be: hosts of ssh's configuration, and what they have forwarded."""

import os
from collections.abc import Callable, Sequence
from copy import copy
from typing import Final

from tellin.client.forwarding.local_forwards import listen_here
from tellin.client.hosts.host_keys import HostKeyPolicy
from tellin.client.options import ConnectOptions
from tellin.client.tunnel import KEEPALIVE, Tunnel
from tellin.config.destination import Destination, host_fault
from tellin.config.forwards import Forward
from tellin.config.linting.survey import HOST_LINE, ClientSurvey
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.errors import ConfigError
from tellin.programs.ssh.program import Invocation
from tellin.protocol.core import KeepAlive
from tellin.runtime.listeners import FAMILIES, is_abandoned
from tellin.runtime.sockets import Socket
from tellin.runtime.surroundings import LocalSurroundings
from tellin.wire import Record

# What the Tag of a host says whose tunnel --all begins.
TAG: Final = "tunnel"
# Behind a ProxyCommand or other hosts an answer may take its time.
_INDIRECT_SECONDS: Final = 15.0
_PATTERN: Final = frozenset("*?!")


class Plan(Record):
    """One tunnel: its name, where it leads, and what is forwarded."""

    name: str
    destination: Destination
    config: SshConfig
    file: str | None
    options: tuple[str, ...] = ()

    @property
    def here(self) -> tuple[Forward, ...]:
        """What is listened on here."""
        return (*self.config.local_forward, *self.config.dynamic_forward)

    @property
    def there(self) -> tuple[Forward, ...]:
        """What is listened on at the server."""
        return self.config.remote_forward

    async def listen(self, forward: Forward) -> list[Socket]:
        """Listen for one of ``here``; raises OSError, or ConnectFailed for a name that nobody knows."""
        config = self.config
        return await listen_here(
            forward,
            gateway=config.gateway_ports,
            family=FAMILIES[config.address_family],
            umask=config.stream_local_bind_mask,
            # What a killed one has left behind does not keep its successor from beginning.
            unlink=config.stream_local_bind_unlink or is_abandoned(forward.listen_path, settled=1),
        )

    def same(self, other: "Plan") -> bool:
        """Whether nothing has changed."""
        return self.name == other.name and tuple(self.config.dump()) == tuple(other.config.dump())

    def tunnel(self, longest_wait: float, on_change: Callable[[Tunnel], object]) -> Tunnel:
        """The tunnel; nobody is asked for anything, and nobody unknown is trusted, unless told so."""
        config = self.config
        options: ConnectOptions = {
            "user": self.destination.user,
            "port": self.destination.port,
            "config": self.file or "default",
            "options": self.options,
            "agent": config.agent_path(os.environ),
            "keepalive": KEEPALIVE,
        }
        if not config.is_set("strict_host_key_checking"):
            options["host_keys"] = HostKeyPolicy.STRICT
        if config.is_set("server_alive_interval"):
            options["keepalive"] = KeepAlive(
                float(config.server_alive_interval), config.server_alive_count_max
            )
        if config.connect_timeout:
            options["connect_timeout"] = float(config.connect_timeout)
        elif config.proxy_command is not None or config.proxy_jump is not None:
            options["connect_timeout"] = _INDIRECT_SECONDS
        return Tunnel(
            self.destination.host, longest_wait=longest_wait, on_change=on_change, **options
        )


def gather_plans(
    names: Sequence[str], *, tagged: bool, file: str | None, invocation: Invocation | None = None
) -> list[Plan]:
    """The tunnels of these names, and with ``tagged`` of all hosts that are tagged; raises ConfigError.

    ``invocation`` has what the command line says of all of them.
    """
    surroundings = LocalSurroundings()
    said = Invocation() if invocation is None else invocation
    plans = {name: _read_plan(surroundings, name, file, said) for name in names}
    for name in _hosts(surroundings, file) if tagged else ():
        if name not in plans:
            plan = _read_plan(surroundings, name, file, said)
            if plan.config.tag == TAG:
                plans[name] = plan
    for name, plan in plans.items():
        if not plan.here and not plan.there:
            raise ConfigError(
                f"{name}: nothing is forwarded",
                hint="LocalForward, DynamicForward or RemoteForward in its Host block says what",
            )
        plan.config.check_permitted()
    return list(plans.values())


def _read_plan(
    surroundings: LocalSurroundings, name: str, file: str | None, said: Invocation
) -> Plan:
    mine = copy(said)
    mine.arrive(name)
    assert mine.host is not None
    config = read_ssh_config(
        surroundings,
        mine.host,
        user=mine.user,
        port=mine.port,
        options=mine.options,
        file=file,
        session="none",
    ).expanded(surroundings)
    found = Destination(mine.host, mine.user, mine.port)
    return Plan(name, found, config, file, tuple(mine.options))


def _hosts(surroundings: LocalSurroundings, file: str | None) -> list[str]:
    """The hosts that a Host line of the configuration names in full."""
    survey = ClientSurvey(surroundings)
    survey.read_files(file)
    found = {
        name: None
        for block in survey.met
        for asked in block.asked or ()
        if asked.name == HOST_LINE and not asked.negated
        for name in asked.patterns
        if not host_fault(name) and not _PATTERN.intersection(name)
    }
    return list(found)
