# SPDX-License-Identifier: MIT
"""What is said, at which level, and that nothing a peer says can steer a terminal."""

import os

from tellin.runtime.journal import DEBUG1, DEBUG3, INFO, LEVELS, QUIET, Journal, to_descriptor


def spoken(level: int) -> list[str]:
    lines: list[str] = []
    journal = Journal(level, lines.append)
    for say in (
        journal.fatal,
        journal.error,
        journal.info,
        journal.verbose,
        journal.debug,
        journal.debug2,
        journal.debug3,
    ):
        say("x")
    return lines


def test_each_level_lets_in_what_is_below_it() -> None:
    for number, name in enumerate(LEVELS):
        assert len(spoken(LEVELS[name])) == number
    assert spoken(QUIET) == []
    assert spoken(DEBUG3)[-3:] == ["debug1: x", "debug2: x", "debug3: x"]
    assert Journal(DEBUG1).debugs
    assert not Journal(INFO).debugs


def test_r036_control_characters_are_shown_and_not_sent_to_the_terminal() -> None:
    lines: list[str] = []
    Journal(INFO, lines.append).info("a\x1b[2Jb\x07\x9bc\n\u202ed\udc80")
    assert lines == ["a\\033[2Jb\\007\\302\\233c\\012\\342\\200\\256d\\200"]


def test_lines_end_as_a_raw_terminal_wants_it() -> None:
    reading, writing = os.pipe()
    write = to_descriptor(writing)
    write("caf\u00e9")
    assert os.read(reading, 100) == "caf\u00e9\r\n".encode()
    os.close(reading)
    write("nobody reads this, and that is no fault")
    os.close(writing)
