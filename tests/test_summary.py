# SPDX-License-Identifier: MIT
from pathlib import Path
from typing import Literal

import pytest
from tests.interop.file_deeds import cells
from tests.summary import Fuzzed, tell

TRIED = sum(cell.tried for cell in cells())
UNLUCKY = ("psftp", "tellin", "get")


def report(
    *properties: tuple[str, object],
    outcome: Literal["passed", "failed"] = "passed",
    when: Literal["call", "teardown"] = "call",
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid="test",
        location=("test", 0, "test"),
        keywords={},
        outcome=outcome,
        longrepr=None,
        when=when,
        user_properties=properties,
    )


def test_a_run_without_long_tests_has_no_summary() -> None:
    assert not [*tell([report(), report(("other", 1))])]


def test_guards_are_counted_and_those_that_nobody_noticed_are_named() -> None:
    said = tell(
        [
            report(("guard", "R001 here"), ("seed", "7")),
            report(("guard", "R001 here"), ("seed", "7"), when="teardown"),
            report(("guard", "R002 there"), ("seed", "7"), outcome="failed"),
        ]
    )
    assert [*said] == [
        "",
        "Guards taken out, drawn by seed 7: 2; noticed by every test named: 1",
        "    not noticed: R002 there",
    ]


def test_runs_and_finds_of_every_harness_are_told_and_added_up() -> None:
    # What comes from another process of the run is a list.
    rows = [[*Fuzzed("pem", 1_200_000, 600, 30, 1)], [*Fuzzed("inflate", 600, 0, 2, 0)]]
    _, title, *told = tell([report(("fuzz", row)) for row in rows])
    assert title.split() == ["Fuzzing", "runs", "seconds", "a", "second", "kept", "finds"]
    assert [line.split() for line in told] == [
        ["inflate", "600", "0", "600", "2", "0"],
        ["pem", "1,200,000", "600", "2,000", "30", "1"],
        ["2", "harnesses", "1,200,600", "600", "2,001", "32", "1"],
    ]
    assert len({len(line) for line in [title, *told]}) == 1


def test_a_table_with_many_authors_is_shown_once(tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("client  server\nssh     tellin\n", "utf-8")
    said = tell([report(("table", str(table))), report(("table", str(table)))])
    assert [*said] == ["", "client  server", "ssh     tellin"]


def test_the_deeds_with_files_are_counted_and_a_table_where_most_were_done() -> None:
    assert [*tell([report(("deed", ("sftp", "tellin", "get")))])] == [
        "",
        f"Deeds with files: 1 tried, 0 not as the table says, {TRIED - 1} left out",
    ]
    said = [
        *tell(
            report(("deed", cell.key), outcome="failed" if cell.key == UNLUCKY else "passed")
            for cell in cells()
            if cell.tried
        )
    ]
    assert said[1] == f"Deeds with files: {TRIED} tried, 1 not as the table says, 0 left out"
    (psftp,) = (line.split() for line in said if line.startswith("psftp "))
    heads = said[2].replace(" -", "-").split()[2:]
    marks = dict(zip(heads, psftp[2:], strict=True))
    assert (marks["get"], marks["put"], marks["mv"], marks["ln"]) == ("FAIL", "yes", "no", "-")
    assert any(line.startswith("    psftp: keep up, keep down: ") for line in said)
