# SPDX-License-Identifier: MIT

from collections.abc import Sequence

import pytest

from tellin.errors import MalformedPacket
from tellin.sftp import rcp
from tellin.sftp.rcp import Answer, Answers, Sink, Times


class Notes:
    """A keeper that writes down what it is told, and fails where it is told to."""

    def __init__(self, *, failing: Sequence[str] = ()) -> None:
        self.lines: list[str] = []
        self._failing = failing

    def _note(self, what: str, *words: object) -> None:
        self.lines.append(" ".join(map(str, (what, *words))))
        if what in self._failing:
            raise OSError(28, "No space left on device")

    def begin_file(self, name: bytes, mode: int, size: int, times: Times | None) -> None:
        stamp = "" if times is None else f" {times.mtime}/{times.atime}"
        self._note("file", name.decode("latin-1"), f"{mode:o}", f"{size}{stamp}")

    def data(self, view: memoryview) -> None:
        if self.lines[-1].startswith("data "):
            self.lines[-1] += bytes(view).decode("latin-1")
        else:
            self.lines.append(f"data {bytes(view).decode('latin-1')}")

    def end_file(self) -> None:
        self._note("whole")

    def drop_file(self) -> None:
        self._note("dropped")

    def begin_directory(self, name: bytes, mode: int, times: Times | None) -> None:
        self._note("into", name.decode("latin-1"), f"{mode:o}")

    def end_directory(self) -> None:
        self._note("out")

    def told(self, text: bytes) -> None:
        self._note("told", text.decode("latin-1"))


def talk(
    data: bytes,
    *,
    recursive: bool = True,
    wanted: Sequence[bytes] | None = None,
    failing: Sequence[str] = (),
    step: int = 0,
) -> tuple[list[str], bytes, str]:
    """What a sink does with bytes, what it answers, and what it complains of."""
    notes = Notes(failing=failing)
    sink = Sink(notes, recursive=recursive, accepts=lambda name: wanted is None or name in wanted)
    answers, fault = b"", ""
    try:
        for at in range(0, len(data), step or len(data) or 1):
            sink.received(memoryview(data)[at : at + (step or len(data))])
            answers += sink.to_send()
        sink.ended()
    except MalformedPacket as error:
        fault = str(error)
    return notes.lines, answers + sink.to_send(), fault


TREE = b"T5 0 6 0\nD0755 0 d\nC0644 4 a\nfour\0D0700 0 e\nC0600 0 empty\n\0E\nE\nC4755 2 b\nab\0"
SEEN = [
    "into d 755",
    "file a 644 4",
    "data four",
    "whole",
    "into e 700",
    "file empty 600 0",
    "whole",
    "out",
    "out",
    "file b 4755 2",
    "data ab",
    "whole",
]


@pytest.mark.parametrize("step", [0, 1, 3, 7])
def test_a_tree_arrives_in_any_pieces(step: int) -> None:
    assert talk(TREE, step=step) == (SEEN, bytes(12), "")


def test_times_are_those_of_the_next_file_alone() -> None:
    lines, _, fault = talk(b"T5 0 6 0\nC0644 1 a\nx\0C0644 1 b\ny\0")
    assert not fault
    assert [line for line in lines if line.startswith("file")] == [
        "file a 644 1 5/6",
        "file b 644 1",
    ]


@pytest.mark.parametrize(
    "name", [b".", b"..", b"a/b", b"/etc/passwd", b"../x", b"a\0b", b""], ids=ascii
)
@pytest.mark.parametrize("kind", [b"C0644 1", b"D0755 0"])
def test_r172_case_259_a_name_that_leads_elsewhere_ends_it(kind: bytes, name: bytes) -> None:
    lines, answers, fault = talk(kind + b" " + name + b"\nx\0")
    assert lines == []
    assert fault.startswith("protocol error: ")
    assert answers.startswith(b"\0\1scp: protocol error: ")


def test_r172_a_name_that_was_not_asked_for_ends_it() -> None:
    good = b"C0644 1 a\nx\0"
    assert talk(good, wanted=[b"a"])[2] == ""
    lines, _, fault = talk(good + b"C0644 1 .bashrc\nx\0", wanted=[b"a"])
    assert (lines[-1], fault) == ("whole", "protocol error: filename does not match request")
    # Within a directory that was asked for the names are the other side's.
    assert talk(b"D0755 0 d\nC0644 1 x\nx\0E\n", wanted=[b"d"])[2] == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"C0644 -1 f", "bad mode, size or name"),
        (b"C9999 1 f", "bad mode, size or name"),
        (b"C644 1 f", "bad mode, size or name"),
        (b"C00644 1 f", "bad mode, size or name"),
        (b"C0644 1", "bad mode, size or name"),
        (b"C0644 99999999999999999999 f", "size out of range"),
        (b"C0644 999999999999999999999 f", "bad mode, size or name"),
        (b"C0644 0x1 f", "bad mode, size or name"),
        (b"Tjunk", "the times of a file cannot be read"),
        (b"T1 0 2", "the times of a file cannot be read"),
        (b"T1 1000000 2 0", "the times of a file cannot be read"),
        (b"T99999999999999999999 0 2 0", "out of range"),
        (b"E", "a directory that has not begun"),
        (b"E x", "a directory that has not begun"),
        (b"nonsense", "expected control record"),
        (b"", "expected control record"),
    ],
    ids=ascii,
)
def test_case_259_a_line_that_cannot_be_meant_ends_it(line: bytes, why: str) -> None:
    lines, answers, fault = talk(b"C0644 1 good\nx\0" + line + b"\nC0644 1 more\nx\0")
    assert why in fault
    # Of what stands behind it nothing is taken.
    assert lines == ["file good 644 1", "data x", "whole"]
    assert answers.count(b"\1scp: ") == 1


def test_case_259_a_line_without_end_is_not_collected() -> None:
    lines, _, fault = talk(b"C0644 1 " + b"a" * (1 << 20))
    assert (lines, fault) == ([], "protocol error: a line that does not end")


@pytest.mark.parametrize(
    "cut",
    [b"C06", b"C0644 4 a\n", b"C0644 4 a\nfo", b"C0644 4 a\nfour", b"D0755 0 d\n"],
    ids=ascii,
)
def test_case_259_an_end_in_the_middle_is_a_lost_connection(cut: bytes) -> None:
    lines, _, fault = talk(cut)
    assert fault == "lost connection"
    assert "whole" not in lines


def test_case_259_a_directory_is_refused_where_none_was_asked_for() -> None:
    lines, _, fault = talk(b"D0755 0 d\nE\n", recursive=False)
    assert (lines, fault) == ([], "protocol error: received directory without -r")


def test_directories_have_a_depth() -> None:
    lines, _, fault = talk(b"D0755 0 d\n" * 65)
    assert len(lines) == 64
    assert "deeper than 64 levels" in fault


def test_what_cannot_be_kept_is_answered_and_the_others_go_on() -> None:
    lines, answers, fault = talk(b"C0644 1 a\nC0644 1 b\n", failing=["file"])
    # The sender passes over a file that is refused at once.
    assert (lines, fault) == (["file a 644 1", "file b 644 1"], "")
    assert answers == b"\0\1scp: a: No space left on device\n\1scp: b: No space left on device\n"
    lines, answers, fault = talk(b"C0644 1 a\nx\0E\n", failing=["whole"])
    assert answers.startswith(b"\0\0\1scp: No space left on device\n")


def test_a_file_that_its_sender_takes_back_is_dropped() -> None:
    lines, answers, fault = talk(b"C0644 2 a\nxx\1scp: a: Input/output error\nC0644 1 b\ny\0")
    assert fault == ""
    assert lines == [
        "file a 644 2",
        "data xx",
        "dropped",
        "told scp: a: Input/output error",
        "file b 644 1",
        "data y",
        "whole",
    ]
    assert answers == bytes(5)


def test_what_a_shell_says_before_it_begins_is_told_and_is_the_end() -> None:
    lines, _, fault = talk(b"sh: scp: not found\nC0644 1 a\nx\0")
    assert (lines, fault) == (["told sh: scp: not found"], "")
    lines, _, fault = talk(b"\2all is over\nC0644 1 a\nx\0")
    assert (lines, fault) == (["told all is over"], "")


def test_answers_come_one_by_one() -> None:
    answers = Answers()
    answers.received(memoryview(b"\0\1one"))
    assert answers.take() == Answer(rcp.OK)
    assert answers.take() is None
    answers.received(memoryview(b" failed\n\2over\n\0oops\n"))
    assert [answers.take() for _ in range(5)] == [
        Answer(rcp.FAILED, b"one failed"),
        Answer(rcp.OVER, b"over"),
        Answer(rcp.OK),
        Answer(rcp.OVER, b"oops"),
        None,
    ]
    with pytest.raises(MalformedPacket):
        answers.received(memoryview(b"\1" + b"a" * 20_000))


def test_what_is_announced_is_what_a_sink_reads() -> None:
    said = [
        rcp.times_line(Times(-1, 7)),
        rcp.directory_line(b"d", 0o40755),
        rcp.file_line(b"two\nlines", 0o100640, 0),
        b"\0",
        rcp.END_LINE,
    ]
    lines, _, fault = talk(b"".join(said))
    assert fault == ""
    assert lines == ["into d 755", "file two\\^Jlines 640 0", "whole", "out"]
