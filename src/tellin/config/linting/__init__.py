# SPDX-License-Identifier: MIT
"""Is this configuration what its writer means? Where each value comes from, what never counts, what is weak.

``lint_ssh_config`` and ``lint_sshd_config`` read the files that a program would read, as it would,
and go on where it would stop. What they answer is a `Report`: values with their places, and findings.
"""

from tellin.config.linting.findings import Finding, Kind, Severity
from tellin.config.linting.report import (
    Report,
    Source,
    Verdict,
    lint_ssh_config,
    lint_sshd_config,
)

__all__ = [
    "Finding",
    "Kind",
    "Report",
    "Severity",
    "Source",
    "Verdict",
    "lint_ssh_config",
    "lint_sshd_config",
]
