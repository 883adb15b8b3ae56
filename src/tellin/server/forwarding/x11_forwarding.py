# SPDX-License-Identifier: MIT
"""A display on the server's side that leads to the client's (RFC 4254 section 6.3)."""

import errno
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from tellin.connection.forwarding import X11
from tellin.connection.requests import X11Request
from tellin.connection.x11 import (
    FIRST_PORT,
    LARGEST_SCREEN,
    MOST_DISPLAYS,
    Cookie,
    X11Origin,
    read_cookie,
)
from tellin.errors import ProtocolError, UsageError
from tellin.runtime.gateways import EVERYWHERE, LOOPBACK
from tellin.runtime.journal import DEBUG1, ERROR, INFO, VERBOSE
from tellin.runtime.listeners import AF_UNSPEC, Acceptor, listen_on, resolve
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.processes import Child, ExitStatus, spawn
from tellin.runtime.sockets import Socket
from tellin.server.connection import ServerConnection
from tellin.server.forwarding.to_client import ToClient
from tellin.server.notices import to_pipe
from tellin.wire import Record

# How many numbers are tried from X11DisplayOffset on; as OpenSSH, none of them above this.
_LAST_DISPLAY: Final = 1000
# xauth waits for a lock that a killed one has left; the session does not wait for ever.
PATIENCE: Final = 30.0
_BACKLOG: Final = 5
_NO_XAUTH: Final = "No xauth program; cannot forward X11."


class X11Rules(Record):
    """What the configuration says of displays."""

    offset: int = 10
    loopback: bool = True
    xauth: str = "/usr/bin/xauth"
    family: int = AF_UNSPEC


class X11Display:
    """One session's display: listening sockets, and the cookie in the user's .Xauthority."""

    def __init__(
        self,
        loop: Loop,
        connection: ServerConnection,
        rules: X11Rules,
        *,
        note: Callable[[int, str], object],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._rules = rules
        self._note = note
        self._acceptors: list[Acceptor] = []
        self._number = 0
        self._screen = 0
        self._cookie: Cookie | None = None
        self._single = False
        self._then: Callable[[], object] | None = None
        self._xauth: Child | None = None
        self._alarm: Cancellable | None = None

    def begin(self, request: X11Request) -> bool:
        """Listen for what ``request`` describes; false where that cannot be."""
        if self._cookie is not None:
            self._note(DEBUG1, "X11 display already set.")
            return False
        try:
            cookie = read_cookie(request.protocol, request.cookie)
        except ProtocolError:
            self._note(ERROR, "Invalid X11 forwarding data")
            return False
        if request.screen > LARGEST_SCREEN:
            self._note(ERROR, "Invalid X11 forwarding data")
            return False
        if not os.access(self._rules.xauth, os.X_OK):
            self._note(VERBOSE, _NO_XAUTH)
            self._connection.core.debug(_NO_XAUTH)
            return False
        listening = self._listen()
        if not listening:
            self._note(ERROR, "Failed to allocate internet-domain X11 display socket.")
            return False
        self._cookie, self._screen = cookie, request.screen
        self._single = request.single_connection
        self._acceptors = [Acceptor(self._loop, one, self._accepted) for one in listening]
        return True

    def environment(self) -> Mapping[str, str]:
        """What the session's programs are told."""
        return {} if self._cookie is None else {"DISPLAY": self._named("localhost")}

    def prepare(self, environment: Mapping[str, str], then: Callable[[], object]) -> bool:
        """Have xauth write the cookie down, and call ``then`` behind it; false where there is none."""
        cookie = self._cookie
        if cookie is None:
            return False
        display = self._named("unix")
        # R143: what is the client's of this has no letter that means anything to xauth, and it goes
        # by its input: a command line could be read by everybody here.
        commands = f"remove {display}\nadd {display} {cookie.protocol} {cookie.encode()}\n"
        reading, nowhere = to_pipe(commands.encode("ascii")), os.open(os.devnull, os.O_RDWR)
        try:
            self._xauth = spawn(
                [self._rules.xauth, "-q", "-"],
                env=environment,
                streams=(reading, nowhere, nowhere),
            )
        except OSError as error:
            self._note(ERROR, f"{self._rules.xauth}: {error.strerror}")
            return False
        finally:
            os.close(reading)
            os.close(nowhere)
        self._then = then
        self._alarm = self._loop.call_later(PATIENCE, self._overdue)
        self._xauth.watch(self._loop, self._written)
        return True

    def close(self) -> None:
        """The session is over: nobody else connects; windows that are open stay."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors = []
        self._then = None

    # Listening

    def _listen(self) -> list[Socket]:
        for number in range(self._rules.offset, min(_LAST_DISPLAY, MOST_DISPLAYS)):
            listening = self._listen_as(number)
            if listening:
                self._number = number
                return listening
        return []

    def _listen_as(self, number: int) -> list[Socket]:
        """All addresses of one display, or none: what somebody else has of it would lead to him."""
        made: list[Socket] = []
        port = FIRST_PORT + number
        for host in LOOPBACK if self._rules.loopback else EVERYWHERE:
            # Numbers, or no name at all: nobody is asked about them.
            for family, address in resolve(host, port, passive=True):
                if self._rules.family not in {AF_UNSPEC, family}:
                    continue
                try:
                    # R145: without SO_REUSEADDR, so that no two can listen at once.
                    made.append(listen_on(family, address, _BACKLOG, reuse=False))
                except OSError as error:
                    if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                        for one in made:
                            one.close()
                        return []
        return made

    def _accepted(self, stream: Socket, address: Any) -> None:
        origin = X11Origin(address[0], address[1]).encode()
        self._note(DEBUG1, f"X11 connection requested from {address[0]} port {address[1]}")
        try:
            ToClient(self._loop, self._connection, stream, X11, origin)
        except UsageError as error:
            self._note(INFO, f"X11 connection: {error}")
            stream.close()
            return
        if self._single:
            for acceptor in self._acceptors:
                acceptor.close()
            self._acceptors = []

    # The cookie

    def _named(self, local: str) -> str:
        """The display's name, ``local`` standing for this machine where only that may connect."""
        host = local if self._rules.loopback else os.uname().nodename
        return f"{host}:{self._number}.{self._screen}"

    def _overdue(self) -> None:
        if self._xauth is not None:
            self._note(ERROR, f"{self._rules.xauth} takes too long")
            self._xauth.send_signal(signal.SIGKILL)

    def _written(self, ended: ExitStatus) -> None:
        self._xauth = None
        if self._alarm is not None:
            self._alarm.cancel()
        if ended.status:
            self._note(VERBOSE, f"{self._rules.xauth} failed with status {ended.status}")
        then, self._then = self._then, None
        if then is not None:
            then()
