# SPDX-License-Identifier: MIT
"""Ports and sockets that the server listens on because we have asked it to, and who takes what comes there."""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from tellin.connection.channel import Channel
from tellin.connection.forwarding import (
    CANCEL_PORT,
    CANCEL_SOCKET,
    FORWARDED_PORT,
    FORWARDED_SOCKET,
    LARGEST_PORT,
    LISTEN_PORT,
    LISTEN_SOCKET,
    ForwardedPort,
    ForwardedSocket,
    PortChosen,
    PortPlace,
    SocketPlace,
)
from tellin.errors import ProtocolError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import ChannelAsked, GlobalReplied

Place: TypeAlias = tuple[str, int] | bytes
"""An address, as the server is told it, and a port; or the path of a socket."""

Taker: TypeAlias = Callable[[Channel, tuple[str, int]], object]
"""Gets a channel that the server wants to open, to accept or refuse, and whom it comes from."""

NOBODY: Final = ("", 0)


def told_host(host: str | None) -> str:
    """An address as the server is told it; None is the server's own (RFC 4254 section 7.1)."""
    return "localhost" if host is None else "" if host == "*" else host


class Takers(Protocol):
    """Who takes the server's channels: `tellin.client.forwarding.incoming.Incoming`."""

    def take(self, channel_type: str, taker: Callable[[ChannelAsked], object]) -> None:
        """From here on ``taker`` gets channels of that type."""

    def refuse(self, event: ChannelAsked) -> None:
        """Nobody has asked for it."""


class Listening:
    """What the server of one connection listens on for us.

    R147: answers carry no name, but come in the order of the questions; the core gives each to the
    function that went with its question, however forwards and their ends are mixed.
    """

    def __init__(self, core: ClientProtocol, incoming: Takers) -> None:
        self._core = core
        self._incoming = incoming
        # Two may ask for one place: the server says no to the second, and the first keeps it.
        self._takers: dict[Place, list[Taker]] = {}
        incoming.take(FORWARDED_PORT, self._port_asked)
        incoming.take(FORWARDED_SOCKET, self._socket_asked)

    def ask(self, place: Place, taker: Taker, on_answer: Callable[[bool, Place], object]) -> None:
        """Have the server listen; ``on_answer`` hears whether it does, and where.

        Where it claims to have chosen a port that is none, that is a no. Whoever asks flushes.
        """
        chosen = isinstance(place, tuple) and not place[1]
        if not chosen:
            self._add(place, taker)

        def answered(event: GlobalReplied) -> None:
            found = place
            success = event.success
            if success and isinstance(place, tuple) and chosen:
                found = place[0], self._chosen(event.data)
                success = 0 < found[1] <= LARGEST_PORT
                if success:
                    self._add(found, taker)
            if not success:
                self._remove(place, taker)
            on_answer(success, found)

        name, data = _request(place, LISTEN_PORT, LISTEN_SOCKET)
        self._core.request(name, data, token=answered)

    def cancel(self, place: Place, taker: Taker, on_answer: Callable[[bool], object]) -> None:
        """Have the server listen there no more; what it still opens from there is refused."""
        self._remove(place, taker)

        def answered(event: GlobalReplied) -> None:
            on_answer(event.success)

        name, data = _request(place, CANCEL_PORT, CANCEL_SOCKET)
        self._core.request(name, data, token=answered)

    def _chosen(self, data: bytes) -> int:
        try:
            return PortChosen.decode(data).port
        except ProtocolError as error:
            self._core.fail(error)
            return 0

    def _add(self, place: Place, taker: Taker) -> None:
        self._takers.setdefault(place, []).append(taker)

    def _remove(self, place: Place, taker: Taker) -> None:
        takers = self._takers.get(place, [])
        if taker in takers:
            # The last of them: the server has said no to it, and yes to one before.
            del takers[len(takers) - 1 - takers[::-1].index(taker)]
        if not takers:
            self._takers.pop(place, None)

    # What the server opens

    def _port_asked(self, event: ChannelAsked) -> None:
        try:
            found = ForwardedPort.decode(event.data)
        except ProtocolError as error:
            self._core.fail(error)
            return
        self._lead(event, (found.host, found.port), (found.originator, found.originator_port))

    def _socket_asked(self, event: ChannelAsked) -> None:
        try:
            found = ForwardedSocket.decode(event.data)
        except ProtocolError as error:
            self._core.fail(error)
            return
        self._lead(event, found.path, NOBODY)

    def _lead(self, event: ChannelAsked, place: Place, origin: tuple[str, int]) -> None:
        takers = self._takers.get(place)
        if takers is None:
            # R146: by address and port; what nobody asked for could be led anywhere on our side.
            self._incoming.refuse(event)
        else:
            takers[0](event.channel, origin)


def _request(place: Place, port: str, socket: str) -> tuple[str, bytes]:
    if isinstance(place, tuple):
        return port, PortPlace(*place).encode()
    return socket, SocketPlace(place).encode()
