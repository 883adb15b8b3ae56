# SPDX-License-Identifier: MIT
"""Where forwarded ports listen: on this machine alone, unless somebody says otherwise (R145)."""

import errno
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tellin.runtime.listeners import AF_INET, AF_INET6, AF_UNSPEC, listen
from tellin.runtime.sockets import Socket

EVERYWHERE: Final = ("",)
LOOPBACK: Final = ("::1", "127.0.0.1")
_LOOPBACK_OF: Final = {AF_INET6: LOOPBACK[:1], AF_INET: LOOPBACK[1:]}
_ALL: Final = ("", "*")
# A port that is free in one family may be taken in the other: how often another one is tried.
_TRIES: Final = 16
# A machine without one of the families has no such address.
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


def chosen_hosts(host: str | None, *, gateway: bool) -> tuple[str, ...]:
    """Where to listen if whoever forwards may choose; ``gateway`` decides where nothing was said."""
    if host is None:
        return EVERYWHERE if gateway else LOOPBACK
    if host in _ALL:
        return EVERYWHERE
    return LOOPBACK if host == "localhost" else (host,)


def granted_hosts(host: str, gateway: str) -> tuple[str, ...]:
    """Where to listen for a client that asks for ``host``; ``gateway`` is the server's GatewayPorts.

    R145: unless the server's configuration says more, this machine alone can connect.
    """
    if gateway == "yes":
        return EVERYWHERE
    if gateway == "clientspecified":
        return chosen_hosts(host, gateway=False)
    # One of the two families may be chosen, and nothing else.
    return (host,) if host in LOOPBACK else LOOPBACK


def listen_at(
    hosts: tuple[str, ...],
    port: int,
    *,
    family: int = AF_UNSPEC,
    on_error: Callable[[Any, OSError], object],
) -> list[Socket]:
    """Listen on all of ``hosts`` that can be had, port 0 being the same free one for all.

    ``on_error`` hears of each address that cannot be bound. Raises ConnectFailed for a name that
    nobody knows, and for an address that is not of ``family``. None is an empty list.
    """
    # Nobody has named both: of these there is the one that is of the family.
    wanted = _LOOPBACK_OF.get(family, hosts) if hosts == LOOPBACK else hosts
    tries = 1 if port else _TRIES
    made, failures = _listen_once(wanted, port, family)
    while (tries := tries - 1) and any(error.errno == errno.EADDRINUSE for _, error in failures):
        # Somebody else has it on one of them, and who is told the port would come to him.
        for one in made:
            one.close()
        made, failures = _listen_once(wanted, port, family)
    for address, error in failures:
        if error.errno not in _NO_FAMILY:
            on_error(address, error)
    return made


def _listen_once(
    hosts: tuple[str, ...], port: int, family: int
) -> tuple[list[Socket], list[tuple[Any, OSError]]]:
    made: list[Socket] = []
    failures: list[tuple[Any, OSError]] = []

    def failed(address: Any, error: OSError) -> None:
        failures.append((address, error))

    for host in hosts:
        chosen = made[0].getsockname()[1] if made and not port else port
        with suppress(OSError):
            made += listen(host, chosen, family=family, on_error=failed)
    return made, failures
