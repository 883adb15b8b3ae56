# SPDX-License-Identifier: MIT
"""One attempt to connect: what was asked for, and what is read and looked up before the first byte."""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from tellin.client.arguments import Path
from tellin.client.authentication.agent_source import AgentSource
from tellin.client.authentication.credentials import (
    Callbacks,
    Key,
    Named,
    Passphrase,
    UserCertificate,
    default_keys,
    needs_reading,
    read_certificates,
    read_keys,
)
from tellin.client.authentication.identities import Identity
from tellin.client.connected import Connection
from tellin.client.hosts.host_keys import HostKeyPolicy, Revocations, Sources
from tellin.client.hosts.records import HostPlace, known_types
from tellin.client.hosts.trust import LoadedRecords, RevokedHostKeys, Trust, read_revoked
from tellin.client.jumps import Passed, check_circle
from tellin.client.preferences import kept_settings
from tellin.client.reach import own_name
from tellin.client.ways import Way
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import COMMAND_LINE, read_ssh_config
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError, TimedOut
from tellin.protocol.core import KeepAlive
from tellin.runtime.listeners import FAMILIES, Address, bind_source, literal_address, resolve
from tellin.runtime.surroundings import LocalSurroundings, source_addresses
from tellin.transport.settings import Settings
from tellin.wire import Record

_CONFIGS_KEPT: Final = 64


class Prepared(Record):
    """What was read and looked up before the first byte."""

    config: SshConfig
    settings: Settings
    policy: HostKeyPolicy
    place: HostPlace
    records: LoadedRecords
    identities: list[Identity]
    certificates: Named | None
    unused: list[str]
    indirect: bool  # by a command or through another connection
    addresses: list[Address]
    bind: Any
    revocations: Sequence[tuple[str, Revocations]]
    sources: Sources | None


class OnTheWay(Record):
    """That a connection is for a jump: how its place on the way came to be."""

    listed: bool  # the steps before it stand in a list
    passed: Passed
    origin: tuple[str, int]


class Attempt(Record):
    """One attempt to connect and log in."""

    host: str
    user: str | None
    options: list[str]
    trust: Trust
    keys: tuple[Key, ...]
    certificates: tuple[UserCertificate, ...]
    agent: AgentSource
    revoked: RevokedHostKeys
    clock: Callable[[], float]
    passphrase: Passphrase | None
    callbacks: Callbacks
    config: Path | None
    sock: Any
    connect_timeout: float | None
    login_timeout: float | None
    keepalive: float | KeepAlive | None
    lent: str | None = None  # the agent that the server's side may ask
    outer: Connection | None = None  # the connection that this one goes through
    hop: OnTheWay | None = None  # set where this is one on the way to somewhere else
    way: Way | None = None  # what is let go at the end

    # What is read

    def is_light(self) -> bool:
        """Whether nothing is to be read that may take its time."""
        return (
            self.config is None
            and self.user is not None
            and not (self.trust.reads and self.trust.files)
            and not needs_reading((*self.keys, *self.certificates))
            and not self.revoked
            and self.agent.given is None
            and (
                self.sock is not None
                or self.outer is not None
                or literal_address(self.host, 0) is not None
            )
        )

    async def prepare_beside(self, loop: asyncio.AbstractEventLoop) -> Prepared:
        """Read all of it in another thread, in the time that there is for connecting."""
        try:
            async with asyncio.timeout(self.connect_timeout):
                return await loop.run_in_executor(None, self.prepare)
        except TimeoutError:
            late = TimedOut(
                f"{self.host}: its address and the keys were not found within"
                f" {self.connect_timeout:g} s",
                hint="is the name server reachable?",
            )
            late.stage = "connecting"
            raise late from None

    def prepare(self) -> Prepared:
        """Read and look up all that is needed; may wait for disks and name servers."""
        try:
            return self._read_all()
        except ConfigError as error:
            if error.file != COMMAND_LINE:
                raise
            # There is none: these were our arguments.
            said = str(error).removeprefix(f"{COMMAND_LINE}: ")
            raise ConfigError(said, keyword=error.keyword, hint=error.hint) from None

    def _read_all(self) -> Prepared:
        config = self._read_config()
        policy = self.trust.chosen(config if self.config is not None else None)
        place = HostPlace(
            host=config.host,
            port=config.port,
            alias=config.host_key_alias or "",
            check_address=config.check_host_ip,
        )
        records = self.trust.records(place, config if self.config is not None else None)
        sources = self.trust.sources(config if self.config is not None else None)
        known = known_types(
            records.known if sources is None else sources.known(records, place), place
        )
        addresses: list[Address] = []
        indirect = self.sock is None and (
            self.outer is not None
            or config.proxy_command is not None
            or config.proxy_jump is not None
        )
        if self.sock is None and not indirect:
            addresses = literal_address(config.host, config.port) or resolve(
                config.host, config.port, family=FAMILIES[config.address_family]
            )
        unused: list[str] = []
        if self.keys or self.config is None:
            identities = read_keys(self.keys, self.passphrase)
        else:
            identities, unused = default_keys(config.identity_file, self.passphrase)
        certificates = read_certificates(
            self.certificates or config.certificate_file, self.keys or config.identity_file, unused
        )
        identities += self.agent.open()
        found = source_addresses(config.bind_address, config.bind_interface)
        return Prepared(
            config,
            # A guess may turn out to need a second connection, which nobody has for us where the
            # first was handed in.
            kept_settings(config, known, guess=self.sock is None and not indirect),
            policy,
            place,
            records,
            identities,
            certificates,
            unused,
            indirect,
            addresses,
            bind_source(*found) if found else None,
            read_revoked(self.revoked or config.revoked_host_keys),
            sources,
        )

    def _read_config(self) -> SshConfig:
        if self.config is None:
            # An empty name is none, and no wish for our own.
            user = own_name() if self.user is None else self.user
            return _config_of(self.host, user, tuple(self.options))
        surroundings = LocalSurroundings()
        config = read_ssh_config(
            surroundings,
            self.host,
            user=self.user,
            options=self.options,
            file=None if self.config == "default" else os.fspath(self.config),
        ).expanded(surroundings)
        config.check_permitted()
        if self.hop is not None:
            check_circle(
                config, listed=self.hop.listed, passed=self.hop.passed, origin=self.hop.origin
            )
        return config


@lru_cache(_CONFIGS_KEPT)
def _config_of(host: str, user: str, options: tuple[str, ...]) -> SshConfig:
    """What holds where nothing is read from this machine: always the same for the same words."""
    return read_ssh_config(Surroundings(user=user), host, user=user, options=options, file="none")
