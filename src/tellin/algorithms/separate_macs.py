# SPDX-License-Identifier: MIT
"""Packets under a cipher and a MAC of its own: encrypt-then-MAC and encrypt-and-MAC (RFC 4253 section 6.4)."""

from hmac import compare_digest
from struct import Struct
from typing import Final

from tellin.algorithms.macs import MacKey
from tellin.algorithms.sealing import (
    MAXIMUM_PACKET_LENGTH,
    OpensOpenly,
    Transform,
    corrupted,
)

_UINT32: Final = Struct(">I")


class _Separate:
    __slots__ = ("_apply", "_authenticate", "_transform", "block", "tag")

    def __init__(self, transform: Transform, mac: MacKey, *, block: int, tag: int) -> None:
        self._transform = transform
        self._apply = transform.apply
        self._authenticate = mac.tag
        self.block = block
        self.tag = tag

    def current_iv(self) -> bytes:
        """The state of the cipher; a MAC has none but the sequence number."""
        return self._transform.current_iv()


class EncryptThenMacSealer(_Separate):
    """The -etm@openssh.com form on the way out: the length stays readable, the MAC covers what is sent."""

    __slots__ = ()

    length_aligned = False

    def seal(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Encrypt ``view[start + 4:end]`` in place and put the MAC behind it."""
        self._apply(view[start + 4 : end])
        view[end : end + self.tag] = self._authenticate(sequence, view[start:end])


class EncryptThenMacOpener(_Separate, OpensOpenly):
    """The -etm@openssh.com form on the way in."""

    __slots__ = ()

    length_aligned = False
    peek = 4

    def length(self, view: memoryview, start: int, sequence: int) -> int:
        """The packet_length as it stands there, not yet verified."""
        value: int = _UINT32.unpack_from(view, start)[0]
        return value

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Verify the packet, and only then decrypt ``view[start + 4:end]`` in place."""
        expected = self._authenticate(sequence, view[start:end])
        if not compare_digest(expected, view[end : end + self.tag]):
            raise corrupted()
        self._apply(view[start + 4 : end])


class EncryptAndMacSealer(_Separate):
    """The form of RFC 4253 on the way out: the MAC covers the clear packet, the length is encrypted too."""

    __slots__ = ()

    length_aligned = True

    def seal(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Encrypt ``view[start:end]`` in place and put the MAC of the clear packet behind it."""
        packet = view[start:end]
        view[end : end + self.tag] = self._authenticate(sequence, packet)
        self._apply(packet)


class EncryptAndMacOpener(_Separate, OpensOpenly):
    """The form of RFC 4253 on the way in, with a cipher whose blocks do not depend on each other."""

    __slots__ = ("peek",)

    length_aligned = True

    def __init__(self, transform: Transform, mac: MacKey, *, block: int, tag: int) -> None:
        super().__init__(transform, mac, block=block, tag=tag)
        self.peek = block

    def length(self, view: memoryview, start: int, sequence: int) -> int:
        """Decrypt the first block in place and read the packet_length, not yet verified."""
        self._apply(view[start : start + self.block])
        value: int = _UINT32.unpack_from(view, start)[0]
        return value

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Decrypt the blocks behind the first in place and verify the whole."""
        rest = start + self.block
        if rest < end:
            self._apply(view[rest:end])
        expected = self._authenticate(sequence, view[start:end])
        if not compare_digest(expected, view[end : end + self.tag]):
            raise corrupted()


class ChainedEncryptAndMacOpener(EncryptAndMacOpener):
    """The form of RFC 4253 on the way in, under CBC: every error looks the same (R029)."""

    __slots__ = ("_authenticated", "_missing")

    hides_length = True

    def __init__(self, transform: Transform, mac: MacKey, *, block: int, tag: int) -> None:
        super().__init__(transform, mac, block=block, tag=tag)
        self._missing = 4 + MAXIMUM_PACKET_LENGTH + tag

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Decrypt the blocks behind the first in place and verify the whole; an error is for ``poison`` to tell."""
        self._missing -= end - start
        super().open(view, start, end, sequence)
        self._missing += end - start

    def poison(self, view: memoryview) -> None:
        """Authenticate what comes, to no end but time, and raise when the longest packet would have ended."""
        self._authenticate(0, view[: self._missing])
        self._missing -= len(view)
        if self._missing <= 0:
            raise corrupted()
