# SPDX-License-Identifier: MIT
"""What ``ssh`` makes of the host keys that a server tells of (UpdateHostKeys); rarely loaded."""

from collections.abc import Callable
from typing import Final

from tellin.client.connection import ClientConnection
from tellin.client.hosts.host_key_updates import Basis, HostKeyUpdates
from tellin.client.hosts.host_key_updates import updates as client_updates
from tellin.client.hosts.records import HostPlace
from tellin.config.ssh_config import SshConfig
from tellin.runtime.journal import Journal
from tellin.runtime.prompts import ask

_TRIES: Final = 3


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
    if asking and config.batch_mode:
        return None
    if asking and command:
        # Its streams are somebody else's, who does not wait for a question.
        journal.debug("UpdateHostKeys=ask is incompatible with remote command execution")
        return None
    return client_updates(
        connection.core,
        config,
        place=place,
        files=config.user_known_hosts_file,
        basis=basis,
        journal=journal,
        flush=connection.link.flush_soon,
        ask=(lambda: beside(lambda: _accepts(journal))) if asking else None,
    )


def _accepts(journal: Journal) -> bool:
    for _ in range(_TRIES):
        said = ask("Accept updated hostkeys? (yes/no): ", echo=True)
        if said is None or said.lower() == "no":
            return False
        if said.lower() == "yes":
            return True
        journal.info('Please enter "yes" or "no"')
    return False
