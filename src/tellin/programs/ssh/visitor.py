# SPDX-License-Identifier: MIT
"""One who uses a shared connection: requests of a control socket, one after the other."""

import _socket
import os
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from tellin.client.connection import ClientConnection
from tellin.client.sessions.about import channel_lines, connection_lines
from tellin.config.forwards import Forward
from tellin.config.ssh_config import SshConfig
from tellin.connection.requests import Request
from tellin.errors import MalformedPacket, ProtocolError
from tellin.mux.messages import (
    CHANNELS,
    CONNECTION,
    DYNAMIC,
    LOCAL,
    REMOTE,
    UNIX_SOCKET,
    Alive,
    AliveCheck,
    AskInformation,
    CloseForward,
    Done,
    Failure,
    Information,
    MuxMessage,
    NewSession,
    NewStdioForward,
    OpenForward,
    PermissionDenied,
    Proxy,
    Proxying,
    RemotePort,
    StopListening,
    Terminate,
)
from tellin.mux.talk import MISSING, Asked, MasterTalk
from tellin.programs.ssh.shared import SharedSession, SharedStdio
from tellin.runtime.descriptors import pollable
from tellin.runtime.journal import Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Socket

_READ: Final = 64 * 1024
# Room for more descriptors than belong to one byte: too many are seen, and closed, not cut off.
_CONTROL: Final = _socket.CMSG_SPACE(16 * array("i").itemsize)
# Who asks without reading the answers is not listened to any more.
_MOST_UNSENT: Final = 256 * 1024
_LARGEST_PORT: Final = 65535


class Master(Protocol):
    """Whose visitor it is: `tellin.programs.ssh.master.Sharing`."""

    loop: SmallLoop
    connection: ClientConnection
    config: SshConfig
    journal: Journal
    exit: Callable[[], object]
    lend: Callable[[], tuple[tuple[Request, bool], ...]]

    def ask(self, question: str, answer: Callable[[bool], object]) -> Callable[[], object]:
        """Ask whoever runs the master; what takes the question back."""

    def stop(self) -> None:
        """Take nobody else."""

    def open_forward(self, way: int, forward: Forward, done: Callable[[int | None], None]) -> None:
        """Begin it; ``done`` gets the port that the server chose or 0, or None where it failed."""

    def close_forward(self, way: int, forward: Forward) -> str:
        """End it; what went wrong, or nothing."""

    def left(self, visitor: "Visitor") -> None:
        """A visitor has gone."""


class Guest(Protocol):
    """What a visitor has on the connection: a session, two descriptors that lead somewhere, packets."""

    def look_at_size(self) -> None:
        """Its window may have another size."""

    def drop(self) -> None:
        """The visitor has gone."""


class Visitor:
    """One control connection; it closes by itself when the visitor or what it asked for is gone."""

    def __init__(self, master: Master, stream: Socket) -> None:
        self.master = master
        self._stream = stream
        self._talk = MasterTalk()
        self._guest: Any = None
        self._proxied: Any = None
        self._busy = False
        self._ending = False
        self._closed = False
        self._reading = self._writing = False
        self._take_back: Callable[[], object] | None = None
        self._watch()
        master.loop.call_soon(self._flush)

    # The socket

    def _watch(self) -> None:
        loop, fd = self.master.loop, self._stream.fileno()
        wanted = not self._closed and len(self._talk.unsent) <= _MOST_UNSENT
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                loop.add_reader(fd, self._readable)
            else:
                loop.remove_reader(fd)
        wanted = not self._closed and bool(self._talk.unsent)
        if wanted is not self._writing:
            self._writing = wanted
            if wanted:
                loop.add_writer(fd, self._flush)
            else:
                loop.remove_writer(fd)

    def _readable(self) -> None:
        try:
            data, descriptors, whole = receive(self._stream)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors, whole = b"", [], True
        if not data:
            self.close()
            return
        if self._proxied is not None:
            close_all(descriptors)
            self._relay(data)
            return
        self._talk.received(data, descriptors)
        if not whole:
            self._give_up("descriptors were cut off")
        else:
            self.proceed()

    def _relay(self, data: bytes) -> None:
        """Packets have come."""
        try:
            self._proxied.received(data)
        except (MalformedPacket, ProtocolError) as fault:
            self._give_up(str(fault))
        self._flush()

    def proceed(self) -> None:
        """Take the requests that are here, until one has to wait for its answer."""
        try:
            while not (self._busy or self._ending or self._closed):
                asked = self._talk.next()
                if asked is None:
                    break
                self._handle(asked)
        except (MalformedPacket, ProtocolError) as fault:
            self._give_up(str(fault))
        self._flush()

    def _give_up(self, why: str) -> None:
        self.master.journal.error(f"multiplexing control connection: {why}")
        self._ending = True
        self._flush()

    def say(self, message: MuxMessage) -> None:
        """Answer."""
        if not self._closed:
            self._talk.say(message)
            self._flush()

    def _flush(self) -> None:
        if self._closed:
            return
        unsent = self._talk.unsent
        try:
            while unsent:
                del unsent[: self._stream.send(unsent)]
        except (BlockingIOError, InterruptedError):
            # The rest when there is room.
            pass
        except OSError:
            self.close()
            return
        if self._ending and not unsent:
            self.close()
        else:
            self._watch()

    def end(self) -> None:
        """What it was here for is over: close once all is said."""
        self._guest = None
        self._ending = True
        self._flush()

    def close(self) -> None:
        """Close at once; whatever it had on the connection goes with it."""
        if self._closed:
            return
        unsent = self._talk.unsent
        if unsent:
            with suppress(OSError):
                self._stream.send(unsent)
            unsent.clear()
        self._closed = True
        self._watch()
        self._stream.close()
        close_all(self._talk.left)
        if self._take_back is not None:
            self._take_back()
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.drop()
        self.master.left(self)

    def look_at_size(self) -> None:
        """The window of its terminal may have another size now."""
        if self._guest is not None:
            self._guest.look_at_size()

    # Requests

    def _handle(self, asked: Asked) -> None:
        message = asked.message
        question = _QUESTIONS.get(type(message))
        if question is None:
            _HANDLERS[type(message)](self, message, asked.descriptors)
            return
        words = question(message, self.master.connection.place.host)
        self._busy = True
        answered = False

        def answer(allowed: bool) -> None:
            nonlocal answered
            answered = True
            self._take_back = None
            self._answered(asked, allowed=allowed)

        take_back = self.master.ask(words, answer)

        def forget() -> None:
            take_back()
            close_all(asked.descriptors)

        if not answered:
            self._take_back = forget

    def _answered(self, asked: Asked, *, allowed: bool) -> None:
        """Whoever runs the master has spoken."""
        self._busy = False
        message: Any = asked.message
        if allowed:
            _HANDLERS[type(message)](self, message, asked.descriptors)
        else:
            close_all(asked.descriptors)
            self._talk.say(PermissionDenied(message.request_id, b"Permission denied"))
        self.master.loop.call_soon(self.proceed)

    def _alive(self, message: AliveCheck, _: tuple[int, ...]) -> None:
        self.say(Alive(message.request_id, os.getpid()))

    def _terminate(self, message: Terminate, _: tuple[int, ...]) -> None:
        self.say(Done(message.request_id))
        self.master.exit()

    def _stop(self, message: StopListening, _: tuple[int, ...]) -> None:
        self.master.stop()
        self.say(Done(message.request_id))

    def _session(self, message: NewSession, descriptors: tuple[int, ...]) -> None:
        self._begin(message, descriptors, SharedSession)

    def _stdio(self, message: NewStdioForward, descriptors: tuple[int, ...]) -> None:
        self._begin(message, descriptors, SharedStdio)

    def _begin(self, message: Any, descriptors: tuple[int, ...], kind: Any) -> None:
        why = b"Multiple sessions not supported" if self._guest is not None else b""
        if not why and not all(map(_is_usable, descriptors)):
            why = MISSING
        if why:
            close_all(descriptors)
            self.say(Failure(message.request_id, why))
            return
        # Until the server has answered, nothing else is asked.
        self._busy = True
        guest = kind(self, message, descriptors)
        # Where it could not even be asked for, there is nothing.
        self._guest = guest if self._busy else None

    def resume(self) -> None:
        """The server has answered: further requests may come."""
        self._busy = False
        # In a turn of its own: this may be called while requests are being taken.
        self.master.loop.call_soon(self.proceed)

    def nothing(self) -> None:
        """There is no session after all; another may be asked for."""
        self._guest = None
        self.resume()

    def _proxy(self, message: Proxy, _: tuple[int, ...]) -> None:
        if self._guest is not None:
            self.say(Failure(message.request_id, b"Multiple sessions not supported"))
            return
        # Few speak for themselves.
        from tellin.programs.ssh.proxied import Proxied

        self._talk.say(Proxying(message.request_id))
        self._guest = self._proxied = Proxied(self, self.master.loop.call_soon)
        self._proxied.received(self._talk.become_proxy())
        self._flush()

    @property
    def connection(self) -> ClientConnection:
        """What everything goes through."""
        return self.master.connection

    def put(self, data: bytes) -> None:
        """Send a packet to who speaks for itself."""
        if not self._closed:
            self._talk.unsent += data
            # Many of them leave together.
            self._watch()

    def _information(self, message: AskInformation, _: tuple[int, ...]) -> None:
        lines = _INFORMATION.get(message.what)
        if lines is None:
            self.say(Failure(message.request_id, b"unsupported request"))
            return
        text = "".join(f"{line}\n" for line in lines(self.master.connection))
        self.say(Information(message.request_id, text.encode("utf-8", "replace")))

    # Forwards

    def _open_forward(self, message: OpenForward, _: tuple[int, ...]) -> None:
        forward = forward_of(message)
        if forward is None:
            self.say(Failure(message.request_id, b"Invalid forwarding request"))
            return
        self._busy = True

        def done(port: int | None) -> None:
            if port is None:
                self._talk.say(Failure(message.request_id, _failed(message, forward)))
            elif port:
                self._talk.say(RemotePort(message.request_id, port))
            else:
                self._talk.say(Done(message.request_id))
            self.resume()

        self.master.open_forward(message.way, forward, done)

    def _close_forward(self, message: CloseForward, _: tuple[int, ...]) -> None:
        forward = forward_of(message)
        if forward is None:
            self.say(Failure(message.request_id, b"Invalid forwarding request"))
            return
        why = self.master.close_forward(message.way, forward)
        self.say(Failure(message.request_id, why.encode()) if why else Done(message.request_id))


def receive(stream: Socket) -> tuple[bytes, list[int], bool]:
    """What one call gives: bytes, descriptors, and whether none of these were cut off."""
    data, control, flags, _ = stream.recvmsg(_READ, _CONTROL, _socket.MSG_CMSG_CLOEXEC)
    found = array("i")
    for level, kind, raw in control:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            found.frombytes(raw[: len(raw) - len(raw) % found.itemsize])
    return data, found.tolist(), not flags & _socket.MSG_CTRUNC


def close_all(descriptors: Any) -> None:
    """Close descriptors that nobody has taken."""
    for fd in descriptors:
        with suppress(OSError):
            os.close(fd)


def _is_usable(fd: int) -> bool:
    """Whether it can be read, written or waited for at all (one opened with O_PATH cannot)."""
    try:
        pollable(fd)
    except OSError:
        return False
    return True


def forward_of(message: Any) -> Forward | None:
    """What a request wants forwarded, None where it makes no sense."""
    way, listen_port, port = message.way, message.listen_port, message.connect_port
    if way not in {LOCAL, REMOTE, DYNAMIC}:
        return None
    if any(one > _LARGEST_PORT and one != UNIX_SOCKET for one in (listen_port, port)):
        return None
    listen, connect = os.fsdecode(message.listen_host), os.fsdecode(message.connect_host)
    if "\0" in listen or "\0" in connect:
        return None
    made = Forward()
    if listen_port == UNIX_SOCKET:
        made.listen_path = listen
    else:
        made.listen_host, made.listen_port = listen or None, listen_port
    if way == DYNAMIC:
        return made if listen_port != UNIX_SOCKET else None
    if port == UNIX_SOCKET:
        made.path = connect
    elif port:
        made.host, made.port = connect, port
    # A remote forward without a port is one by SOCKS.
    if (made.is_socks and (way == LOCAL or port)) or (listen_port == UNIX_SOCKET and not listen):
        return None
    return made


def _failed(message: OpenForward, forward: Forward) -> bytes:
    if message.way != REMOTE:
        return b"Port forwarding failed"
    at = f"path {forward.listen_path}" if forward.listen_path else f"port {forward.listen_port}"
    return os.fsencode(f"remote port forwarding failed for listen {at}")


_NAMES: Final = {LOCAL: "local", REMOTE: "remote", DYNAMIC: "dynamic"}


def _described(message: Any) -> str:
    def place(host: bytes, port: int) -> str:
        return ascii(os.fsdecode(host))[1:-1] + ("" if port == UNIX_SOCKET else f":{port}")

    listen = place(message.listen_host or b"LOCALHOST", message.listen_port)
    lead = "*" if message.way == DYNAMIC else place(message.connect_host, message.connect_port)
    return f"{_NAMES.get(message.way, 'unknown')} forward {listen} -> {lead}"


def _stdio_question(message: NewStdioForward, host: str) -> str:
    name = ascii(os.fsdecode(message.host))[1:-1]
    if message.port == UNIX_SOCKET:
        return f"Allow forward to path {name}? "
    return f"Allow forward to [{name}]:{message.port}? "


# R158: what is asked before a request is done where ControlMaster says ask. There is a row for every
# request but the sign of life, which each run of ssh sends first and which tells a process id.
_QUESTIONS: Final[dict[type[MuxMessage], Callable[[Any, str], str]]] = {
    NewSession: lambda _, host: f"Allow shared connection to {host}? ",
    NewStdioForward: _stdio_question,
    OpenForward: lambda message, host: f"Open {_described(message)} on {host}? ",
    CloseForward: lambda message, host: f"Cancel {_described(message)} on {host}? ",
    Terminate: lambda _, host: f"Terminate shared connection to {host}? ",
    StopListening: (
        lambda _, host: f"Disable further multiplexing on shared connection to {host}? "
    ),
    Proxy: lambda _, host: f"Allow multiplexed proxy connection to {host}? ",
    AskInformation: lambda _, host: f"Tell about the shared connection to {host}? ",
}
_HANDLERS: Final[dict[type[MuxMessage], Callable[[Visitor, Any, tuple[int, ...]], None]]] = {
    NewSession: Visitor._session,
    AliveCheck: Visitor._alive,
    Terminate: Visitor._terminate,
    OpenForward: Visitor._open_forward,
    CloseForward: Visitor._close_forward,
    NewStdioForward: Visitor._stdio,
    StopListening: Visitor._stop,
    Proxy: Visitor._proxy,
    AskInformation: Visitor._information,
}
_INFORMATION: Final[dict[bytes, Callable[[ClientConnection], tuple[str, ...]]]] = {
    CONNECTION.encode(): (lambda connection: connection_lines(connection.core, connection.place)),
    CHANNELS.encode(): lambda connection: channel_lines(connection.core),
}
