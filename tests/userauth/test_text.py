# SPDX-License-Identifier: MIT
import pytest

from tellin.userauth.text import escape_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b]0;title\x07", r"\033]0;title\007"),
        ("\x7f", r"\177"),
        ("\x9b2J", r"\302\2332J"),
        ("a\nAccepted password for root", r"a\012Accepted password for root"),
        ("a\u202eb", r"a\342\200\256b"),
        ("\u00fc\u4e16\U0001f600\xa0", "\u00fc\u4e16\U0001f600\xa0"),
        ("file\udcff", r"file\udcff"),
    ],
)
def test_r036_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_text(text) == shown


def test_r036_a_banner_keeps_its_lines_and_tabs() -> None:
    assert escape_text("a\r\n\tb\rc\x1b", keep_newlines=True) == "a\n\tb\\015c\\033"


def test_r036_no_character_below_a0_survives_but_the_printing_ones() -> None:
    escaped = escape_text("".join(map(chr, range(0xA0))))
    assert all(" " <= character <= "~" for character in escaped)
