# SPDX-License-Identifier: MIT
"""A talk with a file server at the other end of a child's pipes: what sftp and scp ask, one by one.

The child is ssh, as OpenSSH's two programs have it: whatever leads to a host (jumps, a shared
connection, questions on the terminal) is ssh's own affair, and works here without a line.
"""

import errno
import os
import signal
import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from tellin.errors import ConnectionLost, ProtocolError, SftpError, TellinError
from tellin.runtime.descriptors import enlarge_pipe
from tellin.runtime.loop import SmallLoop
from tellin.sftp.client import InFile, SftpClient
from tellin.sftp.messages import Request
from tellin.sftp.pace import Pace as Window
from tellin.sftp.remote_files import RemoteFiles
from tellin.sftp.waiting import Cancelled, Directly, Job, Running

T = TypeVar("T")

_READ: Final = 1 << 20
# IOV_MAX of Linux.
_MOST_VIEWS: Final = 1024
# What a paced link moves at a time: a tenth of a second's worth, within these two.
_LEAST_PACED: Final = 1024
_MOST_PACED: Final = 1 << 16
_NO_CHILD: Final = 255
# What splice(2) says where the file is of no kind, or on no file system, that it knows.
_NO_SPLICE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

# What OpenSSH's two programs call the codes of a STATUS; scripts look for these words.
_TEXTS: Final = {
    0: "No error",
    1: "End of file",
    2: "No such file or directory",
    3: "Permission denied",
    4: "Failure",
    5: "Bad message",
    6: "No connection",
    7: "Connection lost",
    8: "Operation unsupported",
}


def reason(error: TellinError) -> str:
    """Why a file server said no, in OpenSSH's words."""
    if isinstance(error, SftpError):
        return _TEXTS.get(error.status, "Unknown status")
    return str(error)


class Interrupted(TellinError):
    """Somebody pressed Ctrl-C while a file was on its way."""


class Child:
    """A program on two pipes of ours. It shares our terminal, and its messages are seen there.

    With ``deaf`` it does not hear Ctrl-C, which then ends a transfer and not the connection.
    """

    def __init__(self, argv: Sequence[str], *, deaf: bool = False) -> None:
        theirs_in, self.to = os.pipe2(os.O_CLOEXEC)
        self.come, theirs_out = os.pipe2(os.O_CLOEXEC)
        before = signal.getsignal(signal.SIGINT)
        if deaf:
            # What is ignored stays ignored over exec.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                [*argv],
                # What lies in the directory of a user is no module of ours.
                {**os.environ, "PYTHONSAFEPATH": "1"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs_in, 0),
                    (os.POSIX_SPAWN_DUP2, theirs_out, 1),
                ],
                # Python ignores it, and the child is to die of it.
                setsigdef=[signal.SIGPIPE, *(() if deaf else (signal.SIGINT,))],
            )
        except BaseException:
            os.close(self.to)
            os.close(self.come)
            raise
        finally:
            if deaf:
                # None is a handler that was not set from Python.
                signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
            os.close(theirs_in)
            os.close(theirs_out)
        for descriptor in (self.to, self.come):
            enlarge_pipe(descriptor)
            os.set_blocking(descriptor, False)

    def shut(self) -> None:
        """Say that nothing more comes."""
        if self.to >= 0:
            os.close(self.to)
            self.to = -1

    def end(self) -> None:
        """End it, whatever it waits for: a password perhaps."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def close(self) -> int:
        """Close the pipes and wait until it has ended; returns its status."""
        self.shut()
        if self.come >= 0:
            os.close(self.come)
            self.come = -1
        if not self.pid:
            return _NO_CHILD
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


class Pace:
    """How many bytes may move now, for -l: so many kilobits a second, in even pieces."""

    def __init__(self, loop: SmallLoop, kilobits: int) -> None:
        self._loop = loop
        # OpenSSH's kilobit has 1024 bits.
        self._rate = kilobits * 1024 / 8
        self._most = min(max(int(self._rate / 10), _LEAST_PACED), _MOST_PACED)
        self._free_at = loop.time()

    def room(self) -> int:
        """How much may be moved now; 0 is nothing yet."""
        return self._most if self._loop.time() >= self._free_at else 0

    def wait(self) -> float:
        """How long until then."""
        return max(0.0, self._free_at - self._loop.time())

    def moved(self, count: int) -> None:
        """So much was moved."""
        self._free_at = max(self._free_at, self._loop.time()) + count / self._rate


class FileLink:
    """A talk with a file server, turned by a loop; ``files`` is what can be asked, ``wait`` waits for it."""

    def __init__(
        self, argv: Sequence[str], *, loop: SmallLoop, kilobits: int = 0, deaf: bool = False
    ) -> None:
        self.loop = loop
        self.child = Child(argv, deaf=deaf)
        self.interrupted = False
        self._job: Running | None = None
        self._pace = (Pace(loop, kilobits), Pace(loop, kilobits)) if kilobits else None
        self._parts: deque[memoryview | InFile] = deque()
        self._buffer = memoryview(bytearray(_READ))
        self._flushing = self._watched = False
        self._lost: TellinError | None = None
        self._greeted = False
        self.client = SftpClient(
            on_version=self._greet, on_output=self._flush_soon, clock=loop.time
        )
        # A paced link counts what it sends itself.
        self.client.sends_files = self._pace is None
        self.files = RemoteFiles(self.client, Directly())
        loop.add_reader(self.child.come, self._readable)
        self.client.begin()

    def open(self, *, block: int = 0, requests: int = 0) -> None:
        """Wait until the server has said what it is, and what it takes.

        ``block`` and ``requests`` are how large requests are and how many are on their way, where
        somebody wants it otherwise than is good for the link.
        """
        self.loop.run_until(lambda: self._greeted or self._lost is not None)
        if self._lost is not None:
            raise self._lost
        files = self.files
        self.wait(files.learn_limits())
        if block:
            files.limits.largest_read = min(block, files.read_block)
            files.limits.largest_write = min(block, files.write_block)
        if requests:
            # Without a clock nothing is measured, and the window stays as it is.
            self.client.pace = Window(None)
            self.client.pace.window = requests * max(files.read_block, files.write_block)

    def _greet(self) -> None:
        self._greeted = True

    # What is asked

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Turn until a piece of work is done; Interrupted where somebody has pressed Ctrl-C."""
        self._job = job = Job(work)
        try:
            self.loop.run_until(job.done)
            result: T = job.result()
        except Cancelled:
            raise Interrupted("Interrupted") from None
        except BaseException:
            job.cancel()
            raise
        finally:
            self._job = None
        return result

    def ask(self, request: Request, path: bytes | None = None) -> Any:
        """The reply to a request."""
        return self.wait(self.files.ask(request, path))

    def interrupt(self) -> None:
        """What is on its way comes no further."""
        self.interrupted = True
        if self._job is not None:
            self._job.cancel()

    # The pipes

    def _flush_soon(self) -> None:
        if not self._flushing and self._lost is None:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _readable(self) -> None:
        view = self._buffer
        if self._pace is not None:
            room = self._pace[0].room()
            if not room:
                self.loop.remove_reader(self.child.come)
                self.loop.call_later(self._pace[0].wait(), self._read_again)
                return
            view = view[:room]
        try:
            count = os.readv(self.child.come, [view])
        except BlockingIOError:
            return
        if not count:
            self._end(ConnectionLost("Connection closed", stage="session"))
            return
        if self._pace is not None:
            self._pace[0].moved(count)
        try:
            self.client.received([view[:count]])
        except ProtocolError as error:
            self._end(error)

    def _read_again(self) -> None:
        if self._lost is None:
            self.loop.add_reader(self.child.come, self._readable)

    def _end(self, error: TellinError) -> None:
        self._lost = error
        self._parts.clear()
        self.loop.remove_reader(self.child.come)
        self._watch(on=False)
        self.client.lost(error)

    def _watch(self, *, on: bool) -> None:
        if on is not self._watched:
            self._watched = on
            if on:
                self.loop.add_writer(self.child.to, self._flush)
            else:
                self.loop.remove_writer(self.child.to)

    def _flush(self) -> None:
        self._flushing = False
        self._parts.extend(
            part if isinstance(part, InFile) else memoryview(part) for part in self.client.take()
        )
        parts = self._parts
        try:
            while parts:
                first = parts[0]
                if isinstance(first, InFile):
                    self._send_file(first)
                    continue
                if self._pace is None:
                    views = _views(parts)
                elif room := self._pace[1].room():
                    views = [first[:room]]
                else:
                    self._watch(on=False)
                    self.loop.call_later(self._pace[1].wait(), self._flush)
                    return
                count = os.writev(self.child.to, views)
                if self._pace is not None:
                    self._pace[1].moved(count)
                _drop(parts, count)
        except BlockingIOError:
            self._watch(on=True)
            return
        except BrokenPipeError:
            # A child that has ended may have said something before; what it read is its affair.
            parts.clear()
        self._watch(on=False)

    def _send_file(self, part: InFile) -> None:
        """From the page cache into the pipe, of which this process sees nothing; or by a read after all."""
        parts = self._parts
        try:
            count = os.splice(
                part.file.descriptor,
                self.child.to,
                part.size,
                offset_src=part.offset,
                flags=os.SPLICE_F_NONBLOCK,
            )
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            # Not every file system can; what it says to a read is what is true.
            parts[0] = part.read()
            return
        if not count:
            parts[0] = part.read()
        elif count == part.size:
            parts.popleft()
        else:
            parts[0] = part.part(count, part.size)

    def close(self) -> int:
        """End the talk; returns the status of the child."""
        if self._lost is None:
            self._end(ConnectionLost("the files were closed", stage="session"))
        return self.child.close()


def _views(parts: deque[memoryview | InFile]) -> list[memoryview]:
    """What stands before the next part that lies in a file."""
    views = []
    for part in islice(parts, _MOST_VIEWS):
        if isinstance(part, InFile):
            break
        views.append(part)
    return views


def _drop(parts: deque[memoryview | InFile], count: int) -> None:
    """Take off what was sent."""
    while count:
        part = parts.popleft()
        assert not isinstance(part, InFile)
        if len(part) > count:
            parts.appendleft(part[count:])
            return
        count -= len(part)


def ssh_program(chosen: str | None) -> list[str]:
    """The beginning of a command line that leads to a host: what -S names, or ssh of our own."""
    # -P: what lies in the directory of a user is no module of ours.
    return [chosen] if chosen else [sys.executable, "-P", "-m", "tellin", "ssh"]
