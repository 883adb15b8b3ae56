# SPDX-License-Identifier: MIT
"""What is known of a file, or is to be changed of it (draft-ietf-secsh-filexfer-02 section 5)."""

import stat
from typing import Annotated, Final

from tellin.errors import MalformedPacket, UsageError
from tellin.wire import Cursor, Record, WireType, string

_SIZE: Final = 1
_OWNER: Final = 2
_PERMISSIONS: Final = 4
_TIMES: Final = 8
_EXTENDED: Final = 0x80000000
_MOST_UINT32: Final = 0xFFFFFFFF
_MOST_UINT64: Final = 0xFFFFFFFFFFFFFFFF


class Attributes(Record):
    """Of a file, what the other side said or is to be told; None is what was not said.

    Owner and group go together, and so do the two times, which are seconds since 1970 and have 32
    bits. ``permissions`` holds the kind of file too, as ``st_mode`` does.
    """

    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    permissions: int | None = None
    atime: int | None = None
    mtime: int | None = None
    extended: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def is_directory(self) -> bool:
        """Whether it is known to be a directory."""
        return self.permissions is not None and stat.S_ISDIR(self.permissions)

    @property
    def is_file(self) -> bool:
        """Whether it is known to be a regular file."""
        return self.permissions is not None and stat.S_ISREG(self.permissions)

    @property
    def is_link(self) -> bool:
        """Whether it is known to be a symbolic link."""
        return self.permissions is not None and stat.S_ISLNK(self.permissions)

    @property
    def mode(self) -> int | None:
        """The permissions without the kind of file."""
        return None if self.permissions is None else stat.S_IMODE(self.permissions)

    def encode(self) -> bytes:
        """As they go over the wire; raises UsageError for a number that has no room there."""
        flags, parts = 0, []
        if self.size is not None:
            flags |= _SIZE
            parts.append(_number("size", self.size, 8))
        if self.uid is not None or self.gid is not None:
            flags |= _OWNER
            parts += [_number("uid", self.uid), _number("gid", self.gid)]
        if self.permissions is not None:
            flags |= _PERMISSIONS
            parts.append(_number("permissions", self.permissions))
        if self.atime is not None or self.mtime is not None:
            flags |= _TIMES
            parts += [_number("atime", self.atime), _number("mtime", self.mtime)]
        if self.extended:
            flags |= _EXTENDED
            parts.append(len(self.extended).to_bytes(4, "big"))
            parts += [string(name) + string(value) for name, value in self.extended]
        return flags.to_bytes(4, "big") + b"".join(parts)

    @classmethod
    def read(cls, cursor: Cursor) -> "Attributes":
        """Read them from where ``cursor`` stands. Flags that version 3 does not know hold no field."""
        flags = cursor.uint32()
        made = cls()
        if flags & _SIZE:
            made.size = cursor.uint64()
        if flags & _OWNER:
            made.uid, made.gid = cursor.uint32(), cursor.uint32()
        if flags & _PERMISSIONS:
            made.permissions = cursor.uint32()
        if flags & _TIMES:
            made.atime, made.mtime = cursor.uint32(), cursor.uint32()
        if flags & _EXTENDED:
            count = cursor.uint32()
            # Before anything is made of it: each has two lengths at least.
            if count * 8 > cursor.remaining():
                raise MalformedPacket(f"{count} extended attributes in {cursor.remaining()} bytes")
            made.extended = tuple((cursor.string(), cursor.string()) for _ in range(count))
        return made


def _number(name: str, value: int | None, size: int = 4) -> bytes:
    if value is None:
        raise UsageError(f"{name} goes only together with its other half")
    if not 0 <= value <= (_MOST_UINT32 if size == 4 else _MOST_UINT64):
        raise UsageError(f"{name}={value} has no room in {size} bytes")
    return value.to_bytes(size, "big")


def within_32_bits(seconds: float) -> int:
    """A time as version 3 can say it: years before 1970 and after 2106 become those two."""
    return min(max(int(seconds), 0), _MOST_UINT32)


AttributesField = Annotated[Attributes, WireType(Attributes.read, Attributes.encode)]
