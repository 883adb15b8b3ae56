# SPDX-License-Identifier: MIT
"""What scp spoke before SFTP, the protocol of rcp: lines, data and one byte of answer, without I/O.

The one who sends names the files: ``C0644 5 name``, five bytes, a zero; ``D0755 0 name`` and ``E``
around what is in a directory; ``T1 0 2 0`` before either for its times. The other answers each
with a zero, or with 1 (this one failed) or 2 (all is over) and a line of text.
"""

import re
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from tellin.errors import MalformedPacket
from tellin.wire import Record
from tellin.wire.states import State

# OpenSSH reads lines of so much; a path has 4,096 bytes at most.
MOST_LINE: Final = 16384
# Case 253: where a tree is deeper somebody has made it so.
MOST_DEPTH: Final = 64
_MOST_SIZE: Final = 2**63 - 1
_MOST_TIME: Final = 2**63 - 1

OK: Final = 0
FAILED: Final = 1
OVER: Final = 2

_ENTRY: Final = re.compile(rb"[CD]([0-7]{4}) ([0-9]{1,20}) (.+)", re.DOTALL)
_TIMES: Final = re.compile(rb"T([0-9]{1,20}) ([0-9]{1,6}) ([0-9]{1,20}) ([0-9]{1,6})")


class Times(Record):
    """When a file was changed and read last, in seconds since 1970."""

    mtime: int
    atime: int


class Keeper(Protocol):
    """Who puts what arrives into files. An OSError out of it is answered, and the talk goes on."""

    def begin_file(self, name: bytes, mode: int, size: int, times: Times | None) -> None:
        """A file begins."""

    def data(self, view: memoryview) -> None:
        """The next of its bytes; the view is dead afterwards. It must not raise."""

    def end_file(self) -> None:
        """All of it has come."""

    def drop_file(self) -> None:
        """The sender has said that it is not what it should be."""

    def begin_directory(self, name: bytes, mode: int, times: Times | None) -> None:
        """A directory begins, within the last one that has not ended."""

    def end_directory(self) -> None:
        """It ends."""

    def told(self, text: bytes) -> None:
        """The sender complains."""


class _Stage(State):
    """What the next byte is."""

    LINE = "of a line"
    DATA = "of a file"
    STATUS = "what the sender says of the file that it has sent"
    OVER = "nothing any more"


class Sink:
    """Takes what is sent; ``to_send`` is what is to be answered.

    ``accepts`` is asked of names that come outside of any directory: what was not asked for is
    refused (R172). MalformedPacket ends it; what is to be sent then still goes.
    """

    def __init__(
        self, keeper: Keeper, *, recursive: bool, accepts: Callable[[bytes], object]
    ) -> None:
        self._keeper = keeper
        self._recursive = recursive
        self._accepts = accepts
        self._stage = _Stage.LINE
        self._line = bytearray()
        self._left = 0
        self._depth = 0
        self._times: Times | None = None
        self._first = True
        self._out = bytearray(b"\0")

    @property
    def over(self) -> bool:
        """Whether the sender has given up, or nothing more can be read."""
        return self._stage is _Stage.OVER

    def to_send(self) -> bytes:
        """What is to be sent now."""
        out, self._out = bytes(self._out), bytearray()
        return out

    def received(self, view: memoryview) -> None:
        """Take what has arrived."""
        at = 0
        while at < len(view) and self._stage is not _Stage.OVER:
            if self._stage is _Stage.DATA:
                count = min(self._left, len(view) - at)
                self._keeper.data(view[at : at + count])
                self._left -= count
                at += count
                if not self._left:
                    self._stage = _Stage.STATUS
            else:
                at = self._collect(view, at)

    def ended(self) -> None:
        """The sender is gone; MalformedPacket where it had not come to an end."""
        if self._stage is _Stage.OVER:
            return
        unfinished = self._stage is not _Stage.LINE or self._line or self._depth
        self._stage = _Stage.OVER
        if unfinished:
            raise MalformedPacket("lost connection")

    def refuse(self, text: bytes) -> None:
        """Answer that something is wrong here."""
        self._out += bytes([FAILED]) + b"scp: " + text.replace(b"\n", b" ") + b"\n"

    # Lines

    def _collect(self, view: memoryview, at: int) -> int:
        """A line, or the one byte that says that a file was right."""
        if self._stage is _Stage.STATUS and not self._line and view[at] == OK:
            self._settle(None)
            return at + 1
        rest = bytes(view[at : at + MOST_LINE + 1 - len(self._line)])
        end = rest.find(b"\n")
        if end < 0:
            self._line += rest
            if len(self._line) > MOST_LINE:
                self._broken("a line that does not end")
            return at + len(rest)
        line = bytes(self._line) + rest[:end]
        self._line.clear()
        if self._stage is _Stage.STATUS:
            if line[:1] not in {b"\1", b"\2"}:
                self._broken("something else than a status behind a file")
            self._settle(line)
        else:
            self._read(line)
        return at + end + 1

    def _read(self, line: bytes) -> None:
        kind, first = line[:1], self._first
        self._first = False
        if kind in {b"\1", b"\2"}:
            self._keeper.told(line[1:])
            if kind == b"\2":
                self._stage = _Stage.OVER
        elif kind == b"E":
            self._leave(line)
        elif kind == b"T":
            self._take_times(line)
        elif kind in {b"C", b"D"}:
            self._enter(line)
        elif first:
            # No talk has begun: a shell says that it does not know scp, or an account's start-up
            # files print something.
            self._keeper.told(line)
            self._stage = _Stage.OVER
        else:
            self._broken("expected control record")

    def _take_times(self, line: bytes) -> None:
        found = _TIMES.fullmatch(line)
        if found is None:
            self._broken("the times of a file cannot be read")
        mtime, atime = int(found[1]), int(found[3])
        if max(mtime, atime) > _MOST_TIME:
            self._broken("the times of a file are out of range")
        self._times = Times(mtime, atime)
        self._out.append(OK)

    def _enter(self, line: bytes) -> None:
        found = _ENTRY.fullmatch(line)
        if found is None:
            self._broken("bad mode, size or name")
        mode, size, name = int(found[1], 8), int(found[2]), found[3]
        if size > _MOST_SIZE:
            self._broken("size out of range")
        # R172: one name, and no way to somewhere else (CVE-2018-20685, CVE-2019-6111).
        if name in {b".", b".."} or b"/" in name or b"\0" in name:
            self._broken(f"unexpected filename: {name[:255]!a}")
        if not self._depth and not self._accepts(name):
            self._broken("filename does not match request")
        times, self._times = self._times, None
        if line[:1] == b"D":
            self._enter_directory(name, mode, times)
            return
        try:
            self._keeper.begin_file(name, mode, size, times)
        except OSError as error:
            # The sender passes over a file that is refused before its data.
            self.refuse(_said(name, error))
            return
        self._left = size
        self._stage = _Stage.DATA if size else _Stage.STATUS
        self._out.append(OK)

    def _enter_directory(self, name: bytes, mode: int, times: Times | None) -> None:
        if not self._recursive:
            self._broken("received directory without -r")
        if self._depth >= MOST_DEPTH:
            self._broken(f"directories are deeper than {MOST_DEPTH} levels")
        try:
            self._keeper.begin_directory(name, mode, times)
        except OSError as error:
            self.refuse(_said(name, error))
            return
        self._depth += 1
        self._out.append(OK)

    def _leave(self, line: bytes) -> None:
        if line != b"E" or not self._depth:
            self._broken("the end of a directory that has not begun")
        self._depth -= 1
        try:
            self._keeper.end_directory()
        except OSError as error:
            self.refuse(_said(b"", error))
            return
        self._out.append(OK)

    def _settle(self, complaint: bytes | None) -> None:
        """A file is complete, or its sender says what was wrong with it."""
        self._stage = _Stage.LINE
        if complaint is not None:
            self._keeper.drop_file()
            self._keeper.told(complaint[1:])
            if complaint[:1] == b"\2":
                self._stage = _Stage.OVER
                return
            self._out.append(OK)
            return
        try:
            self._keeper.end_file()
        except OSError as error:
            self.refuse(_said(b"", error))
            return
        self._out.append(OK)

    def _broken(self, why: str) -> NoReturn:
        self._stage = _Stage.OVER
        self.refuse(b"protocol error: " + why.encode("ascii", "backslashreplace"))
        raise MalformedPacket(f"protocol error: {why}")


def _said(name: bytes, error: OSError) -> bytes:
    where = error.filename if isinstance(error.filename, bytes) else name
    text = (error.strerror or "failed").encode("utf-8", "replace")
    return where + b": " + text if where else text


class Answer(Record):
    """What the receiver says: OK, FAILED or OVER, and why."""

    code: int
    text: bytes = b""


class Answers:
    """What the one who sends hears, an Answer at a time."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._found: list[Answer] = []

    def received(self, view: memoryview) -> None:
        """Take what has arrived; MalformedPacket for what is no answer."""
        data = bytes(view)
        at = 0
        while at < len(data):
            if not self._line and data[at] == OK:
                self._found.append(Answer(OK))
                at += 1
                continue
            end = data.find(b"\n", at)
            stop = len(data) if end < 0 else end
            self._line += data[at:stop]
            if len(self._line) > MOST_LINE:
                raise MalformedPacket("protocol error: a line that does not end")
            at = stop + 1
            if end >= 0:
                self._found.append(_answer(bytes(self._line)))
                self._line.clear()

    def take(self) -> Answer | None:
        """The next one."""
        return self._found.pop(0) if self._found else None


def _answer(line: bytes) -> Answer:
    if line[:1] == b"\1":
        return Answer(FAILED, line[1:])
    # What is no answer at all, as a shell's complaint, is the end too.
    return Answer(OVER, line[1:] if line[:1] == b"\2" else line)


def file_line(name: bytes, mode: int, size: int) -> bytes:
    """What announces a file."""
    return b"C%04o %d %s\n" % (mode & 0o7777, size, sent_name(name))


def directory_line(name: bytes, mode: int) -> bytes:
    """What announces a directory."""
    return b"D%04o 0 %s\n" % (mode & 0o7777, sent_name(name))


def times_line(times: Times) -> bytes:
    """What announces the times of the next."""
    return b"T%d 0 %d 0\n" % (max(times.mtime, 0), max(times.atime, 0))


END_LINE: Final = b"E\n"


def sent_name(name: bytes) -> bytes:
    """A name without line ends, which would begin another line; they are shown in two letters."""
    return name.replace(b"\n", b"\\^J")


def complaint(text: bytes) -> bytes:
    """What says to the other side that a file cannot be sent."""
    return bytes([FAILED]) + b"scp: " + text.replace(b"\n", b" ") + b"\n"
