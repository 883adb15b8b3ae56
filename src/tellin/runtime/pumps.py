# SPDX-License-Identifier: MIT
"""The ends of the data lane: a channel's bytes into a descriptor, and a descriptor's bytes into a channel.

Both move views: what arrives is written from the core's receive buffer, and what is read goes
straight into the core's send buffer, many packets per system call. Only what the kernel does not
take at once is copied, and its window is credited when it has left.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from tellin.runtime.descriptors import Descriptor, enlarge_pipe, shut_writing
from tellin.runtime.loop import Cancellable, Loop
from tellin.wire.states import State

__all__ = [
    "FdSink",
    "FdSource",
    "Gathering",
    "Outlet",
    "ReceivingEnd",
    "SendingEnd",
    "enlarge_pipe",
    "shut_writing",
]

_VIEWS_PER_CALL: Final = 1024
# One wake-up fills this often what the channel offers (up to several packets each time).
_FILLS_PER_TURN: Final = 2
_PLACE: Final = 1 << 20
# RFC 4254 section 5.2: SSH_EXTENDED_DATA_STDERR.
_STDERR: Final = 1
_COPIED_CHUNK: Final = 32768
_SMALL_CHUNK: Final = 4096
# What a pipe holds unless asked for more: a read of this much tells of a writer in bulk.
_FULL_PIPE: Final = 65536
_NONE_LEFT: Final = memoryview(b"")


class Outlet(Protocol):
    """The part of a link that its pumps use."""

    def flush_soon(self) -> None:
        """Packets were made: send them."""

    def flush(self) -> None:
        """The same at once; only for what the loop itself calls."""


class Gathering(Outlet, Protocol):
    """The part of a link that its tunnels use: there are many of them, and each says little at a time."""

    def flush_last(self) -> None:
        """The same, together with what others have to say in this turn of the loop."""


class ReceivingEnd(Protocol):
    """The part of a channel that a sink uses."""

    def consumed(self, count: int, /) -> None:
        """``count`` bytes that the sink kept are used up now."""


class SendingEnd(Protocol):
    """The part of a channel that a source uses."""

    def room(self) -> int:
        """How many bytes may be sent now."""

    def reserve(self, limit: int, extended: int | None, /) -> list[memoryview]:
        """Where to write them: one view per packet to be; empty if nothing may be sent now."""

    def commit(self, count: int, /) -> None:
        """The first ``count`` bytes of that place are to be sent."""

    def send(self, data: memoryview, /) -> int:
        """Send as much of a copy as there is room for."""


class FdSink:
    """Writes a channel's data to a descriptor; the channel's ``sink``.

    ``inherited`` says that others use the open file too, so that its flags must stay. ``end`` is
    called with the descriptor when all is written (``os.close``, ``shut_writing``, or None to
    leave it open). ``on_broken`` gets the error when the reader is gone or the disk full, in a turn
    of its own: from then on data are thrown away, with credit, so that the peer does not hang.
    ``descriptor`` is what is known of ``fd`` already.
    """

    __slots__ = (
        "_channel",
        "_chunks",
        "_descriptor",
        "_end",
        "_ending",
        "_enlarged",
        "_finished",
        "_link",
        "_loop",
        "_on_broken",
        "_on_finished",
        "_report",
        "_write",
        "backlog",
        "broken",
        "fd",
    )

    def __init__(
        self,
        loop: Loop,
        fd: int,
        channel: ReceivingEnd,
        link: Outlet,
        *,
        inherited: bool = False,
        descriptor: Descriptor | None = None,
        end: Callable[[int], object] | None = os.close,
        on_broken: Callable[[OSError], object] | None = None,
        on_finished: Callable[[], object] | None = None,
    ) -> None:
        self.fd = fd
        self.backlog = 0
        """How many bytes wait here; never more than the channel's window."""
        self.broken: OSError | None = None
        self._loop = loop
        self._channel = channel
        self._link = link
        self._end = end
        self._on_broken = on_broken
        self._on_finished = on_finished
        self._descriptor = descriptor or Descriptor(fd, ours=not inherited, writing=True)
        self._write = self._descriptor.writev
        self._chunks: deque[memoryview] = deque()
        self._report: Cancellable | None = None
        self._enlarged = False
        self._ending = False
        self._finished = False

    def take(self, views: list[memoryview]) -> int:
        """Write what the kernel takes, copy the rest; returns how many bytes are used up."""
        if self.broken is not None or self._finished:
            return sum(map(len, views))
        if self._chunks:
            self._keep(views, 0)
            return 0
        total, done = sum(map(len, views)), 0
        try:
            while done < total:
                rest = _after(views, done) if done else views
                done += self._write(
                    rest if len(rest) <= _VIEWS_PER_CALL else rest[:_VIEWS_PER_CALL]
                )
                # A short write of a file is a full disk or a signal: the next call says which.
                if self._descriptor.pollable:
                    break
        except (BlockingIOError, InterruptedError):
            # All of it waits, then.
            pass
        except OSError as error:
            self._break(error)
            return total
        if done < total:
            self._keep(views, done)
        return done

    def finish(self) -> None:
        """No more will come: end the descriptor once all is written."""
        if self._report is not None and self.broken is not None:
            # Whoever ends must have heard that not all was written.
            self._report.cancel()
            self._tell(self.broken)
        self._ending = True
        if not self._chunks:
            self._finish()

    def close(self) -> None:
        """Give up what waits and end the descriptor now; nothing more is reported."""
        if self._report is not None:
            self._report.cancel()
            self._report = None
        if self._chunks:
            self._forget()
        self._finish()

    def _keep(self, views: list[memoryview], done: int) -> None:
        # The one copy: the views die when take() returns.
        chunk = memoryview(b"".join(_after(views, done)))
        self.backlog += len(chunk)
        if self._chunks and len(self._chunks[-1]) + len(chunk) <= _SMALL_CHUNK:
            # A window of single bytes would be two million objects.
            self._chunks[-1] = memoryview(bytes(self._chunks[-1]) + chunk)
            return
        if not self._chunks:
            self._loop.add_writer(self._descriptor.fd, self._drain)
            if not self._enlarged:
                # Only now: an idle session needs no megabyte of pipe.
                self._enlarged = True
                enlarge_pipe(self._descriptor.fd)
        self._chunks.append(chunk)

    def _drain(self) -> None:
        chunks = self._chunks
        try:
            count = self._write(list(islice(chunks, _VIEWS_PER_CALL)))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            count = self.backlog
            self._break(error)
        else:
            self.backlog -= count
            left = count
            while left:
                first = chunks[0]
                if left < len(first):
                    chunks[0] = first[left:]
                    break
                left -= len(first)
                chunks.popleft()
            if not chunks:
                self._loop.remove_writer(self._descriptor.fd)
        self._channel.consumed(count)
        self._link.flush_soon()
        if self._ending and not chunks:
            self._finish()

    def _break(self, error: OSError) -> None:
        self.broken = error
        self._forget()
        # Later: take() is called from within the core, where nobody may call its verbs.
        self._report = self._loop.call_soon(self._tell, error)

    def _tell(self, error: OSError) -> None:
        self._report = None
        if self._on_broken is not None:
            self._on_broken(error)
            self._link.flush_soon()

    def _forget(self) -> None:
        if self._chunks:
            self._loop.remove_writer(self._descriptor.fd)
            self._chunks.clear()
        self.backlog = 0

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._descriptor.borrows:
            self._descriptor.release()
        if self._end is not None:
            try:
                self._end(self.fd)
            except OSError:
                # Whatever a close still has to report (a full disk of NFS) comes too late to act on.
                self._end = None
        if self._on_finished is not None:
            self._on_finished()


def _after(views: list[memoryview], done: int) -> list[memoryview]:
    """The views without their first ``done`` bytes."""
    if not done:
        return views
    rest: list[memoryview] = []
    for view in views:
        size = len(view)
        if done >= size:
            done -= size
        else:
            rest.append(view[done:] if done else view)
            done = 0
    return rest


def _is_hangup(fd: int, error: OSError) -> bool:
    """EIO of a terminal: the last process on its other side has gone."""
    return error.errno == errno.EIO and stat.S_ISCHR(os.fstat(fd).st_mode)


class Flow(State):
    """What a source is waiting for."""

    STOPPED = "start()"
    READING = "its descriptor"
    NO_ROOM = "the channel (resume)"
    ENDED = "nothing more"


# Looked up once: a member of an enum costs as much as a call.
_STOPPED: Final = Flow.STOPPED
_READING: Final = Flow.READING
_NO_ROOM: Final = Flow.NO_ROOM
_ENDED: Final = Flow.ENDED


class FdSource:
    """Reads a descriptor into a channel while the channel has room.

    Call ``resume`` for every ChannelWritable. ``on_end`` is called once: with None at the end of
    file (and for EIO of a terminal's master: its last user has gone), else with the error.
    ``extended`` sends as standard error. ``edit`` sees every block first and returns what to send
    (escape characters of a terminal); that way copies, the others do not. The descriptor stays
    open: who gave it closes it. ``descriptor`` is what is known of it already, and ``flush`` what is
    called in place of the link's where little was read.
    """

    __slots__ = (
        "_call",
        "_channel",
        "_descriptor",
        "_edit",
        "_enlarged",
        "_extended",
        "_fill",
        "_filled",
        "_flush",
        "_left",
        "_link",
        "_loop",
        "_on_end",
        "fd",
        "flow",
    )

    def __init__(
        self,
        loop: Loop,
        fd: int,
        channel: SendingEnd,
        link: Outlet,
        *,
        inherited: bool = False,
        descriptor: Descriptor | None = None,
        flush: Callable[[], object] | None = None,
        extended: bool = False,
        edit: Callable[[bytes], bytes] | None = None,
        on_end: Callable[[OSError | None], object] | None = None,
    ) -> None:
        self.fd = fd
        self.flow = _STOPPED
        self._loop = loop
        self._channel = channel
        self._link = link
        self._edit = edit
        self._on_end = on_end
        self._descriptor = descriptor or Descriptor(fd, ours=not inherited, writing=False)
        self._extended = _STDERR if extended else None
        self._fill = self._read if edit is None else self._copy
        self._left = _NONE_LEFT
        self._enlarged = False
        self._filled = 0
        self._flush = link.flush if flush is None else flush
        self._call: Cancellable | None = None

    def start(self) -> None:
        """Begin to read."""
        if self.flow is _STOPPED:
            self._watch()

    def resume(self) -> None:
        """There is room again; does nothing unless the source waits for it."""
        if self.flow is _NO_ROOM:
            self._watch()

    def stop(self) -> None:
        """Read no more until ``start``."""
        if self.flow is not _ENDED:
            self._unwatch(_STOPPED)

    def close(self) -> None:
        """Never read again; ``on_end`` is not called."""
        if self.flow is not _ENDED:
            self._unwatch(_ENDED)
            if self._descriptor.borrows:
                self._descriptor.release()

    def _watch(self) -> None:
        self.flow = _READING
        if self._descriptor.pollable:
            self._loop.add_reader(self._descriptor.fd, self._readable)
        else:
            # Always readable: a turn of the loop between, so that others get theirs.
            self._call = self._loop.call_soon(self._readable)

    def _unwatch(self, flow: Flow) -> None:
        if self.flow is _READING:
            if self._descriptor.pollable:
                self._loop.remove_reader(self._descriptor.fd)
            elif self._call is not None:
                self._call.cancel()
                self._call = None
        self.flow = flow

    def _readable(self) -> None:
        self._call = None
        try:
            for _ in range(_FILLS_PER_TURN):
                if not self._fill():
                    break
        except (BlockingIOError, InterruptedError):
            # Nothing there after all: epoll calls again.
            pass
        except OSError as error:
            self._ended(None if _is_hangup(self.fd, error) else error)
        filled, self._filled = self._filled, 0
        if filled >= _FULL_PIPE:
            self._link.flush()
        elif filled or self.flow is not _ENDED:
            self._flush()
        # An end alone goes out with what follows from it: whoever was told of it knows when.
        if not self._descriptor.pollable and self.flow is _READING:
            self._call = self._loop.call_soon(self._readable)

    def _read(self) -> bool:
        """Fill the channel's own place once; whether more is to be had at once."""
        views = self._channel.reserve(_PLACE, self._extended)
        if not views:
            self._unwatch(_NO_ROOM)
            return False
        count = self._descriptor.readv(views)
        if not count:
            self._ended(None)
            return False
        self._channel.commit(count)
        self._filled += count
        if count >= _FULL_PIPE and not self._enlarged:
            # dd bs=64k through 64 KiB: 2,700 MB/s and 16,384 reads a GiB; through 1 MiB: 5,600 reads.
            self._enlarged = True
            enlarge_pipe(self._descriptor.fd)
        return count == sum(map(len, views))

    def _copy(self) -> bool:
        """The same with a block between, for an edit to look at."""
        if self._left:
            self._left = self._left[self._channel.send(self._left) :]
        room = self._channel.room()
        if self._left or not room:
            self._unwatch(_NO_ROOM)
            return False
        size = min(room, _COPIED_CHUNK)
        data = self._descriptor.read(size)
        count = len(data)
        if not count:
            self._ended(None)
            return False
        if self._edit is not None:
            data = self._edit(data)
        if data:
            view = memoryview(data)
            self._left = view[self._channel.send(view) :]
            self._filled += len(data)
            if self._left:
                self._unwatch(_NO_ROOM)
        return count == size and not self._left

    def _ended(self, error: OSError | None) -> None:
        self._unwatch(_ENDED)
        if self._descriptor.borrows:
            self._descriptor.release()
        if self._on_end is not None:
            self._on_end(error)
