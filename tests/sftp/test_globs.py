# SPDX-License-Identifier: MIT

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.errors import UsageError
from tellin.sftp import globs
from tellin.sftp.globs import Pattern, escaped, has_magic, split, unescaped


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        (b"*", [b"a", b"abc", b""], [b".a"]),
        (b".*", [b".a", b"."], [b"a"]),
        (b"a?c", [b"abc", b"a\xffc"], [b"ac", b"abbc"]),
        (b"a*b*c", [b"abc", b"axxbyyc", b"abbcc"], [b"acb", b"ab"]),
        (b"[abc]*", [b"a", b"cx"], [b"x", b""]),
        (b"[!abc]", [b"x"], [b"a", b"xx"]),
        (b"[^abc]", [b"x"], [b"a"]),
        (b"[a-cx-z]", [b"b", b"y"], [b"d"]),
        (b"[]a]", [b"]", b"a"], [b"b"]),
        (b"[a-]", [b"-", b"a"], [b"b"]),
        (b"[a", [b"[a"], [b"a"]),
        (b"\\*", [b"*"], [b"a"]),
        (b"[\\]]", [b"]"], [b"\\"]),
        (b"a\\", [b"a\\"], [b"a"]),
        (b"*?*?*", [b"ab", b"abc"], [b"a"]),
        (b"x*[0-9].txt", [b"x1.txt", b"x.txt9.txt"], [b"x.txt"]),
    ],
)
def test_what_fits_a_pattern(pattern: bytes, fits: list[bytes], fits_not: list[bytes]) -> None:
    made = Pattern(pattern)
    assert [name for name in fits if not made.fits(name)] == []
    assert [name for name in fits_not if made.fits(name)] == []


_LETTERS = st.lists(st.sampled_from([b"a", b"b", b"*", b"?", b"[ab]", b"[!a]"]), max_size=9)


@given(_LETTERS, st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=12))
def test_it_is_what_python_finds(pattern: list[bytes], name: list[bytes]) -> None:
    text = b"".join(name)
    assert Pattern(b"".join(pattern)).fits(text) == fnmatch.fnmatchcase(text, b"".join(pattern))


@given(st.binary(max_size=20))
def test_a_name_that_is_escaped_fits_itself_and_has_no_magic(name: bytes) -> None:
    assert not has_magic(escaped(name))
    assert unescaped(escaped(name)) == name
    assert Pattern(escaped(name)).fits(name)


def test_where_a_search_begins() -> None:
    assert split(b"/a/b\\*/c*/d") == (b"/a/b*", [b"c*", b"d"])
    assert split(b"*/x") == (b"", [b"*", b"x"])
    assert split(b"/*") == (b"/", [b"*"])
    assert split(b"a//b") == (b"a/b", [])


class Counted(bytes):
    """A name that counts how often one of its bytes is looked at."""

    looked = 0

    def __getitem__(self, place: object) -> int:  # type: ignore[override]
        Counted.looked += 1
        return super().__getitem__(place)  # type: ignore[index,return-value]


def test_r184_no_name_makes_a_pattern_slow() -> None:
    """Each byte of it is looked at once, however many stars there are."""
    pattern = Pattern(b"*a" * 1000 + b"b")
    name = Counted(b"a" * 4000)
    Counted.looked = 0
    assert not pattern.fits(name)
    assert pattern.fits(Counted(b"a" * 4000 + b"b"))
    assert Counted.looked < 3 * 4001 + 10


def test_r184_what_is_longer_than_any_name_is_not_looked_at() -> None:
    with pytest.raises(UsageError):
        Pattern(b"a" * (globs.LONGEST + 1))
    assert not Pattern(b"*").fits(b"a" * (globs.LONGEST + 1))
