# SPDX-License-Identifier: MIT
"""Our display for programs on the server: what they may do to it, for how long, and by which cookie."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final

from tellin.connection.channel import Channel
from tellin.connection.requests import X11Request
from tellin.connection.x11 import (
    COOKIE,
    Cookie,
    Display,
    X11Origin,
    X11Setup,
    read_display,
    read_listing,
)
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import ConfigError, ConnectFailed, ProtocolError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelAsked
from tellin.runtime.capture import output_of
from tellin.runtime.journal import Journal
from tellin.runtime.listeners import AF_UNIX, Address, Attempt, resolve
from tellin.runtime.loop import Loop
from tellin.runtime.pumps import FdSink
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.runtime.tunnels import Tunnel
from tellin.userauth.text import escape_text
from tellin.wire import Record

_COOKIE_BYTES: Final = 16
_SOCKETS: Final = "/tmp/.X11-unix/X"  # noqa: S108 - where X servers listen
_LISTING_BYTES: Final = 1 << 20
_XAUTH_SECONDS: Final = 30.0
# As OpenSSH: the display's own clock must not let go of the cookie before ours refuses it.
_SLACK: Final = 60
_LONGEST_TIMEOUT: Final = (1 << 32) - 1


class Access(Record, secret=("cookie",)):
    """What programs get: the display's own cookie, and until when, if that is bounded."""

    cookie: Cookie
    seconds: float | None = None


def obtain(
    name: str, *, xauth: str, trusted: bool, timeout: int, journal: Journal
) -> Access | None:
    """A cookie for the display that DISPLAY calls ``name``; waits for xauth.

    R144, CVE-2016-1908: where no cookie for programs that are not trusted can be had there is none at
    all (None, and it has been said): the display's own would let them do anything.
    """
    there = os.access(xauth, os.X_OK)
    if not there:
        journal.debug("No xauth program.")
    # The name under which xauth knows what listens on this machine.
    known = "unix" + name.removeprefix("localhost") if name.startswith("localhost:") else name
    if not trusted:
        cookie = _generate(xauth, known, timeout, journal) if there else None
        if cookie is None:
            journal.error(
                "Warning: untrusted X11 forwarding setup failed: xauth key data not generated"
            )
            return None
        return Access(cookie, float(timeout) if timeout else None)
    cookie = _list(xauth, (), known, journal) if there else None
    if cookie is None:
        journal.info("Warning: No xauth data; using fake authentication data for X11 forwarding.")
        # The display may let in whoever is here without looking at it.
        cookie = Cookie(COOKIE, os.urandom(_COOKIE_BYTES))
    return Access(cookie)


def _generate(xauth: str, display: str, timeout: int, journal: Journal) -> Cookie | None:
    """Have the display make a cookie for programs that are not trusted."""
    place = tempfile.mkdtemp(prefix="ssh-")
    file = f"{place}/xauthfile"
    bound = ("timeout", str(min(timeout + _SLACK, _LONGEST_TIMEOUT))) if timeout else ()
    try:
        words = (xauth, "-f", file, "generate", display, COOKIE, "untrusted", *bound)
        output_of(words, limit=_LISTING_BYTES, seconds=_XAUTH_SECONDS, quiet=True)
    except ConfigError as error:
        journal.debug(str(error))
        return None
    else:
        return _list(xauth, ("-f", file), display, journal)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _list(xauth: str, where: tuple[str, ...], display: str, journal: Journal) -> Cookie | None:
    words = (xauth, *where, "list", display)
    try:
        listing = output_of(words, limit=_LISTING_BYTES, seconds=_XAUTH_SECONDS, quiet=True)
        return read_listing(listing)
    except (ConfigError, ProtocolError) as error:
        journal.debug(str(error))
        return None


def _addresses(display: Display) -> list[Address]:
    """Where a display is reached; raises ConnectFailed."""
    if display.host:
        return resolve(display.host, display.port)
    path = f"{_SOCKETS}{display.number}"
    # X servers of Linux have one in the abstract names too, which needs no directory.
    return [(AF_UNIX, f"\0{path}"), (AF_UNIX, path)]


class X11Forwarding:
    """Takes the channels that the server opens to our display.

    ``open`` is how many windows' connections there are; ``on_quiet`` is called when the last has gone.
    """

    def __init__(
        self,
        loop: Loop,
        core: ClientProtocol,
        link: Link,
        name: str,
        access: Access,
        *,
        single: bool = False,
        journal: Journal,
        on_quiet: Callable[[], object],
    ) -> None:
        self.open = 0
        self.loop = loop
        self.core = core
        self.link = link
        self.journal = journal
        self.display = read_display(name)
        self.cookie = access.cookie
        # What the server's side gets to know in its place.
        self.shown = Cookie(access.cookie.protocol, os.urandom(len(access.cookie.data)))
        self._until = None if access.seconds is None else loop.time() + access.seconds
        self._on_quiet = on_quiet
        # How many may still come: one for each session that asks for a single connection.
        self._left = 0
        self._single = single

    @property
    def late(self) -> bool:
        """Whether nobody is let in any more."""
        return self._until is not None and self.loop.time() >= self._until

    def request(self) -> X11Request:
        """What a session asks for."""
        shown = self.shown
        self._left += 1
        return X11Request(self._single, shown.protocol, shown.encode(), self.display.screen)

    def asked(self, event: ChannelAsked) -> None:
        """A program on the server wants onto the display."""
        origin = X11Origin.decode(event.data)
        self.journal.debug(
            f"client_request_x11: request from {escape_text(origin.originator[:100])}"
            f" {origin.originator_port}"
        )
        if self.late:
            # R144, CVE-2015-5352: whatever the display thinks of the cookie by now.
            self.journal.verbose("Rejected X11 connection after ForwardX11Timeout expired")
            self.core.refuse_channel(event.channel, Reason.ADMINISTRATIVELY_PROHIBITED, "too late")
            return
        if self._single and not self._left:
            self.core.refuse_channel(
                event.channel, Reason.ADMINISTRATIVELY_PROHIBITED, "a single connection"
            )
            return
        try:
            addresses = _addresses(self.display)
        except ConnectFailed as error:
            self.journal.error(str(error))
            self.core.refuse_channel(event.channel, Reason.CONNECT_FAILED, "no display")
            return
        self.open += 1
        self._left -= 1
        DisplayChannel(self, event.channel, addresses)

    def one_less(self) -> None:
        """A connection has gone."""
        self.open -= 1
        if not self.open:
            self._on_quiet()


class DisplayChannel:
    """One channel: the display is reached, the cookie looked at, and then the two are joined."""

    def __init__(self, whole: X11Forwarding, channel: Channel, addresses: list[Address]) -> None:
        self._whole = whole
        self._channel = channel
        self._over = False
        self._setup: X11Setup | None = X11Setup(whole.shown, whole.cookie)
        self._tunnel: Tunnel | None = None
        self._sink: FdSink | None = None
        channel.owner = self
        self._attempt = Attempt(whole.loop, addresses, self._reached)

    def _reached(self, stream: Socket | None) -> None:
        whole, channel = self._whole, self._channel
        if stream is None:
            whole.journal.error(f"connect to display: {self._attempt.error}")
            whole.core.refuse_channel(channel, Reason.CONNECT_FAILED, "no display")
            self._finish()
        else:
            whole.core.accept_channel(channel)
            self._tunnel = Tunnel(whole.loop, channel, whole.link, stream, on_over=self._finish)
            # Nothing of what comes reaches the display before the cookie has been looked at.
            sink = channel.sink
            assert isinstance(sink, FdSink)
            self._sink = sink
            channel.sink = self
            self._tunnel.start()
        whole.link.flush_soon()

    def take(self, views: list[memoryview]) -> int:
        """Hold back what comes until the cookie is there; nobody sends much before that."""
        size, setup, sink = sum(map(len, views)), self._setup, self._sink
        if setup is None or sink is None:
            return size
        try:
            whole = setup.feed(b"".join(views))
        except ProtocolError:
            self._whole.journal.info("X11 connection rejected because of wrong authentication.")
            self._setup = None
            # In a turn of its own: others' data is being handed out.
            self._whole.loop.call_soon(self._reject)
            return size
        if whole is None:
            return 0
        self._channel.sink = sink
        return sink.take([memoryview(whole)])

    def _reject(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._whole.one_less()

    def lost(self, _failure: Any = None) -> None:
        """The connection is gone before the channel was open."""
        self._attempt.cancel()
        self._finish()


def display_of(environment: Mapping[str, str], journal: Journal) -> str | None:
    """The display there is, as DISPLAY names it; None where that is none."""
    name = environment.get("DISPLAY")
    if not name:
        journal.debug("X11 forwarding requested but DISPLAY not set")
        return None
    try:
        read_display(name)
    except ProtocolError:
        journal.info(f"DISPLAY {name[:80]!a} invalid; disabling X11 forwarding")
        return None
    return name
