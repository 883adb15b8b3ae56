# SPDX-License-Identifier: MIT
"""Blocks and cursors: nothing is lost, nothing moves while somebody looks at it."""

from hypothesis import given
from hypothesis import strategies as st

from tellin.wire import ReceiveBuffer, SendBuffer
from tellin.wire.buffers import LARGE_BLOCK, SMALL_BLOCK

STEPS = st.lists(st.tuples(st.integers(1, 40_000), st.integers(0, 60_000)), max_size=20)


@given(STEPS)
def test_what_goes_into_a_receive_buffer_comes_out(steps: list[tuple[int, int]]) -> None:
    buffer = ReceiveBuffer()
    put, taken, counter = bytearray(), bytearray(), 0
    for size, drop in steps:
        room = buffer.writable()
        count = min(size, len(room))
        data = bytes((counter + at) % 256 for at in range(count))
        counter += count
        room[:count] = data
        buffer.filled(count)
        put += data
        drop = min(drop, len(buffer))
        taken += buffer.data[buffer.at : buffer.at + drop]
        buffer.at += drop
        buffer.rest()
    taken += buffer.data[buffer.at : buffer.end]
    assert taken == put


@given(STEPS)
def test_what_goes_into_a_send_buffer_comes_out(steps: list[tuple[int, int]]) -> None:
    buffer = SendBuffer()
    put, taken, counter = bytearray(), bytearray(), 0
    for size, send in steps:
        view, start, limit = buffer.reserve(size)
        assert limit - start >= size
        data = bytes((counter + at) % 256 for at in range(size))
        counter += size
        view[start : start + size] = data
        buffer.commit(size)
        put += data
        send = min(send, len(buffer))
        taken += b"".join(buffer.views())[:send]
        buffer.sent(send)
        assert len(buffer) == len(put) - len(taken)
    taken += b"".join(buffer.views())
    assert taken == put


def test_an_idle_buffer_holds_no_block() -> None:
    receiving, sending = ReceiveBuffer(), SendBuffer()
    receiving.append(b"x" * 100)
    receiving.at = receiving.end
    receiving.rest()
    assert len(receiving.data) == 0
    sending.append(b"y" * 100)
    sending.sent(100)
    assert not sending.views()


def test_a_full_read_is_followed_by_a_large_room() -> None:
    buffer = ReceiveBuffer()
    first = buffer.writable()
    assert SMALL_BLOCK // 2 <= len(first) <= SMALL_BLOCK
    buffer.filled(len(first))
    buffer.at = buffer.end
    assert len(buffer.writable()) >= LARGE_BLOCK // 2


def test_views_of_unsent_bytes_stay_where_they_are() -> None:
    buffer = SendBuffer()
    buffer.append(b"first" * 100)
    held = buffer.views()[0]
    before = bytes(held)
    for _ in range(100):
        buffer.append(b"more" * 1000)
    assert bytes(held) == before


def test_a_hint_larger_than_every_block_is_met() -> None:
    buffer = ReceiveBuffer()
    buffer.append(b"kept")
    room = buffer.writable(LARGE_BLOCK * 2)
    assert len(room) >= LARGE_BLOCK * 2
    assert bytes(buffer.data[buffer.at : buffer.end]) == b"kept"
