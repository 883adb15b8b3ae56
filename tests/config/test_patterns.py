# SPDX-License-Identifier: MIT
"""Patterns: the same answers as a plain regular expression, in linear time."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.work import work

from tellin.config.patterns import (
    canonical_address,
    check_address_list,
    in_block,
    match_address_list,
    match_any,
    match_host_list,
    match_pattern,
    match_pattern_list,
    match_user,
)
from tellin.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
    [
        ("", "", True),
        ("a", "", False),
        ("", "*", True),
        ("", "?", False),
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "a?c", True),
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "*b*", True),
        ("abc", "a*b*c*", True),
        ("ab", "a*?b", False),
        ("axb", "a*?b", True),
        ("aa", "a*a*a", False),
        ("abab", "*ab", True),
        ("xaybzacb", "*a?b", True),
        ("aXbaXc", "*a?c*", True),
        ("a?c", "a?c", True),
        ("ABC", "abc", False),
    ],
)
def test_a_pattern_fits_or_does_not(text: str, pattern: str, answer: bool) -> None:
    assert match_pattern(text, pattern) is answer


@given(st.text("ab?", max_size=12), st.text("ab*?", max_size=9))
def test_every_answer_is_that_of_a_regular_expression(text: str, pattern: str) -> None:
    wanted = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    assert match_pattern(text, pattern) is (re.fullmatch(wanted, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    "pattern", ["*a" * 40 + "*b", "*" * 40 + "b", "*a?" * 40 + "b", "*?" * 40 + "b", "*a?a*b"]
)
def test_r123_forty_stars_on_64_kib_take_no_time(pattern: str) -> None:
    # R123: 10 ms on an idle machine, of which these few searches take a tenth of one.
    text = "a" * 65536
    assert not match_pattern(text, pattern)
    assert work(lambda: match_pattern(text, pattern)) < 100


def test_a_long_pattern_against_a_long_text_stays_linear() -> None:
    text, pattern = "a" * 65536, "*" + "a" * 4000 + "?" + "a" * 4000 + "b*"
    assert not match_pattern(text, pattern)
    assert work(lambda: match_pattern(text, pattern)) < 2 * len(text)


def test_a_negated_pattern_never_matches_by_itself() -> None:
    assert not match_pattern_list("host", "!other")
    assert match_pattern_list("host", "*,!other")
    assert not match_pattern_list("other", "*,!other")
    assert not match_pattern_list("other", "!other,*")


def test_folding_lowers_the_patterns() -> None:
    assert match_pattern_list("host", "HOST", fold=True)
    assert not match_pattern_list("host", "HOST")


def test_lists_may_come_in_several_words() -> None:
    assert match_pattern_list("c", ["a,b", "c"])
    assert not match_pattern_list("c", ["a,c", "!c"])
    assert not match_pattern_list("", ",,")


def test_any_of_several_names_may_fit_and_any_may_be_refused() -> None:
    assert match_any(["users", "wheel"], "wheel")
    assert not match_any(["users", "wheel"], "wheel,!users")
    assert not match_any([], "*")


@pytest.mark.parametrize(
    ("address", "patterns", "answer"),
    [
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.3.7", "192.0.2.0/24", False),
        ("192.0.2.7", "192.0.2.0/24,!192.0.2.7", False),
        ("192.0.2.7", "192.0.2.*", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("::ffff:192.0.2.7", "192.0.2.0/24", True),
        ("fe80::1%eth0", "fe80::/10", True),
        ("2001:DB8::1", "2001:db8:0:0::1", True),
        ("2001:db8::1", "0.0.0.0/0", False),
        ("192.0.2.7", "::/0", False),
        ("", "0.0.0.0/0,*", False),
        ("not an address", "0.0.0.0/0", False),
    ],
)
def test_addresses_meet_blocks_in_their_canonical_form(
    address: str, patterns: str, answer: bool
) -> None:
    assert match_address_list(address, patterns) is answer


@pytest.mark.parametrize(
    "broken", ["192.0.2.7/24", "192.0.2.0/33", "::/129", "192.0.2.0/x", "host/24", "192.0.2.0/-1"]
)
def test_a_broken_block_is_refused_when_it_is_read(broken: str) -> None:
    with pytest.raises(ConfigError):
        check_address_list(["10.0.0.0/8," + broken])
    with pytest.raises(ConfigError):
        check_address_list("!" + broken)
    check_address_list("10.0.0.0/8,*.example.org,!192.0.2.1,name")


def test_a_name_is_neither_address_nor_block() -> None:
    assert canonical_address("localhost") == ""
    assert in_block("192.0.2.1", "localhost") is None


def test_a_peer_is_named_by_host_or_address_and_either_can_refuse_it() -> None:
    assert match_host_list("Good.Example", "192.0.2.7", "*.example")
    assert match_host_list("", "192.0.2.7", "192.0.2.0/24")
    assert not match_host_list("bad.example", "192.0.2.7", "*,!192.0.2.7")
    assert not match_host_list("bad.example", "192.0.2.7", "192.0.2.0/24,!bad.*")


def test_user_patterns_may_name_a_place() -> None:
    assert match_user("ann", "h", "192.0.2.7", "a*")
    assert match_user("ann", "h", "192.0.2.7", "ann@192.0.2.0/24")
    assert not match_user("ann", "h", "198.51.100.1", "ann@192.0.2.0/24")
    assert not match_user("bob", "h", "192.0.2.7", "ann@*")


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.1", "255.255.255.255", "192.0.2.9", "256.1.1.1", "01.2.3.4", "0001.1.1.1", "1.2.3",
        "1.2.3.4.5", "1..2.3", " 1.2.3.4", "+1.2.3.4", "\u0661.2.3.4", "",
    ],
)  # fmt: skip
def test_an_ipv4_address_is_one_where_the_standard_library_has_it_so(text: str) -> None:
    try:
        known = str(ipaddress.IPv4Address(text))
    except ValueError:
        assert in_block("192.0.2.9", text) is None
    else:
        assert in_block(known, text)
