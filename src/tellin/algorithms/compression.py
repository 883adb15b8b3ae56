# SPDX-License-Identifier: MIT
"""Compression of payloads (RFC 4253 section 6.2): none, or zlib once somebody is logged in."""

# zlib is imported where a stream begins: few connections compress, and all of them read the table.
# ruff: noqa: PLC0415

from typing import Final

from tellin.algorithms.registry import Algorithm, Registry, Standing
from tellin.errors import CompressionError, MalformedPacket

# What zlib itself holds to be the balance of time and size.
_LEVEL: Final = 6


class Compressor:
    """One direction's stream on the way out."""

    __slots__ = ("_compress", "_flush", "_partial")

    def __init__(self) -> None:
        import zlib

        stream = zlib.compressobj(_LEVEL)
        self._compress = stream.compress
        self._flush = stream.flush
        self._partial = zlib.Z_PARTIAL_FLUSH

    def compress(self, payload: bytes | memoryview) -> bytes:
        """The payload, compressed, so far flushed that the peer can read all of it."""
        return self._compress(payload) + self._flush(self._partial)


class Decompressor:
    """One direction's stream on the way in; of no use any more after an error."""

    __slots__ = ("_fault", "_stream")

    def __init__(self) -> None:
        import zlib

        self._stream = zlib.decompressobj()
        self._fault = zlib.error

    def decompress(self, payload: bytes | memoryview, limit: int) -> bytes:
        """The payload inflated, ``limit`` bytes of it at most.

        Raises CompressionError for what is no zlib stream, has an end, or is larger, and
        MalformedPacket for nothing at all.
        """
        stream = self._stream
        try:
            # A kilobyte may stand for a megabyte (R027): no more is inflated than shows that it is
            # too much.
            inflated = stream.decompress(payload, limit + 1)
        except self._fault:
            raise CompressionError("a payload that does not inflate") from None
        if len(inflated) > limit:
            raise CompressionError(f"a payload that inflates to more than {limit} bytes")
        # RFC 4253 section 6.2: one stream for all packets under the same keys.
        if stream.eof:
            raise CompressionError("the compressed stream ends in mid-connection")
        if not inflated:
            raise MalformedPacket("a compressed payload with nothing in it")
        return inflated


class Compression(Algorithm):
    """A row of ``COMPRESSIONS``."""

    def __init__(
        self, name: str, *, compresses: bool, standing: Standing, source: str, doc: str
    ) -> None:
        super().__init__(name, standing=standing, source=source, doc=doc)
        self.compresses = compresses

    def compressor(self) -> Compressor | None:
        """A fresh stream on the way out, or None where nothing is compressed."""
        return Compressor() if self.compresses else None

    def decompressor(self) -> Decompressor | None:
        """A fresh stream on the way in, or None where nothing is compressed."""
        return Decompressor() if self.compresses else None


# The method "zlib" is not here: it inflates what strangers send, before any login (R027).
COMPRESSIONS: Final = Registry[Compression]("compression method")

COMPRESSIONS.add(
    Compression(
        "none",
        compresses=False,
        standing=Standing.DEFAULT,
        source="RFC 4253",
        doc="payloads as they are",
    )
)
COMPRESSIONS.add(
    Compression(
        "zlib@openssh.com",
        compresses=True,
        standing=Standing.DEFAULT,
        source="draft-miller-secsh-compression-delayed",
        doc="zlib, from login on",
    )
)

DEFAULT_COMPRESSIONS: Final = COMPRESSIONS.defaults()
"""What both roles offer where compression is not asked for, but may be."""
COMPRESSING: Final = ("zlib@openssh.com", "none")
"""What a client offers that asks for compression."""
