# SPDX-License-Identifier: MIT
"""Packets of the connection protocol as a proxy's socket carries them: plain, and hardly ever padded."""

from collections.abc import Iterator
from typing import Final

from tellin.errors import MalformedPacket
from tellin.wire import Message

# OpenSSH takes no larger packet either.
MOST_BYTES: Final = 256 * 1024
_LENGTH: Final = 4
# Nor a shorter one: the answer to a global request alone would end its client.
_LEAST_PAYLOAD: Final = 4


def packet(message: Message) -> bytes:
    """A message as a packet: its length, the padding's length, the payload and the padding."""
    payload = message.encode()
    padding = max(0, _LEAST_PAYLOAD - len(payload))
    size = 1 + len(payload) + padding
    return size.to_bytes(_LENGTH, "big") + bytes((padding,)) + payload + bytes(padding)


class Packets:
    """Cuts a stream into payloads; nothing is kept for a length that could not be right (R025)."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what has arrived; gives the payloads that are whole. Raises MalformedPacket."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= _LENGTH:
                size = int.from_bytes(self._data[at : at + _LENGTH], "big")
                # The padding's length, and the number of a message.
                if not 2 <= size <= MOST_BYTES:
                    raise MalformedPacket(f"a packet of {size} bytes on a control socket")
                end = at + _LENGTH + size
                if len(self._data) < end:
                    return
                padding = self._data[at + _LENGTH]
                if padding > size - 2:
                    raise MalformedPacket("a packet of padding alone on a control socket")
                payload = bytes(self._data[at + _LENGTH + 1 : end - padding])
                at = end
                yield payload
        finally:
            del self._data[:at]
