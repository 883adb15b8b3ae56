# SPDX-License-Identifier: MIT
"""Judge a file of ssh_config, for everybody and for one host: ``lint_config.py FILE HOST``."""

import sys

from tellin.config.linting import Severity, lint_ssh_config
from tellin.runtime.surroundings import LocalSurroundings

file, host = sys.argv[1:]
machine = LocalSurroundings()

for finding in lint_ssh_config(machine, file=file).findings:
    print(finding)
    if finding.severity is not Severity.NOTE and finding.hint:
        print("    " + finding.hint)

report = lint_ssh_config(machine, file=file, host=host)
for source in report.sources:
    by = f" by line {source.by[1]}" if source.by[1] else ""
    print(f"line {source.line}: {source.keyword} {source.value}: {source.verdict.value}{by}")
