# SPDX-License-Identifier: MIT
"""UseDNS: the name of whoever connects, believed only if it leads back to where he is.

Blocks for as long as the resolver does: for a process that has one connection.
"""

import _socket
from typing import Final

from tellin.errors import ConnectFailed
from tellin.runtime.listeners import resolve

_NAME_REQUIRED: Final = _socket.NI_NAMEREQD


class HostName:
    """What the name service says of an address; ``warning`` is for the log."""

    def __init__(self, name: str = "", warning: str = "") -> None:
        self.name = name
        self.warning = warning


def find_name(address: str) -> HostName:
    """The name of ``address``, or none: whoever owns the address writes what it is called."""
    try:
        found, _ = _socket.getnameinfo((address, 0), _NAME_REQUIRED)
    except (OSError, UnicodeError):
        return HostName()
    name = found.lower()
    # A name that reads as an address would pass for one in from="10.0.0.*".
    if _is_address(name):
        return HostName(
            warning=f'Nasty PTR record "{name[:64]}" is set up for {address}, ignoring'
        )
    try:
        back = {place[0] for _, place in resolve(name, 0)}
    except ConnectFailed:
        return HostName(
            warning=f"reverse mapping checking getaddrinfo for {name[:64]} [{address}] failed."
        )
    if address not in back:
        return HostName(
            warning=f"Address {address} maps to {name[:64]},"
            " but this does not map back to the address."
        )
    return HostName(name)


def _is_address(name: str) -> bool:
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, name)
        except OSError:
            continue
        return True
    return False
