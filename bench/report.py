# SPDX-License-Identifier: MIT
"""The report: tables with ratios, targets met and missed, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bench.processes import REPOSITORY
from bench.results import Column, Results, Table
from bench.servers import program
from bench.settings import Settings
from bench.targets import judge

_BUSY = 0.7
FOLDER = REPOSITORY / "bench" / "results"


def versions() -> dict[str, str]:
    """What was measured, and what it stood on."""
    found = {"python": platform.python_version()}
    for name in ("tellin", "asyncssh", "uvloop", "paramiko", "cryptography"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    ssh = program("ssh")
    if ssh:
        done = subprocess.run([ssh, "-V"], capture_output=True, check=False)
        found["openssh"] = done.stderr.decode(errors="replace").strip()
    return found


def machine(results: Results) -> dict[str, object]:
    """The machine, and how busy others kept it."""
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "load before the run": round(results.load, 2),
    }


def table_lines(table: Table) -> Iterator[str]:
    """One table as aligned text: medians, spread of the first ratio column, ratios."""
    yield f"{table.title}"
    heads = ["pair"]
    for column in table.columns:
        heads += [column.metric, "ratio"] if column.ratio else [column.metric]
    heads.append("spread")
    rows = [heads]
    for pair in table.samples:
        if any(table.values(pair, column.metric) for column in table.columns):
            rows.append(_row(table, pair))
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join([first.strip().ljust(widths[0]), *rest])
    if table.note:
        yield f"  ({table.note}; ratios to {table.baseline})"


def _row(table: Table, pair: str) -> list[str]:
    cells = [pair]
    for column in table.columns:
        value = table.median(pair, column.metric)
        cells.append("-" if value is None else f"{value:,.{column.places}f}")
        if column.ratio:
            base = table.median(table.baseline, column.metric)
            cells.append(f"{value / base:.2f}" if value is not None and base else "-")
    cells.append(_spread(table, pair, _leading(table)))
    return cells


def _leading(table: Table) -> Column:
    return next((column for column in table.columns if column.ratio), table.columns[0])


def _spread(table: Table, pair: str, column: Column) -> str:
    """Lowest and highest sample of the leading column, as percentages of its median."""
    values, middle = table.values(pair, column.metric), table.median(pair, column.metric)
    if len(values) < 2 or not middle:
        return "1 run" if values else "-"
    return f"{(min(values) / middle - 1) * 100:+.0f}..{(max(values) / middle - 1) * 100:+.0f}%"


def verdict_lines(results: Results, *, everything: bool) -> Iterator[str]:
    """The targets, those that this run did not touch left out unless it was a whole one."""
    rows = []
    for verdict in judge(results):
        if verdict.found is None and not everything:
            continue
        found = "-" if verdict.found is None else f"{verdict.found:.2f}"
        bound = f"{verdict.target.sense} {verdict.target.bound:g}"
        rows.append((verdict.target.text, found, bound, verdict.words))
    if not rows:
        return
    yield "Targets"
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for text, found, bound, words in rows:
        cells = (text.ljust(widths[0]), found.rjust(widths[1]), bound.rjust(widths[2]), words)
        yield "  " + "  ".join(cells)


def lines(results: Results, settings: Settings, *, everything: bool) -> Iterator[str]:
    """The whole report as text."""
    for name, version in versions().items():
        yield f"{name} {version}"
    told = ", ".join(f"{name} {value}" for name, value in machine(results).items())
    yield f"machine: {told}"
    if results.load > _BUSY:
        yield "THE MACHINE WAS BUSY when the run began: do not quote"
    how = "quick run: do not quote; " if settings.quick else ""
    yield f"{how}{settings.rounds} rounds, interleaved, medians; MB = 10^6 bytes"
    for table in results.tables.values():
        yield ""
        yield from table_lines(table)
    yield ""
    yield from verdict_lines(results, everything=everything)
    for name, reason in sorted(results.absent.items()):
        yield f"absent: {name}: {reason}"
    for part, pair, reason in results.failures:
        yield f"FAILED: {part}: {pair}: {reason}"


def as_json(results: Results, settings: Settings) -> dict[str, object]:
    """Everything that was found, every sample of it."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(results),
        "settings": vars(settings),
        "seconds": results.seconds,
        "tables": {
            name: {
                "title": table.title,
                "note": table.note,
                "baseline": table.baseline,
                "medians": {
                    pair: {metric: table.median(pair, metric) for metric in metrics}
                    for pair, metrics in table.samples.items()
                },
                "samples": table.samples,
            }
            for name, table in results.tables.items()
        },
        "targets": [
            {
                "text": verdict.target.text,
                "found": verdict.found,
                "bound": f"{verdict.target.sense} {verdict.target.bound:g}",
                "verdict": verdict.words,
            }
            for verdict in judge(results)
        ],
        "absent": results.absent,
        "failures": results.failures,
    }


def keep(results: Results, settings: Settings, text: str) -> Path:
    """Keep the report and the JSON under bench/results, by time and as "latest"."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = json.dumps(as_json(results, settings), indent=1) + "\n"
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for suffix, content in ((".json", document), (".txt", text)):
        for name in (stamp, "latest"):
            (FOLDER / name).with_suffix(suffix).write_text(content, encoding="utf-8")
    return FOLDER / f"{stamp}.json"
