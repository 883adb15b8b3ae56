# SPDX-License-Identifier: MIT
"""What is asked of a file server, one verb a request, for coroutines on any driver; names are checked here."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from tellin.errors import (
    ProtocolError,
    RemoteFileNotFound,
    SftpError,
    TellinError,
)
from tellin.sftp import globs, messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import SftpClient
from tellin.sftp.messages import Entry, Extension, Limits, Request, Statistics
from tellin.sftp.status import StatusCode
from tellin.sftp.transfers import Transfer, block_of
from tellin.sftp.waiting import Waits, settler

# R183: what a listing may come to that is kept whole. A server that never ends it is stopped here.
MOST_ENTRIES: Final = 1 << 20
MOST_LISTING: Final = 256 << 20
# What an entry costs here besides its names.
_ENTRY: Final = 200
# Case 253: a tree that goes on below this is one that leads back into itself.
MOST_DEPTH: Final = 64
# Requests for the same directory that are on their way together.
_READING_AHEAD: Final = 4
# So many files at once fill a long link with small ones; where a server does not say how many it
# holds open, fewer.
_MOST_HANDLES: Final = 128
_HANDLES: Final = 64
_DEEP: Final = b"**"
# A directory lists itself and its parent once; what lists them so often lists nothing else.
_MOST_DOTS: Final = 1000


def shown(path: bytes) -> str:
    """A path that the server has named, as text; bytes that are no UTF-8 come as surrogates."""
    return path.decode("utf-8", "surrogateescape")


def joined(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory."""
    if not directory:
        return name
    return directory + name if directory.endswith(b"/") else directory + b"/" + name


def last_name(path: bytes) -> bytes:
    """The last part of a path."""
    return path.rstrip(b"/").rpartition(b"/")[2]


def checked(name: bytes) -> bytes:
    """A name that the other side has given: R173, it is one name and no way to somewhere else."""
    if not name or b"/" in name or b"\0" in name or name in {b".", b".."}:
        raise ProtocolError(f"a file server's listing with the name {shown(name[:255])!a}")
    return name


def too_deep(path: bytes) -> SftpError:
    """The error for a tree without an end."""
    return SftpError(
        f"{shown(path)!a}: more than {MOST_DEPTH} directories deep",
        filename=shown(path),
        hint="a directory that contains itself, by a link perhaps",
    )


class TooManyEntries(SftpError):
    """R183: a listing that does not end, or not soon enough."""


class RemoteFiles:
    """A file server's files, by paths of bytes. What it refuses is an SftpError."""

    def __init__(self, client: SftpClient, waits: Waits) -> None:
        self.client = client
        self.waits = waits
        self.limits = Limits(0, 0, 0, 0)

    @property
    def read_block(self) -> int:
        """How much is asked for at once."""
        return block_of(self.limits.largest_read)

    @property
    def write_block(self) -> int:
        """How much is written at once."""
        return block_of(self.limits.largest_write)

    @property
    def handles(self) -> int:
        """How many files may be open at once, of those that the server allows."""
        most = self.limits.most_handles
        return max(1, min(_MOST_HANDLES, most // 2)) if most else _HANDLES

    # Asking

    async def learn_limits(self) -> None:
        """Ask how large messages may be, where the server can say it."""
        if self.client.offers(messages.AskLimits):
            reply = await self.ask(messages.AskLimits())
            self.limits = Limits.decode(reply.contents)

    @staticmethod
    def _not_offered(request: Extension, path: bytes | None) -> SftpError:
        return SftpError.of(
            StatusCode.OP_UNSUPPORTED,
            f"{request.name}: the server does not offer {shown(request.key)}",
            filename=None if path is None else shown(path),
        )

    async def ask(self, request: Request, path: bytes | None = None) -> Any:
        """The reply to a request; ``path`` is what an error speaks of."""
        if isinstance(request, Extension) and not self.client.offers(type(request)):
            raise self._not_offered(request, path)
        answer = self.waits.answer()
        self.client.ask(request, settler(self.waits, answer), path=path)
        return await answer

    async def ask_all(self, requests: Sequence[Request], path: bytes) -> None:
        """Ask several things in one flight, and wait for all; raises what went wrong first."""
        answers = []
        for request in requests:
            if isinstance(request, Extension) and not self.client.offers(type(request)):
                raise self._not_offered(request, path)
            answer = self.waits.answer()
            answers.append(answer)
            self.client.ask(request, settler(self.waits, answer), path=path)
        failure: TellinError | None = None
        for answer in answers:
            try:
                await answer
            except TellinError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def tell(self, request: Request) -> None:
        """Ask without waiting; nobody hears of what comes of it, nor that the talk is over."""
        with suppress(TellinError):
            self.client.ask(request, lambda _value, _error: None)

    async def carry(self, transfer: Transfer) -> None:
        """Begin a transfer and wait for its end; raises what went wrong first."""
        answer = self.waits.answer()
        settle = settler(self.waits, answer)
        transfer.begin(lambda error: settle(None, error))
        try:
            await answer
        except BaseException:
            # What still comes is not taken: its place may be gone.
            transfer.fail(TellinError("cancelled"))
            raise

    async def _handle(self, request: Request, path: bytes) -> bytes:
        answer = self.waits.answer()
        settle = settler(self.waits, answer)
        handles: list[bytes] = []
        gone = False

        def opened(reply: Any, error: TellinError | None) -> None:
            if reply is not None:
                if gone:
                    # Who wanted it was called off: the server would keep it open to the end.
                    self.tell(messages.Close(reply.handle))
                    return
                handles.append(reply.handle)
            settle(reply, error)

        self.client.ask(request, opened, path=path)
        try:
            await answer
        except BaseException:
            gone = True
            for handle in handles:
                self.tell(messages.Close(handle))
            raise
        return handles[0]

    # What is there

    async def stat(self, path: bytes, *, follow: bool = True) -> Attributes:
        """What is known of a path, of what a link there leads to, or of the link."""
        kind = messages.Stat if follow else messages.LinkStat
        found: Attributes = (await self.ask(kind(path), path)).attributes
        return found

    async def find(self, path: bytes, *, follow: bool = True) -> Attributes | None:
        """The same, or nothing where nothing is."""
        try:
            return await self.stat(path, follow=follow)
        except RemoteFileNotFound:
            return None

    async def looks(
        self, paths: Sequence[bytes], *, follow: bool = True
    ) -> list[Attributes | None]:
        """What is known of each path, many asked at once; nothing of what cannot be looked at."""
        kind = messages.Stat if follow else messages.LinkStat
        found: list[Attributes | None] = []
        for start in range(0, len(paths), _HANDLES):
            answers = []
            for path in paths[start : start + _HANDLES]:
                answer = self.waits.answer()
                answers.append(answer)
                self.client.ask(kind(path), settler(self.waits, answer), path=path)
            for answer in answers:
                try:
                    found.append((await answer).attributes)
                except SftpError:
                    found.append(None)
        return found

    async def scan(self, path: bytes) -> AsyncIterator[Entry]:
        """What is in a directory but itself and its parent, in the server's order."""
        handle = await self._handle(messages.OpenDirectory(path), path)
        dots = 0
        try:
            # The first alone: most directories have no more.
            ahead = 1
            while True:
                for names in await self._read_ahead(handle, path, ahead):
                    if not names.entries:
                        return
                    for entry in names.entries:
                        if entry.filename in {b".", b".."}:
                            dots += 1
                            continue
                        checked(entry.filename)
                        yield entry
                    if dots > _MOST_DOTS:
                        # Of these nobody keeps count, and who only sends them never ends.
                        raise TooManyEntries(
                            f"{shown(path)!a} is listed {dots} times in itself",
                            filename=shown(path),
                        )
                ahead = _READING_AHEAD
        finally:
            # Who stops in the middle waits for nothing.
            self.tell(messages.Close(handle))

    async def _read_ahead(self, handle: bytes, path: bytes, count: int) -> Sequence[Any]:
        answers = []
        for _ in range(count):
            answer = self.waits.answer()
            answers.append(answer)
            self.client.ask(messages.ReadDirectory(handle), settler(self.waits, answer), path=path)
        replies = []
        failure: BaseException | None = None
        for answer in answers:
            try:
                replies.append(await answer)
            except TellinError as error:
                failure = failure or error
        if failure is not None and not any(not reply.entries for reply in replies):
            raise failure
        return replies

    async def contents(self, path: bytes) -> list[Entry]:
        """All of a directory at once; R183: no more of it than fits here."""
        found: list[Entry] = []
        size = 0
        async for entry in self.scan(path):
            found.append(entry)
            size += len(entry.filename) + len(entry.longname) + _ENTRY
            if len(found) > MOST_ENTRIES or size > MOST_LISTING:
                raise TooManyEntries(
                    f"{shown(path)!a} has too many entries: {len(found)} so far",
                    filename=shown(path),
                )
        return found

    async def walk(
        self, path: bytes, *, follow: bool
    ) -> AsyncIterator[tuple[bytes, list[Entry], list[Entry]]]:
        """Each directory below a path, with the directories and the other things in it.

        What is taken out of the list of directories is not gone into.
        """
        # The real paths of those on the way: a link to one of them would begin it all again.
        start = (await self.real_path(path),) if follow else ()
        left = [(path, 0, start)]
        while left:
            where, depth, way = left.pop()
            if depth > MOST_DEPTH:
                raise too_deep(where)
            directories: list[Entry] = []
            others: list[Entry] = []
            for entry in await self.contents(where):
                is_directory = entry.attributes.is_directory
                if follow and entry.attributes.is_link:
                    found = await self.find(joined(where, entry.filename))
                    is_directory = found is not None and found.is_directory
                (directories if is_directory else others).append(entry)
            yield where, directories, others
            for entry in reversed(directories):
                below, real = joined(where, entry.filename), b""
                if follow:
                    real = await self.real_path(below)
                    if real in way:
                        # Case 253.
                        raise SftpError(
                            f"{shown(below)!a} leads back to a directory that it is in",
                            filename=shown(below),
                        )
                left.append((below, depth + 1, (*way, real)))

    async def real_path(self, path: bytes) -> bytes:
        """The path from the root on, without links."""
        return await self._one_name(messages.RealPath(path), path)

    async def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        return await self._one_name(messages.ReadLink(path), path)

    async def expand(self, path: bytes) -> bytes:
        """As ``real_path``, with ~ and ~user, where the server can do that."""
        return await self._one_name(messages.ExpandPath(path), path)

    async def _one_name(self, request: Request, path: bytes) -> bytes:
        name: bytes = (await self.ask(request, path)).entries[0].filename
        return name

    async def room(self, path: bytes) -> Statistics:
        """The room in a file system, where the server can tell."""
        reply = await self.ask(messages.StatFileSystem(path), path)
        return Statistics.decode(reply.contents)

    # Handles

    async def open(self, path: bytes, flags: int, attributes: Attributes) -> bytes:
        """A handle of a file."""
        return await self._handle(messages.Open(path, flags, attributes), path)

    async def close(self, handle: bytes, path: bytes) -> None:
        """Close it; raises what the server could not write."""
        await self.ask(messages.Close(handle), path)

    # What is made of it

    async def change(self, path: bytes, attributes: Attributes, *, follow: bool = True) -> None:
        """Change what is given; of a link itself only where the server can do that."""
        kind = messages.SetStat if follow else messages.LinkSetStat
        await self.ask(kind(path, attributes), path)

    async def make_directory(self, path: bytes, mode: int | None = None) -> None:
        """Make a directory."""
        await self.ask(messages.MakeDirectory(path, Attributes(permissions=mode)), path)

    async def make_directories(self, path: bytes, mode: int | None, *, may_exist: bool) -> None:
        """Make a directory, and those on the way to it."""
        missing: list[bytes] = []
        at = path.rstrip(b"/") or path
        while at and at != b"/":
            if await self.find(at) is not None:
                break
            missing.append(at)
            at = at.rpartition(b"/")[0]
        if not missing and not (may_exist and (await self.stat(path)).is_directory):
            await self.make_directory(path, mode)
        for part in reversed(missing):
            await self.make_directory(part, mode)

    async def symlink(self, target: bytes, path: bytes) -> None:
        """Make a link, in the server's order."""
        answer = self.waits.answer()
        self.client.symlink(target, path, settler(self.waits, answer))
        await answer

    async def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give another name; in the place of what has it only where the server can do that."""
        kind = messages.PosixRename if replace else messages.Rename
        await self.ask(kind(old, new), old)

    async def remove_tree(
        self, path: bytes, on_error: Callable[[bytes, TellinError], object] | None = None
    ) -> None:
        """Remove a directory and all that is in it; links are removed and not followed."""
        await self._remove_below(path, 0, on_error)

    async def _remove_below(
        self, path: bytes, depth: int, on_error: Callable[[bytes, TellinError], object] | None
    ) -> None:
        if depth > MOST_DEPTH:
            raise too_deep(path)
        try:
            entries = await self.contents(path)
            files = [
                joined(path, one.filename) for one in entries if not one.attributes.is_directory
            ]
            await self._remove_files(files, on_error)
            for entry in entries:
                if entry.attributes.is_directory:
                    await self._remove_below(joined(path, entry.filename), depth + 1, on_error)
            await self.ask(messages.RemoveDirectory(path), path)
        except SftpError as error:
            if on_error is None:
                raise
            on_error(path, error)

    async def _remove_files(
        self,
        paths: Sequence[bytes],
        on_error: Callable[[bytes, TellinError], object] | None,
    ) -> None:
        """Many at once."""
        for start in range(0, len(paths), _HANDLES):
            part = paths[start : start + _HANDLES]
            answers = []
            for path in part:
                answer = self.waits.answer()
                answers.append(answer)
                self.client.ask(messages.Remove(path), settler(self.waits, answer), path=path)
            failure: SftpError | None = None
            for path, answer in zip(part, answers, strict=True):
                try:
                    await answer
                except SftpError as error:
                    if on_error is None:
                        failure = failure or error
                    else:
                        on_error(path, error)
            if failure is not None:
                raise failure

    # What fits a pattern

    async def glob(self, pattern: bytes) -> list[bytes]:
        """The paths that fit, sorted; a part that is ``**`` stands for any directories, links left out.

        A pattern without magic is the path itself, where there is something. One that ends in a
        slash fits directories alone, and links to them.
        """
        start, parts = globs.split(pattern)
        slash = pattern.endswith(b"/") and not start.endswith(b"/")
        if not parts:
            start += b"/" * slash
            return [start] if await self.find(start, follow=False) is not None else []
        fits = [part if part == _DEEP else globs.Pattern(part) for part in parts]
        found: dict[bytes, Attributes] = {}
        await self._match(start, fits, 0, found, set())
        if pattern.endswith(b"/"):
            return await self._directories(found)
        return sorted(found)

    async def _directories(self, found: dict[bytes, Attributes]) -> list[bytes]:
        """Those that are directories, or links to one, with a slash behind each."""
        unsure = [path for path, known in found.items() if known.is_link or not known.permissions]
        for path, known in zip(unsure, await self.looks(unsure), strict=True):
            found[path] = known or Attributes()
        return sorted(path + b"/" for path, known in found.items() if known.is_directory)

    async def _match(
        self,
        directory: bytes,
        parts: Sequence[globs.Pattern | bytes],
        depth: int,
        found: dict[bytes, Attributes],
        seen: set[tuple[bytes, int]],
    ) -> None:
        # R184: by several ** a directory would be looked through once for each way of sharing it out.
        if (directory, len(parts)) in seen:
            return
        seen.add((directory, len(parts)))
        if depth > MOST_DEPTH:
            raise too_deep(directory)
        if isinstance(parts[0], bytes) and parts[1:]:
            await self._match(directory, parts[1:], depth, found, seen)
        try:
            entries = await self.contents(directory or b".")
        except TooManyEntries:
            raise
        except SftpError:
            # No directory, or none that may be read: nothing there fits.
            return
        for entry in entries:
            path = joined(directory, entry.filename)
            into = self._fit(entry, path, parts, found)
            if into:
                await self._match(path, into, depth + 1, found, seen)
            if len(found) > MOST_ENTRIES:
                raise SftpError(f"more than {MOST_ENTRIES} names fit")

    @staticmethod
    def _fit(
        entry: Entry,
        path: bytes,
        parts: Sequence[globs.Pattern | bytes],
        found: dict[bytes, Attributes],
    ) -> Sequence[globs.Pattern | bytes]:
        """Take an entry in if it fits; what is to be found below it, or nothing."""
        part, rest = parts[0], parts[1:]
        if isinstance(part, bytes):
            if entry.filename.startswith(b"."):
                return ()
            if not rest:
                found[path] = entry.attributes
            return parts if entry.attributes.is_directory else ()
        if not part.fits(entry.filename):
            return ()
        if not rest:
            found[path] = entry.attributes
        return rest if entry.attributes.is_directory or entry.attributes.is_link else ()
