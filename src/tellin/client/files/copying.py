# SPDX-License-Identifier: MIT
"""Files and whole trees from one side to another: many at once, with what is to be kept of them.

It runs on whatever its ``Waits`` runs on, asyncio's loop or none. Which sides there are stands in
``tellin.client.files.sides``; here is only the order of things: a directory is made, filled, and left
when all below it is done; files are moved beside each other; the first error ends everything,
unless somebody wants to hear of each.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tellin.errors import ConnectionLost, SftpError, TellinError
from tellin.sftp.attributes import Attributes
from tellin.sftp.remote_files import MOST_DEPTH, checked, joined, shown, too_deep
from tellin.sftp.waiting import Running, Waits
from tellin.wire import Record
from tellin.wire.states import State

# Directories that are looked through at once: each may be open as long as something below it is not done.
_DIRECTORIES = 8


class Links(State):
    """What becomes of symbolic links in a tree."""

    COPY = "they are links there too"
    FOLLOW = "what they lead to is copied"
    SKIP = "they are left out"


class Wishes(Record):
    """How files are copied.

    ``preserve``: times and permissions, set-user-id among them. ``resume``: what is there already
    is taken for the beginning. ``sparse``: holes stay holes. ``sync``: on the disk before it is
    done. ``parallel``: so many files at once; 0 is as many as are good.

    ``on_progress`` gets source, target, how many bytes are there and how many there will be.
    ``on_error`` gets source, target and the error of one file or directory, and the others go on.
    ``on_skip`` gets what is left out, as neither file nor directory nor a link that was wanted.
    """

    recursive: bool = False
    preserve: bool = False
    links: Links = Links.COPY
    resume: bool = False
    sparse: bool = False
    sync: bool = False
    parallel: int = 0
    on_progress: Callable[[bytes, bytes, int, int], object] | None = None
    on_error: Callable[[bytes, bytes, Exception], object] | None = None
    on_skip: Callable[[bytes], object] | None = None


class Source(Protocol):
    """Where a tree comes from."""

    async def look(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""

    async def contents(self, path: bytes) -> Sequence[tuple[bytes, Attributes]]:
        """What is in a directory; of links what is known of themselves."""

    async def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""

    async def real(self, path: bytes) -> bytes:
        """The path without links."""


class Target(Protocol):
    """Where a tree goes; what ``enter`` gives stands for a directory there."""

    async def enter(self, above: Any, name: bytes, attributes: Attributes) -> Any:
        """A directory, made if it is not there; without ``above`` the name is a path."""

    async def leave(self, place: Any, attributes: Attributes, *, preserve: bool) -> None:
        """It is filled."""

    def abandon(self, place: Any) -> None:
        """It will not be."""

    async def link(self, above: Any, name: bytes, destination: bytes) -> None:
        """A symbolic link."""


class Item:
    """One file that is to be moved: to a name in a directory that is held, or to a path."""

    __slots__ = ("above", "attributes", "name", "source", "target")

    def __init__(
        self,
        source: bytes,
        target: bytes,
        *,
        attributes: Attributes | None = None,
        above: Any = None,
        name: bytes = b"",
    ) -> None:
        self.source = source
        self.target = target
        self.attributes = attributes
        self.above = above
        self.name = name or target

    @property
    def path(self) -> bytes:
        """Where it goes, on a side whose directories are their paths."""
        return self.name if self.above is None else joined(self.above, self.name)


class Mover(Protocol):
    """What moves the data of one file."""

    @property
    def most(self) -> int:
        """How many files it can move at once."""

    async def move(self, item: Item) -> None:
        """Move one file."""


class _Directory:
    """A directory on its way: left when nothing below it is under way."""

    __slots__ = (
        "above",
        "attributes",
        "depth",
        "left",
        "name",
        "place",
        "real",
        "source",
        "target",
    )

    def __init__(
        self, above: "_Directory | None", source: bytes, name: bytes, target: bytes, real: bytes
    ) -> None:
        self.above = above
        self.source = source
        self.name = name
        self.target = target
        self.real = real
        self.attributes = Attributes()
        self.place: Any = None
        self.left = 1
        self.depth: int = 0 if above is None else above.depth + 1

    def check(self) -> None:
        """Case 253: raises for one that is deeper than any tree should be."""
        if self.depth > MOST_DEPTH:
            raise too_deep(self.source)

    def leads_back(self, real: bytes) -> bool:
        """Whether a path is this directory, or one on the way to it."""
        one: _Directory | None = self
        while one is not None:
            if one.real == real:
                return True
            one = one.above
        return False


class TreeCopy:
    """One copy of a file or a tree."""

    def __init__(
        self, waits: Waits, source: Source, target: Target, mover: Mover, wishes: Wishes
    ) -> None:
        self._waits = waits
        self._source = source
        self._target = target
        self._mover = mover
        self._wishes = wishes
        self._most = min(wishes.parallel, mover.most) if wishes.parallel else mover.most
        # The last first: what was found is done before more is looked for.
        self._files: list[tuple[_Directory, bytes, Attributes]] = []
        self._directories: list[_Directory] = []
        self._tops: list[tuple[bytes, bytes]] = []
        self._open: dict[int, _Directory] = {}
        self._running: set[Running] = set()
        self._looking = 0
        self._starting = False
        self._failure: BaseException | None = None
        self._over: Any = None

    async def run(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Copy each source to its target; links that are given so are followed."""
        self._tops += reversed(pairs)
        self._over = self._waits.answer()
        try:
            self._start()
            await self._over
        except BaseException:
            self._stop(TellinError("cancelled"))
            raise
        finally:
            # Whoever is called off in the middle leaves nothing running, and nothing open.
            for job in list(self._running):
                await _ended(job)
            for directory in self._open.values():
                self._target.abandon(directory.place)
        if self._failure is not None:
            raise self._failure

    def _stop(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
        self._tops.clear()
        self._files.clear()
        self._directories.clear()
        for job in list(self._running):
            job.cancel()

    def _start(self) -> None:
        """As many as there may be."""
        if self._starting:
            # One of them was over at once: the loop below is still there.
            return
        self._starting = True
        while self._failure is None and len(self._running) < self._most + self._looking:
            if self._files:
                self._run(self._file(*self._files.pop()), looks=False)
            elif self._directories and self._looking < _DIRECTORIES:
                self._run(self._directory(self._directories.pop()), looks=True)
            elif self._tops:
                self._run(self._top(*self._tops.pop()), looks=False)
            else:
                break
        self._starting = False
        if not self._running and not self._over.done():
            self._over.set_result(None)

    def _run(self, work: Any, *, looks: bool) -> None:
        self._looking += looks
        job = self._waits.start(work)

        def ended(_job: Any) -> None:
            self._looking -= looks
            self._running.discard(job)
            self._start()

        # One that is over already was never among them.
        self._running.add(job)
        job.add_done_callback(ended)

    async def _top(self, source: bytes, target: bytes) -> None:
        """What was asked for by its path."""
        try:
            attributes = None
            if self._wishes.recursive:
                attributes = await self._source.look(source, follow=True)
            if attributes is None or not attributes.is_directory:
                await self._mover.move(Item(source, target))
                return
            real = await self._source.real(source)
            root = _Directory(None, source, target, target, real)
            root.attributes = attributes
            self._directories.append(root)
        except Exception as error:  # noqa: BLE001  (told, or raised at the end)
            self._failed(source, target, error)

    # One directory, and what is in it

    async def _directory(self, directory: _Directory) -> None:
        above = directory.above
        try:
            directory.check()
            directory.place = await self._target.enter(
                None if above is None else above.place, directory.name, directory.attributes
            )
            self._open[id(directory)] = directory
            found = await self._source.contents(directory.source)
            for name, attributes in found:
                checked(name)
                await self._enter(directory, name, attributes)
        except Exception as error:  # noqa: BLE001  (told, or raised at the end)
            self._failed(directory.source, directory.target, error)
        await self._done(directory)

    async def _enter(self, directory: _Directory, name: bytes, attributes: Attributes) -> None:
        path = joined(directory.source, name)
        real = joined(directory.real, name)
        if attributes.permissions is None:
            attributes = await self._source.look(path, follow=False)
        if attributes.is_link:
            if self._wishes.links is Links.COPY:
                self._add(directory, name, attributes)
                return
            if self._wishes.links is Links.SKIP:
                self._skip(path)
                return
            try:
                attributes = await self._source.look(path, follow=True)
                if attributes.is_directory:
                    real = await self._source.real(path)
            except (OSError, SftpError) as error:
                self._failed(path, joined(directory.target, name), error)
                return
            if attributes.is_directory and directory.leads_back(real):
                # Case 253: from here on everything would come again.
                again = SftpError(f"{shown(path)!a} leads back to a directory that it is in")
                self._failed(path, joined(directory.target, name), again)
                return
        if attributes.is_directory:
            below = _Directory(directory, path, name, joined(directory.target, name), real)
            below.attributes = attributes
            directory.left += 1
            self._directories.append(below)
        elif attributes.is_file:
            self._add(directory, name, attributes)
        else:
            self._skip(path)

    def _add(self, directory: _Directory, name: bytes, attributes: Attributes) -> None:
        directory.left += 1
        self._files.append((directory, name, attributes))

    def _skip(self, path: bytes) -> None:
        if self._wishes.on_skip is not None:
            self._wishes.on_skip(path)

    async def _file(self, directory: _Directory, name: bytes, attributes: Attributes) -> None:
        source, target = joined(directory.source, name), joined(directory.target, name)
        try:
            if attributes.is_link:
                destination = await self._source.read_link(source)
                await self._target.link(directory.place, name, destination)
            else:
                await self._mover.move(
                    Item(source, target, attributes=attributes, above=directory.place, name=name)
                )
        except Exception as error:  # noqa: BLE001  (told, or raised at the end)
            self._failed(source, target, error)
        await self._done(directory)

    async def _done(self, directory: _Directory | None) -> None:
        """One thing in a directory is done: the last one leaves it, and with it those above."""
        while directory is not None:
            directory.left -= 1
            if directory.left or self._failure is not None:
                return
            if self._open.pop(id(directory), None) is not None:
                try:
                    await self._target.leave(
                        directory.place, directory.attributes, preserve=self._wishes.preserve
                    )
                except Exception as error:  # noqa: BLE001  (told, or raised at the end)
                    self._failed(directory.source, directory.target, error)
            directory = directory.above

    def _failed(self, source: bytes, target: bytes, error: Exception) -> None:
        told = self._wishes.on_error
        if told is None or isinstance(error, ConnectionLost) or not isinstance(error, OSError):
            self._stop(error)
            return
        try:
            told(source, target, error)
        except Exception as raised:  # noqa: BLE001  (it ends the copy, and is raised at the end)
            self._stop(raised)


async def _ended(job: Running) -> None:
    """Wait until a job that was called off is over; why it is was told before."""
    try:
        await job
    except BaseException:  # noqa: BLE001  (its own end, which is what was waited for)
        return
