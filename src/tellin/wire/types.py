# SPDX-License-Identifier: MIT
"""The data types of RFC 4251 section 5: how each is read from a packet and written to one."""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Annotated, Any, Final

from tellin.errors import MalformedPacket

_UINT32: Final = Struct(">I")
_UINT64: Final = Struct(">Q")

# A KEXINIT of 256 KiB of names burns CPU before anybody has logged in (CVE-2025-48040).
NAME_LIST_BYTES: Final = 65536
NAME_LIST_NAMES: Final = 512
NAME_BYTES: Final = 64  # RFC 4251 section 6
# Lists that are read before are known again; what a peer can have kept of its own is 256 KiB.
_KEPT_LISTS: Final = 256
_KEPT_LIST_BYTES: Final = 1024
# The largest integer any method needs is an RSA modulus or DH value of 16,384 bits, and a sign byte.
MPINT_BYTES: Final = 2049


class Cursor:
    """A place in one packet's payload; every read moves it forward or raises MalformedPacket."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes | bytearray | memoryview, at: int = 0) -> None:
        self.data = data
        self.at = at

    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, copied."""
        at = self.at
        end = at + size
        # The length is a peer's word: nothing is allocated before it is known to fit (R025).
        if size < 0 or end > len(self.data):
            raise MalformedPacket(f"{size} bytes announced, {len(self.data) - at} left")
        self.at = end
        return bytes(self.data[at:end])

    def byte(self) -> int:
        """One byte as a number."""
        at = self.at
        if at >= len(self.data):
            raise MalformedPacket("the packet ends where a byte should be")
        self.at = at + 1
        return self.data[at]

    def boolean(self) -> bool:
        """A boolean: any non-zero byte is true (RFC 4251 section 5)."""
        return self.byte() != 0

    def uint32(self) -> int:
        """A 32-bit number, big end first."""
        at = self.at
        if at + 4 > len(self.data):
            raise MalformedPacket("the packet ends inside a uint32")
        self.at = at + 4
        value: int = _UINT32.unpack_from(self.data, at)[0]
        return value

    def uint64(self) -> int:
        """A 64-bit number, big end first."""
        at = self.at
        if at + 8 > len(self.data):
            raise MalformedPacket("the packet ends inside a uint64")
        self.at = at + 8
        value: int = _UINT64.unpack_from(self.data, at)[0]
        return value

    def string(self) -> bytes:
        """A length and that many bytes."""
        # ``take`` and ``uint32`` in one, since most fields are strings.
        data = self.data
        start = self.at + 4
        if start > len(data):
            raise MalformedPacket("the packet ends inside a uint32")
        size: int = _UINT32.unpack_from(data, start - 4)[0]
        end = start + size
        # The length is a peer's word: nothing is allocated before it is known to fit (R025).
        if end > len(data):
            raise MalformedPacket(f"{size} bytes announced, {len(data) - start} left")
        self.at = end
        return bytes(data[start:end])

    def text(self) -> str:
        """A string that must be UTF-8."""
        # ``string`` once more, as a call costs as much as all of it.
        data = self.data
        start = self.at + 4
        if start > len(data):
            raise MalformedPacket("the packet ends inside a uint32")
        size: int = _UINT32.unpack_from(data, start - 4)[0]
        end = start + size
        if end > len(data):
            raise MalformedPacket(f"{size} bytes announced, {len(data) - start} left")
        self.at = end
        try:
            return str(data[start:end], "utf-8")
        except UnicodeDecodeError:
            raise MalformedPacket("a text is not UTF-8") from None

    def mpint(self) -> int:
        """A signed integer of any size, in its one shortest form."""
        size = self.uint32()
        if size > MPINT_BYTES:
            raise MalformedPacket(f"an integer of {size} bytes")
        raw = self.take(size)
        # RFC 4251 section 5: unnecessary leading bytes MUST NOT be included; a second spelling
        # of the same number would hash differently on the two sides.
        if raw and raw[0] in {0, 255} and (size == 1 or (raw[0] ^ raw[1]) < 0x80):
            if raw != b"\xff":
                raise MalformedPacket("an integer with unnecessary leading bytes")
        return int.from_bytes(raw, "big", signed=True)

    def name_list(self) -> tuple[str, ...]:
        """Names separated by commas, each bounded and printable ASCII (RFC 4251 sections 5, 6)."""
        size = self.uint32()
        if size > NAME_LIST_BYTES:
            raise MalformedPacket(f"a name-list of {size} bytes")
        raw = self.take(size)
        if not raw:
            return ()
        # The same few lists come again and again, eight in each KEXINIT.
        return _names_kept(raw) if size <= _KEPT_LIST_BYTES else _names(raw)

    def rest(self) -> bytes:
        """All that is left."""
        at, self.at = self.at, len(self.data)
        return bytes(self.data[at:])

    def end(self, what: str) -> None:
        """Nothing may be left after ``what``."""
        if self.at != len(self.data):
            raise MalformedPacket(f"{len(self.data) - self.at} bytes too many after {what}")


def _names(raw: bytes) -> tuple[str, ...]:
    if raw.count(b",") >= NAME_LIST_NAMES:
        raise MalformedPacket(f"a name-list of more than {NAME_LIST_NAMES} names")
    if not raw.isascii():
        raise MalformedPacket("a name-list that is not ASCII")
    names = tuple(raw.decode("ascii").split(","))
    for name in names:
        if not name or len(name) > NAME_BYTES or not name.isprintable() or " " in name:
            raise MalformedPacket(f"a bad name in a name-list: {name[:NAME_BYTES]!r}")
    return names


_names_kept = lru_cache(_KEPT_LISTS)(_names)


def string(value: bytes | bytearray | memoryview) -> bytes:
    """``value`` behind its length."""
    return _UINT32.pack(len(value)) + value


def mpint(value: int) -> bytes:
    """``value`` in two's complement, shortest form, behind its length."""
    if value == 0:
        return b"\0\0\0\0"
    size = (value if value > 0 else -value - 1).bit_length() // 8 + 1
    return _UINT32.pack(size) + value.to_bytes(size, "big", signed=True)


class WireType:
    """How one kind of field is read and written; ``code`` is its letter in ``struct`` if it has a fixed size."""

    __slots__ = ("code", "read", "write")

    def __init__(
        self, read: Callable[[Cursor], Any], write: Callable[[Any], bytes], code: str = ""
    ) -> None:
        self.read = read
        self.write = write
        self.code = code


def _boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _byte(value: int) -> bytes:
    return bytes((value,))


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return _UINT32.pack(len(encoded)) + encoded


def _name_list(value: tuple[str, ...]) -> bytes:
    return string(",".join(value).encode("ascii"))


Byte = Annotated[int, WireType(Cursor.byte, _byte, "B")]
Boolean = Annotated[bool, WireType(Cursor.boolean, _boolean, "?")]
UInt32 = Annotated[int, WireType(Cursor.uint32, _UINT32.pack, "I")]
UInt64 = Annotated[int, WireType(Cursor.uint64, _UINT64.pack, "Q")]
String = Annotated[bytes, WireType(Cursor.string, string)]
Text = Annotated[str, WireType(Cursor.text, _text)]
MPInt = Annotated[int, WireType(Cursor.mpint, mpint)]
NameList = Annotated[tuple[str, ...], WireType(Cursor.name_list, _name_list)]
Rest = Annotated[bytes, WireType(Cursor.rest, bytes)]
