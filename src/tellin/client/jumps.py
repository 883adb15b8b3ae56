# SPDX-License-Identifier: MIT
"""ProxyJump: which hosts a connection goes through, each with the configuration that it has by itself."""

from collections.abc import Sequence
from typing import Final

from tellin.config.destination import Destination, parse_jump
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError

# A hop's own configuration may name further hops; each is a connection inside the others.
LONGEST_CHAIN: Final = 16

Passed = tuple[tuple[str, int, str], ...]
"""The host, port and user of those whose configuration has sent us on."""


def last_step(config: SshConfig) -> tuple[Destination, str]:
    """The host just before the server, and the steps before that one, as ProxyJump has them."""
    before, _, step = (config.proxy_jump or "").rpartition(",")
    return parse_jump(step), before


def place_of(config: SshConfig) -> tuple[str, int, str]:
    """What tells one destination from another."""
    return config.host, config.port, config.user or ""


def read_hop(
    surroundings: Surroundings,
    config: SshConfig,
    *,
    file: str | None,
    options: Sequence[str] = (),
    passed: Passed = (),
) -> SshConfig:
    """The configuration of the host that ``config`` is reached through, expanded.

    It is what ``ssh -W`` to that host would see: the same files, and of the options none but those
    that are given here, with the steps before it as its ProxyJump. ``passed`` are those on the way back
    to the program. Raises ConfigError, also for a way that comes back to where it has been.
    """
    step, before = last_step(config)
    names = [*options, f"ProxyJump={before}"] if before else list(options)
    hop = read_ssh_config(
        surroundings, step.host, user=step.user, port=step.port, options=names, file=file,
        session="none",
    )  # fmt: skip
    hop = hop.expanded(surroundings)
    hop.check_permitted()
    check_circle(hop, listed=bool(before), passed=passed, origin=config.origin("proxy_jump"))
    return hop


def check_circle(hop: SshConfig, *, listed: bool, passed: Passed, origin: tuple[str, int]) -> None:
    """Raise ConfigError where the way through ``hop`` comes back to where it has been.

    With ``listed`` the steps before it are of a list that somebody wrote, which ends by itself;
    configurations that name each other do not.
    """
    circle = not listed and hop.proxy_jump and place_of(hop) in passed
    if circle or len(passed) > LONGEST_CHAIN:
        file, line = origin
        raise ConfigError(f"jumphost loop via {hop.host_argument}", file=file, line=line)
