# SPDX-License-Identifier: MIT
"""A display of ours for programs on the server, as whoever starts them asks for it."""

from typing import Any

from tellin.wire import Record

XAUTH = "/usr/bin/xauth"
# As OpenSSH's ForwardX11Timeout.
SECONDS = 1200.0


class Display(Record, secret=("cookie",)):
    """A display of ours, and what programs on the server may do there: for ``x11=`` of ``run`` and its kin.

    Those programs know a cookie that is made for them alone; it is looked at here, and the real one
    takes its place. With ``x11=True`` all is as it stands here:

    ``name`` is as DISPLAY has it, and by default what DISPLAY says. What is not ``trusted`` is kept
    apart from other windows by the display itself, and let in for ``timeout`` seconds: xauth has it
    make a cookie for that, and where there is none nothing is shown (ConnectFailed). Who is ``trusted``
    may do there what programs of ours may, by the cookie that xauth knows, or by none where it knows
    none. A ``cookie`` of the caller's, of the kind MIT-MAGIC-COOKIE-1, is used in place of those, and
    xauth is not asked. With ``single_connection`` each session may open one window's connection.
    """

    name: str | None = None
    trusted: bool = False
    cookie: bytes | None = None
    single_connection: bool = False
    timeout: float = SECONDS
    xauth: str = XAUTH


class Lent:
    """What of ours the programs that run on one server may use."""

    __slots__ = ("agent", "shown", "unsafe")

    def __init__(self) -> None:
        self.agent = False
        """Whether they may ask an agent of ours (``forward_agent`` of ``connect``)."""
        self.unsafe = False
        """Whether the server's host key has changed: whoever answers there gets nothing."""
        self.shown: Any = None
        """The display, once a session has asked for one."""
