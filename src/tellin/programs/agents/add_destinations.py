# SPDX-License-Identifier: MIT
"""ssh-add -h: from ``[user@]host`` and ``src>[user@]dst`` to constraints, with the keys of known_hosts."""

import os
import pwd
from collections.abc import Sequence
from typing import Final

from tellin.agent.constraints import MOST_DESTINATIONS, Destination, Hop, HostKey
from tellin.config.known_hosts import KnownHosts, Marker
from tellin.errors import ConfigError
from tellin.programs.command import Failure
from tellin.runtime.files import read_text

_FATAL: Final = 255
_HERE: Final = Hop("", "", ())


def destinations_of(words: Sequence[str], host_files: Sequence[str]) -> tuple[Destination, ...]:
    """The constraints of all -h options; Failure where one cannot be read or no host key is known."""
    if len(words) > MOST_DESTINATIONS:
        raise Failure("Too many destination constraints", status=_FATAL)
    known = _known_hosts(host_files)
    made = []
    for word in words:
        origin, arrow, target = word.rpartition(">")
        first = _hop(origin, known) if arrow else _HERE
        if first.user:
            raise Failure(
                f"Invalid key constraint {word}: cannot specify user on 'from' host",
                status=_FATAL,
            )
        made.append(Destination(first, _hop(target, known)))
    return tuple(made)


def _known_hosts(host_files: Sequence[str]) -> KnownHosts:
    home = pwd.getpwuid(os.getuid()).pw_dir
    files = host_files or (
        f"{home}/.ssh/known_hosts",
        f"{home}/.ssh/known_hosts2",
        "/etc/ssh/ssh_known_hosts",
        "/etc/ssh/ssh_known_hosts2",
    )
    known = KnownHosts()
    for path in files:
        try:
            known.add(read_text(path), file=path)
        except FileNotFoundError:
            continue
        except (OSError, ConfigError) as error:
            raise Failure(f"{path}: {error}", status=_FATAL) from None
    return known


def _hop(word: str, known: KnownHosts) -> Hop:
    user, at, host = word.rpartition("@")
    if not host:
        # OpenSSH's agent refuses a destination without keys as well.
        raise Failure(
            f'Invalid key destination constraint "{word}": does not specify a host',
            status=_FATAL,
        )
    name = host.strip("[]") if host.startswith("[") and host.endswith("]") else host
    keys = tuple(
        HostKey(entry.blob, entry.marker is Marker.CERT_AUTHORITY)
        for entry in known.find(name.lower())
        if entry.marker is not Marker.REVOKED
    )
    if not keys:
        raise Failure(f'No host keys found for destination "{word}"', status=_FATAL)
    return Hop(user if at else "", host, keys)
