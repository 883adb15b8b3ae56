# SPDX-License-Identifier: MIT
"""The subsystem sftp of a program's own server: any FileSystem, for clients of ``tellin.serve``."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, cast

from tellin.connection.channel import Channel, Half, Standing
from tellin.connection.requests import ExitStatus, Request, SubsystemRequest
from tellin.errors import ProtocolError, UsageError
from tellin.runtime.channel_streams import joined
from tellin.runtime.stream import Link
from tellin.server.files.service import BUILT_IN, REQUEST_NAMES, parse_wishes
from tellin.server.sessions.process import ForLogin, HandledSession, HandOver
from tellin.sftp.file_system import FileSystem
from tellin.sftp.handlers import ERROR, INFO, VERBOSE, Handlers, Permits
from tellin.sftp.links import sends_link_first
from tellin.sftp.server import SftpServer
from tellin.userauth.text import escape_text
from tellin.wire.states import State

_log = logging.getLogger("tellin.sftp")

SUBSYSTEM: Final = "sftp"
# R180: each may be a descriptor, and those of a server are for all of its clients.
MOST_HANDLES: Final = 128
_SALT: Final = 8
_MALFORMED: Final = 11
_FAILED: Final = 255
_LEVELS: Final = {ERROR: logging.ERROR, INFO: logging.INFO, VERBOSE: logging.DEBUG}


class ServeFiles:
    """For ``serve(sftp=...)`` or ``subsystems={"sftp": ...}``: files for clients, or a function that gives each login its own.

    ``read_only`` refuses whatever would change anything, ``denied`` some requests by their names
    (``sftp-server -Q requests`` lists them), ``allowed`` all others.
    """

    def __init__(
        self,
        files: FileSystem | ForLogin,
        *,
        read_only: bool = False,
        denied: Iterable[str] = (),
        allowed: Iterable[str] | None = None,
        most_handles: int = MOST_HANDLES,
    ) -> None:
        self._files = files
        self._most_handles = most_handles
        self._permits = Permits(
            read_only, _known(denied), None if allowed is None else _known(allowed)
        )

    @classmethod
    def of(cls, sftp: "FileSystem | ForLogin | HandOver") -> HandOver:
        """What ``sftp=`` of ``serve`` may be, as one thing."""
        adopt = getattr(sftp, "adopt", None)
        return cast("HandOver", sftp) if adopt else cls(cast("FileSystem | ForLogin", sftp))

    def adopt(self, session: HandledSession) -> "FileSession | str":
        """Serve a session from here on."""
        login = session.owner.login
        assert login is not None
        permits: Permits | None = self._permits
        if session.forced_command is not None:
            permits = self._forced(session.forced_command)
        if permits is None:
            return "a forced command"
        if callable(self._files):
            try:
                files = self._files(login)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                _log.error("%s gets no files", escape_text(login.user), exc_info=error)
                return "no files"
        else:
            files = self._files
        return FileSession(
            session,
            files,
            permits,
            user=login.user,
            most_handles=self._most_handles,
        )

    def _forced(self, command: str) -> Permits | None:
        """What a key's only command leaves; None if that is not to serve files, or asks for other ones."""
        words = command.split()
        if words[:1] != [BUILT_IN]:
            return None
        try:
            wishes = parse_wishes(words[1:])
        except UsageError:
            return None
        ours = self._permits
        permits = Permits(
            wishes.read_only or ours.read_only,
            wishes.denied | ours.denied,
            _both(wishes.allowed, ours.allowed),
        )
        others = (getattr(wishes, name) for name in _NOT_DONE_HERE)
        return None if any(one not in {"", None, False} for one in others) else permits


# How a session logs is this server's own affair; what else an option asks for would have to be done.
_NOT_DONE_HERE: Final = ("directory", "root", "umask", "link_first", "query", "help")


def _known(names: Iterable[str]) -> frozenset[str]:
    found = frozenset(names)
    if unknown := found - {*REQUEST_NAMES}:
        raise UsageError(
            f"no request is called {min(unknown)!r}",
            hint="sftp-server -Q requests lists their names",
        )
    return found


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


class Stage(State):
    """What a session does."""

    FRESH = "nobody has asked for anything"
    IDLE = "nothing is being done"
    WORKING = "a thread works on it"
    OVER = "the talk has ended"


class FileSession:
    """One session channel with a file server's half-machine; where its files wait, in a thread.

    While a thread works on the half-machine nothing else touches it: what comes meanwhile is kept,
    within the channel's window, and credited when it is handed on.
    """

    def __init__(
        self,
        session: HandledSession,
        files: FileSystem,
        permits: Permits,
        *,
        user: str,
        most_handles: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel: Channel = session.channel
        self._link: Link = session.owner.link
        self._on_closed = session.on_closed
        self._waits = files.waits
        self._user = user
        self._stage = Stage.FRESH
        self._ended = False
        self._stalled = False
        self._fed = 0
        self._kept: deque[memoryview] = deque()
        self._server = SftpServer(
            Handlers(
                files,
                permits=permits,
                salt=os.urandom(_SALT),
                most_handles=most_handles,
                target_first=not sends_link_first(session.owner.client_version),
                note=self._note,
            )
        )

    def _note(self, level: int, line: str) -> None:
        number = _LEVELS.get(level, logging.DEBUG)
        if _log.isEnabledFor(number):
            _log.log(number, "%s: %s", escape_text(self._user), escape_text(line))

    # The channel

    def requested(self, request: Request, answer: Callable[[bool], None]) -> None:
        """Begin; there is nothing else to ask for."""
        begins = self._stage is Stage.FRESH and isinstance(request, SubsystemRequest)
        answer(begins)
        if begins:
            self._stage = Stage.IDLE
            self._note(INFO, "session opened")
            self._channel.sink = self

    def take(self, views: list[memoryview]) -> int:
        """Do what has come, or keep it: what is kept is credited later."""
        if self._stage is Stage.OVER:
            return sum(map(len, views))
        self._kept.append(memoryview(joined(views)))
        # Within the core nobody may call its verbs.
        if self._stage is Stage.IDLE:
            self._loop.call_soon(self._work)
        return 0

    def ended(self) -> None:
        """The client sends no more: when all is done that it asked for, so are we."""
        self._ended = True
        self._loop.call_soon(self._work)

    def writable(self) -> None:
        """There is room for replies again."""
        self._work()

    def closed(self) -> None:
        """The channel is gone."""
        idle = self._stage is Stage.IDLE
        self._stage = Stage.OVER
        self._kept.clear()
        if idle:
            self._shut()
        self._on_closed()

    # The work

    def _work(self) -> None:
        """Send what there is to send, and do what there is to do, until either has to wait."""
        while self._stage is Stage.IDLE:
            self._send()
            if not self._feed():
                break
            if self._waits:
                self._stage = Stage.WORKING
                self._loop.run_in_executor(None, self._proceed).add_done_callback(self._worked)
            else:
                self._settle(self._proceed())
        self._link.flush_soon()

    def _feed(self) -> bool:
        """Hand on what was kept; false if there is nothing to be done."""
        server = self._server
        if not server.hungry:
            return False
        if not self._kept and not self._stalled:
            if self._ended and not server.waiting:
                self._end(0)
            return False
        self._fed = fed = 0
        if self._stalled:
            # There is something left from before.
            return True
        room = server.writable()
        while self._kept and fed < len(room):
            piece = self._kept.popleft()
            count = min(len(piece), len(room) - fed)
            room[fed : fed + count] = piece[:count]
            fed += count
            if count < len(piece):
                self._kept.appendleft(piece[count:])
        self._fed = fed
        self._channel.consumed(fed)
        return True

    def _proceed(self) -> BaseException | None:
        """Runs in a thread, perhaps."""
        server = self._server
        try:
            if self._fed:
                server.received(self._fed)
            else:
                server.proceed()
        except ProtocolError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a FileSystem of somebody's may raise anything
            return error
        return None

    def _worked(self, work: "asyncio.Future[BaseException | None]") -> None:
        if self._stage is Stage.OVER:
            self._shut()
            return
        self._stage = Stage.IDLE
        self._settle(work.result())
        self._work()

    def _settle(self, error: BaseException | None) -> None:
        self._stalled = not self._server.hungry
        if error is None:
            return
        self._send()
        if isinstance(error, ProtocolError):
            self._note(ERROR, f"bad message: {error}")
            self._end(_MALFORMED)
        else:
            _log.error("a file system failed", exc_info=error)
            self._end(_FAILED)

    def _send(self) -> None:
        server = self._server
        while server.waiting:
            count = 0
            for view in server.to_send():
                sent = self._channel.send(view)
                count += sent
                if sent < len(view):
                    break
            if not count:
                # ``writable`` is told of room.
                return
            server.forget(count)

    def _end(self, status: int) -> None:
        """Tell the client how it ended; what it has open is closed."""
        self._stage = Stage.OVER
        self._shut()
        channel = self._channel
        if channel.standing is Standing.OPEN and channel.sending is not Half.CLOSED:
            channel.request(ExitStatus(status))
            channel.eof()
            channel.close()
            self._link.flush_soon()

    def _shut(self) -> None:
        self._note(INFO, "session closed")
        if self._waits:
            self._loop.run_in_executor(None, self._server.end)
        else:
            self._server.end()
