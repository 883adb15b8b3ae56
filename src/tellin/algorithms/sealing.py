# SPDX-License-Identifier: MIT
"""What protects one direction's packets: the interface, its one error, and the clear form."""

from struct import Struct
from typing import Final, Protocol

from tellin.errors import IntegrityError

_UINT32: Final = Struct(">I")

# RFC 4253 section 6.1 asks for 35,000; OpenSSH takes and sends up to this.
MAXIMUM_PACKET_LENGTH: Final = 262144


class Sealer(Protocol):
    """Protects packets on the way out; it keeps no view after a call."""

    block: int
    """What padding fills up to a multiple of; at least 8."""
    tag: int
    """How many bytes follow the ciphertext."""
    length_aligned: bool
    """Whether the four bytes of packet_length count when padding is reckoned."""

    def seal(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Protect the complete clear packet ``view[start:end]`` in place, its tag in ``view[end:end + tag]``."""

    def current_iv(self) -> bytes:
        """With the same keys, makes an equal sealer for the packets that follow."""


class Opener(Protocol):
    """Unprotects packets on the way in; it keeps no view after a call.

    For each packet, in this order: wait for ``peek`` bytes, call ``length`` once, check what it
    gives, wait for the whole packet and its tag, call ``open`` once. After an error no further
    packet may be opened.

    Where ``hides_length`` is true (CBC with a MAC over the clear packet) a peer that flips bits in the
    first block must not learn from us whether the length came out good: that tells it bits of
    the clear text (CVE-2008-5161). There, a length out of bounds and an IntegrityError of ``open``
    are both to be kept to oneself: hand all further bytes to ``poison``, as they come and of any
    size, until it raises what is to be reported. With a bad length, begin at the packet's start;
    after a failed ``open``, begin at its ``end``. The bytes may be forgotten after each call.
    Either way the same number of bytes is awaited and authenticated, and the error is the same.
    """

    block: int
    """What the packet must be a multiple of."""
    tag: int
    """How many bytes follow the ciphertext."""
    length_aligned: bool
    """Whether the four bytes of packet_length count towards that multiple."""
    peek: int
    """How many bytes of a packet must be there before ``length`` may be called."""
    hides_length: bool
    """Whether errors go by way of ``poison``."""

    def length(self, view: memoryview, start: int, sequence: int) -> int:
        """The packet_length of the packet at ``start``, not checked; it may decrypt the first block in place."""

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Verify and decrypt in place; ``view[start + 4:end]`` is clear afterwards, or IntegrityError is raised."""

    def poison(self, view: memoryview) -> None:
        """Take the next bytes after an error; raises IntegrityError when the longest packet is reached."""

    def current_iv(self) -> bytes:
        """With the same keys, makes an equal opener for the packets that follow."""


class Transform(Protocol):
    """One direction of a cipher without authentication."""

    def apply(self, view: memoryview) -> None:
        """Encrypt or decrypt whole blocks in place."""

    def current_iv(self) -> bytes:
        """With the same key, makes an equal transform for the blocks that follow."""


def corrupted() -> IntegrityError:
    """The one error for a tag that does not fit, whatever the cipher and the place of the damage."""
    return IntegrityError("corrupted MAC on input")


class OpensOpenly:
    """An opener whose errors tell the peer nothing: the length is clear or under a key of its own."""

    __slots__ = ()

    hides_length = False

    def poison(self, view: memoryview) -> None:
        """Nothing is to be hidden: raises at once."""
        raise corrupted()


class _Clear(OpensOpenly):
    """No protection, before the first NEWKEYS (RFC 4253 section 6)."""

    __slots__ = ()

    block = 8
    tag = 0
    length_aligned = True
    peek = 4

    def seal(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """The packet goes out as it is."""

    def length(self, view: memoryview, start: int, sequence: int) -> int:
        """The packet_length as it stands there."""
        value: int = _UINT32.unpack_from(view, start)[0]
        return value

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """The packet is clear already."""

    def current_iv(self) -> bytes:
        """Nothing."""
        return b""


_CLEAR: Final = _Clear()
CLEAR_SEALER: Final[Sealer] = _CLEAR
CLEAR_OPENER: Final[Opener] = _CLEAR
