# SPDX-License-Identifier: MIT
import pytest

from tellin.errors import ConfigError
from tellin.userauth.policy import Policy, Progress, parse_chains


def progress(*lists: str, methods: tuple[str, ...] = ("publickey", "password")) -> Progress:
    return Progress(Policy((), chains=parse_chains(lists), methods=methods), methods)


def test_any_alone_means_that_one_method_is_enough() -> None:
    assert parse_chains(["any"]) == ()
    assert progress("any").complete("password")


def test_lists_are_read_as_sshd_config_writes_them() -> None:
    assert parse_chains(["publickey,password", "keyboard-interactive:pam"]) == (
        ("publickey", "password"),
        ("keyboard-interactive:pam",),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "publickey,",
        "publicke",
        "any,password",
        "publickey:rsa",
        "keyboard-interactive:",
        "none,password",
        "publickey,none",
    ],
)
def test_a_list_that_cannot_be_meant_is_a_mistake_in_the_file(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_chains([text])


def test_a_list_with_a_method_that_is_off_lets_nobody_in() -> None:
    only = progress("publickey,hostbased")
    assert only.methods() == ()
    assert not only.allows("publickey")
    assert not only.complete("publickey")


def test_methods_are_offered_in_the_order_of_the_policy() -> None:
    assert progress("password", "publickey,password").methods() == ("publickey", "password")


def test_a_step_counts_only_where_it_is_next() -> None:
    way = progress("password,publickey", "publickey,password")
    assert not way.complete("publickey")
    assert way.methods() == ("password",)
    assert way.complete("password")
