# SPDX-License-Identifier: MIT
"""A guard that is taken out makes its test fail: the table is held to the code here, and drawn from in `make test-all`."""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.guards import GUARDS, Guard
from tests.test_rules import EVERY

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DRAWN = int(os.environ.get("TELLIN_GUARDS", "30"))
SEED = os.environ.get("TELLIN_SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or "tellin"

# Rules of other sections whose guards stand in the same rooms.
OTHERS = {
    "R084",
    "R085",
    "R089",
    "R187",
    "R205",
}
OTHERS |= {"R150", "case 294", "case 317"}


def label(guard: Guard) -> str:
    return f"{guard.rule} {guard.file}: {' '.join(guard.text.split())[:100]}"


every_guard = pytest.mark.parametrize("guard", GUARDS, ids=label)


@cache
def functions(file: str) -> set[str]:
    """The tests of a file."""
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@every_guard
def test_a_guard_stands_once_in_its_file_and_its_tests_are_there(guard: Guard) -> None:
    text = (SOURCE / "tellin" / guard.file).read_text("utf-8")
    assert text.count(guard.text) == 1
    changed = text.replace(guard.text, guard.without)
    assert changed != text
    compile(changed, guard.file, "exec")
    assert guard.tests
    for test in guard.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in functions(file), test


def test_there_are_guards_enough_and_their_rules_exist() -> None:
    assert len(GUARDS) >= 60
    assert {guard.rule for guard in GUARDS} - OTHERS <= {*EVERY}
    assert len({(guard.file, guard.text, guard.without) for guard in GUARDS}) == len(GUARDS)


def drawn() -> list[Guard]:
    """Different ones with every seed, all of the same ones with the same."""
    return random.Random(SEED).sample(GUARDS, min(DRAWN, len(GUARDS)))


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A copy of the sources to break."""
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("guard", drawn(), ids=label)
def test_without_its_guard_a_rule_is_broken(
    guard: Guard, altered: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("guard", label(guard))
    record_property("seed", SEED)
    path = altered / "tellin" / guard.file
    path.write_text(path.read_text("utf-8").replace(guard.text, guard.without), "utf-8")
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:randomly",
                "-p",
                "no:rerunfailures",
            ),
            *("-o", "addopts=--import-mode=importlib", "-o", "timeout=60", "-rfE"),
            *(f"tests/{test}" for test in guard.tests),
        ],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
            "PYTHONPATH": str(altered),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    said = f"seed {SEED}: {label(guard)}\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    # 1: tests failed. Anything else says that they could not run at all.
    assert done.returncode == 1, said
    assert not re.search(r"^ERROR ", done.stdout, re.MULTILINE), said
    for test in guard.tests:
        assert f"FAILED tests/{test}" in done.stdout, f"{test} does not miss it\n{said}"


@pytest.mark.slow
def test_the_copy_is_what_the_altered_tests_import(altered: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import tellin; print(tellin.__file__)"],
        env={**os.environ, "PYTHONPATH": str(altered)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(altered)
