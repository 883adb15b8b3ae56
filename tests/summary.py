# SPDX-License-Identifier: MIT
"""What the long tests tried, in numbers at the end of a run: a row of dots does not say how much it was.

A test hands its numbers over with ``record_property``: ``guard`` and ``seed`` with the guard that it took
out, ``fuzz`` with a ``Fuzzed``'s fields, ``table`` with the path of a table that it had a part in, ``deed``
with client, server and column of the table of what everybody does with files.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest


class Fuzzed(NamedTuple):
    """What came of fuzzing one harness."""

    harness: str
    runs: int
    seconds: int
    kept: int  # inputs of the corpus
    finds: int


def tell(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """The lines, none where none of those tests ran."""
    reports = list(reports)
    yield from _tried_again(report for report in reports if report.outcome == "rerun")
    # The report of what a test clears away has its properties again.
    made = [
        (dict(report.user_properties), report)
        for report in reports
        if report.when == "call" and report.outcome != "rerun"
    ]
    yield from _guards((found, report.outcome) for found, report in made if "guard" in found)
    yield from _fuzzing(Fuzzed(*found["fuzz"]) for found, _ in made if "fuzz" in found)
    yield from _deeds(
        (tuple(found["deed"]), report.outcome) for found, report in made if "deed" in found
    )
    for table in sorted({str(found["table"]) for found, _ in made if "table" in found}):
        yield ""
        yield from Path(table).read_text("utf-8").splitlines()


def _tried_again(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Why what passed in the end did not at first."""
    for at, report in enumerate(reports):
        if not at:
            yield ""
            yield "Tried again, since at first:"
        lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
        yield f"    {report.nodeid}"
        yield from (f"        {line[1:].strip()[:200]}" for line in lines[:5])


def _guards(drawn: Iterable[tuple[Mapping[str, object], str]]) -> Iterator[str]:
    outcomes = [(str(found["guard"]), found["seed"], outcome) for found, outcome in drawn]
    if not outcomes:
        return
    unnoticed = [guard for guard, _, outcome in outcomes if outcome != "passed"]
    yield ""
    yield (
        f"Guards taken out, drawn by seed {outcomes[0][1]}: {len(outcomes)};"
        f" noticed by every test named: {len(outcomes) - len(unnoticed)}"
    )
    yield from (f"    not noticed: {guard}" for guard in unnoticed)


# What the columns of the table are called: as sftp's commands, where there is one.
_HEADS = {
    "list": "ls",
    "get": "get",
    "put": "put",
    "get tree": "get -R",
    "put tree": "put -R",
    "resume get": "reget",
    "resume put": "reput",
    "rename over": "mv",
    "symbolic link": "ln -s",
    "read link": "readl",
    "hard link": "ln",
    "modes": "chmod",
    "keep up": "put -p",
    "keep down": "get -p",
    "folders": "dirs",
    "copy there": "cp",
    "room": "df",
    "odd names": "odd",
    "odd tree": "odd -R",
    "nothing there": "none",
}


def _deeds(reported: Iterable[tuple[tuple[str, ...], str]]) -> Iterator[str]:
    outcomes = dict(reported)
    if not outcomes:
        return
    # Its clients and servers are imported where they have been used already.
    from tests.interop.file_deeds import cells

    table = list(cells())
    left = sum(cell.tried and cell.key not in outcomes for cell in table)
    failed = sum(outcome == "failed" for outcome in outcomes.values())
    yield ""
    yield f"Deeds with files: {len(outcomes)} tried, {failed} not as the table says, {left} left out"
    if left > len(outcomes):
        return
    marks: dict[tuple[str, str], dict[str, str]] = {}
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in table:
        outcome = outcomes.get(cell.key, "")
        done = {"passed": "no" if cell.reason else "yes", "failed": "FAIL", "": "."}
        mark = done.get(outcome, outcome) if cell.tried else "-"
        marks.setdefault((cell.client, cell.server), {})[cell.row] = mark
        if cell.reason:
            reasons.setdefault((cell.whose, cell.reason), []).append(cell.row)
    heads = "".join(f"{head:>7}" for head in _HEADS.values())
    yield f"{'client':17}{'server':10}{heads}"
    for (client, server), row in marks.items():
        yield f"{client:17}{server:10}" + "".join(f"{row[name]:>7}" for name in _HEADS)
    yield ""
    for (whose, reason), rows in reasons.items():
        yield f"    {whose}: {', '.join(dict.fromkeys(rows))}: {reason}"


def _fuzzing(rows: Iterable[Fuzzed]) -> Iterator[str]:
    fuzzed = sorted(rows)
    if not fuzzed:
        return
    yield ""
    yield f"{'Fuzzing':28}{'runs':>12}{'seconds':>9}{'a second':>10}{'kept':>6}{'finds':>7}"
    yield from (
        f"    {row.harness:24}{row.runs:12,}{row.seconds:9}"
        f"{row.runs // max(row.seconds, 1):10,}{row.kept:6}{row.finds:7}"
        for row in fuzzed
    )
    runs, seconds = sum(row.runs for row in fuzzed), sum(row.seconds for row in fuzzed)
    kept, finds = sum(row.kept for row in fuzzed), sum(row.finds for row in fuzzed)
    yield (
        f"    {len(fuzzed):<3}{'harnesses':21}{runs:12,}{seconds:9}"
        f"{runs // max(seconds, 1):10,}{kept:6}{finds:7}"
    )
