# SPDX-License-Identifier: MIT
"""Escapes: found only at the start of a line, done once, and never sent."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellin.client.sessions.escapes import Escapes


class Deeds:
    """Notes what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.shown: list[str] = []

    def show(self, lines: tuple[str, ...]) -> None:
        self.shown += lines

    def terminate(self) -> None:
        self.done.append("terminate")

    def send_break(self) -> None:
        self.done.append("break")

    def rekey(self) -> None:
        self.done.append("rekey")

    def change_level(self, step: int) -> str:
        self.done.append(f"level {step:+}")
        return "LogLevel DEBUG"

    def command_line(self) -> None:
        self.done.append("command line")

    def suspend(self) -> None:
        self.done.append("suspend")

    def open_channels(self) -> tuple[str, ...]:
        return ("  #0 session",)

    def information(self) -> tuple[str, ...]:
        return ("  cipher x",)

    def background(self) -> None:
        self.done.append("background")


def edit(*pieces: bytes, character: str = "~", **options: bool) -> tuple[bytes, Deeds]:
    deeds = Deeds()
    escapes = Escapes(character, deeds, **options)
    return b"".join(escapes.edit(piece) for piece in pieces), deeds


@pytest.mark.parametrize(
    ("typed", "deed"),
    [
        (b"~.", "terminate"),
        (b"~B", "break"),
        (b"~R", "rekey"),
        (b"~V", "level -1"),
        (b"~v", "level +1"),
        (b"~\x1a", "suspend"),
        (b"~&", "background"),
    ],
)
def test_each_escape_is_done_and_not_sent(typed: bytes, deed: str) -> None:
    for before in (b"", b"ls\r", b"ls\n"):
        sent, deeds = edit(before + typed)
        assert sent == before
        assert deeds.done == [deed]
    sent, deeds = edit(*(bytes((byte,)) for byte in b"ls\r" + typed + b"x"))
    assert sent == b"ls\rx"
    assert deeds.done == [deed]


def test_in_mid_line_it_is_a_character_like_others() -> None:
    for pieces in ((b"ls ~.",), (b"l", b"s", b" ", b"~", b".")):
        sent, deeds = edit(*pieces)
        assert sent == b"".join(pieces)
        assert not deeds.done


def test_typed_twice_it_is_sent_once() -> None:
    assert edit(b"~~.\r")[0] == b"~.\r"
    assert edit(b"~", b"~", b".")[0] == b"~."
    assert not edit(b"~~.")[1].done


def test_what_is_no_escape_is_sent_whole() -> None:
    sent, deeds = edit(b"\r~x~.")
    assert sent == b"\r~x~."
    assert not deeds.done
    assert edit(b"~\r~.")[0] == b"~\r"


def test_help_begins_on_a_line_of_its_own() -> None:
    _, deeds = edit(b"~?")
    assert deeds.shown[:2] == ["~?", "Supported escape sequences:"]
    assert all("~" in line or "escape" in line for line in deeds.shown)
    for letter in ".BRVv#I&?":
        assert any(f"~{letter}" in line or letter == "v" for line in deeds.shown[2:])


def test_help_names_what_there_is() -> None:
    whole = edit(b"~?", command_line=True)[1].shown
    without = edit(b"~?")[1].shown
    shared = edit(b"~?", command_line=True, shared=True)[1].shown
    assert [line for line in whole if line not in without] == [" ~C   - open a command line"]
    letters = [line.split()[0] for line in whole[2:-1]]
    assert letters == ["~.", "~B", "~C", "~R", "~V/v", "~^Z", "~#", "~I", "~&", "~?", "~~"]
    # Of a connection that is another program's there is less to decide.
    assert [line.split()[0] for line in shared[2:-1]] == ["~.", "~B", "~R", "~#", "~I", "~?", "~~"]
    assert {whole[2], shared[2]} > {" ~.   - terminate session"}


def test_a_command_line_is_there_only_where_it_is_allowed() -> None:
    assert edit(b"~C", command_line=True)[1].done == ["command line"]
    _, deeds = edit(b"~C")
    assert (deeds.done, deeds.shown) == ([], ["commandline disabled"])


@pytest.mark.parametrize(("typed", "shown"), [("C", "C"), ("V", "V"), ("v", "v"), ("&", "&")])
def test_what_belongs_to_another_program_is_not_done(typed: str, shown: str) -> None:
    _, deeds = edit(f"~{typed}".encode(), command_line=True, shared=True)
    assert deeds.done == []
    assert deeds.shown == [f"~{shown} escape not available to multiplexed sessions"]
    _, deeds = edit(b"~\x1a", shared=True)
    assert deeds.shown == ["~^Z escape not available to multiplexed sessions"]


def test_levels_are_told_of() -> None:
    assert edit(b"~v")[1].shown == ["~v [LogLevel DEBUG]"]
    assert edit(b"~V")[1].shown == ["~V [LogLevel DEBUG]"]


def test_channels_and_information_are_shown() -> None:
    assert edit(b"~#")[1].shown == [
        "~#",
        "The following connections are open:",
        "  #0 session",
    ]
    assert edit(b"~I")[1].shown == ["~I", "  cipher x"]


def test_another_character_may_be_chosen() -> None:
    sent, deeds = edit(b"\r\x1d.", b"~.", character="\x1d")
    assert deeds.done == ["terminate"]
    assert deeds.shown == ["^]."]
    assert sent == b"\r~."


@given(
    data=st.lists(st.sampled_from([b"~", b".", b"\r", b"\n", b"a", b"?", b"R", b"\x1a"])).map(
        b"".join
    ),
    cuts=st.lists(st.integers(0, 40)),
)
def test_it_does_not_matter_how_input_is_cut(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    whole, whole_deeds = edit(data)
    cut, cut_deeds = edit(*pieces)
    assert (whole, whole_deeds.done) == (cut, cut_deeds.done)
