# SPDX-License-Identifier: MIT
"""The data types of RFC 4251 section 5, and what is not one of them."""

import tracemalloc
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.errors import MalformedPacket
from tellin.wire import (
    Boolean,
    Byte,
    Cursor,
    Message,
    MPInt,
    NameList,
    Rest,
    String,
    Text,
    UInt32,
    UInt64,
    mpint,
    string,
)


class Everything(Message, number=250):
    """One field of each type."""

    byte: Byte
    truth: Boolean
    small: UInt32
    large: UInt64
    raw: String
    words: Text
    integer: MPInt
    names: NameList
    tail: Rest


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-@.", min_size=1, max_size=64)


@given(
    st.builds(
        Everything,
        st.integers(0, 255),
        st.booleans(),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=300),
        st.text(max_size=50),
        st.integers(-(2**300), 2**300),
        st.lists(NAMES, max_size=8).map(tuple),
        st.binary(max_size=20),
    )
)
def test_every_type_survives_its_wire_form(message: Everything) -> None:
    assert Everything.decode(message.encode()) == message


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        # The five examples of RFC 4251 section 5.
        (0, "00000000"),
        (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
        (0x80, "000000020080"),
        (-0x1234, "00000002edcc"),
        (-0xDEADBEEF, "00000005ff21524111"),
    ],
)
def test_integers_of_the_rfc(value: int, wire: str) -> None:
    assert mpint(value).hex() == wire
    assert Cursor(bytes.fromhex(wire)).mpint() == value


@pytest.mark.parametrize("wire", ["0000000100", "00000002007f", "00000002ff80", "0000000300007f"])
def test_case_082_integers_with_unnecessary_bytes(wire: str) -> None:
    with pytest.raises(MalformedPacket):
        Cursor(bytes.fromhex(wire)).mpint()


def test_case_083_integers_that_are_too_long() -> None:
    with pytest.raises(MalformedPacket):
        Cursor(string(b"\x7f" + bytes(16 << 10))).mpint()


@pytest.mark.parametrize("reader", [Cursor.string, Cursor.text, Cursor.mpint, Cursor.name_list])
def test_r025_a_length_is_checked_before_anything_is_allocated(reader: object) -> None:
    cursor = Cursor(pack(">I", 0x7FFFFFFF) + b"short")
    tracemalloc.start()
    with pytest.raises(MalformedPacket):
        reader(cursor)  # type: ignore[operator]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_every_prefix_and_every_suffix_is_refused() -> None:
    message = Everything(1, True, 2, 3, b"raw", "words", 5, ("a", "b"), b"")
    whole = message.encode()
    for end in range(1, len(whole)):
        with pytest.raises(MalformedPacket):
            Everything.decode(whole[:end])


def test_bytes_that_are_left_over_are_refused() -> None:
    class Short(Message, number=251):
        small: UInt32

    with pytest.raises(MalformedPacket, match="1 bytes too many"):
        Short.decode(Short(1).encode() + b"x")


def test_secrets_do_not_show() -> None:
    class Login(Message, number=252, secret=("password",)):
        user: Text
        password: Text

    assert "hunter2" not in repr(Login("me", "hunter2"))
    assert "me" in repr(Login("me", "hunter2"))


def test_fields_may_be_named_and_none_may_be_missing() -> None:
    class Two(Message, number=253):
        first: UInt32
        second: UInt32

    assert Two(second=2, first=1) == Two(1, 2)
    for wrong in ({"first": 1}, {"first": 1, "second": 2, "third": 3}):
        with pytest.raises(TypeError):
            Two(**wrong)
    with pytest.raises(TypeError):
        Two(1, 2, 3)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        message = Everything.decode(b"\xfa" + data)
    except MalformedPacket:
        return
    assert Everything.decode(message.encode()) == message
