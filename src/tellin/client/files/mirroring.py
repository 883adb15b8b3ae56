# SPDX-License-Identifier: MIT
"""A tree made like another: what differs is found first, and then moved; nothing is removed unasked.

There is no format of its own on the wire. A file is the same where size and time of change are, or
where its bytes are, if they are to be read. Links are compared as links and never followed.
"""

import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tellin.client.files.copying import Links, Mover, Source, Target, TreeCopy, Wishes
from tellin.errors import RemoteFileNotFound, SftpError, TellinError
from tellin.runtime import local_trees
from tellin.runtime.local_trees import Opened
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import OPEN_READ
from tellin.sftp.remote_files import MOST_DEPTH, RemoteFiles, checked, joined, shown, too_deep
from tellin.sftp.transfers import Download, Kept
from tellin.sftp.waiting import Waits, aside, obtained
from tellin.wire import Record

Same = Callable[[bytes, bytes], Any]
"""Whether the files at two paths, here and there, hold the same; to be awaited."""


class Mirrored(Record):
    """What a mirroring has done, or in a dry run would do; paths are below the trees' tops."""

    copied: list[str]
    removed: list[str]
    unchanged: int


class _Plan:
    """What is to be done: which paths are copied, and which stand in the way or are too many."""

    def __init__(self) -> None:
        self.wanted: set[bytes] = set()
        self.copied: list[bytes] = []
        # Of each whether it is a directory.
        self.removed: list[tuple[bytes, bool]] = []
        # What its owner may not write to, and what he may do with it meanwhile.
        self.unlocked: list[tuple[bytes, int]] = []
        self.unchanged = 0

    @property
    def changes(self) -> int:
        """How much there is to be done up to now."""
        return len(self.copied) + len(self.removed)

    def unlock(self, path: bytes, known: Attributes | None, wanted: int) -> None:
        """Something is to be changed there: in the end it gets the permissions of the other one."""
        mode = None if known is None else known.mode
        if mode is not None and mode & wanted != wanted:
            self.unlocked.append((path, mode | wanted))


class _Wanted:
    """Of a source those paths alone that are to be copied."""

    def __init__(self, source: Source, top: bytes, plan: _Plan) -> None:
        self._source = source
        self._top = top
        self._plan = plan

    async def look(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return await self._source.look(path, follow=follow)

    async def contents(self, path: bytes) -> Sequence[tuple[bytes, Attributes]]:
        """What of a directory is wanted."""
        return [
            (name, attributes)
            for name, attributes in await self._source.contents(path)
            if joined(path, name) in self._plan.wanted
        ]

    async def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        return await self._source.read_link(path)

    async def real(self, path: bytes) -> bytes:
        """The path without links."""
        return await self._source.real(path)


class Mirror:
    """One mirroring of a tree; ``beside`` lists the target's side as ``source`` does the other."""

    def __init__(
        self,
        waits: Waits,
        *,
        source: Source,
        beside: Source,
        target: Target,
        mover: Mover,
        same: Same | None,
        remove: Callable[[bytes, bool], Any],
        allow: Callable[[bytes, int], Any],
    ) -> None:
        self._waits = waits
        self._source = source
        self._beside = beside
        self._target = target
        self._mover = mover
        self._same = same
        self._remove = remove
        self._allow = allow

    async def run(
        self, source: bytes, target: bytes, wishes: Wishes, *, delete: bool, dry_run: bool
    ) -> Mirrored:
        """Make ``target`` like ``source``; with ``dry_run`` only say what that would be."""
        plan = _Plan()
        known = await self._listed(target)
        await self._compare(source, target, known, plan, depth=0, delete=delete)
        if known is not None and plan.changes:
            plan.unlock(target, await self._beside.look(target, follow=True), stat.S_IRWXU)
        if not dry_run:
            for path, mode in plan.unlocked:
                # Whether it was needed is said by what comes next.
                with suppress(OSError):
                    await self._allow(path, mode)
            for path, is_directory in plan.removed:
                await self._remove(path, is_directory)
            if plan.copied or plan.unlocked or known is None:
                wanted = _Wanted(self._source, source, plan)
                copy = TreeCopy(self._waits, wanted, self._target, self._mover, wishes)
                await copy.run([(source, target)])
        return Mirrored(
            copied=[_below(path, source) for path in plan.copied],
            removed=[_below(path, target) for path, _ in plan.removed],
            unchanged=plan.unchanged,
        )

    async def _listed(self, path: bytes) -> dict[bytes, Attributes] | None:
        """What is in a directory of the target, or nothing where there is none."""
        try:
            return dict(await self._beside.contents(path))
        except (FileNotFoundError, RemoteFileNotFound):
            return None

    async def _compare(
        self,
        source: bytes,
        target: bytes,
        known: dict[bytes, Attributes] | None,
        plan: _Plan,
        *,
        depth: int,
        delete: bool,
    ) -> None:
        if depth > MOST_DEPTH:
            raise too_deep(source)
        known = known or {}
        found = dict(await self._source.contents(source))
        if delete:
            plan.removed += [
                (joined(target, name), known[name].is_directory)
                for name in known
                if name not in found
            ]
        for name, attributes in found.items():
            here, there = joined(source, checked(name)), joined(target, name)
            other = known.get(name)
            if other is not None and _kind(other) != _kind(attributes):
                if not delete:
                    raise SftpError(
                        f"{shown(there)!a} is something else than {shown(here)!a}",
                        filename=shown(there),
                        hint="it is removed only with delete",
                    )
                plan.removed.append((there, other.is_directory))
                other = None
            if not attributes.is_directory:
                await self._decide(here, there, attributes, other, plan)
                continue
            plan.wanted.add(here)
            below = None if other is None else await self._listed(there)
            if other is None:
                plan.copied.append(here)
            before = plan.changes
            await self._compare(here, there, below, plan, depth=depth + 1, delete=delete)
            if plan.changes > before:
                plan.unlock(there, other, stat.S_IRWXU)

    async def _decide(
        self,
        here: bytes,
        there: bytes,
        attributes: Attributes,
        other: Attributes | None,
        plan: _Plan,
    ) -> None:
        if not (attributes.is_link or attributes.is_file):
            return
        if other is not None and await self._alike(here, there, attributes, other):
            plan.unchanged += 1
        else:
            plan.wanted.add(here)
            plan.copied.append(here)
            if attributes.is_file:
                plan.unlock(there, other, stat.S_IWUSR)

    async def _alike(
        self, here: bytes, there: bytes, attributes: Attributes, other: Attributes
    ) -> bool:
        if attributes.is_link:
            return await self._source.read_link(here) == await self._beside.read_link(there)
        if attributes.size != other.size:
            return False
        if self._same is not None:
            return bool(await self._same(here, there))
        return attributes.mtime == other.mtime


def _kind(attributes: Attributes) -> tuple[bool, bool]:
    return attributes.is_directory, attributes.is_link


def _below(path: bytes, top: bytes) -> str:
    return shown(path[len(top.rstrip(b"/")) + 1 :])


def mirror_wishes(on_progress: Callable[[bytes, bytes, int, int], object] | None) -> Wishes:
    """How a mirroring copies: with the times, by which it knows the files the next time."""
    return Wishes(recursive=True, preserve=True, links=Links.COPY, on_progress=on_progress)


# Reading both


class _Differs(TellinError):
    """Two files are not the same."""


async def same_bytes(files: RemoteFiles, there: bytes, here: bytes) -> bool:
    """Whether a file there and a file here, of the same size, hold the same."""
    waits = files.waits
    opened = await obtained(waits, Opened.close, Opened, here, 0)
    try:
        handle = await files.open(there, OPEN_READ, Attributes())
        try:
            return await _compare(files, handle, there, opened)
        finally:
            files.tell(messages.Close(handle))
    finally:
        await aside(waits, opened.close)


async def _compare(files: RemoteFiles, handle: bytes, there: bytes, opened: Opened) -> bool:
    def keep(view: memoryview, offset: int, kept: Kept) -> None:
        def compared(found: Any, error: OSError | None) -> None:
            if error is None and found[1] != view:
                kept(None, _Differs(f"{shown(there)!a} differs"))
            else:
                kept(None, error)

        files.waits.aside(compared, opened.read, offset, len(view))

    transfer = Download(
        files.client,
        handle,
        start=0,
        size=opened.attributes.size or 0,
        end=opened.attributes.size or 0,
        block=files.read_block,
        path=there,
        keep=keep,
    )
    try:
        await files.carry(transfer)
    except _Differs:
        return False
    return transfer.contiguous == (opened.attributes.size or 0)


def remover(files: RemoteFiles) -> Callable[[bytes, bool], Any]:
    """What removes things there."""

    async def remove(path: bytes, is_directory: bool) -> None:
        if is_directory:
            await files.remove_tree(path)
        else:
            await files.ask(messages.Remove(path), path)

    return remove


def local_remover(waits: Waits) -> Callable[[bytes, bool], Any]:
    """What removes things here."""

    async def remove(path: bytes, is_directory: bool) -> None:
        await aside(waits, local_trees.remove, path, is_directory)

    return remove


def allower(files: RemoteFiles) -> Callable[[bytes, int], Any]:
    """What gives a file or directory there other permissions."""

    async def allow(path: bytes, mode: int) -> None:
        await files.change(path, Attributes(permissions=mode))

    return allow


def local_allower(waits: Waits) -> Callable[[bytes, int], Any]:
    """What gives a file or directory here other permissions."""

    async def allow(path: bytes, mode: int) -> None:
        await aside(waits, local_trees.allow, path, mode)

    return allow
