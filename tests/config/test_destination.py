# SPDX-License-Identifier: MIT
"""Destinations: what people write, and what nobody may write (R170, case 326)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.config.destination import (
    Destination,
    host_fault,
    parse_destination,
    parse_jump,
    user_fault,
)
from tellin.errors import UsageError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("host", Destination("host")),
        ("me@host", Destination("host", "me")),
        ("me@corp@host", Destination("host", "me@corp")),
        ("::1", Destination("::1")),
        ("fe80::1%eth0", Destination("fe80::1%eth0")),
        ("me@[2001:db8::1]", Destination("2001:db8::1", "me")),
        ("[::1]:2222", Destination("::1", None, 2222)),
        ("ssh://host", Destination("host")),
        ("SSH://host/", Destination("host")),
        ("ssh://me@host:2222", Destination("host", "me", 2222)),
        ("ssh://me@host:2222/", Destination("host", "me", 2222)),
        ("ssh://[::1]:2222", Destination("::1", None, 2222)),
        ("ssh://m%40e@host", Destination("host", "m@e")),
        ("ssh://%6de@host", Destination("host", "me")),
        ("rechner.köln", Destination("rechner.köln")),
    ],
)
def test_a_destination_is_read(text: str, wanted: Destination) -> None:
    assert parse_destination(text) == wanted


METACHARACTERS = "`'\"$\\<>;&|(){}[]*?!~# \t\r\n\0\x1b\x7f\u2028\u00a0\u202e\ud800"


@pytest.mark.parametrize("bad", METACHARACTERS)
def test_a_metacharacter_is_refused_in_user_and_host(bad: str) -> None:
    for text in (f"ho{bad}st", f"me@ho{bad}st", f"m{bad}e@host", f"ssh://ho{bad}st"):
        with pytest.raises(UsageError, match="invalid") as caught:
            parse_destination(text)
        # Nothing that could move a cursor comes back in the message.
        assert str(caught.value).isprintable()
        assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@host",
        "me@",
        "-oProxyCommand=x",
        "me@-host",
        "-x@host",
        "ssh://",
        "ssh:///",
        "ssh://a%00b@h",
        "ssh://a%0ab@h",
        "ssh://a%3bb@h",
        "ssh://a%zzb@h",
        "ssh://a%4@h",
        "ssh://a%ff@h",
        "ssh://a%_1@h",
        "ssh://u;fingerprint=x@h",
        "ssh://h:0",
        "ssh://h:65536",
        "ssh://h:x",
        "ssh://h:",
        "ssh://h:+1",
        "ssh://h:\u0661",
        "ssh://::1",
        "ssh://h/path",
        "[::1",
        "[::1]x",
        "[]",
        "[::1]:0",
        "a,b",
        "a/b",
        "h" * 1025,
        "u" * 1025 + "@h",
        "h" * (1 << 20),
    ],
)
def test_a_bad_destination_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_destination(text)


def test_a_jump_may_carry_a_port() -> None:
    assert parse_jump("me@host:2222") == Destination("host", "me", 2222)
    assert parse_jump("ssh://host:2222") == Destination("host", None, 2222)
    assert parse_jump("host") == Destination("host")


def test_a_fault_is_a_sentence_and_a_good_name_has_none() -> None:
    assert host_fault("host") == ""
    assert user_fault("user") == ""
    assert host_fault("") == "is empty"
    assert "','" in host_fault("a,b")
    assert "longer" in user_fault("u" * 1025)


@given(st.text())
def test_any_text_is_a_destination_or_refused(text: str) -> None:
    try:
        found = parse_destination(text)
    except UsageError:
        return
    assert host_fault(found.host) == ""
    assert found.user is None or user_fault(found.user) == ""
