# SPDX-License-Identifier: MIT
"""What ``ssh`` makes of the host keys that a server tells of (UpdateHostKeys); rarely loaded."""

from collections.abc import Callable
from typing import Final, Protocol

from tellin.algorithms.signatures import SIGNATURES, plain
from tellin.client.connection import ClientConnection
from tellin.client.host_key_updates import HostKeyUpdates
from tellin.client.offer import algorithms
from tellin.client.records import HostPlace
from tellin.config.known_hosts import Entry
from tellin.config.ssh_config import SshConfig
from tellin.runtime.journal import Journal
from tellin.runtime.prompts import ask

_TRIES: Final = 3


class Basis(Protocol):
    """What the host key is trusted for: `tellin.client.host_keys.HostKeyCheck`."""

    grounds: Entry | None
    confirmed: bool


def updates(
    connection: ClientConnection,
    config: SshConfig,
    journal: Journal,
    *,
    place: HostPlace,
    basis: Basis,
    command: bool,
    beside: Callable[[Callable[[], bool]], bool],
) -> HostKeyUpdates | None:
    """What takes the server's word, or None where nothing may be learnt from it."""
    asking = config.update_host_keys == "ask"
    if (asking and config.batch_mode) or not config.user_known_hosts_file:
        return None
    if asking and command:
        # Its streams are somebody else's, who does not wait for a question.
        journal.debug("UpdateHostKeys=ask is incompatible with remote command execution")
        return None
    fault = _fault(config, place, basis)
    if fault:
        journal.debug(fault)
        return None
    return HostKeyUpdates(
        connection.core,
        config.user_known_hosts_file,
        place.names,
        key_types={SIGNATURES[plain(name)].key_type for name in algorithms(config).host_keys},
        journal=journal,
        flush=connection.link.flush_soon,
        ask=(lambda: beside(lambda: _accepts(journal))) if asking else None,
        hash_names=config.hash_known_hosts,
        fingerprint_hash=config.fingerprint_hash,
    )


def _fault(config: SshConfig, place: HostPlace, basis: Basis) -> str:
    """Why a key that is not known may not stand on the present one's shoulders, or an empty text."""
    line = basis.grounds
    if line is None and not basis.confirmed:
        return "UpdateHostkeys is disabled because the host key is not trusted."
    if line is None:
        return ""
    if line.file in config.global_known_hosts_file:
        return "host key found in GlobalKnownHostsFile; disabling UpdateHostkeys"
    # One that matches without the port may be another server's of the same machine; and who
    # trusts an authority does not keep a list of keys.
    if line.marker.value or not line.is_for(place.name):
        return "UpdateHostkeys is disabled because the host is not on record by this name."
    return ""


def _accepts(journal: Journal) -> bool:
    for _ in range(_TRIES):
        said = ask("Accept updated hostkeys? (yes/no): ", echo=True)
        if said is None or said.lower() == "no":
            return False
        if said.lower() == "yes":
            return True
        journal.info('Please enter "yes" or "no"')
    return False
