# SPDX-License-Identifier: MIT
"""Files and trees between this host and others, as sftp and scp do it: with a meter, and complaints in OpenSSH's words."""

import os
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

from tellin.client.files.copying import Links, Mover, Source, Target, TreeCopy, Wishes
from tellin.client.files.sides import (
    Fetching,
    LocalSource,
    LocalTarget,
    Relaying,
    RemoteSource,
    RemoteTarget,
    Sending,
)
from tellin.errors import ConnectionLost, SftpError, TellinError
from tellin.programs.files.link import FileLink, Interrupted, reason
from tellin.programs.files.meter import Meter
from tellin.programs.files.places import last_name, shown
from tellin.sftp.attributes import Attributes
from tellin.wire import Record

_NO_FILE: Final = "not a regular file"

Pairs = Sequence[tuple[bytes, bytes]]
"""Sources, each with its target."""

# What OpenSSH calls what could not be done there, by the request.
_THERE: Final = {
    "open": "remote open",
    "read": "read remote",
    "write": "write remote",
    "close": "close remote",
}


class Manner(Record):
    """What is wanted of every copy. ``tells`` says each directory as it begins."""

    preserve: bool = False
    resume: bool = False
    sync: bool = False
    follow: bool = False
    tells: bool = False


class Copier:
    """Copies between here and a server. What goes wrong is told to ``complain``, and makes the answer false."""

    def __init__(
        self,
        link: FileLink,
        manner: Manner,
        *,
        meter: Meter,
        complain: Callable[[str], object],
        say: Callable[[str], object],
    ) -> None:
        self.link = link
        self.files = link.files
        self.manner = manner
        self.meter = meter
        self.complain = complain
        self.say = say
        # The sources of what has failed in the last copy.
        self.failures: list[bytes] = []

    # What is there

    def look(self, path: bytes, *, follow: bool = True) -> Attributes | None:
        """What is known of a path there; None if nothing is, or nothing may be known."""
        try:
            return self.link.wait(self.files.stat(path, follow=follow))
        except SftpError:
            return None

    def is_directory(self, path: bytes) -> bool:
        """Whether a directory is there."""
        found = self.look(path)
        return found is not None and found.is_directory

    def matching(self, pattern: bytes) -> list[bytes]:
        """The paths there that a pattern fits; none where nothing is."""
        return self.link.wait(self.files.glob(pattern))

    # Copies

    def download(self, pairs: Pairs, *, recursive: bool) -> bool:
        """Fetch files, each to its own target, or with ``recursive`` directories and all below them."""
        wishes = self._wishes(recursive=recursive, sending=False)

        def check(source: bytes, found: Attributes) -> None:
            name = f"download {_named(source, found)}:"
            _check(found, name, recursive=recursive)
            if self.manner.resume and _size_here(targets[source]) == found.size:
                self.complain(f'File "{shown(targets[source])}" was not modified')

        targets = dict(pairs)
        source = _Asked(RemoteSource(self.files), targets, check, self._retrieving)
        local = LocalTarget(self.files.waits)
        return self._copy(source, local, Fetching(self.files, wishes), wishes, pairs)

    def upload(self, pairs: Pairs, *, recursive: bool) -> bool:
        """Send files, each to its own target, or with ``recursive`` directories and all below them."""
        wishes = self._wishes(recursive=recursive, sending=True)

        def check(source: bytes, found: Attributes) -> None:
            called = _named(source, found) if self.manner.tells else shown(source)
            name = f'local "{called}" is'
            _check(found, name, recursive=recursive)

        waits = self.files.waits
        asked = _Asked(LocalSource(waits), dict(pairs), check, self._entering)
        target = RemoteTarget(self.files)
        return self._copy(asked, target, Sending(self.files, wishes), wishes, pairs)

    def relay(self, other: "Copier", pairs: Pairs, *, recursive: bool) -> bool:
        """Bring files, or with ``recursive`` directories and all below them, to another server."""
        wishes = self._wishes(recursive=recursive, sending=False)

        def check(source: bytes, found: Attributes) -> None:
            name = f"download {_named(source, found)}:"
            _check(found, name, recursive=recursive)

        asked = _Asked(RemoteSource(self.files), dict(pairs), check, self._retrieving)
        mover = Relaying(self.files, other.files, wishes)
        return self._copy(asked, RemoteTarget(other.files), mover, wishes, pairs)

    def _copy(
        self, source: Source, target: Target, mover: Mover, wishes: Wishes, pairs: Pairs
    ) -> bool:
        self.failures = []
        try:
            self.link.wait(TreeCopy(self.files.waits, source, target, mover, wishes).run(pairs))
        except Interrupted:
            return False
        except ConnectionLost as error:
            # Whoever ends says that; how far it got is said here.
            self.failures.append(pairs[0][0])
            self._tell_how_far(pairs[0][0], error)
            raise
        except (OSError, TellinError) as error:
            self._failed(*pairs[0], error)
        finally:
            self.meter.end()
        return not self.failures

    def _wishes(self, *, recursive: bool, sending: bool) -> Wishes:
        def skipped(path: bytes) -> None:
            name = shown(last_name(path)) if sending else f'download "{shown(path)}"'
            self.complain(f"{name}: {_NO_FILE}")

        manner = self.manner
        return Wishes(
            # What is asked for is looked at in any case, and ``_Asked`` has its word.
            recursive=True,
            preserve=manner.preserve,
            links=Links.FOLLOW if manner.follow else Links.SKIP,
            resume=manner.resume,
            sync=manner.sync,
            on_progress=self.meter.progress if self.meter.shown else None,
            on_error=self._failed,
            on_skip=skipped,
        )

    def _retrieving(self, path: bytes, _top: bool) -> None:
        if self.manner.tells:
            self.say(f"Retrieving {shown(path.rstrip(b'/') or path)}")

    def _entering(self, path: bytes, top: bool) -> None:
        if self.manner.tells:
            self.say(f"Entering {shown(path.rstrip(b'/'))}{'/' if top else ''}")

    def _failed(self, source: bytes, target: bytes, error: Exception) -> None:
        self.failures.append(source)
        self.complain(self._words(source, target, error))
        self._tell_how_far(source, error)

    def _tell_how_far(self, source: bytes, error: Exception) -> None:
        for hint in (getattr(error, "hint", ""), *getattr(error, "__notes__", ())):
            # How far it got: what one can go on from.
            if "bytes" in hint:
                self.complain(f"{shown(source)}: {hint}")

    def _words(self, source: bytes, target: bytes, error: Exception) -> str:
        if isinstance(error, SftpError):
            return _refused(error, target)
        if isinstance(error, OSError):
            if error.filename is None:
                return f'local "{shown(target)}": {error.strerror}'
            if isinstance(error, IsADirectoryError) and os.fsencode(error.filename) == source:
                return f'local "{shown(source)}" is not a regular file'
            return f'open local "{shown(os.fsencode(error.filename))}": {error.strerror}'
        return str(error)


def _refused(error: SftpError, target: bytes) -> str:
    """A file server's no, as OpenSSH tells it."""
    request = str(error).partition(" ")[0]
    if error.filename is None or request not in {*_THERE, *_OTHERS}:
        return str(error)
    path = os.fsencode(error.filename)
    what = _THERE.get(request, f"remote {request}")
    if request == "open" and path == target:
        what = "dest open"
    why = reason(error)
    if why == "Failure" and ": " in str(error):
        # The code says nothing; perhaps the server's own words do.
        why = str(error).rpartition(": ")[2]
    return f'{what} "{shown(path)}": {why}'


_OTHERS: Final = {
    "mkdir",
    "opendir",
    "readdir",
    "setstat",
    "fsetstat",
    "fsync",
    "stat",
    "lstat",
    "fstat",
    "copy-data",
    "realpath",
}


def _named(path: bytes, found: Attributes) -> str:
    """A path, with one slash behind a directory's."""
    return shown(path.rstrip(b"/") + b"/" if found.is_directory else path)


def _size_here(path: bytes) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  (bytes)
    except OSError:
        return None


def _check(found: Attributes, what: str, *, recursive: bool) -> None:
    """Whether it is something that can be copied: a FIFO would make everybody wait."""
    if found.permissions is not None and not (found.is_file or (recursive and found.is_directory)):
        raise _Refused(f"{what} {_NO_FILE}")


class _Refused(SftpError):
    """Something that is no file, where one was asked for."""


class _Asked:
    """A source whose tops are checked, and of which each directory is told when it is looked through."""

    def __init__(
        self,
        source: Source,
        tops: Container[bytes],
        check: Callable[[bytes, Attributes], object],
        tell: Callable[[bytes, bool], object],
    ) -> None:
        self._source = source
        self._tops = tops
        self._check = check
        self._tell = tell
        self.read_link = source.read_link
        self.real = source.real

    async def look(self, path: bytes, *, follow: bool) -> Attributes:
        found = await self._source.look(path, follow=follow)
        if path in self._tops:
            self._check(path, found)
        return found

    async def contents(self, path: bytes) -> Sequence[tuple[bytes, Any]]:
        self._tell(path, path in self._tops)
        return await self._source.contents(path)
