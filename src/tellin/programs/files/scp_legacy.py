# SPDX-License-Identifier: MIT
"""scp -O: the protocol of rcp, at both ends; and ``scp -t`` and ``scp -f``, which others' scp -O starts."""

# Paths are bytes, as they are: pathlib takes none.
# ruff: noqa: PTH208

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from tellin.errors import MalformedPacket
from tellin.programs.command import say_error
from tellin.programs.files.link import Child, Pace
from tellin.programs.files.meter import Meter
from tellin.programs.files.places import Place, is_directory, is_there, joined, last_name, shown
from tellin.programs.files.scp_names import anything, asked_for, quoted
from tellin.runtime.loop import SmallLoop
from tellin.sftp import rcp

_CHUNK: Final = 1 << 18
_FAILED: Final = 1
_OURS: Final = os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# R174: what was privileged there is so here only where -p says that all is to be kept.
_PERMISSIONS: Final = 0o777
_ALL: Final = 0o7777


class Wanted(Protocol):
    """What of the command line is for this protocol."""

    recursive: bool
    preserve: bool
    quiet: bool
    verbose: int
    strict: bool
    into_directory: bool
    sends: bool
    receives: bool
    kilobits: int


class Run(Protocol):
    """What a copy has of the run that it is a part of."""

    loop: SmallLoop
    meter: Meter

    @property
    def orders(self) -> Any:
        """The command line."""

    def argv(self, place: Place, command: str, *, subsystem: bool) -> list[str]:
        """The command line that leads to a host."""


class Lost(Exception):
    """The other side is gone, or has said that all is over."""


class Pipe:
    """Two descriptors, one to read and one to write: waits for either, at no more than a pace."""

    def __init__(self, loop: SmallLoop, come: int, to: int, *, kilobits: int = 0) -> None:
        self._loop = loop
        self._come = come
        self._to = to
        self._pace = Pace(loop, kilobits) if kilobits else None
        self._buffer = memoryview(bytearray(_CHUNK))

    def receive(self) -> memoryview:
        """What comes next; nothing is the end. The view is good until the next call."""
        size = self._room(_CHUNK)
        while True:
            self._wait(self._loop.add_reader, self._loop.remove_reader, self._come)
            try:
                count = os.readv(self._come, [self._buffer[:size]])
            except BlockingIOError:
                continue
            self._moved(count)
            return self._buffer[:count]

    def send(self, data: bytes | memoryview) -> None:
        """Write all of it; Lost where nobody takes it."""
        view = memoryview(data)
        while view:
            size = self._room(len(view))
            try:
                count = os.write(self._to, view[:size])
            except BlockingIOError:
                self._wait(self._loop.add_writer, self._loop.remove_writer, self._to)
                continue
            except BrokenPipeError:
                raise Lost from None
            self._moved(count)
            view = view[count:]

    def _wait(
        self, add: Callable[..., None], remove: Callable[[int], bool], descriptor: int
    ) -> None:
        ready: list[bool] = []
        try:
            add(descriptor, ready.append, True)
        except PermissionError:
            return  # a regular file, which never makes anybody wait
        try:
            self._loop.run_until(lambda: ready)
        finally:
            remove(descriptor)

    def _room(self, wanted: int) -> int:
        if self._pace is None:
            return wanted
        self._loop.run_until(lambda: False, timeout=self._pace.wait())
        return min(wanted, self._pace.room() or wanted)

    def _moved(self, count: int) -> None:
        if self._pace is not None:
            self._pace.moved(count)


# --- what is received ----------------------------------------------------------------------------


class Keeper:
    """Puts what arrives into files below ``target``, which is a path or, with ``inside``, a directory.

    R175: what lies below a directory that is received is reached through it, and by no link.
    """

    def __init__(
        self,
        target: bytes,
        *,
        inside: bool,
        preserve: bool,
        meter: Meter,
        say: Callable[[bytes], object],
    ) -> None:
        self._target = target
        self._inside = inside
        self._preserve = preserve
        self._meter = meter
        self._say = say
        # Directories that have begun: descriptor, path, permissions, whether made here, times.
        self._folders: list[tuple[int, bytes, int, bool, rcp.Times | None]] = []
        self._file = -1
        self._path = b""
        self._mode = 0
        self._times: rcp.Times | None = None
        self._problem: OSError | None = None
        self._count = 0
        self._size = 0
        self.failed = False

    def told(self, text: bytes) -> None:
        """The sender complains."""
        self.failed = True
        self._say(text)

    def _where(self, name: bytes) -> tuple[bytes, int | None, bytes]:
        """What to open, relative to which directory, and what it is called."""
        if self._folders:
            folder, path, *_ = self._folders[-1]
            return name, folder, joined(path, name)
        path = joined(self._target, name) if self._inside else self._target
        return path, None, path

    def begin_file(self, name: bytes, mode: int, size: int, times: rcp.Times | None) -> None:
        what, folder, self._path = self._where(name)
        link = 0 if folder is None else os.O_NOFOLLOW
        self._mode = mode & _ALL  # what it gets only where all is kept
        try:
            self._file = os.open(
                what,
                os.O_WRONLY | os.O_CREAT | _OURS | link,
                mode & _PERMISSIONS | stat.S_IWUSR,
                dir_fd=folder,
            )
        except OSError as error:
            self._complain(error)
            raise OSError(error.errno, error.strerror, self._path) from None
        self._times, self._problem, self._count = times, None, 0
        self._size = size
        self._meter.progress(self._path, self._path, 0, size)

    def data(self, view: memoryview) -> None:
        while view and self._problem is None:
            try:
                count = os.write(self._file, view)
            except OSError as error:
                self._problem = error
                return
            view = view[count:]
            self._count += count
        self._meter.progress(self._path, self._path, self._count, self._size)

    def end_file(self) -> None:
        """What could not be kept is told to both sides; so much of it as came is there."""
        problem = self._problem
        try:
            if stat.S_ISREG(os.fstat(self._file).st_mode):
                os.ftruncate(self._file, self._count)
            if problem is None and self._preserve:
                os.fchmod(self._file, self._mode)
            if problem is None and self._times is not None:
                os.utime(self._file, (self._times.atime, self._times.mtime))
        except OSError as error:
            problem = error
        finally:
            self._let_go()
        if problem is not None:
            self._complain(problem)
            raise OSError(problem.errno, problem.strerror, self._path)

    def drop_file(self) -> None:
        """The sender's data are not those of the file; it says itself what is wrong."""
        self.failed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._meter.end()

    def begin_directory(self, name: bytes, mode: int, times: rcp.Times | None) -> None:
        what, folder, path = self._where(name)
        made = True
        try:
            try:
                os.mkdir(what, mode & _PERMISSIONS | stat.S_IRWXU, dir_fd=folder)
            except FileExistsError:
                made = False
            link = 0 if folder is None else os.O_NOFOLLOW
            descriptor = os.open(what, _DIRECTORY | link, dir_fd=folder)
        except OSError as error:
            self._path = path
            self._complain(error)
            raise OSError(error.errno, error.strerror, path) from None
        self._folders.append((descriptor, path, mode, made, times))

    def end_directory(self) -> None:
        folder, self._path, mode, made, times = self._folders.pop()
        try:
            if self._preserve:
                os.fchmod(folder, mode & _ALL)
            elif made and mode & stat.S_IRWXU != stat.S_IRWXU:
                umask = os.umask(0)
                os.umask(umask)
                os.fchmod(folder, mode & _PERMISSIONS & ~umask)
            if times is not None:
                os.utime(folder, (times.atime, times.mtime))
        except OSError as error:
            self._complain(error)
            raise OSError(error.errno, error.strerror, self._path) from None
        finally:
            os.close(folder)

    def abandon(self) -> int | None:
        """It is cut off; how much of a file is here, if one was on its way."""
        while self._folders:
            os.close(self._folders.pop()[0])
        if self._file < 0:
            return None
        if stat.S_ISREG(os.fstat(self._file).st_mode):
            os.ftruncate(self._file, self._count)
        self._let_go()
        self.failed = True
        return self._count

    def _complain(self, error: OSError) -> None:
        self.failed = True
        self._say(self._path + b": " + str(error.strerror).encode())

    @property
    def path(self) -> bytes:
        """Where the last file or directory is."""
        return self._path


def receive(
    pipe: Pipe, keeper: Keeper, *, recursive: bool, accepts: Callable[[bytes], object]
) -> bool:
    """Take all that comes; false where something was wrong."""
    sink = rcp.Sink(keeper, recursive=recursive, accepts=accepts)
    try:
        while not sink.over:
            if answer := sink.to_send():
                pipe.send(answer)
            view = pipe.receive()
            if not view:
                sink.ended()
                return not keeper.failed
            sink.received(view)
    except (MalformedPacket, Lost) as error:
        say_error(f"scp: {str(error) or 'lost connection'}")
        keeper.failed = True
        if answer := sink.to_send():
            _tell(pipe, answer)
    kept = keeper.abandon()
    if kept is not None:
        say_error(f'scp: "{shown(keeper.path)}": {kept} bytes are here')
    return False


def _tell(pipe: Pipe, answer: bytes) -> None:
    try:
        pipe.send(answer)
    except Lost:
        return  # nobody is there to hear of it


# --- what is sent --------------------------------------------------------------------------------


class Sender:
    """Sends files and directories; follows links, as scp always has."""

    def __init__(
        self,
        pipe: Pipe,
        *,
        recursive: bool,
        preserve: bool,
        meter: Meter,
        told: Callable[[bytes], object],
    ) -> None:
        self._pipe = pipe
        self._recursive = recursive
        self._preserve = preserve
        self._meter = meter
        self._told = told
        self._answers = rcp.Answers()
        self.failed = False

    def answered(self) -> bool:
        """Whether the other side says that it is right; Lost where it gives up."""
        while (answer := self._answers.take()) is None:
            view = self._pipe.receive()
            if not view:
                raise Lost
            self._answers.received(view)
        if answer.code == rcp.OK:
            return True
        self.failed = True
        self._told(answer.text)
        if answer.code == rcp.OVER:
            raise Lost("")
        return False

    def send(self, path: bytes, *, depth: int = 0) -> None:
        """Send what is at a path."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _OURS)
        except OSError as error:
            self._refuse(path, str(error.strerror))
            return
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                self._send_file(path, descriptor, status)
            elif stat.S_ISDIR(status.st_mode) and self._recursive:
                self._send_directory(path, status, depth)
            else:
                self._refuse(path, "not a regular file")
        finally:
            os.close(descriptor)

    def _refuse(self, path: bytes, why: str) -> None:
        self.failed = True
        text = path + b": " + why.encode()
        self._told(text)
        self._pipe.send(rcp.complaint(text))

    def _announce_times(self, status: os.stat_result) -> bool:
        if not self._preserve:
            return True
        self._pipe.send(rcp.times_line(rcp.Times(int(status.st_mtime), int(status.st_atime))))
        return self.answered()

    def _send_file(self, path: bytes, descriptor: int, status: os.stat_result) -> None:
        name = last_name(path)
        if not self._announce_times(status):
            return
        self._pipe.send(rcp.file_line(name, status.st_mode, status.st_size))
        if not self.answered():
            return
        self._meter.progress(path, path, 0, status.st_size)
        at, problem = 0, ""
        try:
            while at < status.st_size:
                size = min(_CHUNK, status.st_size - at)
                data = b""
                if not problem:
                    try:
                        data = os.pread(descriptor, size, at)
                    except OSError as error:
                        problem = str(error.strerror)
                    else:
                        problem = "" if data else "it has become shorter"
                # So much is announced, and the other side waits for it.
                data = data or bytes(size)
                self._pipe.send(data)
                at += len(data)
                self._meter.progress(path, path, at, status.st_size)
        except Lost:
            say_error(f'scp: "{shown(path)}": {at} of {status.st_size} bytes were sent')
            raise
        finally:
            self._meter.end()
        if problem:
            self._refuse(path, problem)
        else:
            self._pipe.send(b"\0")
        self.answered()

    def _send_directory(self, path: bytes, status: os.stat_result, depth: int) -> None:
        if depth >= rcp.MOST_DEPTH:
            self._refuse(path, f"directories are deeper than {rcp.MOST_DEPTH} levels")
            return
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            self._refuse(path, str(error.strerror))
            return
        if not self._announce_times(status):
            return
        self._pipe.send(rcp.directory_line(last_name(path), status.st_mode))
        if not self.answered():
            return
        for name in names:
            self.send(joined(path, name), depth=depth + 1)
        self._pipe.send(rcp.END_LINE)
        self.answered()


# --- scp -t and scp -f ---------------------------------------------------------------------------


def serve(orders: Wanted, words: Sequence[str]) -> int:
    """The end that another scp -O starts, on standard input and output; returns the status."""
    loop = SmallLoop()
    pipe = Pipe(loop, 0, 1)
    meter = Meter(loop, shown=False)
    paths = [os.fsencode(word) for word in words]
    if orders.sends:
        sender = Sender(
            pipe,
            recursive=orders.recursive,
            preserve=orders.preserve,
            meter=meter,
            told=lambda _text: None,
        )
        return _send_all(sender, paths)
    if len(paths) != 1:
        pipe.send(rcp.complaint(b"ambiguous target"))
        return _FAILED
    inside = is_directory(paths[0])
    if orders.into_directory and not inside:
        why = errno.ENOTDIR if is_there(paths[0]) else errno.ENOENT
        pipe.send(rcp.complaint(paths[0] + b": " + os.strerror(why).encode()))
        return _FAILED
    keeper = Keeper(
        paths[0], inside=inside, preserve=orders.preserve, meter=meter, say=lambda _text: None
    )
    right = receive(pipe, keeper, recursive=orders.recursive, accepts=lambda _name: True)
    return 0 if right else _FAILED


def _send_all(sender: Sender, paths: Sequence[bytes]) -> int:
    try:
        # The other side begins.
        if not sender.answered():
            return _FAILED
        for path in paths:
            sender.send(path)
    except (Lost, MalformedPacket):
        return _FAILED
    return _FAILED if sender.failed else 0


# --- scp -O --------------------------------------------------------------------------------------


class Legacy:
    """One source of a run, by the protocol of rcp."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._orders = run.orders

    def _command(self, way: str, path: bytes) -> str:
        orders = self._orders
        flags = [
            *(("-v",) if orders.verbose else ()),
            *(("-r",) if orders.recursive else ()),
            *(("-p",) if orders.preserve else ()),
            *(("-d",) if orders.into_directory else ()),
            way,
        ]
        dashes = "-- " if path.startswith(b"-") else ""
        return f"scp {' '.join(flags)} {dashes}{os.fsdecode(quoted(path or b'.'))}"

    def _begin(self, place: Place, way: str) -> tuple[Child, Pipe]:
        child = Child(self._run.argv(place, self._command(way, place.path), subsystem=False))
        pipe = Pipe(self._run.loop, child.come, child.to, kilobits=self._orders.kilobits)
        return child, pipe

    def receive_here(self, source: Place, target: Place) -> bool:
        """Fetch what is at ``source``."""
        child, pipe = self._begin(source, "-f")
        keeper = Keeper(
            target.path,
            inside=is_directory(target.path),
            preserve=self._orders.preserve,
            meter=self._run.meter,
            say=_say,
        )
        accepts = asked_for(source.path) if self._orders.strict else anything
        right = receive(pipe, keeper, recursive=self._orders.recursive, accepts=accepts)
        return child.close() == 0 and right

    def send_there(self, source: Place, target: Place) -> bool:
        """Send what is at ``source``."""
        child, pipe = self._begin(target, "-t")
        sender = Sender(
            pipe,
            recursive=self._orders.recursive,
            preserve=self._orders.preserve,
            meter=self._run.meter,
            told=_say,
        )
        right = True
        try:
            if sender.answered():
                sender.send(source.path)
        except (Lost, MalformedPacket) as error:
            if not error.args:
                say_error("scp: lost connection")
            right = False
        return child.close() == 0 and right and not sender.failed

    def between(self, source: Place, target: Place) -> bool:
        """From one other host to another: what the one says the other hears."""
        first, come = self._begin(source, "-f")
        second, to = self._begin(target, "-t")
        loop = self._run.loop
        _pass_on(loop, first, second)
        statuses = first.close(), second.close()
        del come, to
        return statuses == (0, 0)


def _pass_on(loop: SmallLoop, first: Child, second: Child) -> None:
    """Both ways at once, until either is at its end."""
    over: list[bool] = []

    def pump(come: int, to: int) -> None:
        try:
            data = os.read(come, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            over.append(True)
            return
        loop.remove_reader(come)
        put(memoryview(data), come, to)

    def put(view: memoryview, come: int, to: int) -> None:
        loop.remove_writer(to)
        try:
            while view:
                view = view[os.write(to, view) :]
        except BlockingIOError:
            loop.add_writer(to, put, view, come, to)
            return
        except BrokenPipeError:
            over.append(True)
            return
        loop.add_reader(come, pump, come, to)

    loop.add_reader(first.come, pump, first.come, second.to)
    loop.add_reader(second.come, pump, second.come, first.to)
    loop.run_until(lambda: over)
    for child in (first, second):
        loop.remove_reader(child.come)
        loop.remove_writer(child.to)


def _say(text: bytes) -> None:
    say_error(shown(text))
