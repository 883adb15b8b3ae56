# SPDX-License-Identifier: MIT
"""The messages of version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions (its PROTOCOL).

Every one but the first two has a request id between its number and its fields; ``framed`` puts it
there. Paths are bytes: the protocol knows no encoding, and file names have none.
"""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from struct import Struct
from typing import Annotated, ClassVar, Final

from tellin.errors import MalformedPacket
from tellin.sftp.attributes import Attributes, AttributesField
from tellin.wire import Cursor, Message, Record, Rest, String, UInt32, UInt64, WireType, string

VERSION: Final = 3
# A length is a peer's word; OpenSSH draws the line here on both sides.
MOST_BYTES: Final = 256 * 1024
# What a READ or a WRITE moves at most: the rest of a message is for its other fields.
MOST_DATA: Final = MOST_BYTES - 1024
# Extensions that a VERSION may name; OpenSSH's server has eleven.
MOST_EXTENSIONS: Final = 128

READ_NUMBER: Final = 5
WRITE_NUMBER: Final = 6
DATA_NUMBER: Final = 103
EXTENDED_NUMBER: Final = 200

# Flags of OPEN (section 6.3).
OPEN_READ: Final = 1
OPEN_WRITE: Final = 2
OPEN_APPEND: Final = 4
OPEN_CREATE: Final = 8
OPEN_TRUNCATE: Final = 16
OPEN_EXCLUSIVE: Final = 32

_HEAD: Final = Struct(">IBI")


def _read_path(cursor: Cursor) -> bytes:
    path = cursor.string()
    # R189: for the system a NUL would be the end of the name, and the name another one.
    if b"\0" in path:
        raise MalformedPacket("a NUL in a path")
    return path


def _read_pairs(cursor: Cursor) -> tuple[tuple[bytes, bytes], ...]:
    pairs: list[tuple[bytes, bytes]] = []
    while cursor.remaining():
        if len(pairs) >= MOST_EXTENSIONS:
            raise MalformedPacket(f"more than {MOST_EXTENSIONS} extensions")
        pairs.append((cursor.string(), cursor.string()))
    return tuple(pairs)


def _write_pairs(value: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join(string(name) + string(data) for name, data in value)


class Entry(Record):
    """A name in a directory: what `ls -l` would show of it, and its attributes."""

    filename: bytes
    longname: bytes
    attributes: Attributes

    @property
    def name(self) -> str:
        """The name as text; bytes that are no UTF-8 come as surrogates, and go back as they were."""
        return self.filename.decode("utf-8", "surrogateescape")


def _read_entries(cursor: Cursor) -> tuple[Entry, ...]:
    count = cursor.uint32()
    # R183: an entry has two lengths and its flags at least.
    if count * 12 > cursor.remaining():
        raise MalformedPacket(f"{count} names announced in {cursor.remaining()} bytes")
    return tuple(
        Entry(cursor.string(), cursor.string(), Attributes.read(cursor)) for _ in range(count)
    )


def _write_entries(value: tuple[Entry, ...]) -> bytes:
    parts = [len(value).to_bytes(4, "big")]
    parts += [
        string(one.filename) + string(one.longname) + one.attributes.encode() for one in value
    ]
    return b"".join(parts)


Path = Annotated[bytes, WireType(_read_path, string)]
Pairs = Annotated[tuple[tuple[bytes, bytes], ...], WireType(_read_pairs, _write_pairs)]
Entries = Annotated[tuple[Entry, ...], WireType(_read_entries, _write_entries)]


# The beginning


class Init(Message, number=1):
    """The client's version, and what it knows besides."""

    version: UInt32
    extensions: Pairs


class Version(Message, number=2):
    """The server's version, and its extensions with theirs."""

    version: UInt32
    extensions: Pairs


# What is asked


class Request(Message):
    """Something that a client asks for; ``name`` is what -p and -P of sftp-server call it."""

    name: ClassVar[str] = ""

    def __init_subclass__(cls, *, number: int | None = None, name: str = "") -> None:
        super().__init_subclass__(number=number)
        cls.name = name


class Open(Request, number=3, name="open"):
    """Open a file, or make it with ``attributes``."""

    path: Path
    flags: UInt32
    attributes: AttributesField


class Close(Request, number=4, name="close"):
    """Close a file or a directory."""

    handle: String


class Read(Request, number=READ_NUMBER, name="read"):
    """Up to ``length`` bytes from ``offset`` on."""

    handle: String
    offset: UInt64
    length: UInt32


class Write(Request, number=WRITE_NUMBER, name="write"):
    """Put ``data`` at ``offset``."""

    handle: String
    offset: UInt64
    data: String


class LinkStat(Request, number=7, name="lstat"):
    """The attributes of a path; of a link itself."""

    path: Path


class FileStat(Request, number=8, name="fstat"):
    """The attributes of an open file."""

    handle: String


class SetStat(Request, number=9, name="setstat"):
    """Change attributes of a path."""

    path: Path
    attributes: AttributesField


class FileSetStat(Request, number=10, name="fsetstat"):
    """Change attributes of an open file."""

    handle: String
    attributes: AttributesField


class OpenDirectory(Request, number=11, name="opendir"):
    """Begin to read a directory."""

    path: Path


class ReadDirectory(Request, number=12, name="readdir"):
    """The next names."""

    handle: String


class Remove(Request, number=13, name="remove"):
    """Remove a file."""

    path: Path


class MakeDirectory(Request, number=14, name="mkdir"):
    """Make a directory."""

    path: Path
    attributes: AttributesField


class RemoveDirectory(Request, number=15, name="rmdir"):
    """Remove an empty directory."""

    path: Path


class RealPath(Request, number=16, name="realpath"):
    """The path from the root on, without links."""

    path: Path


class Stat(Request, number=17, name="stat"):
    """The attributes of a path; of what a link leads to."""

    path: Path


class Rename(Request, number=18, name="rename"):
    """Give a file another name, which nothing has yet."""

    old_path: Path
    new_path: Path


class ReadLink(Request, number=19, name="readlink"):
    """Where a symbolic link leads."""

    path: Path


class SymbolicLink(Request, number=20, name="symlink"):
    """Make a symbolic link. The draft has the new link's path first, OpenSSH the target."""

    first: Path
    second: Path


class Extended(Request, number=EXTENDED_NUMBER, name="extended"):
    """Something that only some know."""

    extension: String
    contents: Rest


class Extension(Request):
    """The contents of an EXTENDED; ``key`` is its name on the wire, ``version`` what VERSION says of it."""

    key: ClassVar[bytes] = b""
    version: ClassVar[bytes] = b""

    def __init_subclass__(
        cls, *, key: bytes = b"", version: bytes = b"1", name: str = "", number: int | None = None
    ) -> None:
        super().__init_subclass__(number=number, name=name)
        cls.key, cls.version = key, version


class PosixRename(Extension, key=b"posix-rename@openssh.com", name="posix-rename"):
    """Give a file another name, in the place of what has that name."""

    old_path: Path
    new_path: Path


class StatFileSystem(Extension, key=b"statvfs@openssh.com", version=b"2", name="statvfs"):
    """The room in the file system that a path is in."""

    path: Path


class FileStatFileSystem(Extension, key=b"fstatvfs@openssh.com", version=b"2", name="fstatvfs"):
    """The same for an open file."""

    handle: String


class HardLink(Extension, key=b"hardlink@openssh.com", name="hardlink"):
    """Give a file another name besides."""

    old_path: Path
    new_path: Path


class FileSync(Extension, key=b"fsync@openssh.com", name="fsync"):
    """Bring what was written to the disk."""

    handle: String


class LinkSetStat(Extension, key=b"lsetstat@openssh.com", name="lsetstat"):
    """Change attributes of a path; of a link itself."""

    path: Path
    attributes: AttributesField


class AskLimits(Extension, key=b"limits@openssh.com", name="limits"):
    """How large messages may be."""


class ExpandPath(Extension, key=b"expand-path@openssh.com", name="expand-path"):
    """As REALPATH, with ~ and ~user."""

    path: Path


class CopyData(Extension, key=b"copy-data", name="copy-data"):
    """Copy from one open file to another; all to the end where ``length`` is 0."""

    from_handle: String
    from_offset: UInt64
    length: UInt64
    to_handle: String
    to_offset: UInt64


class HomeDirectory(Extension, key=b"home-directory", name="home-directory"):
    """The home directory of a user; without a name, of the one who is logged in."""

    user: Path


class UsersGroupsById(Extension, key=b"users-groups-by-id@openssh.com", name="users-groups-by-id"):
    """The names of users and groups, whose numbers stand one behind the other in each string."""

    uids: String
    gids: String


# What is answered


class Reply(Message):
    """What a server answers to a request."""


class Status(Reply, number=101):
    """How it ended."""

    code: UInt32
    message: String
    language: String


class Handle(Reply, number=102):
    """An open file or directory."""

    handle: String


class Data(Reply, number=DATA_NUMBER):
    """What was read."""

    data: String


class Name(Reply, number=104):
    """Names, with what belongs to them."""

    entries: Entries


class Attrs(Reply, number=105):
    """Attributes."""

    attributes: AttributesField


class ExtendedReply(Reply, number=201):
    """What an extension answers."""

    contents: Rest


class Statistics(Message):
    """The room in a file system: what statvfs(3) says of it; ``flags`` 1 is read-only, 2 without set-user-id."""

    block_size: UInt64
    fragment_size: UInt64
    blocks: UInt64
    free_blocks: UInt64
    available_blocks: UInt64
    files: UInt64
    free_files: UInt64
    available_files: UInt64
    file_system: UInt64
    flags: UInt64
    longest_name: UInt64


class Limits(Message):
    """What a server takes; 0 is what it does not say."""

    largest_message: UInt64
    largest_read: UInt64
    largest_write: UInt64
    most_handles: UInt64


class Names(Message):
    """The names of users and groups; empty for numbers that nobody has."""

    users: String
    groups: String


REQUESTS: Final[dict[int | None, type[Request]]] = {
    kind.number: kind
    for kind in (
        Open,
        Close,
        Read,
        Write,
        LinkStat,
        FileStat,
        SetStat,
        FileSetStat,
        OpenDirectory,
        ReadDirectory,
        Remove,
        MakeDirectory,
        RemoveDirectory,
        RealPath,
        Stat,
        Rename,
        ReadLink,
        SymbolicLink,
        Extended,
    )
}

# In the order in which OpenSSH's server names them.
EXTENSIONS: Final[dict[bytes, type[Extension]]] = {
    kind.key: kind
    for kind in (
        PosixRename,
        StatFileSystem,
        FileStatFileSystem,
        HardLink,
        FileSync,
        LinkSetStat,
        AskLimits,
        ExpandPath,
        CopyData,
        HomeDirectory,
        UsersGroupsById,
    )
}

REPLIES: Final[dict[int | None, type[Reply]]] = {
    kind.number: kind for kind in (Status, Handle, Data, Name, Attrs, ExtendedReply)
}


def framed(message: Message, request_id: int) -> bytes:
    """A message behind its length, with the id that joins question and answer."""
    if isinstance(message, Extension):
        message = Extended(message.key, message.encode())
    body = message.encode()
    return _HEAD.pack(len(body) + 4, body[0], request_id) + body[1:]


def fields(frame: bytes | bytearray | memoryview) -> bytes:
    """Of a frame without its length, what ``decode`` takes: one byte in place of number and id."""
    return bytes(frame[4:])
