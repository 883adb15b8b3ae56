# SPDX-License-Identifier: MIT
"""The command line behind ``~C``: what it takes, what it does, and what it says of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.client.sessions.command_line import CommandLine
from tellin.config.forwards import Forward


class Deeds:
    """Notes what was done; ``able`` is whether it could be."""

    def __init__(self, *, able: bool) -> None:
        self.able = able
        self.done: list[tuple[str, object]] = []

    def listen(self, forward: Forward) -> bool:
        self.done.append(("dynamic" if forward.is_socks else "local", forward.listening))
        return self.able

    def unlisten(self, forward: Forward, *, socks: bool) -> bool:
        self.done.append(("no dynamic" if socks else "no local", forward.listening))
        return self.able

    def ask_remote(self, forward: Forward) -> bool:
        self.done.append(("remote", (forward.listening, forward.leading)))
        return self.able

    def cancel_remote(self, forward: Forward) -> bool:
        self.done.append(("no remote", forward.listening))
        return self.able

    def run_local(self, command: str) -> None:
        self.done.append(("run", command))


def run(
    line: str, *, able: bool = True, permit_local: bool = False
) -> tuple[list[tuple[str, object]], list[str]]:
    deeds, said = Deeds(able=able), list[str]()
    CommandLine(deeds, said.append, permit_local=permit_local).run(line)
    return deeds.done, said


@pytest.mark.parametrize(
    ("line", "deed", "failing"),
    [
        ("-L 8080:host:80", ("local", "8080"), "Port forwarding failed."),
        ("  L[::1]:8080:host:80", ("local", "[::1]:8080"), "Port forwarding failed."),
        ("-L/tmp/a:/tmp/b", ("local", "/tmp/a"), "Port forwarding failed."),
        ("-D1080", ("dynamic", "1080"), "Port forwarding failed."),
        ("-R 8080:host:80", ("remote", ("8080", "[host]:80")), "Port forwarding failed."),
        ("-R 8080", ("remote", ("8080", "")), "Port forwarding failed."),
        ("-KL 8080", ("no local", "8080"), "Unknown port forwarding."),
        ("-KD127.0.0.1:1080", ("no dynamic", "[127.0.0.1]:1080"), "Unknown port forwarding."),
        ("KR 8080", ("no remote", "8080"), "Unknown port forwarding."),
    ],
)
def test_each_command_is_done_and_what_came_of_it_is_said(
    line: str, deed: tuple[str, object], failing: str
) -> None:
    done, said = run(line)
    assert done == [deed]
    assert said == ["Canceled forwarding." if "K" in line else "Forwarding port."]
    assert run(line, able=False) == ([deed], [failing])


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("-L 8080", "Bad local forwarding specification."),
        ("-D a:b:c", "Bad local forwarding specification."),
        ("-R x:y", "Bad remote forwarding specification."),
        ("-KL 8080:host:80", "Bad forwarding close specification."),
        ("-KX 8080", "Invalid command."),
        ("-K", "Invalid command."),
        ("exit", "Invalid command."),
        ("!date", "Invalid command."),
    ],
)
def test_what_makes_no_sense_is_said_and_not_done(line: str, answer: str) -> None:
    assert run(line) == ([], [answer])


@pytest.mark.parametrize("line", ["", "   ", "-", " - "])
def test_an_empty_line_is_nothing(line: str) -> None:
    assert run(line) == ([], [])


def test_commands_of_this_machine_are_run_where_that_is_permitted() -> None:
    assert run("!date -u", permit_local=True) == ([("run", "date -u")], [])
    with_it, without = run("-h", permit_local=True)[1], run("?")[1]
    assert without[0] == "Commands:"
    assert [line for line in with_it if line not in without] == [with_it[-1]]
    assert with_it[-1].lstrip().startswith("!")


@given(st.text(st.sampled_from(" -KLRD!h?:[]/0123456789ab\\\0"), max_size=20))
def test_any_line_does_one_thing_at_most(line: str) -> None:
    done, said = run(line, permit_local=True)
    assert len(done) <= 1
    assert len(said) <= 8
