# SPDX-License-Identifier: MIT
"""internal-sftp in the login's own process: one channel's files, without a child and without pipes.

Between a child and the client every byte would go through a pipe, which costs as much as sealing
it. Here a file is read into the packet that carries it, and written from where its packet was
decrypted. What is otherwise the child's, a directory and a umask, is this process's while requests are
done. What waits for a disk keeps all of the connection waiting: so this is for a connection that
has no other channel.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, NoReturn

from tellin.connection.channel import Channel, Half
from tellin.errors import ConfigError, UsageError
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.privileges import Account
from tellin.runtime.pumps import Outlet
from tellin.server.files.service import BUILT_IN, FileService, Wishes, parse_wishes
from tellin.sftp.messages import MOST_DATA
from tellin.sftp.status import StatusCode

# The head of a reply and as much as it may bring: what has to fit for it to be made in its place.
_LARGEST_REPLY: Final = MOST_DATA + 64
# A reply that fills few packets and leaves little for the last is copied beside others.
_FEW_PACKETS: Final = 4
_LITTLE: Final = 1024
# R180: the connection needs some of what this process may open.
_MOST_HANDLES: Final = 256
_LONGEST_ANSWER: Final = 1024


class _Surroundings:
    """The directory and the umask of a file server, in force while it does something."""

    def __init__(self, home: str, umask: int | None) -> None:
        self._umask = umask
        self._before = 0
        self._directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def stay(self) -> None:
        """Where this process is now, paths begin from now on."""
        directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.close(self._directory)
        self._directory = directory

    def __enter__(self) -> None:
        os.fchdir(self._directory)
        if self._umask is not None:
            self._before = os.umask(self._umask)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._umask is not None:
            os.umask(self._before)
        # A login's process rests there, and holds no directory.
        os.chdir("/")

    def close(self) -> None:
        """Nothing is done here any more."""
        os.close(self._directory)


class _InPackets:
    """Places of replies: within the packets of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.commit = channel.commit

    def ready(self) -> bool:
        """Whether the largest reply fits."""
        return self._channel.fits(_LARGEST_REPLY)

    def reserve(self, size: int) -> list[memoryview]:
        """Places for a reply of ``size``."""
        channel = self._channel
        packet = channel.send_packet
        # Other servers' clients ask for 32 KiB in packets of 32 KiB: each head would have a packet.
        if 0 < size % packet < _LITTLE and size < _FEW_PACKETS * packet:
            return []
        return channel.reserve_whole(size)


class Errands:
    """What takes long, each in a child that has this process's open files; the loop goes on meanwhile."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.on_done: Callable[[], object] = _nothing

    def run(self, work: Callable[[], tuple[int, str]], done: Callable[[int, str], object]) -> None:
        """Have it done; ``done`` gets what it gives, and ``on_done`` is called after that."""
        answers, ours = os.pipe2(os.O_CLOEXEC)
        # A signal that comes before the child has its own ways is for the parent alone.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if not pid:
                _errand(work, ours)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(ours)

        def answered() -> None:
            self._loop.remove_reader(answers)
            said = os.read(answers, _LONGEST_ANSWER)
            os.close(answers)
            os.waitpid(pid, 0)
            code, _, reason = said.decode("ascii", "replace").partition(" ")
            done(int(code) if code else StatusCode.FAILURE, reason)
            self.on_done()

        self._loop.add_reader(answers, answered)


def _nothing() -> None:
    """Nobody waits yet."""


def _errand(work: Callable[[], tuple[int, str]], answers: int) -> NoReturn:
    """In the child: nothing of the parent's may run on here, and what fails has no answer."""
    try:
        signal.set_wakeup_fd(-1)
        code, reason = work()
        os.write(answers, f"{code:d} {reason}".encode("ascii", "replace"))
    finally:
        os._exit(0)


class FilesInside:
    """The sink and the source of a channel whose files are served here; ``on_end`` gets a status."""

    def __init__(
        self,
        loop: Loop,
        channel: Channel,
        link: Outlet,
        service: FileService,
        surroundings: _Surroundings,
        *,
        errands: Errands,
        on_end: Callable[[int], object],
    ) -> None:
        errands.on_done = self._soon
        self._loop = loop
        self._channel = channel
        self._link = link
        self._service = service
        self._server = service.server
        self._surroundings = surroundings
        self._on_end = on_end
        self._owed = 0
        self._at_end = False
        self._over = False
        self._call: Cancellable | None = None

    def take(self, views: list[memoryview]) -> int:
        """Write what is to be written; all else is done in a turn of its own."""
        size = sum(map(len, views))
        if self._over:
            return size
        used = self._server.take(views)
        self._owed += size - used
        self._soon()
        return used

    def ended(self) -> None:
        """The client sends no more."""
        self._at_end = True
        self._soon()

    def resume(self) -> None:
        """There is room for replies again."""
        self._soon()

    def close(self) -> None:
        """The channel is gone, or nobody reads any more; what came before that is done."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._over:
            return
        self._over = True
        with self._surroundings:
            with contextlib.suppress(Exception):
                self._server.proceed()
            self._service.end()
        self._surroundings.close()

    def _soon(self) -> None:
        # Within the core nobody may call its verbs, and others get their turn between.
        if self._call is None and not self._over:
            self._call = self._loop.call_soon(self._due)

    def _due(self) -> None:
        self._call = None
        try:
            with self._surroundings:
                self._work()
        except Exception as error:  # noqa: BLE001 - else one client's request would end the login
            self._send()
            self._end(self._service.failed(error))
        else:
            if self._at_end and self._server.hungry and not self._server.waiting:
                self._end(0)
        self._link.flush()

    def _work(self) -> None:
        """Do what there is to do, until it is done or the channel is full."""
        server = self._server
        while True:
            server.proceed()
            full = server.waiting and not server.hungry
            self._send()
            if not full or server.waiting:
                break
        if server.hungry:
            owed, self._owed = self._owed, 0
            if owed:
                self._channel.consumed(owed)

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
                # ``resume`` is called when there is room.
                return
            server.forget(count)

    def _end(self, status: int) -> None:
        self.close()
        self._on_end(status)


def serve_inside(
    loop: Loop,
    channel: Channel,
    link: Outlet,
    *,
    arguments: Sequence[str],
    account: Account,
    home: str,
    environment: Mapping[str, str],
    on_end: Callable[[int], object],
) -> FilesInside | None:
    """Serve files on a channel from here on; None where it takes a process of its own."""
    wishes = _plain_wishes(arguments)
    # The times in listings are those of a zone, and the process has one.
    if wishes is None or environment.get("TZ") != os.environ.get("TZ"):
        return None
    try:
        surroundings = _Surroundings(home, wishes.umask)
    except OSError:
        return None
    errands = Errands(loop)
    try:
        with surroundings:
            service = FileService(
                wishes,
                account,
                program=BUILT_IN,
                source=environment.get("SSH_CONNECTION", "UNKNOWN"),
                places=_InPackets(channel),
                aside=errands.run,
                most_handles=_MOST_HANDLES,
            )
            surroundings.stay()
    except (OSError, ConfigError):
        surroundings.close()
        return None
    served = FilesInside(
        loop, channel, link, service, surroundings, errands=errands, on_end=on_end
    )
    channel.sink = served
    if channel.receiving is not Half.OPEN:
        # The client said that it sends nothing before it said what to run.
        served.ended()
    return served


def _plain_wishes(arguments: Sequence[str]) -> Wishes | None:
    """The options, where they ask for nothing that is a process's own."""
    try:
        wishes = parse_wishes(arguments)
    except UsageError:
        return None
    special = wishes.to_stderr or wishes.root or wishes.query or wishes.help
    return None if special else wishes
