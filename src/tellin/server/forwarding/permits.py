# SPDX-License-Identifier: MIT
"""What a server of the library lets its clients have forwarded."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from tellin.config.authorized_keys import AuthorizedKey
from tellin.config.kinds import LISTEN_PLACES, OPEN_PLACES, Kind
from tellin.config.sshd_config import SshdConfig
from tellin.errors import ConfigError, UsageError
from tellin.runtime.journal import ERROR, INFO
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.forwarding import DIRECTIONS, Forwarding, rules

_log = logging.getLogger("tellin.server")
_LEVELS: Final = {ERROR: logging.WARNING, INFO: logging.INFO}


def permits(
    open_places: Sequence[str], listen_places: Sequence[str], *, sockets: bool
) -> dict[str, Any]:
    """The same as keywords of sshd_config; raises UsageError for places that are none."""
    return {
        "allow_tcp_forwarding": DIRECTIONS[bool(open_places), bool(listen_places)],
        "allow_stream_local_forwarding": "yes" if sockets else "no",
        "permit_open": _places(open_places, OPEN_PLACES),
        "permit_listen": _places(listen_places, LISTEN_PLACES),
        # Who names an address there means it.
        "gateway_ports": "clientspecified" if tuple(listen_places) != ("any",) else "no",
    }


def _places(places: Sequence[str], kind: Kind[tuple[str, ...]]) -> tuple[str, ...]:
    if isinstance(places, str):
        raise UsageError("places are a sequence, also where it is one")
    try:
        return kind.read(list(places)) if places else ("none",)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def permitted(
    connection: ServerConnection, grants: Sequence[object], config: SshdConfig, *, forced: bool
) -> Forwarding | None:
    """What is forwarded for a login with ``grants``; None where nothing may be."""
    options = [one.options for one in grants if isinstance(one, AuthorizedKey)]
    made = rules(config, options, "key-option" if forced else "")
    if not (made.opens_ports() or made.listens_on_ports()):
        return None
    return Forwarding(asyncio.get_running_loop(), connection, made, note=_note)


def _note(level: int, line: str) -> None:
    _log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)
