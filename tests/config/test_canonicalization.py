# SPDX-License-Identifier: MIT
"""CanonicalizeHostname: which names are looked up, and what the second pass then makes of the files."""

import pytest
from tests.config.paper_machine import PaperMachine, paper

from tellin.config.ssh_reading import read_ssh_config
from tellin.errors import ConfigError

ON = "CanonicalizeHostname yes\nCanonicalDomains a.example b.example\n"


def machine(text: str, **names: str) -> PaperMachine:
    made = paper(text)
    made.names = {name.replace("__", "-").replace("_", "."): end for name, end in names.items()}
    return made


def test_a_short_name_becomes_the_first_full_one_that_is_known() -> None:
    one = machine(ON, box_b_example="box.b.example", box="box")
    assert read_ssh_config(one, "Box").host == "box.b.example"
    assert one.looked_up == ["box.a.example", "box.b.example"]


def test_the_files_are_read_again_for_the_full_name() -> None:
    text = ON + (
        "Host box\n  User short\n  IdentityFile s\nHost *.a.example\n  User full\n  Port 7\n"
        "Match canonical\n  Tag second\n"
    )
    one = machine(text, box_a_example="box.a.example")
    found = read_ssh_config(one, "box")
    assert (found.user, found.port, found.tag) == ("short", 7, "second")
    assert found.host_argument == "box"


def test_without_a_full_name_it_stays_short_and_the_files_are_read_again() -> None:
    one = machine(ON + "Match final\nTag second")
    found = read_ssh_config(one, "box")
    assert (found.host, found.tag) == ("box", "second")


def test_no_fallback_is_an_error_that_names_what_was_tried() -> None:
    one = machine(ON + "CanonicalizeFallbackLocal no")
    with pytest.raises(ConfigError, match=r"'box' in a\.example, b\.example"):
        read_ssh_config(one, "box")


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("a.b.c", []),
        ("a.b", ["a.b.a.example", "a.b.b.example"]),
        ("192.0.2.7", []),
        ("::1", []),
        ("whole.", ["whole."]),
    ],
)
def test_only_names_with_few_dots_are_looked_up(host: str, asked: list[str]) -> None:
    one = machine(ON, whole_="whole.")
    found = read_ssh_config(one, host)
    assert one.looked_up == asked
    assert found.host == host.removesuffix(".")


def test_an_address_gets_its_one_spelling() -> None:
    assert read_ssh_config(machine(ON), "2001:DB8:0::1").host == "2001:db8::1"


@pytest.mark.parametrize(
    "proxy", ["ProxyCommand x", "ProxyCommand none", "CanonicalizeHostname no"]
)
def test_what_a_proxy_resolves_is_left_to_it_unless_always(proxy: str) -> None:
    asked = machine(f"{proxy}\n{ON}", box_a_example="box.a.example")
    expected = "box.a.example" if proxy.endswith("none") else "box"
    assert read_ssh_config(asked, "box").host == expected
    always = machine(f"ProxyCommand x\nCanonicalizeHostname always\n{ON}", box_a_example="-")
    assert read_ssh_config(always, "box").host == "box.a.example"


def test_a_cname_is_followed_where_a_rule_allows_it() -> None:
    rules = "CanonicalizePermittedCNAMEs *.a.example,!no.*:*.z.example\n"
    names = {
        "box_a_example": "Real.z.example.",
        "no_a_example": "real.z.example",
        "far_a_example": "e.f",
    }
    assert read_ssh_config(machine(ON + rules, **names), "box").host == "real.z.example"
    assert read_ssh_config(machine(ON + rules, **names), "no").host == "no.a.example"
    assert read_ssh_config(machine(ON + rules, **names), "far").host == "far.a.example"
    assert read_ssh_config(machine(ON, **names), "box").host == "box.a.example"


@pytest.mark.parametrize(
    "line",
    ["CanonicalDomains a/b", "CanonicalizePermittedCNAMEs a", "CanonicalizePermittedCNAMEs :b",
     "CanonicalizeHostname perhaps", "CanonicalizeMaxDots -1"],
)  # fmt: skip
def test_what_cannot_be_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="line 1: Canonical"):
        read_ssh_config(paper(line), "box")


def test_a_resolver_cannot_smuggle_in_what_is_no_name() -> None:
    # R170: the answer is the network's.
    rules = "CanonicalizePermittedCNAMEs *:*\n"
    one = machine(ON + rules, box_a_example="$(touch /x).example")
    with pytest.raises(ConfigError, match="holds"):
        read_ssh_config(one, "box")
