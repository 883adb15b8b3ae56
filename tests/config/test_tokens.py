# SPDX-License-Identifier: MIT
"""What is put into values: percent tokens, variables and the tilde."""

import pytest

from tellin.config.surroundings import Surroundings
from tellin.config.tokens import expand, expand_tilde
from tellin.errors import ConfigError

TOKENS = {"h": lambda: "host", "r": lambda: "%h${A}"}


def test_letters_and_variables_are_put_in_once() -> None:
    assert expand("%h%%h ${A}", TOKENS, allowed="hr", environment={"A": "%h"}) == "host%h %h"
    # What has been put in is not looked at again.
    assert expand("%r", TOKENS, allowed="hr", environment={"A": "x"}) == "%h${A}"


def test_variables_stay_where_none_are_allowed() -> None:
    assert expand("${A}%h", TOKENS, allowed="h") == "${A}host"


@pytest.mark.parametrize("text", ["%x", "%", "a%", "%r", "%\n"])
def test_an_unknown_letter_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="unknown token") as caught:
        expand(text, TOKENS, allowed="h%")
    assert caught.value.hint == "allowed here: %% %h"


@pytest.mark.parametrize("text", ["${A}", "${", "${A", "${}", "${A B}", "${1}"])
def test_a_variable_that_is_not_there_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="environment"):
        expand(text, TOKENS, allowed="h", environment={})


def test_a_token_is_computed_only_where_it_is_used() -> None:
    def forbidden() -> str:
        raise AssertionError

    assert expand("%h", {**TOKENS, "C": forbidden}, allowed="hC") == "host"


def test_the_tilde_is_a_home_directory() -> None:
    homes = {"ann": "/home/ann"}.get
    assert expand_tilde("~/x", "/root", homes) == "/root/x"
    assert expand_tilde("~", "/root", homes) == "/root"
    assert expand_tilde("~ann/x", "/root", homes) == "/home/ann/x"
    assert expand_tilde("a~/x", "/root", homes) == "a~/x"
    for bad, home in (("~bob/x", "/root"), ("~/x", "")):
        with pytest.raises(ConfigError, match="no home directory"):
            expand_tilde(bad, home, homes)


def test_a_machine_with_nothing_on_it_answers_everything() -> None:
    nothing = Surroundings()
    assert nothing.read("/etc/passwd") is None
    assert nothing.glob("*") == ()
    assert not nothing.run("true")
    assert nothing.home_of("root") is None
    assert nothing.addresses() == ()
