# SPDX-License-Identifier: MIT
"""A tree of files in memory for the file server's half-machine, and two halves joined."""

import errno
import os
from collections.abc import Iterable, Sequence
from typing import Any

from tellin.errors import TellinError
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import SftpClient
from tellin.sftp.file_system import OpenFile
from tellin.sftp.handlers import Handlers, Permits
from tellin.sftp.messages import (
    OPEN_CREATE,
    OPEN_EXCLUSIVE,
    OPEN_TRUNCATE,
    Entry,
    Reply,
    Request,
    Statistics,
)
from tellin.sftp.server import SftpServer

MOST = 1 << 22


def no(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class PaperFile:
    def __init__(self, files: "PaperFiles", path: bytes) -> None:
        self.files = files
        self.path = path
        self.open = True

    @property
    def data(self) -> bytearray:
        return self.files.data[self.path]

    def fill(self, view: memoryview, offset: int) -> int:
        found = bytes(self.data[offset : offset + len(view)])
        view[: len(found)] = found
        return len(found)

    def write(self, view: memoryview, offset: int) -> None:
        if self.files.full or offset + len(view) > MOST:
            raise no(errno.ENOSPC)
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(view)] = view

    def stat(self) -> Attributes:
        return self.files.stat(self.path, follow=True)

    def change(self, attributes: Attributes) -> None:
        self.files.change(self.path, attributes, follow=True)

    def sync(self) -> None:
        self.files.calls.append("sync")

    def statistics(self) -> Statistics:
        return self.files.statistics(self.path)

    def copy_from(self, source: OpenFile, start: int, length: int, offset: int) -> None:
        assert isinstance(source, PaperFile)
        end = len(source.data) if not length else start + length
        self.write(memoryview(bytes(source.data[start:end])), offset)

    def close(self) -> None:
        self.open = False


class PaperListing:
    def __init__(self, entries: Iterable[Entry]) -> None:
        self.left = list(entries)
        self.open = True

    def entries(self, most: int) -> Sequence[Entry]:
        given, self.left = self.left[:most], self.left[most:]
        return given

    def close(self) -> None:
        self.open = False


class PaperFiles:
    """Files by their paths; what has no meaning for them is noted in ``calls``."""

    waits = False

    def __init__(self, **files: bytes) -> None:
        self.data = {b"/" + name.encode(): bytearray(data) for name, data in files.items()}
        self.modes: dict[bytes, int] = {}
        self.links: dict[bytes, bytes] = {}
        self.calls: list[Any] = []
        self.opened: list[PaperFile | PaperListing] = []
        self.full = False

    def open(self, path: bytes, flags: int, mode: int) -> PaperFile:
        self.calls.append(("open", path, flags, mode))
        if path in self.data:
            if flags & OPEN_EXCLUSIVE:
                raise no(errno.EEXIST)
            if flags & OPEN_TRUNCATE:
                self.data[path] = bytearray()
        elif flags & OPEN_CREATE:
            self.data[path] = bytearray()
            self.modes[path] = mode
        else:
            raise no(errno.ENOENT)
        file = PaperFile(self, path)
        self.opened.append(file)
        return file

    def scan(self, path: bytes) -> PaperListing:
        listing = PaperListing(
            Entry(name[1:], b"- " + name[1:], self.stat(name, follow=False)) for name in self.data
        )
        self.opened.append(listing)
        return listing

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        if path not in self.data:
            raise no(errno.ENOENT)
        return Attributes(
            size=len(self.data[path]), permissions=0o100000 | self.modes.get(path, 0o644)
        )

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        self.calls.append(("change", path, attributes, follow))
        if attributes.permissions is not None:
            self.modes[path] = attributes.permissions
        if attributes.uid == 0:
            raise no(errno.EPERM)

    def remove(self, path: bytes) -> None:
        if self.data.pop(path, None) is None:
            raise no(errno.ENOENT)

    def make_directory(self, path: bytes, mode: int) -> None:
        self.calls.append(("mkdir", path, mode))

    def remove_directory(self, path: bytes) -> None:
        raise no(errno.ENOTEMPTY)

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        if not replace and new in self.data:
            raise no(errno.EEXIST)
        self.data[new] = self.data.pop(old) if old in self.data else bytearray()

    def read_link(self, path: bytes) -> bytes:
        if path not in self.links:
            raise no(errno.EINVAL)
        return self.links[path]

    def symlink(self, target: bytes, path: bytes) -> None:
        self.links[path] = target

    def link(self, old: bytes, new: bytes) -> None:
        self.calls.append(("link", old, new))

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        return os.path.normpath(b"/home/" + path)

    def home(self, user: bytes) -> bytes:
        return b"/home/" + user

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        return [b"u%d" % one for one in uids], [b"g%d" % one for one in gids]

    def statistics(self, path: bytes) -> Statistics:
        return Statistics(*range(11))


class Talk:
    """A client and a server; ``step`` carries what there is, ``piece`` bytes at a time to the client."""

    def __init__(
        self,
        files: Any = None,
        *,
        permits: Permits | None = None,
        identification: str = "OpenSSH",
        piece: int = 1 << 30,
        **named: Any,
    ) -> None:
        self.files = PaperFiles() if files is None else files
        self.lines: list[tuple[int, str]] = []
        handlers = Handlers(
            self.files,
            permits=permits or Permits(),
            salt=b"salt",
            note=lambda level, line: self.lines.append((level, line)),
            **named,
        )
        self.server = SftpServer(handlers)
        self.greeted = False
        self.client = SftpClient(identification=identification, on_version=self._greeted)
        self.piece = piece
        self.client.begin()
        self.step()

    def _greeted(self) -> None:
        self.greeted = True

    def step(self) -> None:
        while out := b"".join(self.client.take()):
            feed(self.server, out)
            while data := drain(self.server):
                for at in range(0, len(data), self.piece):
                    self.client.received([memoryview(data)[at : at + self.piece]])

    def ask(self, request: Request, *, path: bytes | None = None) -> Any:
        """The reply, or the error raised."""
        answers: list[tuple[Any, TellinError | None]] = []
        self.client.ask(request, lambda value, error: answers.append((value, error)), path=path)
        self.step()
        ((value, error),) = answers
        if error is not None:
            raise error
        return value

    def handle(self, request: Request) -> bytes:
        handle = self.ask(request).handle
        assert isinstance(handle, bytes)
        return handle

    def read(self, handle: bytes, offset: int, length: int) -> bytes:
        data = bytearray()
        counts: list[int] = []

        def take(view: memoryview, position: int) -> None:
            assert position == len(data)
            data.extend(view)

        def settle(value: Any, error: TellinError | None) -> None:
            if error is not None:
                raise error
            counts.append(value)

        self.client.fetch(handle, offset, length, take, settle)
        self.step()
        assert counts == [len(data)]
        return bytes(data)

    def write(self, handle: bytes, offset: int, data: bytes) -> None:
        errors: list[TellinError | None] = []
        self.client.write(
            handle, offset, memoryview(data), lambda _value, error: errors.append(error)
        )
        self.step()
        (error,) = errors
        if error is not None:
            raise error


def feed(server: SftpServer, data: bytes) -> bytes:
    """Give a server bytes as far as it takes them; what is left comes back."""
    view = memoryview(data)
    while view and server.hungry:
        room = server.writable()
        count = min(len(room), len(view))
        room[:count] = view[:count]
        view = view[count:]
        server.received(count)
    return bytes(view)


def taken(server: SftpServer, data: bytes) -> bytes:
    """The same in views that die; all of it is taken."""
    room = bytearray(data)
    server.take([memoryview(room)])
    room[:] = b"\xee" * len(room)
    server.proceed()
    return b""


def drain(server: SftpServer) -> bytes:
    """What it sends."""
    data = b"".join(server.to_send())
    server.sent(len(data))
    return data


def replies(data: bytes) -> list[tuple[int, int, bytes]]:
    """Number, id and the rest of every reply."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        frame, data = data[4 : 4 + size], data[4 + size :]
        found.append((frame[0], int.from_bytes(frame[1:5], "big"), frame[5:]))
    return found


def code(reply: Reply | tuple[int, int, bytes]) -> int:
    """The code of a STATUS."""
    assert isinstance(reply, tuple)
    assert reply[0] == 101
    return int.from_bytes(reply[2][:4], "big")
