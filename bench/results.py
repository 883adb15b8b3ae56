# SPDX-License-Identifier: MIT
"""What a run has found: samples by table, pair and metric, with what failed or was not there."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric of a table: how it is called and printed, and whether it gets a ratio."""

    metric: str
    places: int = 0
    ratio: bool = False


@dataclass(kw_only=True)
class Table:
    """Samples of one comparison; the ratios are to the median of `baseline`."""

    name: str
    title: str
    columns: Sequence[Column]
    baseline: str
    note: str = ""
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, pair: str, metric: str, value: float) -> None:
        """Take one sample."""
        self.samples.setdefault(pair, {}).setdefault(metric, []).append(value)

    def replace(self, pair: str, metric: str, values: list[float]) -> None:
        """Set all samples of a metric that is computed from others at the end."""
        self.samples.setdefault(pair, {})[metric] = values

    def values(self, pair: str, metric: str) -> list[float]:
        """The samples so far, in the order they were taken."""
        return self.samples.get(pair, {}).get(metric, [])

    def median(self, pair: str, metric: str) -> float | None:
        """The median, or None when the pair was never measured."""
        values = self.values(pair, metric)
        return statistics.median(values) if values else None


@dataclass
class Results:
    """All tables of a run, and what could not be measured."""

    tables: dict[str, Table] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    # How busy the machine was before the run began.
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def table(
        self, name: str, title: str, columns: Sequence[Column], *, baseline: str, note: str = ""
    ) -> Table:
        """Open a table."""
        made = Table(name=name, title=title, columns=columns, baseline=baseline, note=note)
        self.tables[name] = made
        return made

    def median(self, table: str, pair: str, metric: str) -> float | None:
        """A figure by its full name, or None."""
        found = self.tables.get(table)
        return found.median(pair, metric) if found else None
