# SPDX-License-Identifier: MIT
"""The clocks of keys: how long an exchange may take, and when the present keys have served enough.

And the place where messages wait while an exchange runs (RFC 4253 sections 7.1 and 9).
"""

from typing import Final

from tellin.algorithms.ciphers import CIPHERS
from tellin.errors import ProtocolError
from tellin.transport.packets import PacketReader, PacketWriter
from tellin.transport.settings import (
    REKEY_BYTES,
    REKEY_BYTES_SMALL_BLOCK,
    REKEY_PACKETS,
    Settings,
)

# Messages held back while an exchange runs: our own, so the bound only catches our own fault.
HELD_BYTES: Final = 1 << 20
# The exchange has waited for an answer from outside: its time begins again with the next tick.
_ANEW: Final = -1.0


class Renewal:
    """When an exchange must begin, and when one that runs must be over."""

    __slots__ = (
        "_by_cipher",
        "_bytes",
        "_exchange_deadline",
        "_exchange_timeout",
        "_reader",
        "_rekey_at",
        "_seconds",
        "_writer",
        "byte_limit",
    )

    def __init__(
        self, settings: Settings, reader: PacketReader, writer: PacketWriter, *, now: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        # Copied, since a server's connections share their settings and may be given other limits.
        self._bytes = settings.rekey_bytes
        self._seconds = settings.rekey_seconds
        self._exchange_timeout = settings.exchange_timeout
        self._by_cipher = REKEY_BYTES
        self.byte_limit = self._bytes or self._by_cipher
        """How many bytes one set of keys may seal, or open, before new ones are due (R051)."""
        self._rekey_at: float | None = None
        self._exchange_deadline: float | None = now + self._exchange_timeout

    # The keys

    def due(self, now: float) -> bool:
        """Whether the present keys have served enough (R051)."""
        reader, writer = self._reader, self._writer
        limit = self.byte_limit
        # This is asked for every packet: what is nearly always true stands first.
        return not (
            writer.bytes < limit
            and reader.bytes < limit
            and writer.packets < REKEY_PACKETS
            and reader.packets < REKEY_PACKETS
            and (self._rekey_at is None or now < self._rekey_at)
        )

    def limit(self, count: int, seconds: float, *, now: float) -> None:
        """Other limits than the settings', from now on; 0 is the default."""
        self._bytes, self._seconds = count, seconds
        self._rekey_at = now + seconds if seconds else None
        self.byte_limit = self._bytes or self._by_cipher

    def cipher(self, name: str) -> None:
        """Which cipher the keys that we send under are for: small blocks wear them out sooner."""
        small = CIPHERS[name].small_blocks
        self._by_cipher = REKEY_BYTES_SMALL_BLOCK if small else REKEY_BYTES
        self.byte_limit = self._bytes or self._by_cipher

    def remaining(self, now: float) -> float:
        """How many seconds the present keys may still serve, 0 without such a limit."""
        return 0.0 if self._rekey_at is None else max(0.001, self._rekey_at - now)

    # The exchange

    def begun(self, now: float) -> None:
        """An exchange runs, if none did before."""
        if self._exchange_deadline is None:
            self._exchange_deadline = now + self._exchange_timeout

    def answered(self) -> None:
        """Somebody outside had to be asked: how long that took is not the peer's fault."""
        if self._exchange_deadline is not None:
            self._exchange_deadline = _ANEW

    def over(self, now: float) -> None:
        """The exchange is complete, and new keys are in force."""
        self._exchange_deadline = None
        if self._seconds:
            self._rekey_at = now + self._seconds

    def resume(self, remaining: float, *, now: float) -> None:
        """The counterpart of ``remaining`` when thawing."""
        self._rekey_at = now + remaining if remaining else None
        self._exchange_deadline = None

    # Time

    def deadline(self) -> float | None:
        """When one of the two clocks strikes."""
        exchange, rekey = self._exchange_deadline, self._rekey_at
        if exchange is None or rekey is None:
            return rekey if exchange is None else exchange
        return min(exchange, rekey)

    def late(self, now: float, *, waiting: bool) -> bool:
        """Whether the peer has had its time for the exchange; not while we are ``waiting``."""
        if self._exchange_deadline == _ANEW or waiting:
            # A person who compares a fingerprint takes longer than any peer may.
            self._exchange_deadline = now + self._exchange_timeout
            return False
        return self._exchange_deadline is not None and now >= self._exchange_deadline

    def strikes(self, now: float) -> bool:
        """Whether the keys have come to their age; said once."""
        if self._rekey_at is None or now < self._rekey_at:
            return False
        self._rekey_at = None
        return True


class Held:
    """Messages of the layers above that wait for new keys (RFC 4253 section 7.1)."""

    __slots__ = ("_payloads", "size")

    def __init__(self) -> None:
        self._payloads: list[bytes] = []
        self.size = 0

    def add(self, payload: bytes) -> None:
        """Hold one back. Raises ProtocolError when it is too much."""
        self._payloads.append(payload)
        self.size += len(payload)
        if self.size > HELD_BYTES:
            raise ProtocolError("too much to send while the peer delays new keys")

    def take(self) -> list[bytes]:
        """All of them, in order; none is left."""
        payloads, self._payloads, self.size = self._payloads, [], 0
        return payloads
