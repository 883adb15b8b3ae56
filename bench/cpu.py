# SPDX-License-Identifier: MIT
"""CPU time and memory of processes, read from /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = re.compile(r"(\d+)m([\d.]+)s")


@dataclass(frozen=True)
class Status:
    """The fields of /proc/PID/stat that matter here, in seconds."""

    parent: int
    state: str
    own: float
    reaped: float


def status(pid: int) -> Status | None:
    """Read one process; None when it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and brackets: the fields start after the last one.
    fields = text[text.rindex(")") + 2 :].split()
    user, system, child_user, child_system = (int(field) for field in fields[11:15])
    return Status(
        int(fields[1]), fields[0], (user + system) / TICKS, (child_user + child_system) / TICKS
    )


def descendants(root: int) -> list[int]:
    """Every live process below `root`, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            found = status(int(entry))
            if found is not None:
                children.setdefault(found.parent, []).append(int(entry))
    found_below: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found_below += below
        queue += below
    return found_below


def own_seconds(pid: int) -> float:
    """CPU of the process alone, its children left out."""
    found = status(pid)
    return found.own if found else 0.0


def tree_seconds(pid: int) -> float:
    """CPU of the process, of the children it has waited for, and of those still running."""
    total = 0.0
    for each in (pid, *descendants(pid)):
        found = status(each)
        if found is not None:
            total += found.own + found.reaped
    return total


def shell_times(text: str) -> float:
    """Seconds in the output of the shell's `times`: the shell and the commands it waited for."""
    return sum(int(minutes) * 60 + float(rest) for minutes, rest in _TIMES.findall(text))


def proportional_kib(pid: int) -> int:
    """PSS of one process in KiB: shared pages are divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"no Pss in the memory map of {pid}")


def tree_proportional_kib(pid: int) -> int:
    """PSS of a process and all below it; one that ends meanwhile counts nothing."""
    total = 0
    for each in (pid, *descendants(pid)):
        try:
            total += proportional_kib(each)
        except (OSError, ValueError):
            continue  # it ended between the listing and the reading
    return total
