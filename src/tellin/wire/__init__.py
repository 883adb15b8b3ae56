# SPDX-License-Identifier: MIT
"""Bytes to values and back (RFC 4251 section 5): types, messages, buffers."""

from tellin.wire.buffers import ReceiveBuffer, SendBuffer
from tellin.wire.message import Message, Record
from tellin.wire.types import (
    Boolean,
    Byte,
    Cursor,
    MPInt,
    NameList,
    Rest,
    String,
    Text,
    UInt32,
    UInt64,
    WireType,
    mpint,
    string,
)

__all__ = [
    "Boolean",
    "Byte",
    "Cursor",
    "MPInt",
    "Message",
    "NameList",
    "ReceiveBuffer",
    "Record",
    "Rest",
    "SendBuffer",
    "String",
    "Text",
    "UInt32",
    "UInt64",
    "WireType",
    "mpint",
    "string",
]
