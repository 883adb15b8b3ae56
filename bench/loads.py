# SPDX-License-Identifier: MIT
"""Who makes the load on a tunnel: a program in C where there is a compiler, else Python's processes.

Both ends of a tunnel, the load and what answers it share the processors of one machine. A load that
takes as much of them as the tunnel does draws the figures of all pairs together.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import endpoints
from bench.processes import BenchError
from bench.workspace import Workspace

_SOURCE = Path(__file__).with_name("ends.c")
_COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True, kw_only=True)
class Load:
    """Connects and answers; ``program`` is the one in C, None where there is none."""

    program: Path | None
    patience: float

    @property
    def note(self) -> str:
        """What a table says of it."""
        return "the load in C" if self.program else "no C compiler: the load by Python's processes"

    def server_argv(self, processes: int, threads: int) -> list[str]:
        """The command that answers; Python's needs a thread for each connection there may be."""
        if self.program is not None:
            return [str(self.program), "serve"]
        module = [sys.executable, "-m", "bench.endpoints", "serve"]
        return [*module, str(processes), str(threads)]

    def churn(self, count: int, port: int, behind: int | None, *, beside: int) -> float:
        """Open, use and close ``count`` connections, ``beside`` at a time; the seconds it took."""
        if self.program is None:
            return endpoints.churn(count, port, behind, beside=beside)
        return self._run("churn", count, beside, port, behind or 0)

    def flows(self, count: int, each: int, port: int) -> float:
        """Download ``each`` bytes by ``count`` connections at once; the seconds it took."""
        if self.program is None:
            return endpoints.flows(count, each, port)
        return self._run("flows", count, each, port)

    def _run(self, verb: str, *numbers: int) -> float:
        assert self.program is not None
        argv = [str(self.program), verb, *map(str, numbers)]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=self.patience, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{verb} took longer than {self.patience:.0f} s") from None
        if done.returncode:
            raise BenchError(f"{verb}: {done.stderr.strip()}")
        return float(done.stdout)


def make(workspace: Workspace, *, patience: float) -> Load:
    """Compile it into the run's folder, if that can be done."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return Load(program=None, patience=patience)
    program = workspace.folder / "ends"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(_SOURCE)],
        env=workspace.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(
            f"  note: {_SOURCE.name} was not compiled: {done.stderr.strip()[-300:]}\n"
        )
        return Load(program=None, patience=patience)
    return Load(program=program, patience=patience)
