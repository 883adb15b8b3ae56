# SPDX-License-Identifier: MIT
"""Our display for the sessions of one connection: made ready when the first of them asks for it."""

import asyncio
import math
import os
from typing import Protocol

from tellin.client.display import Display, Lent
from tellin.client.forwarding.incoming import Incoming
from tellin.client.forwarding.local_forwards import library_journal
from tellin.client.forwarding.x11_forwarding import Access, X11Forwarding, obtain
from tellin.connection.forwarding import X11
from tellin.connection.requests import X11Request
from tellin.connection.x11 import COOKIE, LONGEST_COOKIE, Cookie, read_display
from tellin.errors import ConnectFailed, ProtocolError, UsageError
from tellin.protocol.client import ClientProtocol
from tellin.runtime.loop import Loop
from tellin.runtime.stream import Link


class Lender(Protocol):
    """A connection as a program has it: `tellin.client.connected.Connection`."""

    @property
    def loop(self) -> Loop:
        """What it runs on."""

    @property
    def core(self) -> ClientProtocol:
        """Its protocol."""

    @property
    def link(self) -> Link:
        """Its socket."""

    @property
    def host(self) -> str:
        """The server as it was named."""

    @property
    def incoming(self) -> Incoming:
        """Who takes the channels that its server opens."""

    @property
    def lent(self) -> Lent:
        """What its server may use."""

    def check_open(self) -> None:
        """Raise ConnectionLost where it is over."""


class Shown:
    """What is shown of a connection's sessions: one display, for all of them.

    The channels that a server opens say of no session, so one connection leads to one display.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self.forwarding: X11Forwarding | None = None
        # Two sessions may begin at once, and xauth takes its time.
        self.lock = asyncio.Lock()


async def show(connection: Lender, display: Display) -> X11Request:
    """Take the server's channels to ``display`` from here on; what a session is to ask for.

    Raises UsageError and ConnectFailed; R144: and shows nothing to whoever is not trusted then.
    """
    if not isinstance(display, Display):
        raise UsageError(f"x11 is True, False or a Display, and no {type(display).__name__}")
    name = _name(display)
    if connection.lent.unsafe:
        raise UsageError(f"{connection.host}: its host key has changed: no display is shown to it")
    shown: Shown | None = connection.lent.shown
    if shown is None:
        shown = connection.lent.shown = Shown(display)
    elif shown.display != display:
        raise UsageError(
            f"{connection.host}: another display is shown to its sessions already",
            hint="a connection of its own leads to another one",
        )
    async with shown.lock:
        forwarding = shown.forwarding
        if forwarding is None or forwarding.late:
            try:
                access = await _access(display, name)
            except BaseException:
                connection.lent.shown = None
                raise
            connection.check_open()
            forwarding = X11Forwarding(
                connection.loop,
                connection.core,
                connection.link,
                name,
                access,
                single=display.single_connection,
                journal=library_journal(),
                on_quiet=_still_needed,
            )
            shown.forwarding = forwarding
            connection.incoming.take(X11, forwarding.asked)
        return forwarding.request()


def _name(display: Display) -> str:
    name = os.environ.get("DISPLAY") if display.name is None else display.name
    if not name:
        raise UsageError("there is no display", hint="DISPLAY names it, or Display(name=...)")
    try:
        read_display(name)
    except ProtocolError as error:
        raise UsageError(str(error)) from None
    cookie = display.cookie
    if cookie is not None and not 0 < len(cookie) <= LONGEST_COOKIE:
        raise UsageError(f"a cookie is from 1 to {LONGEST_COOKIE} bytes")
    if not 0 <= display.timeout < float("inf"):
        raise UsageError("a timeout is a number of seconds")
    return name


async def _access(display: Display, name: str) -> Access:
    if display.cookie is not None:
        bound = None if display.trusted else display.timeout or None
        return Access(Cookie(COOKIE, display.cookie), bound)
    journal = library_journal()

    def ask_xauth() -> Access | None:
        return obtain(
            name,
            xauth=display.xauth,
            trusted=display.trusted,
            # Less than a second would be for ever.
            timeout=math.ceil(display.timeout),
            journal=journal,
        )

    access = await asyncio.get_running_loop().run_in_executor(None, ask_xauth)
    if access is None:
        raise ConnectFailed(
            f"the display {name} makes no cookie for programs that are not trusted",
            hint="Display(trusted=True) lets them do whatever programs here may",
        )
    return access


def _still_needed() -> None:
    """A program's connection ends when the program says so."""
