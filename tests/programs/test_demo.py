# SPDX-License-Identifier: MIT
"""The demonstration says yes only if everything happened, and names the step that did not."""

import os
import re
import signal
import socket
import subprocess
import sys
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
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_demo_comes_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run([]) == 0
    said = capsys.readouterr().out
    assert said.count("SHA256:") >= 2
    assert "mlkem768x25519-sha256" in said
    assert "Permission denied" in said
    assert "Host key verification failed" in said
    assert f"all {len(STEPS)} steps done" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_ended_leaves_no_server_and_no_keys(number: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        # Who runs the tests may have been told to ignore some (nohup).
        ["env", "--default-signal", sys.executable, "-u", "-m", "tellin", "demo"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = 0
        for line in process.stdout:
            if found := re.search(r"tellin sshd on 127\.0\.0\.1 port (\d+)", line):
                port = int(found[1])
                break
        assert port
        process.send_signal(number)
        assert process.wait(60) != 0
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


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
