# SPDX-License-Identifier: MIT
"""The display of a client, for a function that serves one of its sessions (RFC 4254 section 6.3)."""

import logging

from tellin.connection.requests import X11Request
from tellin.connection.x11 import LARGEST_SCREEN, Cookie, read_cookie
from tellin.errors import ProtocolError, UsageError

_log = logging.getLogger("tellin.server")


class ClientDisplay:
    """What a client says of its display: the cookie that opens it, and which screen it is.

    The cookie is one that the client has made for this; whoever shows it gets in.
    """

    __slots__ = ("_cookie", "_left", "screen")

    def __init__(self, cookie: Cookie, screen: int, *, single_connection: bool) -> None:
        self._cookie = cookie
        self._left = 1 if single_connection else None
        self.screen: int = screen

    def __repr__(self) -> str:
        return f"<ClientDisplay of screen {self.screen}, {self.protocol}>"

    @property
    def protocol(self) -> str:
        """The kind of the cookie, nearly always MIT-MAGIC-COOKIE-1."""
        return self._cookie.protocol

    @property
    def cookie(self) -> bytes:
        """What a program shows first."""
        return self._cookie.data

    @property
    def single_connection(self) -> bool:
        """Whether the client lets one connection through, and no more."""
        return self._left is not None

    def count(self) -> None:
        """One more connection is made; raises UsageError where that is too many."""
        if self._left is None:
            return
        if not self._left:
            raise UsageError("the client lets a single connection to its display through")
        self._left -= 1


def read_display_request(request: X11Request) -> ClientDisplay | None:
    """What a client asks for; None where no display can be meant.

    R143: what it says ends up in files and commands of xauth, whoever writes these.
    """
    try:
        cookie = read_cookie(request.protocol, request.cookie)
    except ProtocolError as error:
        _log.info("%s", error)
        return None
    if request.screen > LARGEST_SCREEN:
        return None
    return ClientDisplay(cookie, request.screen, single_connection=request.single_connection)
