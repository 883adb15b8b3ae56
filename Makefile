# SPDX-License-Identifier: MIT
# Everything is done by one of these targets; each makes and fills .venv by itself.
# Needed before: Python 3.11 or newer, and make.

.DEFAULT_GOAL := help
.PHONY: help compiled demo test test-all check bench docs cover clean
.DELETE_ON_ERROR:

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# A stamp per set of packages and state of pyproject.toml: when that file changes, pip looks again.
STATE := $(shell cksum < pyproject.toml | tr ' ' '-')
BASE_STAMP := $(VENV)/.stamp-base-$(STATE)
TEST_STAMP := $(VENV)/.stamp-test-$(STATE)
DEV_STAMP := $(VENV)/.stamp-dev-$(STATE)
BENCH_STAMP := $(VENV)/.stamp-bench-$(STATE)
FUZZ_STAMP := $(VENV)/.stamp-fuzz-$(STATE)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
export PIP_ROOT_USER_ACTION := ignore

# What pytest is told: `make test PYTEST="-k rekey -x"`; WORKERS=0 runs in one process. One more than a
# small machine has cores: a fifth of the time goes by waiting for peers.
PYTEST ?=
WORKERS ?= 3
# Which guards `make test-all` takes out: others every time, or those of `make test-all SEED=...`.
SEED ?=
SEED := $(or $(SEED),$(shell date +%s))

# What measures time runs first and by itself; it is no fault if there is none of that (5).
define run_tests
@$(BIN)/python -m pytest -q -m "alone and ($(1))" $(PYTEST) || [ $$? = 5 ]
@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not alone and ($(1))" $(PYTEST)
endef

help:
	@echo "make demo      a server and a client log in to each other, step by step"
	@echo "make test      the tests, with every SSH peer that can be had here"
	@echo "make test-all  the same, each two algorithms, and ten minutes of fuzzing each parser"
	@echo "make check     lint, format, import floors, types, documentation"
	@echo "make bench     the measurements beside OpenSSH, AsyncSSH and Paramiko"
	@echo "make docs      the documentation, into docs/_build/html"
	@echo "make clean     remove what was built, .venv too"

$(BIN)/python:
	@sh .ci/make-venv $(VENV)

$(BASE_STAMP): $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable .
	@rm -f $(VENV)/.stamp-base-*; touch $@

$(TEST_STAMP): $(BASE_STAMP)
	@$(PIP) install --group test
	@rm -f $(VENV)/.stamp-test-*; touch $@

$(DEV_STAMP): $(BASE_STAMP)
	@$(PIP) install --group dev
	@rm -f $(VENV)/.stamp-dev-* $(VENV)/.stamp-test-*; touch $@ $(TEST_STAMP)

$(BENCH_STAMP): $(BASE_STAMP)
	@$(PIP) install --group bench
	@rm -f $(VENV)/.stamp-bench-*; touch $@

$(FUZZ_STAMP): $(BASE_STAMP)
	@$(PIP) install --group fuzz
	@rm -f $(VENV)/.stamp-fuzz-*; touch $@

# Without its bytecode a program starts with 0.16 s more work, and where PYTHONDONTWRITEBYTECODE is set
# or the tree is another user's it would never be written. Nothing changed: 0.06 s.
compiled: $(BASE_STAMP)
	@$(BIN)/python -m compileall -q src

demo: compiled
	@$(BIN)/tellin demo

test: compiled $(TEST_STAMP)
	@sh tests/install_peers.sh
	$(call run_tests,not slow)

test-all: export TELLIN_SEED = $(SEED)
test-all: compiled $(DEV_STAMP) $(FUZZ_STAMP) $(BENCH_STAMP)
	@sh tests/install_peers.sh
	@echo "the guards are drawn by $(SEED): make test-all SEED=$(SEED) draws the same again"
	$(call run_tests,slow or not slow)

check: $(DEV_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/sphinx-build -n -W --keep-going -q docs docs/_build/html

docs: $(DEV_STAMP)
	@$(BIN)/sphinx-build -n -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: compiled $(BENCH_STAMP)
	@sh tests/install_peers.sh
	@$(BIN)/python -m bench $(BENCH)

cover: $(TEST_STAMP)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(PYTEST)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
