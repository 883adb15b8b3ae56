# SPDX-License-Identifier: MIT
"""The binary packet protocol (RFC 4253 section 6): packets opened and sealed where they lie."""

from collections.abc import Callable
from struct import Struct
from typing import Final

from tellin.algorithms.compression import Compressor, Decompressor
from tellin.algorithms.sealing import CLEAR_OPENER, CLEAR_SEALER, Opener, Sealer
from tellin.errors import IntegrityError, MalformedPacket, ProtocolError
from tellin.wire import ReceiveBuffer, SendBuffer

# RFC 4253 section 6.1 asks for 35,000; OpenSSH takes 256 KiB, and so do we (R024).
MAXIMUM_PACKET: Final = 262144
MINIMUM_PACKET: Final = 5
# What inflates from one packet is held to the same size (R027).
MAXIMUM_PAYLOAD: Final = 262144
MINIMUM_PADDING: Final = 4

_HEADER: Final = Struct(">IB")
_DATA_HEADER: Final = Struct(">IBBII")
_EXTENDED_HEADER: Final = Struct(">IBBIII")
_SEQUENCE: Final = 0xFFFFFFFF


class PacketReader:
    """Opens the packets in a ReceiveBuffer, one after the other, in place."""

    __slots__ = (
        "_before",
        "_length",
        "_poisoned",
        "buffer",
        "bytes",
        "decompressor",
        "opener",
        "packets",
        "sequence",
    )

    def __init__(self, buffer: ReceiveBuffer) -> None:
        self.buffer = buffer
        self.opener: Opener = CLEAR_OPENER
        self.decompressor: Decompressor | None = None
        self.sequence = 0
        self.packets = 0  # under the present keys
        self.bytes = 0
        self._before = 0  # bytes under all keys before
        self._length = -1
        self._poisoned = False

    def next(self) -> memoryview | None:
        """The next packet's payload, or None until more has arrived.

        The view is good until the buffer hands out room again. Raises ProtocolError.
        """
        if self._poisoned:
            self._poison()
            return None
        buffer = self.buffer
        opener = self.opener
        at = buffer.at
        length = self._length
        if length < 0:
            if buffer.end - at < opener.peek:
                return None
            length = opener.length(buffer.data, at, self.sequence)
            if not MINIMUM_PACKET <= length <= MAXIMUM_PACKET or (
                (length + 4 * opener.length_aligned) % opener.block
            ):
                self._refuse(MalformedPacket(f"Bad packet length {length}."), at)
                return None
            self._length = length
        end = at + 4 + length
        if buffer.end < end + opener.tag:
            return None
        data = buffer.data
        try:
            opener.open(data, at, end, self.sequence)
        except IntegrityError as error:
            self._refuse(error, end)
            return None
        self._length = -1
        buffer.at = end + opener.tag
        self.packets += 1
        self.bytes += length
        self.sequence = (self.sequence + 1) & _SEQUENCE
        padding = data[at + 4]
        if padding < MINIMUM_PADDING:
            raise MalformedPacket(f"Corrupted padlen {padding} on input.")
        if padding > length - 2:
            raise MalformedPacket("a packet with no payload")
        payload = data[at + 5 : end - padding]
        if self.decompressor is not None:
            return memoryview(self.decompressor.decompress(payload, MAXIMUM_PAYLOAD))
        return payload

    def wanted(self) -> int:
        """How many bytes are still missing from the packet that has begun, if its length is known."""
        if self._length < 0:
            return 0
        return max(0, 4 + self._length + self.opener.tag - len(self.buffer))

    def _refuse(self, error: ProtocolError, at: int) -> None:
        # With CBC and encrypt-and-MAC, the moment at which we give up after a forged length would
        # tell an attacker what the length decrypted to (CVE-2008-5161): such an opener takes what
        # comes until the longest packet is full, and then fails as for any other forgery (R029).
        if not self.opener.hides_length:
            raise error
        self._poisoned = True
        self.buffer.at = at
        self._poison()

    def _poison(self) -> None:
        buffer = self.buffer
        at, buffer.at = buffer.at, buffer.end
        self.opener.poison(buffer.data[at : buffer.end])

    def switch(self, opener: Opener, *, reset: bool) -> None:
        """Open the following packets with new keys; ``reset`` is strict key exchange's rule."""
        self._before = self.total
        self.opener = opener
        self.packets = self.bytes = 0
        if reset:
            self.sequence = 0

    @property
    def total(self) -> int:
        """How many bytes of packets there were under all keys."""
        return self._before + self.bytes + 4 * self.packets  # ``bytes`` is without their lengths

    def begun(self) -> int:
        """The length of a packet whose length is already decrypted, or -1 (for freezing)."""
        return self._length

    def resume(self, length: int) -> None:
        """The counterpart of ``begun`` when thawing."""
        self._length = length


class PacketWriter:
    """Builds and seals packets at the end of a SendBuffer."""

    __slots__ = (
        "_before",
        "_extended",
        "_padding",
        "_padding_at",
        "_random",
        "_recipient",
        "_scratch",
        "_size",
        "_start",
        "_stride",
        "buffer",
        "bytes",
        "compressor",
        "packets",
        "sealer",
        "sequence",
    )

    def __init__(self, buffer: SendBuffer, random: Callable[[int], bytes]) -> None:
        self.buffer = buffer
        self.sealer: Sealer = CLEAR_SEALER
        self.compressor: Compressor | None = None
        self.sequence = 0
        self.packets = 0
        self.bytes = 0
        self._before = 0
        self._random = random
        self._padding = b""
        self._padding_at = 0
        self._recipient = self._size = self._stride = self._start = 0
        self._extended: int | None = None
        self._scratch: memoryview | None = None

    def _pad(self, size: int) -> bytes:
        # Fresh random padding for each packet, drawn from a stock: one call for dozens of packets,
        # and no more than an idle connection may keep.
        at = self._padding_at
        if at + size > len(self._padding):
            self._padding = self._random(512)
            at = 0
        self._padding_at = at + size
        return self._padding[at : at + size]

    def _padding_size(self, payload: int) -> int:
        sealer = self.sealer
        block = sealer.block
        padding = block - (payload + (5 if sealer.length_aligned else 1)) % block
        return padding if padding >= MINIMUM_PADDING else padding + block

    def write(self, payload: bytes | memoryview) -> None:
        """Append one packet."""
        if self.compressor is not None:
            payload = self.compressor.compress(payload)
        sealer, buffer = self.sealer, self.buffer
        size = len(payload)
        padding = self._padding_size(size)
        length = 1 + size + padding
        whole = 4 + length + sealer.tag
        view, start, _ = buffer.reserve(whole)
        middle = start + 5 + size
        end = middle + padding
        _HEADER.pack_into(view, start, length, padding)
        view[start + 5 : middle] = payload
        stock, at = self._padding, self._padding_at + padding
        if at > len(stock):
            view[middle:end] = self._pad(padding)
        else:
            view[middle:end] = stock[at - padding : at]
            self._padding_at = at
        sequence = self.sequence
        sealer.seal(view, start, end, sequence)
        self.sequence = (sequence + 1) & _SEQUENCE
        self.packets += 1
        self.bytes += end - start
        buffer.commit(whole)

    # The lane: room for channel data is handed out inside the packets it will travel in, so that
    # a read from a pipe lands where the cipher will find it.

    def reserve_data(
        self,
        recipient: int,
        room: int,
        size: int,
        extended: int | None = None,
        *,
        whole: bool = False,
    ) -> list[memoryview]:
        """Places for up to ``room`` bytes of channel data, one for each packet of ``size``.

        What is written to them goes out with ``commit_data``; nothing else may be written to this
        connection between the two calls. With ``whole`` they are not cut short where a block ends.
        """
        header = 10 + (4 if extended is None else 8)
        self._recipient, self._size, self._extended = recipient, size, extended
        if self.compressor is not None:
            # What is compressed cannot be built in place.
            self._scratch = memoryview(bytearray(min(room, size)))
            return [self._scratch]
        self._scratch = None
        stride = header + size + self._padding_size(header - 5 + size) + self.sealer.tag
        wanted = stride * -(-room // size)
        view, start, limit = self.buffer.reserve(wanted, wanted if whole else stride)
        self._start, self._stride = start, stride
        places = []
        for at in range(start + header, min(limit, start + wanted) - stride + header + 1, stride):
            place = view[at : at + min(size, room)]
            places.append(place)
            room -= len(place)
        return places

    def commit_data(self, count: int) -> None:
        """Seal the first ``count`` bytes that were put into the reserved places."""
        if self._scratch is not None:
            data, self._scratch = self._scratch[:count], None
            if count:
                self.write(data_payload(self._recipient, data, self._extended))
            return
        sealer = self.sealer
        extended = self._extended
        header = 14 if extended is None else 18
        view, start, _ = self.buffer.reserve(self._stride)
        if start != self._start:  # pragma: no cover - a caller's mistake, not a peer's
            raise AssertionError("something was written between reserve_data and commit_data")
        size = committed = padding = 0
        while count:
            wanted = min(self._size, count)
            if wanted != size:
                # Twice at most: for the full packets, and for the last.
                size = wanted
                padding = self._padding_size(header - 5 + size)
            count -= size
            at = start + committed
            middle = at + header + size
            end = middle + padding
            if extended is None:
                _DATA_HEADER.pack_into(view, at, end - at - 4, padding, 94, self._recipient, size)
            else:
                _EXTENDED_HEADER.pack_into(
                    view, at, end - at - 4, padding, 95, self._recipient, extended, size
                )
            view[middle:end] = self._pad(padding)
            sealer.seal(view, at, end, self.sequence)
            self.sequence = (self.sequence + 1) & _SEQUENCE
            self.packets += 1
            self.bytes += end - at
            committed += end - at + sealer.tag
        self.buffer.commit(committed)

    def switch(self, sealer: Sealer, *, reset: bool) -> None:
        """Seal the following packets with new keys; ``reset`` is strict key exchange's rule."""
        self._before = self.total
        self.sealer = sealer
        self.packets = self.bytes = 0
        if reset:
            self.sequence = 0

    @property
    def total(self) -> int:
        """How many bytes of packets there were under all keys."""
        return self._before + self.bytes


_DATA: Final = Struct(">BII")
_EXTENDED: Final = Struct(">BIII")


def data_payload(recipient: int, data: bytes | memoryview, extended: int | None) -> bytes:
    """CHANNEL_DATA or CHANNEL_EXTENDED_DATA as a payload, where the lane does not serve."""
    if extended is None:
        return _DATA.pack(94, recipient, len(data)) + data
    return _EXTENDED.pack(95, recipient, extended, len(data)) + data


def check_sequence(packets: int) -> None:
    """No key may serve for more packets than there are sequence numbers (RFC 4344 section 3.1)."""
    if packets >= _SEQUENCE:
        raise ProtocolError("the sequence numbers ran out before new keys")
