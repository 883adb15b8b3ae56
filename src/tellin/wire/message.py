# SPDX-License-Identifier: MIT
"""What a message is: a class whose annotations are its layout on the wire."""

# No ``from __future__ import annotations`` here or in any module of messages: the annotations
# themselves, not their text, are the layout.

from collections.abc import Callable
from operator import call
from struct import Struct
from typing import Any, ClassVar, Self, dataclass_transform

from tellin.wire.types import Cursor, WireType


@dataclass_transform()
class Record:
    """A plain value with named fields; a class costs microseconds where a dataclass costs a millisecond.

    Fields named in the class keyword ``secret`` never show in ``repr``.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[dict[str, Any]] = {}
    _secret: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, *, secret: tuple[str, ...] = ()) -> None:
        own = [
            name
            for name, kind in cls.__dict__.get("__annotations__", {}).items()
            if getattr(kind, "__origin__", None) is not ClassVar
        ]
        cls._fields = (*(name for name in cls._fields if name not in own), *own)
        cls._defaults = {
            **cls._defaults,
            **{name: cls.__dict__[name] for name in own if name in cls.__dict__},
        }
        cls._secret = cls._secret | frozenset(secret)
        cls._names = frozenset(cls._fields)

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self._fields
        if not named and len(values) == len(fields):
            # Nearly all of them are made so, and a login makes a hundred.
            self.__dict__.update(zip(fields, values))  # noqa: B905  (the lengths are the same)
            return
        given = self.__dict__
        given.update(zip(fields, values, strict=False))
        if len(values) > len(fields) or not given.keys().isdisjoint(named):
            raise TypeError(f"{type(self).__name__} takes {', '.join(fields)}")
        given.update(named)
        if len(given) != len(fields):
            for name, value in self._defaults.items():
                given.setdefault(name, value)
        if given.keys() != self._names:
            raise TypeError(f"{type(self).__name__} takes {', '.join(fields)}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (
            f"{name}=<hidden>" if name in self._secret else f"{name}={self.__dict__[name]!r}"
            for name in self._fields
        )
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass_transform()
class Message(Record):
    """Base of every message: ``class Ping(Message, number=192): data: String``.

    A layout without a number (``number=None``) is a structure inside other messages.
    """

    number: ClassVar[int | None] = None
    _layout: ClassVar[tuple[tuple[str, WireType], ...]] = ()
    _head: ClassVar[bytes] = b""
    # Where every field has its size, but for a Rest at the end: all of them in one step.
    _packed: ClassVar[Struct | None] = None
    _rest: ClassVar[str] = ""
    _writes: ClassVar[tuple[Callable[[Any], bytes], ...]] = ()

    def __init_subclass__(cls, *, number: int | None = None, secret: tuple[str, ...] = ()) -> None:
        super().__init_subclass__(secret=secret)
        if number is not None:
            cls.number = number
            cls._head = bytes((number,))
        own = cls.__dict__.get("__annotations__", {})
        cls._layout = layout = cls._layout + tuple(
            (name, kind.__metadata__[0]) for name, kind in own.items() if name in cls._fields
        )
        cls._writes = tuple(wire.write for _, wire in layout)
        codes = [wire.code for _, wire in layout]
        cls._rest = layout[-1][0] if layout and layout[-1][1].read is Cursor.rest else ""
        if cls._rest:
            codes.pop()
        cls._packed = Struct(f">{len(cls._head)}s{''.join(codes)}") if all(codes) else None

    def encode(self) -> bytes:
        """The message as a packet's payload."""
        values = self.__dict__
        fields = map(values.__getitem__, self._fields)
        if self._packed is None:
            return self._head + b"".join(map(call, self._writes, fields))
        if self._rest:
            *sized, rest = fields
            return self._packed.pack(self._head, *sized) + bytes(rest)
        return self._packed.pack(self._head, *fields)

    @classmethod
    def decode(cls, payload: bytes | bytearray | memoryview) -> Self:
        """Read a whole payload; the fields are copies. Raises MalformedPacket, also for bytes left over."""
        packed = cls._packed
        if packed is not None:
            size = packed.size
            if len(payload) == size or (cls._rest and len(payload) > size):
                made = cls.__new__(cls)
                values = made.__dict__
                values.update(zip(cls._fields, packed.unpack_from(payload)[1:], strict=False))
                if cls._rest:
                    values[cls._rest] = bytes(payload[size:])
                return made
        # From bytes a field is one copy; from a view there would be a view in between.
        cursor = Cursor(bytes(payload), len(cls._head))
        made = cls.read(cursor)
        if cursor.at != len(cursor.data):
            cursor.end(cls.__name__)
        return made

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """Read the fields from where ``cursor`` stands and leave it behind them."""
        made = cls.__new__(cls)
        values = made.__dict__
        for name, wire in cls._layout:
            values[name] = wire.read(cursor)
        return made
