# SPDX-License-Identifier: MIT
"""From requests to calls: what a file server does for each, which of them change anything, and the log.

The lines of the log are OpenSSH's, since there are scripts that read them.
"""

from collections.abc import Callable
from typing import Any, Final

from tellin.errors import SftpError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.file_system import FileSystem, Listing, OpenFile
from tellin.sftp.status import StatusCode, status_of
from tellin.wire import Cursor, Record, string

# The levels of OpenSSH's logs.
ERROR: Final = 2
INFO: Final = 3
VERBOSE: Final = 4
DEBUG1: Final = 5
DEBUG3: Final = 7

# R180: what is longer than a path may be on this system is none; handles are ours, and short.
LONGEST_PATH: Final = 4096
MOST_HANDLES: Final = 1000
ENTRIES_A_REPLY: Final = 100
MOST_IDS: Final = 4096
_MOST_OFFSET: Final = (1 << 63) - 1

_FLAG_NAMES: Final = (
    (messages.OPEN_READ, "READ"),
    (messages.OPEN_WRITE, "WRITE"),
    (messages.OPEN_APPEND, "APPEND"),
    (messages.OPEN_CREATE, "CREATE"),
    (messages.OPEN_TRUNCATE, "TRUNCATE"),
    (messages.OPEN_EXCLUSIVE, "EXCL"),
)
_CHANGING: Final = (
    messages.OPEN_WRITE | messages.OPEN_APPEND | messages.OPEN_CREATE | messages.OPEN_TRUNCATE
)

Note = Callable[[int, str], object]
"""Gets a level and a line for the log."""


def shown(path: bytes) -> str:
    """A path for the log; whoever writes that makes it safe for terminals."""
    return path.decode("utf-8", "surrogateescape")


class Permits(Record):
    """Which requests are served: none that changes anything, all but some, or only some."""

    read_only: bool = False
    denied: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None

    def objection(self, kind: type[messages.Request]) -> str:
        """Why a request is refused, as OpenSSH's server words it; "" if it is not."""
        name = kind.name
        if self.read_only and kind in WRITING:
            return f"Refusing {name} request in read-only mode"
        if name in self.denied:
            return f"Refusing denylisted {name} request"
        if self.allowed is not None and name not in self.allowed:
            return f"Refusing non-allowlisted {name} request"
        return ""


class Held:
    """What a handle stands for."""

    __slots__ = ("file", "listing", "path", "read", "written")

    def __init__(self, path: bytes, file: OpenFile | None, listing: Listing | None) -> None:
        self.path = path
        self.file = file
        self.listing = listing
        self.read = 0
        self.written = 0


class Handlers:
    """One client's open files, and what is done for its requests."""

    def __init__(
        self,
        files: FileSystem,
        *,
        permits: Permits,
        salt: bytes = b"",
        most_handles: int = MOST_HANDLES,
        target_first: bool = True,
        note: Note = lambda level, line: None,
        show_time: Callable[[int], str] = str,
    ) -> None:
        self.permits = permits
        self.note = note
        self._files = files
        # R181, case 231: no handle comes a second time, and another session's is never one of ours.
        self._salt = salt
        self._count = 0
        self._held: dict[bytes, Held] = {}
        self._most_handles = most_handles
        self._target_first = target_first
        self._show_time = show_time

    # Handles

    def _hold(self, path: bytes, file: OpenFile | None, listing: Listing | None) -> messages.Reply:
        self._count += 1
        handle = self._salt + self._count.to_bytes(4, "big")
        self._held[handle] = Held(path, file, listing)
        return messages.Handle(handle)

    def _room(self) -> None:
        if len(self._held) >= self._most_handles:
            raise SftpError("too many open files")

    def file(self, handle: bytes) -> tuple[Held, OpenFile]:
        """The open file of a handle; SftpError if it is none."""
        held = self._held.get(handle)
        if held is None or held.file is None:
            raise SftpError("no such handle")
        return held, held.file

    @property
    def handle_size(self) -> int:
        """How long every handle is."""
        return len(self._salt) + 4

    def close_all(self) -> None:
        """The client is gone."""
        for handle in list(self._held):
            try:
                self._shut(handle, "forced ")
            except OSError as error:
                self.note(ERROR, f"close: {error.strerror or error}")

    def _shut(self, handle: bytes, how: str) -> None:
        held = self._held.pop(handle, None)
        if held is None:
            raise SftpError("no such handle")
        name = shown(held.path)
        if held.file is not None:
            self.note(
                INFO,
                f'{how}close "{name}" bytes read {held.read} written {held.written}',
            )
            held.file.close()
        elif held.listing is not None:
            self.note(INFO, f'{how}closedir "{name}"')
            held.listing.close()

    # Requests

    def refuse(self, kind: type[messages.Request]) -> bool:
        """Whether a request is not to be served; that is noted."""
        objection = self.permits.objection(kind)
        if objection:
            self.note(VERBOSE, objection)
        return bool(objection)

    def handle(self, request: messages.Request) -> messages.Reply | None:
        """Do what is asked; None is a success with nothing to tell. Raises OSError."""
        for field in ("path", "old_path", "new_path", "first", "second", "user"):
            if len(getattr(request, field, b"")) > LONGEST_PATH:
                raise SftpError("a path too long")
        return _HANDLERS[type(request)](self, request)

    def _open(self, request: messages.Open) -> messages.Reply:
        flags, attributes = request.flags, request.attributes
        mode = 0o666 if attributes.permissions is None else attributes.permissions & 0o7777
        names = ",".join(name for flag, name in _FLAG_NAMES if flags & flag)
        self.note(INFO, f'open "{shown(request.path)}" flags {names} mode 0{mode:o}')
        if self.permits.read_only and flags & _CHANGING:
            # R178, CVE-2017-15906: to make an empty file is to write.
            self.note(VERBOSE, "Refusing open request in read-only mode")
            raise SftpError("read-only", status=StatusCode.PERMISSION_DENIED)
        if flags & messages.OPEN_EXCLUSIVE and not flags & messages.OPEN_CREATE:
            raise SftpError("exclusive without create")
        self._room()
        return self._hold(request.path, self._files.open(request.path, flags, mode), None)

    def _close(self, request: messages.Close) -> None:
        self._shut(request.handle, "")

    def _open_directory(self, request: messages.OpenDirectory) -> messages.Reply:
        self.note(INFO, f'opendir "{shown(request.path)}"')
        self._room()
        return self._hold(request.path, None, self._files.scan(request.path))

    def _read_directory(self, request: messages.ReadDirectory) -> messages.Reply:
        held = self._held.get(request.handle)
        if held is None or held.listing is None:
            raise SftpError("no such handle")
        entries = held.listing.entries(ENTRIES_A_REPLY)
        if not entries:
            raise SftpError("the end", status=StatusCode.EOF)
        return messages.Name(tuple(entries))

    def _stat(self, request: messages.Stat) -> messages.Reply:
        self.note(VERBOSE, f'stat name "{shown(request.path)}"')
        return messages.Attrs(self._files.stat(request.path, follow=True))

    def _link_stat(self, request: messages.LinkStat) -> messages.Reply:
        self.note(VERBOSE, f'lstat name "{shown(request.path)}"')
        return messages.Attrs(self._files.stat(request.path, follow=False))

    def _file_stat(self, request: messages.FileStat) -> messages.Reply:
        return messages.Attrs(self.file(request.handle)[1].stat())

    def _set(self, request: messages.SetStat) -> None:
        path = request.path
        self._change(
            path, request.attributes, lambda one: self._files.change(path, one, follow=True)
        )

    def _file_set(self, request: messages.FileSetStat) -> None:
        held, file = self.file(request.handle)
        self._change(held.path, request.attributes, file.change)

    def _link_set(self, request: messages.LinkSetStat) -> None:
        path = request.path
        if request.attributes.size is not None:
            raise SftpError("the size of a link", status=StatusCode.BAD_MESSAGE)
        self._change(
            path, request.attributes, lambda one: self._files.change(path, one, follow=False)
        )

    def _change(
        self, path: bytes, wanted: Attributes, change: Callable[[Attributes], object]
    ) -> None:
        """Each thing by itself, in OpenSSH's order; one that fails does not keep the others from it."""
        failure: OSError | None = None
        for one, what in self._parts(wanted):
            self.note(INFO, f'set "{shown(path)}" {what}')
            try:
                change(one)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def _parts(self, wanted: Attributes) -> list[tuple[Attributes, str]]:
        parts = []
        if wanted.size is not None:
            if wanted.size > _MOST_OFFSET:
                raise SftpError("a size beyond any file's")
            parts.append((Attributes(size=wanted.size), f"size {wanted.size}"))
        if wanted.permissions is not None:
            mode = wanted.permissions & 0o7777
            parts.append((Attributes(permissions=mode), f"mode {wanted.permissions:04o}"))
        if wanted.mtime is not None:
            times = Attributes(atime=wanted.atime, mtime=wanted.mtime)
            parts.append((times, f"modtime {self._show_time(wanted.mtime)}"))
        if wanted.uid is not None:
            owner = Attributes(uid=wanted.uid, gid=wanted.gid)
            parts.append((owner, f"owner {wanted.uid} group {wanted.gid}"))
        return parts

    def _remove(self, request: messages.Remove) -> None:
        self.note(INFO, f'remove name "{shown(request.path)}"')
        self._files.remove(request.path)

    def _make_directory(self, request: messages.MakeDirectory) -> None:
        permissions = request.attributes.permissions
        mode = 0o777 if permissions is None else permissions & 0o7777
        self.note(INFO, f'mkdir name "{shown(request.path)}" mode 0{mode:o}')
        self._files.make_directory(request.path, mode)

    def _remove_directory(self, request: messages.RemoveDirectory) -> None:
        self.note(INFO, f'rmdir name "{shown(request.path)}"')
        self._files.remove_directory(request.path)

    def _real_path(self, request: messages.RealPath) -> messages.Reply:
        self.note(VERBOSE, f'realpath "{shown(request.path)}"')
        return _one_name(self._files.real_path(request.path or b".", expand=False))

    def _rename(self, request: messages.Rename) -> None:
        self._renamed("rename", request.old_path, request.new_path)
        self._files.rename(request.old_path, request.new_path, replace=False)

    def _posix_rename(self, request: messages.PosixRename) -> None:
        self._renamed("posix-rename", request.old_path, request.new_path)
        self._files.rename(request.old_path, request.new_path, replace=True)

    def _renamed(self, what: str, old: bytes, new: bytes) -> None:
        self.note(INFO, f'{what} old "{shown(old)}" new "{shown(new)}"')

    def _read_link(self, request: messages.ReadLink) -> messages.Reply:
        self.note(VERBOSE, f'readlink "{shown(request.path)}"')
        return _one_name(self._files.read_link(request.path))

    def _symlink(self, request: messages.SymbolicLink) -> None:
        paths = request.first, request.second
        target, link = paths if self._target_first else reversed(paths)
        self._renamed("symlink", target, link)
        self._files.symlink(target, link)

    def _hard_link(self, request: messages.HardLink) -> None:
        self._renamed("hardlink", request.old_path, request.new_path)
        self._files.link(request.old_path, request.new_path)

    def _statistics(self, request: messages.StatFileSystem) -> messages.Reply:
        self.note(INFO, f'statvfs "{shown(request.path)}"')
        return messages.ExtendedReply(self._files.statistics(request.path).encode())

    def _file_statistics(self, request: messages.FileStatFileSystem) -> messages.Reply:
        return messages.ExtendedReply(self.file(request.handle)[1].statistics().encode())

    def _sync(self, request: messages.FileSync) -> None:
        held, file = self.file(request.handle)
        self.note(VERBOSE, f'fsync "{shown(held.path)}"')
        file.sync()

    def _limits(self, request: messages.AskLimits) -> messages.Reply:
        limits = messages.Limits(
            messages.MOST_BYTES, messages.MOST_DATA, messages.MOST_DATA, self._most_handles
        )
        return messages.ExtendedReply(limits.encode())

    def _expand(self, request: messages.ExpandPath) -> messages.Reply:
        self.note(VERBOSE, f'expand "{shown(request.path)}"')
        return _one_name(self._files.real_path(request.path or b".", expand=True))

    def _home(self, request: messages.HomeDirectory) -> messages.Reply:
        return _one_name(self._files.home(request.user))

    def _copy(self, request: messages.CopyData) -> None:
        source_held, source = self.file(request.from_handle)
        target_held, target = self.file(request.to_handle)
        ends = (request.from_offset, request.length, request.to_offset)
        # R177: a copy into itself would follow its own end for ever. What else is the same file
        # under another name the file system knows.
        if source_held.path == target_held.path or max(ends) > _MOST_OFFSET:
            raise SftpError("a copy of a file into itself")
        target.copy_from(source, *ends)

    def _names(self, request: messages.UsersGroupsById) -> messages.Reply:
        uids, gids = _numbers(request.uids), _numbers(request.gids)
        asked = f"{len(uids)} users, {len(gids)} groups"
        self.note(VERBOSE, f"users-groups-by-id: {asked}")
        users, groups = self._files.names(uids, gids)
        reply = messages.Names(b"".join(map(string, users)), b"".join(map(string, groups)))
        if len(reply.users) + len(reply.groups) > messages.MOST_DATA:
            raise SftpError("more names than go into a message")
        return messages.ExtendedReply(reply.encode())

    # The lane: what is read and written, of which nothing is copied

    def fill(self, handle: bytes, offset: int, view: memoryview) -> int:
        """Read what a client asked for; 0 is the end."""
        held = self._held.get(handle)
        if held is None or held.file is None:
            raise SftpError("no such handle")
        if offset > _MOST_OFFSET:
            raise SftpError("an offset beyond any file's")
        count = held.file.fill(view, offset)
        held.read += count
        return count

    def write(self, handle: bytes, offset: int, view: memoryview) -> None:
        """Write what a client sent."""
        held = self._held.get(handle)
        if held is None or held.file is None:
            raise SftpError("no such handle")
        if offset + len(view) > _MOST_OFFSET:
            raise SftpError("an offset beyond any file's")
        held.file.write(view, offset)
        held.written += len(view)

    def failed(self, error: OSError) -> int:
        """The code for what has failed."""
        if not isinstance(error, SftpError):
            self.note(DEBUG1, f"{error.strerror or error}")
        return status_of(error)


def _one_name(path: bytes) -> messages.Reply:
    from_root = messages.Entry(path, path, Attributes())
    return messages.Name((from_root,))


def _numbers(packed: bytes) -> list[int]:
    # Case 243: each is a look-up, perhaps over a network.
    if len(packed) % 4 or len(packed) > MOST_IDS * 4:
        raise SftpError("too many users", status=StatusCode.FAILURE)
    cursor = Cursor(packed)
    return [cursor.uint32() for _ in range(len(packed) // 4)]


_HANDLERS: Final[
    dict[type[messages.Request], Callable[[Handlers, Any], messages.Reply | None]]
] = {
    messages.Open: Handlers._open,
    messages.Close: Handlers._close,
    messages.LinkStat: Handlers._link_stat,
    messages.FileStat: Handlers._file_stat,
    messages.SetStat: Handlers._set,
    messages.FileSetStat: Handlers._file_set,
    messages.OpenDirectory: Handlers._open_directory,
    messages.ReadDirectory: Handlers._read_directory,
    messages.Remove: Handlers._remove,
    messages.MakeDirectory: Handlers._make_directory,
    messages.RemoveDirectory: Handlers._remove_directory,
    messages.RealPath: Handlers._real_path,
    messages.Stat: Handlers._stat,
    messages.Rename: Handlers._rename,
    messages.ReadLink: Handlers._read_link,
    messages.SymbolicLink: Handlers._symlink,
    messages.PosixRename: Handlers._posix_rename,
    messages.StatFileSystem: Handlers._statistics,
    messages.FileStatFileSystem: Handlers._file_statistics,
    messages.HardLink: Handlers._hard_link,
    messages.FileSync: Handlers._sync,
    messages.LinkSetStat: Handlers._link_set,
    messages.AskLimits: Handlers._limits,
    messages.ExpandPath: Handlers._expand,
    messages.CopyData: Handlers._copy,
    messages.HomeDirectory: Handlers._home,
    messages.UsersGroupsById: Handlers._names,
}

# R178: what a read-only server refuses; OPEN is looked at by its flags.
WRITING: Final = frozenset(
    {
        messages.Write,
        messages.SetStat,
        messages.FileSetStat,
        messages.Remove,
        messages.MakeDirectory,
        messages.RemoveDirectory,
        messages.Rename,
        messages.SymbolicLink,
        messages.PosixRename,
        messages.HardLink,
        messages.FileSync,
        messages.LinkSetStat,
        messages.CopyData,
    }
)
