# SPDX-License-Identifier: MIT
"""``tellin tunnel`` against what happens to connections: the tunnel comes back, and says what it could not do."""

from collections import Counter
from pathlib import Path

import pytest
from tests.interop.comes_back import LISTENING, PORT, THERE, TOLD, scene

sshd = pytest.mark.peer("sshd")


@pytest.mark.root
@pytest.mark.parametrize(
    ("tunnel", "server"),
    [
        pytest.param("program", "sshd", marks=sshd),
        pytest.param("program", "tellin", marks=pytest.mark.slow),
        pytest.param("library", "sshd", marks=[sshd, pytest.mark.slow]),
        pytest.param("library", "tellin", marks=pytest.mark.slow),
    ],
)
def test_a_tunnel_is_back_soon_whatever_happens_and_loses_nothing_silently(
    tunnel: str, server: str, tmp_path: Path
) -> None:
    """With the longest wait set to 1 s: 2 s after the path is there again, on a machine that is not busy.

    ``python -m tests.interop.comes_back`` is what says whether it is so.
    """
    with scene(tunnel, server, tmp_path) as path:
        figures = path.comes_back()
        found = Counter(outcome for *_, outcome in path.outcomes())
        log = path.tunnel.log()
        user = path.server.user
    print(f"\n{tunnel}, {server}: back after {figures}; {dict(found)}\n{log}")
    # Nobody was kept waiting for nothing, or took half of it for the whole; and somebody listens all the while.
    assert set(found) == TOLD, found
    assert found["held reset"] >= len(figures)
    # The generous side of two seconds: what a loaded machine needs, and far from the thirty of the default.
    assert max(figures.values()) < 20, figures
    if tunnel == "program":
        lines = log.splitlines()
        assert lines[0] == f"there: up: {user}@{THERE} port {PORT}"
        assert sum(line.startswith("there: up:") for line in lines) == 1 + len(figures)
        again = f"there: [127.0.0.1]:{LISTENING}: "
        assert all(line.startswith(("there: up: ", "there: down: ", again)) for line in lines)
