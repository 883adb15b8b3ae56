# SPDX-License-Identifier: MIT
"""SYMLINK's two orders: the draft has the link's path first (section 6.10), OpenSSH's server the target.

Nothing in the protocol says which one the other side has in mind; its identification is all there is to go by.
"""

from typing import Final

# Servers that take the paths as OpenSSH's does. Dropbear runs that one; tellin's is one of them.
_TARGET_FIRST: Final = ("OpenSSH", "dropbear", "paramiko", "tellin")
# Clients that send the draft's order to whoever is not called OpenSSH: AsyncSSH, npm's ssh2, WinSCP.
_LINK_FIRST: Final = ("AsyncSSH", "ssh2js", "WinSCP")


def takes_target_first(identification: str) -> bool:
    """Whether a server that calls itself so has the target of a link before the link."""
    return any(name in identification for name in _TARGET_FIRST)


def sends_link_first(identification: str) -> bool:
    """Whether a client that calls itself so has the link before its target, at a server of tellin's."""
    return any(name in identification for name in _LINK_FIRST)
