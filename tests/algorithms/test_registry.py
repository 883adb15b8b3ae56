# SPDX-License-Identifier: MIT
"""Tables of methods, and the lists of names that configuration makes of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.compression import COMPRESSIONS
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.algorithms.registry import Algorithm, Registry, Standing, matches
from tellin.algorithms.signatures import SIGNATURES
from tellin.errors import ConfigError, UsageError

REGISTRIES: list[Registry[Any]] = [
    CIPHERS,
    MACS,
    KEY_EXCHANGES,
    SIGNATURES,
    COMPRESSIONS,
]


@pytest.fixture
def fruit() -> Registry[Algorithm]:
    registry = Registry[Algorithm]("fruit")
    for name, standing in (
        ("pear", Standing.CLIENT),
        ("apple", Standing.DEFAULT),
        ("apple@home", Standing.DEFAULT),
        ("quince", Standing.OFF),
    ):
        registry.add(Algorithm(name, standing=standing, source="a tree", doc="a fruit"))
    return registry


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_row_says_what_it_is_and_where_it_comes_from(registry: Registry[Algorithm]) -> None:
    assert len(registry) == len(registry.names()) > 1
    for row in registry:
        assert row.doc
        assert row.source
        assert row.name in registry
        assert registry[row.name] is row
        assert row.name in repr(row)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_name_fits_a_name_list(registry: Registry[Algorithm]) -> None:
    for name in registry.names():
        assert len(name) <= 64
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set(", *?")


def test_r031_none_is_no_cipher_and_no_mac() -> None:
    assert "none" not in CIPHERS
    assert "none" not in MACS


def test_r047_no_default_rests_on_sha1_or_md5() -> None:
    for registry in REGISTRIES:
        for server in (False, True):
            for name in registry.defaults(server=server):
                assert "sha1" not in name
                assert "md5" not in name
                assert name != "ssh-rsa"


def test_a_server_offers_less_than_a_client(fruit: Registry[Algorithm]) -> None:
    assert fruit.defaults() == ("apple", "apple@home", "pear")
    assert fruit.defaults(server=True) == ("apple", "apple@home")
    assert fruit.names() == ("pear", "apple", "apple@home", "quince")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("quince,apple", ("quince", "apple")),
        ("apple,apple", ("apple",)),
        ("+quince", ("apple", "apple@home", "pear", "quince")),
        ("+apple", ("apple", "apple@home", "pear")),
        ("^quince,pear", ("quince", "pear", "apple", "apple@home")),
        ("-apple", ("apple@home", "pear")),
        ("-apple*", ("pear",)),
        ("-no-such-fruit", ("apple", "apple@home", "pear")),
        ("?e*r", ("pear",)),
        ("*@home,quince", ("apple@home", "quince")),
        ("+*", ("apple", "apple@home", "pear", "quince")),
    ],
)
def test_a_list_is_chosen_as_openssh_would(
    fruit: Registry[Algorithm], spec: str, expected: tuple[str, ...]
) -> None:
    assert fruit.select(spec) == expected


def test_the_defaults_may_be_given(fruit: Registry[Algorithm]) -> None:
    assert fruit.select("+apple", ("quince",)) == ("quince", "apple")
    assert fruit.select("-pear", ("quince", "pear")) == ("quince",)


@pytest.mark.parametrize("spec", ["", "+", "^", "-", ",", "apple,", ",apple", "apple,,pear", "-*"])
def test_a_list_of_nothing_is_refused(fruit: Registry[Algorithm], spec: str) -> None:
    with pytest.raises(ConfigError):
        fruit.select(spec)


def test_a_misspelling_is_told_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"aes128-gcm@opensh\.com") as caught:
        CIPHERS.select("aes128-gcm@opensh.com")
    assert "aes128-gcm@openssh.com" in caught.value.hint
    with pytest.raises(UsageError, match=r"aes128-gcm@opensh\.com") as refused:
        CIPHERS["aes128-gcm@opensh.com"]
    assert "aes128-gcm@openssh.com" in refused.value.hint


def test_what_is_like_nothing_gets_the_whole_list(fruit: Registry[Algorithm]) -> None:
    with pytest.raises(ConfigError) as caught:
        fruit.select("#####")
    assert caught.value.hint == "known: pear, apple, apple@home, quince"


def test_a_name_stands_once(fruit: Registry[Algorithm]) -> None:
    with pytest.raises(UsageError):
        fruit.add(Algorithm("pear", standing=Standing.OFF, source="a", doc="b"))


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "abcd", False),
        ("abc", "a?c", True),
        ("abc", "?", False),
        ("abc", "*", True),
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "a*c*", True),
        ("abc", "***", True),
        ("abcabd", "*abd", True),
        ("abab", "a*ab", True),
        ("aab", "*ab", True),
        ("abc", "*d", False),
        ("", "*", True),
        ("", "?", False),
        ("a[b", "a[b", True),
    ],
)
def test_patterns(name: str, pattern: str, *, fits: bool) -> None:
    assert matches(name, pattern) is fits


@given(st.text("ab", max_size=12), st.text("ab*?", max_size=12))
def test_patterns_agree_with_the_shells(name: str, pattern: str) -> None:
    from fnmatch import fnmatchcase

    assert matches(name, pattern) == fnmatchcase(name, pattern)


def test_r209_a_pattern_of_stars_takes_no_time() -> None:
    assert not matches("a" * 64, "*a" * 500 + "b")
