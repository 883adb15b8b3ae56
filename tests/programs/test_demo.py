# SPDX-License-Identifier: MIT
"""The demonstration says yes only if everything happened, and names the step that did not."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tellin.programs import demo, demo_stage
from tellin.programs.demo_stage import Stage

STEPS = [name for name, _ in demo._STEPS]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One block is as good as 64 for this."""
    monkeypatch.setattr(demo_stage, "BLOCKS", 1)
    return


def test_demo_comes_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run([]) == 0
    said = capsys.readouterr().out
    assert said.count("SHA256:") >= 2
    assert "mlkem768x25519-sha256" in said
    assert "Permission denied" in said
    assert "Host key verification failed" in said
    assert f"all {len(STEPS)} steps done" in said


def programs_do_nothing(stage: Stage, _program: str) -> list[str]:
    """A program that succeeds and does nothing, which must not pass for the real one."""
    del stage
    return ["true"]


@pytest.mark.parametrize("broken", STEPS)
def test_a_broken_step_is_named(
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    real: Callable[[Stage, str], list[str]] = Stage.command

    def command(stage: Stage, program: str) -> list[str]:
        sabotaged = stage.step == broken
        return programs_do_nothing(stage, program) if sabotaged else real(stage, program)

    monkeypatch.setattr(Stage, "command", command)
    if broken == "install key":
        where = Stage.path
        monkeypatch.setattr(
            Stage,
            "path",
            lambda stage, name: "/nonexistent/x" if stage.step == broken else where(stage, name),
        )
    if broken == "OpenSSH's client":
        fake = tmp_path / "ssh"
        fake.write_text("#!/bin/sh\nexit 0\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert demo.run([]) != 0
    assert f"step '{broken}' failed" in capsys.readouterr().err
