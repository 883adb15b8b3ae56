# SPDX-License-Identifier: MIT
"""Every harness for a moment, with hypothesis; and for ten minutes, with atheris, in `make test-all`."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.harness import CORPUS, Harness, inputs, on_text
from tests.fuzz.keep import worth_keeping
from tests.fuzz.registry import HARNESSES
from tests.summary import Fuzzed

from tellin.config.kinds import read_integer
from tellin.errors import ConfigError

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("TELLIN_FUZZ_SECONDS", "600"))
BY_NAME = [pytest.param(harness, id=harness.name) for harness in HARNESSES]


@pytest.mark.parametrize("harness", BY_NAME)
def test_good_inputs_and_kept_ones_pass(harness: Harness) -> None:
    for data in harness.seeds():
        harness.run(data)
        harness.run(data[: len(data) // 2])
    harness.run(b"")


@pytest.mark.parametrize("harness", BY_NAME)
def test_damaged_inputs_pass(harness: Harness) -> None:
    seeds = harness.seeds()

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        harness.run(data.draw(inputs(seeds)))

    run()


def test_names_are_one_each_and_every_corpus_has_its_harness() -> None:
    names = [harness.name for harness in HARNESSES]
    assert len(set(names)) == len(names)
    kept = {path.name for path in CORPUS.iterdir()} if CORPUS.exists() else set()
    assert kept <= set(names)


def test_an_input_is_kept_that_goes_where_none_before_goes() -> None:
    harness = Harness(
        "numbers",
        on_text(lambda text: read_integer(text, 0, 65535), ConfigError),
        covers=[],
        seeds=lambda: [b"22"],
    )
    assert worth_keeping(harness, [b"23", b"yy", b"x", b"70000"]) == [b"x"]
    assert not worth_keeping(harness, [b"x" * 2000, b"BEGIN PRIVATE KEY"])


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("harness", BY_NAME)
def test_atheris_finds_nothing(
    harness: Harness, record_property: Callable[[str, object], None]
) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris here")
    before = {*harness.kept()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.explore", harness.name, "--seconds", str(SECONDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    runs = re.search(r"^stat::number_of_executed_units: *(\d+)$", done.stderr, re.MULTILINE)
    assert runs is not None, done.stderr[-4000:]
    finds = {*harness.kept()} - before
    row = Fuzzed(harness.name, int(runs[1]), SECONDS, len(before), len(finds))
    record_property("fuzz", tuple(row))
    assert done.returncode == 0, done.stderr[-4000:]
    assert not finds
