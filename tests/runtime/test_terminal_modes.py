# SPDX-License-Identifier: MIT
"""Terminal modes between termios and the wire."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.runtime import terminal_modes
from tellin.runtime.terminal_modes import NAMES, Attributes, decode, encode, encode_pairs


@pytest.fixture
def slave() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(master)
    os.close(slave)


def set_modes(attributes: Attributes, **modes: int) -> Attributes:
    opcodes = {name: opcode for opcode, name in NAMES.items()}
    return terminal_modes.apply(
        attributes, {opcodes[name]: value for name, value in modes.items()}
    )


def test_every_mode_of_the_rfc_has_a_row() -> None:
    assert set(NAMES) == {
        *range(1, 19),
        *range(30, 43),
        *range(50, 63),
        *range(70, 76),
        *range(90, 94),
        128,
        129,
    }
    assert NAMES[42] == "IUTF8"
    assert NAMES[128] == "TTY_OP_ISPEED"


def test_a_fresh_terminal_is_encoded_as_openssh_would(slave: int) -> None:
    attributes = termios.tcgetattr(slave)
    modes = decode(encode(attributes))
    assert modes[128] == modes[129] == 38400
    # ^C, ^\\, DEL, ^U, ^D, and an end-of-line character that is switched off.
    assert [modes[opcode] for opcode in (1, 2, 3, 4, 5, 6)] == [3, 28, 127, 21, 4, 255]
    assert (modes[91], modes[90], modes[50], modes[53], modes[70]) == (1, 0, 1, 1, 1)
    assert 11 not in modes
    assert encode(attributes).endswith(b"\0")


def test_what_is_encoded_comes_back_on_another_terminal(slave: int) -> None:
    wanted = set_modes(
        termios.tcgetattr(slave), ECHO=0, ICRNL=0, IXON=0, IUTF8=1, VINTR=24, VKILL=255, ONLCR=0
    )
    other_master, other = pty.openpty()
    changed = terminal_modes.apply(termios.tcgetattr(other), decode(encode(wanted)))
    termios.tcsetattr(other, termios.TCSANOW, changed)
    found = termios.tcgetattr(other)
    assert found[:4] == wanted[:4]
    assert found[0] & 0x4000
    assert found[6][termios.VINTR] == b"\x18"
    assert found[6][termios.VKILL] == b"\0"
    os.close(other_master)
    os.close(other)


def test_every_flag_goes_there_and_back(slave: int) -> None:
    plain = termios.tcgetattr(slave)
    for opcode, name, word, _ in terminal_modes._KNOWN:
        for value in (0, 1) if word is not terminal_modes.Word.CHARACTERS else (255, 7):
            if name in ("CS7", "CS8") and not value:
                continue
            changed = terminal_modes.apply(plain, {opcode: value})
            assert decode(encode(changed))[opcode] == value, name


def test_speeds_the_system_lacks_change_nothing(slave: int) -> None:
    plain = termios.tcgetattr(slave)
    assert terminal_modes.apply(plain, {128: 12345, 129: 0}) == plain
    changed = terminal_modes.apply(plain, {128: 9600, 129: 115200})
    assert changed[4:6] == [termios.B9600, termios.B115200]


def test_characters_of_a_terminal_without_lines_are_numbers(slave: int) -> None:
    attributes = set_modes(termios.tcgetattr(slave), ICANON=0)
    attributes[6][termios.VMIN] = 1
    attributes[6][termios.VTIME] = 0
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    assert decode(encode(termios.tcgetattr(slave)))[51] == 0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (b"\0", {}),
        (b"\x35\0\0\0\1\0\x36\0\0\0\1", {53: 1}),
        (b"\x35\0\0\0\1", {53: 1}),
        (b"\x35\0\0", {}),
        (b"\x35\0\0\0\1\xa0\0\0\0\1\x36\0\0\0\1", {53: 1}),
        (b"\x35\0\0\0\1\x35\0\0\0\0\0", {53: 0}),
        (b"\x9f\xff\xff\xff\xff\0", {159: 0xFFFFFFFF}),
    ],
)
def test_parsing_stops_at_the_end_and_at_what_is_undefined(
    data: bytes, expected: dict[int, int]
) -> None:
    assert decode(data) == expected


@given(st.dictionaries(st.integers(1, 159), st.integers(0, 0xFFFFFFFF), max_size=40))
def test_pairs_go_there_and_back(modes: dict[int, int]) -> None:
    assert decode(encode_pairs(modes)) == modes


@given(st.binary(max_size=400))
def test_rubbish_from_the_peer_never_raises_and_never_breaks_a_terminal(data: bytes) -> None:
    attributes: Attributes = [0, 0, termios.CS8, 0, termios.B9600, termios.B9600, [b"\0"] * 32]
    changed = terminal_modes.apply(attributes, decode(data))
    assert len(changed) == 7
    assert len(changed[6]) == 32
    assert all(isinstance(character, bytes) for character in changed[6])
    assert attributes[6] == [b"\0"] * 32
