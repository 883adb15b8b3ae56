# SPDX-License-Identifier: MIT
"""The two sides of a copy, and what moves one file from one to the other: fetching, sending, passing on."""

import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from tellin.client.files.copying import Item, Wishes
from tellin.errors import ConnectionLost, SftpError, TellinError
from tellin.runtime import local_trees
from tellin.runtime.local_trees import LocalDirectory, Opened
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import InFile
from tellin.sftp.messages import OPEN_CREATE, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE
from tellin.sftp.remote_files import RemoteFiles, joined, shown
from tellin.sftp.transfers import Download, Kept, Loaded, Transfer, Upload
from tellin.sftp.waiting import Waits, aside, obtained

# What is read or written here in one go, and needs no descriptor while the server is waited for.
_SMALL: Final = 128 << 10
_OWNER: Final = 0o700
_PLAIN: Final = 0o777
# Of what the server copies by itself so much at once: it answers nobody else meanwhile.
_COPIED_AT_ONCE: Final = 256 << 20
_MADE: Final = OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE


def hinted(error: BaseException, hint: str) -> None:
    """Say how far a transfer got, with whatever has ended it."""
    if isinstance(error, TellinError):
        if not error.hint:
            error.hint = hint
    elif isinstance(error, OSError):
        error.add_note(hint)


class LocalSource:
    """A tree here."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    async def look(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return await aside(self._waits, local_trees.look, path, follow)

    async def contents(self, path: bytes) -> Sequence[tuple[bytes, Attributes]]:
        """What is in a directory."""
        return await aside(self._waits, local_trees.contents, path)

    async def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        return await aside(self._waits, local_trees.link_target, path)

    async def real(self, path: bytes) -> bytes:
        """The path without links."""
        return await aside(self._waits, local_trees.real, path)


class RemoteSource:
    """A tree there."""

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files

    async def look(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return await self._files.stat(path, follow=follow)

    async def contents(self, path: bytes) -> Sequence[tuple[bytes, Attributes]]:
        """What is in a directory."""
        return [(one.filename, one.attributes) for one in await self._files.contents(path)]

    async def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        return await self._files.read_link(path)

    async def real(self, path: bytes) -> bytes:
        """The path without links."""
        return await self._files.real_path(path)


class LocalTarget:
    """A tree that is made here; its directories are held open."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    async def enter(
        self, above: LocalDirectory | None, name: bytes, attributes: Attributes
    ) -> LocalDirectory:
        """A directory."""
        mode = _PLAIN if attributes.mode is None else attributes.mode
        if above is None:
            return await obtained(self._waits, LocalDirectory.close, LocalDirectory.at, name, mode)
        return await obtained(self._waits, LocalDirectory.close, above.enter, name, mode)

    async def leave(
        self, place: LocalDirectory, attributes: Attributes, *, preserve: bool
    ) -> None:
        """It is filled."""
        await aside(self._waits, place.leave, attributes, preserve)

    def abandon(self, place: LocalDirectory) -> None:
        """It will not be."""
        place.close()

    async def link(self, above: LocalDirectory, name: bytes, destination: bytes) -> None:
        """A symbolic link."""
        await aside(self._waits, above.link, name, destination)


class RemoteTarget:
    """A tree that is made there; its directories are their paths."""

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self._made: set[bytes] = set()

    async def enter(self, above: bytes | None, name: bytes, attributes: Attributes) -> bytes:
        """A directory."""
        path = name if above is None else joined(above, name)
        mode = _PLAIN if attributes.mode is None else attributes.mode & _PLAIN
        try:
            await self._files.make_directory(path, mode | _OWNER)
        except SftpError as refused:
            # Version 3 has no code for what is there already.
            try:
                found = await self._files.stat(path)
            except SftpError:
                raise refused from None
            if not found.is_directory:
                raise
        else:
            self._made.add(path)
        return path

    async def leave(self, place: bytes, attributes: Attributes, *, preserve: bool) -> None:
        """It is filled."""
        mode = attributes.mode
        made = place in self._made
        self._made.discard(place)
        if preserve:
            await self._files.change(place, kept_of(attributes))
        elif made and mode is not None and mode & _OWNER != _OWNER:
            await self._files.change(place, Attributes(permissions=mode & _PLAIN))

    def abandon(self, place: bytes) -> None:
        """It will not be."""
        self._made.discard(place)

    async def link(self, above: bytes, name: bytes, destination: bytes) -> None:
        """A symbolic link, in the place of one that is there."""
        path = joined(above, name)
        try:
            await self._files.symlink(destination, path)
        except SftpError:
            found = await self._files.find(path, follow=False)
            if found is None or not found.is_link:
                raise
            await self._files.ask(messages.Remove(path), path)
            await self._files.symlink(destination, path)


def kept_of(attributes: Attributes) -> Attributes:
    """What a copy takes over: permissions and times, never the owner (R174)."""
    return Attributes(permissions=attributes.mode, atime=attributes.atime, mtime=attributes.mtime)


class _Moving:
    """What all three ways have in common."""

    def __init__(self, files: RemoteFiles, wishes: Wishes) -> None:
        self._files = files
        self._there = files  # where files are written, if that is not here
        self._waits = files.waits
        self._wishes = wishes

    @property
    def most(self) -> int:
        """As many files as may be open there."""
        return self._files.handles

    def _tells(self, source: bytes, target: bytes, start: int, total: int) -> Any:
        """What a transfer tells of its progress; the beginning is told at once."""
        told = self._wishes.on_progress
        if told is None:
            return None
        told(source, target, start, total)
        return lambda moved: told(source, target, start + moved, max(total, start + moved))

    async def _finish(
        self, files: RemoteFiles, handle: bytes, attributes: Attributes, there: bytes
    ) -> None:
        """What a file there is to have besides its data, and its end, in one flight."""
        last: list[messages.Request] = []
        if self._wishes.preserve:
            last.append(messages.FileSetStat(handle, kept_of(attributes)))
        if self._wishes.sync:
            last.append(messages.FileSync(handle))
        await files.ask_all([*last, messages.Close(handle)], there)

    async def _carry(self, transfer: Transfer) -> None:
        try:
            await self._files.carry(transfer)
        except SftpError:
            if transfer.problem is not None:
                raise transfer.problem from None
            raise

    async def _cut(
        self, transfer: Transfer, error: BaseException, made: bytes, there: bytes, size: int
    ) -> None:
        """A file there is cut short: what lies behind a gap is taken off, and it is said how far it got."""
        files = self._there
        reached, shortened = transfer.contiguous, False
        wanted = messages.FileSetStat(made, Attributes(size=reached))
        if isinstance(error, OSError) and not isinstance(error, ConnectionLost):
            with suppress(TellinError):
                await files.ask(wanted, there)
                shortened = True
        else:
            # Called off, or there is nobody any more.
            files.tell(wanted)
        hint = f"up to {reached} bytes of {size} are there in {shown(there)!a}"
        if transfer.has_gap and not shortened:
            hint += ", and behind a gap some more: not to be gone on with"
        hinted(error, hint)


def _resumed(here: int, there: int, path: bytes) -> int:
    """Where a transfer goes on whose first part is there."""
    if here > there:
        # Case 261: it is no beginning of this one.
        raise SftpError(
            f"{shown(path)!a} has {here} bytes already, and is to have {there}",
            filename=shown(path),
            hint="not the beginning of this file: remove it, or do not resume",
        )
    return here


def _no_directory(found: Attributes, path: bytes) -> None:
    if found.is_directory:
        where = shown(path)
        raise SftpError(
            f"{where!a} is a directory", filename=where, hint="directories go with recurse"
        )


class Fetching(_Moving):
    """From there to here."""

    async def move(self, item: Item) -> None:
        """Fetch one file. If it fails, what is here of it has no gaps."""
        files, source, attributes = self._files, item.source, item.attributes
        handle = await files.open(source, OPEN_READ, Attributes())
        try:
            if item.above is None or attributes is None or not attributes.size:
                attributes = (await files.ask(messages.FileStat(handle), source)).attributes
                _no_directory(attributes, source)
            small = item.above is not None and 0 < (attributes.size or 0) <= _SMALL
            small = small and not self._wishes.resume
            if not (small and await self._small(handle, item, attributes)):
                await self._large(handle, item, attributes)
        finally:
            files.tell(messages.Close(handle))

    async def _small(self, handle: bytes, item: Item, attributes: Attributes) -> bool:
        """False: it is larger than its directory said, by then or since, and not here."""
        size = attributes.size or 0
        # One byte more shows that it ends there, and is no question of its own.
        data = bytearray(size + 1)

        def take(view: memoryview, offset: int) -> None:
            data[offset : offset + len(view)] = view

        transfer = Download(
            self._files.client,
            handle,
            start=0,
            size=size + 1,
            end=size + 1,
            whole=True,
            supposed=size,
            block=self._files.read_block,
            path=item.source,
            take=take,
        )
        transfer.on_moved = self._tells(item.source, item.target, 0, size)
        try:
            await self._carry(transfer)
        except BaseException as error:
            # It is not begun before all of it has come.
            hinted(error, f"0 bytes of {size} are in {shown(item.target)!a}")
            raise
        if transfer.moved > size:
            return False
        del data[size:]
        wishes = self._wishes
        kept = kept_of(attributes) if wishes.preserve else None
        mode = _PLAIN if attributes.mode is None else attributes.mode

        def fill() -> None:
            local_trees.fill(item.above, item.name, data, mode=mode, kept=kept, sync=wishes.sync)

        await aside(self._waits, fill)
        return True

    async def _large(self, handle: bytes, item: Item, attributes: Attributes) -> None:
        wishes, size, target = self._wishes, attributes.size or 0, item.target
        mode = 0o666 if attributes.mode is None else attributes.mode
        descriptor = await obtained(
            self._waits,
            local_trees.close,
            local_trees.create,
            item.above,
            item.name,
            mode,
            wishes.resume,
        )
        start, reached, whole = 0, None, False
        try:
            if wishes.resume:
                here = await aside(self._waits, local_trees.size_of, descriptor)
                start = _resumed(here, size, target)
            transfer = Download(
                self._files.client,
                handle,
                start=start,
                size=size,
                whole=True,
                block=self._files.read_block,
                path=item.source,
                **self._keeping(descriptor),
            )
            transfer.on_moved = self._tells(item.source, target, start, size)
            try:
                await self._carry(transfer)
            except BaseException as error:
                # Pieces came in any order: without gaps it is something that one can go on with.
                reached = transfer.contiguous
                hinted(error, f"{reached} bytes of {size} are in {shown(target)!a}")
                raise
            whole = True
            # Behind a hole at the end nothing was written.
            reached = transfer.contiguous if wishes.sparse else None
        finally:
            kept = kept_of(attributes) if wishes.preserve and whole else None
            last = local_trees.finish, descriptor, reached, kept, wishes.sync and whole
            await aside(self._waits, *last)

    def _keeping(self, descriptor: int) -> dict[str, Any]:
        sparse = self._wishes.sparse
        if self._waits.at_once:
            # Out of the packet and into the file.
            return {"take": local_trees.Filling(descriptor, sparse=sparse).write}
        filling = local_trees.PromptFilling(descriptor, sparse=sparse)

        def keep(view: memoryview, offset: int, kept: Kept) -> None:
            self._waits.aside(kept, filling.write, view, offset)

        return {"take": filling.write_promptly, "keep": keep, "prompt": filling.prompt}


class Sending(_Moving):
    """From here to there."""

    async def move(self, item: Item) -> None:
        """Send one file; a write that fails is raised, whatever comes after it (R176)."""
        files, wishes = self._files, self._wishes
        small = 0 if wishes.resume else min(_SMALL, files.write_block)
        opened = await obtained(self._waits, Opened.close, Opened, item.source, small)
        try:
            there = item.path
            mode = (opened.attributes.mode or 0) & _PLAIN
            flags = OPEN_WRITE | OPEN_CREATE if wishes.resume else _MADE
            # While it is filled it can be written, or nobody but root could go on with it.
            locks = (
                opened.data is None
                and not mode & stat.S_IWUSR
                and await files.find(there, follow=False) is None
            )
            wanted = Attributes(permissions=mode | stat.S_IWUSR if locks else mode)
            handle = await files.open(there, flags, wanted)
            try:
                await self._send(opened, handle, item)
                if locks and not wishes.preserve:
                    await self._lock(handle, there)
                await self._finish(files, handle, opened.attributes, there)
            except BaseException:
                files.tell(messages.Close(handle))
                raise
        finally:
            if opened.descriptor >= 0:
                await aside(self._waits, opened.close)

    async def _send(self, opened: Opened, handle: bytes, item: Item) -> None:
        files, wishes, there = self._files, self._wishes, item.path
        size = opened.attributes.size or 0
        start = 0
        if wishes.resume:
            found = (await files.ask(messages.FileStat(handle), there)).attributes
            start = _resumed(found.size or 0, size, there)
        spare: list[bytearray] = []
        transfer = Upload(
            files.client,
            handle,
            start=start,
            block=files.write_block,
            path=there,
            load=self._loading(opened, spare, lambda at: transfer.ended_early(at)),
            recycle=spare.append,
        )
        transfer.on_moved = self._tells(item.source, item.target, start, size)
        try:
            await self._carry(transfer)
        except BaseException as error:
            await self._cut(transfer, error, handle, there, size)
            raise
        if wishes.sparse and opened.regular:
            await files.ask(messages.FileSetStat(handle, Attributes(size=size)), there)

    async def _lock(self, handle: bytes, there: bytes) -> None:
        """A file that we have made to be written is not to be written any more."""
        mode = (await self._files.ask(messages.FileStat(handle), there)).attributes.mode
        if mode is not None:
            locked = Attributes(permissions=mode & ~stat.S_IWUSR)
            await self._files.ask(messages.FileSetStat(handle, locked), there)

    def _loading(
        self, opened: Opened, spare: list[bytearray], short: Callable[[int], object]
    ) -> Callable[[int, int, Loaded], None]:
        if opened.data is not None:
            data = opened.data

            def given(offset: int, size: int, loaded: Loaded) -> None:
                loaded((offset, data[offset : offset + size]), None)

            return given
        if self._wishes.sparse and opened.regular:

            def load_sparsely(offset: int, size: int, loaded: Loaded) -> None:
                self._waits.aside(loaded, opened.read_sparsely, offset, size)

            return load_sparsely

        sends = opened.regular and self._files.client.sends_files
        files: list[local_trees.Lasting] = []

        def load(offset: int, size: int, loaded: Loaded) -> None:
            if sends and (self._waits.at_once or opened.is_ready(offset, size)):
                # Not read before there is a packet for it; by a program not even then.
                there = min(opened.size() - offset, size)
                if not files:
                    files.append(opened.lasting())
                loaded((offset, InFile(files[0], offset, max(there, 0), short)), None)
                return
            room = spare.pop() if spare else None
            if not self._waits.at_once:
                # What is in memory is read on the spot: to wake a thread for it costs more, and
                # takes it through the caches of two processors.
                found = opened.read_at_once(offset, size, room)
                if found is not None:
                    loaded(found, None)
                    return
            self._waits.aside(loaded, opened.read, offset, size, room)

        return load


class Relaying(_Moving):
    """From one server to the same or another, through here unless the server copies by itself."""

    def __init__(self, files: RemoteFiles, target: RemoteFiles, wishes: Wishes) -> None:
        super().__init__(files, wishes)
        self._target = self._there = target
        self._by_itself = files is target and files.client.offers(messages.CopyData)

    @property
    def most(self) -> int:
        """Each has a file open on both sides."""
        both = self._files.handles, self._target.handles
        return max(1, min(both) // 2)

    async def move(self, item: Item) -> None:
        """Copy one file."""
        files, source, there = self._files, item.source, item.path
        handle = await files.open(source, OPEN_READ, Attributes())
        try:
            found = (await files.ask(messages.FileStat(handle), source)).attributes
            _no_directory(found, source)
            if self._files is self._target and await self._same(found, source, there):
                raise SftpError(f"{shown(source)!a} is to be copied onto itself")
            mode = (found.mode or 0) & _PLAIN
            flags = OPEN_WRITE | OPEN_CREATE if self._wishes.resume else _MADE
            made = await self._target.open(there, flags, Attributes(permissions=mode))
            try:
                await self._copy(handle, made, found, item)
            except BaseException:
                self._target.tell(messages.Close(made))
                raise
        finally:
            files.tell(messages.Close(handle))

    async def _same(self, found: Attributes, source: bytes, there: bytes) -> bool:
        """Whether both are one file: opening it to write would empty it."""
        other = await self._files.find(there)
        if other is None or other.size != found.size:
            return False
        return await self._files.real_path(source) == await self._files.real_path(there)

    async def _copy(self, handle: bytes, made: bytes, found: Attributes, item: Item) -> None:
        size, start, there = found.size or 0, 0, item.path
        if self._wishes.resume:
            reply = await self._target.ask(messages.FileStat(made), there)
            start = _resumed(reply.attributes.size or 0, size, there)
        tells = self._tells(item.source, item.target, start, size)
        if self._by_itself:
            at = start
            while at < size or at == start:
                # 0 is all there is: also what has grown since, or has no size.
                length = _COPIED_AT_ONCE if size - at > _COPIED_AT_ONCE else 0
                request = messages.CopyData(handle, at, length, made, at)
                await self._files.ask(request, item.source)
                at = at + length if length else max(size, at + 1)
                if tells is not None:
                    tells(min(at, size) - start)
        else:
            transfer = Download(
                self._files.client,
                handle,
                start=start,
                size=size,
                whole=True,
                block=min(self._files.read_block, self._target.write_block),
                path=item.source,
                keep=self._passing(made, there),
            )
            transfer.on_moved = tells
            try:
                await self._carry(transfer)
            except BaseException as error:
                await self._cut(transfer, error, made, there, size)
                raise
        await self._finish(self._target, made, found, there)

    def _passing(self, made: bytes, there: bytes) -> Callable[[memoryview, int, Kept], None]:
        def keep(view: memoryview, offset: int, kept: Kept) -> None:
            self._target.client.write(made, offset, view, kept, path=there)

        return keep
