# SPDX-License-Identifier: MIT
"""ssh-copy-id -s: public keys into a remote file by SFTP alone, for accounts that run no commands."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from tellin.errors import (
    ConnectionLost,
    ProtocolError,
    RemoteFileForbidden,
    RemoteFileNotFound,
    SftpError,
    TellinError,
)
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import SftpClient
from tellin.sftp.messages import OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_READ, OPEN_WRITE
from tellin.sftp.transfers import SAFE_BLOCK, Download, Transfer, Upload, from_memory

_CHUNK: Final = 65536
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS_WRITE: Final = 0o022
# Enough for a hundred thousand keys.
_LONGEST_FILE: Final = 16 << 20
_ATTEMPTS: Final = 5


class FileServer:
    """A child that is connected to a file server, and what is asked of that, one thing at a time."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        # It asks for a password at the terminal, not on the streams.
        self._child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._lost = False
        self._greeted = False
        self.client = SftpClient(on_version=self._greet)
        self.client.begin()
        try:
            self._until(lambda: self._greeted)
        except BaseException:
            self.close()
            raise
        if self._lost:
            raise ConnectionLost(f"no SFTP there (status {self.close()})")

    def _greet(self) -> None:
        self._greeted = True

    def _until(self, condition: Callable[[], object]) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        while not condition() and not self._lost:
            # A child that has ended may have said something before; what it reads it reads no more.
            with suppress(BrokenPipeError):
                for part in self.client.take():
                    _write_all(self._child.stdin.fileno(), part)
            data = os.read(self._child.stdout.fileno(), _CHUNK)
            if data:
                self.client.received([memoryview(data)])
            else:
                self._lost = True
                self.client.lost(ConnectionLost("the connection to the file server has ended"))

    def ask(self, request: messages.Request, path: bytes) -> Any:
        """The reply to a request."""
        answers: list[tuple[Any, TellinError | None]] = []
        self.client.ask(request, lambda value, error: answers.append((value, error)), path=path)
        self._until(lambda: answers)
        ((value, error),) = answers
        if error is not None:
            raise error
        return value

    def _carry(self, transfer: Transfer) -> None:
        ends: list[TellinError | None] = []
        transfer.begin(ends.append)
        self._until(lambda: ends)
        if ends[0] is not None:
            raise ends[0]

    def read(self, path: bytes) -> bytes:
        """All of a file."""
        size = self.ask(messages.Stat(path), path).attributes.size or 0
        if size > _LONGEST_FILE:
            raise SftpError(f"{path.decode()}: longer than {_LONGEST_FILE} bytes")
        handle = self.ask(messages.Open(path, OPEN_READ, Attributes()), path).handle
        data = bytearray()

        def take(view: memoryview, offset: int) -> None:
            if offset > len(data):
                data.extend(bytes(offset - len(data)))
            data[offset : offset + len(view)] = view

        self._carry(
            Download(
                self.client,
                handle,
                start=0,
                size=size,
                end=_LONGEST_FILE,
                whole=True,
                block=SAFE_BLOCK,
                path=path,
                take=take,
            )
        )
        self.ask(messages.Close(handle), path)
        return bytes(data)

    def write(self, path: bytes, flags: int, data: bytes, *, start: int = 0) -> None:
        """Put data at ``start`` of a file, which is made for its owner alone, and have it kept."""
        wanted = messages.Open(path, flags, Attributes(permissions=_FILE_MODE))
        handle = self.ask(wanted, path).handle
        self._carry(
            Upload(
                self.client,
                handle,
                start=start,
                block=SAFE_BLOCK,
                path=path,
                load=from_memory(memoryview(data), start),
            )
        )
        if self.client.offers(messages.FileSync):
            self.ask(messages.FileSync(handle), path)
        # What could not be written is said here at the latest.
        self.ask(messages.Close(handle), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> int:
        """End the talk; returns the status of the child."""
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            stream.close()
        return self._child.wait()


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def install(server: FileServer, target: str, lines: Sequence[bytes]) -> int:
    """Add those lines whose key is not there yet; returns how many were new.

    The file is replaced in one step where the server can do that, and else only grows.
    """
    path = target.encode()
    directory = path.rpartition(b"/")[0]
    if directory:
        _make_directory(server, directory)
    path = _followed(server, path)
    for _ in range(_ATTEMPTS):
        before = _look(server, path)
        old = b"" if before is None else server.read(path)
        new = [line for line in lines if line.split()[1] not in old]
        added = b"".join(line + b"\n" for line in new)
        if old and not old.endswith(b"\n"):
            # Or the first of the new ones would be a part of the last line.
            added = b"\n" + added if added else b""
        if not added or _put(server, path, before, old, added):
            found = _look(server, path)
            _set_mode(server, path, None if found is None else found.mode, _FILE_MODE)
            return len(new)
    raise SftpError(f"{target}: somebody else keeps changing it", filename=target)


def _make_directory(server: FileServer, directory: bytes) -> None:
    """Each part of it that is not there; sshd passes over one that others may write to."""
    parts = directory.split(b"/")
    for end in range(1, len(parts) + 1):
        part = b"/".join(parts[:end])
        if part and _look(server, part) is None:
            mode = Attributes(permissions=_DIRECTORY_MODE)
            server.ask(messages.MakeDirectory(part, mode), part)
    found = _look(server, directory)
    if found is not None and found.mode is not None:
        # As OpenSSH's ssh-copy-id has it; what is more than that was somebody's own choice.
        sure = _DIRECTORY_MODE if parts[-1] == b".ssh" else found.mode & ~_OTHERS_WRITE
        _set_mode(server, directory, found.mode, sure)


def _set_mode(server: FileServer, path: bytes, mode: int | None, wanted: int) -> None:
    if mode != wanted:
        server.ask(messages.SetStat(path, Attributes(permissions=wanted)), path)


def _same(one: Attributes | None, other: Attributes | None) -> bool:
    """Whether nobody has written in between; it was read, and that is a time of its own."""
    if one is None or other is None:
        return one is other
    return (one.size, one.mtime) == (other.size, other.mtime)


def _look(server: FileServer, path: bytes) -> Attributes | None:
    try:
        found: Attributes = server.ask(messages.Stat(path), path).attributes
    except RemoteFileNotFound:
        return None
    return found


def _followed(server: FileServer, path: bytes) -> bytes:
    """Where a link leads, so that it stays one."""
    try:
        found: Attributes = server.ask(messages.LinkStat(path), path).attributes
    except RemoteFileNotFound:
        return path
    if not found.is_link:
        return path
    name: bytes = server.ask(messages.RealPath(path), path).entries[0].filename
    return name


def _put(
    server: FileServer, path: bytes, before: Attributes | None, old: bytes, added: bytes
) -> bool:
    """Whether the file has what was added; not if somebody else was there in the meantime."""
    if not server.client.offers(messages.PosixRename):
        return _append(server, path, old, added)
    fresh = b"%s.tellin-%s" % (path, os.urandom(8).hex().encode())
    try:
        server.write(fresh, OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE, old + added)
        if _same(_look(server, path), before):
            server.ask(messages.PosixRename(fresh, path), path)
            return True
    except RemoteFileForbidden:
        # A directory that takes no new file: what is there can still grow.
        _remove(server, fresh)
        return _append(server, path, old, added)
    except TellinError:
        _remove(server, fresh)
        raise
    _remove(server, fresh)
    return False


def _append(server: FileServer, path: bytes, old: bytes, added: bytes) -> bool:
    # In place a file is never shorter than it was: a cut connection leaves the old keys, and
    # at worst a part of a new line.
    server.write(path, OPEN_WRITE | OPEN_CREATE, added, start=len(old))
    return True


def _remove(server: FileServer, path: bytes) -> None:
    try:
        server.ask(messages.Remove(path), path)
    except (SftpError, ConnectionLost, ProtocolError):
        # What was wrong before is what is told.
        return
