# SPDX-License-Identifier: MIT
"""Paths that never lead out of one directory, whatever others rename or link meanwhile; no root is needed.

Linux 5.6 and later resolve such a path in one call, openat2(2) with RESOLVE_IN_ROOT. Elsewhere, and
where a sandbox does not let that call through, the path is gone down part by part: every
directory on the way is held open, links are read and followed by ourselves, and ``..`` goes back to
the directory that we came from; the system is never asked for it.

A prefix of the text compared with the path made real is no such thing: between the question and the use
the path may be another one (R179).
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

_OPENAT2: Final = 437
_RESOLVE_NO_MAGIC_LINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
# openat2 gives up on a path with ``..`` while something is being renamed, anywhere.
_TRIES: Final = 16
# What the kernel allows, too.
_MOST_LINKS: Final = 40
# Each is an open descriptor while a path is gone down by hand.
_DEEPEST: Final = 256
_LINK_IN_THE_WAY: Final = frozenset({errno.ELOOP, errno.ENOTDIR})


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _error(number: int, path: bytes | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


class Root:
    """A directory that is ``/`` for every path given. Whoever makes it closes it.

    All methods raise OSError, and of a link that leads outside nothing is ever opened: it leads to
    the place of that name inside. ``by_hand`` does without the kernel's help.
    """

    def __init__(
        self, directory: str | bytes | os.PathLike[str], *, by_hand: bool = False
    ) -> None:
        self._top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._library = None if by_hand else ctypes.CDLL(None, use_errno=True)
        try:
            os.close(self.open(b"/", os.O_PATH))
        except OSError:
            # An older kernel, or a sandbox that does not know the call.
            self._library = None

    @property
    def by_kernel(self) -> bool:
        """Whether the kernel resolves the paths."""
        return self._library is not None

    def close(self) -> None:
        """No path can be opened any more; what is open stays so."""
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is inside

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """Open a path in a world that ends at this directory."""
        if not path:
            raise _error(errno.ENOENT, path)
        if b"\0" in path:
            raise _error(errno.EINVAL)
        flags |= os.O_CLOEXEC
        if self._library is not None:
            # Never by an absolute name: then even a kernel that ignored the flags would begin here.
            inside = path.lstrip(b"/") or b"."
            how = _How(flags, mode if flags & os.O_CREAT else 0, _IN_ROOT)
            for _ in range(_TRIES):
                found: int = self._library.syscall(
                    _OPENAT2, self._top, inside, ctypes.byref(how), ctypes.sizeof(how)
                )
                if found >= 0:
                    return found
                number = ctypes.get_errno()
                if number not in {errno.EAGAIN, errno.EINTR}:
                    raise _error(number, path)
        walk = _Walk(self._top)
        try:
            return walk.open(path, flags, mode)
        finally:
            walk.close()

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory that holds a path's last part, open meanwhile, and that part's name.

        What is done with the two must not follow links. A path that ends in no name of its own is
        busy: the root itself and the like are not to be removed or renamed.
        """
        head, _, name = path.rstrip(b"/").rpartition(b"/")
        if name in {b"", b".", b".."}:
            raise _error(errno.EBUSY, path)
        directory = self.open(head or b"/", os.O_PATH | os.O_DIRECTORY)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def real_path(self, path: bytes) -> bytes:
        """The path from this root on, without links; only its last part may be missing."""
        walk = _Walk(self._top)
        try:
            return walk.real_path(path)
        finally:
            walk.close()


_IN_ROOT: Final = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGIC_LINKS


class _Walk:
    """One path on its way down: where it is, and what is still to go."""

    def __init__(self, top: int) -> None:
        self._directories = [top]
        self._names: list[bytes] = []
        self._left: list[bytes] = []
        self._links = 0

    def close(self) -> None:
        """Close what was gone through; the root is not ours."""
        while len(self._directories) > 1:
            os.close(self._directories.pop())

    def open(self, path: bytes, flags: int, mode: int) -> int:
        """Open the end of a path."""
        self._head_for(path)
        follow = not flags & os.O_NOFOLLOW and flags & (os.O_CREAT | os.O_EXCL) != (
            os.O_CREAT | os.O_EXCL
        )
        while (name := self._next()) is not None:
            if self._left:
                self._enter(name)
                continue
            try:
                found = os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=self._directories[-1])
            except OSError as error:
                if error.errno not in _LINK_IN_THE_WAY or not follow or not self._follow(name):
                    raise
                continue
            # By O_PATH a link is opened, and not refused.
            if not follow or not flags & os.O_PATH or not self._is_link(found):
                return found
            self._turn(found)
        return os.open(b".", flags, mode, dir_fd=self._directories[-1])

    def real_path(self, path: bytes) -> bytes:
        """Go as far as there is anything."""
        self._head_for(path)
        while (name := self._next()) is not None:
            try:
                self._enter(name, last=not self._left)
            except FileNotFoundError:
                if any(part not in {b"", b"."} for part in self._left):
                    raise
                self._names.append(name)
                break
        return b"/" + b"/".join(self._names)

    def _head_for(self, path: bytes) -> None:
        self._left += reversed(path.split(b"/"))

    def _next(self) -> bytes | None:
        """The next part that is a name; those that are none are gone."""
        while self._left:
            name = self._left.pop()
            if name == b"..":
                # Back to where we came from; above the root there is nothing.
                if self._names:
                    self._names.pop()
                    os.close(self._directories.pop())
            elif name not in {b"", b"."}:
                return name
        return None

    def _enter(self, name: bytes, *, last: bool = False) -> None:
        if len(self._names) >= _DEEPEST:
            raise _error(errno.ENAMETOOLONG)
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(name, flags, dir_fd=self._directories[-1])
        if self._is_link(found):
            self._turn(found)
            return
        self._directories.append(found)
        self._names.append(name)
        if not last and not stat.S_ISDIR(os.fstat(found).st_mode):
            raise _error(errno.ENOTDIR)

    @staticmethod
    def _is_link(found: int) -> bool:
        return stat.S_ISLNK(os.fstat(found).st_mode)

    def _follow(self, name: bytes) -> bool:
        """Turn to where a link leads; false if there is none."""
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(name, flags, dir_fd=self._directories[-1])
        if not self._is_link(found):
            os.close(found)
            return False
        self._turn(found)
        return True

    def _turn(self, link: int) -> None:
        """Go on where an open link leads; it is closed."""
        try:
            self._links += 1
            if self._links > _MOST_LINKS:
                raise _error(errno.ELOOP)
            target = os.readlink(b"", dir_fd=link)
        finally:
            os.close(link)
        if target.startswith(b"/"):
            self.close()
            self._names.clear()
        self._head_for(target)
