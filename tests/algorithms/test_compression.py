# SPDX-License-Identifier: MIT
"""Compression: what goes in comes out, and nothing that inflates without bound or end."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.algorithms.compression import (
    COMPRESSING,
    COMPRESSIONS,
    DEFAULT_COMPRESSIONS,
    Compressor,
    Decompressor,
)
from tellin.errors import CompressionError, DisconnectReason, MalformedPacket

LIMIT = 262144


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=6))
def test_payloads_come_back_one_by_one(payloads: list[bytes]) -> None:
    out, into = Compressor(), Decompressor()
    for payload in payloads:
        assert into.decompress(out.compress(payload), LIMIT) == payload


def test_a_payload_may_be_a_view() -> None:
    out, into = Compressor(), Decompressor()
    squeezed = out.compress(memoryview(b"-payload-")[1:8])
    assert into.decompress(memoryview(squeezed), LIMIT) == b"payload"


def test_what_was_sent_before_helps_what_comes_after() -> None:
    out = Compressor()
    first, second = (len(out.compress(bytes(range(256)))) for _ in range(2))
    assert second < first / 4


def test_a_plain_zlib_reads_it_and_is_read() -> None:
    """RFC 4253 section 6.2: one zlib stream (RFC 1950) for all packets, flushed after each."""
    reader = zlib.decompressobj()
    out = Compressor()
    assert (
        reader.decompress(out.compress(b"one")) + reader.decompress(out.compress(b"two"))
        == b"onetwo"
    )
    into = Decompressor()
    writer = zlib.compressobj()
    for flush in (zlib.Z_PARTIAL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH):
        assert into.decompress(writer.compress(b"data") + writer.flush(flush), LIMIT) == b"data"


@pytest.mark.parametrize("limit", [1, 1000, LIMIT])
def test_r027_case_054_a_bomb_goes_off_at_the_limit(limit: int) -> None:
    fits = Decompressor().decompress(Compressor().compress(bytes(limit)), limit)
    assert len(fits) == limit
    with pytest.raises(CompressionError) as caught:
        Decompressor().decompress(Compressor().compress(bytes(limit + 1)), limit)
    assert caught.value.reason is DisconnectReason.COMPRESSION_ERROR


def test_case_054_a_quarter_megabyte_that_means_256_takes_no_memory() -> None:
    import tracemalloc

    bomb = Compressor().compress(bytes(256 << 20))
    assert len(bomb) < 300_000
    into = Decompressor()
    tracemalloc.start()
    try:
        with pytest.raises(CompressionError):
            into.decompress(bomb, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


@pytest.mark.parametrize("damage", [b"no zlib at all", b"\x78\x9c" + b"\xff" * 20, b"\0" * 10])
def test_case_053_a_corrupt_stream_is_refused(damage: bytes) -> None:
    with pytest.raises(CompressionError) as caught:
        Decompressor().decompress(damage, LIMIT)
    assert caught.value.reason is DisconnectReason.COMPRESSION_ERROR


def test_case_053_damage_in_mid_stream_is_refused() -> None:
    out, into = Compressor(), Decompressor()
    into.decompress(out.compress(b"good"), LIMIT)
    with pytest.raises(CompressionError):
        into.decompress(b"\xff" * 40, LIMIT)


@pytest.mark.parametrize(
    "nothing", [b"", b"\x78\x9c", zlib.compressobj().flush(zlib.Z_SYNC_FLUSH)]
)
def test_case_055_nothing_is_no_payload(nothing: bytes) -> None:
    with pytest.raises(MalformedPacket) as caught:
        Decompressor().decompress(nothing, LIMIT)
    assert caught.value.reason is DisconnectReason.PROTOCOL_ERROR


def test_case_057_the_stream_has_no_end() -> None:
    finished = zlib.compress(b"last words")
    for tail in (b"", b"and more"):
        into = Decompressor()
        for payload in (finished + tail, b"more"):
            with pytest.raises(CompressionError) as caught:
                into.decompress(payload, LIMIT)
            assert caught.value.reason is DisconnectReason.COMPRESSION_ERROR


def test_r027_zlib_before_login_is_not_there_to_be_named() -> None:
    assert COMPRESSIONS.names() == DEFAULT_COMPRESSIONS == ("none", "zlib@openssh.com")
    assert COMPRESSING == ("zlib@openssh.com", "none")


def test_none_compresses_nothing() -> None:
    row = COMPRESSIONS["none"]
    assert row.compressor() is row.decompressor() is None
    row = COMPRESSIONS["zlib@openssh.com"]
    assert isinstance(row.compressor(), Compressor)
    assert isinstance(row.decompressor(), Decompressor)
