# SPDX-License-Identifier: MIT
"""Files in memory for a file server: what clients put there is gone with it."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from tellin.errors import SftpError
from tellin.server.files.sftp_files import NoNames, long_name
from tellin.sftp.attributes import Attributes, within_32_bits
from tellin.sftp.file_system import OpenFile
from tellin.sftp.messages import (
    OPEN_APPEND,
    OPEN_CREATE,
    OPEN_EXCLUSIVE,
    OPEN_READ,
    OPEN_TRUNCATE,
    OPEN_WRITE,
    Entry,
    Statistics,
)

_MOST_LINKS: Final = 40
_LONGEST_NAME: Final = 255
_BLOCK: Final = 4096
# What a client may make of a server's memory, unless somebody says otherwise.
MOST_BYTES: Final = 256 << 20
MOST_FILES: Final = 100_000
_NO_NAMES: Final = NoNames()


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Node:
    """A file, a directory or a link: ``mode`` says which, and one of the three others is what it holds."""

    __slots__ = (
        "atime",
        "children",
        "data",
        "gid",
        "links",
        "mode",
        "mtime",
        "parent",
        "target",
        "uid",
    )

    def __init__(self, mode: int, now: float) -> None:
        self.mode = mode
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self.atime = self.mtime = now
        self.links = 1
        self.data = bytearray()
        self.children: dict[bytes, Node] = {}
        self.target = b""
        self.parent: Node | None = None

    @property
    def is_directory(self) -> bool:
        """Whether it has children."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it leads elsewhere."""
        return stat.S_ISLNK(self.mode)

    def status(self) -> os.stat_result:
        """As the system would say it."""
        size = len(self.target) if self.is_link else len(self.data)
        times = (int(self.atime), int(self.mtime), int(self.mtime))
        return os.stat_result((self.mode, 0, 0, self.links, self.uid, self.gid, size, *times))

    def attributes(self) -> Attributes:
        """As version 3 says it."""
        return Attributes(
            size=len(self.target) if self.is_link else len(self.data),
            uid=self.uid,
            gid=self.gid,
            permissions=self.mode,
            atime=within_32_bits(self.atime),
            mtime=within_32_bits(self.mtime),
        )


class MemoryFile:
    """An open file; it stays when its name is taken away."""

    __slots__ = ("_files", "_flags", "node")

    def __init__(self, files: "MemoryFiles", node: Node, flags: int) -> None:
        self._files = files
        self._flags = flags
        self.node = node

    def fill(self, view: memoryview, offset: int) -> int:
        """Copy what there is."""
        if not self._flags & OPEN_READ and self._flags & OPEN_WRITE:
            raise _error(errno.EBADF)
        if self.node.is_directory:
            raise _error(errno.EISDIR)
        with memoryview(self.node.data) as data:
            found = data[offset : offset + len(view)]
            view[: len(found)] = found
            return len(found)

    def write(self, view: memoryview, offset: int) -> None:
        """Copy it in; before it there are zeros."""
        if not self._flags & OPEN_WRITE:
            raise _error(errno.EBADF)
        data = self.node.data
        if self._flags & OPEN_APPEND:
            offset = len(data)
        # Case 233: an offset is only a number, and what lies before it would be memory.
        self._files.resize(self.node, max(len(data), offset + len(view)))
        data[offset : offset + len(view)] = view
        self.node.mtime = self._files.now()

    def stat(self) -> Attributes:
        """What is known of it."""
        return self.node.attributes()

    def change(self, attributes: Attributes) -> None:
        """Change it."""
        if attributes.size is not None and not self._flags & OPEN_WRITE:
            raise _error(errno.EBADF)
        self._files.change_node(self.node, attributes)

    def sync(self) -> None:
        """There is no disk."""

    def statistics(self) -> Statistics:
        """The room that is left."""
        return self._files.statistics(b"/")

    def copy_from(self, source: OpenFile, start: int, length: int, offset: int) -> None:
        """Copy from another file."""
        assert isinstance(source, MemoryFile)
        if source.node is self.node:
            # R177: also under another name.
            raise SftpError("a copy of a file into itself")
        end = start + length if length else len(source.node.data)
        with memoryview(source.node.data) as data:
            self.write(data[start:end], offset)

    def close(self) -> None:
        """Nothing is left to do but to forget it."""
        self._files.released(self.node)


class MemoryListing:
    """A directory as it was when it was opened."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._left = list(entries)

    def entries(self, most: int) -> Sequence[Entry]:
        """The next ones."""
        given, self._left = self._left[:most], self._left[most:]
        return given

    def close(self) -> None:
        """Read no further."""
        self._left = []


class MemoryFiles:
    """A tree in memory, at first with ``contents``: paths, and what is in them.

    All clients that are given the same object see the same tree. What they put there has
    ``most_bytes`` and ``most_files`` together; times are ``clock``'s. Not for several threads.
    """

    waits = False

    def __init__(
        self,
        contents: Mapping[str, bytes] | None = None,
        *,
        most_bytes: int = MOST_BYTES,
        most_files: int = MOST_FILES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.now = clock
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._bytes = 0
        self._count = 0
        self._top = Node(stat.S_IFDIR | 0o755, clock())
        self._open: dict[int, int] = {}
        for path, data in (contents or {}).items():
            self.write(path, data)

    # For programs

    def read(self, path: str) -> bytes:
        """What is in a file; raises OSError."""
        node = self._find(os.fsencode(path))
        if node.is_directory:
            raise _error(errno.EISDIR)
        return bytes(node.data)

    def write(self, path: str, data: bytes) -> None:
        """Put something into a file; it and its directories are made."""
        parts = [part for part in os.fsencode(path).split(b"/") if part]
        for count in range(1, len(parts)):
            directory = b"/" + b"/".join(parts[:count])
            try:
                self._find(directory)
            except FileNotFoundError:
                self.make_directory(directory, 0o755)
        file = self.open(os.fsencode(path), OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE, 0o644)
        try:
            file.write(memoryview(data), 0)
        finally:
            file.close()

    # The tree

    def _find(self, path: bytes, *, follow: bool = True) -> Node:
        parent, name = self._place(path, follow=follow)
        if not name:
            return parent
        found = parent.children.get(name)
        if found is None:
            raise _error(errno.ENOENT)
        return found

    def _place(self, path: bytes, *, follow: bool) -> tuple[Node, bytes]:
        """The directory that a path's last part is in, and that part; empty for the directory itself.

        With ``follow`` it is no link.
        """
        if not path:
            raise _error(errno.ENOENT)
        at, links = self._top, 0
        left = path.split(b"/")[::-1]
        while left:
            name = left.pop()
            if name == b"..":
                at = at.parent or self._top
            elif name not in {b"", b"."}:
                found = at.children.get(name)
                last = not left
                if found is not None and found.is_link and (follow or not last):
                    links += 1
                    if links > _MOST_LINKS:
                        raise _error(errno.ELOOP)
                    if found.target.startswith(b"/"):
                        at = self._top
                    left += found.target.split(b"/")[::-1]
                elif last:
                    return at, name
                elif found is None:
                    raise _error(errno.ENOENT)
                elif not found.is_directory:
                    raise _error(errno.ENOTDIR)
                else:
                    at = found
        return at, b""

    def _new_place(self, path: bytes, *, follow: bool = False) -> tuple[Node, bytes]:
        """Where something of that name may be made."""
        parent, name = self._place(path.rstrip(b"/") or b"/", follow=follow)
        if not name or name in parent.children:
            raise _error(errno.EEXIST)
        if len(name) > _LONGEST_NAME:
            raise _error(errno.ENAMETOOLONG)
        return parent, name

    def _old_place(self, path: bytes) -> tuple[Node, bytes, Node]:
        """What has a name, and where."""
        parent, name = self._place(path.rstrip(b"/") or b"/", follow=False)
        if not name:
            raise _error(errno.EBUSY)
        if name not in parent.children:
            raise _error(errno.ENOENT)
        return parent, name, parent.children[name]

    def _add(self, parent: Node, name: bytes, mode: int) -> Node:
        if self._count >= self._most_files:
            raise _error(errno.ENOSPC)
        self._count += 1
        made = parent.children[name] = Node(mode, self.now())
        made.parent = parent
        parent.mtime = made.mtime
        return made

    def _drop(self, parent: Node, name: bytes) -> None:
        node = parent.children.pop(name)
        parent.mtime = self.now()
        node.links -= 1
        self._count -= 1
        self._free(node)

    def _free(self, node: Node) -> None:
        """Count its bytes no more, once it has no name and nobody has it open."""
        if node.links <= 0 and id(node) not in self._open:
            self._bytes -= len(node.data)
            node.data = bytearray()

    def released(self, node: Node) -> None:
        """Somebody has closed it."""
        self._open[id(node)] -= 1
        if not self._open[id(node)]:
            del self._open[id(node)]
            self._free(node)

    def resize(self, node: Node, size: int) -> None:
        """Make room in a file, or cut it."""
        grown = size - len(node.data)
        if self._bytes + grown > self._most_bytes:
            raise _error(errno.ENOSPC)
        if grown > 0:
            node.data.extend(bytes(grown))
        else:
            del node.data[size:]
        self._bytes += grown

    def change_node(self, node: Node, attributes: Attributes) -> None:
        """Change what is given."""
        if attributes.size is not None:
            if node.is_directory:
                raise _error(errno.EISDIR)
            self.resize(node, attributes.size)
            node.mtime = self.now()
        if attributes.permissions is not None:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attributes.permissions)
        if attributes.mtime is not None:
            node.atime, node.mtime = float(attributes.atime or 0), float(attributes.mtime)
        if attributes.uid is not None and attributes.gid is not None:
            node.uid, node.gid = attributes.uid, attributes.gid

    # What clients ask

    def open(self, path: bytes, flags: int, mode: int) -> MemoryFile:
        """Open a file, or make it."""
        making, exclusive = flags & OPEN_CREATE, flags & OPEN_EXCLUSIVE
        parent, name = self._place(path, follow=not (making and exclusive))
        node = parent if not name else parent.children.get(name)
        if node is None:
            if not making:
                raise _error(errno.ENOENT)
            parent, name = self._new_place(path, follow=not exclusive)
            node = self._add(parent, name, stat.S_IFREG | stat.S_IMODE(mode))
        elif making and exclusive:
            raise _error(errno.EEXIST)
        elif node.is_directory and flags & (OPEN_WRITE | OPEN_TRUNCATE | OPEN_CREATE):
            raise _error(errno.EISDIR)
        elif flags & OPEN_TRUNCATE:
            self.resize(node, 0)
        self._open[id(node)] = self._open.get(id(node), 0) + 1
        return MemoryFile(self, node, flags)

    def scan(self, path: bytes) -> MemoryListing:
        """Read a directory."""
        node = self._find(path)
        if not node.is_directory:
            raise _error(errno.ENOTDIR)
        return MemoryListing(self._entries(node))

    def _entries(self, node: Node) -> Iterator[Entry]:
        now = self.now()
        both = ((b".", node), (b"..", node.parent or self._top))
        for name, one in (*both, *node.children.items()):
            line = long_name(name, one.status(), _NO_NAMES, now)
            yield Entry(name, line, one.attributes())

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path."""
        return self._find(path, follow=follow).attributes()

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        """Change it."""
        self.change_node(self._find(path, follow=follow), attributes)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        parent, name, node = self._old_place(path)
        if node.is_directory:
            raise _error(errno.EISDIR)
        self._drop(parent, name)

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        parent, name = self._new_place(path)
        self._add(parent, name, stat.S_IFDIR | stat.S_IMODE(mode))

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        parent, name, node = self._old_place(path)
        if not node.is_directory:
            raise _error(errno.ENOTDIR)
        if node.children:
            raise _error(errno.ENOTEMPTY)
        self._drop(parent, name)

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give another name."""
        source, old_name, node = self._old_place(old)
        target, new_name = self._place(new.rstrip(b"/") or b"/", follow=False)
        there = target.children.get(new_name)
        if not new_name or (there is not None and not replace):
            raise _error(errno.EEXIST)
        if there is node:
            return
        if len(new_name) > _LONGEST_NAME:
            raise _error(errno.ENAMETOOLONG)
        above: Node | None = target
        while above is not None:
            if above is node:
                # It would be its own parent, and nothing would lead there any more.
                raise _error(errno.EINVAL)
            above = above.parent
        if there is not None:
            if there.is_directory is not node.is_directory:
                raise _error(errno.EISDIR if there.is_directory else errno.ENOTDIR)
            if there.children:
                raise _error(errno.ENOTEMPTY)
            self._drop(target, new_name)
        del source.children[old_name]
        target.children[new_name] = node
        node.parent = target
        source.mtime = target.mtime = self.now()

    def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""
        node = self._find(path, follow=False)
        if not node.is_link:
            raise _error(errno.EINVAL)
        return node.target

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a link."""
        if not target:
            raise _error(errno.ENOENT)
        parent, name = self._new_place(path)
        self._add(parent, name, stat.S_IFLNK | 0o777).target = target

    def link(self, old: bytes, new: bytes) -> None:
        """Give another name besides."""
        _, _, node = self._old_place(old)
        if node.is_directory:
            raise _error(errno.EPERM)
        parent, name = self._new_place(new)
        if self._count >= self._most_files:
            raise _error(errno.ENOSPC)
        self._count += 1
        parent.children[name] = node
        node.links += 1

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        """The path from the root on."""
        if expand and path.startswith(b"~"):
            user, _, rest = path[1:].partition(b"/")
            path = self.home(user) + b"/" + rest
        node, name = self._place(path.rstrip(b"/") or b"/", follow=True)
        names = [name] if name else []
        while node.parent is not None:
            above = node.parent
            names.append(next(name for name, one in above.children.items() if one is node))
            node = above
        return b"/" + b"/".join(reversed(names))

    def home(self, user: bytes) -> bytes:
        """There is one."""
        if user:
            raise SftpError("no such user")
        return b"/"

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """Nobody has one."""
        return [b""] * len(uids), [b""] * len(gids)

    def statistics(self, path: bytes) -> Statistics:
        """The room that is left."""
        self._find(path)
        free = (self._most_bytes - self._bytes) // _BLOCK
        files = self._most_files - self._count
        return Statistics(
            block_size=_BLOCK,
            fragment_size=_BLOCK,
            blocks=self._most_bytes // _BLOCK,
            free_blocks=free,
            available_blocks=free,
            files=self._most_files,
            free_files=files,
            available_files=files,
            file_system=0,
            flags=0,
            longest_name=_LONGEST_NAME,
        )
